//! What one commit may do to a task's wish to be called off, to its progress, and to a task that never ran.

use super::view::{Status, Task};

/// The first wish stands, and is made of a task that has not ended.
pub(super) fn check_wish(was: &Task, is: &Task) -> Result<(), String> {
    let made = matches!(
        (was.status, is.status),
        (Status::Running, Status::Running) | (Status::Pending | Status::Waiting, Status::Cancelled)
    );
    match (&was.cancel, &is.cancel) {
        (None, Some(_)) if !made => Err(format!("called off from {} to {}", was.status.name(), is.status.name())),
        (Some(before), after) if after.as_ref() != Some(before) => Err("the wish to call it off changed".into()),
        _ => Ok(()),
    }
}

/// Only the attempt that holds the lease says how far it has come; the next one begins anew.
pub(super) fn check_progress(was: &Task, is: &Task) -> Result<(), String> {
    if was.progress == is.progress {
        let begins = was.status != Status::Running && is.status == Status::Running;
        let again = begins && is.progress.is_some();
        return if again { Err("the progress of another attempt".into()) } else { Ok(()) };
    }
    match (&is.progress, &was.lease) {
        (None, _) if was.status != Status::Running && is.status == Status::Running => Ok(()),
        (Some(progress), Some(lease)) if progress.message.contains(lease.as_str()) => Ok(()),
        (progress, lease) => Err(format!("progress {progress:?} under lease {lease:?}")),
    }
}

/// Ended without having been started again.
pub(super) fn check_untouched(was: &Task, is: &Task) -> Result<(), String> {
    let counts = |task: &Task| (task.attempt, task.retry_count, task.loss_count);
    let same = counts(was) == counts(is) && was.error == is.error && was.available_at == is.available_at;
    let empty = is.output.is_none() && is.lease.is_none();
    if same && empty { Ok(()) } else { Err(format!("{}, and not as it was", is.status.name())) }
}
