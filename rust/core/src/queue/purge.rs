//! Purging: removing what finished tasks hold, and their records.
//!
//! A record may be purged while somebody replays it, and there is no conditional delete. So it is first sealed: a commit
//! archives all its tasks for good, which bars every commit that was prepared before. Only then is it deleted, and its
//! entry in the index of failed tasks after it, so that whoever comes after a crash finds what is left to do. Payloads go
//! once no revision names them; what a crash leaves of them is collected like that of any other commit.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::stream;
use futures::{StreamExt, TryStreamExt};

use super::dead::{DeadFilter, Step, Visit};
use super::derived::BARRED;
use super::list::{check_cursor, check_limit};
use super::{CorruptObject, Queue, READS_IN_FLIGHT};
use crate::error::{Error, Result};
use crate::id::{RecordId, TaskId};
use crate::keys::{self, FailedEntry};
use crate::limits;
use crate::payload::unnamed;
use crate::record::{BatchRecord, Link, Task, TaskStatus};
use crate::time::Timestamp;
use crate::transact::{Stored, Transacted};

/// What to purge.
#[derive(Clone, Debug, Default)]
pub struct Purge {
    /// Tasks with one of these statuses, all of them terminal.
    pub status: BTreeSet<TaskStatus>,
    /// Only tasks of this type.
    pub kind: Option<String>,
    /// Only tasks whose error is of this type.
    pub error: Option<String>,
    /// Only tasks that ended so long ago, in records that nobody has changed for as long.
    pub older_than: Duration,
}

/// What one step of a purge came to.
#[derive(Clone, Debug, Default)]
pub struct Purged {
    /// Tasks purged.
    pub tasks: usize,
    /// Records deleted, with all their tasks.
    pub records: usize,
    /// Records that stay because of their other tasks.
    pub kept: usize,
    /// Size of the records deleted, in bytes.
    pub bytes: u64,
    /// Where to go on; `None` at the end.
    pub cursor: Option<String>,
    /// Objects that should be records and cannot be read.
    pub corrupt: Vec<CorruptObject>,
}

/// A record that may be purged.
#[derive(Debug)]
struct Found {
    stored: Stored,
    /// The entry that led there.
    entry: Option<FailedEntry>,
    size: u64,
}

/// What became of it.
#[derive(Debug, Default)]
struct Done {
    tasks: usize,
    kept: bool,
    /// The size of the record, if it was deleted.
    deleted: Option<u64>,
}

impl Purge {
    /// Refuses what would not be a purge of finished tasks.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the value and what is allowed.
    pub fn check(&self) -> Result<()> {
        let open = self.status.iter().find(|status| !status.is_terminal());
        if let Some(status) = open {
            let status = format!("{status:?}").to_lowercase();
            return Err(Error::Invalid(format!(
                "status {status} cannot be purged: only completed, failed, cancelled, expired and archived tasks can"
            )));
        }
        if self.status.is_empty() {
            return Err(Error::Invalid("no status is given; say which, such as [\"failed\"]".into()));
        }
        Ok(())
    }

    fn filter(&self) -> DeadFilter {
        let older_than = Some(self.older_than);
        DeadFilter { kind: self.kind.clone(), error: self.error.clone(), older_than }
    }

    fn admits(&self, filter: &DeadFilter, task: &Task, now: Timestamp) -> bool {
        self.status.contains(&task.status) && filter.admits(task, now)
    }

    /// Whether the index of failed tasks leads to all that is wanted.
    fn is_indexed(&self) -> bool {
        self.status.iter().eq([&TaskStatus::Failed])
    }
}

impl Queue {
    /// Purges in one page of the index of failed tasks or, for other statuses, of the records. Going on from cursor to
    /// cursor gets through any number of them; a step that failed may be repeated.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a status that is not terminal, a limit out of range or a cursor that is none; the store's.
    pub async fn purge(&self, purge: &Purge, step: &Step) -> Result<Purged> {
        purge.check()?;
        check_limit(step.limit)?;
        let filter = purge.filter();
        let mut purged = Purged::default();
        let found = if purge.is_indexed() {
            self.find_indexed(&filter, step, &mut purged).await?
        } else {
            self.find_listed(step, purge.older_than, &mut purged).await?
        };
        let work = stream::iter(found).map(|found| self.purge_record(found, purge, &filter, step.dry_run));
        let done: Vec<Done> = work.buffered(READS_IN_FLIGHT).boxed().try_collect().await?;
        for Done { tasks, kept, deleted } in done {
            purged.tasks += tasks;
            purged.kept += usize::from(kept);
            purged.records += usize::from(deleted.is_some());
            purged.bytes += deleted.unwrap_or_default();
        }
        Ok(purged)
    }

