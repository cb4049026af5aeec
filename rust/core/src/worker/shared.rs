//! What a worker's parts share.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::cancels::CalledOff;
use super::candidates::{Candidates, Source};
use super::deferred::{Deferred, Greed};
use super::fire::Notice;
use super::fleet::Fleet;
use super::heartbeat::Shown;
use super::hold::Hold;
use super::progress::Reports;
use super::rate::Rate;
use super::registry::Ended;
use super::runs::Driving;
use super::trouble::Told;
use super::wakes::Woken;
use super::{Next, Options};
use crate::bucket::Lane;
use crate::entropy::Entropy;
use crate::error::Error;
use crate::id::{LeaseId, TaskId, WorkerId};
use crate::keys::{self, ReadyEntry};
use crate::limits;
use crate::queue::{Core, Settings};
use crate::record::BatchRecord;
use crate::tasks::Spawner;
use crate::time::Timestamp;
use crate::transact::Desk;

/// How far a worker's life has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It claims tasks.
    #[default]
    Running,
    /// It finishes what it holds.
    Draining,
    /// It is over.
    Stopped,
}

/// A task whose lease is gone.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Lost {
    /// The task.
    pub id: TaskId,
    /// The lease it was handed out under.
    pub lease: LeaseId,
    /// What happened.
    pub reason: String,
}

/// A stored object that could not be used.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Problem {
    /// Its key.
    pub key: String,
    /// What is wrong with it and what was done.
    pub message: String,
}

/// A heartbeat that was written.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    /// When it was sent, by the local clock, which stands still while the machine is suspended.
    pub sent: Instant,
    /// When it was written, by the server's.
    pub at: Timestamp,
}

impl Beat {
    /// How old it is, by the clock that says more. The server's may be wrong by `margin`.
    pub fn age(&self, server_now: Timestamp, margin: Duration) -> Duration {
        self.sent.elapsed().max(server_now.since(self.at).saturating_sub(margin))
    }
}

/// News kept for `next` at most.
pub const MOST_NEWS: usize = 10_000;

#[derive(Debug, Default)]
pub struct Inner {
    pub phase: Phase,
    pub hold: Hold,
    pub candidates: Candidates,
    /// Entries that are for others to claim first.
    pub deferred: Deferred,
    /// How far this worker reaches for what the bell told of.
    pub greed_for_told: Greed,
    /// How far it reaches for what it has listed.
    pub greed_for_listed: Greed,
    /// Of the last 16 claims, those that somebody else was first at, as bits.
    pub beaten: u16,
    /// Workers that left what was theirs, to be asked at the next count whether they take tasks.
    pub leavers: BTreeSet<WorkerId>,
    /// The workers are to be counted again soon.
    pub recount: bool,
    /// When they were counted last.
    pub counted: Option<Instant>,
    /// Tasks that claims under way may bring.
    pub reserved: usize,
    pub claims: usize,
    /// Free capacity of those who wait for work.
    pub demand: usize,
    pub rate: Rate,
    pub lost: Vec<Lost>,
    pub cancelled: Vec<CalledOff>,
    /// Tasks that were woken while they run.
    pub woken: Vec<Woken>,
    /// Tasks called off before they were handed out, to be ended.
    pub called_off: Vec<(TaskId, LeaseId)>,
    /// The runs that are driven here.
    pub drivers: BTreeMap<TaskId, Arc<Driving>>,
    /// What was reported and is not written yet.
    pub progress: Reports,
    pub problems: Vec<Problem>,
    pub warnings: Vec<String>,
    /// What became of the tasks so far.
    pub ended: Ended,
    /// What the front was told of trouble so far.
    pub told: Told,
    pub last_beat: Option<Beat>,
    /// What the latest heartbeat says.
    pub shown: Shown,
    /// Places taken for good.
    pub stuck: usize,
    /// Something was claimed since the last sweep.
    pub claimed: bool,
    /// When the first and the last claim came to an end that may have left a lease that nobody knows of.
    pub doubted: Option<(Instant, Instant)>,
    /// Something fetched ahead was not wanted in time: fetch nothing ahead until something is handed out again.
    pub overfetched: bool,
}

