//! Calling tasks off, and letting them expire.

use super::extras::{Cancel, Progress};
use super::model::{BatchRecord, Task};
use super::status::TaskStatus;
use super::transition::finish;
use crate::id::{LeaseId, TaskId};
use crate::time::Timestamp;

/// What became of the wish to call a task off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelling {
    /// It had not started, and never will.
    Cancelled,
    /// It is running; its worker is to be told.
    Requested,
    /// It had ended already, or was called off before: nothing changed.
    Finished(TaskStatus),
    /// The record has no such task.
    Missing,
}

impl BatchRecord {
    /// Calls a task off: at once if it has not started; otherwise its worker learns of it, and unless it completes
    /// first, it ends as cancelled.
    pub fn cancel(&mut self, id: TaskId, wish: &Cancel) -> Cancelling {
        let Some(task) = self.task_mut(id) else { return Cancelling::Missing };
        if task.run.is_some() {
            return self.cancel_run(id, wish);
        }
        match task.status {
            TaskStatus::Pending | TaskStatus::Waiting => {
                task.cancel = Some(Box::new(wish.clone()));
                finish(task, TaskStatus::Cancelled, wish.at);
                Cancelling::Cancelled
            }
            TaskStatus::Running => {
                // The first wish stands: its author and reason are what people look for.
                task.cancel.get_or_insert_with(|| Box::new(wish.clone()));
                Cancelling::Requested
            }
            TaskStatus::Completed
            | TaskStatus::Failed
            | TaskStatus::Cancelled
            | TaskStatus::Expired
            | TaskStatus::Archived => Cancelling::Finished(task.status),
        }
    }

    /// Marks as expired what has not started in its time; how many tasks that were.
    pub fn expire(&mut self, now: Timestamp) -> usize {
        let overdue = |task: &&mut Task| task.may_expire() && task.is_too_late(now);
        let mut expired = 0;
        for task in self.tasks.iter_mut().filter(overdue) {
            finish(task, TaskStatus::Expired, now);
            expired += 1;
        }
        expired
    }

    /// When [`expire`](Self::expire) will first have something to do.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        let open = self.tasks.iter().filter(|task| task.may_expire() && !task.has_parked());
        open.filter_map(|task| task.expires_at).min()
    }

    /// Notes how far an attempt has come, if it still holds its lease and has not said so already.
    pub fn report(&mut self, id: TaskId, lease: LeaseId, progress: &Progress) -> bool {
        let task = self.task_mut(id).filter(|task| task.lease == Some(lease));
        let Some(task) = task.filter(|task| task.progress.as_deref() != Some(progress)) else { return false };
        task.progress = Some(Box::new(progress.clone()));
        true
    }

    pub(super) fn task_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        (id.record() == self.id).then(|| self.tasks.get_mut(usize::from(id.index()))).flatten()
    }
}

impl Task {
    /// Whether it may not be started any more. What has parked goes on, however late.
    #[must_use]
    pub fn is_too_late(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now) && !self.has_parked()
    }

    /// Whether its status is one that ends when it is too late.
    const fn may_expire(&self) -> bool {
        matches!(self.status, TaskStatus::Pending | TaskStatus::Waiting)
    }
}
