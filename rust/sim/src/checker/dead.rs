//! Dead letters at the end: each failed task is found by the index, and the index leads to nothing else.

use std::collections::BTreeSet;

use buquet_core::time::Timestamp;

use super::history::History;
use super::view::Record;
use super::{Evidence, Findings};

const MINUTE_MS: i64 = 60_000;

pub(super) fn check(history: &History, evidence: &Evidence<'_>, found: &mut Findings) {
    let mut wanted = BTreeSet::new();
    let mut dead = BTreeSet::new();
    for (key, record) in history.last().filter(|(key, _)| !history.deleted.contains(*key)) {
        let failed: Vec<String> =
            record.tasks.iter().filter(|task| task.is_failed()).map(|task| record.task_id(task.n)).collect();
        // A purge that was interrupted leaves a record without tasks, to be found and deleted by the next.
        if !failed.is_empty() || record.is_purged() {
            wanted.extend(entry(record));
        }
        found.require(failed.is_empty() || record.failed.is_some(), "dead letters ahead", || {
            format!("{key} names no entry for its failed tasks")
        });
        dead.extend(failed);
    }
    let kept: BTreeSet<String> = evidence.objects.keys().filter(|key| key.starts_with("failed/")).cloned().collect();
    for key in wanted.difference(&kept) {
        found.add("dead letters are found", format!("the entry {key} is not there"));
    }
    for key in kept.difference(&wanted) {
        found.add("nothing is left over", key.clone());
    }
    let Some(listed) = &evidence.journal.listed_as_failed else { return };
    let shown: BTreeSet<String> = listed.iter().cloned().collect();
    found.require(shown.len() == listed.len(), "dead letters are found", || "one is listed twice".to_owned());
    for id in dead.symmetric_difference(&shown) {
        let (is, said) = if dead.contains(id) { ("failed", "is not") } else { ("not failed", "is") };
        found.add("dead letters are found", format!("task {id} is {is} and {said} listed"));
    }
}

/// The key of the entry that a record names.
fn entry(record: &Record) -> Option<String> {
    let failed = record.failed.as_ref()?;
    let Timestamp(at) = failed.at;
    let (shard, minute, rest) = (record.id.chars().next()?, at.div_euclid(MINUTE_MS), at.rem_euclid(MINUTE_MS));
    let hash =
        record.kind.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    Some(format!("failed/{shard}/{minute:010}/{}.{}.{hash:08x}.{rest}.{}", record.id, failed.rev, failed.count))
}