#[derive(Debug)]
pub struct Shared {
    pub core: Arc<Core>,
    /// For this worker's own requests.
    desk: Desk,
    pub id: WorkerId,
    pub options: Options,
    pub started_at: Timestamp,
    pub spawner: Spawner,
    type_hashes: Arc<BTreeSet<u32>>,
    inner: Mutex<Inner>,
    /// Who else works here, as far as is known.
    fleet: Mutex<Arc<Fleet>>,
    /// Wakes the finder.
    pub wake: Notify,
    /// Wakes those who wait for work or for claims to end.
    pub changed: Notify,
    /// Wakes the heartbeat.
    pub pulse: Notify,
    /// Tells of schedules and wakes who fires them.
    pub schedules: Notice,
}

impl Inner {
    /// The greed for entries that are known from there.
    pub const fn greed_for(&mut self, source: Source) -> &mut Greed {
        match source {
            Source::Told | Source::Nearby => &mut self.greed_for_told,
            Source::Listed(_) => &mut self.greed_for_listed,
        }
    }
}

/// The capacity of one waiting `next`, withdrawn when it ends.
pub struct Demand<'a> {
    shared: &'a Shared,
    max: usize,
}

impl Drop for Demand<'_> {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        inner.demand = inner.demand.saturating_sub(self.max);
    }
}

