//! The doctor at the bed of healthy and sick queues, on a store in memory with paused time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use buquet_core::entropy::Entropy;
use buquet_core::queue::doctor::{Check, Examination, Report, Status, Visit, examine};
use buquet_core::queue::{Queue, Settings, Submission};
use buquet_core::record::Json;
use buquet_core::store::memory::MemoryStore;
use buquet_core::store::{
    Condition, ETag, Got, Page, Put, Store, StoreError, StoreErrorKind, StoreKind, StoreResult, VersionId, VersionPage,
};
use buquet_core::time::Timestamp;
use buquet_core::worker::{Options as WorkerOptions, Worker};
use bytes::Bytes;
use tokio::time::sleep;

use crate::queue::support::queue_on;

/// What the clock of a store in memory says at first, and this machine's all the time.
const STORE_BEGINS: Timestamp = Timestamp(1_767_225_600_000);

async fn submit(queue: &Queue, kind: &str) {
    let input = Json::parse("1").unwrap();
    queue.submit(Submission::new(kind, input)).await.unwrap();
}

async fn worker_on(queue: &Queue, kind: &str) -> Worker {
    let options = WorkerOptions { types: vec![kind.into()], concurrency: 1, ..WorkerOptions::default() };
    Worker::start(queue, options).await.unwrap()
}

async fn examined(store: Arc<dyn Store>, asked: &Examination) -> Report {
    let visit = Visit::new(store, &Entropy::seeded(9), Settings::for_store(StoreKind::S3));
    examine(&visit, asked, || STORE_BEGINS).await
}

async fn report(store: &Arc<MemoryStore>) -> Report {
    examined(Arc::clone(store) as _, &Examination::default()).await
}

fn check<'a>(report: &'a Report, name: &str) -> &'a Check {
    report.checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no {name}: {report:?}"))
}

/// Refuses some requests, as IAM does or a server that is down.
struct Refusing {
    store: Arc<MemoryStore>,
    refuse: fn(&str) -> Option<StoreErrorKind>,
}

impl Refusing {
    fn ask(&self, what: &str) -> Result<(), StoreError> {
        (self.refuse)(what).map_or(Ok(()), |kind| Err(StoreError::new(kind, format!("{what} was refused"))))
    }
}

#[async_trait]
impl Store for Refusing {
    fn kind(&self) -> StoreKind {
        StoreKind::S3
    }
    fn url(&self) -> String {
        "s3://bucket/jobs".into()
    }
    fn clock_resolution_ms(&self) -> i64 {
        1
    }
    async fn get(&self, key: &str, if_none_match: Option<&ETag>) -> StoreResult<Got> {
        self.ask("get")?;
        self.store.get(key, if_none_match).await
    }
    async fn put(&self, key: &str, body: Bytes, condition: &Condition) -> StoreResult<Put> {
        self.ask("put")?;
        let ignored = self.ask("conditions").is_err();
        self.store.put(key, body, if ignored { &Condition::Always } else { condition }).await
    }
    async fn delete_many(&self, keys: &[String]) -> StoreResult<()> {
        self.ask("delete")?;
        self.store.delete_many(keys).await
    }
    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> StoreResult<Page> {
        self.ask("list")?;
        self.store.list(prefix, start_after, limit).await
    }
    async fn versions(&self, key: &str, before: Option<&VersionId>, limit: usize) -> StoreResult<VersionPage> {
        self.ask("versions")?;
        self.store.versions(key, before, limit).await
    }
    async fn get_version(&self, key: &str, version: &VersionId) -> StoreResult<Got> {
        self.ask("get_version")?;
        self.store.get_version(key, version).await
    }
    async fn keeps_versions(&self) -> StoreResult<bool> {
        self.ask("versioning")?;
        self.store.keeps_versions().await
    }
}

async fn refusing(refuse: fn(&str) -> Option<StoreErrorKind>) -> Report {
    let store = Arc::new(MemoryStore::new());
    drop(queue_on(&store, 1).await);
    examined(Arc::new(Refusing { store, refuse }), &Examination::default()).await
}

#[tokio::test(start_paused = true)]
async fn a_healthy_queue_is_found_healthy_with_few_requests_and_left_as_it_was() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let worker = worker_on(&queue, "t").await;
    submit(&queue, "t").await;
    queue.flush().await;
    worker.next(1, Duration::from_secs(5)).await.unwrap();
    let before = store.keys("");
    let report = report(&store).await;
    assert_eq!(report.status, Status::Ok, "{report:#?}");
    assert_eq!(store.keys(""), before);
    assert_eq!(report.checks.len(), 12);
    let requests = report.requests;
    assert!(requests.put <= 10 && requests.get <= 12 && requests.list <= 12, "{requests:?}");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn work_that_no_worker_handles_is_named() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let worker = worker_on(&queue, "greet").await;
    submit(&queue, "gret").await;
    assert_eq!(check(&report(&store).await, "ready").status, Status::Ok, "it has only just come");
    sleep(Duration::from_mins(5)).await;
    let report = report(&store).await;
    let found = check(&report, "ready");
    assert_eq!((report.status, found.status), (Status::Failed, Status::Failed));
    assert!(found.what.starts_with("no worker handles type \"gret\": 1 task due"), "{found:?}");
    assert!(found.advice.contains("greet"), "{found:?}");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_worker_and_what_it_holds_are_found() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    let worker = worker_on(&queue, "t").await;
    submit(&queue, "t").await;
    assert_eq!(worker.next(1, Duration::from_secs(5)).await.unwrap().assignments.len(), 1);
    drop(worker);
    sleep(Duration::from_mins(2)).await;
    let dead = report(&store).await;
    assert_eq!(check(&dead, "workers").status, Status::Failed, "{dead:#?}");
    assert!(check(&dead, "workers").what.contains("1 lease held by dead workers"), "{dead:#?}");
    sleep(Duration::from_mins(10)).await;
    let late = report(&store).await;
    assert!(check(&late, "leases").what.contains("past their time"), "{late:#?}");
}

