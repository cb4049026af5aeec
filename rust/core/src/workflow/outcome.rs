//! How operations end: results, errors and signals.

use serde::{Deserialize, Serialize};

use super::model::{Millis, Op};
use crate::record::fields::read_keeping_the_unknown;
use crate::record::{Extra, Json};

/// How a step, a call, a child or a callback ended.
#[derive(Clone, Debug)]
pub struct End {
    /// In which way.
    pub outcome: Outcome,
    /// Its result, if that lies here.
    pub output: Option<Json>,
    /// Where its result lies.
    pub output_ref: Option<ResultRef>,
    /// Its error.
    pub error: Option<Fault>,
    /// How often it was started.
    pub attempts: u32,
}

/// The ways in which an operation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// With a result.
    Completed,
    /// With an error.
    Failed,
    /// It was called off.
    Cancelled,
    /// Its condition was not met.
    Skipped,
    /// Its time was up.
    Timeout,
}

/// A signal that was consumed.
#[derive(Clone, Debug)]
pub struct Received {
    /// What it says, if that lies here.
    pub payload: Option<Json>,
    /// Where it lies.
    pub payload_ref: Option<ResultRef>,
    /// When it was sent.
    pub sent_at: Millis,
    /// The id that its sender gave it.
    pub id: Option<String>,
}

/// Something that lies in an object of its own under `steps/`.
#[derive(Clone, Debug, Serialize)]
pub struct ResultRef {
    /// The last part of its key.
    pub key: String,
    /// SHA-256 of the object, in hex.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// The length of the list, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<u32>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What a step or a body raised.
#[derive(Clone, Debug, Serialize)]
pub struct Fault {
    /// The kind of error: an exception's class, or a name of buquet's own.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it says.
    pub message: String,
    /// Where it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
    /// What caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Box<Self>>,
    /// The step that raised it first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub op: Option<Op>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl End {
    /// An end with a result.
    #[must_use]
    pub const fn completed(output: Json, attempts: u32) -> Self {
        Self { outcome: Outcome::Completed, output: Some(output), output_ref: None, error: None, attempts }
    }

    /// An end without one.
    #[must_use]
    pub const fn without(outcome: Outcome, error: Option<Fault>, attempts: u32) -> Self {
        Self { outcome, output: None, output_ref: None, error, attempts }
    }
}

impl Fault {
    /// An error of buquet's own.
    #[must_use]
    pub fn new(kind: &str, message: String) -> Self {
        Self { kind: kind.into(), message, traceback: None, cause: None, op: None, extra: Extra::new() }
    }
}

read_keeping_the_unknown!(ResultRef {
    key: take("key"),
    sha256: take("sha256"),
    bytes: take("bytes"),
    items: take_or_default("items"),
});
read_keeping_the_unknown!(Fault {
    kind: take("type"),
    message: take("message"),
    traceback: take_or_default("traceback"),
    cause: take_or_default("cause"),
    op: take_or_default("op"),
});
