//! What can be started, and whether a run can wait without a driver.

use std::collections::BTreeSet;

use super::super::entry::Kind;
use super::super::limits;
use super::super::model::{Millis, Op, Open};
use super::super::status::RunStatus;
use super::Driver;
use super::close::is_closed;
use super::round::Park;

impl Driver {
    /// The steps that can be started now.
    pub(super) fn due_starts(&self, now: Millis) -> impl Iterator<Item = Op> {
        let may = matches!(self.run.status, RunStatus::Running | RunStatus::Compensating) && self.run.ending.is_none();
        let started = self.run.open.values().filter(|open| open.started).count();
        let ended: BTreeSet<Op> = self.ends.iter().filter_map(|arrival| arrival.news.op()).collect();
        let is_due = move |op: &Op| {
            let waits = self.run.open.get(op).is_some_and(|open| {
                open.started || open.held || open.result.is_some() || open.due.is_some_and(|due| due > now)
            });
            !waits && !ended.contains(op) && self.ledger.ask(*op).is_some_and(|ask| ask.what.kind() == Kind::Step)
        };
        let open = self.ledger.open().iter().copied().filter(move |_| may);
        open.filter(is_due).take(limits::STARTED.saturating_sub(started))
    }

    /// Whether the run ends as soon as a round is made.
    pub(super) fn is_closed(&self) -> bool {
        self.run.ending.is_some() && is_closed(&self.run, &self.ledger)
    }

    /// Until when the run can wait without a driver, if it can.
    pub(super) fn may_park(&self, now: Millis) -> Option<Park> {
        let paused = self.run.status == RunStatus::Paused;
        let awaits = paused || self.run.ending.is_some() || !self.ledger.open().is_empty();
        let busy = |(op, open): (&Op, &Open)| {
            let call = self.ledger.ask(*op).is_some_and(|ask| matches!(ask.what.kind(), Kind::Call | Kind::Child));
            let unmade = call && !open.made && !open.closing && open.result.is_none();
            open.started || unmade || (open.closing && !open.informed && open.result.is_none())
        };
        let idle = awaits
            && self.ends.is_empty()
            && !self.run.open.iter().any(busy)
            && !self.wants_look()
            && !self.is_closed()
            && self.offers(now).is_empty()
            && self.due_starts(now).next().is_none();
        let until = self.earliest_due();
        let soon = until.is_some_and(|until| until.0 <= now.0.saturating_add(limits::IN_PLACE_MS));
        (idle && !soon).then_some(Park { until })
    }

    /// When something is due next.
    pub(super) fn earliest_due(&self) -> Option<Millis> {
        let deadline = self.run.deadline.filter(|_| self.ledger.cancelled().is_none() && self.run.ending.is_none());
        let tells = self.run.status != RunStatus::Paused && self.run.ending.is_none();
        let due = self.run.open.values().filter(|open| tells && !open.held && open.result.is_none());
        due.filter_map(|open| open.due).chain(deadline).min()
    }
}
