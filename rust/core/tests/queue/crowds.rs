//! Much at the same time: what a process has to do to stay alive does not wait behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use buquet_core::queue::{Queue, Submission, When};
use buquet_core::record::{Json, Options, Outcome};
use buquet_core::store::StoreErrorKind;
use buquet_core::store::memory::MemoryStore;
use buquet_core::worker::{Assignment, Options as WorkerOptions, Verdict, WorkOutcome, Worker};
use futures::future::join_all;
use tokio::time::{sleep, timeout};

use crate::queue::meddled::Meddled;
use crate::queue::support::queue_on;

const SOON: Duration = Duration::from_secs(5);

fn submission() -> Submission {
    let options = Options { timeout_ms: 3_600_000, ..Options::default() };
    Submission { options, ..Submission::new("t", Json::parse("7").unwrap()) }
}

async fn worker_on(queue: &Queue, kind: &str, concurrency: usize) -> Worker {
    let options = WorkerOptions { types: vec![kind.into()], concurrency, ..WorkerOptions::default() };
    Worker::start(queue, options).await.unwrap()
}

async fn assigned(worker: &Worker, count: usize) -> Vec<Assignment> {
    let mut tasks = Vec::new();
    while tasks.len() < count {
        tasks.extend(worker.next(count - tasks.len(), SOON).await.unwrap().assignments);
    }
    tasks
}

fn completed(task: &Assignment) -> WorkOutcome {
    WorkOutcome { id: task.id, lease: task.lease, outcome: Outcome::Complete { output: Json::parse("1").unwrap() } }
}

#[tokio::test(start_paused = true)]
async fn no_lease_falls_while_the_process_submits_ten_thousand_tasks_that_are_due_at_different_times() {
    let store = Arc::new(MemoryStore::new());
    let meddled = Arc::new(Meddled::new(&store, |_| None).with_latency(Duration::from_secs(2)));
    let queue = meddled.queue(1).await;
    // Somebody who would take the tasks of a worker that seems dead.
    let _watcher = worker_on(&queue_on(&store, 2).await, "another", 1).await;
    let worker = worker_on(&queue, "t", 1).await;
    queue.submit(submission()).await.unwrap();
    let task = assigned(&worker, 1).await.remove(0);
    let delays = (2..10_002).map(|minute| When::After(Duration::from_mins(minute)));
    let submits = delays.map(|when| queue.submit(Submission { when, ..submission() }));
    for submitted in join_all(submits).await {
        submitted.unwrap();
    }
    let next = worker.next(0, SOON).await.unwrap();
    assert!(next.lost.is_empty(), "{:?}", next.lost);
    let verdict = worker.settle(vec![completed(&task)]).await.remove(0).verdict;
    assert!(matches!(verdict, Verdict::Committed { .. }), "{verdict:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_says_slow_down_for_minutes_is_left_alone_and_all_outcomes_are_stored_soon_after() {
    const HELD: usize = 2_000;
    let store = Arc::new(MemoryStore::new());
    let (slow, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (switch, count) = (Arc::clone(&slow), Arc::clone(&asked));
    let meddled = Meddled::new(&store, move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        switch.load(Ordering::Relaxed).then_some(StoreErrorKind::Throttled)
    });
    let meddled = Arc::new(meddled.with_latency(Duration::from_millis(20)));
    let queue = meddled.queue(1).await;
    for _ in 0..HELD {
        queue.submit(submission()).await.unwrap();
    }
    let worker = Arc::new(worker_on(&queue, "t", HELD).await);
    let tasks = assigned(&worker, HELD).await;
    slow.store(true, Ordering::Relaxed);
    let settling = tokio::spawn({
        let worker = Arc::clone(&worker);
        async move { worker.settle(tasks.iter().map(completed).collect()).await }
    });
    sleep(Duration::from_mins(1)).await;
    let before = asked.load(Ordering::Relaxed);
    sleep(Duration::from_mins(4)).await;
    let a_second = (asked.load(Ordering::Relaxed) - before) / 240;
    assert!(a_second <= 5, "{a_second} requests a second to a store that cannot take any");
    slow.store(false, Ordering::Relaxed);
    let settled = timeout(Duration::from_secs(30), settling).await.expect("all is stored within 30 s").unwrap();
    let stored = settled.iter().filter(|settled| matches!(settled.verdict, Verdict::Committed { .. })).count();
    assert_eq!(stored, HELD);
}
