//! The indexes of claimable and of parked work: what is due and nobody takes, and whether anybody would.

use std::collections::BTreeMap;

use super::visit::{Decoded, Visit};
use super::workers::Workers;
use super::{Check, Status, plural, roughly};
use crate::error::{Error, Result};
use crate::keys::{self, ReadyEntry};
use crate::limits;
use crate::record::{Task, TaskStatus};
use crate::store::Page;
use crate::time::Timestamp;

/// Entries read of each shard, where the index does not fit into one page.
const OF_A_SHARD: usize = 200;
/// Types whose oldest record is read.
const MOST_TYPES: usize = 20;
/// What is due longer than this has been overlooked or waits for a free worker, in milliseconds: every worker looks at
/// the whole index once a minute.
const PATIENCE: i64 = 90_000;

/// The entries that were found.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub groups: Vec<Group>,
    pub entries: usize,
    pub now: Timestamp,
    /// Whether only the oldest entries of each shard were looked at.
    pub more: bool,
    /// It is the index of parked work.
    pub parked: bool,
}

/// What is overdue of one type.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub type_hash: u32,
    pub tasks: u64,
    pub oldest: ReadyEntry,
    /// The record of the oldest: gone, unreadable, or the type's name and whether it waits indeed.
    pub sample: Sample,
}

/// What the oldest entry of a group leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sample {
    /// It was not looked at.
    Unread,
    /// A task that waits, and its type.
    Waits(String),
    /// Nothing that waits: an entry that is left over.
    LeftOver,
    /// A record that cannot be read, and why.
    Corrupt(String, String),
}

pub(super) async fn gather(visit: &Visit, workers: Option<&Workers>, parked: bool) -> Result<Ready> {
    let index = if parked { keys::PARKED } else { keys::READY };
    let first = visit.list(index, None, limits::PAGE).await?;
    let mut ready = Ready { groups: Vec::new(), entries: 0, now: first.at, more: first.value.more, parked };
    let mut entries = parsed(&first.value);
    if ready.more {
        entries.clear();
        for shard in keys::SHARDS.chars() {
            let page = visit.list(&keys::shard_prefix(index, shard), None, OF_A_SHARD).await?;
            entries.extend(parsed(&page.value));
        }
    }
    ready.entries = entries.len();
    let mut groups: BTreeMap<u32, Group> = BTreeMap::new();
    for entry in entries.into_iter().filter(|entry| ready.now.0 - entry.due.0 > PATIENCE) {
        let new = Group { type_hash: entry.type_hash, tasks: 0, oldest: entry, sample: Sample::Unread };
        let group = groups.entry(entry.type_hash).or_insert(new);
        group.tasks += u64::from(entry.pending);
        if entry.due < group.oldest.due {
            group.oldest = entry;
        }
    }
    // Those that nobody takes come first.
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by_key(|group| (workers.is_some_and(|all| !all.takers(group.type_hash).is_empty()), group.oldest.due));
    let keys: Vec<String> = groups.iter().take(MOST_TYPES).map(|group| keys::record(group.oldest.record)).collect();
    let read: BTreeMap<_, _> = visit.records(keys).await?.into_iter().collect();
    for group in groups.iter_mut().take(MOST_TYPES) {
        let key = keys::record(group.oldest.record);
        group.sample = sample(read.get(&key), &key, ready.now, parked);
    }
    ready.groups = groups;
    Ok(ready)
}

fn parsed(page: &Page) -> Vec<ReadyEntry> {
    page.entries.iter().filter_map(|listed| ReadyEntry::parse(&listed.key)).collect()
}

fn sample(read: Option<&Decoded>, key: &str, now: Timestamp, parked: bool) -> Sample {
    match read {
        None => Sample::LeftOver,
        // Of a newer version: nothing is known of it, and nothing is wrong with it.
        Some(Err(Error::Layout(_))) => Sample::Unread,
        Some(Err(error)) => Sample::Corrupt(key.to_owned(), error.to_string()),
        Some(Ok(record)) => {
            let is_due = |task: &Task| {
                let (status, at) = if parked {
                    (TaskStatus::Waiting, task.wakes_at())
                } else {
                    (TaskStatus::Pending, task.available_at)
                };
                task.status == status && at <= now
            };
            let waits = record.tasks.iter().any(is_due);
            if waits { Sample::Waits(record.kind.clone()) } else { Sample::LeftOver }
        }
    }
}

