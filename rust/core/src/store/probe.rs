//! Whether a store can be trusted: not every server that speaks S3 keeps its promises.
//!
//! Some ignore conditions, and then two workers would both own one task; some answer a listing in any order. The
//! probe finds out before anything is entrusted to such a store, and says what is missing.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join;
use tokio::time::sleep;

use super::{Condition, EMPTY_PAGES, ETag, Got, Put, Store, StoreError, StoreResult, in_time, time_limit};
use crate::error::Error;

/// How often a probe that a passing failure spoilt is begun anew.
const ATTEMPTS: u32 = 5;

/// The pause before the second attempt; it doubles each time.
const PAUSE: Duration = Duration::from_millis(200);

/// A tag that no object has: every body written here has another hash.
const WRONG_TAG: &str = "\"00000000000000000000000000000000\"";

/// Checks that `store` honours conditions, also when two writers race, shows what was just written, lists in order.
///
/// Writes some small objects under `probe/{nonce}` and deletes them again; `nonce` must be fresh.
///
/// # Errors
/// [`Error::Unsupported`] names what the store lacks and what to do. A store that cannot be reached or refuses to
/// answer gives the same errors as any request.
pub async fn probe(store: &dyn Store, nonce: &str) -> Result<(), Error> {
    let mut pause = PAUSE;
    for attempt in 1.. {
        let probe = Probe { store, root: format!("probe/{nonce}/{attempt}"), nonce };
        let result = probe.run().await;
        let cleaned = probe.clean().await;
        match result.and(cleaned) {
            Ok(()) => return Ok(()),
            Err(Finding::Lacks(what)) => {
                return Err(Error::Unsupported(format!(
                    "{} cannot be used: {what}. buquet relies on it so that no task is lost or taken twice; use \
                     another store, such as Amazon S3 (or sqlite:PATH on one machine)",
                    store.url()
                )));
            }
            Err(Finding::Failed(error)) if !error.kind.is_transient() || attempt == ATTEMPTS => {
                return Err(error.into());
            }
            Err(Finding::Failed(_)) => sleep(pause).await,
        }
        pause *= 2;
    }
    Ok(())
}

/// Why a probe ended early.
enum Finding {
    /// The store breaks this promise.
    Lacks(&'static str),
    /// A request failed, so nothing is known.
    Failed(StoreError),
}

impl From<StoreError> for Finding {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

struct Probe<'a> {
    store: &'a dyn Store,
    root: String,
    nonce: &'a str,
}

impl Probe<'_> {
    async fn run(&self) -> Result<(), Finding> {
        let key = format!("{}/race", self.root);
        let absent =
            Finding::Lacks("of two racing puts with If-None-Match it let both through: it ignores the condition");
        let present = Finding::Lacks("it refused a put with If-None-Match: * although nothing was there");
        let (etag, body) = self.race(&key, "created", &Condition::IfAbsent, absent, present).await?;
        self.must_read(&key, &etag, &body).await?;

        let wrong = Condition::IfMatch(ETag(WRONG_TAG.to_owned()));
        if matches!(self.put(&key, "stray", &wrong).await?, Put::Stored(_)) {
            return Err(Finding::Lacks("it let a put with If-Match and a wrong tag through: it ignores the condition"));
        }

        let both = Finding::Lacks("of two racing puts with If-Match and one tag it let both through");
        let none = Finding::Lacks("it refused a put with If-Match and the right tag");
        let (etag, body) = self.race(&key, "changed", &Condition::IfMatch(etag), both, none).await?;
        self.must_read(&key, &etag, &body).await?;
        self.must_list().await
    }

    /// Two puts at once, of which exactly one may win; answers its tag and body.
    async fn race(
        &self,
        key: &str,
        name: &str,
        condition: &Condition,
        both: Finding,
        none: Finding,
    ) -> Result<(ETag, String), Finding> {
        let (one, two) = (format!("{name} by one"), format!("{name} by two"));
        match join(self.put(key, &one, condition), self.put(key, &two, condition)).await {
            (Ok(Put::Stored(_)), Ok(Put::Stored(_))) => Err(both),
            (Ok(Put::Refused), Ok(Put::Refused)) => self.winner(key, [&one, &two], none).await,
            (Ok(Put::Stored(etag)), Ok(Put::Refused)) => Ok((etag, self.body(&one))),
            (Ok(Put::Refused), Ok(Put::Stored(etag))) => Ok((etag, self.body(&two))),
            (Err(error), _) | (_, Err(error)) => Err(error.into()),
        }
    }

    /// A put that was sent again on its way meets itself and is refused: then only what is stored tells who won.
    async fn winner(&self, key: &str, names: [&str; 2], none: Finding) -> Result<(ETag, String), Finding> {
        let Got::Found(object) = self.value(self.store.get(key, None)).await? else { return Err(none) };
        let body = names.into_iter().map(|name| self.body(name)).find(|body| object.body == *body);
        body.map(|body| (object.etag, body)).ok_or(none)
    }

    async fn must_read(&self, key: &str, etag: &ETag, body: &str) -> Result<(), Finding> {
        match self.value(self.store.get(key, None)).await? {
            Got::Found(object) if object.etag == *etag && object.body == body => Ok(()),
            _ => Err(Finding::Lacks("a read right after a write did not show what was written")),
        }
    }

    async fn must_list(&self) -> Result<(), Finding> {
        let keys: Vec<String> = (1..=3).map(|n| format!("{}/list/{n}", self.root)).collect();
        for key in keys.iter().rev() {
            self.value(self.store.put(key, Bytes::from(self.body(key)), &Condition::Always)).await?;
        }
        let prefix = format!("{}/list/", self.root);
        if self.list(&prefix, None, 10).await? != (keys.clone(), false) {
            return Err(Finding::Lacks("a listing did not show the keys just written in ascending order"));
        }
        let (first, second) = (keys.first().map(String::as_str), keys.get(1).cloned());
        if self.list(&prefix, first, 1).await? != (second.into_iter().collect(), true) {
            return Err(Finding::Lacks(
                "a listing did not begin after the key given as start-after, or ignored its limit",
            ));
        }
        Ok(())
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<(Vec<String>, bool), Finding> {
        let mut page = self.value(self.store.list(prefix, after, limit)).await?;
        // An empty page that is not the last is allowed: S3 shows one where many keys were deleted.
        for _ in 0..EMPTY_PAGES {
            let Some(token) = page.token.take() else { break };
            page = self.value(self.store.list_on(prefix, &token, limit)).await?;
        }
        Ok((page.entries.into_iter().map(|entry| entry.key).collect(), page.more))
    }

    /// Every body is another one, as every commit's is: equal bodies would have equal tags.
    fn body(&self, name: &str) -> String {
        format!("{{\"probe\":\"{}\",\"put\":\"{name}\"}}", self.nonce)
    }

    async fn put(&self, key: &str, name: &str, condition: &Condition) -> Result<Put, StoreError> {
        self.value(self.store.put(key, Bytes::from(self.body(name)), condition)).await
    }

    async fn value<T>(&self, answer: impl Future<Output = StoreResult<T>> + Send) -> Result<T, StoreError> {
        in_time(self.store, time_limit(0), answer).await.map(|answer| answer.value)
    }

    async fn clean(&self) -> Result<(), Finding> {
        let mut keys: Vec<String> = (1..=3).map(|n| format!("{}/list/{n}", self.root)).collect();
        keys.push(format!("{}/race", self.root));
        Ok(self.value(self.store.delete_many(&keys)).await?)
    }
}
