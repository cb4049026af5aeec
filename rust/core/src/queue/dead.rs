//! Dead letters: finding failed tasks by their index, running them again, putting them aside.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::stream;
use futures::{StreamExt, TryStreamExt};

use super::list::{check_cursor, check_limit};
use super::{CorruptObject, Listing, Queue, READS_IN_FLIGHT, TaskView};
use crate::error::{Error, Result};
use crate::id::{RecordId, TaskId};
use crate::keys::{self, FailedEntry};
use crate::limits;
use crate::record::{
    BatchRecord, Changes, EntryState, Move, Refusal, Task, TaskStatus, failed_entry_state, is_overdue,
};
use crate::time::Timestamp;
use crate::transact::{Stored, Transacted};

/// Which failed tasks; empty means all.
#[derive(Clone, Debug, Default)]
pub struct DeadFilter {
    /// Only tasks of this type.
    pub kind: Option<String>,
    /// Only tasks whose error is of this type.
    pub error: Option<String>,
    /// Only tasks that failed so long ago.
    pub older_than: Option<Duration>,
}

/// One step of a job that goes through many records.
#[derive(Clone, Debug)]
pub struct Step {
    /// The most records to look into, 1 to 1,000.
    pub limit: usize,
    /// Where the step before ended.
    pub cursor: Option<String>,
    /// Only count.
    pub dry_run: bool,
}

/// What one step came to.
#[derive(Clone, Debug, Default)]
pub struct Stepped {
    /// Tasks moved, or to be moved by a step that is no dry run.
    pub tasks: usize,
    /// The records they lie in.
    pub records: usize,
    /// Where to go on; `None` at the end.
    pub cursor: Option<String>,
    /// Objects that should be records and cannot be read.
    pub corrupt: Vec<CorruptObject>,
}

/// What became of one task that was to be moved.
#[derive(Clone, Debug)]
pub struct Moved {
    /// The task.
    pub id: TaskId,
    /// Done, or why not.
    pub verdict: std::result::Result<(), Refusal>,
}

/// A page of the index.
#[derive(Debug)]
pub(super) struct Walk {
    /// Its entries, and when each was written.
    pub entries: Vec<(FailedEntry, Timestamp)>,
    /// Where to go on.
    pub cursor: Option<String>,
}

/// What an entry led to.
#[derive(Debug)]
pub(super) enum Visit {
    /// Its record.
    Record(Box<Stored>),
    /// Nothing, or nothing any more, or nothing yet.
    Nothing,
    /// Something that cannot be read.
    Corrupt(CorruptObject),
}

impl DeadFilter {
    /// Whether an entry may lead to what is wanted.
    pub(super) fn may_admit(&self, entry: &FailedEntry) -> bool {
        self.kind.as_ref().is_none_or(|kind| keys::type_hash(kind) == entry.type_hash)
    }

    /// Whether the tasks of a record are of the type that is wanted: two types may have one hash.
    pub(super) fn admits_record(&self, record: &BatchRecord) -> bool {
        self.kind.as_ref().is_none_or(|kind| *kind == record.kind)
    }

    /// Whether a task is wanted, whatever its status.
    pub(super) fn admits(&self, task: &Task, now: Timestamp) -> bool {
        let error = task.error.as_ref().map(|error| error.kind.as_str());
        let old = |age: &Duration| task.completed_at.is_some_and(|at| at <= now.before(*age));
        self.error.as_deref().is_none_or(|wanted| error == Some(wanted)) && self.older_than.as_ref().is_none_or(old)
    }
}

impl Queue {
    /// Lists failed tasks by their index, `limit` (1 to 1,000) or a few more at a time: records are not split. They come
    /// by shard and then by the time of the failure.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a limit out of range or a cursor that is none; the store's.
    pub async fn failed(&self, filter: &DeadFilter, limit: usize, cursor: Option<&str>) -> Result<Listing> {
        check_limit(limit)?;
        let walk = self.walk_failed(filter, limit, limit, cursor).await?;
        let mut listing = Listing { cursor: walk.cursor, ..Listing::default() };
        let visits = stream::iter(walk.entries).map(|(entry, written)| self.visit(entry, written));
        let mut visits = visits.buffered(READS_IN_FLIGHT).boxed();
        while let Some(visit) = visits.try_next().await? {
            match visit {
                Visit::Record(stored) if filter.admits_record(&stored.record) => {
                    let (record, now) = (&stored.record, self.bucket().now());
                    let wanted = record.tasks.iter().filter(|task| task.is_failed() && filter.admits(task, now));
                    listing.tasks.extend(wanted.map(|task| TaskView::of(record, task)));
                }
                Visit::Corrupt(corrupt) => listing.corrupt.push(corrupt),
                Visit::Record(_) | Visit::Nothing => {}
            }
        }
        Ok(listing)
    }

