//! What is said about tasks besides their work: tags, expiry, uniqueness, and that they are called off again.

use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

use super::{Burst, ProcessPlan, millis};
use crate::script::Script;

/// What the labels of unique tasks begin with: several submits share one.
pub const KEYED: &str = "key ";

/// The words that tasks are found by.
pub(super) const TAGS: [&str; 3] = ["red", "green", "blue"];

/// What is said about a burst's tasks besides their work.
#[derive(Clone, Debug, Default)]
pub struct AboutPlan {
    /// A word to find them by.
    pub tag: Option<String>,
    /// How long they wait for a worker from when they may start; then it is too late.
    pub ttl: Option<Duration>,
    /// How long after the submit every second of them is called off.
    pub cancel_after: Option<Duration>,
    /// What makes them the only one of their kind.
    pub unique: Option<UniquePlan>,
}

/// A key that several processes submit the same task with.
#[derive(Clone, Debug)]
pub struct UniquePlan {
    /// The key.
    pub key: String,
    /// For how long it holds; for ever if `None`.
    pub window: Option<Duration>,
}

/// A key of a run, and the task that belongs to it.
#[derive(Clone, Debug)]
pub(super) struct Key {
    plan: UniquePlan,
    kind: String,
    script: Script,
}

impl AboutPlan {
    pub(super) fn draw(rng: &mut SmallRng) -> Self {
        Self {
            tag: rng.random_bool(0.3).then(|| draw_tag(rng)),
            ttl: rng.random_bool(0.2).then(|| millis(rng, 500..120_000)),
            cancel_after: rng.random_bool(0.2).then(|| millis(rng, 0..40_000)),
            unique: None,
        }
    }
}

pub(super) fn draw_tag(rng: &mut SmallRng) -> String {
    (*TAGS.choose(rng).unwrap_or(&TAGS[0])).to_owned()
}

/// The keys of a run.
pub(super) fn draw_keys(types: &[String], rng: &mut SmallRng) -> Vec<Key> {
    (0..rng.random_range(0..4))
        .map(|n| {
            let key = format!("{KEYED}{n}");
            let window = *[None, Some(5_000), Some(20_000), Some(60_000)].choose(rng).unwrap_or(&None);
            Key {
                kind: types.choose(rng).cloned().unwrap_or_default(),
                script: Script::draw(key.clone(), 30_000, rng),
                plan: UniquePlan { key, window: window.map(Duration::from_millis) },
            }
        })
        .collect()
}

/// Submits of one of the keys: mostly of its task, now and then of another one, which must be refused.
pub(super) fn draw_keyed(keys: &[Key], rng: &mut SmallRng) -> Vec<Burst> {
    let Some(Key { plan, kind, script }) = keys.choose(rng) else { return Vec::new() };
    (0..rng.random_range(1..8))
        .map(|_| {
            let mut script = script.clone();
            if rng.random_bool(0.1) {
                script.label.push_str(" of another");
            }
            Burst {
                after: millis(rng, 0..12_000),
                kind: kind.clone(),
                scripts: vec![script; rng.random_range(1..4)],
                wait: rng.random_bool(0.2),
                about: AboutPlan {
                    unique: Some(plan.clone()),
                    cancel_after: rng.random_bool(0.1).then(|| millis(rng, 0..20_000)),
                    ..AboutPlan::default()
                },
                ..Burst::plain(0, "keyed")
            }
        })
        .collect()
}

/// Several processes that submit the same few keys over and over, from window to window.
pub(super) fn storm(types: &[String], rng: &mut SmallRng) -> Vec<ProcessPlan> {
    let kind = types.first().cloned().unwrap_or_default();
    let keys: Vec<Key> = (0..3)
        .map(|n| {
            let (key, window) = (format!("{KEYED}{n} of a storm"), Some(millis(rng, 5_000..30_000)));
            let script = Script::plain(key.clone(), 20);
            Key { plan: UniquePlan { key, window }, kind: kind.clone(), script }
        })
        .collect();
    (0..4)
        .map(|n| {
            let bursts: Vec<Burst> = (0..8).flat_map(|_| draw_keyed(&keys, rng)).collect();
            let bursts = bursts.into_iter().map(|burst| Burst { after: burst.after / 4, ..burst }).collect();
            ProcessPlan { name: format!("k{n}"), bursts, ..ProcessPlan::draw(rng) }
        })
        .collect()
}

impl super::Scenario {
    /// Whether anybody is to submit this key.
    #[must_use]
    pub fn has_key(&self, key: &str) -> bool {
        let plans =
            self.processes.iter().flat_map(|process| &process.bursts).filter_map(|burst| burst.about.unique.as_ref());
        plans.into_iter().any(|plan| plan.key == key)
    }
}
