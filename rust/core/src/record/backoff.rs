//! How long to wait before a retry.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

use super::fields::read_keeping_the_unknown;
use crate::error::{Error, Result};
use crate::limits;

/// Exponential back-off with jitter.
///
/// Retry `n` (from 0) waits `initial * multiplier^n`, at most `max`, less a random share of up to `jitter` of it, so
/// that tasks that failed together do not come back together.
#[derive(Clone, Debug, Serialize)]
pub struct RetryPolicy {
    /// Retries after the first attempt; 0 means one attempt only.
    pub max_retries: u32,
    /// Wait before the first retry, in milliseconds.
    pub initial_ms: u64,
    /// The longest wait, in milliseconds.
    pub max_ms: u64,
    /// Growth from one wait to the next; at least 1.
    pub multiplier: f64,
    /// Share of the wait that is random, 0 to 1.
    pub jitter: f64,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Box<RawValue>>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_retries: 3,
            initial_ms: 1_000,
            max_ms: 600_000,
            multiplier: 2.0,
            jitter: 0.2,
            extra: BTreeMap::new(),
        }
    }
}

impl RetryPolicy {
    /// The wait before retry number `retry` (from 0), with `random` in `0.0..1.0`.
    #[must_use]
    pub fn delay(&self, retry: u32, random: f64) -> Duration {
        let initial = Duration::from_millis(self.initial_ms).as_secs_f64();
        let longest = Duration::from_millis(self.max_ms).as_secs_f64();
        let exponent = i32::try_from(retry).unwrap_or(i32::MAX);
        // Finite, so that no wait times any growth is still no wait.
        let growth = self.multiplier.powi(exponent).min(f64::MAX);
        let grown = (initial * growth).min(longest);
        let seconds = grown * self.jitter.clamp(0.0, 1.0).mul_add(-random, 1.0);
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the field, its value and its range.
    pub fn check(&self) -> Result<()> {
        let longest = u64::try_from(limits::LONGEST.as_millis()).unwrap_or(u64::MAX);
        let refuse = |what: &str, value: &dyn std::fmt::Display, range: &str| {
            Err(Error::Invalid(format!("retry.{what} is {value}; give a value {range}")))
        };
        if self.max_retries > 1_000_000 {
            return refuse("max_retries", &self.max_retries, "from 0 to 1000000");
        }
        if self.initial_ms > longest {
            return refuse("initial", &self.initial_ms, "up to 366 days");
        }
        if self.max_ms > longest {
            return refuse("max", &self.max_ms, "up to 366 days");
        }
        if !(1.0..=1_000.0).contains(&self.multiplier) {
            return refuse("multiplier", &self.multiplier, "from 1 to 1000");
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return refuse("jitter", &self.jitter, "from 0 to 1");
        }
        Ok(())
    }
}

read_keeping_the_unknown!(RetryPolicy {
    max_retries: take("max_retries"),
    initial_ms: take("initial_ms"),
    max_ms: take("max_ms"),
    multiplier: take("multiplier"),
    jitter: take("jitter"),
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let policy = RetryPolicy { jitter: 0.0, max_ms: 5_000, ..RetryPolicy::default() };
        let waits: Vec<_> = (0..5).map(|retry| policy.delay(retry, 0.9).as_millis()).collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 5_000, 5_000]);
    }

    #[test]
    fn no_wait_stays_no_wait_however_many_retries() {
        let policy = RetryPolicy { initial_ms: 0, ..RetryPolicy::default() };
        assert_eq!(policy.delay(1_000_000, 0.5), Duration::ZERO);
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        for (policy, name) in [
            (RetryPolicy { multiplier: 0.5, ..RetryPolicy::default() }, "multiplier"),
            (RetryPolicy { multiplier: f64::NAN, ..RetryPolicy::default() }, "multiplier"),
            (RetryPolicy { jitter: -0.1, ..RetryPolicy::default() }, "jitter"),
            (RetryPolicy { max_ms: u64::MAX, ..RetryPolicy::default() }, "retry.max "),
            (RetryPolicy { initial_ms: u64::MAX, ..RetryPolicy::default() }, "initial"),
            (RetryPolicy { max_retries: u32::MAX, ..RetryPolicy::default() }, "max_retries"),
        ] {
            assert!(policy.check().unwrap_err().to_string().contains(name));
        }
    }

    proptest! {
        #[test]
        fn jitter_only_shortens_and_never_below_its_share(
            retry in 0_u32..10_000, random in 0.0..1.0_f64, jitter in 0.0..=1.0_f64,
        ) {
            let policy = RetryPolicy { jitter, ..RetryPolicy::default() };
            let plain = RetryPolicy { jitter: 0.0, ..RetryPolicy::default() }.delay(retry, random);
            let wait = policy.delay(retry, random);
            prop_assert!(wait <= plain);
            prop_assert!(wait.as_secs_f64() >= plain.as_secs_f64().mul_add(1.0 - jitter, -1e-6));
        }
    }
}
