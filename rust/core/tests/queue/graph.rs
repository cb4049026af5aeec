//! Tasks that wait for others, through the queue and its workers.

use std::sync::Arc;
use std::time::Duration;

use buquet_core::Error;
use buquet_core::id::TaskId;
use buquet_core::keys;
use buquet_core::limits;
use buquet_core::queue::{About, Dependency, Node, Purge, Queue, Step, Submission, When};
use buquet_core::record::{Changes, Failure, Json, On, Options, Outcome, RetryPolicy, TaskStatus};
use buquet_core::store::memory::MemoryStore;
use buquet_core::worker::{Assignment, Options as WorkerOptions, WorkOutcome, Worker};
use tokio::time::sleep;

use crate::queue::support::queue_on;

const SOON: Duration = Duration::from_secs(5);

fn node(count: usize, after: &[Dependency], on: On) -> Node {
    let retry = RetryPolicy { max_retries: 0, ..RetryPolicy::default() };
    Node {
        kind: "t".into(),
        inputs: (0..count).map(|n| Json::parse(&n.to_string()).unwrap()).collect(),
        options: Options { retry, ..Options::default() },
        when: When::Now,
        about: About::default(),
        after: after.to_vec(),
        on,
        results: None,
    }
}

async fn worker_on(queue: &Queue) -> Worker {
    let options = WorkerOptions { types: vec!["t".into()], concurrency: 200, ..WorkerOptions::default() };
    Worker::start(queue, options).await.unwrap()
}

async fn settle(worker: &Worker, tasks: &[Assignment], failing: &[TaskId]) {
    let outcome = |task: &Assignment| {
        let error = Failure { kind: "E".into(), message: "no".into(), traceback: None };
        if failing.contains(&task.id) {
            Outcome::Fail { error, retry: false, retry_at: None }
        } else {
            Outcome::Complete { output: Json::null() }
        }
    };
    let ended = tasks.iter().map(|task| WorkOutcome { id: task.id, lease: task.lease, outcome: outcome(task) });
    worker.settle(ended.collect()).await;
}

/// Runs all there is to run; those named fail. The order in which tasks ran.
async fn run(worker: &Worker, failing: &[TaskId]) -> Vec<TaskId> {
    let mut ran = Vec::new();
    loop {
        let tasks = worker.next(200, SOON).await.unwrap().assignments;
        if tasks.is_empty() {
            return ran;
        }
        ran.extend(tasks.iter().map(|task| task.id));
        settle(worker, &tasks, failing).await;
    }
}

async fn statuses(queue: &Queue, ids: &[TaskId]) -> Vec<TaskStatus> {
    queue.get(ids).await.unwrap().into_iter().map(|task| task.unwrap().task.status).collect()
}

#[tokio::test(start_paused = true)]
async fn a_chain_runs_one_after_the_other_each_as_soon_as_the_one_before_has_ended() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let chain: Vec<Node> = (0..5)
        .map(|n: usize| node(1, &n.checked_sub(1).map(Dependency::Node).into_iter().collect::<Vec<_>>(), On::Success))
        .collect();
    let ids: Vec<TaskId> = queue.submit_graph(&chain).await.unwrap().into_iter().flatten().collect();
    assert_eq!(statuses(&queue, &ids[1..]).await, [TaskStatus::Waiting; 4]);
    let worker = worker_on(&queue).await;
    assert_eq!(run(&worker, &[]).await, ids);
    queue.flush().await;
    assert_eq!(store.keys(keys::READY), [keys::PARKED_MARK]);
    assert!(store.keys(keys::PARKED).is_empty() && store.keys(keys::LEASES).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_group_of_ten_thousand_is_a_hundred_links_and_its_join_reads_nothing_until_the_end() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let nodes = [node(10_000, &[], On::Success), node(1, &[Dependency::Node(0)], On::Success)];
    let ids = queue.submit_graph(&nodes).await.unwrap();
    let join = queue.get(&ids[1]).await.unwrap().remove(0).unwrap();
    assert_eq!(join.task.after.unwrap().slots.len(), 100);
    let worker = worker_on(&queue).await;
    let before = queue.usage().requests.put;
    let ran = run(&worker, &[]).await;
    assert_eq!((ran.len(), ran.last()), (10_001, ids[1].last()));
    let puts = queue.usage().requests.put - before;
    assert!(puts <= 1_000, "{puts} PUTs for ten thousand tasks and their join");
}

