//! Removing runs that have ended.

use std::sync::Arc;
use std::time::Duration;

use buquet_core::Error;
use buquet_core::entropy::Entropy;
use buquet_core::keys;
use buquet_core::queue::{Queue, Settings, Step};
use buquet_core::store::StoreKind;
use buquet_core::store::faulty::{CrashPoint, FaultPlan, Network, Unobserved};
use buquet_core::workflow::client::Prune;
use buquet_core::workflow::status::RunStatus;

use crate::workflow::support::{Do, Effects, json, memory, order, process, run_to_end, start, worker_on};

fn all() -> Step {
    Step { limit: 1_000, cursor: None, dry_run: false }
}

#[tokio::test(start_paused = true)]
async fn a_pruned_run_leaves_nothing_behind_and_its_name_begins_anew() {
    let store = memory();
    let queue = process(&store, 1).await;
    let (worker, effects) = (worker_on(&queue).await, Effects::default());
    let run = queue.start_run(&order(Some("it"))).await.unwrap();
    queue.signal_run(run.id, "unread", json("1"), None, None).await.unwrap();
    run_to_end(&worker, &[Do::Steps(vec!["large"]), Do::Fail], &effects).await;
    let dry = queue.prune(&Prune::default(), &Step { dry_run: true, ..all() }).await.unwrap();
    assert_eq!((dry.runs, store.keys(keys::WORKFLOW).len()), (1, 3));
    let pruned = queue.prune(&Prune::default(), &all()).await.unwrap();
    assert_eq!((pruned.runs, pruned.records, pruned.sealed), (1, 0, 1));
    assert!(matches!(queue.start_run(&order(Some("it"))).await, Err(Error::Unavailable(_))));
    assert!(queue.get_runs(&[run.id]).await.unwrap()[0].is_none());
    assert!(matches!(queue.signal_run(run.id, "go", json("1"), None, None).await, Err(Error::NotFound(_))));
    tokio::time::sleep(Duration::from_mins(11)).await;
    let pruned = queue.prune(&Prune::default(), &all()).await.unwrap();
    assert_eq!((pruned.runs, pruned.records, pruned.sealed), (0, 1, 0));
    queue.flush().await;
    assert!(store.keys(keys::WORKFLOW).is_empty() && store.keys(keys::FAILED).is_empty());
    assert!(queue.start_run(&order(Some("it"))).await.unwrap().created);
    let told = run_to_end(&worker, &[Do::Steps(vec!["a"])], &effects).await;
    assert_eq!(told, ["0 Completed \"a\""]);
}

#[tokio::test(start_paused = true)]
async fn what_has_not_ended_or_is_too_young_or_of_another_kind_stays() {
    let queue = process(&memory(), 1).await;
    let (worker, effects) = (worker_on(&queue).await, Effects::default());
    start(&queue).await;
    run_to_end(&worker, &[Do::Steps(vec!["a"])], &effects).await;
    start(&queue).await;
    let hour = Duration::from_hours(1);
    for prune in [
        Prune { older_than: hour, ..Prune::default() },
        Prune { workflow: Some("other".into()), ..Prune::default() },
        Prune { status: [RunStatus::Failed].into(), ..Prune::default() },
    ] {
        assert_eq!(queue.prune(&prune, &all()).await.unwrap().runs, 0, "{prune:?}");
    }
    let open = Prune { status: [RunStatus::Waiting].into(), ..Prune::default() };
    assert!(matches!(queue.prune(&open, &all()).await, Err(Error::Invalid(_))));
    tokio::time::sleep(hour).await;
    assert_eq!(queue.prune(&Prune { older_than: hour, ..Prune::default() }, &all()).await.unwrap().runs, 1);
}

#[tokio::test(start_paused = true)]
async fn a_prune_that_is_killed_at_any_request_is_finished_by_the_next_and_nothing_of_the_dead_run_is_seen() {
    for at in 0.. {
        let store = memory();
        let network = Network::new(Arc::clone(&store) as _, 1, FaultPlan::calm(), Arc::new(Unobserved));
        let queue = process(&store, 1).await;
        let (worker, effects) = (worker_on(&queue).await, Effects::default());
        let run = queue.start_run(&order(Some("it"))).await.unwrap();
        queue.signal_run(run.id, "unread", json("1"), None, None).await.unwrap();
        run_to_end(&worker, &[Do::Steps(vec!["large"])], &effects).await;
        queue.flush().await;
        let way = network.connect("pruner");
        let settings = Settings { purge_grace: Duration::ZERO, ..Settings::for_store(StoreKind::S3) };
        let pruner = Queue::open(Arc::clone(&way) as _, Entropy::seeded(3), settings).await.unwrap();
        way.crash_at(at, CrashPoint::After);
        let (prune, step) = (Prune::default(), all());
        let crashed = tokio::select! {
            pruned = pruner.prune(&prune, &step) => { pruned.unwrap(); false }
            () = way.crashed() => true,
        };
        let second = Queue::open(network.connect("second"), Entropy::seeded(4), settings).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        second.prune(&Prune::default(), &all()).await.unwrap();
        second.flush().await;
        assert!(store.keys(keys::WORKFLOW).is_empty(), "{at}: {:?}", store.keys(keys::WORKFLOW));
        let again = second.start_run(&order(Some("it"))).await.unwrap();
        assert!(again.created);
        assert_eq!(run_to_end(&worker, &[Do::Steps(vec!["b"])], &effects).await, ["0 Completed \"b\""]);
        if !crashed {
            assert!(at > 3, "{at} requests");
            break;
        }
    }
}
