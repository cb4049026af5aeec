//! Operations on schedules: what callers send and get, field for field.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Engine;
use super::request::{Retry, options};
use super::span::Span;
use crate::error::{Error, Result};
use crate::id::{ScheduleId, TaskId};
use crate::limits;
use crate::queue::{self, CorruptObject, Declared, PutSchedule};
use crate::record::{Extra, Json, Options};
use crate::schedule::{self, CatchUp, Definition, Overlap, SkipReason, Timing};
use crate::time::Timestamp;

const DEFAULT_PAGE: usize = 100;
/// How many slots a preview shows unless told otherwise.
const DEFAULT_PREVIEW: usize = 10;
/// How many slots are caught up with unless told otherwise.
const DEFAULT_CATCH_UP: u32 = 100;

/// When to fire: the same fields wherever it is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Put {
    name: String,
    cron: Option<String>,
    timezone: Option<String>,
    every: Option<Span>,
    #[serde(rename = "type")]
    kind: String,
    input: Option<Json>,
    timeout: Option<Span>,
    retry: Option<Retry>,
    priority: Option<i64>,
    ttl: Option<Span>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    #[serde(default)]
    overlap: Overlap,
    #[serde(default)]
    catch_up: CatchUp,
    catch_up_limit: Option<u32>,
    jitter: Option<Span>,
    enabled: Option<bool>,
    #[serde(default)]
    replace: bool,
    /// In a declaration: the module it stands in.
    module: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backfill {
    name: String,
    from: Timestamp,
    until: Timestamp,
}

/// Of a schedule by its name, or of times that are given.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preview {
    name: Option<String>,
    cron: Option<String>,
    timezone: Option<String>,
    every: Option<Span>,
    count: Option<usize>,
    after: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sync {
    schedules: Vec<Put>,
    #[serde(default)]
    modules: Vec<String>,
}

/// A slot that fired.
#[derive(Debug, Serialize)]
struct Run {
    slot: Timestamp,
    task: TaskId,
    at: Timestamp,
}

/// A slot that was left out.
#[derive(Debug, Serialize)]
struct Skip {
    slot: Timestamp,
    reason: SkipReason,
    at: Timestamp,
}

/// A schedule as callers see it.
#[derive(Debug, Serialize)]
pub struct ScheduleAnswer {
    name: String,
    id: ScheduleId,
    cron: Option<String>,
    timezone: Option<String>,
    every_ms: Option<u64>,
    #[serde(rename = "type")]
    kind: String,
    input: Json,
    timeout_ms: u64,
    priority: u8,
    max_retries: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    overlap: Overlap,
    catch_up: CatchUp,
    catch_up_limit: u32,
    jitter_ms: u64,
    enabled: bool,
    created_at: Timestamp,
    changed_at: Timestamp,
    declared_in: Option<String>,
    undeclared_at: Option<Timestamp>,
    next: Option<Timestamp>,
    waiting: Option<Timestamp>,
    last_run: Option<Run>,
    last_skip: Option<Skip>,
}

#[derive(Debug, Serialize)]
pub struct PutAnswer {
    schedule: ScheduleAnswer,
    changed: bool,
}

#[derive(Debug, Serialize)]
pub struct Listing {
    schedules: Vec<ScheduleAnswer>,
    cursor: Option<String>,
    corrupt: Vec<CorruptObject>,
}

#[derive(Debug, Serialize)]
pub struct Deleted {}

#[derive(Debug, Serialize)]
pub struct Triggered {
    id: TaskId,
}

#[derive(Debug, Serialize)]
struct Filled {
    slot: Timestamp,
    task: TaskId,
    created: bool,
}

#[derive(Debug, Serialize)]
pub struct Backfilled {
    slots: Vec<Filled>,
}

#[derive(Debug, Serialize)]
pub struct Previewed {
    slots: Vec<Timestamp>,
}

#[derive(Debug, Serialize)]
pub struct Synced {
    created: Vec<String>,
    changed: Vec<String>,
    missing: Vec<ScheduleAnswer>,
    corrupt: Vec<CorruptObject>,
    modules: Vec<String>,
}

impl ScheduleAnswer {
    /// How a schedule looks `now`.
    fn at(schedule: schedule::Schedule, now: Timestamp) -> Self {
        let definition = schedule.definition;
        let timing = definition.timing().ok().filter(|_| schedule.enabled);
        Self {
            next: timing.and_then(|timing| timing.next_after(schedule.handled.max(now))),
            name: schedule.name,
            id: schedule.id,
            cron: definition.cron,
            timezone: definition.timezone,
            every_ms: definition.every_ms,
            kind: definition.kind,
            input: definition.input,
            timeout_ms: definition.options.timeout_ms,
            priority: definition.options.priority,
            max_retries: definition.options.retry.max_retries,
            ttl_ms: definition.ttl_ms,
            tags: definition.tags,
            metadata: definition.metadata,
            overlap: definition.overlap,
            catch_up: definition.catch_up,
            catch_up_limit: definition.catch_up_limit,
            jitter_ms: definition.jitter_ms,
            enabled: schedule.enabled,
            created_at: schedule.created_at,
            changed_at: schedule.changed_at,
            declared_in: schedule.declared_in,
            undeclared_at: schedule.undeclared_at,
            waiting: schedule.waiting,
            last_run: schedule.last_run.map(|run| Run { slot: run.slot, task: run.task, at: run.at }),
            last_skip: schedule.last_skip.map(|skip| Skip { slot: skip.slot, reason: skip.reason, at: skip.at }),
        }
    }
}

