//! Whether the workers that hold leases live, judged by their heartbeats.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Findings, Sweeper};
use crate::error::Result;
use crate::id::WorkerId;
use crate::keys;
use crate::store::Got;
use crate::time::Timestamp;
use crate::worker::roster::Roster;
use crate::worker::shared::Shared;

/// A holder whose last heartbeat is older has missed one: it is watched until it beats again, or counts as dead.
/// Together with the time between two sweeps this is less than the age at which it does.
const SUSPECT: Duration = Duration::from_secs(18);
/// Most holders watched between sweeps.
const PEERS: usize = 64;
/// A registration this many times as old as a stale one is taken off the list.
const FORGOTTEN: u32 = 10;
/// How far the watchers of one worker are spread, so that they do not all sweep at once.
const SPREAD: Duration = Duration::from_secs(2);

impl Shared {
    /// Looks at the heartbeats that are due; whether one of them is stale.
    pub(super) async fn check_peers(&self, sweeper: &mut Sweeper) -> Result<bool> {
        let now = self.now();
        let due: Vec<WorkerId> = sweeper.peers.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
        let mut stale = false;
        for peer in due {
            let answer = self.desk().bucket.get(&keys::worker(peer), None).await?;
            sweeper.peers.remove(&peer);
            if let Got::Found(object) = answer.value {
                stale |= self.is_stale(object.last_modified, answer.at);
                self.watch(sweeper, peer, object.last_modified, answer.at);
            }
        }
        Ok(stale)
    }

    /// Watches a holder that has missed a beat and is not lost.
    fn watch(&self, sweeper: &mut Sweeper, holder: WorkerId, beat: Timestamp, at: Timestamp) {
        let suspicious = at.since(beat) > SUSPECT && !self.is_stale(beat, at);
        if suspicious && sweeper.peers.len() < PEERS {
            // The clock may show the same second again.
            let next = self.deadline(beat).max(self.now().after(Duration::from_secs(1)));
            sweeper.peers.insert(holder, next);
        } else {
            sweeper.peers.remove(&holder);
        }
    }

    /// Both times are the server's: no other clock has a say in whether a worker lives.
    fn is_stale(&self, beat: Timestamp, server_now: Timestamp) -> bool {
        let error = self.settings().variant.clock_error_ms();
        Timestamp(server_now.0 + error) > beat.after(self.settings().stale)
    }

    fn deadline(&self, beat: Timestamp) -> Timestamp {
        beat.after(self.settings().stale).after(self.desk().bucket.time_margin()).after(self.jittered(SPREAD))
    }

    /// Finds out which of the holders are lost, and whom to watch until the next sweep.
    pub(super) fn judge_workers(
        &self,
        sweeper: &mut Sweeper,
        roster: &Roster,
        holders: &BTreeSet<WorkerId>,
        findings: &mut Findings,
    ) {
        let (beats, at) = (&roster.beats, roster.at);
        // A registration that is gone says nothing by itself: it may have been deleted while its worker was suspended.
        // Then the worker is as old as its youngest lease.
        let mut leased: BTreeMap<WorkerId, Timestamp> = BTreeMap::new();
        for (entry, written) in findings.records.values().flatten() {
            let youngest = leased.entry(entry.worker).or_insert(*written);
            *youngest = (*youngest).max(*written);
        }
        for id in holders {
            let sign_of_life = beats.get(id).or_else(|| leased.get(id).filter(|_| roster.complete)).copied();
            if sign_of_life.is_some_and(|beat| self.is_stale(beat, at)) {
                findings.lost.insert(*id);
            }
            if let Some(beat) = beats.get(id) {
                self.watch(sweeper, *id, *beat, at);
            }
        }
        if findings.whole {
            let forgotten = beats
                .iter()
                .filter(|(id, beat)| !holders.contains(id) && at > beat.after(self.settings().stale * FORGOTTEN));
            self.desk().deleter.delete(forgotten.map(|(id, _)| keys::worker(*id)));
        }
    }
}
