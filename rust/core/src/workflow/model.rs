//! The field `run` of a driver's task, as it is stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::entry::{Entry, Fault, ResultRef, Told};
use super::status::RunStatus;
use super::wishes::{Ending, Pause, Wishes};
use crate::id::TaskId;
use crate::record::fields::read_keeping_the_unknown;
use crate::record::{Extra, Json};
use crate::time::Timestamp;

/// The number of an operation: the place of its ask in the journal of its execution.
pub type Op = u32;

/// A moment in milliseconds since 1970, server time; written as a number, for there are many in a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub i64);

impl Millis {
    /// The moment as the rest of the engine writes it.
    #[must_use]
    pub const fn time(self) -> Timestamp {
        Timestamp(self.0)
    }

    /// The moment so many milliseconds later.
    #[must_use]
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)).min(Timestamp::LAST.0))
    }
}

impl From<Timestamp> for Millis {
    fn from(time: Timestamp) -> Self {
        Self(time.0)
    }
}

/// Everything about one run.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// The workflow's name.
    pub name: String,
    /// The version of the code that began this execution.
    pub version: Option<String>,
    /// The hash of the graph's definition that began this execution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// How often its id was started anew.
    pub generation: u64,
    /// How often it has continued as new.
    pub execution: u64,
    /// How often it was retried.
    #[serde(skip_serializing_if = "is_default")]
    pub retries: u64,
    /// Where it stands.
    pub status: RunStatus,
    /// When this execution began: what its body's clock shows until it is told something.
    pub began: Millis,
    /// What the body asked for and was told.
    pub journal: Journal,
    /// The operations that have not ended.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub open: BTreeMap<Op, Open>,
    /// What `patched` has answered in this execution.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub patches: BTreeMap<String, bool>,
    /// What the body has published.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub published: BTreeMap<String, Json>,
    /// Digests of the signals consumed last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub consumed: Vec<String>,
    /// Signals whose consumption a retry has taken back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub returned: Vec<Returned>,
    /// Whether the last look into the inbox left signals unread.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unread: bool,
    /// What others wish of it.
    #[serde(skip_serializing_if = "Wishes::is_empty")]
    pub wishes: Wishes,
    /// Why it is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// How its body ended, while its children are still being called off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// The step whose error ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_op: Option<Op>,
    /// Whether it has undone any of its steps.
    #[serde(skip_serializing_if = "is_default")]
    pub undone: bool,
    /// When it is called off by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Millis>,
    /// The run that it is a child of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What the body asked for and was told, in order.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Journal {
    /// Where the older entries lie.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chunks: Vec<ChunkRef>,
    /// The entries after those of the chunks.
    pub entries: Vec<Arc<Entry>>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A part of the journal in an object of its own.
#[derive(Clone, Debug, Serialize)]
pub struct ChunkRef {
    /// The last part of its key.
    pub key: String,
    /// SHA-256 of the object, in hex.
    pub sha256: String,
    /// How many entries it holds.
    pub entries: u32,
    /// Its length.
    pub bytes: u64,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How far an operation has come that has not ended.
#[expect(clippy::struct_excessive_bools, reason = "each is stored as a field of its own, if it is set")]
#[derive(Clone, Debug, Default, Serialize)]
pub struct Open {
    /// How often it was started.
    #[serde(skip_serializing_if = "is_default")]
    pub attempt: u32,
    /// Whether its latest start has no end yet.
    #[serde(skip_serializing_if = "is_default")]
    pub started: bool,
    /// Starts that ended with an error.
    #[serde(skip_serializing_if = "is_default")]
    pub failures: u32,
    /// Starts whose worker was lost.
    #[serde(skip_serializing_if = "is_default")]
    pub interruptions: u32,
    /// Starts that a drain took back.
    #[serde(skip_serializing_if = "is_default")]
    pub released: u32,
    /// When its next attempt, its time or its time-out comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<Millis>,
    /// The latest error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Fault>,
    /// Whether the task or run that it asks for is stored.
    #[serde(skip_serializing_if = "is_default")]
    pub made: bool,
    /// When its callback was last said to be alive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beat: Option<Millis>,
    /// Whether it has failed for good, and its run is paused for that.
    #[serde(skip_serializing_if = "is_default")]
    pub held: bool,
    /// The task that stands for it after a retry, where that is another than the ask names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// Whether its run was called off with this one, and is to go on with it.
    #[serde(skip_serializing_if = "is_default")]
    pub revive: bool,
    /// Whether the task or run that it stands for is called off.
    #[serde(skip_serializing_if = "is_default")]
    pub closing: bool,
    /// Whether that task or run knows it.
    #[serde(skip_serializing_if = "is_default")]
    pub informed: bool,
    /// How it ended, where the body is not told yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Box<Told>>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A signal that was consumed and is there again.
#[derive(Clone, Debug, Serialize)]
pub struct Returned {
    /// Its name.
    pub name: String,
    /// What it says, if that lies here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Json>,
    /// Where it lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_ref: Option<ResultRef>,
    /// When it was sent.
    pub sent_at: Millis,
    /// The id that its sender gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The run that asked for this one.
#[derive(Clone, Debug, Serialize)]
pub struct Parent {
    /// Its driver.
    pub run: TaskId,
    /// The operation that asked.
    pub op: Op,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Journal {
    /// How many entries it has in all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunked() + self.entries.len()
    }

