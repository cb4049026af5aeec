//! Failed tasks: the entry that leads to them, replaying, archiving and purging, on every status there is.

use std::time::Duration;

use buquet_core::broken::Variant;
use buquet_core::keys::FailedEntry;
use buquet_core::record::{
    BatchRecord, Cancel, Changes, EntryState, Extra, Json, Move, Refusal, RetryChanges, TaskStatus, failed_entry_state,
    plan_index, ready_entry_state,
};
use pretty_assertions::assert_eq;

use super::story::*;

/// Of four tasks, 0 and 1 failed at once, 2 still runs, 3 is pending.
fn two_failed() -> BatchRecord {
    let (old, mut new) = (shared_record(), shared_record());
    for n in [0, 1] {
        new.settle(id(&new, n), lease(1), &fail(false, None), at(5), 0.0);
    }
    step(&old, &mut new, at(5), 3);
    new
}

/// All tasks have failed, some at the sixth second.
fn all_failed() -> BatchRecord {
    let (old, mut new) = (two_failed(), two_failed());
    new.claim(lease(3), holder(1, at(300)), at(6), 9);
    new.settle(id(&new, 2), lease(2), &fail(false, None), at(6), 0.0);
    new.settle(id(&new, 3), lease(3), &fail(false, None), at(6), 0.0);
    step(&old, &mut new, at(6), 4);
    assert_eq!(statuses(&new), [TaskStatus::Failed; 4]);
    new
}

fn failed_key(record: &BatchRecord) -> String {
    record.failed_entry().unwrap().to_string()
}

fn replay_all(record: &mut BatchRecord) -> usize {
    record.move_failed(Move::Replay(&Changes::default()), at(9), |_| true)
}

#[test]
fn the_entry_of_failed_tasks_goes_ahead_of_the_commit_that_fails_them() {
    let (old, new) = (shared_record(), two_failed());
    let mut again = new.clone();
    (again.rev, again.failed, again.ready, again.seq) = (old.rev, None, None, old.seq);
    let plan = plan_index(&old, &mut again, at(5), Variant::True);
    assert!(plan.ahead.contains(&failed_key(&new)), "{:?}", plan.ahead);
    let entry = new.failed_entry().unwrap();
    assert_eq!((entry.at, entry.rev, entry.count), (at(5), new.rev, 2));
}

#[test]
fn later_failures_get_a_new_entry_and_leave_the_old_one_behind() {
    let (old, mut new) = (two_failed(), two_failed());
    new.settle(id(&new, 2), lease(2), &fail(false, None), at(70), 0.0);
    let plan = step(&old, &mut new, at(70), 4);
    assert!(plan.ahead.contains(&failed_key(&new)) && plan.behind.contains(&failed_key(&old)));
    assert_eq!((new.failed_entry().unwrap().count, new.check()), (3, Ok(())));
}

#[test]
fn commits_that_fail_nothing_keep_the_entry_and_write_none() {
    let (old, mut new) = (two_failed(), two_failed());
    new.claim(lease(3), holder(1, at(300)), at(6), 9);
    let plan = step(&old, &mut new, at(6), 4);
    assert_eq!(failed_key(&new), failed_key(&old));
    assert!(plan.ahead.iter().chain(&plan.behind).all(|key| FailedEntry::parse(key).is_none()));
    let old = new.clone();
    new.settle(id(&new, 2), lease(2), &complete(), at(7), 0.0);
    assert_eq!(step(&old, &mut new, at(7), 5).ahead, [""; 0], "a completion costs nothing more");
}

#[test]
fn the_entry_goes_when_none_is_failed_any_more() {
    for action in [Move::Replay(&Changes::default()), Move::Archive] {
        let (old, mut new) = (all_failed(), all_failed());
        assert_eq!(new.move_failed(action, at(9), |task| task.n > 0), 3);
        let plan = step(&old, &mut new, at(9), 5);
        assert!(!plan.behind.contains(&failed_key(&old)), "one is failed still");
        let old = new.clone();
        assert_eq!(new.move_failed(action, at(9), |_| true), 1);
        let plan = step(&old, &mut new, at(9), 6);
        assert!(plan.behind.contains(&failed_key(&old)), "{:?}", plan.behind);
        assert_eq!((new.failed_entry(), new.check()), (None, Ok(())));
    }
}

