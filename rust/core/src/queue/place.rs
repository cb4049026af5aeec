//! Whether the store is known to be a queue.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OnceCell};

use super::Core;
use super::marker::{self, Made, Marked};
use crate::error::Result;

/// What is known of the place that the queue is in.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The generation of the store in which the marker was seen.
    marked: Mutex<Option<u64>>,
    /// Held while the marker is looked for, so that many who begin at once look once.
    looking: AsyncMutex<()>,
    /// Set once the marker is known to say that there are links.
    pub(super) links: OnceCell<()>,
}

impl Core {
    /// As [`super::Queue::ensure`].
    pub(crate) async fn ensure(&self) -> Result<Option<Made>> {
        if self.is_marked() {
            return Ok(None);
        }
        let _looking = self.place.looking.lock().await;
        if self.is_marked() {
            return Ok(None);
        }
        let ensured = marker::ensure(&self.desk.bucket).await?;
        self.note(ensured.marked);
        Ok(ensured.made)
    }

    /// As [`super::Queue::is_there`].
    pub(crate) async fn is_there(&self) -> Result<bool> {
        if self.is_marked() {
            return Ok(true);
        }
        let _looking = self.place.looking.lock().await;
        if self.is_marked() {
            return Ok(true);
        }
        let marked = marker::find(&self.desk.bucket).await?;
        marked.inspect(|marked| self.note(*marked));
        Ok(marked.is_some())
    }

    fn is_marked(&self) -> bool {
        let generation = self.desk.bucket.store().generation();
        *self.place.marked.lock().unwrap_or_else(PoisonError::into_inner) == Some(generation)
    }

    fn note(&self, marked: Marked) {
        self.schemas.note(marked);
        let generation = self.desk.bucket.store().generation();
        *self.place.marked.lock().unwrap_or_else(PoisonError::into_inner) = Some(generation);
    }
}
