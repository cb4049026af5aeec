//! Pruning: removing runs that have ended, with all that belongs to them.
//!
//! A record is sealed first: then nothing can be committed to it. Once no request from before can be on its way any more, its inbox and
//! results are deleted, and the record last, so that a prune that was cut off is found and finished by the next one.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{StreamExt, stream};

use crate::error::{Error, Result};
use crate::id::RecordId;
use crate::keys;
use crate::limits;
use crate::queue::{CorruptObject, Queue, Step, check_cursor, check_limit};
use crate::record::{BatchRecord, Task};
use crate::time::Timestamp;
use crate::transact::{Stored, Transacted};
use crate::workflow::status::RunStatus;

/// Records worked on at the same time.
const IN_FLIGHT: usize = 16;

/// Which runs to remove.
#[derive(Clone, Debug, Default)]
pub struct Prune {
    /// Only runs that ended in one of these ways; in any if empty.
    pub status: BTreeSet<RunStatus>,
    /// Only runs of this workflow.
    pub workflow: Option<String>,
    /// Only runs that ended so long ago.
    pub older_than: Duration,
}

/// What one step of a prune came to.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// Runs that were removed, or would be by a step that is no dry run.
    pub runs: usize,
    /// Records that were deleted.
    pub records: usize,
    /// Records that are sealed and deleted by a later prune, when no request to them can be on its way any more.
    pub sealed: usize,
    /// Where to go on; `None` at the end.
    pub cursor: Option<String>,
    /// Objects that should be records and cannot be read.
    pub corrupt: Vec<CorruptObject>,
}

#[derive(Default)]
struct Done {
    runs: usize,
    deleted: bool,
    sealed: bool,
}

impl Prune {
    /// Refuses what would not be a prune of ended runs.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the status and what is allowed.
    pub fn check(&self) -> Result<()> {
        match self.status.iter().find(|status| !status.is_ended()) {
            Some(status) => Err(Error::Invalid(format!(
                "status {} cannot be pruned: only completed, failed and cancelled runs can",
                status.name()
            ))),
            None => Ok(()),
        }
    }

    fn admits(&self, task: &Task, now: Timestamp) -> bool {
        let old = task.completed_at.is_some_and(|at| at <= now.before(self.older_than));
        task.run.as_ref().is_some_and(|run| {
            run.status.is_ended()
                && (self.status.is_empty() || self.status.contains(&run.status))
                && self.workflow.as_ref().is_none_or(|wanted| *wanted == run.name)
        }) && old
    }
}

impl Queue {
    /// Prunes in one page of the runs' objects. Going on from cursor to cursor gets through any number of them; a step that failed
    /// may be repeated.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a status that is no end, a limit out of range or a cursor that is none; the store's.
    pub async fn prune(&self, prune: &Prune, step: &Step) -> Result<Pruned> {
        prune.check()?;
        check_limit(step.limit)?;
        check_cursor(step.cursor.as_deref(), keys::WORKFLOW)?;
        let page = self.bucket().list(keys::WORKFLOW, step.cursor.as_deref(), step.limit).await?.value;
        let mut pruned = Pruned {
            cursor: page.entries.last().filter(|_| page.more).map(|listed| listed.key.clone()),
            ..Pruned::default()
        };
        let records =
            page.entries.iter().filter_map(|listed| Some((listed.key.clone(), keys::parse_run(&listed.key)?)));
        let work = stream::iter(records.collect::<Vec<_>>())
            .map(|(key, id)| async move { (key, self.prune_record(id, prune, step.dry_run).await) });
        let mut work = work.buffered(IN_FLIGHT).boxed();
        while let Some((key, done)) = work.next().await {
            match done {
                Ok(Done { runs, deleted, sealed }) => {
                    pruned.runs += runs;
                    pruned.records += usize::from(deleted);
                    pruned.sealed += usize::from(sealed);
                }
                Err(error @ (Error::Corrupt(_) | Error::Layout(_))) => {
                    pruned.corrupt.push(CorruptObject { key, message: error.to_string() });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(pruned)
    }

    async fn prune_record(&self, id: RecordId, prune: &Prune, dry: bool) -> Result<Done> {
        let Some(mut stored) = self.core().desk.load(id).await? else { return Ok(Done::default()) };
        let now = self.bucket().now();
        let mut done = Done::default();
        if !stored.record.is_purged() {
            let mut preview = stored.record.clone();
            done.runs = preview.prune(now, |task| prune.admits(task, now));
            if done.runs == 0 || dry {
                return Ok(Done { sealed: false, ..done });
            }
            let change = |record: &mut BatchRecord, now| {
                let runs = record.prune(now, |task| prune.admits(task, now));
                (runs > 0).then_some(runs)
            };
            // Whoever commits first has work to do there: the next prune looks again.
            match self.core().desk.transact(stored, false, change).await? {
                Transacted::Done(runs, Some(sealed)) => {
                    done.runs = runs;
                    self.core().show(&sealed.record);
                    stored = *sealed;
                }
                Transacted::Done(runs, None) => return Ok(Done { runs, ..done }),
                Transacted::Unchanged(_) | Transacted::Missing | Transacted::Overtaken => return Ok(Done::default()),
                Transacted::Unknown(_, _, error) => return Err(error),
            }
        }
        if dry || !stored.record.is_purged() {
            return Ok(done);
        }
        let grace = self.core().settings.purge_grace;
        if stored.written > self.bucket().now().before(grace) {
            return Ok(Done { sealed: true, ..done });
        }
        self.delete_runs(&stored).await?;
        Ok(Done { deleted: true, ..done })
    }

    /// Deletes all that belongs to a sealed record of runs, and the record last.
    async fn delete_runs(&self, stored: &Stored) -> Result<()> {
        let key = keys::record(stored.record.id);
        if self.core().settings.variant.deletes_records_first() {
            self.bucket().delete_many(std::slice::from_ref(&key)).await?;
        }
        for place in [keys::of_runs(stored.record.id), keys::payloads_of(stored.record.id)] {
            loop {
                let page = self.bucket().list(&place, None, limits::PAGE).await?.value;
                let others: Vec<String> =
                    page.entries.into_iter().map(|listed| listed.key).filter(|listed| *listed != key).collect();
                if others.is_empty() && !page.more {
                    break;
                }
                self.bucket().delete_many(&others).await?;
            }
        }
        self.bucket().delete_many(&[key]).await?;
        if let Some(entry) = stored.record.failed_entry() {
            self.bucket().delete_many(&[entry.to_string()]).await?;
        }
        Ok(())
    }
}
