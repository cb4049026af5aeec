//! The slots of a schedule: one after the other, in a range, and the newest of a range.

use std::time::Duration;

use chrono_tz::Tz;

use super::expression::Expression;
use super::zone;
use crate::time::Timestamp;

/// The shortest time between two slots of a cron expression.
const CRON_STEP_MS: i64 = 60_000;

/// When a schedule fires.
#[derive(Clone, Debug)]
pub enum Timing {
    /// At times of day in a zone.
    Cron(Expression, Tz),
    /// Every so many milliseconds, counted from the epoch: every 15 minutes is at :00, :15, :30 and :45.
    Every(i64),
}

impl Timing {
    /// The first slot after a moment; `None` if there is none any more.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron(expression, zone) => zone::next_slot(expression, *zone, after),
            Self::Every(interval) => {
                let next = after.0.div_euclid(*interval).checked_add(1)?.checked_mul(*interval)?;
                Some(Timestamp(next)).filter(|next| *next <= Timestamp::LAST)
            }
        }
    }

    /// The slots after `after`, up to and with `until`, oldest first, at most `most`.
    #[must_use]
    pub fn between(&self, after: Timestamp, until: Timestamp, most: usize) -> Vec<Timestamp> {
        let next = |slot: &Timestamp| self.next_after(*slot).filter(|next| *next <= until);
        std::iter::successors(next(&after), next).take(most).collect()
    }

    /// The newest slots after `after`, up to and with `until`, oldest first, at most `most`. However far apart the two
    /// are, little more than those is looked at.
    #[must_use]
    pub fn newest(&self, after: Timestamp, until: Timestamp, most: usize) -> Vec<Timestamp> {
        let count = i64::try_from(most).unwrap_or(i64::MAX);
        let step = match self {
            Self::Cron(..) => CRON_STEP_MS,
            Self::Every(interval) => *interval,
        };
        // Slots are at least a step apart, so there are at most so many in a span of so many steps.
        let mut span = step.saturating_mul(count);
        loop {
            let start = Timestamp(until.0.saturating_sub(span)).max(after);
            let mut slots = self.between(start, until, usize::MAX);
            if slots.len() >= most || start <= after {
                slots.drain(..slots.len().saturating_sub(most));
                return slots;
            }
            span = span.saturating_mul(4);
        }
    }

    /// The next slots after a moment.
    #[must_use]
    pub fn preview(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        self.between(after, Timestamp::LAST, count)
    }

    /// The time between any two slots, where that is always the same.
    #[must_use]
    pub fn interval(&self) -> Option<Duration> {
        match self {
            Self::Cron(..) => None,
            Self::Every(interval) => u64::try_from(*interval).ok().map(Duration::from_millis),
        }
    }

    /// The time from one slot to the next, after a moment.
    #[must_use]
    pub fn step(&self, after: Timestamp) -> Option<Duration> {
        let first = self.next_after(after)?;
        Some(self.next_after(first)?.since(first))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schedule::parse_zone;

    const HOUR: i64 = 3_600_000;

    fn cron(text: &str) -> Timing {
        Timing::Cron(Expression::parse(text).unwrap(), parse_zone("Europe/Berlin").unwrap())
    }

    #[test]
    fn an_interval_is_counted_from_the_epoch() {
        let timing = Timing::Every(15 * 60_000);
        assert_eq!(timing.next_after(Timestamp(1)), Some(Timestamp(15 * 60_000)));
        assert_eq!(timing.next_after(Timestamp(15 * 60_000)), Some(Timestamp(30 * 60_000)));
        assert_eq!(timing.next_after(Timestamp(-1)), Some(Timestamp(0)));
        assert_eq!(timing.next_after(Timestamp::LAST), None);
    }

    #[test]
    fn a_range_includes_its_end_and_not_its_start() {
        let timing = Timing::Every(HOUR);
        let hours = |slots: Vec<Timestamp>| slots.into_iter().map(|slot| slot.0 / HOUR).collect::<Vec<_>>();
        assert_eq!(hours(timing.between(Timestamp(HOUR), Timestamp(4 * HOUR), 10)), [2, 3, 4]);
        assert_eq!(hours(timing.between(Timestamp(HOUR), Timestamp(4 * HOUR), 2)), [2, 3]);
        assert_eq!(hours(timing.newest(Timestamp(HOUR), Timestamp(4 * HOUR), 2)), [3, 4]);
        assert_eq!(hours(timing.newest(Timestamp(HOUR), Timestamp(4 * HOUR), 0)), [0; 0]);
        assert_eq!(hours(timing.preview(Timestamp(0), 3)), [1, 2, 3]);
    }

    #[test]
    fn the_newest_of_a_long_time_are_found_without_looking_at_all() {
        let year = Timestamp(365 * 24 * HOUR);
        assert_eq!(Timing::Every(1).newest(Timestamp(0), year, 3), [-2, -1, 0].map(|n| Timestamp(year.0 + n)));
        assert_eq!(cron("* * * * *").newest(Timestamp(0), year, 1_000).len(), 1_000);
        assert_eq!(cron("0 0 1 1 *").newest(Timestamp(0), year, 5).len(), 1, "few in a long time");
        assert!(cron("0 0 31 2 *").newest(Timestamp(0), year, 5).is_empty());
    }

    proptest! {
        #[test]
        fn the_newest_are_the_last_of_all(
            start in 0_i64..2_000_000_000, hours in 0_i64..500, most in 0_usize..40,
            text in prop::sample::select(vec!["*/7 * * * *", "30 2 * * *", "0 9 * * mon-fri", "0 0 1 * *"]),
        ) {
            let (timing, after) = (cron(text), Timestamp(start * 1_000));
            let until = Timestamp(after.0 + hours * HOUR);
            let all = timing.between(after, until, usize::MAX);
            prop_assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert_eq!(timing.newest(after, until, most), &all[all.len().saturating_sub(most)..]);
        }
    }
}
