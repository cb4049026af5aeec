//! What the engine asks of a bucket, and nothing more.
//!
//! A [`Store`] is thin: one request in, one answer out, no retry, no policy. [`crate::bucket::Bucket`]
//! adds retries, budgets, accounting and the read-back rule on top, once, for every backend.

#[cfg(any(test, feature = "testing"))]
pub mod contract;
pub mod faulty;
pub mod hosted;
pub mod memory;
pub mod open;
pub mod probe;
pub mod s3;
pub mod sqlite;

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::time::Timestamp;

/// The most keys one request may name or answer with, as on S3.
pub(crate) const MAX_KEYS: usize = 1_000;
/// How long an answer may take, apart from the time for the bytes of a body.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The slowest link on which bodies still arrive in time: 1 Mbit/s.
const BYTES_PER_SECOND: usize = 125_000;
/// Empty pages in a row after which a listing is given up.
pub(crate) const EMPTY_PAGES: usize = 1_000;

/// How long a request whose body has so many bytes may take before its answer is given up.
pub(crate) fn time_limit(bytes: usize) -> Duration {
    REQUEST_TIMEOUT + Duration::from_millis(u64::try_from(bytes / (BYTES_PER_SECOND / 1_000)).unwrap_or(u64::MAX))
}

/// Gives an answer of `store` up that does not come in time: it may or may not have taken effect.
pub(crate) async fn in_time<T>(
    store: &dyn Store,
    limit: Duration,
    answer: impl Future<Output = StoreResult<T>> + Send,
) -> StoreResult<T> {
    timeout(limit, answer).await.unwrap_or_else(|_| {
        let message = format!("{} did not answer within {} s", store.url(), limit.as_secs());
        Err(StoreError::new(StoreErrorKind::Unavailable, message))
    })
}

/// The error of a listing that shows nothing, and does not end.
pub(crate) fn too_many_empty_pages(url: &str, prefix: &str) -> StoreError {
    let message = format!(
        "listing {prefix:?} in {url}: {EMPTY_PAGES} pages in a row were empty and not the last; old versions of deleted \
         keys pile up there: let the bucket's lifecycle rules remove them (buquet lifecycle)"
    );
    StoreError::new(StoreErrorKind::Unavailable, message)
}

/// An entity tag exactly as the server gave it, quotes included where it sends them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ETag(pub String);

/// The name of one version of an object, opaque.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId(pub String);

/// An answer together with the server's time when it was given.
///
/// The server's clock is the only clock that two machines share, so every answer carries it.
#[derive(Clone, Debug)]
pub struct Timed<T> {
    /// The answer itself.
    pub value: T,
    /// The server's clock at that moment, to the store's [`Store::clock_resolution_ms`].
    pub at: Timestamp,
}

/// A stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The whole body.
    pub body: Bytes,
    /// Changes with every write of other bytes.
    pub etag: ETag,
    /// Server time of the write.
    pub last_modified: Timestamp,
}

/// The answer to a `get`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    /// The object is there.
    Found(Object),
    /// The object is still the one whose tag was given.
    NotModified,
    /// Nothing is stored under this key.
    Missing,
}

/// Under what condition a `put` may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Write whatever is there.
    Always,
    /// Write only where nothing is (`If-None-Match: *`).
    IfAbsent,
    /// Write only over this very version (`If-Match`).
    IfMatch(ETag),
}

/// The answer to a `put`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// Written; this is the new tag.
    Stored(ETag),
    /// The condition did not hold (412, or 404 for `IfMatch` on a missing key). Nothing was written by this
    /// request, but an earlier sending of the same request may have been.
    Refused,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The key, relative to the store's prefix.
    pub key: String,
    /// Server time of the object's last write.
    pub last_modified: Timestamp,
    /// Size of the body in bytes.
    pub size: u64,
}

/// A page of keys in ascending byte order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The entries of this page.
    pub entries: Vec<Listed>,
    /// More keys follow the last one; ask again with it as `start_after`.
    pub more: bool,
    /// More keys may follow although this page is empty: the server has walked over deleted keys and found none to
    /// show yet. Ask [`Store::list_on`] with it; [`crate::bucket::Bucket::list`] does.
    pub token: Option<String>,
}

/// One version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The name to fetch it by.
    pub id: VersionId,
    /// Server time of the write.
    pub last_modified: Timestamp,
    /// Whether this "version" only marks a deletion and has no body.
    pub deleted: bool,
}

/// The versions of one object, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionPage {
    /// The versions of this page.
    pub versions: Vec<Version>,
    /// Older versions follow; ask again with the last one's id as `before`.
    pub more: bool,
}

