//! Entries that are for other workers to claim first.
//!
//! Each waits for as long as this worker lets the others go first. Then it is most likely claimed, so many are not tried one
//! by one: those that a listing shows again are still there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::candidates::Candidate;
use crate::keys::ReadyEntry;
use crate::time::Timestamp;

/// Most entries that wait.
const WAITING: usize = 1_000;
/// So many may be tried without another listing: a listing costs twelve times as much as reading a record.
const FEW: usize = 8;
/// How long an entry is good for after its wait.
const KEEP: Duration = Duration::from_secs(5);
/// Workers that come one step after the other; those behind them come when they like.
const STEPS: usize = 8;
/// The longest that those behind them wait.
const LONGEST: Duration = Duration::from_secs(10);

/// How long to let `rank` others go first, of so many workers.
pub fn patience(step: Duration, rank: usize, workers: usize, random: f64) -> Duration {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let behind = if rank > STEPS { (step * count(workers) / 4).min(LONGEST).mul_f64(random) } else { Duration::ZERO };
    step * count(rank.min(STEPS)) + behind
}

/// The entries, each at most once.
#[derive(Debug, Default)]
pub struct Deferred {
    waiting: BTreeMap<(Timestamp, ReadyEntry), Candidate>,
    known: BTreeSet<ReadyEntry>,
    /// Those whose wait is over, to be claimed if they are listed again before this moment.
    doubtful: (BTreeSet<ReadyEntry>, Timestamp),
}

impl Deferred {
    /// Notes an entry that others may claim until `from`. Whether it is to be claimed now: then it has waited before,
    /// and is there still.
    pub fn see(&mut self, candidate: Candidate, from: Timestamp, now: Timestamp) -> bool {
        let (doubtful, until) = &mut self.doubtful;
        if doubtful.remove(&candidate.entry) && now <= *until {
            return true;
        }
        if self.known.insert(candidate.entry) {
            self.waiting.insert((from, candidate.entry), Candidate { left_over: true, ..candidate });
            // Of too many the first are kept.
            if self.waiting.len() > WAITING
                && let Some(last) = self.waiting.last_key_value().map(|(place, _)| *place)
            {
                self.remove(&last);
            }
        }
        false
    }

    /// Those whose wait is over, if they are few; with `hungry` all of them, else only the more urgent ones.
    pub fn take_few(&mut self, now: Timestamp, hungry: bool, most_urgent_in_hand: Option<u8>) -> Vec<Candidate> {
        let wanted = |entry: &ReadyEntry| hungry || most_urgent_in_hand.is_none_or(|urgent| entry.priority > urgent);
        let ripe: Vec<_> = self.ripe(now).filter(|(_, entry)| wanted(entry)).collect();
        if ripe.len() > FEW {
            return Vec::new();
        }
        ripe.iter().filter_map(|place| self.remove(place)).collect()
    }

    /// Doubts those whose wait is over, until they are listed again; whether there are any.
    pub fn doubt(&mut self, now: Timestamp) -> bool {
        let ripe: Vec<_> = self.ripe(now).collect();
        for place in &ripe {
            self.remove(place);
        }
        if !ripe.is_empty() {
            self.doubtful = (ripe.iter().map(|(_, entry)| *entry).collect(), now.after(KEEP));
        }
        !ripe.is_empty()
    }

    /// Takes a few of those whose wait is over, however many there are: to try whether the others leave them.
    pub fn sample(&mut self, now: Timestamp) -> Vec<Candidate> {
        let ripe: Vec<_> = self.ripe(now).take(FEW).collect();
        ripe.iter().filter_map(|place| self.remove(place)).collect()
    }

    /// Forgets those that nobody here wanted for long after their wait; whether there were any.
    pub fn forget_old(&mut self, now: Timestamp) -> bool {
        let before = self.waiting.len();
        while let Some(place) = self.waiting.first_key_value().map(|(place, _)| *place)
            && place.0.after(KEEP) < now
        {
            self.remove(&place);
        }
        self.waiting.len() < before
    }

    /// When the first wait ends; if it has, when that entry is forgotten.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let from = self.waiting.first_key_value().map(|((from, _), _)| *from)?;
        Some(if from > now { from } else { from.after(KEEP + Duration::from_millis(1)) })
    }

    /// Those whose wait is over.
    fn ripe(&self, now: Timestamp) -> impl Iterator<Item = (Timestamp, ReadyEntry)> + '_ {
        self.waiting.keys().copied().take_while(move |(from, _)| *from <= now)
    }

    fn remove(&mut self, place: &(Timestamp, ReadyEntry)) -> Option<Candidate> {
        self.known.remove(&place.1);
        self.waiting.remove(place)
    }
}

