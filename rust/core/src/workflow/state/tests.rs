use super::super::entry::{Arm, End, Fault, OnClose, StepAsk};
use super::super::samples::{
    ask, call, callback, cancel, child, completed, ended, failed, json, received, select, signal, step, text, timer,
    told, told_cancel,
};
use super::super::wishes::Pause;
use super::super::wishes::PauseCause;
use super::*;
use crate::id::RecordId;

fn driver() -> TaskId {
    RecordId::derived(&["run", "order-17"]).task(0)
}

fn run(status: RunStatus) -> Run {
    Run { status, ..Run::new("order".into(), None, 1, Millis(0)) }
}

fn wish(at: i64) -> Wish {
    Wish { at: Millis(at), by: Some("ann".into()), ..Wish::default() }
}

/// An ended run with this journal.
fn over(status: RunStatus, entries: Vec<Entry>) -> (Run, Ledger) {
    let entries: Vec<Arc<Entry>> = entries.into_iter().map(Arc::new).collect();
    let mut run = run(status);
    run.journal.entries.clone_from(&entries);
    let ledger = Ledger::read(entries, Millis(0)).unwrap();
    run.open = ledger.open().iter().map(|op| (*op, Open::default())).collect();
    (run, ledger)
}

#[test]
fn what_a_wish_comes_to_follows_from_the_status() {
    use RunStatus::{Cancelled, Completed, Failed, Paused};
    use WishKind::{Cancel, Pause, Resume, Retry, Terminate};
    for status in RunStatus::ALL {
        for kind in WishKind::ALL {
            let mut run = run(status);
            let expected = match (status, kind) {
                (Completed, Retry) => None,
                (Failed | Cancelled, Retry) | (Cancelled, Resume) => Some(Wished::Begun),
                (Completed | Failed | Cancelled, _) => Some(Wished::Ended(status)),
                (Paused, Resume | Retry) | (_, Cancel | Terminate) => Some(Wished::Noted),
                (Paused, Pause) | (_, Resume | Retry) => Some(Wished::Same),
                (_, Pause) => Some(Wished::Noted),
            };
            assert_eq!(run.wish(kind, wish(1)).ok(), expected, "{kind:?} of a run that is {status:?}");
            let begun = expected == Some(Wished::Begun);
            assert_eq!(run.status, if begun { RunStatus::Pending } else { status });
            let noted = begun || expected == Some(Wished::Noted);
            assert_eq!(run.wishes.is_empty(), !noted, "{kind:?} of a run that is {status:?}");
        }
    }
}

#[test]
fn the_same_wish_twice_is_one_and_the_first_stays() {
    let mut run = run(RunStatus::Running);
    for kind in [WishKind::Cancel, WishKind::Pause, WishKind::Terminate] {
        assert_eq!(run.wish(kind, wish(1)).unwrap(), Wished::Noted);
        assert_eq!(run.wish(kind, wish(2)).unwrap(), Wished::Same);
        assert_eq!(run.wishes.place(kind).as_ref().unwrap().at, Millis(1));
    }
}

#[test]
fn pause_and_resume_take_each_other_back() {
    let mut running = run(RunStatus::Running);
    running.wish(WishKind::Pause, wish(1)).unwrap();
    assert_eq!(running.wish(WishKind::Resume, wish(2)).unwrap(), Wished::Noted);
    assert!(running.wishes.is_empty(), "it was never paused");
    let mut paused = run(RunStatus::Paused);
    paused.wish(WishKind::Resume, wish(1)).unwrap();
    assert_eq!(paused.wish(WishKind::Pause, wish(2)).unwrap(), Wished::Noted);
    assert!(paused.wishes.is_empty(), "it stays paused");
}

#[test]
fn what_is_completed_or_undone_cannot_be_retried_and_the_error_says_why() {
    let message = run(RunStatus::Completed).wish(WishKind::Retry, wish(1)).unwrap_err().to_string();
    assert!(message.contains("completed"), "{message}");
    let mut undone = Run { undone: true, ..run(RunStatus::Failed) };
    let message = undone.wish(WishKind::Retry, wish(1)).unwrap_err().to_string();
    assert!(message.contains("undone its steps"), "{message}");
    assert!(undone.wishes.is_empty());
}

