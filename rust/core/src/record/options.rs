//! What the tasks of a record have in common.

use std::time::Duration;

use serde::Serialize;

use super::backoff::RetryPolicy;
use super::fields::read_keeping_the_unknown;
use super::model::Extra;
use crate::error::Error;
use crate::limits;

/// What the tasks of a record have in common.
#[derive(Clone, Debug, Serialize)]
pub struct Options {
    /// How long an attempt may take, in milliseconds.
    pub timeout_ms: u64,
    /// 0 to 9; 9 goes first.
    pub priority: u8,
    /// What happens after a failure.
    pub retry: RetryPolicy,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Options {
    /// The timeout as a duration.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the option, its value and its range.
    pub fn check(&self) -> Result<(), Error> {
        let timeout = self.timeout_ms;
        if timeout == 0 || self.timeout() > limits::LONGEST {
            return Err(Error::Invalid(format!("timeout is {timeout} ms; give more than 0 and up to 366 days")));
        }
        if self.priority > 9 {
            return Err(Error::Invalid(format!("priority is {}; give 0 (last) to 9 (first)", self.priority)));
        }
        self.retry.check()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout_ms: u64::try_from(limits::TIMEOUT.as_millis()).unwrap_or(u64::MAX),
            priority: 5,
            retry: RetryPolicy::default(),
            extra: Extra::new(),
        }
    }
}

read_keeping_the_unknown!(Options { timeout_ms: take("timeout_ms"), priority: take("priority"), retry: take("retry") });
