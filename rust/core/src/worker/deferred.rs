//! Entries that are for other workers to claim first.
//!
//! Each waits for as long as this worker lets the others go first. Then it is most likely claimed, so many are not tried one
//! by one: those that a listing shows again are still there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::candidates::Candidate;
use crate::id::RecordId;
use crate::keys::ReadyEntry;
use crate::time::Timestamp;

/// Most entries that wait.
const WAITING: usize = 1_000;
/// So many may be tried without another listing: a listing costs twelve times as much as reading a record.
const FEW: usize = 8;
/// How long an entry is good for after its wait.
const KEEP: Duration = Duration::from_secs(5);
/// More workers are not counted anyway.
const MOST_GREED: usize = 128;
/// Workers that come one step after the other.
const STEPS: usize = 4;
/// Those behind them come together with whatever else they wait for, once in so many steps.
const TOGETHER: i64 = 8;

/// Until when a worker leaves an entry to `rank` others that go first. `phase` keeps those who come late apart.
pub fn leave_until(now: Timestamp, step: Duration, rank: usize, phase: u64) -> Timestamp {
    let count = u32::try_from(rank.min(STEPS)).unwrap_or(u32::MAX);
    let least = now.after(step * count);
    if rank < STEPS {
        return least;
    }
    let period = TOGETHER * i64::try_from(step.as_millis()).unwrap_or(i64::MAX / TOGETHER).max(1);
    let phase = i64::try_from(phase % period.unsigned_abs()).unwrap_or(0);
    Timestamp(least.0 + (phase - least.0).rem_euclid(period))
}

/// How many workers' entries are claimed without waiting for them, because lately they left what was theirs.
#[derive(Debug, Default)]
pub struct Greed {
    workers: usize,
    grew: Option<Instant>,
}

impl Greed {
    /// Whether an entry is not left to the `rank` others that go first.
    pub const fn covers(&self, rank: usize) -> bool {
        rank < self.workers
    }

    /// This worker was the first at an entry that was left to others, or was not. As long as they leave theirs it doubles,
    /// once in `every`.
    pub fn note(&mut self, first: bool, now: Instant, every: Duration) {
        if !first {
            self.workers /= 2;
        } else if self.grew.is_none_or(|grew| now.saturating_duration_since(grew) >= every) {
            self.workers = (self.workers.max(1) * 2).min(MOST_GREED);
            self.grew = Some(now);
        }
    }
}

