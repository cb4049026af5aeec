//! Links: a task names others that are told when it ends.
//!
//! A record lists the links of its tasks. The commit after which all tasks of a link have ended notes there what is owed to its
//! target. Whoever then delivers it changes the target's record: that keeps one slot for each link it waits for, stores what
//! came of it, and the last one makes the target due, or ends it.

use serde::Serialize;

use super::after::is_zero;
use super::fields::read_keeping_the_unknown;
use super::model::{BatchRecord, Extra, Task};
use super::status::TaskStatus;
use crate::id::TaskId;
use crate::limits;

/// Some tasks of a record: the first and the last of each range of their numbers.
pub type Ranges = Vec<(u16, u16)>;

/// A link of some tasks of a record to a task that waits for them.
#[derive(Clone, Debug, Serialize)]
pub struct Link {
    /// Which tasks: all of them have to end.
    pub of: Ranges,
    /// The task that waits for them.
    pub target: TaskId,
    /// How many tasks wait for them: this one and those that follow it in its record.
    #[serde(skip_serializing_if = "is_one")]
    pub count: u16,
    /// The target's slot for this link.
    pub slot: u32,
    /// How often the target had been revived to wait for it again.
    #[serde(skip_serializing_if = "is_zero")]
    pub revived: u32,
    /// All have ended, and this is yet to be delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owed: Option<Ended>,
    /// It was delivered.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub done: bool,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What came of the tasks of a link.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Ended {
    /// The first of them that did not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub culprit: Option<Culprit>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A task that did not complete.
#[derive(Clone, Debug, Serialize)]
pub struct Culprit {
    /// Which.
    pub task: TaskId,
    /// What became of it, in a few words.
    pub why: String,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

read_keeping_the_unknown!(Link {
    of: take("of"),
    target: take("target"),
    count: take_or_one("count"),
    slot: take("slot"),
    revived: take_or_default("revived"),
    owed: take_or_default("owed"),
    done: take_or_default("done"),
});
read_keeping_the_unknown!(Ended { culprit: take_or_default("culprit") });
read_keeping_the_unknown!(Culprit { task: take("task"), why: take("why") });
/// What is owed to a task.
#[derive(Clone, Debug)]
pub struct Debt {
    /// To whom.
    pub target: TaskId,
    /// And to how many, from this one on.
    pub count: u16,
    /// For which of its slots.
    pub slot: u32,
    /// How often it had been revived to wait for this again.
    pub revived: u32,
    /// What came of the tasks there.
    pub ended: Ended,
}

/// What became of a link that was to be added.
#[derive(Clone, Debug)]
pub enum Linking {
    /// It is there now.
    Added,
    /// It was there before.
    Known,
    /// All its tasks have ended: this counts at once.
    Ended(Ended),
    /// The record has no such tasks.
    Missing,
    /// The record has links to too many targets.
    Full,
}

impl Link {
    /// A link that was not delivered.
    #[must_use]
    pub const fn new(of: Ranges, target: TaskId, count: u16, slot: u32) -> Self {
        Self { of, target, count, slot, revived: 0, owed: None, done: false, extra: Extra::new() }
    }

    const fn is_open(&self) -> bool {
        !self.done && self.owed.is_none()
    }

    /// What is owed for it, once its tasks came to this.
    #[must_use]
    pub const fn debt(&self, ended: Ended) -> Debt {
        Debt { target: self.target, count: self.count, slot: self.slot, revived: self.revived, ended }
    }

    /// Whether this task waits for it.
    fn leads_to(&self, target: TaskId) -> bool {
        self.targets().any(|one| one == target)
    }

