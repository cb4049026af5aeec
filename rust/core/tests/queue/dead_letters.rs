//! Dead letters as their users see them, on a store in memory with paused time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use buquet_core::id::TaskId;
use buquet_core::queue::{About, DeadFilter, LifecycleChoice, Purge, Queue, Step, When};
use buquet_core::record::{Changes, Failure, Json, Move, Options, Outcome, Refusal, TaskStatus};
use buquet_core::store::Store;
use buquet_core::store::memory::MemoryStore;
use buquet_core::worker::{Assignment, Options as WorkerOptions, WorkOutcome, Worker};
use buquet_core::{Error, keys};
use tokio::time::advance;

use crate::queue::support::queue_on;

const SOON: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_hours(24);

async fn worker_on(queue: &Queue) -> Worker {
    let types = vec!["t".into(), "u".into()];
    let options = WorkerOptions { types, concurrency: 500, prefetch: Some(0), ..WorkerOptions::default() };
    Worker::start(queue, options).await.unwrap()
}

async fn submit(queue: &Queue, kind: &str, count: usize) -> Vec<TaskId> {
    let inputs = (0..count).map(|n| Json::parse(&n.to_string()).unwrap()).collect();
    queue.submit_many(kind, inputs, Options::default(), When::Now, &About::default()).await.unwrap()
}

fn failing(kind: &str) -> Outcome {
    let (message, traceback) = (format!("no {kind}"), Some("line 1".to_owned()));
    Outcome::Fail { error: Failure { kind: kind.into(), message, traceback }, retry: false, retry_at: None }
}

async fn work(worker: &Worker, count: usize, outcome: impl Fn(&Assignment) -> Outcome) {
    let mut left = count;
    while left > 0 {
        let tasks = worker.next(500, SOON).await.unwrap().assignments;
        assert!(!tasks.is_empty(), "{left} tasks are not handed out");
        left -= tasks.len();
        let outcomes = tasks.iter().map(|task| WorkOutcome { id: task.id, lease: task.lease, outcome: outcome(task) });
        worker.settle(outcomes.collect()).await;
    }
}

/// A queue whose `count` tasks have all failed, with this error.
async fn failed(store: &Arc<MemoryStore>, kind: &str, count: usize, error: &str) -> (Queue, Vec<TaskId>) {
    let queue = queue_on(store, 1).await;
    let ids = submit(&queue, kind, count).await;
    let worker = worker_on(&queue).await;
    work(&worker, count, |_| failing(error)).await;
    worker.stop().await;
    queue.flush().await;
    (queue, ids)
}

const fn step(limit: usize) -> Step {
    Step { limit, cursor: None, dry_run: false }
}

async fn listed(queue: &Queue, filter: &DeadFilter) -> Vec<TaskId> {
    let (mut ids, mut cursor) = (Vec::new(), None);
    loop {
        let page = queue.failed(filter, 150, cursor.as_deref()).await.unwrap();
        assert!(page.tasks.len() < 250 && page.corrupt.is_empty());
        ids.extend(page.tasks.iter().map(|task| task.id));
        cursor = page.cursor;
        if cursor.is_none() {
            return ids;
        }
    }
}

async fn replay_all(queue: &Queue, filter: &DeadFilter) -> usize {
    let (mut tasks, mut step) = (0, step(2));
    loop {
        let stepped = queue.move_failed(filter, Move::Replay(&Changes::default()), &step).await.unwrap();
        tasks += stepped.tasks;
        assert!(stepped.records <= 2);
        step.cursor = stepped.cursor;
        if step.cursor.is_none() {
            return tasks;
        }
    }
}

fn purge(status: &[TaskStatus], days: u32) -> Purge {
    Purge { status: status.iter().copied().collect(), older_than: DAY * days, ..Purge::default() }
}

fn sorted(ids: &[TaskId]) -> BTreeSet<TaskId> {
    ids.iter().copied().collect()
}

