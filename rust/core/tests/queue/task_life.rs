//! What may befall a task besides being worked: called off, too late, the only one of its kind, watched.

use std::sync::Arc;
use std::time::Duration;

use buquet_core::Error;
use buquet_core::id::TaskId;
use buquet_core::queue::{About, CancelFilter, Queue, Scope, Settings, Submission, Unique, When};
use buquet_core::record::{Cancelling, Extras, Json, Options, Outcome, TaskStatus};
use buquet_core::store::memory::MemoryStore;
use buquet_core::store::{Condition, Store, StoreKind};
use buquet_core::worker::{Assignment, Ended, Options as WorkerOptions, WorkOutcome, Worker};

use bytes::Bytes;

use crate::queue::support::queue_on;

const SOON: Duration = Duration::from_secs(5);

fn submission() -> Submission {
    Submission::new("t", Json::parse("{\"n\": 1}").unwrap())
}

fn tagged(tag: &str) -> About {
    About { extras: Extras { tags: vec![tag.into()], ..Extras::default() }, expiry: None }
}

async fn worker_on(queue: &Queue, prefetch: usize) -> Worker {
    let types = vec!["t".into(), "u".into()];
    let options = WorkerOptions { types, concurrency: 4, prefetch: Some(prefetch), ..WorkerOptions::default() };
    Worker::start(queue, options).await.unwrap()
}

async fn one(worker: &Worker) -> Assignment {
    worker.next(1, SOON).await.unwrap().assignments.remove(0)
}

async fn settle(worker: &Worker, task: &Assignment, outcome: Outcome) {
    worker.settle(vec![WorkOutcome { id: task.id, lease: task.lease, outcome }]).await;
}

async fn many(queue: &Queue, kind: &str, count: usize, about: &About) -> Vec<TaskId> {
    let inputs = (0..count).map(|n| Json::parse(&n.to_string()).unwrap()).collect();
    queue.submit_many(kind, inputs, Options::default(), When::Now, about).await.unwrap()
}

async fn statuses(queue: &Queue, ids: &[TaskId]) -> Vec<TaskStatus> {
    queue.get(ids).await.unwrap().into_iter().map(|task| task.unwrap().task.status).collect()
}

fn keyed(key: &str) -> Unique {
    Unique { key: Some(key.into()), ..Unique::default() }
}

