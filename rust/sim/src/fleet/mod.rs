//! Lets a scenario happen: processes that live, stall, die and come back.

#![expect(clippy::future_not_send, reason = "a fleet lives on one thread, or it could not be reproduced")]

mod canceller;
mod handler;
mod operator;
mod planner;
mod producer;
mod waker;
mod worker;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use buquet_core::Error;
use buquet_core::broken::Variant;
use buquet_core::entropy::Entropy;
use buquet_core::queue::{Queue, Settings};
use buquet_core::record::TaskStatus;
use buquet_core::store::faulty::{FaultyStore, Network};
use buquet_core::store::memory::MemoryStore;
use buquet_core::store::{Store, StoreKind};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

pub use self::planner::run_planner;
pub use self::waker::run_last_waker;
use crate::journal::Journal;
use crate::scenario::{Burst, End, Life, ProcessPlan, WorkerPlan};
use crate::trace::Trace;

/// Which protocol the fleet runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// One for all processes.
    Uniform(Variant),
    /// The one that trusts local clocks; each process has its own.
    LocalClock,
}

/// What all processes of a run share.
#[derive(Debug)]
pub struct World {
    /// The seed of the run.
    pub seed: u64,
    /// The true store, for looking and for its clock.
    pub store: Arc<MemoryStore>,
    /// The way to it.
    pub network: Arc<Network>,
    /// The log.
    pub trace: Arc<Trace>,
    /// What processes were told.
    pub journal: RefCell<Journal>,
    /// Producers that are not done.
    pub producing: Cell<usize>,
    /// Until when some process is stalled, with requests that leave only then.
    pub stalled_until: Cell<Instant>,
    /// Set when the run ends and everybody goes home.
    pub end: Signal,
    /// Which protocol they run.
    pub protocol: Protocol,
}

/// Something that happens once.
#[derive(Debug, Default)]
pub struct Signal {
    set: Cell<bool>,
    changed: Notify,
}

impl Signal {
    /// Lets it happen.
    pub fn set(&self) {
        self.set.set(true);
        self.changed.notify_waiters();
    }

    /// Waits until it has happened.
    pub async fn wait(&self) {
        let changed = self.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if !self.set.get() {
            changed.await;
        }
    }
}

/// One life of a process: its store, its queue, its name.
pub(crate) struct Living {
    world: Rc<World>,
    name: String,
    store: Arc<FaultyStore>,
    queue: Queue,
}

impl World {
    fn entropy(&self, name: &str) -> Entropy {
        let mut hasher = DefaultHasher::new();
        (self.seed, name, "entropy").hash(&mut hasher);
        Entropy::seeded(hasher.finish())
    }

    const fn settings(&self, clock_error_ms: i64) -> Settings {
        let mut settings = Settings::for_store(StoreKind::S3);
        settings.variant = match self.protocol {
            Protocol::Uniform(variant) => variant,
            Protocol::LocalClock => Variant::LocalClockExpiry(clock_error_ms),
        };
        settings
    }

    pub(crate) fn complain(&self, process: &str, what: &str) {
        self.trace.event(process, "complaint", what);
        self.journal.borrow_mut().complaints.push(format!("{process}: {what}"));
    }
}

/// Runs a process through all its lives.
pub async fn run_process(world: Rc<World>, plan: ProcessPlan) {
    sleep(plan.starts_after).await;
    let bursts = Todo::new(&world, &plan.bursts);
    // Even in peace a task may take its process with it.
    let peace = Life { stalls: Vec::new(), end: End::Peace, restart_after: Some(Duration::from_secs(10)) };
    for n in 0.. {
        let life = plan.lives.get(n).unwrap_or(&peace);
        let name = format!("{}.{n}", plan.name);
        let restarts = live_once(&world, &plan, life, name, &bursts).await;
        // What was not submitted yet is not lost with the process: the next life goes on.
        let restart = life.restart_after.or_else(|| bursts.any().then_some(Duration::from_secs(30)));
        match restart {
            Some(pause) if restarts => sleep(pause).await,
            _ => break,
        }
    }
    bursts.done();
}

/// What a process has yet to submit, over all its lives.
struct Todo {
    world: Rc<World>,
    bursts: RefCell<VecDeque<Burst>>,
    done: Cell<bool>,
}

