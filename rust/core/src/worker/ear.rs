//! When to look at the bell of a store that tells when somebody writes.
//!
//! It tells of a write when that begins, and the write can be read once it is synced, which is not told. That takes a
//! moment, and seldom long; so the first look comes a moment later, and the others less and less often, until the write
//! is certain to have been seen. It is as soon as the store says that nobody writes any more.

use std::time::Duration;

use tokio::time::Instant;

/// How long after somebody wrote the bell is still looked at.
const SETTLING: Duration = Duration::from_secs(2);
/// The first look after a write comes after this part of the time between two.
const MOMENT: u32 = 4;

/// What has been heard, and when it was looked for.
#[derive(Clone, Copy, Debug)]
pub struct Ear {
    /// The shortest time between two looks, and the only one if the store tells nothing.
    every: Duration,
    /// When somebody wrote last; `None` if the store does not tell.
    written: Option<Instant>,
    /// When the bell was read last.
    looked: Option<Instant>,
    /// Nobody was writing then, and nothing has been told of since.
    sure: bool,
}

impl Ear {
    /// Of somebody who begins now, with a store that tells of writes or does not.
    pub fn new(now: Instant, every: Duration, tells: bool) -> Self {
        Self { every, written: tells.then_some(now), looked: None, sure: false }
    }

    /// The store has told that somebody wrote; the next look comes by the time that is answered.
    pub fn hear(&mut self, now: Instant) -> Instant {
        self.written = self.written.map(|_| now);
        self.sure = false;
        let moment = now + self.every / MOMENT;
        self.looked.map_or(moment, |looked| moment.max(looked + self.every))
    }

    /// The bell was touched by this process, which can be read already; the next look comes by the time that is answered.
    pub fn hear_own(&mut self, now: Instant) -> Instant {
        if self.is_settled() {
            // As a write that is long over.
            self.written = self.written.map(|_| now.checked_sub(SETTLING).unwrap_or(now));
            self.sure = false;
        }
        self.looked.map_or(now, |looked| now.max(looked + self.every))
    }

    /// The next look after one that is made now.
    pub fn next_look(&self, now: Instant) -> Instant {
        let soonest = now + self.every;
        self.written.map_or(soonest, |written| {
            // Twice as long after the write as this one.
            let spaced = now + now.saturating_duration_since(written);
            spaced.min(written + SETTLING).max(soonest)
        })
    }

    /// The bell was read; the look began at this moment, and `quiet` says that nobody was writing then.
    pub const fn look(&mut self, at: Instant, quiet: bool) {
        self.looked = Some(at);
        self.sure = quiet;
    }

    /// Whether all that the store has told of was seen, so that the bell need not be looked at until it tells of more.
    pub fn is_settled(&self) -> bool {
        self.written.zip(self.looked).is_some_and(|(written, looked)| self.sure || looked >= written + SETTLING)
    }

    /// Whether to hear what the store tells before the next look, which is made at `next`; while much is written, that
    /// comes as soon.
    pub fn listens(&self, now: Instant, next: Instant) -> bool {
        self.is_settled() || next > now + self.every
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_millis(4);
    const SECOND: Duration = Duration::from_secs(1);

    /// The times of all looks after a write at `begun`, as they would be made, until `end`.
    fn looks(ear: &mut Ear, begun: Instant, end: Instant) -> Vec<Duration> {
        let (mut next, mut times) = (ear.hear(begun), Vec::new());
        while !ear.is_settled() && next < end {
            ear.look(next, false);
            times.push(next - begun);
            next = ear.next_look(next);
        }
        times
    }

    fn settled() -> (Ear, Instant) {
        let now = Instant::now();
        let mut ear = Ear::new(now, EVERY, true);
        looks(&mut ear, now, now + SECOND * 10);
        assert!(ear.is_settled());
        (ear, now + SECOND * 10)
    }

    #[test]
    fn a_write_is_looked_for_soon_and_then_less_and_less_often() {
        let (mut ear, now) = settled();
        let times = looks(&mut ear, now, now + SECOND * 10);
        assert_eq!(times[..4], [1, 5, 10, 20].map(Duration::from_millis));
        assert_eq!(*times.last().unwrap(), SETTLING, "the last look comes when it is certain to be seen");
        let late = times.windows(2).any(|pair| pair[1] > (pair[0] * 2).max(pair[0] + EVERY));
        assert!(!late, "no write is found later than it took once more: {times:?}");
    }

    #[test]
    fn a_write_each_second_costs_some_looks_a_second() {
        let (mut ear, now) = settled();
        for second in 0..5 {
            let begun = now + SECOND * second;
            assert!(looks(&mut ear, begun, begun + SECOND).len() < 10);
        }
    }

    #[test]
    fn another_write_is_looked_for_soon_also_before_the_first_has_settled() {
        let (mut ear, now) = settled();
        looks(&mut ear, now, now + SECOND);
        let next = ear.next_look(ear.looked.unwrap());
        assert!(ear.listens(now + SECOND, next));
        assert_eq!(ear.hear(now + SECOND), now + SECOND + EVERY / MOMENT);
        ear.look(now + SECOND, false);
        assert_eq!(ear.hear(now + SECOND), now + SECOND + EVERY, "but not more often than it may be");
    }

    #[test]
    fn a_write_that_is_over_is_looked_for_once() {
        let (mut ear, now) = settled();
        let first = ear.hear(now);
        assert_eq!(first, now + EVERY / MOMENT);
        ear.look(first, true);
        assert!(ear.is_settled() && ear.listens(first, ear.next_look(first)));
        ear.hear(first);
        assert!(!ear.is_settled(), "another");
        ear.look(first + EVERY, false);
        assert!(!ear.is_settled(), "it may be under way");
    }

    #[test]
    fn a_touch_of_ones_own_is_looked_at_once_and_hides_no_other_write() {
        let (mut ear, now) = settled();
        assert_eq!(ear.hear_own(now), now);
        assert!(!ear.is_settled());
        ear.look(now, false);
        assert!(ear.is_settled());
        ear.hear(now);
        assert_eq!(ear.hear_own(now), now + EVERY);
        ear.look(now + EVERY, false);
        assert!(!ear.is_settled(), "the other may be under way");
    }

    #[test]
    fn a_look_that_failed_does_not_settle_anything() {
        let now = Instant::now();
        let ear = Ear::new(now, EVERY, true);
        assert_eq!(ear.next_look(now + SETTLING), now + SETTLING + EVERY);
        assert!(!ear.is_settled());
    }

    #[test]
    fn without_a_store_that_tells_the_looks_are_regular() {
        let now = Instant::now();
        let mut ear = Ear::new(now, SECOND, false);
        ear.look(now + SECOND * 5, true);
        assert_eq!(ear.next_look(now + SECOND * 5), now + SECOND * 6);
        assert!(!ear.is_settled());
    }
}
