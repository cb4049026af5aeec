//! Reading a record, changing it, committing it: the one way a record's state changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::try_join_all;
use tokio::time::sleep;

use crate::broken::Variant;
use crate::bucket::{Bucket, Committed, Deleter, Lane, Uncommitted};
use crate::deliver::Herald;
use crate::error::{Error, Result};
use crate::id::{CommitId, RecordId};
use crate::keys::{self, FailedEntry, LeaseEntry, ReadyEntry};
use crate::limits;
use crate::record::{
    BatchRecord, CommitMark, EntryState, IndexPlan, failed_entry_state, plan_index, ready_entry_state,
};
use crate::store::{Condition, ETag, Got, Object};
use crate::time::Timestamp;

/// The pause after a commit was overtaken, times how often it was.
const STEP_BACK: Duration = Duration::from_millis(5);

/// A record as it was last seen in the store.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The record.
    pub record: BatchRecord,
    /// The tag of this very revision.
    pub etag: ETag,
    /// Server time of its write, if it was read rather than written by us.
    pub written: Timestamp,
    /// What it owes was delivered by this process.
    pub served: bool,
}

/// What came of an attempt to change a record.
#[derive(Debug)]
pub enum Transacted<T> {
    /// The change is committed. The new revision, unless somebody has already committed over it.
    Done(T, Option<Box<Stored>>),
    /// There was nothing to change. The revision that was found.
    Unchanged(Box<Stored>),
    /// Somebody else committed first, and a rebase was not asked for.
    Overtaken,
    /// The record is gone.
    Missing,
    /// It could not be learnt whether the change landed; it may land even later. Whoever finds this commit in the
    /// record knows that it did.
    Unknown(T, CommitId, Error),
}

/// What came of an attempt to commit a new record.
#[derive(Debug)]
pub enum Placed {
    /// It is there.
    Landed,
    /// Another commit was first: what it wrote, or what came of it since.
    Taken(Option<Box<Stored>>),
}

/// What is needed to commit: a bucket, and somebody to clean up after.
#[derive(Clone, Debug)]
pub struct Desk {
    /// The bucket.
    pub bucket: Bucket,
    /// Deletes what a commit leaves behind.
    pub deleter: Deleter,
    /// The true protocol, or a broken one under test.
    pub variant: Variant,
    /// The generation of the store, and one more, in which this process has marked that there is parked work.
    pub parked_in: Arc<AtomicU64>,
    /// Hears of the records that deliveries change.
    pub herald: Herald,
}

impl Desk {
    /// The same desk for requests that wait for others of this lane only.
    #[must_use]
    pub fn on(&self, lane: Lane) -> Self {
        Self { bucket: self.bucket.on(lane), ..self.clone() }
    }

    /// Reads a record out of an object.
    fn read(key: &str, object: &Object) -> Result<Stored> {
        let record = BatchRecord::decode(key, &object.body)?;
        Ok(Stored { record, etag: object.etag.clone(), written: object.last_modified, served: false })
    }

    /// Reads a record.
    ///
    /// # Errors
    /// The store's, and [`Error::Corrupt`] or [`Error::Layout`] if it cannot be read.
    pub async fn load(&self, id: RecordId) -> Result<Option<Stored>> {
        self.load_changed(id, None).await
    }

    /// Reads a record if it has changed since it had the tag `known`; `None` if it has not, or is gone.
    ///
    /// # Errors
    /// As [`Desk::load`].
    pub async fn load_changed(&self, id: RecordId, known: Option<&ETag>) -> Result<Option<Stored>> {
        let key = keys::record(id);
        match self.bucket.get(&key, known).await?.value {
            Got::Found(object) => Self::read(&key, &object).map(Some),
            Got::Missing | Got::NotModified => Ok(None),
        }
    }

    /// Commits a new record of a random id; `false` if a void one is in its place, or a real one in that of a void one.
    ///
    /// # Errors
    /// The store's; after [`Error::Unavailable`] it may have landed.
    pub async fn create(&self, record: &mut BatchRecord) -> Result<bool> {
        Ok(match self.place_as(record, Author::Only).await? {
            Placed::Landed => true,
            // The id is random: a record of the same kind is this one, many commits later.
            Placed::Taken(found) => found.is_some_and(|found| found.record.void == record.void),
        })
    }

    /// Commits a new record where nothing is yet.
    ///
    /// # Errors
    /// The store's; after [`Error::Unavailable`] it may have landed.
    pub async fn place(&self, record: &mut BatchRecord) -> Result<Placed> {
        self.place_as(record, Author::OneOfMany).await
    }

