//! A store with manners: retries within a budget, time limits, accounting, and commits whose outcome is known.

mod budget;
mod commit;
mod deleter;
mod lanes;
mod pace;
mod usage;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use self::budget::RetryBudget;
use self::lanes::Lanes;
use self::pace::{Fared, Pace};
use self::usage::{Counters, Request};
use crate::clock::ServerClock;
use crate::entropy::Entropy;
use crate::store::{
    Condition, EMPTY_PAGES, ETag, Got, Page, Put, Store, StoreError, StoreErrorKind, StoreResult, VersionId,
    VersionPage, in_time, time_limit, too_many_empty_pages,
};
use crate::time::Timestamp;

pub use commit::{Committed, Uncommitted};
pub use deleter::Deleter;
pub use lanes::Lane;
pub use usage::{Requests, Usage};

/// How long one operation may go on retrying.
pub const OPERATION_TIMEOUT: Duration = Duration::from_secs(30);
/// The first wait before a retry; it doubles up to [`LONGEST_PAUSE`], and a random part of it is taken off.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A store, its clock, and what has been asked of it, seen from one [`Lane`].
#[derive(Clone)]
pub struct Bucket {
    inner: Arc<Inner>,
    lane: Lane,
}

struct Inner {
    store: Arc<dyn Store>,
    clock: ServerClock,
    entropy: Entropy,
    counters: Counters,
    budget: RetryBudget,
    lanes: Lanes,
    pace: Pace,
    /// How often the server's clock was found to have run ahead.
    jumps: watch::Sender<u64>,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Bucket").field(&self.inner.store.url()).finish()
    }
}

