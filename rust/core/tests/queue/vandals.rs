//! Stored objects that somebody has changed by hand, well-formed or not, on a store in memory with paused time.

use std::sync::Arc;
use std::time::Duration;

use buquet_core::entropy::Entropy;
use buquet_core::id::{RecordId, TaskId};
use buquet_core::keys::ReadyEntry;
use buquet_core::queue::{Filter, Queue, Settings, Submission};
use buquet_core::record::Json;
use buquet_core::store::memory::MemoryStore;
use buquet_core::store::{Store, StoreKind};
use buquet_core::worker::{Options as WorkerOptions, Worker};
use buquet_core::{Error, keys};

const SOON: Duration = Duration::from_secs(5);

fn submission() -> Submission {
    Submission::new("t", Json::parse("7").unwrap())
}

async fn open(store: &Arc<MemoryStore>, seed: u64) -> buquet_core::Result<Queue> {
    let store: Arc<dyn Store> = Arc::clone(store) as _;
    Queue::open(store, Entropy::seeded(seed), Settings::for_store(StoreKind::S3)).await
}

/// A queue with one task, whose record is then changed.
async fn queue_with(from: &str, to: &str) -> (Arc<MemoryStore>, Queue, TaskId) {
    let store = Arc::new(MemoryStore::new());
    let queue = open(&store, 1).await.unwrap();
    let id = queue.submit(submission()).await.unwrap();
    let key = keys::record(id.record());
    let body = String::from_utf8(store.objects()[&key].body.to_vec()).unwrap();
    assert!(body.contains(from), "{from} is not in {body}");
    queue.bucket().put(&key, body.replacen(from, to, 1).into()).await.unwrap();
    (store, queue, id)
}

async fn worker_on(store: &Arc<MemoryStore>) -> Worker {
    let options = WorkerOptions { types: vec!["t".into()], concurrency: 5, ..WorkerOptions::default() };
    Worker::start(&open(store, 2).await.unwrap(), options).await.unwrap()
}

/// Of a record that is changed so, nothing is handed out; it is reported, listed as corrupt, and left as it is, its
/// index entry too. Another task is worked all the same.
async fn is_set_aside(from: &str, to: &str) {
    let (store, queue, id) = queue_with(from, to).await;
    let key = keys::record(id.record());
    let (body, entries) = (store.objects()[&key].body.clone(), store.keys(keys::READY));
    let worker = worker_on(&store).await;
    let next = worker.next(5, SOON).await.unwrap();
    assert!(next.assignments.is_empty(), "{to}: {:?}", next.assignments);
    assert_eq!(next.problems.iter().map(|problem| &problem.key).collect::<Vec<_>>(), [&key], "{to}");
    assert!(next.problems[0].message.len() < 1_000, "{} characters", next.problems[0].message.len());

    let good = queue.submit(submission()).await.unwrap();
    let next = worker.next(5, SOON).await.unwrap();
    assert_eq!(next.assignments.iter().map(|task| task.id).collect::<Vec<_>>(), [good], "{to}");
    queue.flush().await;
    assert_eq!(store.objects()[&key].body, body, "{to}");
    assert!(entries.iter().all(|entry| store.keys(keys::READY).contains(entry)), "{to}: the way to it is gone");
}

async fn is_listed_as_corrupt(from: &str, to: &str) {
    let (_store, queue, id) = queue_with(from, to).await;
    let listing = queue.list(&Filter::default(), 10, None).await.unwrap();
    assert!(listing.tasks.is_empty(), "{to}");
    assert_eq!(listing.corrupt.len(), 1, "{to}");
    for error in [queue.get(&[id]).await.unwrap_err(), queue.wait(id, Some(SOON)).await.unwrap_err()] {
        assert!(matches!(error, Error::Corrupt(_)), "{to}: {error}");
    }
}

/// What one front or another could not read, or not compute with.
fn unreadable() -> Vec<(&'static str, String)> {
    let deep = format!("\"input\":{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let table = [
        ("\"input\":7", &*deep),
        ("\"input\":7", "\"input\":{\"a\":\"\\ud800\"}"),
        ("\"input\":7", "\"input\":1e999"),
        ("\"timeout_ms\":300000", "\"timeout_ms\":18446744073709551615"),
        ("\"timeout_ms\":300000", "\"timeout_ms\":0"),
        ("\"priority\":5", "\"priority\":10"),
        ("\"jitter\":0.2", "\"jitter\":2"),
        ("\"created_at\":\"20", "\"created_at\":\"0000-01-01T00:00:00Z\",\"was\":\"20"),
        ("\"status\":\"pending\"", "\"status\":\"asleep\""),
    ];
    let mut all: Vec<_> = table.into_iter().map(|(from, to)| (from, to.to_owned())).collect();
    all.push(("\"status\":\"pending\"", format!("\"status\":\"{}\"", "x".repeat(1_000_000))));
    all
}