    async fn place_as(&self, record: &mut BatchRecord, author: Author) -> Result<Placed> {
        let empty = BatchRecord { tasks: Vec::new(), ..record.clone() };
        let commit = CommitId::random(self.bucket.entropy());
        let plan = plan_index(&empty, record, self.bucket.now(), self.variant);
        record.stamp(commit);
        let key = keys::record(record.id);
        check_readable(&key, record)?;
        self.write_entries(&plan, Side::Before).await?;
        let committed = self.put(&key, record.encode()?, &Condition::IfAbsent, commit).await;
        if matches!(committed, Err(Uncommitted::Refused(_))) && author == Author::Only {
            // Another author may write the same entries again; these lead nowhere for good.
            self.deleter.delete(plan.ahead.iter().cloned());
        }
        match committed? {
            Committed::Landed(_) => {
                self.write_entries(&plan, Side::After).await?;
                Ok(Placed::Landed)
            }
            Committed::Lost(found) => {
                let found = found.map(|object| Self::read(&key, &object)).transpose()?;
                Ok(Placed::Taken(found.map(Box::new)))
            }
        }
    }

    /// Applies `change` to the record and commits it. `change` says `None` where there is nothing to do. If somebody
    /// else commits first, it is applied to what they wrote, when `rebase` is set. What the record owes to tasks that wait for
    /// some of its own is delivered: what it owed before, before the commit, and what comes of it, after.
    ///
    /// # Errors
    /// The store's; the change has then not landed.
    pub async fn transact<T>(
        &self,
        stored: Stored,
        rebase: bool,
        change: impl FnMut(&mut BatchRecord, Timestamp) -> Option<T>,
    ) -> Result<Transacted<T>> {
        let Committing { mut outcome, behind, owes } = self.commit(stored, rebase, Debts::Serve, change).await?;
        if !owes {
            self.deleter.delete(behind);
            return Ok(outcome);
        }
        if self.variant.deletes_undelivered() {
            self.deleter.delete(behind.iter().cloned());
            self.deleter.flush().await;
        }
        match &mut outcome {
            Transacted::Done(_, Some(stored)) => match self.serve(&stored.record, behind).await {
                Ok(()) => stored.served = true,
                // The entries stay, and lead whoever sweeps to what is owed.
                Err(error) => tracing::debug!(%error, "what a record owes is delivered later"),
            },
            // Somebody has committed over it: the entries stay, in case it was not delivered then.
            _ => self.deleter.delete(behind.into_iter().filter(|key| LeaseEntry::parse(key).is_none())),
        }
        Ok(outcome)
    }

    /// Commits a change, and tells which entries it leaves behind: they are to be deleted once what the record owes was
    /// delivered.
    pub(crate) async fn commit<T>(
        &self,
        mut stored: Stored,
        rebase: bool,
        debts: Debts,
        mut change: impl FnMut(&mut BatchRecord, Timestamp) -> Option<T>,
    ) -> Result<Committing<T>> {
        let key = keys::record(stored.record.id);
        for rebase_count in 0..limits::REBASES {
            if rebase_count > 0 {
                self.step_back(rebase_count).await;
            }
            if debts == Debts::Serve && stored.record.owes() && !stored.served {
                // What cannot be delivered now stays noted, and is no reason not to commit.
                stored.served =
                    self.variant.clears_undelivered() || self.serve(&stored.record, Vec::new()).await.is_ok();
            }
            let now = self.bucket.now();
            let mut next = stored.record.clone();
            let Some(answer) = change(&mut next, now) else {
                return Ok(Transacted::Unchanged(Box::new(stored)).into());
            };
            if stored.served {
                next.discharge();
            }
            let ended = next.note_ends();
            let mut plan = plan_index(&stored.record, &mut next, now, self.variant);
            // A new one for each try: whoever finds the record changed after it was written deletes it.
            let hook = self.hook_on(&mut plan, ended, next.id, now);
            let commit = CommitId::random(self.bucket.entropy());
            next.stamp(commit);
            check_readable(&key, &next)?;
            self.write_entries(&plan, Side::Before).await?;
            let committed = match self.put(&key, next.encode()?, &Condition::IfMatch(stored.etag), commit).await {
                Ok(committed) => committed,
                Err(Uncommitted::Unknown(error)) => return Ok(Transacted::Unknown(answer, commit, error).into()),
                Err(Uncommitted::Refused(error)) => {
                    if rebase {
                        self.deleter.delete(hook);
                    } else {
                        self.withdraw_leases(&plan);
                    }
                    return Err(error);
                }
            };
            match committed {
                Committed::Landed(etag) => {
                    self.write_entries(&plan, Side::After).await?;
                    let (written, owes) = (now, next.owes());
                    let stored = etag.map(|etag| Box::new(Stored { record: next, etag, written, served: false }));
                    return Ok(Committing { outcome: Transacted::Done(answer, stored), behind: plan.behind, owes });
                }
                Committed::Lost(found) if !rebase => {
                    let found = found.map(|object| Self::read(&key, &object)).transpose()?;
                    let granted = |entry: &LeaseEntry| {
                        found.as_ref().is_some_and(|found| found.record.leases.contains_key(&entry.lease))
                    };
                    if plan.ahead.iter().filter_map(|key| LeaseEntry::parse(key)).any(|entry| granted(&entry)) {
                        // It landed after all, so many commits ago that the trail has lost it.
                        let error = Error::Unavailable(format!("{key}: a commit was found to have landed late"));
                        return Ok(Transacted::Unknown(answer, commit, error).into());
                    }
                    self.withdraw_leases(&plan);
                    return Ok(Transacted::Overtaken.into());
                }
                Committed::Lost(None) => {
                    self.deleter.delete(hook);
                    return Ok(Transacted::Missing.into());
                }
                Committed::Lost(Some(object)) => {
                    stored = Self::read(&key, &object)?;
                    let over = |key: &String| hook.as_ref() == Some(key) || is_stale(key, &stored.record);
                    self.deleter.delete(plan.ahead.into_iter().filter(over));
                }
            }
        }
        Err(Error::Unavailable(format!("{key}: {} others committed first; try again", limits::REBASES)))
    }

