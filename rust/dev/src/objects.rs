//! Single objects: writing, reading, copying, deleting.

use std::fmt::Write;

use buquet_core::store::hosted::{Content, Deleted, Deletion, Held, Refused};
use buquet_core::store::{Condition, ETag as StoredTag, VersionId};
use buquet_core::time::Timestamp as StoredTime;
use hyper::{HeaderMap, StatusCode};
use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, DeleteObjectInput, DeleteObjectOutput,
    DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETagCondition, Error, GetObjectInput, GetObjectOutput,
    HeadObjectInput, HeadObjectOutput, MetadataDirective, PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp,
};
use s3s::{Body, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use crate::buckets::Buckets;
use crate::checksums::{claims, receive};
use crate::failure::{failure, refusal};
use crate::head::{Head, UNKNOWN_TYPE, head, refuse_unserved};
use crate::names;
use crate::tags;

/// The most deletions of one request.
const MOST: usize = 1_000;

/// An object as it is read.
pub struct Found {
    pub version: VersionId,
    pub last_modified: StoredTime,
    pub content: Content,
    pub head: Head,
}

/// What a reader knows already, or insists on.
#[derive(Default)]
pub struct Known<'a> {
    pub matching: Option<&'a ETagCondition>,
    pub other_than: Option<&'a ETagCondition>,
    pub modified_since: Option<&'a Timestamp>,
    pub unmodified_since: Option<&'a Timestamp>,
}

pub async fn put(buckets: &Buckets, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
    let S3Request { mut input, trailing_headers, .. } = request;
    refuse_unserved!(input);
    buckets.check(&input.bucket).await?;
    let condition = tags::condition(input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let claims = claims!(input);
    let received = receive(input.body.take(), claims, trailing_headers.as_ref()).await?;
    let mut head = head!(input);
    head.content_encoding = head.content_encoding.as_deref().and_then(without_chunks);
    head.add(received.sums.clone());
    let etag = StoredTag(format!("\"{}\"", hex(&received.md5)));
    let content = Content { body: received.body, etag: etag.clone(), head: head.encode() };
    let version = write(buckets, &input.bucket, &input.key, content, &condition).await?;
    let sums = received.sums;
    Ok(S3Response::new(PutObjectOutput {
        e_tag: Some(tags::shown(&etag)),
        version_id: Some(version.0),
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
        ..PutObjectOutput::default()
    }))
}

/// Stores an object.
pub async fn write(
    buckets: &Buckets,
    bucket: &str,
    key: &str,
    content: Content,
    condition: &Condition,
) -> S3Result<VersionId> {
    let written = buckets.store().write(&names::object(bucket, key), content, condition).await;
    written.map_err(|error| failure(&error))?.value.map_err(refusal)
}

/// Bytes as hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // a string takes all
        text
    })
}

/// Hex digits as bytes; `None` if they are none.
pub fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// The encodings but for the one that was only for the way.
fn without_chunks(encodings: &str) -> Option<String> {
    let kept: Vec<&str> = encodings.split(',').map(str::trim).filter(|one| *one != "aws-chunked").collect();
    Some(kept.join(",")).filter(|kept| !kept.is_empty())
}

/// Reads an object, if its reader wants it.
pub async fn find(
    buckets: &Buckets,
    bucket: &str,
    key: &str,
    version: Option<&str>,
    known: &Known<'_>,
) -> S3Result<Found> {
    buckets.check(bucket).await?;
    let version = version.map(|version| VersionId(version.to_owned()));
    let read = buckets.store().read(&names::object(bucket, key), version.as_ref()).await;
    let found = match (read.map_err(|error| failure(&error))?.value, version) {
        (Some(Held { version, last_modified, content: Some(content) }), _) => {
            let head = Head::decode(&content.head);
            Found { version, last_modified, content, head }
        }
        (Some(marker), Some(_)) => return Err(is_marker(s3_error!(MethodNotAllowed), &marker.version)),
        (Some(marker), None) => return Err(is_marker(s3_error!(NoSuchKey), &marker.version)),
        (None, Some(_)) => return Err(s3_error!(NoSuchVersion, "There is no such version of this object.")),
        (None, None) => return Err(s3_error!(NoSuchKey, "There is no object under this key.")),
    };
    known.check(&found)?;
    Ok(found)
}

fn is_marker(mut error: S3Error, version: &VersionId) -> S3Error {
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-delete-marker", hyper::header::HeaderValue::from_static("true"));
    if let Ok(version) = version.0.parse() {
        headers.insert("x-amz-version-id", version);
    }
    error.set_headers(headers);
    error.set_message("The newest version of this object marks its deletion.");
    error
}

