//! Every revision of every record must be a legal successor of the one before.

use std::collections::BTreeMap;

use super::history::{History, Revision};
use super::view::{Record, Status, Task};
use super::{Findings, life, links, parking};

pub(super) fn check(history: &History, found: &mut Findings) {
    let mut commits = BTreeMap::new();
    for (key, revisions) in &history.records {
        for revision in revisions {
            if let Some(other) = commits.insert(revision.record.commit.clone(), key) {
                found.add("one commit, one revision", format!("{key} and {other}: {}", revision.record.commit));
            }
            check_shape(key, &revision.record, found);
        }
        if let Some(first) = revisions.first() {
            check_first(key, &first.record, found);
        }
        for pair in revisions.windows(2) {
            let [old, new] = pair else { continue };
            check_step(key, old, new, found);
        }
    }
}

fn check_first(key: &str, record: &Record, found: &mut Findings) {
    let good = record.rev == 1 && record.leases.is_empty() && record.tasks.iter().all(is_fresh);
    found.require(good, "legal history", || format!("{key} does not begin as a submit"));
    found.require(record.void == record.tasks.is_empty(), "legal history", || format!("{key}: void, but with tasks"));
}

fn is_fresh(task: &Task) -> bool {
    let waits = task.status == Status::Waiting && task.after.is_some();
    (waits || task.status == Status::Pending) && task.attempt == 0 && task.retry_count == 0
}

/// What must hold in any revision by itself.
fn check_shape(key: &str, record: &Record, found: &mut Findings) {
    for task in &record.tasks {
        let held = task.lease.as_ref().is_some_and(|lease| {
            record.leases.get(lease).is_some_and(|held| Some(&held.worker) == task.worker.as_ref())
        });
        let good = match task.status {
            Status::Pending => task.lease.is_none() && task.completed_at.is_none(),
            Status::Running => held && task.started_at.is_some() && task.completed_at.is_none(),
            Status::Waiting => {
                let waits = parking::parks(task) > 0 || links::waits(task);
                task.lease.is_none() && task.completed_at.is_none() && waits
            }
            Status::Completed => task.lease.is_none() && task.output.is_some() && task.completed_at.is_some(),
            Status::Failed => task.lease.is_none() && task.error.is_some() && task.completed_at.is_some(),
            Status::Archived => task.lease.is_none() && task.completed_at.is_some(),
            Status::Cancelled => task.lease.is_none() && task.cancel.is_some() && task.completed_at.is_some(),
            Status::Expired => task.lease.is_none() && task.expires_at <= task.completed_at,
        };
        found.require(good && parking::check_shape(task), "legal history", || {
            format!("{key} rev {}: task {} is {} with other fields", record.rev, task.n, task.status.name())
        });
    }
    let idle = |lease: &String| !record.tasks.iter().any(|task| task.lease.as_ref() == Some(lease));
    if let Some(lease) = record.leases.keys().find(|lease| idle(lease)) {
        found.add("legal history", format!("{key} rev {}: lease {lease} holds nothing", record.rev));
    }
    let of = |status: Status| record.tasks.iter().filter(move |task| task.status == status);
    let ready_by = of(Status::Pending).map(|task| task.available_at).min();
    let parked_by = of(Status::Waiting).map(parking::due).min();
    for (entry, due, what) in [(&record.ready, ready_by, "ready"), (&record.parked, parked_by, "parked")] {
        let good = match (entry, due) {
            (Some(entry), Some(due)) => entry.due <= due && entry.seq <= record.seq,
            (None, None) => true,
            _ => false,
        };
        found.require(good, "legal history", || {
            format!("{key} rev {}: its {what} entry is not that of its tasks", record.rev)
        });
    }
}

fn check_step(key: &str, old: &Revision, new: &Revision, found: &mut Findings) {
    let (before, after) = (&old.record, &new.record);
    let what = |text: &str| format!("{key} rev {} -> {}: {text}", before.rev, after.rev);
    found.require(after.rev == before.rev + 1, "rev + 1", || what("not the next revision"));
    // A void left by a submit that was abandoned half way is filled by the next one for the same slot.
    let filled = before.void && !after.void && after.leases.is_empty() && after.tasks.iter().all(is_fresh);
    // Or it is barred, so that it can be purged.
    let barred = before.void && after.void;
    let alike = before.kind == after.kind && before.tasks.len() == after.tasks.len();
    let same = before.id == after.id && (alike || filled || barred);
    found.require(same, "legal history", || what("another record"));
    found.require(after.seq >= before.seq, "legal history", || what("seq went back"));
    for entries in [(&before.ready, &after.ready), (&before.parked, &after.parked)] {
        let reused = match entries {
            (Some(was), Some(is)) => is.seq == was.seq && is.due != was.due,
            (None, Some(is)) => is.seq <= before.seq,
            _ => false,
        };
        found.require(!reused, "ready entries are new", || what("a new ready or parked entry has an old number"));
    }
    if let Err(text) = links::check_step(before, after) {
        found.add("legal history", what(&text));
    }
    for (lease, held) in &before.leases {
        let later =
            after.leases.get(lease).is_none_or(|now| now.worker == held.worker && now.expires_at >= held.expires_at);
        found.require(later, "legal history", || what("a lease changed hands or ends earlier"));
    }
    for (was, is) in before.tasks.iter().zip(&after.tasks) {
        if let Err(text) = check_task(was, is, new) {
            found.add("legal history", what(&format!("task {}: {text}", was.n)));
        }
    }
}

