//! Waking tasks.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};

use super::{Core, Queue, READS_IN_FLIGHT};
use crate::error::{Error, Result};
use crate::id::{RecordId, TaskId};
use crate::limits;
use crate::record::{BatchRecord, Waking};
use crate::time::Timestamp;
use crate::transact::Transacted;

/// Times a record is looked at again after a commit whose outcome is unknown.
const TRIES: usize = 3;

/// What became of one record's wakes.
type Woken = Vec<(TaskId, Waking)>;

impl Queue {
    /// Wakes tasks; answers in the order of the ids. One that waits becomes due at once. One that runs, or has yet to, is told
    /// that it was woken, so it looks again before it parks; if it was woken already and has not looked since, nothing is written.
    ///
    /// # Errors
    /// [`Error::Invalid`] for too many ids; [`Error::Corrupt`] for a record that cannot be read; the store's: then some may
    /// have been woken, and waking them again does no harm.
    pub async fn wake(&self, ids: &[TaskId]) -> Result<Vec<Waking>> {
        if ids.len() > limits::WAKE_MANY {
            return Err(Error::Invalid(format!("{} ids in one call; give up to {}", ids.len(), limits::WAKE_MANY)));
        }
        let mut records: BTreeMap<RecordId, BTreeSet<TaskId>> = BTreeMap::new();
        for id in ids {
            records.entry(id.record()).or_default().insert(*id);
        }
        let wakes = stream::iter(records).map(|(record, ids)| self.core().wake_in(record, ids));
        let woken: Vec<Woken> = wakes.buffer_unordered(READS_IN_FLIGHT).boxed().try_collect().await?;
        let woken: BTreeMap<TaskId, Waking> = woken.into_iter().flatten().collect();
        Ok(ids.iter().map(|id| woken.get(id).copied().unwrap_or(Waking::Missing)).collect())
    }
}

impl Core {
    async fn wake_in(&self, id: RecordId, ids: BTreeSet<TaskId>) -> Result<Woken> {
        let mut first: Option<Woken> = None;
        for _ in 0..TRIES {
            let Some(stored) = self.desk.load(id).await? else { return Ok(first.unwrap_or_default()) };
            let mut found = Vec::new();
            let change = |record: &mut BatchRecord, now: Timestamp| {
                found = ids.iter().map(|id| (*id, record.wake(*id, now))).collect();
                found.iter().any(|(_, waking)| waking.is_change()).then(|| found.clone())
            };
            match self.desk.transact(stored, true, change).await? {
                Transacted::Done(woken, stored) => {
                    match stored {
                        Some(stored) => self.tell_of_wakes(&stored.record, &woken).await,
                        None => self.ring(),
                    }
                    return Ok(first.unwrap_or(woken));
                }
                Transacted::Unchanged(stored) => {
                    // What the commit before this look did, if it landed, its worker is told of all the same.
                    if let Some(woken) = &first {
                        self.tell_of_wakes(&stored.record, woken).await;
                    }
                    return Ok(first.unwrap_or(found));
                }
                Transacted::Missing | Transacted::Overtaken => return Ok(first.unwrap_or_default()),
                Transacted::Unknown(woken, ..) => first = Some(first.unwrap_or(woken)),
            }
        }
        Err(Error::Unavailable(format!(
            "it could not be learnt whether tasks of the record {id} were woken; try again"
        )))
    }

    /// Tells workers that a run was woken, or changed.
    pub(crate) async fn tell_of_wake(&self, record: &BatchRecord, id: TaskId) {
        let running = record.task(id).is_some_and(|task| task.lease.is_some());
        let woken = vec![(id, if running { Waking::Noted } else { Waking::Woken })];
        self.tell_of_wakes(record, &woken).await;
    }

    /// Tells workers of what is due now, and those that run woken tasks. A notice that is lost costs time, never the wake.
    async fn tell_of_wakes(&self, record: &BatchRecord, woken: &Woken) {
        self.show(record);
        self.tell_nearby(record);
        if let Some(entry) = record.ready_entry().filter(|_| woken.iter().any(|(_, waking)| *waking == Waking::Woken)) {
            self.announce(entry);
        }
        let far = |(id, waking): &(TaskId, Waking)| {
            let lease = record.task(*id).and_then(|task| record.leases.get(&task.lease?));
            *waking == Waking::Noted && lease.is_some_and(|lease| !self.is_nearby(lease.worker))
        };
        if woken.iter().any(far)
            && let Err(error) = self.post_notices(&[record.id]).await
        {
            tracing::debug!(%error, "the worker of a task that was woken learns of it when it parks it");
        }
    }
}