#[test]
fn a_run_is_terminated_without_its_body_from_every_status_that_is_no_end() {
    for status in RunStatus::ALL {
        let mut run = run(status);
        let wished = run.terminate().unwrap();
        let expected = if status.is_ended() { Wished::Ended(status) } else { Wished::Noted };
        assert_eq!(wished, expected);
        assert_eq!(run.status, if status.is_ended() { status } else { RunStatus::Cancelled });
    }
}

#[test]
fn only_moves_of_the_table_are_made() {
    for from in RunStatus::ALL {
        for to in RunStatus::ALL {
            let mut run = run(from);
            assert_eq!(run.become_status(to).is_ok(), from == to || from.may_become(to), "{from:?} -> {to:?}");
        }
    }
}

#[test]
fn a_retry_goes_on_from_the_step_that_failed_with_all_of_its_attempts() {
    let (mut run, ledger) = over(RunStatus::Failed, vec![step(1, "a"), completed(2, 0), step(2, "b"), failed(3, 2)]);
    run.failed_op = failed_op(&ledger, &Fault::new("ValueError", "no".into()));
    let (ledger, dropped) = begin_again(&mut run, &ledger, driver()).unwrap();
    assert_eq!((ledger.entries().len(), run.journal.len(), dropped.len()), (3, 3, 0));
    assert_eq!(run.retries, 1);
    assert_eq!((run.open[&2].attempt, run.open[&2].failures), (1, 0));
}

#[test]
fn what_others_brought_after_the_failure_is_kept_to_be_told_again() {
    let entries = vec![step(1, "a"), step(1, "b"), failed(2, 0), step(2, "tidy_up"), completed(3, 1), completed(4, 3)];
    let (mut run, ledger) = over(RunStatus::Failed, entries);
    run.failed_op = failed_op(&ledger, &Fault { op: Some(0), ..Fault::new("ValueError", "no".into()) });
    let (ledger, _) = begin_again(&mut run, &ledger, driver()).unwrap();
    assert_eq!(ledger.entries().len(), 2);
    assert_eq!(run.open.keys().copied().collect::<Vec<_>>(), [0, 1], "nothing of the tidying up is left");
    assert_eq!(run.open[&1].result.as_ref().unwrap().at, Millis(3), "b does not run again");
    assert!(run.open[&0].result.is_none());
}

#[test]
fn a_failure_that_the_body_caught_is_not_what_ended_it() {
    let entries = vec![step(1, "a"), failed(2, 0), step(2, "fallback"), completed(3, 2)];
    let (mut run, ledger) = over(RunStatus::Failed, entries);
    run.failed_op = failed_op(&ledger, &Fault::new("TypeError", "a defect of the body".into()));
    let (ledger, _) = begin_again(&mut run, &ledger, driver()).unwrap();
    assert_eq!(ledger.entries().len(), 4, "it is replayed as it was, with other code");
}

#[test]
fn a_run_that_was_called_off_goes_on_where_it_was_and_waits_for_its_child_again() {
    let entries = vec![child(1, "pay", OnClose::Cancel), step(1, "a"), told_cancel(2), cancel(2, 0), cancel(2, 1)];
    let (mut run, ledger) = over(RunStatus::Cancelled, entries);
    run.open.insert(0, Open { made: true, closing: true, informed: true, ..Open::default() });
    let (ledger, _) = begin_again(&mut run, &ledger, driver()).unwrap();
    assert_eq!(ledger.entries().len(), 2);
    assert!(ledger.cancelled().is_none() && ledger.open().len() == 2);
    assert!(run.open[&0].revive && !run.open[&0].made && run.open[&0].result.is_none());
    assert!(!run.open[&1].started);
}

#[test]
fn a_run_whose_time_was_up_has_no_deadline_when_it_is_retried() {
    let by = |by: &str| told(2, News::Cancel { reason: None, by: Some(by.into()) });
    for (by, kept) in [(by(DEADLINE), false), (by("ann"), true)] {
        let (mut run, ledger) = over(RunStatus::Failed, vec![step(1, "a"), by]);
        run.deadline = Some(Millis(2));
        begin_again(&mut run, &ledger, driver()).unwrap();
        assert_eq!(run.deadline.is_some(), kept);
    }
}