impl Put {
    fn definition(&self, defaults: &Options) -> Result<Definition> {
        Ok(Definition {
            cron: self.cron.clone(),
            timezone: self.timezone.clone(),
            every_ms: self.every.map(Span::millis),
            kind: self.kind.clone(),
            input: self.input.clone().unwrap_or_else(Json::null),
            options: options(self.timeout, self.retry.as_ref(), self.priority, defaults.clone())?,
            ttl_ms: self.ttl.map(Span::millis),
            tags: self.tags.clone(),
            metadata: self.metadata.clone(),
            overlap: self.overlap,
            catch_up: self.catch_up,
            catch_up_limit: self.catch_up_limit.unwrap_or(DEFAULT_CATCH_UP),
            jitter_ms: self.jitter.map_or(0, Span::millis),
            extra: Extra::new(),
        })
    }
}

impl Engine {
    pub(super) async fn schedule_put(&self, request: Put) -> Result<PutAnswer> {
        if request.module.is_some() {
            return Err(Error::Invalid("module is given; it belongs to the schedules of schedule.sync".into()));
        }
        let definition = request.definition(&self.task_defaults())?;
        let Put { name, enabled, replace, .. } = request;
        let queue = self.queue().await?;
        let (schedule, changed) = queue.put_schedule(PutSchedule { name, definition, enabled, replace }).await?;
        Ok(PutAnswer { schedule: ScheduleAnswer::at(schedule, queue.bucket().now()), changed })
    }

    pub(super) async fn schedule_get(&self, request: Named) -> Result<ScheduleAnswer> {
        let queue = self.existing().await?;
        let schedule = queue.schedule(&request.name).await?;
        Ok(ScheduleAnswer::at(schedule, queue.bucket().now()))
    }

    pub(super) async fn schedule_list(&self, request: List) -> Result<Listing> {
        let queue = self.looked_through().await?;
        let limit = request.limit.unwrap_or(DEFAULT_PAGE);
        let listing = queue.schedules(limit, request.cursor.as_deref()).await?;
        let now = queue.bucket().now();
        let schedules = listing.schedules.into_iter().map(|schedule| ScheduleAnswer::at(schedule, now)).collect();
        Ok(Listing { schedules, cursor: listing.cursor, corrupt: listing.corrupt })
    }

    pub(super) async fn schedule_delete(&self, request: Named) -> Result<Deleted> {
        self.existing().await?.delete_schedule(&request.name).await?;
        Ok(Deleted {})
    }

    pub(super) async fn schedule_enable(&self, request: Named, enabled: bool) -> Result<ScheduleAnswer> {
        let queue = self.existing().await?;
        let schedule = queue.enable_schedule(&request.name, enabled).await?;
        Ok(ScheduleAnswer::at(schedule, queue.bucket().now()))
    }

    pub(super) async fn schedule_trigger(&self, request: Named) -> Result<Triggered> {
        Ok(Triggered { id: self.existing().await?.trigger_schedule(&request.name).await? })
    }

    pub(super) async fn schedule_backfill(&self, request: Backfill) -> Result<Backfilled> {
        let queue = self.existing().await?;
        let filled = queue.backfill_schedule(&request.name, request.from, request.until).await?;
        let slots =
            filled.into_iter().map(|filled| Filled { slot: filled.slot, task: filled.task, created: filled.created });
        Ok(Backfilled { slots: slots.collect() })
    }

    pub(super) async fn schedule_preview(&self, request: Preview) -> Result<Previewed> {
        let count = request.count.unwrap_or(DEFAULT_PREVIEW);
        if !(1..=limits::PREVIEW).contains(&count) {
            return Err(Error::Invalid(format!("count is {count}; give 1 to {}", limits::PREVIEW)));
        }
        let queue = self.place().await?;
        // Nothing has to be there; what is asked is the store's time.
        queue.is_there().await?;
        let (timing, from) = self.preview_of(&request).await?;
        let after = request.after.unwrap_or_else(|| from.max(queue.bucket().now()));
        Ok(Previewed { slots: timing.preview(after, count) })
    }

    /// The times to preview, and from when on they count.
    async fn preview_of(&self, request: &Preview) -> Result<(Timing, Timestamp)> {
        let times = request.cron.is_some() || request.timezone.is_some() || request.every.is_some();
        match &request.name {
            Some(_) if times => Err(Error::Invalid("give a schedule's name, or times of your own, not both".into())),
            Some(name) => {
                let schedule = self.existing().await?.schedule(name).await?;
                Ok((schedule.definition.timing()?, schedule.handled))
            }
            None => {
                let (cron, timezone) = (request.cron.as_deref(), request.timezone.as_deref());
                let timing = schedule::timing(cron, timezone, request.every.map(Span::millis))?;
                schedule::check_fires(&timing, cron, self.place().await?.bucket().now())?;
                Ok((timing, Timestamp(0)))
            }
        }
    }

    pub(super) async fn schedule_sync(&self, request: Sync) -> Result<Synced> {
        let declared = |put: Put| {
            let definition = put.definition(&self.task_defaults())?;
            let module = put.module.ok_or_else(|| {
                Error::Invalid(format!("schedule {:?} has no module: say where it is declared", put.name))
            })?;
            Ok(Declared { name: put.name, definition, module })
        };
        let declared = request.schedules.into_iter().map(declared).collect::<Result<_>>()?;
        let queue = self.queue().await?;
        let synced = queue.sync_schedules(declared, &request.modules.into_iter().collect()).await?;
        let now = queue.bucket().now();
        let missing = synced.missing.into_iter().map(|schedule| ScheduleAnswer::at(schedule, now)).collect();
        let modules = synced.modules.into_iter().collect();
        let queue::Synced { created, changed, corrupt, .. } = synced;
        Ok(Synced { created, changed, missing, corrupt, modules })
    }
}
