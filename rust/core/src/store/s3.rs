//! A bucket on an S3-compatible server, through the AWS SDK.
//!
//! The SDK's own retries are off for every request: [`crate::bucket::Bucket`] retries, and knows what a second
//! sending of a conditional put can mean. Connecting has a time limit here; the whole of a request has the caller's.

mod answer;
mod client;
mod failure;
mod lifecycle;
mod versions;

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::builders::GetObjectFluentBuilder;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::operation::list_objects_v2::builders::ListObjectsV2FluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketVersioningStatus, Delete, ObjectIdentifier};
use aws_smithy_types::DateTime;
use bytes::Bytes;
use tokio::sync::OnceCell;

use self::answer::{ContentMd5, Head};
use self::failure::{Address, Refusal};
use super::{
    Condition, EMPTY_PAGES, ETag, Expires, Expiry, Got, Listed, MAX_KEYS, Object, Page, Put, Store, StoreError,
    StoreErrorKind, StoreKind, StoreResult, Timed, VersionId, VersionPage, too_many_empty_pages,
};
use crate::time::Timestamp;

/// Which bucket, and how to reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3Options {
    /// The bucket's name.
    pub bucket: String,
    /// What every key begins with, without slashes at its ends; empty for the whole bucket.
    pub prefix: String,
    /// The region; `None` asks the AWS configuration (`AWS_REGION`, the profile, the instance).
    pub region: Option<String>,
    /// The server's URL for other servers than AWS's own.
    pub endpoint: Option<String>,
}

/// A [`Store`] over an S3-compatible bucket. It connects at the first request.
pub struct S3Store {
    options: S3Options,
    address: Address,
    client: OnceCell<Client>,
    /// It has answered as an S3 server does.
    speaks_s3: AtomicBool,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the client: its configuration holds credentials.
        f.debug_struct("S3Store").field("options", &self.options).finish_non_exhaustive()
    }
}

impl S3Store {
    /// A store for `options`; nothing is sent yet.
    #[must_use]
    pub fn new(options: S3Options) -> Self {
        let address = Address::new(&options);
        Self { options, address, client: OnceCell::new(), speaks_s3: AtomicBool::new(false) }
    }

    async fn client(&self) -> Result<&Client, StoreError> {
        self.client.get_or_try_init(|| client::connect(&self.options)).await
    }

    fn full_key(&self, key: &str) -> String {
        if self.options.prefix.is_empty() { key.to_owned() } else { format!("{}/{key}", self.options.prefix) }
    }

