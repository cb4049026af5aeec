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
            let mut records: Vec<RecordId> = self.lock().progress.keys().map(|id| id.record()).collect();
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
        let reports = self.take_progress(id);
        let written = self.change_held(id, |record, _| apply(record, &reports).then_some(())).await;
        self.lock().hold.tidy(id);
        if written.is_err() {
            let mut inner = self.lock();
            for (task, report) in reports {
                inner.progress.entry(task).or_insert(report);
            }
        }
        written.map(|_| ())
    }

    /// Takes the reports of a record's tasks that have not been written.
    pub fn take_progress(&self, id: RecordId) -> BTreeMap<TaskId, (LeaseId, Progress)> {
        let mut inner = self.lock();
        if inner.progress.is_empty() {
            return BTreeMap::new();
        }
        let mut taken = inner.progress.split_off(&id.task(0));
        let mut after = taken.split_off(&id.task(u16::MAX));
        inner.progress.append(&mut after);
        drop(inner);
        taken
    }
}

/// Puts reports into a record; whether any was news.
pub fn apply(record: &mut BatchRecord, reports: &BTreeMap<TaskId, (LeaseId, Progress)>) -> bool {
    let mut news = false;
    for (id, (lease, progress)) in reports {
        news |= record.report(*id, *lease, progress);
    }
    news
}
