//! Uploads in parts. Parts lie in the store until the upload is completed or given up.

use buquet_core::entropy::Entropy;
use buquet_core::store::hosted::Content;
use buquet_core::store::{Condition, ETag as StoredTag, Got, Listed, Object, Put, VersionId};
use bytes::{Bytes, BytesMut};
use md5::{Digest, Md5};
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput, CompleteMultipartUploadOutput,
    CompletedPart, CopyPartResult, CreateMultipartUploadInput, CreateMultipartUploadOutput, ListPartsInput,
    ListPartsOutput, Part, Range, UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use serde::{Deserialize, Serialize};

use crate::buckets::Buckets;
use crate::checksums::{LARGEST, claims, receive};
use crate::failure::failure;
use crate::head::{Head, head, refuse_unserved};
use crate::names;
use crate::objects::{Known, hex, source, unhex, write};
use crate::tags;

/// What every part but the last must have, in bytes, as on S3.
const SMALLEST: usize = 5 << 20;

/// The most parts of an upload.
const MOST: i32 = 10_000;

/// An upload, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Upload {
    bucket: String,
    key: String,
    head: Head,
}

pub async fn create(
    buckets: &Buckets,
    entropy: &Entropy,
    request: S3Request<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    let mut input = request.input;
    refuse_unserved!(input);
    buckets.check(&input.bucket).await?;
    let id = hex(&entropy.bytes());
    let upload = Upload { bucket: input.bucket.clone(), key: input.key.clone(), head: head!(input) };
    let body = serde_json::to_vec(&upload).map_err(|_| s3_error!(InternalError))?;
    put(buckets, &names::upload(&id), Bytes::from(body)).await?;
    Ok(S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(id),
        ..CreateMultipartUploadOutput::default()
    }))
}

async fn put(buckets: &Buckets, name: &str, body: Bytes) -> S3Result<StoredTag> {
    match buckets.store().put(name, body, &Condition::Always).await.map_err(|error| failure(&error))?.value {
        Put::Stored(tag) => Ok(tag),
        Put::Refused => Err(s3_error!(InternalError)),
    }
}

async fn get(buckets: &Buckets, name: &str) -> S3Result<Option<Object>> {
    match buckets.store().get(name, None).await.map_err(|error| failure(&error))?.value {
        Got::Found(object) => Ok(Some(object)),
        Got::Missing | Got::NotModified => Ok(None),
    }
}

/// The upload that a request names.
async fn find(buckets: &Buckets, id: &str, bucket: &str, key: &str) -> S3Result<Upload> {
    buckets.check(bucket).await?;
    let gone = || s3_error!(NoSuchUpload, "There is no such upload: it was completed, given up, or never begun.");
    let object = get(buckets, &names::upload(id)).await?.ok_or_else(gone)?;
    let upload: Upload = serde_json::from_slice(&object.body).map_err(|_| s3_error!(InternalError))?;
    if upload.bucket == bucket && upload.key == key { Ok(upload) } else { Err(gone()) }
}

fn check_number(number: i32) -> S3Result<()> {
    if (1..=MOST).contains(&number) {
        Ok(())
    } else {
        Err(s3_error!(InvalidArgument, "Parts are numbered 1 to 10,000."))
    }
}

pub async fn add(buckets: &Buckets, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
    let S3Request { mut input, trailing_headers, .. } = request;
    check_number(input.part_number)?;
    find(buckets, &input.upload_id, &input.bucket, &input.key).await?;
    let claims = claims!(input);
    let received = receive(input.body.take(), claims, trailing_headers.as_ref()).await?;
    let tag = put(buckets, &names::part(&input.upload_id, input.part_number), received.body).await?;
    let sums = received.sums;
    Ok(S3Response::new(UploadPartOutput {
        e_tag: Some(tags::shown(&tag)),
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
        ..UploadPartOutput::default()
    }))
}

pub async fn add_copy(
    buckets: &Buckets,
    request: S3Request<UploadPartCopyInput>,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let input = request.input;
    check_number(input.part_number)?;
    find(buckets, &input.upload_id, &input.bucket, &input.key).await?;
    let known = Known {
        matching: input.copy_source_if_match.as_ref(),
        other_than: input.copy_source_if_none_match.as_ref(),
        modified_since: input.copy_source_if_modified_since.as_ref(),
        unmodified_since: input.copy_source_if_unmodified_since.as_ref(),
    };
    let mut body = source(buckets, &input.copy_source, &known).await?.content.body;
    if let Some(range) = &input.copy_source_range {
        let range = Range::parse(range).map_err(|_| s3_error!(InvalidArgument, "The range cannot be read."))?;
        let wanted = range.check(body.len() as u64)?;
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(body.len());
        body = body.slice(place(wanted.start)..place(wanted.end));
    }
    let tag = put(buckets, &names::part(&input.upload_id, input.part_number), body).await?;
    Ok(S3Response::new(UploadPartCopyOutput {
        copy_part_result: Some(CopyPartResult {
            e_tag: Some(tags::shown(&tag)),
            last_modified: Some(tags::time(buckets.store().now())),
            ..CopyPartResult::default()
        }),
        ..UploadPartCopyOutput::default()
    }))
}

pub async fn complete(
    buckets: &Buckets,
    request: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let input = request.input;
    let named = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
    let (tag, version) = match find(buckets, &input.upload_id, &input.bucket, &input.key).await {
        Ok(upload) => {
            let condition = tags::condition(input.if_match.as_ref(), input.if_none_match.as_ref())?;
            let (body, tag) = join(buckets, &input.upload_id, &named).await?;
            let content = Content { body, etag: tag.clone(), head: upload.head.encode() };
            let version = write(buckets, &input.bucket, &input.key, content, &condition).await?;
            forget(buckets, &input.upload_id).await?;
            (tag, version)
        }
        // Whoever lost the answer asks again.
        Err(error) => completed_before(buckets, &input.bucket, &input.key, &named).await?.ok_or(error)?,
    };
    Ok(S3Response::new(CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        bucket: Some(input.bucket),
        key: Some(input.key),
        e_tag: Some(tags::shown(&tag)),
        version_id: Some(version.0),
        ..CompleteMultipartUploadOutput::default()
    }))
}

