//! Claiming: one record, read, put under a lease, committed.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::candidates::{Candidate, Source};
use super::fleet::Work;
use super::hold::Slot;
use super::settle::WorkOutcome;
use super::shared::{Phase, Shared};
use crate::error::Error;
use crate::id::{CommitId, LeaseId};
use crate::keys::{self, ReadyEntry};
use crate::limits;
use crate::record::{
    BatchRecord, Claimed, EntryState, Extra, Lease, Options, Task, TaskStatus, is_overdue, ready_entry_state,
};
use crate::time::Timestamp;
use crate::transact::{Stored, Transacted};

/// How long an entry whose record another worker just changed is left alone.
const STEP_ASIDE: Duration = Duration::from_millis(100);
/// How long a record that cannot be read is left alone.
const SET_ASIDE: Duration = Duration::from_mins(10);

/// So many of the last 16 claims that somebody else was first at are too many.
const BEATEN: u32 = 6;
/// Steps of patience until greed may grow again.
const GREED_GROWS: u32 = 4;

/// Workers that are asked at one count whether they take tasks.
const MOST_LEAVERS: usize = 8;

/// What to do with a candidate after a claim.
enum Next {
    /// Nothing; it was used up, or leads nowhere.
    Forget,
    /// Look at it again, but not before this moment.
    Again(Timestamp),
    /// It was only a hint: look into the index for what there is.
    List,
}

/// A claim under way. However it ends, what was reserved for it is free again, and its candidate known.
struct Claiming {
    worker: Arc<Shared>,
    candidate: Candidate,
    most: usize,
    next: Option<Next>,
}

impl Claiming {
    const fn ends(&mut self, next: Next) {
        self.next = Some(next);
    }
}

impl Drop for Claiming {
    fn drop(&mut self) {
        let (worker, candidate) = (&self.worker, self.candidate);
        let record = candidate.entry.record;
        let next = self.next.take().unwrap_or_else(|| {
            if std::thread::panicking() {
                let message = format!("a claim panicked; please report it; set aside for {} s", SET_ASIDE.as_secs());
                worker.report(&keys::record(record), message);
            }
            Next::Again(worker.now().after(SET_ASIDE))
        });
        match next {
            Next::Forget => {
                let now = worker.now();
                worker.lock().candidates.use_up(candidate.entry, now);
            }
            Next::Again(at) => {
                worker.lock().candidates.done(&candidate.entry);
                worker.add_candidate(candidate, at);
            }
            Next::List => {
                let now = worker.now();
                let mut inner = worker.lock();
                inner.candidates.done(&candidate.entry);
                inner.candidates.refuse(now);
            }
        }
        {
            let mut inner = worker.lock();
            inner.reserved -= self.most;
            inner.claims -= 1;
            inner.hold.tidy(record);
        }
        worker.wake.notify_one();
        worker.changed.notify_waiters();
    }
}

impl Shared {
    /// Claims up to `most` tasks of the record a candidate leads to; they were reserved before.
    pub fn claim(self: Arc<Self>, candidate: Candidate, most: usize) -> impl Future<Output = ()> + Send {
        let mut claiming = Claiming { worker: self, candidate, most, next: None };
        async move {
            let next = claiming.worker.claim_candidate(&candidate, most).await;
            claiming.ends(next);
        }
    }

    async fn claim_candidate(self: &Arc<Self>, candidate: &Candidate, most: usize) -> Next {
        let record = candidate.entry.record;
        let slot = self.lock().hold.slot(record);
        match self.try_claim(candidate, &slot, most).await {
            Ok(next) => next,
            Err(error @ (Error::Corrupt(_) | Error::Layout(_))) => {
                self.report(&keys::record(record), format!("{error}; set aside for {} s", SET_ASIDE.as_secs()));
                Next::Again(self.now().after(SET_ASIDE))
            }
            Err(error) => {
                self.warn("a claim failed, trying again", &error);
                self.doubt_leases();
                Next::Again(self.now().after(Duration::from_secs(1)))
            }
        }
    }

