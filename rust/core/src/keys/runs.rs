//! The keys of runs: their records, large results, and the inboxes of their signals.

use super::WORKFLOW;
use crate::id::{RecordId, TaskId};

/// The last part of the key of a record of runs.
pub(super) const STATE: &str = "state.json";

/// The record of runs a key under [`WORKFLOW`] belongs to, if it is that of one.
#[must_use]
pub fn parse_run(key: &str) -> Option<RecordId> {
    let (id, name) = key.strip_prefix(WORKFLOW)?.split_once('/')?;
    let id: RecordId = id.parse().ok()?;
    (name == STATE && id.holds_runs()).then_some(id)
}

/// Where everything lies that belongs to a record of runs.
#[must_use]
pub fn of_runs(id: RecordId) -> String {
    format!("{WORKFLOW}{id}/")
}

/// The key of a large result, or of a chunk of a journal, of one of the record's runs.
#[must_use]
pub fn result(owner: RecordId, name: &str) -> String {
    format!("{WORKFLOW}{owner}/steps/{name}.json")
}

/// Where the signals of a run lie that nobody has consumed yet.
#[must_use]
pub fn inbox(run: TaskId) -> String {
    format!("{WORKFLOW}{}/signals/{}/", run.record(), run.index())
}

/// The key of a signal, given its name and the last part.
#[must_use]
pub fn signal(run: TaskId, name: &str, last: &str) -> String {
    format!("{}{name}/{last}.json", inbox(run))
}

/// The name of a signal and the last part of its key, given a key in the inbox of `run`.
#[must_use]
pub fn parse_signal(run: TaskId, key: &str) -> Option<(&str, &str)> {
    let (name, last) = key.strip_prefix(&inbox(run))?.split_once('/')?;
    let last = last.strip_suffix(".json")?;
    (!last.is_empty() && !last.contains('/')).then_some((name, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;
    use crate::keys;

    #[test]
    fn a_run_and_a_task_lie_apart_and_their_keys_lead_back() {
        let id = RecordId::random(&Entropy::seeded(5));
        let run = id.for_runs();
        assert!(run.holds_runs() && run.task(7).is_run() && !id.holds_runs() && run.shard() == id.shard());
        assert_eq!(keys::record(run), format!("workflow/{run}/state.json"));
        assert_eq!((parse_run(&keys::record(run)), keys::parse_record(&keys::record(run))), (Some(run), None));
        assert_eq!((parse_run(&keys::record(id)), keys::parse_record(&keys::record(id))), (None, Some(id)));
        assert_eq!(keys::parse_record(&format!("tasks/{}/{run}.json", run.shard())), None);
    }

    #[test]
    fn a_signal_leads_back_to_its_name_and_to_no_other_run() {
        let run = RecordId::random(&Entropy::seeded(5)).for_runs();
        let key = signal(run.task(3), "approved", "0001_a");
        assert_eq!(parse_signal(run.task(3), &key), Some(("approved", "0001_a")));
        for (run, key) in
            [(run.task(30), key.clone()), (run.task(3), key.replace("_a", "/a")), (run.task(3), key + "x")]
        {
            assert_eq!(parse_signal(run, &key), None, "{key}");
        }
    }
}
