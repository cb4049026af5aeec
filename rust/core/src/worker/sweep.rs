//! Looking after what others left behind: leases of lost workers, leases past their time, stale entries.
//!
//! Every worker sweeps; there is no leader. Two that do the same thing at the same time are one commit and one
//! refusal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use tokio::time::{Instant, sleep, sleep_until};

use super::shared::{Phase, Shared};
use crate::error::{Error, Result};
use crate::id::{LeaseId, RecordId, WorkerId};
use crate::keys::{self, LeaseEntry};
use crate::limits;
use crate::record::{BatchRecord, EntryState, Fall, Outcome, is_overdue, lease_entry_state};
use crate::store::Got;
use crate::time::Timestamp;
use crate::transact::Transacted;

/// Pages of an index read in one sweep; a longer index is gone on with soon after.
const PAGES: usize = 10;
/// Between the parts of a sweep over an index that is longer.
const GO_ON: Duration = Duration::from_secs(2);
/// Records looked into at the same time.
const IN_FLIGHT: usize = 16;
/// Workers watched between sweeps: each worker watches the next few after itself, so that each is watched by a few.
const PEERS: usize = 3;
/// A registration this many times as old as a stale one is taken off the list.
const FORGOTTEN: u32 = 10;
/// How far the watchers of one worker are spread, so that they do not all sweep at once.
const SPREAD: Duration = Duration::from_secs(2);
/// Between two looks at the registrations of workers that nobody else asks about.
const REGISTRY: u32 = 60;
/// The wait before the same dead peer makes this worker sweep again.
const AGAIN: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Sweeper {
    /// Sweeps so far.
    rounds: u32,
    /// Where the last sweep stopped, if the index was too long for one.
    cursor: Option<String>,
    /// Workers that hold leases, and when each has to have beaten again.
    peers: BTreeMap<WorkerId, Timestamp>,
}

/// What one sweep found in the lease index, and who is lost.
#[derive(Debug, Default)]
struct Findings {
    /// The entries and when they were written, by record.
    records: BTreeMap<RecordId, Vec<(LeaseEntry, Timestamp)>>,
    /// Workers whose heartbeat is stale.
    lost: BTreeSet<WorkerId>,
}

impl Shared {
    /// Sweeps until the worker is stopped.
    pub async fn keep_sweeping(self: Arc<Self>) {
        let mut sweeper = Sweeper::default();
        let mut next_sweep = Instant::now();
        let mut last_sweep = next_sweep;
        while self.lock().phase != Phase::Stopped {
            let now = self.now();
            let next_peer = sweeper.peers.values().min().map(|at| Instant::now() + at.since(now));
            let tick = Instant::now() + AGAIN;
            sleep_until(next_peer.map_or(next_sweep, |at| at.min(next_sweep)).min(tick)).await;
            if self.lock().claimed {
                next_sweep = next_sweep.min(last_sweep + self.settings().busy_sweep);
            }
            let due = Instant::now() >= next_sweep;
            let outcome = if due { Ok(true) } else { self.check_peers(&mut sweeper).await };
            let outcome = match outcome {
                Ok(true) => {
                    // Who is found dead may have left leases anywhere in the index.
                    sweeper.cursor = sweeper.cursor.filter(|_| due);
                    last_sweep = Instant::now();
                    next_sweep = last_sweep + self.settings().sweep;
                    self.lock().claimed = false;
                    let swept = self.sweep(&mut sweeper).await;
                    if sweeper.cursor.is_some() {
                        next_sweep = Instant::now() + self.jittered(GO_ON);
                    }
                    swept
                }
                other => other.map(|_| ()),
            };
            if let Err(error) = outcome {
                self.warn("a sweep failed, trying again", &error);
                let pause = self.jittered(AGAIN);
                next_sweep = next_sweep.min(Instant::now() + pause);
                sleep(pause).await;
            }
        }
    }

    /// Looks at the heartbeats that are due; whether one of them is stale.
    async fn check_peers(&self, sweeper: &mut Sweeper) -> Result<bool> {
        let now = self.now();
        let due: Vec<WorkerId> = sweeper.peers.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
        let mut stale = false;
        for peer in due {
            let answer = self.desk().bucket.get(&keys::worker(peer), None).await?;
            match answer.value {
                Got::Found(object) => {
                    let lost = self.is_stale(object.last_modified, answer.at);
                    stale |= lost;
                    let next = if lost { answer.at.after(AGAIN) } else { self.deadline(object.last_modified) };
                    sweeper.peers.insert(peer, next.max(now.after(Duration::from_secs(1))));
                }
                Got::Missing | Got::NotModified => {
                    sweeper.peers.remove(&peer);
                }
            }
        }
        Ok(stale)
    }

