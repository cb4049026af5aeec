//! Every outcome on every status: the legal ones do what the life cycle says, the others change nothing.

use buquet_core::limits;
use buquet_core::record::{Fall, Outcome, Settlement, TaskStatus};
use pretty_assertions::assert_eq;

use super::story::*;

const NOW: u64 = 10;

fn applied(status: TaskStatus, available_at: Option<buquet_core::time::Timestamp>) -> Settlement {
    Settlement::Applied { status, available_at }
}

#[test]
fn an_outcome_of_a_task_that_does_not_run_changes_nothing() {
    for status in TaskStatus::ALL.into_iter().filter(|status| *status != TaskStatus::Running) {
        for outcome in outcomes() {
            let mut record = shared_record();
            record.tasks[3].status = status;
            let before = text(&record);
            let settled = record.settle(id(&record, 3), lease(1), &outcome, at(NOW), 0.5);
            assert_eq!((settled, text(&record)), (Settlement::LeaseLost, before), "{outcome:?} on {status:?}");
        }
    }
}

#[test]
fn an_outcome_under_another_lease_changes_nothing() {
    for outcome in outcomes() {
        for wrong in [lease(2), lease(9)] {
            let mut record = shared_record();
            let before = text(&record);
            assert_eq!(record.settle(id(&record, 0), wrong, &outcome, at(NOW), 0.5), Settlement::LeaseLost);
            assert_eq!(text(&record), before, "{outcome:?} under {wrong}");
        }
    }
}

#[test]
fn an_outcome_of_a_task_that_is_not_in_the_record_changes_nothing() {
    let other = buquet_core::id::RecordId::random(&buquet_core::entropy::Entropy::seeded(2));
    for outcome in outcomes() {
        let mut record = shared_record();
        let before = text(&record);
        for stranger in [other.task(0), record.id.task(4), record.id.task(u16::MAX)] {
            assert_eq!(record.settle(stranger, lease(1), &outcome, at(NOW), 0.5), Settlement::LeaseLost);
        }
        assert_eq!(text(&record), before, "{outcome:?}");
    }
}

#[test]
fn a_second_outcome_of_one_attempt_changes_nothing() {
    for (first, second) in outcomes().into_iter().flat_map(|a| outcomes().into_iter().map(move |b| (a.clone(), b))) {
        let mut record = shared_record();
        let id = id(&record, 0);
        assert!(record.settle(id, lease(1), &first, at(NOW), 0.5) != Settlement::LeaseLost);
        let before = text(&record);
        assert_eq!(record.settle(id, lease(1), &second, at(NOW), 0.5), Settlement::LeaseLost);
        assert_eq!(text(&record), before, "{second:?} after {first:?}");
    }
}

#[test]
fn an_outcome_touches_its_own_task_only_and_ends_a_lease_that_is_used_up() {
    for outcome in outcomes() {
        let mut record = shared_record();
        let others: Vec<_> = (1..4).map(|n| task_text(&record, n)).collect();
        record.settle(id(&record, 0), lease(1), &outcome, at(NOW), 0.5);
        assert_eq!((1..4).map(|n| task_text(&record, n)).collect::<Vec<_>>(), others, "{outcome:?}");
        assert_eq!(record.leases.keys().copied().collect::<Vec<_>>(), [lease(1), lease(2)], "{outcome:?}");
        record.settle(id(&record, 1), lease(1), &outcome, at(NOW), 0.5);
        assert_eq!(record.leases.keys().copied().collect::<Vec<_>>(), [lease(2)], "{outcome:?}");
        step(&shared_record(), &mut record, at(NOW), 3);
        assert_eq!(record.check(), Ok(()));
    }
}

#[test]
fn a_completed_task_has_its_output_and_no_error() {
    let mut record = shared_record();
    let (id, mut expected) = (id(&record, 0), record.tasks[0].clone());
    record.settle(id, lease(1), &fail(true, None), at(2), 0.0);
    record.claim(lease(3), holder(3, at(400)), at(NOW), 1);
    let settled = record.settle(id, lease(3), &complete(), at(NOW + 1), 0.0);
    assert_eq!(settled, applied(TaskStatus::Completed, None));
    (expected.status, expected.output, expected.completed_at) =
        (TaskStatus::Completed, Some(json("42")), Some(at(NOW + 1)));
    (expected.attempt, expected.retry_count, expected.available_at) = (2, 1, at(3));
    (expected.started_at, expected.lease, expected.worker) = (Some(at(NOW)), None, Some(worker(3)));
    assert_eq!(task_text(&record, 0), serde_json::to_string(&expected).unwrap());
}

