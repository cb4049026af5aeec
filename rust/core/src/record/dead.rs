//! What failed tasks add to a record: the index entry that leads to them, and the options they were replayed with.

use std::borrow::Cow;

use serde::Serialize;

use super::backoff::RetryPolicy;
use super::fields::read_keeping_the_unknown;
use super::index::EntryState;
use super::model::{BatchRecord, Extra, Task};
use super::options::Options;
use super::status::TaskStatus;
use crate::error::Result;
use crate::id::TaskId;
use crate::keys::{self, FailedEntry};
use crate::time::Timestamp;

/// The record's current entry in the index of failed tasks.
#[derive(Clone, Debug, Serialize)]
pub struct FailedRef {
    /// When the latest of its tasks failed; the entry's time bucket is this minute.
    pub at: Timestamp,
    /// The revision that the entry was written for.
    pub rev: u64,
    /// How many tasks had failed then.
    pub count: u32,
    /// Fields this version does not know; they go with the entry.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Options of one task that count for more than those of its record.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Overrides {
    /// How long an attempt may take, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// 0 to 9; 9 goes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// What happens after a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

read_keeping_the_unknown!(FailedRef { at: take("at"), rev: take("rev"), count: take("count") });
read_keeping_the_unknown!(Overrides {
    timeout_ms: take_or_default("timeout_ms"),
    priority: take_or_default("priority"),
    retry: take_or_default("retry"),
});

impl Task {
    /// Whether it is failed.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.status == TaskStatus::Failed
    }

    /// How an archived task had ended; `None` for any other one, and for one that was purged.
    #[must_use]
    pub fn outcome_before_archive(&self) -> Option<TaskStatus> {
        let is_archived = self.status == TaskStatus::Archived && self.purged_at.is_none();
        is_archived.then(|| self.archived_from.unwrap_or_else(|| self.likely_outcome()))
    }

    /// How a task had ended that a version archived which did not note it. A completed one whose output was null can be
    /// told from an expired one by its times only.
    fn likely_outcome(&self) -> TaskStatus {
        let was_late = self.expires_at.is_some_and(|end| self.completed_at.is_none_or(|ended| ended >= end));
        if self.output.is_some() || self.output_ref.is_some() || !self.output_files.is_empty() {
            TaskStatus::Completed
        } else if self.error.is_some() {
            TaskStatus::Failed
        } else if self.cancel.is_some() {
            TaskStatus::Cancelled
        } else if self.attempt == 0 || was_late {
            TaskStatus::Expired
        } else {
            TaskStatus::Completed
        }
    }
}

impl BatchRecord {
    /// The key of the record's entry in the index of failed tasks.
    #[must_use]
    pub fn failed_entry(&self) -> Option<FailedEntry> {
        let &FailedRef { at, rev, count, .. } = self.failed.as_ref()?;
        Some(FailedEntry { at, record: self.id, rev, type_hash: keys::type_hash(&self.kind), count })
    }

    /// Whether all its tasks are purged: no commit can change it any more, and it may be deleted.
    #[must_use]
    pub fn is_purged(&self) -> bool {
        !self.tasks.is_empty() && self.tasks.iter().all(|task| task.purged_at.is_some())
    }

    /// The entry in the index of failed tasks that the record needs. A new one is written for each commit that fails a
    /// task, so that its time is that of the latest failure. While some of the tasks are failed, or what is left of
    /// them has yet to be deleted, the entry stays.
    pub(super) fn renew_failed(&mut self, old: &Self, now: Timestamp) {
        let newly = |(n, task): (usize, &Task)| task.is_failed() && !old.tasks.get(n).is_some_and(Task::is_failed);
        let failed = self.tasks.iter().filter(|task| task.is_failed()).count();
        if self.tasks.iter().enumerate().any(newly) {
            let (at, count) = (now.max(Timestamp(0)), u32::try_from(failed).unwrap_or(u32::MAX));
            self.failed = Some(FailedRef { at, rev: old.rev + 1, count, extra: Extra::new() });
        } else if failed > 0 || self.is_purged() {
            self.failed.clone_from(&old.failed);
        } else {
            self.failed = None;
        }
    }

    /// What must hold for the reference to the index of failed tasks. That it is missing is no contradiction: a version
    /// that knew no such index may have failed the tasks.
    pub(super) fn check_failed(&self) -> std::result::Result<(), &'static str> {
        let Some(failed) = &self.failed else { return Ok(()) };
        if failed.rev > self.rev {
            return Err("its entry among the failed was written for a later revision");
        }
        if failed.at < Timestamp(0) {
            return Err("its entry among the failed is from before 1970, which no key can say");
        }
        if !self.tasks.iter().any(Task::is_failed) && !self.is_purged() {
            return Err("it has an entry among the failed and no failed task");
        }
        Ok(())
    }

    /// Checks the record's options and those of its tasks.
    pub(super) fn check_options(&self) -> Result<()> {
        self.options.check()?;
        let own = self.tasks.iter().filter(|task| task.options.is_some());
        own.map(|task| self.options_of(task)).try_for_each(|options| options.check())
    }

    /// The options of one of the record's tasks: the record's own, unless a replay has changed some.
    #[must_use]
    pub fn options_of(&self, task: &Task) -> Cow<'_, Options> {
        let Some(own) = &task.options else { return Cow::Borrowed(&self.options) };
        let mut options = self.options.clone();
        options.timeout_ms = own.timeout_ms.unwrap_or(options.timeout_ms);
        options.priority = own.priority.unwrap_or(options.priority);
        options.retry = own.retry.clone().unwrap_or(options.retry);
        Cow::Owned(options)
    }

    /// The retry policy of the task with this id; the record's if it is not one of the record's.
    pub(super) fn retry_of(&self, id: TaskId) -> RetryPolicy {
        let own = self.task(id).and_then(|task| task.options.as_ref()?.retry.clone());
        own.unwrap_or_else(|| self.options.retry.clone())
    }

    /// The timeout of the task with this id, likewise.
    pub(super) fn timeout_ms_of(&self, id: TaskId) -> u64 {
        let own = self.task(id).and_then(|task| task.options.as_ref()?.timeout_ms);
        own.unwrap_or(self.options.timeout_ms)
    }

    /// How long an attempt of any of the tasks that may be claimed may take.
    #[must_use]
    pub fn longest_timeout(&self) -> std::time::Duration {
        let claimable = |task: &&Task| matches!(task.status, TaskStatus::Pending | TaskStatus::Waiting);
        let own = self.tasks.iter().filter(claimable).filter_map(|task| task.options.as_ref()?.timeout_ms);
        std::time::Duration::from_millis(own.max().unwrap_or(0).max(self.options.timeout_ms))
    }

    /// The priority of the record's entry for tasks of this status: the highest of theirs; `None` for the record's own.
    pub(super) fn highest_priority(&self, status: TaskStatus) -> Option<u8> {
        let tasks = self.tasks.iter().filter(|task| task.status == status);
        let own = tasks.map(|task| task.options.as_ref().and_then(|own| own.priority));
        let highest = own.map(|own| own.unwrap_or(self.options.priority)).max()?;
        (highest != self.options.priority).then_some(highest)
    }
}

/// What `entry` is to the record it names.
#[must_use]
pub fn failed_entry_state(entry: &FailedEntry, record: &BatchRecord) -> EntryState {
    if record.failed_entry().as_ref() == Some(entry) {
        EntryState::Current
    } else if entry.rev <= record.rev {
        EntryState::Stale
    } else {
        EntryState::Ahead
    }
}
