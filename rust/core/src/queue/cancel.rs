//! Calling tasks off.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, stream};

use super::list::not_a_cursor;
use super::{Core, Queue};
use crate::error::{Error, Result};
use crate::id::{RecordId, TaskId};
use crate::keys::{self, LeaseEntry, ReadyEntry};
use crate::limits;
use crate::record::{BatchRecord, Cancel, Cancelling, TaskStatus, check_tag};
use crate::store::Page;
use crate::time::Timestamp;
use crate::transact::Transacted;

/// Records changed at the same time.
const IN_FLIGHT: usize = 16;
/// Times a record is looked at again after a commit whose outcome is unknown.
const TRIES: usize = 3;

/// Where unfinished tasks are found.
const INDEXES: [&str; 3] = [keys::READY, keys::PARKED, keys::LEASES];

/// What a cursor begins with that goes through the waiting work for the second time.
const AGAIN: &str = "again:";

/// Which unfinished tasks to call off. All that are given must hold; at least one must be.
#[derive(Clone, Debug, Default)]
pub struct CancelFilter {
    /// Only tasks of this type.
    pub kind: Option<String>,
    /// Only tasks with this tag.
    pub tag: Option<String>,
    /// Only tasks that this one submitted.
    pub parent: Option<TaskId>,
}

/// What one page of cancelling by filter did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CancelCounts {
    /// Tasks that had not started.
    pub cancelled: usize,
    /// Tasks that run, and whose workers are told.
    pub requested: usize,
}

impl CancelFilter {
    fn check(&self) -> Result<()> {
        if self.kind.is_none() && self.tag.is_none() && self.parent.is_none() {
            return Err(Error::Invalid("nothing says which tasks to cancel: give a type, a tag or a parent".into()));
        }
        self.tag.as_deref().map_or(Ok(()), check_tag)
    }

    /// The unfinished tasks of a record that are meant.
    fn choose(&self, record: &BatchRecord) -> Vec<TaskId> {
        if self.kind.as_ref().is_some_and(|kind| *kind != record.kind) {
            return Vec::new();
        }
        let meant = |task: &&crate::record::Task| {
            !task.status.is_terminal()
                && task.cancel.is_none()
                && task.run.as_ref().is_none_or(|run| run.wishes.cancel.is_none())
                && self.tag.as_ref().is_none_or(|tag| task.tags.contains(tag))
                && self.parent.is_none_or(|parent| task.parent == Some(parent))
        };
        record.tasks.iter().filter(meant).map(|task| record.id.task(task.n)).collect()
    }
}

impl Queue {
    /// Calls tasks off; answers in their order. Those of one record cost one GET and one PUT. A task that runs is asked
    /// to stop: it ends as cancelled, unless it completes before it hears of it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for too many ids or too long a reason; [`Error::Corrupt`] for a record that cannot be read, once
    /// the tasks of all others are called off; the store's: then some may be cancelled.
    pub async fn cancel(&self, ids: &[TaskId], by: Option<String>, reason: Option<String>) -> Result<Vec<Cancelling>> {
        if ids.len() > limits::CANCEL_MANY {
            return Err(Error::Invalid(format!("{} ids in one call; give up to {}", ids.len(), limits::CANCEL_MANY)));
        }
        let wish = Cancel::new(by, reason, self.bucket().now())?;
        let mut records: BTreeMap<RecordId, BTreeSet<TaskId>> = BTreeMap::new();
        for id in ids {
            records.entry(id.record()).or_default().insert(*id);
        }
        let changes = stream::iter(records).map(|(record, ids)| {
            let wish = &wish;
            async move { self.core().cancel_in(record, wish, |_| ids.iter().copied().collect()).await }
        });
        let answers: Vec<Result<Vec<(TaskId, Cancelling)>>> = changes.buffer_unordered(IN_FLIGHT).collect().await;
        let mut done = BTreeMap::new();
        let mut unreadable = None;
        for answer in answers {
            match answer {
                Ok(tasks) => done.extend(tasks),
                // The others are called off already, and whoever runs them is to hear of it.
                Err(error @ (Error::Corrupt(_) | Error::Layout(_))) => unreadable = Some(error),
                Err(error) => return Err(error),
            }
        }
        self.core().tell_workers(&done).await?;
        if let Some(error) = unreadable {
            return Err(error);
        }
        Ok(ids.iter().map(|id| done.get(id).copied().unwrap_or(Cancelling::Missing)).collect())
    }

