//! Definitions that are refused, each by name.

use super::*;

fn refused(graph: &Graph, parts: &[&str]) {
    let message = graph.check().unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "{part:?} is missing in {message:?}");
    }
}

#[test]
fn steps_that_wait_for_each_other_are_named_in_a_circle() {
    let cyclic = graph(vec![step("start", &[]), step("a", &["c", "start"]), step("b", &["a"]), step("c", &["b"])]);
    refused(&cyclic, &["wait for each other", "a -> c -> b -> a"]);
    refused(&graph(vec![step("a", &["a"])]), &["a -> a"]);
    refused(&graph(vec![step("z", &["y"]), step("x", &["y"]), step("y", &["x"])]), &["x -> y -> x"]);
}

#[test]
fn unknown_and_double_steps_are_named() {
    refused(&graph(vec![step("a", &["b"])]), &["\"a\"", "depends on \"b\"", "no such step"]);
    refused(&graph(vec![step("a", &[]), step("a", &[])]), &["two steps named \"a\""]);
    refused(&graph(vec![step("a", &[]), step("b", &["a", "a"])]), &["\"b\" depends on \"a\" twice"]);
    refused(&Graph { result: Some("z".into()), ..graph(vec![step("a", &[])]) }, &["\"z\""]);
}

#[test]
fn a_graph_without_steps_is_refused() {
    refused(&graph(vec![]), &["no steps"]);
}

#[test]
fn names_with_path_tricks_are_refused() {
    for bad in ["../a", "a/b", "", ".a", "a\0b", "a..b"] {
        refused(&graph(vec![step(bad, &[])]), &["cannot be the name of a step"]);
        refused(&Graph { name: bad.into(), ..graph(vec![step("a", &[])]) }, &["cannot be the name of a workflow"]);
    }
}

#[test]
fn a_step_that_can_never_be_reached_is_named() {
    let handler = |before: &str| Step { join: Join::Failure, ..step("handler", &[before]) };
    refused(&graph(vec![step("a", &[]), handler("a")]), &["\"handler\"", "never be reached"]);
    let alone = Step { join: Join::Failure, ..step("handler", &[]) };
    refused(&graph(vec![alone]), &["\"handler\"", "never be reached"]);
    let goes_on = Step { on_failure: StepFailure::Continue, ..step("a", &[]) };
    graph(vec![goes_on, handler("a")]).check().unwrap();
}

#[test]
fn parameters_that_nobody_provides_are_named() {
    let mut a = step("a", &[]);
    a.parameters.push(Parameter { name: "order_id".into(), required: true });
    let declared = |inputs: &[&str]| Graph {
        inputs: Some(inputs.iter().map(|name| (*name).into()).collect()),
        ..graph(vec![a.clone()])
    };
    declared(&["order_id"]).check().unwrap();
    refused(&declared(&["other"]), &["parameter \"order_id\" of step \"a\""]);
    graph(vec![a.clone()]).check().unwrap();
    let mut undeclared = step("b", &[]);
    undeclared.parameters.push(Parameter { name: "a".into(), required: true });
    refused(&graph(vec![step("a", &[]), undeclared]), &["\"b\"", "parameter \"a\"", "depends_on"]);
    a.parameters.push(Parameter { name: "order_id".into(), required: true });
    refused(&graph(vec![a]), &["two parameters named \"order_id\""]);
}

#[test]
fn inputs_that_are_missing_or_that_nobody_takes_are_named() {
    let mut a = step("a", &[]);
    a.parameters = vec![Parameter { name: "order_id".into(), required: true }];
    let start = |input: &str| Body::new(Arc::new(graph(vec![a.clone()])), Input::read(&json(input)).unwrap());
    assert!(start("{\"order_id\": 1}").is_ok());
    assert!(start("{}").unwrap_err().to_string().contains("lacks \"order_id\""));
    let message = start("{\"order_id\": 1, \"colour\": 2}").unwrap_err().to_string();
    assert!(message.contains("\"colour\"") && message.contains("order_id"), "{message}");
    assert!(Input::read(&json("[1]")).is_err());
}

#[test]
fn bounds_that_make_no_sense_are_refused() {
    let list = || step("list", &[]);
    let mapped = || Step { map_over: Some("list".into()), ..step("each", &["list"]) };
    for (step, part) in [
        (Step { max_concurrency: Some(0), ..mapped() }, "max_concurrency"),
        (Step { min_successful: Some(0), ..mapped() }, "min_successful"),
        (Step { tolerated_percentage: Some(101.0), ..mapped() }, "tolerated_percentage"),
        (Step { tolerated_percentage: Some(f64::NAN), ..mapped() }, "tolerated_percentage"),
        (Step { tolerated_failures: Some(1), map_over: None, ..mapped() }, "no map_over"),
        (Step { map_over: Some("each".into()), ..mapped() }, "own result"),
    ] {
        refused(&graph(vec![list(), step]), &["\"each\"", part]);
    }
    refused(&Graph { max_concurrent_steps: Some(0), ..graph(vec![list()]) }, &["max_concurrent_steps"]);
    graph(vec![list(), mapped()]).check().unwrap();
    let task = Some(TaskStep { kind: "ship".into(), options: None });
    let pausing = Step { task, on_failure: StepFailure::Pause, ..step("a", &[]) };
    refused(&graph(vec![pausing]), &["\"a\"", "pauses"]);
}

#[test]
fn the_hash_tells_definitions_apart_and_knows_no_version() {
    let one = graph(vec![step("a", &[]), step("b", &["a"])]);
    let newer = Graph { version: Some("2".into()), ..one.clone() };
    assert_eq!(one.hash().unwrap(), newer.hash().unwrap());
    let mut others = vec![graph(vec![step("a", &[]), step("b", &[])]), Graph { name: "x".into(), ..one.clone() }];
    others.push(graph(vec![Step { timeout_ms: Some(5), ..step("a", &[]) }, step("b", &["a"])]));
    let hashes: BTreeSet<String> = others.iter().chain([&one]).map(|graph| graph.hash().unwrap()).collect();
    assert_eq!(hashes.len(), 4);
}

#[test]
fn a_definition_survives_its_text_and_a_misspelt_field_is_refused() {
    let undo = Some(Compensation { timeout_ms: Some(5), ..Compensation::default() });
    let each =
        Step { compensation: undo, map_over: Some("a".into()), tolerated_percentage: Some(2.5), ..step("b", &["a"]) };
    let one = graph(vec![step("a", &[]), each]);
    let text = serde_json::to_string(&one).unwrap();
    let again: Graph = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), text);
    let bad = "{\"name\": \"x\", \"steps\": [{\"name\": \"a\", \"depend_on\": []}]}";
    assert!(serde_json::from_str::<Graph>(bad).unwrap_err().to_string().contains("depend_on"));
}