#[tokio::test(start_paused = true)]
async fn schemas_and_schedules_that_cannot_be_read_are_found() {
    let store = Arc::new(MemoryStore::new());
    let _queue = queue_on(&store, 1).await;
    assert_eq!(check(&report(&store).await, "definitions").status, Status::Ok);
    for key in ["schedules/night.json", "schemas.json"] {
        store.put(key, Bytes::from_static(b"{bad"), &Condition::Always).await.unwrap();
        let found = report(&store).await;
        assert_eq!((found.status, check(&found, "definitions").status), (Status::Failed, Status::Failed));
        assert!(check(&found, "definitions").what.contains(key), "{found:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn unreadable_records_are_found_and_all_of_them_by_a_deep_look() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    for _ in 0..60 {
        submit(&queue, "t").await;
    }
    let last = store.keys("tasks/").pop().unwrap();
    store.put(&last, Bytes::from_static(b"{"), &Condition::Always).await.unwrap();
    let shallow = report(&store).await;
    assert!(check(&shallow, "records").advice.contains("--deep"), "{shallow:#?}");
    let deep = Examination { deep: true, cursor: None };
    let deep = examined(Arc::clone(&store) as _, &deep).await;
    assert_eq!((check(&deep, "records").status, &deep.cursor), (Status::Failed, &None));
    assert!(check(&deep, "records").what.contains(&last), "{deep:#?}");
    let rest = Examination { deep: true, cursor: Some(last) };
    let rest = examined(Arc::clone(&store) as _, &rest).await;
    assert_eq!(rest.checks.len(), 1, "only records are gone on with: {rest:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_is_the_first_failure_and_the_rest_is_skipped() {
    let report = refusing(|_| Some(StoreErrorKind::Unavailable)).await;
    assert_eq!(report.status, Status::Failed);
    assert_eq!((report.checks[0].name, report.checks[0].status), ("store", Status::Failed));
    assert!(report.checks[1..].iter().all(|check| check.status == Status::Skipped), "{report:#?}");
    assert_eq!(report.checks.len(), 12);
    let report = refusing(|_| Some(StoreErrorKind::NoBucket)).await;
    assert!(report.checks[0].advice.contains("create the bucket"), "{report:#?}");
}

#[tokio::test(start_paused = true)]
async fn wrong_credentials_and_missing_permissions_are_told_apart() {
    let nothing = refusing(|_| Some(StoreErrorKind::Denied)).await;
    assert!(check(&nothing, "permissions").advice.contains("credentials"), "{nothing:#?}");
    assert_eq!(nothing.checks.len(), 12);
    let no_delete = refusing(|what| (what == "delete").then_some(StoreErrorKind::Denied)).await;
    assert!(check(&no_delete, "permissions").advice.contains("s3:DeleteObject"), "{no_delete:#?}");
    assert_eq!(check(&no_delete, "conditional_writes").status, Status::Skipped);
    let no_history = refusing(|what| what.starts_with("version").then_some(StoreErrorKind::Denied)).await;
    assert_eq!(no_history.status, Status::Warning, "{no_history:#?}");
    let read_only_not = refusing(|what| (what == "get").then_some(StoreErrorKind::Denied)).await;
    assert!(check(&read_only_not, "permissions").advice.contains("s3:GetObject"), "{read_only_not:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_ignores_conditions_fails() {
    let report = refusing(|what| (what == "conditions").then_some(StoreErrorKind::Invalid)).await;
    let found = check(&report, "conditional_writes");
    assert!(found.status == Status::Failed && found.advice.contains("another store"), "{report:#?}");
}

#[tokio::test(start_paused = true)]
async fn an_empty_prefix_a_lost_marker_and_a_newer_layout_are_told_apart() {
    let store = Arc::new(MemoryStore::new());
    let empty = report(&store).await;
    assert_eq!((empty.status, check(&empty, "layout").status), (Status::Warning, Status::Warning));
    let queue = queue_on(&store, 1).await;
    submit(&queue, "t").await;
    let newer = Bytes::from_static(b"{\"format\":99,\"shard_digits\":1}");
    store.put("buquet.json", newer, &Condition::Always).await.unwrap();
    assert!(check(&report(&store).await, "layout").advice.contains("upgrade"));
    store.delete_many(&["buquet.json".into()]).await.unwrap();
    let lost = report(&store).await;
    assert!(check(&lost, "layout").what.contains("there are records"), "{lost:#?}");
}
