//! What the failure of a step does, cancellation, and undoing.

use super::*;

fn with(on_failure: StepFailure) -> Vec<Step> {
    let b = Step { on_failure, ..step("b", &["a"]) };
    vec![undoable(step("a", &[])), b, undoable(step("c", &["a"])), step("d", &["b"]), step("e", &["c"])]
}

fn error(play: &Play) -> Fault {
    match &play.end {
        Some(GraphEnd::Failed(fault)) => fault.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_failure_ends_the_run_at_once_and_every_step_is_accounted_for() {
    use StepStatus::{Cancelled, Completed, Failed};
    let mut play = Play::new(graph(with(StepFailure::Fail)));
    play.completes("a");
    let b = play.op("b");
    play.fails("b");
    assert!(play.open().is_empty(), "c is called off");
    let fault = error(&play);
    assert!(fault.message.contains("step \"b\" failed: ValueError: no"), "{}", fault.message);
    assert_eq!((fault.op, fault.cause.unwrap().kind.as_str()), (Some(b), "ValueError"));
    assert_eq!(play.body.statuses(), [Completed, Failed, Cancelled, Cancelled, Cancelled]);
    play.replayed();
}

#[test]
fn a_failure_that_lets_the_run_go_on_skips_what_needs_it_and_the_run_completes() {
    use StepStatus::{Completed, Failed, Skipped};
    let mut play = Play::new(graph(with(StepFailure::Continue)));
    play.completes("a").fails("b").completes("c").completes("e");
    assert!(matches!(play.end, Some(GraphEnd::Completed(_))));
    assert_eq!(play.body.statuses(), [Completed, Failed, Completed, Skipped, Completed]);
    play.replayed();
}

#[test]
fn a_failure_handler_runs_after_a_failure_and_is_skipped_without_one() {
    let steps = || {
        let a = Step { on_failure: StepFailure::Continue, ..step("a", &[]) };
        let handler = Step { join: Join::Failure, ..step("handler", &["a"]) };
        let last = Step { join: Join::Finished, ..step("last", &["a", "handler"]) };
        graph(vec![a, handler, last])
    };
    let mut play = Play::new(steps());
    assert_eq!(play.completes("a").names(), ["last"], "the handler does not hang the run");
    play.completes("last");
    assert_eq!(play.status("handler"), StepStatus::Skipped);
    let mut play = Play::new(steps());
    assert_eq!(play.fails("a").names(), ["handler"]);
    let sources = play.body.bindings(play.op("handler"));
    assert_eq!(sources["a"], Source::Missing { step: "a".into(), status: StepStatus::Failed, op: Some(0) });
    play.completes("handler").completes("last");
    assert!(matches!(play.end, Some(GraphEnd::Completed(_))));
}

#[test]
fn what_was_completed_is_undone_in_the_reverse_order_of_completion() {
    let steps = vec![
        undoable(step("a", &[])),
        undoable(step("b", &[])),
        undoable(step("c", &[])),
        step("plain", &[]),
        Step { on_failure: StepFailure::Compensate, ..step("last", &["a", "b", "c", "plain"]) },
    ];
    let mut play = Play::new(graph(steps));
    play.completes("b").completes("c").completes("plain").completes("a").fails("last");
    for undone in ["undo a", "undo c", "undo b"] {
        assert!(play.end.is_none());
        assert_eq!(play.names(), [undone], "one after the other");
        let op = play.op(undone);
        assert!(matches!(play.body.bindings(op).get("result"), Some(Source::Result(_))));
        assert!(play.ledger.ask(op).unwrap().what.compensates().is_some());
        play.completes(undone);
    }
    assert!(error(&play).message.contains("\"last\""));
    play.replayed();
}

#[test]
fn an_undo_that_fails_does_not_keep_the_rest() {
    let last = Step { on_failure: StepFailure::Compensate, ..step("last", &["a", "b"]) };
    let mut play = Play::new(graph(vec![undoable(step("a", &[])), undoable(step("b", &[])), last]));
    play.completes("a").completes("b").fails("last").fails("undo b");
    assert_eq!(play.names(), ["undo a"]);
    play.completes("undo a");
    assert!(error(&play).message.contains("\"last\""), "the error is that of the step");
    play.replayed();
}

#[test]
fn a_cancellation_stops_what_runs_and_undoes_if_that_was_asked_for() {
    let cancelled = |on_cancel| {
        let mut play = Play::new(Graph { on_cancel, ..graph(vec![undoable(step("a", &[])), step("b", &["a"])]) });
        play.completes("a");
        play.tell(News::Cancel { reason: None, by: None });
        play
    };
    let play = cancelled(OnCancel::Stop);
    assert!(play.open().is_empty() && matches!(play.end, Some(GraphEnd::Cancelled)));
    assert_eq!(play.status("b"), StepStatus::Cancelled);
    let mut play = cancelled(OnCancel::Compensate);
    assert_eq!(play.names(), ["undo a"]);
    play.fails("undo a");
    assert!(matches!(play.end, Some(GraphEnd::Cancelled)), "both attempted, state cancelled");
    play.replayed();
}

#[test]
fn a_cancellation_during_undoing_changes_nothing_of_it() {
    let last = Step { on_failure: StepFailure::Compensate, ..step("last", &["a"]) };
    let mut play = Play::new(graph(vec![undoable(step("a", &[])), last]));
    play.completes("a").fails("last");
    play.tell(News::Cancel { reason: None, by: None });
    assert_eq!(play.names(), ["undo a"]);
    play.completes("undo a");
    error(&play);
}

#[test]
fn a_step_that_pauses_leaves_that_to_the_driver() {
    let play = Play::new(graph(vec![Step { on_failure: StepFailure::Pause, ..step("a", &[]) }]));
    let What::Step(asked) = &play.ledger.ask(0).unwrap().what else { panic!() };
    assert!(asked.on_failure.is_some());
}

#[test]
fn steps_that_end_at_the_same_moment_are_each_handled_once() {
    let mut play = Play::new(graph(vec![step("a", &[]), step("b", &[]), step("c", &["a", "b"])]));
    play.completes("a").completes("b");
    assert_eq!(play.names(), ["c"]);
    assert_eq!(play.ledger.entries().len(), 5);
}
