//! Randomness, injected: from the operating system in production, from a seed in the simulation.

use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

/// A shared source of random numbers. Not for secrets: ids must be unique, not unguessable.
#[derive(Clone, Debug)]
pub struct Entropy(Arc<Mutex<SmallRng>>);

impl Entropy {
    /// The same seed gives the same numbers.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(SmallRng::seed_from_u64(seed))))
    }

    /// Seeded by the operating system.
    #[must_use]
    pub fn from_os() -> Self {
        Self(Arc::new(Mutex::new(SmallRng::from_os_rng())))
    }

    fn with<T>(&self, use_rng: impl FnOnce(&mut SmallRng) -> T) -> T {
        use_rng(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// 64 random bits.
    #[must_use]
    pub fn bits(&self) -> u64 {
        self.with(Rng::random)
    }

    /// 16 random bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; 16] {
        self.with(Rng::random)
    }

    /// A number in `0.0..1.0`.
    #[must_use]
    pub fn unit(&self) -> f64 {
        self.with(Rng::random)
    }

    /// A number in `0..bound`; 0 for a bound of 0.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.with(|rng| rng.random_range(0..bound)) }
    }

    /// Puts the items in random order.
    pub fn shuffle<T>(&self, items: &mut [T]) {
        self.with(|rng| items.shuffle(rng));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (a, b) = (Entropy::seeded(7), Entropy::seeded(7));
        assert_eq!((a.bits(), a.bytes(), a.below(10)), (b.bits(), b.bytes(), b.below(10)));
    }

    #[test]
    fn a_bound_of_zero_gives_zero() {
        assert_eq!(Entropy::seeded(1).below(0), 0);
    }
}
