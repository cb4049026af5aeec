//! What a caller learns whose task is not started.

use std::sync::Arc;
use std::time::Duration;

use buquet_core::Error;
use buquet_core::id::TaskId;
use buquet_core::queue::{Queue, Submission, When};
use buquet_core::record::Json;
use buquet_core::store::memory::MemoryStore;
use buquet_core::worker::{Options as WorkerOptions, Worker};
use tokio::time::sleep;

use crate::queue::support::queue_on;

fn submission(kind: &str) -> Submission {
    Submission::new(kind, Json::parse("1").unwrap())
}

async fn worker_on(queue: &Queue, types: &[&str]) -> Worker {
    let types = types.iter().map(|&kind| kind.to_owned()).collect();
    Worker::start(queue, WorkerOptions { types, concurrency: 1, ..WorkerOptions::default() }).await.unwrap()
}

async fn said_after(queue: &Queue, id: TaskId, wait: Duration) -> String {
    match queue.wait(id, Some(wait)).await {
        Err(Error::Timeout(message)) => message,
        other => panic!("expected the time to be up, got {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_whose_time_is_up_says_that_nobody_takes_the_task() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let id = queue.submit(submission("count_wrods")).await.unwrap();
    let wait = Duration::from_secs(2);
    assert_eq!(said_after(&queue, id, wait).await, format!("task {id} has not finished yet: no worker runs"));

    let worker = worker_on(&queue, &["resize", "count_words"]).await;
    sleep(Duration::from_secs(10)).await;
    let said = said_after(&queue, id, wait).await;
    assert!(
        said.ends_with(": no living worker takes type \"count_wrods\"; living workers take count_words, resize"),
        "{said}"
    );
    let taken = queue.submit(submission("resize")).await.unwrap();
    assert_eq!(said_after(&queue, taken, wait).await, format!("task {taken} has not finished yet"), "it is its turn");

    worker.drain().await;
    sleep(Duration::from_secs(70)).await; // until its next heartbeat, which says so
    assert!(said_after(&queue, id, wait).await.ends_with("no worker runs"), "one that drains takes nothing more");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_not_due_waits_for_its_time_and_a_short_look_costs_no_more() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let later = Submission { when: When::After(Duration::from_hours(1)), ..submission("t") };
    let id = queue.submit(later).await.unwrap();
    let due = queue.get(&[id]).await.unwrap()[0].as_ref().unwrap().task.available_at;
    assert_eq!(queue.explain(id).await.unwrap().unwrap(), format!("it is not to start before {due}"));
    let before = queue.usage().requests.list;
    assert_eq!(said_after(&queue, id, Duration::from_millis(100)).await, format!("task {id} has not finished yet"));
    assert_eq!(queue.usage().requests.list, before);
}