#[tokio::test(start_paused = true)]
async fn a_record_that_some_front_could_not_read_is_set_aside_by_the_engine() {
    for (from, to) in unreadable() {
        is_set_aside(from, &to).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_waits_for_a_call_that_is_not_given_up() {
    let (store, ..) = queue_with("\"input\":7", "\"input\":").await;
    let options = WorkerOptions { types: vec!["t".into()], concurrency: 5, prefetch: Some(5), ..Default::default() };
    let worker = Worker::start(&open(&store, 2).await.unwrap(), options).await.unwrap();
    let without_room = worker.next(0, SOON).await.unwrap();
    assert!(without_room.problems.is_empty(), "{:?}", without_room.problems);
    assert_eq!(worker.next(1, SOON).await.unwrap().problems.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn such_a_record_does_not_spoil_the_page_it_is_listed_on() {
    for (from, to) in unreadable() {
        is_listed_as_corrupt(from, &to).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_whose_type_or_priority_was_changed_keeps_the_entry_that_leads_to_it() {
    is_set_aside("\"type\":\"t\"", "\"type\":\"u\"").await;
    is_set_aside("\"priority\":5", "\"priority\":6").await;
}

#[tokio::test(start_paused = true)]
async fn a_record_with_an_entry_that_no_key_can_say_keeps_its_entry() {
    is_set_aside("\"ready\":{\"due\":\"20", "\"ready\":{\"due\":\"1969-12-31T23:59:59Z\",\"was\":\"20").await;
}

#[tokio::test(start_paused = true)]
async fn a_record_whose_next_revision_nobody_could_read_is_left_as_it_is() {
    is_set_aside("\"seq\":1,\"ready\"", "\"seq\":9007199254740991,\"ready\"").await;
}

#[tokio::test(start_paused = true)]
async fn a_forged_entry_with_a_number_nobody_counted_to_makes_no_record_that_nobody_can_read() {
    let store = Arc::new(MemoryStore::new());
    let queue = open(&store, 1).await.unwrap();
    let record = RecordId::random(&Entropy::seeded(9));
    for seq in [1 << 53, u64::MAX] {
        let due = queue.bucket().now();
        let entry =
            ReadyEntry { due, record, seq, priority: 5, type_hash: keys::type_hash("t"), pending: 1, parked: false };
        queue.bucket().put(&entry.to_string(), "{}".into()).await.unwrap();
    }
    let worker = worker_on(&store).await;
    for _ in 0..40 {
        worker.next(5, SOON).await.unwrap();
    }
    let listing = queue.list(&Filter::default(), 10, None).await.unwrap();
    assert!(listing.corrupt.is_empty(), "{:?}", listing.corrupt);
}

#[tokio::test(start_paused = true)]
async fn what_a_newer_version_added_to_an_error_is_kept_and_not_told() {
    let error =
        "\"error\":{\"type\":\"E\",\"message\":\"no\",\"at\":\"2026-01-01T00:00:00Z\",\"new\":[[1]]},\"input\":7";
    let (_store, queue, id) = queue_with("\"input\":7", error).await;
    let task = queue.get(&[id]).await.unwrap().remove(0).unwrap().task;
    assert!(task.error.unwrap().extra.contains_key("new"));
}

#[tokio::test(start_paused = true)]
async fn a_damaged_marker_is_refused_with_what_to_do_and_nothing_is_written() {
    let bodies = [
        "",
        "\u{0}",
        "[]",
        "{\"hello\":1}",
        "{\"format\":0,\"shard_digits\":1}",
        "{\"format\":\"1\"}",
        &"[".repeat(100_000),
    ];
    for body in bodies {
        let store = Arc::new(MemoryStore::new());
        let queue = open(&store, 1).await.unwrap();
        queue.bucket().put(keys::MARKER, body.to_owned().into()).await.unwrap();
        let before = store.objects();
        match open(&store, 2).await {
            Err(Error::Corrupt(message)) => assert!(message.contains("put back"), "{message}"),
            other => panic!("{body:.20}: {other:?}"),
        }
        assert_eq!(store.objects(), before);
        queue.bucket().put(keys::MARKER, "{\"format\":1,\"shard_digits\":1}".into()).await.unwrap();
        open(&store, 3).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_registration_under_the_key_of_another_worker_is_corrupt() {
    let store = Arc::new(MemoryStore::new());
    let worker = worker_on(&store).await;
    let queue = open(&store, 3).await.unwrap();
    let own = keys::worker(worker.id());
    let body = store.objects()[&own].body.clone();
    queue.bucket().put("workers/0123456789abcdef.json", body).await.unwrap();
    let (workers, corrupt) = queue.workers().await.unwrap();
    assert_eq!(workers.iter().map(|seen| seen.registration.id).collect::<Vec<_>>(), [worker.id()]);
    assert_eq!(corrupt.len(), 1);
    assert!(corrupt[0].message.contains(&worker.id().to_string()), "{}", corrupt[0].message);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_would_write_too_long_a_registration_is_refused() {
    let store = Arc::new(MemoryStore::new());
    let queue = open(&store, 1).await.unwrap();
    let good = WorkerOptions { types: vec!["t".into()], concurrency: 1, ..WorkerOptions::default() };
    for bad in [
        WorkerOptions { host: "x".repeat(256), ..good.clone() },
        WorkerOptions { types: vec!["t".into(); 1_001], ..good.clone() },
        WorkerOptions { types: Vec::new(), ..good.clone() },
        WorkerOptions { concurrency: usize::MAX, ..good.clone() },
    ] {
        assert!(matches!(Worker::start(&queue, bad).await, Err(Error::Invalid(_))));
    }
    assert!(store.keys(keys::WORKERS).is_empty());
}