    /// The latest moment at which a record that is purged may have been changed: an older request that is still on its
    /// way would find the record gone, and could bring it back.
    fn latest(&self, older_than: Duration) -> Timestamp {
        self.bucket().now().before(older_than.max(self.core().settings.purge_grace))
    }

    async fn find_indexed(&self, filter: &DeadFilter, step: &Step, purged: &mut Purged) -> Result<Vec<Found>> {
        let walk = self.walk_failed(filter, step.limit, usize::MAX, step.cursor.as_deref()).await?;
        purged.cursor = walk.cursor;
        let latest = self.latest(filter.older_than.unwrap_or_default());
        // The entry tells when the latest of the tasks failed.
        let old = walk.entries.into_iter().filter(|(entry, _)| entry.at <= latest);
        let visits = stream::iter(old)
            .map(|(entry, written)| async move { Ok::<_, Error>((entry, self.visit(entry, written).await?)) });
        let mut visits = visits.buffered(READS_IN_FLIGHT).boxed();
        let mut found = Vec::new();
        while let Some((entry, visit)) = visits.try_next().await? {
            match visit {
                Visit::Record(stored) if stored.written <= latest || stored.record.is_purged() => {
                    let size = size_of(&stored.record)?;
                    found.push(Found { stored: *stored, entry: Some(entry), size });
                }
                Visit::Corrupt(corrupt) => purged.corrupt.push(corrupt),
                Visit::Record(_) | Visit::Nothing => {}
            }
        }
        Ok(found)
    }

