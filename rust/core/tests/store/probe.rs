//! The probe accepts stores that keep their promises and names what the others lack.

use std::sync::Arc;

use crate::store::support::http::{forward, serve};
use crate::store::support::{Server, servers};
use async_trait::async_trait;
use buquet_core::Error;
use buquet_core::store::memory::MemoryStore;
use buquet_core::store::probe::probe;
use buquet_core::store::s3::{S3Options, S3Store};
use buquet_core::store::sqlite::SqliteStore;
use buquet_core::store::{
    Condition, ETag, Got, Page, Put, Store, StoreError, StoreErrorKind, StoreKind, StoreResult, VersionId, VersionPage,
};
use bytes::Bytes;
use std::sync::atomic::{AtomicU32, Ordering};

async fn refusal(store: &dyn Store) -> String {
    match probe(store, "nonce").await {
        Err(Error::Unsupported(message)) => message,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test]
async fn stores_that_keep_their_promises_pass_and_are_left_clean() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteStore::open(&folder.path().join("q.db")).unwrap();
    for store in [&MemoryStore::new() as &dyn Store, &sqlite] {
        probe(store, "nonce").await.unwrap();
        assert!(store.list("", None, 10).await.unwrap().value.entries.is_empty(), "{} is not clean", store.url());
    }
}

#[tokio::test]
async fn real_servers_pass_and_are_left_clean() {
    for server in servers() {
        let store = server.store(&server.new_bucket().await, "team");
        probe(&store, "nonce").await.unwrap();
        assert!(store.list("", None, 10).await.unwrap().value.entries.is_empty(), "{} is not clean", server.name);
    }
}

/// A proxy in front of `server` that drops one header from every request, as some servers ignore it.
async fn without(server: &Server, header: &'static str) -> S3Store {
    let address = server.endpoint.trim_start_matches("http://").to_owned();
    let port = serve(
        Arc::new(move |mut request| {
            request.headers.retain(|(name, _)| name != header);
            let address = address.clone();
            Box::pin(async move { forward(&address, request).await })
        }),
        None,
    )
    .await;
    let endpoint = Some(format!("http://127.0.0.1:{port}"));
    S3Store::new(S3Options { endpoint, ..server.options(&server.new_bucket().await, "") })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_server_whose_conditions_get_lost_is_refused() {
    for server in servers() {
        let message = refusal(&without(&server, "if-none-match").await).await;
        assert!(message.contains("If-None-Match") && message.contains("ignores the condition"), "{message}");
        assert!(message.contains("s3://buquet-") && message.contains("use another store"), "{message}");
        let message = refusal(&without(&server, "if-match").await).await;
        assert!(message.contains("If-Match") && message.contains("ignores the condition"), "{message}");
        let harmless = without(&server, "user-agent").await;
        probe(&harmless, "nonce").await.unwrap();
    }
}

#[tokio::test]
async fn a_missing_bucket_is_no_lack_of_the_store() {
    for server in servers() {
        let store = server.store("buquet-there-is-no-such-bucket", "");
        let error = probe(&store, "nonce").await.unwrap_err();
        assert!(matches!(&error, Error::Denied(message) if message.contains("create the bucket")), "{error:?}");
    }
}

/// How a store is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    IgnoresIfAbsent,
    IgnoresIfMatch,
    ComparesTagsOfRacersTooEarly,
    RefusesEveryIfAbsent,
    RefusesEveryIfMatch,
    ReadsOldBodies,
    ListsBackwards,
    IgnoresStartAfter,
    ListsNothing,
    CannotDoConditions,
    IsSlowSometimes,
    IsAlwaysSlow,
}

/// A store in memory with a flaw.
struct Flawed {
    inner: MemoryStore,
    flaw: Flaw,
    requests: AtomicU32,
}

fn flawed(flaw: Flaw) -> Flawed {
    Flawed { inner: MemoryStore::new(), flaw, requests: AtomicU32::new(0) }
}

#[async_trait]
impl Store for Flawed {
    fn kind(&self) -> StoreKind {
        self.inner.kind()
    }

    fn url(&self) -> String {
        self.inner.url()
    }

