//! Links: what is owed when tasks end, and what its delivery does to those that wait.

use buquet_core::entropy::Entropy;
use buquet_core::id::{RecordId, TaskId};
use buquet_core::limits;
use buquet_core::record::{
    After, BatchRecord, Cancel, Debt, Delivery, ENGINE, Ended, Extra, Link, Linking, Move, On, Park, Task, TaskStatus,
    Waking,
};
use buquet_core::time::Timestamp;
use pretty_assertions::assert_eq;

use super::story::*;

fn other(seed: u64) -> RecordId {
    RecordId::random(&Entropy::seeded(seed))
}

fn target() -> TaskId {
    other(77).task(0)
}

/// A record of three running tasks, under lease 1, with a link of these to the target.
fn linked(of: &[(u16, u16)]) -> BatchRecord {
    let old = submitted(3);
    let mut record = old.clone();
    record.links.push(Link::new(of.to_vec(), target(), 1, 4));
    record.claim(lease(1), holder(1, at(300)), at(1), 3);
    step(&old, &mut record, at(1), 2);
    record
}

fn end(record: &mut BatchRecord, n: u16, completes: bool) -> bool {
    let outcome = if completes { complete() } else { fail(false, None) };
    record.settle(id(record, n), lease(1), &outcome, at(5), 0.5);
    record.note_ends()
}

/// A task that waits for these.
fn waiting(tasks: &[TaskId], on: On, delay_ms: Option<u64>) -> BatchRecord {
    let after = Some(Box::new(After::new(tasks, on, delay_ms)));
    let park = Some(Box::new(Park { until: Some(at(60)), ..Park::default() }));
    let task = Task { status: TaskStatus::Waiting, after, park, ..Task::new(0, json("1"), START, None) };
    let record = created(vec![task]);
    assert_eq!(record.check(), Ok(()));
    record
}

fn debt(record: &BatchRecord, slot: u32, culprit: Option<TaskId>) -> Debt {
    let culprit = culprit.map(|task| buquet_core::record::Culprit { task, why: "failed".into(), extra: Extra::new() });
    Debt { target: record.id.task(0), count: 1, slot, revived: 0, ended: Ended { culprit, extra: Extra::new() } }
}

#[test]
fn a_link_is_owed_by_the_commit_after_which_all_its_tasks_have_ended() {
    let mut record = linked(&[(0, 0), (2, 2)]);
    assert!(!end(&mut record, 0, true), "task 2 runs");
    assert!(!end(&mut record, 1, true), "it is none of them");
    assert!(end(&mut record, 2, true) && record.owes());
    let debts = record.debts();
    assert_eq!((debts[0].target, debts[0].slot, debts[0].ended.culprit.is_none()), (target(), 4, true));
    assert!(!record.note_ends(), "once");
}

#[test]
fn what_is_owed_names_the_first_that_did_not_complete_and_why() {
    let mut record = linked(&[(0, 2)]);
    end(&mut record, 2, false);
    end(&mut record, 1, false);
    end(&mut record, 0, true);
    let culprit = record.debts().remove(0).ended.culprit.unwrap();
    assert_eq!((culprit.task, culprit.why.as_str()), (record.id.task(1), "failed (E: no)"));
}

#[test]
fn what_was_delivered_is_owed_no_more_and_not_again_after_a_replay() {
    let mut record = linked(&[(0, 0)]);
    end(&mut record, 0, false);
    record.discharge();
    assert!(!record.owes() && record.links[0].done);
    record.move_task(0, Move::Replay(&buquet_core::record::Changes::default()), at(6)).unwrap();
    record.claim(lease(2), holder(1, at(300)), at(7), 1);
    record.settle(id(&record, 0), lease(2), &complete(), at(8), 0.5);
    assert!(!record.note_ends());
}

#[test]
fn a_link_to_what_has_ended_counts_at_once_and_one_to_nothing_is_missing() {
    let mut record = linked(&[(0, 0)]);
    end(&mut record, 1, true);
    assert!(matches!(record.link(Link::new(vec![(1, 1)], target(), 1, 0)), Linking::Ended(_)));
    assert!(matches!(record.link(Link::new(vec![(2, 3)], target(), 1, 0)), Linking::Missing));
    assert!(matches!(record.link(Link::new(vec![(2, 2)], target(), 1, 0)), Linking::Added));
    assert!(matches!(record.link(Link::new(vec![(2, 2)], target(), 1, 0)), Linking::Known));
}

#[test]
fn a_link_that_was_delivered_is_known_although_its_tasks_have_ended() {
    let mut record = linked(&[(0, 0)]);
    end(&mut record, 0, true);
    assert!(matches!(record.link(Link::new(vec![(0, 0)], target(), 1, 4)), Linking::Known), "owed");
    record.discharge();
    assert!(matches!(record.link(Link::new(vec![(0, 0)], target(), 1, 4)), Linking::Known), "done");
}

