//! Which parts of the lease index a worker sweeps, and in what order.
//!
//! Each shard has a few sweepers among the living; the others look into it now and then all the same, in case those are
//! gone and nobody knows it yet.

use std::collections::{BTreeSet, VecDeque};

use super::fleet::{Fleet, Work};
use crate::keys::{self, LEASES, SHARDS};

/// Sweepers of one shard.
const SWEEPERS: usize = 3;
/// One in so many sweeps goes into a shard of others, too.
const STRANGE: u32 = 6;
/// One in so many sweeps, by a few, goes through all shards, to find out which registrations lead to no lease.
pub const REGISTRATIONS: u32 = 60;
/// With more shards than this it pays to try whether one page holds the leases of all.
const APART: usize = 4;

/// A part of the index that is yet to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What its keys begin with.
    pub prefix: String,
    /// Where to go on.
    pub after: Option<String>,
}

/// What one sweep goes through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Areas {
    shards: BTreeSet<char>,
    parts: VecDeque<Part>,
}

/// The shards of the sweep number `round`; `random` picks the strange one.
pub fn shards_to_sweep(fleet: &Fleet, round: u32, random: u64) -> BTreeSet<char> {
    let is_mine = |shard: &char| fleet.rank(Work::Shard(*shard)) < SWEEPERS;
    let for_registrations = round.is_multiple_of(REGISTRATIONS) && fleet.rank(Work::Registrations) < SWEEPERS;
    // Who has just come knows least of the others.
    if round == 0 || for_registrations {
        return SHARDS.chars().collect();
    }
    let mut mine: BTreeSet<char> = SHARDS.chars().filter(is_mine).collect();
    let others: Vec<char> = SHARDS.chars().filter(|shard| !mine.contains(shard)).collect();
    if round.is_multiple_of(STRANGE) && !others.is_empty() {
        let place = usize::try_from(random).unwrap_or(0) % others.len();
        mine.extend(others.get(place));
    }
    mine
}

impl Areas {
    /// A sweep of these shards; `long` if the whole index is known not to fit into one page.
    pub fn new(shards: BTreeSet<char>, long: bool) -> Self {
        let together = shards.len() == SHARDS.len() || (shards.len() > 1 && !(long && shards.len() <= APART));
        let part = |prefix: String| Part { prefix, after: None };
        let parts = if together {
            VecDeque::from([part(LEASES.to_owned())])
        } else {
            shards.iter().map(|shard| part(keys::shard_prefix(LEASES, *shard))).collect()
        };
        Self { shards, parts }
    }

    /// Whether an entry of this shard is to be looked at.
    pub fn has(&self, shard: char) -> bool {
        self.shards.contains(&shard)
    }

    /// Whether it goes through all shards.
    pub fn is_all(&self) -> bool {
        self.shards.len() == SHARDS.len()
    }

    /// What to read next; `None` at the end.
    pub fn next(&self) -> Option<&Part> {
        self.parts.front()
    }

    /// The next part was read up to `last`, the last key of the page, and there is `more` of it or not. Whether that was
    /// the end of all.
    pub fn went_on(&mut self, last: Option<&str>, more: bool) -> bool {
        let Some(part) = self.parts.pop_front() else { return true };
        if more && part.prefix == LEASES && !self.is_all() {
            // The page did not hold all: from its end on, only the shards of this sweep.
            let reached = last.unwrap_or(LEASES);
            let shards = self.shards.iter().map(|shard| keys::shard_prefix(LEASES, *shard));
            let left = shards.filter(|prefix| reached.starts_with(prefix) || **prefix > *reached);
            self.parts = left
                .map(|prefix| Part { after: Some(reached.to_owned()).filter(|last| last.starts_with(&prefix)), prefix })
                .collect();
        } else if more {
            self.go_on(part, last);
        }
        self.parts.is_empty()
    }

