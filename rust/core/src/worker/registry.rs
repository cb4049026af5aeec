//! Who works here: the registration objects under `workers/`.

use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::shared::Phase;
use crate::error::Result;
use crate::id::WorkerId;
use crate::keys;
use crate::limits;
use crate::queue::{CorruptObject, Queue};
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
    /// Other bytes with each beat.
    pub beat: String,
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
    /// The workers, up to 1,000, and the objects among them that cannot be read.
    ///
    /// # Errors
    /// The store's.
    pub async fn workers(&self) -> Result<(Vec<Seen>, Vec<CorruptObject>)> {
        let settings = self.core().settings;
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
                    let idle = registration.running == 0;
                    let silence = if idle { settings.idle_heartbeat + settings.stale } else { settings.stale };
                    let alive = page.at.since(object.last_modified) <= silence;
                    workers.push(Seen { registration, heartbeat_at: object.last_modified, alive });
                }
                Err(error) => corrupt.push(CorruptObject { key: listed.key, message: error.to_string() }),
            }
        }
        Ok((workers, corrupt))
    }
}
