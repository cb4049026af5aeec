//! Submitting a task with payloads that were written before. Their owner becomes the task's record, so that whoever
//! collects payloads finds from each the record that may name it.

use super::submission::Submission;
use super::{Derived, Queue};
use crate::error::{Error, Result};
use crate::id::TaskId;
use crate::limits;
use crate::payload::Payload;
use crate::record::{PayloadRef, Task};
use crate::time::Timestamp;

impl Queue {
    /// Submits a task, in a record of its own, whose input comes with payloads. Payloads are good for one submit: with
    /// the same ones again it gives the task that is there.
    ///
    /// # Errors
    /// As [`Queue::submit`]; [`Error::Invalid`] if the payloads have different owners, are too old, or some of them came
    /// with a submit before.
    pub async fn submit_with(&self, submission: Submission, payloads: Vec<Payload>) -> Result<TaskId> {
        let Some(owner) = payloads.first().map(|payload| payload.owner) else { return self.submit(submission).await };
        submission.check()?;
        let now = self.bucket().now();
        let files = check_files(&payloads, now, |payload| payload.owner == owner)?;
        // No schema is asked: it would have to know how this front speaks of payloads.
        let mut task = self.core().draft(&submission)?.task(0, now);
        task.input_files.clone_from(&files);
        match self.core().store_derived(owner, &submission.kind, &submission.options, task).await? {
            Derived::Created(id) => Ok(id),
            // The same submit again, after an answer that was lost.
            Derived::Found(record) if record.task(owner.task(0)).is_some_and(|task| names(task, &files)) => {
                Ok(owner.task(0))
            }
            Derived::Found(_) => Err(Error::Invalid(format!(
                "the payloads of record {owner} came with a submit before: write them again for this one"
            ))),
        }
    }
}

/// Whether the task came with these payloads.
fn names(task: &Task, files: &[PayloadRef]) -> bool {
    task.input_files.iter().map(|name| name.id).eq(files.iter().map(|name| name.id))
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
