//! Every way a record changes. Each is a function of the record and the facts; none reads a clock.

use super::codec::Json;
use super::model::{BatchRecord, Extra, Lease, Task, TaskError};
use super::park::Claimed;
use super::payload::Stowed;
use super::run::Advance;
use super::status::TaskStatus;
use crate::id::{LeaseId, TaskId};
use crate::limits;
use crate::time::Timestamp;

/// What a handler's attempt came to.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It returned this.
    Complete {
        /// The output.
        output: Json,
    },
    /// It returned this, some or all of which has been written to objects of its own.
    CompleteStowed(Stowed),
    /// It failed.
    Fail {
        /// Why.
        error: Failure,
        /// Whether a retry may help.
        retry: bool,
        /// When to retry, instead of the policy's back-off.
        retry_at: Option<Timestamp>,
    },
    /// It parks the task: it waits to be woken, without a place in any worker and without spending a retry.
    Park {
        /// When it becomes due although nobody wakes it.
        until: Option<Timestamp>,
    },
    /// It is a round of a run.
    Advance(Box<Advance>),
    /// It asks to run again at a later time, without spending a retry.
    Reschedule {
        /// When.
        at: Timestamp,
    },
    /// It was not run, or not to its end; anybody may take it, at once and without spending a retry.
    Release,
    /// It stopped because somebody called it off; without such a wish the same as a release.
    Cancel,
}

/// Why an attempt failed, as the front tells it.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The kind of error.
    pub kind: String,
    /// What it says.
    pub message: String,
    /// Where it came from.
    pub traceback: Option<String>,
}

/// What became of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It changed the task.
    Applied {
        /// The task's new status.
        status: TaskStatus,
        /// When it may start again, if it is pending, or becomes due by itself, if it waits.
        available_at: Option<Timestamp>,
    },
    /// It was to be parked, and was woken since its attempt looked: it still runs under its lease, and is to look again.
    Woken,
    /// It is a run that got on, and still runs under its lease.
    Advanced {
        /// Whether it was woken since it looked: then it is to look again, also where it was to be parked.
        woken: bool,
    },
    /// The lease is not the task's any more; nothing changed.
    LeaseLost,
}

/// Why a lease falls without its holder's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fall {
    /// Its worker's heartbeat is stale.
    WorkerLost,
    /// Its time is up although the worker lives.
    Expired,
}

impl BatchRecord {
    /// Puts up to `max` due tasks under a new lease; returns which, none if nothing is due.
    pub fn claim(&mut self, lease: LeaseId, holder: Lease, now: Timestamp, max: usize) -> Vec<Claimed> {
        let worker = holder.worker;
        let mut claimed = Vec::new();
        let due = |task: &&mut Task| task.is_claimable(now) && !task.is_too_late(now);
        for task in self.tasks.iter_mut().filter(due).take(max) {
            task.status = TaskStatus::Running;
            task.attempt = task.attempt.saturating_add(1);
            task.started_at = Some(now.max(task.available_at));
            task.lease = Some(lease);
            task.worker = Some(worker);
            task.progress = None;
            claimed.push(Claimed { n: task.n, woken: task.hear() });
        }
        if !claimed.is_empty() {
            self.leases.insert(lease, holder);
        }
        claimed
    }

    /// The broken variant: parks a task whether it was woken meanwhile or not.
    pub fn park_anyhow(&mut self, id: TaskId, lease: LeaseId, until: Option<Timestamp>) -> Settlement {
        let Some(task) = self.leased(id, lease) else { return Settlement::LeaseLost };
        task.park(until, true);
        self.drop_empty_leases();
        Settlement::Applied { status: TaskStatus::Waiting, available_at: until }
    }

    /// Applies an outcome to a task, if it is still under `lease`. `random` in `0.0..1.0` is the jitter of a retry.
    pub fn settle(&mut self, id: TaskId, lease: LeaseId, outcome: &Outcome, now: Timestamp, random: f64) -> Settlement {
        let policy = self.retry_of(id);
        let Some(task) = self.leased(id, lease) else { return Settlement::LeaseLost };
        match outcome {
            Outcome::Complete { output } => {
                task.take_output(Stowed::inline(output.clone()));
                task.error = None;
                finish(task, TaskStatus::Completed, now);
            }
            Outcome::CompleteStowed(stowed) => {
                task.take_output(stowed.clone());
                task.error = None;
                finish(task, TaskStatus::Completed, now);
            }
            Outcome::Fail { error, retry, retry_at } => {
                task.error = Some(task_error(error, now));
                if task.cancel.is_some() {
                    finish(task, TaskStatus::Cancelled, now);
                } else if *retry && task.retry_count < policy.max_retries {
                    let backoff = policy.delay(task.retry_count, random);
                    task.retry_count += 1;
                    wait_until(task, retry_at.unwrap_or_else(|| now.after(backoff)));
                } else {
                    finish(task, TaskStatus::Failed, now);
                }
            }
            // Whoever wanted it called off does not want it run again.
            Outcome::Park { .. } | Outcome::Reschedule { .. } | Outcome::Release | Outcome::Cancel
                if task.cancel.is_some() =>
            {
                finish(task, TaskStatus::Cancelled, now);
            }
            Outcome::Park { until } => {
                if !task.park(*until, false) {
                    return Settlement::Woken;
                }
            }
            Outcome::Advance(advance) => {
                if let Some(still) = task.advance(advance, now) {
                    return still;
                }
            }
            Outcome::Reschedule { at } => wait_until(task, *at),
            Outcome::Release | Outcome::Cancel => wait_until(task, now),
        }
        let settled = Settlement::Applied {
            status: task.status,
            available_at: match task.status {
                TaskStatus::Pending => Some(task.available_at),
                TaskStatus::Waiting => task.park.as_ref().and_then(|park| park.until),
                TaskStatus::Running
                | TaskStatus::Completed
                | TaskStatus::Failed
                | TaskStatus::Cancelled
                | TaskStatus::Expired
                | TaskStatus::Archived => None,
            },
        };
        self.drop_empty_leases();
        settled
    }

