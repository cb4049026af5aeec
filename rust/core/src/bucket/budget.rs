//! A bound on retries over all operations, so that an ailing store is not buried under them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Retries that may be spent before any success earns new ones.
const MOST: u64 = 500;
/// Successes that earn one retry: up to a third of all requests may fail for ever, while an outage soon
/// empties the budget.
const COST: u64 = 2;

/// A token bucket, filled by successes.
#[derive(Debug)]
pub struct RetryBudget(AtomicU64);

impl Default for RetryBudget {
    fn default() -> Self {
        Self(AtomicU64::new(MOST * COST))
    }
}

impl RetryBudget {
    /// Records a success.
    pub fn earn(&self) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some((left + 1).min(MOST * COST)));
    }

    /// Takes one retry; `false` if none is left.
    pub fn spend(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(COST)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_spends_the_budget_and_successes_earn_it_back() {
        let budget = RetryBudget::default();
        assert_eq!((0..10_000).filter(|_| budget.spend()).count() as u64, MOST);
        for _ in 0..COST {
            assert!(!budget.spend());
            budget.earn();
        }
        assert!(budget.spend());
    }
}
