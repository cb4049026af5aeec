//! Operations on runs, for anybody.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::run_view::{RunAnswer, StepAnswer, run_answer, steps};
use super::span::Span;
use super::{Engine, answer, parse, unknown};
use crate::error::{Error, Result};
use crate::id::TaskId;
use crate::limits;
use crate::queue::{CorruptObject, Step, When};
use crate::record::{Extras, Json};
use crate::time::Timestamp;
use crate::workflow::client::{
    CallbackToken, OnExisting, Prune, Pruned, RunFilter, RunHistory, Said, Sent, StartRun, StartRuns, WishedRun, run_id,
};
use crate::workflow::entry::{End, Entry, Fault, Outcome, ResultRef};
use crate::workflow::state::{WishKind, Wished};
use crate::workflow::status::RunStatus;

const DEFAULT_PAGE: usize = 100;

/// What runs have in common that are started together.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    workflow: String,
    input: Json,
    id: Option<String>,
    #[serde(default)]
    on_existing: OnExisting,
    timeout: Option<Span>,
    deadline: Option<Timestamp>,
    priority: Option<i64>,
    delay: Option<Span>,
    at: Option<Timestamp>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StartMany {
    workflow: String,
    inputs: Vec<Json>,
    timeout: Option<Span>,
    deadline: Option<Timestamp>,
    priority: Option<i64>,
    delay: Option<Span>,
    at: Option<Timestamp>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Get {
    ids: Vec<String>,
    #[serde(default)]
    steps: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    workflow: Option<String>,
    #[serde(default)]
    status: Vec<RunStatus>,
    tag: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    id: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    id: String,
    generation: Option<u64>,
    timeout: Option<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signal {
    id: String,
    name: String,
    payload: Option<Json>,
    signal_id: Option<String>,
    generation: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CallbackOutcome {
    Completed,
    Failed,
    Alive,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Callback {
    token: String,
    outcome: CallbackOutcome,
    output: Option<Json>,
    error: Option<Fault>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    id: String,
    generation: Option<u64>,
    by: Option<String>,
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    id: String,
    key: String,
    sha256: String,
    bytes: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PruneRequest {
    #[serde(default)]
    status: Vec<RunStatus>,
    workflow: Option<String>,
    older_than: Span,
    limit: Option<usize>,
    cursor: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Serialize)]
struct PruneAnswer {
    runs: usize,
    records: usize,
    sealed: usize,
    cursor: Option<String>,
    corrupt: Vec<CorruptObject>,
}

#[derive(Debug, Serialize)]
struct Started {
    id: TaskId,
    key: Option<String>,
    generation: u64,
    created: bool,
    status: RunStatus,
}

#[derive(Debug, Serialize)]
struct StartedMany {
    ids: Vec<TaskId>,
}

#[derive(Debug, Serialize)]
struct Runs {
    runs: Vec<Option<RunAnswer>>,
}

#[derive(Debug, Serialize)]
struct Listing {
    runs: Vec<RunAnswer>,
    cursor: Option<String>,
    corrupt: Vec<CorruptObject>,
}

#[derive(Debug, Serialize)]
struct History {
    run: RunAnswer,
    entries: Vec<Arc<Entry>>,
    steps: Vec<StepAnswer>,
}

/// What became of a signal or a wish.
#[derive(Debug, Serialize)]
struct Became {
    outcome: &'static str,
    status: RunStatus,
}

#[derive(Debug, Serialize)]
struct Value {
    value: Json,
}

impl Engine {
    /// Runs the operation `op`, whose name begins with `workflow.`.
    pub(super) async fn workflow(&self, op: &str, request: &[u8]) -> Result<String> {
        match op {
            "workflow.start" => answer(&self.workflow_start(parse(op, request)?).await?),
            "workflow.start_many" => answer(&self.workflow_start_many(parse(op, request)?).await?),
            "workflow.get" => answer(&self.workflow_get(parse(op, request)?).await?),
            "workflow.list" => answer(&self.workflow_list(parse(op, request)?).await?),
            "workflow.history" => answer(&self.workflow_history(parse(op, request)?).await?),
            "workflow.wait" => answer(&self.workflow_wait(parse(op, request)?).await?),
            "workflow.signal" => answer(&self.workflow_signal(parse(op, request)?).await?),
            "workflow.callback" => answer(&self.workflow_callback(parse(op, request)?).await?),
            "workflow.read" => answer(&self.workflow_read(parse(op, request)?).await?),
            "workflow.prune" => answer(&self.workflow_prune(parse(op, request)?).await?),
            "workflow.cancel" => answer(&self.workflow_wish(WishKind::Cancel, parse(op, request)?).await?),
            "workflow.pause" => answer(&self.workflow_wish(WishKind::Pause, parse(op, request)?).await?),
            "workflow.resume" => answer(&self.workflow_wish(WishKind::Resume, parse(op, request)?).await?),
            "workflow.retry" => answer(&self.workflow_wish(WishKind::Retry, parse(op, request)?).await?),
            "workflow.terminate" => answer(&self.workflow_wish(WishKind::Terminate, parse(op, request)?).await?),
            other => Err(unknown(other)),
        }
    }

    async fn workflow_start(&self, request: Start) -> Result<Started> {
        let Start { workflow, input, id, on_existing, tags, metadata, .. } = request;
        let common = common(
            workflow,
            (request.timeout, request.deadline),
            request.priority,
            (request.delay, request.at),
            Extras { tags, metadata, parent: None },
        )?;
        let start = StartRun { common, input, name: id, on_existing };
        let started = self.queue().await?.start_run(&start).await?;
        let (id, generation, created, status) = (started.id, started.generation, started.created, started.status);
        Ok(Started { id, key: start.name, generation, created, status })
    }

    async fn workflow_start_many(&self, request: StartMany) -> Result<StartedMany> {
        let StartMany { workflow, inputs, tags, metadata, .. } = request;
        let common = common(
            workflow,
            (request.timeout, request.deadline),
            request.priority,
            (request.delay, request.at),
            Extras { tags, metadata, parent: None },
        )?;
        Ok(StartedMany { ids: self.queue().await?.start_runs(&common, inputs).await? })
    }

    async fn workflow_get(&self, request: Get) -> Result<Runs> {
        if request.ids.len() > limits::PAGE {
            let count = request.ids.len();
            return Err(Error::Invalid(format!("{count} ids in one call; give up to {}", limits::PAGE)));
        }
        let ids: Vec<TaskId> = request.ids.iter().map(|id| run_id(id)).collect::<Result<_>>()?;
        let queue = self.looked_through().await?;
        if !request.steps {
            let runs = queue.get_runs(&ids).await?;
            return Ok(Runs { runs: runs.into_iter().map(|run| run.map(run_answer)).collect() });
        }
        let mut runs = Vec::with_capacity(ids.len());
        for id in ids {
            runs.push(match queue.run_history(id).await {
                Ok(RunHistory { run, steps: lines, counts, .. }) => Some(run_answer(run).with(steps(lines), counts)),
                Err(Error::NotFound(_)) => None,
                Err(error) => return Err(error),
            });
        }
        Ok(Runs { runs })
    }

    async fn workflow_list(&self, request: List) -> Result<Listing> {
        let List { workflow, status, tag, limit, cursor } = request;
        let filter = RunFilter { status: status.into_iter().collect(), workflow, tag };
        let limit = limit.unwrap_or(DEFAULT_PAGE);
        let listing = self.looked_through().await?.list_runs(&filter, limit, cursor.as_deref()).await?;
        let runs = listing.runs.into_iter().map(run_answer).collect();
        Ok(Listing { runs, cursor: listing.cursor, corrupt: listing.corrupt })
    }

    async fn workflow_history(&self, request: One) -> Result<History> {
        let history = self.existing().await?.run_history(run_id(&request.id)?).await?;
        let RunHistory { run, entries, steps: lines, .. } = history;
        Ok(History { run: run_answer(run), entries, steps: steps(lines) })
    }

    async fn workflow_wait(&self, request: Wait) -> Result<RunAnswer> {
        let (id, timeout) = (run_id(&request.id)?, request.timeout.map(|span| span.0));
        let queue = self.existing().await?;
        tokio::select! {
            biased;
            () = self.closing() => Err(Error::Closed(format!("the engine was closed while run {id} was waited for"))),
            run = queue.wait_for_run(id, request.generation, timeout) => Ok(run_answer(run?)),
        }
    }

    async fn workflow_signal(&self, request: Signal) -> Result<Became> {
        let Signal { id, name, payload, signal_id, generation } = request;
        let payload = payload.unwrap_or_else(Json::null);
        let sent = self.existing().await?.signal_run(run_id(&id)?, &name, payload, signal_id, generation).await?;
        Ok(sent.into())
    }

    async fn workflow_callback(&self, request: Callback) -> Result<Became> {
        let Callback { token, outcome, output, error } = request;
        let token: CallbackToken = token.parse()?;
        let end = |outcome| End { outcome, output, output_ref: None, error, attempts: 0 };
        let said = match outcome {
            CallbackOutcome::Alive => Said::Alive,
            CallbackOutcome::Completed => {
                let end = end(Outcome::Completed);
                Said::Ended(End { output: Some(end.output.unwrap_or_else(Json::null)), ..end })
            }
            CallbackOutcome::Failed => Said::Ended(end(Outcome::Failed)),
        };
        Ok(self.existing().await?.tell_callback(token, said).await?.into())
    }

    async fn workflow_wish(&self, kind: WishKind, request: Wish) -> Result<Became> {
        let Wish { id, generation, by, reason } = request;
        let queue = self.existing().await?;
        let WishedRun { wished, status } = queue.wish_run(run_id(&id)?, kind, by, reason, generation).await?;
        let outcome = match wished {
            Wished::Noted => "noted",
            Wished::Begun => "begun",
            Wished::Same => "same",
            Wished::Ended(_) => "ended",
        };
        Ok(Became { outcome, status })
    }

    async fn workflow_prune(&self, request: PruneRequest) -> Result<PruneAnswer> {
        let PruneRequest { status, workflow, older_than, limit, cursor, dry_run } = request;
        let prune = Prune { status: status.into_iter().collect(), workflow, older_than: older_than.0 };
        let step = Step { limit: limit.unwrap_or(limits::PAGE), cursor, dry_run };
        let Pruned { runs, records, sealed, cursor, corrupt } = self.existing().await?.prune(&prune, &step).await?;
        Ok(PruneAnswer { runs, records, sealed, cursor, corrupt })
    }

    async fn workflow_read(&self, request: Read) -> Result<Value> {
        let Read { id, key, sha256, bytes } = request;
        let extra = crate::record::Extra::new();
        let there = ResultRef { key, sha256, bytes: bytes.unwrap_or_default(), items: None, extra };
        let value = self.existing().await?.read_result(run_id(&id)?, &there).await?;
        Ok(Value { value })
    }
}

impl From<Sent> for Became {
    fn from(sent: Sent) -> Self {
        match sent {
            Sent::Sent(status) => Self { outcome: "sent", status },
            Sent::Ended(status) => Self { outcome: "ended", status },
        }
    }
}

fn common(
    workflow: String,
    (timeout, deadline): (Option<Span>, Option<Timestamp>),
    priority: Option<i64>,
    (delay, at): (Option<Span>, Option<Timestamp>),
    extras: Extras,
) -> Result<StartRuns> {
    let deadline = match (timeout, deadline) {
        (Some(_), Some(_)) => {
            return Err(Error::Invalid("both timeout and deadline are given; give one of them".into()));
        }
        (timeout, deadline) => timeout.map(|span| When::After(span.0)).or_else(|| deadline.map(When::At)),
    };
    let refused = |priority| Error::Invalid(format!("priority is {priority}; give 0 (last) to 9 (first)"));
    let priority = priority.map(|given| u8::try_from(given).map_err(|_| refused(given))).transpose()?;
    Ok(StartRuns { workflow, deadline, priority, when: super::request::when(delay, at)?, extras })
}
