//! What a worker holds: its leases, the records they lie in, and the tasks not yet handed out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::sync::{Mutex as AsyncMutex, oneshot};
use tokio::time::Instant;

use super::settle::{Verdict, WorkOutcome};
use crate::id::{LeaseId, RecordId, TaskId};
use crate::record::{After, BatchRecord, Claimed, Json, PayloadRef};
use crate::time::Timestamp;
use crate::transact::Stored;

/// A task to run.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// The task.
    pub id: TaskId,
    /// The lease to settle it under.
    pub lease: LeaseId,
    /// Its type.
    pub kind: String,
    /// Its input; null where it lies elsewhere and is too large to be handed out, or cannot be read.
    pub input: Json,
    /// Where the input lies, if not in the record.
    pub input_ref: Option<PayloadRef>,
    /// Payloads that came with the input.
    pub input_files: Vec<PayloadRef>,
    /// Which start this is; 1 is the first.
    pub attempt: u32,
    /// Retries spent so far.
    pub retry_count: u32,
    /// Retries it may spend.
    pub max_retries: u32,
    /// Its priority.
    pub priority: u8,
    /// How long the attempt may take, in milliseconds.
    pub timeout_ms: u64,
    /// When the lease falls.
    pub expires_at: Timestamp,
    /// When the task was submitted.
    pub submitted_at: Timestamp,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Facts about it.
    pub metadata: BTreeMap<String, String>,
    /// The task that submitted it.
    pub parent: Option<TaskId>,
    /// It was woken since its last attempt looked.
    pub woken: bool,
    /// What it waited for, and whose results it may want.
    pub after: Option<Box<After>>,
}

/// The record of some held tasks. Commits of this worker to it go one after the other, through here.
#[derive(Debug, Default)]
pub struct Slot {
    /// The revision this worker wrote or read last, if it may still be the current one.
    pub stored: AsyncMutex<Option<Box<Stored>>>,
    /// Outcomes waiting to be committed together.
    pub outbox: Mutex<Outbox>,
}

/// Outcomes of one record on their way.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Those not committed yet.
    pub waiting: Vec<(WorkOutcome, oneshot::Sender<Verdict>)>,
    /// Somebody is committing.
    pub busy: bool,
}

/// A held task.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Held {
    /// Under which lease.
    pub lease: LeaseId,
    /// The first revision it was seen in; older ones know nothing of it.
    pub since: u64,
    /// Its outcome is on its way.
    pub settling: bool,
    /// It waits in [`Hold::fetched`] to be handed out.
    pub fetched: bool,
    /// It is known here that somebody wants it called off.
    pub called_off: bool,
    /// Its attempt was told that it was woken, and has not looked again since.
    pub told_of_wake: bool,
    /// Its attempt waits to be woken: its record is read regularly.
    pub listens: bool,
}

/// Everything held.
#[derive(Debug, Default)]
pub struct Hold {
    /// Every task under a lease of this worker.
    pub tasks: BTreeMap<TaskId, Held>,
    /// Those not handed out yet, with when they were fetched, oldest first.
    pub fetched: VecDeque<(Instant, Assignment)>,
    /// The records they lie in.
    pub slots: BTreeMap<RecordId, Arc<Slot>>,
}

impl Hold {
    /// The slot of a record.
    pub fn slot(&mut self, id: RecordId) -> Arc<Slot> {
        Arc::clone(self.slots.entry(id).or_default())
    }

    /// Whether a task is under this lease and its outcome is not on its way yet.
    pub fn holds(&self, id: TaskId, lease: LeaseId) -> bool {
        self.tasks.get(&id).is_some_and(|held| held.lease == lease && !held.settling)
    }

    /// The held tasks of a record.
    pub fn of_record(&self, id: RecordId) -> impl Iterator<Item = (&TaskId, &Held)> {
        self.tasks.range(id.task(0)..=id.task(u16::MAX))
    }

    /// Takes the oldest `count` of those not handed out yet.
    pub fn take_fetched(&mut self, count: usize) -> Vec<Assignment> {
        let taken: Vec<_> = self.fetched.drain(..count).map(|(_, assignment)| assignment).collect();
        for assignment in &taken {
            if let Some(held) = self.tasks.get_mut(&assignment.id) {
                held.fetched = false;
            }
        }
        taken
    }

    /// Forgets that a task waits to be handed out.
    pub fn unfetch(&mut self, id: TaskId) {
        if self.tasks.get_mut(&id).is_some_and(|held| std::mem::take(&mut held.fetched)) {
            self.fetched.retain(|(_, task)| task.id != id);
        }
    }

    /// Forgets a record's slot if nothing is held or under way in it.
    pub fn tidy(&mut self, id: RecordId) {
        let held = self.of_record(id).next().is_some();
        // One reference is the map's own; another belongs to somebody who is using it.
        if !held && self.slots.get(&id).is_some_and(|slot| Arc::strong_count(slot) == 1) {
            self.slots.remove(&id);
        }
    }

    /// Takes in freshly claimed tasks.
    pub fn adopt(&mut self, record: &BatchRecord, lease: LeaseId, claimed: &[Claimed], now: Instant) {
        let expires_at = record.leases.get(&lease).map_or(record.created_at, |held| held.expires_at);
        let task = |claimed: &Claimed| Some((record.tasks.get(usize::from(claimed.n))?, claimed.woken));
        for (task, woken) in claimed.iter().filter_map(task) {
            let id = record.id.task(task.n);
            let options = record.options_of(task);
            let assignment = Assignment {
                id,
                lease,
                kind: record.kind.clone(),
                input: task.input.clone(),
                input_ref: task.input_ref.as_deref().cloned(),
                input_files: task.input_files.clone(),
                attempt: task.attempt,
                retry_count: task.retry_count,
                max_retries: options.retry.max_retries,
                priority: options.priority,
                timeout_ms: options.timeout_ms,
                expires_at,
                submitted_at: task.submitted_at,
                tags: task.tags.clone(),
                metadata: task.metadata.clone(),
                parent: task.parent,
                woken,
                after: task.after.clone(),
            };
            self.tasks.insert(
                id,
                Held {
                    lease,
                    since: record.rev,
                    settling: false,
                    fetched: true,
                    called_off: false,
                    told_of_wake: false,
                    listens: false,
                },
            );
            self.fetched.push_back((now, assignment));
        }
    }
}