    /// Both times are the server's: no other clock has a say in whether a worker lives.
    fn is_stale(&self, beat: Timestamp, server_now: Timestamp) -> bool {
        let error = self.settings().variant.clock_error_ms();
        Timestamp(server_now.0 + error) > beat.after(self.settings().stale)
    }

    fn deadline(&self, beat: Timestamp) -> Timestamp {
        beat.after(self.settings().stale).after(self.desk().bucket.time_margin()).after(self.jittered(SPREAD))
    }

    async fn sweep(self: &Arc<Self>, sweeper: &mut Sweeper) -> Result<()> {
        // The leases first, then the heartbeats: a worker beats before it claims, so a listed lease of a living
        // worker is always followed by a fresh heartbeat.
        let mut findings = Findings::default();
        let whole = self.list_leases(sweeper, &mut findings).await?;
        let foreign: BTreeSet<WorkerId> =
            findings.records.values().flatten().map(|(entry, _)| entry.worker).filter(|id| *id != self.id).collect();
        let look_at_registry = sweeper.rounds.is_multiple_of(REGISTRY);
        sweeper.rounds = sweeper.rounds.wrapping_add(1);
        if foreign.is_empty() && !look_at_registry {
            sweeper.peers.clear();
        } else {
            self.judge_workers(sweeper, &foreign, &mut findings, whole).await?;
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

    /// Reads the lease index, as far as one sweep goes; whether that was all of it.
    async fn list_leases(&self, sweeper: &mut Sweeper, findings: &mut Findings) -> Result<bool> {
        let from_start = sweeper.cursor.is_none();
        for _ in 0..PAGES {
            let page = self.desk().bucket.list(keys::LEASES, sweeper.cursor.as_deref(), limits::PAGE).await?.value;
            for listed in &page.entries {
                if let Some(entry) = LeaseEntry::parse(&listed.key) {
                    findings.records.entry(entry.record).or_default().push((entry, listed.last_modified));
                }
            }
            sweeper.cursor = page.entries.last().filter(|_| page.more).map(|last| last.key.clone());
            if sweeper.cursor.is_none() {
                return Ok(from_start);
            }
        }
        Ok(false)
    }

    /// Finds out which of the holders are lost, and whom to watch until the next sweep.
    async fn judge_workers(
        &self,
        sweeper: &mut Sweeper,
        holders: &BTreeSet<WorkerId>,
        findings: &mut Findings,
        whole: bool,
    ) -> Result<()> {
        let (mut beats, mut start_after, mut at) = (BTreeMap::new(), None, Timestamp(0));
        for _ in 0..PAGES {
            let page = self.desk().bucket.list(keys::WORKERS, start_after.as_deref(), limits::PAGE).await?;
            at = page.at;
            let parsed =
                page.value.entries.iter().map(|listed| (keys::parse_worker(&listed.key), listed.last_modified));
            beats.extend(parsed.filter_map(|(id, beat)| id.map(|id| (id, beat))));
            start_after = page.value.entries.last().filter(|_| page.value.more).map(|last| last.key.clone());
            if start_after.is_none() {
                break;
            }
        }
        let all_read = start_after.is_none();
        // A registration that is gone says nothing by itself: it may have been deleted while its worker was suspended.
        // Then the worker is as old as its youngest lease.
        let mut leased: BTreeMap<WorkerId, Timestamp> = BTreeMap::new();
        for (entry, written) in findings.records.values().flatten() {
            let youngest = leased.entry(entry.worker).or_insert(*written);
            *youngest = (*youngest).max(*written);
        }
        let sign_of_life = |id: &WorkerId| beats.get(id).or_else(|| leased.get(id).filter(|_| all_read)).copied();
        findings.lost =
            holders.iter().copied().filter(|id| sign_of_life(id).is_some_and(|beat| self.is_stale(beat, at))).collect();
        let alive = |id: &WorkerId| Some((*id, self.deadline(*beats.get(id)?)));
        let after = holders.range(self.id..).chain(holders.range(..self.id));
        sweeper.peers = after.filter(|id| !findings.lost.contains(id)).filter_map(alive).take(PEERS).collect();
        if whole {
            let forgotten = beats
                .iter()
                .filter(|(id, beat)| !holders.contains(id) && at > beat.after(self.settings().stale * FORGOTTEN));
            self.desk().deleter.delete(forgotten.map(|(id, _)| keys::worker(*id)));
        }
        Ok(())
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
        let Some(stored) = self.desk().load(id).await? else {
            // A claim commits over a record it has read; without one none can land any more.
            self.desk().deleter.delete(entries.iter().map(|(entry, _)| entry.to_string()));
            return Ok(());
        };
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
            if let Some(entry) = stored.record.ready_entry() {
                self.core.announce(entry);
            }
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
