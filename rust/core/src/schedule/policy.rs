//! What is to be done about the slots that are due. Everybody who knows the same comes to the same.

use std::time::Duration;

use super::model::{CatchUp, Overlap, Schedule, SkipReason};
use super::timing::Timing;
use crate::limits;
use crate::time::Timestamp;

/// A slot that is later than this was missed; of slots that come more often, one that is late by two intervals.
const ON_TIME: Duration = Duration::from_mins(1);
/// The most slots fired before it is noted how far one has come.
const AT_ONCE: usize = 50;

/// How the task of the last slot that fired fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastRun {
    /// There is none, or it has finished, or it is gone.
    Finished,
    /// It has not finished.
    Unfinished,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// These slots fire, in this order.
    pub fire: Vec<Timestamp>,
    /// Slots up to this one are decided on then.
    pub handled: Timestamp,
    /// This one waits for the last task to finish.
    pub waiting: Option<Timestamp>,
    /// The newest that is left out.
    pub skipped: Option<(Timestamp, SkipReason)>,
}

impl Decision {
    /// Whether anything changes for the schedule.
    #[must_use]
    pub fn changes(&self, schedule: &Schedule) -> bool {
        !self.fire.is_empty() || self.handled > schedule.handled || self.waiting != schedule.waiting
    }
}

/// Decides on the slots that are due `now`.
#[must_use]
pub fn decide(schedule: &Schedule, timing: &Timing, now: Timestamp, last: LastRun) -> Decision {
    let nothing = Decision { fire: Vec::new(), handled: schedule.handled, waiting: schedule.waiting, skipped: None };
    if !schedule.enabled {
        return nothing;
    }
    let (due, skipped) = due(schedule, timing, now);
    let newest = due.last().copied().into_iter().chain(skipped.map(|(slot, _)| slot)).max();
    let handled = newest.unwrap_or(schedule.handled).max(schedule.handled);
    let decision = Decision { handled, skipped, ..nothing };
    match schedule.definition.overlap {
        Overlap::Allow => all(&decision, &due),
        Overlap::Skip => one(&decision, &due, last),
        Overlap::Wait => one_and_next(&decision, &due, last),
    }
}

/// The slots to be dealt with, oldest first, and the newest of those that were missed for good.
fn due(schedule: &Schedule, timing: &Timing, now: Timestamp) -> (Vec<Timestamp>, Option<(Timestamp, SkipReason)>) {
    let on_time = timing.interval().map_or(ON_TIME, |interval| ON_TIME.min(interval * 2));
    let (after, missed_until) = (schedule.handled, now.before(on_time));
    let on_time = timing.between(after.max(missed_until), now, AT_ONCE * 2);
    if after >= missed_until {
        return (on_time, None);
    }
    let keep = match schedule.definition.catch_up {
        CatchUp::Latest if on_time.is_empty() => 1,
        CatchUp::None | CatchUp::Latest => 0,
        CatchUp::All => usize::try_from(schedule.definition.catch_up_limit.min(limits::CATCH_UP)).unwrap_or(0),
    };
    // One more than are kept, to know whether any is left out.
    let mut due = timing.newest(after, missed_until, keep + 1);
    let left_out = due.len().checked_sub(keep).filter(|count| *count > 0).map(|_| due.remove(0));
    due.extend(on_time);
    (due, left_out.map(|slot| (slot, SkipReason::Missed)))
}

/// Each slot fires, also one that has waited under another policy; of many the first, and the others next time.
fn all(decision: &Decision, due: &[Timestamp]) -> Decision {
    let line = decision.waiting.into_iter().chain(due.iter().copied());
    let fire: Vec<Timestamp> = line.take(AT_ONCE).collect();
    let handled = if due.len() < AT_ONCE { decision.handled } else { fire.last().copied().unwrap_or(decision.handled) };
    Decision { fire, handled, waiting: None, ..decision.clone() }
}

/// The first fires unless an earlier task runs; the others come while it does.
fn one(decision: &Decision, due: &[Timestamp], last: LastRun) -> Decision {
    let fire = usize::from(last == LastRun::Finished).min(due.len());
    let (fire, left_out) = due.split_at(fire);
    let left_out = left_out.last().map(|slot| (*slot, SkipReason::Overlap));
    Decision { fire: fire.to_vec(), waiting: None, skipped: left_out.or(decision.skipped), ..decision.clone() }
}