    fn clock_resolution_ms(&self) -> i64 {
        self.inner.clock_resolution_ms()
    }

    async fn get(&self, key: &str, if_none_match: Option<&ETag>) -> StoreResult<Got> {
        let mut answer = self.inner.get(key, if_none_match).await?;
        if let (Flaw::ReadsOldBodies, Got::Found(object)) = (self.flaw, &mut answer.value) {
            object.body = Bytes::from_static(b"old");
        }
        Ok(answer)
    }

    async fn put(&self, key: &str, body: Bytes, condition: &Condition) -> StoreResult<Put> {
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        let stray = body.windows(5).any(|word| word == b"stray");
        let condition = match (self.flaw, condition) {
            (Flaw::IgnoresIfAbsent, Condition::IfAbsent) | (Flaw::IgnoresIfMatch, Condition::IfMatch(_)) => {
                Condition::Always
            }
            (Flaw::ComparesTagsOfRacersTooEarly, Condition::IfMatch(_)) if !stray => Condition::Always,
            (Flaw::RefusesEveryIfAbsent, Condition::IfAbsent) | (Flaw::RefusesEveryIfMatch, Condition::IfMatch(_)) => {
                Condition::IfMatch(ETag("never".into()))
            }
            (Flaw::CannotDoConditions, Condition::IfAbsent) => {
                return Err(StoreError::new(StoreErrorKind::Unsupported, "501 NotImplemented: If-None-Match"));
            }
            (Flaw::IsSlowSometimes, _) if request < 2 => {
                return Err(StoreError::new(StoreErrorKind::Throttled, "503 SlowDown"));
            }
            (Flaw::IsAlwaysSlow, _) => return Err(StoreError::new(StoreErrorKind::Throttled, "503 SlowDown")),
            (_, condition) => condition.clone(),
        };
        self.inner.put(key, body, &condition).await
    }

    async fn delete_many(&self, keys: &[String]) -> StoreResult<()> {
        self.inner.delete_many(keys).await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> StoreResult<Page> {
        let start_after = start_after.filter(|_| self.flaw != Flaw::IgnoresStartAfter);
        let mut answer = self.inner.list(prefix, start_after, limit).await?;
        match self.flaw {
            Flaw::ListsBackwards => answer.value.entries.reverse(),
            Flaw::ListsNothing => answer.value.entries.clear(),
            _ => {}
        }
        Ok(answer)
    }

    async fn versions(&self, key: &str, before: Option<&VersionId>, limit: usize) -> StoreResult<VersionPage> {
        self.inner.versions(key, before, limit).await
    }

    async fn get_version(&self, key: &str, version: &VersionId) -> StoreResult<Got> {
        self.inner.get_version(key, version).await
    }

    async fn keeps_versions(&self) -> StoreResult<bool> {
        self.inner.keeps_versions().await
    }
}

#[tokio::test(start_paused = true)]
async fn every_broken_promise_is_named() {
    for (flaw, named) in [
        (Flaw::IgnoresIfAbsent, "two racing puts with If-None-Match it let both through"),
        (Flaw::IgnoresIfMatch, "If-Match and a wrong tag"),
        (Flaw::ComparesTagsOfRacersTooEarly, "two racing puts with If-Match and one tag it let both through"),
        (Flaw::RefusesEveryIfAbsent, "refused a put with If-None-Match"),
        (Flaw::RefusesEveryIfMatch, "refused a put with If-Match and the right tag"),
        (Flaw::ReadsOldBodies, "a read right after a write"),
        (Flaw::ListsBackwards, "ascending order"),
        (Flaw::IgnoresStartAfter, "start-after"),
        (Flaw::ListsNothing, "a listing did not show the keys just written"),
        (Flaw::CannotDoConditions, "501 NotImplemented"),
    ] {
        let message = refusal(&flawed(flaw)).await;
        assert!(message.contains(named), "{flaw:?}: {message}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_passing_failure_is_no_verdict() {
    probe(&flawed(Flaw::IsSlowSometimes), "nonce").await.unwrap();
    let error = probe(&flawed(Flaw::IsAlwaysSlow), "nonce").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
}
