//! Tasks that wait for others: what they wait for, and what is done with what came of it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::extras::Cancel;
use super::fields::read_keeping_the_unknown;
use super::links::{Culprit, Debt, Ended, Ranges};
use super::model::{BatchRecord, Extra, Task};
use super::status::TaskStatus;
use super::transition::finish;
use crate::id::{RecordId, TaskId};
use crate::limits;
use crate::time::Timestamp;

/// Who is said to have called a task off whose dependencies did not come out as it wants.
pub const ENGINE: &str = "buquet";

/// Which outcomes of its dependencies a task is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum On {
    /// All of them completed.
    #[default]
    Success,
    /// Whatever became of them.
    Finished,
    /// One of them did not complete.
    Failure,
}

/// What a task waits for before it may be started.
#[derive(Clone, Debug, Serialize)]
pub struct After {
    /// Whether it runs then.
    pub on: On,
    /// How long after that, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Where its handler takes what came of them, if it does; for fronts to fill in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub results: Option<Results>,
    /// The links it waits for, in the order of its dependencies.
    pub slots: Vec<Slot>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Where a handler takes what came of the tasks that it ran after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    /// The member of its input.
    pub into: String,
    /// There is one task, and the member is what came of it rather than a list.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one: bool,
}

/// A link that a task waits for, or has waited for.
#[derive(Clone, Debug, Serialize)]
pub struct Slot {
    /// The record of the dependencies.
    pub record: RecordId,
    /// Which of its tasks.
    pub of: Ranges,
    /// What came of them, once that was delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// How often the task was revived to wait for them again: what is owed from before does not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub revived: u32,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

read_keeping_the_unknown!(After {
    on: take("on"),
    delay_ms: take_or_default("delay_ms"),
    results: take_or_default("results"),
    slots: take("slots"),
});
read_keeping_the_unknown!(Slot {
    record: take("record"),
    of: take("of"),
    ended: take_or_default("ended"),
    revived: take_or_default("revived"),
});

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delivery {
    /// The target had this, or waits for it no more: nothing changed.
    Known,
    /// The target waits for others.
    Stored,
    /// It was the last one: the target is due.
    Due,
    /// It was the last one, and not as the target wants: the target was called off.
    CalledOff,
}

impl Slot {
    /// A slot for these tasks, of which nothing is known.
    #[must_use]
    pub const fn new(record: RecordId, of: Ranges) -> Self {
        Self { record, of, ended: None, revived: 0, extra: Extra::new() }
    }

    /// Its tasks in their order.
    pub fn tasks(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.of.iter().flat_map(|(first, last)| *first..=*last).map(|n| self.record.task(n))
    }
}

impl After {
    /// What a task that waits for these has: consecutive ones of one record share a slot.
    #[must_use]
    pub fn new(tasks: &[TaskId], on: On, delay_ms: Option<u64>) -> Self {
        let mut slots: Vec<Slot> = Vec::new();
        for task in tasks {
            let (record, n) = (task.record(), task.index());
            match slots.last_mut().filter(|slot| slot.record == record) {
                Some(slot) => match slot.of.last_mut() {
                    Some((_, last)) if last.checked_add(1) == Some(n) => *last = n,
                    _ => slot.of.push((n, n)),
                },
                None => slots.push(Slot::new(record, vec![(n, n)])),
            }
        }
        Self { on, delay_ms, results: None, slots, extra: Extra::new() }
    }

    /// The slots that were not delivered, with their numbers.
    pub fn open(&self) -> impl Iterator<Item = (u32, &Slot)> {
        (0..).zip(&self.slots).filter(|(_, slot)| slot.ended.is_none())
    }

    /// The tasks it waits for, or has waited for, in their order.
    pub fn tasks(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.slots.iter().flat_map(Slot::tasks)
    }

    fn culprit(&self) -> Option<&Culprit> {
        self.slots.iter().find_map(|slot| slot.ended.as_ref()?.culprit.as_ref())
    }

