//! Long random sequences of changes, each committed with its index entries: what must hold after every step.

use std::collections::BTreeSet;

use buquet_core::keys::{FailedEntry, LeaseEntry, ReadyEntry};
use buquet_core::limits;
use buquet_core::record::{
    BatchRecord, Changes, EntryState, Fall, Move, Task, TaskStatus, failed_entry_state, ready_entry_state,
};
use buquet_core::time::Timestamp;
use proptest::prelude::*;

use super::story::*;

#[derive(Clone, Debug)]
enum Change {
    Claim {
        room: usize,
        seconds: u64,
    },
    Settle {
        n: u16,
        outcome: usize,
    },
    Extend {
        n: u16,
        seconds: u64,
    },
    Fall {
        n: u16,
        expired: bool,
    },
    /// Failed tasks are run again, some of them with another priority.
    Replay {
        n: u16,
        priority: Option<u8>,
    },
    Wake {
        n: u16,
    },
    Expire,
    Archive {
        n: u16,
    },
    Purge {
        n: u16,
    },
    /// A commit that changes nothing but the revision.
    Fence,
}

impl Change {
    /// Whether it is something that a person does with finished tasks.
    const fn moves_the_finished(&self) -> bool {
        matches!(self, Self::Replay { .. } | Self::Archive { .. } | Self::Purge { .. })
    }
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0_usize..5, 1_u64..600).prop_map(|(room, seconds)| Change::Claim { room, seconds }),
        5 => (0_u16..7, 0_usize..8).prop_map(|(n, outcome)| Change::Settle { n, outcome }),
        2 => (0_u16..7, 0_u64..900).prop_map(|(n, seconds)| Change::Extend { n, seconds }),
        1 => (0_u16..7, any::<bool>()).prop_map(|(n, expired)| Change::Fall { n, expired }),
        2 => (0_u16..7, prop::option::of(0_u8..10)).prop_map(|(n, priority)| Change::Replay { n, priority }),
        2 => (0_u16..7).prop_map(|n| Change::Wake { n }),
        1 => Just(Change::Expire),
        1 => (0_u16..7).prop_map(|n| Change::Archive { n }),
        1 => (0_u16..7).prop_map(|n| Change::Purge { n }),
        1 => Just(Change::Fence),
    ]
}

/// Whether the index leads to every failed and every unfinished task of the record, to the pending ones in time.
pub fn leads(index: &BTreeSet<String>, record: &BatchRecord, now: Timestamp) -> bool {
    let current = |key: &String| ReadyEntry::parse(key).filter(|e| ready_entry_state(e, record) == EntryState::Current);
    let pending = record.tasks.iter().filter(|task| task.status == TaskStatus::Pending);
    let first_due = pending.map(Task::due).min();
    let ready = first_due
        .is_none_or(|due| index.iter().filter_map(current).any(|entry| !entry.parked && entry.due <= due.max(now)));
    let waiting = record.tasks.iter().filter(|task| task.status == TaskStatus::Waiting);
    let first_wake = waiting.map(Task::wakes_at).min();
    let parked = first_wake
        .is_none_or(|due| index.iter().filter_map(current).any(|entry| entry.parked && entry.due <= due.max(now)));
    let entries: Vec<_> = index.iter().filter_map(|key| LeaseEntry::parse(key)).collect();
    let running = record.tasks.iter().filter_map(|task| task.lease).all(|lease| {
        let held = &record.leases[&lease];
        let (minute, worker) = (held.expires_at.minute(), held.worker);
        entries.contains(&LeaseEntry { minute, record: record.id, lease, worker })
    });
    let dead = |entry: FailedEntry| failed_entry_state(&entry, record) == EntryState::Current;
    let failed = index.iter().filter_map(|key| FailedEntry::parse(key)).any(dead);
    ready && parked && running && (failed || !record.tasks.iter().any(Task::is_failed))
}

struct Queue {
    record: BatchRecord,
    index: BTreeSet<String>,
    ever_ready: BTreeSet<String>,
    now: Timestamp,
    number: u64,
}

impl Queue {
    fn new(delays: &[u64]) -> Self {
        let task = |(n, delay): (u16, &u64)| {
            let expires_at = (n == 2).then(|| at(60));
            Task { expires_at, ..Task::new(n, json("1"), START, (*delay > 0).then(|| at(*delay))) }
        };
        let record = created((0..).zip(delays).map(task).collect());
        let index = BTreeSet::from([record.ready_entry().unwrap().to_string()]);
        Self { record, ever_ready: index.clone(), index, now: START, number: 1 }
    }

