//! What shall happen in a run, all of it drawn from one seed.

mod about;
mod fleet;
mod links;
mod mix;
mod operators;
mod waiting;

use std::time::Duration;

use buquet_core::store::faulty::{CrashPoint, FaultPlan};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

pub use self::about::{AboutPlan, KEYED, UniquePlan};
pub use self::fleet::{LATE_LABEL, LATE_WORKER, URGENT_LABEL};
pub use self::links::NodePlan;
pub use self::operators::{Care, Operation};
use crate::schedules::{SchedulePlan, scheduled};
use crate::script::{Script, Step};

/// One run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where it was drawn from.
    pub seed: u64,
    /// Which budget applies.
    pub kind: Kind,
    /// The faults of the network, until [`Self::rough_for`].
    pub plan: FaultPlan,
    /// How coarse the server's clock is, in milliseconds.
    pub resolution_ms: i64,
    /// The fleet.
    pub processes: Vec<ProcessPlan>,
    /// The schedules.
    pub schedules: Vec<SchedulePlan>,
    /// When the network becomes calm.
    pub rough_for: Duration,
}

/// What kind of run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Faults, crashes, stalls.
    Rough,
    /// No fault; single submits, far apart.
    Lone,
    /// No fault; this many submits of one type at once.
    Burst(usize),
    /// No fault; this many tasks in one call.
    Bulk(usize),
    /// No fault; a worker with nothing to do, and one task at the end.
    Idle,
    /// No fault but one: a worker that holds many tasks dies, and another one is idle.
    Recovery,
    /// No fault; many workers, and very many records at once.
    Fleet,
}

/// A process: a producer, a worker, or both.
#[derive(Clone, Debug)]
pub struct ProcessPlan {
    /// Its name.
    pub name: String,
    /// When it starts.
    pub starts_after: Duration,
    /// What it submits, one after the other; goes on after a restart.
    pub bursts: Vec<Burst>,
    /// Whether and how it works.
    pub worker: Option<WorkerPlan>,
    /// What befalls each of its lives; once they are used up, it lives in peace.
    pub lives: Vec<Life>,
    /// How far off its clock is, in milliseconds; only a broken protocol reads it.
    pub clock_error_ms: i64,
}

/// Submits made at the same time.
#[derive(Clone, Debug)]
pub struct Burst {
    /// The pause before.
    pub after: Duration,
    /// The type of the tasks.
    pub kind: String,
    /// How long an attempt may take.
    pub timeout_ms: u64,
    /// How often a task is tried again.
    pub max_retries: u32,
    /// The first back-off.
    pub backoff_ms: u64,
    /// Which goes first.
    pub priority: u8,
    /// How long after the submit they may start.
    pub delay: Option<Duration>,
    /// The tasks.
    pub scripts: Vec<Script>,
    /// In one call.
    pub many: bool,
    /// Each in a record of its own.
    pub apart: bool,
    /// Waits for the results.
    pub wait: bool,
    /// What is said about the tasks besides.
    pub about: AboutPlan,
    /// Tasks that wait for each other, instead of those above.
    pub graph: Vec<NodePlan>,
    /// The pauses between the signals that the tasks wait for.
    pub signals: Vec<Duration>,
    /// What is done about tasks afterwards.
    pub operation: Option<Operation>,
}

/// How a process works.
#[derive(Clone, Debug)]
pub struct WorkerPlan {
    /// The types it knows.
    pub types: Vec<String>,
    /// Tasks it runs at a time.
    pub concurrency: usize,
    /// Tasks it fetches ahead.
    pub prefetch: Option<usize>,
}

/// What befalls a process in one life.
#[derive(Clone, Debug)]
pub struct Life {
    /// How it is stalled: when, and for how long.
    pub stalls: Vec<(Duration, Duration)>,
    /// How it ends.
    pub end: End,
    /// How long until it starts again; never if `None`.
    pub restart_after: Option<Duration>,
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With the run.
    Peace,
    /// At so many requests.
    Crash(u64, CrashPoint),
    /// After so long, whatever it does.
    Kill(Duration),
    /// After so long, well.
    Leave(Duration),
}

