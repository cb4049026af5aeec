//! Storing outcomes. Those of one record that finish together are committed together.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::hold::Slot;
use super::progress;
use super::shared::Shared;
use super::stow::{Stowage, check_output};
use crate::error::{Error, Result};
use crate::id::{CommitId, LeaseId, RecordId, TaskId};
use crate::limits;
use crate::record::{BatchRecord, Outcome, Settlement, TaskStatus};
use crate::tasks::describe;
use crate::time::Timestamp;
use crate::transact::{Stored, Transacted};

/// The first and the longest pause before outcomes that could not be stored are tried again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What is said of outcomes that nobody will store any more.
const UNSTORED: &str = "the worker was stopped, or has failed, before the outcome was stored";

/// Says, as long as it lives, that somebody commits a record's outcomes.
struct Busy<'a>(&'a Slot);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut outbox = self.0.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        outbox.busy = false;
        // There are any only if the committing was cut short.
        outbox.waiting.clear();
    }
}

/// What a handler's attempt came to, and whose it was.
#[derive(Clone, Debug)]
pub struct WorkOutcome {
    /// The task.
    pub id: TaskId,
    /// The lease it was handed out under.
    pub lease: LeaseId,
    /// What it came to.
    pub outcome: Outcome,
}

impl WorkOutcome {
    /// Gives a task back.
    #[must_use]
    pub const fn release((id, lease): (TaskId, LeaseId)) -> Self {
        Self { id, lease, outcome: Outcome::Release }
    }
}

/// What became of one outcome.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The task.
    pub id: TaskId,
    /// The decision.
    pub verdict: Verdict,
}

/// The decision on one outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is stored.
    Committed {
        /// The task's new status.
        status: TaskStatus,
        /// When it may start again, if it is pending.
        available_at: Option<Timestamp>,
    },
    /// It was to be parked, and was woken meanwhile: the lease is still held, look again.
    Woken,
    /// It is a run that got on, and the lease is still held.
    Advanced {
        /// Whether it was woken meanwhile, and is to look again.
        woken: bool,
    },
    /// The lease is not this worker's any more: the result was dropped.
    LeaseLost(String),
    /// It cannot be stored as it is; the lease is still held, settle it otherwise.
    Refused(String),
}

fn lease_lost(id: TaskId) -> Verdict {
    Verdict::LeaseLost(format!("task {id} is not under this lease any more; its result was dropped"))
}

impl Shared {
    /// Stores outcomes; answers in their order.
    pub async fn settle(worker: &Arc<Self>, outcomes: Vec<WorkOutcome>) -> Vec<Settled> {
        let mut answers = Vec::with_capacity(outcomes.len());
        let mut records = BTreeMap::new();
        for outcome in outcomes {
            let id = outcome.id;
            match worker.enqueue(outcome) {
                Ok((slot, answer)) => {
                    records.insert(id.record(), slot);
                    answers.push((id, Ok(answer)));
                }
                Err(verdict) => answers.push((id, Err(verdict))),
            }
        }
        for (id, slot) in records {
            worker.start_committing(id, slot);
        }
        join_all(answers.into_iter().map(|(id, answer)| async move {
            let verdict = match answer {
                Ok(answer) => answer.await.unwrap_or_else(|_| Verdict::LeaseLost(UNSTORED.into())),
                Err(verdict) => verdict,
            };
            Settled { id, verdict }
        }))
        .await
    }

    /// Puts an outcome on its way; or says at once why not.
    fn enqueue(&self, outcome: WorkOutcome) -> std::result::Result<(Arc<Slot>, oneshot::Receiver<Verdict>), Verdict> {
        check_output(&outcome)?;
        if outcome.id.is_run() && !matches!(outcome.outcome, Outcome::Advance(_) | Outcome::Release) {
            return Err(Verdict::Refused("it is a run: use run.advance; the only outcome here is a release".into()));
        }
        let mut inner = self.lock();
        let held = inner.hold.tasks.get_mut(&outcome.id).filter(|held| held.lease == outcome.lease && !held.settling);
        match held {
            Some(held) => held.settling = true,
            None if self.core.settings.variant.ignores_leases() => {}
            None => return Err(lease_lost(outcome.id)),
        }
        // Also what was not handed out yet can be settled: it was given back.
        inner.hold.unfetch(outcome.id);
        let slot = inner.hold.slot(outcome.id.record());
        drop(inner);
        let (answer, answered) = oneshot::channel();
        slot.outbox.lock().unwrap_or_else(PoisonError::into_inner).waiting.push((outcome, answer));
        Ok((slot, answered))
    }

