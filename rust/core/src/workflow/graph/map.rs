//! One step for each item of a list: which items are under way, and when it is over.

use std::collections::BTreeMap;

use super::super::entry::Fault;
use super::super::model::Op;
use super::definition::Step;

/// Where the items of a step stand.
#[derive(Clone, Debug, Default)]
pub struct Items {
    /// How many there are.
    pub count: u32,
    /// The first that was not asked for.
    pub next: u32,
    /// Those under way.
    pub open: u32,
    /// The operations of those that are completed.
    pub completed: BTreeMap<u32, Op>,
    /// Those that have failed, and how.
    pub failed: BTreeMap<u32, (Op, Option<Fault>)>,
}

/// Whether more items are to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// More may come.
    Open,
    /// The step is completed; what is still under way is called off.
    Completed,
    /// It has failed, for this reason; what is still under way is called off.
    Failed(String),
}

impl Items {
    /// How many may be asked for now.
    #[must_use]
    pub fn room(&self, step: &Step) -> u32 {
        let room = step.max_concurrency.unwrap_or(u32::MAX).saturating_sub(self.open);
        room.min(self.count - self.next)
    }

    /// Whether it is over: the stricter of all rules counts.
    #[must_use]
    pub fn verdict(&self, step: &Step) -> Verdict {
        let (successes, failures) = (count(self.completed.len()), count(self.failed.len()));
        let done = successes + failures;
        if let Some(rule) = self.too_many(step, failures) {
            return Verdict::Failed(format!(
                "{failures} of {} items have failed, {rule}{}",
                self.count,
                self.rest(done)
            ));
        }
        if let Some(least) = step.min_successful {
            if successes >= least {
                return Verdict::Completed;
            }
            if self.count - failures < least {
                return Verdict::Failed(format!(
                    "{successes} of {} items are completed and {failures} have failed, so that {least} cannot be \
                     completed any more{}",
                    self.count,
                    self.rest(done)
                ));
            }
        }
        if done == self.count { Verdict::Completed } else { Verdict::Open }
    }

    /// The rule that says that these are too many failures.
    fn too_many(&self, step: &Step, failures: u32) -> Option<String> {
        let share =
            step.tolerated_percentage.filter(|share| f64::from(failures) * 100.0 > *share * f64::from(self.count));
        let bound = match (step.tolerated_failures, step.tolerated_percentage, step.min_successful) {
            (Some(bound), ..) => Some(bound),
            (None, None, None) => Some(0),
            (None, ..) => None,
        };
        let over = bound.filter(|bound| failures > *bound);
        match (over, share) {
            (Some(bound), _) => Some(format!("and {bound} are tolerated")),
            (None, Some(share)) => Some(format!("and {share} % are tolerated")),
            (None, None) => None,
        }
    }

    fn rest(&self, done: u32) -> String {
        let unstarted = self.count - self.next;
        let stopped = self.count - done - unstarted;
        let said = [(stopped, "stopped"), (unstarted, "never started")];
        said.iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("; {count} {what}"))
            .collect::<Vec<_>>()
            .concat()
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(count: u32, completed: u32, failed: u32) -> Items {
        Items {
            count,
            next: completed + failed,
            open: 0,
            completed: (0..completed).map(|n| (n, n)).collect(),
            failed: (completed..completed + failed).map(|n| (n, (n, None))).collect(),
        }
    }

    fn step(min: Option<u32>, tolerated: Option<u32>, share: Option<f64>) -> Step {
        Step { min_successful: min, tolerated_failures: tolerated, tolerated_percentage: share, ..Step::default() }
    }

    fn is_failed(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Failed(_))
    }

    #[test]
    fn without_rules_the_first_failure_ends_it() {
        let plain = step(None, None, None);
        assert_eq!(items(3, 2, 0).verdict(&plain), Verdict::Open);
        assert_eq!(items(3, 3, 0).verdict(&plain), Verdict::Completed);
        assert_eq!(items(0, 0, 0).verdict(&plain), Verdict::Completed, "none is enough of none");
        let Verdict::Failed(why) = items(7, 2, 1).verdict(&plain) else { unreachable!() };
        assert_eq!(why, "1 of 7 items have failed, and 0 are tolerated; 4 never started");
    }

    #[test]
    fn failures_are_tolerated_up_to_their_number_and_not_beyond() {
        let two = step(None, Some(2), None);
        assert_eq!(items(10, 0, 2).verdict(&two), Verdict::Open);
        assert_eq!(items(10, 8, 2).verdict(&two), Verdict::Completed);
        assert!(is_failed(&items(10, 0, 3).verdict(&two)));
        assert_eq!(items(2, 0, 2).verdict(&two), Verdict::Completed, "every item failed, and it was tolerated");
    }

    #[test]
    fn a_share_of_failures_is_tolerated_up_to_its_bound_and_not_beyond() {
        let share = step(None, None, Some(30.0));
        assert_eq!(items(10, 7, 3).verdict(&share), Verdict::Completed);
        assert!(is_failed(&items(10, 0, 4).verdict(&share)));
        assert_eq!(items(3, 3, 0).verdict(&share), Verdict::Completed);
        assert!(is_failed(&items(3, 0, 1).verdict(&share)), "a third is more than 30 %");
    }

    #[test]
    fn of_two_rules_the_stricter_counts() {
        let both = step(None, Some(1), Some(50.0));
        assert!(is_failed(&items(10, 0, 2).verdict(&both)));
        let both = step(None, Some(5), Some(10.0));
        assert!(is_failed(&items(10, 0, 2).verdict(&both)));
        assert_eq!(items(10, 9, 1).verdict(&both), Verdict::Completed);
    }

    #[test]
    fn enough_successes_end_it_early_and_a_minimum_out_of_reach_fails_it() {
        let three = step(Some(3), None, None);
        assert_eq!(items(10, 3, 4).verdict(&three), Verdict::Completed);
        assert_eq!(items(10, 2, 7).verdict(&three), Verdict::Open);
        let Verdict::Failed(why) = items(10, 2, 8).verdict(&three) else { unreachable!() };
        assert!(why.contains("so that 3 cannot be completed any more"), "{why}");
        assert!(is_failed(&items(2, 0, 0).verdict(&three)), "there are not so many");
        let strict = step(Some(3), Some(0), None);
        assert!(is_failed(&items(10, 2, 1).verdict(&strict)));
    }

    #[test]
    fn no_more_items_are_made_than_there_is_room_for() {
        let bounded = Step { max_concurrency: Some(4), ..Step::default() };
        let at = |next, open| Items { count: 10, next, open, ..Items::default() };
        assert_eq!((at(0, 0).room(&bounded), at(4, 4).room(&bounded), at(9, 3).room(&bounded)), (4, 0, 1));
        assert_eq!(at(2, 2).room(&Step::default()), 8);
    }
}
