//! How a fleet finds its work: soon, wherever it lies, and seldom two at the same record.

use std::collections::BTreeMap;
use std::time::Duration;

use buquet_core::time::Timestamp;

use super::history::History;
use super::{Evidence, Findings};
use crate::scenario::{Kind, LATE_LABEL, LATE_WORKER, URGENT_LABEL};

/// How soon a task is started that nothing stands in the way of but others.
const SOON: Duration = Duration::from_secs(5);
/// The first claims: while very many records wait.
const FIRST: usize = 1_000;
/// No more of these are in any four shards that follow each other. Workers that all begin at the first shard exceed it.
const MOST_IN_A_QUARTER: usize = FIRST * 6 / 10;

pub(super) fn check(history: &History, evidence: &Evidence<'_>, found: &mut Findings) {
    if evidence.scenario.kind != Kind::Fleet {
        return;
    }
    let began = evidence.changes.first().map(|change| change.at).unwrap_or_default();
    let late = evidence.scenario.processes.iter().find(|process| process.name == LATE_WORKER);
    let comes = late.map_or(began, |process| began.after(process.starts_after));
    let mut starts: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for attempt in evidence.journal.attempts.values() {
        let first = starts.entry(&attempt.label).or_insert(attempt.at);
        *first = attempt.at.min(*first);
    }
    for (label, submit) in &evidence.journal.submits {
        let from = match label {
            _ if label.starts_with(URGENT_LABEL) => submit.at,
            _ if label.starts_with(LATE_LABEL) => submit.at.max(comes),
            _ => continue,
        };
        let at = starts.get(label.as_str());
        found.require(at.is_some_and(|at| at.since(from) <= SOON), "found soon", || {
            format!("{label} could be started at {from} and was at {at:?}")
        });
    }
    let mut claims: Vec<(Timestamp, &str)> =
        history.beginnings.iter().map(|((task, _), beginning)| (beginning.at, task.as_str())).collect();
    claims.sort_unstable();
    let mut shards = [0_usize; 16];
    for (_, task) in claims.iter().take(FIRST) {
        let shard = task.chars().next().and_then(|digit| digit.to_digit(16)).unwrap_or(0);
        shards[shard as usize] += 1;
    }
    let quarters = (0..16).map(|from| (from..from + 4).map(|shard| shards[shard % 16]).sum::<usize>());
    let even = claims.len() < FIRST || quarters.max() <= Some(MOST_IN_A_QUARTER);
    found.require(even, "spread over the shards", || format!("the first {FIRST} claims: {shards:?}"));
}
