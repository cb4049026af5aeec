//! Cancel, pause, resume, retry, terminate, deadlines, and code that no longer fits.

use super::super::super::samples::{call, cancel, child, signal, step, timer};
use super::*;
use crate::workflow::entry::OnClose;

#[test]
fn a_cancel_is_told_once_also_to_who_sleeps() {
    let mut stage = Stage::new();
    stage.ask(vec![timer(0, 0, 900_000)]);
    stage.wish(WishKind::Cancel);
    stage.reopen(true).at(10).look();
    assert_eq!(stage.news(), ["cancel"]);
    assert!(stage.stored.wishes.cancel.is_some());
    stage.tell(vec![cancel(0, 0), step(0, "tidy_up")]);
    assert!(stage.stored.wishes.is_empty());
    stage.wish(WishKind::Cancel);
    stage.find_wishes();
    assert!(stage.next.told.is_empty() && stage.next.round, "the second is noted, and nothing is told");
    stage.turn(vec![], None);
    assert!(stage.stored.wishes.is_empty());
    stage.complete(Start { op: 3, attempt: 1 });
    stage.look();
    stage.tell_and(vec![], Some(BodyEnd::Cancelled(None)));
    assert_eq!(stage.status(), RunStatus::Cancelled);
}

#[test]
fn a_cancel_reaches_a_step_in_its_back_off_which_then_never_starts() {
    let mut stage = Stage::new();
    let start = stage.ask(vec![step(0, "a")]).start[0];
    let again = Again { retryable: true, at: Some(Millis(3_600_000)) };
    let report = Report::Failed { error: Fault::new("E", String::new()), again };
    stage.driver.report(start.op, start.attempt, report, Millis(0), 0.0).unwrap();
    stage.look();
    stage.turn(vec![], None);
    stage.wish(WishKind::Cancel);
    stage.reopen(true).look();
    let after = stage.tell_and(vec![cancel(0, 0)], Some(BodyEnd::Cancelled(None)));
    assert!(stage.over && after.start.is_empty());
}

#[test]
fn a_cancel_and_a_timer_at_the_same_moment_are_one_completion() {
    let mut stage = Stage::new();
    stage.ask(vec![timer(0, 0, 50_000)]);
    stage.wish(WishKind::Cancel);
    stage.reopen(true).at(50_000).look();
    assert_eq!(stage.news(), ["cancel", "0 timer"]);
    stage.turn(vec![Said::Told(None, None), Said::Cancel(0)], Some(BodyEnd::Cancelled(None)));
    assert_eq!(entries(&stage.stored).len(), 3);
}

#[test]
fn a_cancel_that_meets_the_end_changes_nothing_of_it() {
    let mut stage = Stage::new();
    let start = stage.ask(vec![step(0, "a")]).start[0];
    stage.complete(start);
    stage.look();
    let turn = Turn { entries: stage.delivered(), end: returned("1"), ..Turn::default() };
    let round = stage.driver.advance(turn, Millis(1)).unwrap().unwrap();
    stage.wish(WishKind::Cancel);
    stage.commit(&round);
    assert_eq!(stage.status(), RunStatus::Completed);
    assert!(stage.stored.wishes.is_empty());
    assert_eq!(stage.wish(WishKind::Cancel), Wished::Ended(RunStatus::Completed));
}

#[test]
fn a_wish_that_comes_during_a_commit_stays() {
    let mut stage = Stage::new();
    let turn = Turn { entries: vec![said(step(0, "a"))], ..Turn::default() };
    let round = stage.driver.advance(turn, Millis(1)).unwrap().unwrap();
    stage.wish(WishKind::Pause);
    stage.commit(&round);
    assert!(stage.stored.wishes.pause.is_some());
}

#[test]
fn a_pause_lets_what_runs_end_starts_nothing_new_and_resumes_exactly_there() {
    let mut stage = Stage::new();
    let starts = stage.ask(vec![step(0, "one"), step(0, "two")]).start;
    stage.wish(WishKind::Pause);
    stage.find_wishes();
    stage.complete(starts[0]);
    assert!(stage.look().told.is_empty());
    stage.turn(vec![], None);
    assert_eq!((stage.status(), stage.parked), (RunStatus::Paused, false));
    stage.complete(starts[1]);
    stage.look();
    stage.turn(vec![], None);
    assert!(stage.parked);
    for _ in 0..2 {
        stage.wish(WishKind::Resume);
    }
    stage.reopen(true).look();
    assert_eq!(stage.news(), ["0 completed", "1 completed"]);
    let after = stage.tell(vec![step(0, "three")]);
    assert_eq!((after.start.len(), stage.status()), (1, RunStatus::Running));
}

