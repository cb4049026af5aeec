//! Listings as S3 answers them: objects, by both versions of the operation, and versions.

use buquet_core::store::VersionId;
use buquet_core::store::hosted::{Line, Lines};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{
    CommonPrefix, DeleteMarkerEntry, EncodingType, ListObjectVersionsInput, ListObjectVersionsOutput, ListObjectsInput,
    ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, Object, ObjectStorageClass, ObjectVersion,
    ObjectVersionStorageClass,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use crate::buckets::Buckets;
use crate::failure::failure;
use crate::listing::{MOST, Page, Query, Start, list};
use crate::names;
use crate::tags;

/// What is left as it is in an encoded name.
const SAFE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/').remove(b'*');

/// How names are written into the answer: encoded where the client asks for it, since XML cannot hold every character.
struct Spelling(Option<EncodingType>);

impl Spelling {
    fn new(asked: Option<EncodingType>) -> S3Result<Self> {
        match asked {
            Some(other) if other.as_str() != EncodingType::URL => {
                Err(s3_error!(InvalidArgument, "The only encoding-type is url."))
            }
            asked => Ok(Self(asked)),
        }
    }

    fn write(&self, name: String) -> String {
        if self.0.is_some() { utf8_percent_encode(&name, SAFE).to_string() } else { name }
    }

    fn write_any(&self, name: Option<String>) -> Option<String> {
        name.map(|name| self.write(name))
    }

    fn objects(&self, lines: Vec<Line>) -> Vec<Object> {
        let object = |line: Line| Object {
            e_tag: Some(tags::shown(&line.etag)),
            key: Some(self.write(line.key)),
            last_modified: Some(tags::time(line.last_modified)),
            size: i64::try_from(line.size).ok(),
            storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
            ..Object::default()
        };
        lines.into_iter().map(object).collect()
    }

    fn groups(&self, groups: Vec<String>) -> Option<Vec<CommonPrefix>> {
        let groups: Vec<_> = groups.into_iter().map(|group| CommonPrefix { prefix: Some(self.write(group)) }).collect();
        Some(groups).filter(|groups| !groups.is_empty())
    }
}

fn limit(max_keys: Option<i32>) -> S3Result<usize> {
    let asked = max_keys.map_or(Ok(MOST), usize::try_from);
    asked.map(|asked| asked.min(MOST)).map_err(|_| s3_error!(InvalidArgument, "max-keys is 0 or more."))
}

async fn page(
    buckets: &Buckets,
    bucket: &str,
    prefix: Option<&str>,
    delimiter: Option<&str>,
    start: Start,
    limit: usize,
) -> S3Result<Page> {
    buckets.check(bucket).await?;
    let query = Query { bucket, prefix: prefix.unwrap_or_default(), delimiter, start, limit };
    list(buckets.store(), &query).await
}

pub async fn objects(
    buckets: &Buckets,
    request: S3Request<ListObjectsInput>,
) -> S3Result<S3Response<ListObjectsOutput>> {
    let input = request.input;
    let spelling = Spelling::new(input.encoding_type)?;
    let limit = limit(input.max_keys)?;
    let (prefix, delimiter) = (input.prefix.as_deref(), input.delimiter.as_deref());
    let start = Start::after_marker(input.marker.as_deref(), prefix.unwrap_or_default(), delimiter);
    let page = page(buckets, &input.bucket, prefix, delimiter, start, limit).await?;
    let next = match &page.next {
        Some(Start::After(name) | Start::AfterGroup(name)) => Some(spelling.write(name.clone())),
        Some(Start::First) | None => None,
    };
    Ok(S3Response::new(ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(spelling.write(input.prefix.unwrap_or_default())),
        marker: Some(spelling.write(input.marker.unwrap_or_default())),
        max_keys: i32::try_from(limit).ok(),
        is_truncated: Some(page.next.is_some()),
        contents: Some(spelling.objects(page.objects)),
        common_prefixes: spelling.groups(page.groups),
        delimiter: spelling.write_any(input.delimiter),
        next_marker: next,
        encoding_type: spelling.0,
        request_charged: None,
    }))
}

