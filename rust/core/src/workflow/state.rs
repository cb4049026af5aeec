//! What others may wish of a run, and how a run that has ended begins again. Pure: each is a function of the run.

use std::sync::Arc;

use super::attempts;
use super::chunks;
use super::entry::{Arm, Entry, Fault, Kind, News, Outcome, Told, What};
use super::ids::Origin;
use super::journal::{Closed, Ledger};
use super::model::{Millis, Op, Open, Returned, Run};
use super::status::RunStatus;
use super::wishes::{Wish, Wishes};
use crate::error::{Error, Result};
use crate::id::TaskId;
use crate::record::Extra;

/// What may be wished of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WishKind {
    /// That it be called off: its body is told, and may tidy up.
    Cancel,
    /// That what runs may end, and nothing new begin.
    Pause,
    /// That it go on after a pause, or after it was called off.
    Resume,
    /// That it begin again where it failed.
    Retry,
    /// That it end without its body.
    Terminate,
}

/// What a wish came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wished {
    /// It is noted: the run's driver is to be woken, in the same commit.
    Noted,
    /// It is noted, and the run is pending again: so must its driver's task be, by the same commit.
    Begun,
    /// The run is as wished already, or will be; nothing changed.
    Same,
    /// The run has ended in this way; nothing changed.
    Ended(RunStatus),
}

impl WishKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Cancel, Self::Pause, Self::Resume, Self::Retry, Self::Terminate];
}

impl Run {
    /// Moves to another status.
    ///
    /// # Errors
    /// [`Error::Invalid`] if that move is not in the table.
    pub fn become_status(&mut self, next: RunStatus) -> Result<()> {
        if self.status == next {
            return Ok(());
        }
        if !self.status.may_become(next) {
            return Err(Error::Invalid(format!("a run that is {} cannot become {}", self.status.name(), next.name())));
        }
        self.status = next;
        Ok(())
    }

    /// Notes somebody's wish.
    ///
    /// # Errors
    /// [`Error::Conflict`] if it cannot be retried: it is completed, or its steps were undone.
    pub fn wish(&mut self, kind: WishKind, wish: Wish) -> Result<Wished> {
        match kind {
            WishKind::Retry => return self.wish_retry(wish),
            WishKind::Resume if self.status == RunStatus::Cancelled => return self.wish_retry(wish),
            WishKind::Cancel | WishKind::Pause | WishKind::Resume | WishKind::Terminate => {}
        }
        if self.status.is_ended() {
            return Ok(Wished::Ended(self.status));
        }
        let paused = self.status == RunStatus::Paused;
        let wishes = &mut self.wishes;
        let place = match kind {
            WishKind::Pause => {
                let resumed = wishes.resume.take().is_some();
                if paused {
                    return Ok(if resumed { Wished::Noted } else { Wished::Same });
                }
                &mut wishes.pause
            }
            WishKind::Resume => {
                let was_to_pause = wishes.pause.take().is_some();
                if !paused {
                    return Ok(if was_to_pause { Wished::Noted } else { Wished::Same });
                }
                &mut wishes.resume
            }
            WishKind::Cancel => &mut wishes.cancel,
            WishKind::Terminate => &mut wishes.terminate,
            WishKind::Retry => &mut wishes.retry,
        };
        if place.is_some() {
            return Ok(Wished::Same);
        }
        *place = Some(wish);
        Ok(Wished::Noted)
    }

    /// A retry goes on from the step that failed; of a run that is paused for a failure it is a resume.
    fn wish_retry(&mut self, wish: Wish) -> Result<Wished> {
        match self.status {
            RunStatus::Paused => return self.wish(WishKind::Resume, wish),
            RunStatus::Pending | RunStatus::Running | RunStatus::Waiting | RunStatus::Compensating => {
                return Ok(Wished::Same);
            }
            RunStatus::Completed => {
                return Err(Error::Conflict("the run is completed: there is nothing to retry, start another".into()));
            }
            RunStatus::Failed | RunStatus::Cancelled => {}
        }
        if self.undone {
            return Err(Error::Conflict(
                "the run has undone its steps, so there is nothing left to go on from: start another".into(),
            ));
        }
        self.wishes = Wishes { retry: Some(wish), extra: self.wishes.extra.clone(), ..Wishes::default() };
        self.become_status(RunStatus::Pending)?;
        Ok(Wished::Begun)
    }

