//! One run from its seed to its verdict.

#![expect(clippy::future_not_send, reason = "a run lives on one thread, or it could not be reproduced")]

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use buquet_core::broken::Variant;
use buquet_core::keys::{self, ReadyEntry};
use buquet_core::record::BatchRecord;
use buquet_core::store::Store;
use buquet_core::store::faulty::{FaultPlan, Network, Observer};
use buquet_core::store::memory::MemoryStore;
use futures::future::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, timeout};

use crate::checker::{Evidence, Violation, check};
use crate::fleet::{Protocol, Signal, World, audit, rescuer, run_last_waker, run_planner, run_process};
use crate::journal::Journal;
use crate::scenario::{Kind, Scenario};
use crate::trace::{Tally, Trace};

/// Everything must be finished this long after no request from rough times can land any more.
const PATIENCE: Duration = Duration::from_hours(2);
/// How often the end is looked for.
const LOOK: Duration = Duration::from_secs(2);
/// How long everybody may take to go home.
const FAREWELL: Duration = Duration::from_mins(5);

/// How to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The protocol.
    pub protocol: Protocol,
    /// Keep the whole trace.
    pub trace: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { protocol: Protocol::Uniform(Variant::True), trace: false }
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// What was wrong.
    pub violations: Vec<Violation>,
    /// Stands for the whole trace.
    pub fingerprint: u64,
    /// The trace, or its tail.
    pub lines: Vec<String>,
    /// Faults injected, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// What happened in the store, by kind.
    pub happened: BTreeMap<&'static str, u64>,
    /// Events, by kind.
    pub events: BTreeMap<&'static str, u64>,
    /// What the server was asked.
    pub tally: Tally,
    /// How long it took in its own time.
    pub simulated: Duration,
    /// Tasks submitted.
    pub tasks: usize,
}

/// Runs one seed.
///
/// # Errors
/// If the runtime cannot be built.
pub fn simulate(seed: u64, options: Options) -> std::io::Result<Report> {
    simulate_scenario(Scenario::draw(seed), options)
}

/// Runs one scenario.
///
/// # Errors
/// If the runtime cannot be built.
pub fn simulate_scenario(scenario: Scenario, options: Options) -> std::io::Result<Report> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
    Ok(runtime.block_on(run(scenario, options)))
}

async fn run(scenario: Scenario, options: Options) -> Report {
    let started = Instant::now();
    let store = Arc::new(MemoryStore::new().with_clock_resolution(scenario.resolution_ms).recording());
    let trace = Arc::new(Trace::new(options.trace));
    let observer: Arc<dyn Observer> = Arc::<Trace>::clone(&trace);
    let shared: Arc<dyn Store> = Arc::<MemoryStore>::clone(&store);
    let world = Rc::new(World {
        seed: scenario.seed,
        network: Network::new(shared, scenario.seed, scenario.plan.clone(), observer),
        store,
        trace,
        journal: Journal::default().into(),
        producing: 0.into(),
        stalled_until: started.into(),
        end: Signal::default(),
        protocol: options.protocol,
    });
    let finished = conduct(&world, &scenario).await;
    let journal = world.journal.borrow().clone();
    let evidence = Evidence {
        scenario: &scenario,
        changes: world.store.changes(),
        objects: world.store.objects(),
        journal: &journal,
        tally: world.trace.tally(),
        finished,
        ended_after: started.elapsed(),
    };
    let verdict = check(&evidence);
    Report {
        seed: scenario.seed,
        violations: verdict.violations,
        happened: verdict.happened,
        fingerprint: world.trace.fingerprint(),
        lines: world.trace.lines(),
        faults: world.network.injected(),
        events: world.trace.events(),
        tally: evidence.tally,
        simulated: started.elapsed(),
        tasks: scenario.tasks(),
    }
}

/// Lets the scenario happen; says whether everything came to rest.
async fn conduct(world: &Rc<World>, scenario: &Scenario) -> bool {
    let mut processes = FuturesUnordered::new();
    for plan in &scenario.processes {
        processes.push(run_process(Rc::clone(world), plan.clone()).boxed_local());
    }
    for plan in &scenario.schedules {
        processes.push(run_planner(Rc::clone(world), plan.clone()).boxed_local());
    }
    if scenario.kind == Kind::Rough {
        let rescue = async {
            sleep(scenario.rough_for).await;
            world.network.set_plan(FaultPlan::calm());
            world.trace.event("network", "calm", "");
            run_process(Rc::clone(world), rescuer(scenario.types())).await;
        };
        processes.push(rescue.boxed_local());
        let waker = async {
            sleep(scenario.rough_for + scenario.aftermath()).await;
            run_last_waker(Rc::clone(world)).await;
        };
        processes.push(waker.boxed_local());
    }
    let end = async {
        let finished = come_to_rest(world, scenario).await;
        audit(world).await;
        world.trace.event("network", "end", if finished { "" } else { "without rest" });
        world.end.set();
        finished
    };
    let everybody = async { while processes.next().await.is_some() {} };
    let farewell = async {
        world.end.wait().await;
        sleep(FAREWELL).await;
    };
    let home = async {
        tokio::select! {
            biased;
            () = everybody => true,
            () = farewell => false,
        }
    };
    let (finished, home) = tokio::join!(end, home);
    if !home {
        world.complain("network", "not everybody went home at the end");
    }
    finished
}

/// Waits until all is submitted and no index entry is left.
async fn come_to_rest(world: &World, scenario: &Scenario) -> bool {
    let slow = scenario.kind == Kind::Rough;
    sleep(if slow { scenario.rough_for + scenario.aftermath() } else { Duration::from_secs(5) }).await;
    let rest = async {
        let is_busy = || {
            world.producing.get() > 0
                || (slow && Instant::now() < world.stalled_until.get() + scenario.aftermath())
                || world.store.keys("ready/").iter().any(|key| !key.starts_with(keys::MARKS))
                || !world.store.keys("leases/").is_empty()
                || waits(world)
        };
        while is_busy() {
            sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, rest).await.is_ok()
}

/// Whether any task waits: an entry may be left over of one that does not.
fn waits(world: &World) -> bool {
    let entries = world.store.keys("parked/");
    if entries.is_empty() {
        return false;
    }
    let objects = world.store.objects();
    let records = entries.iter().filter_map(|key| ReadyEntry::parse(key)).map(|entry| keys::record(entry.record));
    let read = |key: String| BatchRecord::decode(&key, &objects.get(&key)?.body).ok();
    records.filter_map(read).any(|record| record.parked.is_some())
}
