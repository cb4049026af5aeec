//! How often a worker looks at a file that hardly anybody writes to.

use std::sync::Arc;
use std::time::Duration;

use buquet_core::entropy::Entropy;
use buquet_core::id::TaskId;
use buquet_core::queue::{Queue, Settings, Submission};
use buquet_core::record::{Json, Outcome};
use buquet_core::store::sqlite::SqliteStore;
use buquet_core::store::{Store, StoreKind};
use buquet_core::worker::{Options as WorkerOptions, WorkOutcome, Worker};
use tempfile::TempDir;
use tokio::time::sleep;

use super::schedules::crew::{every, put};

const LONG: Duration = Duration::from_mins(1);
/// What a task may cost in reads: its schedule, its record, and the bell a few times.
const READS: u64 = 9;

/// A process on the file in the folder.
async fn process_on(folder: &TempDir, seed: u64) -> Queue {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&folder.path().join("q.db")).unwrap());
    Queue::open(store, Entropy::seeded(seed), Settings::for_store(StoreKind::Sqlite)).await.unwrap()
}

async fn worker_on(queue: &Queue) -> Worker {
    let options = WorkerOptions { types: vec!["report".into()], concurrency: 4, ..WorkerOptions::default() };
    Worker::start(queue, options).await.unwrap()
}

/// Works the next task, which has to come.
async fn work_one(worker: &Worker) -> TaskId {
    let task = worker.next(1, LONG).await.unwrap().assignments.pop().expect("no task came");
    let outcome = Outcome::Complete { output: Json::parse("1").unwrap() };
    worker.settle(vec![WorkOutcome { id: task.id, lease: task.lease, outcome }]).await;
    task.id
}

/// What the store is asked for by a task, after a first one: the least of five, since a busy machine only adds looks.
async fn reads_a_task(queue: &Queue, worker: &Worker) -> u64 {
    work_one(worker).await;
    let (mut before, mut least) = (queue.usage().requests.get, u64::MAX);
    for _ in 0..5 {
        work_one(worker).await;
        let now = queue.usage().requests.get;
        (before, least) = (now, least.min(now - before));
    }
    least
}

#[tokio::test]
async fn a_worker_with_a_schedule_does_not_look_for_its_own_writes() {
    let folder = tempfile::tempdir().unwrap();
    let queue = process_on(&folder, 1).await;
    let worker = worker_on(&queue).await;
    let mut schedule = put(every(1));
    schedule.definition.every_ms = Some(1_000);
    queue.put_schedule(schedule).await.unwrap();
    let reads = reads_a_task(&queue, &worker).await;
    assert!(reads <= READS, "{reads} reads a task");
    worker.stop().await;
}

#[tokio::test]
async fn a_write_of_another_process_is_found_with_a_few_looks() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, other) = (process_on(&folder, 1).await, process_on(&folder, 2).await);
    let worker = worker_on(&queue).await;
    let submits = tokio::spawn(async move {
        for _ in 0..20 {
            other.submit(Submission::new("report", Json::parse("1").unwrap())).await.unwrap();
            sleep(Duration::from_secs(1)).await;
        }
    });
    let reads = reads_a_task(&queue, &worker).await;
    assert!(reads <= READS, "{reads} reads a task");
    submits.abort();
    worker.stop().await;
}
