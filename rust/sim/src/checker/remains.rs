//! What may be left in the store when everything is over.

use super::history::History;
use super::{Evidence, Findings};
use crate::scenario::Kind;

pub(super) fn check(history: &History, evidence: &Evidence<'_>, found: &mut Findings) {
    for (key, record) in history.last() {
        let open = || {
            let open: Vec<_> = record.tasks.iter().filter(|task| !task.status.is_terminal()).collect();
            let states: Vec<_> = open.iter().map(|task| format!("{} {}", task.n, task.status.name())).collect();
            format!("{key} rev {}: {}", record.rev, states.join(", "))
        };
        found.require(record.is_finished(), "no task is forgotten", open);
    }
    for key in evidence.objects.keys() {
        let (kind, rest) = key.split_once('/').unwrap_or((key, ""));
        match kind {
            // Entries of failed tasks lead to them: see there.
            "buquet.json" | "bell.json" | "cancels.json" | "tasks" | "schedules" | "failed" => {}
            "ready" if ["!schedules", "!parked"].contains(&rest) => {}
            "workers" => {
                let id = rest.trim_end_matches(".json");
                let life = evidence.journal.workers.get(id);
                let stopped = life.is_some_and(|life| life.stopped_at.is_some());
                // What a stopped worker had under way may land after its end.
                let calm = evidence.scenario.kind != Kind::Rough;
                found.require(!(stopped && calm), "nothing is left over", || format!("{key} of a stopped worker"));
            }
            // What attempts left whose commit never came is collected later; a process that dies while it probes a new
            // store leaves some of its objects.
            "payloads" | "probe" if evidence.scenario.kind == Kind::Rough => {}
            _ => found.add("nothing is left over", key.clone()),
        }
    }
}
