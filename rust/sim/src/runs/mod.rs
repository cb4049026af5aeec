//! Runs of workflows under faults: scripted bodies, several workers that may all think they own a run, signals and wishes at every
//! moment, crashes and stalls; then a prune that is cut off too.

#![expect(clippy::future_not_send, reason = "a run lives on one thread, or it could not be reproduced")]

mod body;
mod check;
mod script;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use buquet_core::Error;
use buquet_core::broken::Variant;
use buquet_core::entropy::Entropy;
use buquet_core::id::TaskId;
use buquet_core::queue::{Queue, Settings, Step};
use buquet_core::record::Json;
use buquet_core::store::faulty::{CrashPoint, FaultPlan, FaultyStore, Network, Observer};
use buquet_core::store::memory::MemoryStore;
use buquet_core::store::{Store, StoreKind};
use buquet_core::worker::{Assignment, Options, RunState, Worker};
use buquet_core::workflow::client::{Prune, Sent, StartRuns};
use buquet_core::workflow::state::WishKind;
use futures::stream::{FuturesUnordered, StreamExt};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, timeout};

use self::body::{Body, Turned};
pub use self::script::{Do, RunPlan, RunsScenario};
use crate::checker::Violation;
use crate::trace::Trace;

/// All runs must have ended this long after everything is calm.
const PATIENCE: Duration = Duration::from_hours(6);
/// How long requests that are late may take to land.
const LATE: Duration = Duration::from_mins(30);

/// What came of one seed.
#[derive(Clone, Debug)]
pub struct RunsReport {
    /// The seed.
    pub seed: u64,
    /// What was wrong.
    pub violations: Vec<Violation>,
    /// Stands for the whole trace.
    pub fingerprint: u64,
    /// The end of the trace.
    pub lines: Vec<String>,
    /// Steps that were run, counted with their repetitions.
    pub effects: usize,
}

/// What happens in one seed.
struct World {
    scenario: RunsScenario,
    network: Arc<Network>,
    store: Arc<MemoryStore>,
    settings: Settings,
    trace: Arc<Trace>,
    seen: RefCell<Seen>,
}

/// What was seen besides what the store has.
#[derive(Debug, Default)]
struct Seen {
    /// The runs, in the order of their plans.
    ids: Vec<TaskId>,
    /// Steps that were run: the run, its execution, the operation, which start.
    effects: Vec<(TaskId, u64, u32, u32)>,
    /// Signals that were acknowledged: the place of the run, the number of the signal.
    sent: Vec<(usize, u32)>,
    /// Runs that somebody called off.
    called_off: Vec<usize>,
    violations: Vec<Violation>,
}

impl World {
    fn entropy(&self, name: &str) -> Entropy {
        let seed = name.bytes().fold(self.scenario.seed, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        Entropy::seeded(seed)
    }

    fn connect(&self, name: &str) -> (Queue, Arc<FaultyStore>) {
        let way = self.network.connect(name);
        let store: Arc<dyn Store> = Arc::<FaultyStore>::clone(&way);
        (Queue::at(store, self.entropy(name), self.settings), way)
    }

    fn violate(&self, rule: &'static str, what: String) {
        self.trace.event("check", rule, &what);
        self.seen.borrow_mut().violations.push(Violation { rule, what });
    }

    fn plan(&self, id: TaskId) -> Option<&RunPlan> {
        let place = self.seen.borrow().ids.iter().position(|known| *known == id)?;
        self.scenario.runs.get(place)
    }
}

/// Runs one seed with one protocol.
///
/// # Errors
/// If the runtime cannot be built.
pub fn simulate_runs(seed: u64, variant: Variant) -> std::io::Result<RunsReport> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
    Ok(runtime.block_on(simulate(seed, variant)))
}

async fn simulate(seed: u64, variant: Variant) -> RunsReport {
    let scenario = RunsScenario::draw(seed);
    let store = Arc::new(MemoryStore::new().recording());
    let trace = Arc::new(Trace::new(false));
    let observer: Arc<dyn Observer> = Arc::<Trace>::clone(&trace);
    let shared: Arc<dyn Store> = Arc::<MemoryStore>::clone(&store);
    let network = Network::new(shared, seed, FaultPlan::calm(), observer);
    let settings = Settings { variant, ..Settings::for_store(StoreKind::S3) };
    let world = Rc::new(World { scenario, network, store, settings, trace, seen: RefCell::default() });
    conduct(&world).await;
    let mut violations = std::mem::take(&mut world.seen.borrow_mut().violations);
    violations.extend(check::history(&world));
    let effects = world.seen.borrow().effects.len();
    prune_all(&world, &mut violations).await;
    RunsReport { seed, violations, fingerprint: world.trace.fingerprint(), lines: world.trace.lines(), effects }
}