/// Why a request to the store failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// No answer, a 5xx, or a broken connection: it may or may not have taken effect. Try again.
    Unavailable,
    /// 503 `SlowDown` or 429: it had no effect. Try again, later.
    Throttled,
    /// 409 `ConditionalRequestConflict`: another write was under way. Try again; it never means "exists".
    Conflict,
    /// It was not sent: the store is overloaded or fails, and too many requests wait already. Try again, much later.
    Withheld,
    /// Credentials are missing, wrong, or not allowed to do this.
    Denied,
    /// The bucket (or the database's folder) does not exist.
    NoBucket,
    /// The store cannot do this at all.
    Unsupported,
    /// The request or the answer makes no sense; trying again will not help.
    Invalid,
}

impl StoreErrorKind {
    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Unavailable | Self::Throttled | Self::Conflict)
    }
}

/// A failed request: what was asked, and what came back. Never holds a secret.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// What the caller can do about it.
    pub kind: StoreErrorKind,
    /// What was asked, what came back, what to do next.
    pub message: String,
}

impl StoreError {
    /// An error of `kind` that says `message`.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// The result of one request.
pub type StoreResult<T> = Result<Timed<T>, StoreError>;

/// What kind of store this is; it decides how eagerly an idle worker may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// An S3 endpoint: every request costs money and a round trip.
    S3,
    /// A database file on this machine: looking is nearly free.
    Sqlite,
    /// This process's memory.
    Memory,
}

/// What a lifecycle rule of the bucket removes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expires {
    /// Versions that were replaced or deleted so many days ago, and then the marks of their deletion.
    OldVersions {
        /// How many days.
        days: u32,
    },
    /// Uploads in parts that were begun so many days ago and not finished.
    Uploads {
        /// How many days.
        days: u32,
    },
}

/// A lifecycle rule of the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Its name, unlike that of any other rule of the bucket.
    pub id: String,
    /// What the keys that it concerns begin with: whole keys, not relative to the store's prefix.
    pub prefix: String,
    /// What it removes.
    pub expires: Expires,
}

/// A bucket, seen through one prefix. Keys are relative to it and contain no leading slash.
///
/// A future that is dropped may or may not have taken effect, like a request whose answer is lost.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// What kind of store this is.
    fn kind(&self) -> StoreKind;

    /// The store's address for messages, without any secret: `s3://bucket/prefix`, `sqlite:PATH`, `memory:`.
    fn url(&self) -> String;

    /// How coarse the server's clock is, in milliseconds (S3's `Date` has whole seconds: 1000).
    fn clock_resolution_ms(&self) -> i64;

    /// Reads an object; with `if_none_match`, only if it is not that one any more.
    async fn get(&self, key: &str, if_none_match: Option<&ETag>) -> StoreResult<Got>;

    /// Writes an object under a condition, atomically. Sends exactly one request.
    async fn put(&self, key: &str, body: Bytes, condition: &Condition) -> StoreResult<Put>;

    /// Deletes up to 1,000 keys; keys that are not there are no error.
    async fn delete_many(&self, keys: &[String]) -> StoreResult<()>;

    /// Lists up to `limit` (at most 1,000) keys that begin with `prefix` and sort after `start_after`.
    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> StoreResult<Page>;

    /// Goes on with a listing whose last page was empty and had a token.
    async fn list_on(&self, prefix: &str, token: &str, limit: usize) -> StoreResult<Page> {
        let _ = (prefix, token, limit);
        Err(StoreError::new(StoreErrorKind::Unsupported, format!("the listings of {} have no tokens", self.url())))
    }

    /// Lists up to `limit` (at most 1,000) versions of one key, newest first, those older than `before`.
    async fn versions(&self, key: &str, before: Option<&VersionId>, limit: usize) -> StoreResult<VersionPage>;

    /// Reads one version; `Missing` if it is gone.
    async fn get_version(&self, key: &str, version: &VersionId) -> StoreResult<Got>;

    /// Tells when anybody else writes, where that can be told without a request; `None` where it cannot. What was written
    /// may be readable only a moment later. Now and then it tells of a write through this store too.
    fn changes(&self) -> Option<watch::Receiver<()>> {
        None
    }

    /// Whether nobody writes just now, so that all that [`Store::changes`] has told of before can be read. Sends no
    /// request; `false` also where that is not known.
    fn is_quiet(&self) -> bool {
        false
    }

    /// Which store is behind the address: another number once somebody has deleted it or put another in its place. Sends
    /// no request.
    fn generation(&self) -> u64 {
        0
    }

    /// Whether old versions are kept.
    async fn keeps_versions(&self) -> StoreResult<bool>;

    /// Puts lifecycle rules into the bucket, in place of those of the same names; tells how many others there are.
    async fn put_lifecycle(&self, _: &[Expiry]) -> StoreResult<usize> {
        let message = format!("{} has no lifecycle rules: only a bucket on S3 has", self.url());
        Err(StoreError::new(StoreErrorKind::Unsupported, message))
    }
}
