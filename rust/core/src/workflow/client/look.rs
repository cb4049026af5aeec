//! Looking at runs, and waiting for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};

use super::{another_generation, no_run};
use crate::error::{Error, Result};
use crate::id::TaskId;
use crate::keys;
use crate::limits::PAGE;
use crate::queue::{CorruptObject, Queue, TaskView, check_cursor, check_limit};
use crate::record::{BatchRecord, Json, Task};
use crate::store::Got;
use crate::worker::read_journal;
use crate::workflow::check::check_ref;
use crate::workflow::entry::{Entry, ResultRef};
use crate::workflow::ids::sha256;
use crate::workflow::journal::Ledger;
use crate::workflow::model::Run;
use crate::workflow::status::{RunStatus, StepStatus};
use crate::workflow::timeline::{Line, counts, timeline};

/// Records read at the same time.
const READS_IN_FLIGHT: usize = 16;

/// A run, as anybody sees it.
#[derive(Clone, Debug)]
pub struct RunView {
    /// Its driver's task.
    pub task: TaskView,
    /// The run.
    pub run: Box<Run>,
}

/// A run and all that happened in its latest execution.
#[derive(Clone, Debug)]
pub struct RunHistory {
    /// The run.
    pub run: RunView,
    /// Its journal.
    pub entries: Vec<Arc<Entry>>,
    /// Its operations, in the order in which they were asked for.
    pub steps: Vec<Line>,
    /// How many of them stand where.
    pub counts: BTreeMap<StepStatus, usize>,
}

/// Which runs to list; empty means all.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Only runs with one of these statuses.
    pub status: BTreeSet<RunStatus>,
    /// Only runs of this workflow.
    pub workflow: Option<String>,
    /// Only runs with this tag.
    pub tag: Option<String>,
}

/// A page of runs, in the order of their keys: stable, but not by time.
#[derive(Clone, Debug, Default)]
pub struct RunListing {
    /// The runs.
    pub runs: Vec<RunView>,
    /// Where to go on; `None` at the end. A page may be short, even empty, and still have one.
    pub cursor: Option<String>,
    /// Objects that should be records and cannot be read.
    pub corrupt: Vec<CorruptObject>,
}

impl RunView {
    /// The view of one of the record's tasks, if it drives a run.
    #[must_use]
    pub fn of(record: &BatchRecord, task: &Task) -> Option<Self> {
        let run = task.run.clone().filter(|_| task.purged_at.is_none())?;
        Some(Self { task: TaskView::of(record, task), run })
    }

    fn of_task(mut task: TaskView) -> Option<Self> {
        let run = task.task.run.take().filter(|_| task.task.purged_at.is_none())?;
        Some(Self { task, run })
    }
}

impl RunFilter {
    fn admits(&self, view: &RunView) -> bool {
        (self.status.is_empty() || self.status.contains(&view.run.status))
            && self.workflow.as_ref().is_none_or(|wanted| *wanted == view.run.name)
            && self.tag.as_ref().is_none_or(|tag| view.task.task.tags.contains(tag))
    }
}

impl Queue {
    /// Looks up runs; `None` for those that do not exist. Inputs and outputs that lie elsewhere are read if they are small.
    ///
    /// # Errors
    /// The store's, and [`Error::Corrupt`] if a record cannot be read.
    pub async fn get_runs(&self, ids: &[TaskId]) -> Result<Vec<Option<RunView>>> {
        let tasks = self.fill(self.get(ids).await?).await;
        Ok(tasks.into_iter().map(|task| task.and_then(RunView::of_task)).collect())
    }

    /// A run with its journal.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Corrupt`] if its journal cannot be read; the store's.
    pub async fn run_history(&self, id: TaskId) -> Result<RunHistory> {
        let run = self.get_runs(&[id]).await?.pop().flatten().ok_or_else(|| no_run(id))?;
        let entries = read_journal(self.bucket(), id.record(), &run.run.journal).await?;
        let ledger = Ledger::read(entries, run.run.began)?;
        let steps = timeline(&run.run, &ledger);
        let counts = counts(&steps);
        Ok(RunHistory { run, entries: ledger.entries().to_vec(), steps, counts })
    }

    /// Waits until a run has ended. `generation` is that of the run that is meant, if any will not do.
    ///
    /// # Errors
    /// [`Error::Timeout`] after `timeout`; [`Error::NotFound`]; [`Error::Conflict`] if it was started anew; the store's.
    pub async fn wait_for_run(
        &self,
        id: TaskId,
        generation: Option<u64>,
        timeout: Option<Duration>,
    ) -> Result<RunView> {
        let ended = self.wait(id, timeout).await?;
        let ended = self.fill(vec![Some(ended)]).await.pop().flatten();
        let run = ended.and_then(RunView::of_task).ok_or_else(|| no_run(id))?;
        match generation.filter(|asked| *asked != run.run.generation) {
            Some(asked) => Err(another_generation(id, asked, run.run.generation)),
            None => Ok(run),
        }
    }

    /// Reads something that lies under `steps/`, which a journal or a front names.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is gone or was altered; [`Error::Invalid`] if that is no name of anything; the store's.
    pub async fn read_result(&self, id: TaskId, there: &ResultRef) -> Result<Json> {
        check_ref(there)?;
        let key = keys::result(id.record(), &there.key);
        let bytes = usize::try_from(there.bytes).unwrap_or(usize::MAX);
        let Got::Found(object) = self.bucket().get_large(&key, bytes).await?.value else {
            return Err(Error::Corrupt(format!(
                "{key} is gone: it was deleted by hand, or by a lifecycle rule on workflow/"
            )));
        };
        let json = std::str::from_utf8(&object.body).ok().and_then(|text| Json::parse(text).ok());
        let json = json.filter(|json| sha256(&object.body) == there.sha256 && json.check_readable().is_ok());
        json.ok_or_else(|| Error::Corrupt(format!("{key} is not what was written there: its SHA-256 is another")))
    }

    /// Lists runs, `limit` (1 to 1,000) or a few more at a time: records are not split. `cursor` is that of the page before.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a limit out of range or a cursor that is none; the store's.
    pub async fn list_runs(&self, filter: &RunFilter, limit: usize, cursor: Option<&str>) -> Result<RunListing> {
        check_limit(limit)?;
        check_cursor(cursor, keys::WORKFLOW)?;
        let page = self.bucket().list(keys::WORKFLOW, cursor, PAGE).await?.value;
        let mut listing = RunListing::default();
        let records: Vec<_> =
            page.entries.iter().filter_map(|entry| Some((entry.key.clone(), keys::parse_run(&entry.key)?))).collect();
        let desk = &self.core().desk;
        let reads = stream::iter(records).map(|(key, id)| async move { (key, desk.load(id).await) });
        let mut reads = reads.buffered(READS_IN_FLIGHT).boxed();
        let mut full_at = None;
        while let Some((key, read)) = reads.next().await {
            match read {
                Ok(Some(stored)) => {
                    let views = stored.record.tasks.iter().filter_map(|task| RunView::of(&stored.record, task));
                    listing.runs.extend(views.filter(|view| filter.admits(view)));
                }
                Ok(None) => {}
                Err(error @ (Error::Corrupt(_) | Error::Layout(_))) => {
                    listing.corrupt.push(CorruptObject { key: key.clone(), message: error.to_string() });
                }
                Err(error) => return Err(error),
            }
            if listing.runs.len() >= limit {
                full_at = Some(key);
                break;
            }
        }
        let last = page.entries.last().filter(|_| page.more).map(|entry| entry.key.clone());
        listing.cursor = full_at.or(last);
        Ok(listing)
    }
}