    #[expect(clippy::significant_drop_tightening, reason = "commits of one record go one after the other")]
    async fn try_claim(self: &Arc<Self>, candidate: &Candidate, slot: &Slot, most: usize) -> Result<Next, Error> {
        let entry = &candidate.entry;
        let mut cached = slot.stored.lock().await;
        let is_stale = |stored: &Stored| {
            check_kinship(entry, &stored.record).is_ok()
                && ready_entry_state(entry, &stored.record) == EntryState::Stale
        };
        if cached.as_deref().is_some_and(is_stale) {
            // Whatever has happened to the record since, a stale entry stays stale.
            self.desk().deleter.delete([entry.to_string()]);
            return Ok(Next::Forget);
        }
        let leads_here = |record: &BatchRecord| ready_entry_state(entry, record) == EntryState::Current;
        let trusted = cached.take().filter(|stored| leads_here(&stored.record));
        let stored = match trusted {
            Some(stored) => *stored,
            None => match self.desk().load(entry.record).await? {
                Some(stored) => stored,
                None => return self.look_into_nowhere(candidate).await,
            },
        };
        self.notice_changes(&stored.record);
        check_kinship(entry, &stored.record)?;
        match ready_entry_state(entry, &stored.record) {
            EntryState::Current if self.options.types.contains(&stored.record.kind) => {}
            // Another type with the same hash.
            EntryState::Current => return Ok(Next::Again(self.now().after(SET_ASIDE))),
            EntryState::Ahead => return self.look_ahead(candidate, stored).await,
            EntryState::Stale => {
                self.desk().deleter.delete([entry.to_string()]);
                self.note_claim(candidate, false);
                return Ok(Next::Forget);
            }
        }
        let now = self.now();
        if stored.record.tasks.iter().any(|task| looks_for_others(task, now)) {
            self.core.look_after(entry.record).await?;
            return Ok(Next::Again(now));
        }
        // The answer to the reading may have told that this machine was suspended.
        self.ensure_fresh_beat().await?;
        let lease = LeaseId::random(self.entropy());
        let worker = self.id;
        let mut too_late = 0;
        let claimed = self
            .desk()
            .transact(stored, false, |record, now| {
                let expires_at = now.after(record.longest_timeout()).after(limits::LEASE_SLACK);
                let holder = Lease { worker, expires_at, extra: Extra::new() };
                if self.settings().variant.claims_late() {
                    return claim_however_late(record, |record| record.claim(lease, holder, now, most));
                }
                too_late = record.expire(now);
                let claimed = record.claim(lease, holder, now, most);
                (too_late > 0 || !claimed.is_empty()).then_some(claimed)
            })
            .await?;
        if matches!(claimed, Transacted::Done(..)) {
            self.lock().ended.add(TaskStatus::Expired, u64::try_from(too_late).unwrap_or(0));
        }
        match claimed {
            Transacted::Done(claimed, Some(stored)) => {
                self.note_claim(candidate, true);
                let filled = self.fill_inputs(&stored, &claimed).await;
                let next = self.take_in(entry, filled.as_ref().unwrap_or(&stored), lease, &claimed);
                *cached = Some(stored);
                Ok(next)
            }
            Transacted::Done(claimed, None) => {
                // Somebody committed right over it; the lease is in, so read the tasks from what is there now.
                let Some(stored) = self.desk().load(entry.record).await? else { return Ok(Next::Forget) };
                let filled = self.fill_inputs(&stored, &claimed).await;
                Ok(self.take_in(entry, filled.as_ref().unwrap_or(&stored), lease, &claimed))
            }
            Transacted::Unchanged(stored) => Ok(again_when_due(entry, &stored.record, self.now())),
            Transacted::Overtaken => {
                self.note_claim(candidate, false);
                Ok(Next::Again(self.now().after(self.jittered(STEP_ASIDE))))
            }
            Transacted::Missing => Ok(Next::Forget),
            Transacted::Unknown(claimed, commit, error) => {
                self.warn("a claim's outcome is unknown, looking again", &error);
                self.resolve_doubt(entry, lease, commit, &claimed).await
            }
        }
    }

