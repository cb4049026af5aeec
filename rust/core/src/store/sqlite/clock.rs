//! The store's clock: the machine's, kept from running backwards.

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::time::Timestamp;

/// Never shows less than it, or another process with the same file, has shown in a stored object.
///
/// Follows the system clock. Where that was set back, time goes on from the latest moment seen at its usual pace: it
/// neither jumps back nor stands still, so that leases still expire.
#[derive(Debug)]
pub(super) struct Clock(Mutex<Mark>);

/// The latest moment seen, and when that was.
#[derive(Clone, Copy, Debug)]
struct Mark {
    time: Timestamp,
    seen: Instant,
}

impl Mark {
    fn advance(&mut self, stored: Timestamp, system: Timestamp, instant: Instant) -> Timestamp {
        let ticked = self.time.after(instant.saturating_duration_since(self.seen));
        let now = ticked.max(system).max(stored);
        if now > ticked {
            *self = Self { time: now, seen: instant };
        }
        now
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self(Mutex::new(Mark { time: Timestamp(0), seen: Instant::now() }))
    }
}

impl Clock {
    /// The time now, given the newest one `stored` in the database.
    pub(super) fn now(&self, stored: Timestamp) -> Timestamp {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).advance(stored, system_time(), Instant::now())
    }
}

#[expect(clippy::disallowed_methods, reason = "the machine's clock is the server clock of a store on this machine")]
pub(super) fn system_time() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_system_clock_set_back_neither_jumps_back_nor_stands_still() {
        let start = Instant::now();
        let mut mark = Mark { time: Timestamp(0), seen: start };
        assert_eq!(mark.advance(Timestamp(0), Timestamp(9_000), start), Timestamp(9_000));
        let later = start + Duration::from_millis(70);
        assert_eq!(mark.advance(Timestamp(0), Timestamp(4_000), later), Timestamp(9_070));
        assert_eq!(mark.advance(Timestamp(0), Timestamp(9_500), later), Timestamp(9_500));
    }

    #[test]
    fn a_later_time_stored_by_another_process_is_taken_over() {
        let start = Instant::now();
        let mut mark = Mark { time: Timestamp(0), seen: start };
        assert_eq!(mark.advance(Timestamp(50_000), Timestamp(9_000), start), Timestamp(50_000));
        let later = start + Duration::from_millis(10);
        assert_eq!(mark.advance(Timestamp(50_000), Timestamp(9_010), later), Timestamp(50_010));
    }

    #[test]
    fn many_readings_within_a_millisecond_lose_no_time() {
        let start = Instant::now();
        let mut mark = Mark { time: Timestamp(1_000), seen: start };
        for micros in (0..=5_000).step_by(100) {
            mark.advance(Timestamp(0), Timestamp(0), start + Duration::from_micros(micros));
        }
        assert_eq!(mark.advance(Timestamp(0), Timestamp(0), start + Duration::from_millis(5)), Timestamp(1_005));
    }
}
