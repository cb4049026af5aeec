//! Parking and waking: every status and every bit, before and after.

use std::time::Duration;

use buquet_core::record::{
    BatchRecord, Cancel, Cancelling, Changes, Claimed, EntryState, Extra, Fall, Move, Outcome, Park, Refusal,
    Settlement, Task, TaskStatus, Waking, ready_entry_state,
};
use buquet_core::time::Timestamp;
use pretty_assertions::assert_eq;

use super::story::*;

const DUE: Option<Timestamp> = Some(Timestamp(START.0 + 60_000));

fn running() -> BatchRecord {
    let old = submitted(1);
    let mut record = old.clone();
    record.claim(lease(1), holder(1, at(300)), at(1), 1);
    step(&old, &mut record, at(1), 2);
    record
}

/// A record whose task was parked until then.
fn parked(until: Option<Timestamp>) -> BatchRecord {
    let old = running();
    let mut record = old.clone();
    let settled = record.settle(id(&record, 0), lease(1), &Outcome::Park { until }, at(2), 0.5);
    assert_eq!(settled, Settlement::Applied { status: TaskStatus::Waiting, available_at: until });
    step(&old, &mut record, at(2), 3);
    assert_eq!(record.check(), Ok(()));
    record
}

fn park(record: &BatchRecord) -> Park {
    record.tasks[0].park.as_deref().cloned().unwrap_or_default()
}

/// The bits `woken` and `heard`.
fn bits(record: &BatchRecord) -> (bool, bool) {
    (park(record).woken, park(record).heard)
}

#[test]
fn a_parked_task_waits_under_an_entry_of_its_own_and_spends_nothing() {
    let record = parked(DUE);
    let task = &record.tasks[0];
    assert_eq!((task.attempt, task.retry_count, task.lease, park(&record).count), (1, 0, None, 1));
    assert!(record.leases.is_empty() && record.ready.is_none() && !record.is_finished());
    let entry = record.parked_entry().unwrap();
    assert_eq!((Some(entry.due), entry.seq, entry.pending), (DUE, record.seq, 1));
    assert!(entry.to_string().starts_with("parked/"));
    assert_eq!(record.format, 3, "older versions leave it alone");
}

#[test]
fn what_has_no_time_of_its_own_lies_in_the_last_minute() {
    assert_eq!(parked(None).parked_entry().unwrap().due, Timestamp::LAST);
}

#[test]
fn a_wake_on_every_status_does_what_the_table_says() {
    let table = [
        (TaskStatus::Pending, Waking::Noted, TaskStatus::Pending),
        (TaskStatus::Running, Waking::Noted, TaskStatus::Running),
        (TaskStatus::Waiting, Waking::Woken, TaskStatus::Pending),
        (TaskStatus::Completed, Waking::Finished(TaskStatus::Completed), TaskStatus::Completed),
        (TaskStatus::Failed, Waking::Finished(TaskStatus::Failed), TaskStatus::Failed),
        (TaskStatus::Cancelled, Waking::Finished(TaskStatus::Cancelled), TaskStatus::Cancelled),
        (TaskStatus::Expired, Waking::Finished(TaskStatus::Expired), TaskStatus::Expired),
        (TaskStatus::Archived, Waking::Finished(TaskStatus::Archived), TaskStatus::Archived),
    ];
    assert_eq!(table.map(|(status, ..)| status), TaskStatus::ALL);
    for (status, waking, after) in table {
        let mut record = submitted(1);
        record.tasks[0].status = status;
        let id = id(&record, 0);
        assert_eq!((record.wake(id, at(5)), record.tasks[0].status), (waking, after), "{status:?}");
        assert_eq!(bits(&record).0, waking.is_change(), "{status:?}");
    }
    let mut record = submitted(1);
    let stranger = record.id.task(1);
    assert_eq!(record.wake(stranger, at(5)), Waking::Missing);
}

#[test]
fn a_second_wake_changes_nothing() {
    for record in [submitted(1), running(), parked(None)] {
        let mut record = record;
        let id = id(&record, 0);
        assert!(record.wake(id, at(5)).is_change());
        let before = text(&record);
        assert_eq!((record.wake(id, at(6)), text(&record)), (Waking::Known, before));
    }
}

