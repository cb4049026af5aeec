//! What becomes of the tasks and runs that a run has asked for.

use super::super::check::check_end;
use super::super::entry::{End, Fault, Kind, News, Told};
use super::super::model::Op;
use super::{Arrival, Driver, Reported};
use crate::error::Result;
use crate::id::TaskId;
use crate::record::Extra;

impl Driver {
    /// The task or run `id` that stands for an operation has ended; or there is none and never will be.
    ///
    /// # Errors
    /// [`Error::Invalid`] if its result is not what may be stored.
    pub fn called(&mut self, op: Op, id: TaskId, end: End) -> Result<Reported> {
        check_end(&end)?;
        let Some((kind, _)) = self.target(op).filter(|(_, ours)| *ours == id && !self.is_over()) else {
            return Ok(Reported::Dropped);
        };
        if self.ledger.closed(op).is_some() {
            self.note_closed(op, kind, end);
            return Ok(Reported::Dropped);
        }
        if self.is_known_to_have_ended(op) {
            return Ok(Reported::Dropped);
        }
        let end = End { error: end.error.map(Fault::cut), ..end };
        self.run.open.entry(op).or_default().made = true;
        self.ends.push_back(Arrival { news: News::Ended { kind, op, end }, key: None });
        Ok(Reported::Taken)
    }

    /// What the body has called off has ended.
    fn note_closed(&mut self, op: Op, kind: Kind, end: End) {
        let winds_up = self.ledger.cancelled().is_some() || self.run.ending.is_some();
        let at = self.ledger.last();
        match self.run.open.get_mut(&op) {
            // A run that is resumed waits for it again, and has to know that it called it off.
            Some(open) if winds_up && open.result.is_none() => {
                open.result = Some(Box::new(Told { at, news: News::Ended { kind, op, end }, extra: Extra::new() }));
                self.dirty = true;
            }
            Some(_) if !winds_up => {
                self.run.open.remove(&op);
                self.dirty = true;
            }
            Some(_) | None => {}
        }
    }

    /// The task or run `id` that an operation asks for is stored.
    pub fn made(&mut self, op: Op, id: TaskId) {
        let ours = self.target(op).is_some_and(|(_, ours)| ours == id);
        if let Some(open) = self.run.open.get_mut(&op).filter(|open| ours && !open.made) {
            open.made = true;
            open.revive = false;
            self.dirty = true;
        }
    }

    /// The task or run `id` of an operation that is called off knows it.
    pub fn informed(&mut self, op: Op, id: TaskId) {
        let Some((kind, _)) = self.target(op).filter(|(_, ours)| *ours == id) else { return };
        let Some(open) = self.run.open.get_mut(&op).filter(|open| open.closing && !open.informed) else { return };
        open.informed = true;
        self.dirty = true;
        if kind == Kind::Call && self.ledger.closed(op).is_some() {
            // Nobody waits for how it ends.
            self.run.open.remove(&op);
        }
    }
}