#[test]
fn what_was_owed_before_a_task_was_revived_does_not_reach_it_and_its_link_is_made_anew() {
    let mut source = linked(&[(0, 0)]);
    end(&mut source, 0, false);
    let mut waits = waiting(&[source.id.task(0)], On::Success, None);
    waits.tasks[0].expires_at = Some(at(30));
    let before = debt(&waits, 0, Some(source.id.task(0)));
    waits.deliver(&before, at(6));
    assert_eq!(waits.tasks[0].status, TaskStatus::Cancelled);
    let id = waits.id.task(0);
    assert!(!waits.revive(id, &[other(5)].into(), at(60)), "not because of that one");
    assert!(waits.revive(id, &[source.id].into(), at(60)));
    assert_eq!((waits.tasks[0].expires_at, waits.tasks[0].wakes_at()), (None, at(60)), "however late");
    assert_eq!(waits.deliver(&before, at(7)), Delivery::Known);
    assert_eq!((waits.tasks[0].status, waits.check()), (TaskStatus::Waiting, Ok(())));
    let again = |revived| Link { revived, ..Link::new(vec![(0, 0)], target(), 1, 4) };
    assert!(matches!(source.link(again(1)), Linking::Ended(_)), "it was not replayed");
    source.move_task(0, Move::Replay(&buquet_core::record::Changes::default()), at(8)).unwrap();
    assert!(matches!(source.link(again(1)), Linking::Added));
    assert!(matches!(source.link(again(0)), Linking::Known), "that is past");
    assert_eq!((source.links.len(), source.owes()), (1, false));
}

#[test]
fn a_record_has_links_to_so_many_targets_and_any_number_to_each() {
    let mut record = submitted(1);
    for n in 0..limits::LINK_TARGETS {
        let target = other(u64::try_from(n).unwrap()).task(0);
        for slot in 0..3 {
            assert!(matches!(record.link(Link::new(vec![(0, 0)], target, 1, slot)), Linking::Added));
        }
    }
    assert!(matches!(record.link(Link::new(vec![(0, 0)], target(), 1, 0)), Linking::Full));
}

#[test]
fn consecutive_tasks_of_one_record_share_a_slot_and_their_order_is_kept() {
    let (a, b) = (other(1), other(2));
    let tasks = [a.task(0), a.task(1), a.task(3), b.task(7), a.task(2)];
    let after = After::new(&tasks, On::Success, None);
    let slots: Vec<_> = after.slots.iter().map(|slot| (slot.record, slot.of.clone())).collect();
    assert_eq!(slots, [(a, vec![(0, 1), (3, 3)]), (b, vec![(7, 7)]), (a, vec![(2, 2)])]);
    assert_eq!(after.tasks().collect::<Vec<_>>(), tasks);
}

#[test]
fn only_the_last_delivery_makes_its_target_due_and_each_counts_once() {
    let mut record = waiting(&[other(1).task(0), other(2).task(0)], On::Success, None);
    assert_eq!(record.deliver(&debt(&record, 1, None), at(5)), Delivery::Stored);
    assert_eq!(record.deliver(&debt(&record, 1, None), at(5)), Delivery::Known);
    assert_eq!(record.deliver(&debt(&record, 9, None), at(5)), Delivery::Known, "no such slot");
    assert_eq!(record.deliver(&debt(&record, 0, None), at(6)), Delivery::Due);
    let task = &record.tasks[0];
    assert_eq!((task.status, task.available_at, task.attempt), (TaskStatus::Pending, at(6), 0));
    assert_eq!(record.deliver(&debt(&record, 0, None), at(7)), Delivery::Known);
    let mut old = waiting(&[other(1).task(0), other(2).task(0)], On::Success, None);
    old.deliver(&debt(&old, 1, None), at(5));
    let plan = step(&old, &mut record, at(6), 2);
    assert_eq!(plan.ahead, [record.ready_entry().unwrap().to_string()]);
    assert_eq!(plan.behind, [old.parked_entry().unwrap().to_string()]);
}

#[test]
fn a_delay_counts_from_the_last_end() {
    let mut record = waiting(&[other(1).task(0)], On::Success, Some(30_000));
    record.deliver(&debt(&record, 0, None), at(100));
    assert_eq!(record.tasks[0].available_at, at(130));
}

