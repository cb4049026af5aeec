//! What becomes of a step when an attempt ends without a result: it is started again, or has failed.

use super::entry::{End, Fault, Outcome, StepAsk};
use super::limits;
use super::model::{Millis, Open};
use crate::record::RetryPolicy;

/// When a failed attempt is to be tried again, and how surely.
#[derive(Clone, Copy, Debug, Default)]
pub struct Again {
    /// Whether a retry may help.
    pub retryable: bool,
    /// When, instead of the policy's back-off.
    pub at: Option<Millis>,
}

/// The policy that counts for a step. A step that runs at most once is not retried unless it asks for it.
#[must_use]
pub fn policy(step: &StepAsk) -> RetryPolicy {
    step.retry.clone().unwrap_or_else(|| {
        let default = RetryPolicy::default();
        let max_retries = if step.at_most_once { 0 } else { default.max_retries };
        RetryPolicy { max_retries, ..default }
    })
}

/// An attempt has failed: how the step ended, or `None` if `open` says when it is tried again. `random` is in
/// `0.0..1.0`.
pub fn failed(open: &mut Open, step: &StepAsk, fault: Fault, again: Again, now: Millis, random: f64) -> Option<End> {
    let policy = policy(step);
    open.started = false;
    open.failures = open.failures.saturating_add(1);
    if !again.retryable || spent(open) > policy.max_retries {
        return Some(End::without(Outcome::Failed, Some(fault), open.attempt));
    }
    let backoff = policy.delay(open.failures - 1, random);
    open.due = Some(again.at.unwrap_or_else(|| now.plus(u64::try_from(backoff.as_millis()).unwrap_or(u64::MAX))));
    open.error = Some(fault);
    None
}

/// The worker was lost during an attempt: how the step ended, or `None` if it is started again at once.
pub fn interrupted(open: &mut Open, step: &StepAsk) -> Option<End> {
    open.started = false;
    open.interruptions = open.interruptions.saturating_add(1);
    let starts = open.attempt.saturating_sub(open.released);
    let patient = !step.at_most_once && starts < limits::STARTS;
    let fault = lost(open, step);
    if patient || spent(open) <= policy(step).max_retries {
        open.error = Some(fault);
        return None;
    }
    Some(End::without(Outcome::Failed, Some(fault), open.attempt))
}

/// A drain has taken an attempt back: nothing is counted.
pub const fn released(open: &mut Open) {
    open.started = false;
    open.released = open.released.saturating_add(1);
}

/// What a resume or a retry gives to a step that had failed: all of its attempts anew.
pub fn renew(open: &mut Open) {
    *open = Open {
        attempt: open.attempt,
        released: open.attempt,
        extra: std::mem::take(&mut open.extra),
        ..Open::default()
    };
}

const fn spent(open: &Open) -> u32 {
    open.failures.saturating_add(open.interruptions)
}

