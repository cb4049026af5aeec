//! Operations on payloads that lie in objects of their own.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::span::Span;
use super::{Engine, answer};
use crate::error::{Error, Result};
use crate::id::{PayloadId, RecordId, TaskId};
use crate::limits;
use crate::payload::{Collected, Payload, Upload, read_piece};
use crate::queue::CorruptObject;
use crate::record::{Extra, PayloadRef};
use crate::time::Timestamp;

/// Payloads that are being written, by their ids.
pub type Uploads = BTreeMap<PayloadId, Upload>;

/// A payload as callers name it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadName {
    owner: RecordId,
    id: PayloadId,
    bytes: u64,
    pieces: u32,
    sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
}

impl From<PayloadName> for Payload {
    fn from(name: PayloadName) -> Self {
        let PayloadName { owner, id, bytes, pieces, sha256, at } = name;
        Self { owner, at, name: PayloadRef { id, bytes, pieces, sha256, extra: Extra::new() } }
    }
}

impl From<Payload> for PayloadName {
    fn from(payload: Payload) -> Self {
        Self { at: payload.at, ..Self::of(payload.owner, payload.name) }
    }
}

impl PayloadName {
    /// The name of a payload that `owner` names.
    pub fn of(owner: RecordId, name: PayloadRef) -> Self {
        Self { owner, id: name.id, bytes: name.bytes, pieces: name.pieces, sha256: name.sha256, at: None }
    }

    /// The names of payloads that `owner` names.
    pub fn all(owner: RecordId, names: Vec<PayloadRef>) -> Vec<Self> {
        names.into_iter().map(|name| Self::of(owner, name)).collect()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadWrite {
    upload: Option<PayloadId>,
    owner: Option<TaskId>,
    data: String,
    #[serde(default)]
    last: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadRead {
    payload: PayloadName,
    #[serde(default)]
    piece: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadCollect {
    older_than: Option<Span>,
    limit: Option<usize>,
    cursor: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Serialize)]
pub struct Written {
    upload: PayloadId,
    payload: Option<PayloadName>,
}

#[derive(Debug, Serialize)]
pub struct Piece {
    data: String,
}

#[derive(Debug, Serialize)]
pub struct CollectedAnswer {
    orphans: usize,
    bytes: u64,
    kept: usize,
    cursor: Option<String>,
    corrupt: Vec<CorruptObject>,
}

impl From<Collected> for CollectedAnswer {
    fn from(collected: Collected) -> Self {
        let Collected { orphans, bytes, kept, cursor, corrupt } = collected;
        Self { orphans, bytes, kept, cursor, corrupt }
    }
}

impl Engine {
    /// Runs the operation `op`, whose name begins with `payload.`.
    pub(super) async fn payload(&self, op: &str, request: &[u8]) -> Result<String> {
        match op {
            "payload.write" => answer(&self.payload_write(super::parse(op, request)?).await?),
            "payload.read" => answer(&self.payload_read(super::parse(op, request)?).await?),
            "payload.collect" => answer(&self.payload_collect(super::parse(op, request)?).await?),
            _ => Err(super::unknown(op)),
        }
    }

    async fn payload_write(&self, request: PayloadWrite) -> Result<Written> {
        let PayloadWrite { upload, owner, data, last } = request;
        let piece = decode(&data)?;
        let bucket = self.queue().await?.bucket();
        let mut uploading = match upload {
            Some(id) => self.resume(id)?,
            None => Upload::begin(bucket, owner.map(TaskId::record)),
        };
        let id = uploading.id();
        if let Err(error) = uploading.append_unless_empty(bucket, piece).await {
            // The same piece may be sent again.
            self.put_off(uploading)?;
            return Err(error);
        }
        if last {
            let payload = uploading.finish(bucket).await?;
            return Ok(Written { upload: id, payload: Some(payload.into()) });
        }
        self.put_off(uploading)?;
        Ok(Written { upload: id, payload: None })
    }

    fn resume(&self, id: PayloadId) -> Result<Upload> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner).remove(&id).ok_or_else(|| {
            Error::Invalid(format!(
                "this engine is not writing a payload {id}: it was ended, or another piece of it is on its way; send \
                 one piece after the other"
            ))
        })
    }

    /// Keeps an upload until its next piece comes.
    fn put_off(&self, upload: Upload) -> Result<()> {
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.queue.get().map_or_else(Timestamp::default, |queue| queue.bucket().now());
        uploads.retain(|_, upload| upload.is_fresh(now));
        if uploads.len() >= limits::UPLOADS {
            return Err(Error::Unavailable(format!(
                "{} payloads are being written already; end some of them with a last piece",
                limits::UPLOADS
            )));
        }
        uploads.insert(upload.id(), upload);
        drop(uploads);
        Ok(())
    }

    async fn payload_read(&self, request: PayloadRead) -> Result<Piece> {
        let payload = Payload::from(request.payload);
        payload.name.check().map_err(|what| Error::Invalid(format!("payload {}: {what}", payload.name.id)))?;
        let bucket = self.existing().await?.bucket();
        let piece = read_piece(bucket, payload.owner, &payload.name, request.piece).await?;
        Ok(Piece { data: BASE64.encode(&piece) })
    }

    async fn payload_collect(&self, request: PayloadCollect) -> Result<CollectedAnswer> {
        let PayloadCollect { older_than, limit, cursor, dry_run } = request;
        let older_than = older_than.map_or(limits::PAYLOAD_GRACE, |span| span.0);
        let limit = limit.unwrap_or(limits::PAGE);
        let queue = self.looked_through().await?;
        Ok(queue.collect_payloads(older_than, limit, cursor.as_deref(), dry_run).await?.into())
    }
}

fn decode(data: &str) -> Result<Bytes> {
    BASE64
        .decode(data)
        .map(Bytes::from)
        .map_err(|error| Error::Invalid(format!("data is not base64 (the standard alphabet, with padding): {error}")))
}