impl Bucket {
    /// A bucket on `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, entropy: Entropy) -> Self {
        let inner = Arc::new(Inner {
            store,
            clock: ServerClock::default(),
            entropy,
            counters: Counters::default(),
            budget: RetryBudget::default(),
            lanes: Lanes::default(),
            pace: Pace::default(),
            jumps: watch::Sender::default(),
        });
        Self { inner, lane: Lane::Bulk }
    }

    /// The same bucket for requests that wait for others of this lane only.
    #[must_use]
    pub fn on(&self, lane: Lane) -> Self {
        Self { inner: Arc::clone(&self.inner), lane }
    }

    /// The store underneath.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.inner.store
    }

    /// The store underneath, to be shared.
    #[must_use]
    pub fn shared_store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.inner.store)
    }

    /// The injected randomness.
    #[must_use]
    pub fn entropy(&self) -> &Entropy {
        &self.inner.entropy
    }

    /// The server's time, as far as it is known; never ahead of it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Tells when the server's clock is found to have gone on while the local one stood still, as when a machine is
    /// suspended.
    #[must_use]
    pub fn jumps(&self) -> watch::Receiver<u64> {
        self.inner.jumps.subscribe()
    }

    /// How far two of the server's own times may be wrong against each other.
    #[must_use]
    pub fn time_margin(&self) -> Duration {
        Duration::from_millis(u64::try_from(2 * self.inner.store.clock_resolution_ms()).unwrap_or(0))
    }

    /// What has been asked of the store so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.inner.counters.snapshot()
    }

    /// Reads an object, trying again within the budget.
    ///
    /// # Errors
    /// The store's, once the budget is spent.
    pub async fn get(&self, key: &str, if_none_match: Option<&ETag>) -> StoreResult<Got> {
        self.retrying(Request::Get, 0, || self.inner.store.get(key, if_none_match)).await
    }

    /// As [`Bucket::get`], of an object that may have so many bytes.
    ///
    /// # Errors
    /// The store's, once the budget is spent.
    pub async fn get_large(&self, key: &str, bytes: usize) -> StoreResult<Got> {
        self.retrying(Request::Get, bytes, || self.inner.store.get(key, None)).await
    }

    /// Writes an index entry or another object that may be written twice, trying again within the budget.
    ///
    /// # Errors
    /// The store's, once the budget is spent.
    pub async fn put(&self, key: &str, body: Bytes) -> StoreResult<Put> {
        self.inner.counters.count_sent(body.len());
        self.retrying(Request::Put, body.len(), || self.inner.store.put(key, body.clone(), &Condition::Always)).await
    }

    /// Writes an object where none is, trying again within the budget. A refusal may also be due to an earlier try.
    ///
    /// # Errors
    /// The store's, once the budget is spent.
    pub async fn put_if_absent(&self, key: &str, body: Bytes) -> StoreResult<Put> {
        self.inner.counters.count_sent(body.len());
        self.retrying(Request::Put, body.len(), || self.inner.store.put(key, body.clone(), &Condition::IfAbsent)).await
    }

    /// Writes an object without condition, once: for what is not worth a retry.
    ///
    /// # Errors
    /// The store's.
    pub async fn put_once(&self, key: &str, body: Bytes) -> StoreResult<Put> {
        self.inner.counters.count_sent(body.len());
        let limit = time_limit(body.len());
        self.once(Request::Put, limit, self.inner.store.put(key, body, &Condition::Always)).await
    }

    /// Writes under a condition, once, and without learning what a refusal means: see [`Bucket::commit`].
    ///
    /// # Errors
    /// The store's.
    pub async fn put_if(&self, key: &str, body: Bytes, condition: &Condition) -> Result<Put, StoreError> {
        self.inner.counters.count_sent(body.len());
        let limit = time_limit(body.len());
        self.once(Request::Put, limit, self.inner.store.put(key, body, condition)).await.map(|answer| answer.value)
    }

    /// Deletes keys, trying again within the budget.
    ///
    /// # Errors
    /// The store's, once the budget is spent.
    pub async fn delete_many(&self, keys: &[String]) -> StoreResult<()> {
        self.retrying(Request::Delete, 0, || self.inner.store.delete_many(keys)).await
    }

    /// Lists keys, trying again within the budget.
    ///
    /// # Errors
    /// The store's, once the budget is spent.
    pub async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> StoreResult<Page> {
        let mut page = self.retrying(Request::List, 0, || self.inner.store.list(prefix, start_after, limit)).await?;
        for _ in 0..EMPTY_PAGES {
            let Some(token) = page.value.token.take() else { return Ok(page) };
            page = self.retrying(Request::List, 0, || self.inner.store.list_on(prefix, &token, limit)).await?;
        }
        Err(too_many_empty_pages(&self.inner.store.url(), prefix))
    }

    /// Lists a key's versions, trying again within the budget.
    ///
    /// # Errors
    /// The store's, once the budget is spent.
    pub async fn versions(&self, key: &str, before: Option<&VersionId>, limit: usize) -> StoreResult<VersionPage> {
        self.retrying(Request::List, 0, || self.inner.store.versions(key, before, limit)).await
    }

    /// Reads one version, trying again within the budget.
    ///
    /// # Errors
    /// The store's, once the budget is spent.
    pub async fn get_version(&self, key: &str, version: &VersionId) -> StoreResult<Got> {
        self.retrying(Request::Get, 0, || self.inner.store.get_version(key, version)).await
    }

    /// Whether the store keeps old versions.
    ///
    /// # Errors
    /// The store's, once the budget is spent.
    pub async fn keeps_versions(&self) -> StoreResult<bool> {
        self.retrying(Request::Get, 0, || self.inner.store.keeps_versions()).await
    }

    /// Sends one request in its turn: limits its time, counts it, and learns the server's time from its answer.
    async fn once<T: usage::Measured>(
        &self,
        request: Request,
        limit: Duration,
        answer: impl Future<Output = StoreResult<T>> + Send,
    ) -> StoreResult<T> {
        let inner = &self.inner;
        let _place = inner.lanes.enter(self.lane).await;
        if !inner.pace.keep(self.lane).await {
            let url = inner.store.url();
            let message =
                format!("{url} asks for fewer requests or fails, and too many wait already: this was not sent");
            return Err(StoreError::new(StoreErrorKind::Withheld, message));
        }
        let sent = Instant::now();
        let result = in_time(&*inner.store, limit, answer).await;
        if let Ok(answer) = &result {
            let jumped = inner.clock.observe(answer.at, inner.store.clock_resolution_ms(), sent, Instant::now());
            if jumped {
                inner.jumps.send_modify(|jumps| *jumps += 1);
            }
        }
        inner.counters.count(request, result.as_ref().map(|answer| &answer.value));
        inner.pace.learn(result.as_ref().map_or_else(|error| Fared::of(error.kind), |_| Fared::Well));
        if result.is_ok() {
            inner.budget.earn();
        }
        result
    }

    /// Asks until there is an answer, or the budget is spent; the body, sent or received, may have so many bytes.
    async fn retrying<T, F>(&self, request: Request, bytes: usize, ask: impl Fn() -> F + Send + Sync) -> StoreResult<T>
    where
        T: usage::Measured,
        F: Future<Output = StoreResult<T>> + Send,
    {
        let (mut pauses, mut limit) = (self.pauses(), time_limit(bytes));
        loop {
            let sent = Instant::now();
            match self.once(request, limit, ask()).await {
                Err(error) if error.kind.is_transient() => pauses.rest(error).await?,
                answer => return answer,
            }
            // How long a body is that is read is often not known before.
            if request == Request::Get && sent.elapsed() >= limit {
                limit *= 2;
            }
        }
    }

    fn pauses(&self) -> Pauses<'_> {
        Pauses { bucket: self, next: FIRST_PAUSE, until: Instant::now() + OPERATION_TIMEOUT }
    }
}

/// The waits between the attempts of one operation.
struct Pauses<'a> {
    bucket: &'a Bucket,
    next: Duration,
    until: Instant,
}

impl Pauses<'_> {
    /// Waits before the next attempt; gives `error` back when time or budget is spent.
    async fn rest(&mut self, error: StoreError) -> Result<(), StoreError> {
        let inner = &self.bucket.inner;
        if Instant::now() + self.next > self.until || !inner.budget.spend() {
            return Err(error);
        }
        inner.counters.count_retry();
        sleep(self.next.mul_f64(inner.entropy.unit().mul_add(-0.5, 1.0))).await;
        self.next = (self.next * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}
