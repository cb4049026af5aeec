//! The entries of a journal: what the body asked for, and what it was told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::model::{Millis, Op};
pub use super::outcome::{End, Fault, Outcome, Received, ResultRef};
use crate::id::TaskId;
use crate::record::{Extra, Json, RetryPolicy};

/// One entry.
#[derive(Clone, Debug)]
pub enum Entry {
    /// The body asked for an operation, which has this entry's place as its number.
    Ask(Ask),
    /// The body called an operation off: it is closed, and a later result is dropped.
    Cancel(CancelOp),
    /// The body was told something.
    Told(Told),
    /// A newer version wrote it: kept, and nobody here may drive this run.
    Unknown(Extra),
}

/// An operation that the body asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// When: what the body's clock showed.
    pub at: Millis,
    /// Where in the body.
    pub place: Place,
    /// For what.
    pub what: What,
    /// Fields this version does not know.
    pub extra: Extra,
}

/// Where in its body an operation was asked for. Together with the kind of operation it is its identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The branch of the body, a path; empty for the body itself.
    pub scope: String,
    /// The name of the step, task, workflow or signal.
    pub name: String,
    /// The occurrence of this kind and name in its scope, from 0.
    pub n: u32,
}

/// What the body asked for.
#[derive(Clone, Debug)]
pub enum What {
    /// A step, run where the run runs.
    Step(StepAsk),
    /// A task of the queue.
    Call(CallAsk),
    /// A run of a workflow.
    Child(ChildAsk),
    /// A time.
    Timer {
        /// When.
        until: Millis,
    },
    /// A signal.
    Signal {
        /// How long it waits.
        until: Option<Millis>,
    },
    /// Whatever comes first.
    Select {
        /// What may come, by its label.
        arms: BTreeMap<String, Arm>,
    },
    /// A token that somebody outside completes.
    Callback {
        /// How long it waits.
        until: Option<Millis>,
        /// How long it waits for a sign of life.
        heartbeat_ms: Option<u64>,
    },
}

/// The kinds of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A step.
    Step,
    /// A task of the queue.
    Call,
    /// A child run.
    Child,
    /// A time.
    Timer,
    /// A signal.
    Signal,
    /// The first of several.
    Select,
    /// A token.
    Callback,
}

/// Digests of arguments, by parameter; `None` where they are not compared.
pub type Args = Option<BTreeMap<String, String>>;

/// A step that the body asked for.
#[derive(Clone, Debug, Default)]
pub struct StepAsk {
    /// Digests of its arguments.
    pub args: Args,
    /// Its retry policy, where that is not the default.
    pub retry: Option<RetryPolicy>,
    /// How long one attempt may take.
    pub timeout_ms: Option<u64>,
    /// Whether an attempt that was interrupted counts as failed.
    pub at_most_once: bool,
    /// What a last failure does, other than being told.
    pub on_failure: Option<OnFailure>,
    /// The operation that it undoes.
    pub compensates: Option<Op>,
    /// Whether its start evaluates a condition first.
    pub when: bool,
}

/// What the last failure of a step does, other than being told to the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The run pauses; resumed, it runs the step again.
    Pause,
}

/// A task that the body asked for.
#[derive(Clone, Debug)]
pub struct CallAsk {
    /// Digests of its arguments.
    pub args: Args,
    /// Its id; the engine fills it in.
    pub task: Option<TaskId>,
    /// Its type.
    pub kind: String,
    /// Its input.
    pub input: Option<Json>,
    /// Where its input lies, if not here.
    pub input_ref: Option<ResultRef>,
    /// Its options, for the submit.
    pub options: Option<Json>,
    /// The operation that it undoes.
    pub compensates: Option<Op>,
}

/// A run that the body asked for.
#[derive(Clone, Debug)]
pub struct ChildAsk {
    /// Digests of its arguments.
    pub args: Args,
    /// Its id; the engine fills it in.
    pub run: Option<TaskId>,
    /// The workflow.
    pub workflow: String,
    /// Its input.
    pub input: Option<Json>,
    /// Where its input lies, if not here.
    pub input_ref: Option<ResultRef>,
    /// Its options, for the start.
    pub options: Option<Json>,
    /// What becomes of it when its parent ends first.
    pub on_close: OnClose,
}

