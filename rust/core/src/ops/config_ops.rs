//! The configuration as it stands, and what it says where a request says nothing.

use std::time::Duration;

use serde::Deserialize;

use super::Engine;
use crate::config::{Definition, Key, Shown, unknown_option};
use crate::error::{Error, Result};
use crate::record::{Options, RetryPolicy};

/// Which options to show; all where none is named.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    #[serde(default)]
    options: Vec<String>,
}

impl Engine {
    /// Needs no store.
    #[expect(clippy::unused_async, reason = "every operation is awaited alike")]
    pub(super) async fn config(&self, request: Config) -> Result<Shown> {
        if let Some(unknown) = request.options.iter().find(|name| Definition::named(name).is_none()) {
            return Err(Error::Invalid(unknown_option(unknown)));
        }
        let mut shown = Shown::of(&self.resolved, &|name| std::env::var(name).ok());
        let all = request.options.is_empty();
        shown.options.retain(|option| all || request.options.iter().any(|name| name == option.name));
        Ok(shown)
    }

    /// The options of a task whose submit does not name them.
    pub(super) fn task_defaults(&self) -> Options {
        let configured = &self.resolved.options;
        let defaults = Options::default();
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let count = |key| configured.count(key);
        let retries = count(Key::Retries).and_then(|count| u32::try_from(count).ok());
        Options {
            timeout_ms: millis(configured.span(Key::Timeout)),
            priority: count(Key::Priority).and_then(|count| u8::try_from(count).ok()).unwrap_or(defaults.priority),
            retry: RetryPolicy {
                max_retries: retries.unwrap_or(defaults.retry.max_retries),
                initial_ms: millis(configured.span(Key::Backoff)),
                max_ms: millis(configured.span(Key::LongestBackoff)),
                ..defaults.retry
            },
            extra: defaults.extra,
        }
    }

    pub(super) fn default_concurrency(&self) -> usize {
        self.configured(Key::Concurrency).unwrap_or(1)
    }

    pub(super) fn default_prefetch(&self) -> Option<usize> {
        self.configured(Key::Prefetch)
    }

    fn configured(&self, key: Key) -> Option<usize> {
        self.resolved.options.count(key).and_then(|count| usize::try_from(count).ok())
    }
}
