//! The protocol as its users see it, on a store in memory with paused time.

use std::sync::Arc;
use std::time::Duration;

use buquet_core::Error;
use buquet_core::entropy::Entropy;
use buquet_core::queue::{About, Filter, Queue, Settings, Submission, When};
use buquet_core::record::{Failure, Json, Options, Outcome, RetryPolicy, TaskStatus};
use buquet_core::store::StoreKind;
use buquet_core::store::faulty::{FaultPlan, Network, Unobserved};
use buquet_core::store::memory::MemoryStore;
use buquet_core::worker::{Assignment, Options as WorkerOptions, Verdict, WorkOutcome, Worker};

use tokio::time::{Instant, timeout};

use crate::queue::support::queue_on;

const SOON: Duration = Duration::from_secs(5);

fn json(text: &str) -> Json {
    Json::parse(text).unwrap()
}

fn submission(kind: &str) -> Submission {
    Submission::new(kind, json("{\"n\": 1}"))
}

async fn worker_on(queue: &Queue, concurrency: usize) -> Worker {
    let options = WorkerOptions { types: vec!["t".into()], concurrency, ..WorkerOptions::default() };
    Worker::start(queue, options).await.unwrap()
}

async fn one(worker: &Worker) -> Assignment {
    worker.next(1, SOON).await.unwrap().assignments.remove(0)
}

async fn settle(worker: &Worker, task: &Assignment, outcome: Outcome) -> Verdict {
    worker.settle(vec![WorkOutcome { id: task.id, lease: task.lease, outcome }]).await.remove(0).verdict
}

fn complete(text: &str) -> Outcome {
    Outcome::Complete { output: json(text) }
}

fn fail() -> Outcome {
    let error = Failure { kind: "E".into(), message: "no".into(), traceback: None };
    Outcome::Fail { error, retry: true, retry_at: None }
}

