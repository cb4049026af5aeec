//! What callers send, field for field. Unknown fields are refused: a misspelt option must not be ignored.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::payload_ops::PayloadName;
use super::span::Span;
use crate::error::{Error, Result};
use crate::id::{LeaseId, TaskId, WorkerId};
use crate::payload::Payload;
use crate::queue::{About, Dependency, Node, Scope, Unique, When, check_files};
use crate::record::{
    Extras, Failure, Json, On, Options, Outcome, Results, RetryChanges, RetryPolicy, Stowed, TaskStatus,
};
use crate::time::Timestamp;

/// No fields.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// A retry policy with everything optional.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    max_retries: Option<u32>,
    initial: Option<Span>,
    max: Option<Span>,
    multiplier: Option<f64>,
    jitter: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submit {
    #[serde(rename = "type")]
    pub kind: String,
    pub input: Json,
    #[serde(default)]
    pub payloads: Vec<PayloadName>,
    timeout: Option<Span>,
    retry: Option<Retry>,
    priority: Option<i64>,
    delay: Option<Span>,
    at: Option<Timestamp>,
    ttl: Option<Span>,
    expires_at: Option<Timestamp>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    parent: Option<TaskId>,
    pub unique: Option<UniqueRequest>,
    /// Tasks that it waits for.
    #[serde(default)]
    pub after: Vec<TaskId>,
    #[serde(default)]
    pub on: On,
    pub results: Option<Results>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmitMany {
    #[serde(rename = "type")]
    pub kind: String,
    pub inputs: Vec<Json>,
    timeout: Option<Span>,
    retry: Option<Retry>,
    priority: Option<i64>,
    delay: Option<Span>,
    at: Option<Timestamp>,
    ttl: Option<Span>,
    expires_at: Option<Timestamp>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    parent: Option<TaskId>,
}

/// Tasks that wait for others, with those others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmitGraph {
    pub nodes: Vec<GraphNode>,
}

/// Tasks that wait for the same.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphNode {
    #[serde(rename = "type")]
    kind: String,
    pub inputs: Vec<Json>,
    timeout: Option<Span>,
    retry: Option<Retry>,
    priority: Option<i64>,
    delay: Option<Span>,
    at: Option<Timestamp>,
    ttl: Option<Span>,
    expires_at: Option<Timestamp>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    parent: Option<TaskId>,
    #[serde(default)]
    after: Vec<DependencyRequest>,
    #[serde(default)]
    on: On,
    results: Option<Results>,
}

/// What a task waits for: an earlier node, or a task that there is already.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum DependencyRequest {
    Node(usize),
    Id(TaskId),
}

impl GraphNode {
    /// The node as the engine knows it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for options that exclude each other, or are out of range.
    pub fn node(self, defaults: &Options) -> Result<Node> {
        let dependency = |wanted: DependencyRequest| match wanted {
            DependencyRequest::Node(node) => Dependency::Node(node),
            DependencyRequest::Id(id) => Dependency::Task(id),
        };
        Ok(Node {
            kind: self.kind,
            inputs: self.inputs,
            options: options(self.timeout, self.retry.as_ref(), self.priority, defaults.clone())?,
            when: when(self.delay, self.at)?,
            about: about((self.ttl, self.expires_at), self.tags, self.metadata, self.parent)?,
            after: self.after.into_iter().map(dependency).collect(),
            on: self.on,
            results: self.results,
        })
    }
}

/// What makes a task the only one of its kind; without `key`, its input does.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UniqueRequest {
    key: Option<String>,
    scope: Scope,
    window: Option<Span>,
}

impl From<UniqueRequest> for Unique {
    fn from(request: UniqueRequest) -> Self {
        Self { key: request.key, scope: request.scope, window: request.window.map(|span| span.0) }
    }
}

fn about(
    (ttl, expires_at): (Option<Span>, Option<Timestamp>),
    tags: Vec<String>,
    metadata: BTreeMap<String, String>,
    parent: Option<TaskId>,
) -> Result<About> {
    let expiry = match (ttl, expires_at) {
        (Some(_), Some(_)) => return Err(Error::Invalid("both ttl and expires_at are given; give one of them".into())),
        (ttl, expires_at) => ttl.map(|ttl| When::After(ttl.0)).or_else(|| expires_at.map(When::At)),
    };
    Ok(About { extras: Extras { tags, metadata, parent }, expiry })
}

pub fn options(
    timeout: Option<Span>,
    retry: Option<&Retry>,
    priority: Option<i64>,
    defaults: Options,
) -> Result<Options> {
    let priority = match priority {
        None => defaults.priority,
        Some(priority) => u8::try_from(priority)
            .map_err(|_| Error::Invalid(format!("priority is {priority}; give 0 (last) to 9 (first)")))?,
    };
    let timeout_ms = timeout.map_or(defaults.timeout_ms, Span::millis);
    let retry = match retry {
        Some(retry) => retry.policy(&defaults.retry),
        None => defaults.retry.clone(),
    };
    Ok(Options { timeout_ms, priority, retry, ..defaults })
}

fn when(delay: Option<Span>, at: Option<Timestamp>) -> Result<When> {
    match (delay, at) {
        (Some(_), Some(_)) => Err(Error::Invalid("both delay and at are given; give one of them".into())),
        (Some(delay), None) if delay.0.is_zero() => Ok(When::Now),
        (Some(delay), None) => Ok(When::After(delay.0)),
        (None, Some(at)) => Ok(When::At(at)),
        (None, None) => Ok(When::Now),
    }
}

