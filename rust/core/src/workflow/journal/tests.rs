use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::entry::{CallAsk, End, Fault, OnClose, StepAsk};
use super::super::samples::{
    arbitrary_entry, ask, call, call_ask, callback, cancel, child, completed, ended, failed, json, received, select,
    signal, step, text, timer, told, told_cancel,
};
use super::*;
use crate::record::Extra;

fn ledger(entries: Vec<Entry>) -> Ledger {
    read(entries).unwrap()
}

fn read(entries: Vec<Entry>) -> Result<Ledger> {
    Ledger::read(entries.into_iter().map(Arc::new).collect(), Millis(0))
}

/// Why `entry` may not follow `before`.
fn refused(before: Vec<Entry>, entry: Entry) -> String {
    let mut ledger = ledger(before);
    let length = ledger.entries().len();
    let message = ledger.push(entry).unwrap_err().to_string();
    assert_eq!(ledger.entries().len(), length, "nothing is appended");
    message
}

#[test]
fn an_operation_is_told_once() {
    let before = || vec![step(1, "a"), completed(2, 0)];
    assert!(refused(before(), completed(3, 0)).contains("entry 1 says how"));
    assert!(refused(before(), failed(3, 0)).contains("has ended"));
}

#[test]
fn only_what_was_asked_for_is_told() {
    assert!(refused(vec![], completed(3, 0)).contains("asks for nothing"));
    assert!(refused(vec![step(1, "a"), completed(2, 0)], completed(3, 1)).contains("asks for nothing"));
    assert!(
        refused(vec![step(1, "a")], told(2, News::Timer { op: 0 })).contains("is a step, and is told of as a timer")
    );
}

#[test]
fn an_operation_that_was_called_off_is_closed_and_a_later_result_is_refused() {
    assert!(refused(vec![step(1, "a"), cancel(2, 0)], completed(3, 0)).contains("entry 1 has called it off"));
    assert!(refused(vec![step(1, "a"), cancel(2, 0)], cancel(3, 0)).contains("entry 1 has called it off"));
    assert!(refused(vec![step(1, "a"), completed(2, 0)], cancel(3, 0)).contains("has ended"));
    assert!(refused(vec![], cancel(3, 0)).contains("asks for nothing"));
}