/// The first fires as soon as no earlier task runs, the next one waits, the others are left out.
fn one_and_next(decision: &Decision, due: &[Timestamp], last: LastRun) -> Decision {
    let mut line = decision.waiting.into_iter().chain(due.iter().copied());
    let fire = if last == LastRun::Finished { line.next() } else { None };
    let waiting = line.next();
    let left_out = line.last().map(|slot| (slot, SkipReason::Overlap));
    Decision { fire: fire.into_iter().collect(), waiting, skipped: left_out.or(decision.skipped), ..decision.clone() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schedule::codec::tests::schedule;

    const MINUTE: i64 = 60_000;

    /// Minutes since the epoch at which slots fire, wait or are left out; one slot every ten minutes.
    struct Outcome {
        fire: Vec<i64>,
        handled: i64,
        waiting: Option<i64>,
        skipped: Option<(i64, SkipReason)>,
    }

    fn outcome(handled: i64, now: i64, last: LastRun, change: impl FnOnce(&mut Schedule)) -> Outcome {
        let mut schedule = schedule();
        schedule.handled = Timestamp(handled * MINUTE);
        change(&mut schedule);
        let Decision { fire, handled, waiting, skipped } =
            decide(&schedule, &Timing::Every(10 * MINUTE), Timestamp(now * MINUTE), last);
        let minute = |slot: Timestamp| slot.0 / MINUTE;
        Outcome {
            fire: fire.into_iter().map(minute).collect(),
            handled: minute(handled),
            waiting: waiting.map(minute),
            skipped: skipped.map(|(slot, reason)| (minute(slot), reason)),
        }
    }

    fn caught_up(handled: i64, now: i64, catch_up: CatchUp, limit: u32) -> Outcome {
        outcome(handled, now, LastRun::Finished, |schedule| {
            schedule.definition.catch_up = catch_up;
            schedule.definition.catch_up_limit = limit;
        })
    }

    fn overlapping(handled: i64, now: i64, overlap: Overlap, last: LastRun, waiting: Option<i64>) -> Outcome {
        outcome(handled, now, last, |schedule| {
            schedule.definition.overlap = overlap;
            schedule.definition.catch_up = CatchUp::All;
            schedule.waiting = waiting.map(|minute| Timestamp(minute * MINUTE));
        })
    }

    #[test]
    fn of_slots_that_come_in_seconds_those_of_two_intervals_are_on_time() {
        let mut schedule = schedule();
        for (catch_up, fired) in [(CatchUp::None, 2), (CatchUp::Latest, 2), (CatchUp::All, 2 + 3)] {
            schedule.definition.catch_up = catch_up;
            schedule.definition.catch_up_limit = 3;
            let decision = decide(&schedule, &Timing::Every(5_000), Timestamp(100_000), LastRun::Finished);
            assert_eq!((decision.fire.len(), decision.handled), (fired, Timestamp(100_000)), "{catch_up:?}");
        }
    }

    #[test]
    fn a_slot_fires_when_its_time_has_come_and_only_once() {
        for catch_up in [CatchUp::None, CatchUp::Latest, CatchUp::All] {
            assert!(caught_up(10, 19, catch_up, 5).fire.is_empty());
            let due = caught_up(10, 20, catch_up, 5);
            assert_eq!((due.fire, due.handled), (vec![20], 20), "{catch_up:?}");
            assert!(caught_up(20, 20, catch_up, 5).fire.is_empty(), "{catch_up:?}");
        }
    }

    #[test]
    fn missed_slots_are_left_out_or_caught_up_with() {
        let none = caught_up(10, 55, CatchUp::None, 5);
        assert_eq!((none.fire, none.handled, none.skipped), (vec![], 50, Some((50, SkipReason::Missed))));
        let latest = caught_up(10, 55, CatchUp::Latest, 5);
        assert_eq!((latest.fire, latest.handled, latest.skipped), (vec![50], 50, Some((40, SkipReason::Missed))));
        let latest = caught_up(10, 60, CatchUp::Latest, 5);
        assert_eq!((latest.fire, latest.handled), (vec![60], 60), "the newest is on time");
        let all = caught_up(10, 55, CatchUp::All, 5);
        assert_eq!((all.fire, all.skipped), (vec![20, 30, 40, 50], None));
        let all = caught_up(10, 60, CatchUp::All, 3);
        assert_eq!((all.fire, all.skipped), (vec![30, 40, 50, 60], Some((20, SkipReason::Missed))));
    }

    #[test]
    fn many_are_caught_up_with_bit_by_bit() {
        let mut handled = 0;
        let mut fired = Vec::new();
        for _ in 0..5 {
            let outcome = caught_up(handled, 1_505, CatchUp::All, 1_000);
            handled = outcome.handled;
            assert!(outcome.fire.len() <= AT_ONCE);
            fired.extend(outcome.fire);
        }
        assert_eq!(fired, (1..=150).map(|n| n * 10).collect::<Vec<_>>());
    }

    #[test]
    fn an_overlapping_slot_fires_is_left_out_or_waits() {
        let allowed = overlapping(10, 20, Overlap::Allow, LastRun::Unfinished, None);
        assert_eq!(allowed.fire, [20]);
        let skipped = overlapping(10, 20, Overlap::Skip, LastRun::Unfinished, None);
        assert_eq!((skipped.fire, skipped.handled, skipped.skipped), (vec![], 20, Some((20, SkipReason::Overlap))));
        let waiting = overlapping(10, 20, Overlap::Wait, LastRun::Unfinished, None);
        assert_eq!((waiting.fire, waiting.handled, waiting.waiting), (vec![], 20, Some(20)));
        for overlap in [Overlap::Skip, Overlap::Wait] {
            assert_eq!(overlapping(10, 20, overlap, LastRun::Finished, None).fire, [20]);
        }
    }

    #[test]
    fn while_one_waits_others_are_left_out() {
        let still = overlapping(20, 30, Overlap::Wait, LastRun::Unfinished, Some(20));
        assert_eq!((still.fire, still.waiting, still.skipped), (vec![], Some(20), Some((30, SkipReason::Overlap))));
        let over = overlapping(30, 35, Overlap::Wait, LastRun::Finished, Some(20));
        assert_eq!((over.fire, over.waiting, over.handled), (vec![20], None, 30));
        let at_once = overlapping(20, 30, Overlap::Wait, LastRun::Finished, Some(20));
        assert_eq!((at_once.fire, at_once.waiting), (vec![20], Some(30)), "the next begins to wait for it");
    }

    #[test]
    fn of_several_at_once_the_first_fires() {
        let skip = overlapping(10, 50, Overlap::Skip, LastRun::Finished, None);
        assert_eq!((skip.fire, skip.handled, skip.skipped), (vec![20], 50, Some((50, SkipReason::Overlap))));
        let wait = overlapping(10, 50, Overlap::Wait, LastRun::Finished, None);
        assert_eq!((wait.fire, wait.waiting, wait.skipped), (vec![20], Some(30), Some((50, SkipReason::Overlap))));
    }

    #[test]
    fn a_disabled_schedule_does_nothing() {
        let outcome = outcome(10, 60, LastRun::Finished, |schedule| schedule.enabled = false);
        assert_eq!((outcome.fire, outcome.handled, outcome.skipped), (vec![], 10, None));
    }

    proptest! {
        /// With everything to be caught up with, whenever one looks: each slot fires once, in order.
        #[test]
        fn under_all_every_slot_fires_once(looks in prop::collection::vec(0_i64..400, 1..30)) {
            let (mut handled, mut now, mut fired) = (0, 0, Vec::new());
            for pause in looks {
                now += pause;
                loop {
                    let outcome = caught_up(handled, now, CatchUp::All, 1_000);
                    if outcome.fire.is_empty() { break }
                    handled = outcome.handled;
                    fired.extend(outcome.fire);
                }
            }
            prop_assert_eq!(fired, (1..=now / 10).map(|n| n * 10).collect::<Vec<_>>());
        }

        /// Whatever the policies: slots fire in order, none twice, and what is handled never goes back.
        #[test]
        fn no_policy_fires_a_slot_twice(
            looks in prop::collection::vec((0_i64..50, any::<bool>()), 1..40),
            overlap in prop::sample::select(vec![Overlap::Allow, Overlap::Skip, Overlap::Wait]),
            catch_up in prop::sample::select(vec![CatchUp::None, CatchUp::Latest, CatchUp::All]),
        ) {
            let mut schedule = schedule();
            schedule.definition.overlap = overlap;
            schedule.definition.catch_up = catch_up;
            schedule.handled = Timestamp(0);
            let (mut now, mut fired) = (0, Vec::new());
            for (pause, unfinished) in looks {
                now += pause;
                let last = if unfinished { LastRun::Unfinished } else { LastRun::Finished };
                let decision = decide(&schedule, &Timing::Every(10 * MINUTE), Timestamp(now * MINUTE), last);
                prop_assert!(decision.handled >= schedule.handled);
                if unfinished && overlap != Overlap::Allow {
                    prop_assert!(decision.fire.is_empty());
                }
                prop_assert!(decision.waiting.is_none() || overlap == Overlap::Wait);
                fired.extend(decision.fire);
                schedule.handled = decision.handled;
                schedule.waiting = decision.waiting;
            }
            prop_assert!(fired.windows(2).all(|pair| pair[0] < pair[1]), "{fired:?}");
        }
    }
}