    /// Deletes the entries of leases that were made for one commit alone, which cannot land any more.
    fn withdraw_leases(&self, plan: &IndexPlan) {
        let leases = plan.ahead.iter().filter(|key| LeaseEntry::parse(key).is_some());
        self.deleter.delete(leases.cloned());
    }

    /// Lets the others by: the more often a commit was overtaken, the longer.
    async fn step_back(&self, overtaken: usize) {
        let most = STEP_BACK * u32::try_from(overtaken).unwrap_or(u32::MAX);
        sleep(most.mul_f64(self.bucket.entropy().unit())).await;
    }

    async fn put(
        &self,
        key: &str,
        body: Bytes,
        condition: &Condition,
        commit: CommitId,
    ) -> std::result::Result<Committed, Uncommitted> {
        if self.variant.believes_refusals() {
            return self.put_believing(key, body, condition).await.map_err(Uncommitted::Unknown);
        }
        self.bucket.commit(key, body, condition, commit).await
    }

    /// The broken variant without read-back: sends again after a lost answer and takes a refusal at its word.
    async fn put_believing(&self, key: &str, body: Bytes, condition: &Condition) -> Result<Committed> {
        loop {
            match self.bucket.put_if(key, body.clone(), condition).await {
                Ok(crate::store::Put::Stored(etag)) => return Ok(Committed::Landed(Some(etag))),
                Ok(crate::store::Put::Refused) => {
                    let Got::Found(object) = self.bucket.get(key, None).await?.value else {
                        return Ok(Committed::Lost(None));
                    };
                    return Ok(Committed::Lost(CommitMark::read(&object.body).map(|_| object)));
                }
                Err(error) if error.kind.is_transient() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Lets workers know, once a process, that there is parked work to look for.
    async fn mark_parked(&self) -> Result<()> {
        let generation = self.bucket.store().generation().wrapping_add(1);
        if self.parked_in.load(Ordering::Relaxed) != generation {
            self.bucket.put(keys::PARKED_MARK, Bytes::from_static(b"{}")).await?;
            self.parked_in.store(generation, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes the index entries that belong on this side of the commit: all of them before it, unless the protocol is
    /// a broken one. Their keys say everything.
    async fn write_entries(&self, plan: &IndexPlan, side: Side) -> Result<()> {
        let late = |key: &str| {
            self.variant.indexes_late() || (self.variant.indexes_failures_late() && key.starts_with(keys::FAILED))
        };
        if plan.ahead.iter().any(|key| key.starts_with(keys::PARKED)) {
            self.mark_parked().await?;
        }
        let here = plan.ahead.iter().filter(|key| late(key) == (side == Side::After));
        try_join_all(here.map(|key| self.bucket.put(key, Bytes::from_static(b"{}")))).await?;
        Ok(())
    }
}

/// What becomes of what a record owed before a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Debts {
    /// It is delivered first, and the commit notes that it was.
    Serve,
    /// It stays as it is.
    Keep,
}

/// A commit that was made, or not.
pub(crate) struct Committing<T> {
    pub outcome: Transacted<T>,
    /// The entries it leaves behind.
    pub behind: Vec<String>,
    /// The record owes something that is yet to be delivered.
    pub owes: bool,
}

impl<T> From<Transacted<T>> for Committing<T> {
    fn from(outcome: Transacted<T>) -> Self {
        Self { outcome, behind: Vec::new(), owes: false }
    }
}

/// Who commits a new record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Author {
    /// Nobody else writes under its id.
    Only,
    /// Others may be committing a record of the same id.
    OneOfMany,
}

/// Of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

/// Refuses what no reader would take for a record.
fn check_readable(key: &str, next: &BatchRecord) -> Result<()> {
    next.check().map_err(|what| {
        Error::Corrupt(format!(
            "{key} cannot be changed, the next revision could not be read: {what}; look at the object"
        ))
    })
}

fn is_stale(key: &str, record: &BatchRecord) -> bool {
    let ready = || Some(ready_entry_state(&ReadyEntry::parse(key)?, record));
    let failed = || Some(failed_entry_state(&FailedEntry::parse(key)?, record));
    ready().or_else(failed) == Some(EntryState::Stale)
}
