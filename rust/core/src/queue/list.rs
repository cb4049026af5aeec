//! Listing tasks, page by page.

use std::collections::BTreeSet;

use futures::StreamExt;
use futures::stream;

use super::{Core, Queue, READS_IN_FLIGHT, TaskView};
use crate::error::{Error, Result};
use crate::id::TaskId;
use crate::keys;
use crate::limits;
use crate::record::{BatchRecord, TaskStatus};
use crate::store::Got;

/// Records read for one page: a page may end early, so that a rare match cannot make one call read the whole bucket.
const RECORDS_PER_PAGE: usize = 200;

/// Which tasks to list; empty means all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only tasks with one of these statuses.
    pub status: BTreeSet<TaskStatus>,
    /// Only tasks of this type.
    pub kind: Option<String>,
    /// Only tasks with this tag.
    pub tag: Option<String>,
    /// Only tasks that this one submitted.
    pub parent: Option<TaskId>,
}

/// A page of tasks, in the order of their keys: stable, but not by time.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The tasks.
    pub tasks: Vec<TaskView>,
    /// Where to go on; `None` at the end. A page may be short, even empty, and still have one.
    pub cursor: Option<String>,
    /// Objects that should be records and cannot be read.
    pub corrupt: Vec<CorruptObject>,
}

/// A stored object that cannot be read as what it should be.
#[derive(Clone, Debug, serde::Serialize)]
pub struct CorruptObject {
    /// Its key.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
}

impl Filter {
    fn admits(&self, task: &TaskView) -> bool {
        let TaskView { kind, task, .. } = task;
        (self.status.is_empty() || self.status.contains(&task.status))
            && self.kind.as_ref().is_none_or(|wanted| wanted == kind)
            && self.tag.as_ref().is_none_or(|tag| task.tags.contains(tag))
            && self.parent.is_none_or(|parent| task.parent == Some(parent))
    }
}

impl Queue {
    /// Lists tasks, `limit` (1 to 1,000) or a few more at a time: records are not split. `cursor` is that of the page before.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a limit out of range or a cursor that is none; the store's.
    pub async fn list(&self, filter: &Filter, limit: usize, cursor: Option<&str>) -> Result<Listing> {
        check_limit(limit)?;
        check_cursor(cursor, keys::TASKS)?;
        let bucket = self.bucket();
        let page = bucket.list(keys::TASKS, cursor, RECORDS_PER_PAGE).await?.value;
        let mut listing = Listing::default();
        let mut reads = stream::iter(page.entries.iter().map(|entry| self.core().read_listed(&entry.key)))
            .buffered(READS_IN_FLIGHT)
            .boxed();
        let mut last = None;
        for entry in &page.entries {
            match reads.next().await.transpose()?.flatten() {
                Some(Ok(record)) => {
                    let tasks = record.tasks.iter().map(|task| TaskView::of(&record, task));
                    listing.tasks.extend(tasks.filter(|task| filter.admits(task)));
                }
                Some(Err(message)) => listing.corrupt.push(CorruptObject { key: entry.key.clone(), message }),
                None => {}
            }
            last = Some(&entry.key);
            if listing.tasks.len() >= limit {
                break;
            }
        }
        let finished = !page.more && last == page.entries.last().map(|entry| &entry.key);
        listing.cursor = if finished { None } else { last.cloned() };
        Ok(listing)
    }
}

/// Checks the limit of a page.
///
/// # Errors
/// [`Error::Invalid`] with the limit and its range.
pub fn check_limit(limit: usize) -> Result<()> {
    if (1..=limits::PAGE).contains(&limit) {
        return Ok(());
    }
    Err(Error::Invalid(format!("limit is {limit}; give 1 to {}", limits::PAGE)))
}

/// Checks that a cursor is one of a listing of what begins with `prefix`.
///
/// # Errors
/// [`Error::Invalid`] with the cursor.
pub fn check_cursor(cursor: Option<&str>, prefix: &str) -> Result<()> {
    cursor.filter(|cursor| !cursor.starts_with(prefix)).map_or(Ok(()), |cursor| Err(not_a_cursor(cursor)))
}

/// The error for what is given as a cursor and is none.
pub fn not_a_cursor(cursor: &str) -> Error {
    let shown: String = cursor.chars().take(64).collect();
    Error::Invalid(format!("{shown:?} is not a cursor: pass the one of the page before, unchanged"))
}

impl Core {
    /// Reads one listed record; the inner error says why it cannot be read as one.
    async fn read_listed(&self, key: &str) -> Result<Option<std::result::Result<BatchRecord, String>>> {
        if keys::parse_record(key).is_none() {
            return Ok(Some(Err(format!("{key} is not buquet's: somebody else put it there, and it is left alone"))));
        }
        match self.desk.bucket.get(key, None).await?.value {
            Got::Found(object) => Ok(Some(BatchRecord::decode(key, &object.body).map_err(|error| error.to_string()))),
            Got::Missing | Got::NotModified => Ok(None),
        }
    }
}
