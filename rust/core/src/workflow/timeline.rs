//! Where the operations of a run stand, for listings and timelines: derived, never stored.

use std::collections::BTreeMap;

use super::entry::{Ask, Fault, Kind, News, Outcome, Place};
use super::journal::{Closed, Ledger};
use super::model::{Millis, Op, Open, Run};
use super::status::StepStatus;

/// One operation in a timeline.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its number.
    pub op: Op,
    /// Its kind.
    pub kind: Kind,
    /// Where the body asked for it.
    pub place: Place,
    /// Where it stands.
    pub status: StepStatus,
    /// How often it was started.
    pub attempts: u32,
    /// When it was asked for.
    pub asked_at: Millis,
    /// When the body was told, or called it off.
    pub ended_at: Option<Millis>,
    /// When its next attempt, its time or its time-out comes.
    pub due: Option<Millis>,
    /// Its latest error.
    pub error: Option<Fault>,
    /// The operation that it undoes.
    pub compensates: Option<Op>,
}

/// All operations of a run, in the order in which they were asked for.
#[must_use]
pub fn timeline(run: &Run, ledger: &Ledger) -> Vec<Line> {
    let numbered = (0..).zip(ledger.entries());
    numbered.filter_map(|(op, _)| ledger.ask(op).map(|ask| line(run, ledger, op, ask))).collect()
}

/// How many operations stand where.
#[must_use]
pub fn counts(lines: &[Line]) -> BTreeMap<StepStatus, usize> {
    lines.iter().fold(BTreeMap::new(), |mut counts, line| {
        *counts.entry(line.status).or_default() += 1;
        counts
    })
}

fn line(run: &Run, ledger: &Ledger, op: Op, ask: &Ask) -> Line {
    let open = run.open.get(&op);
    let end = match ledger.told(op).map(|told| &told.news) {
        Some(News::Ended { end, .. }) => Some(end),
        _ => None,
    };
    let closing = ledger.closed(op).map(|(Closed::Told(place) | Closed::Cancelled(place))| place);
    let entry = closing.and_then(|place| ledger.entries().get(usize::try_from(place).ok()?));
    let latest = open.and_then(|open| open.error.clone());
    Line {
        op,
        kind: ask.what.kind(),
        place: ask.place.clone(),
        status: status(run, ledger, op, ask),
        attempts: end.map_or_else(|| open.map_or(0, |open| open.attempt), |end| end.attempts),
        asked_at: ask.at,
        ended_at: entry.and_then(|entry| entry.at()),
        due: open.and_then(|open| open.due),
        error: end.map_or(latest, |end| end.error.clone()),
        compensates: ask.what.compensates(),
    }
}

/// Where an operation stands.
#[must_use]
pub fn status(run: &Run, ledger: &Ledger, op: Op, ask: &Ask) -> StepStatus {
    match ledger.closed(op) {
        Some(Closed::Cancelled(_)) => StepStatus::Cancelled,
        Some(Closed::Told(_)) => match ledger.told(op).map(|told| &told.news) {
            Some(News::Ended { end, .. }) => match ended(end.outcome) {
                StepStatus::Completed if is_undone(ledger, op) => StepStatus::Compensated,
                status => status,
            },
            _ => StepStatus::Completed,
        },
        None if run.status.is_ended() => StepStatus::Cancelled,
        None => match run.open.get(&op) {
            Some(Open { result: Some(told), .. }) => match &told.news {
                News::Ended { end, .. } => ended(end.outcome),
                _ => StepStatus::Completed,
            },
            open => unended(ask.what.kind(), open),
        },
    }
}

const fn unended(kind: Kind, open: Option<&Open>) -> StepStatus {
    let Some(open) = open else { return StepStatus::Pending };
    match kind {
        Kind::Step if open.held => StepStatus::Failed,
        Kind::Step if open.started => StepStatus::Running,
        Kind::Step if open.due.is_some() => StepStatus::Waiting,
        Kind::Call | Kind::Child if open.made => StepStatus::Running,
        Kind::Step | Kind::Call | Kind::Child => StepStatus::Pending,
        Kind::Timer | Kind::Signal | Kind::Select | Kind::Callback => StepStatus::Waiting,
    }
}

const fn ended(outcome: Outcome) -> StepStatus {
    match outcome {
        Outcome::Completed => StepStatus::Completed,
        Outcome::Failed | Outcome::Timeout => StepStatus::Failed,
        Outcome::Cancelled => StepStatus::Cancelled,
        Outcome::Skipped => StepStatus::Skipped,
    }
}

fn is_undone(ledger: &Ledger, op: Op) -> bool {
    let undone = ledger.compensation(op).and_then(|by| ledger.told(by)).map(|told| &told.news);
    matches!(undone, Some(News::Ended { end, .. }) if end.outcome == Outcome::Completed)
}

#[cfg(test)]
mod tests;