    /// The key as the store's callers know it.
    fn relative<'a>(&self, key: &'a str) -> Option<&'a str> {
        if self.options.prefix.is_empty() {
            return Some(key);
        }
        key.strip_prefix(&self.options.prefix)?.strip_prefix('/')
    }

    /// Waits for an answer and sorts failures.
    async fn ask<O, E>(
        &self,
        what: &str,
        sending: impl Future<Output = Result<O, SdkError<E, HttpResponse>>> + Send,
    ) -> Result<O, Refusal>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        sending.await.map_err(|error| {
            let mut refusal = self.address.refusal(what, &error);
            if refusal.is_odd() {
                refusal.error.kind = self.kind_of_odd();
            }
            refusal
        })
    }

    fn timed<T>(&self, what: &str, head: &Head, value: T) -> StoreResult<T> {
        let at = head.at().ok_or_else(|| self.odd_answer(what, "the answer has neither a Date nor a Last-Modified"))?;
        self.speaks_s3.store(true, Ordering::Relaxed);
        Ok(Timed { value, at })
    }

    /// What it means that an answer makes no sense. At first that this is no S3 server; later that something on the
    /// way to it spoilt the answer, and the request may have taken effect.
    fn kind_of_odd(&self) -> StoreErrorKind {
        let known = self.speaks_s3.load(Ordering::Relaxed);
        if known { StoreErrorKind::Unavailable } else { StoreErrorKind::Invalid }
    }

    fn odd_answer(&self, what: &str, problem: &str) -> StoreError {
        self.address.error(self.kind_of_odd(), what, &format!("{problem}; is this an S3 server? check the endpoint"))
    }

    fn senseless(&self, what: &str, problem: &str) -> StoreError {
        self.address.error(StoreErrorKind::Invalid, what, problem)
    }

    fn time(&self, what: &str, time: Option<&DateTime>) -> Result<Timestamp, StoreError> {
        let millis = time.and_then(|time| (*time).to_millis().ok());
        millis.map(Timestamp).ok_or_else(|| self.odd_answer(what, "the answer has no valid Last-Modified"))
    }

    async fn read(&self, what: &str, request: GetObjectFluentBuilder) -> StoreResult<Got> {
        let head = Head::default();
        let sending = async { request.customize().interceptor(head.clone()).send().await };
        let output = match self.ask(what, sending).await {
            Ok(output) => output,
            Err(refusal) if refusal.status == 304 => return self.timed(what, &head, Got::NotModified),
            // A GET of a version that only marks a deletion is answered with 405.
            Err(refusal) if refusal.is_missing() || refusal.is_delete_marker() => {
                return self.timed(what, &head, Got::Missing);
            }
            Err(refusal) => return Err(refusal.error),
        };
        let etag = output.e_tag().map(|tag| ETag(tag.to_owned()));
        let etag = etag.ok_or_else(|| self.odd_answer(what, "the answer has no ETag"))?;
        let last_modified = self.time(what, output.last_modified())?;
        let body = output.body.collect().await;
        let body = body.map_err(|error| self.address.no_answer(what, &format!("the answer broke off: {error}")))?;
        let body = body.into_bytes();
        self.timed(what, &head, Got::Found(Object { body, etag, last_modified }))
    }

    async fn one_page(&self, what: &str, request: ListObjectsV2FluentBuilder) -> StoreResult<Page> {
        let (head, request) = (Head::default(), request.bucket(&self.options.bucket));
        let sending = async { request.customize().interceptor(head.clone()).send().await };
        let output = self.ask(what, sending).await.map_err(|refusal| refusal.error)?;
        self.timed(what, &head, self.page(what, &output)?)
    }

    fn page(&self, what: &str, output: &ListObjectsV2Output) -> Result<Page, StoreError> {
        let mut entries = Vec::with_capacity(output.contents().len());
        for object in output.contents() {
            let Some(key) = object.key().and_then(|key| self.relative(key)) else { continue };
            let last_modified = self.time(what, object.last_modified())?;
            let size = object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
            entries.push(Listed { key: key.to_owned(), last_modified, size });
        }
        let more = output.is_truncated() == Some(true);
        // There is no last key to go on after.
        let token = output.next_continuation_token().filter(|_| more && entries.is_empty()).map(str::to_owned);
        if more && entries.is_empty() && token.is_none() {
            return Err(self.odd_answer(what, "an empty page says that more follows, but not where"));
        }
        Ok(Page { entries, more: more && token.is_none(), token })
    }
}

/// `limit` in the bounds of S3 and in its type.
fn max_keys(limit: usize) -> i32 {
    i32::try_from(limit.clamp(1, MAX_KEYS)).unwrap_or(1)
}

#[async_trait]
impl Store for S3Store {
    fn kind(&self) -> StoreKind {
        StoreKind::S3
    }

    fn url(&self) -> String {
        self.address.url.clone()
    }

    fn clock_resolution_ms(&self) -> i64 {
        1_000
    }

    async fn get(&self, key: &str, if_none_match: Option<&ETag>) -> StoreResult<Got> {
        let request = self.client().await?.get_object().bucket(&self.options.bucket).key(self.full_key(key));
        let request = request.set_if_none_match(if_none_match.map(|etag| etag.0.clone()));
        self.read(&format!("reading {key:?}"), request).await
    }

    async fn put(&self, key: &str, body: Bytes, condition: &Condition) -> StoreResult<Put> {
        let what = &format!("writing {key:?}");
        let head = Head::default();
        let request = self.client().await?.put_object().bucket(&self.options.bucket).key(self.full_key(key));
        let request = request.content_type("application/json").body(ByteStream::from(body));
        let request = match condition {
            Condition::Always => request,
            Condition::IfAbsent => request.if_none_match("*"),
            Condition::IfMatch(etag) => request.if_match(&etag.0),
        };
        let sending = async { request.customize().interceptor(head.clone()).send().await };
        match self.ask(what, sending).await {
            Ok(output) => {
                let etag = output.e_tag().map(|tag| ETag(tag.to_owned()));
                let stored = etag.zip(head.at()).ok_or_else(|| {
                    self.address.no_answer(what, "the answer says that it is done, but lacks an ETag or a Date")
                });
                let (etag, _) = stored?;
                self.timed(what, &head, Put::Stored(etag))
            }
            Err(refusal) if *condition != Condition::Always && refusal.status == 412 => {
                self.timed(what, &head, Put::Refused)
            }
            Err(refusal) if matches!(condition, Condition::IfMatch(_)) && refusal.is_missing() => {
                self.timed(what, &head, Put::Refused)
            }
            Err(refusal) => Err(refusal.error),
        }
    }