fn lost(open: &Open, step: &StepAsk) -> Fault {
    let starts = open.attempt;
    let said = if step.at_most_once {
        format!(
            "the worker was lost during start {starts} of this step, which runs at most once: whether it took effect is not known"
        )
    } else if open.failures == 0 {
        format!(
            "the worker was lost during each of {} starts of this step: the step may be what ended it",
            open.interruptions
        )
    } else {
        format!("the worker was lost during start {starts} of this step, and {} others had failed", open.failures)
    };
    Fault::new("WorkerLost", said)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Millis = Millis(1_000_000);
    const RETRYABLE: Again = Again { retryable: true, at: None };

    fn with(max_retries: u32) -> StepAsk {
        let retry = RetryPolicy { max_retries, jitter: 0.0, ..RetryPolicy::default() };
        StepAsk { retry: Some(retry), ..StepAsk::default() }
    }

    fn start(open: &mut Open) {
        open.attempt += 1;
        open.started = true;
        open.due = None;
    }

    fn fault() -> Fault {
        Fault::new("ValueError", "no".into())
    }

    /// Starts the step, and lets each attempt end as `ends` says (`f`ailed, `i`nterrupted, `r`eleased), until it has
    /// failed; the number of starts, and the kind of the error.
    fn play(step: &StepAsk, ends: &str) -> Option<(u32, String)> {
        let mut open = Open::default();
        for end in ends.chars() {
            start(&mut open);
            let end = match end {
                'f' => failed(&mut open, step, fault(), RETRYABLE, NOW, 0.0),
                'i' => interrupted(&mut open, step),
                _ => {
                    released(&mut open);
                    None
                }
            };
            if let Some(end) = end {
                return Some((end.attempts, end.error.unwrap().kind));
            }
        }
        None
    }

    #[test]
    fn a_step_fails_after_its_retries() {
        assert_eq!(play(&with(3), "fff"), None);
        assert_eq!(play(&with(3), "ffff"), Some((4, "ValueError".into())));
        assert_eq!(play(&with(0), "f"), Some((1, "ValueError".into())));
        assert_eq!(play(&StepAsk::default(), "fff"), None, "three retries unless said otherwise");
    }

    #[test]
    fn a_step_that_kills_its_worker_fails_and_says_so() {
        assert_eq!(play(&with(3), "iiii"), Some((4, "WorkerLost".into())));
        assert_eq!(play(&with(0), "ii"), None, "three starts before interruptions alone fail it");
        assert_eq!(play(&with(0), "iii"), Some((3, "WorkerLost".into())));
        assert_eq!(play(&with(1), "iii"), Some((3, "WorkerLost".into())));
    }

    #[test]
    fn interruptions_spend_retries_too() {
        assert_eq!(play(&with(3), "iff"), None);
        assert_eq!(play(&with(3), "ifff"), Some((4, "ValueError".into())));
        assert_eq!(play(&with(1), "if"), Some((2, "ValueError".into())));
    }

    #[test]
    fn a_drain_counts_nothing_and_numbers_stay_unique() {
        assert_eq!(play(&with(0), "rrrrrf"), Some((6, "ValueError".into())));
        assert_eq!(play(&with(0), "rrii"), None);
        assert_eq!(play(&with(0), "rriii"), Some((5, "WorkerLost".into())));
    }

    #[test]
    fn a_step_that_runs_at_most_once_is_not_started_again_unless_it_asks_for_retries() {
        let once = StepAsk { at_most_once: true, ..StepAsk::default() };
        assert_eq!(play(&once, "i"), Some((1, "WorkerLost".into())));
        assert_eq!(play(&once, "f"), Some((1, "ValueError".into())));
        let retried = StepAsk { at_most_once: true, ..with(1) };
        assert_eq!(play(&retried, "i"), None);
        assert_eq!(play(&retried, "ii"), Some((2, "WorkerLost".into())));
    }

    #[test]
    fn no_wait_follows_the_last_failure_and_none_that_cannot_be_retried() {
        let mut open = Open::default();
        start(&mut open);
        assert!(failed(&mut open, &with(0), fault(), RETRYABLE, NOW, 0.0).is_some() && open.due.is_none());
        let mut open = Open::default();
        start(&mut open);
        assert!(failed(&mut open, &with(9), fault(), Again::default(), NOW, 0.0).is_some() && open.due.is_none());
    }

    #[test]
    fn back_offs_grow_with_failures_and_a_time_given_counts_for_more() {
        let mut open = Open::default();
        let mut waits = Vec::new();
        for _ in 0..3 {
            start(&mut open);
            assert!(failed(&mut open, &with(9), fault(), RETRYABLE, NOW, 0.0).is_none());
            waits.push(open.due.unwrap().0 - NOW.0);
        }
        assert_eq!(waits, [1_000, 2_000, 4_000]);
        start(&mut open);
        let at = Again { retryable: true, at: Some(Millis(5)) };
        assert!(failed(&mut open, &with(9), fault(), at, NOW, 0.0).is_none());
        assert_eq!(open.due, Some(Millis(5)));
    }

    #[test]
    fn a_resumed_step_has_all_of_its_attempts_again() {
        let mut open = Open::default();
        for _ in 0..2 {
            start(&mut open);
            failed(&mut open, &with(1), fault(), RETRYABLE, NOW, 0.0);
        }
        open.held = true;
        renew(&mut open);
        start(&mut open);
        assert!(!open.held && open.attempt == 3);
        assert!(failed(&mut open, &with(1), fault(), RETRYABLE, NOW, 0.0).is_none());
        start(&mut open);
        assert!(interrupted(&mut open, &with(1)).is_none(), "only its second start since");
    }

    proptest! {
        #[test]
        fn however_attempts_end_a_step_fails_within_its_bounds(
            retries in 0_u32..6, once in any::<bool>(), ends in "[fi]{20}",
        ) {
            let step = StepAsk { at_most_once: once, ..with(retries) };
            let (starts, _) = play(&step, &ends).unwrap();
            let most = if once { retries + 1 } else { (retries + 1).max(limits::STARTS) };
            prop_assert!(starts <= most);
            let lost_only = ends.starts_with(&"i".repeat(usize::try_from(starts).unwrap()));
            prop_assert!(once || !lost_only || starts >= limits::STARTS);
        }
    }
}
