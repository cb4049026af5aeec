//! A store that says no for a while: what is lost by it, and how soon all goes on afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use buquet_core::keys;
use buquet_core::queue::{Queue, Submission};
use buquet_core::record::Json;
use buquet_core::store::StoreErrorKind;
use buquet_core::store::memory::{Change, MemoryStore};
use buquet_core::worker::{Options as WorkerOptions, Worker};
use tokio::time::{Instant, sleep, timeout};

use crate::queue::meddled::{Ask, Meddled};
use crate::queue::support::queue_on;

const SOON: Duration = Duration::from_secs(5);

fn submission() -> Submission {
    Submission::new("t", Json::parse("7").unwrap())
}

async fn worker_on(queue: &Queue) -> Worker {
    let options = WorkerOptions { types: vec!["t".into()], concurrency: 5, ..WorkerOptions::default() };
    Worker::start(queue, options).await.unwrap()
}

/// A store that refuses to commit records while the switch is on, and counts what it is asked about them meanwhile.
fn refusing(store: &Arc<MemoryStore>, kind: StoreErrorKind) -> (Arc<Meddled>, Arc<AtomicBool>, Arc<AtomicUsize>) {
    let (refuses, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (switch, count) = (Arc::clone(&refuses), Arc::clone(&reads));
    let meddled = Meddled::new(store, move |ask| {
        let on = switch.load(Ordering::Relaxed);
        if on && matches!(ask, Ask::Get(key) if key.starts_with(keys::TASKS)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        (on && ask.writes(keys::TASKS)).then_some(kind)
    });
    (Arc::new(meddled.with_latency(Duration::from_millis(10))), refuses, reads)
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_was_told_to_slow_down_leaves_nothing_behind_and_is_made_as_soon_as_the_store_takes_it() {
    let store = Arc::new(MemoryStore::new());
    let producer = queue_on(&store, 1).await;
    let id = producer.submit(submission()).await.unwrap();
    let (meddled, refuses, _) = refusing(&store, StoreErrorKind::Throttled);
    let queue = meddled.queue(2).await;
    refuses.store(true, Ordering::Relaxed);
    let worker = worker_on(&queue).await;
    // Longer than one operation goes on.
    assert!(worker.next(1, Duration::from_secs(100)).await.unwrap().assignments.is_empty());
    refuses.store(false, Ordering::Relaxed);
    let calm = Instant::now();
    let task = loop {
        if let Some(task) = worker.next(1, SOON).await.unwrap().assignments.pop() {
            break task;
        }
    };
    assert_eq!(task.id, id);
    assert!(calm.elapsed() < Duration::from_secs(10), "claimed {:?} after the store was well again", calm.elapsed());
    queue.flush().await;
    let leases = store.keys(keys::LEASES);
    assert_eq!(leases.len(), 1, "of the claims that did not land no lease is left: {leases:?}");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_told_to_slow_down_or_met_another_is_sent_again_without_a_read() {
    for kind in [StoreErrorKind::Throttled, StoreErrorKind::Conflict] {
        let store = Arc::new(MemoryStore::new());
        let (meddled, refuses, reads) = refusing(&store, kind);
        let queue = meddled.queue(2).await;
        refuses.store(true, Ordering::Relaxed);
        let submit = queue.submit(submission());
        let calm = async {
            sleep(Duration::from_secs(3)).await;
            refuses.store(false, Ordering::Relaxed);
        };
        let (submitted, ()) = timeout(Duration::from_secs(20), async { tokio::join!(submit, calm) }).await.unwrap();
        submitted.unwrap();
        assert_eq!(reads.load(Ordering::Relaxed), 0, "{kind:?}: nothing could have come of it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_submit_that_was_told_to_slow_down_until_it_gave_up_leaves_no_entry_to_look_into() {
    let store = Arc::new(MemoryStore::new());
    let (meddled, refuses, _) = refusing(&store, StoreErrorKind::Throttled);
    let queue = meddled.queue(2).await;
    refuses.store(true, Ordering::Relaxed);
    queue.submit(submission()).await.unwrap_err();
    queue.flush().await;
    assert!(store.keys(keys::READY).is_empty(), "{:?}", store.keys(keys::READY));
}

/// Where, in what a recording store saw from `from` on, a key that begins with `prefix` was first written.
fn first_write(store: &MemoryStore, from: usize, prefix: &str) -> Option<usize> {
    let written = |change: &Change| change.key.starts_with(prefix) && change.body.is_some();
    store.changes().iter().skip(from).position(written)
}

#[tokio::test(start_paused = true)]
async fn after_a_suspension_of_its_machine_a_worker_shows_that_it_lives_before_it_claims() {
    let store = Arc::new(MemoryStore::new().recording());
    let meddled = Arc::new(Meddled::new(&store, |_| None).with_latency(Duration::from_millis(10)));
    let worker = worker_on(&meddled.queue(1).await).await;
    worker.next(1, SOON).await.unwrap();
    let before = store.changes().len();
    // The local clock knows nothing of it.
    meddled.suspend(Duration::from_mins(2));
    queue_on(&store, 2).await.submit(submission()).await.unwrap();
    assert_eq!(worker.next(1, SOON).await.unwrap().assignments.len(), 1);
    let (beat, lease) = (first_write(&store, before, keys::WORKERS), first_write(&store, before, keys::LEASES));
    assert!(beat.is_some() && beat < lease, "heartbeat {beat:?}, lease {lease:?} of the changes since");
}

#[tokio::test(start_paused = true)]
async fn after_a_suspension_of_its_machine_a_worker_that_runs_tasks_shows_at_once_that_it_lives() {
    let store = Arc::new(MemoryStore::new().recording());
    let meddled = Arc::new(Meddled::new(&store, |_| None).with_latency(Duration::from_millis(10)));
    let queue = meddled.queue(1).await;
    queue.submit(submission()).await.unwrap();
    let worker = worker_on(&queue).await;
    assert_eq!(worker.next(1, SOON).await.unwrap().assignments.len(), 1);
    let before = store.changes().len();
    meddled.suspend(Duration::from_mins(2));
    worker.next(1, Duration::from_secs(2)).await.unwrap();
    assert!(first_write(&store, before, keys::WORKERS).is_some(), "no heartbeat within two seconds");
}
