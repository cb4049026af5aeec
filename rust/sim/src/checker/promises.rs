//! What processes were told must be what happened.

use std::collections::BTreeMap;

use buquet_core::limits;

use super::history::{Ending, History};
use super::view::{Record, Status};
use super::{Evidence, Findings};
use crate::journal::{Attempt, Decision, Told};
use crate::scenario::KEYED;
use crate::schedules::LABEL;

pub(super) fn check(history: &History, evidence: &Evidence<'_>, found: &mut Findings) {
    let mut tasks = BTreeMap::new();
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    for (_, record) in history.last() {
        tasks.extend(record.tasks.iter().map(|task| (record.task_id(task.n), task.status)));
    }
    // As they were submitted: what was purged has no input any more.
    for record in history.records.values().filter_map(|revisions| revisions.first()).map(|first| &first.record) {
        for task in &record.tasks {
            let id = record.task_id(task.n);
            match task.label() {
                // All tasks of a schedule have the same; for those of a key there are other rules.
                Some(label) if label.starts_with(LABEL) || label.starts_with(KEYED) => {}
                Some(label) => {
                    if let Some(other) = labels.insert(label.clone(), id.clone()) {
                        found.add("submitted once", format!("{label} is stored as {other} and as {id}"));
                    }
                }
                None => found.add("input kept", format!("task {id} has the input {}", task.input.get())),
            }
        }
    }
    check_submits(&tasks, &labels, evidence, found);
    check_results(&tasks, history, evidence, found);
    check_attempts(history, evidence, found);
}

fn check_submits(
    tasks: &BTreeMap<String, Status>,
    labels: &BTreeMap<String, String>,
    evidence: &Evidence<'_>,
    found: &mut Findings,
) {
    for (label, submit) in &evidence.journal.submits {
        let Some(id) = &submit.id else { continue };
        match tasks.get(id) {
            None => found.add("acknowledged is durable", format!("{label} was acknowledged as {id} and is not there")),
            Some(status) => found.require(status.is_terminal(), "acknowledged is finished", || {
                format!("{label}, acknowledged as {id} at {}, is {} at the end", submit.at, status.name())
            }),
        }
        found.require(labels.get(label) == Some(id), "acknowledged is durable", || {
            format!("{label} was acknowledged as {id} and lies under {:?}", labels.get(label))
        });
    }
}

fn check_results(tasks: &BTreeMap<String, Status>, history: &History, evidence: &Evidence<'_>, found: &mut Findings) {
    let once = history.statuses();
    for (id, status) in &evidence.journal.seen {
        let is = tasks.get(id).map(|status| status.name());
        // Whoever waits may see a failure before somebody replays it, and a result before it is put aside.
        let moved = *status == "failed" || is == Some("archived");
        if moved && once.contains(&(id.clone(), status.as_str())) {
            continue;
        }
        found.require(is == Some(status), "results are final", || format!("task {id} was {status} once and is {is:?}"));
    }
}

fn check_attempts(history: &History, evidence: &Evidence<'_>, found: &mut Findings) {
    let mut endings: BTreeMap<(&str, &str), Vec<&Ending>> = BTreeMap::new();
    for ending in &history.endings {
        endings.entry((&ending.task, &ending.lease)).or_default().push(ending);
    }
    for ((task, lease), ends) in &endings {
        found.require(ends.len() == 1, "one commit, one lease", || {
            format!("task {task} ended {} times under lease {lease}", ends.len())
        });
    }
    for (task, lease, told_at) in &evidence.journal.lost {
        let ended =
            endings.get(&(task.as_str(), lease.as_str())).is_some_and(|ends| ends.iter().any(|end| end.at <= *told_at));
        found.require(ended, "lost is lost", || {
            format!("at {told_at} a worker was told that it had lost task {task}, and lease {lease} had not ended")
        });
    }
    for (key, attempt) in &evidence.journal.attempts {
        let (task, lease) = key;
        let began = history.beginnings.get(key);
        let good = began.is_some_and(|began| {
            (began.attempt, &began.worker) == (attempt.number, &attempt.worker) && began.at <= attempt.at
        });
        found.require(good, "handed out is claimed", || {
            format!("task {task} attempt {} was handed out under {lease}, the store says {began:?}", attempt.number)
        });
        let ends = endings.get(&(task.as_str(), lease.as_str())).map(Vec::as_slice).unwrap_or_default();
        check_told(task, lease, attempt, ends, found);
    }
}

fn check_told(task: &str, lease: &str, attempt: &Attempt, ends: &[&Ending], found: &mut Findings) {
    for (decision, told) in &attempt.decisions {
        let stored = ends.iter().filter(|end| end.matches(decision)).count();
        let what = || format!("task {task} under {lease}: {decision:?} was told {told:?} and is stored {stored} times");
        match told {
            Some(Told::Committed(status)) => {
                let reported = ends.iter().find(|end| end.matches(decision)).map(|end| end.reported.as_ref());
                found.require(
                    reported.is_none_or(|reported| reported == attempt.reports.last()),
                    "the last report stays",
                    || format!("task {task} under {lease}: said {:?}, stored is {reported:?}", attempt.reports.last()),
                );
                let same = ends.iter().any(|end| end.matches(decision) && end.status.name() == status);
                found.require(stored == 1 && same, "committed is committed once", what);
            }
            // A release also looks like the fall of a lease that nobody ran; what was called off ends alike in any way.
            Some(Told::LeaseLost) if matches!(decision, Decision::Release | Decision::Cancel) => {}
            Some(Told::LeaseLost)
                if matches!(decision, Decision::Reschedule(_) | Decision::Park(_))
                    && ends.iter().all(|end| end.called_off) => {}
            // A record names its last commits only: one that lies further back cannot be told from one that was lost.
            Some(Told::LeaseLost) if ends.iter().any(|end| end.commits_after > limits::TRAIL) => {}
            Some(Told::LeaseLost) => found.require(stored == 0, "lost never overwrites", what),
            Some(Told::Refused) => found.require(stored == 0, "refused is not stored", what),
            // Who was woken was not parked then; it may have been later, under the same lease.
            Some(Told::GivenUp | Told::Woken) | None => {}
        }
    }
}

impl Record {
    /// Whether nothing more is to be done in it.
    pub(super) fn is_finished(&self) -> bool {
        self.leases.is_empty() && self.tasks.iter().all(|task| task.status.is_terminal())
    }
}
