//! A bad day on request: what goes wrong with which request, drawn from a seed.

use std::time::Duration;

use buquet_core::entropy::Entropy;
use buquet_core::ops::Span;
use buquet_core::{Error, Result};
use serde::Deserialize;

/// How bad the day is, as a caller asks for it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    latency: Span,
    error_503: f64,
    lost_answers: f64,
    seed: Option<u64>,
}

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is served.
    Served,
    /// It is refused with 503 and has no effect.
    Throttled,
    /// It is served, and the connection breaks before the answer.
    Lost,
}

/// Draws what happens to each request.
#[derive(Debug)]
pub struct Faults {
    /// How much later every request is served.
    pub latency: Duration,
    throttled: f64,
    lost: f64,
    entropy: Entropy,
}

impl Faults {
    /// Faults as planned.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a share is not from 0 to 1, or both together are above 1.
    pub fn new(plan: &Plan) -> Result<Self> {
        for (name, share) in [("error_503", plan.error_503), ("lost_answers", plan.lost_answers)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::Invalid(format!("faults.{name} is {share}; give a share from 0 to 1")));
            }
        }
        let sum = plan.error_503 + plan.lost_answers;
        if sum > 1.0 {
            let problem = format!("faults.error_503 and faults.lost_answers are {sum} together");
            return Err(Error::Invalid(format!("{problem}; one request meets one of them, so give at most 1")));
        }
        let entropy = plan.seed.map_or_else(Entropy::from_os, Entropy::seeded);
        Ok(Self { latency: plan.latency.0, throttled: plan.error_503, lost: plan.lost_answers, entropy })
    }

    /// What happens to the next request.
    pub fn draw(&self) -> Fate {
        if self.throttled + self.lost == 0.0 {
            return Fate::Served;
        }
        let luck = self.entropy.unit();
        if luck < self.throttled {
            Fate::Throttled
        } else if luck < self.throttled + self.lost {
            Fate::Lost
        } else {
            Fate::Served
        }
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    fn faults(plan: &str) -> Result<Faults> {
        Faults::new(&serde_json::from_str(plan).unwrap())
    }

    #[test]
    fn the_same_seed_gives_the_same_day() {
        let day = || {
            let faults = faults(r#"{"error_503": 0.3, "lost_answers": 0.3, "seed": 7}"#).unwrap();
            (0..1_000).map(|_| faults.draw()).collect::<Vec<_>>()
        };
        let fates = day();
        assert_eq!(fates, day());
        for fate in [Fate::Served, Fate::Throttled, Fate::Lost] {
            assert!(fates.iter().filter(|one| **one == fate).count() > 200, "{fate:?}");
        }
    }

    #[test]
    fn without_faults_every_request_is_served() {
        let faults = faults("{}").unwrap();
        assert_eq!(faults.latency, Duration::ZERO);
        assert!((0..100).all(|_| faults.draw() == Fate::Served));
    }

    #[test]
    fn shares_out_of_range_are_refused() {
        for plan in [r#"{"error_503": 1.5}"#, r#"{"lost_answers": -0.1}"#, r#"{"error_503": 0.6, "lost_answers": 0.6}"#]
        {
            assert!(matches!(faults(plan), Err(Error::Invalid(_))), "{plan}");
        }
    }
}