    fn start_committing(self: &Arc<Self>, id: RecordId, slot: Arc<Slot>) {
        let busy = {
            let mut outbox = slot.outbox.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut outbox.busy, true)
        };
        if !busy {
            let worker = Arc::clone(self);
            self.spawner.spawn(async move {
                worker.commit_outbox(id, &slot).await;
                drop(slot);
                worker.lock().hold.tidy(id);
            });
        }
    }

    /// Commits a record's outcomes until none is left.
    async fn commit_outbox(self: &Arc<Self>, id: RecordId, slot: &Slot) {
        let busy = Busy(slot);
        loop {
            self.await_company(id).await;
            let batch = {
                let mut outbox = slot.outbox.lock().unwrap_or_else(PoisonError::into_inner);
                if outbox.waiting.is_empty() {
                    // Under the lock, so that no outcome can slip in between.
                    outbox.busy = false;
                    std::mem::forget(busy);
                    return;
                }
                std::mem::take(&mut outbox.waiting)
            };
            let (outcomes, answers): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            // Behind locks that are not held over a panic, and a cached revision that is taken out before.
            let verdicts = AssertUnwindSafe(self.commit_outcomes(id, slot, &outcomes)).catch_unwind().await;
            let verdicts = verdicts.unwrap_or_else(|panic| {
                self.give_up(id, &outcomes, &format!("{}; please report it", describe(&*panic)))
            });
            self.forget(&outcomes, &verdicts);
            for (answer, verdict) in answers.into_iter().zip(verdicts) {
                let _ = answer.send(verdict);
            }
        }
    }

    /// Waits a moment for tasks of the same record that still run here; a lone task waits for nobody.
    async fn await_company(&self, id: RecordId) {
        let deadline = Instant::now() + self.settings().settle_linger;
        let step = self.settings().settle_linger / 5;
        loop {
            let company = self.lock().hold.of_record(id).any(|(_, held)| !held.settling);
            if !company || Instant::now() >= deadline {
                return;
            }
            sleep(step).await;
        }
    }

    fn forget(&self, outcomes: &[WorkOutcome], verdicts: &[Verdict]) {
        let mut inner = self.lock();
        for (outcome, verdict) in outcomes.iter().zip(verdicts) {
            if let Verdict::Committed { status, .. } = verdict {
                inner.ended.add(*status, 1);
            }
            if let Verdict::Refused(_) | Verdict::Woken | Verdict::Advanced { .. } = verdict {
                if let Some(held) = inner.hold.tasks.get_mut(&outcome.id) {
                    held.settling = false;
                    // Whoever looks again need not be told of the wake that made it do so.
                    held.told_of_wake &= matches!(verdict, Verdict::Advanced { .. });
                }
            } else if inner.hold.tasks.get(&outcome.id).is_some_and(|held| held.lease == outcome.lease) {
                inner.hold.tasks.remove(&outcome.id);
                inner.drivers.remove(&outcome.id);
                inner.progress.remove(&outcome.id);
            }
        }
        let ran = |(outcome, verdict): &(&WorkOutcome, &Verdict)| {
            matches!(outcome.outcome, Outcome::Complete { .. } | Outcome::CompleteStowed(_) | Outcome::Fail { .. })
                && matches!(verdict, Verdict::Committed { .. })
        };
        let finished = outcomes.iter().zip(verdicts).filter(ran).count();
        inner.rate.add(finished, Instant::now());
        drop(inner);
        self.wake.notify_one();
        self.pulse.notify_one();
        self.changed.notify_waiters();
    }

    /// Commits outcomes, however long it takes: a finished task's result is worth waiting for, and the record says
    /// when it is too late.
    async fn commit_outcomes(self: &Arc<Self>, id: RecordId, slot: &Slot, outcomes: &[WorkOutcome]) -> Vec<Verdict> {
        let mut doubts = Vec::new();
        let mut stowage = Stowage::default();
        let mut pause = FIRST_PAUSE;
        loop {
            match self.try_commit(id, slot, outcomes, &mut stowage, &mut doubts).await {
                Ok(verdicts) => return verdicts,
                Err(error @ (Error::Corrupt(_) | Error::Layout(_))) => {
                    return self.give_up(id, outcomes, &error.to_string());
                }
                Err(error) => {
                    self.warn("outcomes are not stored yet, trying again", &error);
                    sleep(self.jittered(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Lets outcomes go of which another try would not be the better.
    fn give_up(&self, id: RecordId, outcomes: &[WorkOutcome], why: &str) -> Vec<Verdict> {
        let message = format!("the outcome could not be stored: {why}");
        self.report(&crate::keys::record(id), message.clone());
        vec![Verdict::LeaseLost(message); outcomes.len()]
    }

    async fn try_commit(
        self: &Arc<Self>,
        id: RecordId,
        slot: &Slot,
        outcomes: &[WorkOutcome],
        stowage: &mut Stowage,
        doubts: &mut Vec<(CommitId, Vec<Settlement>)>,
    ) -> Result<Vec<Verdict>> {
        let mut cached = slot.stored.lock().await;
        let Some(stored) = self.read_held(id, cached.take()).await? else {
            return Ok(outcomes.iter().map(|outcome| lease_lost(outcome.id)).collect());
        };
        stowage.prepare(self, &stored.record, outcomes).await?;
        let outcomes = stowage.outcomes(outcomes);
        let (ignores_leases, unfenced) =
            (self.settings().variant.ignores_leases(), self.settings().variant.reports_unfenced());
        let reports = self.progress_of(id);
        let (mut landed, mut led_before) = (None, Vec::new());
        let change = |record: &mut BatchRecord, now| {
            led_before = record.claim_entries().collect();
            // A commit of these outcomes whose answer never came may be in after all.
            landed = doubts.iter().find(|(commit, _)| record.has_commit(*commit)).map(|(_, done)| done.clone());
            if landed.is_some() {
                return None;
            }
            // First, while the leases are there: what they last reported travels along.
            progress::apply(record, &reports, unfenced);
            let settlements: Vec<_> =
                outcomes.iter().map(|outcome| self.apply(record, outcome, now, ignores_leases)).collect();
            settlements.iter().any(|done| *done != Settlement::LeaseLost).then_some(settlements)
        };
        let transacted = self.desk().transact(stored, true, change).await?;
        stowage.follow(self).await;
        let settlements = match transacted {
            Transacted::Done(settlements, stored) => {
                self.forget_written(&reports);
                if let Some(stored) = &stored {
                    self.core.show(&stored.record);
                    self.notice_changes(&stored.record);
                    for entry in stored.record.claim_entries().filter(|entry| !led_before.contains(entry)) {
                        self.core.announce(entry);
                    }
                } else {
                    self.core.ring();
                }
                *cached = stored;
                settlements
            }
            Transacted::Unchanged(stored) => {
                self.core.show(&stored.record);
                self.notice_changes(&stored.record);
                *cached = Some(stored);
                // A round may be followed by effects only while its lease lasts.
                let fenced = |(outcome, done): (&WorkOutcome, Settlement)| {
                    let record = cached.as_ref().map(|stored| &stored.record);
                    let held = record.and_then(|record| record.task(outcome.id)?.lease) == Some(outcome.lease);
                    if matches!(done, Settlement::Advanced { .. }) && !held { Settlement::LeaseLost } else { done }
                };
                let landed = landed.unwrap_or_else(|| vec![Settlement::LeaseLost; outcomes.len()]);
                outcomes.iter().zip(landed).map(fenced).collect()
            }
            Transacted::Unknown(settlements, commit, error) => {
                doubts.push((commit, settlements));
                return Err(error);
            }
            Transacted::Missing | Transacted::Overtaken => vec![Settlement::LeaseLost; outcomes.len()],
        };
        let lost = settlements.iter().map(|settlement| *settlement == Settlement::LeaseLost);
        self.let_go_of_outputs(outcomes.iter().zip(lost), cached.as_deref());
        drop(cached);
        Ok(outcomes.iter().zip(settlements).map(|(outcome, settlement)| verdict(outcome.id, settlement)).collect())
    }

    fn apply(&self, record: &mut BatchRecord, outcome: &WorkOutcome, now: Timestamp, any_lease: bool) -> Settlement {
        let current = record.task(outcome.id).and_then(|task| task.lease);
        let lease = if any_lease { current.unwrap_or(outcome.lease) } else { outcome.lease };
        if let Outcome::Park { until } = outcome.outcome
            && self.settings().variant.parks_anyhow()
        {
            return record.park_anyhow(outcome.id, lease, until);
        }
        record.settle(outcome.id, lease, &outcome.outcome, now, self.entropy().unit())
    }

    /// Moves a lease's end, so that the attempt has `by` from now and its outcome can still be stored after it.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if the lease is gone; the store's.
    pub async fn extend(worker: &Arc<Self>, id: TaskId, lease: LeaseId, by: Duration) -> Result<Timestamp> {
        let extended = worker.try_extend(id, lease, by).await;
        worker.lock().hold.tidy(id.record());
        extended
    }

    async fn try_extend(&self, id: TaskId, lease: LeaseId, by: Duration) -> Result<Timestamp> {
        if !self.lock().hold.holds(id, lease) {
            return Err(not_held(id));
        }
        let extend = |record: &mut BatchRecord, now: Timestamp| {
            record.extend(id, lease, now.after(by).after(limits::LEASE_SLACK))
        };
        self.change_held(id.record(), extend).await?.ok_or_else(|| not_held(id))
    }

    /// The revision to commit over: the one that is known here, else what is stored; `None` if the record is gone.
    async fn read_held(&self, id: RecordId, known: Option<Box<Stored>>) -> Result<Option<Stored>> {
        match known {
            Some(stored) => Ok(Some(*stored)),
            None => self.desk().load(id).await,
        }
    }

    /// Changes a record some of whose tasks are held here, in turn with other commits to it; `None` if there was nothing
    /// to change, or the record is gone.
    #[expect(clippy::significant_drop_tightening, reason = "commits of one record go one after the other")]
    pub async fn change_held<T: Send>(
        &self,
        id: RecordId,
        change: impl FnMut(&mut BatchRecord, Timestamp) -> Option<T> + Send,
    ) -> Result<Option<T>> {
        let slot = self.lock().hold.slot(id);
        let mut cached = slot.stored.lock().await;
        let Some(stored) = self.read_held(id, cached.take()).await? else { return Ok(None) };
        match self.desk().transact(stored, true, change).await? {
            Transacted::Done(done, stored) => {
                if let Some(stored) = &stored {
                    self.core.show(&stored.record);
                    self.notice_changes(&stored.record);
                }
                *cached = stored;
                Ok(Some(done))
            }
            Transacted::Unknown(_, _, error) => Err(error),
            Transacted::Unchanged(stored) => {
                self.notice_changes(&stored.record);
                *cached = Some(stored);
                Ok(None)
            }
            Transacted::Missing | Transacted::Overtaken => Ok(None),
        }
    }
}

/// The error for a task that this worker does not hold under the lease it is asked for.
pub fn not_held(id: TaskId) -> Error {
    Error::LeaseLost(format!("task {id} is not under this lease any more"))
}

fn verdict(id: TaskId, settlement: Settlement) -> Verdict {
    match settlement {
        Settlement::Applied { status, available_at } => Verdict::Committed { status, available_at },
        Settlement::Woken => Verdict::Woken,
        Settlement::Advanced { woken } => Verdict::Advanced { woken },
        Settlement::LeaseLost => lease_lost(id),
    }
}
