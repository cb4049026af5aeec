use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use pretty_assertions::assert_eq;
use tokio::time::{Instant, timeout};

use super::*;
use crate::store::memory::MemoryStore;

/// Writes down every step.
#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Observer for Log {
    fn note(&self, process: &str, number: u64, request: &Request, fault: Option<Fault>, step: Step<'_>) {
        self.0.lock().unwrap().push(format!("{process} {number} {request} {fault:?} {step:?}"));
    }
}

fn network(plan: FaultPlan) -> (Arc<MemoryStore>, Arc<Network>) {
    let store = Arc::new(MemoryStore::new());
    (Arc::clone(&store), Network::new(store, 7, plan, Arc::new(Unobserved)))
}

fn only(change: impl FnOnce(&mut FaultPlan)) -> FaultPlan {
    let mut plan = FaultPlan::calm();
    change(&mut plan);
    plan
}

async fn put(store: &FaultyStore, condition: &Condition) -> Result<Put, StoreErrorKind> {
    let answer = store.put("k", Bytes::from_static(b"v"), condition).await;
    answer.map(|answer| answer.value).map_err(|error| error.kind)
}

#[tokio::test(start_paused = true)]
async fn a_calm_network_only_takes_its_time() {
    let (store, network) = network(FaultPlan::calm());
    let started = Instant::now();
    assert!(matches!(put(&network.connect("p"), &Condition::IfAbsent).await, Ok(Put::Stored(_))));
    assert!(started.elapsed() >= Duration::from_millis(2));
    assert_eq!(store.objects().len(), 1);
    assert!(network.injected().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_has_no_effect_and_a_lost_answer_has() {
    let (store, network) = network(only(|plan| plan.lost_request = 1.0));
    let process = network.connect("p");
    assert_eq!(put(&process, &Condition::Always).await, Err(StoreErrorKind::Unavailable));
    assert!(store.objects().is_empty());
    network.set_plan(only(|plan| plan.lost_answer = 1.0));
    assert_eq!(put(&process, &Condition::Always).await, Err(StoreErrorKind::Unavailable));
    assert_eq!(store.objects().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_late_request_lands_after_its_caller_was_told_of_a_failure() {
    let (store, network) = network(only(|plan| (plan.late, plan.late_ms) = (1.0, 5_000..=5_000)));
    assert_eq!(put(&network.connect("p"), &Condition::Always).await, Err(StoreErrorKind::Unavailable));
    assert!(store.objects().is_empty());
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(store.objects().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_conditional_put_that_is_sent_twice_meets_itself() {
    let (store, network) = network(only(|plan| plan.sent_twice = 1.0));
    let process = network.connect("p");
    let told = put(&process, &Condition::IfAbsent).await;
    assert!(matches!(told, Ok(Put::Refused) | Err(StoreErrorKind::Conflict)), "{told:?}");
    assert_eq!(store.objects().len(), 1);
    assert!(matches!(put(&process, &Condition::Always).await, Ok(Put::Stored(_))), "only conditions can refuse");
}

#[tokio::test(start_paused = true)]
async fn conflict_and_throttling_have_no_effect() {
    let (store, network) = network(only(|plan| plan.conflict = 1.0));
    let process = network.connect("p");
    assert_eq!(put(&process, &Condition::IfAbsent).await, Err(StoreErrorKind::Conflict));
    network.set_plan(only(|plan| plan.throttled = 1.0));
    assert_eq!(put(&process, &Condition::IfAbsent).await, Err(StoreErrorKind::Throttled));
    assert!(store.objects().is_empty());
    assert_eq!(network.injected(), BTreeMap::from([("409", 1), ("503", 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_does_not_call_its_request_back() {
    let (store, network) = network(only(|plan| plan.delay_ms = 50..=50));
    let process = network.connect("p");
    assert!(timeout(Duration::from_millis(10), put(&process, &Condition::Always)).await.is_err());
    assert!(store.objects().is_empty());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(store.objects().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_process_sends_nothing_and_hears_nothing() {
    let (store, network) = network(FaultPlan::calm());
    let process = network.connect("p");
    process.crash_at(1, CrashPoint::Before);
    assert!(put(&process, &Condition::Always).await.is_ok());
    store.delete_many(&["k".into()]).await.unwrap();
    assert!(timeout(Duration::from_mins(10), put(&process, &Condition::Always)).await.is_err());
    process.crashed().await;
    assert!(store.objects().is_empty());
    assert!(put(&network.connect("another"), &Condition::Always).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_process_can_die_with_a_request_under_way() {
    let mut landed = 0;
    for seed in 0..20 {
        let store = Arc::new(MemoryStore::new());
        let network = Network::new(Arc::<MemoryStore>::clone(&store), seed, FaultPlan::calm(), Arc::new(Unobserved));
        let process = network.connect("p");
        process.crash_at(0, CrashPoint::After);
        assert!(timeout(Duration::from_mins(10), put(&process, &Condition::Always)).await.is_err());
        landed += store.objects().len();
    }
    assert!((1..20).contains(&landed), "some land and some do not, but {landed} of 20 did");
}

#[tokio::test(start_paused = true)]
async fn the_death_of_a_process_wakes_whoever_waits_for_it() {
    let (_, network) = network(FaultPlan::calm());
    let process = network.connect("p");
    let watcher = tokio::spawn({
        let process = Arc::clone(&process);
        async move { process.crashed().await }
    });
    tokio::task::yield_now().await;
    process.crash();
    watcher.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stalled_process_goes_on_where_it_stopped() {
    let (store, network) = network(FaultPlan::calm());
    let process = network.connect("p");
    process.stall(Duration::from_mins(5));
    let started = Instant::now();
    assert!(put(&process, &Condition::Always).await.is_ok());
    assert!(started.elapsed() >= Duration::from_mins(5));
    assert_eq!(store.objects()["k"].last_modified.since(MemoryStore::new().now()).as_secs(), 300);
    assert!(!process.resumed().await);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_faults() {
    let mut logs = Vec::new();
    for _ in 0..2 {
        let log = Arc::new(Log::default());
        let observer: Arc<dyn Observer> = Arc::<Log>::clone(&log);
        let network = Network::new(Arc::new(MemoryStore::new()), 3, FaultPlan::hostile(0.08), observer);
        for name in ["a", "b"] {
            let process = network.connect(name);
            for _ in 0..100 {
                put(&process, &Condition::IfAbsent).await.ok();
            }
        }
        assert!(network.injected().len() >= 8, "every kind of fault occurs: {:?}", network.injected());
        logs.push(log.0.lock().unwrap().join("\n"));
    }
    assert_eq!(logs[0], logs[1]);
}
