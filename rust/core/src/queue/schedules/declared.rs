//! Schedules that code declares: created and changed as it says, and those it no longer declares are told of.

use std::collections::{BTreeMap, BTreeSet};

use super::object::ScheduleChange;
use super::{PutSchedule, Queue};
use crate::error::{Error, Result};
use crate::queue::CorruptObject;
use crate::schedule::{Definition, Schedule, check_name};
use crate::store::Got;
use crate::time::Timestamp;
use crate::{keys, limits};

/// A schedule as a module declares it.
#[derive(Clone, Debug)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// What it does, and when.
    pub definition: Definition,
    /// The module.
    pub module: String,
}

/// What came of a declaration.
#[derive(Clone, Debug, Default)]
pub struct Synced {
    /// Names of schedules that were created.
    pub created: Vec<String>,
    /// Names of those that were changed.
    pub changed: Vec<String>,
    /// Those that one of the modules declared once and declares no more. They go on firing.
    pub missing: Vec<Schedule>,
    /// Declared schedules whose objects cannot be read. They are left alone, and do not fire.
    pub corrupt: Vec<CorruptObject>,
    /// Every module that some schedule comes from: one that is gone cannot say that it declares nothing any more.
    pub modules: BTreeSet<String>,
}

impl Queue {
    /// Makes the stored schedules what the modules declare, and finds those that they no longer do. Whether a
    /// schedule is enabled stays as it is.
    ///
    /// # Errors
    /// [`Error::Invalid`] before anything is stored; the store's.
    pub async fn sync_schedules(&self, declared: Vec<Declared>, modules: &BTreeSet<String>) -> Result<Synced> {
        let puts = check(declared, self.bucket().now())?;
        if puts.is_empty() && matches!(self.bucket().get(keys::SCHEDULES_MARK, None).await?.value, Got::Missing) {
            // There are none, and never were.
            return Ok(Synced::default());
        }
        let mut stored = BTreeMap::new();
        let mut corrupt = BTreeMap::new();
        let mut cursor = None;
        for _ in 0..limits::SCHEDULE_PAGES {
            let page = self.schedules(limits::PAGE, cursor.as_deref()).await?;
            stored.extend(page.schedules.into_iter().map(|schedule| (schedule.name.clone(), schedule)));
            corrupt.extend(page.corrupt.into_iter().map(|object| (object.key.clone(), object)));
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        let modules_of = stored.values().filter_map(|schedule| schedule.declared_in.clone());
        let mut synced = Synced { modules: modules_of.collect(), ..Synced::default() };
        let mut marked = false;
        for (put, module) in &puts {
            if let Some(object) = corrupt.remove(&keys::schedule(&put.name)) {
                synced.corrupt.push(object);
                continue;
            }
            let found = stored.remove(&put.name);
            if found.as_ref().is_some_and(|found| put.is_settled(found, Some(module))) {
                continue;
            }
            if !std::mem::replace(&mut marked, true) {
                self.core().mark_schedules().await?;
            }
            self.core().store_schedule(put, Some(module)).await?;
            let names = if found.is_some() { &mut synced.changed } else { &mut synced.created };
            names.push(put.name.clone());
        }
        if marked {
            self.core().announce_schedules().await?;
        }
        let is_missing = |schedule: &Schedule| schedule.declared_in.as_ref().is_some_and(|name| modules.contains(name));
        for schedule in stored.into_values().filter(is_missing) {
            synced.missing.push(self.note_undeclared(schedule).await?);
        }
        Ok(synced)
    }

    /// Writes down that a schedule is no longer declared, for all to see.
    async fn note_undeclared(&self, schedule: Schedule) -> Result<Schedule> {
        if schedule.undeclared_at.is_some() {
            return Ok(schedule);
        }
        let note = |schedule: &mut Schedule, now| {
            let first = schedule.undeclared_at.is_none();
            first.then(|| schedule.undeclared_at = Some(now))
        };
        let found = match self.core().find_schedule(&schedule.name).await {
            Ok(found) => found,
            Err(Error::NotFound(_)) => return Ok(schedule),
            Err(error) => return Err(error),
        };
        Ok(match self.core().change_schedule(found, note).await? {
            ScheduleChange::Done((), schedule, _) => schedule,
            ScheduleChange::Unchanged(stored) => stored.schedule,
            ScheduleChange::Missing => schedule,
        })
    }
}

/// Everything that can be checked before anything is stored.
fn check(declared: Vec<Declared>, now: Timestamp) -> Result<Vec<(PutSchedule, String)>> {
    if declared.len() > limits::DECLARED {
        return Err(Error::Invalid(format!("{} schedules declared; give up to {}", declared.len(), limits::DECLARED)));
    }
    let mut names = BTreeSet::new();
    let one = |Declared { name, definition, module }: Declared| {
        check_name(&name)?;
        let of = |error: Error| Error::Invalid(format!("schedule {name:?}: {error}"));
        definition.check(now).map_err(of)?;
        if !names.insert(name.clone()) {
            return Err(Error::Invalid(format!("two schedules are named {name:?}; give one of them another name")));
        }
        let module: String = module.chars().take(limits::HOST_CHARS).collect();
        Ok((PutSchedule { name, definition, enabled: None, replace: true }, module))
    };
    declared.into_iter().map(one).collect()
}
