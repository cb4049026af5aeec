//! Large inputs and outputs lie in objects of their own: written before the commit that names them, read as if they
//! lay in the record, and collected when nothing names them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use buquet_core::Error;
use buquet_core::entropy::Entropy;
use buquet_core::id::{CommitId, RecordId, TaskId};
use buquet_core::keys;
use buquet_core::limits;
use buquet_core::payload::{Payload, Upload, read_piece};
use buquet_core::queue::{About, Purge, Queue, Step, Submission, TaskView, Unique, When};
use buquet_core::record::{BatchRecord, Failure, Json, Options, Outcome, Stowed, TaskStatus};
use buquet_core::store::memory::MemoryStore;
use buquet_core::store::{Condition, Store};
use buquet_core::worker::{Assignment, Options as WorkerOptions, Verdict, WorkOutcome, Worker};
use bytes::Bytes;

use crate::queue::support::queue_on;

const SOON: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_hours(24);

fn json(text: &str) -> Json {
    Json::parse(text).unwrap()
}

/// JSON of so many bytes.
fn large(bytes: usize, letter: &str) -> Json {
    json(&format!("\"{}\"", letter.repeat(bytes - 2)))
}

fn submission(input: Json) -> Submission {
    Submission::new("t", input)
}

async fn submit_all(queue: &Queue, inputs: Vec<Json>) -> Vec<TaskId> {
    queue.submit_many("t", inputs, Options::default(), When::Now, &About::default()).await.unwrap()
}

async fn worker_on(queue: &Queue) -> Worker {
    let options = WorkerOptions { types: vec!["t".into()], concurrency: 200, ..WorkerOptions::default() };
    Worker::start(queue, options).await.unwrap()
}

async fn take(worker: &Worker, count: usize) -> Vec<Assignment> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.extend(worker.next(count - taken.len(), SOON).await.unwrap().assignments);
    }
    taken
}

async fn settle(worker: &Worker, task: &Assignment, outcome: Outcome) -> Verdict {
    worker.settle(vec![WorkOutcome { id: task.id, lease: task.lease, outcome }]).await.remove(0).verdict
}

async fn read(queue: &Queue, id: TaskId) -> TaskView {
    queue.fill(queue.get(&[id]).await.unwrap()).await.remove(0).unwrap()
}

fn record(store: &MemoryStore, id: TaskId) -> BatchRecord {
    let key = keys::record(id.record());
    BatchRecord::decode(&key, &store.objects()[&key].body).unwrap()
}

