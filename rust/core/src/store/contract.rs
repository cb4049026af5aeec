//! The contract suite: what every [`Store`] must do, checked in the same way on each.
//!
//! A check works under keys of its own, so checks may share a store and run at once. It answers with what the store
//! does wrong. Real servers are slow: the numbers here are as small as still tells something.

mod listing;
mod versions;
mod writes;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;

pub use self::listing::{
    a_listing_begins_after_the_key_given, a_listing_is_ordered_and_stays_in_its_prefix,
    long_listings_come_in_pages_that_miss_nothing, odd_keys_are_kept_as_they_are,
};
pub use self::versions::{
    a_deletion_leaves_the_older_versions, versions_are_kept_newest_first, versions_come_in_pages,
};
pub use self::writes::{
    a_known_object_is_not_sent_again, a_put_writes_only_under_its_condition, a_read_shows_what_was_written,
    changes_by_comparing_and_swapping_lose_nothing, deletions_take_many_keys_present_or_not,
    many_requests_at_once_all_get_their_own_answers, of_racing_changers_exactly_one_wins,
    of_racing_creators_exactly_one_wins, other_bytes_have_another_tag, the_clock_does_not_run_backwards,
};
use super::{Condition, ETag, Got, Object, Put, Store, StoreError, StoreErrorKind};

/// Requests under way at once, where a check needs many.
const AT_ONCE: usize = 16;

/// What a store does wrong.
#[derive(Debug)]
pub struct Broken(pub String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self(format!("a request failed ({:?}): {error}", error.kind))
    }
}

/// The outcome of one check.
pub type Check = Result<(), Broken>;

/// Any store.
pub type AnyStore = Arc<dyn Store>;

/// Ends a check with a message unless the condition holds.
macro_rules! must {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::store::contract::Broken(format!($($message)+)));
        }
    };
}
use must;

async fn put(store: &AnyStore, key: &str, body: impl Into<Bytes> + Send, condition: &Condition) -> Result<Put, Broken> {
    Ok(store.put(key, body.into(), condition).await?.value)
}

/// Writes in any case.
async fn write(store: &AnyStore, key: &str, body: impl Into<Bytes> + Send) -> Result<ETag, Broken> {
    match put(store, key, body, &Condition::Always).await? {
        Put::Stored(etag) => Ok(etag),
        Put::Refused => Err(Broken(format!("an unconditional put of {key:?} was refused"))),
    }
}

async fn get(store: &AnyStore, key: &str) -> Result<Got, Broken> {
    Ok(store.get(key, None).await?.value)
}

async fn read(store: &AnyStore, key: &str) -> Result<Object, Broken> {
    found(key, get(store, key).await?)
}

fn found(key: &str, got: Got) -> Result<Object, Broken> {
    match got {
        Got::Found(object) => Ok(object),
        other => Err(Broken(format!("{key:?} should be there, but the answer was {other:?}"))),
    }
}

/// One put of a race; a conflict counts as a refusal, as S3 may give either.
async fn contend(store: AnyStore, key: String, body: String, condition: Condition) -> Result<Put, Broken> {
    match store.put(&key, Bytes::from(body), &condition).await {
        Ok(answer) => Ok(answer.value),
        Err(error) if error.kind == StoreErrorKind::Conflict => Ok(Put::Refused),
        Err(error) => Err(error.into()),
    }
}

/// Runs futures on tasks of their own, some at a time, and gives their answers in order.
async fn at_once<T: Send + 'static>(
    work: Vec<impl Future<Output = Result<T, Broken>> + Send + 'static>,
) -> Result<Vec<T>, Broken> {
    let mut running = stream::iter(work.into_iter().map(tokio::spawn)).buffered(AT_ONCE);
    let mut answers = Vec::new();
    while let Some(answer) = running.next().await {
        answers.push(answer.map_err(|error| Broken(format!("a task ended early: {error}")))??);
    }
    Ok(answers)
}

/// Writes many keys, each its own name.
async fn fill(store: &AnyStore, keys: &[String]) -> Check {
    let write_one = |key: &String| {
        let (store, key) = (Arc::clone(store), key.clone());
        async move { write(&store, &key, key.clone()).await }
    };
    at_once(keys.iter().map(write_one).collect()).await.map(drop)
}
