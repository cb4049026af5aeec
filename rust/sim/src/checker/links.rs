//! Tasks that wait for others: each end is told once, nobody starts too soon, and nobody waits for ever.

use std::collections::BTreeMap;

use buquet_core::record::ENGINE;
use buquet_core::time::Timestamp;

use super::Findings;
use super::history::{History, Revision};
use super::view::{After, Link, Record, Slot, Status, Task};

/// The revisions of each record, by its id, over all its lives.
type Revisions<'a> = BTreeMap<&'a str, Vec<&'a Revision>>;

pub(super) fn check(history: &History, found: &mut Findings) {
    let mut records: Revisions<'_> = BTreeMap::new();
    for revision in history.records.values().flatten() {
        records.entry(&revision.record.id).or_default().push(revision);
    }
    for revisions in history.records.values() {
        for pair in revisions.windows(2) {
            let [old, new] = pair else { continue };
            for (was, is) in old.record.tasks.iter().zip(&new.record.tasks) {
                let id = new.record.task_id(is.n);
                check_deliveries(&id, was, is, new.at, &records, found);
                if was.purged_at.is_none() && is.purged_at.is_some() {
                    check_purged(&id, &new.record, is.n, new.at, &records, found);
                }
            }
        }
    }
    for (key, record) in history.last() {
        for link in record.links.iter().filter(|link| !link.done && all_ended(record, &link.of)) {
            check_told(key, link, &records, found);
        }
    }
}

/// Whether it waits for tasks that have yet to end.
pub(super) fn waits(task: &Task) -> bool {
    task.after.as_ref().is_some_and(is_open)
}

fn is_open(after: &After) -> bool {
    after.slots.iter().any(|slot| slot.ended.is_none())
}

fn in_ranges(of: &[(u16, u16)], n: u16) -> bool {
    of.iter().any(|(first, last)| (*first..=*last).contains(&n))
}

fn all_ended(record: &Record, of: &[(u16, u16)]) -> bool {
    record.tasks.iter().filter(|task| in_ranges(of, task.n)).all(|task| task.status.is_terminal())
}

/// Links come, are owed once their tasks have ended, then delivered, and stay.
pub(super) fn check_step(before: &Record, after: &Record) -> Result<(), String> {
    if after.links.len() < before.links.len() {
        return Err("links are gone".into());
    }
    for (was, is) in before.links.iter().zip(&after.links) {
        let same = (&was.of, &was.target, was.count, was.slot) == (&is.of, &is.target, is.count, is.slot);
        let legal = match ((was.owed.is_some(), was.done), (is.owed.is_some(), is.done)) {
            ((false, false), (true, false)) => all_ended(after, &is.of),
            ((true, false), (true, false)) => was.owed == is.owed,
            ((false, false), (false, false)) => !all_ended(after, &is.of),
            ((true, false) | (false, true), (false, true)) => true,
            _ => false,
        };
        if !(same && legal) {
            return Err(format!("the link {was:?} became {is:?}"));
        }
    }
    Ok(())
}

/// What was delivered stays, and nothing else of what a task waits for changes.
pub(super) fn check_slots(was: &Task, is: &Task) -> Result<(), String> {
    let (Some(before), Some(after)) = (&was.after, &is.after) else {
        return if was.after == is.after { Ok(()) } else { Err("what it waits for came or went".into()) };
    };
    let kept = |(was, is): (&Slot, &Slot)| {
        (&was.record, &was.of) == (&is.record, &is.of) && (was.ended.is_none() || was.ended == is.ended)
    };
    let same = before.on == after.on && before.slots.len() == after.slots.len();
    let told = before != after && was.status != Status::Waiting;
    if same && !told && before.slots.iter().zip(&after.slots).all(kept) {
        Ok(())
    } else {
        Err(format!("what it waits for changed from {before:?} to {after:?}"))
    }
}

