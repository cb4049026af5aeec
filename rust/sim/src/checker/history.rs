//! The store's changes, sorted by what they are about.

use std::collections::{BTreeMap, BTreeSet};

use buquet_core::store::memory::Change;
use buquet_core::time::Timestamp;

use super::Findings;
use super::payloads::Payloads;
use super::view::{Record, Status, Task, TaskError};

/// One revision of a record.
#[derive(Clone, Debug)]
pub(super) struct Revision {
    pub at: Timestamp,
    pub record: Record,
}

/// How an attempt ended in the store.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Ending {
    /// When the commit landed.
    pub at: Timestamp,
    pub task: String,
    pub lease: String,
    pub worker: String,
    /// When the lease would have fallen.
    pub expires_at: Timestamp,
    pub attempt: u32,
    /// What became of the task.
    pub status: Status,
    pub available_at: Timestamp,
    /// When it becomes due by itself, if it was parked.
    pub until: Option<Timestamp>,
    pub output: Option<String>,
    pub error: Option<TaskError>,
    pub retry_spent: bool,
    pub worker_lost: bool,
    /// Whether somebody wanted it called off.
    pub called_off: bool,
    /// The message of its last report of progress.
    pub reported: Option<String>,
    /// Retries and losses so far.
    pub retries_left: bool,
    pub losses: u32,
    /// How many commits the record saw after it.
    pub commits_after: usize,
}

/// An attempt's beginning.
#[derive(Clone, Debug)]
pub(super) struct Beginning {
    pub at: Timestamp,
    pub attempt: u32,
    pub worker: String,
    pub woken: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// By key; what came again after it was deleted has a number after its key.
    pub records: BTreeMap<String, Vec<Revision>>,
    /// For each change the revision that it made: its record and its place there.
    pub of_change: Vec<Option<(String, usize)>>,
    /// Those that were deleted.
    pub deleted: BTreeSet<String>,
    /// When each worker's heartbeat object was written (`true`) or deleted; by worker.
    pub beats: BTreeMap<String, Vec<(Timestamp, bool)>>,
    /// By task and lease.
    pub beginnings: BTreeMap<(String, String), Beginning>,
    pub endings: Vec<Ending>,
}

impl History {
    pub fn read(changes: &[Change], found: &mut Findings) -> Self {
        let mut history = Self::default();
        let mut payloads = Payloads::default();
        for change in changes {
            history.of_change.push(None);
            if change.key.starts_with("payloads/") {
                payloads.note(change, found);
            } else if change.key.starts_with("tasks/") {
                history.read_revision(change, &payloads, found);
            } else if let Some(worker) = change.key.strip_prefix("workers/").and_then(|key| key.strip_suffix(".json")) {
                history.beats.entry(worker.to_owned()).or_default().push((change.at, change.body.is_some()));
            }
        }
        history.find_attempts(found);
        history
    }

    fn read_revision(&mut self, change: &Change, payloads: &Payloads<'_>, found: &mut Findings) {
        let name = self.name_now(&change.key);
        let Some(body) = &change.body else {
            let last = self.records.get(&name).and_then(|revisions| revisions.last());
            let dead = last.is_some_and(|last| last.record.is_purged() || last.record.void);
            self.deleted.insert(name);
            return found.require(dead, "records stay", || format!("{} was deleted at {}", change.key, change.at));
        };
        match serde_json::from_slice::<Record>(body) {
            Ok(mut record) => {
                payloads.put_back(&mut record, found);
                if name != change.key && !self.records.contains_key(&name) {
                    // A ready entry that came very late leads nowhere, and its place is barred; a key may be used again.
                    let again = record.void || record.tasks.iter().any(|task| task.key.is_some());
                    found.require(again, "what is gone stays gone", || {
                        format!("{} was written again at {}", change.key, change.at)
                    });
                }
                let revisions = self.records.entry(name.clone()).or_default();
                if let Some(made) = self.of_change.last_mut() {
                    *made = Some((name, revisions.len()));
                }
                revisions.push(Revision { at: change.at, record });
            }
            Err(error) => found.add("documented JSON", format!("{}: {error}", change.key)),
        }
    }

    /// What a record is called: its key, and a number for each time that it was deleted.
    fn name_now(&self, key: &str) -> String {
        let names = (1..).map(|n| if n == 1 { key.to_owned() } else { format!("{key} ({n})") });
        names.into_iter().find(|name| !self.deleted.contains(name)).unwrap_or_default()
    }

    fn find_attempts(&mut self, found: &mut Findings) {
        for revisions in self.records.values() {
            for (n, pair) in revisions.windows(2).enumerate() {
                let [old, new] = pair else { continue };
                let commits_after = revisions.len() - n - 2;
                for (before, after) in old.record.tasks.iter().zip(&new.record.tasks) {
                    let task = new.record.task_id(after.n);
                    if before.lease != after.lease {
                        if let Some(lease) = &before.lease {
                            let ending = Ending::of(&old.record, task.clone(), lease, before, after, new.at);
                            self.endings.push(Ending { commits_after, ..ending });
                        }
                        if let Some(lease) = &after.lease {
                            let worker = after.worker.clone().unwrap_or_default();
                            let woken = after.park.as_ref().is_some_and(|park| park.heard);
                            let beginning = Beginning { at: new.at, attempt: after.attempt, worker, woken };
                            if self.beginnings.insert((task.clone(), lease.clone()), beginning).is_some() {
                                found.add("leases are new", format!("task {task} came under lease {lease} twice"));
                            }
                        }
                    }
                }
            }
        }
    }

