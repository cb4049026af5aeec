//! How many requests a second are sent to a store that asks for fewer, or does not answer any more.
//!
//! Retries of single operations cannot spare an ailing store: there may be any number of operations. So all requests of
//! a process share one pace. While the store is well there is none. "Slow down" halves it; answers raise it again, fast
//! after an outage, in which nothing was answered, and gently near the pace at which the store last said "slow down".

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, sleep, timeout};

use super::OPERATION_TIMEOUT;
use super::lanes::Lane;
use crate::store::StoreErrorKind;

/// Requests a second that are sent at least, even if none is answered.
const LEAST: f64 = 2.0;
/// Requests a second that are sent at least while most are answered: a few processes are no load for any store.
const MODEST: f64 = 50.0;
/// Requests a second at which there is no need for a pace any more.
const ENOUGH: f64 = 10_000.0;
/// How much one answer adds, in requests a second: the pace doubles each second.
const FAST: f64 = 1.0;
/// The same near the pace that was too much: a fifth more each second.
const GENTLE: f64 = 0.2;
/// Failures one after the other that count as "slow down".
const STREAK: u32 = 20;
/// Between two reductions: what was under way at the first says nothing new.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long after the last "slow down" the pace is given up.
const FORGIVEN: Duration = Duration::from_mins(1);
/// How much of the time in which nobody sent anything may be made up for.
const BURST: Duration = Duration::from_millis(50);

/// What a request came to, as far as the pace is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fared {
    /// It was answered.
    Well,
    /// The store asked for fewer requests.
    Throttled,
    /// It failed in any other way.
    Failed,
}

impl Fared {
    /// After an error of this kind.
    pub const fn of(kind: StoreErrorKind) -> Self {
        match kind {
            StoreErrorKind::Throttled => Self::Throttled,
            // Another write was under way, which the store took.
            StoreErrorKind::Conflict => Self::Well,
            _ => Self::Failed,
        }
    }
}

/// The pace of all requests to one store.
#[derive(Debug)]
pub struct Pace {
    state: Mutex<State>,
    /// There is a pace to keep.
    limited: AtomicBool,
    /// Requests that wait.
    waiting: AtomicUsize,
    /// Held by the next to be sent.
    turn: AsyncMutex<()>,
    /// Held by the next of those that let others go first.
    patient: AsyncMutex<()>,
}

#[derive(Debug)]
struct State {
    rate: Option<f64>,
    /// The rate from which on it is raised gently.
    too_much: f64,
    /// When the next request may be sent.
    next: Instant,
    /// When the rate was last reduced, and how requests have fared since.
    reduced: Option<Instant>,
    well: u32,
    ill: u32,
    /// Failures since the last answer.
    streak: u32,
    /// Requests sent in the current second, and in the one before.
    second: (Instant, u32),
    last_second: u32,
}

/// A request among those that wait.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Pace {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            state: Mutex::new(State {
                rate: None,
                too_much: f64::INFINITY,
                next: now,
                reduced: None,
                well: 0,
                ill: 0,
                streak: 0,
                second: (now, 0),
                last_second: 0,
            }),
            limited: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            turn: AsyncMutex::new(()),
            patient: AsyncMutex::new(()),
        }
    }
}

impl Pace {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request may be sent; `false` if too many wait already. Signs of life need not ask.
    pub async fn keep(&self, lane: Lane) -> bool {
        if lane == Lane::Beat || !self.limited.load(Ordering::Relaxed) {
            self.state().count(Instant::now());
            return true;
        }
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if !self.state().has_time_for(waiting) {
            return false;
        }
        let turn = async {
            let _patient = if lane == Lane::Bulk { Some(self.patient.lock().await) } else { None };
            let _turn = self.turn.lock().await;
            loop {
                let wait = self.state().take(Instant::now());
                match wait {
                    None => return,
                    Some(wait) => sleep(wait).await,
                }
            }
        };
        timeout(OPERATION_TIMEOUT, turn).await.is_ok()
    }

    /// Learns how a request fared.
    pub fn learn(&self, fared: Fared) {
        let mut state = self.state();
        state.learn(fared, Instant::now());
        self.limited.store(state.rate.is_some(), Ordering::Relaxed);
    }
}

impl State {
    /// Whether one more can be sent in time behind so many.
    fn has_time_for(&self, waiting: usize) -> bool {
        let waiting = f64::from(u32::try_from(waiting).unwrap_or(u32::MAX));
        self.rate.is_none_or(|rate| waiting <= rate * OPERATION_TIMEOUT.as_secs_f64())
    }

    /// Lets one be sent now, or says how long not.
    fn take(&mut self, now: Instant) -> Option<Duration> {
        if let Some(rate) = self.rate {
            let earliest = now.checked_sub(BURST).unwrap_or(now);
            self.next = self.next.max(earliest);
            if self.next > now {
                // A timer has milliseconds, and may end a little early.
                return Some(self.next.saturating_duration_since(now).max(Duration::from_millis(1)));
            }
            self.next += Duration::from_secs_f64(1.0 / rate);
        }
        self.count(now);
        None
    }

