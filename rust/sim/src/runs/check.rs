//! What must hold after a seed, from everything that was ever stored.

use std::collections::{BTreeMap, BTreeSet};

use buquet_core::id::TaskId;
use buquet_core::keys::{self, LeaseEntry, ReadyEntry};
use buquet_core::record::{BatchRecord, Json};
use buquet_core::workflow::chunks::read_back;
use buquet_core::workflow::entry::{Entry, News, Outcome};
use buquet_core::workflow::ids::sha256;
use buquet_core::workflow::model::Run;
use buquet_core::workflow::status::RunStatus;
use bytes::Bytes;

use super::World;
use crate::checker::Violation;

/// A journal as it was stored, entry for entry.
type Lines = Vec<String>;

/// All rules.
pub fn history(world: &World) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut violate = |rule, what| violations.push(Violation { rule, what });
    one_order(world, &mut violate);
    for (place, id) in world.seen.borrow().ids.iter().enumerate() {
        ends(world, place, *id, &mut violate);
    }
    left_over(world, &mut violate);
    violations
}

fn entries(run: &Run, objects: &BTreeMap<String, Bytes>, id: TaskId) -> Option<Lines> {
    let body =
        |chunk: &buquet_core::workflow::model::ChunkRef| objects.get(&keys::result(id.record(), &chunk.key)).cloned();
    let bodies: Vec<Option<Bytes>> = run.journal.chunks.iter().map(body).collect();
    let entries = read_back(&run.journal, &bodies).ok()?;
    entries.iter().map(|entry| serde_json::to_string(entry).ok()).collect()
}

/// Every revision of a run continues the one before it: nothing is changed, nothing is put in between, no time goes back.
fn one_order(world: &World, violate: &mut impl FnMut(&'static str, String)) {
    let mut objects: BTreeMap<String, Bytes> = BTreeMap::new();
    let mut before: BTreeMap<TaskId, (Run, Lines)> = BTreeMap::new();
    for change in world.store.changes() {
        let Some(body) = change.body else { continue };
        if keys::parse_run(&change.key).is_none() {
            objects.insert(change.key, body);
            continue;
        }
        let Ok(record) = BatchRecord::decode(&change.key, &body) else {
            violate("every revision can be read", change.key);
            continue;
        };
        for task in &record.tasks {
            let Some(run) = task.run.as_deref() else { continue };
            let id = record.id.task(task.n);
            if run.status.is_ended() != task.status.is_terminal() {
                violate("a run ends with its driver", format!("{id}: {:?} and {:?}", run.status, task.status));
            }
            let Some(now) = entries(run, &objects, id) else {
                violate("chunks come before their commit", format!("{id} in revision {}", record.rev));
                continue;
            };
            if let Some((old, lines)) = before.get(&id) {
                let same_life =
                    (old.generation, old.execution, old.retries) == (run.generation, run.execution, run.retries);
                if same_life && !now.starts_with(lines) {
                    violate(
                        "the journal only grows",
                        format!("{id} in revision {}: {now:?} after {lines:?}", record.rev),
                    );
                }
                if same_life && now.len() > lines.len() && task.lease.is_none() && !is_last(run) {
                    violate("only a holder appends", format!("{id} in revision {}", record.rev));
                }
                for (op, open) in &run.open {
                    let earlier = old.open.get(op).map_or(0, |open| open.attempt);
                    if same_life && open.attempt < earlier {
                        violate("starts are counted up", format!("{id}: operation {op}"));
                    }
                }
            }
            before.insert(id, (run.clone(), now));
        }
    }
}

/// Whether the revision is one that gave the lease up: it ends the run or parks it.
const fn is_last(run: &Run) -> bool {
    run.status.is_ended() || matches!(run.status, RunStatus::Waiting | RunStatus::Paused) || run.ending.is_some()
}

/// How one run ended.
fn ends(world: &World, place: usize, id: TaskId, violate: &mut impl FnMut(&'static str, String)) {
    let objects: BTreeMap<String, Bytes> =
        world.store.objects().into_iter().map(|(key, object)| (key, object.body)).collect();
    let key = keys::record(id.record());
    let record = objects.get(&key).and_then(|body| BatchRecord::decode(&key, body).ok());
    let task = record.as_ref().and_then(|record| record.task(id));
    let Some((task, run)) = task.and_then(|task| Some((task, task.run.as_deref()?))) else {
        return violate("runs stay", id.to_string());
    };
    let seen = world.seen.borrow();
    let called_off = seen.called_off.contains(&place);
    match run.status {
        RunStatus::Completed => {}
        RunStatus::Cancelled if called_off => {}
        other => violate("runs end well", format!("{id} is {other:?}: {:?}", task.error)),
    }
    let effects: Vec<(u32, u32)> =
        seen.effects.iter().filter(|(run, ..)| *run == id).map(|(_, _, op, attempt)| (*op, *attempt)).collect();
    let unique: BTreeSet<_> = effects.iter().collect();
    if unique.len() != effects.len() {
        violate("a start is used once", format!("{id}: {effects:?}"));
    }
    let bodies: Vec<Option<Bytes>> =
        run.journal.chunks.iter().map(|chunk| objects.get(&keys::result(id.record(), &chunk.key)).cloned()).collect();
    let Ok(entries) = read_back(&run.journal, &bodies) else { return violate("chunks stay", id.to_string()) };
    let mut payloads = Vec::new();
    for told in entries.iter().filter_map(|entry| if let Entry::Told(told) = &**entry { Some(told) } else { None }) {
        match &told.news {
            News::Signal { signal: Some(signal), .. } => {
                payloads
                    .push(signal.payload.as_ref().map_or_else(String::new, |payload: &Json| payload.text().to_owned()));
            }
            News::Ended { op, end, .. } => {
                let starts = effects.iter().filter(|(of, _)| of == op).map(|(_, attempt)| *attempt).max().unwrap_or(0);
                if starts > end.attempts {
                    violate("starts are counted", format!("{id}: operation {op}, start {starts} of {}", end.attempts));
                }
                if end.outcome != Outcome::Completed {
                    violate("steps end well", format!("{id}: operation {op}: {:?}", end.error));
                }
                if let Some(there) = &end.output_ref {
                    let body = objects.get(&keys::result(id.record(), &there.key));
                    let begins = format!("\"{op} ");
                    let right =
                        body.is_some_and(|body| sha256(body) == there.sha256 && body.starts_with(begins.as_bytes()));
                    if !right {
                        violate("results are what was returned", format!("{id}: operation {op}"));
                    }
                }
            }
            _ => {}
        }
    }
    let mut sorted = payloads.clone();
    sorted.sort();
    sorted.dedup();
    if sorted.len() != payloads.len() {
        violate("a signal is consumed once", format!("{id}: {payloads:?}"));
    }
}

/// Index entries that lead to runs that have ended, and consumed signals that are still there.
fn left_over(world: &World, violate: &mut impl FnMut(&'static str, String)) {
    let ids: BTreeSet<_> = world.seen.borrow().ids.iter().map(|id| id.record()).collect();
    let leads = |key: &str| {
        // What is left of parked work is found by a repair.
        let ready = ReadyEntry::parse(key).filter(|entry| !entry.parked).map(|entry| entry.record);
        ready.or_else(|| LeaseEntry::parse(key).map(|entry| entry.record)).is_some_and(|record| ids.contains(&record))
    };
    let entries: Vec<String> = world.store.objects().into_keys().filter(|key| leads(key)).collect();
    if !entries.is_empty() {
        violate("no entry is left", entries.join(" "));
    }
}
