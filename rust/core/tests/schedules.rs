//! Schedules as their users see them, on a store in memory with paused time.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use buquet_core::Error;
use buquet_core::entropy::Entropy;
use buquet_core::id::CommitId;
use buquet_core::keys;
use buquet_core::queue::{Declared, Filter, PutSchedule, Queue, Settings, TaskView};
use buquet_core::record::{BatchRecord, Extra, Json, Options, Outcome, TaskStatus};
use buquet_core::schedule::{CatchUp, Definition, Overlap, SkipReason, slot_record};
use buquet_core::store::memory::MemoryStore;
use buquet_core::store::{Condition, Store, StoreKind};
use buquet_core::time::Timestamp;
use buquet_core::worker::{Assignment, Options as WorkerOptions, WorkOutcome, Worker};
use tokio::time::sleep;

const SOON: Duration = Duration::from_secs(5);
/// A whole hour.
const START: Timestamp = Timestamp(1_790_000_000_000 / 3_600_000 * 3_600_000);
const MINUTE: i64 = 60_000;

fn a_store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::starting_at(START).with_clock_resolution(1_000))
}

async fn queue_on(store: &Arc<MemoryStore>, seed: u64) -> Queue {
    let store: Arc<dyn Store> = Arc::clone(store) as _;
    Queue::open(store, Entropy::seeded(seed), Settings::for_store(StoreKind::S3)).await.unwrap()
}

/// A worker of a process of its own, with somebody who waits for its tasks.
struct Crew {
    worker: Arc<Worker>,
    queue: Queue,
}

impl Crew {
    async fn start(store: &Arc<MemoryStore>, seed: u64) -> Self {
        let queue = queue_on(store, seed).await;
        let options = WorkerOptions { types: vec!["report".into()], concurrency: 4, ..WorkerOptions::default() };
        let worker = Arc::new(Worker::start(&queue, options).await.unwrap());
        Self { worker, queue }
    }

    /// Completes whatever comes until `until`.
    async fn work(&self, until: Timestamp) {
        while self.queue.bucket().now() < until {
            let wait = until.since(self.queue.bucket().now()).min(SOON);
            for task in self.worker.next(4, wait).await.unwrap().assignments {
                self.complete(&task).await;
            }
        }
    }

    async fn complete(&self, task: &Assignment) {
        let outcome = Outcome::Complete { output: Json::parse("1").unwrap() };
        self.worker.settle(vec![WorkOutcome { id: task.id, lease: task.lease, outcome }]).await;
    }

    async fn one(&self) -> Option<Assignment> {
        self.worker.next(1, SOON).await.unwrap().assignments.pop()
    }
}

fn every(minutes: u64) -> Definition {
    Definition {
        cron: None,
        timezone: None,
        every_ms: Some(minutes * 60_000),
        kind: "report".into(),
        input: Json::parse("{\"n\":1}").unwrap(),
        options: Options::default(),
        overlap: Overlap::Allow,
        catch_up: CatchUp::Latest,
        catch_up_limit: 100,
        jitter_ms: 0,
        extra: Extra::new(),
    }
}

fn put(definition: Definition) -> PutSchedule {
    PutSchedule { name: "reports".into(), definition, enabled: None, replace: false }
}

async fn tasks(queue: &Queue) -> Vec<TaskView> {
    let mut tasks = queue.list(&Filter::default(), 1_000, None).await.unwrap().tasks;
    tasks.sort_by_key(|task| task.task.available_at);
    tasks
}

/// The slots that have a task, in minutes after the start; each once.
async fn slots(queue: &Queue) -> Vec<i64> {
    tasks(queue).await.iter().map(|task| (task.task.available_at.0 - START.0) / MINUTE).collect()
}

const fn at(minutes: i64) -> Timestamp {
    Timestamp(START.0 + minutes * MINUTE)
}

async fn sleep_until(store: &MemoryStore, moment: Timestamp) {
    sleep(moment.since(store.now())).await;
}