    fn count(&mut self, now: Instant) {
        let (began, count) = self.second;
        let age = now.saturating_duration_since(began);
        if age < Duration::from_secs(1) {
            self.second.1 = count.saturating_add(1);
        } else {
            self.last_second = if age < Duration::from_secs(2) { count } else { 0 };
            self.second = (now, 1);
        }
    }

    fn learn(&mut self, fared: Fared, now: Instant) {
        match fared {
            Fared::Well => {
                self.well = self.well.saturating_add(1);
                self.streak = 0;
                self.raise(now);
                return;
            }
            Fared::Throttled => {}
            Fared::Failed => {
                self.streak = self.streak.saturating_add(1);
                if self.streak < STREAK {
                    return;
                }
            }
        }
        self.ill = self.ill.saturating_add(1);
        let lately = |at: Instant| now.saturating_duration_since(at) < INTERVAL;
        if !self.reduced.is_some_and(lately) {
            self.reduce(now);
        }
    }

    fn raise(&mut self, now: Instant) {
        let Some(rate) = self.rate else { return };
        let rate = rate + if rate < self.too_much { FAST } else { GENTLE };
        let forgiven = self.reduced.is_none_or(|at| now.saturating_duration_since(at) > FORGIVEN);
        self.rate = (rate < ENOUGH && !forgiven).then_some(rate);
    }

    fn reduce(&mut self, now: Instant) {
        let sent = f64::from(self.last_second.max(self.second.1));
        let rate = self.rate.map_or(sent, |rate| rate.min(sent.max(MODEST)));
        let least = if self.well > self.ill { MODEST } else { LEAST };
        let reduced = (rate / 2.0).max(least);
        // An outage says nothing about how much the store can take.
        self.too_much = if self.well == 0 { f64::INFINITY } else { reduced };
        self.rate = Some(reduced);
        (self.reduced, self.well, self.ill) = (Some(now), 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests sent in so many seconds by as many as want to, all faring so.
    async fn sent(pace: &Pace, seconds: u64, fared: Fared) -> usize {
        let until = Instant::now() + Duration::from_secs(seconds);
        let mut sent = 0;
        while Instant::now() < until {
            if pace.keep(Lane::Work).await {
                sent += 1;
                pace.learn(fared);
            }
            if !pace.limited.load(Ordering::Relaxed) {
                sleep(Duration::from_micros(500)).await;
            }
        }
        sent
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_well_sets_no_pace() {
        let pace = Pace::default();
        assert!(sent(&pace, 2, Fared::Well).await > 900);
        pace.learn(Fared::Failed);
        assert!(!pace.limited.load(Ordering::Relaxed), "a single failure says nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_met_with_two_requests_a_second_and_forgotten_within_seconds() {
        for ill in [Fared::Throttled, Fared::Failed] {
            let pace = Pace::default();
            sent(&pace, 5, Fared::Well).await;
            sent(&pace, 20, ill).await;
            let during = sent(&pace, 100, ill).await;
            assert!((190..=210).contains(&during), "{ill:?}: {during} in 100 s");
            let after = sent(&pace, 12, Fared::Well).await;
            assert!(after > 5_000, "{ill:?}: {after} in the first 12 s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_takes_a_thousand_a_second_gets_about_as_many() {
        let pace = Pace::default();
        let (mut well, mut throttled) = (0, 0);
        let (mut second, mut taken, mut offered) = (Instant::now(), 0, 0);
        let until = Instant::now() + Duration::from_mins(2);
        while Instant::now() < until {
            assert!(pace.keep(Lane::Bulk).await);
            if second.elapsed() >= Duration::from_secs(1) {
                (second, taken) = (Instant::now(), 0);
            }
            (taken, offered) = (taken + 1, offered + 1);
            if taken <= 1_000 {
                well += 1;
                pace.learn(Fared::Well);
            } else {
                throttled += 1;
                pace.learn(Fared::Throttled);
            }
            if offered % 4 == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        }
        assert!(well > 120 * 600, "{well} taken");
        assert!(throttled < well / 5, "{throttled} refused, {well} taken");
    }

    #[tokio::test(start_paused = true)]
    async fn a_now_and_then_refused_request_costs_a_modest_process_nothing() {
        let pace = Pace::default();
        let began = Instant::now();
        for n in 0..1_000 {
            assert!(pace.keep(Lane::Work).await);
            pace.learn(if n % 30 == 0 { Fared::Throttled } else { Fared::Well });
            sleep(Duration::from_millis(50)).await;
        }
        assert!(began.elapsed() < Duration::from_secs(55), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_would_wait_too_long_is_told_at_once() {
        let pace = Pace::default();
        sent(&pace, 30, Fared::Throttled).await;
        let began = Instant::now();
        let all = (0..200).map(|_| pace.keep(Lane::Bulk));
        let kept = futures::future::join_all(all).await.into_iter().filter(|kept| *kept).count();
        assert!((55..=65).contains(&kept), "{kept}");
        assert!(began.elapsed() <= OPERATION_TIMEOUT + Duration::from_secs(1));
    }
}
