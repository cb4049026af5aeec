//! The engine as named operations with JSON requests and answers: what the C ABI exposes.

mod answer;
mod cancel_ops;
mod config_ops;
mod dead_ops;
mod doctor_ops;
mod extension;
mod opened;
mod payload_ops;
mod queue_ops;
mod request;
mod schedule_ops;
mod schema_ops;
mod span;
mod worker_ops;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::{BoxFuture, FutureExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OnceCell, watch};

pub use self::extension::{Extension, LeftOut};
pub use self::opened::{Level, Notice};
pub use self::span::Span;
use crate::config::{EngineConfig, Resolved, resolve};
use crate::error::{Error, Result};
use crate::id::WorkerId;
use crate::queue::Queue;
use crate::worker::Worker;

/// One engine: a queue in one store, and the workers started on it.
#[derive(Debug)]
pub struct Engine {
    resolved: Resolved,
    expect_queue: bool,
    queue: OnceCell<Queue>,
    workers: Mutex<BTreeMap<WorkerId, Arc<Worker>>>,
    uploads: Mutex<payload_ops::Uploads>,
    closed: watch::Sender<bool>,
    extension: Option<Box<dyn Extension>>,
    notices: opened::Notices,
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
        let notices = opened::Notices::of_the_environment();
        let closed = watch::Sender::new(false);
        Ok(Self {
            resolved,
            expect_queue: config.expect_queue,
            queue: OnceCell::new(),
            workers: Mutex::default(),
            uploads: Mutex::default(),
            closed,
            extension: None,
            notices,
        })
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
    pub fn call<'a>(&'a self, op: &'a str, request: &'a [u8]) -> BoxFuture<'a, Result<String>> {
        // In a box, so that all of it is compiled here, as optimised as the engine is, and not where it is awaited.
        self.dispatch(op, request).boxed()
    }

    async fn dispatch(&self, op: &str, request: &[u8]) -> Result<String> {
        match op {
            "config" => answer(&self.config(parse(op, request)?).await?),
            "doctor" => answer(&self.doctor(parse(op, request)?).await?),
            "connect" => answer(&self.connect(parse(op, request)?).await?),
            "submit" => answer(&self.submit(parse(op, request)?).await?),
            "submit_graph" => answer(&self.submit_graph(parse(op, request)?).await?),
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
            "tasks.wake" => answer(&self.tasks_wake(parse(op, request)?).await?),
            "worker.hear" => answer(&self.worker_hear(parse(op, request)?).await?),
            "worker.listen" => answer(&self.worker_listen(&parse(op, request)?)?),
            "repair" => answer(&self.repair(parse(op, request)?).await?),
            "worker.extend" => answer(&self.worker_extend(parse(op, request)?).await?),
            "worker.progress" => answer(&self.worker_progress(parse(op, request)?).await?),
            "worker.stuck" => answer(&self.worker_stuck(&parse(op, request)?)?),
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
    pub fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.end().boxed()
    }

    async fn end(&self) {
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
    pub fn flush_bell(&self) -> BoxFuture<'_, ()> {
        async {
            if let Some(queue) = self.queue.get() {
                queue.flush_bell().await;
            }
        }
        .boxed()
    }

    fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Ends when the engine is closed.
    async fn closing(&self) {
        // The sender is this engine's own, so it cannot be gone.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }
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
