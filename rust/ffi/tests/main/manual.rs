//! The operations in `docs/abi.md`: each request is sent, in the manual's order, and its answer must have the form of
//! the answer printed there.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use buquet_core::Error;
use buquet_core::ops::Engine;
use buquet_dev::DevServers;
use serde_json::{Map, Value, json};

/// An operation with the example of its request and of its answer.
struct Example {
    op: String,
    request: Value,
    answer: Value,
}

fn examples() -> Vec<Example> {
    let manual = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/abi.md")).unwrap();
    let (_, operations) = manual.split_once("\n## Operations\n").unwrap();
    let sections = operations.split("\n### `").skip(1);
    sections
        .map(|section| {
            let (op, text) = section.split_once("`\n").unwrap();
            let mut blocks = text.split("```json\n").skip(1).map(|block| {
                let (json, _) = block.split_once("```").unwrap();
                serde_json::from_str(json).unwrap_or_else(|error| panic!("in the section on {op}: {error}"))
            });
            let (request, answer) = (blocks.next().unwrap(), blocks.next().unwrap());
            assert_eq!(blocks.next(), None, "one request and one answer in the section on {op}");
            Example { op: op.to_owned(), request, answer }
        })
        .collect()
}

/// What the manual's ids and leases are called in this run.
type Names = BTreeMap<String, String>;