/// Lets everything happen, until all runs have ended or it has taken too long.
async fn conduct(world: &Rc<World>) {
    let (client, _) = world.connect("client");
    if client.ensure().await.is_err() || start_all(world, &client).await.is_err() {
        return world.violate("runs start", "the store was calm".into());
    }
    world.network.set_plan(world.scenario.plan.clone());
    let others = async {
        let senders = (0..world.scenario.runs.len()).map(|place| send_all(world, place));
        futures::future::join_all(senders).await;
    };
    let wishers = async {
        let wishers = (0..world.scenario.runs.len()).map(|place| wish_all(world, place));
        futures::future::join_all(wishers).await;
    };
    let calming = async {
        sleep(world.scenario.rough_for).await;
        world.network.set_plan(FaultPlan::calm());
    };
    let ended = async {
        futures::future::join3(others, wishers, calming).await;
        timeout(PATIENCE, await_ends(world)).await.is_ok()
    };
    let workers = (0..world.scenario.workers).map(|n| live(world, n));
    let finished = tokio::select! {
            biased;
        _ = futures::future::join_all(workers) => false,
        finished = ended => finished,
    };
    if !finished {
        world.violate(
            "nothing is stuck",
            format!("some run has not ended {} h after all was calm", PATIENCE.as_secs() / 3600),
        );
    }
    client.flush().await;
    tidy(world).await;
}

/// Lets a worker that does not die look after what others left, for long enough.
async fn tidy(world: &Rc<World>) {
    let (queue, way) = world.connect("rescuer");
    let working = work(world, &queue, &way);
    let _ = timeout(LATE, working).await;
    queue.flush().await;
}

async fn start_all(world: &Rc<World>, client: &Queue) -> Result<(), Error> {
    let common = StartRuns { workflow: "order".into(), ..StartRuns::default() };
    let inputs = world.scenario.runs.iter().map(|_| Json::null()).collect();
    let ids = client.start_runs(&common, inputs).await?;
    world.seen.borrow_mut().ids = ids;
    Ok(())
}

/// Sends a run all signals that it will wait for, each until it is acknowledged.
async fn send_all(world: &Rc<World>, place: usize) {
    let (queue, _) = world.connect(&format!("sender {place}"));
    let id = world.seen.borrow().ids[place];
    for (n, after) in (0..).zip(&world.scenario.runs[place].signals) {
        sleep(*after).await;
        loop {
            let (payload, signal_id) = (Json::parse(&n.to_string()), Some(format!("{place}.{n}")));
            let signal_id = signal_id.filter(|_| n % 2 == 0);
            let Ok(payload) = payload else { return };
            match queue.signal_run(id, "go", payload, signal_id.clone(), None).await {
                Ok(Sent::Sent(_)) => {
                    world.seen.borrow_mut().sent.push((place, n));
                    break;
                }
                Ok(Sent::Ended(_)) | Err(Error::NotFound(_)) => return,
                // Without an id it may be there already, and would be sent twice.
                Err(_) if signal_id.is_none() => return hurry(world, id, place, n).await,
                Err(_) => sleep(Duration::from_secs(1)).await,
            }
        }
    }
}

/// A signal without an id of which nobody knows whether it is there: the run is to be called off, so that it ends in any case.
async fn hurry(world: &Rc<World>, id: TaskId, place: usize, n: u32) {
    world.trace.event("sender", "unsure", &format!("{place}.{n}"));
    wish_until_done(world, id, place, WishKind::Cancel).await;
}

async fn wish_all(world: &Rc<World>, place: usize) {
    let id = world.seen.borrow().ids[place];
    let wishes = world.scenario.runs[place].wishes.clone();
    let paused = wishes.iter().any(|(_, kind)| *kind == WishKind::Pause);
    // What is called off and then resumed would wait for signals that nobody sends any more.
    let called_off = || world.seen.borrow().called_off.contains(&place);
    for (after, kind) in wishes {
        sleep(after).await;
        if called_off() {
            return;
        }
        wish_until_done(world, id, place, kind).await;
    }
    if paused {
        sleep(Duration::from_mins(5)).await;
        if called_off() {
            return;
        }
        wish_until_done(world, id, place, WishKind::Resume).await;
    }
}

async fn wish_until_done(world: &Rc<World>, id: TaskId, place: usize, kind: WishKind) {
    let (queue, _) = world.connect(&format!("wisher {place} {kind:?}"));
    if matches!(kind, WishKind::Cancel | WishKind::Terminate) {
        world.seen.borrow_mut().called_off.push(place);
    }
    while queue.wish_run(id, kind, None, None, None).await.is_err() {
        sleep(Duration::from_secs(1)).await;
    }
}