    /// Moves tasks by their ids. What becomes of each is told in the order of the ids.
    ///
    /// # Errors
    /// [`Error::Invalid`] for changes that no task can have; the store's: some tasks may have been moved then, and
    /// moving them again does no harm.
    pub async fn move_tasks(&self, ids: &[TaskId], action: Move<'_>) -> Result<Vec<Moved>> {
        check_move(action)?;
        let mut records: BTreeMap<RecordId, BTreeSet<TaskId>> = BTreeMap::new();
        for id in ids {
            records.entry(id.record()).or_default().insert(*id);
        }
        let work = stream::iter(records).map(|(record, ids)| self.move_in(record, ids, action));
        let moved: Vec<Vec<Moved>> = work.buffered(READS_IN_FLIGHT).boxed().try_collect().await?;
        let mut verdicts: BTreeMap<TaskId, std::result::Result<(), Refusal>> =
            moved.into_iter().flatten().map(|moved| (moved.id, moved.verdict)).collect();
        // An id that was given twice is moved once.
        let mut verdict = |id: &TaskId| verdicts.remove(id).unwrap_or_else(|| Err(Refusal::Status(action.becomes())));
        Ok(ids.iter().map(|id| Moved { id: *id, verdict: verdict(id) }).collect())
    }

    async fn move_in(&self, record: RecordId, ids: BTreeSet<TaskId>, action: Move<'_>) -> Result<Vec<Moved>> {
        let missing =
            |ids: &BTreeSet<TaskId>| ids.iter().map(|id| Moved { id: *id, verdict: Err(Refusal::Missing) }).collect();
        let Some(stored) = self.core().desk.load(record).await? else { return Ok(missing(&ids)) };
        let mut verdicts: Vec<Moved> = Vec::new();
        let change = |record: &mut BatchRecord, now| {
            let apply = |id: &TaskId| Moved { id: *id, verdict: record.move_task(id.index(), action, now) };
            verdicts = ids.iter().map(apply).collect();
            verdicts.iter().any(|moved| moved.verdict.is_ok()).then_some(())
        };
        match self.core().desk.transact(stored, true, change).await? {
            Transacted::Done((), stored) => self.tell_of(stored.as_deref()),
            Transacted::Unchanged(_) => {}
            Transacted::Missing | Transacted::Overtaken => return Ok(missing(&ids)),
            Transacted::Unknown((), _, error) => return Err(error),
        }
        Ok(verdicts)
    }

    /// Moves the failed tasks that the filter admits, in one page of the index. Going on from cursor to cursor gets
    /// through any number of them; a step that failed may be repeated.
    ///
    /// # Errors
    /// As [`Queue::failed`] and [`Queue::move_tasks`].
    pub async fn move_failed(&self, filter: &DeadFilter, action: Move<'_>, step: &Step) -> Result<Stepped> {
        check_move(action)?;
        check_limit(step.limit)?;
        let walk = self.walk_failed(filter, step.limit, usize::MAX, step.cursor.as_deref()).await?;
        let mut stepped = Stepped { cursor: walk.cursor, ..Stepped::default() };
        let moves = stream::iter(walk.entries).map(|(entry, written)| async move {
            match self.visit(entry, written).await? {
                Visit::Record(stored) => Ok(Ok(self.move_wanted(*stored, filter, action, step.dry_run).await?)),
                Visit::Nothing => Ok(Ok(0)),
                Visit::Corrupt(corrupt) => Ok::<_, Error>(Err(corrupt)),
            }
        });
        let mut moves = moves.buffered(READS_IN_FLIGHT).boxed();
        while let Some(moved) = moves.try_next().await? {
            match moved {
                Ok(tasks) => {
                    stepped.tasks += tasks;
                    stepped.records += usize::from(tasks > 0);
                }
                Err(corrupt) => stepped.corrupt.push(corrupt),
            }
        }
        Ok(stepped)
    }

