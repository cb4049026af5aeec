//! The largest run: ten workers, and everything that can befall a task.

use std::time::Duration;

use buquet_core::store::faulty::FaultPlan;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::about::{self, AboutPlan, draw_keyed, draw_keys};
use super::{Burst, Kind, ProcessPlan, Scenario, WorkerPlan, draw_bursts, draw_lives, millis, operators};
use crate::schedules::scheduled;
use crate::script::Script;

/// Workers of the mix.
const WORKERS: usize = 10;
/// Processes that submit.
const PRODUCERS: usize = 5;
/// Most tasks in one call.
const MANY: usize = 400;

impl Scenario {
    /// Ten workers and so many tasks: schedules, unique submits, cancellations, expiries, replays, purges, payloads,
    /// reports of progress, over a network with faults and with processes that die.
    #[must_use]
    pub fn mix(seed: u64, tasks: usize) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let rng = &mut rng;
        let types: Vec<String> = (0..3).map(|n| format!("type{n}")).collect();
        let keys = draw_keys(&types, rng);
        let mut processes: Vec<ProcessPlan> = (0..PRODUCERS)
            .map(|n| {
                let name = format!("p{n}");
                let mut bursts = draw_bursts(&name, &types, rng);
                bursts.extend(draw_keyed(&keys, rng));
                ProcessPlan { name, bursts, worker: None, ..ProcessPlan::draw(rng) }
            })
            .collect();
        let mut left =
            tasks.saturating_sub(processes.iter().flat_map(|process| &process.bursts).map(Burst::tasks).sum());
        for n in 0.. {
            if left == 0 {
                break;
            }
            let size = rng.random_range(1..=MANY).min(left);
            left -= size;
            let burst = many(&format!("m{n}"), size, &types, rng);
            if let Some(process) = processes.get_mut(n % PRODUCERS) {
                process.bursts.push(burst);
            }
        }
        processes.extend((0..WORKERS).map(|n| {
            let worker = WorkerPlan { types: types.clone(), concurrency: 100, prefetch: None };
            ProcessPlan { name: format!("w{n}"), bursts: Vec::new(), worker: Some(worker), ..ProcessPlan::draw(rng) }
        }));
        processes.extend(operators::draw(&types, rng));
        let rate = *[0.0, 0.002, 0.01].choose(rng).unwrap_or(&0.0);
        let scenario = Self {
            seed,
            kind: Kind::Rough,
            plan: FaultPlan { late_ms: 1..=60_000, ..FaultPlan::hostile(rate) },
            resolution_ms: if rng.random_bool(0.7) { 1_000 } else { 1 },
            processes,
            schedules: Vec::new(),
            rough_for: millis(rng, 60_000..300_000),
        };
        scheduled(scenario, rng)
    }
}

/// Many tasks in one call.
fn many(label: &str, size: usize, types: &[String], rng: &mut SmallRng) -> Burst {
    let about = AboutPlan { tag: rng.random_bool(0.3).then(|| about::draw_tag(rng)), ..AboutPlan::draw(rng) };
    Burst {
        after: Duration::from_millis(rng.random_range(0..5_000)),
        kind: types.choose(rng).cloned().unwrap_or_default(),
        scripts: (0..size).map(|n| Script::draw_short(format!("{label}-{n}"), rng)).collect(),
        many: true,
        max_retries: rng.random_range(0..4),
        about,
        ..Burst::plain(0, "many")
    }
}

impl ProcessPlan {
    /// One that does nothing yet, but may die.
    pub(super) fn draw(rng: &mut SmallRng) -> Self {
        Self {
            name: String::new(),
            starts_after: millis(rng, 0..20_000),
            bursts: Vec::new(),
            worker: None,
            lives: draw_lives(rng),
            clock_error_ms: rng.random_range(-150_000..150_000),
        }
    }
}
