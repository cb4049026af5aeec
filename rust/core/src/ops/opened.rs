//! The engine's queue: where it is, whether there is one, and what people are told of that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::Engine;
use crate::config::{Target, misspelt};
use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::queue::{FORMER, Made, Queue, Settings};
use crate::store::Store;
use crate::store::open::open;

/// Something to tell people: fronts log it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// How much it matters.
    pub level: Level,
    /// What it is.
    pub message: String,
}

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Good to know.
    Info,
    /// Something may be wrong.
    Warning,
}

/// What there is to tell people that belongs to no operation.
#[derive(Debug, Default)]
pub(super) struct Notices {
    waiting: Mutex<Vec<Notice>>,
    /// It was told that there is no queue.
    missing: AtomicBool,
}

impl Notices {
    /// What is to be said of the environment, by the first engine of the process.
    pub(super) fn of_the_environment() -> Self {
        static TOLD: AtomicBool = AtomicBool::new(false);
        let notices = Self::default();
        if !TOLD.swap(true, Ordering::Relaxed) {
            let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
            for message in misspelt(names) {
                notices.add(Level::Warning, message);
            }
        }
        notices
    }

    fn add(&self, level: Level, message: String) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(Notice { level, message });
    }
}

impl Engine {
    /// What there is to tell people that belongs to no operation. Told once.
    #[must_use]
    pub fn take_notices(&self) -> Vec<Notice> {
        std::mem::take(&mut *self.notices.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The queue, made at the first need: for what stores something new.
    pub(super) async fn queue(&self) -> Result<&Queue> {
        let queue = self.place().await?;
        if let Some(made) = queue.ensure().await? {
            self.tell_made(&made);
        }
        Ok(queue)
    }

    /// The queue, if there is one: for what is about something in it that has a name.
    pub(super) async fn existing(&self) -> Result<&Queue> {
        self.find_queue().await?.ok_or_else(|| self.no_queue())
    }

    /// The queue, or the place where there is none yet: for what looks through it, and finds nothing there. A program may look
    /// before anybody has submitted. Only where a person has named the queue, and may have misspelt it, is that an error.
    pub(super) async fn looked_through(&self) -> Result<&Queue> {
        if let Some(queue) = self.find_queue().await? {
            return Ok(queue);
        }
        if self.expect_queue {
            return Err(self.no_queue());
        }
        if !self.notices.missing.swap(true, Ordering::Relaxed) {
            let (url, source) = (self.resolved.target.address(), &self.resolved.source);
            self.notices.add(
                Level::Info,
                format!("there is no queue at {url} (from {source}) yet; the first submit or worker makes it"),
            );
        }
        self.place().await
    }

    async fn find_queue(&self) -> Result<Option<&Queue>> {
        // One in memory is this engine's own, so that nobody can have meant another.
        if self.resolved.target == Target::Memory {
            return self.queue().await.map(Some);
        }
        let queue = self.place().await?;
        Ok(queue.is_there().await?.then_some(queue))
    }

    fn no_queue(&self) -> Error {
        Error::NotFound(format!(
            "there is no queue at {} (from {}); if there should be one, check the address (buquet config shows it); if not, the first \
             submit or worker makes it. Where one was and only its marker is gone, put back {FORMER}",
            self.resolved.target.address(),
            self.resolved.source
        ))
    }

    /// Where the queue is or may be.
    pub(super) async fn place(&self) -> Result<&Queue> {
        if self.is_closed() {
            return Err(Error::Closed("the engine was closed".into()));
        }
        self.queue
            .get_or_try_init(|| async {
                let store: Arc<dyn Store> = open(&self.resolved.target)?;
                let settings = Settings::configured(store.kind(), &self.resolved.options);
                Ok(Queue::at(store, Entropy::from_os(), settings))
            })
            .await
    }

    fn tell_made(&self, made: &Made) {
        if self.resolved.target == Target::Memory {
            return;
        }
        let (url, source) = (self.resolved.target.address(), &self.resolved.source);
        self.notices.add(Level::Info, format!("made a new queue at {url} (from {source})"));
        if let Some(beside) = &made.beside {
            self.notices.add(
                Level::Warning,
                format!(
                    "the new queue at {url} lies among other objects, such as {beside}: if that was not meant, delete buquet.json \
                     there and use a prefix of its own"
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn engine(folder: &Path, more: &str) -> Engine {
        Engine::new(format!("{{\"url\": \"sqlite:{}/new/q.db\"{more}}}", folder.display()).as_bytes()).unwrap()
    }

    const NOBODY: &[u8] = b"{\"id\": \"5f0c7a52-41c3-8e5a-9d1b-3a6f0c2e0000\"}";

    fn says_so(answer: Result<String>) {
        assert!(matches!(answer, Err(Error::NotFound(text)) if text.contains("there is no queue at sqlite:")));
    }

    #[tokio::test]
    async fn a_look_through_no_queue_finds_nothing_and_makes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine(folder.path(), "");
        drop(engine.take_notices());
        for op in ["list", "failed", "workers", "schedule.list", "schema.list", "purge", "payload.collect"] {
            let request: &[u8] =
                if op == "purge" { b"{\"status\": [\"failed\"], \"older_than\": \"1h\"}" } else { b"{}" };
            engine.call(op, request).await.unwrap();
        }
        says_so(engine.call("wait", NOBODY).await);
        says_so(engine.call("history", NOBODY).await);
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
        let told = engine.take_notices();
        assert_eq!(told.len(), 1, "{told:?}");
        engine.call("submit", b"{\"type\": \"t\", \"input\": 1}").await.unwrap();
        assert!(engine.take_notices()[0].message.starts_with("made a new queue at sqlite:"));
    }

    #[tokio::test]
    async fn whoever_expects_a_queue_is_told_that_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine(folder.path(), ", \"expect_queue\": true");
        for op in ["list", "failed", "workers", "schedule.list", "schema.list"] {
            says_so(engine.call(op, b"{}").await);
        }
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
    }
}
