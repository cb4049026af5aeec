//! Tasks that drive runs: what a round makes of them, and what may be done to them from outside.

use super::Json;
use super::cancel::Cancelling;
use super::extras::Cancel;
use super::model::{BatchRecord, Extra, Task};
use super::options::Options;
use super::payload::{PayloadRef, Stowed};
use super::status::TaskStatus;
use super::transition::{Failure, Settlement, finish, task_error, wait_until};
use crate::error::Result;
use crate::id::TaskId;
use crate::time::Timestamp;
use crate::workflow::driver::Round;
use crate::workflow::entry::Fault;
use crate::workflow::model::Millis;
use crate::workflow::state::{WishKind, Wished};
use crate::workflow::status::RunStatus;
use crate::workflow::wishes::{EndKind, Ending, Wish};

/// One commit of a run, by whoever holds the lease of its driver.
#[derive(Clone, Debug)]
pub struct Advance {
    /// What it makes of the run.
    pub round: Round,
    /// Whether it tells of the end of a step: then the run gets on, and workers that were lost before count no more.
    pub got_on: bool,
    /// Whether it gives the lease back.
    pub releases: bool,
    /// Where the output of the run, or the input of its next execution, lies, if not in the record.
    pub stowed: Option<PayloadRef>,
}

impl Advance {
    /// The output of the run, or the input of its next execution.
    #[must_use]
    pub fn payload(&self) -> Option<&Json> {
        self.round.input.as_ref().or_else(|| self.round.end.as_ref()?.output.as_ref())
    }
}

impl Task {
    /// Makes a round's changes. `None` if the task is not under its lease any more.
    pub(super) fn advance(&mut self, advance: &Advance, now: Timestamp) -> Option<Settlement> {
        let round = &advance.round;
        let Some(Ok(())) = self.run.as_mut().map(|run| round.apply(run)) else { return Some(Settlement::LeaseLost) };
        if advance.got_on || round.park.is_some() {
            self.loss_count = 0;
        }
        if round.input.is_some() {
            self.input_ref = advance.stowed.clone().map(Box::new);
            let here = round.input.clone().filter(|_| advance.stowed.is_none());
            self.input = here.unwrap_or_else(Json::null);
            self.input_files.clear();
        }
        if let Some(ending) = &round.end {
            self.end_as(ending, advance.stowed.clone(), now);
            return None;
        }
        if advance.releases {
            wait_until(self, now);
            return None;
        }
        let Some(park) = round.park else { return Some(Settlement::Advanced { woken: self.hear_anew() }) };
        if self.park(park.until.map(Millis::time), false) {
            return None;
        }
        // It goes on at once.
        if let Some(run) = self.run.as_mut().filter(|run| run.status == RunStatus::Waiting) {
            run.status = RunStatus::Running;
        }
        Some(Settlement::Advanced { woken: true })
    }

    /// Hands the attempt that goes on the bit that was set since it looked; whether it was.
    fn hear_anew(&mut self) -> bool {
        let is_set = self.park.as_ref().is_some_and(|park| park.woken);
        if is_set {
            self.hear();
        }
        is_set
    }

    fn end_as(&mut self, ending: &Ending, stowed: Option<PayloadRef>, now: Timestamp) {
        self.error = ending.error.as_ref().map(|fault| task_error(&failure(fault), now));
        match ending.kind {
            EndKind::Completed => {
                let output = ending.output.clone().filter(|_| stowed.is_none());
                self.take_output(Stowed { output, output_ref: stowed, files: Vec::new() });
                finish(self, TaskStatus::Completed, now);
            }
            EndKind::Failed => finish(self, TaskStatus::Failed, now),
            EndKind::Cancelled => finish(self, TaskStatus::Cancelled, now),
            // The body goes on in place: it has not ended.
            EndKind::Continued => {}
        }
    }

    /// The task ends in this way; if its run has not, it ends too, without its body.
    pub(super) fn end_run(&mut self, status: TaskStatus, now: Timestamp) {
        let Some(run) = self.run.as_mut().filter(|run| !run.status.is_ended()) else { return };
        if status == TaskStatus::Cancelled {
            run.status = RunStatus::Cancelled;
            return;
        }
        run.status = RunStatus::Failed;
        let why = self.error.as_ref().map_or("its driver ended", |error| &error.message);
        let message = format!("the run could not be driven to its end: {why}");
        self.error = Some(task_error(&Failure { kind: "DriverLost".into(), message, traceback: None }, now));
    }

    /// Whether its run has not begun: nothing would be tidied up after it.
    fn is_untouched(&self) -> bool {
        let untouched = self.run.as_ref().is_some_and(|run| {
            run.status == RunStatus::Pending && run.journal.is_empty() && run.execution == 0 && run.retries == 0
        });
        untouched && self.attempt == 0 && self.lease.is_none()
    }

