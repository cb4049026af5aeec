//! Tasks that wait are woken: no wake is lost, and each attempt is told of those before it.

use std::collections::BTreeMap;

use buquet_core::time::Timestamp;

use super::history::History;
use super::view::{Park, Status, Task};
use super::{Evidence, Findings, life, links, revisions};

pub(super) fn check(history: &History, evidence: &Evidence<'_>, found: &mut Findings) {
    let last = history.last().flat_map(|(_, record)| record.tasks.iter().map(|task| (record.task_id(task.n), task)));
    let waiting: BTreeMap<String, String> = last
        .filter(|(_, task)| task.status == Status::Waiting)
        .filter_map(|(id, task)| Some((task.label()?, id)))
        .collect();
    for (label, signals) in &evidence.journal.signals {
        if let Some(id) = waiting.get(label) {
            let all = signals.acknowledged >= signals.needed;
            found.require(!all, "no wake is lost", || format!("{label} ({id}) waits at the end, after {signals:?}"));
        }
    }
    for (key, attempt) in &evidence.journal.attempts {
        if let Some(began) = history.beginnings.get(key) {
            found.require(began.woken == attempt.woken, "told of wakes", || {
                let (task, lease) = key;
                format!("task {task} under {lease}: handed out with woken {}, stored {}", attempt.woken, began.woken)
            });
        }
    }
}

/// When a task that waits becomes due by itself.
pub(super) fn due(task: &Task) -> Timestamp {
    let until = task.park.as_ref().and_then(|park| park.until);
    let expiry = task.expires_at.filter(|_| parks(task) == 0);
    until.into_iter().chain(expiry).min().unwrap_or(Timestamp::LAST)
}

/// How often it was parked.
pub(super) fn parks(task: &Task) -> u32 {
    task.park.as_ref().map_or(0, |park| park.count)
}

fn bits(task: &Task) -> (bool, bool) {
    task.park.as_ref().map_or((false, false), |park| (park.woken, park.heard))
}

/// What one commit may do to the bits that say that a task was woken.
pub(super) fn check_bits(was: &Task, is: &Task) -> Result<(), String> {
    let ((woken_before, heard_before), (woken, heard)) = (bits(was), bits(is));
    if is.status.is_terminal() {
        return if woken || heard { Err("ended, and still to be told of a wake".into()) } else { Ok(()) };
    }
    if woken_before && !woken && !(is.status == Status::Running && heard) {
        return Err("a wake was forgotten".into());
    }
    let parked = (was.status, is.status) == (Status::Running, Status::Waiting) && !woken_before;
    if heard_before && !heard && !parked && !woken {
        return Err("a wake was forgotten with its attempt".into());
    }
    let counted = parks(is) == parks(was) + u32::from((was.status, is.status) == (Status::Running, Status::Waiting));
    if counted { Ok(()) } else { Err("parks are not counted".into()) }
}

/// What one commit may do to a task that waits.
pub(super) fn check_waiting(was: &Task, is: &Task, at: Timestamp) -> Result<(), String> {
    let counts = |task: &Task| (task.retry_count, task.loss_count);
    match is.status {
        Status::Running => {
            let until = was.park.as_ref().and_then(|park| park.until);
            if is.attempt != was.attempt + 1 || counts(is) != counts(was) {
                return Err("a start counts one attempt and nothing else".into());
            }
            if until.is_some_and(|until| until <= at) { Ok(()) } else { Err("started before its time".into()) }
        }
        Status::Pending if links::waits(was) => {
            let same = is.attempt == was.attempt && counts(is) == counts(was);
            if same && !links::waits(is) { Ok(()) } else { Err("pending before what it waits for has ended".into()) }
        }
        Status::Pending => {
            let same = is.attempt == was.attempt && counts(is) == counts(was);
            if bits(is).0 && same && is.available_at <= at { Ok(()) } else { Err("pending, and nobody woke it".into()) }
        }
        Status::Cancelled => life::check_untouched(was, is),
        Status::Expired if parks(was) == 0 => life::check_untouched(was, is),
        Status::Waiting => revisions::unchanged(was, is),
        other => Err(format!("waiting -> {}", other.name())),
    }
}

/// What must hold of a task in any revision.
pub(super) fn check_shape(task: &Task) -> bool {
    let waits = task.status == Status::Waiting;
    let shape =
        |park: &Park| (waits || park.until.is_none()) && !(waits && !links::waits(task) && (park.woken || park.heard));
    task.park.as_ref().is_none_or(shape)
}