    /// Calls off the unfinished tasks that a filter means, one page of the indexes of waiting and running work a call;
    /// finished tasks are never looked at. Goes on where `cursor`, that of the call before, says; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty filter or a cursor that is none; the store's: then some may be cancelled.
    pub async fn cancel_matching(
        &self,
        filter: &CancelFilter,
        by: Option<String>,
        reason: Option<String>,
        cursor: Option<&str>,
    ) -> Result<(CancelCounts, Option<String>)> {
        filter.check()?;
        let wish = Cancel::new(by, reason, self.bucket().now())?;
        let given = cursor.unwrap_or(keys::READY);
        let (again, cursor) = given.strip_prefix(AGAIN).map_or((false, given), |cursor| (true, cursor));
        // Waiting work first: what starts meanwhile is found again among the running; and what went back from there to
        // waiting among the waiting once more.
        let index = INDEXES.into_iter().find(|index| cursor.starts_with(index));
        let index = index.ok_or_else(|| not_a_cursor(given))?;
        let page = self.bucket().list(index, Some(cursor), limits::PAGE / 4).await?.value;
        let changes = stream::iter(records_of(&page, filter.kind.as_deref())).map(|record| {
            let wish = &wish;
            async move { self.core().cancel_in(record, wish, |record| filter.choose(record)).await }
        });
        let mut changes = changes.buffer_unordered(IN_FLIGHT).boxed();
        let mut done = BTreeMap::new();
        while let Some(answer) = changes.next().await {
            match answer {
                Ok(tasks) => done.extend(tasks),
                // Whoever works on it reports it; the others are to be cancelled all the same.
                Err(Error::Corrupt(_) | Error::Layout(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.core().tell_workers(&done).await?;
        let last = page.entries.last().filter(|_| page.more).map(|last| last.key.clone());
        let next = match last {
            Some(last) if again => Some(format!("{AGAIN}{last}")),
            Some(last) => Some(last),
            None if index == keys::READY => Some(format!("{}{}", if again { AGAIN } else { "" }, keys::PARKED)),
            None if again => None,
            None if index == keys::PARKED => Some(keys::LEASES.to_owned()),
            None => Some(format!("{AGAIN}{}", keys::READY)),
        };
        let count = |wanted: Cancelling| done.values().filter(|done| **done == wanted).count();
        let counts = CancelCounts { cancelled: count(Cancelling::Cancelled), requested: count(Cancelling::Requested) };
        Ok((counts, next))
    }
}

/// The records that the entries of a page lead to, each once; of another type only where the hash cannot tell.
fn records_of(page: &Page, kind: Option<&str>) -> Vec<RecordId> {
    let hash = kind.map(keys::type_hash);
    let record = |key: &str| {
        let ready = ReadyEntry::parse(key).filter(|entry| hash.is_none_or(|hash| hash == entry.type_hash));
        ready.map(|entry| entry.record).or_else(|| LeaseEntry::parse(key).map(|entry| entry.record))
    };
    let mut records: Vec<RecordId> = page.entries.iter().filter_map(|listed| record(&listed.key)).collect();
    records.sort_unstable();
    records.dedup();
    records
}

impl Core {
    /// Calls off those tasks of a record that `choose` names.
    async fn cancel_in(
        &self,
        id: RecordId,
        wish: &Cancel,
        choose: impl Fn(&BatchRecord) -> Vec<TaskId> + Send + Sync,
    ) -> Result<Vec<(TaskId, Cancelling)>> {
        let mut first: Option<Vec<(TaskId, Cancelling)>> = None;
        for _ in 0..TRIES {
            let Some(stored) = self.desk.load(id).await? else { return Ok(first.unwrap_or_default()) };
            let mut found = Vec::new();
            let change = |record: &mut BatchRecord, now: Timestamp| {
                let before = record.clone();
                let wish = Cancel { at: now, ..wish.clone() };
                found = choose(record).into_iter().map(|id| (id, record.cancel(id, &wish))).collect();
                if self.settings.variant.forgets_wishes() {
                    record
                        .tasks
                        .iter_mut()
                        .filter(|task| !task.status.is_terminal())
                        .for_each(|task| task.cancel = None);
                }
                is_changed(&before, record).then(|| found.clone())
            };
            match self.desk.transact(stored, true, change).await? {
                Transacted::Done(done, stored) => {
                    if let Some(stored) = stored {
                        self.show(&stored.record);
                        self.tell_nearby(&stored.record);
                        // A run that waited has been woken.
                        let woken = stored.record.ready_entry().filter(|_| id.holds_runs());
                        woken.into_iter().for_each(|entry| self.announce(entry));
                    }
                    return Ok(done);
                }
                Transacted::Unchanged(_) => return Ok(first.map_or_else(|| found.clone(), |did| agree(&did, &found))),
                Transacted::Missing | Transacted::Overtaken => return Ok(first.unwrap_or_default()),
                // If it landed, the next look finds nothing left to change: what it would have done is the answer.
                Transacted::Unknown(done, ..) => first = Some(first.unwrap_or(done)),
            }
        }
        Err(Error::Unavailable(format!(
            "it could not be learnt whether tasks of the record {id} were cancelled; try again"
        )))
    }

    /// Tells the workers of those tasks that run.
    async fn tell_workers(&self, done: &BTreeMap<TaskId, Cancelling>) -> Result<()> {
        let running = done.iter().filter(|(_, done)| **done == Cancelling::Requested).map(|(id, _)| id.record());
        let mut records: Vec<RecordId> = running.collect();
        records.dedup();
        self.post_notices(&records).await
    }

    /// Marks as expired what nobody has started in its time.
    pub(super) async fn expire(&self, id: RecordId) -> Result<()> {
        let Some(stored) = self.desk.load(id).await? else { return Ok(()) };
        let change = |record: &mut BatchRecord, now: Timestamp| (record.expire(now) > 0).then_some(());
        if let Transacted::Done((), Some(stored)) = self.desk.transact(stored, true, change).await? {
            self.show(&stored.record);
        }
        Ok(())
    }
}

/// What was done by a commit that may have landed, in the light of what is found after it.
fn agree(did: &[(TaskId, Cancelling)], found: &[(TaskId, Cancelling)]) -> Vec<(TaskId, Cancelling)> {
    let ours = |(id, now): &(TaskId, Cancelling)| {
        let landed = *now == Cancelling::Finished(TaskStatus::Cancelled);
        let did = did.iter().find(|(other, _)| other == id).map(|(_, did)| *did);
        (*id, did.filter(|did| landed && *did == Cancelling::Cancelled).unwrap_or(*now))
    };
    found.iter().map(ours).collect()
}

fn is_changed(before: &BatchRecord, after: &BatchRecord) -> bool {
    let wish = |task: &crate::record::Task| {
        let of_run = task.run.as_ref().is_some_and(|run| run.wishes.cancel.is_some());
        (task.status == TaskStatus::Cancelled, task.cancel.is_some() || of_run)
    };
    before.tasks.iter().zip(&after.tasks).any(|(before, after)| wish(before) != wish(after))
}