#[test]
fn an_entry_of_failed_tasks_is_current_stale_or_ahead_by_its_revision() {
    let record = two_failed();
    let current = record.failed_entry().unwrap();
    let table = [
        (current, EntryState::Current),
        (FailedEntry { rev: current.rev - 1, ..current }, EntryState::Stale),
        (FailedEntry { count: 1, ..current }, EntryState::Stale),
        (FailedEntry { at: at(6), ..current }, EntryState::Stale),
        (FailedEntry { rev: current.rev + 1, ..current }, EntryState::Ahead),
    ];
    for (entry, expected) in table {
        assert_eq!(failed_entry_state(&entry, &record), expected, "{entry}");
    }
}

#[test]
fn only_failed_tasks_are_replayed_and_only_finished_ones_archived() {
    for status in TaskStatus::ALL {
        let mut record = all_failed();
        record.tasks[0].status = status;
        let before = text(&record);
        let replayed = record.clone().move_task(0, Move::Replay(&Changes::default()), at(9));
        let archived = record.clone().move_task(0, Move::Archive, at(9));
        let refused = Err(Refusal::Status(status));
        assert_eq!(replayed, if status == TaskStatus::Failed { Ok(()) } else { refused }, "{status:?}");
        let archivable = status.is_terminal() && status != TaskStatus::Archived;
        assert_eq!(archived, if archivable { Ok(()) } else { refused }, "{status:?}");
        let words = Refusal::Status(status).explain("T", "replayed");
        assert!(words.contains("task T cannot be replayed: it is"), "{words}");
        if replayed.is_err() {
            assert_eq!(record.move_task(0, Move::Replay(&Changes::default()), at(9)), refused);
            assert_eq!(text(&record), before, "a refusal changes nothing");
        }
    }
    assert_eq!(all_failed().move_task(4, Move::Archive, at(9)), Err(Refusal::Missing));
}

#[test]
fn two_replays_are_one() {
    let mut record = all_failed();
    assert_eq!((replay_all(&mut record), replay_all(&mut record)), (4, 0));
}

#[test]
fn a_replayed_task_is_like_new_and_remembers_its_error_and_its_attempts() {
    let mut record = all_failed();
    (record.tasks[0].retry_count, record.tasks[0].loss_count) = (2, 3);
    let delay = Changes { delay: Some(Duration::from_mins(1)), ..Changes::default() };
    record.move_task(0, Move::Replay(&delay), at(9)).unwrap();
    let task = &record.tasks[0];
    assert_eq!((task.status, task.retry_count, task.loss_count, task.attempt), (TaskStatus::Pending, 0, 0, 1));
    assert_eq!((task.available_at, task.completed_at, task.lease), (at(69), None, None));
    assert_eq!(task.error.as_ref().unwrap().kind, "E");
    assert!(task.options.is_none(), "nothing was changed");
}

#[test]
fn a_replayed_task_is_neither_called_off_nor_ever_too_late() {
    let mut record = all_failed();
    let wish = Cancel { at: at(7), by: None, reason: None, extra: Extra::new() };
    (record.tasks[0].expires_at, record.tasks[0].cancel) = (Some(at(8)), Some(Box::new(wish)));
    record.move_task(0, Move::Replay(&Changes::default()), at(9)).unwrap();
    assert_eq!((record.tasks[0].expires_at, record.tasks[0].cancel.is_none()), (None, true));
}

#[test]
fn the_committed_replay_has_a_ready_entry_with_a_new_number() {
    let (old, mut new) = (all_failed(), all_failed());
    replay_all(&mut new);
    let plan = step(&old, &mut new, at(9), 5);
    let entry = new.ready_entry().unwrap();
    assert_eq!((plan.ahead, entry.seq, entry.pending), (vec![entry.to_string()], old.seq + 1, 4));
    assert_eq!(ready_entry_state(&entry, &old), EntryState::Ahead);
}