async fn await_ends(world: &Rc<World>) {
    let (queue, _) = world.connect("waiter");
    let ids = world.seen.borrow().ids.clone();
    for id in ids {
        while queue.wait_for_run(id, None, Some(Duration::from_mins(10))).await.is_err() {
            sleep(Duration::from_secs(1)).await;
        }
    }
}

/// A worker through all its lives: each ends with a crash at some request, or stalls now and then.
async fn live(world: &Rc<World>, n: usize) {
    let mut rng = SmallRng::seed_from_u64(world.scenario.seed.wrapping_mul(1_000).wrapping_add(n as u64));
    for life in 0.. {
        let (queue, way) = world.connect(&format!("worker {n}.{life}"));
        let rough = Instant::now() < world.scenario.calm_at;
        if rough {
            let point = if rng.random_bool(0.5) { CrashPoint::Before } else { CrashPoint::After };
            way.crash_at(rng.random_range(0..world.scenario.crash_within), point);
        }
        let stalls = async {
            loop {
                sleep(Duration::from_secs(rng.random_range(10..600))).await;
                if Instant::now() < world.scenario.calm_at {
                    way.stall(Duration::from_secs(rng.random_range(1..1_200)));
                }
            }
        };
        tokio::select! {
            biased;
            () = work(world, &queue, &way) => {}
            () = way.crashed() => {}
            () = stalls => {}
        }
        sleep(Duration::from_secs(5)).await;
    }
}

async fn work(world: &Rc<World>, queue: &Queue, way: &Arc<FaultyStore>) {
    let options = Options { types: vec!["workflow:order".into()], concurrency: 8, ..Options::default() };
    let worker = loop {
        match Worker::start(queue, options.clone()).await {
            Ok(worker) => break worker,
            Err(_) => sleep(Duration::from_secs(1)).await,
        }
    };
    let mut bodies = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            next = worker.next(8 - bodies.len().min(8), Duration::from_secs(2)) => {
                let Ok(next) = next else { return };
                for run in next.assignments {
                    bodies.push(drive(world, &worker, way, run));
                }
            }
            _ = bodies.next(), if !bodies.is_empty() => {}
        }
    }
}

/// Drives a run until its driver is done or its lease is lost.
async fn drive(world: &Rc<World>, worker: &Worker, way: &Arc<FaultyStore>, run: Assignment) {
    let mut body = loop {
        match Body::open(world, worker, &run).await {
            Ok(Some(body)) => break body,
            Ok(None) | Err(Error::LeaseLost(_)) => return,
            Err(Error::Unavailable(_)) => sleep(Duration::from_secs(1)).await,
            Err(error) => return world.violate("the journal can be driven", error.to_string()),
        }
    };
    loop {
        way.resumed().await;
        match body.turn().await {
            Ok(Turned::On) => {}
            Ok(Turned::Waits) => sleep(Duration::from_millis(500)).await,
            Ok(Turned::Done(RunState::Ended | RunState::Parked)) => return,
            Ok(Turned::Done(_)) => {}
            Err(Error::LeaseLost(_)) => return,
            Err(Error::Unavailable(_)) => sleep(Duration::from_secs(1)).await,
            Err(error) => return world.violate("the journal can be driven", error.to_string()),
        }
    }
}

/// Prunes all runs, through processes that die, and then with one that does not; nothing may be left.
async fn prune_all(world: &Rc<World>, violations: &mut Vec<Violation>) {
    if !violations.is_empty() {
        return;
    }
    let mut rng = SmallRng::seed_from_u64(world.scenario.seed);
    for n in 0..4 {
        let (queue, way) = world.connect(&format!("pruner {n}"));
        if n < 3 {
            way.crash_at(rng.random_range(0..12), CrashPoint::After);
        }
        tokio::select! {
            biased;
            () = prune(&queue) => {}
            () = way.crashed() => {}
        }
        sleep(LATE).await;
        if n == 3 {
            prune(&queue).await;
            queue.flush().await;
        }
    }
    let left: Vec<String> = world.store.objects().into_keys().filter(|key| key.starts_with("workflow/")).collect();
    if !left.is_empty() {
        violations.push(Violation { rule: "a prune leaves nothing", what: left.join(" ") });
    }
}

async fn prune(queue: &Queue) {
    let mut step = Step { limit: 1_000, cursor: None, dry_run: false };
    loop {
        match queue.prune(&Prune::default(), &step).await {
            Ok(pruned) if pruned.cursor.is_none() => return,
            Ok(pruned) => step.cursor = pruned.cursor,
            Err(_) => sleep(Duration::from_secs(1)).await,
        }
    }
}