#[tokio::test(start_paused = true)]
async fn each_slot_has_one_task_with_ten_workers_and_none_is_late() {
    let store = a_store();
    let mut crews = Vec::new();
    for seed in 0..10 {
        crews.push(Crew::start(&store, seed).await);
    }
    let work = futures::future::join_all(crews.iter().map(|crew| crew.work(at(61))));
    let create = async {
        let queue = queue_on(&store, 99).await;
        sleep(Duration::from_secs(100)).await;
        queue.put_schedule(put(every(5))).await.unwrap();
        queue.flush().await;
    };
    tokio::join!(work, create);
    let queue = queue_on(&store, 100).await;
    assert_eq!(slots(&queue).await, [5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60]);
    for task in tasks(&queue).await {
        assert_eq!(task.task.status, TaskStatus::Completed);
        let late = task.task.submitted_at.since(task.task.available_at);
        assert!(late < Duration::from_secs(2), "the slot at {} was {late:?} late", task.task.available_at);
    }
    let schedule = queue.schedule("reports").await.unwrap();
    assert_eq!((schedule.handled, schedule.last_run.unwrap().slot), (at(60), at(60)));
}

#[tokio::test(start_paused = true)]
async fn those_who_did_not_fire_pay_next_to_nothing() {
    let store = a_store();
    let crews = [Crew::start(&store, 1).await, Crew::start(&store, 2).await, Crew::start(&store, 3).await];
    crews[0].queue.put_schedule(put(every(1))).await.unwrap();
    futures::future::join_all(crews.iter().map(|crew| crew.work(at(3)))).await;
    let puts = |crews: &[Crew]| crews.iter().map(|crew| crew.queue.usage().requests.put).sum::<u64>();
    let lists = |crews: &[Crew]| crews.iter().map(|crew| crew.queue.usage().requests.list).sum::<u64>();
    let before = (puts(&crews), lists(&crews));
    futures::future::join_all(crews.iter().map(|crew| crew.work(at(33)))).await;
    let spent = puts(&crews) - before.0;
    // For each slot: two to store it, one to note it, one for the bell, three to work it; and heartbeats.
    assert!(spent <= 30 * 7 + 3 * 40, "{spent} PUTs for 30 slots");
    // The regular looks and sweeps, and one of schedules in ten minutes.
    let listed = lists(&crews) - before.1;
    assert!(listed <= 3 * (30 + 45 + 6) + 60, "{listed} LISTs in half an hour");
    assert_eq!(
        slots(&crews[0].queue).await,
        (1..=32).chain([33]).take(tasks(&crews[0].queue).await.len()).collect::<Vec<_>>()
    );
}

#[tokio::test(start_paused = true)]
async fn a_queue_without_schedules_is_not_asked_for_any() {
    let store = a_store();
    let crew = Crew::start(&store, 1).await;
    crew.work(at(30)).await;
    let lists = crew.queue.usage().requests.list;
    // One look at the index a minute, one sweep every 50 s, the registry now and then.
    assert!(lists <= 30 + 37 + 3, "{lists} LISTs in half an hour");
}

