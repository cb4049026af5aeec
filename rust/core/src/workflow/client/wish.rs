//! Wishing something of a run: each wish is stored by the commit that wakes the run for it.

use super::{another_generation, no_run};
use crate::error::{Error, Result};
use crate::id::TaskId;
use crate::queue::{Core, Queue};
use crate::record::{BatchRecord, Cancel, Extra};
use crate::time::Timestamp;
use crate::transact::Transacted;
use crate::workflow::state::{WishKind, Wished};
use crate::workflow::status::RunStatus;
use crate::workflow::wishes::Wish;

/// Times a record is looked at again after a commit whose outcome is unknown.
const TRIES: usize = 3;

/// What a wish came to.
#[derive(Clone, Copy, Debug)]
pub struct WishedRun {
    /// What became of it.
    pub wished: Wished,
    /// The status of the run.
    pub status: RunStatus,
}

impl Queue {
    /// Notes what somebody wishes of a run, and wakes it. `generation` is that of the run that is meant, if any will not do.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] if it cannot be retried, or was started anew; the store's: then it may be noted,
    /// and wishing again does no harm.
    pub async fn wish_run(
        &self,
        id: TaskId,
        kind: WishKind,
        by: Option<String>,
        reason: Option<String>,
        generation: Option<u64>,
    ) -> Result<WishedRun> {
        let Cancel { by, reason, .. } = Cancel::new(by, reason, self.bucket().now())?;
        let change = |record: &mut BatchRecord, now: Timestamp| {
            let wish = Wish { at: now.into(), by: by.clone(), reason: reason.clone(), extra: Extra::new() };
            wish_in(record, id, kind, wish, generation)
        };
        self.core().change_run(id, change).await
    }
}

impl Core {
    /// Changes the record of a run, and tells workers of it. `change` says what it comes to, and whether anything changed.
    ///
    /// # Errors
    /// [`Error::NotFound`]; what `change` fails with; the store's: then it may have been changed.
    pub(super) async fn change_run<T: Clone + Send>(
        &self,
        id: TaskId,
        mut change: impl FnMut(&mut BatchRecord, Timestamp) -> Result<(T, bool)> + Send,
    ) -> Result<T> {
        let mut first: Option<T> = None;
        for _ in 0..TRIES {
            let stored = self.desk.load(id.record()).await?.ok_or_else(|| no_run(id))?;
            let mut found = Err(no_run(id));
            let apply = |record: &mut BatchRecord, now: Timestamp| {
                let changed = change(record, now);
                let done = changed.as_ref().ok().filter(|(_, is_change)| *is_change).map(|(done, _)| done.clone());
                found = changed.map(|(done, _)| done);
                done
            };
            match self.desk.transact(stored, true, apply).await? {
                Transacted::Done(done, stored) => {
                    match stored {
                        Some(stored) => self.tell_of_wake(&stored.record, id).await,
                        None => self.ring(),
                    }
                    return Ok(first.unwrap_or(done));
                }
                Transacted::Unchanged(stored) => {
                    if first.is_some() {
                        self.tell_of_wake(&stored.record, id).await;
                    }
                    return first.map_or(found, Ok);
                }
                Transacted::Missing | Transacted::Overtaken => return Err(no_run(id)),
                Transacted::Unknown(done, ..) => first = first.or(Some(done)),
            }
        }
        Err(Error::Unavailable(format!("it could not be learnt whether run {id} was changed; try again")))
    }
}

/// What a wish comes to, and whether the record changed.
fn wish_in(
    record: &mut BatchRecord,
    id: TaskId,
    kind: WishKind,
    wish: Wish,
    generation: Option<u64>,
) -> Result<(WishedRun, bool)> {
    let before = record.task(id).and_then(|task| Some((task.status, task.run.as_ref()?.generation)));
    let (status_before, found) = before.ok_or_else(|| no_run(id))?;
    if let Some(asked) = generation.filter(|asked| *asked != found) {
        return Err(another_generation(id, asked, found));
    }
    let wished = record.wish(id, kind, wish)?.ok_or_else(|| no_run(id))?;
    let task = record.task(id).ok_or_else(|| no_run(id))?;
    let status = task.run.as_ref().map_or(RunStatus::Cancelled, |run| run.status);
    let changed = matches!(wished, Wished::Noted | Wished::Begun) || task.status != status_before;
    Ok((WishedRun { wished, status }, changed))
}
