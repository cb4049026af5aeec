//! A model of several processes that change one record through the index-ahead rule: each request of each process is
//! one step, any step may be a process's last, deletes arrive late, and readers clean up meanwhile. After every
//! step some entry must lead to every unfinished task, and to every failed one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use buquet_core::entropy::Entropy;
use buquet_core::id::{LeaseId, TaskId};
use buquet_core::keys::{FailedEntry, LeaseEntry, ReadyEntry};
use buquet_core::record::{
    BatchRecord, Changes, EntryState, Fall, IndexPlan, Move, Outcome, Settlement, Task, TaskStatus, failed_entry_state,
    lease_entry_state, ready_entry_state,
};
use buquet_core::time::Timestamp;

use super::sequences::leads;
use super::story::*;

/// S3 tells times in whole seconds.
const RESOLUTION_MS: i64 = 1_000;
const MARGIN: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
enum Change {
    Claim(LeaseId, usize),
    Settle(TaskId, LeaseId, Outcome),
    Extend(TaskId, LeaseId, Duration),
    Fall(LeaseId, Fall),
    Wake(TaskId),
    Replay,
    Archive(u16),
    Fence,
    PassOver(u64),
}

impl Change {
    /// Only a claim gives up when somebody else commits first.
    const fn is_rebased(&self) -> bool {
        !matches!(self, Self::Claim(..) | Self::PassOver(_))
    }

    /// Applies the change; `false` where there is nothing to change.
    fn apply(&self, record: &mut BatchRecord, now: Timestamp) -> bool {
        match self {
            Self::Claim(lease, room) => {
                !record.claim(*lease, holder(1, now.after(Duration::from_secs(90))), now, *room).is_empty()
            }
            Self::Settle(id, lease, outcome) => record.settle(*id, *lease, outcome, now, 0.5) != Settlement::LeaseLost,
            Self::Extend(id, lease, by) => record.extend(*id, *lease, now.after(*by)).is_some(),
            Self::Fall(lease, why) => {
                let held = record.leases.contains_key(lease);
                record.fall(*lease, *why, now, 0.5);
                held
            }
            Self::Replay => record.move_failed(Move::Replay(&Changes::default()), now, |_| true) > 0,
            Self::Wake(id) => record.wake(*id, now).is_change(),
            Self::Archive(n) => record.move_task(*n, Move::Archive, now).is_ok(),
            Self::Fence => true,
            Self::PassOver(seq) => record.pass_over(*seq).is_some(),
        }
    }
}

/// A process on its way to a commit: first the entries ahead, one by one, then the conditional write.
struct Committer {
    change: Change,
    base: BatchRecord,
    next: BatchRecord,
    plan: IndexPlan,
    written: usize,
}

