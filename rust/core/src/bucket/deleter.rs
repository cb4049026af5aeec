//! Index entries that are no longer needed, deleted in bulk and off the path of the work.
//!
//! Deletes are a courtesy: what a crash leaves behind, readers recognise as stale and delete.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use super::Bucket;

/// Keys in one request; S3's limit.
const MOST_AT_ONCE: usize = 1_000;
/// Keys that may wait; beyond it the oldest are left to the readers.
const MOST_WAITING: usize = 100_000;
/// How long the first key waits for company.
const LINGER: Duration = Duration::from_millis(100);

/// Collects keys and deletes them.
#[derive(Clone, Debug)]
pub struct Deleter {
    bucket: Bucket,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Mutex<Vec<String>>,
    filled: Notify,
}

impl Deleter {
    /// A deleter for `bucket`; somebody must drive [`Deleter::run`].
    #[must_use]
    pub fn new(bucket: Bucket) -> Self {
        Self { bucket, state: Arc::default() }
    }

    /// Deletes these keys some time soon.
    pub fn delete(&self, keys: impl IntoIterator<Item = String>) {
        let mut waiting = self.state.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extend(keys);
        let surplus = waiting.len().saturating_sub(MOST_WAITING);
        waiting.drain(..surplus);
        if !waiting.is_empty() {
            self.state.filled.notify_one();
        }
    }

    /// Deletes what is asked for, until dropped.
    pub async fn run(self) {
        loop {
            self.state.filled.notified().await;
            sleep(LINGER).await;
            self.flush().await;
        }
    }

    /// Deletes all that waits, now. Errors are left to the readers of the index.
    pub async fn flush(&self) {
        loop {
            let batch: Vec<String> = {
                let mut waiting = self.state.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let count = waiting.len().min(MOST_AT_ONCE);
                waiting.drain(..count).collect()
            };
            if batch.is_empty() {
                return;
            }
            if let Err(error) = self.bucket.delete_many(&batch).await {
                tracing::warn!(%error, keys = batch.len(), "index entries not deleted; readers will");
            }
        }
    }
}
