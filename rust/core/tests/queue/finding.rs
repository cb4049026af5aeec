//! How workers find work: behind other types' backlogs, in fleets, and for how many requests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use buquet_core::entropy::Entropy;
use buquet_core::id::{LeaseId, RecordId, WorkerId};
use buquet_core::keys::{LeaseEntry, ReadyEntry, type_hash, worker as worker_key};
use buquet_core::queue::{About, Queue, Settings, Submission, When};
use buquet_core::record::{Json, Options, Outcome};
use buquet_core::store::faulty::{FaultPlan, Network, Observer};
use buquet_core::store::memory::MemoryStore;
use buquet_core::store::{Condition, ETag, Got, Page, Put, Store, StoreKind, StoreResult, VersionId, VersionPage};
use buquet_core::worker::{Options as WorkerOptions, WorkOutcome, Worker};
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::queue::support::{Counts, queue_on};

const SOON: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_mins(1);
/// What an idle worker may cost in a month of 30 days.
const IDLE_DOLLARS: f64 = 2.0;

/// A queue of many processes: each has a way of its own to one store.
struct Fleet {
    store: Arc<MemoryStore>,
    counts: Arc<Counts>,
    network: Arc<Network>,
}

impl Fleet {
    fn new() -> Self {
        let (store, counts) = (Arc::new(MemoryStore::new()), Arc::new(Counts::default()));
        let observer: Arc<dyn Observer> = Arc::clone(&counts) as _;
        let network = Network::new(Arc::clone(&store) as _, 1, FaultPlan::calm(), observer);
        Self { store, counts, network }
    }

    async fn queue(&self, name: &str) -> Queue {
        self.queue_with(name, &Settings::for_store(StoreKind::S3)).await
    }

    async fn queue_with(&self, name: &str, settings: &Settings) -> Queue {
        let seed = name.bytes().fold(7, |seed, byte| seed * 31 + u64::from(byte));
        let store: Arc<dyn Store> = self.network.connect(name);
        Queue::open(store, Entropy::seeded(seed), *settings).await.unwrap()
    }

    async fn worker(&self, name: &str, kind: &str) -> Worker {
        worker_on(&self.queue(name).await, kind).await
    }

    /// Workers of one type that have had time to learn of each other.
    async fn workers(&self, count: usize, kind: &str) -> Vec<Worker> {
        let mut workers = Vec::new();
        for n in 0..count {
            workers.push(self.worker(&format!("{kind}{n}"), kind).await);
        }
        sleep(Duration::from_secs(30)).await;
        workers
    }

    /// Entries of tasks that nobody here runs; their records are never asked for.
    async fn fill(&self, kind: &str, records: usize, age: Duration) {
        let entropy = Entropy::seeded(99);
        let due = self.store.now().before(age);
        for _ in 0..records {
            let record = RecordId::random(&entropy);
            let entry =
                ReadyEntry { due, record, seq: 1, priority: 5, type_hash: type_hash(kind), pending: 1, parked: false };
            self.put(&entry.to_string(), "{}").await;
        }
    }

    async fn put(&self, key: &str, body: &'static str) {
        self.store.put(key, Bytes::from_static(body.as_bytes()), &Condition::Always).await.unwrap();
    }
}

async fn worker_on(queue: &Queue, kind: &str) -> Worker {
    let options = WorkerOptions { types: vec![kind.into()], concurrency: 10, ..WorkerOptions::default() };
    Worker::start(queue, options).await.unwrap()
}

fn submission(kind: &str, priority: u8) -> Submission {
    let options = Options { priority, ..Options::default() };
    Submission { options, ..Submission::new(kind, Json::parse("0").unwrap()) }
}

/// Submits a task of this type each second, for ever.
fn keep_submitting(queue: &Queue, kind: &'static str) -> tokio::task::JoinHandle<()> {
    let queue = queue.clone();
    tokio::spawn(async move {
        loop {
            queue.submit(submission(kind, 5)).await.unwrap();
            sleep(Duration::from_secs(1)).await;
        }
    })
}

