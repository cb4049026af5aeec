//! Index entries a worker knows of: those it may claim now, and those it should look at later.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::entropy::Entropy;
use crate::keys::ReadyEntry;
use crate::limits;
use crate::time::Timestamp;

/// Entries remembered although they lead to nothing any more.
const USED_UP: usize = 4_096;

/// An entry and where it is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The entry.
    pub entry: ReadyEntry,
    /// Where from.
    pub source: Source,
    /// Others were to go first and did not.
    pub left_over: bool,
}

impl Candidate {
    /// An entry that this worker may claim as soon as it is due.
    pub const fn new(entry: ReadyEntry, source: Source) -> Self {
        Self { entry, source, left_over: false }
    }
}

/// Where an entry is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A listing, which told the server time of its write.
    Listed(Timestamp),
    /// This process has just written it, and its record.
    Nearby,
    /// The bell told of it: a hint. If it leads nowhere there is nothing to be done about it.
    Told,
}

impl Source {
    /// Server time of the entry's write, if that is known.
    pub const fn written(self) -> Option<Timestamp> {
        match self {
            Self::Listed(at) => Some(at),
            Self::Nearby | Self::Told => None,
        }
    }
}

/// The entries, each at most once.
#[derive(Debug, Default)]
pub struct Candidates {
    due: BTreeMap<u8, Vec<Candidate>>,
    later: BTreeMap<(Timestamp, ReadyEntry), Candidate>,
    /// Those above, those that were drawn and are being claimed, and those of `used_up`.
    known: BTreeSet<ReadyEntry>,
    /// The last ones that lead to nothing any more, and since when. No key is ever used again, but listings show them
    /// until they are deleted.
    used_up: VecDeque<(Timestamp, ReadyEntry)>,
    /// When the first of those is due for which there was no place.
    refused: Option<Timestamp>,
}

impl Candidates {
    /// How many may be claimed now.
    pub fn due(&self) -> usize {
        self.due.values().map(Vec::len).sum()
    }

    /// Whether there is anything to be done about an entry: it is neither here, nor being claimed, nor used up.
    pub fn is_new(&mut self, entry: &ReadyEntry, now: Timestamp) -> bool {
        self.forget_used_up(now);
        !self.known.contains(entry)
    }

    /// The highest priority of those that may be claimed now.
    pub fn most_urgent(&self) -> Option<u8> {
        self.due.iter().rfind(|(_, candidates)| !candidates.is_empty()).map(|(priority, _)| *priority)
    }

    /// Forgets those that may be claimed now: it turned out that others claim them. What is left of them is looked for again.
    pub fn give_up_due(&mut self, now: Timestamp) {
        for candidate in std::mem::take(&mut self.due).into_values().flatten() {
            self.known.remove(&candidate.entry);
        }
        self.refuse(now);
    }

    /// Adds an entry to be looked at when it is due, but not before `not_before`. One that is known stays as it is.
    /// Whether it is new and due.
    pub fn add(&mut self, candidate: Candidate, not_before: Timestamp, now: Timestamp) -> bool {
        self.forget_used_up(now);
        if self.known.contains(&candidate.entry) {
            return false;
        }
        let at = candidate.entry.due.max(not_before);
        if at <= now {
            if self.due() >= limits::CANDIDATES / 2 && !self.make_way_for(candidate.entry.priority, at) {
                self.refuse(at);
                return false;
            }
            self.due.entry(candidate.entry.priority).or_default().push(candidate);
        } else {
            self.later.insert((at, candidate.entry), candidate);
        }
        self.known.insert(candidate.entry);
        // Of those that wait the first due are kept.
        if self.later.len() > limits::CANDIDATES / 2
            && let Some(((at, _), last)) = self.later.pop_last()
        {
            self.known.remove(&last.entry);
            self.refuse(at);
        }
        at <= now
    }

    /// Gives up a due entry of lower priority, so that urgent work is not kept out by a long backlog.
    fn make_way_for(&mut self, priority: u8, now: Timestamp) -> bool {
        let lower = self.due.range_mut(..priority).find_map(|(_, candidates)| candidates.pop());
        let Some(lower) = lower else { return false };
        self.known.remove(&lower.entry);
        self.refuse(lower.entry.due.min(now));
        true
    }

    /// Remembers that there is no place for an entry that is due at this moment.
    pub fn refuse(&mut self, at: Timestamp) {
        self.refused = Some(self.refused.map_or(at, |earliest| earliest.min(at)));
    }

    /// Whether an entry for which there was no place is due by now; said once.
    pub fn take_refused(&mut self, now: Timestamp) -> bool {
        self.refused.take_if(|at| *at <= now).is_some()
    }

