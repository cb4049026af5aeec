//! Counting who works here, from the registrations.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, stream};
use tokio::time::Instant;

use super::fleet::Member;
use super::registry::Registration;
use super::shared::Shared;
use crate::error::Result;
use crate::id::WorkerId;
use crate::keys;
use crate::limits;
use crate::store::Got;
use crate::time::Timestamp;

/// Pages of registrations read.
const PAGES: usize = 10;
/// Registrations read at the same time.
const READS_IN_FLIGHT: usize = 16;
/// Registrations read in one count; the others may work any type until the next.
const READS: usize = 256;

/// The registrations as they are listed.
#[derive(Debug, Default)]
pub struct Roster {
    /// When each worker has beaten last.
    pub beats: BTreeMap<WorkerId, Timestamp>,
    /// Server time of the listing.
    pub at: Timestamp,
    /// It holds all of them.
    pub complete: bool,
}

impl Shared {
    /// Lists the registrations.
    ///
    /// # Errors
    /// The store's.
    pub async fn read_roster(&self) -> Result<Roster> {
        let (mut roster, mut after) = (Roster::default(), None::<String>);
        for _ in 0..PAGES {
            let page = self.desk().bucket.list(keys::WORKERS, after.as_deref(), limits::PAGE).await?;
            roster.at = page.at;
            let parsed =
                page.value.entries.iter().map(|listed| (keys::parse_worker(&listed.key), listed.last_modified));
            roster.beats.extend(parsed.filter_map(|(id, beat)| id.map(|id| (id, beat))));
            if !page.value.more {
                roster.complete = true;
                break;
            }
            // A page without entries that says there are more cannot be gone on from: then some are missing.
            let Some(last) = page.value.entries.last() else { break };
            after = Some(last.key.clone());
        }
        Ok(roster)
    }

    /// Counts the workers; whether they are others than before.
    ///
    /// # Errors
    /// The store's.
    pub async fn recount(&self) -> Result<bool> {
        let roster = self.read_roster().await?;
        Ok(self.take_count(&roster).await)
    }

    /// Takes note of who lives, and asks those that are new what they work, and whether they take tasks; also those that did
    /// not, or may not. Whether they are others than before.
    pub async fn take_count(&self, roster: &Roster) -> bool {
        let (before, settings) = (self.fleet(), self.settings());
        let leavers = std::mem::take(&mut self.lock().leavers);
        let living = roster
            .beats
            .iter()
            .filter(|(id, beat)| **id != self.id && roster.at.since(**beat) <= settings.silence(true));
        let mut members: BTreeMap<WorkerId, Member> = living
            .map(|(id, beat)| {
                let known = before.others().get(id);
                let (types, takes) = known.map_or((None, true), |member| (member.types.clone(), member.takes));
                (*id, Member { types, takes, fresh: roster.at.since(*beat) <= settings.stale })
            })
            .collect();
        let in_doubt = |id: &WorkerId, member: &Member| member.types.is_none() || !member.takes || leavers.contains(id);
        let unknown: Vec<WorkerId> =
            members.iter().filter(|(id, member)| in_doubt(id, member)).map(|(id, _)| *id).take(READS).collect();
        let reads = stream::iter(unknown).map(|id| async move { (id, self.read_registration(id).await) });
        for (id, read) in reads.buffered(READS_IN_FLIGHT).collect::<Vec<_>>().await {
            if let Some((member, registration)) = members.get_mut(&id).zip(read) {
                let types = registration.types.iter().map(|kind| keys::type_hash(kind)).collect();
                (member.types, member.takes) = (Some(Arc::new(types)), registration.takes_tasks());
            }
        }
        let changed = !members.keys().eq(before.others().keys());
        self.set_fleet(before.with(members));
        self.lock().counted = Some(Instant::now());
        changed
    }

    /// What a worker says of itself, if that can be learnt.
    async fn read_registration(&self, id: WorkerId) -> Option<Registration> {
        let Got::Found(object) = self.desk().bucket.get(&keys::worker(id), None).await.ok()?.value else { return None };
        serde_json::from_slice(&object.body).ok()
    }
}