    async fn find_listed(&self, step: &Step, older_than: Duration, purged: &mut Purged) -> Result<Vec<Found>> {
        check_cursor(step.cursor.as_deref(), keys::TASKS)?;
        let latest = self.latest(older_than);
        let page = self.bucket().list(keys::TASKS, step.cursor.as_deref(), step.limit).await?.value;
        purged.cursor = page.entries.last().filter(|_| page.more).map(|listed| listed.key.clone());
        // What was changed lately need not be read.
        let old = page.entries.into_iter().filter(|listed| listed.last_modified <= latest);
        let reads = stream::iter(old).map(|listed| async move {
            let read = match keys::parse_record(&listed.key) {
                Some(id) => self.core().desk.load(id).await,
                None => Ok(None),
            };
            (listed, read)
        });
        let mut reads = reads.buffered(READS_IN_FLIGHT).boxed();
        let mut found = Vec::new();
        while let Some((listed, read)) = reads.next().await {
            match read {
                Ok(Some(stored)) if stored.written <= latest => {
                    let entry = stored.record.failed_entry();
                    found.push(Found { stored, entry, size: listed.size });
                }
                Ok(_) => {}
                Err(error @ (Error::Corrupt(_) | Error::Layout(_))) => {
                    purged.corrupt.push(CorruptObject { key: listed.key, message: error.to_string() });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    async fn purge_record(&self, found: Found, purge: &Purge, filter: &DeadFilter, dry: bool) -> Result<Done> {
        let (record, now) = (&found.stored.record, self.bucket().now());
        // A void place that is not barred may yet be filled, by the submit of a slot or a key that comes again.
        if record.void && record.kind != BARRED {
            return Ok(Done::default());
        }
        // Nothing is left to be sealed where a purge was interrupted, or a place barred.
        if record.is_purged() || record.void {
            let left = found.stored.written <= now.before(self.leftover());
            return if left && !dry { self.delete_record(&found, Done::default()).await } else { Ok(Done::default()) };
        }
        if !filter.admits_record(record) {
            return Ok(Done::default());
        }
        let silent = self.core().settings.variant.purges_undelivered();
        let needed = if silent { BTreeSet::new() } else { self.still_needed(record).await? };
        let admits = |task: &Task| purge.admits(filter, task, now) && !needed.contains(&task.n);
        let mut preview = record.clone();
        let tasks = preview.purge(now, admits);
        let whole = preview.is_purged();
        let done = Done { tasks, kept: tasks > 0 && !whole, deleted: None };
        if tasks == 0 || dry {
            return Ok(Done { deleted: whole.then_some(found.size), ..done });
        }
        if whole && self.core().settings.variant.purges_unsealed() {
            return self.delete_record(&found, done).await;
        }
        let change = |record: &mut BatchRecord, _| {
            let tasks = record.purge(now, admits);
            (tasks > 0).then_some(tasks)
        };
        let mut stored = found.stored.clone();
        stored.served |= silent;
        if stored.record.owes() && !stored.served {
            self.core().desk.serve(&stored.record, Vec::new()).await?;
            stored.served = true;
        }
        // Whoever commits first has work to do there: the next purge looks again.
        match self.core().desk.transact(stored, false, change).await? {
            Transacted::Done(tasks, sealed) => {
                let whole = sealed.as_ref().is_some_and(|sealed| sealed.record.is_purged());
                let done = Done { tasks, kept: !whole, deleted: None };
                let Some(sealed) = sealed else { return Ok(done) };
                self.core().show(&sealed.record);
                let done = if whole { self.delete_record(&found, done).await? } else { done };
                // Last, for they may be many: the record must not wait for its deletion. None of them is named any more.
                let payloads = unnamed(&sealed.record, record.tasks.iter().flat_map(Task::payloads));
                for keys in payloads.chunks(limits::PAGE) {
                    self.bucket().delete_many(keys).await?;
                }
                Ok(done)
            }
            Transacted::Unchanged(_) | Transacted::Missing | Transacted::Overtaken => Ok(Done::default()),
            Transacted::Unknown(_, _, error) => Err(error),
        }
    }

    /// Tasks that others wait for, or whose output one that has waited for them has yet to read.
    async fn still_needed(&self, record: &BatchRecord) -> Result<BTreeSet<u16>> {
        if record.links.is_empty() {
            return Ok(BTreeSet::new());
        }
        let targets: BTreeSet<RecordId> = record.links.iter().map(|link| link.target.record()).collect();
        let loads = stream::iter(targets).map(|id| async move { (id, self.core().desk.load(id).await) });
        let found: Vec<_> = loads.buffer_unordered(READS_IN_FLIGHT).boxed().collect().await;
        let mut open: BTreeSet<TaskId> = BTreeSet::new();
        for (id, stored) in found {
            match stored {
                Ok(stored) => {
                    let tasks = stored.iter().flat_map(|stored| &stored.record.tasks);
                    open.extend(tasks.filter(|task| !task.status.is_terminal()).map(|task| id.task(task.n)));
                }
                // Nobody knows what it has yet to read.
                Err(Error::Corrupt(_) | Error::Layout(_)) => {
                    let links = record.links.iter().filter(|link| link.target.record() == id);
                    open.extend(links.flat_map(Link::targets));
                }
                Err(error) => return Err(error),
            }
        }
        let needed = |n: &u16| record.dependents(*n).any(|target| open.contains(&target));
        Ok(record.tasks.iter().map(|task| task.n).filter(needed).collect())
    }

    /// How long a sealed record is left to whoever sealed it. A record whose id comes from a key may come again after
    /// it was deleted, and then nobody may still be about to delete the old one.
    fn leftover(&self) -> Duration {
        (self.core().settings.purge_grace * 2).max(limits::GRACE)
    }

    /// Deletes a sealed record, then its entry.
    async fn delete_record(&self, found: &Found, done: Done) -> Result<Done> {
        self.bucket().delete_many(&[keys::record(found.stored.record.id)]).await?;
        if let Some(entry) = &found.entry {
            self.bucket().delete_many(&[entry.to_string()]).await?;
        }
        Ok(Done { deleted: Some(found.size), ..done })
    }
}

fn size_of(record: &BatchRecord) -> Result<u64> {
    Ok(u64::try_from(record.encode()?.len()).unwrap_or(u64::MAX))
}
