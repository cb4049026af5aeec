//! The heartbeat: one object a worker, however many leases it holds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::registry::Registration;
use super::shared::{Beat, Phase, Shared};
use crate::bucket::Lane;
use crate::error::{Error, Result};
use crate::keys;

/// The wait after a heartbeat that could not be written.
const PAUSE: Duration = Duration::from_secs(1);
const MISSED: &str = "the heartbeat could not be written, no work is claimed until it can";

impl Shared {
    /// Writes the heartbeat.
    ///
    /// # Errors
    /// The store's.
    pub async fn beat(&self) -> Result<()> {
        let began = Instant::now();
        let body = serde_json::to_vec(&self.registration())
            .map(Bytes::from)
            .map_err(|error| Error::Internal(format!("a heartbeat cannot be written as JSON: {error}")))?;
        let at = self.desk().bucket.on(Lane::Beat).put(&keys::worker(self.id), body).await?.at;
        // Counted from before the request: the server cannot have stamped it earlier.
        self.lock().last_beat = Some(Beat { sent: began, at });
        self.answered(MISSED);
        Ok(())
    }

    /// Makes sure before a claim that others see this worker alive: one that cannot write its heartbeat claims nothing.
    pub async fn ensure_fresh_beat(&self) -> Result<()> {
        let fresh = self.settings().heartbeat * 2;
        let last = self.lock().last_beat;
        if last.is_some_and(|last| self.age(last) < fresh) { Ok(()) } else { self.beat().await }
    }

    fn age(&self, beat: Beat) -> Duration {
        beat.age(self.now(), self.desk().bucket.time_margin())
    }

    /// Beats until the worker is stopped: often while it holds leases, seldom while it does not.
    pub async fn keep_beating(self: Arc<Self>) {
        let mut jumps = self.desk().bucket.jumps();
        loop {
            jumps.mark_unchanged();
            let (holds, last, phase) = {
                let inner = self.lock();
                (!inner.hold.tasks.is_empty() || inner.claims > 0, inner.last_beat, inner.phase)
            };
            if phase == Phase::Stopped {
                return;
            }
            let interval = if holds { self.settings().heartbeat } else { self.settings().idle_heartbeat };
            let age = last.map_or(interval, |last| self.age(last));
            if age < interval {
                tokio::select! {
                    biased;
                    () = self.pulse.notified() => {}
                    Ok(()) = jumps.changed() => {}
                    () = sleep(interval.saturating_sub(age)) => {}
                }
            } else if let Err(error) = self.beat().await {
                self.missed(MISSED, &error);
                sleep(PAUSE).await;
            }
        }
    }

    /// Takes the worker off the list.
    pub async fn deregister(&self) {
        if let Err(error) = self.desk().bucket.delete_many(&[keys::worker(self.id)]).await {
            tracing::warn!(%error, "the worker could not be taken off the list; it will show as lost");
        }
        self.core.bell.flush().await;
        self.desk().deleter.flush().await;
    }

    fn registration(&self) -> Registration {
        let inner = self.lock();
        Registration {
            id: self.id,
            host: self.options.host.clone(),
            pid: self.options.pid,
            types: self.options.types.clone(),
            concurrency: self.options.concurrency,
            started_at: self.started_at,
            state: inner.phase,
            running: inner.hold.tasks.len(),
            ended: inner.ended,
            beat: format!("{:016x}", self.entropy().bits()),
        }
    }
}
