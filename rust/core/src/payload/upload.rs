//! Writing a payload piece by piece, so that nobody ever holds all of it.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Payload, hex};
use crate::bucket::Bucket;
use crate::error::{Error, Result};
use crate::id::{PayloadId, RecordId};
use crate::keys;
use crate::limits;
use crate::record::{Extra, PayloadRef};
use crate::time::Timestamp;

/// A payload that is being written. Dropped half way, it leaves pieces that are collected later.
#[derive(Clone, Debug)]
pub struct Upload {
    owner: RecordId,
    id: PayloadId,
    at: Timestamp,
    bytes: u64,
    pieces: u32,
    digest: Sha256,
}

impl Upload {
    /// Begins a payload of a task of `owner`; without one, of a task that is yet to be submitted.
    #[must_use]
    pub fn begin(bucket: &Bucket, owner: Option<RecordId>) -> Self {
        Self {
            owner: owner.unwrap_or_else(|| RecordId::random(bucket.entropy())),
            id: PayloadId::random(bucket.entropy()),
            at: bucket.now(),
            bytes: 0,
            pieces: 0,
            digest: Sha256::new(),
        }
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> PayloadId {
        self.id
    }

    /// Whether a commit may still name it.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now <= self.at.after(limits::PAYLOAD_FRESH)
    }

    /// Writes the next piece, if there is anything in it.
    ///
    /// # Errors
    /// As [`Upload::append`].
    pub async fn append_unless_empty(&mut self, bucket: &Bucket, piece: Bytes) -> Result<()> {
        if piece.is_empty() { Ok(()) } else { self.append(bucket, piece).await }
    }

    /// Writes the next piece.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it makes the payload too large; the store's. The upload is then as it was before.
    pub async fn append(&mut self, bucket: &Bucket, piece: Bytes) -> Result<()> {
        let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        if piece.len() > limits::PIECE_BYTES {
            return Err(Error::Invalid(format!(
                "a piece of {length} bytes; give up to {} at a time",
                limits::PIECE_BYTES
            )));
        }
        if self.bytes + length > limits::PAYLOAD_TOTAL || self.pieces >= limits::PIECES {
            return Err(Error::Invalid(format!(
                "the payload is too large: up to {} bytes in up to {} pieces",
                limits::PAYLOAD_TOTAL,
                limits::PIECES
            )));
        }
        let key = keys::payload(self.owner, self.id, self.pieces);
        bucket.put(&key, piece.clone()).await?;
        self.digest.update(&piece);
        self.bytes += length;
        self.pieces += 1;
        Ok(())
    }

    /// Ends it, once every piece is written.
    ///
    /// # Errors
    /// The store's, for a payload without a piece: it gets an empty one.
    pub async fn finish(mut self, bucket: &Bucket) -> Result<Payload> {
        if self.pieces == 0 {
            self.append(bucket, Bytes::new()).await?;
        }
        let sha256 = hex(&self.digest.finalize());
        let name = PayloadRef { id: self.id, bytes: self.bytes, pieces: self.pieces, sha256, extra: Extra::new() };
        Ok(Payload { owner: self.owner, at: Some(self.at), name })
    }
}
