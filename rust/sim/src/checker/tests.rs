//! Histories made by hand: a clean one, and one small lie at a time.

use buquet_core::store::memory::Change;
use buquet_core::time::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::journal::{Answer, Attempt, Decision, Meant, Submit, Told, Wish, WorkerLife};
use crate::scenario::Kind;

const RECORD: &str = "aaaaaaaa-0000-8000-8000-000000000000";
const RECORD_KEY: &str = "tasks/a/aaaaaaaa-0000-8000-8000-000000000000.json";
const READY: &str = "ready/a/0000000000/aaaaaaaa-0000-8000-8000-000000000000.1.5.00000000.0.1";
const LEASE: &str = "leases/a/0000000005/aaaaaaaa-0000-8000-8000-000000000000.1111.w";
const WORKER: &str = "workers/w.json";

fn time(ms: i64) -> Value {
    serde_json::to_value(Timestamp(ms)).unwrap()
}

fn task(status: &str) -> Value {
    json!({
        "n": 0, "status": status, "input": {"label": "one"}, "attempt": 1, "retry_count": 0,
        "submitted_at": time(0), "available_at": time(0), "started_at": time(2_000), "worker": "w",
    })
}

fn record(rev: u64, ready: &Value, leases: &Value, task: &Value) -> Value {
    json!({
        "format": 1, "id": RECORD, "type": "t", "created_at": time(0), "rev": rev, "commit": format!("c{rev}"), "seq": if rev == 3 { 2 } else { 1 },
        "options": {"retry": {"max_retries": 3}}, "ready": ready, "leases": leases, "tasks": [task],
    })
}

fn submitted() -> Value {
    let task = json!({
        "n": 0, "status": "pending", "input": {"label": "one"}, "attempt": 0, "retry_count": 0,
        "submitted_at": time(0), "available_at": time(0),
    });
    record(1, &json!({"due": time(0), "seq": 1, "pending": 1}), &json!({}), &task)
}

fn claimed() -> Value {
    let mut task = task("running");
    task["lease"] = json!("1111");
    record(2, &Value::Null, &json!({"1111": {"worker": "w", "expires_at": time(330_000)}}), &task)
}

fn completed() -> Value {
    let mut task = task("completed");
    task["output"] = json!("done");
    task["completed_at"] = time(3_000);
    record(3, &Value::Null, &json!({}), &task)
}

/// A run: what changed at which second, what the worker was told, and how long to look.
struct Run {
    changes: Vec<(i64, &'static str, Option<Value>)>,
    told: Told,
    reports: Vec<String>,
    wish: Option<Answer>,
}

impl Run {
    fn clean() -> Self {
        let changes = vec![
            (0, WORKER, Some(json!({}))),
            (0, READY, Some(json!({}))),
            (1, RECORD_KEY, Some(submitted())),
            (2, LEASE, Some(json!({}))),
            (2, RECORD_KEY, Some(claimed())),
            (2, READY, None),
            (3, RECORD_KEY, Some(completed())),
            (3, LEASE, None),
            (4, WORKER, None),
        ];
        Self { changes, told: Told::Committed("completed".into()), reports: Vec::new(), wish: None }
    }

    fn with(change: impl FnOnce(&mut Self)) -> Vec<&'static str> {
        let mut run = Self::clean();
        change(&mut run);
        run.broken_rules()
    }

    /// Changes the record as it was written in its nth revision.
    fn record(&mut self, rev: usize, change: impl FnOnce(&mut Value)) {
        let record = self.changes.iter_mut().filter(|(_, key, _)| *key == RECORD_KEY).nth(rev - 1).unwrap();
        change(record.2.as_mut().unwrap());
    }

    fn broken_rules(self) -> Vec<&'static str> {
        let scenario = Scenario { kind: Kind::Rough, ..Scenario::lone(0) };
        let mut journal = Journal::default();
        journal.submits.insert("one".into(), Submit { id: Some(RECORD.into()), at: Timestamp(1_000) });
        let decisions = vec![(Decision::Complete("\"done\"".into()), Some(self.told))];
        let (label, worker, at, reports) = ("one".into(), "w".into(), Timestamp(2_000), self.reports);
        let attempt = Attempt { number: 1, label, worker, at, woken: false, decisions, reports };
        journal.attempts.insert((RECORD.into(), "1111".into()), attempt);
        let life = WorkerLife { process: "p".into(), leaving_at: None, stopped_at: Some(Timestamp(4_000)) };
        journal.workers.insert("w".into(), life);
        if let Some(answer) = self.wish {
            let (meant, answers) = (Meant::Tasks(vec![RECORD.into()]), vec![(RECORD.into(), answer)]);
            journal.wishes.insert("p#0".into(), Wish { meant, from: Timestamp(1_500), until: None, answers });
        }
        let body = |value: &Value| bytes::Bytes::from(serde_json::to_vec(value).unwrap());
        let changes: Vec<Change> = self
            .changes
            .iter()
            .map(|(at, key, value)| Change {
                at: Timestamp(at * 1_000),
                key: (*key).to_owned(),
                body: value.as_ref().map(body),
            })
            .collect();
        let mut objects = BTreeMap::new();
        for change in &changes {
            match &change.body {
                Some(body) => {
                    let etag = buquet_core::store::ETag(String::new());
                    objects.insert(change.key.clone(), Object { body: body.clone(), etag, last_modified: change.at });
                }
                None => drop(objects.remove(&change.key)),
            }
        }
        let evidence = Evidence {
            scenario: &scenario,
            changes,
            objects,
            journal: &journal,
            tally: Tally::default(),
            finished: true,
            ended_after: Duration::from_secs(5),
        };
        let mut rules: Vec<_> = check(&evidence).violations.into_iter().map(|violation| violation.rule).collect();
        rules.dedup();
        rules
    }
}

