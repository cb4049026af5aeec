//! Rounds: what a body did, stored in one commit.

use std::sync::Arc;

use super::super::settle::{Verdict, WorkOutcome};
use super::{Driving, Shared};
use crate::error::{Error, Result};
use crate::id::{LeaseId, TaskId};
use crate::keys;
use crate::queue::check_payload;
use crate::record::{Advance, Json, Outcome};
use crate::workflow::driver::{After, BodyEnd, Round, Said, Start, Turn};
use crate::workflow::entry::Kind;
use crate::workflow::model::{Millis, Op};
use crate::workflow::status::RunStatus;

/// Where a run stands after a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// It is still driven here.
    Running,
    /// It waits without a driver: let its body go.
    Parked,
    /// It has ended.
    Ended,
    /// Its body begins anew.
    Continued,
}

/// What came of a turn.
#[derive(Clone, Debug)]
pub struct Advanced {
    /// Whether there was anything to store.
    pub stored: bool,
    /// Where the run stands.
    pub state: RunState,
    /// Its status.
    pub status: RunStatus,
    /// Steps to start: their starts are counted.
    pub start: Vec<Start>,
    /// Steps whose functions are to be stopped.
    pub stop: Vec<Op>,
    /// Server time.
    pub now: Millis,
}

impl Shared {
    /// Stores what a body did. Whatever is to be started is in the answer, and not before.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if the run is not held any more: stop everything and drop it. [`Error::Invalid`] if the turn is no
    /// legal continuation: nothing has changed.
    pub async fn advance_run(worker: &Arc<Self>, id: TaskId, lease: LeaseId, turn: Turn) -> Result<Advanced> {
        if let Some(BodyEnd::Completed(payload) | BodyEnd::Continued(payload)) = &turn.end {
            check_payload("output", payload)?;
        }
        let calls =
            |said: &&Said| matches!(said, Said::Ask(ask) if matches!(ask.what.kind(), Kind::Call | Kind::Child));
        if let Some(Said::Ask(ask)) = turn.entries.iter().find(calls) {
            return Err(Error::Invalid(format!(
                "{:?} is a {}, and this version of the engine runs steps, waits and callbacks only",
                ask.place.name,
                ask.what.kind().name()
            )));
        }
        let got_on = turn.entries.iter().any(|said| matches!(said, Said::Told(Some(Kind::Step), _)));
        let driving = worker.driving(id, lease)?;
        let round = driving.lock().driver.advance(turn, worker.now().into())?;
        Self::store_round(worker, id, &driving, round, got_on).await
    }

    /// Pauses a run whose code asks for something else than its journal has.
    ///
    /// # Errors
    /// As [`Self::advance_run`].
    pub async fn mismatched_run(worker: &Arc<Self>, id: TaskId, lease: LeaseId, mismatch: Json) -> Result<Advanced> {
        check_payload("mismatch", &mismatch)?;
        let driving = worker.driving(id, lease)?;
        let round = driving.lock().driver.mismatch(mismatch, worker.now().into())?;
        Self::store_round(worker, id, &driving, round, false).await
    }

    /// Gives a run back for any worker to take. What has ended is kept, and steps that were stopped count as not started.
    ///
    /// # Errors
    /// As [`Self::advance_run`].
    pub async fn release_run(worker: &Arc<Self>, id: TaskId, lease: LeaseId) -> Result<()> {
        let driving = worker.driving(id, lease)?;
        let round = driving.lock().driver.release(worker.now().into())?;
        let advance = Advance { round, got_on: false, releases: true, stowed: None };
        let verdict = Self::commit_round(worker, id, lease, advance).await;
        worker.let_driver_go(id, lease);
        match verdict {
            Verdict::Committed { .. } => Ok(()),
            other => Err(not_stored(id, other)),
        }
    }

    async fn store_round(
        worker: &Arc<Self>,
        id: TaskId,
        driving: &Arc<Driving>,
        round: Option<Round>,
        got_on: bool,
    ) -> Result<Advanced> {
        let Some(round) = round else {
            let (status, now) = (driving.lock().driver.run().status, worker.now().into());
            let (start, stop) = (Vec::new(), Vec::new());
            return Ok(Advanced { stored: false, state: RunState::Running, status, start, stop, now });
        };
        let (ends, next_input) = (round.end.is_some(), round.input.clone());
        let advance = Advance { round, got_on, releases: false, stowed: None };
        let verdict = if worker.settings().variant.starts_early() {
            let (committer, lease) = (Arc::clone(worker), driving.lease);
            let stays = !ends && advance.round.park.is_none();
            worker.spawner.spawn(async move {
                Self::commit_round(&committer, id, lease, advance).await;
            });
            if stays {
                Verdict::Advanced { woken: false }
            } else {
                Verdict::Committed { status: crate::record::TaskStatus::Running, available_at: None }
            }
        } else {
            Self::commit_round(worker, id, driving.lease, advance).await
        };
        let mut state = driving.lock();
        let (stays, woken) = match &verdict {
            Verdict::Committed { .. } => (false, false),
            Verdict::Advanced { woken } => (true, *woken),
            Verdict::Woken | Verdict::LeaseLost(_) | Verdict::Refused(_) => {
                state.driver.lost();
                drop(state);
                worker.let_driver_go(id, driving.lease);
                return Err(not_stored(id, verdict));
            }
        };
        let after = state.driver.committed(!stays)?;
        if woken {
            state.driver.woken();
        }
        if let Some(input) = next_input {
            state.about.input = input;
            (state.about.input_ref, state.about.input_files) = (None, Vec::new());
        }
        let status = state.driver.run().status;
        let consumed: Vec<String> = after.delete.clone();
        consumed.iter().for_each(|path| drop(state.read.remove(path)));
        drop(state);
        let After { start, stop, delete, drop: dropped, continued, .. } = after;
        worker.delete_consumed(id, delete);
        worker.desk().deleter.delete(dropped.iter().map(|key| keys::result(id.record(), key)));
        if !stays {
            worker.let_driver_go(id, driving.lease);
        }
        let state = match (stays, ends, continued) {
            (_, _, Some(_)) => RunState::Continued,
            (true, ..) => RunState::Running,
            (false, true, None) => RunState::Ended,
            (false, false, None) => RunState::Parked,
        };
        Ok(Advanced { stored: true, state, status, start, stop, now: worker.now().into() })
    }

    async fn commit_round(worker: &Arc<Self>, id: TaskId, lease: LeaseId, advance: Advance) -> Verdict {
        let outcome = WorkOutcome { id, lease, outcome: Outcome::Advance(Box::new(advance)) };
        let settled = Self::settle(worker, vec![outcome]).await.pop();
        settled.map_or_else(|| Verdict::LeaseLost("it was not stored".into()), |settled| settled.verdict)
    }
}

fn not_stored(id: TaskId, verdict: Verdict) -> Error {
    match verdict {
        Verdict::LeaseLost(message) => Error::LeaseLost(message),
        Verdict::Refused(message) => Error::Internal(format!("a round of run {id} was refused: {message}")),
        Verdict::Woken | Verdict::Advanced { .. } | Verdict::Committed { .. } => {
            Error::Internal(format!("a round of run {id} was stored otherwise than asked"))
        }
    }
}