impl Known<'_> {
    fn check(&self, found: &Found) -> S3Result<()> {
        let tag = &found.content.etag;
        let modified = tags::header_time(found.last_modified);
        // Where both a tag and a time are named, the tag decides.
        let insisted = match (self.matching, self.unmodified_since) {
            (Some(named), _) => tags::matches(named, tag),
            (None, Some(since)) => modified <= *since,
            (None, None) => true,
        };
        if !insisted {
            return Err(refusal(Refused { exists: true }));
        }
        let known = match (self.other_than, self.modified_since) {
            (Some(named), _) => tags::matches(named, tag),
            (None, Some(since)) => modified <= *since,
            (None, None) => false,
        };
        if known { Err(not_modified(found)) } else { Ok(()) }
    }
}

fn not_modified(found: &Found) -> S3Error {
    let mut error = S3Error::new(S3ErrorCode::NotModified);
    error.set_status_code(StatusCode::NOT_MODIFIED);
    let mut headers = HeaderMap::new();
    if let Ok(tag) = found.content.etag.0.parse() {
        headers.insert(hyper::header::ETAG, tag);
    }
    error.set_headers(headers);
    error
}

pub async fn get(buckets: &Buckets, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
    let input = request.input;
    let known = Known {
        matching: input.if_match.as_ref(),
        other_than: input.if_none_match.as_ref(),
        modified_since: input.if_modified_since.as_ref(),
        unmodified_since: input.if_unmodified_since.as_ref(),
    };
    let found = find(buckets, &input.bucket, &input.key, input.version_id.as_deref(), &known).await?;
    let whole = found.content.body;
    let (body, range) = match input.range {
        None => (whole, None),
        Some(range) => {
            let length = whole.len() as u64;
            let wanted = range.check(length)?;
            if wanted.is_empty() {
                return Err(s3_error!(InvalidRange, "The object has no bytes in this range."));
            }
            let told = format!("bytes {}-{}/{length}", wanted.start, wanted.end.saturating_sub(1));
            let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(whole.len());
            (whole.slice(place(wanted.start)..place(wanted.end)), Some(told))
        }
    };
    // A checksum is of the whole body.
    let head = found.head;
    let sum = |algorithm| if input.checksum_mode.is_some() && range.is_none() { head.sum(algorithm) } else { None };
    Ok(S3Response::new(GetObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        checksum_crc32: sum("CRC32"),
        checksum_crc32c: sum("CRC32C"),
        checksum_crc64nvme: sum("CRC64NVME"),
        checksum_sha1: sum("SHA1"),
        checksum_sha256: sum("SHA256"),
        content_length: i64::try_from(body.len()).ok(),
        content_range: range,
        body: Some(StreamingBlob::from(Body::from(body))),
        cache_control: head.cache_control,
        content_disposition: head.content_disposition,
        content_encoding: head.content_encoding,
        content_language: head.content_language,
        content_type: head.content_type.or_else(|| Some(UNKNOWN_TYPE.to_owned())),
        e_tag: Some(tags::shown(&found.content.etag)),
        last_modified: Some(tags::header_time(found.last_modified)),
        metadata: Some(head.metadata.into_iter().collect()),
        version_id: Some(found.version.0),
        ..GetObjectOutput::default()
    }))
}

pub async fn look(buckets: &Buckets, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
    let input = request.input;
    let known = Known {
        matching: input.if_match.as_ref(),
        other_than: input.if_none_match.as_ref(),
        modified_since: input.if_modified_since.as_ref(),
        unmodified_since: input.if_unmodified_since.as_ref(),
    };
    let found = find(buckets, &input.bucket, &input.key, input.version_id.as_deref(), &known).await?;
    let head = found.head;
    let sum = |algorithm| if input.checksum_mode.is_some() { head.sum(algorithm) } else { None };
    Ok(S3Response::new(HeadObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        checksum_crc32: sum("CRC32"),
        checksum_crc32c: sum("CRC32C"),
        checksum_crc64nvme: sum("CRC64NVME"),
        checksum_sha1: sum("SHA1"),
        checksum_sha256: sum("SHA256"),
        content_length: i64::try_from(found.content.body.len()).ok(),
        cache_control: head.cache_control,
        content_disposition: head.content_disposition,
        content_encoding: head.content_encoding,
        content_language: head.content_language,
        content_type: head.content_type.or_else(|| Some(UNKNOWN_TYPE.to_owned())),
        e_tag: Some(tags::shown(&found.content.etag)),
        last_modified: Some(tags::header_time(found.last_modified)),
        metadata: Some(head.metadata.into_iter().collect()),
        version_id: Some(found.version.0),
        ..HeadObjectOutput::default()
    }))
}

/// Reads the object that a copy is made of.
pub async fn source(buckets: &Buckets, source: &CopySource, known: &Known<'_>) -> S3Result<Found> {
    let CopySource::Bucket { bucket, key, version_id } = source else {
        return Err(s3_error!(NotImplemented, "There are no access points on this server."));
    };
    match find(buckets, bucket, key, version_id.as_deref(), known).await {
        // To a copy, "not modified" is a condition that failed.
        Err(error) if *error.code() == S3ErrorCode::NotModified => Err(refusal(Refused { exists: true })),
        other => other,
    }
}