#[tokio::test(start_paused = true)]
async fn a_submitted_task_is_worked_and_its_result_read() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let id = queue.submit(submission("t")).await.unwrap();
    let worker = worker_on(&queue, 4).await;
    let task = one(&worker).await;
    assert_eq!((task.id, task.attempt, task.input.text()), (id, 1, "{\"n\": 1}"));
    assert!(matches!(settle(&worker, &task, complete("42")).await, Verdict::Committed { .. }));
    let done = queue.wait(id, Some(SOON)).await.unwrap();
    assert_eq!((done.task.status, done.task.output.unwrap().text()), (TaskStatus::Completed, "42"));
    worker.stop().await;
    queue.flush().await;
    assert!(store.keys("ready/").is_empty() && store.keys("leases/").is_empty() && store.keys("workers/").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lone_task_costs_five_puts_and_two_gets() {
    let store = Arc::new(MemoryStore::new());
    let (producer, queue) = (queue_on(&store, 1).await, queue_on(&store, 2).await);
    let worker = worker_on(&queue, 4).await;
    worker.next(1, SOON).await.unwrap();
    let before = (producer.usage().requests, queue.usage().requests);
    producer.submit(submission("t")).await.unwrap();
    let task = one(&worker).await;
    settle(&worker, &task, complete("1")).await;
    let (producer, worker) = (producer.usage().requests, queue.usage().requests);
    let puts = producer.put - before.0.put + worker.put - before.1.put;
    let gets = worker.get - worker.not_modified - (before.1.get - before.1.not_modified);
    assert!(puts <= 6, "{puts} PUTs, the bell's included");
    assert!(gets <= 2, "{gets} GETs, the bell's included");
}

#[tokio::test(start_paused = true)]
async fn concurrent_submits_share_records() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let before = queue.usage().requests.put;
    let ids = futures::future::join_all((0..1_000).map(|_| queue.submit(submission("t")))).await;
    assert!(ids.into_iter().collect::<Result<std::collections::BTreeSet<_>, _>>().unwrap().len() == 1_000);
    let puts = queue.usage().requests.put - before;
    assert!(puts <= 200, "{puts} PUTs for 1,000 submits");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_tasks_cost_at_most_a_tenth_of_a_put_each() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let inputs = (0..10_000).map(|n| json(&n.to_string())).collect();
    let ids = queue.submit_many("t", inputs, Options::default(), When::Now, &About::default()).await.unwrap();
    let worker = Arc::new(worker_on(&queue, 50).await);
    let mut done = 0;
    while done < ids.len() {
        let next = worker.next(50, SOON).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        done += next.assignments.len();
        let outcomes = next
            .assignments
            .iter()
            .map(|task| WorkOutcome { id: task.id, lease: task.lease, outcome: complete("0") })
            .collect();
        let worker = Arc::clone(&worker);
        tokio::spawn(async move { worker.settle(outcomes).await });
    }
    for id in [ids[0], ids[9_999]] {
        assert_eq!(queue.wait(id, Some(SOON)).await.unwrap().task.status, TaskStatus::Completed);
    }
    let requests = queue.usage().requests;
    assert!(requests.put + requests.list <= 1_000, "{requests:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_is_retried_after_its_back_off_and_then_given_up() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let retry = RetryPolicy { max_retries: 1, initial_ms: 3_000, jitter: 0.0, ..RetryPolicy::default() };
    let options = Options { retry, ..Options::default() };
    let id = queue.submit(Submission { options, ..submission("t") }).await.unwrap();
    let worker = worker_on(&queue, 1).await;
    let first = one(&worker).await;
    let began = tokio::time::Instant::now();
    let verdict = settle(&worker, &first, fail()).await;
    assert!(matches!(verdict, Verdict::Committed { status: TaskStatus::Pending, available_at: Some(_) }));
    let second = one(&worker).await;
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!((second.attempt, second.retry_count), (2, 1));
    settle(&worker, &second, fail()).await;
    let task = queue.wait(id, Some(SOON)).await.unwrap().task;
    assert_eq!((task.status, task.error.unwrap().message.as_str()), (TaskStatus::Failed, "no"));
}

#[tokio::test(start_paused = true)]
async fn a_dead_workers_tasks_are_back_within_a_minute_and_its_late_result_is_refused() {
    let store = Arc::new(MemoryStore::new());
    let (dead_queue, queue) = (queue_on(&store, 1).await, queue_on(&store, 2).await);
    let id = queue.submit(submission("t")).await.unwrap();
    let dead = worker_on(&dead_queue, 1).await;
    let lost = one(&dead).await;
    drop(dead);
    let died = tokio::time::Instant::now();
    let worker = worker_on(&queue, 1).await;
    let mut next = worker.next(1, Duration::from_mins(2)).await.unwrap();
    assert!(died.elapsed() <= Duration::from_mins(1), "{:?}", died.elapsed());
    let task = next.assignments.remove(0);
    assert_eq!((task.id, task.attempt, task.retry_count), (id, 2, 0));
    assert!(matches!(settle(&worker, &lost, complete("1")).await, Verdict::LeaseLost(_)));
    assert!(matches!(settle(&worker, &task, complete("2")).await, Verdict::Committed { .. }));
    assert_eq!(queue.wait(id, Some(SOON)).await.unwrap().task.output.unwrap().text(), "2");
}

#[tokio::test(start_paused = true)]
async fn released_and_rescheduled_tasks_spend_no_retry() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    queue.submit(submission("t")).await.unwrap();
    let worker = worker_on(&queue, 1).await;
    let task = one(&worker).await;
    settle(&worker, &task, Outcome::Release).await;
    let task = one(&worker).await;
    let later = queue.bucket().now().after(Duration::from_secs(90));
    settle(&worker, &task, Outcome::Reschedule { at: later }).await;
    let mut next = worker.next(1, Duration::from_secs(200)).await.unwrap();
    let task = next.assignments.remove(0);
    assert_eq!((task.attempt, task.retry_count), (3, 0));
    assert!(queue.bucket().now() >= later);
}

#[tokio::test(start_paused = true)]
async fn an_extended_lease_falls_later() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let options = Options { timeout_ms: 10_000, ..Options::default() };
    queue.submit(Submission { options, ..submission("t") }).await.unwrap();
    let worker = worker_on(&queue, 1).await;
    let task = one(&worker).await;
    let until = worker.extend(task.id, task.lease, Duration::from_mins(10)).await.unwrap();
    assert!(until > task.expires_at);
    tokio::time::sleep(Duration::from_secs(500)).await;
    assert!(matches!(settle(&worker, &task, complete("1")).await, Verdict::Committed { .. }));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_past_its_lease_is_taken_back_and_the_worker_told() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let options = Options { timeout_ms: 10_000, ..Options::default() };
    queue.submit(Submission { options, ..submission("t") }).await.unwrap();
    let worker = worker_on(&queue, 1).await;
    let task = one(&worker).await;
    let next = worker.next(0, Duration::from_mins(5)).await.unwrap();
    assert_eq!(next.lost.first().map(|lost| lost.id), Some(task.id));
    assert!(matches!(settle(&worker, &task, complete("1")).await, Verdict::LeaseLost(_)));
}

#[tokio::test(start_paused = true)]
async fn a_drained_worker_gives_back_what_it_did_not_start_and_stores_what_it_did() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let inputs = (0..10).map(|n| json(&n.to_string())).collect();
    queue.submit_many("t", inputs, Options::default(), When::Now, &About::default()).await.unwrap();
    let options =
        WorkerOptions { types: vec!["t".into()], concurrency: 1, prefetch: Some(9), ..WorkerOptions::default() };
    let worker = Worker::start(&queue, options).await.unwrap();
    let task = one(&worker).await;
    worker.drain().await;
    let pending = Filter { status: [TaskStatus::Pending].into(), ..Filter::default() };
    assert_eq!(queue.list(&pending, 100, None).await.unwrap().tasks.len(), 9);
    assert!(matches!(settle(&worker, &task, complete("1")).await, Verdict::Committed { .. }));
    assert_eq!(worker.stop().await, 0);
    assert!(matches!(worker.next(1, SOON).await, Err(Error::Closed(_))));
}