    /// Takes in what was claimed; tells when the candidate is worth another look.
    fn take_in(self: &Arc<Self>, entry: &ReadyEntry, stored: &Stored, lease: LeaseId, claimed: &[Claimed]) -> Next {
        let record = &stored.record;
        // Tasks that were taken back between the commit and a later read are not ours any more.
        let ours: Vec<Claimed> = claimed
            .iter()
            .copied()
            .filter(|claimed| record.tasks.get(usize::from(claimed.n)).is_some_and(|task| task.lease == Some(lease)))
            .collect();
        let phase = {
            let mut inner = self.lock();
            inner.hold.adopt(record, lease, &ours, Instant::now());
            inner.claimed = true;
            inner.phase
        };
        self.pulse.notify_one();
        if phase != Phase::Running {
            let fetched = self.take_fetched(Duration::ZERO);
            let worker = Arc::clone(self);
            self.spawner.spawn(async move {
                Self::settle(&worker, fetched.into_iter().map(WorkOutcome::release).collect()).await;
            });
        }
        let horizon = self.horizon();
        let mut next = Next::Forget;
        for current in record.claim_entries().filter(|current| current.due <= horizon) {
            if current == *entry {
                next = Next::Again(Timestamp(0));
            } else {
                self.add_candidate(Candidate::new(current, Source::Nearby), Timestamp(0));
            }
        }
        next
    }

    /// After a commit whose outcome is unknown: looks once more. If it is still unknown, the sweep will find out.
    async fn resolve_doubt(
        self: &Arc<Self>,
        entry: &ReadyEntry,
        lease: LeaseId,
        commit: CommitId,
        claimed: &[Claimed],
    ) -> Result<Next, Error> {
        let Some(stored) = self.desk().load(entry.record).await? else { return Ok(Next::Forget) };
        if stored.record.has_commit(commit) || stored.record.leases.contains_key(&lease) {
            let filled = self.fill_inputs(&stored, claimed).await;
            return Ok(self.take_in(entry, filled.as_ref().unwrap_or(&stored), lease, claimed));
        }
        self.doubt_leases();
        Ok(Next::Again(self.now().after(limits::GRACE)))
    }

    /// Remembers whether this worker was the first at a candidate.
    fn note_claim(&self, candidate: &Candidate, first: bool) {
        let now = self.now();
        let entry = &candidate.entry;
        let leaver = (first && candidate.left_over)
            .then(|| self.fleet().first(Work::Record(entry.record, entry.type_hash)))
            .flatten();
        let mut inner = self.lock();
        if candidate.left_over {
            if inner.leavers.len() < MOST_LEAVERS {
                inner.leavers.extend(leaver);
            }
            let every = self.settings().patience * GREED_GROWS;
            inner.greed_for(candidate.source).note(first, Instant::now(), every);
            return;
        }
        inner.beaten = (inner.beaten << 1) | u16::from(!first);
        if inner.beaten.count_ones() >= BEATEN {
            // More workers reach for the same records than this one knows of.
            inner.beaten = 0;
            inner.candidates.give_up_due(now);
            inner.recount = true;
        }
    }

    /// An entry without a record: a submit under way, or one that was abandoned. After the grace period its place is
    /// taken by a void record, so that a late commit of it cannot land; only then is the entry surely stale.
    async fn look_into_nowhere(&self, candidate: &Candidate) -> Result<Next, Error> {
        let (now, written) = (self.now(), candidate.source.written());
        if candidate.source == Source::Told {
            return Ok(Next::List);
        }
        if !written.is_some_and(|written| is_overdue(written, now)) {
            return Ok(Next::Again(soon(written, now)));
        }
        let commit = CommitId::random(self.entropy());
        let entry = &candidate.entry;
        let mut void = BatchRecord::new(entry.record, String::new(), Options::default(), now, Vec::new(), commit);
        void.void = true;
        void.seq = entry.seq;
        if self.desk().create(&mut void).await? {
            tracing::info!(record = %entry.record, "voided a submit that was abandoned half way");
            self.desk().deleter.delete([entry.to_string()]);
            return Ok(Next::Forget);
        }
        Ok(Next::Again(now))
    }

