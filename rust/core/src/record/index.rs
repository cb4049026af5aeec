//! Which index entries a commit needs before it, and which it leaves behind.

use std::collections::BTreeMap;
use std::time::Duration;

use super::model::{BatchRecord, Extra, ReadyRef, Task};
use super::status::TaskStatus;
use crate::broken::Variant;
use crate::id::LeaseId;
use crate::keys::{self, LeaseEntry, ReadyEntry};
use crate::limits;
use crate::time::Timestamp;

/// The index entries around one commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexPlan {
    /// Write these before the commit.
    pub ahead: Vec<String>,
    /// Delete these after it.
    pub behind: Vec<String>,
}

/// What a reader may conclude about an index entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryState {
    /// It leads to something to do, now or at its time.
    Current,
    /// It can never become current again: delete it.
    Stale,
    /// Its commit may still be on its way: leave it.
    Ahead,
}

impl BatchRecord {
    /// The key of the record's ready entry.
    #[must_use]
    pub fn ready_entry(&self) -> Option<ReadyEntry> {
        self.ready.as_ref().map(|ready| self.entry(ready, false))
    }

    /// The key of the record's entry in the index of parked work.
    #[must_use]
    pub fn parked_entry(&self) -> Option<ReadyEntry> {
        self.parked.as_ref().map(|parked| self.entry(parked, true))
    }

    /// The entries through which its tasks are claimed.
    pub fn claim_entries(&self) -> impl Iterator<Item = ReadyEntry> {
        self.ready_entry().into_iter().chain(self.parked_entry())
    }

    fn entry(&self, named: &ReadyRef, parked: bool) -> ReadyEntry {
        let &ReadyRef { due, seq, pending, priority, .. } = named;
        let (priority, type_hash) = (priority.unwrap_or(self.options.priority), keys::type_hash(&self.kind));
        ReadyEntry { due, record: self.id, seq, priority, type_hash, pending, parked }
    }

    fn lease_entries(&self) -> BTreeMap<LeaseId, String> {
        let entry = |(lease, held): (&LeaseId, &super::model::Lease)| {
            let entry =
                LeaseEntry { minute: held.expires_at.minute(), record: self.id, lease: *lease, worker: held.worker };
            (*lease, entry.to_string())
        };
        self.leases.iter().map(entry).collect()
    }

    /// The entries the record needs for its pending and its parked tasks.
    fn renew_ready(&mut self, old: &Self, now: Timestamp) {
        let ready = self.renewed(old.ready.as_ref(), old.seq, now, TaskStatus::Pending, Task::due);
        let parked = self.renewed(old.parked.as_ref(), old.seq, now, TaskStatus::Waiting, Task::wakes_at);
        // Also a finished record gets a new number: what somebody wrote ahead and never committed is then stale.
        let renumbered = ready != old.ready || parked != old.parked || (self.is_finished() && !old.is_finished());
        self.seq = if renumbered { old.seq + 1 } else { self.seq.max(old.seq) };
        self.ready = ready;
        self.parked = parked;
    }

    /// The entry for the tasks of a status. One that already leads here in time is kept; a new one gets a number no entry
    /// of this record ever had.
    fn renewed(
        &self,
        old: Option<&ReadyRef>,
        seq: u64,
        now: Timestamp,
        status: TaskStatus,
        due: fn(&Task) -> Timestamp,
    ) -> Option<ReadyRef> {
        let tasks = || self.tasks.iter().filter(|task| task.status == status);
        // A key cannot say a time before the epoch.
        let due = tasks().map(due).min()?.max(Timestamp(0));
        let count = u32::try_from(tasks().count()).unwrap_or(u32::MAX);
        let priority = self.highest_priority(status);
        // An entry that promises far fewer tasks than there are would have them claimed one by one.
        let serves = |entry: &&ReadyRef| {
            (entry.due == due || (entry.due <= due && due <= now))
                && count <= entry.pending.saturating_mul(2)
                && entry.priority == priority
        };
        let renewed = || ReadyRef { due, seq: seq + 1, pending: count, priority, extra: Extra::new() };
        Some(old.filter(serves).cloned().unwrap_or_else(renewed))
    }

    /// The broken variant: an entry's key has the minute and nothing that tells it from the one before.
    fn reuse_ready_key(&mut self) {
        self.seq = 1;
        if let Some(ready) = &mut self.ready {
            let due = Timestamp(ready.due.minute() * 60_000);
            *ready = ReadyRef { due, seq: 1, pending: 1, priority: None, extra: Extra::new() };
        }
    }
}

/// Completes `new`, which was made from `old`, with the ready entry it needs, and says what to write and delete.
pub fn plan_index(old: &BatchRecord, new: &mut BatchRecord, now: Timestamp, variant: Variant) -> IndexPlan {
    new.renew_ready(old, now);
    new.renew_failed(old, now);
    if variant.reuses_ready_keys() {
        new.reuse_ready_key();
    }
    let (before, after) = (old.lease_entries(), new.lease_entries());
    let mut plan = IndexPlan::default();
    if old.ready != new.ready || old.rev == 0 {
        plan.ahead.extend(new.ready_entry().map(|entry| entry.to_string()));
        if old.rev > 0 {
            plan.behind.extend(old.ready_entry().map(|entry| entry.to_string()));
        }
    }
    if old.parked != new.parked {
        plan.ahead.extend(new.parked_entry().map(|entry| entry.to_string()));
        plan.behind.extend(old.parked_entry().map(|entry| entry.to_string()));
    }
    if old.failed_entry() != new.failed_entry() {
        plan.ahead.extend(new.failed_entry().map(|entry| entry.to_string()));
        plan.behind.extend(old.failed_entry().map(|entry| entry.to_string()));
    }
    plan.ahead.extend(after.iter().filter(|(lease, key)| before.get(lease) != Some(key)).map(|(_, key)| key.clone()));
    plan.behind.extend(before.iter().filter(|(lease, key)| after.get(lease) != Some(key)).map(|(_, key)| key.clone()));
    plan
}

/// What `entry` is to the record it names.
#[must_use]
pub fn ready_entry_state(entry: &ReadyEntry, record: &BatchRecord) -> EntryState {
    let named = if entry.parked { record.parked_entry() } else { record.ready_entry() };
    if named.as_ref() == Some(entry) {
        EntryState::Current
    } else if entry.seq <= record.seq {
        EntryState::Stale
    } else {
        EntryState::Ahead
    }
}

/// What `entry` is to the record it names, given when each was last written.
///
/// A claimer reads the record, writes its entry, then commits over what it read. So once the record was written
/// after the entry was, a claim that is not in it cannot land any more. An extension is different: it is rebased and
/// may write the same entry again, so nothing but the end of its lease makes its entry stale. `margin` is how far two
/// of the server's times may be wrong against each other.
#[must_use]
pub fn lease_entry_state(
    entry: &LeaseEntry,
    written: Timestamp,
    record: &BatchRecord,
    record_written: Timestamp,
    margin: Duration,
) -> EntryState {
    match record.leases.get(&entry.lease) {
        Some(lease) if lease.expires_at.minute() == entry.minute => EntryState::Current,
        Some(lease) if lease.expires_at.minute() > entry.minute => EntryState::Stale,
        None if record_written > written.after(margin) => EntryState::Stale,
        _ => EntryState::Ahead,
    }
}

/// Whether an entry that leads nowhere, or was never followed by its commit, is old enough to be looked into.
#[must_use]
pub fn is_overdue(written: Timestamp, now: Timestamp) -> bool {
    now > written.after(limits::GRACE)
}
