//! Signals that are there and not consumed, and which of them a run takes next.

use std::collections::{BTreeMap, BTreeSet};

use super::entry::Received;
use super::ids::digest;
use super::limits;
use super::model::{Millis, Returned};

/// How the keys of signals begin that lie in the run: as no key in an inbox does.
const RETURNED: &str = "/returned.";

/// A signal that was sent and is not consumed.
#[derive(Clone, Debug)]
pub struct Signal {
    /// Its name.
    pub name: String,
    /// The last part of its key.
    pub key: String,
    /// What it says.
    pub received: Received,
}

/// The order in which the signals of one name are taken.
type Order = (Millis, String);

/// The signals that are there, each in its place in the order.
#[derive(Clone, Debug, Default)]
pub struct Pool(BTreeMap<String, BTreeMap<Order, Signal>>);

impl Signal {
    /// One that was consumed and is there again, the `n`-th of its run.
    #[must_use]
    pub fn returned(n: usize, returned: &Returned) -> Self {
        let Returned { name, payload, payload_ref, sent_at, id, .. } = returned.clone();
        let received = Received { payload, payload_ref, sent_at, id };
        Self { name, key: format!("{RETURNED}{n:09}"), received }
    }

    /// Where it lies in the inbox: its name and the last part of its key.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.name, self.key)
    }

    /// Whether it lies in the run and not in the inbox.
    #[must_use]
    pub fn is_returned(&self) -> bool {
        self.key.starts_with(RETURNED)
    }

    /// What a run remembers of it once it is consumed.
    #[must_use]
    pub fn mark(&self) -> String {
        mark(&self.name, &self.key)
    }

    fn order(&self) -> Order {
        (self.received.sent_at, self.key.clone())
    }
}

/// What a run remembers of a consumed signal, from its name and the last part of its key.
#[must_use]
pub fn mark(name: &str, key: &str) -> String {
    digest(&[name, key])
}

impl Pool {
    /// Takes in what a look into the inbox has found. What the run has consumed already is left out, and returned to
    /// be deleted.
    pub fn found(&mut self, signals: Vec<Signal>, consumed: &[String]) -> Vec<Signal> {
        let consumed: BTreeSet<&str> = consumed.iter().map(String::as_str).collect();
        let (known, new): (Vec<_>, Vec<_>) =
            signals.into_iter().partition(|signal| consumed.contains(signal.mark().as_str()));
        for signal in new {
            let of_its_name = self.0.entry(signal.name.clone()).or_default();
            of_its_name.insert(signal.order(), signal);
            // The latest ones are looked at again when those before them are gone.
            while of_its_name.len() > limits::UNREAD {
                of_its_name.pop_last();
            }
        }
        known
    }

    /// The next signal of any of these names that `taken` does not have yet.
    #[must_use]
    pub fn first<'a>(&self, names: impl Iterator<Item = &'a str>, taken: &BTreeSet<String>) -> Option<&Signal> {
        let of_name = |name| self.0.get(name)?.values().find(|signal| !taken.contains(&signal.mark()));
        names.filter_map(of_name).min_by_key(|signal| signal.order())
    }

    /// Forgets a signal that was consumed.
    pub fn remove(&mut self, signal: &Signal) {
        if let Some(of_its_name) = self.0.get_mut(&signal.name) {
            of_its_name.remove(&signal.order());
        }
        self.0.retain(|_, signals| !signals.is_empty());
    }

    /// Forgets everything, before a new look.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether any signal of this name is left.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether any signal is left that lies in the inbox.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        self.0.values().flat_map(BTreeMap::values).any(|signal| !signal.is_returned())
    }
}