pub(super) fn judge(name: &'static str, ready: &Result<Ready>, workers: Option<&Workers>) -> Check {
    let ready = match ready {
        Ok(ready) => ready,
        Err(error) => return Check::unknown(name, error),
    };
    let waiting = ready.groups.iter().filter_map(|group| match &group.sample {
        Sample::Waits(kind) => Some((group, kind.clone())),
        Sample::Unread => Some((group, format!("with the hash {:08x}", group.type_hash))),
        Sample::LeftOver | Sample::Corrupt(..) => None,
    });
    let (mut orphaned, mut busy) = (Vec::new(), Vec::new());
    for (group, kind) in waiting {
        let takers = workers.map(|workers| workers.takers(group.type_hash)).unwrap_or_default();
        let waits = roughly(ready.now.0 - group.oldest.due.0);
        let tasks = plural(usize::try_from(group.tasks).unwrap_or(usize::MAX), "task");
        if takers.is_empty() {
            orphaned
                .push((kind.clone(), format!("no worker handles type {kind:?}: {tasks} due, the oldest for {waits}")));
        } else {
            let (running, room): (usize, usize) = takers.iter().fold((0, 0), |(running, room), taker| {
                (running + taker.running, room + taker.concurrency.saturating_sub(taker.stuck))
            });
            busy.push((
                running < room,
                format!(
                    "{tasks} of type {kind:?} due, the oldest for {waits}; {} {running}/{room} busy",
                    plural(takers.len(), "worker")
                ),
            ));
        }
    }
    let check = verdict(name, &orphaned, &busy, ready, workers);
    let overdue: u64 = ready.groups.iter().map(|group| group.tasks).sum();
    let kinds: Vec<String> = orphaned.into_iter().map(|(kind, _)| kind).collect();
    check.with("entries", ready.entries).with("overdue", overdue).with("types_without_worker", kinds)
}

fn verdict(
    name: &'static str,
    orphaned: &[(String, String)],
    busy: &[(bool, String)],
    ready: &Ready,
    workers: Option<&Workers>,
) -> Check {
    if let Some((kind, _)) = orphaned.first() {
        let what: Vec<&str> = orphaned.iter().map(|(_, what)| what.as_str()).collect();
        let known: Vec<&str> = workers.map(known_types).unwrap_or_default();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let advice =
            format!("start a worker with a handler for {kind:?}, or check the spelling: living workers take {known}");
        return Check::new(name, Status::Failed, what.join("; "), advice);
    }
    if !busy.is_empty() {
        let what: Vec<&str> = busy.iter().map(|(_, what)| what.as_str()).collect();
        let free = busy.iter().any(|(free, _)| *free);
        let advice = if free {
            "workers have room and do not take it: look at their logs for trouble with the store"
        } else {
            "workers are full: start more, or raise worker.concurrency"
        };
        return Check::new(name, Status::Warning, what.join("; "), advice);
    }
    let more = if ready.more { "the oldest of many looked at: " } else { "" };
    let work = if ready.parked { "parked work" } else { "work" };
    let entries = plural(ready.entries, "index entry").replace("entrys", "entries");
    Check::ok(name, format!("{more}{entries} of {work}, none overdue"))
}

fn known_types(workers: &Workers) -> Vec<&str> {
    let mut known: Vec<&str> = workers.taking().flat_map(|member| &member.types).map(String::as_str).collect();
    known.sort_unstable();
    known.dedup();
    known.truncate(20);
    known
}

#[cfg(test)]
mod tests {
    use super::super::workers::tests::{member, staff};
    use super::*;
    use crate::entropy::Entropy;
    use crate::id::RecordId;

    fn group(kind: &str, sample: Sample) -> Group {
        let oldest = ReadyEntry {
            due: Timestamp(0),
            record: RecordId::random(&Entropy::seeded(1)),
            seq: 1,
            priority: 5,
            type_hash: keys::type_hash(kind),
            pending: 12,
            parked: false,
        };
        Group { type_hash: oldest.type_hash, tasks: 12, oldest, sample }
    }

    fn check(groups: Vec<Group>, workers: &Workers) -> Check {
        judge(
            "ready",
            &Ok(Ready { groups, entries: 12, now: Timestamp(600_000), more: false, parked: false }),
            Some(workers),
        )
    }

    #[test]
    fn a_type_that_nobody_handles_is_a_failure_that_names_it() {
        let check = check(vec![group("gret", Sample::Waits("gret".into()))], &staff(vec![member(true, 0)]));
        assert_eq!(check.status, Status::Failed);
        assert_eq!(check.what, "no worker handles type \"gret\": 12 tasks due, the oldest for 10 min");
        assert!(check.advice.contains("living workers take greet"), "{check:?}");
        assert_eq!(check.details["types_without_worker"], serde_json::json!(["gret"]));
    }

    #[test]
    fn overdue_work_of_busy_workers_is_a_warning_that_says_whether_they_have_room() {
        let waits = || vec![group("greet", Sample::Waits("greet".into()))];
        let full = check(waits(), &staff(vec![member(true, 4)]));
        assert!(full.status == Status::Warning && full.advice.contains("start more"), "{full:?}");
        let idle = check(waits(), &staff(vec![member(true, 0)]));
        assert!(idle.status == Status::Warning && idle.advice.contains("logs"), "{idle:?}");
    }

    #[test]
    fn what_is_left_over_is_no_trouble() {
        assert_eq!(check(vec![group("greet", Sample::LeftOver)], &staff(vec![])).status, Status::Ok);
        assert_eq!(check(vec![], &staff(vec![])).status, Status::Ok);
    }
}
