//! Looking through the index of parked work, where crashes may leave entries that nobody meets.
//!
//! Most of it lies at the end of each shard, where workers do not look. What is stale there costs nothing but its place, and
//! goes with this.

use futures::{StreamExt, TryStreamExt, stream};

use super::list::check_cursor;
use super::{CorruptObject, Queue, READS_IN_FLIGHT};
use crate::error::{Error, Result};
use crate::keys::{self, ReadyEntry};
use crate::limits;
use crate::record::{EntryState, Task, is_overdue, ready_entry_state};
use crate::time::Timestamp;
use crate::transact::Transacted;

/// What was found in one page of the index.
#[derive(Clone, Debug, Default)]
pub struct Repaired {
    /// Entries that lead to tasks that wait.
    pub waiting: usize,
    /// Entries that led nowhere, and were deleted.
    pub deleted: usize,
    /// Where to go on; `None` at the end.
    pub cursor: Option<String>,
    /// Objects that should be records and cannot be read.
    pub corrupt: Vec<CorruptObject>,
}

/// What an entry is.
enum Found {
    Waits,
    LeftOver(ReadyEntry),
    /// It may be on its way.
    Young,
    Corrupt(CorruptObject),
}

impl Queue {
    /// Looks at one page of the index of parked work, and deletes what is left over there.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a cursor that is none; the store's.
    pub async fn repair(&self, cursor: Option<&str>) -> Result<Repaired> {
        check_cursor(cursor, keys::PARKED)?;
        let page = self.bucket().list(keys::PARKED, cursor, limits::PAGE).await?.value;
        let cursor = page.entries.last().filter(|_| page.more).map(|last| last.key.clone());
        let mut repaired = Repaired { cursor, ..Repaired::default() };
        let entries = page.entries.iter().filter_map(|listed| {
            let entry = ReadyEntry::parse(&listed.key)?;
            Some(self.judge(entry, listed.last_modified))
        });
        let found: Vec<Found> = stream::iter(entries).buffered(READS_IN_FLIGHT).boxed().try_collect().await?;
        let mut left_over = Vec::new();
        for found in found {
            match found {
                Found::Waits => repaired.waiting += 1,
                Found::LeftOver(entry) => left_over.push(entry.to_string()),
                Found::Young => {}
                Found::Corrupt(corrupt) => repaired.corrupt.push(corrupt),
            }
        }
        repaired.deleted = left_over.len();
        if !left_over.is_empty() {
            self.bucket().delete_many(&left_over).await?;
        }
        Ok(repaired)
    }

    async fn judge(&self, entry: ReadyEntry, written: Timestamp) -> Result<Found> {
        let desk = &self.core().desk;
        let old = is_overdue(written, self.bucket().now());
        let stored = match desk.load(entry.record).await {
            Err(error @ (Error::Corrupt(_) | Error::Layout(_))) => {
                let (key, message) = (keys::record(entry.record), error.to_string());
                return Ok(Found::Corrupt(CorruptObject { key, message }));
            }
            stored => stored?,
        };
        // A task is parked by a commit over its record: without one none can land.
        let Some(stored) = stored else { return Ok(if old { Found::LeftOver(entry) } else { Found::Young }) };
        match ready_entry_state(&entry, &stored.record) {
            EntryState::Current => {
                // Those that wait for others: do all of them know?
                if stored.record.tasks.iter().any(Task::awaits_others) {
                    self.core().look_after(entry.record).await?;
                }
                Ok(Found::Waits)
            }
            EntryState::Stale => Ok(Found::LeftOver(entry)),
            EntryState::Ahead if old && stored.record.is_finished() => {
                let passed = desk.transact(stored, false, |record, _| record.pass_over(entry.seq)).await?;
                Ok(if matches!(passed, Transacted::Done(..)) { Found::LeftOver(entry) } else { Found::Young })
            }
            EntryState::Ahead => Ok(Found::Young),
        }
    }
}
