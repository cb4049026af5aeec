//! Payloads that lie in objects of their own: what a record says of them, and when they do.

use serde::Serialize;

use super::codec::Json;
use super::fields::read_keeping_the_unknown;
use super::model::{BatchRecord, Extra, Task};
use crate::id::PayloadId;
use crate::limits;

/// A payload in objects of its own. Its pieces lie under the key of the record that names it: see
/// [`crate::keys::payload`].
#[derive(Clone, Debug, Serialize)]
pub struct PayloadRef {
    /// Its name.
    pub id: PayloadId,
    /// Its length: that of all pieces together.
    pub bytes: u64,
    /// How many pieces it is in, from number 0.
    pub pieces: u32,
    /// SHA-256 of all pieces in their order, in hex.
    pub sha256: String,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// An output as it goes into a record.
#[derive(Clone, Debug, Default)]
pub struct Stowed {
    /// The output, if it lies in the record.
    pub output: Option<Json>,
    /// Where it lies, if not.
    pub output_ref: Option<PayloadRef>,
    /// Payloads that come with it.
    pub files: Vec<PayloadRef>,
}

impl Stowed {
    /// An output that lies in the record.
    #[must_use]
    pub fn inline(output: Json) -> Self {
        Self { output: Some(output), ..Self::default() }
    }
}

impl PayloadRef {
    /// Refuses what no payload can be.
    ///
    /// # Errors
    /// A description of what is wrong.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.pieces == 0 || self.pieces > limits::PIECES || self.bytes > limits::PAYLOAD_TOTAL {
            return Err("a payload has an impossible number of pieces or bytes");
        }
        if self.sha256.len() != 64 || !self.sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err("the sha256 of a payload is not 64 hex digits");
        }
        Ok(())
    }
}

impl Task {
    /// Every payload that the task names.
    pub fn payloads(&self) -> impl Iterator<Item = &PayloadRef> {
        let files = self.input_files.iter().chain(&self.output_files);
        self.input_ref.as_deref().into_iter().chain(self.output_ref.as_deref()).chain(files)
    }

    /// Whether any of it lies in objects of its own.
    pub(super) fn is_stowed(&self) -> bool {
        self.payloads().next().is_some()
    }

    pub(super) fn take_output(&mut self, stowed: Stowed) {
        self.output = stowed.output;
        self.output_ref = stowed.output_ref.map(Box::new);
        self.output_files = stowed.files;
    }

    pub(super) fn check_payloads(&self) -> Result<(), &'static str> {
        if self.input_ref.is_some() && self.input.text() != "null" {
            return Err("a task has an input both in the record and elsewhere");
        }
        if self.output_ref.is_some() && self.output.is_some() {
            return Err("a task has an output both in the record and elsewhere");
        }
        self.payloads().try_for_each(PayloadRef::check)
    }

    fn inline_bytes(&self) -> usize {
        self.input.text().len() + self.output.as_ref().map_or(0, |output| output.text().len())
    }
}

/// Which of these outputs, by their lengths, get objects of their own: the large ones, and once the record is full all
/// but the tiny ones.
#[must_use]
pub fn stow(record: &BatchRecord, outputs: &[usize]) -> Vec<bool> {
    let mut held: usize = record.tasks.iter().map(Task::inline_bytes).sum();
    let stows = |&bytes: &usize| {
        let stows = bytes > limits::INLINE_BYTES || (bytes > limits::TINY_BYTES && held + bytes > limits::RECORD_FULL);
        held += if stows { 0 } else { bytes };
        stows
    };
    outputs.iter().map(stows).collect()
}

read_keeping_the_unknown!(PayloadRef {
    id: take("id"),
    bytes: take("bytes"),
    pieces: take("pieces"),
    sha256: take("sha256"),
});