#[test]
fn a_call_that_was_called_off_is_made_anew_under_another_id() {
    let entries = vec![call(1, "ship"), told_cancel(2), cancel(2, 0)];
    let (mut run, ledger) = over(RunStatus::Cancelled, entries);
    run.open.insert(0, Open { made: true, closing: true, ..Open::default() });
    begin_again(&mut run, &ledger, driver()).unwrap();
    let origin = Origin { run: driver(), generation: 1, execution: 0, retries: 1 };
    assert_eq!(run.open[&0].task, Some(origin.call(0)));
    assert!(!run.open[&0].made && !run.open[&0].closing);
}

#[test]
fn a_signal_whose_consumption_is_taken_back_is_there_again() {
    let took = |op, at| told(at, News::Signal { op, signal: Some(received(at)) });
    let arms = [("ok", Arm::Signal("go".into())), ("late", Arm::Timer(Millis(99)))];
    let won = told(6, News::Select { op: 6, arm: "ok".into(), signal: Some(received(6)) });
    let entries = vec![
        signal(1, "go", 0, None),
        step(1, "a"),
        took(0, 2),
        failed(3, 1),
        signal(3, "go", 1, None),
        took(4, 5),
        select(5, 0, &arms),
        won,
    ];
    let (mut run, ledger) = over(RunStatus::Failed, entries);
    run.failed_op = Some(1);
    begin_again(&mut run, &ledger, driver()).unwrap();
    let returned: Vec<(&str, i64)> = run.returned.iter().map(|one| (one.name.as_str(), one.sent_at.0)).collect();
    assert_eq!(returned, [("go", 5), ("go", 6)], "the first stays consumed");
}

#[test]
fn waits_that_are_open_again_have_their_times_again() {
    let entries = vec![timer(1, 0, 50), step(1, "a"), failed(2, 1), cancel(2, 0)];
    let (mut run, ledger) = over(RunStatus::Failed, entries);
    run.failed_op = Some(1);
    begin_again(&mut run, &ledger, driver()).unwrap();
    assert_eq!(run.open[&0].due, Some(Millis(50)));
}

#[test]
fn steps_that_the_end_did_not_wait_for_start_again_and_nothing_is_counted() {
    let (mut run, ledger) = over(RunStatus::Failed, vec![step(1, "a"), step(1, "slow"), failed(2, 0)]);
    run.open.insert(1, Open { attempt: 1, started: true, ..Open::default() });
    begin_again(&mut run, &ledger, driver()).unwrap();
    let open = &run.open[&1];
    assert_eq!((open.started, open.released, open.interruptions), (false, 1, 0));
}

#[test]
fn a_retry_reaches_into_chunks() {
    let mut entries = vec![step(1, "a"), failed(2, 0)];
    entries.extend((0..400).map(|n| Entry::Ask(ask(2, "more", n, What::Step(StepAsk::default())))));
    let (mut run, ledger) = over(RunStatus::Failed, entries);
    run.failed_op = Some(0);
    chunks::move_out(&mut run.journal, "x").unwrap();
    assert!(!run.journal.chunks.is_empty());
    let (ledger, dropped) = begin_again(&mut run, &ledger, driver()).unwrap();
    assert_eq!((ledger.entries().len(), run.journal.entries.len(), dropped.len()), (1, 1, 1));
}

#[test]
fn a_timeout_of_a_callback_is_a_failure_to_go_on_from() {
    let end = End::without(Outcome::Timeout, Some(Fault::new("CallbackTimeout", String::new())), 0);
    let entries = vec![callback(1, "paid", Some(9), Some(3)), ended(9, Kind::Callback, 0, end)];
    let (mut run, ledger) = over(RunStatus::Failed, entries);
    run.failed_op = failed_op(&ledger, &Fault::new("CallbackTimeout", String::new()));
    let (ledger, _) = begin_again(&mut run, &ledger, driver()).unwrap();
    assert_eq!(ledger.open().len(), 1);
    assert_eq!(run.open[&0].due, Some(Millis(4)));
}

#[test]
fn pauses_and_ends_are_forgotten_by_a_retry() {
    let (mut run, ledger) = over(RunStatus::Cancelled, vec![step(1, "a")]);
    run.pause = Some(Pause {
        at: Millis(1),
        cause: PauseCause::Wish,
        op: None,
        mismatch: Some(json("1")),
        by: None,
        reason: None,
        compensating: false,
        extra: Extra::new(),
    });
    begin_again(&mut run, &ledger, driver()).unwrap();
    assert!(run.pause.is_none() && run.ending.is_none() && text(&run.open[&0]) == "{}");
}