#[tokio::test(start_paused = true)]
async fn on_failure_and_on_success_of_a_group_each_run_once_and_only_if_it_came_out_so() {
    for fails in [false, true] {
        let store = Arc::new(MemoryStore::new());
        let queue = queue_on(&store, 1).await;
        let group = [Dependency::Node(0)];
        let nodes = [
            node(3, &[], On::Success),
            node(1, &group, On::Success),
            node(1, &group, On::Failure),
            node(1, &group, On::Finished),
        ];
        let ids = queue.submit_graph(&nodes).await.unwrap();
        let worker = worker_on(&queue).await;
        let failing = if fails { vec![ids[0][1], ids[0][2]] } else { Vec::new() };
        let ran = run(&worker, &failing).await;
        assert_eq!(ran.len(), 5, "{ran:?}");
        let (yes, no) = if fails { (ids[2][0], ids[1][0]) } else { (ids[1][0], ids[2][0]) };
        assert!(ran.contains(&yes) && ran.contains(&ids[3][0]) && !ran.contains(&no));
        let told = queue.get(&[no]).await.unwrap().remove(0).unwrap().task;
        assert_eq!(told.status, TaskStatus::Cancelled);
        let reason = told.cancel.unwrap().reason.unwrap();
        assert!(!fails || reason.contains(&ids[0][1].to_string()), "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_calls_off_all_of_a_chain_and_each_says_because_of_which() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let chain: Vec<Node> = (0..200)
        .map(|n: usize| node(1, &n.checked_sub(1).map(Dependency::Node).into_iter().collect::<Vec<_>>(), On::Success))
        .collect();
    let ids: Vec<TaskId> = queue.submit_graph(&chain).await.unwrap().into_iter().flatten().collect();
    let worker = worker_on(&queue).await;
    assert_eq!(run(&worker, &ids[..1]).await.len(), 1);
    assert_eq!(statuses(&queue, &ids[1..]).await, vec![TaskStatus::Cancelled; 199]);
    queue.flush().await;
    assert!(store.keys(keys::LEASES).is_empty() && store.keys(keys::PARKED).is_empty());
}

#[tokio::test(start_paused = true)]
async fn cancelling_the_first_calls_off_what_waits_for_it_though_no_worker_runs() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let nodes = [node(1, &[], On::Success), node(2, &[Dependency::Node(0)], On::Success)];
    let ids = queue.submit_graph(&nodes).await.unwrap();
    queue.cancel(&ids[0], None, Some("the wrong one".into())).await.unwrap();
    assert_eq!(statuses(&queue, &ids[1]).await, [TaskStatus::Cancelled; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_group_of_none_is_waited_for_by_nobody() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let nodes = [node(0, &[], On::Success), node(1, &[Dependency::Node(0)], On::Success)];
    let ids = queue.submit_graph(&nodes).await.unwrap();
    let worker = worker_on(&queue).await;
    assert_eq!(run(&worker, &[]).await, ids[1]);
}

#[tokio::test(start_paused = true)]
async fn tasks_that_there_are_already_can_be_waited_for_also_if_they_have_ended() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let worker = worker_on(&queue).await;
    let submit = || queue.submit(Submission::new("t", Json::null()));
    let ended = submit().await.unwrap();
    run(&worker, &[]).await;
    let running = submit().await.unwrap();
    let task = worker.next(1, SOON).await.unwrap().assignments.remove(0);
    let nodes = [
        node(1, &[Dependency::Task(ended)], On::Success),
        node(1, &[Dependency::Task(ended), Dependency::Task(running)], On::Success),
    ];
    let ids = queue.submit_graph(&nodes).await.unwrap();
    assert_eq!(run(&worker, &[]).await, ids[0], "the other waits");
    settle(&worker, &[task], &[]).await;
    assert_eq!(run(&worker, &[]).await, ids[1]);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_task_that_does_not_exist_is_refused() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let id = queue.submit(Submission::new("t", Json::null())).await.unwrap();
    for missing in [id.record().task(5), "5f0c7a52-41c3-8e5a-9d1b-3a6f0c2e0000".parse().unwrap()] {
        let refused = queue.submit_graph(&[node(1, &[Dependency::Task(missing)], On::Success)]).await;
        assert!(matches!(refused, Err(Error::NotFound(_))), "{refused:?}");
    }
    let circle = queue.submit_graph(&[node(1, &[Dependency::Node(0)], On::Success)]).await;
    assert!(matches!(circle, Err(Error::Invalid(_))), "{circle:?}");
}

#[tokio::test(start_paused = true)]
async fn more_records_than_can_be_told_are_refused_with_advice() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let many = node((limits::LINK_TARGETS + 1) * limits::RECORD_TASKS, &[Dependency::Node(0)], On::Success);
    let refused = queue.submit_graph(&[node(1, &[], On::Success), many]).await.unwrap_err().to_string();
    assert!(refused.contains("let one task wait"), "{refused}");
    assert!(store.keys(keys::TASKS).is_empty(), "nothing was stored");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_tasks_whose_submit_was_cut_off_is_called_off_after_a_while() {
    let (whole, store) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
    let (source, queue) = (queue_on(&whole, 1).await, queue_on(&store, 2).await);
    let nodes = [node(1, &[], On::Success), node(1, &[Dependency::Node(0)], On::Success)];
    let ids = source.submit_graph(&nodes).await.unwrap();
    // Only the one that waits was stored.
    let entry = whole.keys(keys::PARKED).remove(0);
    let record = keys::record(ids[1][0].record());
    for key in [keys::PARKED_MARK.to_owned(), entry, record] {
        let body = whole.objects()[&key].body.clone();
        queue.bucket().put(&key, body).await.unwrap();
    }
    let worker = worker_on(&queue).await;
    assert!(worker.next(1, Duration::from_mins(6)).await.unwrap().assignments.is_empty());
    let task = queue.get(&ids[1]).await.unwrap().remove(0).unwrap().task;
    assert_eq!(task.status, TaskStatus::Cancelled);
    assert!(task.cancel.unwrap().reason.unwrap().contains("DependencyGone"));
}

#[tokio::test(start_paused = true)]
async fn a_purge_passes_over_what_others_have_yet_to_read() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let later = Node { when: When::After(Duration::from_hours(2)), ..node(1, &[Dependency::Node(0)], On::Success) };
    let ids = queue.submit_graph(&[node(1, &[], On::Success), later]).await.unwrap();
    let worker = worker_on(&queue).await;
    run(&worker, &[]).await;
    assert_eq!(statuses(&queue, &[ids[0][0], ids[1][0]]).await, [TaskStatus::Completed, TaskStatus::Pending]);
    let purge = Purge { status: [TaskStatus::Completed].into(), ..Purge::default() };
    let step = Step { limit: 100, cursor: None, dry_run: false };
    sleep(Duration::from_mins(30)).await;
    assert_eq!(queue.purge(&purge, &step).await.unwrap().tasks, 0);
    sleep(Duration::from_hours(2)).await;
    assert_eq!(run(&worker, &[]).await, ids[1]);
    sleep(Duration::from_mins(30)).await;
    assert_eq!(queue.purge(&purge, &step).await.unwrap().tasks, 2);
}

#[tokio::test(start_paused = true)]
async fn a_queue_in_which_tasks_wait_for_others_is_refused_by_versions_that_do_not_know_them() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let marked = || String::from_utf8(store.objects()[keys::MARKER].body.to_vec()).unwrap();
    queue.submit(Submission::new("t", Json::null())).await.unwrap();
    assert!(marked().contains("\"format\":1"));
    let nodes = [node(1, &[], On::Success), node(1, &[Dependency::Node(0)], On::Success)];
    queue.submit_graph(&nodes).await.unwrap();
    assert!(marked().contains("\"format\":2"));
    queue_on(&store, 2).await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_explained() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let nodes = [node(3, &[], On::Success), node(1, &[Dependency::Node(0)], On::Success)];
    let ids = queue.submit_graph(&nodes).await.unwrap();
    let reason = queue.explain(ids[1][0]).await.unwrap().unwrap();
    assert_eq!(reason, format!("it waits for 3 of the 3 tasks that it is to run after, such as {}", ids[0][0]));
}

