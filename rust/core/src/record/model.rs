//! The batch record and its parts, field for field as they are stored.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use super::after::After;
use super::codec::{FORMAT, Json, PLAIN_FORMAT, STOWED_FORMAT, advance};
use super::dead::{FailedRef, Overrides};
use super::extras::{Cancel, Extras, Progress};
use super::fields::read_keeping_the_unknown;
use super::links::Link;
use super::options::Options;
use super::park::Park;
use super::payload::PayloadRef;
use super::status::TaskStatus;
use crate::id::{CommitId, LeaseId, RecordId, TaskId, WorkerId};
use crate::limits;
use crate::time::Timestamp;

/// Fields this version does not know, kept as they are.
pub type Extra = BTreeMap<String, Box<RawValue>>;

/// One or more tasks of the same type and options: the unit of every commit.
#[derive(Clone, Debug, Serialize)]
pub struct BatchRecord {
    /// Format of the object.
    pub format: u32,
    /// The record's name.
    pub id: RecordId,
    /// The type of its tasks.
    #[serde(rename = "type")]
    pub kind: String,
    /// What its tasks have in common.
    pub options: Options,
    /// When it was first committed.
    pub created_at: Timestamp,
    /// Grows by one with each commit.
    pub rev: u64,
    /// The commit that wrote this revision.
    pub commit: CommitId,
    /// The commits before it, newest first, at most [`limits::TRAIL`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trail: Vec<CommitId>,
    /// The highest number any of its ready or parked entries can have had; an entry up to this number that is neither
    /// `ready` nor `parked` is stale for ever.
    pub seq: u64,
    /// The ready entry that leads here, if a task is pending.
    pub ready: Option<ReadyRef>,
    /// The entry in the index of parked work that leads here, if a task waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parked: Option<ReadyRef>,
    /// The entry in the index of failed tasks that leads here, if one was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailedRef>,
    /// Who works on it.
    pub leases: BTreeMap<LeaseId, Lease>,
    /// Tasks of other records that are told when some of these end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// Set where a submit was abandoned half way: holds no task, and bars the late commit.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub void: bool,
    /// The tasks, by their index.
    pub tasks: Vec<Task>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The record's current entry in the ready index.
#[derive(Clone, Debug, Serialize)]
pub struct ReadyRef {
    /// When its next task is due; the entry's time bucket is this minute.
    pub due: Timestamp,
    /// The entry's number.
    pub seq: u64,
    /// How many tasks were pending when it was written.
    pub pending: u32,
    /// Its priority, where that is not the record's: some of the tasks were replayed with another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Fields this version does not know; they go with the entry.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The same entry of the index.
impl PartialEq for ReadyRef {
    fn eq(&self, other: &Self) -> bool {
        let entry = |it: &Self| (it.due, it.seq, it.pending, it.priority);
        entry(self) == entry(other)
    }
}

impl Eq for ReadyRef {}

/// A worker's claim on some of the record's tasks.
#[derive(Clone, Debug, Serialize)]
pub struct Lease {
    /// Who holds it.
    pub worker: WorkerId,
    /// When it falls even if the worker lives; only ever moves later.
    pub expires_at: Timestamp,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One task.
#[derive(Clone, Debug, Serialize)]
pub struct Task {
    /// Its index in the record.
    pub n: u16,
    /// Where it stands.
    pub status: TaskStatus,
    /// The handler's input; null where `input_ref` leads to it.
    pub input: Json,
    /// Where the input lies, if not here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_ref: Option<Box<PayloadRef>>,
    /// Payloads that came with the input, which speaks of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub input_files: Vec<PayloadRef>,
    /// The handler's output, once completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
    /// Where the output lies, if not here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_ref: Option<Box<PayloadRef>>,
    /// Payloads that came with the output, which speaks of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub output_files: Vec<PayloadRef>,
    /// How often it was started.
    pub attempt: u32,
    /// How many retries it has spent.
    pub retry_count: u32,
    /// How often its worker was lost.
    #[serde(skip_serializing_if = "is_zero")]
    pub loss_count: u32,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// When it may start; equal to `submitted_at` where no delay was asked for.
    pub available_at: Timestamp,
    /// When the latest attempt was claimed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it reached a terminal status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// The lease it runs under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseId>,
    /// The worker of the latest attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerId>,
    /// The latest failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<TaskError>,
    /// When it is too late to start it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Words to find it by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Facts about it, for people and programs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The task that submitted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<TaskId>,
    /// The key that makes it the only one of its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How far the latest attempt has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Box<Progress>>,
    /// The wish that it be called off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel: Option<Box<Cancel>>,
    /// Options of its own, from a replay; they count for more than the record's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Box<Overrides>>,
    /// What it waits for before it may be started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Box<After>>,
    /// That it was parked or woken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub park: Option<Box<Park>>,
    /// What it was before it was archived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archived_from: Option<TaskStatus>,
    /// When it was purged: its input, output and error are gone, and nothing happens to it any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purged_at: Option<Timestamp>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Why an attempt failed.
#[derive(Clone, Debug, Serialize)]
pub struct TaskError {
    /// The kind of error: an exception's class name, or `Timeout` or `LeaseLost` from buquet itself.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it says.
    pub message: String,
    /// Where it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
    /// When it was recorded.
    pub at: Timestamp,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Task {
    /// A task as it is submitted; without `available_at` it may start at once.
    #[must_use]
    pub fn new(n: u16, input: Json, submitted_at: Timestamp, available_at: Option<Timestamp>) -> Self {
        Self {
            n,
            status: TaskStatus::Pending,
            input,
            input_ref: None,
            input_files: Vec::new(),
            output: None,
            output_ref: None,
            output_files: Vec::new(),
            attempt: 0,
            retry_count: 0,
            loss_count: 0,
            submitted_at,
            available_at: available_at.unwrap_or(submitted_at),
            started_at: None,
            completed_at: None,
            lease: None,
            worker: None,
            error: None,
            expires_at: None,
            tags: Vec::new(),
            metadata: BTreeMap::new(),
            parent: None,
            key: None,
            progress: None,
            cancel: None,
            options: None,
            after: None,
            park: None,
            archived_from: None,
            purged_at: None,
            extra: Extra::new(),
        }
    }

    /// The same task with what its submitter tells about it.
    #[must_use]
    pub fn with(self, extras: Extras) -> Self {
        let Extras { tags, metadata, parent } = extras;
        Self { tags, metadata, parent, ..self }
    }

    /// When a worker may take it. A task nobody asked to delay may be taken from the start of its minute, so that a
    /// worker whose idea of the server's time is a little behind takes it at once.
    #[must_use]
    pub const fn startable_at(&self) -> Timestamp {
        if self.attempt == 0 && self.available_at.0 == self.submitted_at.0 {
            Timestamp(self.available_at.minute() * 60_000)
        } else {
            self.available_at
        }
    }

    /// When a worker has something to do about it: start it, or note that it is too late.
    #[must_use]
    pub fn due(&self) -> Timestamp {
        let start = self.startable_at();
        self.expires_at.filter(|_| !self.has_parked()).map_or(start, |end| start.min(end))
    }
}

impl BatchRecord {
    /// A record as it is about to be submitted, without any revision yet.
    #[must_use]
    pub const fn new(
        id: RecordId,
        kind: String,
        options: Options,
        created_at: Timestamp,
        tasks: Vec<Task>,
        commit: CommitId,
    ) -> Self {
        Self {
            format: PLAIN_FORMAT,
            id,
            kind,
            options,
            created_at,
            rev: 0,
            commit,
            trail: Vec::new(),
            seq: 0,
            ready: None,
            parked: None,
            failed: None,
            leases: BTreeMap::new(),
            links: Vec::new(),
            void: false,
            tasks,
            extra: Extra::new(),
        }
    }