    /// Why the task may not run now that all have ended, if so.
    fn objection(&self) -> Option<String> {
        match (self.on, self.culprit()) {
            (On::Success, Some(Culprit { task, why, .. })) => Some(format!("it waited for task {task}, which {why}")),
            (On::Failure, None) => Some("all tasks that it waited for completed, and it is for failures".to_owned()),
            (On::Success, None) | (On::Finished, _) | (On::Failure, Some(_)) => None,
        }
    }
}

impl Task {
    /// Whether it waits for tasks that have yet to end.
    #[must_use]
    pub fn awaits_others(&self) -> bool {
        self.after.as_ref().is_some_and(|after| after.open().next().is_some())
    }
}

impl BatchRecord {
    /// Stores in its tasks what came of others that they wait for; the last one makes them due, or ends them. What became of
    /// the one that it changed most.
    pub fn deliver(&mut self, debt: &Debt, now: Timestamp) -> Delivery {
        let first = debt.target.index();
        let tasks = first..first.saturating_add(debt.count);
        let deliveries = tasks.map(|n| self.deliver_to(debt.target.record().task(n), debt, now));
        deliveries.max().unwrap_or(Delivery::Known)
    }

    fn deliver_to(&mut self, target: TaskId, debt: &Debt, now: Timestamp) -> Delivery {
        let Some(task) = self.task_mut(target).filter(|task| task.status == TaskStatus::Waiting) else {
            return Delivery::Known;
        };
        let Some(after) = task.after.as_mut() else { return Delivery::Known };
        let slot = usize::try_from(debt.slot).ok().and_then(|slot| after.slots.get_mut(slot));
        let is_open = |slot: &&mut Slot| slot.ended.is_none() && slot.revived == debt.revived;
        let Some(slot) = slot.filter(is_open) else { return Delivery::Known };
        slot.ended = Some(debt.ended.clone());
        if after.open().next().is_some() {
            return Delivery::Stored;
        }
        if let Some(reason) = after.objection() {
            let (by, reason) = (Some(ENGINE.to_owned()), Some(cut(reason)));
            task.cancel = Some(Box::new(Cancel { at: now, by, reason, extra: Extra::new() }));
            finish(task, TaskStatus::Cancelled, now);
            return Delivery::CalledOff;
        }
        let delay = std::time::Duration::from_millis(after.delay_ms.unwrap_or(0));
        task.status = TaskStatus::Pending;
        task.available_at = now.after(delay).max(task.available_at);
        if let Some(park) = &mut task.park {
            park.until = None;
        }
        Delivery::Due
    }

    /// Lets a task that was called off because of tasks of these records wait for those again; whether it does.
    pub fn revive(&mut self, id: TaskId, sources: &BTreeSet<RecordId>, until: Timestamp) -> bool {
        let called_off = |task: &&mut Task| {
            let by = task.cancel.as_ref().and_then(|wish| wish.by.as_deref());
            task.status == TaskStatus::Cancelled && by == Some(ENGINE) && task.purged_at.is_none()
        };
        let Some(task) = self.task_mut(id).filter(called_off) else { return false };
        let Some(after) = &mut task.after else { return false };
        let failed = |slot: &&mut Slot| {
            let ended = slot.ended.as_ref();
            sources.contains(&slot.record) && ended.is_some_and(|ended| ended.culprit.is_some())
        };
        let mut any = false;
        for slot in after.slots.iter_mut().filter(failed) {
            slot.ended = None;
            slot.revived = slot.revived.saturating_add(1);
            any = true;
        }
        if any {
            (task.status, task.cancel, task.completed_at) = (TaskStatus::Waiting, None, None);
            // Whoever brings it back wants it run, however late.
            task.expires_at = None;
            task.park.get_or_insert_default().until = Some(until);
        }
        any
    }

    /// Puts off, or no longer plans, the look of a task that waits for others.
    pub fn look_again(&mut self, id: TaskId, until: Option<Timestamp>) -> bool {
        let Some(task) = self.task_mut(id).filter(|task| task.status == TaskStatus::Waiting) else { return false };
        let park = task.park.get_or_insert_default();
        std::mem::replace(&mut park.until, until) != until
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
pub(super) const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// As long as the reason of a cancellation may be.
fn cut(reason: String) -> String {
    if reason.chars().count() <= limits::NOTE_CHARS {
        reason
    } else {
        reason.chars().take(limits::NOTE_CHARS).collect()
    }
}
