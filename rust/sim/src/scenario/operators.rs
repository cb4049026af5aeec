//! People who look after finished tasks.

use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

use super::{Burst, ProcessPlan, draw_lives, millis};

/// How long after the start records are purged: they must not have changed for ten minutes.
const LATE: Duration = Duration::from_mins(20);

/// What somebody does about finished tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Runs the failed ones again.
    Replay {
        /// With so many retries from now on.
        max_retries: Option<u32>,
        /// With this priority from now on.
        priority: Option<u8>,
    },
    /// Puts the failed ones aside.
    Archive,
    /// Removes failed ones that are old enough.
    Purge {
        /// Any finished ones.
        everything: bool,
    },
}

/// People who look after failed tasks while everything is under way, or long after; now and then two who do so at once.
pub(super) fn draw(rng: &mut SmallRng) -> Vec<ProcessPlan> {
    let operators = *[0, 1, 1, 2].choose(rng).unwrap_or(&1);
    let late = rng.random_bool(0.15);
    (0..operators)
        .map(|n| {
            let mut bursts: Vec<Burst> = (0..rng.random_range(1..4)).map(|_| Burst::operator(60_000, rng)).collect();
            if late {
                // When what has failed is old enough to be purged; each operator comes at about the same time.
                bursts.extend((0..2).map(|_| Burst::operator(2_000, rng)));
                if let Some(first) = bursts.iter_mut().rev().nth(1) {
                    first.after += LATE;
                }
            }
            ProcessPlan {
                name: format!("o{n}"),
                starts_after: if late { Duration::ZERO } else { millis(rng, 0..20_000) },
                bursts,
                worker: None,
                lives: draw_lives(rng),
                clock_error_ms: 0,
            }
        })
        .collect()
}

impl Burst {
    /// No task, but something done about those that have failed.
    fn operator(within_ms: u64, rng: &mut SmallRng) -> Self {
        let operation = match rng.random_range(0..10) {
            0..5 => Operation::Replay {
                max_retries: rng.random_bool(0.5).then(|| rng.random_range(0..3)),
                priority: rng.random_bool(0.3).then(|| rng.random_range(0..10)),
            },
            5..7 => Operation::Archive,
            7..9 => Operation::Purge { everything: false },
            _ => Operation::Purge { everything: true },
        };
        Self { after: millis(rng, 0..within_ms), operation: Some(operation), ..Self::plain(0, "operator") }
    }
}