async fn upload(queue: &Queue, owner: Option<RecordId>, pieces: &[&'static [u8]]) -> Payload {
    let mut upload = Upload::begin(queue.bucket(), owner);
    for piece in pieces {
        upload.append(queue.bucket(), Bytes::from_static(piece)).await.unwrap();
    }
    upload.finish(queue.bucket()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_large_input_and_output_travel_outside_of_the_record() {
    let store = Arc::new(MemoryStore::new().recording());
    let queue = queue_on(&store, 11).await;
    let (input, output) = (large(100_000, "i"), large(100_000, "o"));
    let id = queue.submit(submission(input.clone())).await.unwrap();
    let worker = worker_on(&queue).await;
    let task = take(&worker, 1).await.remove(0);
    assert_eq!(task.input, input, "handed out as if it lay in the record");
    assert!(matches!(
        settle(&worker, &task, Outcome::Complete { output: output.clone() }).await,
        Verdict::Committed { .. }
    ));
    let done = read(&queue, id).await.task;
    assert_eq!((done.input, done.output), (input, Some(output)));
    let stored = record(&store, id);
    assert_eq!((stored.tasks[0].input.text(), &stored.tasks[0].output), ("null", &None));
    assert!(stored.encode().unwrap().len() < 2_000);
    // Each before the revision that names it.
    let order: Vec<&str> = store
        .changes()
        .iter()
        .filter_map(|change| change.key.split('/').next().filter(|kind| ["tasks", "payloads"].contains(kind)))
        .map(|kind| if kind == "tasks" { "commit" } else { "payload" })
        .collect();
    assert_eq!(order, ["payload", "commit", "commit", "payload", "commit"]);
}

#[tokio::test(start_paused = true)]
async fn only_records_that_name_payloads_have_the_newer_format() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 11).await;
    let plain = queue.submit(submission(large(limits::INLINE_BYTES, "x"))).await.unwrap();
    let stowed = queue.submit(submission(large(limits::INLINE_BYTES + 1, "x"))).await.unwrap();
    assert_eq!((record(&store, plain).format, record(&store, stowed).format), (1, 2));
    assert_eq!(store.keys(keys::PAYLOADS).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_outputs_of_one_record_do_not_make_it_grow_without_end() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 11).await;
    let ids = submit_all(&queue, (0..100).map(|n| json(&n.to_string())).collect()).await;
    let worker = worker_on(&queue).await;
    for task in take(&worker, 100).await {
        let output = large(30_000, "o");
        assert!(matches!(settle(&worker, &task, Outcome::Complete { output }).await, Verdict::Committed { .. }));
    }
    let size = record(&store, ids[0]).encode().unwrap().len();
    assert!(size < limits::RECORD_FULL + 100_000, "{size} bytes");
    for id in ids {
        assert_eq!(read(&queue, id).await.task.output, Some(large(30_000, "o")));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_to_be_handed_out_is_named() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 11).await;
    let input = large(limits::PAYLOAD_BYTES + 1, "i");
    queue.submit(submission(input.clone())).await.unwrap();
    let worker = worker_on(&queue).await;
    let task = take(&worker, 1).await.remove(0);
    assert_eq!(task.input.text(), "null");
    let piece = read_piece(queue.bucket(), task.id.record(), &task.input_ref.unwrap(), 0).await.unwrap();
    assert_eq!(piece, input.text().as_bytes());
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_was_tampered_with_is_not_handed_out_and_the_reader_learns_why() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 11).await;
    let ids = submit_all(&queue, vec![large(50_000, "a"), large(50_000, "b"), large(50_000, "c")]).await;
    let key = |id: TaskId| {
        let task = &record(&store, id).tasks[usize::from(id.index())];
        keys::payload(id.record(), task.input_ref.as_ref().unwrap().id, 0)
    };
    let swapped = store.objects()[&key(ids[1])].body.clone();
    store.put(&key(ids[0]), swapped, &Condition::Always).await.unwrap();
    store.put(&key(ids[1]), Bytes::from_static(b"\"b\""), &Condition::Always).await.unwrap();
    store.delete_many(&[key(ids[2])]).await.unwrap();
    let worker = worker_on(&queue).await;
    for (task, what) in take(&worker, 3).await.iter().zip(["SHA-256", "length", "gone"]) {
        assert_eq!(task.input.text(), "null");
        let error =
            read_piece(queue.bucket(), task.id.record(), task.input_ref.as_ref().unwrap(), 0).await.unwrap_err();
        assert!(matches!(error, Error::Corrupt(_)) && error.to_string().contains(what), "{error}");
        assert!(error.to_string().contains("payloads/"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn payloads_come_with_an_input_and_an_output() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 11).await;
    let payload = upload(&queue, None, &[b"one", b"two"]).await;
    let id = queue.submit_with(submission(json("{\"file\":0}")), vec![payload.clone()]).await.unwrap();
    assert_eq!(id.record(), payload.owner);
    let worker = worker_on(&queue).await;
    let task = take(&worker, 1).await.remove(0);
    let names: Vec<_> = task.input_files.iter().map(|name| (name.id, name.bytes, name.pieces)).collect();
    assert_eq!(names, [(payload.name.id, 6, 2)]);
    assert_eq!(read_piece(queue.bucket(), payload.owner, &task.input_files[0], 1).await.unwrap(), "two");
    let result = upload(&queue, Some(id.record()), &[b"result"]).await;
    let stowed = Stowed { files: vec![result.name.clone()], ..Stowed::inline(json("{\"file\":0}")) };
    assert!(matches!(settle(&worker, &task, Outcome::CompleteStowed(stowed)).await, Verdict::Committed { .. }));
    let done = read(&queue, id).await.task;
    assert_eq!(done.output_files[0].id, result.name.id);
    assert_eq!(done.payloads().count(), 2);
}

#[tokio::test(start_paused = true)]
async fn payloads_are_good_for_one_submit_of_their_own_and_for_a_while() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 11).await;
    let (one, other) = (upload(&queue, None, &[b"1"]).await, upload(&queue, None, &[b"2"]).await);
    let refused = |answer: Result<TaskId, Error>, what: &str| {
        let error = answer.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)) && error.to_string().contains(what), "{error}");
    };
    refused(queue.submit_with(submission(json("1")), vec![one.clone(), other.clone()]).await, "belongs to record");
    queue.submit_with(submission(json("1")), vec![one.clone()]).await.unwrap();
    refused(queue.submit_with(submission(json("2")), vec![one]).await, "write them again");
    tokio::time::sleep(Duration::from_hours(13)).await;
    refused(queue.submit_with(submission(json("1")), vec![other]).await, "last 12 hours");
}

