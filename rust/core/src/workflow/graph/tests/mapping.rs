//! One step for each item.

use super::*;

fn each(change: impl FnOnce(Step) -> Step) -> Graph {
    let mapped = change(Step { map_over: Some("list".into()), ..step("each", &["list"]) });
    graph(vec![step("list", &[]), mapped, step("join", &["each"])])
}

fn plain(step: Step) -> Step {
    step
}

#[test]
fn items_get_their_item_and_results_come_in_their_order() {
    let mut play = Play::new(each(plain));
    play.returns("list", "[5, 6, 7]");
    assert_eq!(play.names(), ["each[0]", "each[1]", "each[2]"]);
    let item = play.body.bindings(play.op("each[1]"));
    assert_eq!(item["list"], Source::Item { of: Box::new(Source::Result(0)), n: 1 });
    let ops: Vec<Option<Op>> = (0..3).map(|n| Some(play.op(&format!("each[{n}]")))).collect();
    play.completes("each[2]").completes("each[0]").completes("each[1]");
    assert_eq!(play.body.bindings(play.op("join"))["each"], Source::Results(ops));
    play.completes("join").replayed();
}

#[test]
fn no_items_are_completed_at_once() {
    let mut play = Play::new(each(plain));
    play.returns("list", "[]");
    assert_eq!(play.names(), ["join"]);
    assert_eq!(play.body.bindings(play.op("join"))["each"], Source::Results(vec![]));
    play.replayed();
}

#[test]
fn a_result_that_lies_elsewhere_tells_its_length() {
    let mut play = Play::new(each(plain));
    let there = ResultRef {
        key: "list.0123456789abcdef".into(),
        sha256: "a".repeat(64),
        bytes: 99_999,
        items: Some(2),
        extra: Extra::new(),
    };
    play.ends(0, End { output: None, output_ref: Some(there), ..End::completed(json("1"), 1) });
    assert_eq!(play.names().len(), 2);
}

#[test]
fn what_is_no_list_fails_the_step_and_says_so() {
    let mut play = Play::new(each(plain));
    play.returns("list", "{\"a\": 1}");
    let Some(GraphEnd::Failed(fault)) = &play.end else { panic!() };
    assert!(fault.message.contains("\"each\"") && fault.message.contains("not a list"), "{}", fault.message);
    play.replayed();
}

#[test]
fn items_of_an_input_and_items_of_items() {
    let first = Step {
        map_over: Some("files".into()),
        parameters: vec![Parameter { name: "files".into(), required: true }],
        ..step("first", &[])
    };
    let second = Step { map_over: Some("first".into()), ..step("second", &["first"]) };
    let mut play = Play::with(graph(vec![first, second]), "{\"files\": [\"a\", \"b\"]}");
    let of = Box::new(Source::Input("files".into()));
    assert_eq!(play.body.bindings(play.op("first[1]"))["files"], Source::Item { of, n: 1 });
    play.completes("first[0]").completes("first[1]");
    assert_eq!(play.names(), ["second[0]", "second[1]"]);
}

#[test]
fn at_most_so_many_items_are_under_way_and_the_graphs_bound_counts_too() {
    let mut play = Play::new(each(|step| Step { max_concurrency: Some(2), ..step }));
    play.returns("list", "[0, 1, 2, 3]");
    assert_eq!(play.names(), ["each[0]", "each[1]"]);
    assert_eq!(play.completes("each[0]").names(), ["each[1]", "each[2]"]);
    let mut play = Play::new(Graph { max_concurrent_steps: Some(1), ..each(plain) });
    play.returns("list", "[0, 1]");
    assert_eq!(play.names(), ["each[0]"]);
    play.replayed();
}

#[test]
fn the_first_failure_stops_the_others_and_the_error_names_the_item_and_the_rest() {
    let mut play = Play::new(each(|step| Step { max_concurrency: Some(2), ..step }));
    play.returns("list", "[0, 1, 2, 3, 4, 5, 6]").completes("each[0]").fails("each[1]");
    assert!(play.open().is_empty());
    let Some(GraphEnd::Failed(fault)) = &play.end else { panic!() };
    for part in ["each[1]: ValueError: no", "1 of 7 items have failed", "1 stopped", "4 never started"] {
        assert!(fault.message.contains(part), "{part}: {}", fault.message);
    }
    assert_eq!(play.status("join"), StepStatus::Cancelled);
    play.replayed();
}

#[test]
fn tolerated_failures_leave_a_gap_in_the_results() {
    let mut play = Play::new(each(|step| Step { tolerated_failures: Some(1), ..step }));
    play.returns("list", "[0, 1]");
    let second = play.op("each[1]");
    play.fails("each[0]").completes("each[1]");
    assert_eq!(play.body.bindings(play.op("join"))["each"], Source::Results(vec![None, Some(second)]));
    play.replayed();
}

#[test]
fn enough_successes_end_it_early_and_call_the_rest_off() {
    let mut play = Play::new(each(|step| Step { min_successful: Some(1), ..step }));
    play.returns("list", "[0, 1, 2]").completes("each[2]");
    assert_eq!(play.names(), ["join"]);
    play.completes("join");
    assert!(matches!(play.end, Some(GraphEnd::Completed(_))));
    play.replayed();
}

#[test]
fn a_failed_map_that_lets_the_run_go_on_is_a_failed_step() {
    let mut play = Play::new(each(|step| Step { on_failure: StepFailure::Continue, ..step }));
    play.returns("list", "[0, 1]").fails("each[0]");
    assert_eq!((play.status("each"), play.status("join")), (StepStatus::Failed, StepStatus::Skipped));
    assert!(matches!(play.end, Some(GraphEnd::Completed(_))));
}

#[test]
fn a_condition_of_a_step_with_items_is_evaluated_once_before_them() {
    let mut play = Play::new(each(|step| Step { when: true, ..step }));
    assert_eq!(play.returns("list", "[0, 1]").names(), ["when each"]);
    assert_eq!(play.completes("when each").names(), ["each[0]", "each[1]"]);
    let mut play = Play::new(each(|step| Step { when: true, ..step }));
    play.returns("list", "[0, 1]").skips("when each");
    assert_eq!(play.status("each"), StepStatus::Skipped);
    play.replayed();
}

#[test]
fn items_are_undone_one_by_one_with_their_own_results() {
    let mut graph = each(undoable);
    graph.steps[2].on_failure = StepFailure::Compensate;
    let mut play = Play::new(graph);
    play.returns("list", "[0, 1]");
    let first = play.op("each[0]");
    play.completes("each[1]").completes("each[0]").fails("join");
    assert_eq!(play.names(), ["undo each[0]"]);
    let undo = play.op("undo each[0]");
    assert_eq!(play.body.bindings(undo)["result"], Source::Result(first));
    assert_eq!(play.completes("undo each[0]").names(), ["undo each[1]"]);
    play.completes("undo each[1]");
    assert!(matches!(play.end, Some(GraphEnd::Failed(_))));
    play.replayed();
}