impl Retry {
    /// The parts that are given.
    pub fn changes(&self) -> RetryChanges {
        RetryChanges {
            max_retries: self.max_retries,
            initial_ms: self.initial.map(Span::millis),
            max_ms: self.max.map(Span::millis),
            multiplier: self.multiplier,
            jitter: self.jitter,
        }
    }

    /// What is asked for, and `defaults` for the rest.
    fn policy(&self, defaults: &RetryPolicy) -> RetryPolicy {
        self.changes().apply(defaults.clone())
    }
}

impl Submit {
    pub fn options(&self, defaults: &Options) -> Result<Options> {
        options(self.timeout, self.retry.as_ref(), self.priority, defaults.clone())
    }

    pub fn about(&mut self) -> Result<About> {
        let expiry = (self.ttl, self.expires_at);
        about(expiry, std::mem::take(&mut self.tags), std::mem::take(&mut self.metadata), self.parent)
    }

    pub fn when(&self) -> Result<When> {
        when(self.delay, self.at)
    }
}

impl SubmitMany {
    pub fn options(&self, defaults: &Options) -> Result<Options> {
        options(self.timeout, self.retry.as_ref(), self.priority, defaults.clone())
    }

    pub fn about(&mut self) -> Result<About> {
        let expiry = (self.ttl, self.expires_at);
        about(expiry, std::mem::take(&mut self.tags), std::mem::take(&mut self.metadata), self.parent)
    }

    pub fn when(&self) -> Result<When> {
        when(self.delay, self.at)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Get {
    pub ids: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    #[serde(default)]
    pub status: Vec<TaskStatus>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub tag: Option<String>,
    pub parent: Option<TaskId>,
    pub limit: Option<usize>,
    pub cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    pub id: String,
    pub limit: Option<usize>,
    pub cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    pub id: String,
    pub timeout: Option<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    pub id: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerStart {
    pub types: Vec<String>,
    pub concurrency: Option<usize>,
    pub prefetch: Option<usize>,
    #[serde(default)]
    pub host: String,
    pub pid: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerNext {
    pub worker: WorkerId,
    pub max: usize,
    pub wait: Option<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerSettle {
    pub worker: WorkerId,
    pub outcomes: Vec<OutcomeRequest>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerExtend {
    pub worker: WorkerId,
    pub id: TaskId,
    pub lease: LeaseId,
    pub by: Span,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TasksWake {
    pub ids: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerHear {
    pub worker: WorkerId,
    pub id: TaskId,
    pub lease: LeaseId,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerListen {
    pub worker: WorkerId,
    pub id: TaskId,
    pub lease: LeaseId,
    pub listens: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerOnly {
    pub worker: WorkerId,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerStuck {
    pub worker: WorkerId,
    pub places: usize,
}

/// An error as the front tells it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorRequest {
    #[serde(rename = "type")]
    kind: String,
    message: String,
    traceback: Option<String>,
}

/// One outcome; which fields are allowed depends on `outcome`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeRequest {
    pub id: TaskId,
    pub lease: LeaseId,
    outcome: OutcomeKind,
    output: Option<Json>,
    #[serde(default)]
    payloads: Vec<PayloadName>,
    error: Option<ErrorRequest>,
    retry: Option<bool>,
    delay: Option<Span>,
    at: Option<Timestamp>,
    message: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OutcomeKind {
    Complete,
    Fail,
    Timeout,
    Park,
    Reschedule,
    Release,
    Cancel,
}

impl OutcomeRequest {
    /// The outcome as the engine knows it.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a field is missing that this kind of outcome needs.
    pub fn outcome(self, now: Timestamp) -> Result<Outcome> {
        let missing = |field: &str| {
            Error::Invalid(format!("the outcome of task {} has no {field:?}, which this outcome needs", self.id))
        };
        let later = self.at.or_else(|| self.delay.map(|delay| now.after(delay.0)));
        match self.outcome {
            OutcomeKind::Complete => {
                // `"output": null` reads as none, and is a fine output.
                let output = self.output.unwrap_or_else(Json::null);
                if self.payloads.is_empty() {
                    return Ok(Outcome::Complete { output });
                }
                let payloads: Vec<Payload> = self.payloads.into_iter().map(Into::into).collect();
                let files = check_files(&payloads, now, |payload| payload.owner == self.id.record())?;
                Ok(Outcome::CompleteStowed(Stowed { files, ..Stowed::inline(output) }))
            }
            OutcomeKind::Fail => {
                let ErrorRequest { kind, message, traceback } = self.error.ok_or_else(|| missing("error"))?;
                let error = Failure { kind, message, traceback };
                Ok(Outcome::Fail { error, retry: self.retry.unwrap_or(true), retry_at: later })
            }
            OutcomeKind::Timeout => {
                let message = self.message.unwrap_or_else(|| "the attempt did not end within its timeout".into());
                let error = Failure { kind: "Timeout".into(), message, traceback: None };
                Ok(Outcome::Fail { error, retry: self.retry.unwrap_or(true), retry_at: later })
            }
            OutcomeKind::Park => Ok(Outcome::Park { until: later }),
            OutcomeKind::Reschedule => Ok(Outcome::Reschedule { at: later.ok_or_else(|| missing("delay"))? }),
            OutcomeKind::Release => Ok(Outcome::Release),
            OutcomeKind::Cancel => Ok(Outcome::Cancel),
        }
    }
}