    /// Makes an entry due that waits although its record is there now.
    pub fn bring_forward(&mut self, entry: &ReadyEntry, now: Timestamp) {
        let place = self.later.iter().find(|((_, waiting), _)| waiting == entry).map(|(place, _)| *place);
        if let Some(candidate) = place.filter(|_| entry.due <= now).and_then(|place| self.later.remove(&place)) {
            self.due.entry(entry.priority).or_default().push(candidate);
        }
    }

    /// Forgets an entry that was drawn, so that it may be added again.
    pub fn done(&mut self, entry: &ReadyEntry) {
        self.known.remove(entry);
    }

    /// Puts an entry aside for good: it was drawn, and leads to nothing any more.
    pub fn use_up(&mut self, entry: ReadyEntry, now: Timestamp) {
        self.used_up.push_back((now, entry));
        self.forget_used_up(now);
    }

    /// Forgets the oldest. One that is listed even later was not deleted, and is to be looked at again.
    fn forget_used_up(&mut self, now: Timestamp) {
        let old = |since: &Timestamp| now.since(*since) > limits::GRACE;
        while self.used_up.len() > USED_UP || self.used_up.front().is_some_and(|(since, _)| old(since)) {
            if let Some((_, oldest)) = self.used_up.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    /// When the next entry that waits for its time is due, or one for which there was no place.
    pub fn next_due(&self) -> Option<Timestamp> {
        let kept = self.later.first_key_value().map(|((at, _), _)| *at);
        kept.into_iter().chain(self.refused).min()
    }

    /// Makes due what has become due.
    pub fn ripen(&mut self, now: Timestamp) {
        while let Some(first) = self.later.first_entry() {
            if first.key().0 > now {
                return;
            }
            let candidate = first.remove();
            self.due.entry(candidate.entry.priority).or_default().push(candidate);
        }
    }

    /// Takes one by lot; it stays known until it is [done](Self::done) with: a priority `p` that is present counts `(p + 1)²`, so that 9 goes a hundred times as often as
    /// 0 and 0 still goes; within a priority all are equal, so that workers seldom reach for the same one.
    pub fn draw(&mut self, entropy: &Entropy) -> Option<Candidate> {
        self.due.retain(|_, candidates| !candidates.is_empty());
        let weight = |priority: u8| (u64::from(priority) + 1).pow(2);
        let mut lot = entropy.below(self.due.keys().map(|priority| weight(*priority)).sum());
        let (_, candidates) = self.due.iter_mut().find(|(priority, _)| {
            let found = lot < weight(**priority);
            lot = lot.saturating_sub(weight(**priority));
            found
        })?;
        let place = entropy.below(u64::try_from(candidates.len()).unwrap_or(u64::MAX));
        let candidate = candidates.swap_remove(usize::try_from(place).unwrap_or(0));
        Some(candidate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RecordId;

    fn candidate(entropy: &Entropy, priority: u8, due: i64) -> Candidate {
        let record = RecordId::random(entropy);
        let entry =
            ReadyEntry { due: Timestamp(due), record, seq: 1, priority, type_hash: 0, pending: 1, parked: false };
        Candidate::new(entry, Source::Nearby)
    }

    #[test]
    fn an_entry_is_known_once_until_it_is_done_with() {
        let (entropy, mut candidates) = (Entropy::seeded(1), Candidates::default());
        let one = candidate(&entropy, 5, 0);
        candidates.add(one, Timestamp(0), Timestamp(10));
        candidates.add(one, Timestamp(0), Timestamp(10));
        assert_eq!(candidates.draw(&entropy), Some(one));
        assert_eq!(candidates.draw(&entropy), None);
        assert!(!candidates.add(one, Timestamp(0), Timestamp(10)), "it is being claimed");
        candidates.done(&one.entry);
        assert!(candidates.add(one, Timestamp(0), Timestamp(10)));
    }

    #[test]
    fn an_entry_that_was_used_up_is_not_taken_from_a_late_listing() {
        let (entropy, mut candidates) = (Entropy::seeded(1), Candidates::default());
        let one = candidate(&entropy, 5, 0);
        candidates.add(one, Timestamp(0), Timestamp(10));
        candidates.draw(&entropy);
        candidates.use_up(one.entry, Timestamp(10));
        assert!(!candidates.add(one, Timestamp(0), Timestamp(10)));
        let later = Timestamp(10).after(limits::GRACE * 2);
        assert!(candidates.add(one, Timestamp(0), later), "its deletion must have failed");
        for _ in 0..USED_UP * 2 {
            candidates.use_up(candidate(&entropy, 5, 0).entry, later);
        }
        assert_eq!(candidates.used_up.len(), USED_UP);
    }

    #[test]
    fn urgent_work_is_let_in_past_a_backlog_that_fills_the_table() {
        let (entropy, mut candidates) = (Entropy::seeded(1), Candidates::default());
        for _ in 0..limits::CANDIDATES {
            candidates.add(candidate(&entropy, 3, 0), Timestamp(0), Timestamp(10));
        }
        assert!(candidates.add(candidate(&entropy, 9, 0), Timestamp(0), Timestamp(10)));
        assert!(!candidates.add(candidate(&entropy, 3, 0), Timestamp(0), Timestamp(10)), "not past its equals");
        assert_eq!(candidates.due(), limits::CANDIDATES / 2);
        assert!(candidates.take_refused(Timestamp(10)), "who made way is looked for again");
    }

    #[test]
    fn an_entry_waits_for_its_time() {
        let (entropy, mut candidates) = (Entropy::seeded(1), Candidates::default());
        candidates.add(candidate(&entropy, 5, 1_000), Timestamp(0), Timestamp(10));
        candidates.add(candidate(&entropy, 5, 0), Timestamp(500), Timestamp(10));
        assert_eq!((candidates.due(), candidates.next_due()), (0, Some(Timestamp(500))));
        candidates.ripen(Timestamp(999));
        assert_eq!((candidates.due(), candidates.next_due()), (1, Some(Timestamp(1_000))));
    }

    #[test]
    fn an_entry_that_waits_for_its_record_is_brought_forward_when_that_is_there() {
        let (entropy, mut candidates) = (Entropy::seeded(1), Candidates::default());
        let one = candidate(&entropy, 5, 0);
        candidates.add(one, Timestamp(500), Timestamp(10));
        candidates.bring_forward(&one.entry, Timestamp(10));
        assert_eq!(candidates.draw(&entropy), Some(one));
    }

    #[test]
    fn high_priorities_go_first_mostly_and_low_ones_are_not_starved() {
        let (entropy, mut drawn) = (Entropy::seeded(1), [0_u32; 10]);
        for _ in 0..10_000 {
            let mut candidates = Candidates::default();
            for priority in [0, 9] {
                candidates.add(candidate(&entropy, priority, 0), Timestamp(0), Timestamp(10));
            }
            drawn[usize::from(candidates.draw(&entropy).unwrap().entry.priority)] += 1;
        }
        assert!((50..200).contains(&drawn[0]), "about 1 in 101, was {drawn:?}");
    }

    #[test]
    fn an_entry_that_is_listed_long_after_it_was_used_up_is_new_again_whatever_else_happens() {
        let (entropy, mut candidates) = (Entropy::seeded(1), Candidates::default());
        let one = candidate(&entropy, 5, 0);
        candidates.add(one, Timestamp(0), Timestamp(10));
        candidates.draw(&entropy);
        candidates.use_up(one.entry, Timestamp(10));
        assert!(!candidates.is_new(&one.entry, Timestamp(10).after(limits::GRACE)), "it may not be deleted yet");
        assert!(candidates.is_new(&one.entry, Timestamp(11).after(limits::GRACE)));
    }

    #[test]
    fn the_number_of_known_entries_is_bounded() {
        let (entropy, mut candidates) = (Entropy::seeded(1), Candidates::default());
        for _ in 0..limits::CANDIDATES + 10 {
            candidates.add(candidate(&entropy, 5, 0), Timestamp(0), Timestamp(10));
        }
        assert_eq!(candidates.due(), limits::CANDIDATES / 2);
        assert!(candidates.take_refused(Timestamp(10)) && !candidates.take_refused(Timestamp(10)));
    }

    #[test]
    fn of_more_waiting_entries_than_there_is_place_for_the_first_due_are_kept() {
        let (entropy, mut candidates) = (Entropy::seeded(1), Candidates::default());
        for due in (1..=i64::try_from(limits::CANDIDATES).unwrap()).rev() {
            candidates.add(candidate(&entropy, 5, due), Timestamp(0), Timestamp(0));
        }
        assert_eq!(candidates.next_due(), Some(Timestamp(1)));
        let first_refused = Timestamp(i64::try_from(limits::CANDIDATES / 2 + 1).unwrap());
        assert!(!candidates.take_refused(Timestamp(first_refused.0 - 1)), "not before it is due");
        candidates.ripen(Timestamp(i64::MAX));
        assert_eq!((candidates.due(), candidates.take_refused(first_refused)), (limits::CANDIDATES / 2, true));
    }
}
