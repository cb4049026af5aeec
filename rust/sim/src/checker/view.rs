//! A stored record as the checker reads it: the documented JSON, nothing of the engine.

use std::collections::BTreeMap;

use buquet_core::time::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Record {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub options: Options,
    pub rev: u64,
    pub commit: String,
    pub seq: u64,
    pub ready: Option<Ready>,
    pub parked: Option<Ready>,
    pub failed: Option<Failed>,
    pub leases: BTreeMap<String, Lease>,
    #[serde(default)]
    pub links: Vec<Link>,
    #[serde(default)]
    pub void: bool,
    pub created_at: Timestamp,
    pub tasks: Vec<Task>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Options {
    pub retry: Retry,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Retry {
    pub max_retries: u32,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Ready {
    pub due: Timestamp,
    pub seq: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Failed {
    pub at: Timestamp,
    pub rev: u64,
    pub count: u32,
}

/// What a task has of its own, instead of its record's.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Own {
    pub retry: Option<Retry>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Lease {
    pub worker: String,
    pub expires_at: Timestamp,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Task {
    pub n: u16,
    pub status: Status,
    pub input: Box<RawValue>,
    pub output: Option<Box<RawValue>>,
    pub input_ref: Option<Reference>,
    pub output_ref: Option<Reference>,
    pub attempt: u32,
    pub retry_count: u32,
    #[serde(default)]
    pub loss_count: u32,
    pub submitted_at: Timestamp,
    pub available_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub completed_at: Option<Timestamp>,
    pub lease: Option<String>,
    pub worker: Option<String>,
    pub error: Option<TaskError>,
    pub options: Option<Own>,
    pub purged_at: Option<Timestamp>,
    pub archived_from: Option<String>,
    #[serde(default)]
    pub tags: Vec<String>,
    pub expires_at: Option<Timestamp>,
    pub key: Option<String>,
    pub progress: Option<Progress>,
    pub cancel: Option<Cancel>,
    pub park: Option<Park>,
    pub after: Option<After>,
}

/// Some tasks of a record, all of which have to end before another is told.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Link {
    pub of: Vec<(u16, u16)>,
    pub target: String,
    #[serde(default = "one")]
    pub count: u16,
    pub slot: usize,
    pub owed: Option<Ended>,
    #[serde(default)]
    pub done: bool,
}

const fn one() -> u16 {
    1
}

/// What came of the tasks of a link.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Ended {
    pub culprit: Option<Culprit>,
}

/// A task that did not complete.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Culprit {
    pub task: String,
}

/// What a task waits for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct After {
    pub on: String,
    pub slots: Vec<Slot>,
}

/// Tasks of one record that it waits for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Slot {
    pub record: String,
    pub of: Vec<(u16, u16)>,
    pub ended: Option<Ended>,
}

/// That a task was parked or woken.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Park {
    pub count: u32,
    pub until: Option<Timestamp>,
    pub woken: bool,
    pub heard: bool,
}

/// The name of a payload in an object of its own.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Reference {
    pub id: String,
    pub bytes: usize,
}

/// How far an attempt has come.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Progress {
    pub message: String,
}

/// The wish that a task be called off.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Cancel {
    pub at: Timestamp,
    pub by: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct TaskError {
    #[serde(rename = "type")]
    pub kind: String,
    pub message: String,
    pub at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Pending,
    Running,
    Waiting,
    Completed,
    Failed,
    Cancelled,
    Expired,
    Archived,
}

impl Status {
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Pending | Self::Running | Self::Waiting)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Archived => "archived",
        }
    }
}

impl Task {
    /// The label in its input; none in what is not of a run, or purged.
    pub fn label(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Labelled {
            label: String,
        }
        serde_json::from_str(self.input.get()).ok().map(|Labelled { label }| label)
    }

    /// Whether it is failed.
    pub fn is_failed(&self) -> bool {
        self.status == Status::Failed
    }
}

impl Record {
    /// The retry policy of one of its tasks.
    pub fn retry_of<'a>(&'a self, task: &'a Task) -> &'a Retry {
        task.options.as_ref().and_then(|own| own.retry.as_ref()).unwrap_or(&self.options.retry)
    }

    /// Whether all that is left of it may be deleted.
    pub fn is_purged(&self) -> bool {
        !self.tasks.is_empty() && self.tasks.iter().all(|task| task.purged_at.is_some())
    }

    /// The id of one of its tasks: its own with the task's number in the last four hex digits.
    pub fn task_id(&self, n: u16) -> String {
        format!("{}{n:04x}", self.id.get(..self.id.len().saturating_sub(4)).unwrap_or_default())
    }
}