#[tokio::test(start_paused = true)]
async fn a_tasks_history_tells_every_change_oldest_first() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let id = queue.submit(submission("t")).await.unwrap();
    let worker = worker_on(&queue, 1).await;
    let task = one(&worker).await;
    settle(&worker, &task, complete("1")).await;
    let history = queue.history(id, 100, None).await.unwrap();
    let statuses: Vec<_> = history.events.iter().map(|event| event.task.task.status).collect();
    assert_eq!(statuses, [TaskStatus::Pending, TaskStatus::Running, TaskStatus::Completed]);
    assert!(history.complete && history.cursor.is_none());
    let page = queue.history(id, 2, None).await.unwrap();
    let rest = queue.history(id, 2, page.cursor.as_deref()).await.unwrap();
    assert_eq!((page.events.len(), rest.events.len(), rest.cursor), (2, 1, None));
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_record_is_reported_and_does_not_stop_the_worker() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let bad = queue.submit(submission("t")).await.unwrap();
    let key = buquet_core::keys::record(bad.record());
    queue.bucket().put(&key, "not json".into()).await.unwrap();
    let worker = worker_on(&queue, 1).await;
    let good = queue.submit(submission("t")).await.unwrap();
    let (mut reported, mut done) = (false, false);
    while !(reported && done) {
        let next = worker.next(1, SOON).await.unwrap();
        reported |= next.problems.iter().any(|problem| problem.key == key);
        for task in &next.assignments {
            done |= task.id == good;
            settle(&worker, task, complete("1")).await;
        }
    }
    let listing = queue.list(&Filter::default(), 100, None).await.unwrap();
    assert_eq!((listing.tasks.len(), listing.corrupt.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn slow_tasks_are_not_hoarded_and_not_passed_round() {
    let store = Arc::new(MemoryStore::new());
    let (producer, queue) = (queue_on(&store, 1).await, queue_on(&store, 2).await);
    let inputs = (0..200).map(|n| json(&n.to_string())).collect();
    producer.submit_many("t", inputs, Options::default(), When::Now, &About::default()).await.unwrap();
    let worker = worker_on(&queue, 4).await;
    let running = worker.next(4, SOON).await.unwrap().assignments;
    let before = queue.usage().requests.put;
    tokio::time::sleep(Duration::from_mins(1)).await;
    let puts = queue.usage().requests.put - before;
    assert!(puts < 20, "{puts} PUTs in a minute of waiting");
    let claimed = Filter { status: [TaskStatus::Running].into(), ..Filter::default() };
    let claimed = producer.list(&claimed, 1_000, None).await.unwrap().tasks.len();
    assert_eq!(claimed, running.len());
}

#[tokio::test(start_paused = true)]
async fn a_task_behind_thousands_of_another_type_is_found() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    for _ in 0..7_000 {
        let other = Submission { options: Options::default(), ..submission("other") };
        queue.submit(other).await.unwrap();
    }
    tokio::time::sleep(Duration::from_mins(5)).await;
    let id = queue.submit(submission("t")).await.unwrap();
    tokio::time::sleep(Duration::from_mins(5)).await;
    let worker_queue = queue_on(&store, 2).await;
    let worker = worker_on(&worker_queue, 1).await;
    let next = worker.next(1, Duration::from_mins(10)).await.unwrap();
    assert_eq!(next.assignments.first().map(|task| task.id), Some(id));
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_delayed_tasks_is_worked_when_it_is_due() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let delayed = |n: u32| {
        // Different priorities and timeouts keep the tasks in records of their own.
        let options = Options { timeout_ms: u64::from(60_000 + n), ..Options::default() };
        let when = When::After(Duration::from_secs(12));
        let queue = queue.clone();
        async move { queue.submit(Submission { options, when, ..submission("t") }).await.unwrap() }
    };
    futures::future::join_all((0..4_000).map(delayed)).await;
    let worker_queue = queue_on(&store, 2).await;
    let worker = Arc::new(worker_on(&worker_queue, 100).await);
    let began = tokio::time::Instant::now();
    let mut done = 0;
    while done < 4_000 {
        let next = worker.next(100, SOON).await.unwrap();
        done += next.assignments.len();
        let outcomes: Vec<WorkOutcome> = next
            .assignments
            .iter()
            .map(|task| WorkOutcome { id: task.id, lease: task.lease, outcome: complete("0") })
            .collect();
        let worker = Arc::clone(&worker);
        tokio::spawn(async move { worker.settle(outcomes).await });
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_long_index_with_nothing_to_do_costs_an_idle_worker_little() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let later = When::After(Duration::from_hours(24));
    for n in 0..1_500 {
        let options = Options { timeout_ms: 60_000 + n, ..Options::default() };
        queue.submit(Submission { options, when: later, ..submission("t") }).await.unwrap();
    }
    let bad = queue.submit(submission("t")).await.unwrap();
    queue.bucket().put(&buquet_core::keys::record(bad.record()), "not json".into()).await.unwrap();
    let worker_queue = queue_on(&store, 2).await;
    let worker = worker_on(&worker_queue, 1).await;
    let ended = tokio::time::Instant::now() + Duration::from_mins(10);
    while tokio::time::Instant::now() < ended {
        worker.next(1, Duration::from_mins(1)).await.unwrap();
    }
    let lists = worker_queue.usage().requests.list;
    assert!(lists < 120, "{lists} LISTs in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn an_entry_seen_before_its_record_is_soon_looked_at_again() {
    let store = Arc::new(MemoryStore::new());
    let (producer, queue) = (queue_on(&store, 1).await, queue_on(&store, 2).await);
    let id = producer.submit(submission("t")).await.unwrap();
    // As a worker sees it whose listing falls between the two writes of a submit.
    let key = buquet_core::keys::record(id.record());
    let record = store.objects().remove(&key).unwrap().body;
    producer.bucket().delete_many(std::slice::from_ref(&key)).await.unwrap();
    let worker = worker_on(&queue, 1).await;
    assert!(worker.next(1, Duration::from_millis(50)).await.unwrap().assignments.is_empty());
    producer.bucket().put(&key, record).await.unwrap();
    let next = worker.next(1, Duration::from_secs(2)).await.unwrap();
    assert_eq!(next.assignments.first().map(|task| task.id), Some(id));
}

#[tokio::test(start_paused = true)]
async fn a_task_due_among_many_that_are_due_tomorrow_is_started_in_time() {
    let store = Arc::new(MemoryStore::new());
    let (producer, queue) = (queue_on(&store, 1).await, queue_on(&store, 2).await);
    let worker = worker_on(&queue, 1).await;
    let later = |seconds| Submission { when: When::After(Duration::from_secs(seconds)), ..submission("t") };
    for n in 0..1_500 {
        producer.submit(later(86_400 + n)).await.unwrap();
    }
    for minutes in [3, 10] {
        let id = producer.submit(later(minutes * 60)).await.unwrap();
        let submitted = Instant::now();
        let task = worker.next(1, Duration::from_hours(1)).await.unwrap().assignments.remove(0);
        assert_eq!(task.id, id);
        let late = submitted.elapsed().saturating_sub(Duration::from_secs(minutes * 60));
        assert!(late < Duration::from_secs(2), "late by {late:?}");
        settle(&worker, &task, complete("1")).await;
    }
}

const fn down() -> FaultPlan {
    FaultPlan { throttled: 1.0, ..FaultPlan::calm() }
}

async fn queue_behind(network: &Arc<Network>, name: &str) -> Queue {
    Queue::open(network.connect(name), Entropy::seeded(1), Settings::for_store(StoreKind::S3)).await.unwrap()
}

fn network() -> Arc<Network> {
    Network::new(Arc::new(MemoryStore::new()), 7, FaultPlan::calm(), Arc::new(Unobserved))
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_store_is_away_says_so_and_takes_up_its_work_when_it_is_back() {
    let network = network();
    let queue = queue_behind(&network, "worker").await;
    let worker = worker_on(&queue, 1).await;
    network.set_plan(down());
    let news = worker.next(1, Duration::from_mins(10)).await.unwrap();
    assert!(news.assignments.is_empty() && news.warnings[0].contains("trying again: "), "{news:?}");
    network.set_plan(FaultPlan::calm());
    let id = queue_behind(&network, "producer").await.submit(submission("t")).await.unwrap();
    let found = timeout(Duration::from_mins(2), async {
        loop {
            if let Some(task) = worker.next(1, SOON).await.unwrap().assignments.pop() {
                return task;
            }
        }
    });
    assert_eq!(found.await.unwrap().id, id);
}

#[tokio::test(start_paused = true)]
async fn a_worker_stops_although_its_store_is_away() {
    let network = network();
    let queue = queue_behind(&network, "worker").await;
    queue.submit(submission("t")).await.unwrap();
    let worker = worker_on(&queue, 1).await;
    one(&worker).await;
    network.set_plan(down());
    assert_eq!(timeout(Duration::from_mins(2), worker.stop()).await, Ok(0), "nothing could be given back");
}
