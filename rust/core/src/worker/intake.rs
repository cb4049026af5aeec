//! What a worker takes on: how much there is room for, and which entries are its own to claim.

use tokio::time::Instant;

use super::candidates::{Candidate, Source};
use super::deferred::leave_until;
use super::fleet::{Fleet, Work};
use super::shared::{Phase, Shared};
use crate::id::WorkerId;
use crate::keys::ReadyEntry;
use crate::limits;
use crate::queue::Nearby;
use crate::record::BatchRecord;
use crate::time::Timestamp;

/// A record that was found in a listing is left to others this many times longer.
const LISTED: u32 = 4;
/// Workers that try for a record of which the bell tells.
const MOST_TRIES: usize = 16;
/// Candidates kept in hand for each task there is room for.
const CHOICE: usize = 4;

impl Shared {
    /// How many more tasks to claim: what is asked for and what is fetched ahead, less what is there or on its way.
    pub fn room(&self) -> usize {
        let mut inner = self.lock();
        if inner.phase != Phase::Running {
            return 0;
        }
        let rate = inner.rate.per_second(Instant::now());
        // A worker that has lost all its places would only keep others from what it fetches.
        let lost = inner.stuck >= self.options.concurrency;
        let ahead = if inner.overfetched || lost { 0 } else { self.options.prefetch.unwrap_or(rate) };
        let wanted = inner.demand.saturating_add(ahead);
        let most = limits::HELD_TASKS.saturating_sub(inner.hold.tasks.len());
        wanted.saturating_sub(inner.hold.fetched.len()).min(most).saturating_sub(inner.reserved)
    }

    /// How many entries to have in hand, to choose from.
    pub fn wanted(&self) -> usize {
        self.room().saturating_mul(CHOICE).min(limits::CANDIDATES / 4)
    }

    /// What is due later is left to a later look: there may be any number of it.
    pub fn horizon(&self) -> Timestamp {
        self.now().after(self.settings().horizon())
    }

    /// Remembers an entry; whether it is new and due.
    pub fn add_candidate(&self, candidate: Candidate, not_before: Timestamp) -> bool {
        let now = self.now();
        self.lock().candidates.add(candidate, not_before, now)
    }

    /// Remembers an entry that is to be claimed by the first `shares` of the workers at once, and by the others if those
    /// do not; whether it is new, due and for this one.
    pub fn offer_candidate(&self, candidate: Candidate, fleet: &Fleet, shares: usize) -> bool {
        let (entry, now) = (candidate.entry, self.now());
        if !self.lock().candidates.is_new(&entry, now) {
            return false;
        }
        let rank = fleet.rank(Work::Record(entry.record, entry.type_hash));
        {
            let mut inner = self.lock();
            if rank < shares || inner.greed_for(candidate.source).covers(rank) {
                let left_over = rank >= shares;
                return inner.candidates.add(Candidate { left_over, ..candidate }, Timestamp(0), now);
            }
        }
        // A hint is worth no more tries: who comes so late finds the entry at the next regular look.
        if candidate.source == Source::Told && rank >= MOST_TRIES {
            return false;
        }
        // The bell tells of lone tasks; what is listed may be part of what another is busy with.
        let step = self.settings().patience * if candidate.source == Source::Told { 1 } else { LISTED };
        let from = leave_until(now.max(entry.due), step, rank, self.id.bits());
        let wanted = self.wanted();
        let mut inner = self.lock();
        let still_there = inner.deferred.see(candidate, from, now) && inner.candidates.due() < wanted;
        still_there && inner.candidates.add(Candidate { left_over: true, ..candidate }, Timestamp(0), now)
    }
}

impl Nearby for Shared {
    fn offer(&self, entry: ReadyEntry) {
        if self.knows(&entry) && entry.due <= self.horizon() {
            let candidate = Candidate::new(entry, Source::Nearby);
            let wanted = self.wanted();
            let hungry = self.lock().candidates.due() < wanted;
            if hungry {
                self.add_candidate(candidate, Timestamp(0));
            } else {
                // Who has enough in hand leaves it to whoever would be first.
                self.offer_candidate(candidate, &self.fleet(), 1);
            }
            let now = self.now();
            self.lock().candidates.bring_forward(&entry, now);
            self.wake.notify_one();
        }
    }

    fn notice(&self, record: &BatchRecord) {
        self.notice_changes(record);
    }

    fn is(&self, worker: WorkerId) -> bool {
        self.id == worker
    }

    fn schedules_changed(&self) {
        self.schedules.changed();
    }
}
