//! Calling tasks off, letting them expire, and reports of progress.

use buquet_core::record::{Cancel, Cancelling, Extra, Fall, Outcome, Progress, Settlement, Task, TaskStatus};
use buquet_core::time::Timestamp;
use pretty_assertions::assert_eq;

use super::story::*;

fn wish(by: &str, now: Timestamp) -> Cancel {
    Cancel { at: now, by: Some(by.into()), reason: Some("too dear".into()), extra: Extra::new() }
}

fn expiring(available: Option<u64>, expires: u64) -> Task {
    Task { expires_at: Some(at(expires)), ..Task::new(0, json("1"), START, available.map(at)) }
}

#[test]
fn a_waiting_task_is_cancelled_at_once_and_a_running_one_is_asked_to_stop() {
    let mut record = submitted(2);
    record.claim(lease(1), holder(1, at(300)), at(1), 1);
    let [running, waiting] = [0, 1].map(|n| id(&record, n));
    assert_eq!(record.cancel(waiting, &wish("ada", at(2))), Cancelling::Cancelled);
    assert_eq!(record.cancel(running, &wish("ada", at(2))), Cancelling::Requested);
    assert_eq!((record.tasks[1].status, record.tasks[1].completed_at), (TaskStatus::Cancelled, Some(at(2))));
    assert_eq!((record.tasks[0].status, record.tasks[0].lease), (TaskStatus::Running, Some(lease(1))));
    for task in &record.tasks {
        assert_eq!(task.cancel.as_ref().unwrap().by.as_deref(), Some("ada"));
    }
}

#[test]
fn the_first_wish_stands_and_what_has_ended_says_so() {
    let mut record = submitted(1);
    record.claim(lease(1), holder(1, at(300)), at(1), 1);
    let task = id(&record, 0);
    record.cancel(task, &wish("ada", at(2)));
    assert_eq!(record.cancel(task, &wish("bob", at(3))), Cancelling::Requested);
    assert_eq!(record.tasks[0].cancel.as_ref().unwrap().by.as_deref(), Some("ada"));
    record.settle(task, lease(1), &complete(), at(4), 0.0);
    assert_eq!(record.cancel(task, &wish("bob", at(5))), Cancelling::Finished(TaskStatus::Completed));
    let stranger = submitted(1).id.task(7);
    assert_eq!(record.cancel(stranger, &wish("bob", at(5))), Cancelling::Missing);
}

#[test]
fn whatever_comes_of_a_running_task_that_was_called_off_it_runs_no_more() {
    let outcomes = [fail(true, None), Outcome::Release, Outcome::Reschedule { at: at(99) }, Outcome::Cancel];
    for outcome in outcomes {
        let mut record = submitted(1);
        record.claim(lease(1), holder(1, at(300)), at(1), 1);
        let task = id(&record, 0);
        record.cancel(task, &wish("ada", at(2)));
        let applied = Settlement::Applied { status: TaskStatus::Cancelled, available_at: None };
        assert_eq!(record.settle(task, lease(1), &outcome, at(3), 0.0), applied, "{outcome:?}");
        assert!(record.is_finished());
    }
    for fall in [Fall::WorkerLost, Fall::Expired] {
        let mut record = submitted(1);
        record.claim(lease(1), holder(1, at(300)), at(1), 1);
        record.cancel(id(&record, 0), &wish("ada", at(2)));
        record.fall(lease(1), fall, at(3), 0.0);
        assert_eq!(record.tasks[0].status, TaskStatus::Cancelled, "{fall:?}");
    }
}

#[test]
fn a_task_that_completes_before_it_hears_of_the_wish_has_completed() {
    let mut record = submitted(1);
    record.claim(lease(1), holder(1, at(300)), at(1), 1);
    let task = id(&record, 0);
    record.cancel(task, &wish("ada", at(2)));
    record.settle(task, lease(1), &complete(), at(3), 0.0);
    assert_eq!(record.tasks[0].status, TaskStatus::Completed);
}

#[test]
fn a_task_that_stops_without_being_asked_to_runs_again() {
    let mut record = submitted(1);
    record.claim(lease(1), holder(1, at(300)), at(1), 1);
    record.settle(id(&record, 0), lease(1), &Outcome::Cancel, at(3), 0.0);
    assert_eq!(record.tasks[0].status, TaskStatus::Pending);
}

#[test]
fn a_task_is_never_started_after_its_time() {
    let mut record = created(vec![expiring(None, 60)]);
    assert_eq!((record.next_expiry(), record.expire(Timestamp(at(60).0 - 1))), (Some(at(60)), 0));
    assert!(record.claim(lease(1), holder(1, at(300)), at(60), 9).is_empty());
    assert_eq!((record.expire(at(60)), record.expire(at(60))), (1, 0));
    assert_eq!((record.tasks[0].status, record.tasks[0].completed_at), (TaskStatus::Expired, Some(at(60))));
    let mut in_time = created(vec![expiring(None, 60)]);
    assert_eq!(in_time.expire(at(59)), 0);
    assert_eq!(places(&in_time.claim(lease(1), holder(1, at(300)), at(59), 9)), [0]);
    assert_eq!(in_time.expire(at(99)), 0, "what runs in time may end later");
}

#[test]
fn a_task_that_waits_for_a_retry_past_its_time_is_looked_at_when_its_time_is_over() {
    let mut record = created(vec![expiring(None, 60)]);
    record.claim(lease(1), holder(1, at(300)), at(1), 1);
    record.settle(id(&record, 0), lease(1), &Outcome::Reschedule { at: at(500) }, at(2), 0.0);
    assert_eq!(record.tasks[0].due(), at(60));
    assert!(record.claim(lease(2), holder(1, at(300)), at(60), 9).is_empty());
    assert_eq!(record.expire(at(60)), 1);
}

#[test]
fn progress_is_kept_of_the_attempt_that_holds_the_lease() {
    let mut record = submitted(1);
    let task = id(&record, 0);
    let half = Progress::new(0.5, Some("half".into()), at(2)).unwrap();
    assert!(!record.report(task, lease(1), &half), "nobody runs it");
    record.claim(lease(1), holder(1, at(300)), at(1), 1);
    assert!(!record.report(task, lease(2), &half), "another's lease");
    assert!(record.report(task, lease(1), &half) && !record.report(task, lease(1), &half));
    record.settle(task, lease(1), &Outcome::Release, at(3), 0.0);
    assert_eq!(record.tasks[0].progress.as_deref(), Some(&half), "how far it came");
    record.claim(lease(2), holder(1, at(300)), at(4), 1);
    assert_eq!(record.tasks[0].progress, None, "the next attempt begins anew");
}
