//! What is configured holds where a request says nothing, for every caller alike.

use std::collections::BTreeSet;

use buquet_core::ops::Engine;
use serde_json::{Value, json};

fn engine(options: &Value) -> Engine {
    Engine::new(json!({"url": "memory:", "options": options}).to_string().as_bytes()).unwrap()
}

async fn call(engine: &Engine, op: &str, request: &Value) -> Value {
    let answer = engine.call(op, request.to_string().as_bytes()).await;
    serde_json::from_str(&answer.unwrap_or_else(|error| panic!("{op} {request}: {error}"))).unwrap()
}

async fn submitted(engine: &Engine, more: &Value) -> Value {
    let mut request = json!({"type": "t", "input": 1});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let id = call(engine, "submit", &request).await;
    call(engine, "get", &json!({"ids": [id["id"]]})).await["tasks"][0].take()
}

#[tokio::test(start_paused = true)]
async fn a_submit_that_says_nothing_takes_the_configured_options() {
    let engine = engine(&json!({"task.timeout": "7s", "task.retries": 9, "task.priority": 2}));
    let task = submitted(&engine, &json!({})).await;
    assert_eq!((&task["timeout_ms"], &task["max_retries"], &task["priority"]), (&json!(7000), &json!(9), &json!(2)));
    let task = submitted(&engine, &json!({"timeout": 5, "priority": 9, "retry": {"max_retries": 0}})).await;
    assert_eq!((&task["timeout_ms"], &task["max_retries"], &task["priority"]), (&json!(5000), &json!(0), &json!(9)));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn records_hold_as_much_as_is_configured_and_always_one_task() {
    for (options, records) in [
        (json!({}), 1),
        (json!({"record.tasks": 2}), 3),
        (json!({"record.tasks": 1}), 5),
        (json!({"record.bytes": 1024}), 5),
    ] {
        let engine = engine(&options);
        let large = "x".repeat(2_000);
        let ids = call(&engine, "submit_many", &json!({"type": "t", "inputs": vec![large; 5]})).await;
        let shared: BTreeSet<&str> =
            ids["ids"].as_array().unwrap().iter().map(|id| &id.as_str().unwrap()[..32]).collect();
        assert_eq!(shared.len(), records, "{options}");
        let task = submitted(&engine, &json!({"input": "x".repeat(5_000)})).await;
        assert_eq!(task["status"], "pending");
        engine.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_says_nothing_takes_the_configured_concurrency() {
    let engine = engine(&json!({"worker.concurrency": 7}));
    call(&engine, "worker.start", &json!({"types": ["t"]})).await;
    assert_eq!(call(&engine, "workers", &json!({})).await["workers"][0]["concurrency"], 7);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_configuration_is_shown_without_a_store() {
    let engine = engine(&json!({"engine.heartbeat": 5}));
    let shown = call(&engine, "config", &json!({"options": ["engine.heartbeat"]})).await;
    assert_eq!(shown["options"][0]["value"], "5s");
    assert_eq!(shown["options"][0]["source"], "the options argument");
    let refused = engine.call("config", br#"{"options": ["engine.hartbeat"]}"#).await.unwrap_err();
    assert!(refused.to_string().contains("did you mean \"engine.heartbeat\"?"), "{refused}");
    engine.shutdown().await;
}
