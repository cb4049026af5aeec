//! Reading and writing stored objects so that nothing an unknown, newer version wrote is ever dropped.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::model::{BatchRecord, Task};
use super::readable;
use crate::error::{Error, Result};
use crate::id::CommitId;
use crate::limits;

/// The newest record format this code reads.
pub const FORMAT: u32 = RUN_FORMAT;
/// The format of records of runs.
pub const RUN_FORMAT: u32 = 4;
/// The format of records with tasks that were parked or woken.
pub const PARKED_FORMAT: u32 = 3;
/// The format of records with payloads in objects of their own.
pub const STOWED_FORMAT: u32 = 2;
/// The format of all other records, which older versions read too.
pub const PLAIN_FORMAT: u32 = 1;

/// The most characters of an error that quotes from a stored object.
const MESSAGE_CHARS: usize = 300;

/// A piece of JSON kept exactly as it was written: no number loses a digit, no key its order.
#[derive(Clone, Debug)]
pub struct Json(Arc<RawValue>);

impl Json {
    /// Checks that `text` is one JSON value.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str::<Box<RawValue>>(text)
            .map(|raw| Self(raw.into()))
            .map_err(|error| Error::Invalid(format!("this is not JSON: {error}")))
    }

    /// `null`.
    #[must_use]
    pub fn null() -> Self {
        Self(RawValue::NULL.to_owned().into())
    }

    /// Checks that every front can read it: nested at most 127 deep, no half characters, no number beyond a double's
    /// range.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn check_readable(&self) -> std::result::Result<(), String> {
        readable::check(self.text()).map_err(|error| error.to_string())
    }

    /// The JSON text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|raw| Self(raw.into()))
    }
}

/// The part of a record that tells a committer whether its commit landed.
#[derive(Debug, Deserialize)]
pub struct CommitMark {
    commit: CommitId,
    #[serde(default)]
    trail: Vec<CommitId>,
}

impl CommitMark {
    /// Reads the mark out of a record's body; `None` if the body is no record.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// Whether `commit` wrote this revision or one of the last few before it.
    #[must_use]
    pub fn landed(&self, commit: CommitId) -> bool {
        self.commit == commit || self.trail.contains(&commit)
    }

    /// Whether `commit` wrote this very revision.
    #[must_use]
    pub fn is_current(&self, commit: CommitId) -> bool {
        self.commit == commit
    }
}

/// Refuses an object of a later format than the newest that is known here.
///
/// # Errors
/// [`Error::Layout`] saying what to do.
pub fn refuse_newer(key: &str, format: u32, newest: u32) -> Result<()> {
    if format <= newest {
        return Ok(());
    }
    Err(Error::Layout(format!(
        "{key} has format {format}, and this version of buquet reads up to {newest}: upgrade buquet"
    )))
}

/// What is wrong with an object, cut short: it may quote from the object, and there may be any amount of it.
#[must_use]
pub fn quoted(what: &str) -> String {
    what.chars().take(MESSAGE_CHARS).collect()
}

/// Marks the next revision of an object as written by `by`; those who wrote the last ones stay in its trail.
pub fn advance(rev: &mut u64, commit: &mut CommitId, trail: &mut Vec<CommitId>, by: CommitId) {
    if *rev > 0 {
        trail.insert(0, *commit);
        trail.truncate(limits::TRAIL);
    }
    *rev += 1;
    *commit = by;
}

impl BatchRecord {
    /// The stored form.
    ///
    /// # Errors
    /// [`Error::Internal`] if it cannot be written as JSON, which no value of this type should cause.
    pub fn encode(&self) -> Result<Bytes> {
        serde_json::to_vec(self)
            .map(Bytes::from)
            .map_err(|error| Error::Internal(format!("record {} cannot be written as JSON: {error}", self.id)))
    }

    /// Reads the stored form found under `key`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is not a record or contradicts itself, [`Error::Layout`] if a newer version wrote it.
    pub fn decode(key: &str, body: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let corrupt = |what: String| {
            Error::Corrupt(format!("{key} is not a valid record: {}; look at the object", quoted(&what)))
        };
        let read: serde_json::Result<Self> = serde_json::from_slice(body);
        // Of what a newer version wrote, only the format need make sense.
        let format_alone = |_: &_| serde_json::from_slice(body).map_or(PLAIN_FORMAT, |Format { format }| format);
        let format = read.as_ref().map_or_else(format_alone, |record| record.format);
        refuse_newer(key, format, FORMAT)?;
        let record = read.map_err(|error| corrupt(error.to_string()))?;
        if record.tasks.len() > usize::from(u16::MAX) {
            return Err(corrupt("it holds more than 65,535 tasks".into()));
        }
        record.check().map_err(|what| corrupt(what.into()))?;
        record.check_options().map_err(|error| corrupt(error.to_string()))?;
        record.tasks.iter().try_for_each(check_payloads).map_err(corrupt)?;
        if crate::keys::record(record.id) != key {
            return Err(corrupt(format!("it holds the record {}", record.id)));
        }
        Ok(record)
    }
}

/// An input that some front cannot read would take with it all the tasks that are handed out together.
fn check_payloads(task: &Task) -> std::result::Result<(), String> {
    let payloads = [("input", Some(&task.input)), ("output", task.output.as_ref())];
    let check = |(what, payload): (&str, Option<&Json>)| {
        let checked = payload.map_or(Ok(()), Json::check_readable);
        checked.map_err(|error| format!("the {what} of task {} cannot be read: {error}", task.n))
    };
    payloads.into_iter().try_for_each(check)
}
