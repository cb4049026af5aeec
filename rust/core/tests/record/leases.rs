//! Claims, extensions and falls over records of several tasks under several leases.

use buquet_core::record::{Fall, Task, TaskStatus};
use pretty_assertions::assert_eq;

use super::story::*;

#[test]
fn a_claim_takes_the_first_due_tasks_up_to_its_room() {
    let mut record = submitted(5);
    assert_eq!(places(&record.claim(lease(1), holder(1, at(300)), at(3), 2)), [0, 1]);
    assert_eq!(places(&record.claim(lease(2), holder(2, at(200)), at(4), 99)), [2, 3, 4]);
    for (task, (number, now)) in record.tasks.iter().zip([(1, at(3)), (1, at(3)), (2, at(4)), (2, at(4)), (2, at(4))]) {
        assert_eq!((task.status, task.attempt, task.started_at), (TaskStatus::Running, 1, Some(now)));
        assert_eq!((task.lease, task.worker), (Some(lease(number)), Some(worker(number))));
    }
    let ends: Vec<_> = record.leases.iter().map(|(id, held)| (*id, held.worker, held.expires_at)).collect();
    assert_eq!(ends, [(lease(1), worker(1), at(300)), (lease(2), worker(2), at(200))]);
}

#[test]
fn a_claim_that_finds_nothing_changes_nothing() {
    let later = Task::new(0, json("1"), START, Some(at(60)));
    let mut finished = submitted(1);
    finished.claim(lease(1), holder(1, at(300)), at(1), 1);
    finished.settle(id(&finished, 0), lease(1), &complete(), at(2), 0.0);
    for (mut record, max) in [(created(vec![later]), 9), (finished, 9), (submitted(0), 9), (submitted(3), 0)] {
        let before = text(&record);
        assert!(record.claim(lease(5), holder(5, at(300)), at(59), max).is_empty());
        assert_eq!(text(&record), before);
    }
}

#[test]
fn a_task_is_claimed_whatever_its_status_only_while_it_is_pending() {
    for status in TaskStatus::ALL {
        let mut record = submitted(1);
        record.tasks[0].status = status;
        let claimed = record.claim(lease(1), holder(1, at(300)), at(1), 1);
        assert_eq!(claimed.is_empty(), status != TaskStatus::Pending, "{status:?}");
    }
}

#[test]
fn a_delayed_task_is_not_due_a_moment_early_and_one_without_delay_from_its_minute_on() {
    let delayed = Task::new(0, json("1"), START, Some(at(60)));
    let now = Task::new(1, json("1"), START, None);
    let mut record = created(vec![delayed, now]);
    let minute = buquet_core::time::Timestamp(START.minute() * 60_000);
    let just_before = |time: buquet_core::time::Timestamp| buquet_core::time::Timestamp(time.0 - 1);
    assert!(record.claim(lease(1), holder(1, at(300)), just_before(minute), 9).is_empty());
    assert_eq!(places(&record.claim(lease(1), holder(1, at(300)), minute, 9)), [1]);
    assert_eq!(record.tasks[1].started_at, Some(START), "never before it was submitted");
    assert!(record.claim(lease(2), holder(1, at(300)), just_before(at(60)), 9).is_empty());
    assert_eq!(places(&record.claim(lease(2), holder(1, at(300)), at(60), 9)), [0]);
}

#[test]
fn counting_stops_at_the_highest_number_instead_of_failing() {
    let mut record = submitted(1);
    record.tasks[0].attempt = u32::MAX;
    record.tasks[0].loss_count = u32::MAX;
    assert_eq!(places(&record.claim(lease(1), holder(1, at(300)), at(1), 1)), [0]);
    record.fall(lease(1), Fall::WorkerLost, at(2), 0.0);
    assert_eq!((record.tasks[0].attempt, record.tasks[0].loss_count), (u32::MAX, u32::MAX));
}

#[test]
fn an_extension_moves_the_end_later_and_never_earlier() {
    let mut record = shared_record();
    let tasks = serde_json::to_string(&record.tasks).unwrap();
    assert_eq!(record.extend(id(&record, 0), lease(1), at(500)), Some(at(500)));
    assert_eq!(record.extend(id(&record, 1), lease(1), at(400)), Some(at(500)), "the longer one holds");
    assert_eq!(record.leases[&lease(2)].expires_at, at(300), "another lease is not touched");
    assert_eq!(serde_json::to_string(&record.tasks).unwrap(), tasks);
}

#[test]
fn an_extension_of_what_is_not_held_changes_nothing() {
    let mut record = shared_record();
    let before = text(&record);
    for (n, wrong) in [(0, lease(2)), (0, lease(9)), (3, lease(1)), (4, lease(1))] {
        assert_eq!(record.extend(id(&record, n), wrong, at(500)), None, "task {n} under {wrong}");
    }
    assert_eq!(text(&record), before);
}

#[test]
fn a_fallen_lease_gives_back_its_own_tasks_only() {
    for why in [Fall::WorkerLost, Fall::Expired] {
        let mut record = shared_record();
        let others: Vec<_> = (2..4).map(|n| task_text(&record, n)).collect();
        record.fall(lease(1), why, at(9), 0.5);
        assert_eq!(statuses(&record)[..2], [TaskStatus::Pending, TaskStatus::Pending], "{why:?}");
        assert_eq!((2..4).map(|n| task_text(&record, n)).collect::<Vec<_>>(), others, "{why:?}");
        assert_eq!(record.leases.keys().copied().collect::<Vec<_>>(), [lease(2)], "{why:?}");
        step(&shared_record(), &mut record, at(9), 3);
        assert_eq!(record.check(), Ok(()), "{why:?}");
    }
}

#[test]
fn the_fall_of_a_lease_that_is_gone_changes_nothing() {
    for why in [Fall::WorkerLost, Fall::Expired] {
        let mut record = shared_record();
        let before = text(&record);
        record.fall(lease(9), why, at(9), 0.5);
        assert_eq!(text(&record), before, "{why:?}");
    }
}

#[test]
fn tasks_settled_before_the_fall_keep_their_result() {
    let mut record = shared_record();
    record.settle(id(&record, 0), lease(1), &complete(), at(5), 0.0);
    let done = task_text(&record, 0);
    record.fall(lease(1), Fall::WorkerLost, at(9), 0.5);
    assert_eq!(task_text(&record, 0), done);
    assert_eq!(statuses(&record)[..2], [TaskStatus::Completed, TaskStatus::Pending]);
}
