//! What shall happen to runs in one seed.

use std::time::Duration;

use buquet_core::store::faulty::FaultPlan;
use buquet_core::workflow::state::WishKind;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

/// One thing that a body does; it goes on when all of it has ended.
#[derive(Clone, Debug)]
pub enum Do {
    /// So many steps at the same time; whether the first one fails at its first start, and whether their results are large.
    Steps {
        /// How many.
        count: u32,
        /// Whether the first one fails once.
        fails: bool,
        /// Whether their results lie elsewhere.
        large: bool,
    },
    /// Waits so many milliseconds.
    Sleep(u64),
    /// Waits for a signal.
    Signal,
}

/// One run.
#[derive(Clone, Debug)]
pub struct RunPlan {
    /// What its body does.
    pub script: Vec<Do>,
    /// How long after each other its signals are sent.
    pub signals: Vec<Duration>,
    /// What is wished of it, and how long after each other.
    pub wishes: Vec<(Duration, WishKind)>,
}

/// One seed.
#[derive(Clone, Debug)]
pub struct RunsScenario {
    /// It.
    pub seed: u64,
    /// The runs, all in one record.
    pub runs: Vec<RunPlan>,
    /// How many workers there are.
    pub workers: usize,
    /// Within how many requests a life of a worker ends.
    pub crash_within: u64,
    /// The faults.
    pub plan: FaultPlan,
    /// For how long there are any.
    pub rough_for: Duration,
    /// When that is over.
    pub calm_at: Instant,
}

impl RunsScenario {
    /// Draws a scenario.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let runs = (0..rng.random_range(1..=3)).map(|_| draw_run(&mut rng)).collect();
        let rough_for = Duration::from_secs(rng.random_range(60..1_800));
        let plan =
            if rng.random_bool(0.3) { FaultPlan::calm() } else { FaultPlan::hostile(rng.random_range(0.0..0.08)) };
        Self {
            seed,
            runs,
            workers: rng.random_range(1..=3),
            crash_within: rng.random_range(5..120),
            plan,
            rough_for,
            calm_at: Instant::now() + rough_for,
        }
    }
}

fn draw_run(rng: &mut SmallRng) -> RunPlan {
    let script: Vec<Do> = (0..rng.random_range(1..8)).map(|_| draw_do(rng)).collect();
    let count = script.iter().filter(|does| matches!(does, Do::Signal)).count();
    // Some come close together, some far apart.
    let pause = [200, 5_000, 60_000][rng.random_range(0..3)];
    let signals = (0..count).map(|_| Duration::from_millis(rng.random_range(0..pause))).collect();
    let kinds = [WishKind::Pause, WishKind::Resume, WishKind::Pause, WishKind::Cancel, WishKind::Terminate];
    let wishes = match rng.random_range(0..3) {
        0 => (0..rng.random_range(1..3))
            .map(|_| (Duration::from_millis(rng.random_range(0..30_000)), kinds[rng.random_range(0..kinds.len())]))
            .collect(),
        _ => Vec::new(),
    };
    RunPlan { script, signals, wishes }
}

fn draw_do(rng: &mut SmallRng) -> Do {
    match rng.random_range(0..10) {
        0..=4 => Do::Steps { count: rng.random_range(1..4), fails: rng.random_bool(0.2), large: rng.random_bool(0.2) },
        5 => Do::Sleep(rng.random_range(100..30_000)),
        _ => Do::Signal,
    }
}