#[test]
fn while_a_run_is_paused_no_time_comes_and_no_signal_is_taken() {
    let mut stage = Stage::new();
    stage.ask(vec![timer(0, 0, 50_000), signal(0, "go", 0, None)]);
    stage.wish(WishKind::Pause);
    stage.reopen(true).at(60_000);
    assert!(!stage.look().look);
    stage.send(vec![sent("go", 1)]);
    assert!(stage.next.told.is_empty());
    stage.turn(vec![], None);
    assert!(stage.parked && stage.stored.unread);
    stage.wish(WishKind::Resume);
    stage.reopen(true).at(70_000);
    stage.send(vec![sent("go", 1)]);
    assert_eq!(stage.news(), ["0 timer", "1 signal 1"]);
}

#[test]
fn a_cancel_of_a_paused_run_reaches_its_body() {
    let mut stage = Stage::new();
    stage.ask(vec![timer(0, 0, 900_000)]);
    stage.wish(WishKind::Pause);
    stage.reopen(true).look();
    stage.turn(vec![], None);
    assert_eq!(stage.status(), RunStatus::Paused);
    stage.wish(WishKind::Cancel);
    stage.reopen(true).look();
    assert_eq!(stage.news(), ["cancel"]);
    stage.tell_and(vec![], Some(BodyEnd::Cancelled(None)));
    assert_eq!(stage.status(), RunStatus::Cancelled);
}

#[test]
fn a_terminated_run_ends_without_its_body_and_calls_off_what_it_asked_for() {
    let mut stage = Stage::new();
    let after = stage.ask(vec![step(0, "a"), call(0, "ship"), child(0, "pay", OnClose::Cancel)]);
    after.make.iter().for_each(|make| stage.driver.made(make.op, make.id));
    stage.wish(WishKind::Terminate);
    assert!(stage.find_wishes().terminated);
    assert!(stage.driver.advance(Turn { end: returned("1"), ..Turn::default() }, Millis(1)).is_err());
    let round = stage.driver.advance(Turn::default(), Millis(1)).unwrap().unwrap();
    assert_eq!(round.end.as_ref().unwrap().error.as_ref().unwrap().kind, "Terminated");
    let after = stage.commit(&round);
    assert_eq!(stage.status(), RunStatus::Cancelled);
    assert_eq!((after.close.len(), after.stop), (2, vec![0]));
}

#[test]
fn a_deadline_calls_the_run_off_and_a_body_that_gives_way_has_failed() {
    let mut stage = Stage::new();
    stage.stored.deadline = Some(Millis(60_000));
    stage.reopen(false);
    let turn = Turn { entries: vec![said(timer(0, 0, 900_000))], ..Turn::default() };
    let round = stage.driver.advance(turn, Millis(0)).unwrap().unwrap();
    assert_eq!(round.park, Some(Park { until: Some(Millis(60_000)) }), "the deadline wakes it");
    stage.commit(&round);
    stage.reopen(false).at(60_000).look();
    assert_eq!(stage.news(), ["cancel"]);
    let turn = Turn { entries: stage.delivered(), end: Some(BodyEnd::Cancelled(None)), ..Turn::default() };
    let round = stage.driver.advance(turn, Millis(60_000)).unwrap().unwrap();
    assert_eq!(round.end.as_ref().unwrap().error.as_ref().unwrap().kind, "DeadlineExceeded");
    stage.commit(&round);
    assert_eq!(stage.status(), RunStatus::Failed);
    assert_eq!(stage.wish(WishKind::Retry), Wished::Begun);
    stage.reopen(true).look();
    assert!(stage.next.told.is_empty(), "it is not called off again at once");
}

#[test]
fn a_retry_runs_the_failed_step_again_and_nothing_that_was_done() {
    let mut stage = Stage::new();
    let start = stage.ask(vec![step(0, "a")]).start[0];
    stage.complete(start);
    stage.look();
    let start = stage.tell(vec![step(0, "b")]).start[0];
    let report = Report::Failed { error: Fault::new("E", String::new()), again: Again::default() };
    stage.driver.report(start.op, start.attempt, report, Millis(0), 0.0).unwrap();
    stage.look();
    stage.tell_and(vec![], raised());
    assert_eq!(stage.status(), RunStatus::Failed);
    assert_eq!(stage.wish(WishKind::Retry), Wished::Begun);
    assert_eq!(stage.status(), RunStatus::Pending);
    stage.reopen(true);
    assert_eq!(stage.driver.ledger().entries().len(), 3);
    stage.look();
    let start = stage.turn(vec![], None).start;
    assert_eq!(start, [Start { op: 2, attempt: 2 }]);
    assert!(stage.stored.wishes.is_empty() && stage.stored.retries == 1);
    stage.complete(start[0]);
    stage.look();
    stage.tell_and(vec![], returned("1"));
    assert_eq!(stage.status(), RunStatus::Completed);
}

