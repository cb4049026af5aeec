//! Learning that somebody has woken a task that runs here.
//!
//! In the same process that is told at once. Elsewhere the waker puts the record on the board that busy workers read as
//! often as they beat; whoever waits for a wake has its record read as often, too, in case the notice is lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::settle::not_held;
use super::shared::{MOST_NEWS, Shared};
use crate::error::{Error, Result};
use crate::id::{LeaseId, RecordId, TaskId};
use crate::record::BatchRecord;
use crate::store::ETag;

/// A task handed out earlier that was woken since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Woken {
    /// The task.
    pub id: TaskId,
    /// The lease it was handed out under.
    pub lease: LeaseId,
}

impl Shared {
    /// Notices which held tasks of a record were woken: the front is told of those it runs, once until it has looked.
    pub fn notice_wakes(&self, record: &BatchRecord) {
        let mut inner = self.lock();
        let mut news = false;
        for task in record.tasks.iter().filter(|task| task.park.as_ref().is_some_and(|park| park.woken)) {
            let id = record.id.task(task.n);
            let Some(held) = inner.hold.tasks.get_mut(&id) else { continue };
            // What was not handed out yet looks when it begins. A run goes on after most of its commits.
            let settles = held.settling && task.run.is_none();
            let concerned = task.lease == Some(held.lease) && !settles && !held.fetched;
            if !concerned || std::mem::replace(&mut held.told_of_wake, true) {
                continue;
            }
            let lease = held.lease;
            if inner.woken.len() < MOST_NEWS {
                inner.woken.push(Woken { id, lease });
                news = true;
            }
        }
        drop(inner);
        if news {
            self.changed.notify_waiters();
        }
    }

    /// Clears the bit of a task that runs here, before its attempt looks; whether it was set.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if it is not held any more; the store's.
    pub async fn hear(worker: &Arc<Self>, id: TaskId, lease: LeaseId) -> Result<bool> {
        let heard = worker.try_hear(id, lease).await;
        worker.lock().hold.tidy(id.record());
        heard
    }

    async fn try_hear(&self, id: TaskId, lease: LeaseId) -> Result<bool> {
        match self.lock().hold.tasks.get_mut(&id).filter(|held| held.lease == lease && !held.settling) {
            Some(held) => held.told_of_wake = false,
            None => return Err(not_held(id)),
        }
        // What is cached here may be older than the wake.
        let slot = self.lock().hold.slot(id.record());
        drop(slot.stored.lock().await.take());
        let mut held = false;
        let hear = |record: &mut BatchRecord, _| {
            let heard = record.hear(id, lease);
            held = heard.is_some();
            heard.filter(|heard| *heard)
        };
        let heard = self.change_held(id.record(), hear).await?;
        if held { Ok(heard.is_some()) } else { Err(not_held(id)) }
    }

    /// Says whether the record of a task that runs here is to be read regularly, because its attempt waits to be woken.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if it is not held any more.
    pub fn listen(&self, id: TaskId, lease: LeaseId, listens: bool) -> Result<()> {
        let mut inner = self.lock();
        let held = inner.hold.tasks.get_mut(&id).filter(|held| held.lease == lease).ok_or_else(|| not_held(id))?;
        held.listens = listens;
        drop(inner);
        Ok(())
    }

    /// Reads the records whose attempts wait to be woken, as far as they have changed since they had the tags in `known`.
    pub(super) async fn read_listened(&self, known: &mut BTreeMap<RecordId, ETag>) -> Result<()> {
        let wanted: Vec<RecordId> = {
            let inner = self.lock();
            let mut wanted: Vec<_> =
                inner.hold.tasks.iter().filter(|(_, held)| held.listens).map(|(id, _)| id.record()).collect();
            drop(inner);
            wanted.dedup();
            wanted
        };
        known.retain(|id, _| wanted.contains(id));
        for id in wanted {
            match self.desk().load_changed(id, known.get(&id)).await {
                Ok(Some(stored)) => {
                    self.notice_changes(&stored.record);
                    known.insert(id, stored.etag);
                }
                Ok(None) | Err(Error::Corrupt(_) | Error::Layout(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
