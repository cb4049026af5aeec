//! What callers get, field for field.

use std::collections::BTreeMap;

use serde::Serialize;

use super::payload_ops::PayloadName;
use crate::bucket::Usage;
use crate::id::{CommitId, LeaseId, TaskId, WorkerId};
use crate::queue::{self, CorruptObject, TaskView};
use crate::record::{self, Json, TaskStatus};
use crate::time::Timestamp;
use crate::worker::{CalledOff, Ended, Lost, Phase, Problem, Seen, Settled, Verdict, Woken};

#[derive(Debug, Serialize)]
pub struct Connected {
    pub url: String,
    pub store: &'static str,
    pub format: u32,
    pub source: String,
    pub versions_kept: bool,
}

#[derive(Debug, Serialize)]
pub struct Submitted {
    pub id: TaskId,
    /// Whether this call made it; otherwise it was there already.
    pub created: bool,
}

#[derive(Debug, Serialize)]
pub struct SubmittedMany {
    pub ids: Vec<TaskId>,
}

#[derive(Debug, Serialize)]
pub struct SubmittedGraph {
    /// The ids of each node's tasks.
    pub nodes: Vec<Vec<TaskId>>,
}

/// Why an attempt failed, as callers see it: without what a newer version may have added to it.
#[derive(Debug, Serialize)]
pub struct TaskError {
    #[serde(rename = "type")]
    kind: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceback: Option<String>,
    at: Timestamp,
}

impl From<record::TaskError> for TaskError {
    fn from(error: record::TaskError) -> Self {
        Self { kind: error.kind, message: error.message, traceback: error.traceback, at: error.at }
    }
}

/// A task as callers see it.
#[derive(Debug, Serialize)]
pub struct Task {
    id: TaskId,
    #[serde(rename = "type")]
    kind: String,
    status: TaskStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    archived_from: Option<TaskStatus>,
    input: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_ref: Option<PayloadName>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    input_files: Vec<PayloadName>,
    output: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_ref: Option<PayloadName>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    output_files: Vec<PayloadName>,
    attempt: u32,
    retry_count: u32,
    max_retries: u32,
    priority: u8,
    timeout_ms: u64,
    submitted_at: Timestamp,
    available_at: Timestamp,
    started_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
    worker: Option<WorkerId>,
    error: Option<TaskError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<TaskId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<record::Progress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel: Option<Cancel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    park: Option<Park>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<After>,
}

/// What a task waits for, as callers see it.
#[derive(Debug, Serialize)]
pub struct After {
    on: record::On,
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<record::Results>,
    tasks: Vec<TaskId>,
    /// How many of them have yet to end.
    open: usize,
}

impl From<record::After> for After {
    fn from(after: record::After) -> Self {
        let open = after.open().map(|(_, slot)| slot.tasks().count()).sum();
        let tasks = after.tasks().collect();
        Self { on: after.on, results: after.results, tasks, open }
    }
}

/// That a task was parked or woken, as callers see it.
#[derive(Debug, Serialize)]
pub struct Park {
    count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    woken: bool,
}

impl From<record::Park> for Park {
    fn from(park: record::Park) -> Self {
        Self { count: park.count, until: park.until, woken: park.woken }
    }
}

/// Somebody's wish that a task be called off, as callers see it.
#[derive(Debug, Serialize)]
pub struct Cancel {
    at: Timestamp,
    by: Option<String>,
    reason: Option<String>,
}

impl From<record::Cancel> for Cancel {
    fn from(cancel: record::Cancel) -> Self {
        Self { at: cancel.at, by: cancel.by, reason: cancel.reason }
    }
}

