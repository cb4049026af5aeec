//! Looking after what others left behind: leases of lost workers, leases past their time, stale entries.
//!
//! The workers share the lease index among them; there is no leader. Two that do the same thing at the same time are one
//! commit and one refusal.

mod peers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use tokio::time::{Instant, sleep, sleep_until};

use super::areas::{Areas, REGISTRATIONS, shards_to_sweep};
use super::shared::{Phase, Shared};
use crate::error::{Error, Result};
use crate::id::{LeaseId, RecordId, WorkerId};
use crate::keys::{self, LeaseEntry, SHARDS};
use crate::limits;
use crate::record::{BatchRecord, EntryState, Fall, Outcome, is_overdue, lease_entry_state};
use crate::time::Timestamp;
use crate::transact::Transacted;

/// Pages of an index read in one sweep; a longer index is gone on with soon after.
const PAGES: usize = 10;
/// Between the parts of a sweep over an index that is longer.
const GO_ON: Duration = Duration::from_secs(2);
/// Records looked into at the same time.
const IN_FLIGHT: usize = 64;
/// How long after a claim that came to no clear end its lease is looked for: by then it lies there, or never will.
const DOUBT: Duration = Duration::from_secs(limits::GRACE.as_secs() + 5);
/// The wait before a sweep that failed is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// The time until the workers are counted again, if they were others than before; it grows so many times with each count
/// that finds the same.
const COUNT_FIRST: Duration = Duration::from_secs(5);
const COUNT_GROWS: u32 = 12;
/// The longest time between two counts, and that while there is work.
const COUNT_LAST: Duration = Duration::from_mins(5);
const COUNT_BUSY: Duration = Duration::from_mins(1);

#[derive(Debug)]
struct Sweeper {
    /// Sweeps so far.
    rounds: u32,
    /// What is left of a sweep that was too long for one go.
    areas: Areas,
    /// The last sweep began at this moment.
    began: Instant,
    next_sweep: Instant,
    /// The lease index does not fit into one page.
    long: bool,
    /// Others hold leases.
    others_hold: bool,
    /// Holders that have missed a beat, and when each has to have beaten again.
    peers: BTreeMap<WorkerId, Timestamp>,
    /// Between two counts of the workers.
    count_every: Duration,
}

/// What one sweep found in the lease index, and who is lost.
#[derive(Debug, Default)]
struct Findings {
    /// The entries and when they were written, by record.
    records: BTreeMap<RecordId, Vec<(LeaseEntry, Timestamp)>>,
    /// Workers whose heartbeat is stale.
    lost: BTreeSet<WorkerId>,
    /// Every lease that there is was read.
    whole: bool,
}

impl Shared {
    /// Sweeps until the worker is stopped.
    pub async fn keep_sweeping(self: Arc<Self>) {
        let now = Instant::now();
        let mut sweeper = Sweeper {
            rounds: 0,
            areas: Areas::default(),
            began: now,
            next_sweep: now,
            long: false,
            others_hold: false,
            peers: BTreeMap::new(),
            count_every: COUNT_FIRST,
        };
        while self.lock().phase != Phase::Stopped {
            self.await_next(&mut sweeper).await;
            if let Err(error) = self.look_after(&mut sweeper).await {
                self.warn("a sweep failed, trying again", &error);
                let pause = self.jittered(AGAIN);
                sweeper.next_sweep = sweeper.next_sweep.min(Instant::now() + pause);
                sleep(pause).await;
            }
        }
    }

    /// Waits until there is something to be done, but not for long: much may change meanwhile.
    async fn await_next(&self, sweeper: &mut Sweeper) {
        let now = self.now();
        let next_peer = sweeper.peers.values().min().map(|at| Instant::now() + at.since(now));
        let tick = Instant::now() + AGAIN;
        let until = next_peer.map_or(sweeper.next_sweep, |at| at.min(sweeper.next_sweep)).min(tick);
        sleep_until(until.min(self.next_count(sweeper))).await;
        let (claimed, doubted) = {
            let inner = self.lock();
            (inner.claimed, inner.doubted)
        };
        if claimed || sweeper.others_hold {
            sweeper.next_sweep = sweeper.next_sweep.min(sweeper.began + self.settings().busy_sweep);
        }
        if let Some((first, _)) = doubted {
            sweeper.next_sweep = sweeper.next_sweep.min((first + DOUBT).max(sweeper.began + AGAIN));
        }
    }