    fn apply(&mut self, change: &Change, record: &mut BatchRecord) {
        let count = u16::try_from(record.tasks.len()).unwrap();
        let held =
            |record: &BatchRecord, n: u16| record.tasks[usize::from(n % count)].lease.unwrap_or_else(|| lease(0));
        let (now, random) = (self.now, 0.5);
        match *change {
            Change::Claim { room, seconds } => {
                self.number += 1;
                let holder = holder(self.number, now.after(std::time::Duration::from_secs(seconds)));
                record.claim(lease(self.number), holder, now, room);
            }
            Change::Settle { n, outcome } => {
                record.settle(id(record, n % count), held(record, n), &outcomes()[outcome], now, random);
            }
            Change::Extend { n, seconds } => {
                let until = now.after(std::time::Duration::from_secs(seconds));
                record.extend(id(record, n % count), held(record, n), until);
            }
            Change::Fall { n, expired } => {
                let why = if expired { Fall::Expired } else { Fall::WorkerLost };
                record.fall(held(record, n), why, now, random);
            }
            Change::Replay { n, priority } => {
                let changes = Changes { priority, ..Changes::default() };
                record.move_failed(Move::Replay(&changes), now, |task| task.n % 2 == n % 2);
            }
            Change::Wake { n } => {
                let _ = record.wake(id(record, n % count), now);
            }
            Change::Expire => {
                record.expire(now);
            }
            Change::Archive { n } => {
                let _ = record.move_task(n, Move::Archive, now);
            }
            Change::Purge { n } => {
                record.purge(now, |task| task.n % 2 == n % 2);
            }
            Change::Fence => {}
        }
    }

    fn commit(&mut self, change: &Change) -> Result<(), TestCaseError> {
        let old = self.record.clone();
        let mut new = old.clone();
        self.apply(change, &mut new);
        self.number += 1;
        let plan = step(&old, &mut new, self.now, self.number);
        for key in plan.ahead {
            prop_assert!(!plan.behind.contains(&key), "{} is written and deleted", key);
            if ReadyEntry::parse(&key).is_some() || FailedEntry::parse(&key).is_some() {
                prop_assert!(self.ever_ready.insert(key.clone()), "{} is used again", key);
            }
            self.index.insert(key);
            prop_assert!(leads(&self.index, &old, self.now), "ahead of the commit");
        }
        self.record = new;
        prop_assert!(leads(&self.index, &self.record, self.now), "after the commit");
        for key in &plan.behind {
            self.index.remove(key);
            prop_assert!(leads(&self.index, &self.record, self.now), "behind the commit");
        }
        self.check(&old, change)
    }

    fn check(&self, old: &BatchRecord, change: &Change) -> Result<(), TestCaseError> {
        let new = &self.record;
        prop_assert_eq!(new.check(), Ok(()));
        prop_assert_eq!(new.rev, old.rev + 1);
        prop_assert!(new.seq >= old.seq && new.seq <= old.seq + 1);
        prop_assert!(new.trail.len() <= limits::TRAIL);
        prop_assert_eq!(new.trail.first(), Some(&old.commit));
        for (before, after) in old.tasks.iter().zip(&new.tasks) {
            let legal = before.status == after.status || before.status.may_become(after.status);
            prop_assert!(legal, "{:?} -> {:?}", before.status, after.status);
            let replayed = (before.status, after.status) == (TaskStatus::Failed, TaskStatus::Pending);
            prop_assert!(after.attempt >= before.attempt);
            prop_assert!(after.retry_count >= before.retry_count || (replayed && after.retry_count == 0));
            prop_assert!(after.retry_count <= new.options.retry.max_retries);
            prop_assert_eq!(after.completed_at.is_some(), after.status.is_terminal());
            if before.status.is_terminal() && !change.moves_the_finished() {
                prop_assert_eq!(serde_json::to_string(before).unwrap(), serde_json::to_string(after).unwrap());
            }
        }
        for task in &new.tasks {
            let park = task.park.clone().unwrap_or_default();
            let waits = task.status == TaskStatus::Waiting;
            prop_assert!(waits || park.until.is_none(), "{:?}", task);
            prop_assert!(!(waits && (park.woken || park.heard)), "parked, and woken: {:?}", task);
            prop_assert!(!park.heard || task.status == TaskStatus::Running, "{:?}", task);
            prop_assert!(!(task.status.is_terminal() && park.woken), "{:?}", task);
        }
        let entries = new.leases.len()
            + usize::from(new.ready.is_some())
            + usize::from(new.parked.is_some())
            + usize::from(new.failed.is_some());
        prop_assert_eq!(self.index.len(), entries, "no entry is left over: {:?}", self.index);
        Ok(())
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_index_leads_to_every_unfinished_task(
        delays in prop::collection::vec(prop_oneof![Just(0), 1_u64..200], 1..7),
        changes in prop::collection::vec((change(), 0_u64..40_000), 1..120),
    ) {
        let mut queue = Queue::new(&delays);
        prop_assert!(leads(&queue.index, &queue.record, queue.now));
        for (change, pause) in changes {
            queue.now = queue.now.after(std::time::Duration::from_millis(pause));
            queue.commit(&change)?;
            let body = queue.record.encode().unwrap();
            let read = BatchRecord::decode(&buquet_core::keys::record(queue.record.id), &body).unwrap();
            prop_assert_eq!(text(&read), text(&queue.record));
        }
    }
}

#[test]
fn a_record_remembers_its_last_few_commits_and_no_more() {
    let mut record = submitted(1);
    let last = 2 * u64::try_from(limits::TRAIL).unwrap();
    for number in 2..=last {
        step(&record.clone(), &mut record, at(1), number);
    }
    let remembered: Vec<_> = (0..=last).filter(|number| record.has_commit(commit(*number))).collect();
    assert_eq!(remembered, (last / 2..=last).collect::<Vec<_>>());
    assert_eq!(record.trail.len(), limits::TRAIL);
}
