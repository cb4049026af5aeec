//! The server's time, kept from the answers it gives anyway.
//!
//! Every answer says what the server's clock showed, truncated to the clock's resolution, at some moment between
//! sending and receiving. Each one narrows an interval in which the offset between the server's clock and the local
//! monotonic clock must lie. No request is spent on time, and the local wall clock is never read.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::time::Timestamp;

/// How far two clocks may drift apart: 200 parts per million, twice what ordinary quartz does.
const DRIFT_DIVISOR: i64 = 5_000;

/// Bounds on `server time - local monotonic time`, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Offset {
    low: i64,
    high: i64,
    seen_at: i64,
}

impl Offset {
    /// Narrows the bounds by one answer; starts anew where it contradicts them, since then a clock was set.
    fn observe(known: Option<Self>, server: i64, resolution: i64, sent: i64, received: i64) -> Self {
        let (low, high) = (server - received, server + resolution - sent);
        let Some(known) = known else { return Self { low, high, seen_at: received } };
        let drift = (received - known.seen_at).max(0) / DRIFT_DIVISOR;
        // Only what was allowed for counts as seen, or many answers in quick succession would allow for nothing.
        let seen_at = known.seen_at + drift * DRIFT_DIVISOR;
        let narrowed = Self { low: low.max(known.low - drift), high: high.min(known.high + drift), seen_at };
        if narrowed.low > narrowed.high { Self { low, high, seen_at: received } } else { narrowed }
    }
}

/// The server's clock as this process knows it.
#[derive(Debug)]
pub struct ServerClock {
    started: Instant,
    offset: Mutex<Option<Offset>>,
}

impl Default for ServerClock {
    fn default() -> Self {
        Self { started: Instant::now(), offset: Mutex::new(None) }
    }
}

impl ServerClock {
    fn monotonic(&self, instant: Instant) -> i64 {
        i64::try_from(instant.saturating_duration_since(self.started).as_millis()).unwrap_or(i64::MAX)
    }

    /// Learns from one answer: what the server's clock showed, how coarse it is, when the request was sent and
    /// its answer received. Whether the clock has gone on by more than the local one did: then this machine stood still.
    pub fn observe(&self, server: Timestamp, resolution_ms: i64, sent: Instant, received: Instant) -> bool {
        let (sent, received) = (self.monotonic(sent), self.monotonic(received));
        let mut known = self.offset.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = Offset::observe(*known, server.0, resolution_ms.max(1), sent, received);
        let jumped = known.is_some_and(|known| offset.low > known.high + (received - known.seen_at) / DRIFT_DIVISOR);
        *known = Some(offset);
        drop(known);
        jumped
    }

    /// The server's time now: the earliest it can be, so that nothing is ever thought due too early.
    /// The epoch before the first answer.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let offset = *self.offset.lock().unwrap_or_else(PoisonError::into_inner);
        offset.map_or(Timestamp(0), |offset| Timestamp(self.monotonic(Instant::now()) + offset.low))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_bounds_the_offset_by_its_sending_and_receiving() {
        let offset = Offset::observe(None, 50_000, 1_000, 100, 300);
        assert_eq!((offset.low, offset.high), (49_700, 50_900));
    }

    #[test]
    fn a_clock_that_was_set_is_followed() {
        let before = Offset::observe(None, 50_000, 1_000, 100, 300);
        let after = Offset::observe(Some(before), 9_000_000, 1_000, 400, 500);
        assert_eq!((after.low, after.high), (8_999_500, 9_000_600));
    }

    #[test]
    fn drift_is_allowed_for_however_often_the_server_answers() {
        let mut known = Offset::observe(None, 50_000, 1, 0, 0);
        for received in (10..=60_000).step_by(10) {
            // The local clock gains 100 parts per million on the server's.
            known = Offset::observe(Some(known), 50_000 + received - received / 10_000, 1, received, received);
        }
        assert!(known.low <= 50_000 - 6 && 50_000 - 6 <= known.high, "{known:?}");
    }

    proptest! {
        #[test]
        fn the_true_offset_stays_within_the_bounds(
            truth in -1_000_000_i64..1_000_000,
            answers in prop::collection::vec((1_i64..5_000, 0_i64..400, 0_i64..400), 1..50),
        ) {
            let (mut known, mut local) = (None, 0);
            for (pause, out, back) in answers {
                let sent = local + pause;
                let served = sent + out;
                local = served + back;
                let shown = (served + truth).div_euclid(1_000) * 1_000;
                known = Some(Offset::observe(known, shown, 1_000, sent, local));
            }
            let known = known.unwrap();
            prop_assert!(known.low <= truth && truth <= known.high);
        }
    }
}
