//! Schedules in the store: created, changed, listed, deleted, fired by hand and filled in.
//!
//! Each is one object, changed by compare-and-swap. Whoever changes one also writes a mark among the ready entries:
//! workers look at those anyway, and so learn of schedules, and of changes to them, without asking for them.

mod declared;
mod object;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

pub use self::declared::{Declared, Synced};
pub use self::object::{LoadedSchedule, ScheduleChange, StoredSchedule};
use super::list::{check_limit, not_a_cursor};
use super::{About, Core, CorruptObject, Derived, Queue, READS_IN_FLIGHT, Submission};
use crate::error::{Error, Result};
use crate::id::TaskId;
use crate::record::Task;
use crate::schedule::{Definition, Schedule, check_name, slot_jitter, slot_record};
use crate::time::Timestamp;
use crate::{keys, limits};

/// A schedule to be created or changed.
#[derive(Clone, Debug)]
pub struct PutSchedule {
    /// Its name.
    pub name: String,
    /// What it does, and when.
    pub definition: Definition,
    /// Whether it fires; `None` for as it is, and at first for yes.
    pub enabled: Option<bool>,
    /// Whether one that says something else may be replaced.
    pub replace: bool,
}

/// A page of schedules, by name.
#[derive(Clone, Debug, Default)]
pub struct ScheduleListing {
    /// The schedules.
    pub schedules: Vec<Schedule>,
    /// Where to go on; `None` at the end.
    pub cursor: Option<String>,
    /// Objects that should be schedules and cannot be read.
    pub corrupt: Vec<CorruptObject>,
}

/// A slot that was filled in.
#[derive(Clone, Copy, Debug)]
pub struct Filled {
    /// The slot.
    pub slot: Timestamp,
    /// Its task.
    pub task: TaskId,
    /// Whether the task was stored now; it was there before if not.
    pub created: bool,
}

impl Queue {
    /// Creates a schedule, or changes the one of that name. Slots count from now; if only other things than the times
    /// change, from where they were. Gives the schedule, and whether anything was changed.
    ///
    /// # Errors
    /// [`Error::Invalid`] before anything is stored, also if there is one that says something else and it is not to
    /// be replaced; the store's.
    pub async fn put_schedule(&self, put: PutSchedule) -> Result<(Schedule, bool)> {
        check_name(&put.name)?;
        put.definition.check(self.bucket().now())?;
        self.check_inputs(&put.definition.kind, std::slice::from_ref(&put.definition.input)).await?;
        let core = self.core();
        if let LoadedSchedule::Found(found) = core.load_schedule(&put.name, None).await? {
            if put.is_satisfied_by(&found.schedule) {
                return Ok((found.schedule, false));
            }
            put.check_replaces(&found.schedule)?;
        }
        core.mark_schedules().await?;
        let stored = core.store_schedule(&put, None).await?;
        core.announce_schedules().await?;
        Ok((stored, true))
    }

    /// Reads a schedule.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Corrupt`], and the store's.
    pub async fn schedule(&self, name: &str) -> Result<Schedule> {
        Ok(self.core().find_schedule(name).await?.schedule)
    }

    /// Lists schedules, up to `limit` (1 to 1,000) at a time.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a limit out of range or a cursor that is none; the store's.
    pub async fn schedules(&self, limit: usize, cursor: Option<&str>) -> Result<ScheduleListing> {
        check_limit(limit)?;
        if let Some(cursor) = cursor
            && keys::parse_schedule(cursor).is_none()
        {
            return Err(not_a_cursor(cursor));
        }
        let page = self.bucket().list(keys::SCHEDULES, cursor, limit).await?.value;
        let reads = stream::iter(page.entries.iter().filter_map(|entry| keys::parse_schedule(&entry.key)))
            .map(|name| async move { (name, self.core().load_schedule(name, None).await) });
        let answers: Vec<_> = reads.buffered(READS_IN_FLIGHT).boxed().collect().await;
        let mut listing = ScheduleListing::default();
        for (name, answer) in answers {
            match answer {
                Ok(LoadedSchedule::Found(found)) => listing.schedules.push(found.schedule),
                Ok(LoadedSchedule::Missing | LoadedSchedule::NotModified) => {}
                Err(error @ (Error::Corrupt(_) | Error::Layout(_))) => {
                    listing.corrupt.push(CorruptObject { key: keys::schedule(name), message: error.to_string() });
                }
                Err(error) => return Err(error),
            }
        }
        listing.cursor = page.entries.last().filter(|_| page.more).map(|last| last.key.clone());
        Ok(listing)
    }

    /// Deletes a schedule. Tasks it has fired stay.
    ///
    /// # Errors
    /// [`Error::NotFound`] and the store's.
    pub async fn delete_schedule(&self, name: &str) -> Result<()> {
        match self.core().find_schedule(name).await {
            // What cannot be read can be deleted all the same.
            Ok(_) | Err(Error::Corrupt(_)) => {}
            Err(error) => return Err(error),
        }
        self.bucket().delete_many(&[keys::schedule(name)]).await?;
        self.core().announce_schedules().await
    }

