//! Who calls a task off is told what became of it, and so it is.

use std::collections::{BTreeMap, BTreeSet};

use buquet_core::time::Timestamp;

use super::history::{History, Revision};
use super::view::{Record, Status, Task};
use super::{Evidence, Findings};
use crate::journal::{Answer, Meant, Wish};
use buquet_core::record::ENGINE;

pub(super) fn check(history: &History, evidence: &Evidence<'_>, found: &mut Findings) {
    let seen = Seen::read(history);
    for (id, record, task) in tasks(history) {
        let Some(cancel) = &task.cancel else { continue };
        if cancel.by == ENGINE && task.after.is_some() {
            continue; // what it waited for did not come out as it wants: see there
        }
        let wish = evidence.journal.wishes.get(&cancel.by);
        let meant = wish.is_some_and(|wish| wish.meant.contains(&id, record, task));
        found.require(meant, "called off by somebody", || format!("task {id}: {cancel:?} by {wish:?}"));
    }
    for (by, wish) in &evidence.journal.wishes {
        for (id, answer) in &wish.answers {
            check_answer(by, id, answer, &seen, history, found);
        }
        if let Some(until) = wish.until {
            check_all_found(by, wish, until, history, found);
        }
    }
}

/// The last revision of each task.
fn tasks(history: &History) -> impl Iterator<Item = (String, &Record, &Task)> {
    history.last().flat_map(|(_, record)| record.tasks.iter().map(move |task| (record.task_id(task.n), record, task)))
}

/// What was ever true of a task.
struct Seen<'a> {
    /// Statuses it had.
    had: BTreeSet<(String, &'static str)>,
    /// Who called it off, and whether it had started.
    wishes: BTreeMap<String, (&'a str, bool)>,
}

impl<'a> Seen<'a> {
    fn read(history: &'a History) -> Self {
        let mut wishes = BTreeMap::new();
        for record in history.records.values().flatten().map(|revision| &revision.record) {
            for task in &record.tasks {
                if let Some(cancel) = &task.cancel {
                    let started = task.status == Status::Running;
                    wishes.entry(record.task_id(task.n)).or_insert((cancel.by.as_str(), started));
                }
            }
        }
        Self { had: history.statuses(), wishes }
    }
}

fn check_answer(by: &str, id: &str, answer: &Answer, seen: &Seen<'_>, history: &History, found: &mut Findings) {
    let wish = seen.wishes.get(id);
    let had = |status: &str| seen.had.contains(&(id.to_owned(), status));
    let true_enough = match answer {
        Answer::Cancelled => wish == Some(&(by, false)) && had("cancelled"),
        // Somebody else may have been first.
        Answer::Requested => wish.is_some_and(|(_, started)| *started),
        Answer::Finished(status) => had(status),
        Answer::Missing => history.deleted.iter().any(|name| name.contains(id.get(..28).unwrap_or(id))),
    };
    found.require(true_enough, "called off as told", || {
        format!("{by} was told that task {id} is {answer:?}; the store says {wish:?}")
    });
}

/// Nothing that waited or ran all the time is missed.
fn check_all_found(by: &str, wish: &Wish, until: Timestamp, history: &History, found: &mut Findings) {
    if matches!(wish.meant, Meant::Tasks(_)) {
        return;
    }
    for revisions in history.records.values() {
        let before = revisions.iter().rposition(|revision| revision.at < wish.from);
        let after = revisions.iter().rposition(|revision| revision.at <= until);
        let (Some(before), Some(after)) = (before, after) else { continue };
        let Some(during) = revisions.get(before..=after) else { continue };
        let record = &during[0].record;
        for (n, task) in record.tasks.iter().enumerate() {
            let meant = wish.meant.contains(&record.task_id(task.n), record, task);
            let missed = meant
                && during.iter().filter_map(|revision| revision.record.tasks.get(n)).all(is_open)
                && !slipped(during, n);
            found.require(!missed, "all are called off", || {
                format!("{by} from {} to {until}: task {} was open all the time", wish.from, record.task_id(task.n))
            });
        }
    }
}

const fn is_open(task: &Task) -> bool {
    !task.status.is_terminal() && task.cancel.is_none()
}

/// Whether it went to and fro between running and waiting: each index may then have been looked through just when it was
/// in the other one.
fn slipped(during: &[Revision], n: usize) -> bool {
    let status = |revision: &Revision| revision.record.tasks.get(n).map(|task| task.status);
    let went = |from: Status, to: Status| {
        during.windows(2).any(|pair| {
            let [old, new] = pair else { return false };
            status(old) == Some(from) && status(new) == Some(to)
        })
    };
    let stopped = went(Status::Running, Status::Pending) || went(Status::Running, Status::Waiting);
    stopped && (went(Status::Pending, Status::Running) || went(Status::Waiting, Status::Running))
}

impl Meant {
    fn contains(&self, id: &str, record: &Record, task: &Task) -> bool {
        match self {
            Self::Tasks(ids) => ids.iter().any(|other| other == id),
            Self::Tag(tag) => task.tags.contains(tag),
            Self::Type(kind) => record.kind == *kind,
        }
    }
}