    /// Ends a run without its body, where nobody holds its lease. Children are left to whoever asks.
    ///
    /// # Errors
    /// None for a run that has not ended: every status may become cancelled.
    pub fn terminate(&mut self) -> Result<Wished> {
        if self.status.is_ended() {
            return Ok(Wished::Ended(self.status));
        }
        self.become_status(RunStatus::Cancelled)?;
        Ok(Wished::Noted)
    }
}

/// Prepares a run for going on where it failed or was called off, and returns its journal as it is then, and the keys
/// of chunks that are not needed any more.
///
/// The journal is cut before what the body was told last of its failed step, or of its cancellation. What it was told
/// after that of operations that stay is kept to be told again; signals that other operations had taken are there
/// again. The failed step gets all of its attempts anew.
///
/// # Errors
/// [`Error::Corrupt`] if the cut journal makes no sense, which none does that was legal before.
pub fn begin_again(run: &mut Run, ledger: &Ledger, driver: TaskId) -> Result<(Ledger, Vec<String>)> {
    let end = ledger.entries().len();
    let cut = place_to_cut(run, ledger).map_or(end, |place| usize::try_from(place).unwrap_or(end));
    let failed = ledger.entries().get(cut).and_then(told).and_then(|told| told.news.op());
    let first_dropped = Op::try_from(cut).unwrap_or(Op::MAX);
    for told in ledger.entries().iter().skip(cut).filter_map(told) {
        match told.news.op() {
            Some(op) if Some(op) == failed => {}
            Some(op) if op < first_dropped => {
                let open = run.open.entry(op).or_default();
                open.result = Some(Box::new(told.clone()));
            }
            Some(op) => give_back(run, ledger, op, told),
            None => {}
        }
    }
    run.open.retain(|op, _| *op < first_dropped);
    run.retries += 1;
    let origin = Origin { run: driver, generation: run.generation, execution: run.execution, retries: run.retries };
    for (op, open) in &mut run.open {
        ledger.ask(*op).into_iter().for_each(|ask| revive(open, &ask.what, origin.call(*op)));
    }
    for entry in ledger.entries().iter().skip(cut) {
        if let Entry::Cancel(cancel) = &**entry
            && cancel.op < first_dropped
        {
            run.open.entry(cancel.op).or_default();
        }
    }
    if let Some(op) = failed {
        let attempt = ledger.entries().get(cut).and_then(told).map_or(0, starts);
        run.open.insert(op, Open { attempt, released: attempt, ..Open::default() });
    }
    let (journal, dropped) = chunks::cut(&run.journal, ledger.entries(), cut);
    run.journal = journal;
    if ended_by_deadline(ledger) {
        run.deadline = None;
    }
    run.failed_op = None;
    run.ending = None;
    run.pause = None;
    let ledger = Ledger::read(ledger.entries().get(..cut).unwrap_or_default().to_vec(), run.began)?;
    run.open.retain(|op, _| ledger.open().contains(op));
    restore_dues(run, &ledger);
    Ok((ledger, dropped))
}

/// Who calls a run off whose time is up.
pub const DEADLINE: &str = "deadline";

fn ended_by_deadline(ledger: &Ledger) -> bool {
    let place = ledger.cancelled().and_then(|place| usize::try_from(place).ok());
    let told = place.and_then(|place| ledger.entries().get(place)).and_then(told);
    matches!(told.map(|told| &told.news), Some(News::Cancel { by: Some(by), .. }) if by == DEADLINE)
}