    /// Lets a schedule fire, or not. What would have fired while it was disabled is not caught up with.
    ///
    /// # Errors
    /// [`Error::NotFound`] and the store's.
    pub async fn enable_schedule(&self, name: &str, enabled: bool) -> Result<Schedule> {
        let found = self.core().find_schedule(name).await?;
        let change =
            |schedule: &mut Schedule, now| (schedule.enabled != enabled).then(|| schedule.enable(enabled, now));
        let schedule = match self.core().change_schedule(found, change).await? {
            ScheduleChange::Unchanged(found) => return Ok(found.schedule),
            ScheduleChange::Done((), schedule, _) => schedule,
            ScheduleChange::Missing => return Err(missing(name)),
        };
        self.core().announce_schedules().await?;
        Ok(schedule)
    }

    /// Submits the schedule's task now, besides its slots and whatever its policies say.
    ///
    /// # Errors
    /// [`Error::NotFound`] and those of a submit.
    pub async fn trigger_schedule(&self, name: &str) -> Result<TaskId> {
        let definition = self.core().find_schedule(name).await?.schedule.definition;
        let about = definition.about(Some(name));
        let Definition { kind, input, options, .. } = definition;
        self.submit(Submission { options, about, ..Submission::new(kind, input) }).await
    }

    /// Sees to it that each slot from `from` to before `until` has its task, whatever its policies say. At most 1,000.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a range that is too long, empty, or not over yet; [`Error::NotFound`]; the store's.
    /// Calling again goes on where it ended.
    pub async fn backfill_schedule(&self, name: &str, from: Timestamp, until: Timestamp) -> Result<Vec<Filled>> {
        let now = self.bucket().now();
        if from >= until {
            return Err(Error::Invalid(format!(
                "the range from {from} to before {until} is empty; it has to end later"
            )));
        }
        let schedule = self.core().find_schedule(name).await?.schedule;
        if until > now.after(self.bucket().time_margin()) {
            return Err(Error::Invalid(format!(
                "the range ends at {until}, which is to come: slots fire by themselves"
            )));
        }
        let most = usize::try_from(limits::CATCH_UP).unwrap_or(usize::MAX);
        let last = Timestamp(until.0 - 1);
        let slots = schedule.definition.timing()?.between(Timestamp(from.0.saturating_sub(1)), last, most + 1);
        if let Some(next) = slots.get(most) {
            return Err(Error::Invalid(format!(
                "the range has more than {most} slots; fill it in piece by piece, first up to {next}"
            )));
        }
        let fill = |slot| {
            let (core, schedule) = (self.core(), &schedule);
            async move {
                let derived = core.store_slot(schedule, slot, Some(now)).await?;
                Ok(Filled { slot, task: derived.id(), created: matches!(derived, Derived::Created(_)) })
            }
        };
        stream::iter(slots).map(fill).buffered(limits::SUBMITS_IN_FLIGHT).boxed().try_collect().await
    }
}

impl Core {
    /// Stores the task of a slot, unless it is there. One that somebody asks for at a time of their own has its time to
    /// live from then.
    pub(crate) async fn store_slot(
        &self,
        schedule: &Schedule,
        slot: Timestamp,
        asked_at: Option<Timestamp>,
    ) -> Result<Derived> {
        let Definition { kind, input, options, .. } = &schedule.definition;
        let available_at = slot.after(slot_jitter(schedule, slot));
        let now = self.desk.bucket.now();
        let About { mut extras, expiry } = schedule.definition.about(Some(&schedule.name));
        extras.metadata.insert("slot".into(), slot.to_string());
        let mut task = Task::new(0, input.clone(), now, Some(available_at)).with(extras);
        // Counted from when the slot's task may start, so that one that is caught up with too late does not start at all.
        let lives_from = asked_at.map_or(available_at, |at| at.max(available_at));
        task.expires_at = expiry.and_then(|expiry| expiry.moment(lives_from));
        let id = if self.settings.variant.forgets_slots() {
            crate::id::RecordId::random(self.desk.bucket.entropy())
        } else {
            slot_record(schedule, slot)
        };
        self.store_derived(id, kind, options, task).await
    }

    async fn find_schedule(&self, name: &str) -> Result<StoredSchedule> {
        check_name(name)?;
        match self.load_schedule(name, None).await? {
            LoadedSchedule::Found(found) => Ok(*found),
            LoadedSchedule::Missing | LoadedSchedule::NotModified => Err(missing(name)),
        }
    }

    /// Says among the ready entries that there are schedules, and that one has just changed or is about to.
    async fn mark_schedules(&self) -> Result<()> {
        // Other bytes each time, or the write would not show on every store.
        let body = format!("{{\"nonce\":\"{:016x}\"}}", self.desk.bucket.entropy().bits());
        self.desk.bucket.put(keys::SCHEDULES_MARK, Bytes::from(body)).await?;
        Ok(())
    }

    /// Tells workers that a schedule has changed: those of this process at once, others by the mark and the bell.
    async fn announce_schedules(&self) -> Result<()> {
        self.mark_schedules().await?;
        self.nearby().iter().for_each(|worker| worker.schedules_changed());
        self.ring();
        Ok(())
    }
}

fn missing(name: &str) -> Error {
    let shown: String = name.chars().take(64).collect();
    Error::NotFound(format!("there is no schedule {shown:?} in this queue"))
}
