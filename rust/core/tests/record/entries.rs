//! The index entries around a commit, and what a reader may conclude from one it finds.

use std::time::Duration;

use buquet_core::broken::Variant;
use buquet_core::keys::{LeaseEntry, ReadyEntry};
use buquet_core::limits;
use buquet_core::record::{
    BatchRecord, EntryState, Task, is_overdue, lease_entry_state, plan_index, ready_entry_state,
};
use buquet_core::time::Timestamp;
use pretty_assertions::assert_eq;

use super::story::*;

fn ready(record: &BatchRecord) -> String {
    record.ready_entry().unwrap().to_string()
}

fn lease_key(record: &BatchRecord, number: u64) -> String {
    let held = &record.leases[&lease(number)];
    let minute = held.expires_at.minute();
    LeaseEntry { minute, record: record.id, lease: lease(number), worker: held.worker }.to_string()
}

#[test]
fn a_new_record_gets_its_entry_ahead_and_leaves_nothing_behind() {
    let record = submitted(3);
    let empty = BatchRecord { rev: 0, seq: 0, ready: None, tasks: Vec::new(), ..record.clone() };
    let mut new = BatchRecord { tasks: record.tasks.clone(), ..empty.clone() };
    let plan = plan_index(&empty, &mut new, START, Variant::True);
    assert_eq!((plan.ahead, plan.behind), (vec![ready(&record)], vec![]));
    let entry = record.ready_entry().unwrap();
    assert_eq!((entry.seq, entry.pending, entry.priority, entry.due.0 % 60_000), (1, 3, 5, 0));
}

#[test]
fn claiming_everything_trades_the_ready_entry_for_a_lease_entry() {
    let old = submitted(2);
    let mut new = old.clone();
    new.claim(lease(1), holder(1, at(300)), at(1), 9);
    let plan = step(&old, &mut new, at(1), 2);
    assert_eq!((plan.ahead, plan.behind), (vec![lease_key(&new, 1)], vec![ready(&old)]));
    assert_eq!((new.ready, new.seq), (None, 2));
}

#[test]
fn claiming_some_keeps_the_entry_that_leads_to_the_rest() {
    let old = submitted(2);
    let mut new = old.clone();
    new.claim(lease(1), holder(1, at(300)), at(1), 1);
    let plan = step(&old, &mut new, at(1), 2);
    assert_eq!((plan.ahead, plan.behind), (vec![lease_key(&new, 1)], vec![]));
    assert_eq!((ready(&new), new.seq), (ready(&old), 1));
}

#[test]
fn the_rest_that_is_due_later_gets_an_entry_of_its_own() {
    let tasks = vec![Task::new(0, json("0"), START, None), Task::new(1, json("1"), START, Some(at(600)))];
    let old = created(tasks);
    let mut new = old.clone();
    new.claim(lease(1), holder(1, at(300)), at(1), 9);
    let plan = step(&old, &mut new, at(1), 2);
    assert_eq!((plan.ahead, plan.behind), (vec![ready(&new), lease_key(&new, 1)], vec![ready(&old)]));
    assert_eq!((new.ready_entry().unwrap().due, new.seq), (at(600), 2));
}

#[test]
fn a_retry_that_comes_before_the_rest_gets_a_new_entry() {
    let tasks = vec![Task::new(0, json("0"), START, None), Task::new(1, json("1"), START, Some(at(600)))];
    let mut old = created(tasks);
    old.claim(lease(1), holder(1, at(300)), at(1), 9);
    step(&old.clone(), &mut old, at(1), 2);
    let mut new = old.clone();
    new.settle(id(&new, 0), lease(1), &fail(true, None), at(2), 0.0);
    let plan = step(&old, &mut new, at(2), 3);
    assert_eq!(plan.ahead, [ready(&new)]);
    assert_eq!(plan.behind, [ready(&old), lease_key(&old, 1)]);
    assert_eq!(new.ready_entry().unwrap().due, at(3));
}

#[test]
fn an_extension_needs_a_new_entry_in_another_minute_only() {
    let old = shared_record();
    for (seconds, moves) in [(301, false), (3_000, true)] {
        let mut new = old.clone();
        new.extend(id(&new, 0), lease(1), at(seconds));
        let plan = step(&old, &mut new, at(5), 3);
        let expected = if moves { (vec![lease_key(&new, 1)], vec![lease_key(&old, 1)]) } else { (vec![], vec![]) };
        assert_eq!((plan.ahead, plan.behind), expected, "by {seconds} s");
    }
}

