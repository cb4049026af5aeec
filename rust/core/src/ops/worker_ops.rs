//! Operations on workers.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::{Engine, answer, request};
use crate::error::{Error, Result};
use crate::id::{TaskId, WorkerId};
use crate::worker::{Options, WorkOutcome, Worker};

/// How long `worker.next` waits unless told otherwise.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);

impl Engine {
    pub(super) fn worker(&self, id: WorkerId) -> Result<Arc<Worker>> {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.get(&id).cloned().ok_or_else(|| {
            Error::Closed(format!("this engine runs no worker {id}: it was stopped, or started elsewhere"))
        })
    }

    pub(super) async fn worker_start(&self, request: request::WorkerStart) -> Result<answer::Started> {
        let options = Options {
            types: request.types,
            concurrency: request.concurrency.unwrap_or_else(|| self.default_concurrency()),
            prefetch: request.prefetch.or_else(|| self.default_prefetch()),
            host: request.host,
            pid: request.pid.unwrap_or_else(std::process::id),
        };
        let worker = Arc::new(Worker::start(self.queue().await?, options).await?);
        let id = worker.id();
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&worker));
        if self.is_closed() {
            // The engine was closed meanwhile and may not have seen this worker.
            worker.stop().await;
            return Err(Error::Closed("the engine was closed while the worker was started".into()));
        }
        Ok(answer::Started { worker: id })
    }

    pub(super) async fn worker_next(&self, request: request::WorkerNext) -> Result<answer::Next> {
        let worker = self.worker(request.worker)?;
        let wait = request.wait.map_or(DEFAULT_WAIT, |span| span.0);
        let next = worker.next(request.max, wait).await?;
        Ok(answer::Next {
            assignments: next.assignments.into_iter().map(Into::into).collect(),
            lost: next.lost,
            cancelled: next.cancelled,
            woken: next.woken,
            problems: next.problems,
            warnings: next.warnings,
            state: next.phase,
        })
    }

    pub(super) async fn worker_settle(&self, request: request::WorkerSettle) -> Result<answer::SettledMany> {
        let worker = self.worker(request.worker)?;
        let now = self.place().await?.bucket().now();
        let outcomes: Vec<WorkOutcome> = request
            .outcomes
            .into_iter()
            .map(|outcome| {
                let (id, lease) = (outcome.id, outcome.lease);
                Ok(WorkOutcome { id, lease, outcome: outcome.outcome(now)? })
            })
            .collect::<Result<_>>()?;
        let settled = worker.settle(outcomes).await;
        Ok(answer::SettledMany { settled: settled.into_iter().map(Into::into).collect() })
    }

    pub(super) async fn worker_extend(&self, request: request::WorkerExtend) -> Result<answer::Extended> {
        let worker = self.worker(request.worker)?;
        let expires_at = worker.extend(request.id, request.lease, request.by.0).await?;
        Ok(answer::Extended { expires_at })
    }

    pub(super) async fn tasks_wake(&self, request: request::TasksWake) -> Result<answer::WokenTasks> {
        let ids: Vec<TaskId> = request.ids.iter().map(|id| id.parse()).collect::<Result<_>>()?;
        let woken = self.existing().await?.wake(&ids).await?;
        Ok(answer::WokenTasks { tasks: ids.into_iter().zip(woken).map(Into::into).collect() })
    }

    pub(super) async fn worker_hear(&self, request: request::WorkerHear) -> Result<answer::Heard> {
        let woken = self.worker(request.worker)?.hear(request.id, request.lease).await?;
        Ok(answer::Heard { woken })
    }

    pub(super) fn worker_listen(&self, request: &request::WorkerListen) -> Result<answer::Done> {
        self.worker(request.worker)?.listen(request.id, request.lease, request.listens)?;
        Ok(answer::Done {})
    }

    pub(super) fn worker_stuck(&self, request: &request::WorkerStuck) -> Result<answer::Done> {
        self.worker(request.worker)?.note_stuck(request.places)?;
        Ok(answer::Done {})
    }

    pub(super) async fn worker_drain(&self, request: request::WorkerOnly) -> Result<answer::Done> {
        self.worker(request.worker)?.drain().await;
        Ok(answer::Done {})
    }

    pub(super) async fn worker_stop(&self, request: request::WorkerOnly) -> Result<answer::Stopped> {
        let worker = self.worker(request.worker)?;
        let released = worker.stop().await;
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).remove(&request.worker);
        Ok(answer::Stopped { released })
    }
}
