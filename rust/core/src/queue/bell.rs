//! The bell: one small object that submitters touch and idle workers watch.
//!
//! Looking at it costs a GET, a twelfth of a LIST. Touching it is best effort: what it misses, the regular look finds.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, sleep_until};

use crate::bucket::Bucket;
use crate::error::Result;
use crate::keys;
use crate::store::{ETag, Got};
use crate::tasks::Spawner;

/// Touches the bell, at most once per interval.
#[derive(Clone, Debug)]
pub struct Bell {
    bucket: Bucket,
    interval: Duration,
    state: Arc<Mutex<Pull>>,
    /// Held during a touch, so that whoever flushes before the engine ends waits for one that is under way.
    touching: Arc<AsyncMutex<()>>,
}

#[derive(Debug, Default)]
struct Pull {
    last: Option<Instant>,
    /// A touch is on its way that will come after whatever was just written.
    scheduled: bool,
}

/// What a look at the bell told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rung {
    /// It was touched since; this is its new tag.
    Yes(Option<ETag>),
    /// Nothing happened.
    No,
}

impl Bell {
    /// A bell that this process touches at most once per `interval`.
    #[must_use]
    pub fn new(bucket: Bucket, interval: Duration) -> Self {
        Self { bucket, interval, state: Arc::default(), touching: Arc::default() }
    }

    /// Sees to it that the bell is touched after this moment: now, or as soon as the interval allows.
    pub fn ring(&self, spawner: &Spawner) {
        let at = {
            let mut pull = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if std::mem::replace(&mut pull.scheduled, true) {
                return;
            }
            pull.last.map_or_else(Instant::now, |last| (last + self.interval).max(Instant::now()))
        };
        let bell = self.clone();
        spawner.spawn(async move {
            sleep_until(at).await;
            bell.flush().await;
        });
    }

    /// Touches the bell now if a touch is due; when this returns, none is under way either.
    pub async fn flush(&self) {
        let _touching = self.touching.lock().await;
        {
            let mut pull = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if !std::mem::replace(&mut pull.scheduled, false) {
                return;
            }
            pull.last = Some(Instant::now());
        }
        // Other bytes each time, or the tag would stay the same.
        let body = format!("{{\"at\":\"{}\",\"nonce\":\"{:016x}\"}}", self.bucket.now(), self.bucket.entropy().bits());
        if let Err(error) = self.bucket.put_once(keys::BELL, Bytes::from(body)).await {
            tracing::debug!(%error, "the bell was not touched; the regular look will find the work");
        }
    }

    /// Looks whether the bell was touched since it had the tag `known`.
    ///
    /// # Errors
    /// The store's.
    pub async fn look(&self, known: Option<&ETag>) -> Result<Rung> {
        Ok(match self.bucket.get(keys::BELL, known).await?.value {
            Got::Found(object) => Rung::Yes(Some(object.etag)),
            Got::NotModified => Rung::No,
            Got::Missing => known.map_or(Rung::No, |_| Rung::Yes(None)),
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::entropy::Entropy;
    use crate::store::faulty::{FaultPlan, Network, Unobserved};
    use crate::store::memory::MemoryStore;
    use crate::tasks::TaskOwner;

    #[tokio::test(start_paused = true)]
    async fn a_flush_waits_for_a_touch_under_way() {
        let store = Arc::new(MemoryStore::new());
        let slow = FaultPlan { delay_ms: 100..=100, ..FaultPlan::calm() };
        let network = Network::new(Arc::<MemoryStore>::clone(&store), 7, slow, Arc::new(Unobserved));
        let bucket = Bucket::new(network.connect("p"), Entropy::seeded(7));
        let (bell, tasks) = (Bell::new(bucket, Duration::from_secs(1)), TaskOwner::default());
        bell.ring(&tasks.spawner());
        while bell.state.lock().unwrap().scheduled {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(store.objects().is_empty(), "the touch has begun and is on its way");
        bell.flush().await;
        assert_eq!(store.objects().len(), 1);
    }
}