    /// Whether nothing happened yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries lie in chunks.
    #[must_use]
    pub fn chunked(&self) -> usize {
        self.chunks.iter().map(|chunk| usize::try_from(chunk.entries).unwrap_or(usize::MAX)).sum()
    }
}

impl Run {
    /// A run as it is started.
    #[must_use]
    pub fn new(name: String, version: Option<String>, generation: u64, began: Millis) -> Self {
        Self {
            name,
            version,
            definition: None,
            generation,
            execution: 0,
            retries: 0,
            status: RunStatus::Pending,
            began,
            journal: Journal::default(),
            open: BTreeMap::new(),
            patches: BTreeMap::new(),
            published: BTreeMap::new(),
            consumed: Vec::new(),
            returned: Vec::new(),
            unread: false,
            wishes: Wishes::default(),
            pause: None,
            ending: None,
            failed_op: None,
            undone: false,
            deadline: None,
            parent: None,
            extra: Extra::new(),
        }
    }
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

read_keeping_the_unknown!(Run {
    name: take("name"),
    version: take_or_default("version"),
    definition: take_or_default("definition"),
    generation: take("generation"),
    execution: take("execution"),
    retries: take_or_default("retries"),
    status: take("status"),
    began: take("began"),
    journal: take("journal"),
    open: take_or_default("open"),
    patches: take_or_default("patches"),
    published: take_or_default("published"),
    consumed: take_or_default("consumed"),
    returned: take_or_default("returned"),
    unread: take_or_default("unread"),
    wishes: take_or_default("wishes"),
    pause: take_or_default("pause"),
    ending: take_or_default("ending"),
    failed_op: take_or_default("failed_op"),
    undone: take_or_default("undone"),
    deadline: take_or_default("deadline"),
    parent: take_or_default("parent"),
});
read_keeping_the_unknown!(Journal { chunks: take_or_default("chunks"), entries: take("entries") });
read_keeping_the_unknown!(ChunkRef {
    key: take("key"),
    sha256: take("sha256"),
    entries: take("entries"),
    bytes: take("bytes"),
});
read_keeping_the_unknown!(Open {
    attempt: take_or_default("attempt"),
    started: take_or_default("started"),
    failures: take_or_default("failures"),
    interruptions: take_or_default("interruptions"),
    released: take_or_default("released"),
    due: take_or_default("due"),
    error: take_or_default("error"),
    made: take_or_default("made"),
    beat: take_or_default("beat"),
    held: take_or_default("held"),
    task: take_or_default("task"),
    revive: take_or_default("revive"),
    closing: take_or_default("closing"),
    informed: take_or_default("informed"),
    result: take_or_default("result"),
});
read_keeping_the_unknown!(Returned {
    name: take("name"),
    payload: take_if_there("payload"),
    payload_ref: take_or_default("payload_ref"),
    sent_at: take("sent_at"),
    id: take_or_default("id"),
});
read_keeping_the_unknown!(Parent { run: take("run"), op: take("op") });
