//! Purging on S3 servers that nobody here wrote: the grace that a real bucket needs is left out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use buquet_core::entropy::Entropy;
use buquet_core::queue::{Purge, Queue, Settings, Step, Submission};
use buquet_core::record::{Failure, Json, Outcome, TaskStatus};
use buquet_core::store::StoreKind;
use buquet_core::worker::{Options, WorkOutcome, Worker};

use crate::store::support::{Server, servers};

async fn fail_one(server: &Server, bucket: &str) -> Queue {
    let store = Arc::new(server.store(bucket, "queue"));
    let settings = Settings { purge_grace: Duration::ZERO, ..Settings::for_store(StoreKind::S3) };
    let queue = Queue::open(store, Entropy::from_os(), settings).await.unwrap();
    queue.submit(Submission::new("t", Json::parse("1").unwrap())).await.unwrap();
    let options = Options { types: vec!["t".into()], concurrency: 1, ..Options::default() };
    let worker = Worker::start(&queue, options).await.unwrap();
    let task = loop {
        if let Some(task) = worker.next(1, Duration::from_secs(30)).await.unwrap().assignments.pop() {
            break task;
        }
    };
    let error = Failure { kind: "E".into(), message: "no".into(), traceback: None };
    let outcome = Outcome::Fail { error, retry: false, retry_at: None };
    worker.settle(vec![WorkOutcome { id: task.id, lease: task.lease, outcome }]).await;
    worker.stop().await;
    queue
}

#[tokio::test]
async fn a_failed_task_is_purged_with_its_record_and_its_entry() {
    for server in servers() {
        let bucket = server.new_bucket().await;
        let queue = fail_one(&server, &bucket).await;
        let purge = Purge { status: BTreeSet::from([TaskStatus::Failed]), ..Purge::default() };
        let step = Step { limit: 10, cursor: None, dry_run: false };
        // The server's clock may show whole seconds only.
        let purged = loop {
            let purged = queue.purge(&purge, &step).await.unwrap();
            if purged.tasks > 0 {
                break purged;
            }
        };
        assert_eq!((purged.tasks, purged.records), (1, 1), "{}", server.name);
        for index in ["tasks/", "failed/"] {
            assert!(queue.bucket().list(index, None, 10).await.unwrap().value.entries.is_empty(), "{}", server.name);
        }
    }
}
