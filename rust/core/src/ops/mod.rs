//! The engine as named operations with JSON requests and answers: what the C ABI exposes.

mod answer;
mod cancel_ops;
mod config_ops;
mod dead_ops;
mod doctor_ops;
mod extension;
mod payload_ops;
mod queue_ops;
mod request;
mod schedule_ops;
mod schema_ops;
mod span;
mod worker_ops;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OnceCell, watch};

pub use self::extension::{Extension, LeftOut};
pub use self::span::Span;
use crate::config::{EngineConfig, Resolved, Target, misspelt, resolve};
use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::id::WorkerId;
use crate::queue::{FORMER, Made, Queue, Settings};
use crate::store::Store;
use crate::store::open::open;
use crate::worker::Worker;

/// One engine: a queue in one store, and the workers started on it.
#[derive(Debug)]
pub struct Engine {
    resolved: Resolved,
    queue: OnceCell<Queue>,
    workers: Mutex<BTreeMap<WorkerId, Arc<Worker>>>,
    uploads: Mutex<payload_ops::Uploads>,
    closed: watch::Sender<bool>,
    extension: Option<Box<dyn Extension>>,
    notices: Mutex<Vec<Notice>>,
}

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

impl Engine {
    /// Reads the configuration; no network is touched before the first operation.
    ///
    /// # Errors
    /// [`Error::Config`] if the configuration cannot be used.
    pub fn new(config: &[u8]) -> Result<Self> {
        let config: EngineConfig = if config.is_empty() {
            EngineConfig::default()
        } else {
            object(config)
                .map_err(|error| Error::Config(format!("the engine's configuration is not understood: {error}")))?
        };
        let cwd = std::env::current_dir().unwrap_or_else(|_| Path::new(".").to_owned());
        let resolved = resolve(&config, &|name| std::env::var(name).ok(), &cwd)?;
        let notices = about_variables();
        let closed = watch::Sender::new(false);
        Ok(Self {
            resolved,
            queue: OnceCell::new(),
            workers: Mutex::default(),
            uploads: Mutex::default(),
            closed,
            extension: None,
            notices: Mutex::new(notices),
        })
    }

