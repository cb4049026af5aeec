//! Operations that call tasks off, and the one that tells how far a task has come.

use serde::{Deserialize, Serialize};

use super::{Engine, answer};
use crate::error::Result;
use crate::id::{LeaseId, TaskId, WorkerId};
use crate::queue::CancelFilter;
use crate::record::{Cancelling, TaskStatus};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    ids: Vec<String>,
    by: Option<String>,
    reason: Option<String>,
}

/// What became of the wish to call one task off.
#[derive(Debug, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CancelledTask {
    Cancelled { id: TaskId },
    Requested { id: TaskId },
    Finished { id: TaskId, status: TaskStatus },
    Missing { id: TaskId },
}

#[derive(Debug, Serialize)]
pub struct CancelledTasks {
    tasks: Vec<CancelledTask>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelMany {
    #[serde(rename = "type")]
    kind: Option<String>,
    tag: Option<String>,
    parent: Option<TaskId>,
    by: Option<String>,
    reason: Option<String>,
    cursor: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct CancelledMany {
    cancelled: usize,
    requested: usize,
    cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerProgress {
    worker: WorkerId,
    id: TaskId,
    lease: LeaseId,
    value: f64,
    message: Option<String>,
}

impl Engine {
    pub(super) async fn cancel(&self, request: Cancel) -> Result<CancelledTasks> {
        let ids: Vec<TaskId> = request.ids.iter().map(|id| id.parse()).collect::<Result<_>>()?;
        let done = self.existing().await?.cancel(&ids, request.by, request.reason).await?;
        let tell = |(id, done): (TaskId, Cancelling)| match done {
            Cancelling::Cancelled => CancelledTask::Cancelled { id },
            Cancelling::Requested => CancelledTask::Requested { id },
            Cancelling::Finished(status) => CancelledTask::Finished { id, status },
            Cancelling::Missing => CancelledTask::Missing { id },
        };
        Ok(CancelledTasks { tasks: ids.into_iter().zip(done).map(tell).collect() })
    }

    pub(super) async fn cancel_many(&self, request: CancelMany) -> Result<CancelledMany> {
        let filter = CancelFilter { kind: request.kind, tag: request.tag, parent: request.parent };
        let queue = self.looked_through().await?;
        let (counts, cursor) =
            queue.cancel_matching(&filter, request.by, request.reason, request.cursor.as_deref()).await?;
        Ok(CancelledMany { cancelled: counts.cancelled, requested: counts.requested, cursor })
    }

    #[expect(clippy::unused_async, reason = "every operation is awaited alike")]
    pub(super) async fn worker_progress(&self, request: WorkerProgress) -> Result<answer::Done> {
        let WorkerProgress { worker, id, lease, value, message } = request;
        self.worker(worker)?.progress(id, lease, value, message)?;
        Ok(answer::Done {})
    }
}
