//! Tasks that park, and somebody who wakes them.

use std::time::Duration;

use buquet_core::store::faulty::FaultPlan;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::about::AboutPlan;
use super::{Burst, ProcessPlan, Scenario, millis};
use crate::script::Script;

impl Scenario {
    /// Many tasks that wait for signals, which come at every moment, over a network with faults and with processes that die.
    #[must_use]
    pub fn waiting(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut scenario = Self::rough(seed, &mut rng);
        let rate = *[0.0, 0.005, 0.02].choose(&mut rng).unwrap_or(&0.0);
        scenario.plan = FaultPlan { late_ms: 1..=60_000, ..FaultPlan::hostile(rate) };
        let types: Vec<String> = (0..2).map(|n| format!("type{n}")).collect();
        let senders = (0..3).map(|n| {
            let bursts = (0..4).map(|m| Burst::awaiting(&format!("s{n}.{m}"), &types, &mut rng)).collect();
            ProcessPlan { name: format!("s{n}"), bursts, ..ProcessPlan::draw(&mut rng) }
        });
        let senders: Vec<ProcessPlan> = senders.collect();
        scenario.processes.extend(senders);
        scenario
    }
}

impl Burst {
    fn awaiting(label: &str, types: &[String], rng: &mut SmallRng) -> Self {
        let signals = rng.random_range(1..5);
        let size = rng.random_range(1..8);
        Self {
            after: millis(rng, 0..10_000),
            kind: types.choose(rng).cloned().unwrap_or_default(),
            timeout_ms: 60_000,
            scripts: (0..size).map(|n| Script::awaiting(format!("{label}-{n}"), signals, rng)).collect(),
            many: rng.random_bool(0.3),
            apart: rng.random_bool(0.3),
            about: AboutPlan::draw(rng),
            // Often just when a task looks and parks, now and then much later.
            signals: (0..signals)
                .map(|_| if rng.random_bool(0.7) { millis(rng, 0..3_000) } else { millis(rng, 0..60_000) })
                .collect(),
            ..Self::plain(0, label)
        }
    }
}

impl ProcessPlan {
    /// One that does nothing and lives in peace.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            starts_after: Duration::ZERO,
            bursts: Vec::new(),
            worker: None,
            lives: Vec::new(),
            clock_error_ms: 0,
        }
    }
}