#[test]
fn an_operation_that_takes_an_old_ones_number_after_a_retry_has_an_id_of_its_own() {
    let mut stage = Stage::new();
    let start = stage.ask(vec![step(0, "a")]).start[0];
    let report = Report::Failed { error: Fault::new("E", String::new()), again: Again::default() };
    stage.driver.report(start.op, start.attempt, report, Millis(0), 0.0).unwrap();
    stage.look();
    let first = stage.tell(vec![call(0, "mail")]).make[0];
    let error = Some(Fault { op: Some(0), ..Fault::new("E", String::new()) });
    stage.driver.called(first.op, first.id, End::completed(json("1"), 1)).unwrap();
    stage.look();
    stage.tell_and(vec![], error.map(BodyEnd::Failed));
    stage.wish(WishKind::Retry);
    let start = stage.reopen(true).turn(vec![], None).start[0];
    stage.complete(start);
    stage.look();
    let second = stage.tell(vec![call(0, "mail")]).make[0];
    assert_eq!(first.op, second.op);
    assert_ne!(first.id, second.id);
}

#[test]
fn code_that_no_longer_fits_pauses_the_run_and_never_fails_it() {
    let mut stage = Stage::new();
    stage.ask(vec![timer(0, 0, 50_000)]);
    stage.reopen(false).at(50_000);
    let round = stage.driver.mismatch(mismatch(), Millis(50_000)).unwrap().unwrap();
    stage.commit(&round);
    assert_eq!((stage.status(), stage.parked), (RunStatus::Paused, true));
    assert_eq!(stage.stored.pause.as_ref().unwrap().mismatch, Some(mismatch()));
    stage.wish(WishKind::Resume);
    stage.reopen(true).look();
    assert_eq!(stage.news(), ["0 timer"], "with code that fits it goes on");
}

#[test]
fn a_run_whose_code_does_not_fit_is_not_tried_again_and_again() {
    let mut stage = Stage::new();
    stage.ask(vec![timer(0, 0, 50_000)]);
    stage.wish(WishKind::Cancel);
    stage.reopen(true).look();
    let round = stage.driver.mismatch(mismatch(), Millis(1)).unwrap().unwrap();
    stage.commit(&round);
    assert!(stage.parked && stage.stored.wishes.cancel.is_some(), "the wish waits for code that fits");
    stage.wish(WishKind::Terminate);
    assert!(stage.reopen(true).look().terminated);
}

#[test]
fn a_cancellation_is_told_again_after_going_on_as_new() {
    let mut stage = Stage::new();
    stage.ask(vec![step(0, "a")]);
    stage.wish(WishKind::Cancel);
    stage.find_wishes();
    stage.tell_and(vec![], Some(BodyEnd::Continued(json("1"))));
    assert!(stage.stored.wishes.cancel.is_some());
    stage.ask(vec![step(0, "a")]);
    stage.reopen(false).look();
    assert_eq!(stage.news(), ["cancel"]);
}

#[test]
fn a_run_that_undoes_its_steps_is_compensating_and_ends_as_failed() {
    let mut stage = Stage::new();
    let start = stage.ask(vec![step(0, "a")]).start[0];
    stage.complete(start);
    stage.look();
    let undo = What::Step(StepAsk { compensates: Some(0), ..StepAsk::default() });
    let undo = Entry::Ask(super::super::super::samples::ask(0, "undo_a", 0, undo));
    let start = stage.tell(vec![undo]).start[0];
    assert_eq!(stage.status(), RunStatus::Compensating);
    stage.wish(WishKind::Pause);
    stage.find_wishes();
    stage.turn(vec![], None);
    assert!(stage.status() == RunStatus::Paused && stage.stored.pause.as_ref().unwrap().compensating);
    stage.complete(start);
    stage.look();
    stage.turn(vec![], None);
    stage.wish(WishKind::Resume);
    stage.reopen(true).look();
    let entries = stage.delivered();
    let completed = Turn { entries, end: returned("1"), ..Turn::default() };
    assert!(stage.driver.advance(completed, Millis(1)).unwrap_err().to_string().contains("undid steps"));
    stage.tell_and(vec![], raised());
    assert_eq!(stage.status(), RunStatus::Failed);
    assert!(stage.stored.undone);
}

#[test]
fn a_run_that_has_ended_has_no_driver() {
    let run = Run { status: RunStatus::Completed, ..Run::new("order".into(), None, 1, Millis(0)) };
    let error = Driver::open(run, Vec::new(), code(false)).unwrap_err();
    assert!(error.to_string().contains("nothing to drive"), "{error}");
}