impl Shared {
    pub fn new(core: Arc<Core>, options: Options, spawner: Spawner) -> Self {
        let id = WorkerId::random(core.desk.bucket.entropy());
        let type_hashes: Arc<BTreeSet<u32>> =
            Arc::new(options.types.iter().map(|kind| keys::type_hash(kind)).collect());
        Self {
            id,
            started_at: core.desk.bucket.now(),
            desk: core.desk.on(Lane::Work),
            fleet: Mutex::new(Arc::new(Fleet::alone(id, Arc::clone(&type_hashes)))),
            type_hashes,
            core,
            options,
            spawner,
            inner: Mutex::default(),
            wake: Notify::new(),
            changed: Notify::new(),
            pulse: Notify::new(),
            schedules: Notice::default(),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub const fn desk(&self) -> &Desk {
        &self.desk
    }

    pub fn settings(&self) -> &Settings {
        &self.core.settings
    }

    pub fn now(&self) -> Timestamp {
        self.core.desk.bucket.now()
    }

    pub fn entropy(&self) -> &Entropy {
        self.core.desk.bucket.entropy()
    }

    /// The workers as they were counted last.
    pub fn fleet(&self) -> Arc<Fleet> {
        Arc::clone(&self.fleet.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn set_fleet(&self, fleet: Fleet) {
        *self.fleet.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(fleet);
    }

    /// Whether an entry may concern this worker's types.
    pub fn knows(&self, entry: &ReadyEntry) -> bool {
        self.concerns(entry.type_hash)
    }

    /// Whether types with this hash may be this worker's.
    pub fn concerns(&self, type_hash: u32) -> bool {
        self.type_hashes.contains(&type_hash)
    }

    /// A lease of this worker may lie in the store without its knowing.
    pub fn doubt_leases(&self) {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.doubted = Some((inner.doubted.map_or(now, |(first, _)| first), now));
    }

    pub fn set_phase(&self, phase: Phase) {
        {
            let mut inner = self.lock();
            inner.phase = inner.phase.max(phase);
        }
        self.changed.notify_waiters();
        self.wake.notify_one();
        self.pulse.notify_one();
    }

    pub fn note_stuck(&self, places: usize) {
        self.lock().stuck = places;
        self.pulse.notify_one();
    }

    pub fn demand(&self, max: usize) -> Demand<'_> {
        let max = max.min(limits::HELD_TASKS);
        let mut inner = self.lock();
        inner.demand = inner.demand.saturating_add(max);
        drop(inner);
        self.wake.notify_one();
        Demand { shared: self, max }
    }

    pub fn take_next(&self, max: usize) -> Next {
        let mut inner = self.lock();
        let count = if inner.phase == Phase::Running { max.min(inner.hold.fetched.len()) } else { 0 };
        let assignments = inner.hold.take_fetched(count);
        inner.overfetched &= assignments.is_empty();
        let next = Next {
            assignments,
            lost: std::mem::take(&mut inner.lost),
            cancelled: std::mem::take(&mut inner.cancelled),
            woken: std::mem::take(&mut inner.woken),
            // A front that has no room may give the call up as soon as it has: what only a log is for is not risked then.
            problems: if max == 0 { Vec::new() } else { std::mem::take(&mut inner.problems) },
            warnings: if max == 0 { Vec::new() } else { std::mem::take(&mut inner.warnings) },
            phase: inner.phase,
        };
        drop(inner);
        if !next.assignments.is_empty() {
            self.wake.notify_one();
        }
        next
    }

    /// Takes back what was fetched at least `age` ago and not handed out.
    pub fn take_fetched(&self, age: Duration) -> Vec<(TaskId, LeaseId)> {
        let now = Instant::now();
        let mut inner = self.lock();
        let old = |(fetched, _): &(Instant, _)| now.saturating_duration_since(*fetched) >= age;
        let count = inner.hold.fetched.iter().take_while(|fetched| old(fetched)).count();
        inner.hold.take_fetched(count).into_iter().map(|task| (task.id, task.lease)).collect()
    }

    pub fn all_held(&self) -> Vec<(TaskId, LeaseId)> {
        let inner = self.lock();
        inner.hold.tasks.iter().filter(|(_, held)| !held.settling).map(|(id, held)| (*id, held.lease)).collect()
    }

    pub fn is_claiming(&self) -> bool {
        self.lock().claims > 0
    }

    /// Forgets everything held; outcomes that are still on their way are answered as lost.
    pub fn let_go(&self) {
        self.lock().drivers.clear();
        let hold = std::mem::take(&mut self.lock().hold);
        for slot in hold.slots.values() {
            slot.outbox.lock().unwrap_or_else(PoisonError::into_inner).waiting.clear();
        }
    }

    pub fn is_settling(&self) -> bool {
        self.lock().hold.tasks.values().any(|held| held.settling)
    }

    pub fn report(&self, key: &str, message: String) {
        tracing::error!(key, message, "set aside");
        let mut inner = self.lock();
        if inner.problems.len() < MOST_NEWS {
            inner.problems.push(Problem { key: key.to_owned(), message });
        }
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Keeps one of the worker's loops going; the front is told with these words of a panic in it.
    pub fn keep<F>(self: &Arc<Self>, what: &'static str, begin: fn(Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (worker, told) = (Arc::clone(self), Arc::clone(self));
        let alarm = move |panic: &str| told.warn(what, &Error::Internal(format!("{panic}; please report it")));
        self.spawner.keep(move || begin(Arc::clone(&worker)), alarm);
    }

    /// Notices what a revision of a record says about the tasks held here.
    pub fn notice_changes(&self, record: &BatchRecord) {
        self.notice_losses(record);
        self.notice_cancels(record);
        self.notice_wakes(record);
    }

    /// Notices which held tasks a record no longer grants to this worker.
    fn notice_losses(&self, record: &BatchRecord) {
        let mut inner = self.lock();
        let gone: Vec<(TaskId, LeaseId)> = inner
            .hold
            .of_record(record.id)
            .filter(|(id, held)| {
                let gone = record.task(**id).is_none_or(|task| task.lease != Some(held.lease));
                gone && !held.settling && record.rev >= held.since
            })
            .map(|(id, held)| (*id, held.lease))
            .collect();
        for (id, lease) in &gone {
            inner.hold.unfetch(*id);
            inner.hold.tasks.remove(id);
            inner.drivers.remove(id);
            if inner.lost.len() < MOST_NEWS {
                let reason = "the lease is gone: its time was up, or this worker was taken for dead".to_owned();
                inner.lost.push(Lost { id: *id, lease: *lease, reason });
            }
        }
        if !gone.is_empty() {
            inner.hold.tidy(record.id);
        }
        drop(inner);
        if !gone.is_empty() {
            self.changed.notify_waiters();
        }
    }
}