/// The object that these parts were joined to, if it is still there.
async fn completed_before(
    buckets: &Buckets,
    bucket: &str,
    key: &str,
    named: &[CompletedPart],
) -> S3Result<Option<(StoredTag, VersionId)>> {
    let mut hashes = Md5::new();
    for part in named {
        let tag = part.e_tag.as_ref().map(tags::stored);
        let Some(hash) = tag.and_then(|tag| unhex(tag.0.trim_matches('"'))) else { return Ok(None) };
        hashes.update(hash);
    }
    let tag = tag_of_parts(hashes, named.len());
    let found = buckets.store().read(&names::object(bucket, key), None).await.map_err(|error| failure(&error))?.value;
    let same = found.filter(|held| held.content.as_ref().is_some_and(|content| content.etag == tag));
    Ok(same.map(|held| (tag, held.version)))
}

/// The tag of an object that was uploaded in parts: the hash of their hashes, with their number.
fn tag_of_parts(hashes: Md5, count: usize) -> StoredTag {
    let hash: [u8; 16] = hashes.finalize().into();
    StoredTag(format!("\"{}-{count}\"", hex(&hash)))
}

/// The whole that the parts make, and its tag: the hash of their hashes, with their number.
async fn join(buckets: &Buckets, id: &str, named: &[CompletedPart]) -> S3Result<(Bytes, StoredTag)> {
    let ascending = named.windows(2).all(|pair| matches!(pair, [one, next] if one.part_number < next.part_number));
    if named.is_empty() || !ascending {
        return Err(s3_error!(InvalidPartOrder, "Name the parts in ascending order, at least one."));
    }
    let mut whole = BytesMut::new();
    let mut hashes = Md5::new();
    for (place, part) in named.iter().enumerate() {
        let invalid = || s3_error!(InvalidPart, "A part was not uploaded, or has another tag.");
        let (number, tag) = part.part_number.zip(part.e_tag.as_ref()).ok_or_else(invalid)?;
        let object = get(buckets, &names::part(id, number)).await?.ok_or_else(invalid)?;
        if object.etag != tags::stored(tag) {
            return Err(invalid());
        }
        if object.body.len() < SMALLEST && place + 1 < named.len() {
            return Err(s3_error!(EntityTooSmall, "Every part but the last has at least 5 MiB."));
        }
        hashes.update(Md5::digest(&object.body));
        whole.extend_from_slice(&object.body);
        if whole.len() > LARGEST {
            return Err(s3_error!(EntityTooLarge, "An object has at most 64 MiB on this server."));
        }
    }
    Ok((whole.freeze(), tag_of_parts(hashes, named.len())))
}

/// Removes an upload's parts and then the upload, so that an interrupted removal can be asked for again.
async fn forget(buckets: &Buckets, id: &str) -> S3Result<()> {
    loop {
        let some = page(buckets, id, None, 1_000).await?;
        if some.0.is_empty() {
            break;
        }
        let keys: Vec<String> = some.0.into_iter().map(|entry| entry.key).collect();
        buckets.store().delete_many(&keys).await.map_err(|error| failure(&error))?;
    }
    let removed = buckets.store().delete_many(&[names::upload(id)]).await;
    removed.map(drop).map_err(|error| failure(&error))
}

/// Parts that were uploaded, and whether there are more.
async fn page(buckets: &Buckets, id: &str, after: Option<i32>, limit: usize) -> S3Result<(Vec<Listed>, bool)> {
    let after = after.map(|number| names::part(id, number));
    let page = buckets.store().list(&names::parts(id), after.as_deref(), limit).await;
    let page = page.map_err(|error| failure(&error))?.value;
    Ok((page.entries, page.more))
}

pub async fn abort(
    buckets: &Buckets,
    request: S3Request<AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let input = request.input;
    find(buckets, &input.upload_id, &input.bucket, &input.key).await?;
    forget(buckets, &input.upload_id).await?;
    Ok(S3Response::new(AbortMultipartUploadOutput::default()))
}

pub async fn parts(buckets: &Buckets, request: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
    let input = request.input;
    find(buckets, &input.upload_id, &input.bucket, &input.key).await?;
    let limit = input.max_parts.and_then(|most| usize::try_from(most).ok()).unwrap_or(1_000).clamp(1, 1_000);
    let after = input.part_number_marker.filter(|marker| *marker > 0);
    let (entries, more) = page(buckets, &input.upload_id, after, limit).await?;
    let mut parts = Vec::with_capacity(entries.len());
    for entry in entries {
        let number = entry.key.rsplit('/').next().and_then(|number| number.parse().ok());
        let Some(object) = get(buckets, &entry.key).await? else { continue };
        parts.push(Part {
            e_tag: Some(tags::shown(&object.etag)),
            last_modified: Some(tags::time(entry.last_modified)),
            part_number: number,
            size: i64::try_from(entry.size).ok(),
            ..Part::default()
        });
    }
    Ok(S3Response::new(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        is_truncated: Some(more),
        max_parts: i32::try_from(limit).ok(),
        part_number_marker: input.part_number_marker,
        next_part_number_marker: parts.last().and_then(|part| part.part_number),
        parts: Some(parts),
        ..ListPartsOutput::default()
    }))
}