    /// An entry that its record has yet to follow: a commit under way. If nothing runs in the record that would commit
    /// again, it was a replay, and after the grace period one that was abandoned half way: then the entry's number is
    /// passed over, so that a late commit of it cannot land.
    async fn look_ahead(&self, candidate: &Candidate, stored: Stored) -> Result<Next, Error> {
        let (entry, now, written) = (&candidate.entry, self.now(), candidate.source.written());
        if candidate.source == Source::Told {
            return Ok(Next::List);
        }
        let overdue = written.is_some_and(|written| is_overdue(written, now));
        if !(overdue && stored.record.is_finished()) {
            return Ok(Next::Again(soon(written, now)));
        }
        match self.desk().transact(stored, false, |record, _| record.pass_over(entry.seq)).await? {
            Transacted::Done((), _) => {
                tracing::info!(record = %entry.record, "passed over a replay that was abandoned half way");
                self.desk().deleter.delete([entry.to_string()]);
                Ok(Next::Forget)
            }
            _ => Ok(Next::Again(soon(written, now))),
        }
    }

    pub fn jittered(&self, longest: Duration) -> Duration {
        longest.mul_f64(self.entropy().unit().mul_add(0.5, 0.5))
    }
}

/// The entry that a record names says the record's type and the priority of its pending tasks. Where nothing but these
/// differs somebody else had a hand in it: deleting the entry as stale might lose the tasks.
fn check_kinship(entry: &ReadyEntry, record: &BatchRecord) -> Result<(), Error> {
    let named = if entry.parked { record.parked_entry() } else { record.ready_entry() };
    let Some(named) = named else { return Ok(()) };
    let alike = ReadyEntry { priority: entry.priority, type_hash: entry.type_hash, ..named };
    // With another due time it belongs to a replay that came second.
    if named == *entry || alike != *entry {
        return Ok(());
    }
    Err(Error::Corrupt(format!(
        "{} and its index entry {entry} do not agree on type and priority; look at both",
        keys::record(record.id)
    )))
}

/// Whether it is time to look whether all that a task waits for know of it.
fn looks_for_others(task: &Task, now: Timestamp) -> bool {
    task.status == TaskStatus::Waiting && task.awaits_others() && task.is_look_due(now)
}

/// When to look again for a record that its entry is ahead of: the commit is most likely on its way, so at first at
/// once, and then after as long again as it has been missing.
fn soon(written: Option<Timestamp>, now: Timestamp) -> Timestamp {
    // What was not listed was announced after its commit: then something is wrong, and there is no haste.
    let age = written.map_or(limits::GRACE, |written| now.since(written));
    now.after(age.clamp(STEP_ASIDE, limits::GRACE))
}

/// Nothing was due after all: look again when something is, and not at once in any case.
fn again_when_due(entry: &ReadyEntry, record: &BatchRecord, now: Timestamp) -> Next {
    let earliest = now.after(STEP_ASIDE);
    let named = if entry.parked { &record.parked } else { &record.ready };
    named.as_ref().map_or(Next::Forget, |ready| Next::Again(ready.due.max(earliest)))
}

/// The broken variant that never looks whether it is too late.
fn claim_however_late(
    record: &mut BatchRecord,
    claim: impl FnOnce(&mut BatchRecord) -> Vec<Claimed>,
) -> Option<Vec<Claimed>> {
    let expiries: Vec<_> = record.tasks.iter_mut().map(|task| task.expires_at.take()).collect();
    let claimed = claim(record);
    record.tasks.iter_mut().zip(expiries).for_each(|(task, at)| task.expires_at = at);
    (!claimed.is_empty()).then_some(claimed)
}
