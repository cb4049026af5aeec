//! Inputs and outputs that lie in objects of their own: they are there before the revision that names them, and stay
//! as they are. The other rules see each record as if they lay in it.

use std::collections::BTreeMap;

use buquet_core::store::memory::Change;
use bytes::Bytes;
use serde_json::Value;

use super::Findings;

/// How a record begins that names payloads.
const NAMES_PAYLOADS: &[u8] = b"{\"format\":2,";

/// The changes, with the payloads put back into the records that name them.
pub(super) fn put_back(changes: &[Change], found: &mut Findings) -> Vec<Change> {
    let mut pieces: BTreeMap<&str, &Bytes> = BTreeMap::new();
    let mut seen = Vec::with_capacity(changes.len());
    for change in changes {
        let mut change_seen = change.clone();
        match &change.body {
            Some(body) if change.key.starts_with("payloads/") => {
                let before = pieces.insert(&change.key, body);
                found.require(before.is_none_or(|before| before == body), "payloads are never reused", || {
                    format!("{} was written again with another content", change.key)
                });
            }
            None if change.key.starts_with("payloads/") => drop(pieces.remove(change.key.as_str())),
            Some(body) if change.key.starts_with("tasks/") && body.starts_with(NAMES_PAYLOADS) => {
                if let Ok(mut record) = serde_json::from_slice::<Value>(body) {
                    fill(&mut record, &change.key, &pieces, found);
                    change_seen.body = serde_json::to_vec(&record).ok().map(Bytes::from);
                }
            }
            _ => {}
        }
        seen.push(change_seen);
    }
    seen
}

fn fill(record: &mut Value, key: &str, pieces: &BTreeMap<&str, &Bytes>, found: &mut Findings) {
    let id = record.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let shard = id.get(..1).unwrap_or_default().to_owned();
    let tasks = record.get_mut("tasks").and_then(Value::as_array_mut);
    for task in tasks.into_iter().flatten() {
        for (field, reference) in [("input", "input_ref"), ("output", "output_ref")] {
            let Some(named) = task.get(reference) else { continue };
            let payload = named.get("id").and_then(Value::as_str).unwrap_or_default();
            let place = format!("payloads/{shard}/{id}/{payload}.00000");
            let piece = pieces.get(place.as_str());
            let content = piece
                .filter(|piece| named.get("bytes").and_then(Value::as_u64) == u64::try_from(piece.len()).ok())
                .and_then(|piece| serde_json::from_slice::<Value>(piece).ok());
            found.require(content.is_some(), "payload ahead", || {
                format!("{key} names {place} as an {field}, and it was not there, or is something else")
            });
            if let (Some(content), Some(task)) = (content, task.as_object_mut()) {
                task.insert(field.to_owned(), content);
            }
        }
    }
}
