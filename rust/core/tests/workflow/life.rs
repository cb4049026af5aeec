//! A run from its start to its end.

use std::sync::Arc;
use std::time::Duration;

use buquet_core::Error;
use buquet_core::entropy::Entropy;
use buquet_core::keys;
use buquet_core::queue::{Queue, Settings};
use buquet_core::record::TaskStatus;
use buquet_core::store::memory::MemoryStore;
use buquet_core::store::sqlite::SqliteStore;
use buquet_core::store::{Store, StoreKind};
use buquet_core::worker::RunState;
use buquet_core::workflow::client::{OnExisting, StartRun, StartRuns};
use buquet_core::workflow::state::WishKind;
use buquet_core::workflow::status::{RunStatus, StepStatus};

use crate::store::support::servers;
use crate::workflow::support::{
    Body, Do, Effects, SOON, assigned, json, memory, order, process, run_to_end, start, worker_on,
};

/// A queue on each kind of store.
async fn queues(folder: &std::path::Path) -> Vec<Queue> {
    let mut stores: Vec<(Arc<dyn Store>, StoreKind)> = vec![
        (Arc::new(MemoryStore::new()), StoreKind::Memory),
        (Arc::new(SqliteStore::open(&folder.join("queue.db")).unwrap()), StoreKind::Sqlite),
    ];
    for server in servers() {
        let bucket = server.new_bucket().await;
        stores.push((Arc::new(server.store(&bucket, "queue")), StoreKind::S3));
    }
    let mut queues = Vec::new();
    for (store, kind) in stores {
        queues.push(Queue::open(store, Entropy::from_os(), Settings::for_store(kind)).await.unwrap());
    }
    queues
}

