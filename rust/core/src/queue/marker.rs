//! `buquet.json`: says that a prefix is a queue, and how it is laid out.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::bucket::{Bucket, Committed};
use crate::error::{Error, Result};
use crate::id::CommitId;
use crate::keys;
use crate::limits;
use crate::store::{Condition, Got, StoreErrorKind, probe};
use crate::time::Timestamp;

/// The layout this code writes, as long as no task waits for others.
pub const FORMAT: u32 = 1;
/// The layout of a queue in which tasks wait for others: the newest that this code reads.
const LINKED_FORMAT: u32 = 2;
/// Hex digits of an id that make its shard.
const SHARD_DIGITS: u32 = 1;
/// Objects looked at for some that are not ours.
const FIRST_FEW: usize = 20;
/// What to put back where a marker was lost.
pub const FORMER: &str = "buquet.json with {\"format\":1,\"shard_digits\":1}";

#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    format: u32,
    shard_digits: u32,
    created_at: Timestamp,
    commit: CommitId,
}

/// What a marker says besides the layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Marked {
    /// Whether schemas of task types were ever published.
    #[serde(default)]
    pub schemas: bool,
}

/// What became of a place for a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ensured {
    /// What the marker says.
    pub marked: Marked,
    /// Told if the queue was made just now.
    pub made: Option<Made>,
}

/// A queue that was made just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// An object that lay there before and is not ours, if there is one.
    pub beside: Option<String>,
}

/// Checks the marker; where there is none, probes the store and writes it.
///
/// # Errors
/// [`Error::Layout`], [`Error::Unsupported`] and the store's.
pub async fn ensure(bucket: &Bucket) -> Result<Ensured> {
    if let Some(marked) = find(bucket).await? {
        return Ok(Ensured { marked, made: None });
    }
    let beside = foreign(bucket).await?;
    let commit = CommitId::random(bucket.entropy());
    probe::probe(bucket.store(), &commit.to_string()).await?;
    let marker = Marker { format: FORMAT, shard_digits: SHARD_DIGITS, created_at: bucket.now(), commit };
    let body = serde_json::to_vec(&marker).map_err(|error| Error::Internal(error.to_string()))?;
    match bucket.commit(keys::MARKER, Bytes::from(body), &Condition::IfAbsent, commit).await? {
        Committed::Landed(_) | Committed::Lost(None) => {
            Ok(Ensured { marked: Marked::default(), made: Some(Made { beside }) })
        }
        Committed::Lost(Some(object)) => Ok(Ensured { marked: read(bucket, &object.body)?, made: None }),
    }
}

/// What the marker says, if there is one.
///
/// # Errors
/// [`Error::Layout`], [`Error::Corrupt`] and the store's.
pub async fn find(bucket: &Bucket) -> Result<Option<Marked>> {
    match bucket.get(keys::MARKER, None).await?.value {
        Got::Found(object) => read(bucket, &object.body).map(Some),
        Got::Missing | Got::NotModified => Ok(None),
    }
}

/// An object in the prefix that is none of ours: one of the first few, where a website or a backup shows itself.
async fn foreign(bucket: &Bucket) -> Result<Option<String>> {
    match bucket.list("", None, FIRST_FEW).await {
        Ok(page) => Ok(page.value.entries.into_iter().map(|entry| entry.key).find(|key| !keys::is_ours(key))),
        // Who may not list is told so by what needs it.
        Err(error) if error.kind == StoreErrorKind::Denied => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What the marker says by now; as before where it is gone.
///
/// # Errors
/// As [`find`].
pub async fn look(bucket: &Bucket) -> Result<Marked> {
    find(bucket).await.map(Option::unwrap_or_default)
}

fn read(bucket: &Bucket, body: &[u8]) -> Result<Marked> {
    check(&bucket.store().url(), body)?;
    Ok(serde_json::from_slice(body).unwrap_or_default())
}

/// Lets the marker say that there are schemas, so that whoever opens the queue from now on looks for them.
///
/// # Errors
/// [`Error::Corrupt`] if the marker is gone or cannot be read; the store's.
pub async fn announce_schemas(bucket: &Bucket) -> Result<()> {
    let say = |marker: &mut Map<String, Value>| marker.insert("schemas".into(), true.into());
    amend(bucket, |marker| marker.get("schemas") == Some(&true.into()), say).await
}

/// Lets the marker have the format of a queue in which tasks wait for others, so that versions that would not tell those of an
/// end refuse to open it.
///
/// # Errors
/// As [`announce_schemas`].
pub async fn announce_links(bucket: &Bucket) -> Result<()> {
    let is_there = |marker: &Map<String, Value>| {
        marker.get("format").and_then(Value::as_u64).is_some_and(|format| format >= u64::from(LINKED_FORMAT))
    };
    amend(bucket, is_there, |marker| marker.insert("format".into(), LINKED_FORMAT.into())).await
}

/// Changes the marker, unless it `says` so already.
async fn amend(
    bucket: &Bucket,
    says: impl Fn(&Map<String, Value>) -> bool + Send + Sync,
    say: impl Fn(&mut Map<String, Value>) -> Option<Value> + Send + Sync,
) -> Result<()> {
    for _ in 0..limits::REBASES {
        let Got::Found(object) = bucket.get(keys::MARKER, None).await?.value else {
            return Err(Error::Corrupt(format!("the marker is gone; put back {FORMER}")));
        };
        read(bucket, &object.body)?;
        let mut marker: Map<String, Value> = serde_json::from_slice(&object.body)
            .map_err(|error| Error::Corrupt(format!("{} cannot be read: {error}", keys::MARKER)))?;
        if says(&marker) {
            return Ok(());
        }
        let commit = CommitId::random(bucket.entropy());
        say(&mut marker);
        marker.insert("commit".into(), commit.to_string().into());
        let body = serde_json::to_vec(&marker).map_err(|error| Error::Internal(error.to_string()))?;
        let condition = Condition::IfMatch(object.etag);
        if let Committed::Landed(_) = bucket.commit(keys::MARKER, Bytes::from(body), &condition, commit).await? {
            return Ok(());
        }
    }
    Err(Error::Unavailable(format!("{} is changed by others all the time; try again", keys::MARKER)))
}

/// Checks what a marker says; `url` is the queue's, for messages.
///
/// # Errors
/// [`Error::Layout`] if a newer version wrote it, [`Error::Corrupt`] if it cannot be read.
pub fn check(url: &str, body: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct Layout {
        format: u32,
        shard_digits: u32,
    }
    let layout = serde_json::from_slice(body)
        .map_err(|error| error.to_string())
        .and_then(|layout: Layout| if layout.format == 0 { Err("its format is 0".into()) } else { Ok(layout) })
        .map_err(|error| {
            Error::Corrupt(format!(
                "{} in {url} is not a marker of buquet: {error}. If a queue lies there, put back what the object was, \
                 or {{\"format\":{FORMAT},\"shard_digits\":{SHARD_DIGITS}}}; if not, use another prefix",
                keys::MARKER
            ))
        })?;
    if layout.format > LINKED_FORMAT {
        return Err(Error::Layout(format!(
            "{url} has layout format {}, and this version of buquet knows up to {LINKED_FORMAT}: upgrade buquet",
            layout.format
        )));
    }
    if layout.shard_digits != SHARD_DIGITS {
        return Err(Error::Layout(format!(
            "{url} has {} shard digits, and this version of buquet knows {SHARD_DIGITS} only: upgrade buquet",
            layout.shard_digits
        )));
    }
    Ok(())
}