#[test]
fn a_failure_is_retried_after_its_back_off_until_none_is_left() {
    let mut record = submitted(1);
    let id = id(&record, 0);
    let mut now = at(0);
    for (attempt, wait) in [(1, Some(1_000)), (2, Some(2_000)), (3, None)] {
        assert_eq!(places(&record.claim(lease(attempt), holder(1, at(300)), now, 1)), [0]);
        let settled = record.settle(id, lease(attempt), &fail(true, None), now, 0.9);
        let task = &record.tasks[0];
        assert_eq!(u64::from(task.attempt), attempt);
        let error = task.error.as_ref().unwrap();
        assert_eq!((error.kind.as_str(), error.message.as_str(), error.at), ("E", "no", now));
        if let Some(millis) = wait {
            now = now.after(std::time::Duration::from_millis(millis));
            assert_eq!(settled, applied(TaskStatus::Pending, Some(now)));
            assert_eq!((u64::from(task.retry_count), task.completed_at), (attempt, None));
        } else {
            assert_eq!(settled, applied(TaskStatus::Failed, None));
            assert_eq!((task.retry_count, task.completed_at, task.output.is_none()), (2, Some(now), true));
        }
    }
}

#[test]
fn a_retrys_own_time_replaces_the_back_off_and_still_costs_a_retry() {
    let mut record = shared_record();
    let settled = record.settle(id(&record, 0), lease(1), &fail(true, Some(at(77))), at(NOW), 0.9);
    assert_eq!(settled, applied(TaskStatus::Pending, Some(at(77))));
    assert_eq!((record.tasks[0].retry_count, record.tasks[0].available_at), (1, at(77)));
}

#[test]
fn a_permanent_failure_ends_the_task_with_retries_left() {
    for retry_at in [None, Some(at(77))] {
        let mut record = shared_record();
        let settled = record.settle(id(&record, 0), lease(1), &fail(false, retry_at), at(NOW), 0.9);
        assert_eq!(settled, applied(TaskStatus::Failed, None));
        assert_eq!((record.tasks[0].retry_count, record.tasks[0].completed_at), (0, Some(at(NOW))));
    }
}

#[test]
fn reschedule_and_release_spend_no_retry_and_keep_the_last_error() {
    for (outcome, due) in [(Outcome::Reschedule { at: at(99) }, at(99)), (Outcome::Release, at(NOW))] {
        let mut record = shared_record();
        let id = id(&record, 0);
        record.settle(id, lease(1), &fail(true, None), at(2), 0.0);
        record.claim(lease(3), holder(3, at(400)), at(5), 1);
        assert_eq!(record.settle(id, lease(3), &outcome, at(NOW), 0.9), applied(TaskStatus::Pending, Some(due)));
        let task = &record.tasks[0];
        assert_eq!((task.attempt, task.retry_count, task.available_at, task.lease), (2, 1, due, None));
        assert_eq!(task.error.as_ref().map(|error| error.message.as_str()), Some("no"));
        assert_eq!(task.due(), due);
    }
}

#[test]
fn a_long_error_is_cut_between_characters_and_keeps_what_matters_most() {
    let mut record = shared_record();
    let error = buquet_core::record::Failure {
        kind: "E".into(),
        message: "é".repeat(limits::ERROR_BYTES),
        traceback: Some("lost".into()),
    };
    record.settle(id(&record, 0), lease(1), &Outcome::Fail { error, retry: false, retry_at: None }, at(NOW), 0.0);
    let error = record.tasks[0].error.clone().unwrap();
    assert_eq!((error.kind.as_str(), error.message.len()), ("E", limits::ERROR_BYTES - 2));
    assert!(error.message.chars().all(|letter| letter == 'é'));
    assert_eq!(error.traceback.unwrap().len(), 1, "what was left of the room");
}

#[test]
fn a_lost_worker_costs_no_retry_until_it_was_lost_too_often() {
    let mut record = submitted(1);
    for loss in 1..=u64::from(limits::LOSSES) + 1 {
        assert_eq!(places(&record.claim(lease(loss), holder(loss, at(300)), at(loss), 1)), [0]);
        record.fall(lease(loss), Fall::WorkerLost, at(loss), 0.5);
        assert!(record.leases.is_empty());
        let task = &record.tasks[0];
        assert_eq!((u64::from(task.loss_count), task.retry_count, task.lease), (loss, 0, None));
        if loss <= u64::from(limits::LOSSES) {
            assert_eq!((task.status, task.available_at, &task.error.is_none()), (TaskStatus::Pending, at(loss), &true));
        }
    }
    let task = &record.tasks[0];
    assert_eq!((task.status, task.completed_at), (TaskStatus::Failed, Some(at(11))));
    let error = task.error.as_ref().unwrap();
    assert_eq!((error.kind.as_str(), error.message.as_str()), ("LeaseLost", "the worker running it was lost 11 times"));
}

#[test]
fn an_expired_lease_is_a_failed_attempt_of_each_of_its_tasks() {
    let mut record = shared_record();
    record.tasks[1].retry_count = 2;
    record.fall(lease(1), Fall::Expired, at(NOW), 0.5);
    let expected = [TaskStatus::Pending, TaskStatus::Failed, TaskStatus::Running, TaskStatus::Pending];
    assert_eq!(statuses(&record), expected);
    assert_eq!((record.tasks[0].available_at, record.tasks[0].retry_count), (at(NOW + 1), 1));
    for task in &record.tasks[..2] {
        let error = task.error.as_ref().unwrap();
        assert_eq!((error.kind.as_str(), error.at), ("Timeout", at(NOW)));
        assert!(error.message.contains("300000 ms"), "{}", error.message);
    }
    assert_eq!(record.leases.keys().copied().collect::<Vec<_>>(), [lease(2)]);
}