#[tokio::test]
async fn a_run_takes_its_steps_waits_for_its_time_and_its_signal_and_ends_on_every_kind_of_store() {
    let folder = tempfile::tempdir().unwrap();
    for queue in queues(folder.path()).await {
        let (worker, effects) = (worker_on(&queue).await, Effects::default());
        let run = start(&queue).await;
        let script = [
            Do::Steps(vec!["a", "b"]),
            Do::Sleep(1_500),
            Do::Signal("go", None),
            Do::Steps(vec!["large"]),
            Do::Callback,
        ];
        let sender = async {
            assert!(!queue.signal_run(run.id, "go", json("7"), None, None).await.is_err());
            loop {
                let history = queue.run_history(run.id).await.unwrap();
                if let Some(open) = history.steps.iter().find(|step| step.place.name == "callback") {
                    let token = format!("{}.1.0.{}", run.id, open.op).parse().unwrap();
                    let end = buquet_core::workflow::entry::End::completed(json("8"), 0);
                    let said = buquet_core::workflow::client::Said::Ended(end);
                    return queue.tell_callback(token, said).await.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let (told, _) = tokio::join!(run_to_end(&worker, &script, &effects), sender);
        let wanted = [
            "0 Completed \"a\"",
            "1 Completed \"b\"",
            "4 timer",
            "6 signal 7",
            "8 Completed elsewhere",
            "10 Completed 8",
        ];
        assert_eq!(told, wanted, "{}", queue.bucket().store().url());
        let ended = queue.wait_for_run(run.id, Some(1), Some(Duration::from_secs(20))).await.unwrap();
        assert_eq!((ended.run.status, ended.task.task.status), (RunStatus::Completed, TaskStatus::Completed));
        assert!(ended.task.task.output.unwrap().text().contains("signal 7"));
        assert_eq!(effects.seen().len(), 3);
        let history = queue.run_history(run.id).await.unwrap();
        assert!(history.steps.iter().all(|step| step.status == StepStatus::Completed), "{:?}", history.steps);
        let large = history.entries.iter().find_map(|entry| match &**entry {
            buquet_core::workflow::entry::Entry::Told(told) => match &told.news {
                buquet_core::workflow::entry::News::Ended { end, .. } => end.output_ref.clone(),
                _ => None,
            },
            _ => None,
        });
        let value = queue.read_result(run.id, &large.unwrap()).await.unwrap();
        assert_eq!(value.text().len(), 40_004);
        worker.stop().await;
        queue.flush().await;
        let inbox = queue.bucket().list(&keys::inbox(run.id), None, 10).await.unwrap().value.entries;
        assert!(inbox.is_empty(), "{inbox:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn runs_started_together_share_records_and_all_end() {
    let queue = process(&memory(), 1).await;
    let (worker, effects) = (worker_on(&queue).await, Effects::default());
    let common = StartRuns { workflow: "order".into(), ..StartRuns::default() };
    let ids = queue.start_runs(&common, vec![json("1"); 150]).await.unwrap();
    let records: std::collections::BTreeSet<_> = ids.iter().map(|id| id.record()).collect();
    assert_eq!((ids.len(), records.len()), (150, 2));
    let script = [Do::Steps(vec!["a"]), Do::Steps(vec!["b"])];
    let mut open = Vec::new();
    while open.len() < 150 {
        let runs = worker.next(200, Duration::from_mins(1)).await.unwrap().assignments;
        for run in runs {
            open.push(Body::open(&worker, &run, &script, &effects).await.unwrap());
        }
    }
    let ended = futures::future::join_all(open.into_iter().map(Body::drive)).await;
    assert!(ended.into_iter().all(|ended| ended.unwrap().0 == RunState::Ended));
    for run in queue.get_runs(&ids).await.unwrap() {
        assert_eq!(run.unwrap().run.status, RunStatus::Completed);
    }
    assert_eq!(effects.seen().len(), 300);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_goes_on_as_new_keeps_its_id_and_has_an_empty_journal() {
    let queue = process(&memory(), 1).await;
    let (worker, effects) = (worker_on(&queue).await, Effects::default());
    let run = start(&queue).await;
    let told = run_to_end(&worker, &[Do::Steps(vec!["a"]), Do::Anew("\"next\"")], &effects).await;
    assert_eq!(told.iter().filter(|told| *told == "anew \"next\"").count(), 3, "{told:?}");
    let history = queue.run_history(run.id).await.unwrap();
    assert_eq!((history.run.run.execution, history.entries.len()), (3, 0));
    assert_eq!(history.run.task.task.input.text(), "\"next\"");
}

#[tokio::test(start_paused = true)]
async fn a_name_is_one_run_however_often_it_is_started() {
    let queue = process(&memory(), 1).await;
    let (worker, effects) = (worker_on(&queue).await, Effects::default());
    let first = queue.start_run(&order(Some("order-17"))).await.unwrap();
    let again = queue.start_run(&order(Some("order-17"))).await.unwrap();
    assert_eq!((first.created, again.created, first.id), (true, false, again.id));
    assert_eq!(buquet_core::workflow::client::run_id("order-17").unwrap(), first.id);
    let other = StartRun { input: json("{\"n\": 2}"), ..order(Some("order-17")) };
    let refused = queue.start_run(&other).await.unwrap_err().to_string();
    assert!(
        refused.contains("order-17") && refused.contains("{\"n\": 2}") && refused.contains("{\"n\": 1}"),
        "{refused}"
    );
    let reject = StartRun { on_existing: OnExisting::Reject, ..order(Some("order-17")) };
    assert!(matches!(queue.start_run(&reject).await, Err(Error::Conflict(_))));
    let anew = StartRun { on_existing: OnExisting::AgainIfEnded, ..other };
    assert!(matches!(queue.start_run(&anew).await, Err(Error::Conflict(_))), "it has not ended, and is another");
    run_to_end(&worker, &[Do::Steps(vec!["a"])], &effects).await;
    let failed_only = StartRun { on_existing: OnExisting::AgainIfFailed, ..order(Some("order-17")) };
    assert!(!queue.start_run(&failed_only).await.unwrap().created, "it is completed");
    let second = queue.start_run(&anew).await.unwrap();
    assert_eq!((second.id, second.generation, second.created), (first.id, 2, true));
    let stale = queue.wait_for_run(first.id, Some(1), Some(Duration::from_millis(10))).await;
    assert!(matches!(stale, Err(Error::Timeout(_))));
    run_to_end(&worker, &[Do::Steps(vec!["b"])], &effects).await;
    assert!(matches!(queue.wait_for_run(first.id, Some(1), Some(SOON)).await, Err(Error::Conflict(_))));
    let ended = queue.wait_for_run(first.id, Some(2), Some(SOON)).await.unwrap();
    assert_eq!(ended.task.task.input.text(), "{\"n\": 2}");
}

#[tokio::test(start_paused = true)]
async fn a_long_journal_moves_into_chunks_and_another_worker_reads_it_all() {
    let store = memory();
    let queue = process(&store, 1).await;
    let (worker, effects) = (worker_on(&queue).await, Effects::default());
    let run = start(&queue).await;
    let script: Vec<Do> = (0..160).map(|_| Do::Steps(vec!["a", "b"])).chain([Do::Signal("go", None)]).collect();
    let first = assigned(&worker).await;
    let (state, _) = Body::open(&worker, &first, &script, &effects).await.unwrap().drive().await.unwrap();
    assert_eq!(state, RunState::Parked);
    let size = queue.bucket().list(keys::WORKFLOW, None, 10).await.unwrap().value.entries;
    assert!(size.iter().all(|listed| listed.size < 64 * 1024), "{size:?}");
    assert!(size.iter().any(|listed| listed.key.contains("/steps/journal.")), "{size:?}");
    let other = process(&store, 2).await;
    let second = worker_on(&other).await;
    worker.stop().await;
    queue.signal_run(run.id, "go", json("1"), None, None).await.unwrap();
    let told = run_to_end(&second, &script, &effects).await;
    assert_eq!((told.len(), effects.seen().len()), (321, 320));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_failed_goes_on_where_it_failed_and_its_steps_are_not_run_again() {
    let queue = process(&memory(), 1).await;
    let (worker, effects) = (worker_on(&queue).await, Effects::default());
    let run = start(&queue).await;
    run_to_end(&worker, &[Do::Steps(vec!["a"]), Do::Fail], &effects).await;
    let failed = queue.wait_for_run(run.id, None, Some(SOON)).await.unwrap();
    assert_eq!((failed.run.status, failed.task.task.error.unwrap().kind), (RunStatus::Failed, "ValueError".to_owned()));
    let begun = queue.wish_run(run.id, WishKind::Retry, None, None, None).await.unwrap();
    assert_eq!(begun.status, RunStatus::Pending);
    run_to_end(&worker, &[Do::Steps(vec!["a"]), Do::Steps(vec!["b"])], &effects).await;
    assert_eq!(effects.seen(), [("a".to_owned(), 1), ("b".to_owned(), 1)]);
    assert_eq!(queue.get_runs(&[run.id]).await.unwrap()[0].as_ref().unwrap().run.status, RunStatus::Completed);
}