/// What is delivered is true, and the last of it decides as the task wants.
fn check_deliveries(id: &str, was: &Task, is: &Task, at: Timestamp, records: &Revisions<'_>, found: &mut Findings) {
    let (Some(before), Some(after)) = (&was.after, &is.after) else { return };
    for (old, new) in before.slots.iter().zip(&after.slots).filter(|(old, new)| old.ended != new.ended) {
        let source = records.get(new.record.as_str()).map(Vec::as_slice).unwrap_or_default();
        let earlier = || source.iter().filter(|revision| revision.at <= at);
        let culprit = new.ended.as_ref().and_then(|ended| ended.culprit.as_ref());
        let gone = earlier().any(|revision| revision.record.void) && culprit.is_some();
        let completed = |record: &Record| {
            let of = record.tasks.iter().filter(|task| in_ranges(&new.of, task.n));
            of.into_iter()
                .all(|task| task.status == Status::Completed || task.archived_from.as_deref() == Some("completed"))
        };
        let true_once = earlier().any(|revision| {
            let record = &revision.record;
            all_ended(record, &new.of) && (culprit.is_none() == completed(record))
        });
        found.require(old.ended.is_none() && (gone || true_once), "what it waits for has ended", || {
            format!("task {id} was told at {at} of {new:?}")
        });
    }
    let culprit = after.slots.iter().any(|slot| slot.ended.as_ref().is_some_and(|ended| ended.culprit.is_some()));
    let wanted = match after.on.as_str() {
        "success" => !culprit,
        "failure" => culprit,
        _ => true,
    };
    let by_engine = is.cancel.as_ref().is_some_and(|cancel| cancel.by == ENGINE);
    let good = match (was.status, is.status) {
        (Status::Waiting, Status::Pending) if is_open(before) => !is_open(after) && wanted,
        (Status::Waiting, Status::Cancelled) if by_engine => !is_open(after) && !wanted,
        (Status::Waiting, Status::Waiting) => is_open(after),
        _ => true,
    };
    found.require(good, "dependencies are respected", || {
        format!("task {id} went from {} to {} after {after:?}", was.status.name(), is.status.name())
    });
}

/// Nothing is purged that somebody has yet to read.
fn check_purged(id: &str, record: &Record, n: u16, at: Timestamp, records: &Revisions<'_>, found: &mut Findings) {
    for link in record.links.iter().filter(|link| in_ranges(&link.of, n)) {
        for target in targets(link) {
            let status = task_at(&target, at, records).map(|task| task.status);
            found.require(status.is_none_or(Status::is_terminal), "purged before it was read", || {
                format!("task {id} was purged at {at}, and {target} has yet to read it")
            });
        }
    }
}

/// Who waits for tasks that have ended was told, or waits no more.
fn check_told(key: &str, link: &Link, records: &Revisions<'_>, found: &mut Findings) {
    for target in targets(link) {
        let Some(task) = task_at(&target, Timestamp::LAST, records) else { continue };
        let slot = task.after.as_ref().and_then(|after| after.slots.get(link.slot));
        let told = slot.is_some_and(|slot| slot.ended.is_some());
        found.require(told || task.status.is_terminal(), "links are delivered", || {
            format!("{key}: {target} was never told of {link:?}")
        });
    }
}

fn targets(link: &Link) -> impl Iterator<Item = String> + '_ {
    let (record, first) = link.target.split_at(link.target.len().saturating_sub(4));
    let first = u16::from_str_radix(first, 16).unwrap_or(0);
    (first..first.saturating_add(link.count)).map(move |n| format!("{record}{n:04x}"))
}

/// A task as it was at a time.
fn task_at<'a>(id: &str, at: Timestamp, records: &Revisions<'a>) -> Option<&'a Task> {
    let (record, n) = id.split_at(id.len().saturating_sub(4));
    let n = usize::from(u16::from_str_radix(n, 16).ok()?);
    let revisions = records.get(format!("{record}0000").as_str())?;
    let last = revisions.iter().rev().find(|revision| revision.at <= at)?;
    last.record.tasks.get(n)
}
