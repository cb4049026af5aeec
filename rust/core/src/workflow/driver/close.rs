//! The end of a body, and of what ends with it.

use super::super::entry::{Entry, Fault, Kind, News, OnClose, Told, What};
use super::super::journal::Ledger;
use super::super::model::{Journal, Millis, Run};
use super::super::state::{DEADLINE, failed_op};
use super::super::status::RunStatus;
use super::super::wishes::{EndKind, Ending, Wish};
use super::Driver;
use super::said::BodyEnd;
use super::turn::{Draft, refuse};
use crate::error::Result;
use crate::record::{Extra, Json};

impl Driver {
    pub(super) fn take_end(&self, draft: &mut Draft, end: Option<BodyEnd>, now: Millis) -> Result<()> {
        let at = now.max(self.ledger.last());
        if self.terminating {
            let reason = draft.run.wishes.terminate.as_ref().and_then(|wish| wish.reason.clone());
            let error = Fault::new("Terminated", reason.unwrap_or_else(|| "the run was terminated".into()));
            close_all(draft, &self.ledger);
            return self.finish(draft, ending(at, EndKind::Cancelled, None, Some(error)));
        }
        if let Some(ending) = draft.run.ending.clone() {
            return if is_closed(&draft.run, &self.ledger) { self.finish(draft, ending) } else { Ok(()) };
        }
        let ending = match end {
            None => return Ok(()),
            Some(BodyEnd::Completed(output)) if self.ledger.is_compensating() => {
                let shown: String = output.text().chars().take(64).collect();
                return refuse(format!(
                    "the body returned {shown} after it undid steps: end it as failed or cancelled"
                ));
            }
            Some(BodyEnd::Completed(output)) => ending(at, EndKind::Completed, Some(output), None),
            Some(BodyEnd::Failed(error)) => ending(at, EndKind::Failed, None, Some(error.cut())),
            Some(BodyEnd::Cancelled(error)) => self.cancelled(at, error),
            Some(BodyEnd::Continued(input)) => ending(at, EndKind::Continued, Some(input), None),
        };
        close_all(draft, &self.ledger);
        if is_closed(&draft.run, &self.ledger) {
            return self.finish(draft, ending);
        }
        draft.run.ending = Some(ending);
        Ok(())
    }

    /// A body that gave way to a deadline has failed.
    fn cancelled(&self, at: Millis, error: Option<Fault>) -> Ending {
        let place = self.ledger.cancelled().and_then(|place| usize::try_from(place).ok());
        let told = place.and_then(|place| self.ledger.entries().get(place));
        if let Some(Entry::Told(Told { news: News::Cancel { reason, by }, .. })) = told.map(|entry| &**entry)
            && by.as_deref() == Some(DEADLINE)
        {
            let cause = error.map(|error| Box::new(error.cut()));
            let message = reason.clone().unwrap_or_default();
            let error = Fault { cause, ..Fault::new("DeadlineExceeded", message) };
            return ending(at, EndKind::Failed, None, Some(error));
        }
        ending(at, EndKind::Cancelled, None, error.map(Fault::cut))
    }

    fn finish(&self, draft: &mut Draft, ending: Ending) -> Result<()> {
        let run = &mut draft.run;
        if run.status == RunStatus::Paused {
            // Nothing is left that could be resumed.
            let compensating = run.pause.take().is_some_and(|pause| pause.compensating);
            run.become_status(if compensating { RunStatus::Compensating } else { RunStatus::Running })?;
        }
        let running = run.open.iter().filter(|(_, open)| open.started).map(|(op, _)| *op);
        draft.after.stop.extend(running);
        run.ending = None;
        run.undone = self.ledger.is_compensating();
        match ending.kind {
            EndKind::Completed => run.become_status(RunStatus::Completed)?,
            EndKind::Cancelled => run.become_status(RunStatus::Cancelled)?,
            EndKind::Failed => {
                run.failed_op = ending.error.as_ref().and_then(|error| failed_op(&self.ledger, error));
                run.become_status(RunStatus::Failed)?;
            }
            EndKind::Continued => self.go_on_as_new(draft, &ending),
        }
        draft.end = Some(ending);
        Ok(())
    }

    fn go_on_as_new(&self, draft: &mut Draft, ending: &Ending) {
        let run = &mut draft.run;
        draft.after.drop.extend(run.journal.chunks.iter().map(|chunk| chunk.key.clone()));
        draft.after.continued.clone_from(&ending.output);
        run.execution += 1;
        run.journal = Journal { extra: run.journal.extra.clone(), ..Journal::default() };
        run.open.clear();
        run.patches.clear();
        run.began = ending.at;
        run.failed_op = None;
        run.version.clone_from(&self.code.version);
        run.definition.clone_from(&self.code.definition);
    }

    /// A cancellation that the body has been told is not over when it goes on as new: it is told again.
    pub(super) fn told_cancel(&self) -> Option<Wish> {
        let entry = self.ledger.entries().get(usize::try_from(self.ledger.cancelled()?).ok()?)?;
        match &**entry {
            Entry::Told(Told { at, news: News::Cancel { reason, by }, .. }) if by.as_deref() != Some(DEADLINE) => {
                Some(Wish { at: *at, by: by.clone(), reason: reason.clone(), extra: Extra::new() })
            }
            _ => None,
        }
    }
}

const fn ending(at: Millis, kind: EndKind, output: Option<Json>, error: Option<Fault>) -> Ending {
    Ending { at, kind, output, error, extra: Extra::new() }
}

/// Calls off the children that end with their parent.
pub(super) fn close_children(draft: &mut Draft, ledger: &Ledger) {
    for (op, open) in &mut draft.run.open {
        let what = ledger.ask(*op).map(|ask| &ask.what);
        if matches!(what, Some(What::Child(child)) if child.on_close == OnClose::Cancel) {
            open.closing = true;
        }
    }
}

/// Calls off the children that end with their parent, and the tasks that nobody waits for any more.
fn close_all(draft: &mut Draft, ledger: &Ledger) {
    close_children(draft, ledger);
    for (op, open) in &mut draft.run.open {
        if ledger.ask(*op).is_some_and(|ask| ask.what.kind() == Kind::Call) {
            open.closing = true;
        }
    }
}

/// Whether all that ends with a run has ended: children, and tasks that know that they are called off.
pub(super) fn is_closed(run: &Run, ledger: &Ledger) -> bool {
    run.open.iter().filter(|(_, open)| open.closing && open.result.is_none()).all(|(op, open)| {
        let is_call = ledger.ask(*op).is_some_and(|ask| ask.what.kind() == Kind::Call);
        is_call && open.informed
    })
}
