//! A defect in one place takes nothing else down with it: what panics begins anew or says that it failed, and what it
//! had reserved is free again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use buquet_core::queue::{Queue, Submission};
use buquet_core::record::{Json, Outcome};
use buquet_core::store::memory::MemoryStore;
use buquet_core::worker::{Assignment, Next, Options as WorkerOptions, Verdict, WorkOutcome, Worker};
use buquet_core::{Error, keys};
use tokio::time::{Instant, timeout};

use crate::queue::meddled::{Ask, Meddled};
use crate::queue::support::queue_on;

const SOON: Duration = Duration::from_secs(5);

fn submission() -> Submission {
    Submission::new("t", Json::parse("7").unwrap())
}

/// A store that panics once it is armed, at the first request for which `at` holds.
fn breaking(store: &Arc<MemoryStore>, at: fn(Ask<'_>) -> bool) -> (Arc<Meddled>, Arc<AtomicBool>) {
    let armed = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&armed);
    let meddled = Meddled::new(store, move |ask| {
        assert!(!(at(ask) && switch.swap(false, Ordering::Relaxed)), "the test wants {ask:?} to panic");
        None
    });
    (Arc::new(meddled.with_latency(Duration::from_millis(10))), armed)
}

async fn worker_on(queue: &Queue) -> Worker {
    let options =
        WorkerOptions { types: vec!["t".into()], concurrency: 1, prefetch: Some(0), ..WorkerOptions::default() };
    Worker::start(queue, options).await.unwrap()
}

/// Calls `next` until it says something that is wanted.
async fn until<T>(worker: &Worker, within: Duration, mut wanted: impl FnMut(Next) -> Option<T>) -> Option<T> {
    let found = async {
        loop {
            if let Some(found) = wanted(worker.next(1, SOON).await.unwrap()) {
                return found;
            }
        }
    };
    timeout(within, found).await.ok()
}

async fn one(worker: &Worker, within: Duration) -> Option<Assignment> {
    until(worker, within, |mut next| next.assignments.pop()).await
}

async fn settle(worker: &Worker, task: &Assignment) -> Verdict {
    let outcome = Outcome::Complete { output: Json::parse("1").unwrap() };
    worker.settle(vec![WorkOutcome { id: task.id, lease: task.lease, outcome }]).await.remove(0).verdict
}

#[tokio::test(start_paused = true)]
async fn a_loop_of_a_worker_that_panics_begins_anew_and_says_so() {
    type Meets = fn(Ask<'_>) -> bool;
    let loops: [(Meets, &str); 5] = [
        (|ask| ask.lists(keys::READY), "looking for work panicked"),
        (|ask| ask == Ask::Get(keys::BELL), "looking for work panicked"),
        (|ask| ask.writes(keys::WORKERS), "writing the heartbeat panicked"),
        (|ask| ask.lists(keys::LEASES), "looking after lost workers panicked"),
        (|ask| ask == Ask::Get(keys::CANCELS), "reading cancellations panicked"),
    ];
    for (at, words) in loops {
        let store = Arc::new(MemoryStore::new());
        let (meddled, armed) = breaking(&store, at);
        let (producer, worker) = (queue_on(&store, 2).await, worker_on(&meddled.queue(1).await).await);
        producer.submit(submission()).await.unwrap();
        let first = one(&worker, SOON).await.unwrap();
        armed.store(true, Ordering::Relaxed);
        let told = until(&worker, Duration::from_mins(3), |next| {
            next.warnings.iter().any(|warning| warning.contains(words)).then_some(())
        });
        assert!(told.await.is_some(), "{words}: the front was not told");
        assert!(matches!(settle(&worker, &first).await, Verdict::Committed { .. }), "{words}");
        producer.submit(submission()).await.unwrap();
        let second = one(&worker, Duration::from_secs(30)).await;
        assert!(second.is_some(), "{words}: no work is found any more");
        // Longer than a worker without a heartbeat keeps its leases.
        let lost = until(&worker, Duration::from_mins(2), |mut next| next.lost.pop()).await;
        assert!(lost.is_none(), "{words}: {lost:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_panics_takes_no_room_from_others_and_is_tried_again_later() {
    let store = Arc::new(MemoryStore::new());
    let (meddled, armed) = breaking(&store, |ask| ask.writes(keys::LEASES));
    let (producer, worker) = (queue_on(&store, 2).await, worker_on(&meddled.queue(1).await).await);
    armed.store(true, Ordering::Relaxed);
    let first = producer.submit(submission()).await.unwrap();
    let problem = until(&worker, SOON, |mut next| next.problems.pop()).await.unwrap();
    assert!(problem.message.contains("a claim panicked"), "{problem:?}");
    let second = producer.submit(submission()).await.unwrap();
    let task = one(&worker, SOON).await.unwrap();
    assert_eq!(task.id, second);
    settle(&worker, &task).await;
    assert_eq!(one(&worker, Duration::from_mins(15)).await.unwrap().id, first);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_whose_storing_panics_is_reported_and_its_task_runs_again() {
    let store = Arc::new(MemoryStore::new());
    let (meddled, armed) = breaking(&store, |ask| ask.writes(keys::TASKS));
    let (producer, worker) = (queue_on(&store, 2).await, worker_on(&meddled.queue(1).await).await);
    let id = producer.submit(submission()).await.unwrap();
    let task = one(&worker, SOON).await.unwrap();
    armed.store(true, Ordering::Relaxed);
    let verdict = timeout(SOON, settle(&worker, &task)).await.unwrap();
    assert!(matches!(&verdict, Verdict::LeaseLost(message) if message.contains("to panic")), "{verdict:?}");
    let problem = until(&worker, SOON, |mut next| next.problems.pop()).await.unwrap();
    assert!(problem.message.contains("could not be stored"), "{problem:?}");
    let again = one(&worker, Duration::from_mins(3)).await.unwrap();
    assert_eq!((again.id, again.attempt), (id, 2));
    assert!(matches!(settle(&worker, &again).await, Verdict::Committed { .. }));
    let began = Instant::now();
    worker.stop().await;
    assert!(began.elapsed() < SOON, "it waited for the outcome that was given up");
}

#[tokio::test(start_paused = true)]
async fn a_submit_that_panics_is_an_error_and_holds_up_no_other() {
    let store = Arc::new(MemoryStore::new());
    let (meddled, armed) = breaking(&store, |ask| ask.writes(keys::TASKS));
    let queue = meddled.queue(1).await;
    armed.store(true, Ordering::Relaxed);
    let failed = timeout(SOON, queue.submit(submission())).await.unwrap();
    assert!(matches!(&failed, Err(Error::Closed(message)) if message.contains("may exist")), "{failed:?}");
    timeout(SOON, queue.submit(submission())).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_result_ends_with_an_error_when_the_watch_panics() {
    let store = Arc::new(MemoryStore::new());
    let (meddled, armed) = breaking(&store, |ask| matches!(ask, Ask::Get(key) if key.starts_with(keys::TASKS)));
    let queue = meddled.queue(1).await;
    let id = queue.submit(submission()).await.unwrap();
    armed.store(true, Ordering::Relaxed);
    let failed = queue.wait(id, Some(SOON)).await;
    assert!(matches!(failed, Err(Error::Internal(_))), "{failed:?}");
    assert!(matches!(queue.wait(id, Some(SOON)).await, Err(Error::Timeout(_))), "the next watch looks again");
}
