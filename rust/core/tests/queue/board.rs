//! Telling workers of cancellations where many want to at once, or the store does not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use buquet_core::id::TaskId;
use buquet_core::queue::{Queue, Submission};
use buquet_core::record::{Cancelling, Json};
use buquet_core::store::StoreErrorKind;
use buquet_core::store::memory::MemoryStore;
use buquet_core::worker::{Options as WorkerOptions, Worker};
use buquet_core::{Error, keys};
use futures::future::join_all;
use tokio::time::{Instant, timeout};

use crate::queue::meddled::Meddled;

const SOON: Duration = Duration::from_secs(5);

/// A worker that runs so many tasks, each in a record of its own.
async fn running(queue: &Queue, count: usize) -> (Worker, Vec<TaskId>) {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(queue.submit(Submission::new("t", Json::parse("7").unwrap())).await.unwrap());
    }
    let options = WorkerOptions { types: vec!["t".into()], concurrency: count, ..WorkerOptions::default() };
    let worker = Worker::start(queue, options).await.unwrap();
    let mut assigned = 0;
    while assigned < count {
        assigned += worker.next(count - assigned, SOON).await.unwrap().assignments.len();
    }
    (worker, ids)
}

/// The tasks of which the worker is told so soon that they are to stop.
async fn told(worker: &Worker, count: usize, within: Duration) -> BTreeSet<TaskId> {
    let mut told = BTreeSet::new();
    let all = async {
        while told.len() < count {
            told.extend(worker.next(0, SOON).await.unwrap().cancelled.iter().map(|called| called.id));
        }
    };
    let _ = timeout(within, all).await;
    told
}

#[tokio::test(start_paused = true)]
async fn of_fifty_processes_that_call_tasks_off_at_once_each_is_heard() {
    let store = Arc::new(MemoryStore::new());
    let meddled = Arc::new(Meddled::new(&store, |_| None).with_latency(Duration::from_millis(50)));
    let (worker, ids) = running(&meddled.queue(0).await, 50).await;
    let queues = join_all((1..=50).map(|seed| meddled.queue(seed))).await;
    let began = Instant::now();
    let cancels = queues.iter().zip(&ids).map(|(queue, id)| queue.cancel(std::slice::from_ref(id), None, None));
    let (answers, told) = tokio::join!(join_all(cancels), told(&worker, 50, Duration::from_secs(20)));
    for answer in answers {
        assert_eq!(answer.unwrap(), [Cancelling::Requested]);
    }
    assert_eq!(told.len(), 50, "told {} of 50 within {:?}", told.len(), began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_that_could_not_be_told_says_so_and_is_told_with_the_next() {
    let store = Arc::new(MemoryStore::new());
    let fails = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&fails);
    let meddle = move |ask: crate::queue::meddled::Ask<'_>| {
        (switch.load(Ordering::Relaxed) && ask.writes(keys::CANCELS)).then_some(StoreErrorKind::Throttled)
    };
    let queue = Arc::new(Meddled::new(&store, |_| None)).queue(1).await;
    let other = Arc::new(Meddled::new(&store, meddle)).queue(2).await;
    let (worker, ids) = running(&queue, 2).await;
    let refused = other.cancel(&ids[..1], None, None).await.unwrap_err();
    assert!(matches!(&refused, Error::Unavailable(message) if message.contains("could not be told")), "{refused}");
    fails.store(false, Ordering::Relaxed);
    other.cancel(&ids[1..], None, None).await.unwrap();
    assert_eq!(told(&worker, 2, Duration::from_secs(20)).await, ids.into_iter().collect());
}
