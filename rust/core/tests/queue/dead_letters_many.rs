//! Very many failed tasks on SQLite: listed, replayed and purged page by page, in memory that does not grow with them.
//!
//! `BUQUET_MANY=100000 cargo nextest run --release -p buquet-core --no-capture very_many` prints the figures.

use std::sync::Arc;
use std::time::Duration;

use buquet_core::entropy::Entropy;
use buquet_core::queue::{About, DeadFilter, Purge, Queue, Settings, Step, When};
use buquet_core::record::{Changes, Failure, Json, Move, Options, Outcome, TaskStatus};
use buquet_core::store::StoreKind;
use buquet_core::store::sqlite::SqliteStore;
use buquet_core::worker::{Options as WorkerOptions, WorkOutcome, Worker};
use tokio::time::{Instant, timeout};

/// Tasks, unless `BUQUET_MANY` says otherwise.
const COUNT: usize = 5_000;
/// How long a purge may take.
const PATIENCE: Duration = Duration::from_mins(10);
/// By how much the process may grow while it goes through all of them.
const GROWTH_MB: f64 = 48.0;

/// Megabytes of memory in use; `None` where the system does not tell so.
fn resident() -> Option<f64> {
    let pages: f64 = std::fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4096.0 / 1e6)
}

/// The most memory in use at any step of a job, and how long it takes.
struct Meter {
    what: &'static str,
    started: Instant,
    before: f64,
    most: f64,
}

impl Meter {
    fn start(what: &'static str) -> Self {
        let before = resident().unwrap_or_default();
        Self { what, started: Instant::now(), before, most: before }
    }

    fn look(&mut self) {
        self.most = self.most.max(resident().unwrap_or_default());
    }

    fn end(self, count: usize) {
        let Self { what, started, before, most } = self;
        let seconds = started.elapsed().as_secs_f64();
        println!("{what}: {count} tasks in {seconds:.1} s, from {before:.0} MB to at most {most:.0} MB");
        assert!(most - before < GROWTH_MB, "{what} grew from {before} MB to {most} MB");
    }
}

async fn fail_all(queue: &Queue, count: usize) {
    let options = WorkerOptions { types: vec!["t".into()], concurrency: 1_000, ..WorkerOptions::default() };
    let worker = Worker::start(queue, options).await.unwrap();
    let failure = Failure { kind: "E".into(), message: "no".into(), traceback: Some("line\n".repeat(200)) };
    let mut left = count;
    while left > 0 {
        let tasks = worker.next(1_000, Duration::from_secs(20)).await.unwrap().assignments;
        left -= tasks.len();
        let outcome = Outcome::Fail { error: failure.clone(), retry: false, retry_at: None };
        let outcomes =
            tasks.iter().map(|task| WorkOutcome { id: task.id, lease: task.lease, outcome: outcome.clone() });
        worker.settle(outcomes.collect()).await;
    }
    worker.stop().await;
}

async fn list_all(queue: &Queue) -> usize {
    let (mut meter, mut count, mut cursor) = (Meter::start("list"), 0, None);
    loop {
        let page = queue.failed(&DeadFilter::default(), 1_000, cursor.as_deref()).await.unwrap();
        count += page.tasks.len();
        meter.look();
        cursor = page.cursor;
        if cursor.is_none() {
            meter.end(count);
            return count;
        }
    }
}

async fn replay_all(queue: &Queue) -> usize {
    let (mut meter, mut count) = (Meter::start("replay"), 0);
    let mut step = Step { limit: 100, cursor: None, dry_run: false };
    loop {
        let changes = Changes::default();
        let stepped = queue.move_failed(&DeadFilter::default(), Move::Replay(&changes), &step).await.unwrap();
        count += stepped.tasks;
        meter.look();
        step.cursor = stepped.cursor;
        if step.cursor.is_none() {
            meter.end(count);
            return count;
        }
    }
}

/// What was failed in the last few milliseconds is too young for a clock that is a little behind: it is looked for again.
async fn purge_all(queue: &Queue, expected: usize) -> usize {
    let (mut meter, mut count) = (Meter::start("purge"), 0);
    let purge = Purge { status: [TaskStatus::Failed].into(), ..Purge::default() };
    let mut step = Step { limit: 100, cursor: None, dry_run: false };
    loop {
        let purged = queue.purge(&purge, &step).await.unwrap();
        count += purged.tasks;
        meter.look();
        step.cursor = purged.cursor;
        if step.cursor.is_none() && count >= expected {
            meter.end(count);
            return count;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn very_many_failed_tasks_are_handled_in_bounded_memory() {
    let count = std::env::var("BUQUET_MANY").map_or(COUNT, |count| count.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&folder.path().join("queue.db")).unwrap());
    let queue = Queue::open(store, Entropy::seeded(1), Settings::for_store(StoreKind::Sqlite)).await.unwrap();
    let input = Json::parse("{\"path\": \"cat.png\", \"size\": 256}").unwrap();
    for start in (0..count).step_by(10_000) {
        let inputs = vec![input.clone(); (count - start).min(10_000)];
        queue.submit_many("t", inputs, Options::default(), When::Now, &About::default()).await.unwrap();
    }
    fail_all(&queue, count).await;
    assert_eq!((list_all(&queue).await, replay_all(&queue).await), (count, count));
    queue.flush().await;
    assert_eq!(list_all(&queue).await, 0);
    fail_all(&queue, count).await;
    assert_eq!(timeout(PATIENCE, purge_all(&queue, count)).await.unwrap(), count);
    assert_eq!(list_all(&queue).await, 0);
}
