//! What runs cost, counted at the store.

use std::sync::Arc;
use std::time::Duration;

use buquet_core::entropy::Entropy;
use buquet_core::queue::{Queue, Settings};
use buquet_core::store::StoreKind;
use buquet_core::store::faulty::{FaultPlan, Network, Observer};
use buquet_core::worker::RunState;
use buquet_core::workflow::client::StartRuns;

use crate::queue::support::Counts;
use crate::workflow::support::{Body, Do, Effects, assigned, json, memory, run_to_end, start, worker_on};

async fn counted() -> (Queue, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let observer: Arc<dyn Observer> = Arc::clone(&counts) as _;
    let network = Network::new(memory() as _, 1, FaultPlan::calm(), observer);
    let settings = Settings::for_store(StoreKind::S3);
    (Queue::open(network.connect("one"), Entropy::seeded(1), settings).await.unwrap(), counts)
}

/// Protocol requests: those to runs and to the indexes, without bell, heartbeats and looks.
fn puts(counts: &Counts) -> usize {
    ["workflow", "ready", "parked", "leases", "failed"].iter().map(|first| counts.of(&format!("put {first}"))).sum()
}

#[tokio::test(start_paused = true)]
async fn three_steps_cost_eight_puts_and_each_further_step_costs_one() {
    let mut costs = Vec::new();
    for steps in [3, 4, 10] {
        let (queue, counts) = counted().await;
        let (worker, effects) = (worker_on(&queue).await, Effects::default());
        let before = (puts(&counts), counts.of("get workflow"));
        let run = start(&queue).await;
        run_to_end(&worker, &vec![Do::Steps(vec!["a"]); steps], &effects).await;
        costs.push(puts(&counts) - before.0);
        let gets = counts.of("get workflow") - before.1;
        assert!(gets <= 5, "{gets} GETs");
        assert_eq!(counts.of("list workflow"), 0);
        queue.wait_for_run(run.id, None, None).await.unwrap();
    }
    assert_eq!(costs, [8, 9, 15]);
}

#[tokio::test(start_paused = true)]
async fn a_sleep_costs_four_puts() {
    let mut costs = Vec::new();
    // The first park of a queue also says that there is parked work.
    let mark = 1;
    for script in [vec![Do::Steps(vec!["a"])], vec![Do::Steps(vec!["a"]), Do::Sleep(3_600_000)]] {
        let (queue, counts) = counted().await;
        let (worker, effects) = (worker_on(&queue).await, Effects::default());
        start(&queue).await;
        run_to_end(&worker, &script, &effects).await;
        costs.push(puts(&counts));
        assert_eq!(counts.of("list workflow"), 0, "nobody has signalled it");
    }
    assert!(costs[1] - costs[0] <= 4 + mark, "{costs:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_a_signal_ends_costs_eight_puts_and_one_list() {
    let (queue, counts) = counted().await;
    let (worker, effects) = (worker_on(&queue).await, Effects::default());
    let script = [Do::Steps(vec!["a"]), Do::Signal("go", None)];
    let run = start(&queue).await;
    let first = assigned(&worker).await;
    let mut body = Body::open(&worker, &first, &script, &effects).await.unwrap();
    body.turn().await.unwrap();
    let before = (puts(&counts), counts.of("list workflow"));
    assert_eq!(body.drive().await.unwrap().0, RunState::Parked);
    queue.signal_run(run.id, "go", json("1"), None, None).await.unwrap();
    run_to_end(&worker, &script, &effects).await;
    let cost = puts(&counts) - before.0;
    // The first park of a queue also says that there is parked work.
    let mark = 1;
    assert!(cost <= 8 + mark, "{cost} PUTs");
    assert_eq!(counts.of("list workflow") - before.1, 1);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_runs_started_together_cost_half_a_put_each() {
    let (queue, counts) = counted().await;
    let (worker, effects) = (worker_on(&queue).await, Effects::default());
    let common = StartRuns { workflow: "order".into(), ..StartRuns::default() };
    queue.start_runs(&common, vec![json("1"); 1_000]).await.unwrap();
    let script = vec![Do::Steps(vec!["a"]); 3];
    let mut ended = 0;
    while ended < 1_000 {
        let runs = worker.next(200, Duration::from_mins(1)).await.unwrap().assignments;
        let drives = runs.iter().map(|run| async {
            Body::open(&worker, run, &script, &effects).await.unwrap().drive().await.unwrap();
        });
        ended += futures::future::join_all(drives).await.len();
    }
    let cost = puts(&counts);
    assert!(cost <= 500, "{cost} PUTs");
    assert_eq!(effects.seen().len(), 3_000);
}
