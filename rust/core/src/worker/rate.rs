//! How many tasks a second this worker finishes, to fetch about as many ahead.

use std::time::Duration;

use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(1);
/// The shortest time a rate is taken over, so that a first quick batch counts and does not count for too much.
const SHORTEST: Duration = Duration::from_millis(200);

/// Counts over the running and the last window.
#[derive(Debug, Default)]
pub struct Rate {
    started: Option<Instant>,
    current: usize,
    last: usize,
}

impl Rate {
    fn roll(&mut self, now: Instant) -> Duration {
        let started = *self.started.get_or_insert(now);
        let mut elapsed = now.saturating_duration_since(started);
        if elapsed >= WINDOW {
            self.last = if elapsed < WINDOW * 2 { self.current } else { 0 };
            self.current = 0;
            self.started = Some(now);
            elapsed = Duration::ZERO;
        }
        elapsed
    }

    /// Counts finished tasks.
    pub fn add(&mut self, count: usize, now: Instant) {
        self.roll(now);
        self.current += count;
    }

    /// Tasks a second, lately.
    pub fn per_second(&mut self, now: Instant) -> usize {
        let elapsed = self.roll(now).max(SHORTEST).as_millis();
        let current = self.current.saturating_mul(1_000) / usize::try_from(elapsed).unwrap_or(1_000).max(1);
        current.max(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_quick_batch_is_taken_over_the_shortest_time() {
        let (mut rate, now) = (Rate::default(), Instant::now());
        rate.add(20, now);
        assert_eq!(rate.per_second(now), 100);
    }

    #[test]
    fn it_falls_to_nothing_when_nothing_finishes() {
        let (mut rate, now) = (Rate::default(), Instant::now());
        rate.add(500, now);
        assert_eq!(rate.per_second(now + WINDOW), 500, "the last window still counts");
        assert_eq!(rate.per_second(now + WINDOW * 3), 0);
    }
}
