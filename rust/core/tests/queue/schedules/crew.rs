//! A queue with workers of several processes, and somebody who does what comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use buquet_core::queue::{Filter, PutSchedule, Queue, TaskView};
use buquet_core::record::{Extra, Json, Options, Outcome};
use buquet_core::schedule::{CatchUp, Definition, Overlap};
use buquet_core::store::memory::MemoryStore;
use buquet_core::time::Timestamp;
use buquet_core::worker::{Assignment, Options as WorkerOptions, WorkOutcome, Worker};
use tokio::time::sleep;

use crate::queue::support::queue_on;

pub const SOON: Duration = Duration::from_secs(5);
/// A whole hour.
pub const START: Timestamp = Timestamp(1_790_000_000_000 / 3_600_000 * 3_600_000);
pub const MINUTE: i64 = 60_000;

pub fn a_store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::starting_at(START).with_clock_resolution(1_000))
}

/// A worker of a process of its own, with somebody who waits for its tasks.
pub struct Crew {
    pub worker: Arc<Worker>,
    pub queue: Queue,
}

impl Crew {
    pub async fn start(store: &Arc<MemoryStore>, seed: u64) -> Self {
        let queue = queue_on(store, seed).await;
        let options = WorkerOptions { types: vec!["report".into()], concurrency: 4, ..WorkerOptions::default() };
        let worker = Arc::new(Worker::start(&queue, options).await.unwrap());
        Self { worker, queue }
    }

    /// Completes whatever comes until `until`.
    pub async fn work(&self, until: Timestamp) {
        while self.queue.bucket().now() < until {
            let wait = until.since(self.queue.bucket().now()).min(SOON);
            for task in self.worker.next(4, wait).await.unwrap().assignments {
                self.complete(&task).await;
            }
        }
    }

    pub async fn complete(&self, task: &Assignment) {
        let outcome = Outcome::Complete { output: Json::parse("1").unwrap() };
        self.worker.settle(vec![WorkOutcome { id: task.id, lease: task.lease, outcome }]).await;
    }

    pub async fn one(&self) -> Option<Assignment> {
        self.worker.next(1, SOON).await.unwrap().assignments.pop()
    }
}

pub fn every(minutes: u64) -> Definition {
    Definition {
        cron: None,
        timezone: None,
        every_ms: Some(minutes * 60_000),
        kind: "report".into(),
        input: Json::parse("{\"n\":1}").unwrap(),
        options: Options::default(),
        ttl_ms: None,
        tags: Vec::new(),
        metadata: BTreeMap::new(),
        overlap: Overlap::Allow,
        catch_up: CatchUp::Latest,
        catch_up_limit: 100,
        jitter_ms: 0,
        extra: Extra::new(),
    }
}

pub fn put(definition: Definition) -> PutSchedule {
    PutSchedule { name: "reports".into(), definition, enabled: None, replace: false }
}

pub async fn tasks(queue: &Queue) -> Vec<TaskView> {
    let mut tasks = queue.list(&Filter::default(), 1_000, None).await.unwrap().tasks;
    tasks.sort_by_key(|task| task.task.available_at);
    tasks
}

/// The slots that have a task, in minutes after the start; each once.
pub async fn slots(queue: &Queue) -> Vec<i64> {
    tasks(queue).await.iter().map(|task| (task.task.available_at.0 - START.0) / MINUTE).collect()
}

pub const fn at(minutes: i64) -> Timestamp {
    Timestamp(START.0 + minutes * MINUTE)
}

pub async fn sleep_until(store: &MemoryStore, moment: Timestamp) {
    sleep(moment.since(store.now())).await;
}
