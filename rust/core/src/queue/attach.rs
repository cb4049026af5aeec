//! Submitting a task with payloads that were written before. Their owner becomes the task's record, so that whoever
//! collects payloads finds from each the record that may name it.

use super::Queue;
use super::submission::Submission;
use crate::error::{Error, Result};
use crate::id::{CommitId, TaskId};
use crate::limits;
use crate::payload::{Parcels, Payload};
use crate::record::{BatchRecord, PayloadRef};
use crate::time::Timestamp;

impl Queue {
    /// Submits a task, in a record of its own, whose input comes with payloads. A payload is good for one submit.
    ///
    /// # Errors
    /// As [`Queue::submit`]; [`Error::Invalid`] if the payloads have different owners, are too old, or came with a
    /// submit before.
    pub async fn submit_with(&self, submission: Submission, payloads: Vec<Payload>) -> Result<TaskId> {
        let Some(owner) = payloads.first().map(|payload| payload.owner) else { return self.submit(submission).await };
        submission.check()?;
        let now = self.bucket().now();
        let files = check_files(&payloads, now, |payload| payload.owner == owner)?;
        let (core, bucket) = (self.core(), self.bucket());
        self.check_inputs(&submission.kind, std::slice::from_ref(&submission.input)).await?;
        let mut tasks = vec![core.draft(&submission)?.task(0, now)];
        let parcels = Parcels::of_inputs(owner, &mut tasks, bucket.entropy());
        for task in &mut tasks {
            task.input_files.clone_from(&files);
        }
        let commit = CommitId::random(bucket.entropy());
        let mut record = BatchRecord::new(owner, submission.kind, submission.options, now, tasks, commit);
        let landed = parcels.around(bucket, core.desk.variant, core.desk.create(&mut record)).await?;
        let found = core.desk.load(owner).await?;
        let others = found.is_some_and(|found| !found.record.has_commit(record.commit));
        if !landed || others {
            return Err(Error::Invalid(format!(
                "the payloads of record {owner} came with a submit before, or were given up: write them again"
            )));
        }
        if let Some(entry) = record.ready_entry() {
            core.announce(entry);
        }
        Ok(owner.task(0))
    }
}

/// What a record will say of payloads that come with one input or output.
///
/// # Errors
/// [`Error::Invalid`] for too many, too old ones, and those that belong to another record.
pub fn check_files(
    payloads: &[Payload],
    now: Timestamp,
    belongs: impl Fn(&Payload) -> bool,
) -> Result<Vec<PayloadRef>> {
    if payloads.len() > limits::TASK_FILES {
        return Err(Error::Invalid(format!(
            "{} payloads in one input or output; give up to {}",
            payloads.len(),
            limits::TASK_FILES
        )));
    }
    for payload in payloads {
        payload.check_fresh(now)?;
        if !belongs(payload) {
            return Err(Error::Invalid(format!(
                "payload {} belongs to record {}, and a task names only those of its own record: write it with this \
                 task as its owner",
                payload.name.id, payload.owner
            )));
        }
    }
    Ok(payloads.iter().map(|payload| payload.name.clone()).collect())
}
