//! Operations of those who drive runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Engine;
use super::payload_ops::PayloadName;
use crate::error::{Error, Result};
use crate::id::{LeaseId, TaskId, WorkerId};
use crate::record::Json;
use crate::worker::{Advanced, CodeName, Moment, Opening, Reporting, RunState};
use crate::workflow::attempts::Again;
use crate::workflow::driver::{BodyEnd, Reported, Said, Start, Turn};
use crate::workflow::entry::{Entry, Fault, Told};
use crate::workflow::model::{Millis, Op, Parent};
use crate::workflow::status::RunStatus;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    worker: WorkerId,
    id: TaskId,
    lease: LeaseId,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    worker: WorkerId,
    id: TaskId,
    lease: LeaseId,
    version: Option<String>,
    definition: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StepOutcome {
    Completed,
    Failed,
    Skipped,
    Cancelled,
    Released,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    worker: WorkerId,
    id: TaskId,
    lease: LeaseId,
    op: Op,
    attempt: u32,
    outcome: StepOutcome,
    #[serde(default, deserialize_with = "some")]
    output: Option<Json>,
    error: Option<Fault>,
    retry: Option<bool>,
    retry_at: Option<Millis>,
}

/// How a body ended, as a front says it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
enum End {
    Completed(Json),
    Failed(Fault),
    Cancelled(Option<Fault>),
    Continued(Json),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Advance {
    worker: WorkerId,
    id: TaskId,
    lease: LeaseId,
    #[serde(default)]
    entries: Vec<Said>,
    #[serde(default)]
    patches: BTreeMap<String, bool>,
    #[serde(default)]
    published: BTreeMap<String, Json>,
    end: Option<End>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mismatch {
    worker: WorkerId,
    id: TaskId,
    lease: LeaseId,
    mismatch: Json,
}

/// What a front needs of a run besides its journal.
#[derive(Debug, Serialize)]
pub struct RunAnswer {
    id: TaskId,
    key: Option<String>,
    name: String,
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    definition: Option<String>,
    generation: u64,
    execution: u64,
    retries: u64,
    status: RunStatus,
    began: Millis,
    deadline: Option<Millis>,
    patches: BTreeMap<String, bool>,
    published: BTreeMap<String, Json>,
    parent: Option<Parent>,
    tags: Vec<String>,
    metadata: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
pub struct OpenAnswer {
    run: RunAnswer,
    seed: String,
    input: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_ref: Option<PayloadName>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    input_files: Vec<PayloadName>,
    entries: Vec<Arc<Entry>>,
    now: Millis,
}

#[derive(Debug, Serialize)]
pub struct ReportAnswer {
    reported: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    again_at: Option<Millis>,
}

#[derive(Debug, Serialize)]
pub struct NextAnswer {
    told: Vec<Entry>,
    round: bool,
    again_at: Option<Millis>,
    terminated: bool,
    lost: bool,
    now: Millis,
}

#[derive(Debug, Serialize)]
struct StartAnswer {
    op: Op,
    attempt: u32,
}

#[derive(Debug, Serialize)]
pub struct AdvanceAnswer {
    stored: bool,
    state: RunState,
    status: RunStatus,
    start: Vec<StartAnswer>,
    stop: Vec<Op>,
    now: Millis,
}

#[derive(Debug, Serialize)]
pub struct ReleaseAnswer {
    released: bool,
}

/// A field that is there, also where it is null.
fn some<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}

impl Report {
    fn reporting(self) -> Result<Reporting> {
        let refuse = |what: &str| Err(Error::Invalid(format!("run.report: {what}")));
        match (self.outcome, self.output, self.error) {
            (StepOutcome::Completed, Some(output), None) => Ok(Reporting::Completed(output)),
            (StepOutcome::Completed, _, _) => refuse("a completed step has an output and no error"),
            (StepOutcome::Failed, None, Some(error)) => {
                Ok(Reporting::Failed(error, Again { retryable: self.retry.unwrap_or(true), at: self.retry_at }))
            }
            (StepOutcome::Failed, _, _) => refuse("a failed step has an error and no output"),
            (StepOutcome::Skipped, None, None) => Ok(Reporting::Skipped),
            (StepOutcome::Cancelled, None, _) => Ok(Reporting::Cancelled),
            (StepOutcome::Released, None, _) => Ok(Reporting::Released),
            (StepOutcome::Skipped | StepOutcome::Cancelled | StepOutcome::Released, _, _) => {
                refuse("only a completed step has an output, and only a failed one needs an error")
            }
        }
    }
}

impl From<End> for BodyEnd {
    fn from(end: End) -> Self {
        match end {
            End::Completed(output) => Self::Completed(output),
            End::Failed(error) => Self::Failed(error),
            End::Cancelled(error) => Self::Cancelled(error),
            End::Continued(input) => Self::Continued(input),
        }
    }
}

fn opened(id: TaskId, opening: Opening) -> OpenAnswer {
    use std::fmt::Write;
    let Opening { run, key, seed, input, input_ref, input_files, tags, metadata, entries, now } = opening;
    let seed = seed.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    OpenAnswer {
        run: RunAnswer {
            id,
            key,
            name: run.name,
            version: run.version,
            definition: run.definition,
            generation: run.generation,
            execution: run.execution,
            retries: run.retries,
            status: run.status,
            began: run.began,
            deadline: run.deadline,
            patches: run.patches,
            published: run.published,
            parent: run.parent,
            tags,
            metadata,
        },
        seed,
        input,
        input_ref: input_ref.map(|name| PayloadName::of(id.record(), name)),
        input_files: PayloadName::all(id.record(), input_files),
        entries,
        now: now.into(),
    }
}

impl From<Advanced> for AdvanceAnswer {
    fn from(advanced: Advanced) -> Self {
        let Advanced { stored, state, status, start, stop, now } = advanced;
        let start = start.into_iter().map(|Start { op, attempt }| StartAnswer { op, attempt }).collect();
        Self { stored, state, status, start, stop, now }
    }
}

impl Engine {
    pub(super) async fn run_open(&self, request: Open) -> Result<OpenAnswer> {
        let Open { worker, id, lease, version, definition } = request;
        let code = CodeName { version, definition };
        Ok(opened(id, self.worker(worker)?.open_run(id, lease, code).await?))
    }

    pub(super) fn run_reopen(&self, request: &Held) -> Result<OpenAnswer> {
        let Held { worker, id, lease } = *request;
        Ok(opened(id, self.worker(worker)?.reopen_run(id, lease)?))
    }

    pub(super) async fn run_report(&self, request: Report) -> Result<ReportAnswer> {
        let (worker, id, lease) = (self.worker(request.worker)?, request.id, request.lease);
        let start = (request.op, request.attempt);
        let (reported, again_at) = match worker.report_step(id, lease, start, request.reporting()?).await? {
            Reported::Taken => ("taken", None),
            Reported::Again(at) => ("again", Some(at)),
            Reported::Dropped => ("dropped", None),
        };
        Ok(ReportAnswer { reported, again_at })
    }

    pub(super) async fn run_next(&self, request: Held) -> Result<NextAnswer> {
        let Moment { next, now } = self.worker(request.worker)?.next_of_run(request.id, request.lease).await?;
        let told = next.told.into_iter().map(|told: Told| Entry::Told(told)).collect();
        let (round, again_at) = (next.round, next.again_at);
        Ok(NextAnswer { told, round, again_at, terminated: next.terminated, lost: next.lost, now })
    }

    pub(super) async fn run_advance(&self, request: Advance) -> Result<AdvanceAnswer> {
        let Advance { worker, id, lease, entries, patches, published, end } = request;
        let turn = Turn { entries, patches, published, end: end.map(Into::into) };
        Ok(self.worker(worker)?.advance_run(id, lease, turn).await?.into())
    }

    pub(super) async fn run_mismatch(&self, request: Mismatch) -> Result<AdvanceAnswer> {
        let Mismatch { worker, id, lease, mismatch } = request;
        Ok(self.worker(worker)?.mismatched_run(id, lease, mismatch).await?.into())
    }

    pub(super) async fn run_release(&self, request: Held) -> Result<ReleaseAnswer> {
        self.worker(request.worker)?.release_run(request.id, request.lease).await?;
        Ok(ReleaseAnswer { released: true })
    }
}