    async fn move_wanted(&self, stored: Stored, filter: &DeadFilter, action: Move<'_>, dry: bool) -> Result<usize> {
        if !filter.admits_record(&stored.record) {
            return Ok(0);
        }
        if dry {
            let (mut record, now) = (stored.record, self.bucket().now());
            return Ok(record.move_failed(action, now, |task| filter.admits(task, now)));
        }
        let change = |record: &mut BatchRecord, now| {
            let moved = record.move_failed(action, now, |task| filter.admits(task, now));
            (moved > 0).then_some(moved)
        };
        match self.core().desk.transact(stored, true, change).await? {
            Transacted::Done(moved, stored) => {
                self.tell_of(stored.as_deref());
                Ok(moved)
            }
            Transacted::Unchanged(_) | Transacted::Missing | Transacted::Overtaken => Ok(0),
            Transacted::Unknown(_, _, error) => Err(error),
        }
    }

    /// Tells workers of what a commit made pending, and those who wait of the rest.
    fn tell_of(&self, stored: Option<&Stored>) {
        let core = self.core();
        let Some(stored) = stored else { return core.ring() };
        core.show(&stored.record);
        if let Some(entry) = stored.record.ready_entry() {
            core.announce(entry);
        }
    }

    /// Lists entries that may lead to what is wanted, from where the page before ended: up to `records` of them, and
    /// no more than lead to about `tasks` tasks.
    pub(super) async fn walk_failed(
        &self,
        filter: &DeadFilter,
        records: usize,
        tasks: usize,
        cursor: Option<&str>,
    ) -> Result<Walk> {
        check_cursor(cursor, keys::FAILED)?;
        // Where most entries are of other types, a page of many is one request all the same.
        let size = if filter.kind.is_some() { limits::PAGE } else { records };
        let page = self.bucket().list(keys::FAILED, cursor, size).await?.value;
        let (mut entries, mut promised, mut last) = (Vec::new(), 0_usize, None);
        for listed in &page.entries {
            if entries.len() >= records || promised >= tasks {
                break;
            }
            last = Some(&listed.key);
            let entry = FailedEntry::parse(&listed.key).filter(|entry| filter.may_admit(entry));
            if let Some(entry) = entry {
                promised = promised.saturating_add(usize::try_from(entry.count).unwrap_or(usize::MAX));
                entries.push((entry, listed.last_modified));
            }
        }
        let finished = !page.more && last == page.entries.last().map(|listed| &listed.key);
        Ok(Walk { entries, cursor: if finished { None } else { last.cloned() } })
    }

    /// Follows an entry, and deletes it if it is stale for sure.
    pub(super) async fn visit(&self, entry: FailedEntry, written: Timestamp) -> Result<Visit> {
        let desk = &self.core().desk;
        let stored = match desk.load(entry.record).await {
            Err(error @ (Error::Corrupt(_) | Error::Layout(_))) => {
                let key = keys::record(entry.record);
                return Ok(Visit::Corrupt(CorruptObject { key, message: error.to_string() }));
            }
            stored => stored?,
        };
        let state = stored.as_ref().map(|stored| failed_entry_state(&entry, &stored.record));
        match (stored, state) {
            (Some(stored), Some(EntryState::Current)) => return Ok(Visit::Record(Box::new(stored))),
            (Some(_), Some(EntryState::Stale)) => desk.deleter.delete([entry.to_string()]),
            // Its record was purged: only records that there are get such entries.
            (None, _) if is_overdue(written, self.bucket().now()) => desk.deleter.delete([entry.to_string()]),
            _ => {}
        }
        Ok(Visit::Nothing)
    }
}

impl Move<'_> {
    /// The status of a task that was moved.
    #[must_use]
    pub const fn becomes(self) -> TaskStatus {
        match self {
            Self::Replay(_) => TaskStatus::Pending,
            Self::Archive => TaskStatus::Archived,
        }
    }
}

fn check_move(action: Move<'_>) -> Result<()> {
    match action {
        Move::Replay(changes) => Changes::check(changes),
        Move::Archive => Ok(()),
    }
}
