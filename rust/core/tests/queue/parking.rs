//! Parking and waking through workers and queues of several processes.

use std::sync::Arc;
use std::time::Duration;

use buquet_core::id::TaskId;
use buquet_core::keys;
use buquet_core::queue::{CancelFilter, Queue, Submission};
use buquet_core::record::{Json, Outcome, TaskStatus, Waking};
use buquet_core::store::StoreErrorKind;
use buquet_core::store::memory::MemoryStore;
use buquet_core::time::Timestamp;
use buquet_core::worker::{Assignment, Next, Options as WorkerOptions, Verdict, WorkOutcome, Worker};
use tokio::time::{Instant, sleep};

use crate::queue::meddled::Meddled;
use crate::queue::support::queue_on;

const SOON: Duration = Duration::from_secs(5);

async fn submit(queue: &Queue) -> TaskId {
    queue.submit(Submission::new("t", Json::parse("1").unwrap())).await.unwrap()
}

async fn worker_on(queue: &Queue) -> Worker {
    let options = WorkerOptions { types: vec!["t".into()], concurrency: 4, ..WorkerOptions::default() };
    Worker::start(queue, options).await.unwrap()
}

async fn one(worker: &Worker) -> Assignment {
    worker.next(1, SOON).await.unwrap().assignments.remove(0)
}

async fn settle(worker: &Worker, task: &Assignment, outcome: Outcome) -> Verdict {
    worker.settle(vec![WorkOutcome { id: task.id, lease: task.lease, outcome }]).await.remove(0).verdict
}

async fn park(worker: &Worker, task: &Assignment, until: Option<Timestamp>) -> Verdict {
    settle(worker, task, Outcome::Park { until }).await
}

/// A task that was parked by a worker, until then.
async fn parked(queue: &Queue, worker: &Worker, until: Option<Timestamp>) -> TaskId {
    let id = submit(queue).await;
    let task = one(worker).await;
    let verdict = park(worker, &task, until).await;
    assert_eq!(verdict, Verdict::Committed { status: TaskStatus::Waiting, available_at: until });
    id
}

async fn status(queue: &Queue, id: TaskId) -> TaskStatus {
    queue.get(&[id]).await.unwrap().remove(0).unwrap().task.status
}

