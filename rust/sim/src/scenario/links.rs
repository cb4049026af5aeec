//! Tasks that wait for each other: chains, groups, diamonds, and whatever else has no circle.

use std::time::Duration;

use buquet_core::record::On;
use buquet_core::store::faulty::FaultPlan;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::about::AboutPlan;
use super::{Burst, Care, Operation, ProcessPlan, Scenario, millis};
use crate::script::{Script, Step};

/// Some tasks that wait for others of the same submit.
#[derive(Clone, Debug)]
pub struct NodePlan {
    /// The tasks.
    pub scripts: Vec<Script>,
    /// Earlier nodes that they wait for.
    pub after: Vec<usize>,
    /// They wait for a task that was submitted before, too: one of so many.
    pub known: Option<usize>,
    /// Whether they run then.
    pub on: On,
    /// How long after that.
    pub delay: Option<Duration>,
}

/// When what has ended first is old enough to be purged, and some that wait for it have yet to read it.
const PURGE_AFTER: Duration = Duration::from_mins(12);

impl Scenario {
    /// Many tasks that wait for each other, over a network with faults and with processes that die; some of it is purged while
    /// others have yet to read it.
    #[must_use]
    pub fn links(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut scenario = Self::rough(seed, &mut rng);
        let rate = *[0.0, 0.005, 0.02].choose(&mut rng).unwrap_or(&0.0);
        scenario.plan = FaultPlan { late_ms: 1..=60_000, ..FaultPlan::hostile(rate) };
        let types: Vec<String> = (0..2).map(|n| format!("type{n}")).collect();
        let mut submitters = Vec::new();
        for n in 0..3 {
            let bursts = (0..5).map(|m| Burst::graph(&format!("g{n}.{m}"), &types, &mut rng)).collect();
            submitters.push(ProcessPlan { name: format!("g{n}"), bursts, ..ProcessPlan::draw(&mut rng) });
        }
        scenario.processes.extend(submitters);
        if rng.random_bool(0.5) {
            let purge = |after| Burst {
                after,
                operation: Some(Operation::Care(Care::Purge { everything: true })),
                ..Burst::plain(0, "purge")
            };
            let bursts = vec![purge(PURGE_AFTER), purge(Duration::from_mins(2)), purge(Duration::from_mins(3))];
            scenario.processes.push(ProcessPlan { bursts, ..ProcessPlan::named("purger") });
        }
        scenario
    }
}

impl Burst {
    fn graph(label: &str, types: &[String], rng: &mut SmallRng) -> Self {
        let nodes = rng.random_range(2..6);
        let shape = rng.random_range(0..3);
        let graph = (0..nodes)
            .map(|n: usize| {
                let size = if rng.random_bool(0.6) { 1 } else { rng.random_range(0..9) };
                let after: Vec<usize> = match shape {
                    // A chain, of groups too.
                    0 => n.checked_sub(1).into_iter().collect(),
                    // Everything after the first, and the last after everything.
                    1 if n + 1 == nodes => (0..n).collect(),
                    1 => (n > 0).then_some(0).into_iter().collect(),
                    _ => (0..n).filter(|_| rng.random_bool(0.4)).collect(),
                };
                NodePlan {
                    scripts: (0..size).map(|m| link_script(format!("{label}-{n}.{m}"), rng)).collect(),
                    after,
                    known: rng.random_bool(0.15).then(|| rng.random_range(0..1_000)),
                    on: *[On::Success, On::Success, On::Finished, On::Failure].choose(rng).unwrap_or(&On::Success),
                    delay: draw_delay(rng),
                }
            })
            .collect();
        Self {
            after: millis(rng, 0..20_000),
            kind: types.choose(rng).cloned().unwrap_or_default(),
            timeout_ms: 300_000,
            max_retries: rng.random_range(0..2),
            wait: rng.random_bool(0.2),
            about: AboutPlan { ttl: None, unique: None, ..AboutPlan::draw(rng) },
            graph,
            ..Self::plain(0, label)
        }
    }
}

/// Mostly none, now and then so long that what came before is old by then.
fn draw_delay(rng: &mut SmallRng) -> Option<Duration> {
    match rng.random_range(0..10) {
        0 => Some(millis(rng, 500..60_000)),
        1 => Some(millis(rng, 900_000..1_500_000)),
        _ => None,
    }
}

/// A task that comes to an end, one way or the other; often late enough that nobody looks after those that wait any more.
fn link_script(label: String, rng: &mut SmallRng) -> Script {
    let ms = if rng.random_bool(0.4) { rng.random_range(60_000..150_000) } else { rng.random_range(0..3_000) };
    let last = match rng.random_range(0..10) {
        0 | 1 => Step::Fail { ms, retry: false, delay_ms: None },
        2 => Step::Die { ms: ms / 10 },
        _ => Step::Complete { ms },
    };
    let mut script = Script::plain(label, 0);
    script.steps = match last {
        Step::Die { .. } => vec![last, Step::Complete { ms }],
        _ => vec![last],
    };
    script
}