/// Notes that a signal is consumed; the oldest of too many are forgotten.
pub fn remember(consumed: &mut Vec<String>, signal: &Signal) {
    consumed.push(signal.mark());
    let surplus = consumed.len().saturating_sub(limits::CONSUMED);
    consumed.drain(..surplus);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::received;
    use super::*;

    fn sent(name: &str, at: i64, key: &str) -> Signal {
        Signal { name: name.into(), key: key.into(), received: received(at) }
    }

    fn taken_in_order(pool: &mut Pool, names: &[&str]) -> Vec<String> {
        let mut keys = Vec::new();
        while let Some(signal) = pool.first(names.iter().copied(), &BTreeSet::new()).cloned() {
            pool.remove(&signal);
            keys.push(signal.key);
        }
        keys
    }

    #[test]
    fn signals_are_taken_by_the_time_they_were_sent_and_then_by_key() {
        let mut pool = Pool::default();
        pool.found(vec![sent("a", 5, "z"), sent("a", 5, "y"), sent("a", 3, "x"), sent("b", 1, "w")], &[]);
        assert_eq!(taken_in_order(&mut pool, &["a"]), ["x", "y", "z"]);
        assert!(pool.has_unread(), "nobody asked for b");
    }

    #[test]
    fn of_several_names_the_earliest_signal_comes_first() {
        let mut pool = Pool::default();
        pool.found(vec![sent("a", 5, "z"), sent("b", 1, "w"), sent("c", 0, "v")], &[]);
        assert_eq!(taken_in_order(&mut pool, &["a", "b"]), ["w", "z"]);
    }

    #[test]
    fn a_signal_that_was_consumed_is_not_taken_again_and_one_that_is_listed_twice_is_one() {
        let mut pool = Pool::default();
        let mut consumed = Vec::new();
        remember(&mut consumed, &sent("a", 5, "x"));
        let known =
            pool.found(vec![sent("a", 5, "x"), sent("a", 6, "y"), sent("a", 6, "y"), sent("b", 5, "x")], &consumed);
        assert_eq!(known.iter().map(|signal| signal.key.as_str()).collect::<Vec<_>>(), ["x"]);
        assert_eq!(taken_in_order(&mut pool, &["a"]), ["y"]);
        assert_eq!(taken_in_order(&mut pool, &["b"]), ["x"], "the same key of another name is another signal");
    }

    #[test]
    fn what_is_taken_in_this_round_is_passed_over() {
        let mut pool = Pool::default();
        pool.found(vec![sent("a", 1, "x"), sent("a", 2, "y")], &[]);
        let taken = BTreeSet::from([mark("a", "x")]);
        assert_eq!(pool.first(std::iter::once("a"), &taken).unwrap().key, "y");
    }

    #[test]
    fn a_run_remembers_the_latest_thousand() {
        let mut consumed = Vec::new();
        for n in 0..limits::CONSUMED + 5 {
            remember(&mut consumed, &sent("a", 0, &n.to_string()));
        }
        assert_eq!(consumed.len(), limits::CONSUMED);
        assert_eq!(consumed[0], mark("a", "5"));
    }

    #[test]
    fn ten_thousand_signals_at_once_take_bounded_room_and_the_earliest_stay() {
        let mut pool = Pool::default();
        pool.found((0..10_000).map(|n| sent("a", 10_000 - n, &n.to_string())).collect(), &[]);
        let keys = taken_in_order(&mut pool, &["a"]);
        assert_eq!((keys.len(), keys[0].as_str()), (limits::UNREAD, "9999"));
    }

    proptest! {
        #[test]
        fn the_order_does_not_depend_on_how_they_were_found(
            times in prop::collection::vec(0_i64..5, 1..30), seed in any::<usize>(),
        ) {
            let signals: Vec<Signal> = times.iter().enumerate().map(|(n, at)| sent("a", *at, &format!("{n:02}"))).collect();
            let mut one = Pool::default();
            one.found(signals.clone(), &[]);
            let mut other = Pool::default();
            let (first, second) = signals.split_at(seed % signals.len());
            other.found(second.to_vec(), &[]);
            other.found(first.to_vec(), &[]);
            prop_assert_eq!(taken_in_order(&mut one, &["a"]), taken_in_order(&mut other, &["a"]));
        }
    }
}
