//! What every process was told, and what its handlers decided: the claims that the checker holds against the store.

use std::collections::BTreeMap;
use std::time::Duration;

use buquet_core::time::Timestamp;

/// Everything noted in one run.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// Submits by the label of their task.
    pub submits: BTreeMap<String, Submit>,
    /// Attempts handed to a handler, by task and lease.
    pub attempts: BTreeMap<(String, String), Attempt>,
    /// What was wrong already when it was told.
    pub complaints: Vec<String>,
    /// Results seen by those who waited: task, status.
    pub seen: Vec<(String, String)>,
    /// Leases that a worker was told it had lost, and when: task, lease.
    pub lost: Vec<(String, String, Timestamp)>,
    /// When each schedule was disabled.
    pub schedules: BTreeMap<String, Timestamp>,
    /// Submits with a key.
    pub keyed: Vec<Keyed>,
    /// Wishes to call tasks off, by the name that each was made under.
    pub wishes: BTreeMap<String, Wish>,
    /// What the index of failed tasks led to at the end, if anybody could look.
    pub listed_as_failed: Option<Vec<String>>,
    /// Signals to tasks that wait for some, by label.
    pub signals: BTreeMap<String, Signals>,
    /// Workers by id.
    pub workers: BTreeMap<String, WorkerLife>,
}

/// The signals to one task. Each is sent, and then the task is woken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signals {
    /// How many it waits for.
    pub needed: u32,
    /// How many were sent.
    pub sent: u32,
    /// How many were there when a wake was made that was acknowledged.
    pub acknowledged: u32,
}

/// A submit.
#[derive(Clone, Debug)]
pub struct Submit {
    /// The id, if it was acknowledged.
    pub id: Option<String>,
    /// When it was answered.
    pub at: Timestamp,
}

/// An attempt that a handler was given.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Which attempt.
    pub number: u32,
    /// The task's label.
    pub label: String,
    /// By which worker.
    pub worker: String,
    /// When.
    pub at: Timestamp,
    /// Whether it was told that the task was woken.
    pub woken: bool,
    /// What was sent to be stored, and what was answered.
    pub decisions: Vec<(Decision, Option<Told>)>,
    /// What it said of its progress, as far as it was taken.
    pub reports: Vec<String>,
}

/// A submit with a key that was answered.
#[derive(Clone, Debug)]
pub struct Keyed {
    /// The key.
    pub key: String,
    /// For how long it holds; for ever if `None`.
    pub window: Option<Duration>,
    /// The task's label.
    pub label: String,
    /// The task's id and whether this submit made it; `None` if the key belongs to another task.
    pub answer: Option<(String, bool)>,
}

/// Somebody's wish that tasks be called off.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Which.
    pub meant: Meant,
    /// When it was made.
    pub from: Timestamp,
    /// When all of it was answered.
    pub until: Option<Timestamp>,
    /// What was answered of single tasks.
    pub answers: Vec<(String, Answer)>,
}

/// Which tasks are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant {
    /// These.
    Tasks(Vec<String>),
    /// Those with this tag.
    Tag(String),
    /// Those of this type.
    Type(String),
}

/// What was answered to the wish to call a task off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It never starts.
    Cancelled,
    /// Its worker is told.
    Requested,
    /// It has this status already.
    Finished(String),
    /// There is none.
    Missing,
}

/// What a handler decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Completed with this output.
    Complete(String),
    /// Failed with this message.
    Fail {
        /// The error's message.
        message: String,
        /// Whether a retry may help.
        retry: bool,
    },
    /// To run again not before this moment.
    Reschedule(Timestamp),
    /// Parked, until this moment at the latest.
    Park(Option<Timestamp>),
    /// Given back.
    Release,
    /// Stopped because it was called off.
    Cancel,
}

/// What a worker was told of an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is stored; the task has this status now.
    Committed(String),
    /// It was woken meanwhile, and is to look again.
    Woken,
    /// The lease is gone.
    LeaseLost,
    /// It could not be stored in a long time: it may be, or may never be.
    GivenUp,
    /// It cannot be stored.
    Refused,
}

/// A worker, from start to end.
#[derive(Clone, Debug)]
pub struct WorkerLife {
    /// Its process.
    pub process: String,
    /// When it began to give back what it held.
    pub leaving_at: Option<Timestamp>,
    /// When it had stopped well.
    pub stopped_at: Option<Timestamp>,
}
