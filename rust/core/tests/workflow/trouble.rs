//! Lost leases, crashes at every request, and networks of every kind of fault.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use buquet_core::Error;
use buquet_core::entropy::Entropy;
use buquet_core::keys;
use buquet_core::queue::{Queue, Settings};
use buquet_core::store::faulty::{CrashPoint, FaultPlan, Network, Unobserved};
use buquet_core::store::memory::MemoryStore;
use buquet_core::store::{Store, StoreKind};
use buquet_core::worker::{RunState, Worker};
use buquet_core::workflow::client::Sent;
use buquet_core::workflow::entry::{Entry, News};
use buquet_core::workflow::status::RunStatus;

use crate::workflow::support::{
    Body, Do, Effects, Turned, assigned, json, memory, order, process, run_to_end, start, worker_on,
};

#[tokio::test(start_paused = true)]
async fn who_lost_the_lease_is_told_and_starts_nothing_more() {
    let store = memory();
    let network = Network::new(Arc::clone(&store) as _, 1, FaultPlan::calm(), Arc::new(Unobserved));
    let way = network.connect("first");
    let settings = Settings::for_store(StoreKind::S3);
    let queue = Queue::open(Arc::clone(&way) as _, Entropy::seeded(1), settings).await.unwrap();
    let (worker, effects) = (worker_on(&queue).await, Effects::default());
    let run = start(&queue).await;
    let script = [Do::Steps(vec!["a"]), Do::Steps(vec!["b"])];
    let mut stalled = Body::open(&worker, &assigned(&worker).await, &script, &effects).await.unwrap();
    stalled.turn().await.unwrap();
    assert_eq!(effects.seen(), [("a".to_owned(), 1)]);
    way.stall(Duration::from_mins(20));
    let other = process(&store, 2).await;
    let second = worker_on(&other).await;
    let told = run_to_end(&second, &script, &effects).await;
    assert_eq!(told, ["0 Completed \"a\"", "2 Completed \"b\""]);
    let late = stalled.turn().await;
    assert!(matches!(late, Err(Error::LeaseLost(_))), "{late:?}");
    // Its result of the first start was never stored, so the step was started once more.
    assert_eq!(effects.seen(), [("a".to_owned(), 1), ("a".to_owned(), 2), ("b".to_owned(), 1)]);
    assert_eq!(other.get_runs(&[run.id]).await.unwrap()[0].as_ref().unwrap().run.status, RunStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_given_back_keeps_what_has_ended_and_counts_nothing() {
    let queue = process(&memory(), 1).await;
    let (worker, effects) = (worker_on(&queue).await, Effects::default());
    let run = start(&queue).await;
    let script = [Do::Steps(vec!["a", "b"])];
    let mut body = Body::open(&worker, &assigned(&worker).await, &script, &effects).await.unwrap();
    body.turn().await.unwrap();
    worker.release_run(body.id, body.lease).await.unwrap();
    let told = run_to_end(&worker, &script, &effects).await;
    assert_eq!(told, ["0 Completed \"a\"", "1 Completed \"b\""]);
    assert_eq!(effects.seen().len(), 2, "their ends were kept");
    assert_eq!(queue.get_runs(&[run.id]).await.unwrap()[0].as_ref().unwrap().run.status, RunStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_request_records_each_step_once_and_the_run_ends() {
    let script = [
        Do::Steps(vec!["a", "b"]),
        Do::Sleep(90_000),
        Do::Steps(vec!["large"]),
        Do::Signal("go", None),
        Do::Steps(vec!["c"]),
    ];
    let mut crashes = 0;
    for at in 0.. {
        let store = memory();
        let network = Network::new(Arc::clone(&store) as _, 1, FaultPlan::calm(), Arc::new(Unobserved));
        let way = network.connect("first");
        let settings = Settings::for_store(StoreKind::S3);
        let queue = Queue::open(Arc::clone(&way) as _, Entropy::seeded(1), settings).await.unwrap();
        let effects = Effects::default();
        let run = start(&queue).await;
        queue.signal_run(run.id, "go", json("1"), None, None).await.unwrap();
        let point = [CrashPoint::Before, CrashPoint::After][usize::try_from(at % 2).unwrap()];
        way.crash_at(at / 2, point);
        let first = async {
            let worker = worker_on(&queue).await;
            run_to_end(&worker, &script, &effects).await
        };
        let crashed = tokio::select! {
            _ = first => false,
            () = way.crashed() => true,
        };
        let other = process(&store, 2).await;
        let worker = worker_on(&other).await;
        let driving = async {
            loop {
                let run = assigned(&worker).await;
                Body::open(&worker, &run, &script, &effects).await.unwrap().drive().await.unwrap();
            }
        };
        let ended = tokio::select! {
            () = driving => unreachable!(),
            ended = other.wait_for_run(run.id, None, None) => ended.unwrap(),
        };
        assert_eq!(ended.run.status, RunStatus::Completed, "crash at {at}");
        check_history(&other, run.id, &effects).await;
        crashes += usize::from(crashed);
        if !crashed {
            break;
        }
    }
    assert!(crashes > 40, "{crashes}");
}

/// Each operation was told once, no start has a number twice, and no effect has a number that was not counted.
async fn check_history(queue: &Queue, run: buquet_core::id::TaskId, effects: &Effects) {
    let history = queue.run_history(run).await.unwrap();
    let mut told = BTreeMap::new();
    for entry in &history.entries {
        if let Entry::Told(told_of) = &**entry
            && let Some(op) = told_of.news.op()
        {
            assert!(told.insert(op, told_of.news.clone()).is_none(), "{op} is told twice");
        }
    }
    let mut starts: Vec<(String, u32)> = effects.seen();
    let count = starts.len();
    starts.sort();
    starts.dedup();
    assert_eq!(starts.len(), count, "a start was used twice: {:?}", effects.seen());
    for (op, news) in told {
        if let News::Ended { end, .. } = news {
            let name = &history.steps.iter().find(|step| step.op == op).unwrap().place.name;
            let most = starts.iter().filter(|(started, _)| started == name).map(|(_, attempt)| *attempt).max();
            assert!(most.unwrap_or(0) <= end.attempts, "{name}: {most:?} starts, and {} were counted", end.attempts);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_fault_at_once_loses_no_signal_and_records_nothing_twice() {
    for seed in 0..seeds() {
        let store = memory();
        let network = Network::new(Arc::clone(&store) as _, seed, FaultPlan::calm(), Arc::new(Unobserved));
        let settings = Settings::for_store(StoreKind::S3);
        let open = |name: String, n: u64| {
            let way: Arc<dyn Store> = network.connect(&name);
            Queue::open(way, Entropy::seeded(seed * 100 + n), settings)
        };
        let client = open("client".into(), 1).await.unwrap();
        let effects = Effects::default();
        let script = [
            Do::Steps(vec!["a", "b", "fails"]),
            Do::Signal("go", None),
            Do::Sleep(5_000),
            Do::Signal("go", None),
            Do::Steps(vec!["large", "c"]),
            Do::Signal("go", None),
        ];
        let run = client.start_run(&order(Some("it"))).await.unwrap();
        network.set_plan(FaultPlan::hostile(0.04));
        let workers = (0..3).map(|n| {
            let (effects, script, open) = (effects.clone(), script.clone(), &open);
            async move {
                loop {
                    let Ok(queue) = open(format!("worker {n}"), 10 + n).await else { continue };
                    let Ok(worker) = start_worker(&queue).await else { continue };
                    work(&worker, &script, &effects).await;
                }
            }
        });
        let sender = async {
            for n in 0..3 {
                loop {
                    let id = Some(format!("signal {n}"));
                    match client.signal_run(run.id, "go", json(&n.to_string()), id, None).await {
                        Ok(Sent::Sent(_)) => break,
                        Ok(ended) => panic!("seed {seed}: {ended:?}"),
                        Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
                    }
                }
                tokio::time::sleep(Duration::from_secs(7)).await;
            }
        };
        let patience = Duration::from_hours(3);
        let finished = async {
            sender.await;
            loop {
                match client.wait_for_run(run.id, None, Some(patience)).await {
                    Ok(ended) => return ended,
                    Err(Error::Timeout(why)) => panic!("seed {seed}: {why}"),
                    Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
                }
            }
        };
        let ended = tokio::select! {
            _ = futures::future::join_all(workers) => unreachable!(),
            ended = finished => ended,
        };
        network.set_plan(FaultPlan::calm());
        assert_eq!(ended.run.status, RunStatus::Completed, "seed {seed}");
        let output = ended.task.task.output.unwrap();
        let signals: Vec<bool> = (0..3).map(|n| output.text().contains(&format!("signal {n}"))).collect();
        assert_eq!(signals, [true; 3], "seed {seed}: {}", output.text());
        check_history(&client, run.id, &effects).await;
    }
}

fn seeds() -> u64 {
    std::env::var("BUQUET_TEST_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(20)
}

async fn start_worker(queue: &Queue) -> Result<Worker, Error> {
    let options = buquet_core::worker::Options {
        types: vec!["workflow:order".into()],
        concurrency: 5,
        ..buquet_core::worker::Options::default()
    };
    Worker::start(queue, options).await
}

/// Drives whatever comes, however often it is lost.
async fn work(worker: &Worker, script: &[Do], effects: &Effects) {
    loop {
        let Ok(next) = worker.next(1, Duration::from_mins(1)).await else { return };
        for run in next.assignments {
            let Ok(mut body) = Body::open(worker, &run, script, effects).await else { continue };
            loop {
                match body.turn().await {
                    Ok(Turned::On) | Err(Error::Unavailable(_)) => {}
                    Ok(Turned::Done(RunState::Ended | RunState::Parked)) => break,
                    Ok(Turned::Done(_)) => {}
                    Ok(Turned::Waits(_)) => drop(worker.next(0, Duration::from_secs(1)).await),
                    Err(Error::LeaseLost(_)) => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_was_deleted_by_hand_is_told_of_and_nothing_else_is_disturbed() {
    let store: Arc<MemoryStore> = memory();
    let queue = process(&store, 1).await;
    let (worker, effects) = (worker_on(&queue).await, Effects::default());
    let run = start(&queue).await;
    let script: Vec<Do> = (0..130).map(|_| Do::Steps(vec!["a"])).chain([Do::Signal("go", None)]).collect();
    let first = assigned(&worker).await;
    assert_eq!(
        Body::open(&worker, &first, &script, &effects).await.unwrap().drive().await.unwrap().0,
        RunState::Parked
    );
    let chunks = store.keys(keys::WORKFLOW).into_iter().filter(|key| key.contains("/steps/")).collect::<Vec<_>>();
    queue.bucket().delete_many(&chunks).await.unwrap();
    queue.signal_run(run.id, "go", json("1"), None, None).await.unwrap();
    let again = assigned(&worker).await;
    let opened = Body::open(&worker, &again, &script, &effects).await.map(|_| ());
    assert!(matches!(&opened, Err(Error::Corrupt(why)) if why.contains("lifecycle rule")), "{opened:?}");
    assert!(matches!(queue.run_history(run.id).await, Err(Error::Corrupt(_))));
    assert!(queue.get_runs(&[run.id]).await.unwrap()[0].is_some());
}
