//! The history of a task: what every version of its record said about it.

use futures::StreamExt;
use futures::stream;

use super::list::check_limit;
use super::{Queue, READS_IN_FLIGHT, TaskView};
use crate::error::{Error, Result};
use crate::id::{CommitId, TaskId};
use crate::keys;
use crate::record::{BatchRecord, Task};
use crate::store::{Got, Version};
use crate::time::Timestamp;

/// Versions of one record that are looked at; the oldest beyond it are not shown.
const MOST_VERSIONS: usize = 10_000;
const VERSIONS_PER_PAGE: usize = 1_000;

/// One change of a task.
#[derive(Clone, Debug)]
pub struct Event {
    /// The record's revision that brought it.
    pub rev: u64,
    /// Server time of the commit.
    pub at: Timestamp,
    /// The commit.
    pub commit: CommitId,
    /// The task as it was then.
    pub task: TaskView,
}

/// A page of a task's history, oldest first.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The changes.
    pub events: Vec<Event>,
    /// Where to go on; `None` at the end.
    pub cursor: Option<String>,
    /// Whether every version is there: false if the bucket does not keep versions, or no longer has the oldest.
    pub complete: bool,
}

impl Queue {
    /// The task's history, `limit` (1 to 1,000) versions of its record at a time. Versions that changed only other
    /// tasks of the record are left out, so a page may be short.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such task, [`Error::Invalid`] for a bad limit or cursor, and the store's.
    pub async fn history(&self, id: TaskId, limit: usize, cursor: Option<&str>) -> Result<History> {
        check_limit(limit)?;
        let start: usize = cursor.map_or(Ok(0), str::parse).map_err(|_| {
            Error::Invalid(format!("{cursor:?} is not a cursor: pass the one of the page before, unchanged"))
        })?;
        let key = keys::record(id.record());
        let mut versions = self.all_versions(&key).await?;
        if versions.is_empty() {
            return Err(Error::no_task(id));
        }
        versions.reverse();
        let end = versions.len().min(start.saturating_add(limit));
        let first = start.saturating_sub(1).min(end);
        let reads = stream::iter(&versions[first..end]).map(|version| self.read_version(&key, version));
        let records: Vec<Result<Option<(BatchRecord, Timestamp)>>> =
            reads.buffered(READS_IN_FLIGHT).boxed().collect().await;
        let records: Vec<(BatchRecord, Timestamp)> =
            records.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        let Some((oldest, _)) = records.first() else {
            return Err(Error::no_task(id));
        };
        if oldest.task(id).is_none() {
            return Err(Error::no_task(id));
        }
        let complete = if start == 0 { oldest.rev == 1 } else { self.has_all(&key, &versions[0]).await? };
        let skip = usize::from(start > 0);
        let events = changes(&records, id).filter(|(n, _)| *n >= skip).map(|(_, event)| event).collect();
        let cursor = (end < versions.len()).then(|| end.to_string());
        Ok(History { events, cursor, complete })
    }

    /// Whether the oldest version there is was the first.
    async fn has_all(&self, key: &str, oldest: &Version) -> Result<bool> {
        Ok(self.read_version(key, oldest).await?.is_some_and(|(record, _)| record.rev == 1))
    }

    async fn all_versions(&self, key: &str) -> Result<Vec<Version>> {
        let mut versions: Vec<Version> = Vec::new();
        loop {
            let before = versions.last().map(|version| version.id.clone());
            let page = self.bucket().versions(key, before.as_ref(), VERSIONS_PER_PAGE).await?.value;
            let more = page.more && !page.versions.is_empty();
            versions.extend(page.versions);
            if !more || versions.len() >= MOST_VERSIONS {
                break;
            }
        }
        versions.retain(|version| !version.deleted);
        Ok(versions)
    }

    async fn read_version(&self, key: &str, version: &Version) -> Result<Option<(BatchRecord, Timestamp)>> {
        match self.bucket().get_version(key, &version.id).await?.value {
            Got::Found(object) => Ok(Some((BatchRecord::decode(key, &object.body)?, version.last_modified))),
            Got::Missing | Got::NotModified => Ok(None),
        }
    }
}

/// The versions in which the task is not as in the version before, with their place.
fn changes(records: &[(BatchRecord, Timestamp)], id: TaskId) -> impl Iterator<Item = (usize, Event)> {
    let text = |task: &Task| serde_json::to_string(task).ok();
    records.iter().enumerate().filter_map(move |(n, (record, at))| {
        let task = record.task(id)?;
        let before = n.checked_sub(1).and_then(|n| records.get(n)).and_then(|(record, _)| record.task(id));
        let changed = before.and_then(text) != text(task);
        let event = Event { rev: record.rev, at: *at, commit: record.commit, task: TaskView::of(record, task) };
        changed.then_some((n, event))
    })
}