pub async fn copy(buckets: &Buckets, request: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
    let mut input = request.input;
    refuse_unserved!(input);
    buckets.check(&input.bucket).await?;
    let known = Known {
        matching: input.copy_source_if_match.as_ref(),
        other_than: input.copy_source_if_none_match.as_ref(),
        modified_since: input.copy_source_if_modified_since.as_ref(),
        unmodified_since: input.copy_source_if_unmodified_since.as_ref(),
    };
    let found = source(buckets, &input.copy_source, &known).await?;
    // The condition on the target is in headers that the operation's input lacks.
    let condition = target_condition(&request.headers)?;
    let mut content = found.content;
    if input.metadata_directive.as_ref().is_some_and(|one| one.as_str() == MetadataDirective::REPLACE) {
        let head = Head { checksums: found.head.checksums, ..head!(input) };
        content.head = head.encode();
    }
    let etag = content.etag.clone();
    let version = write(buckets, &input.bucket, &input.key, content, &condition).await?;
    Ok(S3Response::new(CopyObjectOutput {
        copy_object_result: Some(CopyObjectResult {
            e_tag: Some(tags::shown(&etag)),
            last_modified: Some(tags::time(buckets.store().now())),
            ..CopyObjectResult::default()
        }),
        copy_source_version_id: Some(found.version.0),
        version_id: Some(version.0),
        ..CopyObjectOutput::default()
    }))
}

fn target_condition(headers: &HeaderMap) -> S3Result<Condition> {
    let read = |name| {
        let value = headers.get(name).map(|value| ETagCondition::parse_http_header(value.as_bytes()));
        value
            .transpose()
            .map_err(|_| s3_error!(InvalidArgument, "If-Match and If-None-Match take a tag in quotes, or *."))
    };
    tags::condition(read("if-match")?.as_ref(), read("if-none-match")?.as_ref())
}

pub async fn delete(
    buckets: &Buckets,
    request: S3Request<DeleteObjectInput>,
) -> S3Result<S3Response<DeleteObjectOutput>> {
    let input = request.input;
    buckets.check(&input.bucket).await?;
    let condition = tags::condition(input.if_match.as_ref(), None)?;
    let version = input.version_id.map(VersionId);
    let deletion = Deletion { key: names::object(&input.bucket, &input.key), version, condition };
    let deleted = remove(buckets, vec![deletion]).await?.pop().ok_or_else(|| s3_error!(InternalError))?;
    let Deleted { version, marker } = deleted.map_err(refusal)?;
    let output = DeleteObjectOutput {
        delete_marker: marker.filter(|is| *is),
        version_id: Some(version.0),
        ..Default::default()
    };
    Ok(S3Response::new(output))
}

async fn remove(buckets: &Buckets, deletions: Vec<Deletion>) -> S3Result<Vec<Result<Deleted, Refused>>> {
    let removed = buckets.store().remove(deletions).await;
    Ok(removed.map_err(|error| failure(&error))?.value)
}

pub async fn delete_many(
    buckets: &Buckets,
    request: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let input = request.input;
    buckets.check(&input.bucket).await?;
    let wanted = input.delete.objects;
    if wanted.is_empty() || wanted.len() > MOST {
        return Err(s3_error!(MalformedXML, "One request deletes 1 to 1,000 objects."));
    }
    let deletions = wanted.iter().map(|one| Deletion {
        key: names::object(&input.bucket, &one.key),
        version: one.version_id.clone().map(VersionId),
        condition: one.e_tag.as_ref().map_or(Condition::Always, |tag| Condition::IfMatch(tags::stored(tag))),
    });
    let answers = remove(buckets, deletions.collect()).await?;
    let mut output = DeleteObjectsOutput::default();
    let quiet = input.delete.quiet.unwrap_or(false);
    for (one, answer) in wanted.into_iter().zip(answers) {
        match answer {
            Ok(_) if quiet => {}
            Ok(deleted) => output.deleted.get_or_insert_default().push(told(one.key, one.version_id, deleted)),
            Err(refused) => {
                let error = refusal(refused);
                output.errors.get_or_insert_default().push(Error {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(one.key),
                    message: error.message().map(str::to_owned),
                    version_id: one.version_id,
                });
            }
        }
    }
    Ok(S3Response::new(output))
}

fn told(key: String, version_id: Option<String>, deleted: Deleted) -> DeletedObject {
    let marker = deleted.marker == Some(true);
    DeletedObject {
        key: Some(key),
        version_id,
        delete_marker: marker.then_some(true),
        delete_marker_version_id: marker.then_some(deleted.version.0),
    }
}
