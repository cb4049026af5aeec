//! Input: operations for an engine on `memory:`, one a line: a name, a space, and the request. `$WORKER`, `$TASK` and
//! `$LEASE` in a request stand for what earlier answers named.

use std::time::Duration;

use buquet_core::ops::Engine;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// Operations of one input at most, and the paused clock's time for each.
const MOST: usize = 12;
const PATIENCE: Duration = Duration::from_secs(1);

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
}

/// Every operation is answered with JSON or with an error that is the caller's to mend, never with a defect of ours.
pub fn run(input: &[u8]) {
    RUNTIME.with(|runtime| runtime.block_on(play(input)));
}

async fn play(input: &[u8]) {
    let engine = Engine::new(b"{\"url\": \"memory:\"}").expect("a store in memory needs nothing");
    let mut names = Names::default();
    for line in input.split(|byte| *byte == b'\n').take(MOST) {
        let (op, request) = line.split_at(line.iter().position(|byte| *byte == b' ').unwrap_or(line.len()));
        let op = String::from_utf8_lossy(op);
        let request = names.put_into(request.trim_ascii_start());
        match timeout(PATIENCE, engine.call(&op, &request)).await {
            Err(_) => {} // it waits, as it may
            Ok(Ok(answer)) => names.learn(&answer),
            Ok(Err(error)) => {
                assert!(!matches!(error.code(), "internal" | "corrupt" | "layout"), "{}: {error}", error.code());
                assert!(!error.to_string().is_empty());
            }
        }
    }
    engine.shutdown().await;
}

/// What answers named last.
#[derive(Default)]
struct Names {
    worker: String,
    task: String,
    lease: String,
}

impl Names {
    fn put_into(&self, request: &[u8]) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(request) else { return request.to_vec() };
        text.replace("$WORKER", &self.worker).replace("$TASK", &self.task).replace("$LEASE", &self.lease).into_bytes()
    }

    fn learn(&mut self, answer: &str) {
        let answer: Value = serde_json::from_str(answer).expect("an answer is JSON");
        assert!(answer.is_object(), "an answer is an object: {answer}");
        let assignment = &answer["assignments"][0];
        let tasks = [&assignment["id"], &answer["ids"][0], &answer["id"]];
        let named = |found: &[&Value]| found.iter().find_map(|found| found.as_str()).map(ToOwned::to_owned);
        for (place, found) in [
            (&mut self.worker, named(&[&answer["worker"]])),
            (&mut self.task, named(&tasks)),
            (&mut self.lease, named(&[&assignment["lease"]])),
        ] {
            if let Some(found) = found {
                *place = found;
            }
        }
    }
}
