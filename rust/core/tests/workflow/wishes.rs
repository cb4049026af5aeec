//! What others wish of a run, at every moment of it.

use std::time::Duration;

use buquet_core::record::{Cancelling, Move, Refusal, TaskStatus};
use buquet_core::worker::RunState;
use buquet_core::workflow::state::{WishKind, Wished};
use buquet_core::workflow::status::RunStatus;

use crate::workflow::support::{
    Body, Do, Effects, Turned, assigned, json, memory, process, run_to_end, start, worker_on,
};

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_is_told_that_it_is_called_off_and_ends() {
    let queue = process(&memory(), 1).await;
    let (worker, effects) = (worker_on(&queue).await, Effects::default());
    let run = start(&queue).await;
    let script = [Do::Steps(vec!["a"]), Do::Sleep(3_600_000)];
    let first = assigned(&worker).await;
    assert_eq!(
        Body::open(&worker, &first, &script, &effects).await.unwrap().drive().await.unwrap().0,
        RunState::Parked
    );
    let wished = queue.wish_run(run.id, WishKind::Cancel, Some("ada".into()), Some("late".into()), None).await.unwrap();
    assert_eq!(wished.wished, Wished::Noted);
    assert_eq!(run_to_end(&worker, &script, &effects).await, ["0 Completed \"a\"", "cancel"]);
    let ended = queue.get_runs(&[run.id]).await.unwrap().remove(0).unwrap();
    assert_eq!((ended.run.status, ended.task.task.status), (RunStatus::Cancelled, TaskStatus::Cancelled));
    let again = queue.wish_run(run.id, WishKind::Cancel, None, None, None).await.unwrap();
    assert_eq!(again.wished, Wished::Ended(RunStatus::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_has_not_begun_is_called_off_at_once_and_by_the_ordinary_command_too() {
    let queue = process(&memory(), 1).await;
    let (one, two) = (start(&queue).await, start(&queue).await);
    let wished = queue.wish_run(one.id, WishKind::Cancel, None, None, None).await.unwrap();
    assert_eq!((wished.wished, wished.status), (Wished::Ended(RunStatus::Cancelled), RunStatus::Cancelled));
    assert_eq!(queue.cancel(&[two.id], None, None).await.unwrap(), [Cancelling::Cancelled]);
    for run in queue.get_runs(&[one.id, two.id]).await.unwrap() {
        assert_eq!(run.unwrap().run.status, RunStatus::Cancelled);
    }
    let worker = worker_on(&queue).await;
    assert!(worker.next(1, Duration::from_mins(3)).await.unwrap().assignments.is_empty());
}

#[tokio::test(start_paused = true)]
async fn cancelling_the_task_of_a_run_that_runs_elsewhere_is_cancelling_the_run() {
    let store = memory();
    let (queue, other) = (process(&store, 1).await, process(&store, 2).await);
    let (worker, effects) = (worker_on(&queue).await, Effects::default());
    let run = start(&queue).await;
    let first = assigned(&worker).await;
    let mut body =
        Body::open(&worker, &first, &[Do::Signal("go", None), Do::Steps(vec!["a"])], &effects).await.unwrap();
    assert_eq!(other.cancel(&[run.id], None, None).await.unwrap(), [Cancelling::Requested]);
    assert_eq!(other.cancel(&[run.id], None, None).await.unwrap(), [Cancelling::Requested]);
    while !matches!(body.turn().await.unwrap(), Turned::Done(RunState::Ended)) {
        worker.next(0, Duration::from_secs(20)).await.unwrap();
    }
    assert_eq!(other.get_runs(&[run.id]).await.unwrap().remove(0).unwrap().run.status, RunStatus::Cancelled);
    assert_eq!(other.cancel(&[run.id], None, None).await.unwrap(), [Cancelling::Finished(TaskStatus::Cancelled)]);
}

#[tokio::test(start_paused = true)]
async fn a_paused_run_starts_nothing_and_resumed_goes_on_exactly_there() {
    let queue = process(&memory(), 1).await;
    let (worker, effects) = (worker_on(&queue).await, Effects::default());
    let run = start(&queue).await;
    let script = [Do::Signal("go", None), Do::Steps(vec!["a"])];
    let first = assigned(&worker).await;
    assert_eq!(
        Body::open(&worker, &first, &script, &effects).await.unwrap().drive().await.unwrap().0,
        RunState::Parked
    );
    queue.wish_run(run.id, WishKind::Pause, None, None, None).await.unwrap();
    let paused = assigned(&worker).await;
    assert_eq!(
        Body::open(&worker, &paused, &script, &effects).await.unwrap().drive().await.unwrap().0,
        RunState::Parked
    );
    assert_eq!(queue.get_runs(&[run.id]).await.unwrap().remove(0).unwrap().run.status, RunStatus::Paused);
    queue.signal_run(run.id, "go", json("1"), None, None).await.unwrap();
    let still = assigned(&worker).await;
    assert_eq!(
        Body::open(&worker, &still, &script, &effects).await.unwrap().drive().await.unwrap().0,
        RunState::Parked
    );
    assert!(effects.seen().is_empty());
    queue.wish_run(run.id, WishKind::Resume, None, None, None).await.unwrap();
    assert_eq!(run_to_end(&worker, &script, &effects).await, ["0 signal 1", "2 Completed \"a\""]);
}

#[tokio::test(start_paused = true)]
async fn terminate_ends_a_run_without_its_body_whoever_holds_it() {
    let queue = process(&memory(), 1).await;
    let run = start(&queue).await;
    let ended = queue.wish_run(run.id, WishKind::Terminate, None, Some("enough".into()), None).await.unwrap();
    assert_eq!(ended.status, RunStatus::Cancelled);
    let (worker, effects) = (worker_on(&queue).await, Effects::default());
    let held = start(&queue).await;
    let first = assigned(&worker).await;
    assert_eq!(first.id, held.id);
    let body = Body::open(&worker, &first, &[Do::Signal("go", None)], &effects).await.unwrap();
    queue.wish_run(held.id, WishKind::Terminate, None, None, None).await.unwrap();
    assert_eq!(body.drive().await.unwrap(), (RunState::Ended, Vec::new()));
    for run in queue.get_runs(&[run.id, held.id]).await.unwrap() {
        let run = run.unwrap();
        assert_eq!(
            (run.run.status, run.task.task.error.unwrap().kind),
            (RunStatus::Cancelled, "Terminated".to_owned())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn ordinary_commands_leave_runs_alone_and_name_the_right_one() {
    let queue = process(&memory(), 1).await;
    let (worker, effects) = (worker_on(&queue).await, Effects::default());
    let run = start(&queue).await;
    run_to_end(&worker, &[Do::Fail], &effects).await;
    for action in [Move::Replay(&Default::default()), Move::Archive] {
        let moved = queue.move_tasks(&[run.id], action).await.unwrap().remove(0);
        assert_eq!(moved.verdict, Err(Refusal::Run));
        assert!(Refusal::Run.explain("x", "replayed").contains("workflow.retry"));
    }
    let step = buquet_core::queue::Step { limit: 10, cursor: None, dry_run: false };
    let all = TaskStatus::ALL.into_iter().filter(|status| status.is_terminal()).collect();
    for status in [all, std::collections::BTreeSet::from([TaskStatus::Failed])] {
        let purge = buquet_core::queue::Purge { status, ..Default::default() };
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert_eq!(queue.purge(&purge, &step).await.unwrap().tasks, 0);
    }
    assert_eq!(queue.list(&Default::default(), 10, None).await.unwrap().tasks.len(), 0);
    assert_eq!(queue.list_runs(&Default::default(), 10, None).await.unwrap().runs.len(), 1);
    let refused = queue.submit(buquet_core::queue::Submission::new("workflow:order", json("1"))).await;
    assert!(refused.unwrap_err().to_string().contains("workflow.start"));
}
