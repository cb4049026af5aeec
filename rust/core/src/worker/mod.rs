//! A worker: claims tasks, hands them out, stores their outcomes, and looks after what others left behind.

mod areas;
mod cancels;
mod candidates;
mod claim;
mod deferred;
mod ear;
mod find;
mod fire;
mod fleet;
mod heartbeat;
mod hold;
mod intake;
mod look;
mod moved;
mod parked;
mod progress;
mod rate;
mod registry;
mod roster;
mod runs;
mod settle;
mod shared;
mod stow;
mod sweep;
mod trouble;
mod wakes;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

pub use self::cancels::CalledOff;
pub use self::hold::{Assignment, RunName};
pub use self::registry::{Ended, Registration, Seen};
pub(crate) use self::runs::read_journal;
pub use self::runs::{Advanced, CodeName, Moment, Opening, Reporting, RunState};
pub use self::settle::{Settled, Verdict, WorkOutcome};
use self::shared::Shared;
pub use self::shared::{Lost, Phase, Problem};
pub use self::wakes::Woken;
use crate::error::{Error, Result};
use crate::id::{LeaseId, TaskId, WorkerId};
use crate::limits;
use crate::queue::{Queue, check_type};
use crate::record::{Json, Progress};
use crate::tasks::TaskOwner;
use crate::time::Timestamp;
use crate::workflow::driver::{Reported, Turn};
use crate::workflow::model::Op;

/// How long `stop` waits for claims and outcomes under way.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// What a worker is to be.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The task types it has handlers for.
    pub types: Vec<String>,
    /// How many tasks it runs at a time; told to those who list workers.
    pub concurrency: usize,
    /// How many tasks to fetch ahead of need; `None` for about a second's worth at the rate of the last second.
    pub prefetch: Option<usize>,
    /// The machine it runs on, for those who list workers.
    pub host: String,
    /// Its process.
    pub pid: u32,
}

impl Options {
    /// Refuses what cannot be; each heartbeat repeats all of it.
    fn check(&self) -> Result<()> {
        let (types, concurrency, host) = (self.types.len(), self.concurrency, self.host.chars().count());
        if types == 0 {
            return Err(Error::Invalid("the worker has no task types: name those it has handlers for".into()));
        }
        if types > limits::WORKER_TYPES {
            return Err(Error::Invalid(format!("{types} task types; give up to {}", limits::WORKER_TYPES)));
        }
        self.types.iter().try_for_each(|kind| check_type(kind))?;
        if concurrency == 0 || concurrency > limits::HELD_TASKS {
            return Err(Error::Invalid(format!("concurrency is {concurrency}; give 1 to {}", limits::HELD_TASKS)));
        }
        if host > limits::HOST_CHARS {
            return Err(Error::Invalid(format!("host has {host} characters; give up to {}", limits::HOST_CHARS)));
        }
        Ok(())
    }
}

/// What `next` found.
#[derive(Clone, Debug)]
pub struct Next {
    /// Tasks to run now.
    pub assignments: Vec<Assignment>,
    /// Tasks handed out earlier whose lease is gone: stop them, their outcome cannot be stored.
    pub lost: Vec<Lost>,
    /// Tasks handed out earlier that somebody wants called off: stop them, and settle them as cancelled.
    pub cancelled: Vec<CalledOff>,
    /// Tasks handed out earlier that were woken since: look again.
    pub woken: Vec<Woken>,
    /// Stored objects that could not be used and were set aside.
    pub problems: Vec<Problem>,
    /// Trouble with the store that the worker goes on trying to get over, for people to read.
    pub warnings: Vec<String>,
    /// Whether more may come.
    pub phase: Phase,
}

/// A running worker. Dropping it is like a crash: leases fall when its heartbeat is stale. [`Worker::stop`] ends it
/// well.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    tasks: TaskOwner,
    _queue: Queue,
}