#[test]
fn a_woken_task_is_due_at_once_under_a_new_entry_and_its_attempt_is_told() {
    let old = parked(DUE);
    let mut record = old.clone();
    record.wake(id(&old, 0), at(3));
    let plan = step(&old, &mut record, at(3), 4);
    let entry = record.ready_entry().unwrap();
    assert_eq!((plan.ahead, plan.behind), (vec![entry.to_string()], vec![old.parked_entry().unwrap().to_string()]));
    assert_eq!((entry.due, record.parked.as_ref(), park(&record).until), (at(3), None, None));
    assert_eq!(record.claim(lease(2), holder(2, at(300)), at(3), 1), [Claimed { n: 0, woken: true }]);
    assert_eq!((bits(&record), record.tasks[0].attempt), ((false, true), 2));
}

#[test]
fn a_task_whose_time_has_come_is_claimed_and_was_not_woken() {
    let mut record = parked(DUE);
    assert!(record.claim(lease(2), holder(2, at(300)), at(59), 1).is_empty(), "not before");
    assert_eq!(record.claim(lease(2), holder(2, at(300)), at(60), 1), [Claimed { n: 0, woken: false }]);
    assert!(parked(None).claim(lease(2), holder(2, at(300)), Timestamp::LAST, 1).is_empty(), "it has no time");
}

#[test]
fn a_park_that_meets_the_bit_is_refused_once_and_keeps_the_lease() {
    let mut record = running();
    let id = id(&record, 0);
    record.wake(id, at(2));
    let outcome = Outcome::Park { until: None };
    assert_eq!(record.settle(id, lease(1), &outcome, at(3), 0.5), Settlement::Woken);
    assert_eq!(
        (record.tasks[0].status, record.tasks[0].lease, bits(&record)),
        (TaskStatus::Running, Some(lease(1)), (false, true))
    );
    let settled = record.settle(id, lease(1), &outcome, at(4), 0.5);
    assert_eq!(settled, Settlement::Applied { status: TaskStatus::Waiting, available_at: None });
    assert_eq!((bits(&record), park(&record).count), ((false, false), 1));
}

#[test]
fn an_attempt_that_hears_of_a_wake_clears_the_bit() {
    let mut record = running();
    let id = id(&record, 0);
    assert_eq!(record.hear(id, lease(1)), Some(false));
    record.wake(id, at(2));
    assert_eq!(
        (record.hear(id, lease(2)), record.hear(id, lease(1)), record.hear(id, lease(1))),
        (None, Some(true), Some(false))
    );
    assert_eq!(bits(&record), (false, true));
}

/// Ends the attempt under lease 2.
fn end(record: &mut BatchRecord, outcome: &Outcome) {
    let settled = record.settle(record.id.task(0), lease(2), outcome, at(9), 0.5);
    assert!(matches!(settled, Settlement::Applied { .. }));
}

#[test]
fn what_a_lost_attempt_was_told_the_next_one_is_told_again() {
    let ways: [fn(&mut BatchRecord); 5] = [
        |record| record.fall(lease(2), Fall::WorkerLost, at(9), 0.5),
        |record| record.fall(lease(2), Fall::Expired, at(9), 0.5),
        |record| end(record, &Outcome::Release),
        |record| end(record, &fail(true, None)),
        |record| end(record, &Outcome::Reschedule { at: at(9) }),
    ];
    for end in ways {
        let mut record = parked(None);
        record.wake(record.id.task(0), at(3));
        record.claim(lease(2), holder(2, at(300)), at(3), 1);
        end(&mut record);
        assert_eq!((record.tasks[0].status, bits(&record)), (TaskStatus::Pending, (true, false)));
        assert_eq!(record.claim(lease(3), holder(2, at(300)), at(99), 1), [Claimed { n: 0, woken: true }]);
    }
}

