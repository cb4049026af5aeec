//! Driving runs: each run that this worker holds has a driver in memory, from when a front opens it until it parks, ends or is
//! lost. What the driver decides is committed with the outcomes of tasks, so runs of one record share commits.

mod advance;
mod inbox;
mod open;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::advance::{Advanced, RunState};
pub use self::open::{CodeName, Opening, read_journal};
pub use self::report::Reporting;
use super::settle::not_held;
use super::shared::Shared;
use crate::error::{Error, Result};
use crate::id::{LeaseId, TaskId};
use crate::record::{BatchRecord, Json, PayloadRef, Task};
use crate::workflow::driver::{Arrived, Driver, Next};
use crate::workflow::model::Millis;
use crate::workflow::signals::Signal;
use crate::workflow::wishes::Wishes;

/// A run that is driven here, under one lease.
#[derive(Debug)]
pub struct Driving {
    pub lease: LeaseId,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    driver: Driver,
    about: About,
    /// Signals that were read and not consumed yet, by where they lie in the inbox.
    read: BTreeMap<String, Signal>,
    /// What was said to callbacks and handed to the driver, likewise.
    heard: BTreeSet<String>,
}

/// What a front is told of a run besides what its driver knows.
#[derive(Clone, Debug)]
struct About {
    key: Option<String>,
    input: Json,
    input_ref: Option<PayloadRef>,
    input_files: Vec<PayloadRef>,
    tags: Vec<String>,
    metadata: BTreeMap<String, String>,
}

/// What a front does next with a run, and what time it is.
#[derive(Clone, Debug)]
pub struct Moment {
    /// What its driver says.
    pub next: Next,
    /// Server time.
    pub now: Millis,
}

impl Driving {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// The driver of a run that is held under this lease.
    fn driving(&self, id: TaskId, lease: LeaseId) -> Result<Arc<Driving>> {
        let inner = self.lock();
        if !inner.hold.tasks.get(&id).is_some_and(|held| held.lease == lease) {
            return Err(not_held(id));
        }
        let driving = inner.drivers.get(&id).filter(|driving| driving.lease == lease);
        driving
            .cloned()
            .ok_or_else(|| Error::Conflict(format!("run {id} was not opened under this lease: use run.open first")))
    }

    /// The driver is done, or must not go on.
    fn let_driver_go(&self, id: TaskId, lease: LeaseId) {
        let mut inner = self.lock();
        if inner.drivers.get(&id).is_some_and(|driving| driving.lease == lease) {
            inner.drivers.remove(&id);
        }
    }

    /// What comes next for a run. Looks into its inbox where that is needed.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if it is not held any more; the store's, then ask again.
    pub async fn next_of_run(worker: &Arc<Self>, id: TaskId, lease: LeaseId) -> Result<Moment> {
        let driving = worker.driving(id, lease)?;
        let woken = worker.lock().hold.tasks.get(&id).is_some_and(|held| held.told_of_wake && !held.settling);
        if woken {
            // Before the look, so that no wake after it is missed.
            Self::hear(worker, id, lease).await?;
            driving.lock().driver.woken();
        }
        let mut arrived = Arrived { wishes: worker.wishes_of(id, lease).await, ..Arrived::default() };
        loop {
            let now = worker.now().into();
            let mut next = driving.lock().driver.next(now, std::mem::take(&mut arrived))?;
            worker.delete_consumed(id, std::mem::take(&mut next.delete));
            if !next.look {
                return Ok(Moment { next, now });
            }
            worker.look_into_inbox(id, &driving, &mut arrived).await?;
        }
    }

    /// The wishes for a run in the revision of its record that is known here, if one is.
    async fn wishes_of(&self, id: TaskId, lease: LeaseId) -> Option<Wishes> {
        let slot = self.lock().hold.slot(id.record());
        let stored = slot.stored.lock().await;
        let task = stored.as_deref().and_then(|stored| held(&stored.record, id, lease));
        let wishes = task.and_then(|task| task.run.as_deref()).map(|run| run.wishes.clone());
        drop(stored);
        wishes
    }
}

/// A task, if it is under this lease.
fn held(record: &BatchRecord, id: TaskId, lease: LeaseId) -> Option<&Task> {
    record.task(id).filter(|task| task.lease == Some(lease))
}
