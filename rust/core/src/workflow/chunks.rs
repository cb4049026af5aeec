//! The older part of a long journal, in objects of its own.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::ids::{digest, is_result_key, sha256};
use super::limits;
use super::model::{ChunkRef, Journal};
use crate::error::{Error, Result};
use crate::record::{Extra, quoted, refuse_newer};

/// The newest format of a chunk.
const FORMAT: u32 = 1;
/// The first part of the keys of chunks.
const NAME: &str = "journal";

/// A chunk that has to be stored before the commit that names it.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// What the journal says of it.
    pub name: ChunkRef,
    /// The object.
    pub body: Bytes,
}

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    first: usize,
    entries: &'a [Arc<Entry>],
}

#[derive(Deserialize)]
struct Read {
    first: usize,
    entries: Vec<Arc<Entry>>,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// Moves the oldest entries out of a journal that has become too long for its record. `origin` is what no other run
/// or execution has.
///
/// # Errors
/// [`Error::Invalid`] if it has as many chunks as there may be; [`Error::Internal`] if an entry cannot be written.
pub fn move_out(journal: &mut Journal, origin: &str) -> Result<Vec<Chunk>> {
    let sizes = journal.entries.iter().map(size).collect::<Result<Vec<usize>>>()?;
    if sizes.len() <= limits::INLINE_ENTRIES && sizes.iter().sum::<usize>() <= limits::INLINE_BYTES {
        return Ok(Vec::new());
    }
    let mut room = limits::KEPT_BYTES;
    let stays = |bytes: &&usize| {
        let fits = **bytes <= room;
        room = room.saturating_sub(**bytes);
        fits
    };
    let kept = sizes.iter().rev().take(limits::KEPT_ENTRIES).take_while(stays).count();
    let mut moving = sizes.get(..sizes.len() - kept).unwrap_or_default();
    let mut chunks = Vec::new();
    while !moving.is_empty() {
        if journal.chunks.len() >= limits::CHUNKS {
            return Err(Error::Invalid(format!(
                "the journal has {} entries, more than a run may have: end this execution and continue as new",
                journal.len()
            )));
        }
        let mut bytes = 0;
        let fits = |size: &&usize| {
            bytes += **size;
            bytes <= limits::CHUNK_BYTES
        };
        let count = moving.iter().take_while(fits).count().max(1);
        chunks.push(write(journal, origin, count)?);
        moving = moving.get(count..).unwrap_or_default();
    }
    Ok(chunks)
}

fn write(journal: &mut Journal, origin: &str, count: usize) -> Result<Chunk> {
    let first = journal.chunked();
    let moved: Vec<Arc<Entry>> = journal.entries.drain(..count).collect();
    let body = encode(&Written { format: FORMAT, first, entries: &moved })?;
    let sha256 = sha256(&body);
    let name = ChunkRef {
        // From its contents, so that no two contents ever have one name.
        key: format!("{NAME}.{}", digest(&[origin, &sha256])),
        sha256,
        entries: u32::try_from(count).unwrap_or(u32::MAX),
        bytes: u64::try_from(body.len()).unwrap_or(u64::MAX),
        extra: Extra::new(),
    };
    journal.chunks.push(name.clone());
    Ok(Chunk { name, body: Bytes::from(body) })
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::Internal(format!("an entry cannot be written as JSON: {error}")))
}

fn size(entry: &Arc<Entry>) -> Result<usize> {
    encode(entry).map(|text| text.len() + 1)
}

/// All entries of a journal, given the objects of its chunks in their order; `None` for one that is gone.
///
/// # Errors
/// [`Error::Corrupt`] naming the chunk that is missing or was altered; [`Error::Layout`] if a newer version wrote it.
pub fn read_back(journal: &Journal, bodies: &[Option<Bytes>]) -> Result<Vec<Arc<Entry>>> {
    let mut entries = Vec::with_capacity(journal.len());
    for (n, name) in journal.chunks.iter().enumerate() {
        let body = bodies.get(n).and_then(Option::as_ref).ok_or_else(|| {
            Error::Corrupt(format!(
                "{}, chunk {n} of the journal, is gone: it was deleted by hand, or by a lifecycle rule on workflow/; \
                 the run cannot be replayed, terminate it or restore the object",
                name.key
            ))
        })?;
        entries.extend(read(name, body, entries.len())?);
    }
    entries.extend_from_slice(&journal.entries);
    Ok(entries)
}

fn read(name: &ChunkRef, body: &[u8], first: usize) -> Result<Vec<Arc<Entry>>> {
    let altered = |what: &str| {
        Error::Corrupt(format!("{} is not the chunk that was written there: {what}; restore the object", name.key))
    };
    if !is_result_key(&name.key) {
        return Err(altered("its key is not one of ours"));
    }
    if sha256(body) != name.sha256 {
        return Err(altered("its SHA-256 is another"));
    }
    let format: Format = serde_json::from_slice(body).map_err(|error| altered(&quoted(&error.to_string())))?;
    refuse_newer(&name.key, format.format, FORMAT)?;
    let read: Read = serde_json::from_slice(body).map_err(|error| altered(&quoted(&error.to_string())))?;
    if read.first != first || u32::try_from(read.entries.len()) != Ok(name.entries) {
        return Err(altered("it holds other entries than the run's record says"));
    }
    Ok(read.entries)
}

/// The journal cut to its first `length` entries, all of which are given; and the keys of chunks that nothing needs
/// any more.
#[must_use]
pub fn cut(journal: &Journal, entries: &[Arc<Entry>], length: usize) -> (Journal, Vec<String>) {
    let mut kept = Journal { extra: journal.extra.clone(), ..Journal::default() };
    let mut end = 0;
    for chunk in &journal.chunks {
        end += usize::try_from(chunk.entries).unwrap_or(usize::MAX);
        if end > length {
            break;
        }
        kept.chunks.push(chunk.clone());
    }
    let inline = kept.chunked()..length.min(entries.len());
    kept.entries = entries.get(inline).unwrap_or_default().to_vec();
    let dropped = journal.chunks.iter().skip(kept.chunks.len()).map(|chunk| chunk.key.clone()).collect();
    (kept, dropped)
}

#[cfg(test)]
mod tests;