    /// Marks the next revision as written by `commit`.
    pub fn stamp(&mut self, commit: CommitId) {
        advance(&mut self.rev, &mut self.commit, &mut self.trail, commit);
        if self.tasks.iter().any(Task::is_stowed) {
            self.format = self.format.max(STOWED_FORMAT);
        }
        if !self.links.is_empty() || self.tasks.iter().any(|task| task.park.is_some()) {
            self.format = self.format.max(FORMAT);
        }
    }

    /// Whether `commit` wrote this revision or one of the last few before it.
    #[must_use]
    pub fn has_commit(&self, commit: CommitId) -> bool {
        self.commit == commit || self.trail.contains(&commit)
    }

    /// The task with this id, if it is one of the record's.
    #[must_use]
    pub fn task(&self, id: TaskId) -> Option<&Task> {
        (id.record() == self.id).then(|| self.tasks.get(usize::from(id.index()))).flatten()
    }

    /// Whether nothing more happens to the record by itself.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.leases.is_empty() && self.tasks.iter().all(|task| task.status.is_terminal())
    }

    /// What every record must satisfy; the first thing it does not.
    ///
    /// # Errors
    /// A description of the contradiction.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.rev >= limits::COUNTABLE || self.seq >= limits::COUNTABLE {
            return Err("its rev or seq is too high to have been counted");
        }
        if self.tasks.iter().enumerate().any(|(n, task)| usize::from(task.n) != n) {
            return Err("its tasks are not numbered from 0");
        }
        for task in &self.tasks {
            task.check_payloads()?;
            let leased = task.lease.is_some_and(|lease| self.leases.contains_key(&lease));
            if (task.status == TaskStatus::Running) != task.lease.is_some() || task.lease.is_some() != leased {
                return Err("a running task has no lease, or a lease is not listed");
            }
        }
        let pending = self.tasks.iter().any(|task| task.status == TaskStatus::Pending);
        if pending != self.ready.is_some() {
            return Err("it has pending tasks and no ready entry, or the other way round");
        }
        let waits = self.tasks.iter().any(|task| task.status == TaskStatus::Waiting);
        if waits != self.parked.is_some() {
            return Err("it has tasks that wait and no parked entry, or the other way round");
        }
        let mut entries = self.ready.iter().chain(&self.parked);
        if entries.clone().any(|entry| entry.seq > self.seq) {
            return Err("its ready or parked entry has a higher number than the record");
        }
        if entries.any(|entry| entry.due < Timestamp(0)) {
            return Err("its ready or parked entry is due before 1970, which no key can say");
        }
        if self.leases.keys().any(|lease| !self.tasks.iter().any(|task| task.lease == Some(*lease))) {
            return Err("a lease holds no task");
        }
        self.check_failed()
    }
}

// Times and counts that are missing in older or hand-written objects read as their defaults; ids must be there.
read_keeping_the_unknown!(BatchRecord {
    format: take("format"),
    id: take("id"),
    kind: take("type"),
    options: take("options"),
    created_at: take("created_at"),
    rev: take("rev"),
    commit: take("commit"),
    trail: take_or_default("trail"),
    seq: take("seq"),
    ready: take_or_default("ready"),
    parked: take_or_default("parked"),
    failed: take_or_default("failed"),
    leases: take_or_default("leases"),
    links: take_or_default("links"),
    void: take_or_default("void"),
    tasks: take("tasks"),
});
read_keeping_the_unknown!(ReadyRef {
    due: take("due"),
    seq: take("seq"),
    pending: take("pending"),
    priority: take_or_default("priority"),
});
read_keeping_the_unknown!(Lease { worker: take("worker"), expires_at: take("expires_at") });
read_keeping_the_unknown!(TaskError {
    kind: take("type"),
    message: take("message"),
    traceback: take_or_default("traceback"),
    at: take("at"),
});
read_keeping_the_unknown!(Task {
    n: take("n"),
    status: take("status"),
    input: take("input"),
    input_ref: take_or_default("input_ref"),
    input_files: take_or_default("input_files"),
    output: take_if_there("output"),
    output_ref: take_or_default("output_ref"),
    output_files: take_or_default("output_files"),
    attempt: take("attempt"),
    retry_count: take("retry_count"),
    loss_count: take_or_default("loss_count"),
    submitted_at: take("submitted_at"),
    available_at: take("available_at"),
    started_at: take_or_default("started_at"),
    completed_at: take_or_default("completed_at"),
    lease: take_or_default("lease"),
    worker: take_or_default("worker"),
    error: take_or_default("error"),
    expires_at: take_or_default("expires_at"),
    tags: take_or_default("tags"),
    metadata: take_or_default("metadata"),
    parent: take_or_default("parent"),
    key: take_or_default("key"),
    progress: take_or_default("progress"),
    cancel: take_or_default("cancel"),
    options: take_or_default("options"),
    after: take_or_default("after"),
    park: take_or_default("park"),
    archived_from: take_or_default("archived_from"),
    purged_at: take_or_default("purged_at"),
});
