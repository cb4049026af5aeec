//! Obeying what others wish of a run.

use super::super::attempts;
use super::super::model::{Millis, Op};
use super::super::state::WishKind;
use super::super::status::RunStatus;
use super::super::wishes::{Pause, PauseCause, Wish};
use super::Driver;
use crate::error::Result;
use crate::record::Extra;

impl Driver {
    /// Does what is wished, as far as the body has no part in it.
    pub(super) fn obey(&mut self, now: Millis) -> Result<()> {
        if self.run.wishes.terminate.is_some() {
            self.terminating = true;
            return Ok(());
        }
        if self.mismatched {
            return Ok(());
        }
        if let Some(wish) = self.run.wishes.resume.clone() {
            self.resume()?;
            self.fulfil(WishKind::Resume, wish);
        }
        let cancel = self.run.wishes.cancel.clone();
        if let Some(wish) = cancel.clone().filter(|_| self.ledger.cancelled().is_some()) {
            self.fulfil(WishKind::Cancel, wish);
        } else if (cancel.is_some() || self.is_late(now)) && self.run.status == RunStatus::Paused {
            self.resume()?;
        }
        if let Some(wish) = self.run.wishes.pause.clone() {
            if self.run.wishes.cancel.is_none() {
                self.pause(PauseCause::Wish, None, &wish)?;
            }
            self.fulfil(WishKind::Pause, wish);
        }
        let held = self.run.open.iter().find(|(_, open)| open.held).map(|(op, _)| *op);
        if let Some(op) = held {
            self.pause(PauseCause::Failure, Some(op), &Wish { at: now, ..Wish::default() })?;
        }
        Ok(())
    }

    /// Whether the run is to be called off because its time is up.
    pub(super) fn is_late(&self, now: Millis) -> bool {
        self.ledger.cancelled().is_none() && self.run.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Notes that the next round fulfils a wish.
    pub(super) fn fulfil(&mut self, kind: WishKind, wish: Wish) {
        *self.run.wishes.place(kind) = None;
        self.obeyed.push((kind, wish));
        self.dirty = true;
    }

    fn pause(&mut self, cause: PauseCause, op: Option<Op>, wish: &Wish) -> Result<()> {
        if self.run.status == RunStatus::Paused || self.run.ending.is_some() {
            return Ok(());
        }
        let compensating = self.run.status == RunStatus::Compensating;
        self.run.become_status(RunStatus::Paused)?;
        self.run.pause = Some(Pause {
            at: wish.at,
            cause,
            op,
            mismatch: None,
            by: wish.by.clone(),
            reason: wish.reason.clone(),
            compensating,
            extra: Extra::new(),
        });
        self.dirty = true;
        Ok(())
    }

    /// Goes on after a pause; steps that had failed have all of their attempts again.
    fn resume(&mut self) -> Result<()> {
        if self.run.status != RunStatus::Paused {
            return Ok(());
        }
        let compensating = self.run.pause.take().is_some_and(|pause| pause.compensating);
        self.run.become_status(if compensating { RunStatus::Compensating } else { RunStatus::Running })?;
        self.run.open.values_mut().filter(|open| open.held).for_each(attempts::renew);
        self.dirty = true;
        Ok(())
    }
}