#[test]
fn a_clean_history_breaks_no_rule() {
    assert_eq!(Run::with(|_| ()), [""; 0]);
}

#[test]
fn a_ready_entry_that_follows_its_record_is_noticed() {
    assert_eq!(Run::with(|run| run.changes.swap(1, 2)), ["index ahead"]);
}

#[test]
fn a_lease_entry_deleted_too_early_is_noticed() {
    assert_eq!(Run::with(|run| run.changes.swap(6, 7)), ["index ahead"]);
}

#[test]
fn an_entry_left_over_is_noticed() {
    let rules = Run::with(|run| drop(run.changes.remove(5)));
    assert_eq!(rules, ["nothing is left over"]);
}

#[test]
fn a_revision_written_over_another_is_noticed() {
    assert_eq!(Run::with(|run| run.record(3, |record| record["rev"] = json!(2))), ["rev + 1"]);
}

#[test]
fn a_result_that_no_handler_gave_is_noticed() {
    let rules = Run::with(|run| run.record(3, |record| record["tasks"][0]["output"] = json!("other")));
    assert_eq!(rules, ["ends for a reason", "committed is committed once"]);
}

#[test]
fn a_result_said_to_be_lost_and_stored_all_the_same_is_noticed() {
    assert_eq!(Run::with(|run| run.told = Told::LeaseLost), ["lost never overwrites"]);
}

#[test]
fn a_task_started_before_its_time_is_noticed() {
    let rules = Run::with(|run| {
        for rev in 1..=3 {
            run.record(rev, |record| record["tasks"][0]["available_at"] = time(2_500));
        }
    });
    assert_eq!(rules, ["legal history"]);
}

#[test]
fn an_acknowledged_task_that_is_not_finished_is_noticed() {
    let rules = Run::with(|run| run.changes.truncate(6));
    for rule in ["acknowledged is finished", "no task is forgotten", "committed is committed once"] {
        assert!(rules.contains(&rule), "{rules:?}");
    }
}

#[test]
fn a_living_worker_that_is_taken_for_dead_is_noticed() {
    let rules = Run::with(|run| {
        run.told = Told::LeaseLost;
        run.record(3, |record| {
            record["ready"] = json!({"due": time(0), "seq": 2, "pending": 1});
            let task = &mut record["tasks"][0];
            task["status"] = json!("pending");
            task["loss_count"] = json!(1);
            task["completed_at"] = Value::Null;
            task["output"] = Value::Null;
        });
    });
    assert!(rules.contains(&"ends for a reason"), "{rules:?}");
}

#[test]
fn a_task_started_after_it_had_expired_is_noticed() {
    let rules = Run::with(|run| {
        for rev in 1..=3 {
            run.record(rev, |record| record["tasks"][0]["expires_at"] = time(1_500));
        }
    });
    assert_eq!(rules, ["legal history"]);
}

#[test]
fn a_wish_that_nobody_made_is_noticed() {
    let rules = Run::with(|run| {
        for rev in 2..=3 {
            run.record(rev, |record| record["tasks"][0]["cancel"] = json!({"at": time(1_000), "by": "p#0"}));
        }
    });
    assert_eq!(rules, ["legal history", "called off by somebody"]);
}

#[test]
fn an_answer_to_a_wish_that_the_store_does_not_bear_out_is_noticed() {
    for answer in [Answer::Cancelled, Answer::Requested, Answer::Finished("failed".into()), Answer::Missing] {
        assert_eq!(Run::with(|run| run.wish = Some(answer)), ["called off as told"]);
    }
    assert_eq!(Run::with(|run| run.wish = Some(Answer::Finished("completed".into()))), [""; 0]);
}

#[test]
fn a_last_report_that_is_not_kept_is_noticed() {
    let reported = |run: &mut Run| run.reports = vec!["one/1/1111/1".into()];
    assert_eq!(Run::with(reported), ["the last report stays"]);
    let rules = Run::with(|run| {
        reported(run);
        run.record(3, |record| record["tasks"][0]["progress"] = json!({"value": 0.5, "message": "one/1/1111/1"}));
    });
    assert_eq!(rules, [""; 0]);
}

#[test]
fn a_report_of_another_attempt_is_noticed() {
    let rules = Run::with(|run| {
        run.reports = vec!["one/1/2222/1".into()];
        run.record(3, |record| record["tasks"][0]["progress"] = json!({"value": 0.5, "message": "one/1/2222/1"}));
    });
    assert_eq!(rules, ["legal history"]);
}