#[cfg(test)]
mod tests {
    use super::super::candidates::Source;
    use super::*;
    use crate::entropy::Entropy;
    use crate::id::RecordId;

    const STEP: Duration = Duration::from_millis(250);

    fn candidate(entropy: &Entropy, priority: u8) -> Candidate {
        let record = RecordId::random(entropy);
        let entry = ReadyEntry { due: Timestamp(0), record, seq: 1, priority, type_hash: 1, pending: 1 };
        Candidate { left_over: true, ..Candidate::new(entry, Source::Told) }
    }

    fn deferred(entropy: &Entropy, count: usize) -> (Deferred, Vec<Candidate>) {
        let mut deferred = Deferred::default();
        let all: Vec<_> = (0..count).map(|_| candidate(entropy, 5)).collect();
        assert!(!all.iter().any(|one| deferred.see(*one, Timestamp(250), Timestamp(0))));
        (deferred, all)
    }

    #[test]
    fn workers_come_one_after_the_other_and_the_last_ones_when_they_like() {
        assert_eq!(patience(STEP, 0, 12, 0.5), Duration::ZERO);
        assert_eq!(patience(STEP, 3, 12, 0.5), STEP * 3);
        assert_eq!(patience(STEP, 11, 12, 1.0), STEP * 8 + STEP * 3);
        assert_eq!(patience(STEP, 64, 100_000, 1.0), STEP * 8 + LONGEST);
    }

    #[test]
    fn a_few_are_taken_once_their_wait_is_over() {
        let entropy = Entropy::seeded(1);
        let (mut deferred, all) = deferred(&entropy, FEW);
        assert_eq!(deferred.next(Timestamp(0)), Some(Timestamp(250)));
        assert!(deferred.take_few(Timestamp(249), true, None).is_empty(), "the others go first");
        assert_eq!(deferred.take_few(Timestamp(250), true, Some(9)).len(), all.len());
        assert_eq!((deferred.next(Timestamp(250)), deferred.doubt(Timestamp(250))), (None, false));
    }

    #[test]
    fn whoever_has_enough_takes_only_what_is_more_urgent() {
        let entropy = Entropy::seeded(1);
        let (mut deferred, _) = deferred(&entropy, 3);
        let urgent = candidate(&entropy, 9);
        deferred.see(urgent, Timestamp(250), Timestamp(0));
        assert_eq!(deferred.take_few(Timestamp(300), false, Some(5)), [urgent]);
        assert!(deferred.take_few(Timestamp(300), false, Some(5)).is_empty());
    }

    #[test]
    fn of_many_those_are_taken_that_are_listed_again() {
        let entropy = Entropy::seeded(1);
        let (mut deferred, all) = deferred(&entropy, FEW + 1);
        assert!(deferred.take_few(Timestamp(250), true, None).is_empty());
        assert!(deferred.doubt(Timestamp(250)) && deferred.next(Timestamp(250)).is_none());
        assert!(deferred.see(all[0], Timestamp(900), Timestamp(300)), "still there");
        assert!(!deferred.see(all[0], Timestamp(900), Timestamp(300)), "once");
        assert!(!deferred.see(all[1], Timestamp(99_000), Timestamp(90_000)), "that was long ago");
    }

    #[test]
    fn the_number_of_those_that_wait_is_bounded_and_old_ones_are_forgotten() {
        let entropy = Entropy::seeded(1);
        let (mut deferred, _) = deferred(&entropy, WAITING + 5);
        assert_eq!((deferred.waiting.len(), deferred.known.len()), (WAITING, WAITING));
        let sooner = candidate(&entropy, 5);
        deferred.see(sooner, Timestamp(249), Timestamp(0));
        assert_eq!((deferred.waiting.len(), deferred.sample(Timestamp(249))), (WAITING, vec![sooner]));
        deferred.see(candidate(&entropy, 5), Timestamp(250), Timestamp(0));
        assert!(!deferred.forget_old(Timestamp(250).after(KEEP)));
        assert_eq!(deferred.waiting.len(), WAITING);
        assert!(deferred.forget_old(Timestamp(251).after(KEEP)));
        assert!(deferred.waiting.is_empty() && deferred.known.is_empty());
    }
}
