//! The heartbeat: one object a worker, however many leases it holds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, sleep_until};

use super::registry::Registration;
use super::shared::{Beat, Inner, Phase, Shared};
use crate::bucket::Lane;
use crate::error::{Error, Result};
use crate::keys;

/// The wait after a heartbeat that could not be written.
const PAUSE: Duration = Duration::from_secs(1);
const MISSED: &str = "the heartbeat could not be written, no work is claimed until it can";
/// How long something new has to last before a heartbeat shows it.
const SOON: Duration = Duration::from_secs(1);

impl Shared {
    /// Writes the heartbeat.
    ///
    /// # Errors
    /// The store's.
    pub async fn beat(&self) -> Result<()> {
        let began = Instant::now();
        let (registration, shown) = self.registration();
        let body = serde_json::to_vec(&registration)
            .map(Bytes::from)
            .map_err(|error| Error::Internal(format!("a heartbeat cannot be written as JSON: {error}")))?;
        let at = self.desk().bucket.on(Lane::Beat).put(&keys::worker(self.id), body).await?.at;
        let mut inner = self.lock();
        // Counted from before the request: the server cannot have stamped it earlier.
        inner.last_beat = Some(Beat { sent: began, at });
        inner.shown = shown;
        drop(inner);
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

    /// Beats until the worker is stopped: often while it holds leases, seldom while it does not, and soon when there is
    /// something new to be seen.
    pub async fn keep_beating(self: Arc<Self>) {
        let mut jumps = self.desk().bucket.jumps();
        let (often, seldom) = (self.settings().heartbeat, self.settings().idle_heartbeat);
        let mut rhythm = Rhythm { often, seldom, news: None };
        loop {
            jumps.mark_unchanged();
            let (said, shows, beat) = {
                let inner = self.lock();
                (inner.shown, Shown::of(&inner), inner.last_beat)
            };
            if shows.phase == Phase::Stopped {
                return;
            }
            let now = Instant::now();
            // The clock here may have stood still since; then it was longer ago.
            let last = beat.and_then(|beat| now.checked_sub(self.age(beat)));
            let next = rhythm.next(now, last, said, shows);
            if now < next {
                tokio::select! {
                    biased;
                    () = self.pulse.notified() => {}
                    Ok(()) = jumps.changed() => {}
                    () = sleep_until(next) => {}
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

    fn registration(&self) -> (Registration, Shown) {
        let inner = self.lock();
        let shown = Shown::of(&inner);
        let registration = Registration {
            id: self.id,
            host: self.options.host.clone(),
            pid: self.options.pid,
            types: self.options.types.clone(),
            concurrency: self.options.concurrency,
            started_at: self.started_at,
            state: inner.phase,
            running: inner.hold.tasks.len(),
            stuck: inner.stuck,
            ended: inner.ended,
            beat: format!("{:016x}", self.entropy().bits()),
        };
        drop(inner);
        (registration, shown)
    }
}

/// What others may want to know of a worker before its next heartbeat is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// It holds tasks, or is about to.
    busy: bool,
    stuck: usize,
    phase: Phase,
}

impl Shown {
    fn of(inner: &Inner) -> Self {
        let busy = !inner.hold.tasks.is_empty() || inner.claims > 0;
        Self { busy, stuck: inner.stuck, phase: inner.phase }
    }

    /// Whether it says more than `other`. That a worker has become idle can wait.
    fn is_news_to(self, other: Self) -> bool {
        let more = Self { busy: self.busy || other.busy, ..self };
        more != other
    }
}

/// When a worker beats.
#[derive(Debug)]
struct Rhythm {
    often: Duration,
    seldom: Duration,
    /// Since when there has been something to be seen that the latest heartbeat does not say.
    news: Option<Instant>,
}

impl Rhythm {
    /// When the next heartbeat is due. Tasks that end within a moment cost none of their own, nor does a worker that
    /// drains and is stopped.
    fn next(&mut self, now: Instant, last: Option<Instant>, said: Shown, shows: Shown) -> Instant {
        self.news = shows.is_news_to(said).then(|| self.news.unwrap_or(now));
        let Some(last) = last else { return now };
        let regular = last + if shows.busy || said.busy { self.often } else { self.seldom };
        self.news.map_or(regular, |since| (last.max(since) + SOON).min(regular))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const IDLE: Shown = Shown { busy: false, stuck: 0, phase: Phase::Running };
    const BUSY: Shown = Shown { busy: true, ..IDLE };

    fn rhythm() -> Rhythm {
        Rhythm { often: SECOND * 10, seldom: SECOND * 60, news: None }
    }

    #[test]
    fn a_busy_worker_beats_often_and_an_idle_one_seldom() {
        let now = Instant::now();
        assert_eq!(rhythm().next(now, None, IDLE, IDLE), now);
        assert_eq!(rhythm().next(now, Some(now), IDLE, IDLE), now + SECOND * 60);
        assert_eq!(rhythm().next(now, Some(now), BUSY, BUSY), now + SECOND * 10);
    }

    #[test]
    fn that_it_is_busy_is_shown_once_it_lasts() {
        let (last, mut rhythm) = (Instant::now(), rhythm());
        let begun = last + SECOND * 5;
        assert_eq!(rhythm.next(begun, Some(last), IDLE, BUSY), begun + SECOND);
        assert_eq!(rhythm.next(begun + SECOND, Some(last), IDLE, BUSY), begun + SECOND, "it still is");
        assert_eq!(rhythm.next(begun + SECOND, Some(last), IDLE, IDLE), last + SECOND * 60, "it was for a moment");
        assert_eq!(rhythm.next(begun + SECOND * 2, Some(last), IDLE, BUSY), begun + SECOND * 3, "another task");
    }

    #[test]
    fn that_it_is_idle_is_shown_in_its_turn() {
        let last = Instant::now();
        assert_eq!(rhythm().next(last + SECOND * 3, Some(last), BUSY, IDLE), last + SECOND * 10);
    }

    #[test]
    fn that_it_drains_or_has_lost_places_is_shown_once_it_lasts() {
        let last = Instant::now();
        for shows in [Shown { phase: Phase::Draining, ..IDLE }, Shown { stuck: 2, ..IDLE }] {
            assert_eq!(rhythm().next(last + SECOND * 3, Some(last), IDLE, shows), last + SECOND * 4);
        }
    }
}
