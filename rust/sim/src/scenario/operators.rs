//! People who look after tasks: failed ones, old ones, and those that nobody wants any more.

use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

use super::about::draw_tag;
use super::{Burst, ProcessPlan, draw_lives, millis};
use crate::journal::Meant;

/// How long after the start records are purged: they must not have changed for ten minutes.
const LATE: Duration = Duration::from_mins(20);

/// What somebody does about tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Something about those that have ended.
    Care(Care),
    /// Calls unfinished ones off.
    Cancel(Meant),
}

/// What somebody does about tasks that have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
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
pub(super) fn draw(types: &[String], rng: &mut SmallRng) -> Vec<ProcessPlan> {
    let operators = *[0, 1, 1, 2].choose(rng).unwrap_or(&1);
    let late = rng.random_bool(0.15);
    (0..operators)
        .map(|n| {
            let mut bursts: Vec<Burst> =
                (0..rng.random_range(1..4)).map(|_| Burst::operator(60_000, types, rng)).collect();
            if late {
                // When what has failed is old enough to be purged; each operator comes at about the same time.
                bursts.extend((0..2).map(|_| Burst::operator(2_000, types, rng)));
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
    /// No task, but something done about those of others.
    fn operator(within_ms: u64, types: &[String], rng: &mut SmallRng) -> Self {
        let operation = match rng.random_range(0..14) {
            0..5 => Operation::Care(Care::Replay {
                max_retries: rng.random_bool(0.5).then(|| rng.random_range(0..3)),
                priority: rng.random_bool(0.3).then(|| rng.random_range(0..10)),
            }),
            5..7 => Operation::Care(Care::Archive),
            7..9 => Operation::Care(Care::Purge { everything: false }),
            9 => Operation::Care(Care::Purge { everything: true }),
            10..13 => Operation::Cancel(Meant::Tag(draw_tag(rng))),
            _ => Operation::Cancel(Meant::Type(types.choose(rng).cloned().unwrap_or_default())),
        };
        Self { after: millis(rng, 0..within_ms), operation: Some(operation), ..Self::plain(0, "operator") }
    }
}