#[tokio::test(start_paused = true)]
async fn slots_that_were_missed_while_all_were_down_are_caught_up_with() {
    for (catch_up, expected) in
        [(CatchUp::None, vec![]), (CatchUp::Latest, vec![590]), (CatchUp::All, (41..=59).map(|n| n * 10).collect())]
    {
        let store = a_store();
        let queue = queue_on(&store, 1).await;
        queue.put_schedule(put(Definition { catch_up, catch_up_limit: 19, ..every(10) })).await.unwrap();
        sleep_until(&store, at(595)).await;
        let crews = [Crew::start(&store, 2).await, Crew::start(&store, 3).await, Crew::start(&store, 4).await];
        futures::future::join_all(crews.iter().map(|crew| crew.work(at(599)))).await;
        assert_eq!(slots(&queue).await, expected, "{catch_up:?}");
        let schedule = queue.schedule("reports").await.unwrap();
        assert_eq!(schedule.handled, at(590));
        let skip = schedule.last_skip.map(|skip| skip.reason);
        assert_eq!(skip, Some(SkipReason::Missed), "{catch_up:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_missed_slots_are_caught_up_with() {
    let store = a_store();
    let queue = queue_on(&store, 1).await;
    queue.put_schedule(put(Definition { catch_up: CatchUp::All, catch_up_limit: 1_000, ..every(1) })).await.unwrap();
    sleep_until(&store, at(1_500)).await;
    let crew = Crew::start(&store, 2).await;
    crew.work(at(1_503)).await;
    let mut listed = Vec::new();
    let mut cursor = None;
    loop {
        let page = queue.list(&Filter::default(), 1_000, cursor.as_deref()).await.unwrap();
        listed.extend(page.tasks.iter().map(|task| task.task.available_at));
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    let distinct: BTreeSet<_> = listed.iter().copied().collect();
    assert_eq!(distinct.len(), listed.len(), "no slot has two tasks");
    assert!((1_000..=1_004).contains(&listed.len()), "{} tasks", listed.len());
}

#[tokio::test(start_paused = true)]
async fn a_slot_is_left_out_while_the_last_task_runs() {
    let store = a_store();
    let crew = Crew::start(&store, 1).await;
    crew.queue.put_schedule(put(Definition { overlap: Overlap::Skip, ..every(10) })).await.unwrap();
    sleep_until(&store, at(10)).await;
    let first = crew.one().await.unwrap();
    sleep_until(&store, at(13)).await;
    let extended = crew.worker.extend(first.id, first.lease, Duration::from_mins(60)).await;
    assert!(extended.is_ok());
    sleep_until(&store, at(25)).await;
    assert_eq!(slots(&crew.queue).await, [10]);
    let skip = crew.queue.schedule("reports").await.unwrap().last_skip.unwrap();
    assert_eq!((skip.slot, skip.reason), (at(20), SkipReason::Overlap));
    crew.complete(&first).await;
    crew.work(at(31)).await;
    assert_eq!(slots(&crew.queue).await, [10, 30]);
}

#[tokio::test(start_paused = true)]
async fn one_slot_waits_for_the_last_task_and_others_are_left_out() {
    let store = a_store();
    let crew = Crew::start(&store, 1).await;
    crew.queue.put_schedule(put(Definition { overlap: Overlap::Wait, ..every(10) })).await.unwrap();
    sleep_until(&store, at(10)).await;
    let first = crew.one().await.unwrap();
    crew.worker.extend(first.id, first.lease, Duration::from_mins(60)).await.unwrap();
    sleep_until(&store, at(35)).await;
    assert_eq!(slots(&crew.queue).await, [10]);
    assert_eq!(crew.queue.schedule("reports").await.unwrap().waiting, Some(at(20)));
    crew.complete(&first).await;
    crew.work(at(36)).await;
    assert_eq!(slots(&crew.queue).await, [10, 20], "as soon as the first has finished");
    assert_eq!(crew.queue.schedule("reports").await.unwrap().waiting, None);
    crew.work(at(41)).await;
    assert_eq!(slots(&crew.queue).await, [10, 20, 40]);
}

#[tokio::test(start_paused = true)]
async fn a_void_left_in_a_slots_place_does_not_block_it() {
    let store = a_store();
    let queue = queue_on(&store, 1).await;
    let (schedule, _) = queue.put_schedule(put(every(10))).await.unwrap();
    let (id, entropy) = (slot_record(&schedule, at(10)), Entropy::seeded(5));
    let commit = CommitId::random(&entropy);
    let mut void = BatchRecord::new(id, String::new(), Options::default(), START, Vec::new(), commit);
    void.void = true;
    void.seq = 1;
    void.stamp(commit);
    store.put(&keys::record(id), void.encode().unwrap(), &Condition::IfAbsent).await.unwrap();
    let crew = Crew::start(&store, 2).await;
    crew.work(at(11)).await;
    assert_eq!(slots(&queue).await, [10]);
    assert_eq!(tasks(&queue).await[0].task.status, TaskStatus::Completed);
    assert_eq!(tasks(&queue).await[0].id, id.task(0));
}

#[tokio::test(start_paused = true)]
async fn a_disabled_schedule_rests_and_goes_on_from_when_it_is_enabled() {
    let store = a_store();
    let (queue, crew) = (queue_on(&store, 1).await, Crew::start(&store, 2).await);
    queue.put_schedule(put(every(10))).await.unwrap();
    crew.work(at(11)).await;
    assert!(!queue.enable_schedule("reports", false).await.unwrap().enabled);
    crew.work(at(35)).await;
    assert_eq!(slots(&queue).await, [10]);
    assert!(queue.enable_schedule("reports", true).await.unwrap().enabled);
    crew.work(at(41)).await;
    assert_eq!(slots(&queue).await, [10, 40], "what came meanwhile is not caught up with");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_schedule_is_gone_and_its_name_can_be_used_again() {
    let store = a_store();
    let (queue, crew) = (queue_on(&store, 1).await, Crew::start(&store, 2).await);
    let (first, _) = queue.put_schedule(put(every(10))).await.unwrap();
    crew.work(at(11)).await;
    queue.delete_schedule("reports").await.unwrap();
    assert!(matches!(queue.delete_schedule("reports").await, Err(Error::NotFound(_))));
    assert!(matches!(queue.schedule("reports").await, Err(Error::NotFound(_))));
    crew.work(at(25)).await;
    let (second, _) = queue.put_schedule(put(every(10))).await.unwrap();
    assert_ne!(first.id, second.id);
    crew.work(at(31)).await;
    assert_eq!(slots(&queue).await, [10, 30]);
}

#[tokio::test(start_paused = true)]
async fn putting_a_schedule_again_changes_it_only_if_that_is_wanted() {
    let store = a_store();
    let queue = queue_on(&store, 1).await;
    let (schedule, changed) = queue.put_schedule(put(every(10))).await.unwrap();
    assert!(changed && schedule.enabled && schedule.rev == 1);
    let (same, changed) = queue.put_schedule(put(every(10))).await.unwrap();
    assert_eq!((same.rev, changed), (1, false));
    let error = queue.put_schedule(put(every(20))).await.unwrap_err();
    assert!(matches!(&error, Error::Invalid(message) if message.contains("\"reports\"")), "{error}");
    sleep_until(&store, at(33)).await;
    let (other, changed) = queue.put_schedule(PutSchedule { replace: true, ..put(every(20)) }).await.unwrap();
    assert_eq!((other.id, other.rev, changed), (schedule.id, 2, true));
    assert!(other.handled >= at(32), "other times count from now");
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused_before_anything_is_stored() {
    let store = a_store();
    let queue = queue_on(&store, 1).await;
    let cron = |cron: &str| Definition { cron: Some(cron.into()), every_ms: None, ..every(1) };
    for (definition, words) in [
        (Definition { every_ms: Some(999), ..every(1) }, "999 ms"),
        (Definition { every_ms: None, ..every(1) }, "either cron or every"),
        (Definition { cron: Some("@daily".into()), ..every(1) }, "either cron or every"),
        (Definition { timezone: Some("UTC".into()), ..every(1) }, "no zone"),
        (Definition { timezone: Some("Berlin".into()), ..cron("@daily") }, "\"Berlin\""),
        (cron("0 0 30 2 *"), "never fires"),
        (cron("0 0 * *"), "4 fields"),
        (Definition { kind: "a b".into(), ..every(1) }, "task type"),
        (Definition { catch_up_limit: 0, ..every(1) }, "catch_up_limit"),
        (Definition { jitter_ms: 86_400_001, ..every(1) }, "jitter"),
    ] {
        let error = queue.put_schedule(put(definition)).await.unwrap_err();
        assert!(matches!(&error, Error::Invalid(message) if message.contains(words)), "{words}: {error}");
    }
    let error = queue.put_schedule(PutSchedule { name: "../x".into(), ..put(every(1)) }).await.unwrap_err();
    assert!(error.to_string().contains("schedule's name"), "{error}");
    assert!(store.keys("schedules/").is_empty() && store.keys("ready/").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_trigger_runs_the_task_besides_its_slots() {
    let store = a_store();
    let (queue, crew) = (queue_on(&store, 1).await, Crew::start(&store, 2).await);
    queue.put_schedule(put(every(10))).await.unwrap();
    sleep_until(&store, at(3)).await;
    let id = queue.trigger_schedule("reports").await.unwrap();
    crew.work(at(11)).await;
    assert_eq!(queue.wait(id, Some(SOON)).await.unwrap().task.status, TaskStatus::Completed);
    assert_eq!(slots(&queue).await, [3, 10]);
    assert!(matches!(queue.trigger_schedule("other").await, Err(Error::NotFound(_))));
}

#[tokio::test(start_paused = true)]
async fn a_range_is_filled_in_once() {
    let store = a_store();
    let (queue, crew) = (queue_on(&store, 1).await, Crew::start(&store, 2).await);
    queue.put_schedule(put(every(10))).await.unwrap();
    crew.work(at(31)).await;
    assert_eq!(slots(&queue).await, [10, 20, 30]);
    let filled = queue.backfill_schedule("reports", at(-20), at(30)).await.unwrap();
    let created: Vec<_> = filled.iter().map(|filled| ((filled.slot.0 - START.0) / MINUTE, filled.created)).collect();
    assert_eq!(created, [(-20, true), (-10, true), (0, true), (10, false), (20, false)]);
    let again = queue.backfill_schedule("reports", at(-20), at(30)).await.unwrap();
    assert!(again.iter().all(|filled| !filled.created));
    assert_eq!(slots(&queue).await, [-20, -10, 0, 10, 20, 30]);
    for (from, until, words) in
        [(at(10), at(10), "before it begins"), (at(10), at(50), "is to come"), (at(-200_000), at(10), "piece by piece")]
    {
        let error = queue.backfill_schedule("reports", from, until).await.unwrap_err();
        assert!(matches!(&error, Error::Invalid(message) if message.contains(words)), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_code_declares_is_synced_and_what_it_no_longer_declares_is_told() {
    let store = a_store();
    let queue = queue_on(&store, 1).await;
    let declared = |name: &str, definition| Declared { name: name.into(), definition, module: "tasks".into() };
    let modules = BTreeSet::from(["tasks".to_owned()]);
    let both = vec![declared("a", every(10)), declared("b", every(20))];
    let synced = queue.sync_schedules(both.clone(), &modules).await.unwrap();
    assert_eq!((synced.created.len(), synced.changed.len(), synced.missing.len()), (2, 0, 0));
    let again = queue.sync_schedules(both, &modules).await.unwrap();
    assert_eq!((again.created.len(), again.changed.len(), again.missing.len()), (0, 0, 0));
    queue.put_schedule(put(every(30))).await.unwrap();
    queue.enable_schedule("a", false).await.unwrap();
    let changed = queue.sync_schedules(vec![declared("a", every(15))], &modules).await.unwrap();
    assert_eq!((changed.created.len(), changed.changed), (0, vec!["a".to_owned()]));
    let missing: Vec<_> = changed.missing.iter().map(|schedule| schedule.name.as_str()).collect();
    assert_eq!(missing, ["b"], "the one that was made by hand is not code's to declare");
    let (a, b) = (queue.schedule("a").await.unwrap(), queue.schedule("b").await.unwrap());
    assert!(!a.enabled, "who disabled it had a reason");
    assert!(b.undeclared_at.is_some() && b.enabled);
    let elsewhere = queue.sync_schedules(Vec::new(), &BTreeSet::from(["other".to_owned()])).await.unwrap();
    assert!(elsewhere.missing.is_empty(), "another module's");
    let back = queue.sync_schedules(vec![declared("b", every(20))], &modules).await.unwrap();
    assert_eq!(back.changed, ["b"]);
    assert_eq!(queue.schedule("b").await.unwrap().undeclared_at, None);
    let twice = queue.sync_schedules(vec![declared("a", every(1)), declared("a", every(2))], &modules).await;
    assert!(matches!(twice, Err(Error::Invalid(_))));
}

#[tokio::test(start_paused = true)]
async fn a_schedule_that_cannot_be_read_is_told_of_and_does_not_stop_the_others() {
    let store = a_store();
    let crew = Crew::start(&store, 1).await;
    store.put("schedules/broken.json", "{\"format\":1}".into(), &Condition::Always).await.unwrap();
    crew.queue.put_schedule(put(every(10))).await.unwrap();
    sleep_until(&store, at(9)).await;
    let next = crew.worker.next(1, SOON).await.unwrap();
    assert_eq!(next.problems.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(), ["schedules/broken.json"]);
    crew.work(at(11)).await;
    assert_eq!(slots(&crew.queue).await, [10]);
    let listing = crew.queue.schedules(10, None).await.unwrap();
    assert_eq!((listing.schedules.len(), listing.corrupt.len()), (1, 1));
    crew.queue.delete_schedule("broken").await.unwrap();
    assert!(crew.queue.schedules(10, None).await.unwrap().corrupt.is_empty());
}

#[tokio::test(start_paused = true)]
async fn jitter_delays_the_task_and_not_the_slot() {
    let store = a_store();
    let (queue, crew) = (queue_on(&store, 1).await, Crew::start(&store, 2).await);
    queue.put_schedule(put(Definition { jitter_ms: 240_000, ..every(10) })).await.unwrap();
    crew.work(at(55)).await;
    let tasks = tasks(&queue).await;
    assert_eq!(tasks.len(), 5);
    let delays: BTreeSet<_> = tasks.iter().map(|task| (task.task.available_at.0 - START.0) % (10 * MINUTE)).collect();
    assert!(delays.len() == 5 && delays.iter().all(|delay| *delay < 240_000), "{delays:?}");
    assert!(tasks.iter().all(|task| task.task.started_at.unwrap() >= task.task.available_at));
}
