//! The doctor's way to the store: few requests, each counted, timed and tried twice at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};

use crate::bucket::Requests;
use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::keys;
use crate::queue::Settings;
use crate::record::BatchRecord;
use crate::store::{
    Condition, EMPTY_PAGES, ETag, Got, Listed, Page, Put, Store, StoreKind, StoreResult, Timed, VersionId, VersionPage,
    in_time, time_limit, too_many_empty_pages,
};

/// Objects read at the same time.
const READS_IN_FLIGHT: usize = 16;
/// How often a request that met a passing failure is sent.
const TRIES: usize = 2;

/// A record, or why it cannot be read as one.
pub(super) type Decoded = Result<BatchRecord>;

/// A store that counts what is asked of it.
struct Counted {
    store: Arc<dyn Store>,
    counts: [AtomicU64; 4],
}

#[derive(Clone, Copy)]
enum Kind {
    Put,
    Get,
    List,
    Delete,
}

impl Counted {
    fn count(&self, kind: Kind) {
        if let Some(counter) = self.counts.get(kind as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl Store for Counted {
    fn kind(&self) -> StoreKind {
        self.store.kind()
    }

    fn url(&self) -> String {
        self.store.url()
    }

    fn clock_resolution_ms(&self) -> i64 {
        self.store.clock_resolution_ms()
    }

    async fn get(&self, key: &str, if_none_match: Option<&ETag>) -> StoreResult<Got> {
        self.count(Kind::Get);
        self.store.get(key, if_none_match).await
    }

    async fn put(&self, key: &str, body: Bytes, condition: &Condition) -> StoreResult<Put> {
        self.count(Kind::Put);
        self.store.put(key, body, condition).await
    }

    async fn delete_many(&self, keys: &[String]) -> StoreResult<()> {
        self.count(Kind::Delete);
        self.store.delete_many(keys).await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> StoreResult<Page> {
        self.count(Kind::List);
        self.store.list(prefix, start_after, limit).await
    }

    async fn list_on(&self, prefix: &str, token: &str, limit: usize) -> StoreResult<Page> {
        self.count(Kind::List);
        self.store.list_on(prefix, token, limit).await
    }

    async fn versions(&self, key: &str, before: Option<&VersionId>, limit: usize) -> StoreResult<VersionPage> {
        self.count(Kind::List);
        self.store.versions(key, before, limit).await
    }

    async fn get_version(&self, key: &str, version: &VersionId) -> StoreResult<Got> {
        self.count(Kind::Get);
        self.store.get_version(key, version).await
    }

    async fn keeps_versions(&self) -> StoreResult<bool> {
        self.count(Kind::Get);
        self.store.keeps_versions().await
    }
}

/// One visit of the doctor to a store.
pub struct Visit {
    store: Counted,
    /// The intervals that this process is configured with.
    pub(super) settings: Settings,
    /// A name for scratch keys that nobody else uses.
    pub(super) nonce: String,
}

impl std::fmt::Debug for Visit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Visit").field(&self.url()).finish()
    }
}

impl Visit {
    /// A visit to `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, entropy: &Entropy, settings: Settings) -> Self {
        let counts = [const { AtomicU64::new(0) }; 4];
        Self { store: Counted { store, counts }, settings, nonce: format!("doctor-{:016x}", entropy.bits()) }
    }

    pub(super) fn url(&self) -> String {
        self.store.url()
    }

    pub(super) fn kind(&self) -> StoreKind {
        self.store.kind()
    }

    pub(super) fn store(&self) -> &dyn Store {
        &self.store
    }

    /// What was asked so far.
    #[must_use]
    pub fn requests(&self) -> Requests {
        let [put, get, list, delete] = &self.store.counts;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Requests { put: read(put), get: read(get), not_modified: 0, list: read(list), delete: read(delete) }
    }

    async fn twice<T, F>(&self, ask: impl Fn() -> F + Send + Sync) -> StoreResult<T>
    where
        T: Send,
        F: Future<Output = StoreResult<T>> + Send,
    {
        let mut outcome = self.once(ask()).await;
        for _ in 1..TRIES {
            match &outcome {
                Err(error) if error.kind.is_transient() => outcome = self.once(ask()).await,
                _ => break,
            }
        }
        outcome
    }

    async fn once<T>(&self, answer: impl Future<Output = StoreResult<T>> + Send) -> StoreResult<T> {
        in_time(&self.store, time_limit(0), answer).await
    }

    pub(super) async fn get(&self, key: &str) -> StoreResult<Got> {
        self.twice(|| self.store.get(key, None)).await
    }

    pub(super) async fn put(&self, key: &str, body: &str) -> StoreResult<Put> {
        let body = Bytes::from(body.to_owned());
        self.twice(|| self.store.put(key, body.clone(), &Condition::Always)).await
    }

    pub(super) async fn delete(&self, key: &str) -> StoreResult<()> {
        let keys = [key.to_owned()];
        self.twice(|| self.store.delete_many(&keys)).await
    }

    pub(super) async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> StoreResult<Page> {
        let mut page = self.twice(|| self.store.list(prefix, after, limit)).await?;
        for _ in 0..EMPTY_PAGES {
            let Some(token) = page.value.token.take() else { return Ok(page) };
            page = self.twice(|| self.store.list_on(prefix, &token, limit)).await?;
        }
        Err(too_many_empty_pages(&self.url(), prefix))
    }

    pub(super) async fn versions(&self, key: &str) -> StoreResult<VersionPage> {
        self.twice(|| self.store.versions(key, None, 1)).await
    }

    pub(super) async fn get_version(&self, key: &str, version: &VersionId) -> StoreResult<Got> {
        self.twice(|| self.store.get_version(key, version)).await
    }

    pub(super) async fn keeps_versions(&self) -> StoreResult<bool> {
        self.twice(|| self.store.keeps_versions()).await
    }

    /// Reads objects; those that are gone meanwhile are left out.
    pub(super) async fn read(&self, keys: Vec<String>) -> Result<Vec<(String, Bytes)>> {
        let reads = stream::iter(keys).map(|key| async move { (self.get(&key).await, key) });
        let answers: Vec<_> = reads.buffered(READS_IN_FLIGHT).collect().await;
        let mut found = Vec::new();
        for (answer, key) in answers {
            if let Timed { value: Got::Found(object), .. } = answer? {
                found.push((key, object.body));
            }
        }
        Ok(found)
    }

    /// Reads records: the keys that were there, and what is wrong with each that cannot be read.
    pub(super) async fn records(&self, keys: Vec<String>) -> Result<Vec<(String, Decoded)>> {
        let decode = |(key, body): (String, Bytes)| {
            let record = match (BatchRecord::decode(&key, &body), keys::parse_record(&key)) {
                (Ok(_), None) => {
                    Err(Error::Corrupt(format!("{key} lies where a record belongs and has no record's name")))
                }
                (record, _) => record,
            };
            (key, record)
        };
        Ok(self.read(keys).await?.into_iter().map(decode).collect())
    }
}

/// The keys of a listing.
pub(super) fn keys_of(entries: &[Listed]) -> Vec<String> {
    entries.iter().map(|entry| entry.key.clone()).collect()
}
