//! Who else works here, and who of all goes first at what.
//!
//! Workers know of each other only what stands in the registrations, and none leads. Each puts all of them in an order
//! of its own for each piece of work, the same in every worker (rendezvous hashing, "highest random weight"): who is
//! first does it at once, and the others see to it that it is done if the first is busy or gone. Where two workers
//! know different fleets, both may take themselves for the first; then a conditional write decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::{RecordId, WorkerId};
use crate::keys;

/// How far down the order is looked: who comes later than that is late anyway.
const DEPTH: usize = 64;

/// Another worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The hashes of the types it works; `None` if that is not known: it may be any.
    pub types: Option<Arc<BTreeSet<u32>>>,
    /// Its last heartbeat is no older than that of a worker that holds leases.
    pub fresh: bool,
    /// It takes tasks, as far as is known: it does not drain, and has not lost all its places.
    pub takes: bool,
}

/// The workers that live, as far as this one knows.
#[derive(Clone, Debug)]
pub struct Fleet {
    me: WorkerId,
    types: Arc<BTreeSet<u32>>,
    others: BTreeMap<WorkerId, Member>,
}

/// Something that a worker does for all.
#[derive(Clone, Copy, Debug)]
pub enum Work<'a> {
    /// Claiming a record of the type with this hash.
    Record(RecordId, u32),
    /// Answering a touch of the bell, by who works a type that this worker does.
    Ring(u64),
    /// Sweeping a shard of the lease index.
    Shard(char),
    /// Taking the registrations of dead workers off the list.
    Registrations,
    /// Firing the schedule of this name.
    Schedule(&'a str),
}

impl Work<'_> {
    /// A number of its own.
    fn key(self) -> u64 {
        match self {
            Self::Record(id, _) => id.bits(),
            Self::Ring(touch) => mixed(touch ^ 0x7269_6e67),
            Self::Shard(shard) => mixed(u64::from(shard) ^ 0x0073_6861_7264),
            Self::Registrations => 1,
            Self::Schedule(name) => mixed(u64::from(keys::type_hash(name))),
        }
    }

    /// Whether a worker does such work.
    fn suits(self, member: &Member, mine: &BTreeSet<u32>) -> bool {
        let works = |kind: &u32| member.types.as_ref().is_none_or(|types| types.contains(kind));
        match self {
            Self::Record(_, kind) => member.takes && works(&kind),
            Self::Ring(_) => member.takes && mine.iter().any(works),
            // An idle worker beats seldom, so this leaves some of the living out; but a dead one soon.
            Self::Shard(_) | Self::Registrations => member.fresh,
            Self::Schedule(_) => true,
        }
    }
}