/// What the worker is told next that is no assignment.
async fn told(worker: &Worker) -> (Next, Duration) {
    let began = Instant::now();
    let next = worker.next(0, Duration::from_mins(5)).await.unwrap();
    (next, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_task_that_waits_is_woken_by_another_process_and_runs_within_a_second_or_so() {
    let store = Arc::new(MemoryStore::new());
    let (queue, other) = (queue_on(&store, 1).await, queue_on(&store, 2).await);
    let worker = worker_on(&queue).await;
    let id = parked(&queue, &worker, None).await;
    assert!(worker.next(1, Duration::from_hours(2)).await.unwrap().assignments.is_empty(), "nobody wakes it");
    assert_eq!(status(&queue, id).await, TaskStatus::Waiting);
    assert_eq!(other.wake(&[id]).await.unwrap(), [Waking::Woken]);
    let task = worker.next(1, Duration::from_secs(2)).await.unwrap().assignments.remove(0);
    assert_eq!((task.id, task.attempt, task.retry_count, task.woken), (id, 2, 0, true));
    assert!(matches!(settle(&worker, &task, Outcome::Release).await, Verdict::Committed { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_waits_for_its_time_runs_at_that_time_also_elsewhere() {
    let store = Arc::new(MemoryStore::new());
    let (queue, other) = (queue_on(&store, 1).await, queue_on(&store, 2).await);
    let (worker, second) = (worker_on(&queue).await, worker_on(&other).await);
    for wait in [Duration::from_secs(3), Duration::from_mins(3), Duration::from_hours(3)] {
        let until = queue.bucket().now().after(wait);
        let id = submit(&queue).await;
        let (first, task, other_one) = loop {
            if let Some(task) = worker.next(1, Duration::from_millis(50)).await.unwrap().assignments.pop() {
                break (&worker, task, &second);
            }
            if let Some(task) = second.next(1, Duration::from_millis(50)).await.unwrap().assignments.pop() {
                break (&second, task, &worker);
            }
        };
        park(first, &task, Some(until)).await;
        // Whoever parked it has no room any more.
        let again = other_one.next(1, wait + Duration::from_secs(30)).await.unwrap().assignments.remove(0);
        let late = queue.bucket().now().since(until);
        assert_eq!((again.id, again.woken), (id, false));
        assert!(late < Duration::from_secs(10), "{late:?} late after {wait:?}");
        settle(other_one, &again, Outcome::Complete { output: Json::null() }).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_running_task_that_is_woken_in_its_process_is_told_at_once_and_its_park_is_refused() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let worker = worker_on(&queue).await;
    let id = submit(&queue).await;
    let task = one(&worker).await;
    assert_eq!(queue.wake(&[id]).await.unwrap(), [Waking::Noted]);
    let (next, after) = told(&worker).await;
    assert_eq!((next.woken[0].id, next.woken[0].lease), (id, task.lease));
    assert!(after < Duration::from_millis(10), "{after:?}");
    assert!(store.keys(keys::CANCELS).is_empty(), "nobody else need be told");
    assert_eq!(park(&worker, &task, None).await, Verdict::Woken);
    assert_eq!(status(&queue, id).await, TaskStatus::Running, "it looks again");
    assert!(matches!(park(&worker, &task, None).await, Verdict::Committed { status: TaskStatus::Waiting, .. }));
}

#[tokio::test(start_paused = true)]
async fn a_running_task_that_is_woken_elsewhere_is_told_within_a_heartbeat_each_time_it_has_looked() {
    let store = Arc::new(MemoryStore::new());
    let (queue, other) = (queue_on(&store, 1).await, queue_on(&store, 2).await);
    let worker = worker_on(&queue).await;
    let id = submit(&queue).await;
    let task = one(&worker).await;
    for _ in 0..3 {
        assert_eq!(other.wake(&[id]).await.unwrap(), [Waking::Noted]);
        let (next, after) = told(&worker).await;
        assert_eq!(next.woken.len(), 1);
        assert!(after <= Duration::from_secs(11), "{after:?}");
        assert!(worker.hear(id, task.lease).await.unwrap(), "the bit was set");
        assert!(!worker.hear(id, task.lease).await.unwrap(), "and is not any more");
    }
    assert!(matches!(park(&worker, &task, None).await, Verdict::Committed { status: TaskStatus::Waiting, .. }));
}

#[tokio::test(start_paused = true)]
async fn whoever_listens_is_told_also_if_the_notice_is_lost() {
    let store = Arc::new(MemoryStore::new());
    let lost = |ask: crate::queue::meddled::Ask<'_>| ask.writes(keys::CANCELS).then_some(StoreErrorKind::Denied);
    let (queue, other) = (queue_on(&store, 1).await, Arc::new(Meddled::new(&store, lost)).queue(2).await);
    let worker = worker_on(&queue).await;
    let id = submit(&queue).await;
    let task = one(&worker).await;
    worker.listen(id, task.lease, true).unwrap();
    assert_eq!(other.wake(&[id]).await.unwrap(), [Waking::Noted], "the wake itself is stored");
    let (next, after) = told(&worker).await;
    assert_eq!(next.woken.len(), 1);
    assert!(after <= Duration::from_secs(11), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_wakes_are_one_commit() {
    let store = Arc::new(MemoryStore::new());
    let (queue, other) = (queue_on(&store, 1).await, queue_on(&store, 2).await);
    let worker = worker_on(&queue).await;
    let id = submit(&queue).await;
    let task = one(&worker).await;
    let before = other.usage().requests.put;
    for _ in 0..10_000 {
        other.wake(&[id]).await.unwrap();
    }
    assert_eq!(other.usage().requests.put - before, 2, "the record and the notice");
    assert_eq!(park(&worker, &task, None).await, Verdict::Woken);
}

#[tokio::test(start_paused = true)]
async fn waking_what_has_ended_or_does_not_exist_changes_nothing() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let id = submit(&queue).await;
    queue.cancel(&[id], None, None).await.unwrap();
    let missing = id.record().task(7);
    let woken = queue.wake(&[id, missing]).await.unwrap();
    assert_eq!(woken, [Waking::Finished(TaskStatus::Cancelled), Waking::Missing]);
}

#[tokio::test(start_paused = true)]
async fn tasks_that_wait_are_listed_explained_and_called_off_with_all_others() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let worker = worker_on(&queue).await;
    let id = parked(&queue, &worker, None).await;
    assert_eq!(queue.explain(id).await.unwrap().unwrap(), "it is parked, and waits to be woken");
    let filter = CancelFilter { kind: Some("t".into()), ..CancelFilter::default() };
    let (mut cursor, mut cancelled) = (None, 0);
    loop {
        let (counts, next) = queue.cancel_matching(&filter, None, None, cursor.as_deref()).await.unwrap();
        cancelled += counts.cancelled;
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    queue.flush().await;
    assert_eq!((cancelled, status(&queue, id).await), (1, TaskStatus::Cancelled));
    assert!(store.keys(keys::PARKED).is_empty());
}

/// What a worker asks of the store in ten minutes.
async fn asked_by_an_idle_worker(store: &Arc<MemoryStore>) -> (u64, u64) {
    let queue = queue_on(store, 9).await;
    let worker = worker_on(&queue).await;
    assert!(worker.next(1, Duration::from_mins(10)).await.unwrap().assignments.is_empty());
    let requests = queue.usage().requests;
    (requests.put, requests.list)
}

#[tokio::test(start_paused = true)]
async fn hundreds_of_tasks_that_wait_cost_a_worker_one_look_a_minute() {
    let (empty, full) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
    let queue = queue_on(&full, 1).await;
    let worker = worker_on(&queue).await;
    for _ in 0..300 {
        parked(&queue, &worker, None).await;
    }
    worker.stop().await;
    assert_eq!(full.keys(keys::PARKED).len(), 300);
    let ((puts, lists), (puts_before, lists_before)) =
        (asked_by_an_idle_worker(&full).await, asked_by_an_idle_worker(&empty).await);
    assert!(puts <= puts_before + 1, "{puts} PUTs");
    assert!(lists <= lists_before + 12, "{lists} LISTs, one more a minute than {lists_before}");
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_left_in_the_index_goes_and_what_leads_to_a_task_stays() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let worker = worker_on(&queue).await;
    parked(&queue, &worker, None).await;
    let current = keys::ReadyEntry::parse(&store.keys(keys::PARKED)[0]).unwrap();
    let left = keys::ReadyEntry { seq: current.seq - 1, ..current };
    queue.bucket().put(&left.to_string(), "{}".into()).await.unwrap();
    let repaired = queue.repair(None).await.unwrap();
    assert_eq!((repaired.waiting, repaired.deleted, repaired.cursor), (1, 1, None));
    assert_eq!(store.keys(keys::PARKED), [current.to_string()]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_the_result_goes_on_while_the_task_is_parked() {
    let store = Arc::new(MemoryStore::new());
    let (queue, other) = (queue_on(&store, 1).await, queue_on(&store, 2).await);
    let worker = worker_on(&queue).await;
    let id = parked(&queue, &worker, None).await;
    let work = async {
        sleep(Duration::from_mins(1)).await;
        other.wake(&[id]).await.unwrap();
        let task = worker.next(1, SOON).await.unwrap().assignments.remove(0);
        settle(&worker, &task, Outcome::Complete { output: Json::parse("42").unwrap() }).await;
    };
    let (result, ()) = tokio::join!(other.wait(id, Some(Duration::from_mins(5))), work);
    assert_eq!(result.unwrap().task.output.unwrap().text(), "42");
}