fn millis(rng: &mut SmallRng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.random_range(range))
}

impl Scenario {
    /// The run of this seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        match seed % 25 {
            7 => Self::lone(seed),
            12 => Self::burst(seed, rng.random_range(100..1_001)),
            17 => Self::bulk(seed, rng.random_range(100..2_001)),
            22 => Self::idle(seed),
            2 => Self::recovery(seed),
            18 => Self::backlog(seed, &mut rng),
            5 => Self::keyed(seed, &mut rng),
            20 => Self::mix(seed, SMALL_MIX),
            10 | 23 => Self::waiting(seed),
            3 | 16 => Self::links(seed),
            4 | 9 | 14 => scheduled(Self::rough(seed, &mut rng), &mut rng),
            _ => Self::rough(seed, &mut rng),
        }
    }

    fn rough(seed: u64, rng: &mut SmallRng) -> Self {
        let rate = [0.0, 0.002, 0.01, 0.03].choose(rng).copied().unwrap_or_default();
        let latest = [5_000, 60_000, 60_000, 400_000].choose(rng).copied().unwrap_or(60_000);
        let types: Vec<String> = (0..rng.random_range(1..4)).map(|n| format!("type{n}")).collect();
        let producers = rng.random_range(1..4);
        let workers = rng.random_range(1..5);
        let both = rng.random_range(0..2);
        let keys = about::draw_keys(&types, rng);
        let mut processes: Vec<ProcessPlan> = (0..producers + workers + both)
            .map(|n| {
                let (submits, works) = (n < producers || n >= producers + workers, n >= producers);
                let name = format!("{}{n}", if works { 'w' } else { 'p' });
                let mut bursts = if submits { draw_bursts(&name, &types, rng) } else { Vec::new() };
                if submits {
                    bursts.extend(about::draw_keyed(&keys, rng));
                }
                ProcessPlan {
                    starts_after: millis(rng, 0..20_000),
                    bursts,
                    worker: works.then(|| WorkerPlan::draw(&types, rng)),
                    lives: draw_lives(rng),
                    clock_error_ms: rng.random_range(-150_000..150_000),
                    name,
                }
            })
            .collect();
        processes.extend(operators::draw(&types, rng));
        Self {
            seed,
            kind: Kind::Rough,
            plan: FaultPlan { late_ms: 1..=latest, ..FaultPlan::hostile(rate) },
            resolution_ms: if rng.random_bool(0.7) { 1_000 } else { 1 },
            processes,
            schedules: Vec::new(),
            rough_for: millis(rng, 60_000..300_000),
        }
    }

    /// More records than a page of the index has lines are waiting when the workers come.
    fn backlog(seed: u64, rng: &mut SmallRng) -> Self {
        let mut scenario = Self::rough(seed, rng);
        scenario.plan = FaultPlan { late_ms: scenario.plan.late_ms, ..FaultPlan::hostile(0.002) };
        let backlog = Burst { apart: true, ..Burst::plain(BACKLOG, "backlog") };
        let process = ProcessPlan {
            name: "backlog".into(),
            starts_after: Duration::ZERO,
            bursts: vec![Burst { kind: "type0".into(), ..backlog }],
            worker: None,
            lives: Vec::new(),
            clock_error_ms: 0,
        };
        scenario.processes.push(process);
        scenario
    }

    /// Several processes race for the same keys, and their submits come late.
    fn keyed(seed: u64, rng: &mut SmallRng) -> Self {
        let mut scenario = Self::rough(seed, rng);
        let late = FaultPlan { late_ms: 1..=60_000, ..FaultPlan::hostile(0.03) };
        scenario.plan = FaultPlan { slow: 0.15, ..late };
        scenario.processes.extend(about::storm(&scenario.types(), rng));
        scenario
    }

    fn fair(seed: u64, kind: Kind, bursts: Vec<Burst>, concurrency: usize) -> Self {
        let worker = WorkerPlan { types: vec!["type0".into()], concurrency, prefetch: None };
        let process = |name: &str, bursts, worker| ProcessPlan {
            name: name.to_owned(),
            starts_after: Duration::ZERO,
            bursts,
            worker,
            lives: Vec::new(),
            clock_error_ms: 0,
        };
        let processes = vec![process("w0", Vec::new(), Some(worker)), process("p0", bursts, None)];
        let plan = FaultPlan::calm();
        Self { seed, kind, plan, resolution_ms: 1_000, processes, schedules: Vec::new(), rough_for: Duration::ZERO }
    }

    /// Twenty single tasks, seven seconds apart, one worker.
    #[must_use]
    pub fn lone(seed: u64) -> Self {
        let burst = |n| Burst { after: Duration::from_secs(7), ..Burst::plain(1, &format!("lone{n}")) };
        Self::fair(seed, Kind::Lone, (0..20).map(burst).collect(), 4)
    }

    /// So many submits at once, one worker.
    #[must_use]
    pub fn burst(seed: u64, tasks: usize) -> Self {
        let burst = Burst { after: Duration::from_secs(3), ..Burst::plain(tasks, "burst") };
        Self::fair(seed, Kind::Burst(tasks), vec![burst], 200)
    }

    /// So many tasks in one call, one worker.
    #[must_use]
    pub fn bulk(seed: u64, tasks: usize) -> Self {
        let burst = Burst { after: Duration::from_secs(3), many: true, ..Burst::plain(tasks, "bulk") };
        Self::fair(seed, Kind::Bulk(tasks), vec![burst], 200)
    }

    /// An idle worker for ten minutes, then one task.
    #[must_use]
    pub fn idle(seed: u64) -> Self {
        let burst = Burst { after: IDLE_FOR, ..Burst::plain(1, "idle") };
        Self::fair(seed, Kind::Idle, vec![burst], 4)
    }

    /// A worker dies while it runs a hundred tasks that may take an hour; a second one starts when all are claimed.
    #[must_use]
    pub fn recovery(seed: u64) -> Self {
        let mut burst = Burst { many: true, timeout_ms: 3_600_000, ..Burst::plain(100, "recovery") };
        for script in &mut burst.scripts {
            script.steps.insert(0, Step::Complete { ms: 600_000 });
        }
        let mut scenario = Self::fair(seed, Kind::Recovery, vec![burst], 100);
        let mut second = scenario.processes.clone();
        second.truncate(1);
        for process in &mut second {
            process.name = "w1".into();
            process.starts_after = Duration::from_secs(5);
        }
        if let Some(first) = scenario.processes.first_mut() {
            let end = End::Kill(Duration::from_millis(4_000 + seed * 1_700 % 40_000));
            first.lives = vec![Life { stalls: Vec::new(), end, restart_after: None }];
        }
        scenario.processes.extend(second);
        scenario
    }

    /// How many tasks are submitted.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.processes.iter().flat_map(|process| &process.bursts).map(Burst::tasks).sum()
    }

    /// All types.
    #[must_use]
    pub fn types(&self) -> Vec<String> {
        let bursts = self.processes.iter().flat_map(|process| &process.bursts);
        let scheduled = self.schedules.iter().map(|schedule| schedule.kind.clone());
        let mut types: Vec<String> = bursts.map(|burst| burst.kind.clone()).chain(scheduled).collect();
        types.sort();
        types.dedup();
        types
    }

    /// How long after the network has become calm a request sent before may still land.
    #[must_use]
    pub const fn aftermath(&self) -> Duration {
        Duration::from_millis(*self.plan.late_ms.end() + 2 * *self.plan.slow_ms.end())
    }
}

