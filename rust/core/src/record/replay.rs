//! What a person does with finished tasks: run failed ones again, put them aside, remove what they hold.

use std::time::Duration;

use super::backoff::RetryPolicy;
use super::codec::Json;
use super::dead::Overrides;
use super::model::{BatchRecord, Task};
use super::options::Options;
use super::status::TaskStatus;
use crate::error::{Error, Result};
use crate::limits;
use crate::time::Timestamp;

/// Parts of a retry policy to be changed.
#[derive(Clone, Debug, Default)]
pub struct RetryChanges {
    /// Retries after the first attempt.
    pub max_retries: Option<u32>,
    /// Wait before the first retry, in milliseconds.
    pub initial_ms: Option<u64>,
    /// The longest wait, in milliseconds.
    pub max_ms: Option<u64>,
    /// Growth from one wait to the next.
    pub multiplier: Option<f64>,
    /// Share of the wait that is random.
    pub jitter: Option<f64>,
}

/// What is different when a task runs again; what is `None` stays as it was.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// How long an attempt may take, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// 0 to 9; 9 goes first.
    pub priority: Option<u8>,
    /// What happens after a failure.
    pub retry: RetryChanges,
    /// How long after the replay it may start.
    pub delay: Option<Duration>,
    /// Before which moment it may not start.
    pub not_before: Option<Timestamp>,
}

/// What to do with a finished task.
#[derive(Clone, Copy, Debug)]
pub enum Move<'a> {
    /// Run a failed one again.
    Replay(&'a Changes),
    /// Put it aside, whatever it came to.
    Archive,
}

/// Why a task stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such task in the record.
    Missing,
    /// Its status does not allow the move.
    Status(TaskStatus),
    /// It was purged: nothing is left to run or to keep.
    Purged,
}

impl RetryChanges {
    /// The policy with these parts in place of its own.
    #[must_use]
    pub fn apply(&self, policy: RetryPolicy) -> RetryPolicy {
        RetryPolicy {
            max_retries: self.max_retries.unwrap_or(policy.max_retries),
            initial_ms: self.initial_ms.unwrap_or(policy.initial_ms),
            max_ms: self.max_ms.unwrap_or(policy.max_ms),
            multiplier: self.multiplier.unwrap_or(policy.multiplier),
            jitter: self.jitter.unwrap_or(policy.jitter),
            extra: policy.extra,
        }
    }

    const fn is_empty(&self) -> bool {
        self.max_retries.is_none()
            && self.initial_ms.is_none()
            && self.max_ms.is_none()
            && self.multiplier.is_none()
            && self.jitter.is_none()
    }
}

impl Changes {
    /// Refuses what no task can have.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the option, its value and its range.
    pub fn check(&self) -> Result<()> {
        let defaults = Options::default();
        let retry = self.retry.apply(RetryPolicy::default());
        let (timeout_ms, priority) = (self.timeout_ms, self.priority);
        Options {
            timeout_ms: timeout_ms.unwrap_or(defaults.timeout_ms),
            priority: priority.unwrap_or(defaults.priority),
            retry,
            ..defaults
        }
        .check()?;
        match (self.delay, self.not_before) {
            (Some(_), Some(_)) => Err(Error::Invalid("both delay and at are given; give one of them".into())),
            (Some(delay), None) if delay > limits::LONGEST => {
                Err(Error::Invalid(format!("delay is {} s; give up to 366 days", delay.as_secs())))
            }
            _ => Ok(()),
        }
    }

    /// Whether tasks keep the options they have.
    #[must_use]
    pub const fn keeps_options(&self) -> bool {
        self.timeout_ms.is_none() && self.priority.is_none() && self.retry.is_empty()
    }

    fn available_at(&self, now: Timestamp) -> Timestamp {
        self.not_before.unwrap_or_else(|| now.after(self.delay.unwrap_or_default()))
    }
}

