//! Reports of progress: the latest of each task is kept here and written now and then, or along with what is committed
//! to its record anyway.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, stream};
use tokio::time::sleep;

use super::settle::not_held;
use super::shared::{Phase, Shared};
use crate::error::Result;
use crate::id::{LeaseId, RecordId, TaskId};
use crate::record::{BatchRecord, Progress};

/// The latest report of each of some tasks, and the lease it was made under.
pub type Reports = BTreeMap<TaskId, (LeaseId, Progress)>;

/// Records written at the same time.
const IN_FLIGHT: usize = 4;

impl Shared {
    /// Keeps a report until it is written; a later one takes its place.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if the task is not held under this lease any more.
    pub fn report_progress(&self, id: TaskId, lease: LeaseId, progress: Progress) -> Result<()> {
        let mut inner = self.lock();
        if !inner.hold.holds(id, lease) {
            return Err(not_held(id));
        }
        inner.progress.insert(id, (lease, progress));
        drop(inner);
        Ok(())
    }

    /// Writes what was reported, now and then, one commit a record.
    pub async fn keep_writing_progress(self: Arc<Self>) {
        loop {
            sleep(self.settings().progress_every).await;
            if self.lock().phase == Phase::Stopped {
                return;
            }
            let mut records: Vec<RecordId> = {
                let inner = &mut *self.lock();
                let held = &inner.hold.tasks;
                inner.progress.retain(|id, (lease, _)| held.get(id).is_some_and(|held| held.lease == *lease));
                inner.progress.keys().map(|id| id.record()).collect()
            };
            records.dedup();
            let worker = &self;
            stream::iter(records)
                .for_each_concurrent(IN_FLIGHT, |id| async move {
                    if let Err(error) = worker.write_progress(id).await {
                        worker.warn("progress could not be written, trying again", &error);
                    }
                })
                .await;
        }
    }

    async fn write_progress(&self, id: RecordId) -> Result<()> {
        let unfenced = self.settings().variant.reports_unfenced();
        let mut reports = None;
        let write = |record: &mut BatchRecord, _| {
            // Read once nobody else commits: an older report must not follow a later one.
            let reports = reports.get_or_insert_with(|| self.progress_of(id));
            apply(record, reports, unfenced).then_some(())
        };
        let written = self.change_held(id, write).await;
        self.lock().hold.tidy(id);
        written?;
        self.forget_written(&reports.unwrap_or_default());
        Ok(())
    }

    /// The reports of a record's tasks that have not been written.
    pub fn progress_of(&self, id: RecordId) -> Reports {
        let of_record = id.task(0)..=id.task(u16::MAX);
        self.lock().progress.range(of_record).map(|(id, report)| (*id, report.clone())).collect()
    }

    /// Forgets reports that are in the store; what was said since is kept.
    pub fn forget_written(&self, reports: &Reports) {
        let mut inner = self.lock();
        for (id, report) in reports {
            if inner.progress.get(id) == Some(report) {
                inner.progress.remove(id);
            }
        }
    }
}

/// Puts reports into a record; whether any was news. Only a broken protocol lets anybody report, lease or not.
pub fn apply(record: &mut BatchRecord, reports: &Reports, unfenced: bool) -> bool {
    let mut news = false;
    for (id, (lease, progress)) in reports {
        let held = record.tasks.get(usize::from(id.index())).and_then(|task| task.lease).filter(|_| unfenced);
        news |= record.report(*id, held.unwrap_or(*lease), progress);
    }
    news
}