#[tokio::test(start_paused = true)]
async fn failed_tasks_are_listed_with_their_errors_and_filtered() {
    let store = Arc::new(MemoryStore::new());
    let (queue, ids) = failed(&store, "t", 450, "OSError").await;
    let others = submit(&queue, "u", 3).await;
    let worker = worker_on(&queue).await;
    work(&worker, 3, |_| failing("ValueError")).await;
    assert_eq!(listed(&queue, &DeadFilter::default()).await.len(), 453);
    for (filter, expected) in [
        (DeadFilter { kind: Some("t".into()), ..DeadFilter::default() }, &ids),
        (DeadFilter { error: Some("ValueError".into()), ..DeadFilter::default() }, &others),
        (DeadFilter { older_than: Some(DAY), ..DeadFilter::default() }, &vec![]),
    ] {
        assert_eq!(sorted(&listed(&queue, &filter).await), sorted(expected), "{filter:?}");
    }
    let page = queue.failed(&DeadFilter::default(), 1, None).await.unwrap();
    let error = page.tasks[0].task.error.clone().unwrap();
    assert_eq!(error.traceback.as_deref(), Some("line 1"));
}

#[tokio::test(start_paused = true)]
async fn listing_by_type_reads_no_record_of_another() {
    let store = Arc::new(MemoryStore::new());
    let (queue, _) = failed(&store, "t", 300, "E").await;
    let before = queue.usage().requests;
    assert!(listed(&queue, &DeadFilter { kind: Some("x".into()), ..DeadFilter::default() }).await.is_empty());
    let after = queue.usage().requests;
    assert_eq!((after.get - before.get, after.list - before.list, after.put - before.put), (0, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn replayed_tasks_run_again_and_leave_the_index() {
    let store = Arc::new(MemoryStore::new());
    let (queue, ids) = failed(&store, "t", 450, "E").await;
    assert_eq!(replay_all(&queue, &DeadFilter::default()).await, 450);
    assert_eq!(replay_all(&queue, &DeadFilter::default()).await, 0);
    let worker = worker_on(&queue).await;
    work(&worker, 450, |task| {
        assert_eq!((task.attempt, task.retry_count), (2, 0));
        Outcome::Complete { output: Json::null() }
    })
    .await;
    let tasks = queue.get(&ids).await.unwrap();
    assert!(tasks.iter().all(|task| task.as_ref().unwrap().task.status == TaskStatus::Completed));
    worker.stop().await;
    queue.flush().await;
    for index in [keys::FAILED, keys::READY, keys::LEASES] {
        assert_eq!(store.keys(index), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_with_other_options_reaches_the_handler() {
    let store = Arc::new(MemoryStore::new());
    let (queue, ids) = failed(&store, "t", 3, "E").await;
    let changes = Changes { timeout_ms: Some(7_000), priority: Some(9), ..Changes::default() };
    let moved = queue.move_tasks(&[ids[1], ids[1]], Move::Replay(&changes)).await.unwrap();
    let verdicts: Vec<_> = moved.iter().map(|moved| moved.verdict).collect();
    assert_eq!(verdicts, [Ok(()), Err(Refusal::Status(TaskStatus::Pending))], "moved once");
    let worker = worker_on(&queue).await;
    let task = worker.next(5, SOON).await.unwrap().assignments.remove(0);
    assert_eq!((task.id, task.timeout_ms, task.priority), (ids[1], 7_000, 9));
    let view = queue.get(&[ids[1], ids[0]]).await.unwrap();
    let timeouts: Vec<_> = view.into_iter().map(|view| view.unwrap().options.timeout_ms).collect();
    assert_eq!(timeouts, [7_000, 300_000]);
    assert_eq!(listed(&queue, &DeadFilter::default()).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_moved_is_said_and_left() {
    let store = Arc::new(MemoryStore::new());
    let (queue, ids) = failed(&store, "t", 2, "E").await;
    let stranger: TaskId = "5f0c7a52-41c3-8e5a-9d1b-3a6f0c2e0000".parse().unwrap();
    queue.move_tasks(&ids[..1], Move::Archive).await.unwrap();
    let all = [ids[0], stranger, ids[1]];
    let moved = queue.move_tasks(&all, Move::Replay(&Changes::default())).await.unwrap();
    let verdicts: Vec<_> = moved.iter().map(|moved| (moved.id, moved.verdict)).collect();
    let archived = Err(Refusal::Status(TaskStatus::Archived));
    assert_eq!(verdicts, [(ids[0], archived), (stranger, Err(Refusal::Missing)), (ids[1], Ok(()))]);
}

#[tokio::test(start_paused = true)]
async fn two_replays_at_once_make_one() {
    let store = Arc::new(MemoryStore::new());
    let (queue, ids) = failed(&store, "t", 1, "E").await;
    let other = queue_on(&store, 2).await;
    let changes = Changes::default();
    let action = Move::Replay(&changes);
    let both = futures::future::join_all([&queue, &other].map(|queue| queue.move_tasks(&ids, action))).await;
    let moved: Vec<bool> = both.into_iter().map(|moved| moved.unwrap()[0].verdict.is_ok()).collect();
    assert_eq!(moved.iter().filter(|moved| **moved).count(), 1, "{moved:?}");
    let worker = worker_on(&queue).await;
    assert_eq!(worker.next(5, SOON).await.unwrap().assignments.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_counts_and_changes_nothing() {
    let store = Arc::new(MemoryStore::new());
    let (queue, _) = failed(&store, "t", 120, "E").await;
    advance(DAY * 8).await;
    let before = store.objects();
    let dry = Step { dry_run: true, ..step(100) };
    let (filter, changes) = (DeadFilter::default(), Changes::default());
    for action in [Move::Replay(&changes), Move::Archive] {
        let stepped = queue.move_failed(&filter, action, &dry).await.unwrap();
        assert_eq!((stepped.tasks, stepped.records), (120, 2));
    }
    let purged = queue.purge(&purge(&[TaskStatus::Failed], 7), &dry).await.unwrap();
    assert_eq!((purged.tasks, purged.records, purged.kept), (120, 2, 0));
    assert!(purged.bytes > 10_000);
    queue.flush().await;
    assert_eq!(store.objects(), before);
}

#[tokio::test(start_paused = true)]
async fn a_purge_takes_what_is_old_enough_and_its_entries() {
    let store = Arc::new(MemoryStore::new());
    let (queue, old) = failed(&store, "t", 250, "E").await;
    advance(DAY * 5).await;
    let (_, young) = failed(&store, "u", 5, "E").await;
    let week = purge(&[TaskStatus::Failed], 7);
    assert_eq!(queue.purge(&week, &step(100)).await.unwrap().tasks, 0, "nothing is old enough");
    advance(DAY * 3).await;
    let (mut tasks, mut step) = (0, step(1));
    loop {
        let purged = queue.purge(&week, &step).await.unwrap();
        tasks += purged.tasks;
        step.cursor = purged.cursor;
        if step.cursor.is_none() {
            break;
        }
    }
    assert_eq!(tasks, 250);
    assert!(queue.get(&old).await.unwrap().iter().all(Option::is_none));
    assert_eq!(sorted(&listed(&queue, &DeadFilter::default()).await), sorted(&young));
    assert_eq!((store.keys(keys::TASKS).len(), store.keys(keys::FAILED).len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn purged_tasks_of_a_record_that_holds_others_are_emptied_until_all_go() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let ids = submit(&queue, "t", 4).await;
    let worker = worker_on(&queue).await;
    work(
        &worker,
        4,
        |task| {
            if task.id.index() < 2 { failing("E") } else { Outcome::Complete { output: Json::null() } }
        },
    )
    .await;
    advance(DAY * 8).await;
    let purged = queue.purge(&purge(&[TaskStatus::Failed], 7), &step(100)).await.unwrap();
    assert_eq!((purged.tasks, purged.records, purged.kept), (2, 0, 1));
    let task = queue.get(&ids).await.unwrap().remove(0).unwrap().task;
    assert_eq!((task.status, task.input.text(), task.error.is_some()), (TaskStatus::Archived, "null", false));
    queue.flush().await;
    assert!(store.keys(keys::FAILED).is_empty());
    let rest = purge(&[TaskStatus::Completed], 7);
    assert_eq!(queue.purge(&rest, &step(100)).await.unwrap().tasks, 0, "the record was changed just now");
    advance(DAY * 8).await;
    let purged = queue.purge(&rest, &step(100)).await.unwrap();
    assert_eq!((purged.tasks, purged.records, purged.kept), (2, 1, 0));
    assert!(store.keys(keys::TASKS).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_purge_that_was_interrupted_is_finished_by_the_next() {
    let store = Arc::new(MemoryStore::new());
    let (queue, ids) = failed(&store, "t", 2, "E").await;
    advance(DAY * 8).await;
    // As a process that died between sealing the record and deleting it leaves it: the deletes never came.
    let objects = store.objects();
    let week = purge(&[TaskStatus::Failed], 7);
    queue.purge(&week, &step(100)).await.unwrap();
    let key = keys::record(ids[0].record());
    let entry = objects.keys().find(|key| key.starts_with(keys::FAILED)).unwrap();
    let sealed = store.get_version(&key, &newest_body(&store, &key).await).await.unwrap().value;
    let buquet_core::store::Got::Found(sealed) = sealed else { panic!("the seal was not written") };
    queue.bucket().put(&key, sealed.body).await.unwrap();
    queue.bucket().put(entry, "{}".into()).await.unwrap();

    assert!(listed(&queue, &DeadFilter::default()).await.is_empty(), "nothing is left to be listed");
    let replayed = queue.move_tasks(&ids, Move::Replay(&Changes::default())).await.unwrap();
    assert!(replayed.iter().all(|moved| moved.verdict == Err(Refusal::Purged)), "{replayed:?}");
    let purged = queue.purge(&week, &step(100)).await.unwrap();
    assert_eq!((purged.tasks, purged.records), (0, 0), "whoever sealed it may be about to delete it");
    advance(DAY).await;
    let purged = queue.purge(&week, &step(100)).await.unwrap();
    assert_eq!((purged.tasks, purged.records), (0, 1));
    assert!(store.keys(keys::TASKS).is_empty() && store.keys(keys::FAILED).is_empty());
}

/// The newest version of a deleted object that has a body.
async fn newest_body(store: &MemoryStore, key: &str) -> buquet_core::store::VersionId {
    let versions = store.versions(key, None, 10).await.unwrap().value.versions;
    versions.into_iter().find(|version| !version.deleted).unwrap().id
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_was_prepared_before_a_purge_cannot_bring_the_record_back() {
    let store = Arc::new(MemoryStore::new());
    let (queue, ids) = failed(&store, "t", 1, "E").await;
    advance(DAY * 8).await;
    let changes = Changes::default();
    let week = purge(&[TaskStatus::Failed], 7);
    let (purge_step, action) = (step(10), Move::Replay(&changes));
    let (moved, purged) = tokio::join!(queue.move_tasks(&ids, action), queue.purge(&week, &purge_step));
    let replayed = moved.unwrap()[0].verdict.is_ok();
    let gone = queue.get(&ids).await.unwrap()[0].is_none();
    assert_eq!((replayed, gone, purged.unwrap().tasks), (!gone, gone, usize::from(gone)));
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_was_left_behind_is_cleaned_by_whoever_lists() {
    let store = Arc::new(MemoryStore::new());
    let (queue, ids) = failed(&store, "t", 1, "E").await;
    let entry = store.keys(keys::FAILED).remove(0);
    replay_all(&queue, &DeadFilter::default()).await;
    queue.flush().await;
    queue.bucket().put(&entry, "{}".into()).await.unwrap();
    let nowhere = entry.replace(&ids[0].record().to_string()[..8], "0f0c7a52").replacen("failed/", "failed/0", 1);
    let nowhere = format!("failed/0/{}", nowhere.split_once('/').unwrap().1.split_once('/').unwrap().1);
    queue.bucket().put(&nowhere, "{}".into()).await.unwrap();
    assert!(listed(&queue, &DeadFilter::default()).await.is_empty());
    queue.flush().await;
    assert_eq!(store.keys(keys::FAILED), [nowhere], "its record may be a moment late");
    advance(DAY).await;
    listed(&queue, &DeadFilter::default()).await;
    queue.flush().await;
    assert!(store.keys(keys::FAILED).is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_entry_of_a_replay_that_was_abandoned_does_not_stay() {
    let store = Arc::new(MemoryStore::new());
    let (queue, ids) = failed(&store, "t", 1, "E").await;
    let failed_before = queue.get(&ids).await.unwrap()[0].clone().unwrap().task;
    let record_key = keys::record(ids[0].record());
    let body = store.objects()[&record_key].body.clone();
    // Its commit never came.
    let record = buquet_core::record::BatchRecord::decode(&record_key, &body).unwrap();
    let ahead = keys::ReadyEntry {
        due: queue.bucket().now(),
        record: record.id,
        seq: record.seq + 1,
        priority: 5,
        type_hash: keys::type_hash("t"),
        pending: 1,
        parked: false,
    };
    queue.bucket().put(&ahead.to_string(), "{}".into()).await.unwrap();
    let worker = worker_on(&queue).await;
    assert!(worker.next(5, Duration::from_mins(5)).await.unwrap().assignments.is_empty());
    queue.flush().await;
    assert!(store.keys(keys::READY).is_empty());
    let task = queue.get(&ids).await.unwrap()[0].clone().unwrap().task;
    assert_eq!((task.status, task.attempt), (failed_before.status, failed_before.attempt));
    assert_eq!(replay_all(&queue, &DeadFilter::default()).await, 1, "it can still be replayed");
    assert_eq!(worker.next(5, SOON).await.unwrap().assignments.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_costs_one_put_more_and_nothing_else_does() {
    let store = Arc::new(MemoryStore::new());
    let mut puts = Vec::new();
    for (n, outcome) in [Outcome::Complete { output: Json::null() }, failing("E")].into_iter().enumerate() {
        let queue = queue_on(&store, 10 + n as u64).await;
        let worker = worker_on(&queue).await;
        let before = queue.usage().requests.put;
        submit(&queue, "t", 50).await;
        work(&worker, 50, |_| outcome.clone()).await;
        puts.push(queue.usage().requests.put - before);
        worker.stop().await;
        queue.flush().await;
    }
    assert!(puts[1] <= puts[0] + 1, "{puts:?}: one record, failed in one commit");
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused_before_anything_is_read() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let before = queue.usage().requests.list;
    let (filter, open) = (DeadFilter::default(), purge(&[TaskStatus::Pending], 1));
    let stranger = Step { cursor: Some("ready/0".into()), ..step(10) };
    let good = purge(&[TaskStatus::Completed], 1);
    for error in [
        queue.failed(&filter, 0, None).await.unwrap_err(),
        queue.failed(&filter, 10, Some("tasks/0")).await.unwrap_err(),
        queue.move_failed(&filter, Move::Archive, &step(1_001)).await.unwrap_err(),
        queue.move_failed(&filter, Move::Archive, &stranger).await.unwrap_err(),
        queue.purge(&open, &step(10)).await.unwrap_err(),
        queue.purge(&purge(&[], 1), &step(10)).await.unwrap_err(),
        queue.purge(&good, &stranger).await.unwrap_err(),
        queue.lifecycle(&LifecycleChoice { keep_days: 0, apply: false }).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
    assert_eq!(queue.usage().requests.list, before);
}

#[tokio::test(start_paused = true)]
async fn a_store_without_lifecycle_rules_says_so_and_shows_them_all_the_same() {
    let store = Arc::new(MemoryStore::new());
    let (queue, _) = failed(&store, "t", 500, "E").await;
    let shown = queue.lifecycle(&LifecycleChoice { keep_days: 30, apply: false }).await.unwrap();
    assert!(!shown.applies && !shown.applied && shown.notes[0].contains("no bucket"));
    // Each was submitted, claimed and failed.
    assert_eq!((shown.estimate.sampled, shown.estimate.old_versions >= 10.0), (5, true), "{:?}", shown.estimate);
    let refused = queue.lifecycle(&LifecycleChoice { keep_days: 30, apply: true }).await.unwrap_err();
    assert!(matches!(refused, Error::Unsupported(_)), "{refused}");
}
