//! Looking after tasks that wait for others: whether each of those knows of it.
//!
//! The submit that stored such a task may have been cut off before all it waits for knew of it, or before they were there.
//! Then the look gives them their links, counts those that have ended, and bars those that do not exist.

use std::collections::BTreeMap;

use super::Core;
use super::derived::BARRED;
use crate::error::{Error, Result};
use crate::id::{CommitId, RecordId, TaskId};
use crate::limits;
use crate::record::{BatchRecord, Culprit, Debt, Ended, Extra, Link, Linking, Options, Task, TaskStatus, is_overdue};
use crate::time::Timestamp;
use crate::transact::{Placed, Stored, Transacted};

/// What the records that a task waits for were found to be.
#[derive(Debug, Default)]
struct Findings {
    /// What has ended already.
    ended: Vec<Debt>,
    /// Some are not there, and may yet come.
    young: bool,
}

impl Core {
    /// Makes sure that all that the tasks of a record wait for know of it.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn look_after(&self, id: RecordId) -> Result<()> {
        let Some(stored) = self.desk.load(id).await? else { return Ok(()) };
        let mut findings = Findings::default();
        for (source, links) in wanted(&stored.record) {
            self.register(source, links, stored.record.created_at, &mut findings).await?;
        }
        let Findings { ended, young } = findings;
        let change = |record: &mut BatchRecord, now: Timestamp| {
            for debt in &ended {
                record.deliver(debt, now);
            }
            let until = young.then(|| now.after(limits::LOOK_AGAIN));
            let waiting: Vec<TaskId> =
                record.tasks.iter().filter(|task| waits(task)).map(|task| record.id.task(task.n)).collect();
            let mut changed = !ended.is_empty();
            for task in waiting {
                changed |= record.look_again(task, until);
            }
            changed.then_some(())
        };
        match self.desk.transact(stored, true, change).await? {
            Transacted::Done((), Some(stored)) => crate::deliver::Hears::delivered(self, &stored.record),
            Transacted::Done((), None) => self.ring(),
            Transacted::Unknown((), _, error) => return Err(error),
            Transacted::Unchanged(_) | Transacted::Missing | Transacted::Overtaken => {}
        }
        Ok(())
    }

    /// Gives a record the links that it should have, and finds out what has ended there already.
    async fn register(
        &self,
        source: RecordId,
        links: Vec<Link>,
        since: Timestamp,
        findings: &mut Findings,
    ) -> Result<()> {
        let mut stored = self.desk.load(source).await?;
        if stored.is_none() && is_overdue(since, self.desk.bucket.now()) {
            stored = self.bar_dependency(source).await?;
        }
        let Some(stored) = stored else {
            findings.young = true;
            return Ok(());
        };
        if stored.record.void {
            findings.ended.extend(links.iter().map(|link| gone(source, link)));
            return Ok(());
        }
        let mut found = Vec::new();
        let change = |record: &mut BatchRecord, _| {
            found = links.iter().map(|link| (link.clone(), record.link(link.clone()))).collect();
            found.iter().any(|(_, linking)| matches!(linking, Linking::Added)).then_some(())
        };
        match self.desk.transact(stored, true, change).await? {
            Transacted::Done((), _) | Transacted::Unchanged(_) => {}
            // It was purged just now.
            Transacted::Missing => return Err(Error::Unavailable(format!("record {source} is gone; try again"))),
            Transacted::Overtaken => return Err(Error::Unavailable(format!("record {source} was changed; try again"))),
            Transacted::Unknown((), _, error) => return Err(error),
        }
        for (link, linking) in found {
            match linking {
                Linking::Added | Linking::Known => {}
                Linking::Ended(ended) => findings.ended.push(link.debt(ended)),
                Linking::Missing => findings.ended.push(gone(source, &link)),
                Linking::Full => {
                    findings.ended.push(lost(source, &link, "cannot tell any more tasks of its end (too many wait)"));
                }
            }
        }
        Ok(())
    }

    /// Takes the place of a record that does not exist, so that it never will.
    async fn bar_dependency(&self, id: RecordId) -> Result<Option<Stored>> {
        let (bucket, now) = (&self.desk.bucket, self.desk.bucket.now());
        let commit = CommitId::random(bucket.entropy());
        let mut void = BatchRecord::new(id, BARRED.to_owned(), Options::default(), now, Vec::new(), commit);
        void.void = true;
        match self.desk.place(&mut void).await? {
            Placed::Landed => self.desk.load(id).await,
            Placed::Taken(found) => Ok(found.map(|found| *found)),
        }
    }
}

fn waits(task: &Task) -> bool {
    task.status == TaskStatus::Waiting && task.awaits_others()
}

/// The links that other records should have because of this one's tasks. Tasks that follow each other and wait for the same
/// share one.
fn wanted(record: &BatchRecord) -> BTreeMap<RecordId, Vec<Link>> {
    let mut wanted: BTreeMap<RecordId, Vec<Link>> = BTreeMap::new();
    for task in record.tasks.iter().filter(|task| waits(task)) {
        let Some(after) = &task.after else { continue };
        for (slot, open) in after.open() {
            let links = wanted.entry(open.record).or_default();
            let follows = |link: &&mut Link| {
                let next = link.target.index().saturating_add(link.count);
                (link.slot, link.revived) == (slot, open.revived) && link.of == open.of && next == task.n
            };
            match links.iter_mut().find(follows) {
                Some(link) => link.count += 1,
                None => {
                    let link = Link::new(open.of.clone(), record.id.task(task.n), 1, slot);
                    links.push(Link { revived: open.revived, ..link });
                }
            }
        }
    }
    wanted
}

/// What is owed for tasks that do not exist.
fn gone(source: RecordId, link: &Link) -> Debt {
    lost(source, link, "does not exist (DependencyGone)")
}

/// What is owed for tasks of whose end nobody will hear.
fn lost(source: RecordId, link: &Link, why: &str) -> Debt {
    let first = link.of.first().map_or(0, |(first, _)| *first);
    let culprit = Some(Culprit { task: source.task(first), why: why.to_owned(), extra: Extra::new() });
    link.debt(Ended { culprit, extra: Extra::new() })
}