#[test]
fn a_task_that_ends_forgets_its_wakes() {
    for outcome in [complete(), fail(false, None)] {
        let mut record = running();
        let id = id(&record, 0);
        record.wake(id, at(2));
        record.hear(id, lease(1));
        record.wake(id, at(3));
        record.settle(id, lease(1), &outcome, at(4), 0.5);
        assert_eq!(bits(&record), (false, false), "{outcome:?}");
    }
}

fn wish() -> Cancel {
    Cancel { at: at(5), by: None, reason: None, extra: Extra::new() }
}

#[test]
fn a_task_that_waits_is_called_off_at_once() {
    let mut record = parked(DUE);
    assert_eq!(record.cancel(record.id.task(0), &wish()), Cancelling::Cancelled);
    assert_eq!((record.tasks[0].status, park(&record).until), (TaskStatus::Cancelled, None));
}

#[test]
fn a_task_that_was_called_off_is_not_parked() {
    let mut record = running();
    let id = id(&record, 0);
    record.cancel(id, &wish());
    let settled = record.settle(id, lease(1), &Outcome::Park { until: None }, at(6), 0.5);
    assert_eq!(settled, Settlement::Applied { status: TaskStatus::Cancelled, available_at: None });
}

#[test]
fn a_ttl_ends_when_its_task_has_parked() {
    let mut record = created(vec![Task { expires_at: Some(at(30)), ..Task::new(0, json("1"), START, None) }]);
    record.claim(lease(1), holder(1, at(300)), at(1), 1);
    record.settle(record.id.task(0), lease(1), &Outcome::Park { until: DUE }, at(2), 0.5);
    assert_eq!((record.expire(at(99)), record.next_expiry()), (0, None));
    record.wake(record.id.task(0), at(99));
    assert_eq!(record.tasks[0].due(), at(99), "not when it would have expired");
    assert_eq!(record.claim(lease(2), holder(1, at(300)), at(99), 1).len(), 1);
}

#[test]
fn a_task_that_waits_and_never_began_expires() {
    let mut record = created(vec![Task { expires_at: Some(at(30)), ..Task::new(0, json("1"), START, None) }]);
    record.tasks[0].status = TaskStatus::Waiting;
    assert_eq!((record.tasks[0].wakes_at(), record.next_expiry()), (at(30), Some(at(30))));
    assert_eq!((record.expire(at(30)), record.tasks[0].status), (1, TaskStatus::Expired));
}

#[test]
fn a_task_that_waits_can_be_neither_replayed_nor_archived_nor_purged() {
    let mut record = parked(None);
    let changes = Changes::default();
    for action in [Move::Replay(&changes), Move::Archive] {
        assert_eq!(record.move_task(0, action, at(9)), Err(Refusal::Status(TaskStatus::Waiting)));
    }
    assert_eq!(record.purge(at(9), |_| true), 0);
}

#[test]
fn a_purged_task_does_not_tell_that_it_was_parked() {
    let mut record = parked(None);
    record.cancel(record.id.task(0), &wish());
    record.purge(at(9), |_| true);
    assert!(record.tasks[0].park.is_none());
}

#[test]
fn pending_and_parked_tasks_of_one_record_have_entries_with_one_count_of_numbers() {
    let old = submitted(2);
    let mut running = old.clone();
    running.claim(lease(1), holder(1, at(300)), at(1), 1);
    step(&old, &mut running, at(1), 2);
    let mut both = running.clone();
    both.settle(both.id.task(0), lease(1), &Outcome::Park { until: DUE }, at(2), 0.5);
    step(&running, &mut both, at(2), 3);
    let (ready, parked) = (both.ready_entry().unwrap(), both.parked_entry().unwrap());
    assert_eq!((ready.seq, parked.seq, both.seq), (1, 2, 2));
    assert_eq!(ready_entry_state(&ready, &both), EntryState::Current);
    let mut woken = both.clone();
    woken.wake(woken.id.task(0), at(2).after(Duration::from_mins(10)));
    step(&both, &mut woken, at(2).after(Duration::from_mins(10)), 4);
    assert_eq!(ready_entry_state(&parked, &woken), EntryState::Stale);
    assert_eq!(woken.ready_entry().unwrap(), ready, "it leads there already");
    assert_eq!(woken.seq, 3, "nothing written ahead for this number can become current");
}