#[test]
fn the_same_operation_is_asked_for_once_and_another_occurrence_is_another_operation() {
    assert!(refused(vec![step(1, "a")], step(1, "a")).contains("number of its own"));
    let mut ledger = ledger(vec![step(1, "a"), step(1, "b")]);
    let what = || What::Step(StepAsk::default());
    ledger.push(Entry::Ask(ask(1, "a", 1, what()))).unwrap();
    let mut scoped = ask(1, "a", 0, what());
    scoped.place.scope = "0".into();
    ledger.push(Entry::Ask(scoped)).unwrap();
    ledger.push(call(1, "a")).unwrap();
    assert_eq!(ledger.open().iter().copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

#[test]
fn time_never_goes_back() {
    assert!(refused(vec![step(5, "a")], step(4, "b")).contains("time never goes back"));
    assert!(Ledger::read(vec![Arc::new(step(4, "a"))], Millis(5)).is_err(), "nor before the beginning");
    assert!(ledger(vec![step(5, "a"), step(5, "b")]).last() == Millis(5));
}

#[test]
fn the_body_is_told_once_that_its_run_is_called_off() {
    assert!(refused(vec![told_cancel(1)], told_cancel(2)).contains("told already"));
    assert_eq!(ledger(vec![step(1, "a"), told_cancel(2), step(2, "tidy_up")]).cancelled(), Some(1));
}

#[test]
fn nothing_follows_the_end() {
    let mut ledger = ledger(vec![step(1, "a")]);
    ledger.end(RunStatus::Completed);
    let message = ledger.push(completed(2, 0)).unwrap_err().to_string();
    assert!(message.contains("the run is completed: nothing can be appended"), "{message}");
}

#[test]
fn ends_fit_what_was_asked_for() {
    let end = |outcome| End::without(outcome, None, 1);
    let outcome = |kind, outcome| ended(2, kind, 0, end(outcome));
    for (before, entry) in [
        (step(1, "a"), outcome(Kind::Step, Outcome::Timeout)),
        (step(1, "a"), outcome(Kind::Step, Outcome::Skipped)),
        (call(1, "a"), outcome(Kind::Call, Outcome::Skipped)),
        (child(1, "a", OnClose::Cancel), outcome(Kind::Child, Outcome::Timeout)),
        (callback(1, "a", None, None), outcome(Kind::Callback, Outcome::Skipped)),
        (step(1, "a"), outcome(Kind::Step, Outcome::Completed)),
        (step(1, "a"), outcome(Kind::Step, Outcome::Failed)),
        (
            step(1, "a"),
            ended(
                2,
                Kind::Step,
                0,
                End { error: Some(Fault::new("E", String::new())), ..End::completed(json("1"), 1) },
            ),
        ),
        (step(1, "a"), ended(2, Kind::Step, 0, End { outcome: Outcome::Failed, ..End::completed(json("1"), 1) })),
        (signal(1, "s", 0, None), told(2, News::Signal { op: 0, signal: None })),
    ] {
        let shown = text(&entry);
        assert!(read(vec![before, entry]).is_err(), "{shown}");
    }
    let skippable = Entry::Ask(ask(1, "a", 0, What::Step(StepAsk { when: true, ..StepAsk::default() })));
    ledger(vec![skippable, ended(2, Kind::Step, 0, end(Outcome::Skipped))]);
    ledger(vec![signal(1, "s", 0, Some(9)), told(9, News::Signal { op: 0, signal: None })]);
    ledger(vec![callback(1, "c", Some(9), None), ended(9, Kind::Callback, 0, end(Outcome::Timeout))]);
}

#[test]
fn a_select_has_one_winner_which_is_one_of_its_arms() {
    let won = |arm: &str, signal| told(2, News::Select { op: 1, arm: arm.into(), signal });
    let before = || {
        let arms = [("ok", Arm::Signal("s".into())), ("late", Arm::Timer(Millis(9))), ("done", Arm::Op(0))];
        vec![step(1, "a"), select(1, 0, &arms)]
    };
    assert!(refused(before(), won("other", None)).contains("no arm"));
    assert!(refused(before(), won("ok", None)).contains("none is told"));
    assert!(refused(before(), won("late", Some(received(1)))).contains("one is told"));
    assert!(refused(before(), won("done", None)).contains("has not ended"));
    let mut first = ledger(before());
    first.push(won("ok", Some(received(1)))).unwrap();
    assert!(first.push(won("late", None)).unwrap_err().to_string().contains("has ended"));
    let mut second = ledger(before());
    second.push(completed(2, 0)).unwrap();
    second.push(won("done", None)).unwrap();
    assert!(refused(vec![], select(1, 0, &[("x", Arm::Op(7))])).contains("there is none"));
    assert!(refused(vec![], select(1, 0, &[])).contains("0 arms"));
}

#[test]
fn a_compensation_undoes_what_was_completed_and_only_once() {
    let undo = |op, n| {
        let what = What::Step(StepAsk { compensates: Some(op), ..StepAsk::default() });
        Entry::Ask(ask(3, "undo", n, what))
    };
    assert!(refused(vec![step(1, "a")], undo(0, 0)).contains("not completed"));
    assert!(refused(vec![step(1, "a"), failed(2, 0)], undo(0, 0)).contains("not completed"));
    assert!(refused(vec![step(1, "a"), completed(2, 0), undo(0, 0)], undo(0, 1)).contains("being undone already"));
    let call = What::Call(CallAsk { compensates: Some(0), ..call_ask("refund") });
    assert!(ledger(vec![step(1, "a"), completed(2, 0), Entry::Ask(ask(3, "refund", 0, call))]).is_compensating());
}

#[test]
fn names_digests_and_sizes_are_checked() {
    let with = |step: StepAsk| Entry::Ask(ask(1, "a", 0, What::Step(step)));
    let args = |name: &str, digest: &str| StepAsk {
        args: Some(BTreeMap::from([(name.into(), digest.into())])),
        ..StepAsk::default()
    };
    let mut deep = ask(1, "a", 0, What::Step(StepAsk::default()));
    deep.place.scope = "0.".repeat(limits::SCOPE_CHARS);
    let large = json(&format!("\"{}\"", "x".repeat(limits::RESULT_BYTES)));
    let input = CallAsk { input: Some(large.clone()), ..call_ask("ship") };
    for (entry, named) in [
        (step(1, "../a"), "cannot be the name of a step"),
        (signal(1, "a/b", 0, None), "cannot be the name of a signal"),
        (select(1, 0, &[("a/b", Arm::Timer(Millis(5)))]), "cannot be the name of a arm"),
        (child(1, "a b", OnClose::Cancel), "cannot be the name"),
        (with(args("order", "xyz")), "16 lower-case hex digits"),
        (with(StepAsk { timeout_ms: Some(0), ..StepAsk::default() }), "timeout"),
        (callback(1, "c", None, Some(0)), "heartbeat"),
        (Entry::Ask(deep), "scope"),
        (Entry::Ask(ask(1, "ship", 0, What::Call(input))), "steps/"),
    ] {
        let message = refused(vec![], entry);
        assert!(message.contains(named), "{named}: {message}");
    }
    let message = refused(vec![step(1, "a")], ended(2, Kind::Step, 0, End::completed(large, 1)));
    assert!(message.contains("16384"), "{message}");
}

#[test]
fn a_journal_that_was_altered_is_corrupt_and_says_where() {
    let error = read(vec![step(1, "a"), completed(2, 0), completed(2, 0)]).unwrap_err();
    assert!(matches!(error, Error::Corrupt(_)) && error.to_string().contains("entry 2"), "{error}");
    let newer = vec![step(1, "a"), Entry::Unknown(Extra::new())];
    let error = read(newer).unwrap_err();
    assert!(matches!(error, Error::Layout(_)) && error.to_string().contains("upgrade buquet"), "{error}");
}

#[test]
fn operations_are_numbered_by_their_places() {
    let ledger = ledger(vec![step(1, "a"), timer(1, 0, 9), completed(2, 0), step(2, "b")]);
    assert_eq!(ledger.ask(3).unwrap().place.name, "b");
    assert!(ledger.ask(2).is_none() && ledger.told(1).is_none());
    assert_eq!(ledger.closed(0), Some(Closed::Told(2)));
    assert_eq!(ledger.next_op(), 4);
}

#[test]
fn an_error_is_cut_and_its_causes_are_few() {
    let mut fault = Fault::new("ValueError", "m".repeat(100_000));
    for n in 0..50 {
        let traceback = Some("é".repeat(100_000));
        fault = Fault { traceback, cause: Some(Box::new(fault)), ..Fault::new(&n.to_string(), "x".repeat(50_000)) };
    }
    let cut = fault.cut();
    assert!(serde_json::to_vec(&cut).unwrap().len() <= limits::ERROR_BYTES + 2_048);
    assert_eq!((cut.kind.as_str(), cut.cause.as_ref().unwrap().kind.as_str()), ("49", "48"));
    let small = Fault { cause: Some(Box::new(Fault::new("A", "b".into()))), ..Fault::new("C", "d".into()) };
    assert_eq!(text(&small.clone().cut()), text(&small));
}

proptest! {
    /// Whatever entries come, those that are taken could have been read back, and no operation ends twice.
    #[test]
    fn what_is_taken_is_legal_for_the_next_reader(entries in prop::collection::vec(arbitrary_entry(), 0..40)) {
        let mut ledger = Ledger::default();
        for mut entry in entries {
            // Mostly about something that is there.
            let about = ledger.next_op() / 2;
            match &mut entry {
                Entry::Cancel(cancel) => cancel.op = about,
                Entry::Told(Told { news: News::Ended { op, .. } | News::Timer { op } | News::Signal { op, .. }, .. }) => *op = about,
                Entry::Ask(_) | Entry::Told(_) | Entry::Unknown(_) => {}
            }
            let _ = ledger.push(entry);
        }
        let again = Ledger::read(ledger.entries().to_vec(), Millis(0)).unwrap();
        prop_assert_eq!(again.open(), ledger.open());
        let asked = (0..).zip(ledger.entries()).filter(|(_, entry)| matches!(&***entry, Entry::Ask(_)));
        for (op, _) in asked {
            prop_assert_eq!(ledger.closed(op).is_some(), !ledger.open().contains(&op));
        }
        // What is taken back leaves no trace.
        let half = ledger.entries().len() / 2;
        let before = Ledger::read(ledger.entries()[..half].to_vec(), Millis(0)).unwrap();
        ledger.truncate(half);
        prop_assert_eq!(format!("{ledger:?}"), format!("{before:?}"));
    }
}
