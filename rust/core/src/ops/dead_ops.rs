//! Operations on finished tasks: dead letters, archive, purge, and the life of old versions.

use serde::{Deserialize, Serialize};

use super::span::Span;
use super::{Engine, answer, request};
use crate::error::{Error, Result};
use crate::id::TaskId;
use crate::limits;
use crate::queue::{CorruptObject, DeadFilter, Lifecycle, LifecycleChoice, Moved, Purge, Purged, Step, Stepped};
use crate::record::{Changes, Move, TaskStatus};
use crate::time::Timestamp;

const DEFAULT_PAGE: usize = 100;

/// How long old versions are kept unless told otherwise.
const DEFAULT_KEEP_DAYS: u32 = 30;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailedRequest {
    #[serde(rename = "type")]
    kind: Option<String>,
    error: Option<String>,
    older_than: Option<Span>,
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayRequest {
    ids: Vec<String>,
    timeout: Option<Span>,
    retry: Option<request::Retry>,
    priority: Option<i64>,
    delay: Option<Span>,
    at: Option<Timestamp>,
    #[serde(default)]
    with_dependents: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayManyRequest {
    #[serde(rename = "type")]
    kind: Option<String>,
    error: Option<String>,
    older_than: Option<Span>,
    timeout: Option<Span>,
    retry: Option<request::Retry>,
    priority: Option<i64>,
    delay: Option<Span>,
    at: Option<Timestamp>,
    #[serde(default)]
    dry_run: bool,
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveRequest {
    ids: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveManyRequest {
    #[serde(rename = "type")]
    kind: Option<String>,
    error: Option<String>,
    older_than: Option<Span>,
    #[serde(default)]
    dry_run: bool,
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurgeRequest {
    status: Vec<TaskStatus>,
    #[serde(rename = "type")]
    kind: Option<String>,
    error: Option<String>,
    older_than: Span,
    #[serde(default)]
    dry_run: bool,
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LifecycleRequest {
    keep_days: Option<u32>,
    #[serde(default)]
    apply: bool,
}

/// What became of one task.
#[derive(Debug, Serialize)]
pub struct MovedAnswer {
    id: TaskId,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct MovedMany {
    results: Vec<MovedAnswer>,
}

#[derive(Debug, Serialize)]
pub struct SteppedAnswer {
    tasks: usize,
    records: usize,
    cursor: Option<String>,
    corrupt: Vec<CorruptObject>,
}

#[derive(Debug, Serialize)]
pub struct PurgedAnswer {
    tasks: usize,
    records: usize,
    kept: usize,
    bytes: u64,
    cursor: Option<String>,
    corrupt: Vec<CorruptObject>,
}

impl From<Stepped> for SteppedAnswer {
    fn from(stepped: Stepped) -> Self {
        let Stepped { tasks, records, cursor, corrupt } = stepped;
        Self { tasks, records, cursor, corrupt }
    }
}

impl From<Purged> for PurgedAnswer {
    fn from(purged: Purged) -> Self {
        let Purged { tasks, records, kept, bytes, cursor, corrupt } = purged;
        Self { tasks, records, kept, bytes, cursor, corrupt }
    }
}

fn changes(
    timeout: Option<Span>,
    retry: Option<&request::Retry>,
    priority: Option<i64>,
    delay: Option<Span>,
    at: Option<Timestamp>,
) -> Result<Changes> {
    let number = |priority: i64| {
        u8::try_from(priority)
            .map_err(|_| Error::Invalid(format!("priority is {priority}; give 0 (last) to 9 (first)")))
    };
    let changes = Changes {
        timeout_ms: timeout.map(Span::millis),
        priority: priority.map(number).transpose()?,
        retry: retry.map(request::Retry::changes).unwrap_or_default(),
        delay: delay.map(|delay| delay.0),
        not_before: at,
    };
    changes.check()?;
    Ok(changes)
}

fn filter(kind: Option<String>, error: Option<String>, older_than: Option<Span>) -> DeadFilter {
    DeadFilter { kind, error, older_than: older_than.map(|span| span.0) }
}

fn step(limit: Option<usize>, cursor: Option<String>, dry_run: bool) -> Step {
    Step { limit: limit.unwrap_or(DEFAULT_PAGE), cursor, dry_run }
}

fn task_ids(ids: &[String]) -> Result<Vec<TaskId>> {
    if ids.len() > limits::PAGE {
        return Err(Error::Invalid(format!("{} ids in one call; give up to {}", ids.len(), limits::PAGE)));
    }
    ids.iter().map(|id| id.parse()).collect()
}

fn moved(moved: Vec<Moved>, verb: &'static str) -> MovedMany {
    let one = |Moved { id, verdict }: Moved| match verdict {
        Ok(()) => MovedAnswer { id, outcome: verb, message: None },
        Err(refusal) => {
            let outcome = if refusal == crate::record::Refusal::Missing { "missing" } else { "refused" };
            MovedAnswer { id, outcome, message: Some(refusal.explain(&id.to_string(), verb)) }
        }
    };
    MovedMany { results: moved.into_iter().map(one).collect() }
}

impl Engine {
    pub(super) async fn failed(&self, request: FailedRequest) -> Result<answer::Listing> {
        let FailedRequest { kind, error, older_than, limit, cursor } = request;
        let (filter, limit) = (filter(kind, error, older_than), limit.unwrap_or(DEFAULT_PAGE));
        let listing = self.looked_through().await?.failed(&filter, limit, cursor.as_deref()).await?;
        Ok(answer::Listing {
            tasks: listing.tasks.into_iter().map(Into::into).collect(),
            cursor: listing.cursor,
            corrupt: listing.corrupt,
        })
    }

    pub(super) async fn replay(&self, request: ReplayRequest) -> Result<MovedMany> {
        let ReplayRequest { ids, timeout, retry, priority, delay, at, with_dependents } = request;
        let (ids, changes) = (task_ids(&ids)?, changes(timeout, retry.as_ref(), priority, delay, at)?);
        let queue = self.existing().await?;
        let done = if with_dependents {
            queue.replay_with_dependents(&ids, &changes).await?
        } else {
            queue.move_tasks(&ids, Move::Replay(&changes)).await?
        };
        Ok(moved(done, "replayed"))
    }

    pub(super) async fn replay_many(&self, request: ReplayManyRequest) -> Result<SteppedAnswer> {
        let ReplayManyRequest { kind, error, older_than, dry_run, limit, cursor, .. } = request;
        let ReplayManyRequest { timeout, retry, priority, delay, at, .. } = request;
        let changes = changes(timeout, retry.as_ref(), priority, delay, at)?;
        let (filter, step) = (filter(kind, error, older_than), step(limit, cursor, dry_run));
        Ok(self.looked_through().await?.move_failed(&filter, Move::Replay(&changes), &step).await?.into())
    }

    pub(super) async fn archive(&self, request: ArchiveRequest) -> Result<MovedMany> {
        let ids = task_ids(&request.ids)?;
        Ok(moved(self.existing().await?.move_tasks(&ids, Move::Archive).await?, "archived"))
    }

    pub(super) async fn archive_many(&self, request: ArchiveManyRequest) -> Result<SteppedAnswer> {
        let ArchiveManyRequest { kind, error, older_than, dry_run, limit, cursor } = request;
        let (filter, step) = (filter(kind, error, older_than), step(limit, cursor, dry_run));
        Ok(self.looked_through().await?.move_failed(&filter, Move::Archive, &step).await?.into())
    }

    pub(super) async fn purge(&self, request: PurgeRequest) -> Result<PurgedAnswer> {
        let PurgeRequest { status, kind, error, older_than, dry_run, limit, cursor } = request;
        let purge = Purge { status: status.into_iter().collect(), kind, error, older_than: older_than.0 };
        purge.check()?;
        Ok(self.looked_through().await?.purge(&purge, &step(limit, cursor, dry_run)).await?.into())
    }

    pub(super) async fn lifecycle(&self, request: LifecycleRequest) -> Result<Lifecycle> {
        let keep_days = request.keep_days.unwrap_or(DEFAULT_KEEP_DAYS);
        let choice = LifecycleChoice { keep_days, apply: request.apply };
        self.place().await?.lifecycle(&choice).await
    }
}