/// What becomes of a child whose parent ends first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnClose {
    /// It is called off.
    #[default]
    Cancel,
    /// It goes on.
    Abandon,
}

/// One of several things that a select waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arm {
    /// A signal of this name.
    Signal(String),
    /// A time.
    Timer(Millis),
    /// The end of an operation.
    Op(Op),
}

/// An operation that the body called off.
#[derive(Clone, Debug)]
pub struct CancelOp {
    /// When.
    pub at: Millis,
    /// Which.
    pub op: Op,
    /// Fields this version does not know.
    pub extra: Extra,
}

/// Something that the body was told.
#[derive(Clone, Debug)]
pub struct Told {
    /// When.
    pub at: Millis,
    /// What.
    pub news: News,
    /// Fields this version does not know.
    pub extra: Extra,
}

/// What the body was told.
#[derive(Clone, Debug)]
pub enum News {
    /// A step, a call, a child or a callback has ended.
    Ended {
        /// Which of these kinds.
        kind: Kind,
        /// Which operation.
        op: Op,
        /// In which way.
        end: End,
    },
    /// A time has come.
    Timer {
        /// Which operation.
        op: Op,
    },
    /// A signal has come, or the time for it is up.
    Signal {
        /// Which operation.
        op: Op,
        /// The signal; `None` if the time is up.
        signal: Option<Received>,
    },
    /// One of several things has come.
    Select {
        /// Which operation.
        op: Op,
        /// The label of what came.
        arm: String,
        /// The signal, if it was one.
        signal: Option<Received>,
    },
    /// The run is to be called off.
    Cancel {
        /// Why.
        reason: Option<String>,
        /// Who wished it.
        by: Option<String>,
    },
}

impl What {
    /// Which kind of operation it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Step(_) => Kind::Step,
            Self::Call(_) => Kind::Call,
            Self::Child(_) => Kind::Child,
            Self::Timer { .. } => Kind::Timer,
            Self::Signal { .. } => Kind::Signal,
            Self::Select { .. } => Kind::Select,
            Self::Callback { .. } => Kind::Callback,
        }
    }

    /// The operation that it undoes.
    #[must_use]
    pub const fn compensates(&self) -> Option<Op> {
        match self {
            Self::Step(step) => step.compensates,
            Self::Call(call) => call.compensates,
            Self::Child(_) | Self::Timer { .. } | Self::Signal { .. } | Self::Select { .. } | Self::Callback { .. } => {
                None
            }
        }
    }

    /// The digests of its arguments.
    #[must_use]
    pub const fn args(&self) -> Option<&BTreeMap<String, String>> {
        match self {
            Self::Step(StepAsk { args, .. })
            | Self::Call(CallAsk { args, .. })
            | Self::Child(ChildAsk { args, .. }) => args.as_ref(),
            Self::Timer { .. } | Self::Signal { .. } | Self::Select { .. } | Self::Callback { .. } => None,
        }
    }
}

impl Kind {
    /// Its name, as it is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Call => "call",
            Self::Child => "child",
            Self::Timer => "timer",
            Self::Signal => "signal",
            Self::Select => "select",
            Self::Callback => "callback",
        }
    }
}

impl News {
    /// The operation that it ends.
    #[must_use]
    pub const fn op(&self) -> Option<Op> {
        match self {
            Self::Ended { op, .. } | Self::Timer { op } | Self::Signal { op, .. } | Self::Select { op, .. } => {
                Some(*op)
            }
            Self::Cancel { .. } => None,
        }
    }

    /// The kind of operation that it ends.
    #[must_use]
    pub const fn kind(&self) -> Option<Kind> {
        match self {
            Self::Ended { kind, .. } => Some(*kind),
            Self::Timer { .. } => Some(Kind::Timer),
            Self::Signal { .. } => Some(Kind::Signal),
            Self::Select { .. } => Some(Kind::Select),
            Self::Cancel { .. } => None,
        }
    }
}

impl Entry {
    /// When it was written.
    #[must_use]
    pub const fn at(&self) -> Option<Millis> {
        match self {
            Self::Ask(ask) => Some(ask.at),
            Self::Cancel(cancel) => Some(cancel.at),
            Self::Told(told) => Some(told.at),
            Self::Unknown(_) => None,
        }
    }
}
