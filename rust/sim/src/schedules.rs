//! Schedules of a run: drawn like everything else, and with a script for each slot's task.

use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

use crate::scenario::{ProcessPlan, Scenario, WorkerPlan};
use crate::script::{Script, Step};

/// What the labels of slots' tasks begin with: they share them.
pub const LABEL: &str = "slots of ";
/// Workers that race for the slots.
const WORKERS: usize = 10;

/// A schedule that somebody creates, and disables so that the run can end.
#[derive(Clone, Debug)]
pub struct SchedulePlan {
    /// Its name.
    pub name: String,
    /// The type of its tasks.
    pub kind: String,
    /// Milliseconds from slot to slot.
    pub every_ms: u64,
    /// Whether missed slots are caught up with.
    pub catch_up: CatchUpPlan,
    /// What each task does.
    pub script: Script,
    /// When it is created.
    pub created_after: Duration,
    /// When it is disabled.
    pub disabled_after: Duration,
}

/// What is to happen to missed slots and to overlapping ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUpPlan {
    /// Every slot fires.
    All,
    /// The newest fires, unless the last task runs.
    LatestUnlessRunning,
    /// The newest fires, after the last task has ended.
    LatestInTurn,
}

/// Ten workers, a network as bad as any, and schedules that all of them fire.
#[must_use]
pub fn scheduled(mut scenario: Scenario, rng: &mut SmallRng) -> Scenario {
    let types = scenario.types();
    let latest = scenario.rough_for + Duration::from_secs(rng.random_range(60..400));
    scenario.schedules = (0..rng.random_range(1..4))
        .map(|n| {
            let name = format!("s{n}");
            let ms = *[20, 2_000, 70_000].choose(rng).unwrap_or(&20);
            let mut script = Script::plain(format!("{LABEL}{name}"), ms);
            if rng.random_bool(0.3) {
                script.steps.insert(0, Step::Fail { ms: 500, retry: true, delay_ms: None });
            }
            SchedulePlan {
                name,
                kind: types.choose(rng).cloned().unwrap_or_else(|| "type0".into()),
                every_ms: *[5_000, 20_000, 60_000].choose(rng).unwrap_or(&20_000),
                catch_up: *[
                    CatchUpPlan::All,
                    CatchUpPlan::All,
                    CatchUpPlan::LatestUnlessRunning,
                    CatchUpPlan::LatestInTurn,
                ]
                .choose(rng)
                .unwrap_or(&CatchUpPlan::All),
                script,
                created_after: Duration::from_millis(rng.random_range(0..40_000)),
                disabled_after: latest,
            }
        })
        .collect();
    let workers = scenario.processes.iter().filter(|process| process.worker.is_some()).count();
    let template: Vec<ProcessPlan> =
        scenario.processes.iter().filter(|process| process.worker.is_some()).cloned().collect();
    for (n, plan) in (workers..WORKERS).zip(template.iter().cycle()) {
        let worker = WorkerPlan { types: types.clone(), concurrency: 5, prefetch: None };
        scenario.processes.push(ProcessPlan {
            name: format!("x{n}"),
            starts_after: Duration::from_millis(rng.random_range(0..20_000)),
            bursts: Vec::new(),
            worker: Some(worker),
            ..plan.clone()
        });
    }
    scenario
}