/// The first place after all of those of a moment.
const fn first_after(moment: Timestamp) -> (Timestamp, ReadyEntry) {
    let least = ReadyEntry {
        due: Timestamp(i64::MIN),
        record: RecordId::LEAST,
        seq: 0,
        priority: 0,
        type_hash: 0,
        pending: 0,
        parked: false,
    };
    (Timestamp(moment.0.saturating_add(1)), least)
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

    /// Those whose wait is over, if they are few; of these only what is more urgent than all that is in hand.
    pub fn take_few(&mut self, now: Timestamp, most_urgent_in_hand: Option<u8>) -> Vec<Candidate> {
        let wanted = |entry: &ReadyEntry| most_urgent_in_hand.is_none_or(|urgent| entry.priority > urgent);
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

    /// When the first wait ends that has not ended yet, or the first entry is forgotten; and whether any wait has ended.
    pub fn next(&self, now: Timestamp) -> (Option<Timestamp>, bool) {
        let first = self.waiting.keys().next().map(|(from, _)| *from);
        let ripe = first.is_some_and(|from| from <= now);
        let forgotten = first.map(|from| from.after(KEEP + Duration::from_millis(1)));
        let next = self.waiting.range(first_after(now)..).next().map(|((from, _), _)| *from);
        (next.into_iter().chain(forgotten).min(), ripe)
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

    const STEP: Duration = Duration::from_millis(250);

    fn candidate(entropy: &Entropy, priority: u8) -> Candidate {
        let record = RecordId::random(entropy);
        let entry = ReadyEntry { due: Timestamp(0), record, seq: 1, priority, type_hash: 1, pending: 1, parked: false };
        Candidate { left_over: true, ..Candidate::new(entry, Source::Told) }
    }

    fn deferred(entropy: &Entropy, count: usize) -> (Deferred, Vec<Candidate>) {
        let mut deferred = Deferred::default();
        let all: Vec<_> = (0..count).map(|_| candidate(entropy, 5)).collect();
        assert!(!all.iter().any(|one| deferred.see(*one, Timestamp(250), Timestamp(0))));
        (deferred, all)
    }

    #[test]
    fn workers_come_one_after_the_other_and_the_last_ones_now_and_then() {
        let until = |now, rank, phase| leave_until(Timestamp(now), STEP, rank, phase).0;
        assert_eq!((until(100, 0, 7), until(100, 3, 7)), (100, 850));
        for now in 0..3_000 {
            let late = until(now, 9, 7);
            assert!(late % 2_000 == 7 && (now + 1_000..now + 3_000).contains(&late), "{late}");
        }
    }

    #[test]
    fn greed_grows_while_others_leave_theirs_and_shrinks_when_they_do_not() {
        let (mut greed, now, every) = (Greed::default(), Instant::now(), Duration::from_secs(1));
        greed.note(true, now, every);
        greed.note(true, now, every);
        assert!(greed.covers(1) && !greed.covers(2), "not more than once in so long");
        (1..20).for_each(|n| greed.note(true, now + every * n, every));
        assert!(greed.covers(MOST_GREED - 1) && !greed.covers(MOST_GREED));
        (0..7).for_each(|_| greed.note(false, now, every));
        assert!(greed.covers(0) && !greed.covers(1));
        greed.note(false, now, every);
        assert!(!greed.covers(0));
    }

    #[test]
    fn a_few_are_taken_once_their_wait_is_over() {
        let entropy = Entropy::seeded(1);
        let (mut deferred, all) = deferred(&entropy, FEW);
        assert_eq!(deferred.next(Timestamp(0)), (Some(Timestamp(250)), false));
        assert_eq!(deferred.next(Timestamp(250)), (Some(Timestamp(251).after(KEEP)), true));
        assert!(deferred.take_few(Timestamp(249), None).is_empty(), "the others go first");
        assert_eq!(deferred.take_few(Timestamp(250), None).len(), all.len());
        assert_eq!((deferred.next(Timestamp(250)), deferred.doubt(Timestamp(250))), ((None, false), false));
    }

    #[test]
    fn behind_those_whose_wait_is_over_the_next_wait_is_found() {
        let entropy = Entropy::seeded(1);
        let (mut deferred, _) = deferred(&entropy, 300);
        let mut next = candidate(&entropy, 0);
        next.entry = ReadyEntry { due: Timestamp(-1), record: RecordId::LEAST, seq: 0, ..next.entry };
        deferred.see(next, Timestamp(251), Timestamp(0));
        deferred.see(candidate(&entropy, 0), Timestamp(400), Timestamp(0));
        let now = |ms| deferred.next(Timestamp(ms));
        assert_eq!((now(249), now(250)), ((Some(Timestamp(250)), false), (Some(Timestamp(251)), true)));
        assert_eq!((now(251).0, now(400).0), (Some(Timestamp(400)), Some(Timestamp(251).after(KEEP))));
    }

    #[test]
    fn whoever_has_enough_takes_only_what_is_more_urgent() {
        let entropy = Entropy::seeded(1);
        let (mut deferred, _) = deferred(&entropy, 3);
        let urgent = candidate(&entropy, 9);
        deferred.see(urgent, Timestamp(250), Timestamp(0));
        assert_eq!(deferred.take_few(Timestamp(300), Some(5)), [urgent]);
        assert!(deferred.take_few(Timestamp(300), Some(5)).is_empty());
    }

    #[test]
    fn of_many_those_are_taken_that_are_listed_again() {
        let entropy = Entropy::seeded(1);
        let (mut deferred, all) = deferred(&entropy, FEW + 1);
        assert!(deferred.take_few(Timestamp(250), None).is_empty());
        assert!(deferred.doubt(Timestamp(250)) && deferred.next(Timestamp(250)) == (None, false));
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
