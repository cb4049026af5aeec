//! One stored schedule: read, written, changed by compare-and-swap.

use std::time::Duration;

use tokio::time::sleep;

use super::{PutSchedule, missing};
use crate::bucket::Committed;
use crate::error::{Error, Result};
use crate::id::{CommitId, ScheduleId};
use crate::queue::Core;
use crate::record::Extra;
use crate::schedule::{FORMAT, Schedule};
use crate::store::{Condition, ETag, Got, Object};
use crate::time::Timestamp;
use crate::{keys, limits};

/// The pause after a change was overtaken, times how often it was.
const STEP_BACK: Duration = Duration::from_millis(10);

/// A schedule as it was last seen in the store.
#[derive(Clone, Debug)]
pub struct StoredSchedule {
    /// The schedule.
    pub schedule: Schedule,
    /// The tag of this very revision.
    pub etag: ETag,
}

/// What reading one came to.
#[derive(Debug)]
pub enum LoadedSchedule {
    /// This is it.
    Found(Box<StoredSchedule>),
    /// It is still the one whose tag was given.
    NotModified,
    /// There is none.
    Missing,
}

/// What came of an attempt to change one.
#[derive(Debug)]
pub enum ScheduleChange<T> {
    /// It is changed, to this; its tag, unless somebody has already changed it again.
    Done(T, Schedule, Option<ETag>),
    /// There was nothing to change.
    Unchanged(StoredSchedule),
    /// It is gone.
    Missing,
}

fn read(key: &str, object: Object) -> Result<StoredSchedule> {
    Ok(StoredSchedule { schedule: Schedule::decode(key, &object.body)?, etag: object.etag })
}

impl Core {
    /// Reads a schedule; with `known`, only if it is not that one any more.
    pub(crate) async fn load_schedule(&self, name: &str, known: Option<&ETag>) -> Result<LoadedSchedule> {
        let key = keys::schedule(name);
        Ok(match self.desk.bucket.get(&key, known).await?.value {
            Got::Found(object) => LoadedSchedule::Found(Box::new(read(&key, object)?)),
            Got::NotModified => LoadedSchedule::NotModified,
            Got::Missing => LoadedSchedule::Missing,
        })
    }

    /// Applies `change` and commits it; if somebody else commits first, it is applied to what they wrote. `change` says
    /// `None` where there is nothing to do.
    pub(crate) async fn change_schedule<T>(
        &self,
        mut stored: StoredSchedule,
        mut change: impl FnMut(&mut Schedule, Timestamp) -> Option<T>,
    ) -> Result<ScheduleChange<T>> {
        let (bucket, key) = (&self.desk.bucket, keys::schedule(&stored.schedule.name));
        for rebases in 0..u32::try_from(limits::REBASES).unwrap_or(u32::MAX) {
            sleep((STEP_BACK * rebases).mul_f64(bucket.entropy().unit())).await;
            let mut next = stored.schedule.clone();
            let Some(answer) = change(&mut next, bucket.now()) else { return Ok(ScheduleChange::Unchanged(stored)) };
            let commit = CommitId::random(bucket.entropy());
            next.stamp(commit);
            match bucket.commit(&key, next.encode()?, &Condition::IfMatch(stored.etag), commit).await? {
                Committed::Landed(etag) => return Ok(ScheduleChange::Done(answer, next, etag)),
                Committed::Lost(None) => return Ok(ScheduleChange::Missing),
                Committed::Lost(Some(object)) => stored = read(&key, object)?,
            }
        }
        Err(Error::Unavailable(format!("{key}: {} others committed first; try again", limits::REBASES)))
    }