    fn go_on(&mut self, part: Part, last: Option<&str>) {
        // Where the store says that there is more and shows nothing, the next shard can be read all the same.
        let after = last.map(str::to_owned).or_else(|| {
            let from = part.after.as_deref().unwrap_or("leases/!");
            keys::next_shard(LEASES, from).filter(|_| part.prefix == LEASES)
        });
        if after.is_some() {
            self.parts.push_front(Part { after, ..part });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::super::fleet::Member;
    use super::*;
    use crate::entropy::Entropy;
    use crate::id::WorkerId;

    fn fleets(size: usize) -> Vec<Fleet> {
        let entropy = Entropy::seeded(1);
        let ids: Vec<WorkerId> = (0..size).map(|_| WorkerId::random(&entropy)).collect();
        let others = |me: &WorkerId| -> BTreeMap<WorkerId, Member> {
            ids.iter()
                .filter(|id| *id != me)
                .map(|id| (*id, Member { types: None, fresh: true, takes: true }))
                .collect()
        };
        ids.iter().map(|me| Fleet::alone(*me, Arc::default()).with(others(me))).collect()
    }

    fn part(prefix: &str, after: Option<&str>) -> Part {
        Part { prefix: prefix.into(), after: after.map(str::to_owned) }
    }

    #[test]
    fn a_small_fleet_sweeps_everything_and_a_large_one_shares_it() {
        for fleet in fleets(3) {
            assert_eq!(shards_to_sweep(&fleet, 1, 0).len(), 16);
        }
        let shares: Vec<_> = fleets(50).iter().map(|fleet| shards_to_sweep(fleet, 1, 0)).collect();
        assert_eq!(shares.iter().map(BTreeSet::len).sum::<usize>(), 48);
        for shard in SHARDS.chars() {
            assert_eq!(shares.iter().filter(|share| share.contains(&shard)).count(), 3);
        }
    }

    #[test]
    fn every_worker_begins_with_all_and_looks_into_a_strange_shard_now_and_then() {
        let fleets = fleets(50);
        assert!(fleets.iter().all(|fleet| shards_to_sweep(fleet, 0, 0).len() == 16));
        for fleet in &fleets {
            let mine = shards_to_sweep(fleet, 1, 0);
            let mut seen = BTreeSet::new();
            for random in 0..16 {
                let with_strange = shards_to_sweep(fleet, STRANGE, random);
                assert_eq!(with_strange.len(), mine.len() + 1);
                seen.extend(with_strange);
            }
            assert_eq!(seen.len(), 16, "any of them");
        }
        let all = fleets.iter().filter(|fleet| shards_to_sweep(fleet, REGISTRATIONS, 0).len() == 16);
        assert_eq!(all.count(), SWEEPERS);
    }

    #[test]
    fn all_shards_are_read_together_and_gone_on_with_page_by_page() {
        let mut areas = Areas::new(SHARDS.chars().collect(), true);
        assert_eq!(areas.next(), Some(&part("leases/", None)));
        assert!(!areas.went_on(Some("leases/3/x"), true));
        assert_eq!(areas.next(), Some(&part("leases/", Some("leases/3/x"))));
        assert!(areas.went_on(Some("leases/f/x"), false) && areas.next().is_none());
    }

    #[test]
    fn some_shards_are_read_together_if_one_page_holds_all() {
        let shards = BTreeSet::from(['1', '4', '7']);
        let mut areas = Areas::new(shards.clone(), false);
        assert_eq!(areas.next(), Some(&part("leases/", None)));
        assert!(areas.went_on(Some("leases/f/x"), false));

        let mut areas = Areas::new(shards, false);
        assert!(!areas.went_on(Some("leases/4/x"), true));
        assert_eq!(areas.next(), Some(&part("leases/4/", Some("leases/4/x"))), "the first was read to its end");
        assert!(!areas.went_on(None, false));
        assert_eq!(areas.next(), Some(&part("leases/7/", None)));
        assert!(areas.went_on(None, false));
    }

    #[test]
    fn few_shards_of_a_long_index_are_read_one_by_one() {
        let mut areas = Areas::new(BTreeSet::from(['1', '4']), true);
        assert_eq!(areas.next(), Some(&part("leases/1/", None)));
        assert!(!areas.went_on(Some("leases/1/x"), true));
        assert_eq!(areas.next(), Some(&part("leases/1/", Some("leases/1/x"))));
        assert!(!areas.went_on(None, true), "no page goes on for ever");
        assert_eq!(areas.next(), Some(&part("leases/4/", None)));
        assert!(areas.has('4') && !areas.has('5') && !areas.is_all());
    }

    #[test]
    fn an_empty_page_that_says_there_is_more_leads_to_the_next_shard() {
        let mut areas = Areas::new(SHARDS.chars().collect(), false);
        for shard in SHARDS.chars() {
            assert!(!areas.went_on(None, true));
            assert_eq!(areas.next(), Some(&part("leases/", Some(&keys::shard_prefix(LEASES, shard)))));
        }
        assert!(areas.went_on(None, true));
        assert!(Areas::new(BTreeSet::new(), false).next().is_none());
    }
}
