//! Who works here: the registration objects under `workers/`.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::shared::Phase;
use crate::error::Result;
use crate::id::WorkerId;
use crate::keys::{self, LeaseEntry};
use crate::limits;
use crate::queue::{CorruptObject, Queue};
use crate::record::TaskStatus;
use crate::store::Got;
use crate::time::Timestamp;

/// Registrations read at the same time.
const READS_IN_FLIGHT: usize = 16;

/// A worker's registration; writing it again is its heartbeat.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Registration {
    /// The worker.
    pub id: WorkerId,
    /// The machine it runs on.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// The task types it works.
    pub types: Vec<String>,
    /// How many tasks it runs at a time.
    pub concurrency: usize,
    /// When it was started.
    pub started_at: Timestamp,
    /// How far its life has come.
    pub state: Phase,
    /// How many tasks it held at this beat.
    pub running: usize,
    /// How many of its places are taken for good, by attempts that were given up and do not return.
    #[serde(default)]
    pub stuck: usize,
    /// What became of those it had since it was started.
    #[serde(default)]
    pub ended: Ended,
    /// Other bytes with each beat.
    pub beat: String,
}

impl Registration {
    /// Whether it takes tasks, as far as it says: it does not drain, and has not lost all its places.
    #[must_use]
    pub fn takes_tasks(&self) -> bool {
        self.state == Phase::Running && self.stuck < self.concurrency
    }
}

/// How many tasks a worker brought to an end, by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ended {
    /// With an output.
    pub completed: u64,
    /// With an error.
    pub failed: u64,
    /// Called off.
    pub cancelled: u64,
    /// Found to be too late to be started.
    pub expired: u64,
}

impl Ended {
    /// Counts tasks that have this status now; one that may run again is none.
    pub const fn add(&mut self, status: TaskStatus, tasks: u64) {
        let count = match status {
            TaskStatus::Completed => &mut self.completed,
            TaskStatus::Failed => &mut self.failed,
            TaskStatus::Cancelled => &mut self.cancelled,
            TaskStatus::Expired => &mut self.expired,
            TaskStatus::Pending | TaskStatus::Running | TaskStatus::Waiting | TaskStatus::Archived => return,
        };
        *count = count.saturating_add(tasks);
    }
}

/// A worker as others see it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What it says of itself.
    pub registration: Registration,
    /// Server time of its latest beat.
    pub heartbeat_at: Timestamp,
    /// Whether that is recent enough.
    pub alive: bool,
}

impl Queue {
    /// The workers, up to 1,000, and the objects among them that cannot be read. Costs a LIST of the leases more than
    /// that of the workers and a GET for each: one that has claimed since its last beat must beat often.
    ///
    /// # Errors
    /// The store's.
    pub async fn workers(&self) -> Result<(Vec<Seen>, Vec<CorruptObject>)> {
        let settings = self.core().settings;
        let leases = self.bucket().list(keys::LEASES, None, limits::PAGE).await?.value.entries;
        let holders: BTreeSet<WorkerId> =
            leases.iter().filter_map(|listed| LeaseEntry::parse(&listed.key)).map(|entry| entry.worker).collect();
        let page = self.bucket().list(keys::WORKERS, None, limits::PAGE).await?;
        let (mut workers, mut corrupt) = (Vec::new(), Vec::new());
        let reads = stream::iter(page.value.entries)
            .map(|listed| async move { (self.bucket().get(&listed.key, None).await, listed) });
        let answers: Vec<_> = reads.buffered(READS_IN_FLIGHT).boxed().collect().await;
        for (answer, listed) in answers {
            let Got::Found(object) = answer?.value else { continue };
            match serde_json::from_slice::<Registration>(&object.body) {
                Ok(registration) if keys::worker(registration.id) != listed.key => {
                    let message = format!("it is the registration of the worker {}", registration.id);
                    corrupt.push(CorruptObject { key: listed.key, message });
                }
                Ok(registration) => {
                    let idle = registration.running == 0 && !holders.contains(&registration.id);
                    let alive = page.at.since(object.last_modified) <= settings.silence(idle);
                    workers.push(Seen { registration, heartbeat_at: object.last_modified, alive });
                }
                Err(error) => corrupt.push(CorruptObject { key: listed.key, message: error.to_string() }),
            }
        }
        Ok((workers, corrupt))
    }
}
