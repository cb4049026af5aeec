//! The published prices, counted where nothing goes wrong.

use std::collections::BTreeMap;

use super::{Evidence, Findings};
use crate::scenario::Kind;
use crate::trace::as_float;

/// Dollars for one unit: a PUT or LIST.
const UNIT: f64 = 5.0 / 1_000_000.0;
/// What an idle worker may cost in a month.
const IDLE_DOLLARS: f64 = 2.0;
const MONTH_SECONDS: f64 = 30.0 * 24.0 * 3600.0;
/// Requests that any run needs to open the queue and start and stop the worker.
const OPENING: u64 = 40;

pub(super) fn check(evidence: &Evidence<'_>, found: &mut Findings) {
    let tally = &evidence.tally;
    let of = |counts: &BTreeMap<String, u64>, kinds: &[&str]| -> u64 {
        kinds.iter().filter_map(|kind| counts.get(*kind)).sum()
    };
    let work = of(&tally.puts, &["tasks", "ready", "leases"]);
    let reads = of(&tally.gets, &["tasks"]);
    let bell = of(&tally.puts, &["bell.json"]);
    let tasks = evidence.scenario.tasks() as u64;
    let mut within = |what: &str, count: u64, most: u64| {
        found.require(count <= most, "budget", || {
            format!("{tasks} tasks, {:?}: {count} {what}, at most {most}: {tally:?}", evidence.scenario.kind)
        });
    };
    match evidence.scenario.kind {
        Kind::Rough | Kind::Recovery => {}
        Kind::Lone => {
            within("PUTs", work, 5 * tasks);
            within("GETs", reads, 2 * tasks);
            within("touches of the bell", bell, tasks);
        }
        Kind::Burst(_) => within("PUTs", work + bell, tasks / 5 + 10),
        Kind::Bulk(_) => within("PUTs", work + bell, tasks / 10 + 10),
        Kind::Idle => check_idle(evidence, found),
        Kind::Fleet => {
            within("GETs", reads, tasks * 13 / 10);
            within("LISTs", of(&tally.lists, &["ready"]), tasks / 10 + 1_000);
        }
    }
}

fn check_idle(evidence: &Evidence<'_>, found: &mut Findings) {
    let units = evidence.tally.units() - as_float(OPENING);
    let dollars = units * UNIT * MONTH_SECONDS / evidence.ended_after.as_secs_f64();
    found.require(dollars <= IDLE_DOLLARS, "budget", || {
        format!("an idle worker costs ${dollars:.2} a month, at most ${IDLE_DOLLARS:.2}: {:?}", evidence.tally)
    });
    for attempt in evidence.journal.attempts.values() {
        let Some(submit) = evidence.journal.submits.get(&attempt.label) else { continue };
        let pick_up = attempt.at.since(submit.at);
        found.require(pick_up.as_millis() <= 1_000, "picked up within a second", || {
            format!("{} was picked up after {} ms", attempt.label, pick_up.as_millis())
        });
    }
}