    /// What there is to tell people that belongs to no operation. Told once.
    #[must_use]
    pub fn take_notices(&self) -> Vec<Notice> {
        std::mem::take(&mut *self.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn notify(&self, level: Level, message: String) {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).push(Notice { level, message });
    }

    /// The same engine, which carries the operations of `extension` too.
    #[must_use]
    pub fn with(mut self, extension: impl Extension) -> Self {
        self.extension = Some(Box::new(extension));
        self
    }

    /// Runs one operation to its end. Must run inside a tokio runtime with timers. Dropping the future is like
    /// losing its answer.
    ///
    /// # Errors
    /// Whatever the operation says; [`Error::Invalid`] for an unknown one.
    pub async fn call(&self, op: &str, request: &[u8]) -> Result<String> {
        match op {
            "config" => answer(&self.config(parse(op, request)?).await?),
            "doctor" => answer(&self.doctor(parse(op, request)?).await?),
            "connect" => answer(&self.connect(parse(op, request)?).await?),
            "submit" => answer(&self.submit(parse(op, request)?).await?),
            "submit_many" => answer(&self.submit_many(parse(op, request)?).await?),
            "get" => answer(&self.get(parse(op, request)?).await?),
            "list" => answer(&self.list(parse(op, request)?).await?),
            "cancel" => answer(&self.cancel(parse(op, request)?).await?),
            "cancel_many" => answer(&self.cancel_many(parse(op, request)?).await?),
            "history" => answer(&self.history(parse(op, request)?).await?),
            "failed" => answer(&self.failed(parse(op, request)?).await?),
            "replay" => answer(&self.replay(parse(op, request)?).await?),
            "replay_many" => answer(&self.replay_many(parse(op, request)?).await?),
            "archive" => answer(&self.archive(parse(op, request)?).await?),
            "archive_many" => answer(&self.archive_many(parse(op, request)?).await?),
            "purge" => answer(&self.purge(parse(op, request)?).await?),
            "lifecycle" => answer(&self.lifecycle(parse(op, request)?).await?),
            "wait" => answer(&self.wait(parse(op, request)?).await?),
            "explain" => answer(&self.explain(parse(op, request)?).await?),
            "workers" => answer(&self.list_workers(parse(op, request)?).await?),
            "usage" => answer(&self.usage(parse(op, request)?).await?),
            "schedule.put" => answer(&self.schedule_put(parse(op, request)?).await?),
            "schedule.get" => answer(&self.schedule_get(parse(op, request)?).await?),
            "schedule.list" => answer(&self.schedule_list(parse(op, request)?).await?),
            "schedule.delete" => answer(&self.schedule_delete(parse(op, request)?).await?),
            "schedule.enable" => answer(&self.schedule_enable(parse(op, request)?, true).await?),
            "schedule.disable" => answer(&self.schedule_enable(parse(op, request)?, false).await?),
            "schedule.trigger" => answer(&self.schedule_trigger(parse(op, request)?).await?),
            "schedule.backfill" => answer(&self.schedule_backfill(parse(op, request)?).await?),
            "schedule.preview" => answer(&self.schedule_preview(parse(op, request)?).await?),
            "schedule.sync" => answer(&self.schedule_sync(parse(op, request)?).await?),
            "schema.put" => answer(&self.schema_put(parse(op, request)?).await?),
            "schema.get" => answer(&self.schema_get(parse(op, request)?).await?),
            "schema.list" => answer(&self.schema_list(parse(op, request)?).await?),
            "schema.check" => answer(&self.schema_check(parse(op, request)?).await?),
            "schema.delete" => answer(&self.schema_delete(parse(op, request)?).await?),
            "worker.start" => answer(&self.worker_start(parse(op, request)?).await?),
            "worker.next" => answer(&self.worker_next(parse(op, request)?).await?),
            "worker.settle" => answer(&self.worker_settle(parse(op, request)?).await?),
            "worker.extend" => answer(&self.worker_extend(parse(op, request)?).await?),
            "worker.progress" => answer(&self.worker_progress(parse(op, request)?).await?),
            "worker.drain" => answer(&self.worker_drain(parse(op, request)?).await?),
            "worker.stop" => answer(&self.worker_stop(parse(op, request)?).await?),
            other if other.starts_with("payload.") => self.payload(other, request).await,
            other => match &self.extension {
                Some(extension) if other.starts_with(extension.prefix()) => {
                    if self.is_closed() {
                        return Err(Error::Closed("the engine was closed".into()));
                    }
                    extension.call(other, request).await
                }
                _ => Err(unknown(other)),
            },
        }
    }

    /// Stops the workers, releasing what they hold, and writes what was put off. Later calls fail with
    /// [`Error::Closed`].
    pub async fn shutdown(&self) {
        self.closed.send_replace(true);
        let workers = std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        futures::future::join_all(workers.values().map(|worker| worker.stop())).await;
        if let Some(extension) = &self.extension {
            extension.shutdown().await;
        }
        if let Some(queue) = self.queue.get() {
            queue.flush().await;
        }
    }

    /// Touches the bell if a touch is due. Whoever ends the engine's runtime waits for this first: workers may not hear
    /// for a minute of tasks whose touch was cut off.
    pub async fn flush_bell(&self) {
        if let Some(queue) = self.queue.get() {
            queue.flush_bell().await;
        }
    }

    fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Ends when the engine is closed.
    async fn closing(&self) {
        // The sender is this engine's own, so it cannot be gone.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// The queue, made at the first need: for what stores something new.
    async fn queue(&self) -> Result<&Queue> {
        let queue = self.place().await?;
        if let Some(made) = queue.ensure().await? {
            self.tell_made(&queue.bucket().store().url(), &made);
        }
        Ok(queue)
    }

    /// The queue, if there is one: for what looks at it or changes what is in it, and makes none.
    async fn existing(&self) -> Result<&Queue> {
        let queue = self.place().await?;
        // One in memory is this engine's own, so that nobody can have meant another.
        if self.resolved.target == Target::Memory {
            return self.queue().await;
        }
        if queue.is_there().await? {
            return Ok(queue);
        }
        Err(Error::NotFound(format!(
            "there is no queue at {} (from {}); if there should be one, check the address (buquet config shows it); if not, the first \
             submit or worker makes it. Where one was and only its marker is gone, put back {FORMER}",
            queue.bucket().store().url(),
            self.resolved.source
        )))
    }

    /// Where the queue is or may be.
    async fn place(&self) -> Result<&Queue> {
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

    fn tell_made(&self, url: &str, made: &Made) {
        if self.resolved.target == Target::Memory {
            return;
        }
        let source = &self.resolved.source;
        self.notify(Level::Info, format!("made a new queue at {url} (from {source})"));
        if let Some(beside) = &made.beside {
            self.notify(
                Level::Warning,
                format!(
                    "the new queue at {url} lies among other objects, such as {beside}: if that was not meant, delete buquet.json \
                     there and use a prefix of its own"
                ),
            );
        }
    }
}

/// What is to be said of the environment, by the first engine of the process.
fn about_variables() -> Vec<Notice> {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if TOLD.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    misspelt(names).into_iter().map(|message| Notice { level: Level::Warning, message }).collect()
}

/// Whether an operation only looks, so that it can be run again where its answer was not kept.
#[must_use]
pub fn only_looks(op: &str) -> bool {
    matches!(
        op,
        "get"
            | "list"
            | "history"
            | "failed"
            | "wait"
            | "workers"
            | "schedule.get"
            | "schedule.list"
            | "schema.get"
            | "schema.list"
            | "payload.read"
    )
}

/// The error for an operation that there is not.
#[must_use]
pub fn unknown(op: &str) -> Error {
    let shown: String = op.chars().take(64).collect();
    Error::Invalid(format!("there is no operation {shown:?}; docs/abi.md lists them"))
}

/// Reads an operation's request; nothing stands for an object without fields.
///
/// # Errors
/// [`Error::Invalid`] says what is not understood.
pub fn parse<T: DeserializeOwned>(op: &str, request: &[u8]) -> Result<T> {
    let request = if request.is_empty() { b"{}" } else { request };
    object(request).map_err(|error| Error::Invalid(format!("{op}: the request is not understood: {error}")))
}

/// Reads a JSON object; serde alone would take an array of the fields' values for one too.
fn object<T: DeserializeOwned>(text: &[u8]) -> std::result::Result<T, String> {
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err("it is no JSON object".into());
    }
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

/// Writes an operation's answer.
///
/// # Errors
/// [`Error::Internal`] if it has no form in JSON.
pub fn answer(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::Internal(format!("the answer cannot be written as JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_may_run_on_any_thread() {
        fn sendable(_: impl Send) {}
        let engine = Engine::new(b"{\"url\": \"memory:\"}").unwrap();
        sendable(engine.call("usage", b"{}"));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(matches!(Engine::new(b"[]"), Err(Error::Config(_))));
        assert!(matches!(parse::<request::Empty>("usage", b" []"), Err(Error::Invalid(_))));
    }

    #[tokio::test]
    async fn operations_that_were_left_out_of_the_build_say_so() {
        let left_out = LeftOut { prefix: "dev_server.", message: "built without it" };
        let engine = Engine::new(b"{\"url\": \"memory:\"}").unwrap().with(left_out);
        let refused = engine.call("dev_server.start", b"{}").await;
        assert!(matches!(refused, Err(Error::Unsupported(text)) if text == "built without it"));
        assert!(matches!(engine.call("devserver", b"{}").await, Err(Error::Invalid(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn closing_ends_a_wait() {
        let engine = Arc::new(Engine::new(b"{\"url\": \"memory:\"}").unwrap());
        let submitted = engine.call("submit", b"{\"type\": \"t\", \"input\": 1}").await.unwrap();
        let waiting = tokio::spawn({
            let engine = Arc::clone(&engine);
            let id = submitted.split('"').nth(3).unwrap().to_owned();
            async move { engine.call("wait", format!("{{\"id\": \"{id}\"}}").as_bytes()).await }
        });
        tokio::task::yield_now().await;
        engine.shutdown().await;
        assert!(matches!(waiting.await.unwrap(), Err(Error::Closed(_))));
    }
}