#[tokio::test(start_paused = true)]
async fn payloads_that_no_record_names_are_collected_once_they_are_old() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 11).await;
    let named = queue.submit(submission(large(50_000, "x"))).await.unwrap();
    let kept = upload(&queue, None, &[b"kept", b"kept"]).await;
    queue.submit_with(submission(json("1")), vec![kept]).await.unwrap();
    upload(&queue, None, &[b"orphan", b"orphan"]).await;
    upload(&queue, Some(named.record()), &[b"of an attempt that was lost"]).await;
    tokio::time::sleep(DAY + SOON).await;
    upload(&queue, None, &[b"on its way"]).await;

    let look = |dry_run| queue.collect_payloads(DAY, 1_000, None, dry_run);
    let found = look(true).await.unwrap();
    assert_eq!((found.orphans, found.bytes, found.kept, found.cursor), (3, 39, 4, None));
    assert_eq!(store.keys(keys::PAYLOADS).len(), 7, "a dry run deletes nothing");
    assert_eq!(look(false).await.unwrap().orphans, 3);
    assert_eq!(store.keys(keys::PAYLOADS).len(), 4);
    assert_eq!(look(false).await.unwrap().orphans, 0);
    assert_eq!(read(&queue, named).await.task.input, large(50_000, "x"));

    let hasty = queue.collect_payloads(Duration::from_hours(1), 1_000, None, true).await.unwrap_err();
    assert!(hasty.to_string().contains("24 hours"), "{hasty}");
}

#[tokio::test(start_paused = true)]
async fn collecting_goes_page_by_page_and_keeps_what_an_unreadable_record_may_name() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 11).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let payload = upload(&queue, None, &[b"x", b"y"]).await;
        if n < 2 {
            ids.push(queue.submit_with(submission(json("1")), vec![payload]).await.unwrap());
        }
    }
    store.put(&keys::record(ids[0].record()), Bytes::from_static(b"{"), &Condition::Always).await.unwrap();
    tokio::time::sleep(DAY + SOON).await;
    let (mut cursor, mut orphans, mut corrupt) = (None, 0, Vec::new());
    loop {
        let page = queue.collect_payloads(DAY, 3, cursor.as_deref(), false).await.unwrap();
        orphans += page.orphans;
        corrupt.extend(page.corrupt.into_iter().map(|object| object.key));
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    corrupt.dedup();
    assert_eq!((orphans, corrupt), (6, vec![keys::record(ids[0].record())]));
    assert_eq!(store.keys(keys::PAYLOADS).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_purge_takes_the_payloads_of_what_it_purges() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 11).await;
    let ids = submit_all(&queue, vec![large(50_000, "a"), large(50_000, "b")]).await;
    let worker = worker_on(&queue).await;
    for task in take(&worker, 2).await {
        let error = Failure { kind: "E".into(), message: String::new(), traceback: None };
        let outcome = if task.id == ids[0] {
            Outcome::Fail { error, retry: false, retry_at: None }
        } else {
            Outcome::Complete { output: large(50_000, "o") }
        };
        settle(&worker, &task, outcome).await;
    }
    assert_eq!(store.keys(keys::PAYLOADS).len(), 3);
    tokio::time::sleep(DAY).await;
    let purge =
        |status| Purge { status: BTreeSet::from([status]), older_than: Duration::from_hours(1), ..Purge::default() };
    let step = Step { limit: 10, cursor: None, dry_run: false };
    queue.purge(&purge(TaskStatus::Failed), &step).await.unwrap();
    assert_eq!(store.keys(keys::PAYLOADS).len(), 2, "the other task of the record keeps its own");
    assert_eq!(read(&queue, ids[1]).await.task.output, Some(large(50_000, "o")));
    tokio::time::sleep(DAY).await;
    queue.purge(&purge(TaskStatus::Completed), &step).await.unwrap();
    assert!(store.keys(keys::PAYLOADS).is_empty() && store.keys(keys::TASKS).is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_output_of_an_attempt_that_was_overtaken_does_not_stay() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 11).await;
    let id = queue.submit(submission(json("1"))).await.unwrap();
    let worker = worker_on(&queue).await;
    let task = take(&worker, 1).await.remove(0);
    let kept = upload(&queue, Some(id.record()), &[b"may be named again"]).await;
    // Under another lease it has come to an end before the worker comes to store what it has.
    let mut stolen = record(&store, id);
    let done = Outcome::Complete { output: json("2") };
    stolen.settle(id, task.lease, &done, queue.bucket().now(), 0.0);
    stolen.rev += 1;
    stolen.commit = CommitId::random(&Entropy::seeded(5));
    let key = keys::record(id.record());
    store.put(&key, stolen.encode().unwrap(), &Condition::Always).await.unwrap();
    let late = Stowed { files: vec![kept.name.clone()], ..Stowed::inline(large(50_000, "late")) };
    let verdict = settle(&worker, &task, Outcome::CompleteStowed(late)).await;
    assert!(matches!(&verdict, Verdict::LeaseLost(why) if why.contains("not under this lease")), "{verdict:?}");
    queue.flush().await;
    assert_eq!(store.keys(keys::PAYLOADS), [keys::payload(kept.owner, kept.name.id, 0)]);
}

#[tokio::test(start_paused = true)]
async fn the_second_submit_of_a_key_leaves_no_payload() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 11).await;
    let unique = Unique { key: Some("k".into()), ..Unique::default() };
    for made in [true, false] {
        assert_eq!(queue.submit_unique(&submission(large(50_000, "x")), &unique).await.unwrap().1, made);
    }
    queue.flush().await;
    assert_eq!(store.keys(keys::PAYLOADS).len(), 1);
}