#[tokio::test(start_paused = true)]
async fn a_replay_with_dependents_runs_all_of_a_chain_again() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let chain: Vec<Node> = (0..4)
        .map(|n: usize| node(1, &n.checked_sub(1).map(Dependency::Node).into_iter().collect::<Vec<_>>(), On::Success))
        .collect();
    let ids: Vec<TaskId> = queue.submit_graph(&chain).await.unwrap().into_iter().flatten().collect();
    let worker = worker_on(&queue).await;
    assert_eq!(run(&worker, &ids[..1]).await.len(), 1);
    assert_eq!(statuses(&queue, &ids[1..]).await, [TaskStatus::Cancelled; 3]);
    let moved = queue.replay_with_dependents(&ids[..1], &Changes::default()).await.unwrap();
    assert!(moved[0].verdict.is_ok());
    assert_eq!(statuses(&queue, &ids[1..]).await, [TaskStatus::Waiting; 3]);
    assert_eq!(run(&worker, &[]).await, ids);
}

#[tokio::test(start_paused = true)]
async fn a_replay_with_dependents_brings_back_what_waits_for_two_that_were_called_off() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let diamond = [
        node(1, &[], On::Success),
        node(1, &[Dependency::Node(0)], On::Success),
        node(1, &[Dependency::Node(0)], On::Success),
        node(2, &[Dependency::Node(1), Dependency::Node(2)], On::Success),
    ];
    let ids: Vec<TaskId> = queue.submit_graph(&diamond).await.unwrap().into_iter().flatten().collect();
    let worker = worker_on(&queue).await;
    assert_eq!(run(&worker, &ids[..1]).await.len(), 1);
    assert_eq!(statuses(&queue, &ids[1..]).await, [TaskStatus::Cancelled; 4]);
    queue.replay_with_dependents(&ids[..1], &Changes::default()).await.unwrap();
    // It fails once more, and is replayed once more.
    assert_eq!(run(&worker, &ids[..1]).await.len(), 1);
    assert_eq!(statuses(&queue, &ids[1..]).await, [TaskStatus::Cancelled; 4]);
    queue.replay_with_dependents(&ids[..1], &Changes::default()).await.unwrap();
    assert_eq!(run(&worker, &[]).await.len(), 5);
    assert_eq!(statuses(&queue, &ids).await, [TaskStatus::Completed; 5]);
}