#[test]
fn changed_options_are_the_replayed_tasks_own() {
    let (old, mut new) = (all_failed(), all_failed());
    let retry = RetryChanges { max_retries: Some(9), ..RetryChanges::default() };
    let changes = Changes { timeout_ms: Some(900_000), priority: Some(8), retry, ..Changes::default() };
    changes.check().unwrap();
    new.move_task(1, Move::Replay(&changes), at(9)).unwrap();
    step(&old, &mut new, at(9), 5);
    let options = new.options_of(&new.tasks[1]);
    assert_eq!((options.timeout_ms, options.priority, options.retry.max_retries), (900_000, 8, 9));
    assert_eq!(options.retry.initial_ms, old.options.retry.initial_ms, "what was not given stays");
    assert_eq!(text(&new).matches("900000").count(), 1, "the others keep theirs");
    assert_eq!((new.ready_entry().unwrap().priority, new.longest_timeout().as_secs()), (8, 900));

    let key = buquet_core::keys::record(new.id);
    assert_eq!(text(&BatchRecord::decode(&key, text(&new).as_bytes()).unwrap()), text(&new));
    for _ in 0..9 {
        new.claim(lease(9), holder(1, at(2_000)), at(500), 1);
        new.settle(id(&new, 1), lease(9), &fail(true, Some(at(10))), at(501), 0.0);
        assert_eq!(new.tasks[1].status, TaskStatus::Pending, "its own retries count");
    }
    new.claim(lease(9), holder(1, at(2_000)), at(500), 1);
    new.settle(id(&new, 1), lease(9), &fail(true, None), at(501), 0.0);
    assert!(new.tasks[1].is_failed());
}

#[test]
fn the_entry_has_the_highest_priority_of_the_pending_tasks() {
    let (mut old, mut new) = (all_failed(), all_failed());
    for (n, priority, expected) in [(0, Some(2), 2), (1, None, 5), (2, Some(7), 7), (3, Some(6), 7)] {
        new.move_task(n, Move::Replay(&Changes { priority, ..Changes::default() }), at(9)).unwrap();
        step(&old, &mut new, at(9), 5);
        assert_eq!(new.ready_entry().unwrap().priority, expected, "after {priority:?}");
        assert_eq!(new.check(), Ok(()));
        old = new.clone();
    }
}

#[test]
fn options_that_no_task_can_have_are_refused() {
    let retry = |retry| Changes { retry, ..Changes::default() };
    for bad in [
        Changes { timeout_ms: Some(0), ..Changes::default() },
        Changes { timeout_ms: Some(u64::MAX), ..Changes::default() },
        Changes { priority: Some(10), ..Changes::default() },
        Changes { delay: Some(Duration::MAX), ..Changes::default() },
        Changes { delay: Some(Duration::ZERO), not_before: Some(START), ..Changes::default() },
        retry(RetryChanges { max_retries: Some(u32::MAX), ..RetryChanges::default() }),
        retry(RetryChanges { multiplier: Some(0.5), ..RetryChanges::default() }),
        retry(RetryChanges { jitter: Some(f64::NAN), ..RetryChanges::default() }),
    ] {
        assert!(bad.check().is_err(), "{bad:?}");
    }
}

#[test]
fn a_record_with_options_out_of_range_on_a_task_is_corrupt() {
    let mut record = all_failed();
    record.move_task(0, Move::Replay(&Changes { priority: Some(10), ..Changes::default() }), at(9)).unwrap();
    step(&all_failed(), &mut record, at(9), 5);
    let key = buquet_core::keys::record(record.id);
    assert!(BatchRecord::decode(&key, text(&record).as_bytes()).is_err());
}

#[test]
fn an_archived_task_still_says_how_it_had_ended() {
    use TaskStatus::{Cancelled, Completed, Expired, Failed};
    for status in [Completed, Failed, Cancelled, Expired] {
        let mut record = all_failed();
        // With no input and no output, and after its time: nothing but the status tells what it came to.
        let task = &mut record.tasks[0];
        (task.status, task.input, task.error) = (status, Json::null(), None);
        (task.expires_at, task.completed_at) = (Some(at(1)), Some(at(5)));
        assert_eq!(task.outcome_before_archive(), None);
        record.move_task(0, Move::Archive, at(9)).unwrap();
        assert_eq!(record.tasks[0].outcome_before_archive(), Some(status));
        record.purge(at(10), |_| true);
        assert_eq!((record.tasks[0].outcome_before_archive(), record.tasks[0].archived_from), (None, None));
    }
}