/// Spreads the bits of a number (the finalizer of splitmix64).
const fn mixed(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Fleet {
    /// A worker that knows of no other.
    pub const fn alone(me: WorkerId, types: Arc<BTreeSet<u32>>) -> Self {
        Self { me, types, others: BTreeMap::new() }
    }

    /// The same worker with these others.
    pub fn with(&self, others: BTreeMap<WorkerId, Member>) -> Self {
        Self { me: self.me, types: Arc::clone(&self.types), others }
    }

    pub const fn others(&self) -> &BTreeMap<WorkerId, Member> {
        &self.others
    }

    /// How many workers there are.
    pub fn size(&self) -> usize {
        self.others.len() + 1
    }

    /// How many others go before this worker, counted up to [`DEPTH`].
    pub fn rank(&self, work: Work<'_>) -> usize {
        let key = work.key();
        let weight = |id: &WorkerId| (mixed(id.bits() ^ key), *id);
        let mine = weight(&self.me);
        let before = self.others.iter().filter(|(id, member)| work.suits(member, &self.types) && weight(id) > mine);
        before.take(DEPTH).count()
    }

    /// The other worker that goes first of all, unless it is this one.
    pub fn first(&self, work: Work<'_>) -> Option<WorkerId> {
        let key = work.key();
        let weight = |id: &WorkerId| (mixed(id.bits() ^ key), *id);
        let others = self.others.iter().filter(|(_, member)| work.suits(member, &self.types));
        others.map(|(id, _)| *id).max_by_key(weight).filter(|first| weight(first) > weight(&self.me))
    }

    /// Where in an index this worker begins, from 0 to 1, so that all begin far from each other.
    pub fn place(&self, random: f64) -> f64 {
        let as_float = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        let before = self.others.range(..self.me).count();
        if self.others.is_empty() { 0.0 } else { (as_float(before) + random / 2.0) / as_float(self.size()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;
    use crate::keys::SHARDS;

    /// Each worker of a fleet as it sees itself among the others, all of which are so.
    fn fleet(size: usize, member: &Member) -> Vec<Fleet> {
        let entropy = Entropy::seeded(1);
        let all: BTreeMap<WorkerId, Member> = (0..size).map(|_| (WorkerId::random(&entropy), member.clone())).collect();
        let others =
            |me: &WorkerId| all.iter().filter(|(id, _)| *id != me).map(|(id, one)| (*id, one.clone())).collect();
        let types = Arc::new(BTreeSet::from([7, 8]));
        all.keys().map(|me| Fleet::alone(*me, Arc::clone(&types)).with(others(me))).collect()
    }

    fn any() -> Member {
        Member { types: None, fresh: true, takes: true }
    }

    #[test]
    fn all_agree_on_the_order_and_share_the_records_evenly() {
        let (workers, entropy) = (fleet(12, &any()), Entropy::seeded(2));
        let mut firsts = vec![0; workers.len()];
        for _ in 0..3_000 {
            let work = Work::Record(RecordId::random(&entropy), 7);
            let ranks: Vec<usize> = workers.iter().map(|worker| worker.rank(work)).collect();
            let mut sorted = ranks.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..12).collect::<Vec<_>>());
            firsts[ranks.iter().position(|rank| *rank == 0).unwrap()] += 1;
        }
        assert!(firsts.iter().all(|count| (200..300).contains(count)), "{firsts:?}");
    }

    #[test]
    fn who_does_not_work_a_type_has_no_share_of_it() {
        let types = Some(Arc::new(BTreeSet::from([8])));
        let workers = fleet(5, &Member { types, ..any() });
        let id = RecordId::random(&Entropy::seeded(3));
        assert!(workers.iter().all(|worker| worker.rank(Work::Record(id, 7)) == 0));
        assert!(workers.iter().any(|worker| worker.rank(Work::Record(id, 8)) == 4));
        assert!(workers.iter().any(|worker| worker.rank(Work::Ring(1)) == 4), "all of them work type 8");
        let strangers = fleet(5, &Member { types: Some(Arc::default()), ..any() });
        assert!(strangers.iter().all(|worker| worker.rank(Work::Ring(1)) == 0));
    }

    #[test]
    fn who_takes_no_tasks_goes_before_nobody_but_does_all_else() {
        let workers = fleet(5, &Member { takes: false, ..any() });
        let record = Work::Record(RecordId::random(&Entropy::seeded(3)), 7);
        assert!(workers.iter().all(|worker| worker.rank(record) == 0 && worker.first(record).is_none()));
        assert!(workers.iter().all(|worker| worker.rank(Work::Ring(1)) == 0));
        assert!(workers.iter().any(|worker| worker.rank(Work::Schedule("s")) == 4));
        assert!(workers.iter().any(|worker| worker.rank(Work::Shard('0')) == 4));
    }

    #[test]
    fn all_agree_on_who_is_first() {
        let (workers, work) = (fleet(9, &any()), Work::Record(RecordId::random(&Entropy::seeded(4)), 7));
        let first = workers.iter().find(|worker| worker.rank(work) == 0).unwrap();
        assert_eq!(first.first(work), None);
        let others = workers.iter().filter(|worker| worker.me != first.me);
        assert!(others.into_iter().all(|worker| worker.first(work) == Some(first.me)));
    }

    #[test]
    fn a_shard_is_swept_by_those_whose_heartbeat_is_fresh() {
        let stale = fleet(5, &Member { fresh: false, ..any() });
        for shard in SHARDS.chars() {
            assert!(stale.iter().all(|worker| worker.rank(Work::Shard(shard)) == 0));
        }
        let sweepers = |worker: &Fleet| SHARDS.chars().filter(|shard| worker.rank(Work::Shard(*shard)) < 3).count();
        let workers = fleet(50, &any());
        assert_eq!(workers.iter().map(sweepers).sum::<usize>(), 48, "three for each of sixteen");
    }

    #[test]
    fn all_begin_far_from_each_other_and_a_lone_worker_at_the_beginning() {
        let mut places: Vec<f64> = fleet(12, &any()).iter().map(|worker| worker.place(0.9)).collect();
        places.sort_by(f64::total_cmp);
        assert!(places.windows(2).all(|two| two[1] - two[0] > 0.08) && places[0] >= 0.0 && places[11] < 1.0);
        assert!(fleet(1, &any()).iter().all(|worker| worker.place(0.9).abs() < f64::EPSILON));
    }

    #[test]
    fn the_order_is_looked_at_only_so_far() {
        assert!(fleet(500, &any()).iter().all(|worker| worker.rank(Work::Registrations) <= DEPTH));
    }
}
