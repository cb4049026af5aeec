//! A fleet: twenty workers of ten types, and a burst of many records.

use std::time::Duration;

use buquet_core::store::faulty::FaultPlan;

use super::{Burst, Kind, ProcessPlan, Scenario, WorkerPlan};
use crate::script::Script;

/// Workers.
const WORKERS: u64 = 20;
/// Types; each worker knows three of them.
const TYPES: u64 = 10;
/// When the burst comes: by then the workers know each other.
const QUIET: Duration = Duration::from_mins(1);
/// How long a task runs: long enough that the burst is not over at once.
const RUNS_MS: u64 = 400;
/// Urgent tasks that are submitted during the burst.
const URGENT: u64 = 12;
/// What the labels of urgent tasks begin with.
pub const URGENT_LABEL: &str = "urgent";
/// What the labels of tasks begin with whose worker comes late.
pub const LATE_LABEL: &str = "late";
/// The name of that worker's process.
pub const LATE_WORKER: &str = "late";

impl Scenario {
    /// No fault: so many records of ten types come at once to twenty idle workers; while they are worked, urgent tasks come,
    /// and a worker for tasks that have lain among them from the beginning.
    #[must_use]
    pub fn fleet(seed: u64, records: usize) -> Self {
        let process = |name: String, starts_after, bursts, worker| ProcessPlan {
            name,
            starts_after,
            bursts,
            worker,
            lives: Vec::new(),
            clock_error_ms: 0,
        };
        let worker = |types| Some(WorkerPlan { types, concurrency: 20, prefetch: None });
        let mut processes: Vec<ProcessPlan> = (0..WORKERS)
            .map(|n| {
                let types = [0, 3, 7].iter().map(|more| format!("type{}", (n + more) % TYPES)).collect();
                process(format!("w{n}"), Duration::from_millis(n * 300), Vec::new(), worker(types))
            })
            .collect();
        let each = records / usize::try_from(TYPES).unwrap_or(1);
        processes.extend((0..TYPES).map(|n| {
            let mut bursts = vec![lone(each, &format!("burst{n}"), &format!("type{n}"))];
            if n == TYPES / 2 {
                bursts.insert(0, lone(5, LATE_LABEL, "late"));
            }
            process(format!("p{n}"), Duration::ZERO, wait(bursts), None)
        }));
        let urgent = |n: u64| Burst {
            after: Duration::from_secs(1),
            priority: 9,
            ..lone(1, &format!("{URGENT_LABEL}{n}"), &format!("type{}", n % TYPES))
        };
        processes.push(process("urgent".into(), Duration::ZERO, wait((0..URGENT).map(urgent).collect()), None));
        let late = worker(vec!["late".into()]);
        processes.push(process(LATE_WORKER.into(), QUIET + Duration::from_secs(6), Vec::new(), late));
        Self {
            seed,
            kind: Kind::Fleet,
            plan: FaultPlan::calm(),
            resolution_ms: 1_000,
            processes,
            schedules: Vec::new(),
            rough_for: Duration::ZERO,
        }
    }
}

/// The bursts, after the quiet time.
fn wait(mut bursts: Vec<Burst>) -> Vec<Burst> {
    if let Some(first) = bursts.first_mut() {
        first.after += QUIET;
    }
    bursts
}

/// So many tasks, each in a record of its own.
fn lone(tasks: usize, label: &str, kind: &str) -> Burst {
    let scripts = (0..tasks).map(|n| Script::plain(format!("{label}-{n}"), RUNS_MS)).collect();
    Burst { kind: kind.into(), scripts, apart: true, ..Burst::plain(0, label) }
}
