//! A run, as callers see it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::answer::TaskError;
use super::payload_ops::PayloadName;
use crate::id::{TaskId, WorkerId};
use crate::record::{Json, TaskStatus};
use crate::time::Timestamp;
use crate::workflow::client::RunView;
use crate::workflow::entry::{Fault, Kind};
use crate::workflow::model::{Millis, Op, Parent};
use crate::workflow::status::{RunStatus, StepStatus};
use crate::workflow::timeline::Line;
use crate::workflow::wishes::{Pause, Wishes};

#[derive(Debug, Serialize)]
pub struct RunAnswer {
    id: TaskId,
    key: Option<String>,
    workflow: String,
    version: Option<String>,
    generation: u64,
    execution: u64,
    retries: u64,
    status: RunStatus,
    task_status: TaskStatus,
    input: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_ref: Option<PayloadName>,
    output: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_ref: Option<PayloadName>,
    error: Option<TaskError>,
    submitted_at: Timestamp,
    available_at: Timestamp,
    started_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
    wakes_at: Option<Timestamp>,
    deadline: Option<Millis>,
    pause: Option<Pause>,
    wishes: Wishes,
    published: BTreeMap<String, Json>,
    tags: Vec<String>,
    metadata: BTreeMap<String, String>,
    parent: Option<Parent>,
    worker: Option<WorkerId>,
    attempt: u32,
    entries: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<BTreeMap<StepStatus, usize>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<Vec<StepAnswer>>,
}

/// One operation of a run.
#[derive(Debug, Serialize)]
pub struct StepAnswer {
    op: Op,
    kind: Kind,
    scope: String,
    name: String,
    n: u32,
    status: StepStatus,
    attempts: u32,
    asked_at: Millis,
    ended_at: Option<Millis>,
    due: Option<Millis>,
    error: Option<Fault>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compensates: Option<Op>,
}

impl RunAnswer {
    /// The same with its operations.
    pub fn with(self, steps: Vec<StepAnswer>, counts: BTreeMap<StepStatus, usize>) -> Self {
        Self { steps: Some(steps), counts: Some(counts), ..self }
    }
}

pub fn run_answer(RunView { task: view, run }: RunView) -> RunAnswer {
    let (id, task) = (view.id, view.task);
    let wakes_at = task.park.as_ref().and_then(|park| park.until).filter(|_| task.status == TaskStatus::Waiting);
    RunAnswer {
        id,
        key: task.key,
        workflow: run.name,
        version: run.version,
        generation: run.generation,
        execution: run.execution,
        retries: run.retries,
        status: run.status,
        task_status: task.status,
        input: task.input,
        input_ref: task.input_ref.map(|name| PayloadName::of(id.record(), *name)),
        output: task.output,
        output_ref: task.output_ref.map(|name| PayloadName::of(id.record(), *name)),
        error: task.error.map(Into::into),
        submitted_at: task.submitted_at,
        available_at: task.available_at,
        started_at: task.started_at,
        completed_at: task.completed_at,
        wakes_at,
        deadline: run.deadline,
        pause: run.pause,
        wishes: run.wishes,
        published: run.published,
        tags: task.tags,
        metadata: task.metadata,
        parent: run.parent,
        worker: task.worker,
        attempt: task.attempt,
        entries: run.journal.len(),
        counts: None,
        steps: None,
    }
}

/// The operations of a run.
pub fn steps(lines: Vec<Line>) -> Vec<StepAnswer> {
    let step = |line: Line| StepAnswer {
        op: line.op,
        kind: line.kind,
        scope: line.place.scope,
        name: line.place.name,
        n: line.place.n,
        status: line.status,
        attempts: line.attempts,
        asked_at: line.asked_at,
        ended_at: line.ended_at,
        due: line.due,
        error: line.error,
        compensates: line.compensates,
    };
    lines.into_iter().map(step).collect()
}
