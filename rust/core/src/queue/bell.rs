//! The bell: one small object that submitters touch and idle workers watch.
//!
//! Looking at it costs a GET, a twelfth of a LIST, and it tells what was written lately. Touching it is best effort:
//! what it misses, the regular look finds.

mod told;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::time::{Instant, sleep_until, timeout};

use self::told::Tidings;
pub use self::told::{Read, Told};
use crate::bucket::Bucket;
use crate::error::{Error, Result};
use crate::keys::{self, ReadyEntry};
use crate::store::{Condition, ETag, Got, Put, StoreErrorKind, time_limit};
use crate::tasks::Spawner;

/// Attempts to carry on what others have told.
const ATTEMPTS: usize = 2;
/// How long nothing is carried on after so many others have touched the bell at the same time.
const CROWDED: Duration = Duration::from_secs(30);

/// Touches the bell, at most once per interval.
#[derive(Clone, Debug)]
pub struct Bell {
    bucket: Bucket,
    interval: Duration,
    state: Arc<Mutex<Pull>>,
    /// Held during a touch, so that whoever flushes before the engine ends waits for one that is under way.
    touching: Arc<AsyncMutex<()>>,
    touches: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Pull {
    last: Option<Instant>,
    /// A touch is on its way that will come after whatever was just written.
    scheduled: bool,
    /// What the next touch tells.
    tidings: Tidings,
    /// Until when nothing is carried on.
    crowded: Option<Instant>,
}

/// What a look at the bell told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rung {
    /// It was touched since; this is its new tag, and what it tells, if it does.
    Yes(Option<ETag>, Option<Told>),
    /// Nothing happened.
    No,
}

impl Bell {
    /// A bell that this process touches at most once per `interval`.
    #[must_use]
    pub fn new(bucket: Bucket, interval: Duration) -> Self {
        Self { bucket, interval, state: Arc::default(), touching: Arc::default(), touches: watch::Sender::default() }
    }

    /// Changes whenever this process has touched the bell, of which the store need not tell.
    pub fn touches(&self) -> watch::Receiver<()> {
        self.touches.subscribe()
    }

    fn pull(&self) -> std::sync::MutexGuard<'_, Pull> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that the bell is touched after this moment: now, or as soon as the interval allows. It will tell of
    /// the entry that was written, if that is known.
    pub fn ring(&self, spawner: &Spawner, written: Option<ReadyEntry>) {
        let at = {
            let mut pull = self.pull();
            match written {
                Some(entry) => pull.tidings.add(entry),
                None => pull.tidings.add_unknown(),
            }
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
        let (tidings, crowded) = {
            let mut pull = self.pull();
            if !std::mem::replace(&mut pull.scheduled, false) {
                return;
            }
            let now = Instant::now();
            pull.last = Some(now);
            (std::mem::take(&mut pull.tidings), pull.crowded.is_some_and(|until| now < until))
        };
        let touch = async { if crowded { self.touch_anyhow(&tidings).await } else { self.touch(&tidings).await } };
        // It is not worth waiting for long: a process may be about to end.
        let silent = |_| Err(Error::Unavailable("the store did not answer in time".to_owned()));
        if let Err(error) = timeout(time_limit(0), touch).await.unwrap_or_else(silent) {
            self.pull().tidings.put_back(tidings);
            tracing::debug!(%error, "the bell was not touched; the regular look will find the work");
        }
        // Also after an error: it may have been touched all the same.
        self.touches.send_replace(());
    }

    /// Tells what was written besides what others have told.
    async fn touch(&self, tidings: &Tidings) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let (told, condition) = match self.bucket.get(keys::BELL, None).await?.value {
                Got::Found(object) => (Told::parse(&object.body), Condition::IfMatch(object.etag)),
                Got::Missing | Got::NotModified => (None, Condition::IfAbsent),
            };
            let body = told.map_or_else(|| self.first(tidings), |told| told.next(self.bucket.now(), tidings)).body()?;
            match self.bucket.put_if(keys::BELL, body, &condition).await {
                Ok(Put::Stored(_)) => return Ok(()),
                Ok(Put::Refused) => {}
                Err(error) if error.kind == StoreErrorKind::Conflict => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.pull().crowded = Some(Instant::now() + CROWDED);
        self.touch_anyhow(tidings).await
    }

    /// Tells what was written, and that everybody else has to look.
    async fn touch_anyhow(&self, tidings: &Tidings) -> Result<()> {
        let body: Bytes = self.first(tidings).body()?;
        self.bucket.put_once(keys::BELL, body).await?;
        Ok(())
    }

    fn first(&self, tidings: &Tidings) -> Told {
        Told::first(self.bucket.entropy().bits(), self.bucket.now(), tidings)
    }

    /// Looks whether the bell was touched since it had the tag `known`.
    ///
    /// # Errors
    /// The store's.
    pub async fn look(&self, known: Option<&ETag>) -> Result<Rung> {
        Ok(match self.bucket.get(keys::BELL, known).await?.value {
            Got::Found(object) => {
                let told = Told::parse(&object.body);
                Rung::Yes(Some(object.etag), told)
            }
            Got::NotModified => Rung::No,
            Got::Missing => known.map_or(Rung::No, |_| Rung::Yes(None, None)),
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
        bell.ring(&tasks.spawner(), None);
        while bell.state.lock().unwrap().scheduled {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(store.objects().is_empty(), "the touch has begun and is on its way");
        bell.flush().await;
        assert_eq!(store.objects().len(), 1);
    }
}