impl From<TaskView> for Task {
    fn from(view: TaskView) -> Self {
        let TaskView { id, kind, options, task } = view;
        Self {
            id,
            kind,
            status: task.status,
            archived_from: task.outcome_before_archive(),
            input: task.input,
            input_ref: task.input_ref.map(|name| PayloadName::of(id.record(), *name)),
            input_files: PayloadName::all(id.record(), task.input_files),
            output: task.output,
            output_ref: task.output_ref.map(|name| PayloadName::of(id.record(), *name)),
            output_files: PayloadName::all(id.record(), task.output_files),
            attempt: task.attempt,
            retry_count: task.retry_count,
            max_retries: options.retry.max_retries,
            priority: options.priority,
            timeout_ms: options.timeout_ms,
            submitted_at: task.submitted_at,
            available_at: task.available_at,
            started_at: task.started_at,
            completed_at: task.completed_at,
            worker: task.worker,
            error: task.error.map(Into::into),
            expires_at: task.expires_at,
            tags: task.tags,
            metadata: task.metadata,
            parent: task.parent,
            key: task.key,
            progress: task.progress.map(|progress| *progress),
            cancel: task.cancel.map(|wish| (*wish).into()),
            park: task.park.map(|park| (*park).into()),
            after: task.after.map(|after| (*after).into()),
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Tasks {
    pub tasks: Vec<Option<Task>>,
}

#[derive(Debug, Serialize)]
pub struct Listing {
    pub tasks: Vec<Task>,
    pub cursor: Option<String>,
    pub corrupt: Vec<CorruptObject>,
}

#[derive(Debug, Serialize)]
pub struct Event {
    rev: u64,
    at: Timestamp,
    commit: CommitId,
    task: Task,
}

#[derive(Debug, Serialize)]
pub struct History {
    pub events: Vec<Event>,
    pub cursor: Option<String>,
    pub complete: bool,
}

impl From<queue::Event> for Event {
    fn from(event: queue::Event) -> Self {
        Self { rev: event.rev, at: event.at, commit: event.commit, task: event.task.into() }
    }
}

/// A worker as callers see it.
#[derive(Debug, Serialize)]
pub struct WorkerAnswer {
    id: WorkerId,
    host: String,
    pid: u32,
    types: Vec<String>,
    concurrency: usize,
    started_at: Timestamp,
    heartbeat_at: Timestamp,
    alive: bool,
    state: Phase,
    running: usize,
    stuck: usize,
    ended: Ended,
}

impl From<Seen> for WorkerAnswer {
    fn from(seen: Seen) -> Self {
        let Seen { registration, heartbeat_at, alive } = seen;
        Self {
            id: registration.id,
            host: registration.host,
            pid: registration.pid,
            types: registration.types,
            concurrency: registration.concurrency,
            started_at: registration.started_at,
            heartbeat_at,
            alive,
            state: registration.state,
            running: registration.running,
            stuck: registration.stuck,
            ended: registration.ended,
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Workers {
    pub workers: Vec<WorkerAnswer>,
    pub corrupt: Vec<CorruptObject>,
}

#[derive(Debug, Serialize)]
pub struct Started {
    pub worker: WorkerId,
}

#[derive(Debug, Serialize)]
pub struct Assignment {
    id: TaskId,
    lease: LeaseId,
    #[serde(rename = "type")]
    kind: String,
    input: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_ref: Option<PayloadName>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    input_files: Vec<PayloadName>,
    attempt: u32,
    retry_count: u32,
    max_retries: u32,
    priority: u8,
    timeout_ms: u64,
    expires_at: Timestamp,
    submitted_at: Timestamp,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<TaskId>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    woken: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<After>,
}

impl From<crate::worker::Assignment> for Assignment {
    fn from(task: crate::worker::Assignment) -> Self {
        Self {
            id: task.id,
            lease: task.lease,
            kind: task.kind,
            input: task.input,
            input_ref: task.input_ref.map(|name| PayloadName::of(task.id.record(), name)),
            input_files: PayloadName::all(task.id.record(), task.input_files),
            attempt: task.attempt,
            retry_count: task.retry_count,
            max_retries: task.max_retries,
            priority: task.priority,
            timeout_ms: task.timeout_ms,
            expires_at: task.expires_at,
            submitted_at: task.submitted_at,
            tags: task.tags,
            metadata: task.metadata,
            parent: task.parent,
            woken: task.woken,
            after: task.after.map(|after| (*after).into()),
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Next {
    pub assignments: Vec<Assignment>,
    pub lost: Vec<Lost>,
    pub cancelled: Vec<CalledOff>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub woken: Vec<Woken>,
    pub problems: Vec<Problem>,
    pub warnings: Vec<String>,
    pub state: Phase,
}

/// What became of one outcome.
#[derive(Debug, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SettledAnswer {
    Committed { id: TaskId, status: TaskStatus, available_at: Option<Timestamp> },
    Woken { id: TaskId },
    LeaseLost { id: TaskId, message: String },
    Refused { id: TaskId, message: String },
}

impl From<Settled> for SettledAnswer {
    fn from(settled: Settled) -> Self {
        let id = settled.id;
        match settled.verdict {
            Verdict::Committed { status, available_at } => Self::Committed { id, status, available_at },
            Verdict::Woken => Self::Woken { id },
            Verdict::LeaseLost(message) => Self::LeaseLost { id, message },
            Verdict::Refused(message) => Self::Refused { id, message },
        }
    }
}

#[derive(Debug, Serialize)]
pub struct SettledMany {
    pub settled: Vec<SettledAnswer>,
}

#[derive(Debug, Serialize)]
pub struct Heard {
    /// Whether it was woken since its attempt looked last.
    pub woken: bool,
}

/// What became of the wake of one task.
#[derive(Debug, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum WokenTask {
    Woken { id: TaskId },
    Noted { id: TaskId },
    Finished { id: TaskId, status: TaskStatus },
    Missing { id: TaskId },
}

impl From<(TaskId, record::Waking)> for WokenTask {
    fn from((id, waking): (TaskId, record::Waking)) -> Self {
        match waking {
            record::Waking::Woken => Self::Woken { id },
            record::Waking::Noted | record::Waking::Known => Self::Noted { id },
            record::Waking::Finished(status) => Self::Finished { id, status },
            record::Waking::Missing => Self::Missing { id },
        }
    }
}

#[derive(Debug, Serialize)]
pub struct WokenTasks {
    pub tasks: Vec<WokenTask>,
}

#[derive(Debug, Serialize)]
pub struct Extended {
    pub expires_at: Timestamp,
}

#[derive(Debug, Serialize)]
pub struct Explained {
    /// `None` if nothing keeps the task from being started.
    pub reason: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct Done {}

#[derive(Debug, Serialize)]
pub struct Stopped {
    pub released: usize,
}

pub type UsageAnswer = Usage;
