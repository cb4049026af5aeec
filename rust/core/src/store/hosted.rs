//! What a server of buckets asks of an embedded store, beyond what the engine asks of a bucket.
//!
//! Headers are kept with the bytes, every write names its version, one version can be deleted alone, and listings tell
//! tags and go over all versions. All of it concerns the keys under [`VERSIONED`]; the others are the server's own,
//! to be reached through [`Store`].

use async_trait::async_trait;
use bytes::Bytes;

use super::{Condition, ETag, Store, StoreResult, VersionId};
use crate::time::Timestamp;

/// Embedded stores keep every version of the keys that begin so, and of no others.
pub const VERSIONED: &str = "tasks/";

/// What one write stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The bytes.
    pub body: Bytes,
    /// The tag to answer with and to compare conditions with.
    pub etag: ETag,
    /// What the server wants to find again with the bytes; the store does not look into it.
    pub head: String,
}

/// One version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its name.
    pub version: VersionId,
    /// Server time of the write.
    pub last_modified: Timestamp,
    /// What was written; `None` for a version that marks a deletion.
    pub content: Option<Content>,
}

/// Why a write or a deletion did nothing: its condition did not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Whether there is an object under the key.
    pub exists: bool,
}

/// One deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// The key.
    pub key: String,
    /// The version to remove; `None` marks the object as deleted and keeps its versions.
    pub version: Option<VersionId>,
    /// Compared with the present object.
    pub condition: Condition,
}

/// What a deletion did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The marker that was written, or the version that was removed.
    pub version: VersionId,
    /// Whether that is a marker; `None` if no such version was there to remove.
    pub marker: Option<bool>,
}

/// One line of a listing, of objects or of versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The key.
    pub key: String,
    /// The version's name.
    pub version: VersionId,
    /// The tag; empty for a marker.
    pub etag: ETag,
    /// Size of the body in bytes.
    pub size: u64,
    /// Server time of the write.
    pub last_modified: Timestamp,
    /// Whether it marks a deletion.
    pub marker: bool,
    /// Whether it is the newest version of its key.
    pub latest: bool,
}

/// A page of a listing, by key in byte order, newest first within a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// The lines of this page.
    pub lines: Vec<Line>,
    /// More follow the last one.
    pub more: bool,
}

/// A store that a server of buckets can stand on. `If-Match: *`, in a [`Condition`], matches any object.
#[async_trait]
pub trait Hosted: Store {
    /// Makes the store ready for what follows. Called once, before anything else here.
    async fn prepare(&self) -> StoreResult<()>;

    /// The store's clock. Never behind a time that it has answered.
    fn now(&self) -> Timestamp;

    /// Writes an object under a condition, atomically, and names the version.
    async fn write(
        &self,
        key: &str,
        content: Content,
        condition: &Condition,
    ) -> StoreResult<Result<VersionId, Refused>>;

    /// Reads one version, or the newest. `None` where there is no such version, or where nothing was ever written.
    async fn read(&self, key: &str, version: Option<&VersionId>) -> StoreResult<Option<Held>>;

    /// Carries out deletions, all or, if the store fails, none. Answers come in the order of the deletions.
    async fn remove(&self, deletions: Vec<Deletion>) -> StoreResult<Vec<Result<Deleted, Refused>>>;

    /// Lists up to `limit` (at most 1,000) objects that begin with `prefix` and sort after `after`.
    async fn objects(&self, prefix: &str, after: Option<&str>, limit: usize) -> StoreResult<Lines>;

    /// Lists up to `limit` (at most 1,000) versions of objects that begin with `prefix`: those of keys after `after`,
    /// and with a version also the older ones of that very key.
    async fn all_versions(
        &self,
        prefix: &str,
        after: Option<(&str, Option<&VersionId>)>,
        limit: usize,
    ) -> StoreResult<Lines>;
}

/// Whether a condition holds where the present object has the tag `present`.
pub(super) fn check(condition: &Condition, present: Option<&str>) -> Result<(), Refused> {
    let holds = match condition {
        Condition::Always => true,
        Condition::IfAbsent => present.is_none(),
        Condition::IfMatch(etag) => present.is_some_and(|present| etag.0 == "*" || etag.0 == present),
    };
    if holds { Ok(()) } else { Err(Refused { exists: present.is_some() }) }
}