#[test]
fn of_a_task_archived_without_its_outcome_that_is_told_from_what_it_holds() {
    let mut record = all_failed();
    record.move_task(0, Move::Archive, at(9)).unwrap();
    let task = &mut record.tasks[0];
    task.archived_from = None;
    assert_eq!(task.outcome_before_archive(), Some(TaskStatus::Failed));
    task.error = None;
    assert_eq!(task.outcome_before_archive(), Some(TaskStatus::Completed), "with null");
    task.output = Some(Json::null());
    assert_eq!(task.outcome_before_archive(), Some(TaskStatus::Completed));
    (task.output, task.attempt) = (None, 0);
    assert_eq!(task.outcome_before_archive(), Some(TaskStatus::Expired));
}

#[test]
fn a_purge_empties_what_it_picks_and_nothing_moves_it_again() {
    let mut record = two_failed();
    record.tasks[0].tags = vec!["secret".into()];
    record.tasks[0].metadata.insert("customer".into(), "Ada".into());
    assert_eq!(record.purge(at(9), |_| true), 2, "what is running or pending is not purged");
    let task = &record.tasks[0];
    assert_eq!((task.status, task.input.text(), task.purged_at), (TaskStatus::Archived, "null", Some(at(9))));
    assert!(task.error.is_none() && task.output.is_none() && task.completed_at.is_some());
    assert!(task.tags.is_empty() && task.metadata.is_empty());
    assert_eq!((record.purge(at(10), |_| true), record.is_purged()), (0, false));
    for action in [Move::Replay(&Changes::default()), Move::Archive] {
        assert_eq!(record.move_task(0, action, at(9)), Err(Refusal::Purged));
    }
}

#[test]
fn a_record_that_is_purged_whole_keeps_the_entry_that_leads_to_it() {
    let (old, mut new) = (all_failed(), all_failed());
    assert_eq!(new.purge(at(9), |_| true), 4);
    let plan = step(&old, &mut new, at(9), 5);
    assert_eq!((plan.ahead, plan.behind), (vec![], vec![]));
    assert!(new.is_purged() && new.is_finished());
    assert_eq!((new.check(), failed_key(&new)), (Ok(()), failed_key(&old)));

    let (old, mut new) = (two_failed(), two_failed());
    new.purge(at(9), |_| true);
    let plan = step(&old, &mut new, at(9), 5);
    assert_eq!((plan.behind, new.failed_entry()), (vec![failed_key(&old)], None), "the others go on");
}

#[test]
fn what_was_failed_by_a_version_without_the_index_stays_valid_and_can_be_replayed() {
    let mut old = all_failed();
    old.failed = None;
    assert_eq!(old.check(), Ok(()));
    let mut new = old.clone();
    assert_eq!(new.move_failed(Move::Archive, at(9), |task| task.n == 0), 1);
    step(&old, &mut new, at(9), 5);
    assert_eq!((new.failed_entry(), replay_all(&mut new)), (None, 3));
}

#[test]
fn a_reference_that_contradicts_its_record_is_noticed() {
    let mut record = two_failed();
    record.failed.as_mut().unwrap().rev += 1;
    assert!(record.check().is_err());
    let mut record = two_failed();
    record.failed.as_mut().unwrap().at.0 = -1;
    assert!(record.check().is_err());
    let mut record = shared_record();
    record.failed.clone_from(&two_failed().failed);
    assert!(record.check().is_err());
}

#[test]
fn the_number_of_an_abandoned_replay_is_passed_over() {
    let (old, mut replayed) = (all_failed(), all_failed());
    replay_all(&mut replayed);
    step(&old, &mut replayed, at(9), 5);
    let abandoned = replayed.ready_entry().unwrap();
    let mut fenced = old.clone();
    assert_eq!(fenced.pass_over(abandoned.seq + 1), None, "no entry can have that number");
    assert_eq!(fenced.pass_over(abandoned.seq), Some(()));
    step(&old, &mut fenced, at(99), 6);
    assert_eq!(ready_entry_state(&abandoned, &fenced), EntryState::Stale);
    assert_eq!((statuses(&fenced), fenced.check()), (statuses(&old), Ok(())));
    assert_eq!(shared_record().pass_over(shared_record().seq + 1), None, "it commits again by itself");
}
