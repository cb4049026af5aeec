//! A schedule and its parts, field for field as they are stored.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::expression::Expression;
use super::timing::Timing;
use super::zone::parse_zone;
use crate::error::{Error, Result};
use crate::id::{CommitId, RecordId, ScheduleId, TaskId, WorkerId};
use crate::limits;
use crate::queue::{About, When, check_payload, check_type};
use crate::record::fields::read_keeping_the_unknown;
use crate::record::{Extra, Extras, Json, Options};
use crate::time::Timestamp;

/// What is done when a slot comes while the task of an earlier one has not finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// The slot fires all the same.
    #[default]
    Allow,
    /// The slot is left out.
    Skip,
    /// The slot waits until that task has finished; while one waits, further ones are left out.
    Wait,
}

/// What is done about slots that were missed, because no worker was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CatchUp {
    /// They are left out.
    None,
    /// Of all that are due the newest fires.
    #[default]
    Latest,
    /// All fire, up to a limit: of more, the newest.
    All,
}

/// What a schedule does, and when.
#[derive(Clone, Debug, Serialize)]
pub struct Definition {
    /// A cron expression; or there is `every_ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The IANA zone that the expression is read in; UTC if it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// An interval in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_ms: Option<u64>,
    /// The tasks' type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The tasks' input.
    pub input: Json,
    /// The tasks' timeout, priority, retries.
    pub options: Options,
    /// How long after a task may start it is too late for it, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// Words to find the tasks by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Facts about the tasks, besides the schedule's name and the slot.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// While an earlier task runs.
    pub overlap: Overlap,
    /// After nobody was there.
    pub catch_up: CatchUp,
    /// How many slots [`CatchUp::All`] catches up with.
    pub catch_up_limit: u32,
    /// Each slot's task is available up to so many milliseconds later.
    pub jitter_ms: u64,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A slot that fired.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// The slot.
    pub slot: Timestamp,
    /// Its task.
    pub task: TaskId,
    /// When the task was stored, or found to be.
    pub at: Timestamp,
    /// The worker that saw to it.
    pub worker: WorkerId,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Why a slot was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SkipReason {
    /// An earlier task had not finished.
    Overlap,
    /// No worker was there, and it is not to be caught up with.
    Missed,
}

/// A slot that was left out.
#[derive(Clone, Debug, Serialize)]
pub struct Skip {
    /// The slot.
    pub slot: Timestamp,
    /// Why.
    pub reason: SkipReason,
    /// When that was decided.
    pub at: Timestamp,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A schedule as it is stored under `schedules/{name}.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Schedule {
    /// Format of the object.
    pub format: u32,
    /// Its name.
    pub name: String,
    /// Made anew when the name is used again: part of the ids of its tasks.
    pub id: ScheduleId,
    /// Grows by one with each commit.
    pub rev: u64,
    /// The commit that wrote this revision.
    pub commit: CommitId,
    /// The commits before it, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trail: Vec<CommitId>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed by a person or program.
    pub changed_at: Timestamp,
    /// Whether it fires.
    pub enabled: bool,
    /// The module that declares it, if it comes from code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declared_in: Option<String>,
    /// Since when that module is known not to declare it any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undeclared_at: Option<Timestamp>,
    /// What it does, and when.
    pub definition: Definition,
    /// Slots up to this one are decided on: fired, waiting or left out.
    pub handled: Timestamp,
    /// The slot that waits for an earlier task to finish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Timestamp>,
    /// The last slot that fired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<Run>,
    /// The last slot that was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_skip: Option<Skip>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

read_keeping_the_unknown!(Definition {
    cron: take_or_default("cron"),
    timezone: take_or_default("timezone"),
    every_ms: take_or_default("every_ms"),
    kind: take("type"),
    input: take("input"),
    options: take("options"),
    ttl_ms: take_or_default("ttl_ms"),
    tags: take_or_default("tags"),
    metadata: take_or_default("metadata"),
    overlap: take("overlap"),
    catch_up: take("catch_up"),
    catch_up_limit: take("catch_up_limit"),
    jitter_ms: take("jitter_ms"),
});
read_keeping_the_unknown!(Run { slot: take("slot"), task: take("task"), at: take("at"), worker: take("worker") });
read_keeping_the_unknown!(Skip { slot: take("slot"), reason: take("reason"), at: take("at") });
read_keeping_the_unknown!(Schedule {
    format: take("format"),
    name: take("name"),
    id: take("id"),
    rev: take("rev"),
    commit: take("commit"),
    trail: take_or_default("trail"),
    created_at: take("created_at"),
    changed_at: take("changed_at"),
    enabled: take("enabled"),
    declared_in: take_or_default("declared_in"),
    undeclared_at: take_or_default("undeclared_at"),
    definition: take("definition"),
    handled: take("handled"),
    waiting: take_or_default("waiting"),
    last_run: take_or_default("last_run"),
    last_skip: take_or_default("last_skip"),
});

/// Checks a schedule's name: it becomes part of a key.
///
/// # Errors
/// [`Error::Invalid`] with the name and the rule.
pub fn check_name(name: &str) -> Result<()> {
    check_type(name).map_err(|_| {
        let shown: String = name.chars().take(64).collect();
        Error::Invalid(format!(
            "{shown:?} cannot be a schedule's name: use 1 to {} of the characters A-Z a-z 0-9 _ . : - \
             with a letter, digit or underscore first and no two dots in a row",
            limits::TYPE_CHARS
        ))
    })
}

impl Definition {
    /// When it fires.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming what is wrong.
    pub fn timing(&self) -> Result<Timing> {
        timing(self.cron.as_deref(), self.timezone.as_deref(), self.every_ms)
    }

    /// Checks everything that can be checked without the store.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming what is wrong, its value and what is allowed.
    pub fn check(&self, now: Timestamp) -> Result<()> {
        check_type(&self.kind)?;
        self.options.check()?;
        if let Some(key) = ["schedule", "slot"].into_iter().find(|key| self.metadata.contains_key(*key)) {
            return Err(Error::Invalid(format!(
                "metadata has {key:?}, which each task gets from its schedule: rename it"
            )));
        }
        // As it is with the longest name and a slot.
        let mut extras = self.about(Some(&"x".repeat(limits::TYPE_CHARS))).extras;
        extras.metadata.insert("slot".into(), Timestamp(0).to_string());
        extras.check()?;
        if let Some(ttl) = self.ttl_ms
            && !(1..=limits::LONGEST.as_millis()).contains(&u128::from(ttl))
        {
            return Err(Error::Invalid(format!("ttl is {ttl} ms; give 1 ms to 366 days")));
        }
        check_payload("input", &self.input)?;
        let size = self.input.text().len();
        if size > limits::PAYLOAD_BYTES {
            // It is in the schedule and in each task's record: it has no object of its own.
            return Err(Error::Invalid(format!(
                "the input has {size} bytes of JSON; that of a schedule may have up to {}",
                limits::PAYLOAD_BYTES
            )));
        }
        check_fires(&self.timing()?, self.cron.as_deref(), now)?;
        let limit = self.catch_up_limit;
        if !(1..=limits::CATCH_UP).contains(&limit) {
            return Err(Error::Invalid(format!("catch_up_limit is {limit}; give 1 to {}", limits::CATCH_UP)));
        }
        if u128::from(self.jitter_ms) > limits::JITTER.as_millis() {
            return Err(Error::Invalid(format!("jitter is {} ms; give up to 1 day", self.jitter_ms)));
        }
        Ok(())
    }

    /// What is told about its tasks; `name` is the schedule's.
    #[must_use]
    pub fn about(&self, name: Option<&str>) -> About {
        let mut metadata = self.metadata.clone();
        metadata.extend(name.map(|name| ("schedule".to_owned(), name.to_owned())));
        let expiry = self.ttl_ms.map(|ttl| When::After(Duration::from_millis(ttl)));
        About { extras: Extras { tags: self.tags.clone(), metadata, parent: None }, expiry }
    }

    /// Whether it says the same.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.differences(other).is_empty()
    }

    /// The names of what they say differently, as they are in the stored object.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let (ours, theirs) = (self.known_fields(), other.known_fields());
        let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        names.into_iter().filter(|name| ours.get(*name) != theirs.get(*name)).cloned().collect()
    }

    fn known_fields(&self) -> serde_json::Map<String, serde_json::Value> {
        match serde_json::to_value(Self { extra: Extra::new(), ..self.clone() }) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        }
    }

    /// Whether it fires at the same times.
    #[must_use]
    pub fn has_same_timing(&self, other: &Self) -> bool {
        (&self.cron, &self.timezone, self.every_ms) == (&other.cron, &other.timezone, other.every_ms)
    }
}

/// When something fires that is said to do so at the times of a cron expression, or at intervals of so many
/// milliseconds.
///
/// # Errors
/// [`Error::Invalid`] naming what is wrong.
pub fn timing(cron: Option<&str>, timezone: Option<&str>, every_ms: Option<u64>) -> Result<Timing> {
    match (cron, every_ms) {
        (Some(cron), None) => {
            let zone = parse_zone(timezone.unwrap_or("UTC"))?;
            Ok(Timing::Cron(Expression::parse(cron)?, zone))
        }
        (None, Some(_)) if timezone.is_some() => {
            Err(Error::Invalid("timezone is given with every: an interval has no zone, only cron has".into()))
        }
        (None, Some(every)) => {
            let (longest, shortest) = (limits::LONGEST.as_millis(), limits::SHORTEST_EVERY.as_millis());
            let fits = (shortest..=longest).contains(&u128::from(every));
            let interval = i64::try_from(every).ok().filter(|_| fits).map(Timing::Every);
            interval.ok_or_else(|| Error::Invalid(format!("every is {every} ms; give 1 s to 366 days")))
        }
        _ => Err(Error::Invalid("give either cron or every".into())),
    }
}

/// Refuses an expression that has no slot any more.
///
/// # Errors
/// [`Error::Invalid`] with the expression.
pub fn check_fires(timing: &Timing, cron: Option<&str>, now: Timestamp) -> Result<()> {
    if timing.next_after(now).is_some() {
        return Ok(());
    }
    let cron = cron.unwrap_or_default();
    Err(Error::Invalid(format!("{cron:?} never fires: there is no such day in any year to come")))
}

/// The record of a slot's task.
#[must_use]
pub fn slot_record(schedule: &Schedule, slot: Timestamp) -> RecordId {
    RecordId::derived(&["schedule", &schedule.name, &schedule.id.to_string(), &slot.0.to_string()])
}

/// How long after its slot a task is available: the same for all who try to store it.
#[must_use]
pub fn slot_jitter(schedule: &Schedule, slot: Timestamp) -> Duration {
    let lot = crate::keys::type_hash(&slot_record(schedule, slot).to_string());
    let jitter = (u128::from(schedule.definition.jitter_ms) * u128::from(lot)) >> u32::BITS;
    Duration::from_millis(u64::try_from(jitter).unwrap_or(0))
}