struct World {
    entropy: Entropy,
    record: BatchRecord,
    record_written: Timestamp,
    index: BTreeMap<String, Timestamp>,
    now: Timestamp,
    number: u64,
    committers: Vec<Committer>,
    /// Deletes that somebody decided on and that have not arrived.
    deletes: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let tasks = (0..4).map(|n| Task::new(n, json("1"), START, (n == 3).then(|| at(30)))).collect();
        let record = created(tasks);
        let index = BTreeMap::from([(record.ready_entry().unwrap().to_string(), START)]);
        let entropy = Entropy::seeded(seed);
        let (committers, deletes) = (Vec::new(), Vec::new());
        Self { entropy, record, record_written: START, index, now: START, number: 1, committers, deletes }
    }

    fn below(&self, bound: usize) -> usize {
        usize::try_from(self.entropy.below(u64::try_from(bound).unwrap())).unwrap()
    }

    fn server_time(&self) -> Timestamp {
        Timestamp(self.now.0 - self.now.0 % RESOLUTION_MS)
    }

    fn fresh(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn some_change(&mut self) -> Change {
        let task = &self.record.tasks[self.below(self.record.tasks.len())];
        let (id, held) = (self.record.id.task(task.n), task.lease);
        if task.is_failed() {
            return if self.below(4) > 0 { Change::Replay } else { Change::Archive(task.n) };
        }
        match (self.below(10), held) {
            (0, _) => Change::Fence,
            (1, Some(lease)) => Change::Fall(lease, Fall::WorkerLost),
            (2, Some(lease)) => Change::Fall(lease, Fall::Expired),
            (3..6, Some(lease)) => Change::Extend(id, lease, Duration::from_secs(60 * (1 + self.entropy.below(4)))),
            (_, Some(lease)) => {
                // Mostly something that keeps the task going.
                let until = (self.below(2) == 0).then(|| self.now.after(Duration::from_secs(30)));
                let park = || Outcome::Park { until };
                let outcomes =
                    [Outcome::Release, fail(true, None), park(), Outcome::Reschedule { at: self.now }, complete()];
                Change::Settle(id, lease, outcomes[self.below(16) % 5].clone())
            }
            (2..5, None) => Change::Wake(id),
            _ => Change::Claim(lease(self.fresh()), 1 + self.below(3)),
        }
    }

    fn prepare(&mut self, change: Change) {
        let base = self.record.clone();
        let mut next = base.clone();
        if change.apply(&mut next, self.now) {
            let number = self.fresh();
            let plan = step(&base, &mut next, self.now, number);
            self.committers.push(Committer { change, base, next, plan, written: 0 });
        }
    }

    fn advance(&mut self, which: usize) {
        let written = self.server_time();
        let committer = &mut self.committers[which];
        if let Some(key) = committer.plan.ahead.get(committer.written) {
            committer.written += 1;
            self.index.insert(key.clone(), written);
            return;
        }
        let Committer { change, base, next, plan, .. } = self.committers.swap_remove(which);
        if base.commit == self.record.commit {
            (self.record, self.record_written) = (next, written);
            self.deletes.extend(plan.behind);
        } else if change.is_rebased() {
            let stale = |key: &String| numbered_state(key, &self.record) == Some(EntryState::Stale);
            self.deletes.extend(plan.ahead.into_iter().filter(stale));
            self.prepare(change);
        } else {
            self.deletes.extend(plan.ahead.into_iter().filter(|key| LeaseEntry::parse(key).is_some()));
        }
    }

    fn state(&self, key: &str) -> EntryState {
        numbered_state(key, &self.record).unwrap_or_else(|| {
            let entry = LeaseEntry::parse(key).unwrap();
            lease_entry_state(&entry, self.index[key], &self.record, self.record_written, MARGIN)
        })
    }

    fn act(&mut self) {
        match self.below(20) {
            0..4 if self.committers.len() < 4 => {
                let change = self.some_change();
                self.prepare(change);
            }
            4..11 if !self.committers.is_empty() => self.advance(self.below(self.committers.len())),
            11 if !self.committers.is_empty() => {
                // It crashes.
                self.committers.swap_remove(self.below(self.committers.len()));
            }
            12..14 if !self.deletes.is_empty() => {
                let key = self.deletes.swap_remove(self.below(self.deletes.len()));
                self.index.remove(&key);
            }
            14 if !self.deletes.is_empty() => {
                self.deletes.swap_remove(self.below(self.deletes.len()));
            }
            15..18 if !self.index.is_empty() => {
                let key = self.index.keys().nth(self.below(self.index.len())).unwrap().clone();
                if self.state(&key) == EntryState::Stale {
                    self.deletes.push(key);
                }
            }
            18 => self.now = self.now.after(Duration::from_secs(self.entropy.below(20))),
            _ => self.now = self.now.after(Duration::from_millis(self.entropy.below(1_500))),
        }
    }

    fn leads(&self) -> bool {
        leads(&self.index.keys().cloned().collect::<BTreeSet<_>>(), &self.record, self.now)
    }
}

/// What an entry is that is judged by its number alone.
fn numbered_state(key: &str, record: &BatchRecord) -> Option<EntryState> {
    let failed = || FailedEntry::parse(key).map(|entry| failed_entry_state(&entry, record));
    ReadyEntry::parse(key).map(|entry| ready_entry_state(&entry, record)).or_else(failed)
}

#[test]
fn whoever_crashes_wherever_some_entry_leads_to_every_task_that_is_not_done() {
    for seed in 0..1_500 {
        let mut world = World::new(seed);
        for number in 0..400 {
            world.act();
            assert!(world.leads(), "seed {seed}, step {number}: {:#?}\n{}", world.index, text(&world.record));
        }
    }
}

#[test]
fn what_crashes_leave_behind_is_stale_once_the_record_is_finished_and_fenced() {
    for seed in 0..300 {
        let mut world = World::new(seed);
        (0..200).for_each(|_| world.act());
        world.committers.clear();
        world.deletes.clear();
        while !world.record.is_finished() {
            world.now = world.now.after(Duration::from_secs(700));
            let running = world.record.tasks.iter().find(|task| task.status == TaskStatus::Running);
            let waiting = world.record.tasks.iter().find(|task| task.status == TaskStatus::Waiting);
            let change = match (running, waiting) {
                (None, Some(task)) => Change::Wake(world.record.id.task(task.n)),
                (Some(task), _) => Change::Settle(world.record.id.task(task.n), task.lease.unwrap(), complete()),
                (None, None) => Change::Claim(lease(world.fresh()), 9),
            };
            world.prepare(change);
            while !world.committers.is_empty() {
                world.advance(0);
            }
        }
        world.now = world.now.after(MARGIN * 2);
        world.prepare(Change::Fence);
        world.advance(0);
        // A replay may have been on its way: whoever meets its entry passes its number over.
        let ahead = |key: &String| ReadyEntry::parse(key).filter(|_| world.state(key) == EntryState::Ahead);
        if let Some(entry) = world.index.keys().find_map(ahead) {
            world.prepare(Change::PassOver(entry.seq));
            world.advance(0);
        }
        let leads_on = world.record.failed_entry().map(|entry| entry.to_string());
        for key in world.index.keys().filter(|key| Some(*key) != leads_on.as_ref()) {
            assert_eq!(world.state(key), EntryState::Stale, "seed {seed}: {key}");
        }
    }
}