/// Records in the backlog of [`Scenario::draw`]'s largest runs: more than one listing shows.
const BACKLOG: usize = 1_200;

/// Tasks in a mix of everything among [`Scenario::draw`]'s runs.
const SMALL_MIX: usize = 1_000;

/// How long the idle worker of [`Scenario::idle`] has nothing to do.
pub const IDLE_FOR: Duration = Duration::from_mins(10);

impl Burst {
    fn plain(tasks: usize, label: &str) -> Self {
        Self {
            after: Duration::ZERO,
            kind: "type0".into(),
            timeout_ms: 300_000,
            max_retries: 3,
            backoff_ms: 1_000,
            priority: 5,
            delay: None,
            scripts: (0..tasks).map(|n| Script::plain(format!("{label}-{n}"), 20)).collect(),
            many: false,
            apart: false,
            wait: false,
            about: AboutPlan::default(),
            graph: Vec::new(),
            signals: Vec::new(),
            operation: None,
        }
    }

    fn tasks(&self) -> usize {
        self.scripts.len() + self.graph.iter().map(|node| node.scripts.len()).sum::<usize>()
    }
}

fn draw_bursts(process: &str, types: &[String], rng: &mut SmallRng) -> Vec<Burst> {
    let mut left: usize = *[8, 25, 60].choose(rng).unwrap_or(&8);
    let mut bursts = Vec::new();
    while left > 0 {
        let size = match rng.random_range(0..10) {
            0..6 => rng.random_range(1..4),
            6..9 => rng.random_range(4..20),
            _ => 60,
        };
        let size = size.min(left);
        left -= size;
        let timeout_ms = *[5_000, 30_000, 120_000, 3_600_000].choose(rng).unwrap_or(&30_000);
        let label = format!("{process}.{}", bursts.len());
        bursts.push(Burst {
            after: millis(rng, 0..15_000),
            kind: types.choose(rng).cloned().unwrap_or_default(),
            timeout_ms,
            max_retries: rng.random_range(0..4),
            backoff_ms: rng.random_range(50..3_000),
            priority: if rng.random_bool(0.5) { 5 } else { rng.random_range(0..10) },
            delay: rng.random_bool(0.2).then(|| millis(rng, 0..150_000)),
            scripts: (0..size).map(|n| Script::draw(format!("{label}-{n}"), timeout_ms, rng)).collect(),
            many: rng.random_bool(0.3),
            apart: rng.random_bool(0.2),
            wait: rng.random_bool(0.3),
            about: AboutPlan::draw(rng),
            graph: Vec::new(),
            signals: Vec::new(),
            operation: None,
        });
    }
    bursts
}