/// Runs what the worker is given, for ever: each task takes `busy`, and up to `at_once` run at a time. Notes when each
/// was started.
fn keep_working(worker: &Arc<Worker>, at_once: usize, busy: Duration) -> Arc<Mutex<Vec<(RecordId, u8, Instant)>>> {
    let started = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..at_once {
        let (worker, started) = (Arc::clone(worker), Arc::clone(&started));
        tokio::spawn(async move {
            loop {
                for task in worker.next(1, MINUTE).await.unwrap().assignments {
                    started.lock().unwrap().push((task.id.record(), task.priority, Instant::now()));
                    sleep(busy).await;
                    let output = Json::parse("1").unwrap();
                    let outcome = Outcome::Complete { output };
                    worker.settle(vec![WorkOutcome { id: task.id, lease: task.lease, outcome }]).await;
                }
            }
        });
    }
    started
}

#[tokio::test(start_paused = true)]
async fn a_task_behind_sixty_thousand_of_another_type_starts_within_seconds_of_its_worker() {
    let fleet = Fleet::new();
    let producer = fleet.queue("producer").await;
    fleet.fill("a", 60_000, Duration::from_mins(10)).await;
    let id = producer.submit(submission("b", 5)).await.unwrap();
    let submits = keep_submitting(&producer, "a");
    sleep(Duration::from_mins(5)).await;

    let worker = fleet.worker("b", "b").await;
    let found = worker.next(1, SOON).await.unwrap().assignments;
    assert_eq!(found.first().map(|task| task.id), Some(id), "it was not found in {SOON:?}");
    submits.abort();
}