    /// Ends a run whose driver nobody holds, without its body.
    fn terminate(&mut self, kind: &str, wish: &Wish) {
        let message = wish.reason.clone().unwrap_or_else(|| format!("the run was {}", kind.to_lowercase()));
        self.error = Some(task_error(&Failure { kind: kind.into(), message, traceback: None }, wish.at.time()));
        finish(self, TaskStatus::Cancelled, wish.at.time());
    }
}

impl BatchRecord {
    /// Notes what somebody wishes of a run, and wakes it; `None` if the task drives none. What has not begun is called off
    /// at once; so is what is to be terminated while nobody holds its lease.
    ///
    /// # Errors
    /// [`crate::Error::Conflict`] if it cannot be retried.
    pub fn wish(&mut self, id: TaskId, kind: WishKind, wish: Wish) -> Result<Option<Wished>> {
        let now = wish.at.time();
        let Some(task) = self.task_mut(id) else { return Ok(None) };
        let (untouched, unleased) = (task.is_untouched(), task.lease.is_none());
        let Some(run) = task.run.as_mut() else { return Ok(None) };
        if run.status.is_ended() && !matches!(kind, WishKind::Retry | WishKind::Resume) {
            return Ok(Some(Wished::Ended(run.status)));
        }
        // What was made for it is to be called off by its driver.
        let alone = !run.open.values().any(|open| open.made);
        match kind {
            WishKind::Terminate if unleased && alone => {
                task.terminate("Terminated", &wish);
                return Ok(Some(Wished::Ended(RunStatus::Cancelled)));
            }
            WishKind::Cancel if untouched => {
                task.terminate("Cancelled", &wish);
                return Ok(Some(Wished::Ended(RunStatus::Cancelled)));
            }
            _ => {}
        }
        let wished = run.wish(kind, wish)?;
        match wished {
            Wished::Noted => {
                self.wake(id, now);
            }
            Wished::Begun => task.begin_again(now),
            Wished::Same | Wished::Ended(_) => {}
        }
        Ok(Some(wished))
    }

    /// Calling off the driver of a run is calling off the run.
    pub(super) fn cancel_run(&mut self, id: TaskId, wish: &Cancel) -> Cancelling {
        let wish = Wish { at: wish.at.into(), by: wish.by.clone(), reason: wish.reason.clone(), extra: Extra::new() };
        let before = self.task(id).map(|task| task.status);
        match self.wish(id, WishKind::Cancel, wish) {
            Ok(Some(Wished::Ended(_))) => {
                let status = self.task(id).map_or(TaskStatus::Cancelled, |task| task.status);
                if before == Some(status) { Cancelling::Finished(status) } else { Cancelling::Cancelled }
            }
            Ok(Some(_)) => Cancelling::Requested,
            Ok(None) | Err(_) => Cancelling::Missing,
        }
    }
}

impl BatchRecord {
    /// Prunes the runs that `wanted` picks of those that have ended, and tells how many: what they hold is dropped, and their
    /// drivers are archived for good. Once all are pruned no commit can change the record any more, and it may be deleted.
    pub fn prune(&mut self, now: Timestamp, wanted: impl Fn(&Task) -> bool) -> usize {
        let ended = |task: &&mut Task| {
            task.status.is_terminal() && task.purged_at.is_none() && task.run.is_some() && wanted(task)
        };
        let mut count = 0;
        for task in self.tasks.iter_mut().filter(ended) {
            task.run = None;
            task.drop_contents(now);
            count += 1;
        }
        count
    }

    /// Puts a new life of a run in the place of one that has ended. `None` if that is not what stands there.
    pub fn start_again(&mut self, kind: &str, options: &Options, task: Task) -> Option<()> {
        let next = task.run.as_ref()?.generation;
        let old = self.tasks.first_mut().filter(|old| old.purged_at.is_none())?;
        old.run.as_ref().filter(|run| run.status.is_ended() && run.generation + 1 == next)?;
        *old = Task { n: 0, ..task };
        kind.clone_into(&mut self.kind);
        self.options = options.clone();
        Some(())
    }
}

impl Task {
    /// The driver of a run that begins again where it had ended. Unread signals are looked at again.
    fn begin_again(&mut self, now: Timestamp) {
        self.completed_at = None;
        self.retry_count = 0;
        self.loss_count = 0;
        self.park.get_or_insert_default().woken = true;
        wait_until(self, now);
    }
}

fn failure(fault: &Fault) -> Failure {
    Failure { kind: fault.kind.clone(), message: fault.message.clone(), traceback: fault.traceback.clone() }
}