    /// The tasks that wait for it.
    pub fn targets(&self) -> impl Iterator<Item = TaskId> + '_ {
        let first = self.target.index();
        (first..first.saturating_add(self.count)).map(|n| self.target.record().task(n))
    }
}

/// Whether one of the ranges holds this number.
fn holds(of: &[(u16, u16)], n: u16) -> bool {
    of.iter().any(|(first, last)| (*first..=*last).contains(&n))
}

impl Task {
    /// What became of a task that has ended otherwise than by completing.
    fn failing(&self) -> Option<String> {
        let outcome = self.outcome_before_archive().unwrap_or(self.status);
        match outcome {
            TaskStatus::Completed => None,
            TaskStatus::Failed => {
                let error = self.error.as_ref();
                let what = error.map_or_else(String::new, |error| {
                    let message: String = error.message.lines().next().unwrap_or_default().chars().take(120).collect();
                    format!(" ({}: {message})", error.kind)
                });
                Some(format!("failed{what}"))
            }
            TaskStatus::Cancelled => {
                let reason = self.cancel.as_ref().and_then(|wish| wish.reason.as_deref());
                Some(reason.map_or_else(|| "was cancelled".to_owned(), |reason| format!("was cancelled: {reason}")))
            }
            TaskStatus::Expired => Some("expired".to_owned()),
            TaskStatus::Archived => Some("was purged".to_owned()),
            TaskStatus::Pending | TaskStatus::Running | TaskStatus::Waiting => Some("has not ended".to_owned()),
        }
    }
}

impl BatchRecord {
    /// Whether it owes anything.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.links.iter().any(|link| link.owed.is_some())
    }

    /// What it owes.
    #[must_use]
    pub fn debts(&self) -> Vec<Debt> {
        self.links.iter().filter_map(|link| Some(link.debt(link.owed.clone()?))).collect()
    }

    /// Notes that what it owes was delivered.
    pub fn discharge(&mut self) {
        for link in self.links.iter_mut().filter(|link| link.owed.is_some()) {
            (link.owed, link.done) = (None, true);
        }
    }

    /// Notes what is owed for links all of whose tasks have ended; whether that is anything new.
    pub fn note_ends(&mut self) -> bool {
        let mut new = false;
        for place in 0..self.links.len() {
            let Some(link) = self.links.get(place).filter(|link| link.is_open()) else { continue };
            if let Some(ended) = self.ended(&link.of)
                && let Some(link) = self.links.get_mut(place)
            {
                link.owed = Some(ended);
                new = true;
            }
        }
        new
    }

    /// What came of these tasks, if all of them have ended.
    fn ended(&self, of: &[(u16, u16)]) -> Option<Ended> {
        let tasks = || self.tasks.iter().filter(|task| holds(of, task.n));
        if tasks().any(|task| !task.status.is_terminal()) {
            return None;
        }
        let culprit = tasks().find_map(|task| {
            let why = task.failing()?;
            Some(Culprit { task: self.id.task(task.n), why, extra: Extra::new() })
        });
        Some(Ended { culprit, extra: Extra::new() })
    }

    /// Adds a link, unless its tasks have ended already.
    pub fn link(&mut self, link: Link) -> Linking {
        let last = link.of.iter().map(|(_, last)| usize::from(*last)).max();
        if last.is_none_or(|last| last >= self.tasks.len()) {
            return Linking::Missing;
        }
        let is_for = |other: &Link, target| other.slot == link.slot && other.leads_to(target);
        let known = |target| self.links.iter().any(|other| other.revived >= link.revived && is_for(other, target));
        if link.targets().all(known) {
            return Linking::Known;
        }
        if let Some(ended) = self.ended(&link.of) {
            return Linking::Ended(ended);
        }
        // Whoever was revived since is told of nothing from before.
        let is_past = |other: &Link| {
            let reaches = |target| link.targets().any(|one| one == target);
            other.slot == link.slot && other.revived < link.revived && other.targets().all(reaches)
        };
        self.links.retain(|other| !is_past(other));
        if !self.has_room_for(link.target) {
            return Linking::Full;
        }
        self.links.push(link);
        Linking::Added
    }

    /// Whether it may have a link to this target.
    #[must_use]
    pub fn has_room_for(&self, target: TaskId) -> bool {
        let mut targets: Vec<TaskId> = self.links.iter().map(|link| link.target).chain([target]).collect();
        targets.sort_unstable();
        targets.dedup();
        targets.len() <= limits::LINK_TARGETS
    }

    /// The tasks that wait, or have waited, for this one.
    pub fn dependents(&self, n: u16) -> impl Iterator<Item = TaskId> + '_ {
        self.links.iter().filter(move |link| holds(&link.of, n)).flat_map(Link::targets)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
const fn is_one(count: &u16) -> bool {
    *count == 1
}