    async fn delete_many(&self, keys: &[String]) -> StoreResult<()> {
        let what = &format!("deleting {} keys", keys.len());
        if keys.is_empty() || keys.len() > MAX_KEYS {
            return Err(self.senseless(what, &format!("1 to {MAX_KEYS} keys are allowed")));
        }
        let delete = keys.iter().try_fold(Delete::builder().quiet(true), |delete, key| {
            Ok::<_, StoreError>(delete.objects(self.identifier(what, key)?))
        })?;
        let delete = delete.build().map_err(|error| self.senseless(what, &error.to_string()))?;
        let head = Head::default();
        let request = self.client().await?.delete_objects().bucket(&self.options.bucket).delete(delete);
        let request = request.customize().interceptor(head.clone()).interceptor(ContentMd5);
        let output = self.ask(what, async { request.send().await }).await.map_err(|refusal| refusal.error)?;
        let refused = output.errors().iter().find(|error| error.code() != Some("NoSuchKey"));
        if let Some(error) = refused {
            let key = error.key().and_then(|key| self.relative(key)).unwrap_or_default();
            return Err(self.address.answered(&format!("deleting {key:?}"), 200, error.code(), error.message()));
        }
        self.timed(what, &head, ())
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> StoreResult<Page> {
        let what = &format!("listing {prefix:?}");
        let request = self.client().await?.list_objects_v2().prefix(self.full_key(prefix)).max_keys(max_keys(limit));
        self.one_page(what, request.set_start_after(start_after.map(|key| self.full_key(key)))).await
    }

    async fn list_on(&self, prefix: &str, token: &str, limit: usize) -> StoreResult<Page> {
        let what = &format!("listing {prefix:?}, further on");
        let request = self.client().await?.list_objects_v2().prefix(self.full_key(prefix)).max_keys(max_keys(limit));
        self.one_page(what, request.continuation_token(token)).await
    }

    async fn versions(&self, key: &str, before: Option<&VersionId>, limit: usize) -> StoreResult<VersionPage> {
        let what = &format!("listing the versions of {key:?}");
        let full = self.full_key(key);
        let mut before = before.map(|before| before.0.clone());
        for _ in 0..EMPTY_PAGES {
            let head = Head::default();
            let request = self.client().await?.list_object_versions().bucket(&self.options.bucket);
            let request = request.prefix(&full).max_keys(max_keys(limit));
            let request = request.set_key_marker(before.as_ref().map(|_| full.clone())).set_version_id_marker(before);
            let sending = async { request.customize().interceptor(head.clone()).send().await };
            let output = self.ask(what, sending).await.map_err(|refusal| refusal.error)?;
            let page = versions::page(&full, &output);
            let page = page.ok_or_else(|| self.odd_answer(what, "the answer has no valid Last-Modified"))?;
            if !(page.more && page.versions.is_empty()) {
                return self.timed(what, &head, page);
            }
            // The server has found none to show yet.
            before = output.next_version_id_marker().map(str::to_owned);
        }
        Err(too_many_empty_pages(&self.address.url, &full))
    }

    async fn get_version(&self, key: &str, version: &VersionId) -> StoreResult<Got> {
        let request = self.client().await?.get_object().bucket(&self.options.bucket).key(self.full_key(key));
        self.read(&format!("reading version {:?} of {key:?}", version.0), request.version_id(&version.0)).await
    }

    async fn keeps_versions(&self) -> StoreResult<bool> {
        let what = "asking whether versions are kept";
        let head = Head::default();
        let request = self.client().await?.get_bucket_versioning().bucket(&self.options.bucket);
        let sending = async { request.customize().interceptor(head.clone()).send().await };
        let output = self.ask(what, sending).await.map_err(|refusal| refusal.error)?;
        self.timed(what, &head, output.status() == Some(&BucketVersioningStatus::Enabled))
    }

    async fn put_lifecycle(&self, rules: &[Expiry]) -> StoreResult<usize> {
        self.replace_lifecycle(rules).await
    }
}

impl S3Store {
    fn identifier(&self, what: &str, key: &str) -> Result<ObjectIdentifier, StoreError> {
        let identifier = ObjectIdentifier::builder().key(self.full_key(key)).build();
        identifier.map_err(|error| self.senseless(what, &error.to_string()))
    }
}
