//! What the handler of a simulated task does, attempt by attempt; it travels as the task's input.

use rand::Rng;
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};

/// A task's behaviour.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Script {
    /// Names the task; unique in a run.
    pub label: String,
    /// One step an attempt; the last one for all further attempts.
    pub steps: Vec<Step>,
    /// Goes on when it is told that its lease is lost.
    pub stubborn: bool,
    /// Makes input and outputs so large that they get objects of their own: bytes of padding.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub padding: String,
    /// How often an attempt says how far it has come.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reports: u32,
    /// How many signals it waits for, where it does.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub signals: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What one attempt does, after `ms` milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Returns an output.
    Complete {
        /// How long it runs.
        ms: u64,
    },
    /// Fails.
    Fail {
        /// How long it runs.
        ms: u64,
        /// Whether a retry may help.
        retry: bool,
        /// When to retry, instead of the back-off.
        delay_ms: Option<u64>,
    },
    /// Asks to run again later.
    Reschedule {
        /// How long it runs.
        ms: u64,
        /// When to run again.
        delay_ms: u64,
    },
    /// Gives the task back.
    Release {
        /// How long it runs.
        ms: u64,
    },
    /// Runs until its time is up, and says so.
    Timeout,
    /// Runs this much longer than its timeout and wants to complete all the same.
    Overrun {
        /// How long it runs over its time.
        ms: u64,
    },
    /// Asks for more time half way, and completes.
    Extend {
        /// How long it runs.
        ms: u64,
        /// How much time it asks for.
        by_ms: u64,
    },
    /// Looks whether all its signals were sent, and a while after that completes, or parks.
    Await {
        /// How long it runs before it looks.
        ms: u64,
        /// From the look to the park.
        gap_ms: u64,
        /// When to look again although nobody woke it.
        again_ms: Option<u64>,
    },
    /// Returns an output that is too large, then fails instead.
    Oversize {
        /// How long it runs.
        ms: u64,
    },
    /// Takes its process with it.
    Die {
        /// How long it runs.
        ms: u64,
    },
}

impl Script {
    /// What the given attempt (from 1) does.
    #[must_use]
    pub fn step(&self, attempt: u32) -> Step {
        let place = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        self.steps.get(place).or_else(|| self.steps.last()).copied().unwrap_or(Step::Complete { ms: 0 })
    }

    /// A task that completes at its first attempt.
    #[must_use]
    pub fn plain(label: String, ms: u64) -> Self {
        let (padding, steps) = (String::new(), vec![Step::Complete { ms }]);
        Self { label, steps, stubborn: false, padding, reports: 0, signals: 0 }
    }

    /// What becomes of a task whose input could not be read just now.
    #[must_use]
    pub fn give_back() -> Self {
        Self { steps: vec![Step::Release { ms: 1_000 }], ..Self::plain("unread".into(), 0) }
    }

    /// Draws a behaviour that comes to an end; attempts may take up to `timeout_ms`.
    #[must_use]
    pub fn draw(label: String, timeout_ms: u64, rng: &mut SmallRng) -> Self {
        let mut steps = Vec::new();
        while steps.len() < 5 && rng.random_bool(0.3) {
            steps.push(Step::draw_passing(timeout_ms, rng));
        }
        let reports = if rng.random_bool(0.2) { rng.random_range(1..5) } else { 0 };
        // Who says how far it has come is at work for long, where it may be.
        let ms = if reports > 0 && timeout_ms > LONG_MS {
            rng.random_range(LONG_MS / 5..LONG_MS)
        } else {
            duration(timeout_ms, rng)
        };
        let fails = rng.random_bool(0.1);
        steps.push(if fails { Step::Fail { ms, retry: false, delay_ms: None } } else { Step::Complete { ms } });
        let padding = if rng.random_bool(0.1) { "x".repeat(rng.random_range(20_000..60_000)) } else { String::new() };
        Self { label, steps, stubborn: rng.random_bool(0.3), padding, reports, signals: 0 }
    }

    /// Draws a task that waits for so many signals, again and again.
    #[must_use]
    pub fn awaiting(label: String, signals: u32, rng: &mut SmallRng) -> Self {
        let mut steps = Vec::new();
        while steps.len() < 3 && rng.random_bool(0.2) {
            steps.push(Step::draw_passing(30_000, rng));
        }
        steps.push(Step::Await {
            ms: rng.random_range(0..300),
            gap_ms: if rng.random_bool(0.5) { 0 } else { rng.random_range(0..4_000) },
            again_ms: rng.random_bool(0.5).then(|| rng.random_range(500..200_000)),
        });
        Self { steps, signals, stubborn: rng.random_bool(0.3), ..Self::plain(label, 0) }
    }

    /// One of very many: mostly quick.
    #[must_use]
    pub fn draw_short(label: String, rng: &mut SmallRng) -> Self {
        if rng.random_bool(0.1) {
            Self::draw(label, 30_000, rng)
        } else {
            Self::plain(label, rng.random_range(0..3_000))
        }
    }
}

impl Step {
    /// A step after which the task usually runs again.
    fn draw_passing(timeout_ms: u64, rng: &mut SmallRng) -> Self {
        let ms = duration(timeout_ms, rng);
        let short = timeout_ms <= 30_000;
        match rng.random_range(0..100) {
            0..35 => {
                Self::Fail { ms, retry: true, delay_ms: rng.random_bool(0.3).then(|| rng.random_range(0..20_000)) }
            }
            35..50 => Self::Reschedule { ms, delay_ms: rng.random_range(0..60_000) },
            50..65 => Self::Release { ms },
            65..74 if short => Self::Timeout,
            74..85 if short => Self::Overrun { ms: rng.random_range(1..240_000) },
            85..94 => Self::Extend {
                ms: timeout_ms.min(60_000) + rng.random_range(0..40_000),
                by_ms: rng.random_range(30_000..120_000),
            },
            94..96 => Self::Oversize { ms },
            96..98 => Self::Die { ms },
            _ => Self::Complete { ms },
        }
    }
}

/// A long attempt.
const LONG_MS: u64 = 100_000;

/// Mostly quick, sometimes as long as it may.
fn duration(timeout_ms: u64, rng: &mut SmallRng) -> u64 {
    let longest = timeout_ms.min(100_000);
    match rng.random_range(0..10) {
        0..6 => rng.random_range(0..300),
        6..9 => rng.random_range(0..longest.min(5_000)),
        _ => rng.random_range(0..longest),
    }
}