/// An operation that had not ended when its run did goes on.
fn revive(open: &mut Open, what: &What, task: TaskId) {
    if open.started {
        // The end of the body did not wait for it; nobody was lost.
        attempts::released(open);
    }
    let called_off = std::mem::take(&mut open.closing);
    match what {
        // A task that was called off stays so: another takes its place.
        What::Call(_) if called_off => *open = Open { task: Some(task), ..Open::default() },
        What::Child(_) if called_off => *open = Open { revive: true, ..Open::default() },
        // Whatever became of it meanwhile is found by making sure of it.
        What::Call(_) | What::Child(_) => open.made = false,
        What::Step(_) | What::Timer { .. } | What::Signal { .. } | What::Select { .. } | What::Callback { .. } => {}
    }
}

fn told(entry: &Arc<Entry>) -> Option<&Told> {
    match &**entry {
        Entry::Told(told) => Some(told),
        Entry::Ask(_) | Entry::Cancel(_) | Entry::Unknown(_) => None,
    }
}

const fn starts(told: &Told) -> u32 {
    match &told.news {
        News::Ended { end, .. } => end.attempts,
        News::Timer { .. } | News::Signal { .. } | News::Select { .. } | News::Cancel { .. } => 0,
    }
}

/// Where the body was told what it ended of: its cancellation, or the failure of a step.
fn place_to_cut(run: &Run, ledger: &Ledger) -> Option<Op> {
    ledger.cancelled().or_else(|| match ledger.closed(run.failed_op?)? {
        Closed::Told(place) => Some(place),
        Closed::Cancelled(_) => None,
    })
}

/// The operation whose failure a body has ended of that failed with `error`: the one that the error names, or the one
/// that it was told of last, if that has failed.
#[must_use]
pub fn failed_op(ledger: &Ledger, error: &Fault) -> Option<Op> {
    let failed = |told: &Told| match &told.news {
        News::Ended { op, end, .. } if end.outcome != Outcome::Completed => Some(*op),
        _ => None,
    };
    let named = error.op.and_then(|op| ledger.told(op)).and_then(failed);
    named.or_else(|| ledger.entries().iter().rev().find_map(told).and_then(failed))
}

/// A signal that was taken by an operation that is no more is there again.
fn give_back(run: &mut Run, ledger: &Ledger, op: Op, told: &Told) {
    let Some(ask) = ledger.ask(op) else { return };
    let (name, received) = match (&ask.what, &told.news) {
        (What::Signal { .. }, News::Signal { signal: Some(received), .. }) => (ask.place.name.clone(), received),
        (What::Select { arms }, News::Select { arm, signal: Some(received), .. }) => match arms.get(arm) {
            Some(Arm::Signal(name)) => (name.clone(), received),
            _ => return,
        },
        _ => return,
    };
    run.returned.push(Returned {
        name,
        payload: received.payload.clone(),
        payload_ref: received.payload_ref.clone(),
        sent_at: received.sent_at,
        id: received.id.clone(),
        extra: Extra::new(),
    });
}

/// Operations that are open again wait for their times again.
fn restore_dues(run: &mut Run, ledger: &Ledger) {
    for op in ledger.open() {
        let open = run.open.entry(*op).or_default();
        if let Some(ask) = ledger.ask(*op)
            && ask.what.kind() != Kind::Step
        {
            open.due = due(&ask.what, open.beat.unwrap_or(ask.at));
        }
    }
}

/// When a wait is over, at the latest. `alive` is when its callback last gave a sign of life.
#[must_use]
pub fn due(what: &What, alive: Millis) -> Option<Millis> {
    match what {
        What::Timer { until } => Some(*until),
        What::Signal { until } => *until,
        What::Select { arms } => {
            arms.values().filter_map(|arm| if let Arm::Timer(at) = arm { Some(*at) } else { None }).min()
        }
        What::Callback { until, heartbeat_ms } => {
            let beat = heartbeat_ms.map(|ms| alive.plus(ms));
            [*until, beat].into_iter().flatten().min()
        }
        What::Step(_) | What::Call(_) | What::Child(_) => None,
    }
}

#[cfg(test)]
mod tests;
