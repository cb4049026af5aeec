//! Receiving a body, and holding it against the checksums that came with it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use hyper::HeaderMap;
use md5::{Digest, Md5};
use s3s::checksum::ChecksumHasher;
use s3s::dto::{Checksum, StreamingBlob};
use s3s::{S3Error, S3ErrorCode, S3Result, TrailingHeaders, s3_error};

/// The largest object, in bytes: what a SQLite file takes.
pub const LARGEST: usize = 64 << 20;

/// What a client claims of the bytes that it sends.
#[derive(Debug, Default)]
pub struct Claims {
    pub md5: Option<String>,
    pub sums: Checksum,
}

/// Takes the claims out of the input of an operation that has a body.
macro_rules! claims {
    ($input:expr) => {
        $crate::checksums::Claims {
            md5: $input.content_md5.take(),
            sums: s3s::dto::Checksum {
                checksum_crc32: $input.checksum_crc32.take(),
                checksum_crc32c: $input.checksum_crc32c.take(),
                checksum_crc64nvme: $input.checksum_crc64nvme.take(),
                checksum_sha1: $input.checksum_sha1.take(),
                checksum_sha256: $input.checksum_sha256.take(),
                checksum_type: None,
            },
        }
    };
}
pub(crate) use claims;

/// A body that is what its sender claimed.
#[derive(Debug)]
pub struct Received {
    pub body: Bytes,
    pub md5: [u8; 16],
    /// The claims that were found right.
    pub sums: Checksum,
}

/// Reads a body to its end and checks what was claimed of it, before it or in trailers behind it.
pub async fn receive(
    body: Option<StreamingBlob>,
    mut claims: Claims,
    trailers: Option<&TrailingHeaders>,
) -> S3Result<Received> {
    let body = collect(body).await?;
    if let Some(trailers) = trailers.and_then(TrailingHeaders::take) {
        claims.add(&trailers);
    }
    let md5: [u8; 16] = Md5::digest(&body).into();
    if claims.md5.is_some_and(|claimed| claimed != STANDARD.encode(md5)) {
        return Err(s3_error!(BadDigest, "The Content-MD5 is not that of the body."));
    }
    if compute(&claims.sums, &body) != claims.sums {
        return Err(s3_error!(BadDigest, "A checksum is not that of the body."));
    }
    Ok(Received { body, md5, sums: claims.sums })
}

async fn collect(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let Some(mut body) = body else { return Ok(Bytes::new()) };
    // Copied even where it comes in one piece: that is a part of the connection's buffer, which may be far larger and
    // would live as long as the object.
    let mut whole = BytesMut::new();
    while let Some(piece) = body.next().await {
        whole.extend_from_slice(&piece.map_err(|error| S3Error::with_source(S3ErrorCode::IncompleteBody, error))?);
        if whole.len() > LARGEST {
            return Err(s3_error!(EntityTooLarge, "An object has at most 64 MiB on this server."));
        }
    }
    Ok(whole.freeze())
}

/// The checksums of the kinds that `claimed` has.
fn compute(claimed: &Checksum, body: &[u8]) -> Checksum {
    let mut hasher = ChecksumHasher {
        crc32: claimed.checksum_crc32.as_ref().map(|_| s3s::crypto::Crc32::default()),
        crc32c: claimed.checksum_crc32c.as_ref().map(|_| s3s::crypto::Crc32c::default()),
        sha1: claimed.checksum_sha1.as_ref().map(|_| s3s::crypto::Sha1::default()),
        sha256: claimed.checksum_sha256.as_ref().map(|_| s3s::crypto::Sha256::default()),
        crc64nvme: claimed.checksum_crc64nvme.as_ref().map(|_| s3s::crypto::Crc64Nvme::default()),
    };
    hasher.update(body);
    hasher.finalize()
}

impl Claims {
    fn add(&mut self, trailers: &HeaderMap) {
        let sums = &mut self.sums;
        for (name, place) in [
            ("x-amz-checksum-crc32", &mut sums.checksum_crc32),
            ("x-amz-checksum-crc32c", &mut sums.checksum_crc32c),
            ("x-amz-checksum-crc64nvme", &mut sums.checksum_crc64nvme),
            ("x-amz-checksum-sha1", &mut sums.checksum_sha1),
            ("x-amz-checksum-sha256", &mut sums.checksum_sha256),
        ] {
            if let Some(value) = trailers.get(name).and_then(|value| value.to_str().ok()) {
                *place = Some(value.to_owned());
            }
        }
    }
}