#[tokio::test(start_paused = true)]
async fn a_running_task_hears_within_a_heartbeat_that_another_process_called_it_off() {
    let store = Arc::new(MemoryStore::new());
    let (queue, other) = (queue_on(&store, 1).await, queue_on(&store, 2).await);
    let worker = worker_on(&queue, 0).await;
    let id = other.submit(submission()).await.unwrap();
    let task = one(&worker).await;
    let answer = other.cancel(&[id], Some("ada".into()), Some("wrong picture".into())).await.unwrap();
    assert_eq!(answer, [Cancelling::Requested]);
    let heartbeat = Settings::for_store(StoreKind::S3).heartbeat;
    let next = worker.next(0, heartbeat + SOON).await.unwrap();
    let [told] = &next.cancelled[..] else { unreachable!("not told: {next:?}") };
    assert_eq!((told.id, told.lease, told.by.as_deref()), (id, task.lease, Some("ada")));
    settle(&worker, &task, Outcome::Cancel).await;
    let ended = other.wait(id, Some(SOON)).await.unwrap().task;
    assert_eq!(ended.status, TaskStatus::Cancelled);
    assert_eq!(ended.cancel.unwrap().reason.as_deref(), Some("wrong picture"));
    assert_eq!(other.cancel(&[id], None, None).await.unwrap(), [Cancelling::Finished(TaskStatus::Cancelled)]);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_keeps_no_worker_from_hearing_of_the_others() {
    let store = Arc::new(MemoryStore::new());
    let (queue, other) = (queue_on(&store, 1).await, queue_on(&store, 2).await);
    let worker = worker_on(&queue, 0).await;
    let id = other.submit(submission()).await.unwrap();
    let task = one(&worker).await;
    let damaged = other.submit(Submission::new("nobody", Json::parse("1").unwrap())).await.unwrap();
    let key = store.keys("tasks/").into_iter().find(|key| !key.contains(&id.record().to_string())).unwrap();
    store.put(&key, Bytes::from_static(b"{"), &Condition::Always).await.unwrap();

    let refused = other.cancel(&[damaged, id], None, None).await;
    assert!(matches!(&refused, Err(Error::Corrupt(message)) if message.contains(&key)), "{refused:?}");
    let next = worker.next(0, Settings::for_store(StoreKind::S3).heartbeat + SOON).await.unwrap();
    assert_eq!(next.cancelled.iter().map(|told| (told.id, told.lease)).collect::<Vec<_>>(), [(id, task.lease)]);
}

#[tokio::test(start_paused = true)]
async fn looking_for_cancellations_costs_a_worker_that_holds_tasks_a_get_each_heartbeat() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let worker = worker_on(&queue, 0).await;
    queue.submit(submission()).await.unwrap();
    let _held = one(&worker).await;
    let before = queue.usage().requests;
    worker.next(0, Duration::from_secs(100)).await.unwrap();
    let after = queue.usage().requests;
    assert!(after.get - before.get <= 11, "{before:?} {after:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_fetched_ahead_and_called_off_is_never_handed_out() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let worker = worker_on(&queue, 10).await;
    let ids = many(&queue, "t", 3, &About::default()).await;
    let first = one(&worker).await;
    let rest: Vec<TaskId> = ids.iter().copied().filter(|id| *id != first.id).collect();
    queue.cancel(&rest, None, None).await.unwrap();
    settle(&worker, &first, Outcome::Complete { output: Json::parse("1").unwrap() }).await;
    assert!(worker.next(10, SOON).await.unwrap().assignments.is_empty());
    assert_eq!(statuses(&queue, &rest).await, [TaskStatus::Cancelled; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_tasks_are_cancelled_with_a_put_a_record() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let ids = many(&queue, "t", 1_000, &About::default()).await;
    let before = queue.usage().requests;
    let answers = queue.cancel(&ids, None, None).await.unwrap();
    let after = queue.usage().requests;
    assert!(answers.iter().all(|answer| *answer == Cancelling::Cancelled));
    assert_eq!((after.put - before.put, after.get - before.get), (10, 10));
    queue.flush().await;
    assert!(store.keys("ready/").is_empty());
}

#[tokio::test(start_paused = true)]
async fn waiting_and_running_tasks_are_called_off_by_type_and_by_tag() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let worker = worker_on(&queue, 0).await;
    let running = many(&queue, "t", 1, &tagged("red")).await;
    let _held = one(&worker).await;
    let red = many(&queue, "t", 3, &tagged("red")).await;
    let blue = many(&queue, "t", 3, &tagged("blue")).await;
    let other = many(&queue, "u", 3, &tagged("red")).await;
    let cancel = async |filter: CancelFilter| {
        let (mut total, mut cursor) = ((0, 0), None::<String>);
        loop {
            let (counts, next) = queue.cancel_matching(&filter, None, None, cursor.as_deref()).await.unwrap();
            total = (total.0 + counts.cancelled, total.1 + counts.requested);
            cursor = next;
            if cursor.is_none() {
                return total;
            }
        }
    };
    let filter = CancelFilter { kind: Some("t".into()), tag: Some("red".into()), parent: None };
    assert_eq!(cancel(filter.clone()).await, (3, 1));
    assert_eq!(cancel(filter).await, (0, 0), "once is enough");
    assert_eq!(statuses(&queue, &red).await, [TaskStatus::Cancelled; 3]);
    assert_eq!(statuses(&queue, &running).await, [TaskStatus::Running]);
    assert_eq!(cancel(CancelFilter { kind: Some("t".into()), ..CancelFilter::default() }).await, (3, 0));
    assert_eq!(statuses(&queue, &blue).await, [TaskStatus::Cancelled; 3]);
    assert_eq!(statuses(&queue, &other).await, [TaskStatus::Pending; 3]);
    assert!(matches!(queue.cancel_matching(&CancelFilter::default(), None, None, None).await, Err(Error::Invalid(_))));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_nobody_starts_in_its_time_expires_for_those_who_wait_and_for_workers() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let about = About { expiry: Some(When::After(SOON)), ..About::default() };
    let [watched, ignored] = [many(&queue, "t", 1, &about).await[0], many(&queue, "t", 1, &about).await[0]];
    let ended = queue.wait(watched, Some(Duration::from_mins(1))).await.unwrap();
    assert_eq!(ended.task.status, TaskStatus::Expired);
    let worker = worker_on(&queue, 0).await;
    assert!(worker.next(4, SOON).await.unwrap().assignments.is_empty());
    assert_eq!(statuses(&queue, &[ignored]).await, [TaskStatus::Expired]);
    many(&queue, "t", 1, &About::default()).await;
    let task = one(&worker).await;
    settle(&worker, &task, Outcome::Complete { output: Json::null() }).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    let counted = queue.workers().await.unwrap().0[0].registration.ended;
    assert_eq!(counted, Ended { completed: 1, expired: 1, ..Ended::default() }, "only who found it counts it");
    worker.stop().await;
    queue.flush().await;
    assert!(store.keys("ready/").is_empty() && store.keys("leases/").is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_second_submit_of_a_key_finds_the_first_at_no_cost_to_it() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let plain = queue.usage().requests;
    queue.submit(submission()).await.unwrap();
    queue.flush().await;
    let before = queue.usage().requests;
    let (id, created) = queue.submit_unique(&submission(), &keyed("order-7")).await.unwrap();
    queue.flush().await;
    let after = queue.usage().requests;
    assert!(created);
    assert_eq!((after.put - before.put, after.get - before.get), (before.put - plain.put, before.get - plain.get));
    assert_eq!(queue.submit_unique(&submission(), &keyed("order-7")).await.unwrap(), (id, false));
    assert_eq!(queue.get(&[id]).await.unwrap()[0].as_ref().unwrap().task.key.as_deref(), Some("order-7"));
    let by_input = Unique::default();
    let (first, _) = queue.submit_unique(&submission(), &by_input).await.unwrap();
    assert_eq!(queue.submit_unique(&submission(), &by_input).await.unwrap(), (first, false));
}

#[tokio::test(start_paused = true)]
async fn of_many_racing_submits_of_a_key_one_is_stored() {
    let store = Arc::new(MemoryStore::new());
    let queues = futures::future::join_all((0..10).map(|seed| queue_on(&store, seed))).await;
    for unique in [keyed("k"), Unique { window: Some(SOON), ..keyed("k") }] {
        let (task, unique) = (submission(), &unique);
        let answers = futures::future::join_all(queues.iter().map(|queue| queue.submit_unique(&task, unique))).await;
        let answers: Vec<(TaskId, bool)> = answers.into_iter().map(Result::unwrap).collect();
        assert!(answers.iter().all(|(id, _)| *id == answers[0].0));
        assert_eq!(answers.iter().filter(|(_, created)| *created).count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_with_another_input_is_an_error_that_names_both() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let (id, _) = queue.submit_unique(&submission(), &keyed("k")).await.unwrap();
    let other = Submission::new("t", Json::parse("{\"n\": 2}").unwrap());
    let error = queue.submit_unique(&other, &keyed("k")).await.unwrap_err();
    assert_eq!(error.code(), "conflict");
    for part in [&id.to_string(), "{\"n\": 1}", "{\"n\": 2}", "\"k\""] {
        assert!(error.to_string().contains(part), "{part} is not in: {error}");
    }
    let elsewhere = Submission::new("u", Json::parse("{\"n\": 1}").unwrap());
    let across = Unique { scope: Scope::Queue, ..keyed("k") };
    queue.submit_unique(&submission(), &across).await.unwrap();
    assert!(queue.submit_unique(&elsewhere, &keyed("k")).await.unwrap().1, "another type, another key");
    assert_eq!(queue.submit_unique(&elsewhere, &across).await.unwrap_err().code(), "conflict");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_went_missing_does_not_block_its_key() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let (id, _) = queue.submit_unique(&submission(), &keyed("k")).await.unwrap();
    store.delete_many(&[buquet_core::keys::record(id.record())]).await.unwrap();
    assert!(queue.submit_unique(&submission(), &keyed("k")).await.unwrap().1);
    let worker = worker_on(&queue, 0).await;
    assert_eq!(one(&worker).await.id, id);
}

#[tokio::test(start_paused = true)]
async fn a_window_counts_from_the_first_submit_wherever_the_clock_stood() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let window = Duration::from_mins(1);
    let unique = Unique { window: Some(window), ..keyed("k") };
    for offset in [0, 20, 40, 59] {
        tokio::time::sleep(Duration::from_secs(200 + offset)).await;
        let (id, created) = queue.submit_unique(&submission(), &unique).await.unwrap();
        assert!(created, "at {offset}");
        tokio::time::sleep(window.saturating_sub(SOON)).await;
        assert_eq!(queue.submit_unique(&submission(), &unique).await.unwrap(), (id, false), "at {offset}");
        tokio::time::sleep(SOON * 2).await;
        let (next, created) = queue.submit_unique(&submission(), &unique).await.unwrap();
        assert!(created && next != id, "at {offset}");
    }
}

#[tokio::test(start_paused = true)]
async fn progress_is_written_now_and_then_and_along_with_other_commits() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let worker = worker_on(&queue, 0).await;
    many(&queue, "t", 2, &About::default()).await;
    let next = worker.next(2, SOON).await.unwrap();
    let [one, two] = &next.assignments[..] else { unreachable!("{next:?}") };
    let before = queue.usage().requests.put;
    for step in 0..200 {
        worker.progress(one.id, one.lease, f64::from(step) / 200.0, None).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let puts = queue.usage().requests.put - before;
    assert!((2..=5).contains(&puts), "{puts} PUTs in twenty seconds, two or three heartbeats among them");
    worker.progress(one.id, one.lease, 1.0, Some("nearly".into())).unwrap();
    settle(&worker, two, Outcome::Complete { output: Json::parse("1").unwrap() }).await;
    let seen = queue.get(&[one.id]).await.unwrap().remove(0).unwrap().task.progress.unwrap();
    assert_eq!((seen.value, seen.message.as_deref()), (1.0, Some("nearly")));
    worker.progress(one.id, one.lease, 0.7, None).unwrap();
    settle(&worker, one, Outcome::Complete { output: Json::parse("1").unwrap() }).await;
    let ended = queue.get(&[one.id]).await.unwrap().remove(0).unwrap().task;
    assert_eq!(ended.progress.map(|progress| progress.value), Some(0.7), "what it said last stays");
    let lost = worker.progress(two.id, two.lease, 0.5, None).unwrap_err();
    assert_eq!(lost.code(), "lease_lost");
}