impl WorkerPlan {
    fn draw(types: &[String], rng: &mut SmallRng) -> Self {
        let mut known: Vec<String> = types.iter().filter(|_| rng.random_bool(0.7)).cloned().collect();
        if known.is_empty() {
            known.extend(types.choose(rng).cloned());
        }
        let prefetch = [None, None, Some(0), Some(5)].choose(rng).copied().flatten();
        Self { types: known, concurrency: *[1, 2, 5, 20].choose(rng).unwrap_or(&1), prefetch }
    }
}

fn draw_lives(rng: &mut SmallRng) -> Vec<Life> {
    (0..rng.random_range(0..4))
        .map(|_| Life {
            stalls: if rng.random_bool(0.4) { vec![draw_stall(rng)] } else { Vec::new() },
            end: match rng.random_range(0..10) {
                0..6 => {
                    let point = if rng.random_bool(0.5) { CrashPoint::Before } else { CrashPoint::After };
                    let requests = if rng.random_bool(0.7) { 60 } else { 400 };
                    End::Crash(rng.random_range(0..requests), point)
                }
                6..8 => End::Leave(millis(rng, 5_000..200_000)),
                _ => End::Peace,
            },
            restart_after: rng.random_bool(0.85).then(|| millis(rng, 0..90_000)),
        })
        .collect()
}

fn draw_stall(rng: &mut SmallRng) -> (Duration, Duration) {
    let duration = match rng.random_range(0..10) {
        0..3 => millis(rng, 1_000..40_000),
        3..7 => millis(rng, 40_000..150_000),
        7..9 => millis(rng, 150_000..400_000),
        _ => millis(rng, 400_000..1_200_000),
    };
    (millis(rng, 1_000..120_000), duration)
}