#[test]
fn whether_a_task_runs_after_what_came_of_others_is_as_it_wants() {
    let culprit = other(1).task(0);
    let table = [
        (On::Success, None, TaskStatus::Pending),
        (On::Success, Some(culprit), TaskStatus::Cancelled),
        (On::Finished, None, TaskStatus::Pending),
        (On::Finished, Some(culprit), TaskStatus::Pending),
        (On::Failure, None, TaskStatus::Cancelled),
        (On::Failure, Some(culprit), TaskStatus::Pending),
    ];
    for (on, culprit, expected) in table {
        let mut record = waiting(&[other(1).task(0)], on, None);
        record.deliver(&debt(&record, 0, culprit), at(5));
        assert_eq!(record.tasks[0].status, expected, "{on:?} after {culprit:?}");
    }
}

#[test]
fn a_task_that_does_not_run_because_of_another_says_which_and_why() {
    let culprit = other(1).task(0);
    let mut record = waiting(&[culprit], On::Success, None);
    assert_eq!(record.deliver(&debt(&record, 0, Some(culprit)), at(5)), Delivery::CalledOff);
    let wish = record.tasks[0].cancel.as_deref().unwrap();
    let reason = wish.reason.clone().unwrap();
    assert_eq!(wish.by.as_deref(), Some(ENGINE));
    assert_eq!(reason, format!("it waited for task {culprit}, which failed"));
}

#[test]
fn a_target_that_ends_because_of_another_owes_it_to_those_that_wait_for_it() {
    let culprit = other(1).task(0);
    let mut record = waiting(&[culprit], On::Success, None);
    record.links.push(Link::new(vec![(0, 0)], target(), 1, 0));
    record.deliver(&debt(&record, 0, Some(culprit)), at(5));
    assert!(record.note_ends());
    let why = record.debts().remove(0).ended.culprit.unwrap().why;
    assert!(why.starts_with("was cancelled: it waited for task"), "{why}");
}

#[test]
fn one_delivery_reaches_all_tasks_of_a_record_that_wait_for_the_same() {
    let task = |n| Task { n, ..waiting(&[other(1).task(0)], On::Success, None).tasks.remove(0) };
    let mut record = created((0..3).map(task).collect());
    record.cancel(record.id.task(1), &Cancel { at: at(2), by: None, reason: None, extra: Extra::new() });
    let debt = Debt { count: 3, ..debt(&record, 0, None) };
    assert_eq!(record.deliver(&debt, at(5)), Delivery::Due);
    assert_eq!(statuses(&record), [TaskStatus::Pending, TaskStatus::Cancelled, TaskStatus::Pending]);
}

#[test]
fn a_wake_does_not_start_what_waits_for_others_and_is_not_lost() {
    let mut record = waiting(&[other(1).task(0)], On::Success, None);
    let id = record.id.task(0);
    assert_eq!((record.wake(id, at(5)), record.wake(id, at(5))), (Waking::Noted, Waking::Known));
    assert!(record.claim(lease(1), holder(1, at(300)), at(99), 1).is_empty(), "nor does its look");
    record.deliver(&debt(&record, 0, None), at(100));
    assert!(record.claim(lease(1), holder(1, at(300)), at(100), 1)[0].woken);
}

#[test]
fn a_task_that_waits_for_others_expires_and_can_be_called_off() {
    let mut record = waiting(&[other(1).task(0)], On::Success, None);
    record.tasks[0].expires_at = Some(at(30));
    assert_eq!((record.tasks[0].wakes_at(), record.clone().expire(at(30))), (at(30), 1));
    record.cancel(record.id.task(0), &Cancel { at: at(2), by: None, reason: None, extra: Extra::new() });
    assert_eq!(record.deliver(&debt(&record, 0, None), at(5)), Delivery::Known);
    assert_eq!(record.tasks[0].status, TaskStatus::Cancelled);
}

#[test]
fn a_look_that_is_no_longer_planned_lets_the_entry_lie_at_the_end() {
    let mut record = waiting(&[other(1).task(0)], On::Success, None);
    let id = record.id.task(0);
    assert!(record.look_again(id, None) && !record.look_again(id, None));
    assert_eq!(record.tasks[0].wakes_at(), Timestamp::LAST);
}

#[test]
fn links_and_what_tasks_wait_for_survive_the_round_trip_and_keep_what_is_unknown() {
    let mut record = linked(&[(0, 1)]);
    end(&mut record, 0, true);
    end(&mut record, 1, false);
    assert_eq!(record.format, 3, "older versions leave it alone");
    let body = text(&record).replacen("\"of\":", "\"new\":1,\"of\":", 1);
    let read = BatchRecord::decode(&buquet_core::keys::record(record.id), body.as_bytes()).unwrap();
    assert!(text(&read).contains("\"new\":1") && read.owes());
    let waits = waiting(&[other(1).task(0)], On::Failure, Some(5));
    let read = BatchRecord::decode(&buquet_core::keys::record(waits.id), text(&waits).as_bytes()).unwrap();
    assert_eq!(text(&read), text(&waits));
}
