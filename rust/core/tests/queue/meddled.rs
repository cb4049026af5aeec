//! A store in memory whose answers a test meddles with.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use buquet_core::entropy::Entropy;
use buquet_core::queue::{Queue, Settings};
use buquet_core::store::memory::MemoryStore;
use buquet_core::store::{
    Condition, ETag, Got, Page, Put, Store, StoreError, StoreErrorKind, StoreKind, StoreResult, Timed, VersionId,
    VersionPage,
};
use buquet_core::time::Timestamp;
use bytes::Bytes;

/// A request, as far as a test decides by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    Get(&'a str),
    Put(&'a str),
    Delete,
    List(&'a str),
}

impl Ask<'_> {
    /// Whether it writes a key that begins with `prefix`.
    pub fn writes(self, prefix: &str) -> bool {
        matches!(self, Ask::Put(key) if key.starts_with(prefix))
    }

    pub fn lists(self, prefix: &str) -> bool {
        matches!(self, Ask::List(listed) if listed.starts_with(prefix))
    }
}

/// What a test wants to become of a request: `None` lets it through.
pub type Meddle = Box<dyn Fn(Ask<'_>) -> Option<StoreErrorKind> + Send + Sync>;

pub struct Meddled {
    store: Arc<MemoryStore>,
    latency: Duration,
    meddle: Meddle,
    /// How far the server's clock is ahead of tokio's.
    ahead_ms: AtomicI64,
}

impl Meddled {
    pub fn new(
        store: &Arc<MemoryStore>,
        meddle: impl Fn(Ask<'_>) -> Option<StoreErrorKind> + Send + Sync + 'static,
    ) -> Self {
        let (store, meddle) = (Arc::clone(store), Box::new(meddle));
        Self { store, latency: Duration::ZERO, meddle, ahead_ms: AtomicI64::new(0) }
    }

    /// Every request takes so long.
    pub fn with_latency(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    /// The server's clock goes on while this process stands still.
    pub fn suspend(&self, duration: Duration) {
        self.ahead_ms.fetch_add(i64::try_from(duration.as_millis()).unwrap(), Ordering::Relaxed);
    }

    pub async fn queue(self: &Arc<Self>, seed: u64) -> Queue {
        let store: Arc<dyn Store> = Arc::clone(self) as _;
        Queue::open(store, Entropy::seeded(seed), Settings::for_store(StoreKind::S3)).await.unwrap()
    }

    async fn ask(&self, ask: Ask<'_>) -> Result<(), StoreError> {
        tokio::time::sleep(self.latency).await;
        (self.meddle)(ask).map_or(Ok(()), |kind| Err(StoreError::new(kind, format!("{ask:?} fails in this test"))))
    }

    fn moved(&self, at: Timestamp) -> Timestamp {
        Timestamp(at.0 + self.ahead_ms.load(Ordering::Relaxed))
    }

    fn answer<T>(&self, answer: Timed<T>) -> Timed<T> {
        Timed { at: self.moved(answer.at), ..answer }
    }
}

#[async_trait]
impl Store for Meddled {
    fn kind(&self) -> StoreKind {
        StoreKind::S3
    }

    fn url(&self) -> String {
        "meddled:".to_owned()
    }

    fn clock_resolution_ms(&self) -> i64 {
        self.store.clock_resolution_ms()
    }

    async fn get(&self, key: &str, if_none_match: Option<&ETag>) -> StoreResult<Got> {
        self.ask(Ask::Get(key)).await?;
        Ok(self.answer(self.store.get(key, if_none_match).await?))
    }

    async fn put(&self, key: &str, body: Bytes, condition: &Condition) -> StoreResult<Put> {
        self.ask(Ask::Put(key)).await?;
        Ok(self.answer(self.store.put(key, body, condition).await?))
    }

    async fn delete_many(&self, keys: &[String]) -> StoreResult<()> {
        self.ask(Ask::Delete).await?;
        Ok(self.answer(self.store.delete_many(keys).await?))
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> StoreResult<Page> {
        self.ask(Ask::List(prefix)).await?;
        Ok(self.answer(self.store.list(prefix, start_after, limit).await?))
    }

    async fn versions(&self, key: &str, before: Option<&VersionId>, limit: usize) -> StoreResult<VersionPage> {
        self.store.versions(key, before, limit).await
    }

    async fn get_version(&self, key: &str, version: &VersionId) -> StoreResult<Got> {
        self.store.get_version(key, version).await
    }

    async fn keeps_versions(&self) -> StoreResult<bool> {
        self.store.keeps_versions().await
    }
}