pub async fn objects_v2(
    buckets: &Buckets,
    request: S3Request<ListObjectsV2Input>,
) -> S3Result<S3Response<ListObjectsV2Output>> {
    let input = request.input;
    let spelling = Spelling::new(input.encoding_type)?;
    let limit = limit(input.max_keys)?;
    let start = match (&input.continuation_token, &input.start_after) {
        (Some(token), _) => Start::from_token(token)?,
        (None, Some(after)) if !after.is_empty() => Start::After(after.clone()),
        (None, _) => Start::First,
    };
    let page = page(buckets, &input.bucket, input.prefix.as_deref(), input.delimiter.as_deref(), start, limit).await?;
    Ok(S3Response::new(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(spelling.write(input.prefix.unwrap_or_default())),
        max_keys: i32::try_from(limit).ok(),
        key_count: i32::try_from(page.objects.len() + page.groups.len()).ok(),
        continuation_token: input.continuation_token,
        is_truncated: Some(page.next.is_some()),
        next_continuation_token: page.next.as_ref().map(Start::token),
        contents: Some(spelling.objects(page.objects)),
        common_prefixes: spelling.groups(page.groups),
        delimiter: spelling.write_any(input.delimiter),
        start_after: spelling.write_any(input.start_after),
        encoding_type: spelling.0,
        request_charged: None,
    }))
}

pub async fn versions(
    buckets: &Buckets,
    request: S3Request<ListObjectVersionsInput>,
) -> S3Result<S3Response<ListObjectVersionsOutput>> {
    let input = request.input;
    buckets.check(&input.bucket).await?;
    if input.delimiter.as_deref().is_some_and(|delimiter| !delimiter.is_empty()) {
        return Err(s3_error!(NotImplemented, "Versions are not grouped at a delimiter on this server."));
    }
    let spelling = Spelling::new(input.encoding_type)?;
    let limit = limit(input.max_keys)?;
    let prefix = names::object(&input.bucket, input.prefix.as_deref().unwrap_or_default());
    let marker = input.key_marker.as_deref().filter(|marker| !marker.is_empty());
    let key = marker.map(|marker| names::object(&input.bucket, marker));
    let version = input.version_id_marker.clone().filter(|version| !version.is_empty()).map(VersionId);
    let after = key.as_deref().map(|key| (key, version.as_ref()));
    let listed = match limit {
        // The store gives at least one.
        0 => Lines::default(),
        _ => buckets.store().all_versions(&prefix, after, limit).await.map_err(|error| failure(&error))?.value,
    };
    let last = listed.lines.last().filter(|_| listed.more);
    let next_key = last.map(|line| spelling.write(names::key(&input.bucket, &line.key).to_owned()));
    let next_version = last.map(|line| line.version.0.clone());
    let (markers, versions): (Vec<Line>, Vec<Line>) = listed.lines.into_iter().partition(|line| line.marker);
    let key = |line: &Line| Some(spelling.write(names::key(&input.bucket, &line.key).to_owned()));
    Ok(S3Response::new(ListObjectVersionsOutput {
        versions: Some(versions.into_iter().map(|line| version_entry(key(&line), line)).collect()),
        delete_markers: Some(markers.into_iter().map(|line| marker_entry(key(&line), line)).collect()),
        is_truncated: Some(listed.more),
        next_key_marker: next_key,
        next_version_id_marker: next_version,
        prefix: Some(spelling.write(input.prefix.unwrap_or_default())),
        key_marker: Some(spelling.write(input.key_marker.unwrap_or_default())),
        version_id_marker: input.version_id_marker,
        max_keys: i32::try_from(limit).ok(),
        name: Some(input.bucket.clone()),
        encoding_type: spelling.0.clone(),
        ..ListObjectVersionsOutput::default()
    }))
}

fn version_entry(key: Option<String>, line: Line) -> ObjectVersion {
    ObjectVersion {
        e_tag: Some(tags::shown(&line.etag)),
        is_latest: Some(line.latest),
        key,
        last_modified: Some(tags::time(line.last_modified)),
        size: i64::try_from(line.size).ok(),
        storage_class: Some(ObjectVersionStorageClass::from_static(ObjectVersionStorageClass::STANDARD)),
        version_id: Some(line.version.0),
        ..ObjectVersion::default()
    }
}

fn marker_entry(key: Option<String>, line: Line) -> DeleteMarkerEntry {
    DeleteMarkerEntry {
        is_latest: Some(line.latest),
        key,
        last_modified: Some(tags::time(line.last_modified)),
        version_id: Some(line.version.0),
        owner: None,
    }
}
