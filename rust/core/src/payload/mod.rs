//! Payloads in objects of their own: written before the commit that names them, read when they are asked for, and
//! collected when nothing names them.

mod collect;
mod upload;

use std::collections::BTreeSet;
use std::future::Future;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};

pub use self::collect::Collected;
pub use self::upload::Upload;
use crate::broken::Variant;
use crate::bucket::Bucket;
use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::id::{PayloadId, RecordId};
use crate::keys;
use crate::limits;
use crate::record::{BatchRecord, Extra, Json, PayloadRef, Task};
use crate::store::Got;
use crate::time::Timestamp;

/// Payloads of one commit written at the same time.
const SENDS_IN_FLIGHT: usize = 8;
/// About how much of a record a payload takes that lies elsewhere.
const STOWED_BYTES: usize = 256;

/// A payload as it is known outside of its record.
#[derive(Clone, Debug)]
pub struct Payload {
    /// The record whose tasks may name it.
    pub owner: RecordId,
    /// When its first piece was written, if that is known.
    pub at: Option<Timestamp>,
    /// What the record says of it.
    pub name: PayloadRef,
}

impl Payload {
    /// Refuses a payload that may be collected before a commit names it.
    ///
    /// # Errors
    /// [`Error::Invalid`] saying what to do.
    pub fn check_fresh(&self, now: Timestamp) -> Result<()> {
        self.name.check().map_err(|what| Error::Invalid(format!("payload {}: {what}", self.name.id)))?;
        if self.at.is_some_and(|at| now <= at.after(limits::PAYLOAD_FRESH)) {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "payload {} was not begun within the last {} hours, or does not say when: write it again",
            self.name.id,
            limits::PAYLOAD_FRESH.as_secs() / 3600
        )))
    }
}

/// JSON on its way into an object of its own.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// What the record will say of it.
    pub name: PayloadRef,
    key: String,
    body: Bytes,
}

/// The payloads of one commit.
#[derive(Clone, Debug, Default)]
pub struct Parcels(Vec<Parcel>);

impl Parcels {
    /// Takes the large inputs out of tasks that are to be stored in the record `owner`.
    pub fn of_inputs(owner: RecordId, tasks: &mut [Task], entropy: &Entropy) -> Self {
        let mut parcels = Vec::new();
        for task in tasks.iter_mut().filter(|task| task.input.text().len() > limits::INLINE_BYTES) {
            let parcel = Parcel::pack(owner, &task.input, entropy);
            task.input = Json::null();
            task.input_ref = Some(Box::new(parcel.name.clone()));
            parcels.push(parcel);
        }
        Self(parcels)
    }

    /// Adds one.
    pub fn push(&mut self, parcel: Parcel) {
        self.0.push(parcel);
    }

    /// What a record says of them.
    pub fn names(&self) -> impl Iterator<Item = &PayloadRef> {
        self.0.iter().map(|parcel| &parcel.name)
    }

    /// Runs a commit that names them, once they are written.
    ///
    /// # Errors
    /// The store's, and what the commit fails with.
    pub async fn around<T>(
        &self,
        bucket: &Bucket,
        variant: Variant,
        commit: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        if variant.stows_late() {
            let committed = commit.await?;
            // What is not written now is never written: that is what is wrong with it.
            let _ = self.send(bucket).await;
            return Ok(committed);
        }
        self.send(bucket).await?;
        commit.await
    }

    async fn send(&self, bucket: &Bucket) -> Result<()> {
        let sends = self.0.iter().map(|parcel| parcel.send(bucket));
        stream::iter(sends).buffer_unordered(SENDS_IN_FLIGHT).boxed().try_collect().await
    }
}

/// The objects of those payloads that were written for `record` and that it does not name, or not any more: nobody
/// ever will.
pub fn unnamed<'a>(record: &BatchRecord, written: impl Iterator<Item = &'a PayloadRef>) -> Vec<String> {
    let mut written = written.peekable();
    if written.peek().is_none() {
        return Vec::new(); // as nearly always: the record need not be gone through
    }
    let named: BTreeSet<PayloadId> = record.tasks.iter().flat_map(Task::payloads).map(|name| name.id).collect();
    let gone = written.filter(|name| !named.contains(&name.id));
    gone.flat_map(|name| (0..name.pieces).map(|n| keys::payload(record.id, name.id, n))).collect()
}

/// How much of a record an input takes.
#[must_use]
pub fn inline_bytes(input: &Json) -> usize {
    let bytes = input.text().len();
    if bytes > limits::INLINE_BYTES { STOWED_BYTES } else { bytes }
}

impl Parcel {
    /// Packs `json` for a task of the record `owner`, under a name that was never used before.
    #[must_use]
    pub fn pack(owner: RecordId, json: &Json, entropy: &Entropy) -> Self {
        let id = PayloadId::random(entropy);
        let body = Bytes::copy_from_slice(json.text().as_bytes());
        let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let name = PayloadRef { id, bytes, pieces: 1, sha256: hex(&Sha256::digest(&body)), extra: Extra::new() };
        Self { name, key: keys::payload(owner, id, 0), body }
    }

    /// Writes it. Afterwards a record may name it.
    ///
    /// # Errors
    /// The store's.
    pub async fn send(&self, bucket: &Bucket) -> Result<()> {
        bucket.put(&self.key, self.body.clone()).await?;
        Ok(())
    }
}

/// Reads one piece of a payload, checked as far as one piece can be.
///
/// # Errors
/// [`Error::Corrupt`] if it is gone or is not what the record says; [`Error::Invalid`] if there is no such piece; the
/// store's.
pub async fn read_piece(bucket: &Bucket, owner: RecordId, name: &PayloadRef, n: u32) -> Result<Bytes> {
    if n >= name.pieces {
        return Err(Error::Invalid(format!("payload {} has {} pieces, from 0; there is no {n}", name.id, name.pieces)));
    }
    let key = keys::payload(owner, name.id, n);
    let most = usize::try_from(name.bytes).unwrap_or(usize::MAX).min(limits::PIECE_BYTES);
    let Got::Found(object) = bucket.get_large(&key, most).await?.value else {
        return Err(Error::Corrupt(format!(
            "{key} is gone, and record {owner} names it: it was deleted by hand, or by a lifecycle rule on payloads/"
        )));
    };
    let alone = name.pieces == 1;
    let length = u64::try_from(object.body.len()).unwrap_or(u64::MAX);
    if length > name.bytes || (alone && (length != name.bytes || hex(&Sha256::digest(&object.body)) != name.sha256)) {
        return Err(Error::Corrupt(format!("{key} is not what was written there: its length or SHA-256 is another")));
    }
    Ok(object.body)
}

/// Reads JSON that lies in an object of its own.
///
/// # Errors
/// As [`read_piece`]; [`Error::Corrupt`] if it is no JSON that every front can read.
pub async fn read_json(bucket: &Bucket, owner: RecordId, name: &PayloadRef) -> Result<Json> {
    let body = read_piece(bucket, owner, name, 0).await?;
    let json = std::str::from_utf8(&body).ok().and_then(|text| Json::parse(text).ok());
    json.filter(|json| json.check_readable().is_ok())
        .ok_or_else(|| Error::Corrupt(format!("{} holds no JSON", keys::payload(owner, name.id, 0))))
}

fn hex(digest: &[u8]) -> String {
    use std::fmt::Write;
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
