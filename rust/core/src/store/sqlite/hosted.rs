//! The file as a server of buckets uses it.

use std::sync::atomic::Ordering;

use async_trait::async_trait;

use super::super::hosted::{Content, Deleted, Deletion, Held, Hosted, Lines, Refused};
use super::super::{Condition, StoreResult, VersionId};
use super::hosted_statements::{HEADS, all_versions, objects, read, remove, write};
use super::{SqliteStore, bounded, check_size, version_number};
use crate::time::Timestamp;

#[async_trait]
impl Hosted for SqliteStore {
    async fn prepare(&self) -> StoreResult<()> {
        self.location.hosted.store(true, Ordering::Relaxed);
        self.writes.run(|database, _| database.execute_batch(HEADS)).await
    }

    fn now(&self) -> Timestamp {
        self.clock.now(Timestamp(0))
    }

    async fn write(
        &self,
        key: &str,
        content: Content,
        condition: &Condition,
    ) -> StoreResult<Result<VersionId, Refused>> {
        check_size(key, &content.body)?;
        let (key, condition) = (key.to_owned(), condition.clone());
        self.writes.run(move |database, now| write(database, now, &key, &content, &condition)).await
    }

    async fn read(&self, key: &str, version: Option<&VersionId>) -> StoreResult<Option<Held>> {
        let version = version.map(version_number).transpose()?;
        let key = key.to_owned();
        self.reads.run(move |database, _| read(database, &key, version)).await
    }

    async fn remove(&self, deletions: Vec<Deletion>) -> StoreResult<Vec<Result<Deleted, Refused>>> {
        let number = |deletion: &Deletion| deletion.version.as_ref().map(version_number).transpose();
        let versions = deletions.iter().map(number).collect::<Result<Vec<_>, _>>()?;
        let work = move |database: &_, now| {
            let pairs = deletions.iter().zip(versions);
            pairs.map(|(deletion, version)| remove(database, now, deletion, version)).collect()
        };
        self.writes.run(work).await
    }

    async fn objects(&self, prefix: &str, after: Option<&str>, limit: usize) -> StoreResult<Lines> {
        let (prefix, after, limit) = (prefix.to_owned(), after.map(str::to_owned), bounded(limit));
        self.reads.run(move |database, _| objects(database, &prefix, after.as_deref(), limit)).await
    }

    async fn all_versions(
        &self,
        prefix: &str,
        after: Option<(&str, Option<&VersionId>)>,
        limit: usize,
    ) -> StoreResult<Lines> {
        let (key, version) = after.unwrap_or_default();
        let before = version.map(version_number).transpose()?.unwrap_or(0);
        let after = after.map(|_| (key.to_owned(), before));
        let (prefix, limit) = (prefix.to_owned(), bounded(limit));
        let work = move |database: &_, _| {
            let after = after.as_ref().map(|(key, before)| (key.as_str(), *before));
            all_versions(database, &prefix, after, limit)
        };
        self.reads.run(work).await
    }
}
