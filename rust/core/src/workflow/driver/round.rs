//! A round: what is committed at once, and what is done afterwards.

use super::super::chunks::Chunk;
use super::super::entry::{Kind, What};
use super::super::model::{Millis, Op, Run};
use super::super::state::WishKind;
use super::super::status::RunStatus;
use super::super::wishes::{Ending, Wish, Wishes};
use super::{Driver, Pending, Phase};
use crate::error::{Error, Result};
use crate::id::TaskId;
use crate::record::Json;

/// What one commit makes of a run. The chunks have to be stored before it.
#[derive(Clone, Debug)]
pub struct Round {
    /// The run as it will be, apart from wishes that are not fulfilled.
    pub(super) run: Run,
    /// The run as it must be before.
    pub(super) base: Base,
    /// Wishes that it fulfils.
    pub(super) obeyed: Vec<(WishKind, Wish)>,
    /// Objects that the run will name.
    pub chunks: Vec<Chunk>,
    /// That the driver's task waits from then on.
    pub park: Option<Park>,
    /// That the driver's task ends, and how.
    pub end: Option<Ending>,
    /// That the body begins anew: the driver's task has this input then.
    pub input: Option<Json>,
}

/// By what a round knows the run that it was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Base {
    generation: u64,
    execution: u64,
    retries: u64,
    entries: usize,
}

impl Base {
    pub(super) fn of(run: &Run) -> Self {
        Self { generation: run.generation, execution: run.execution, retries: run.retries, entries: run.journal.len() }
    }
}

/// That a run waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Park {
    /// Until when, at the latest.
    pub until: Option<Millis>,
}

/// What is done once a round is committed.
#[derive(Clone, Debug, Default)]
pub struct After {
    /// Steps to start.
    pub start: Vec<Start>,
    /// Tasks and runs to make sure of.
    pub make: Vec<Make>,
    /// Tasks and runs to call off.
    pub close: Vec<Close>,
    /// Steps whose functions are to be stopped.
    pub stop: Vec<Op>,
    /// Objects of the inbox that are consumed.
    pub delete: Vec<String>,
    /// Chunks that nothing needs any more.
    pub drop: Vec<String>,
    /// Whether the body begins anew, with this as its input.
    pub continued: Option<Json>,
}

/// A step to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Which.
    pub op: Op,
    /// Its number among the step's starts; its report names it.
    pub attempt: u32,
}

/// A task or a run that there must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Make {
    /// The operation that asked.
    pub op: Op,
    /// Which kind it is.
    pub kind: Kind,
    /// The id.
    pub id: TaskId,
    /// Whether one that was called off with its parent is to go on.
    pub revive: bool,
}

/// A task or a run that is to be called off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// The operation that asked for it.
    pub op: Op,
    /// Which kind it is.
    pub kind: Kind,
    /// The id.
    pub id: TaskId,
}

impl Round {
    /// Makes the round's changes to the run as it is stored.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if the stored run is not the one that the round was made from.
    pub fn apply(&self, stored: &mut Run) -> Result<()> {
        if Base::of(stored) != self.base || stored.status.is_ended() {
            return Err(Error::LeaseLost(
                "the run has moved on: somebody else drives it, drop what was prepared".into(),
            ));
        }
        let mut wishes = std::mem::take(&mut stored.wishes);
        if self.end.is_some() {
            wishes = Wishes { extra: wishes.extra, ..Wishes::default() };
        }
        self.obeyed.iter().for_each(|(kind, wish)| wishes.drop_if(*kind, wish));
        if wishes.cancel.is_none() && self.input.is_some() {
            wishes.cancel.clone_from(&self.run.wishes.cancel);
        }
        *stored = Run { wishes, ..self.run.clone() };
        Ok(())
    }

    /// The run as it will be if nobody wishes anything meanwhile.
    #[must_use]
    pub const fn run(&self) -> &Run {
        &self.run
    }
}

impl Driver {
    /// The round is stored: what to do now. `parked` is false if the task was to wait and was woken instead.
    ///
    /// # Errors
    /// [`Error::Conflict`] if no round is being committed; [`Error::LeaseLost`] if the lease is.
    pub fn committed(&mut self, parked: bool) -> Result<After> {
        match std::mem::replace(&mut self.phase, Phase::Ready) {
            Phase::Committing(pending) => {
                let Pending { mut after, ends, parks } = *pending;
                let owed = self.owed();
                (after.make, after.close) = (owed.make, owed.close);
                if ends || (parks && parked) {
                    self.phase = Phase::Done;
                } else if parks {
                    self.woken();
                    if self.run.status == RunStatus::Waiting {
                        self.run.become_status(RunStatus::Running)?;
                    }
                }
                Ok(after)
            }
            Phase::Lost => {
                self.phase = Phase::Lost;
                Err(Error::LeaseLost("the lease is lost: drop what was prepared".into()))
            }
            other @ (Phase::Ready | Phase::Done) => {
                self.phase = other;
                Err(Error::Conflict("no round is being committed: call advance first".into()))
            }
        }
    }

    /// Tasks and runs that have to be made or called off, and are not in hand yet. A front asks for it once after it
    /// has opened a run; later rounds bring it along.
    pub fn owed(&mut self) -> After {
        let mut owed = After { make: self.makes(), close: self.closes(), ..After::default() };
        owed.make.retain(|make| self.in_hand.insert((make.op, false)));
        owed.close.retain(|close| self.in_hand.insert((close.op, true)));
        owed
    }

    fn makes(&self) -> Vec<Make> {
        let mut makes = Vec::new();
        for (op, open) in &self.run.open {
            let wanted = !open.made && !open.closing && open.result.is_none() && self.ledger.open().contains(op);
            if let Some((kind, id)) = self.target(*op).filter(|_| wanted) {
                makes.push(Make { op: *op, kind, id, revive: open.revive });
            }
        }
        makes
    }

    fn closes(&self) -> Vec<Close> {
        let unaware = self.run.open.iter().filter(|(_, open)| open.closing && !open.informed && open.result.is_none());
        let close = |(op, _): (&Op, _)| self.target(*op).map(|(kind, id)| Close { op: *op, kind, id });
        unaware.filter_map(close).collect()
    }

    /// The task or run that stands for an operation.
    pub(super) fn target(&self, op: Op) -> Option<(Kind, TaskId)> {
        let other = self.run.open.get(&op).and_then(|open| open.task);
        match &self.ledger.ask(op)?.what {
            What::Call(call) => Some((Kind::Call, other.or(call.task)?)),
            What::Child(child) => Some((Kind::Child, child.run?)),
            What::Step(_) | What::Timer { .. } | What::Signal { .. } | What::Select { .. } | What::Callback { .. } => {
                None
            }
        }
    }
}