impl Todo {
    fn new(world: &Rc<World>, bursts: &[Burst]) -> Self {
        world.producing.set(world.producing.get() + 1);
        let bursts = VecDeque::from(bursts.to_vec()).into();
        Self { world: Rc::clone(world), bursts, done: Cell::new(false) }
    }

    fn any(&self) -> bool {
        !self.bursts.borrow().is_empty()
    }

    fn next(&self) -> Option<Burst> {
        self.bursts.borrow_mut().pop_front()
    }

    fn done(&self) {
        if !self.done.replace(true) {
            self.world.producing.set(self.world.producing.get() - 1);
        }
    }
}

/// Lets one life pass; says whether it ended before the run did.
async fn live_once(world: &Rc<World>, plan: &ProcessPlan, life: &Life, name: String, bursts: &Todo) -> bool {
    let store = world.network.connect(&name);
    world.trace.event(&name, "start", "");
    if let End::Crash(after, point) = life.end {
        store.crash_at(after, point);
    }
    let stalls = async {
        for (after, duration) in &life.stalls {
            sleep(*after).await;
            world.trace.event(&name, "stall", &format!("{} ms", duration.as_millis()));
            store.stall(*duration);
            world.stalled_until.set(world.stalled_until.get().max(Instant::now() + *duration));
        }
        std::future::pending::<()>().await;
    };
    let kill = async {
        if let End::Kill(after) = life.end {
            sleep(after).await;
            store.crash();
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        () = kill => true,
        () = store.crashed() => {
            world.trace.event(&name, "crash", "");
            true
        }
        () = stalls => true,
        ended = live(world, plan, life, &name, &store, bursts) => ended,
    }
}

async fn live(
    world: &Rc<World>,
    plan: &ProcessPlan,
    life: &Life,
    name: &str,
    store: &Arc<FaultyStore>,
    bursts: &Todo,
) -> bool {
    let Some(queue) = open(world, name, store, plan.clock_error_ms).await else { return false };
    let living = Living { world: Rc::clone(world), name: name.to_owned(), store: Arc::clone(store), queue };
    let leave = async {
        match life.end {
            End::Leave(after) => sleep(after).await,
            _ => std::future::pending().await,
        }
    };
    let work = async {
        match &plan.worker {
            Some(worker) => living.work(worker, leave).await,
            None => false,
        }
    };
    let produce = async {
        while let Some(burst) = bursts.next() {
            living.produce(burst).await;
        }
        bursts.done();
        living.queue.flush().await;
    };
    let (left, ()) = tokio::join!(work, produce);
    world.trace.event(name, "exit", "");
    left
}

async fn open(world: &Rc<World>, name: &str, store: &Arc<FaultyStore>, clock_error_ms: i64) -> Option<Queue> {
    let entropy = world.entropy(name);
    loop {
        let store: Arc<dyn Store> = Arc::<FaultyStore>::clone(store);
        match Queue::open(store, entropy.clone(), world.settings(clock_error_ms)).await {
            Ok(queue) => return Some(queue),
            Err(Error::Unavailable(_)) => sleep(Duration::from_secs(1)).await,
            Err(error) => {
                world.complain(name, &format!("a sound store was refused: {error}"));
                return None;
            }
        }
    }
}

/// Looks through the index of failed tasks once everything is at rest; what is stale in it goes.
pub async fn audit(world: &Rc<World>) {
    let name = "audit";
    let store = world.network.connect(name);
    let Some(queue) = open(world, name, &store, 0).await else { return };
    let living = Living { world: Rc::clone(world), name: name.to_owned(), store, queue };
    if let Err(error) = living.repair().await {
        world.complain(name, &format!("the index of parked work could not be looked through: {error}"));
    }
    if let Err(error) = living.audit().await {
        world.complain(name, &format!("the failed tasks could not be listed: {error}"));
    }
}

/// A worker that knows all types and lives in peace: whoever is dead by then, it finishes the run.
#[must_use]
pub fn rescuer(types: Vec<String>) -> ProcessPlan {
    ProcessPlan {
        name: "rescue".into(),
        starts_after: Duration::ZERO,
        bursts: Vec::new(),
        worker: Some(WorkerPlan { types, concurrency: 20, prefetch: None }),
        lives: Vec::new(),
        clock_error_ms: 0,
    }
}

/// A status as it is stored.
fn name_of(status: TaskStatus) -> String {
    serde_json::to_string(&status).unwrap_or_default().replace('"', "")
}
