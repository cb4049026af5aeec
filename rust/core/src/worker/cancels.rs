//! Learning that somebody wants a task called off that runs here, or has woken it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::sleep;

use super::settle::WorkOutcome;
use super::shared::{MOST_NEWS, Phase, Shared};
use crate::error::{Error, Result};
use crate::id::{LeaseId, RecordId, TaskId};
use crate::record::{BatchRecord, Outcome};
use crate::store::ETag;

/// A task handed out earlier that somebody wants called off.
#[derive(Clone, Debug, serde::Serialize)]
pub struct CalledOff {
    /// The task.
    pub id: TaskId,
    /// The lease it was handed out under.
    pub lease: LeaseId,
    /// Who wants it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Shared {
    /// Reads the board of cancellations and wakes now and then, while tasks are held.
    pub async fn keep_reading_notices(self: Arc<Self>) {
        let (mut known, mut listened) = (None, BTreeMap::new());
        loop {
            sleep(self.settings().cancel_watch).await;
            let (phase, holds) = {
                let inner = self.lock();
                (inner.phase, !inner.hold.tasks.is_empty())
            };
            if phase == Phase::Stopped {
                return;
            }
            if holds && let Err(error) = self.read_notices(&mut known).await {
                self.warn("cancellations could not be read, trying again", &error);
            }
            if holds && let Err(error) = self.read_listened(&mut listened).await {
                self.warn("whether tasks were woken could not be read, trying again", &error);
            }
        }
    }

    async fn read_notices(&self, known: &mut Option<ETag>) -> Result<()> {
        let Some((board, etag)) = self.core.read_notices(known.as_ref()).await? else { return Ok(()) };
        let held: Vec<RecordId> = self.lock().hold.slots.keys().copied().filter(|id| board.concerns(*id)).collect();
        for id in held {
            match self.desk().load(id).await {
                Ok(Some(stored)) => self.notice_changes(&stored.record),
                // Where it cannot be read, its outcome cannot be stored either, and that is reported.
                Ok(None) | Err(Error::Corrupt(_) | Error::Layout(_)) => {}
                Err(error) => return Err(error),
            }
        }
        *known = Some(etag);
        Ok(())
    }

    /// Notices which held tasks of a record somebody wants called off: the front is told of those it runs.
    pub fn notice_cancels(&self, record: &BatchRecord) {
        let mut inner = self.lock();
        let mut news = false;
        for task in &record.tasks {
            let id = record.id.task(task.n);
            let Some(wish) = &task.cancel else { continue };
            let Some(held) = inner.hold.tasks.get_mut(&id) else { continue };
            if task.lease != Some(held.lease) || held.settling || std::mem::replace(&mut held.called_off, true) {
                continue;
            }
            news = true;
            let (lease, fetched) = (held.lease, held.fetched);
            if fetched {
                // Nobody runs it yet, and nobody shall.
                inner.hold.unfetch(id);
                inner.called_off.push((id, lease));
            } else if inner.cancelled.len() < MOST_NEWS {
                inner.cancelled.push(CalledOff { id, lease, by: wish.by.clone(), reason: wish.reason.clone() });
            }
        }
        drop(inner);
        if news {
            self.changed.notify_waiters();
            self.wake.notify_one();
        }
    }

    /// Ends what was called off before it was handed out.
    pub fn end_called_off(self: &Arc<Self>) {
        let ended = std::mem::take(&mut self.lock().called_off);
        if ended.is_empty() {
            return;
        }
        let outcomes = ended.into_iter().map(|(id, lease)| WorkOutcome { id, lease, outcome: Outcome::Cancel });
        let (worker, outcomes) = (Arc::clone(self), outcomes.collect());
        self.spawner.spawn(async move {
            Self::settle(&worker, outcomes).await;
        });
    }
}