    /// Moves a lease's end later; never earlier. `None` if the lease is gone.
    pub fn extend(&mut self, id: TaskId, lease: LeaseId, until: Timestamp) -> Option<Timestamp> {
        self.leased(id, lease)?;
        let held = self.leases.get_mut(&lease)?;
        held.expires_at = held.expires_at.max(until);
        Some(held.expires_at)
    }

    /// Takes back every task under `lease`. A lost worker spends no retry, but a task that loses more than
    /// [`limits::LOSSES`] of them is failed; an expired lease is a failed attempt like any other.
    pub fn fall(&mut self, lease: LeaseId, why: Fall, now: Timestamp, random: f64) {
        let ids: Vec<TaskId> =
            self.tasks.iter().filter(|task| task.lease == Some(lease)).map(|task| self.id.task(task.n)).collect();
        for id in ids {
            match why {
                Fall::Expired => {
                    let timeout_ms = self.timeout_ms_of(id);
                    let message = format!("the attempt did not end within its timeout of {timeout_ms} ms");
                    let error = Failure { kind: "Timeout".into(), message, traceback: None };
                    self.settle(id, lease, &Outcome::Fail { error, retry: true, retry_at: None }, now, random);
                }
                Fall::WorkerLost => self.lose(id, lease, now),
            }
        }
        self.leases.remove(&lease);
    }

    fn lose(&mut self, id: TaskId, lease: LeaseId, now: Timestamp) {
        let Some(task) = self.leased(id, lease) else { return };
        task.loss_count = task.loss_count.saturating_add(1);
        if task.cancel.is_some() {
            finish(task, TaskStatus::Cancelled, now);
        } else if task.loss_count > limits::LOSSES {
            let message = format!("the worker running it was lost {} times", task.loss_count);
            task.error = Some(task_error(&Failure { kind: "LeaseLost".into(), message, traceback: None }, now));
            finish(task, TaskStatus::Failed, now);
        } else {
            wait_until(task, now);
        }
        self.drop_empty_leases();
    }

    fn leased(&mut self, id: TaskId, lease: LeaseId) -> Option<&mut Task> {
        self.task_mut(id).filter(|task| task.lease == Some(lease))
    }

    fn drop_empty_leases(&mut self) {
        let tasks = &self.tasks;
        self.leases.retain(|lease, _| tasks.iter().any(|task| task.lease == Some(*lease)));
    }
}

pub(super) fn finish(task: &mut Task, status: TaskStatus, now: Timestamp) {
    task.end_run(status, now);
    task.status = status;
    task.completed_at = Some(now);
    task.lease = None;
    task.end_parking();
}

pub(super) const fn wait_until(task: &mut Task, at: Timestamp) {
    task.status = TaskStatus::Pending;
    task.available_at = at;
    task.lease = None;
    task.forget_hearing();
}

impl Task {
    /// Whether a worker may take it now: it is pending and due, or waits and it is time to look.
    fn is_claimable(&self, now: Timestamp) -> bool {
        match self.status {
            TaskStatus::Pending => self.startable_at() <= now,
            TaskStatus::Waiting => self.is_time_to_look(now),
            TaskStatus::Running
            | TaskStatus::Completed
            | TaskStatus::Failed
            | TaskStatus::Cancelled
            | TaskStatus::Expired
            | TaskStatus::Archived => false,
        }
    }
}

pub(super) fn task_error(failure: &Failure, at: Timestamp) -> TaskError {
    let mut left = limits::ERROR_BYTES;
    let mut cut = |text: &str| {
        let mut end = text.len().min(left);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        left -= end;
        text[..end].to_owned()
    };
    TaskError {
        kind: cut(&failure.kind),
        message: cut(&failure.message),
        traceback: failure.traceback.as_deref().map(cut),
        at,
        extra: Extra::new(),
    }
}