    fn next_count(&self, sweeper: &Sweeper) -> Instant {
        let inner = self.lock();
        let busy = inner.claimed || sweeper.others_hold;
        let every = if busy { sweeper.count_every.min(COUNT_BUSY) } else { sweeper.count_every };
        inner.counted.unwrap_or(sweeper.began) + every
    }

    /// Counts, watches and sweeps, whatever it is time for.
    async fn look_after(self: &Arc<Self>, sweeper: &mut Sweeper) -> Result<()> {
        if Instant::now() >= self.next_count(sweeper) {
            let changed = self.recount().await?;
            sweeper.count_every =
                if changed { COUNT_FIRST } else { (sweeper.count_every * COUNT_GROWS).min(COUNT_LAST) };
        }
        if Instant::now() < sweeper.next_sweep {
            if !self.check_peers(sweeper).await? {
                return Ok(());
            }
            // Whoever else died at the same time sweeps no more: others do instead.
            self.recount().await?;
            sweeper.areas = Areas::default();
        }
        if sweeper.areas.next().is_none() {
            self.begin_sweep(sweeper);
        }
        self.sweep(sweeper).await?;
        let go_on = sweeper.areas.next().is_some();
        let pause = if go_on { self.jittered(GO_ON) } else { self.settings().sweep };
        sweeper.next_sweep = if go_on { Instant::now() } else { sweeper.began } + pause;
        Ok(())
    }

    fn begin_sweep(&self, sweeper: &mut Sweeper) {
        sweeper.began = Instant::now();
        let doubted = {
            let mut inner = self.lock();
            inner.claimed = false;
            let doubted = inner.doubted.take_if(|(first, _)| first.elapsed() >= DOUBT);
            // The last of them may be too young to be judged.
            inner.doubted = inner
                .doubted
                .or_else(|| doubted.map(|(_, last)| (last, last)).filter(|(_, last)| last.elapsed() < DOUBT));
            drop(inner);
            doubted.is_some()
        };
        sweeper.others_hold = false;
        let shards = if doubted {
            SHARDS.chars().collect()
        } else {
            shards_to_sweep(&self.fleet(), sweeper.rounds, self.entropy().bits())
        };
        sweeper.rounds = sweeper.rounds.wrapping_add(1);
        sweeper.areas = Areas::new(shards, sweeper.long);
    }

    async fn sweep(self: &Arc<Self>, sweeper: &mut Sweeper) -> Result<()> {
        // The leases first, then the heartbeats: a worker beats before it claims, so a listed lease of a living
        // worker is always followed by a fresh heartbeat.
        let mut findings = self.list_leases(sweeper).await?;
        let holders: BTreeSet<WorkerId> =
            findings.records.values().flatten().map(|(entry, _)| entry.worker).filter(|id| *id != self.id).collect();
        sweeper.others_hold |= !holders.is_empty();
        let for_registrations = findings.whole && sweeper.rounds % REGISTRATIONS == 1;
        if !holders.is_empty() || for_registrations {
            let roster = self.read_roster().await?;
            self.judge_workers(sweeper, &roster, &holders, &mut findings);
            self.take_count(&roster).await;
        }
        let now = self.now();
        let mut records: Vec<_> = findings
            .records
            .iter()
            .filter(|(_, entries)| entries.iter().any(|entry| self.is_suspicious(entry, &findings.lost, now)))
            .collect();
        // In random order, so that those who sweep at the same time seldom meet.
        self.entropy().shuffle(&mut records);
        stream::iter(records)
            .for_each_concurrent(IN_FLIGHT, |(id, entries)| {
                let lost = &findings.lost;
                async move {
                    match self.examine(*id, entries, lost).await {
                        Ok(()) => {}
                        Err(error @ (Error::Corrupt(_) | Error::Layout(_))) => {
                            self.report(&keys::record(*id), format!("{error}; set aside"));
                        }
                        Err(error) => self.warn("a record could not be looked after, trying again", &error),
                    }
                }
            })
            .await;
        Ok(())
    }

