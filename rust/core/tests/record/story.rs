//! What the tests of records have in common: records, ids and commits made from small numbers.

use std::time::Duration;

use buquet_core::broken::Variant;
use buquet_core::entropy::Entropy;
use buquet_core::id::{CommitId, LeaseId, RecordId, TaskId, WorkerId};
use buquet_core::record::{
    BatchRecord, Claimed, Extra, Failure, IndexPlan, Json, Lease, Options, Outcome, RetryPolicy, Task, TaskStatus,
    plan_index,
};
use buquet_core::time::Timestamp;

/// A moment in 2026 that is no full minute.
pub const START: Timestamp = Timestamp(1_790_000_012_345);

pub fn at(seconds: u64) -> Timestamp {
    START.after(Duration::from_secs(seconds))
}

pub fn json(text: &str) -> Json {
    Json::parse(text).unwrap()
}

pub fn lease(number: u64) -> LeaseId {
    format!("{number:016x}").parse().unwrap()
}

pub fn worker(number: u64) -> WorkerId {
    format!("{:016x}", number | 1 << 63).parse().unwrap()
}

pub fn commit(number: u64) -> CommitId {
    format!("{number:016x}").parse().unwrap()
}

pub fn holder(number: u64, expires_at: Timestamp) -> Lease {
    Lease { worker: worker(number), expires_at, extra: Extra::new() }
}

/// Two retries, one second, doubled, no jitter.
pub fn options() -> Options {
    let retry = RetryPolicy { max_retries: 2, jitter: 0.0, ..RetryPolicy::default() };
    Options { retry, ..Options::default() }
}

/// A record of `count` tasks that are due, submitted at [`START`] and committed once.
pub fn submitted(count: u16) -> BatchRecord {
    let tasks = (0..count).map(|n| Task::new(n, json(&n.to_string()), START, None)).collect();
    created(tasks)
}

/// A record of these tasks, committed once.
pub fn created(tasks: Vec<Task>) -> BatchRecord {
    let id = RecordId::random(&Entropy::seeded(1));
    let mut record = BatchRecord::new(id, "t".into(), options(), START, Vec::new(), commit(0));
    let empty = record.clone();
    record.tasks = tasks;
    plan_index(&empty, &mut record, START, Variant::True);
    record.stamp(commit(1));
    record
}

/// A record of four tasks: 0 and 1 under lease 1, 2 under lease 2, 3 pending.
pub fn shared_record() -> BatchRecord {
    let mut record = submitted(4);
    assert_eq!(places(&record.claim(lease(1), holder(1, at(300)), at(1), 2)), [0, 1]);
    assert_eq!(places(&record.claim(lease(2), holder(2, at(300)), at(1), 1)), [2]);
    step(&record.clone(), &mut record, at(1), 2);
    record
}

/// Commits `new`, made from `old`.
pub fn step(old: &BatchRecord, new: &mut BatchRecord, now: Timestamp, number: u64) -> IndexPlan {
    let plan = plan_index(old, new, now, Variant::True);
    new.stamp(commit(number));
    plan
}

pub fn places(claimed: &[Claimed]) -> Vec<u16> {
    claimed.iter().map(|claimed| claimed.n).collect()
}

pub fn id(record: &BatchRecord, n: u16) -> TaskId {
    record.id.task(n)
}

pub fn text(record: &BatchRecord) -> String {
    String::from_utf8(record.encode().unwrap().to_vec()).unwrap()
}

pub fn task_text(record: &BatchRecord, n: usize) -> String {
    serde_json::to_string(&record.tasks[n]).unwrap()
}

pub fn statuses(record: &BatchRecord) -> Vec<TaskStatus> {
    record.tasks.iter().map(|task| task.status).collect()
}

pub fn failure() -> Failure {
    Failure { kind: "E".into(), message: "no".into(), traceback: Some("line 1".into()) }
}

pub fn fail(retry: bool, retry_at: Option<Timestamp>) -> Outcome {
    Outcome::Fail { error: failure(), retry, retry_at }
}

pub fn complete() -> Outcome {
    Outcome::Complete { output: json("42") }
}

/// One of each outcome.
pub fn outcomes() -> Vec<Outcome> {
    vec![
        complete(),
        fail(true, None),
        fail(true, Some(at(77))),
        fail(false, None),
        Outcome::Reschedule { at: at(99) },
        Outcome::Release,
        Outcome::Park { until: None },
        Outcome::Park { until: Some(at(99)) },
    ]
}