fn translate(value: &Value, names: &Names) -> Value {
    match value {
        Value::String(text) => Value::String(names.get(text).unwrap_or(text).clone()),
        Value::Array(items) => items.iter().map(|item| translate(item, names)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, field)| (name.clone(), translate(field, names))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// A UUID of a task, or the 16 hex digits of a lease or a worker.
fn is_id(text: &str) -> bool {
    matches!(text.len(), 36 | 16) && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// Same fields, same kinds of values; `null` stands for any. Learns the names of ids on the way.
fn compare(documented: &Value, actual: &Value, place: &str, names: &mut Names) {
    match (documented, actual) {
        (Value::Object(documented), Value::Object(actual)) => {
            let fields = |object: &Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
            let (mut expected, mut found) = (fields(documented), fields(actual));
            expected.sort();
            found.sort();
            assert_eq!(found, expected, "the fields of {place}");
            for (name, field) in documented {
                compare(field, &actual[name], &format!("{place}.{name}"), names);
            }
        }
        (Value::Array(documented), Value::Array(actual)) => {
            assert_eq!(actual.len(), documented.len(), "the length of {place}: {actual:?}");
            for (documented, actual) in documented.iter().zip(actual) {
                compare(documented, actual, &format!("{place}[]"), names);
            }
        }
        (Value::String(documented), Value::String(actual)) if is_id(documented) => {
            assert!(is_id(actual), "{place} is no id: {actual}");
            names.insert(documented.clone(), actual.clone());
        }
        (Value::Null, _) | (_, Value::Null) => {}
        (documented, actual) => {
            let kind = |value: &Value| (value.is_string(), value.is_number(), value.is_boolean(), value.is_object());
            assert_eq!(kind(actual), kind(documented), "the kind of {place}: {actual}");
        }
    }
}

/// What no request of the manual does: a task of the type `fragile` fails.
async fn fail_a_task(engine: &Engine) {
    let call = |op: &'static str, request: Value| async move {
        let answer = engine.call(op, request.to_string().as_bytes()).await.unwrap();
        serde_json::from_str::<Value>(&answer).unwrap()
    };
    call("submit", json!({"type": "fragile", "input": {"path": "cow.png"}})).await;
    let worker = call("worker.start", json!({"types": ["fragile"], "concurrency": 1})).await["worker"].clone();
    let next = call("worker.next", json!({"worker": worker, "max": 1, "wait": "20s"})).await;
    let task = &next["assignments"][0];
    let error = json!({"type": "OSError", "message": "cow.png: truncated", "traceback": "Traceback ..."});
    let outcome = json!({"id": task["id"], "lease": task["lease"], "outcome": "fail", "error": error, "retry": false});
    call("worker.settle", json!({"worker": worker, "outcomes": [outcome]})).await;
    call("worker.stop", json!({"worker": worker})).await;
}

/// A worker of runs, which holds the run of the manual and one more: that one has taken a step with a large result, and waits
/// for a callback.
async fn drive_two_runs(engine: &Engine, names: &mut Names) {
    let call = |op: &'static str, request: Value| async move {
        let answer = engine.call(op, request.to_string().as_bytes()).await.unwrap();
        serde_json::from_str::<Value>(&answer).unwrap()
    };
    let started = call("worker.start", json!({"types": ["workflow:order"], "concurrency": 2, "prefetch": 0})).await;
    let worker = &started["worker"];
    let first = call("worker.next", json!({"worker": worker, "max": 1, "wait": "20s"})).await["assignments"][0].clone();
    call("workflow.start", json!({"workflow": "order", "input": 1})).await;
    let second =
        call("worker.next", json!({"worker": worker, "max": 1, "wait": "20s"})).await["assignments"][0].clone();
    let (id, lease) = (&second["id"], &second["lease"]);
    call("run.open", json!({"worker": worker, "id": id, "lease": lease})).await;
    let asks = json!([
        {"ask": "step", "scope": "", "name": "charge", "n": 0},
        {"ask": "callback", "scope": "", "name": "callback", "n": 0}
    ]);
    call("run.advance", json!({"worker": worker, "id": id, "lease": lease, "entries": asks})).await;
    let output = "x".repeat(20_000);
    let report = json!({"worker": worker, "id": id, "lease": lease, "op": 0, "attempt": 1, "outcome": "completed", "output": output});
    call("run.report", report).await;
    let told = call("run.next", json!({"worker": worker, "id": id, "lease": lease})).await["told"][0].clone();
    let there = &told["output_ref"];
    let token = format!("{}.1.0.1", id.as_str().unwrap());
    let pairs = [
        ("9c0d3b5a7e21f486", worker),
        ("41d07c9be2a6538f", &first["lease"]),
        ("a4d1f6b0-90e2-8c3b-b7de-1f72756e0000", id),
        ("c6b1e0f2937a4d58", lease),
        ("charge.5f0c7a5241c38e5a", &there["key"]),
        ("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", &there["sha256"]),
    ];
    names.extend(pairs.map(|(documented, actual)| (documented.to_owned(), actual.as_str().unwrap().to_owned())));
    names.insert("a4d1f6b0-90e2-8c3b-b7de-1f72756e0000.1.0.1".into(), token);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_in_the_manual_is_answered_as_the_manual_says() {
    let engine = Engine::new(br#"{"url": "memory:"}"#).unwrap().with(DevServers::default());
    let mut names = Names::new();
    for Example { op, request, answer } in examples() {
        if op == "failed" {
            fail_a_task(&engine).await;
        }
        if op == "run.open" {
            drive_two_runs(&engine, &mut names).await;
        }
        let request = translate(&request, &names).to_string();
        let answered = engine.call(&op, request.as_bytes()).await;
        let answered = answered.unwrap_or_else(|error| panic!("{op} {request}: {}: {error}", error.code()));
        compare(&answer, &serde_json::from_str(&answered).unwrap(), &op, &mut names);
    }
    engine.shutdown().await;
}

#[test]
fn the_manual_explains_every_code_of_an_error() {
    let manual = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/abi.md")).unwrap();
    let (_, errors) = manual.split_once("\n## Errors of operations\n").unwrap();
    let (table, _) = errors.split_once("\n## ").unwrap();
    let documented: Vec<_> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let kinds = [
        Error::Invalid,
        Error::Config,
        Error::NotFound,
        Error::Layout,
        Error::Corrupt,
        Error::LeaseLost,
        Error::Conflict,
        Error::Denied,
        Error::Unsupported,
        Error::Unavailable,
        Error::Timeout,
        Error::Closed,
        Error::Internal,
    ];
    let every: Vec<_> = kinds.iter().map(|kind| kind(String::new()).code()).collect();
    assert_eq!(documented, every);
}
