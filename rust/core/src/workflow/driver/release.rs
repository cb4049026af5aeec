//! Giving a run back without ending or parking it.

use super::super::attempts;
use super::super::model::Millis;
use super::round::{Base, Round};
use super::{Driver, Pending, Phase};
use crate::error::Result;

impl Driver {
    /// The round that gives the run back for another driver: what has ended and was not told is kept, steps that were
    /// started and not reported count as not started, and nothing is started.
    ///
    /// # Errors
    /// As [`Self::advance`].
    pub fn release(&mut self, now: Millis) -> Result<Round> {
        self.check_ready()?;
        self.offered.clear();
        self.keep_ends(now);
        self.run.open.values_mut().filter(|open| open.started).for_each(attempts::released);
        self.run.unread = self.has_unread();
        let base = std::mem::replace(&mut self.stored, Base::of(&self.run));
        let obeyed = std::mem::take(&mut self.obeyed);
        let after = std::mem::take(&mut self.after);
        self.phase = Phase::Committing(Box::new(Pending { after, ends: true, parks: false }));
        Ok(Round { run: self.run.clone(), base, obeyed, chunks: Vec::new(), park: None, end: None, input: None })
    }
}
