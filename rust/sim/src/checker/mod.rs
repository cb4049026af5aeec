//! Compares what processes were told with everything that ever happened in the store.
//!
//! Written against the design and the stored JSON, not against the engine's code: it has its own idea of a record,
//! of a legal change, and of what an index must hold.

mod budget;
mod cancels;
mod dead;
mod fleet;
mod history;
mod index;
mod keys;
mod leases;
mod life;
mod links;
mod parking;
mod payloads;
mod promises;
mod remains;
mod revisions;
mod schedules;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use buquet_core::store::Object;
use buquet_core::store::memory::Change;

use self::history::History;
use crate::journal::Journal;
use crate::scenario::Scenario;
use crate::trace::Tally;

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its short name.
    pub rule: &'static str,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// What the checker found.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What was wrong.
    pub violations: Vec<Violation>,
    /// What happened in the store, by kind: so that one sees that it was not idle.
    pub happened: BTreeMap<&'static str, u64>,
}

/// All that is known of a run.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// What was to happen.
    pub scenario: &'a Scenario,
    /// Every change of the store, in order.
    pub changes: Vec<Change>,
    /// What the store holds at the end.
    pub objects: BTreeMap<String, Object>,
    /// What processes were told.
    pub journal: &'a Journal,
    /// What the server was asked.
    pub tally: Tally,
    /// Whether the run came to rest.
    pub finished: bool,
    /// How long it took.
    pub ended_after: Duration,
}

/// Judges a run.
#[must_use]
pub fn check(evidence: &Evidence<'_>) -> Verdict {
    let mut found = Findings::default();
    let history = History::read(&evidence.changes, &mut found);
    for complaint in &evidence.journal.complaints {
        found.add("told nonsense", complaint.clone());
    }
    if !evidence.finished {
        let indexed = |key: &&String| ["ready/", "parked/", "leases/"].iter().any(|index| key.starts_with(index));
        let left: Vec<_> = evidence.objects.keys().filter(indexed).take(4).collect();
        found.add("comes to rest", format!("the index still held {left:?}"));
    }
    revisions::check(&history, &mut found);
    index::check(&evidence.changes, &history, &mut found);
    leases::check(&history, evidence, &mut found);
    leases::check_heartbeats(&history, evidence, &mut found);
    leases::check_recovery(&history, evidence, &mut found);
    promises::check(&history, evidence, &mut found);
    keys::check(&history, evidence, &mut found);
    cancels::check(&history, evidence, &mut found);
    schedules::check(&history, evidence, &mut found);
    parking::check(&history, evidence, &mut found);
    links::check(&history, &mut found);
    remains::check(&history, evidence, &mut found);
    dead::check(&history, evidence, &mut found);
    fleet::check(&history, evidence, &mut found);
    budget::check(evidence, &mut found);
    Verdict { violations: found.0, happened: history.happened() }
}

/// Violations as they are found, not too many of one kind.
#[derive(Debug, Default)]
struct Findings(Vec<Violation>);

impl Findings {
    const MOST: usize = 5;

    fn add(&mut self, rule: &'static str, what: impl Into<String>) {
        if self.0.iter().filter(|violation| violation.rule == rule).count() < Self::MOST {
            self.0.push(Violation { rule, what: what.into() });
        }
    }

    fn require(&mut self, holds: bool, rule: &'static str, what: impl FnOnce() -> String) {
        if !holds {
            self.add(rule, what());
        }
    }
}