    /// Reads of the sweep's areas as much as goes into one go.
    async fn list_leases(&self, sweeper: &mut Sweeper) -> Result<Findings> {
        let mut findings = Findings::default();
        let areas = &mut sweeper.areas;
        let from_start = areas.is_all() && areas.next().is_some_and(|part| part.after.is_none());
        let mut gaps = false;
        for _ in 0..PAGES {
            let Some(part) = areas.next() else { break };
            let page = self.desk().bucket.list(&part.prefix, part.after.as_deref(), limits::PAGE).await?.value;
            for listed in &page.entries {
                if let Some(entry) = LeaseEntry::parse(&listed.key)
                    && areas.has(entry.record.shard())
                {
                    findings.records.entry(entry.record).or_default().push((entry, listed.last_modified));
                }
            }
            if part.prefix == keys::LEASES {
                sweeper.long = page.more || part.after.is_some();
            }
            let last = page.entries.last().map(|last| last.key.as_str());
            gaps |= page.more && last.is_none();
            let end = areas.went_on(last, page.more);
            findings.whole = from_start && end && !gaps;
        }
        Ok(findings)
    }

    /// Whether an entry is worth a look at its record.
    fn is_suspicious(
        &self,
        (entry, written): &(LeaseEntry, Timestamp),
        lost: &BTreeSet<WorkerId>,
        now: Timestamp,
    ) -> bool {
        let expired = entry.minute < now.minute();
        if entry.worker == self.id {
            return expired || (is_overdue(*written, now) && !self.holds(entry.record, entry.lease));
        }
        expired || lost.contains(&entry.worker)
    }

    fn holds(&self, record: RecordId, lease: LeaseId) -> bool {
        self.lock().hold.of_record(record).any(|(_, held)| held.lease == lease)
    }

    /// Takes back what has fallen in one record, and deletes its stale entries.
    async fn examine(
        self: &Arc<Self>,
        id: RecordId,
        entries: &[(LeaseEntry, Timestamp)],
        lost: &BTreeSet<WorkerId>,
    ) -> Result<()> {
        let Some(mut stored) = self.desk().load(id).await? else {
            // A claim commits over a record it has read; without one none can land any more.
            self.desk().deleter.delete(entries.iter().map(|(entry, _)| entry.to_string()));
            return Ok(());
        };
        // Entries that lead to what is owed are there until it was delivered.
        if stored.record.owes() && !self.settings().variant.clears_undelivered() {
            self.desk().serve(&stored.record, Vec::new()).await?;
            stored.served = true;
        }
        let (now, margin) = (self.now(), self.desk().bucket.time_margin());
        let mut fence = false;
        for (entry, written) in entries {
            match lease_entry_state(entry, *written, &stored.record, stored.written, margin) {
                EntryState::Stale => self.desk().deleter.delete([entry.to_string()]),
                EntryState::Ahead => fence |= is_overdue(*written, now),
                EntryState::Current => {}
            }
        }
        let overdue: BTreeSet<LeaseId> = entries
            .iter()
            .filter(|(entry, written)| {
                let mine = entry.worker == self.id && is_overdue(*written, now) && !self.holds(id, entry.lease);
                lost.contains(&entry.worker) || mine
            })
            .map(|(entry, _)| entry.lease)
            .collect();
        let change = |record: &mut BatchRecord, now: Timestamp| {
            let changed = self.take_back(record, &overdue, now);
            // A commit that changes nothing still bars every claim that was read before it.
            (changed || std::mem::take(&mut fence)).then_some(())
        };
        let transacted = self.desk().transact(stored, true, change).await?;
        if matches!(transacted, Transacted::Done((), None) | Transacted::Unknown(..)) {
            self.core.ring();
        }
        if let Transacted::Done((), Some(stored)) = transacted {
            self.core.show(&stored.record);
            self.notice_changes(&stored.record);
            stored.record.claim_entries().for_each(|entry| self.core.announce(entry));
        }
        Ok(())
    }

    fn take_back(&self, record: &mut BatchRecord, listed: &BTreeSet<LeaseId>, now: Timestamp) -> bool {
        let held: Vec<(LeaseId, WorkerId, Timestamp)> =
            record.leases.iter().map(|(id, lease)| (*id, lease.worker, lease.expires_at)).collect();
        let mut changed = false;
        for (lease, worker, expires_at) in held {
            let random = self.entropy().unit();
            if expires_at <= now {
                record.fall(lease, Fall::Expired, now, random);
            } else if listed.contains(&lease) && worker == self.id {
                // Committed without this worker ever hearing of it: nobody runs these tasks.
                let tasks: Vec<u16> =
                    record.tasks.iter().filter(|task| task.lease == Some(lease)).map(|task| task.n).collect();
                for n in tasks {
                    record.settle(record.id.task(n), lease, &Outcome::Release, now, random);
                }
            } else if listed.contains(&lease) {
                record.fall(lease, Fall::WorkerLost, now, random);
            } else {
                continue;
            }
            changed = true;
        }
        changed
    }
}