impl Worker {
    /// Registers a worker and starts looking for work.
    ///
    /// # Errors
    /// [`Error::Invalid`] for bad options; the store's if it cannot be registered.
    pub async fn start(queue: &Queue, options: Options) -> Result<Self> {
        options.check()?;
        let tasks = TaskOwner::default();
        let shared = Arc::new(Shared::new(Arc::clone(queue.core()), options, tasks.spawner()));
        shared.beat().await?;
        let nearby: std::sync::Weak<Shared> = Arc::downgrade(&shared);
        queue.core().add_nearby(nearby);
        shared.keep("writing the heartbeat panicked and begins anew", Shared::keep_beating);
        shared.keep("looking for work panicked and begins anew", Shared::keep_finding);
        shared.keep("firing schedules panicked and begins anew", Shared::keep_firing);
        shared.keep("looking after lost workers panicked and begins anew", Shared::keep_sweeping);
        shared.keep("reading cancellations panicked and begins anew", Shared::keep_reading_notices);
        shared.keep("writing progress panicked and begins anew", Shared::keep_writing_progress);
        shared.keep("watching the store panicked and begins anew", Shared::keep_to_the_store);
        Ok(Self { shared, tasks, _queue: queue.clone() })
    }

    /// The worker's id.
    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.shared.id
    }

    /// Waits up to `wait` for work and returns up to `max` tasks, at once if there are any, or news of lost ones.
    ///
    /// # Errors
    /// [`Error::Closed`] once stopped.
    pub async fn next(&self, max: usize, wait: Duration) -> Result<Next> {
        let deadline = Instant::now() + wait.min(limits::LONGEST);
        let phase_before = self.shared.lock().phase;
        let _demand = self.shared.demand(max);
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let next = self.shared.take_next(max);
            let idle = next.assignments.is_empty()
                && next.lost.is_empty()
                && next.cancelled.is_empty()
                && next.woken.is_empty()
                && next.problems.is_empty()
                && next.warnings.is_empty();
            if !idle || next.phase != phase_before || next.phase == Phase::Stopped {
                return if next.phase == Phase::Stopped { Err(self.closed()) } else { Ok(next) };
            }
            if timeout_at(deadline, changed).await.is_err() {
                return Ok(self.shared.take_next(max));
            }
        }
    }

    /// Stores outcomes; answers in their order, once each is durable or decided.
    pub async fn settle(&self, outcomes: Vec<WorkOutcome>) -> Vec<Settled> {
        Shared::settle(&self.shared, outcomes).await
    }

    /// Gives a task at least `by` from now until its lease falls.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if it is not held any more; the store's.
    pub async fn extend(&self, id: TaskId, lease: LeaseId, by: Duration) -> Result<Timestamp> {
        if by > limits::LONGEST {
            return Err(Error::Invalid(format!("the extension is {} s; give up to 366 days", by.as_secs())));
        }
        Shared::extend(&self.shared, id, lease, by).await
    }

    /// Clears the bit that says that a running task was woken, to be done before its attempt looks for what it was woken for;
    /// whether it was set.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if it is not held any more; the store's.
    pub async fn hear(&self, id: TaskId, lease: LeaseId) -> Result<bool> {
        Shared::hear(&self.shared, id, lease).await
    }

    /// Has the record of a running task read regularly, because its attempt waits to be woken, or no longer.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if it is not held any more.
    pub fn listen(&self, id: TaskId, lease: LeaseId, listens: bool) -> Result<()> {
        self.shared.listen(id, lease, listens)
    }

    /// Takes over a run that was handed out.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if it is not held any more; [`Error::Invalid`] if the task drives no run; [`Error::Corrupt`] if its
    /// journal cannot be read; the store's.
    pub async fn open_run(&self, id: TaskId, lease: LeaseId, code: CodeName) -> Result<Opening> {
        Shared::open_run(&self.shared, id, lease, code).await
    }

    /// What a front needs for the execution that follows one that went on as new.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if it is not held any more; [`Error::Conflict`] if it was not opened.
    pub fn reopen_run(&self, id: TaskId, lease: LeaseId) -> Result<Opening> {
        self.shared.reopen_run(id, lease)
    }

    /// Takes in that an attempt of a step has ended: which step, and which of its starts.
    ///
    /// # Errors
    /// As for [`Self::advance_run`].
    pub async fn report_step(
        &self,
        id: TaskId,
        lease: LeaseId,
        start: (Op, u32),
        reporting: Reporting,
    ) -> Result<Reported> {
        Shared::report_step(&self.shared, id, lease, start, reporting).await
    }

    /// What comes next for a run that was opened.
    ///
    /// # Errors
    /// As for [`Self::advance_run`].
    pub async fn next_of_run(&self, id: TaskId, lease: LeaseId) -> Result<Moment> {
        Shared::next_of_run(&self.shared, id, lease).await
    }

    /// Stores what the body of a run did. Only what the answer names may be started.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if it is not held any more: stop everything and drop it; [`Error::Invalid`] if that is no legal
    /// continuation: nothing has changed.
    pub async fn advance_run(&self, id: TaskId, lease: LeaseId, turn: Turn) -> Result<Advanced> {
        Shared::advance_run(&self.shared, id, lease, turn).await
    }

    /// Pauses a run whose code asks for something else than its journal has.
    ///
    /// # Errors
    /// As for [`Self::advance_run`].
    pub async fn mismatched_run(&self, id: TaskId, lease: LeaseId, mismatch: Json) -> Result<Advanced> {
        Shared::mismatched_run(&self.shared, id, lease, mismatch).await
    }

    /// Gives a run back for any worker to take, once its steps are stopped.
    ///
    /// # Errors
    /// As for [`Self::advance_run`].
    pub async fn release_run(&self, id: TaskId, lease: LeaseId) -> Result<()> {
        Shared::release_run(&self.shared, id, lease).await
    }

    /// Notes how far a task has come, 0.0 to 1.0. Written now and then, only the latest: cheap to call often.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if it is not held any more; [`Error::Invalid`] if it is no part of the whole, or the message
    /// is too long.
    pub fn progress(&self, id: TaskId, lease: LeaseId, value: f64, message: Option<String>) -> Result<()> {
        self.shared.report_progress(id, lease, Progress::new(value, message, self.shared.now())?)
    }

    /// Notes how many of its places are taken for good, for those who list workers.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it has no so many places.
    pub fn note_stuck(&self, places: usize) -> Result<()> {
        let concurrency = self.shared.options.concurrency;
        if places > concurrency {
            return Err(Error::Invalid(format!("{places} places are stuck, and the worker has {concurrency}")));
        }
        self.shared.note_stuck(places);
        Ok(())
    }

    /// Stops claiming and gives back what was fetched ahead and not handed out. What runs may still be settled.
    pub async fn drain(&self) {
        self.shared.set_phase(Phase::Draining);
        self.await_until(|| !self.shared.is_claiming()).await;
        let waiting = self.shared.take_fetched(Duration::ZERO);
        self.release(waiting).await;
    }

    /// Gives back everything still held, deregisters, and ends the worker. Returns how many tasks were given back.
    pub async fn stop(&self) -> usize {
        self.shared.set_phase(Phase::Stopped);
        self.await_until(|| !self.shared.is_claiming()).await;
        self.shared.take_fetched(Duration::ZERO);
        let held = self.shared.all_held();
        // Leases that cannot be given back in time run out by themselves.
        let released = timeout(STOP_PATIENCE, self.release(held)).await.unwrap_or(0);
        self.await_until(|| !self.shared.is_settling()).await;
        self.shared.deregister().await;
        self.tasks.abort_all();
        self.shared.let_go();
        released
    }

    async fn release(&self, held: Vec<(TaskId, LeaseId)>) -> usize {
        let releases = held.into_iter().map(WorkOutcome::release).collect();
        let settled = Shared::settle(&self.shared, releases).await;
        settled.iter().filter(|settled| matches!(settled.verdict, Verdict::Committed { .. })).count()
    }

    /// Waits until what `done` asks for is so, within reason.
    async fn await_until(&self, done: impl Fn() -> bool + Send + Sync) {
        let deadline = Instant::now() + STOP_PATIENCE;
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if done() || timeout_at(deadline, changed).await.is_err() {
                return;
            }
        }
    }

    fn closed(&self) -> Error {
        Error::Closed(format!("worker {} was stopped", self.id()))
    }
}