#[test]
fn a_commit_that_changes_nothing_needs_nothing() {
    let old = shared_record();
    let mut new = old.clone();
    let plan = step(&old, &mut new, at(99), 3);
    assert_eq!((plan.ahead, plan.behind, new.rev), (vec![], vec![], old.rev + 1));
}

#[test]
fn a_finished_record_is_beyond_every_entry_written_ahead_of_it() {
    let mut record = submitted(1);
    record.claim(lease(1), holder(1, at(300)), at(1), 9);
    step(&submitted(1), &mut record, at(1), 2);
    let mut retried = record.clone();
    retried.settle(id(&retried, 0), lease(1), &fail(true, None), at(2), 0.0);
    step(&record, &mut retried, at(2), 3);
    let never_committed = retried.ready_entry().unwrap();
    assert_eq!(ready_entry_state(&never_committed, &record), EntryState::Ahead);
    let mut finished = record.clone();
    finished.settle(id(&finished, 0), lease(1), &complete(), at(2), 0.0);
    step(&record, &mut finished, at(2), 4);
    assert!(finished.is_finished());
    assert_eq!(ready_entry_state(&never_committed, &finished), EntryState::Stale);
}

#[test]
fn a_time_before_the_epoch_is_due_and_its_entry_is_known_again() {
    let mut record = created(vec![Task::new(0, json("0"), START, Some(Timestamp(-86_400_000)))]);
    let entry = ReadyEntry::parse(&ready(&record)).unwrap();
    assert_eq!(ready_entry_state(&entry, &record), EntryState::Current);
    assert_eq!(places(&record.claim(lease(1), holder(1, at(300)), START, 1)), [0]);
}

#[test]
fn a_ready_entry_is_current_stale_or_ahead_by_its_number() {
    let mut record = submitted(2);
    (record.seq, record.ready.as_mut().unwrap().seq) = (5, 5);
    let current = record.ready_entry().unwrap();
    let entry = |change: fn(&mut ReadyEntry)| {
        let mut entry = current;
        change(&mut entry);
        entry
    };
    let table = [
        (current, EntryState::Current),
        (entry(|entry| entry.seq = 4), EntryState::Stale),
        (entry(|entry| entry.seq = 0), EntryState::Stale),
        (entry(|entry| entry.seq = 6), EntryState::Ahead),
        (entry(|entry| entry.seq = u64::MAX), EntryState::Ahead),
        (entry(|entry| entry.due.0 += 1), EntryState::Stale),
        (entry(|entry| entry.pending += 1), EntryState::Stale),
        (entry(|entry| entry.priority += 1), EntryState::Stale),
        (entry(|entry| entry.type_hash ^= 1), EntryState::Stale),
    ];
    for (entry, expected) in table {
        assert_eq!(ready_entry_state(&entry, &record), expected, "{entry}");
    }
    record.ready = None;
    assert_eq!(ready_entry_state(&current, &record), EntryState::Stale, "nothing is pending");
    record.seq = 4;
    assert_eq!(ready_entry_state(&current, &record), EntryState::Ahead, "its commit may still come");
}

#[test]
fn a_lease_entry_is_judged_by_its_lease_and_by_which_was_written_first() {
    let record = shared_record();
    let minute = at(300).minute();
    let entry = |number, minute| LeaseEntry { minute, record: record.id, lease: lease(number), worker: worker(1) };
    let margin = Duration::from_secs(2);
    let (before, at_margin, after) = (at(9), at(12), Timestamp(at(12).0 + 1));
    let table = [
        (entry(1, minute), after, EntryState::Current, "its lease is held until then"),
        (entry(1, minute - 1), before, EntryState::Stale, "the lease was extended; its end never moves back"),
        (entry(1, minute + 1), before, EntryState::Ahead, "an extension on its way"),
        (entry(1, minute + 1), after, EntryState::Ahead, "an extension that will be rebased"),
        (entry(9, minute), before, EntryState::Ahead, "a claim that may still land"),
        (entry(9, minute), at_margin, EntryState::Ahead, "which came first cannot be told"),
        (entry(9, minute), after, EntryState::Stale, "the record has changed since"),
    ];
    for (entry, record_written, expected, why) in table {
        assert_eq!(lease_entry_state(&entry, at(10), &record, record_written, margin), expected, "{why}");
    }
}

#[test]
fn an_entry_is_overdue_only_after_the_grace_period() {
    let edge = START.after(limits::GRACE);
    assert!(!is_overdue(START, START) && !is_overdue(START, edge));
    assert!(is_overdue(START, Timestamp(edge.0 + 1)));
    assert!(!is_overdue(at(60), START), "written in the reader's future");
}
