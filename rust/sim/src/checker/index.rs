//! Index ahead: after every single change of the store, some entry leads to every unfinished task.

use std::collections::{BTreeMap, BTreeSet};

use buquet_core::store::memory::Change;

use super::Findings;
use super::history::History;
use super::view::{Record, Task};

const MINUTE_MS: i64 = 60_000;

/// The index as it is after some of the changes.
#[derive(Default)]
struct Index<'a> {
    /// By record: its ready entries, each with its number and due time.
    ready: BTreeMap<String, BTreeSet<(u64, i64, String)>>,
    /// By record: its parked entries, likewise.
    parked: BTreeMap<String, BTreeSet<(u64, i64, String)>>,
    /// By record: its lease entries, each with its lease and minute.
    leases: BTreeMap<String, BTreeSet<(String, i64, String)>>,
    /// By record: its entries among the failed, each with the revision it was written for.
    failed: BTreeMap<String, BTreeSet<(u64, String)>>,
    /// By record: what it is now.
    records: BTreeMap<String, &'a Record>,
}

pub(super) fn check(changes: &[Change], history: &History, found: &mut Findings) {
    let mut index = Index::default();
    for (n, change) in changes.iter().enumerate() {
        if let Some(record) = index.apply(change, history.written_by(n)) {
            index.check(&record, change, found);
        }
    }
}

impl<'a> Index<'a> {
    /// Takes in a change; returns the record it is about.
    fn apply(&mut self, change: &Change, written: Option<&'a Record>) -> Option<String> {
        let (kind, rest) = change.key.split_once('/')?;
        match kind {
            "tasks" => {
                if change.body.is_none() {
                    // Nothing need lead to what was purged.
                    let id = rest.split_once('/')?.1.strip_suffix(".json")?;
                    self.records.remove(id);
                    return None;
                }
                let record = written?;
                let id = record.id.clone();
                self.records.insert(id.clone(), record);
                Some(id)
            }
            "ready" | "parked" | "leases" | "failed" => {
                let mut parts = rest.splitn(3, '/');
                let (_shard, minute, name) = (parts.next()?, parts.next()?.parse::<i64>().ok()?, parts.next()?);
                let fields: Vec<&str> = name.split('.').collect();
                let (id, second) = (*fields.first()?, *fields.get(1)?);
                let (key, present) = (change.key.clone(), change.body.is_some());
                if kind == "ready" || kind == "parked" {
                    let due = minute * MINUTE_MS + fields.get(4)?.parse::<i64>().ok()?;
                    let index = if kind == "ready" { &mut self.ready } else { &mut self.parked };
                    set(index, id, (second.parse().ok()?, due, key), present);
                } else if kind == "failed" {
                    set(&mut self.failed, id, (second.parse().ok()?, key), present);
                } else {
                    set(&mut self.leases, id, (second.to_owned(), minute, key), present);
                }
                Some(id.to_owned())
            }
            _ => None,
        }
    }

    fn check(&self, id: &str, change: &Change, found: &mut Findings) {
        let Some(record) = self.records.get(id) else { return };
        let after = || {
            let verb = if change.body.is_some() { "written" } else { "deleted" };
            format!("record {id} rev {} after {} was {verb} at {}", record.rev, change.key, change.at)
        };
        for (named, index) in [(&record.ready, &self.ready), (&record.parked, &self.parked)] {
            let Some(named) = named else { continue };
            let is_it = |entry: &(u64, i64, String)| (entry.0, entry.1) == (named.seq, named.due.0);
            let leads = index.get(id).is_some_and(|entries| entries.iter().any(is_it));
            found.require(leads, "index ahead", || format!("{}: no entry {}", after(), named.seq));
        }
        if record.tasks.iter().any(Task::is_failed) {
            let named = record.failed.as_ref().map(|failed| failed.rev);
            let is_it = |entry: &(u64, String)| Some(entry.0) == named;
            let leads = self.failed.get(id).is_some_and(|entries| entries.iter().any(is_it));
            found.require(leads, "dead letters ahead", || format!("{}: no entry {named:?} among the failed", after()));
        }
        for (lease, held) in &record.leases {
            let in_time = |entry: &(String, i64, String)| entry.0 == *lease && entry.1 <= held.expires_at.minute();
            let leads = self.leases.get(id).is_some_and(|entries| entries.iter().any(in_time));
            found.require(leads, "index ahead", || format!("{}: no entry of lease {lease}", after()));
        }
    }
}

fn set<T: Ord>(entries: &mut BTreeMap<String, BTreeSet<T>>, id: &str, entry: T, present: bool) {
    let of_record = entries.entry(id.to_owned()).or_default();
    if present {
        of_record.insert(entry);
    } else {
        of_record.remove(&entry);
    }
}
