//! One task for each slot: never two, none that is no slot, and none missing where all are caught up with.

use std::collections::BTreeMap;

use buquet_core::time::Timestamp;
use serde::Deserialize;

use super::history::History;
use super::{Evidence, Findings};
use crate::schedules::{CatchUpPlan, LABEL, SchedulePlan};

/// A schedule that is disabled while nothing hinders the workers has come this close to its end.
const BEHIND_MS: i64 = 120_000;

/// A stored schedule as the checker reads it.
#[derive(Deserialize)]
struct Stored {
    name: String,
    rev: u64,
    enabled: bool,
    handled: Timestamp,
}

pub(super) fn check(history: &History, evidence: &Evidence<'_>, found: &mut Findings) {
    let mut slots: BTreeMap<String, BTreeMap<Timestamp, Vec<String>>> = BTreeMap::new();
    // As they were submitted: a retry moves the time.
    for record in history.submitted() {
        for task in &record.tasks {
            let Some(label) = task.label() else { continue };
            let Some(name) = label.strip_prefix(LABEL) else { continue };
            let of_name = slots.entry(name.to_owned()).or_default();
            of_name.entry(task.available_at).or_default().push(record.task_id(task.n));
        }
    }
    let revisions = revisions(evidence, found);
    for plan in &evidence.scenario.schedules {
        let fired = slots.remove(&plan.name).unwrap_or_default();
        for (slot, tasks) in &fired {
            found.require(tasks.len() == 1, "one task a slot", || {
                format!("the slot {slot} of {} has {} tasks: {tasks:?}", plan.name, tasks.len())
            });
            found.require(plan.is_slot(*slot), "one task a slot", || format!("{slot} is no slot of {}", plan.name));
        }
        check_course(plan, revisions.get(&plan.name).map(Vec::as_slice).unwrap_or_default(), &fired, evidence, found);
    }
    for name in slots.keys() {
        found.add("one task a slot", format!("{name} is no schedule, and has tasks"));
    }
}

/// Every revision of every schedule, each a legal successor of the one before.
fn revisions(evidence: &Evidence<'_>, found: &mut Findings) -> BTreeMap<String, Vec<Stored>> {
    let mut revisions: BTreeMap<String, Vec<Stored>> = BTreeMap::new();
    for change in evidence.changes.iter().filter(|change| change.key.starts_with("schedules/")) {
        let Some(stored) = change.body.as_ref().and_then(|body| serde_json::from_slice::<Stored>(body).ok()) else {
            found.add("documented JSON", format!("{} cannot be read", change.key));
            continue;
        };
        let before = revisions.entry(stored.name.clone()).or_default();
        let last = before.last().map_or((0, Timestamp(0)), |last| (last.rev, last.handled));
        found.require(stored.rev == last.0 + 1 && stored.handled >= last.1, "schedules go forward", || {
            format!("{} rev {}: handled {} after {}", stored.name, stored.rev, stored.handled, last.1)
        });
        before.push(stored);
    }
    revisions
}

fn check_course(
    plan: &SchedulePlan,
    revisions: &[Stored],
    fired: &BTreeMap<Timestamp, Vec<String>>,
    evidence: &Evidence<'_>,
    found: &mut Findings,
) {
    let enabled: Vec<&Stored> = revisions.iter().filter(|stored| stored.enabled).collect();
    let (Some(first), Some(last)) = (enabled.first(), enabled.last()) else {
        return found.add("acknowledged is durable", format!("schedule {} was never stored", plan.name));
    };
    if let Some(disabled_at) = evidence.journal.schedules.get(&plan.name) {
        let interval = i64::try_from(plan.every_ms).unwrap_or(i64::MAX);
        let behind = disabled_at.0 - last.handled.0;
        found.require(behind <= interval + BEHIND_MS, "slots fire", || {
            format!("{} was disabled at {disabled_at} and had come to {} only", plan.name, last.handled)
        });
    }
    if plan.catch_up == CatchUpPlan::All {
        for slot in plan.slots(first.handled, last.handled) {
            found.require(fired.contains_key(&slot), "no slot is missing", || {
                format!("the slot {slot} of {} has no task", plan.name)
            });
        }
    }
}

impl SchedulePlan {
    fn is_slot(&self, moment: Timestamp) -> bool {
        i64::try_from(self.every_ms).is_ok_and(|every| moment.0 % every == 0)
    }

    fn slots(&self, after: Timestamp, until: Timestamp) -> impl Iterator<Item = Timestamp> {
        let every = i64::try_from(self.every_ms).unwrap_or(i64::MAX);
        (after.0 / every + 1..=until.0 / every).map(move |n| Timestamp(n * every))
    }
}