impl Refusal {
    /// What a person is told.
    #[must_use]
    pub fn explain(self, task: &str, verb: &str) -> String {
        match self {
            Self::Missing => crate::error::Error::no_task(task).to_string(),
            Self::Purged => format!("task {task} cannot be {verb}: it was purged, and nothing of it is left"),
            Self::Status(status) => {
                let why = match status {
                    TaskStatus::Pending => "it is pending: it has been replayed already, or has not run yet",
                    TaskStatus::Running => "it is running",
                    TaskStatus::Waiting => "it is parked, and waits to be woken",
                    TaskStatus::Completed => "it is completed; only failed tasks run again: submit it anew",
                    TaskStatus::Cancelled => "it is cancelled; only failed tasks run again: submit it anew",
                    TaskStatus::Expired => "it is expired; only failed tasks run again: submit it anew",
                    TaskStatus::Archived => "it is archived, and that is final",
                    TaskStatus::Failed => "it is failed",
                };
                format!("task {task} cannot be {verb}: {why}")
            }
        }
    }
}

impl BatchRecord {
    /// Moves the `n`-th task. Two of the same moves are one move and one refusal.
    ///
    /// # Errors
    /// Why the task stays as it is; nothing has changed then.
    pub fn move_task(&mut self, n: u16, action: Move<'_>, now: Timestamp) -> std::result::Result<(), Refusal> {
        let task = self.tasks.get(usize::from(n)).ok_or(Refusal::Missing)?;
        if task.purged_at.is_some() {
            return Err(Refusal::Purged);
        }
        let next = match action {
            Move::Replay(_) => TaskStatus::Pending,
            Move::Archive => TaskStatus::Archived,
        };
        // A running task becomes pending too, but not by anybody's wish.
        if !(task.status.is_terminal() && task.status.may_become(next)) {
            return Err(Refusal::Status(task.status));
        }
        let options = match action {
            Move::Replay(changes) => self.changed_options(task, changes),
            Move::Archive => task.options.clone(),
        };
        let Some(task) = self.tasks.get_mut(usize::from(n)) else { return Err(Refusal::Missing) };
        let before = std::mem::replace(&mut task.status, next);
        task.archived_from = matches!(action, Move::Archive).then_some(before);
        task.options = options;
        if let Move::Replay(changes) = action {
            // The error stays until the next attempt has ended, and so does the count of attempts.
            task.retry_count = 0;
            task.loss_count = 0;
            task.completed_at = None;
            task.cancel = None;
            // Whoever replays it wants it run, however late.
            task.expires_at = None;
            task.available_at = changes.available_at(now);
        }
        Ok(())
    }

    /// Moves the failed tasks that `wanted` picks; tells how many.
    pub fn move_failed(&mut self, action: Move<'_>, now: Timestamp, wanted: impl Fn(&Task) -> bool) -> usize {
        let picked: Vec<u16> =
            self.tasks.iter().filter(|task| task.is_failed() && wanted(task)).map(|task| task.n).collect();
        picked.into_iter().filter(|n| self.move_task(*n, action, now).is_ok()).count()
    }

    /// Purges the finished tasks that `wanted` picks and tells how many: what they hold is dropped, and they are
    /// archived for good. Once all are purged no commit can change the record any more, and it may be deleted.
    pub fn purge(&mut self, now: Timestamp, wanted: impl Fn(&Task) -> bool) -> usize {
        let mut count = 0;
        for task in &mut self.tasks {
            if task.status.is_terminal() && task.purged_at.is_none() && wanted(task) {
                task.status = TaskStatus::Archived;
                task.input = Json::null();
                task.input_ref = None;
                task.input_files = Vec::new();
                task.output = None;
                task.output_ref = None;
                task.output_files = Vec::new();
                task.error = None;
                task.tags.clear();
                task.metadata.clear();
                task.progress = None;
                task.cancel = None;
                task.park = None;
                task.after = None;
                task.archived_from = None;
                task.purged_at = Some(now);
                count += 1;
            }
        }
        count
    }

    /// Passes over the number of a ready entry that is ahead of the record, so that the entry is stale and what was to
    /// follow it can never land. `None` if no entry can have that number.
    pub fn pass_over(&mut self, seq: u64) -> Option<()> {
        (self.is_finished() && seq == self.seq + 1).then(|| self.seq = seq)
    }

    fn changed_options(&self, task: &Task, changes: &Changes) -> Option<Box<Overrides>> {
        if changes.keeps_options() {
            return task.options.clone();
        }
        let mut own = task.options.clone().unwrap_or_default();
        own.timeout_ms = changes.timeout_ms.or(own.timeout_ms);
        own.priority = changes.priority.or(own.priority);
        if !changes.retry.is_empty() {
            own.retry = Some(changes.retry.apply(self.options_of(task).into_owned().retry));
        }
        Some(own)
    }
}
