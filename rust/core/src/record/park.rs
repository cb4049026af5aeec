//! Tasks that wait: parked by their own attempt until somebody wakes them, or until a time they gave.
//!
//! A wake that comes while a task runs, or is pending already, sets the bit `woken`. A claim hands it to the attempt, and a
//! park that meets it is refused, so that no wake falls between a look and a park. The bit that an attempt was handed stays as
//! `heard` until that attempt parks or the task ends: if the attempt is lost, the next one is handed it again.

use serde::Serialize;

use super::fields::read_keeping_the_unknown;
use super::model::{BatchRecord, Extra, Task};
use super::status::TaskStatus;
use crate::id::{LeaseId, TaskId};
use crate::time::Timestamp;

/// What parking and waking left with a task.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Park {
    /// How often it was parked.
    pub count: u32,
    /// When it becomes due although nobody woke it; only while it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// It was woken, and no attempt knows of it yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub woken: bool,
    /// It was woken, and the attempt that runs was told.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub heard: bool,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

read_keeping_the_unknown!(Park {
    count: take_or_default("count"),
    until: take_or_default("until"),
    woken: take_or_default("woken"),
    heard: take_or_default("heard"),
});

/// What became of a wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waking {
    /// It waited, and is due now.
    Woken,
    /// It runs or is about to: its attempt is told, or will be.
    Noted,
    /// The same, and somebody had woken it before: nothing changed.
    Known,
    /// It has ended: nothing changed.
    Finished(TaskStatus),
    /// The record has no such task.
    Missing,
}

impl Waking {
    /// Whether the record changed.
    #[must_use]
    pub const fn is_change(self) -> bool {
        matches!(self, Self::Woken | Self::Noted)
    }
}

/// A task that was put under a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Its place in the record.
    pub n: u16,
    /// It was woken since its last attempt looked.
    pub woken: bool,
}

impl BatchRecord {
    /// Wakes a task: one that waits becomes due; one that runs, or is to run, remembers it.
    pub fn wake(&mut self, id: TaskId, now: Timestamp) -> Waking {
        let Some(task) = self.task_mut(id) else { return Waking::Missing };
        match task.status {
            // What waits for others is not to be started before those have ended, whoever wakes it.
            TaskStatus::Waiting if task.awaits_others() => {
                let park = task.park.get_or_insert_default();
                if std::mem::replace(&mut park.woken, true) { Waking::Known } else { Waking::Noted }
            }
            TaskStatus::Waiting => {
                let park = task.park.get_or_insert_default();
                (park.woken, park.until) = (true, None);
                task.status = TaskStatus::Pending;
                task.available_at = now;
                Waking::Woken
            }
            TaskStatus::Pending | TaskStatus::Running => {
                let park = task.park.get_or_insert_default();
                if std::mem::replace(&mut park.woken, true) { Waking::Known } else { Waking::Noted }
            }
            TaskStatus::Completed
            | TaskStatus::Failed
            | TaskStatus::Cancelled
            | TaskStatus::Expired
            | TaskStatus::Archived => Waking::Finished(task.status),
        }
    }
}

impl BatchRecord {
    /// Hands an attempt that still runs the bit that was set meanwhile; whether it was. `None` if the lease is not its own any
    /// more.
    pub fn hear(&mut self, id: TaskId, lease: LeaseId) -> Option<bool> {
        let task = self.task_mut(id).filter(|task| task.lease == Some(lease))?;
        let is_set = task.park.as_ref().is_some_and(|park| park.woken);
        if is_set {
            task.hear();
        }
        Some(is_set)
    }
}

impl Task {
    /// Parks a task that runs, unless it was woken since its attempt looked; then the attempt is told, and keeps its lease.
    /// Whether it is parked.
    pub(super) fn park(&mut self, until: Option<Timestamp>, ignores_wakes: bool) -> bool {
        let park = self.park.get_or_insert_default();
        if std::mem::take(&mut park.woken) && !ignores_wakes {
            park.heard = true;
            return false;
        }
        park.count = park.count.saturating_add(1);
        (park.heard, park.until) = (false, until);
        self.status = TaskStatus::Waiting;
        self.lease = None;
        true
    }

    /// The attempt that begins is handed the bit. Whether it was set.
    pub(super) fn hear(&mut self) -> bool {
        let Some(park) = &mut self.park else { return false };
        park.until = None;
        park.heard |= std::mem::take(&mut park.woken);
        park.heard
    }

    /// What the attempt that ended was told, the next one is told again.
    pub(super) const fn forget_hearing(&mut self) {
        if let Some(park) = &mut self.park {
            park.woken |= park.heard;
            park.heard = false;
        }
    }

    /// Nobody is left to be told.
    pub(super) const fn end_parking(&mut self) {
        if let Some(park) = &mut self.park {
            (park.woken, park.heard, park.until) = (false, false, None);
        }
    }

    /// When a task that waits becomes due by itself: at its own time, or when it is too late to start it; at the latest in the
    /// last minute that a key can name.
    #[must_use]
    pub fn wakes_at(&self) -> Timestamp {
        let until = self.park.as_ref().and_then(|park| park.until);
        let expiry = self.expires_at.filter(|_| !self.has_parked());
        until.into_iter().chain(expiry).min().unwrap_or(Timestamp::LAST)
    }

    /// Whether it was parked before: then it has begun, and cannot expire any more.
    #[must_use]
    pub fn has_parked(&self) -> bool {
        self.park.as_ref().is_some_and(|park| park.count > 0)
    }

    /// Whether a task that waits may be started although nobody woke it.
    #[must_use]
    pub fn is_time_to_look(&self, now: Timestamp) -> bool {
        !self.awaits_others() && self.is_look_due(now)
    }

    /// Whether the time has come at which it is to be looked at.
    #[must_use]
    pub fn is_look_due(&self, now: Timestamp) -> bool {
        self.park.as_ref().and_then(|park| park.until).is_some_and(|until| until <= now)
    }
}