#[tokio::test(start_paused = true)]
async fn a_first_ring_that_does_not_tell_all_is_looked_at_by_whoever_was_there_before_it() {
    let fleet = Fleet::new();
    let (producer, worker) = (fleet.queue("producer").await, fleet.worker("a", "a").await);
    sleep(Duration::from_secs(10)).await;

    let id = producer.submit(submission("a", 5)).await.unwrap();
    // What several processes leave that touch it at the same moment: none tells of the others' tasks.
    fleet.put("bell.json", r#"{"at":"2026-09-21T14:13:32.395Z","nonce":"9e0fbee184e17741"}"#).await;
    let found = worker.next(1, SOON).await.unwrap().assignments;
    assert_eq!(found.first().map(|task| task.id), Some(id), "it was not found in {SOON:?}");
}

#[tokio::test(start_paused = true)]
async fn a_fresh_task_is_found_at_once_behind_a_backlog_of_another_type() {
    let fleet = Fleet::new();
    let producer = fleet.queue("producer").await;
    fleet.fill("a", 60_000, Duration::from_secs(20)).await;
    let submits = keep_submitting(&producer, "a");
    let worker = fleet.worker("b", "b").await;
    sleep(MINUTE).await;

    let id = producer.submit(submission("b", 5)).await.unwrap();
    let found = worker.next(1, Duration::from_secs(3)).await.unwrap().assignments;
    assert_eq!(found.first().map(|task| task.id), Some(id));
    submits.abort();
}

#[tokio::test(start_paused = true)]
async fn an_urgent_task_starts_soon_wherever_it_lies() {
    let fleet = Fleet::new();
    let producer = fleet.queue("producer").await;
    for n in 0..6_000 {
        let mut submission = submission("a", 5);
        submission.options.timeout_ms += n; // each in a record of its own
        let producer = producer.clone();
        tokio::spawn(async move { producer.submit(submission).await.unwrap() });
    }
    let workers: Vec<_> = fleet.workers(4, "a").await.into_iter().map(Arc::new).collect();
    let started: Vec<_> = workers.iter().map(|worker| keep_working(worker, 10, Duration::from_millis(500))).collect();
    sleep(Duration::from_secs(20)).await;
    for _ in 0..5 {
        sleep(Duration::from_millis(2_300)).await;
        let id = producer.submit(submission("a", 9)).await.unwrap();
        let submitted = Instant::now();
        sleep(SOON).await;
        let all: Vec<_> = started.iter().flat_map(|one| one.lock().unwrap().clone()).collect();
        let at = all.iter().find(|(record, _, _)| *record == id.record()).map(|(_, _, at)| *at - submitted);
        assert!(at.is_some(), "the task in shard {} was not started within {SOON:?}", id.record().shard());
    }
    assert!(!fleet.store.keys("ready/").is_empty(), "there was a backlog all the time");
}

#[tokio::test(start_paused = true)]
async fn an_idle_worker_pays_nothing_for_the_work_of_other_types() {
    let fleet = Fleet::new();
    let producer = fleet.queue("producer").await;
    fleet.fill("a", 3_000, Duration::from_mins(10)).await;
    let queue = fleet.queue("b").await;
    let worker = worker_on(&queue, "b").await;
    sleep(Duration::from_mins(2)).await;

    let submits = keep_submitting(&producer, "a");
    let (before, minutes) = (queue.usage().requests, 10);
    sleep(MINUTE * minutes).await;
    let after = queue.usage().requests;
    let units = (after.put + after.list - before.put - before.list) * 100 + (after.get - before.get) * 8;
    let dollars = f64::from(u32::try_from(units).unwrap()) / 100.0 * 5e-6 * (43_200.0 / f64::from(minutes));
    assert!(dollars <= IDLE_DOLLARS, "${dollars:.2} a month: {after:?}");
    submits.abort();
    drop(worker);
}

#[tokio::test(start_paused = true)]
async fn of_an_idle_fleet_few_look_for_a_lone_task_and_it_starts_within_a_second() {
    let fleet = Fleet::new();
    let producer = fleet.queue("producer").await;
    let workers: Vec<_> = fleet.workers(20, "a").await.into_iter().map(Arc::new).collect();
    let started: Vec<_> = workers.iter().map(|worker| keep_working(worker, 10, Duration::from_millis(10))).collect();
    sleep(MINUTE).await;
    let lists_before = fleet.counts.of("list ready");
    let (tasks, began) = (60, Instant::now());
    for _ in 0..tasks {
        let id = producer.submit(submission("a", 5)).await.unwrap();
        let submitted = Instant::now();
        sleep(Duration::from_millis(1_700)).await;
        let all: Vec<_> = started.iter().flat_map(|one| one.lock().unwrap().clone()).collect();
        let at = all.iter().find(|(record, _, _)| *record == id.record()).map(|(_, _, at)| *at - submitted).unwrap();
        assert!(at <= Duration::from_millis(1_100), "started after {at:?}");
    }
    let minutes = usize::try_from(began.elapsed().as_secs() / 60 + 1).unwrap();
    let (lists, regular) = (fleet.counts.of("list ready") - lists_before, workers.len() * minutes);
    assert!(lists <= regular + 3 * tasks, "{lists} LISTs for {tasks} lone tasks, {regular} of them regular");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_to_a_worker_that_has_lost_its_places_or_drains() {
    for stuck in [true, false] {
        let fleet = Fleet::new();
        let mut settings = Settings::for_store(StoreKind::S3);
        settings.patience = Duration::from_secs(10);
        let idle = fleet.worker("idle", "a").await;
        if stuck {
            idle.note_stuck(10).unwrap();
        } else {
            idle.drain().await;
        }
        sleep(Duration::from_secs(10)).await;
        let producer = fleet.queue("producer").await;
        let worker = Arc::new(worker_on(&fleet.queue_with("works", &settings).await, "a").await);
        sleep(Duration::from_secs(10)).await;
        let started = keep_working(&worker, 10, Duration::from_millis(10));
        for n in 0..10 {
            let mut submission = submission("a", 5);
            submission.options.timeout_ms += n; // each in a record of its own
            producer.submit(submission).await.unwrap();
        }
        sleep(SOON).await;
        assert_eq!(started.lock().unwrap().len(), 10, "some were left to the one with stuck places: {stuck}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fleet_seldom_reaches_for_the_same_record() {
    let fleet = Fleet::new();
    let mut settings = Settings::for_store(StoreKind::S3);
    settings.record.tasks = 1;
    let producer = fleet.queue_with("producer", &settings).await;
    let workers: Vec<_> = fleet.workers(12, "a").await.into_iter().map(Arc::new).collect();
    let started: Vec<_> = workers.iter().map(|worker| keep_working(worker, 10, Duration::from_millis(10))).collect();
    let (tasks, gets_before) = (3_000, fleet.counts.of("get tasks"));
    for n in 0..20 {
        let inputs = (0..tasks / 20).map(|_| Json::parse("0").unwrap()).collect();
        let options = Options { timeout_ms: 300_000 + n, ..Options::default() };
        let producer = producer.clone();
        let about = About::default();
        tokio::spawn(async move { producer.submit_many("a", inputs, options, When::Now, &about).await.unwrap() });
    }
    let begun = Instant::now();
    let count = || started.iter().map(|one| one.lock().unwrap().len()).sum::<usize>();
    while count() < tasks {
        assert!(begun.elapsed() < MINUTE, "{} of {tasks} were started within a minute", count());
        sleep(Duration::from_millis(100)).await;
    }
    sleep(SOON).await;
    let gets = fleet.counts.of("get tasks") - gets_before;
    assert!(gets * 10 <= tasks * 13, "{gets} GETs for {tasks} tasks");
}

#[tokio::test(start_paused = true)]
async fn sweeping_costs_a_large_fleet_no_more_than_a_small_one() {
    let fleet = Fleet::new();
    let entropy = Entropy::seeded(5);
    let holder = WorkerId::random(&entropy);
    fleet.put(&worker_key(holder), "{}").await;
    let minute = fleet.store.now().minute() + 60;
    for _ in 0..5_000 {
        let entry =
            LeaseEntry { minute, record: RecordId::random(&entropy), lease: LeaseId::random(&entropy), worker: holder };
        fleet.put(&entry.to_string(), "{}").await;
    }
    let keep_alive = async {
        loop {
            sleep(Duration::from_secs(10)).await;
            fleet.put(&worker_key(holder), "{}").await;
        }
    };
    let measure = async {
        // That they look at the bell is of no interest here.
        let settings = Settings { bell_watch: MINUTE, ..Settings::for_store(StoreKind::S3) };
        let mut workers = Vec::new();
        for n in 0..60 {
            let queue = fleet.queue_with(&format!("worker{n}"), &settings).await;
            workers.push(worker_on(&queue, "a").await);
        }
        sleep(MINUTE * 2).await;
        let before = fleet.counts.of("list leases");
        sleep(MINUTE * 3).await;
        drop(workers);
        fleet.counts.of("list leases") - before
    };
    let lists = tokio::select! {
        lists = measure => lists,
        () = keep_alive => 0,
    };
    // Each of the 16 shards by three workers, or a few more that think so, three times a minute.
    assert!(lists / 3 <= 16 * 5 * 3, "{} LISTs of the leases a minute", lists / 3);
}

/// A store that begins listings with an empty page and says that there is more.
struct Gappy {
    store: Arc<MemoryStore>,
    gaps: Mutex<usize>,
}

#[async_trait]
impl Store for Gappy {
    fn kind(&self) -> StoreKind {
        StoreKind::S3
    }

    fn url(&self) -> String {
        self.store.url()
    }

    fn clock_resolution_ms(&self) -> i64 {
        1
    }

    async fn get(&self, key: &str, if_none_match: Option<&ETag>) -> StoreResult<Got> {
        self.store.get(key, if_none_match).await
    }

    async fn put(&self, key: &str, body: Bytes, condition: &Condition) -> StoreResult<Put> {
        self.store.put(key, body, condition).await
    }

    async fn delete_many(&self, keys: &[String]) -> StoreResult<()> {
        self.store.delete_many(keys).await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> StoreResult<Page> {
        let mut answer = self.store.list(prefix, start_after, limit).await?;
        if start_after.is_none() && !prefix.starts_with("leases/") {
            *self.gaps.lock().unwrap() += 1;
            answer.value = Page { entries: Vec::new(), more: true, token: None };
        }
        Ok(answer)
    }

    async fn versions(&self, key: &str, before: Option<&VersionId>, limit: usize) -> StoreResult<VersionPage> {
        self.store.versions(key, before, limit).await
    }

    async fn get_version(&self, key: &str, version: &VersionId) -> StoreResult<Got> {
        self.store.get_version(key, version).await
    }

    async fn keeps_versions(&self) -> StoreResult<bool> {
        self.store.keeps_versions().await
    }
}

impl std::fmt::Debug for Gappy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gappy").finish_non_exhaustive()
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_page_that_says_there_is_more_hides_no_work_and_kills_no_worker() {
    let memory = Arc::new(MemoryStore::new());
    queue_on(&memory, 9).await.flush().await; // the probe wants no gaps
    let store = Arc::new(Gappy { store: Arc::clone(&memory), gaps: Mutex::new(0) });
    let open = |seed| {
        let store: Arc<dyn Store> = Arc::clone(&store) as _;
        Queue::open(store, Entropy::seeded(seed), Settings::for_store(StoreKind::S3))
    };
    let (producer, one, two) = (open(1).await.unwrap(), open(2).await.unwrap(), open(3).await.unwrap());
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(producer.submit(submission("a", 5)).await.unwrap());
    }
    producer.flush().await;
    memory.delete_many(&["bell.json".into()]).await.unwrap();

    let busy = Arc::new(worker_on(&one, "a").await);
    let began = Instant::now();
    let mut held = Vec::new();
    while held.len() < ids.len() {
        held.extend(busy.next(10, SOON).await.unwrap().assignments);
        assert!(began.elapsed() < SOON, "{} of {} were found", held.len(), ids.len());
    }
    assert!(*store.gaps.lock().unwrap() > 0, "there was a gap to get over");

    // It holds its tasks for long, and lives; nobody takes it for dead.
    let idle = worker_on(&two, "a").await;
    let news = tokio::join!(busy.next(0, MINUTE * 4), idle.next(1, MINUTE * 4));
    assert!(news.0.unwrap().lost.is_empty() && news.1.unwrap().assignments.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_tasks_of_several_dead_workers_of_a_fleet_are_back_within_a_minute() {
    let fleet = Fleet::new();
    let producer = fleet.queue("producer").await;
    let workers = fleet.workers(20, "a").await;
    let options = Options { timeout_ms: 3_600_000, ..Options::default() };
    for _ in 0..20 {
        let inputs = (0..40).map(|_| Json::parse("0").unwrap()).collect();
        producer.submit_many("a", inputs, options.clone(), When::Now, &About::default()).await.unwrap();
    }
    let (mut held, mut living) = (0, Vec::new());
    for (n, worker) in workers.into_iter().enumerate() {
        let tasks = worker.next(10, Duration::from_secs(3)).await.unwrap().assignments;
        if n % 2 == 0 {
            // It dies here, with what it holds.
            held += tasks.len();
        } else {
            for task in tasks {
                let outcome = Outcome::Complete { output: Json::parse("0").unwrap() };
                worker.settle(vec![WorkOutcome { id: task.id, lease: task.lease, outcome }]).await;
            }
            living.push(Arc::new(worker));
        }
    }
    assert!(held > 0, "the dead held something");
    let died = Instant::now();
    let started: Vec<_> = living.iter().map(|worker| keep_working(worker, 40, Duration::from_millis(10))).collect();
    let leases = || fleet.store.keys("leases/").len();
    while leases() > 0 {
        assert!(died.elapsed() <= MINUTE, "{} leases were left after a minute", leases());
        sleep(Duration::from_secs(1)).await;
    }
    assert!(started.iter().any(|one| !one.lock().unwrap().is_empty()), "they run again");
}