    /// The records as they were submitted, each time anew: a void one is none.
    pub fn submitted(&self) -> impl Iterator<Item = &Record> {
        let first = |revisions: &'_ Vec<Revision>| revisions.iter().position(|one| !one.record.tasks.is_empty());
        self.records.values().filter_map(move |revisions| Some(&revisions.get(first(revisions)?)?.record))
    }

    /// Every task with each status that it ever had.
    pub fn statuses(&self) -> BTreeSet<(String, &'static str)> {
        let records = self.records.values().flatten().map(|revision| &revision.record);
        records
            .flat_map(|record| record.tasks.iter().map(|task| (record.task_id(task.n), task.status.name())))
            .collect()
    }

    /// The record that the nth change wrote.
    pub fn written_by(&self, change: usize) -> Option<&Record> {
        let (name, place) = self.of_change.get(change)?.as_ref()?;
        self.records.get(name)?.get(*place).map(|revision| &revision.record)
    }

    /// What happened, by kind.
    pub fn happened(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        let mut add = |kind, count: usize| *counts.entry(kind).or_default() += count as u64;
        add("records", self.records.len());
        add("records voided", self.last().filter(|(_, record)| record.void).count());
        add("commits", self.records.values().map(Vec::len).sum());
        add("starts", self.beginnings.len());
        add("records purged", self.deleted.len());
        let moved = |from: Status, to: Status| {
            self.count(|was, is| was.status == from && is.status == to && was.purged_at == is.purged_at)
        };
        add("replayed", moved(Status::Failed, Status::Pending));
        add("archived", moved(Status::Failed, Status::Archived));
        add("cancelled before they started", moved(Status::Pending, Status::Cancelled));
        add("cancelled while they ran", moved(Status::Running, Status::Cancelled));
        add("expired", moved(Status::Pending, Status::Expired) + moved(Status::Waiting, Status::Expired));
        add("parked", moved(Status::Running, Status::Waiting));
        add("woken", moved(Status::Waiting, Status::Pending));
        add("looked again by themselves", moved(Status::Waiting, Status::Running));
        add("waited for others", self.count(|was, is| is_told(was, is) && is.status == Status::Pending));
        add("called off because of others", self.count(|was, is| is_told(was, is) && is.status == Status::Cancelled));
        add("parks refused", self.count(is_refused));
        add("reports of progress", self.count(|was, is| is.progress.is_some() && was.progress != is.progress));
        for ending in &self.endings {
            let kind = match (ending.status, &ending.error) {
                _ if ending.worker_lost => "workers lost",
                (Status::Completed, _) => "completed",
                (Status::Failed, _) => "failed",
                (Status::Cancelled | Status::Waiting, _) => continue,
                (_, Some(error)) if error.kind == "Timeout" => "overdue",
                (_, Some(_)) => "retried",
                _ => "given back or put off",
            };
            add(kind, 1);
        }
        counts
    }

    /// How many tasks went through such a step.
    fn count(&self, is_such: impl Fn(&Task, &Task) -> bool) -> usize {
        let steps = self.records.values().flat_map(|revisions| revisions.windows(2));
        let tasks = |pair: &[Revision]| -> usize {
            let [old, new] = pair else { return 0 };
            old.record.tasks.iter().zip(&new.record.tasks).filter(|(was, is)| is_such(was, is)).count()
        };
        steps.map(tasks).sum()
    }

    /// The last revision of each record.
    pub fn last(&self) -> impl Iterator<Item = (&String, &Record)> {
        self.records.iter().filter_map(|(key, revisions)| revisions.last().map(|last| (key, &last.record)))
    }
}

impl Ending {
    fn of(record: &Record, id: String, lease: &str, before: &Task, after: &Task, at: Timestamp) -> Self {
        let held = record.leases.get(lease);
        Self {
            at,
            task: id,
            lease: lease.to_owned(),
            worker: held.map(|held| held.worker.clone()).unwrap_or_default(),
            expires_at: held.map(|held| held.expires_at).unwrap_or_default(),
            attempt: before.attempt,
            status: after.status,
            available_at: after.available_at,
            until: after.park.as_ref().and_then(|park| park.until),
            output: after.output.as_ref().map(|output| output.get().to_owned()),
            error: if after.error == before.error { None } else { after.error.clone() },
            retry_spent: after.retry_count == before.retry_count + 1,
            worker_lost: after.loss_count == before.loss_count + 1,
            called_off: before.cancel.is_some(),
            reported: after.progress.as_ref().map(|progress| progress.message.clone()),
            retries_left: before.retry_count < record.retry_of(before).max_retries,
            losses: after.loss_count,
            commits_after: 0,
        }
    }
}

/// Whether it was to be parked and was not, because it had been woken.
fn is_refused(was: &Task, is: &Task) -> bool {
    let woken = |task: &Task| task.park.as_ref().is_some_and(|park| park.woken);
    let runs = (was.status, is.status) == (Status::Running, Status::Running);
    runs && woken(was) && !woken(is)
}

/// Whether the last of what it waits for has just ended.
fn is_told(was: &Task, is: &Task) -> bool {
    super::links::waits(was) && !super::links::waits(is)
}