    /// Creates or changes a schedule, by a declaration of `module` or by hand.
    pub(super) async fn store_schedule(&self, put: &PutSchedule, module: Option<&str>) -> Result<Schedule> {
        let bucket = &self.desk.bucket;
        for _ in 0..limits::REBASES {
            if let LoadedSchedule::Found(found) = self.load_schedule(&put.name, None).await? {
                if put.is_settled(&found.schedule, module) {
                    return Ok(found.schedule);
                }
                put.check_replaces(&found.schedule)?;
                let change = |schedule: &mut Schedule, now| {
                    put.apply(schedule, module, now);
                    Some(())
                };
                match self.change_schedule(*found, change).await? {
                    ScheduleChange::Done((), schedule, _) => return Ok(schedule),
                    ScheduleChange::Unchanged(stored) => return Ok(stored.schedule),
                    ScheduleChange::Missing => continue,
                }
            }
            let commit = CommitId::random(bucket.entropy());
            let mut schedule = put.create(ScheduleId::random(bucket.entropy()), module, bucket.now(), commit);
            schedule.stamp(commit);
            let key = keys::schedule(&put.name);
            // Where another was first, the next look finds what it made.
            if let Committed::Landed(_) = bucket.commit(&key, schedule.encode()?, &Condition::IfAbsent, commit).await? {
                return Ok(schedule);
            }
        }
        Err(missing(&put.name))
    }
}

impl PutSchedule {
    /// Whether nothing is to be done.
    pub(super) fn is_satisfied_by(&self, schedule: &Schedule) -> bool {
        let enabled = self.enabled.is_none_or(|enabled| enabled == schedule.enabled);
        enabled && self.definition.is_same(&schedule.definition)
    }

    /// Whether nothing is to be done about a declaration of `module` either.
    pub(super) fn is_settled(&self, schedule: &Schedule, module: Option<&str>) -> bool {
        let declared =
            |module: &str| schedule.declared_in.as_deref() == Some(module) && schedule.undeclared_at.is_none();
        self.is_satisfied_by(schedule) && module.is_none_or(declared)
    }

    /// Refuses to change one that says something else, unless that is wanted.
    pub(super) fn check_replaces(&self, schedule: &Schedule) -> Result<()> {
        if self.replace || self.is_satisfied_by(schedule) {
            return Ok(());
        }
        let differs = if self.definition.is_same(&schedule.definition) {
            format!("it is {}", if schedule.enabled { "enabled" } else { "disabled" })
        } else {
            format!("it says something else: {}", self.definition.differences(&schedule.definition).join(", "))
        };
        Err(Error::Invalid(format!(
            "there is a schedule {:?} already, for tasks of the type {:?}, and {differs}; ask for it to be replaced, \
             or take another name",
            self.name, schedule.definition.kind
        )))
    }

    fn create(&self, id: ScheduleId, module: Option<&str>, now: Timestamp, commit: CommitId) -> Schedule {
        Schedule {
            format: FORMAT,
            name: self.name.clone(),
            id,
            rev: 0,
            commit,
            trail: Vec::new(),
            created_at: now,
            changed_at: now,
            enabled: self.enabled.unwrap_or(true),
            declared_in: module.map(ToOwned::to_owned),
            undeclared_at: None,
            definition: self.definition.clone(),
            handled: now,
            waiting: None,
            last_run: None,
            last_skip: None,
            extra: Extra::new(),
        }
    }

    fn apply(&self, schedule: &mut Schedule, module: Option<&str>, now: Timestamp) {
        if !schedule.definition.has_same_timing(&self.definition) {
            schedule.begin_at(now);
        }
        let extra = std::mem::take(&mut schedule.definition.extra);
        schedule.definition = self.definition.clone();
        schedule.definition.extra = extra;
        schedule.changed_at = now;
        if let Some(enabled) = self.enabled.filter(|enabled| *enabled != schedule.enabled) {
            schedule.enable(enabled, now);
        }
        if let Some(module) = module {
            schedule.declared_in = Some(module.to_owned());
            schedule.undeclared_at = None;
        }
    }
}

impl Schedule {
    /// Lets it fire from now on, or not any more.
    pub(super) fn enable(&mut self, enabled: bool, now: Timestamp) {
        self.enabled = enabled;
        self.changed_at = now;
        self.begin_at(now);
    }

    /// Slots before this moment are nothing to it.
    fn begin_at(&mut self, now: Timestamp) {
        self.handled = self.handled.max(now);
        self.waiting = None;
    }
}
