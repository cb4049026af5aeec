//! Inputs and outputs that lie in objects of their own: they are there before the revision that names them, and stay
//! as they are. The other rules see each record as if they lay in it.

use std::collections::BTreeMap;

use buquet_core::store::memory::Change;
use bytes::Bytes;
use serde_json::value::RawValue;

use super::Findings;
use super::view::{Record, Reference};

/// The pieces of payloads that the store holds at some point.
#[derive(Debug, Default)]
pub(super) struct Payloads<'a>(BTreeMap<&'a str, &'a Bytes>);

impl<'a> Payloads<'a> {
    /// Takes note of a change to a piece.
    pub fn note(&mut self, change: &'a Change, found: &mut Findings) {
        let Some(body) = &change.body else {
            self.0.remove(change.key.as_str());
            return;
        };
        let before = self.0.insert(&change.key, body);
        found.require(before.is_none_or(|before| before == body), "payloads are never reused", || {
            format!("{} was written again with another content", change.key)
        });
    }

    /// Puts what a record names, which was written just now, back into it.
    pub fn put_back(&self, record: &mut Record, found: &mut Findings) {
        let Record { id, tasks, .. } = record;
        for task in tasks {
            if let Some(input) = task.input_ref.as_ref().and_then(|named| self.find(id, named, "input", found)) {
                task.input = input;
            }
            if let Some(output) = task.output_ref.as_ref().and_then(|named| self.find(id, named, "output", found)) {
                task.output = Some(output);
            }
        }
    }

    fn find(&self, record: &str, named: &Reference, field: &str, found: &mut Findings) -> Option<Box<RawValue>> {
        let shard = record.get(..1).unwrap_or_default();
        let place = format!("payloads/{shard}/{record}/{}.00000", named.id);
        let piece = self.0.get(place.as_str()).filter(|piece| named.bytes == piece.len());
        let content = piece.and_then(|piece| serde_json::from_slice(piece).ok());
        found.require(content.is_some(), "payload ahead", || {
            format!("record {record} names {place} as an {field}, and it was not there, or is something else")
        });
        content
    }
}