/// The checker's own table of what one commit may do to one task.
fn check_task(was: &Task, is: &Task, new: &Revision) -> Result<(), String> {
    if was.purged_at != is.purged_at {
        return check_purge(was, is);
    }
    let replayed = (was.status, is.status) == (Status::Failed, Status::Pending);
    let same = was.n == is.n && was.input.get() == is.input.get() && was.submitted_at == is.submitted_at;
    // Whoever runs a task again does not want it to be too late already.
    let same = same && (&was.tags, &was.key) == (&is.tags, &is.key) && (replayed || was.expires_at == is.expires_at);
    if !same {
        return Err("input, number, submission, tags, key or expiry changed".into());
    }
    if replayed {
        return check_replay(was, is);
    }
    life::check_wish(was, is)?;
    life::check_progress(was, is)?;
    parking::check_bits(was, is)?;
    links::check_slots(was, is)?;
    let counted = is.attempt >= was.attempt && is.retry_count >= was.retry_count && is.loss_count >= was.loss_count;
    if !counted {
        return Err("a count went back".into());
    }
    if was.status == Status::Waiting {
        return parking::check_waiting(was, is, new.at);
    }
    match (was.status, is.status) {
        (Status::Pending, Status::Running) => {
            if is.attempt != was.attempt + 1 || is.retry_count != was.retry_count {
                return Err("a start counts one attempt and nothing else".into());
            }
            if new.at < was.available_at {
                return Err(format!("started at {}, before it was available at {}", new.at, was.available_at));
            }
            if let (Some(started_at), Some(expires_at)) = (is.started_at, was.expires_at)
                && started_at >= expires_at
                && parking::parks(was) == 0
            {
                return Err(format!("started at {started_at}, when it had expired at {expires_at}"));
            }
            Ok(())
        }
        (Status::Running, Status::Running) if was.lease == is.lease => unchanged(was, is),
        (Status::Running, Status::Running) => Err("went from one lease to another without an end".into()),
        (Status::Running, Status::Completed | Status::Cancelled) if was.attempt == is.attempt => Ok(()),
        (Status::Running, Status::Pending | Status::Waiting | Status::Failed)
            if was.attempt == is.attempt && was.cancel.is_none() =>
        {
            Ok(())
        }
        (Status::Pending, Status::Cancelled) => life::check_untouched(was, is),
        (Status::Pending, Status::Expired) => {
            let late = is.expires_at.is_some_and(|expires_at| expires_at <= new.at);
            if late { life::check_untouched(was, is) } else { Err(format!("expired at {}, before its time", new.at)) }
        }
        (Status::Completed | Status::Failed | Status::Archived, Status::Archived)
        | (Status::Pending, Status::Pending)
        | (Status::Completed, Status::Completed)
        | (Status::Failed, Status::Failed)
        | (Status::Cancelled, Status::Cancelled)
        | (Status::Expired, Status::Expired) => unchanged(was, is),
        (from, to) => Err(format!("{} -> {}", from.name(), to.name())),
    }
}

/// A failed task that is to run again: as new, but for its attempts and its last error.
fn check_replay(was: &Task, is: &Task) -> Result<(), String> {
    let fresh = (is.retry_count, is.loss_count) == (0, 0) && is.completed_at.is_none() && is.lease.is_none();
    let kept = is.attempt == was.attempt && is.error == was.error;
    if fresh && kept { Ok(()) } else { Err("replayed, and not as new".into()) }
}

/// A finished task that was purged: empty, and archived for good.
fn check_purge(was: &Task, is: &Task) -> Result<(), String> {
    let empty = is.input.get() == "null" && is.output.is_none() && is.error.is_none();
    let once = was.purged_at.is_none() && is.status == Status::Archived;
    if was.status.is_terminal() && empty && once { Ok(()) } else { Err("purged, and not as it should be".into()) }
}

pub(super) fn unchanged(was: &Task, is: &Task) -> Result<(), String> {
    let text = |task: &Task| task.output.as_ref().map(|output| output.get().to_owned());
    let same = was.attempt == is.attempt
        && was.retry_count == is.retry_count
        && was.loss_count == is.loss_count
        && was.lease == is.lease
        && was.worker == is.worker
        && was.available_at == is.available_at
        && was.started_at == is.started_at
        && was.completed_at == is.completed_at
        && was.error == is.error
        && text(was) == text(is);
    if same { Ok(()) } else { Err(format!("changed while {}", was.status.name())) }
}
