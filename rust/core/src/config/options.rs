//! Every option besides the store's address: its name, what it takes, its default, and why its range is what it is.
//!
//! An option is called by a table and a name in it, `worker.concurrency`: in `.buquet.toml` it stands under that table, and its
//! variable is `BUQUET_WORKER_CONCURRENCY`.

use std::time::Duration;

use serde::Serialize;

use super::value::{Value, span_text};
use crate::error::{Error, Result};
use crate::limits;
use crate::queue::Settings;
use crate::record::Options as TaskOptions;
use crate::store::StoreKind;

/// An option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Between two heartbeats of a worker that holds tasks.
    Heartbeat,
    /// A worker whose heartbeat is older is lost.
    Stale,
    /// Between two looks at the whole index of claimable work.
    FullLook,
    /// Between two looks at the bell by an idle worker.
    BellWatch,
    /// How long a submit goes on trying while the store does not take it.
    RequestBudget,
    /// Most tasks in one record.
    RecordTasks,
    /// Most bytes of input in one record.
    RecordBytes,
    /// Most tasks that a worker runs at a time.
    Concurrency,
    /// Tasks claimed ahead of free capacity.
    Prefetch,
    /// How long running tasks may go on once a worker is told to end.
    Drain,
    /// Worker processes of one `buquet worker`.
    Processes,
    /// Processes of a worker for handlers with a pool of processes.
    PoolProcesses,
    /// What a worker logs.
    LogLevel,
    /// Attempts after the first.
    Retries,
    /// How long one attempt may take.
    Timeout,
    /// Who goes first.
    Priority,
    /// The wait before the first retry.
    Backoff,
    /// The longest wait before a retry.
    LongestBackoff,
}

/// What an option takes, and what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// A whole number from one to the other.
    Count(u64, u64),
    /// A duration from one to the other.
    Span(Duration, Duration),
    /// One of these words.
    Word(&'static [&'static str]),
}

/// What is to be known of an option.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// The option.
    pub key: Key,
    /// Its name: table, dot, name.
    pub name: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// What it is, for people.
    pub about: &'static str,
    /// Why no other values are allowed, where that is not plain.
    pub reason: &'static str,
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const NO_TIME: Duration = Duration::ZERO;
const LONGEST: Duration = limits::LONGEST;
/// Others count a worker as lost after their own `engine.stale`, and cannot know its `engine.heartbeat`: so whichever values
/// two processes of one queue have, three heartbeats fit in.
const SHORTEST_STALE: Duration = secs(45);
const LONGEST_HEARTBEAT: Duration = secs(15);
const WHY_BEATS: &str = "processes of one queue may be configured differently, and three heartbeats of the slowest have to fit \
    into the shortest time after which anybody counts a worker as dead, or living workers would lose their tasks";
/// A look every tenth of a second costs $10 a month and worker on S3.
const SHORTEST_WATCH_S3: Duration = Duration::from_millis(100);

/// All options, in the order in which they are shown.
pub const OPTIONS: &[Definition] = &[
    Definition {
        key: Key::Heartbeat,
        name: "engine.heartbeat",
        takes: Takes::Span(secs(1), LONGEST_HEARTBEAT),
        about: "between two heartbeats of a worker that holds tasks",
        reason: WHY_BEATS,
    },
    Definition {
        key: Key::Stale,
        name: "engine.stale",
        takes: Takes::Span(SHORTEST_STALE, secs(3600)),
        about: "a worker whose heartbeat is older is dead, and its tasks go to others",
        reason: WHY_BEATS,
    },
    Definition {
        key: Key::FullLook,
        name: "engine.full_look",
        takes: Takes::Span(secs(5), Settings::LONGEST_FULL_LOOK),
        about: "between two looks at the whole index for work that the bell did not tell of",
        reason: "submitters rely on every worker looking at least once a minute",
    },
    Definition {
        key: Key::BellWatch,
        name: "engine.bell_watch",
        takes: Takes::Span(Duration::from_millis(1), secs(60)),
        about: "between two looks of an idle worker for new work",
        reason: "",
    },
    Definition {
        key: Key::RequestBudget,
        name: "engine.request_budget",
        takes: Takes::Span(Duration::from_millis(100), secs(600)),
        about: "how long a submit goes on trying while the store does not take it",
        reason: "",
    },
    Definition {
        key: Key::RecordTasks,
        name: "record.tasks",
        takes: Takes::Count(1, 1_000),
        about: "most tasks stored together in one object",
        reason: "each change of one of its tasks writes the whole object",
    },
    Definition {
        key: Key::RecordBytes,
        name: "record.bytes",
        takes: Takes::Count(1024, 4 * 1024 * 1024),
        about: "most bytes of input stored together in one object",
        reason: "each change of one of its tasks writes the whole object",
    },
    Definition {
        key: Key::Concurrency,
        name: "worker.concurrency",
        takes: Takes::Count(1, limits::HELD_TASKS as u64),
        about: "most tasks that a worker runs at a time",
        reason: "",
    },
    Definition {
        key: Key::Prefetch,
        name: "worker.prefetch",
        takes: Takes::Count(0, limits::HELD_TASKS as u64),
        about: "tasks claimed ahead of free capacity; about a second's worth where it is not set",
        reason: "",
    },
    Definition {
        key: Key::Drain,
        name: "worker.drain",
        takes: Takes::Span(NO_TIME, LONGEST),
        about: "how long running tasks may go on after SIGTERM",
        reason: "",
    },
    Definition {
        key: Key::Processes,
        name: "worker.processes",
        takes: Takes::Count(1, 1_024),
        about: "processes of one `buquet worker`",
        reason: "",
    },
    Definition {
        key: Key::PoolProcesses,
        name: "worker.pool_processes",
        takes: Takes::Count(1, 1_024),
        about: "most processes of a worker for `pool=\"process\"`; where it is not set, the CPUs that it may use",
        reason: "",
    },
    Definition {
        key: Key::LogLevel,
        name: "worker.log_level",
        takes: Takes::Word(&["debug", "info", "warning", "error"]),
        about: "what `buquet worker` logs",
        reason: "",
    },
    Definition {
        key: Key::Retries,
        name: "task.retries",
        takes: Takes::Count(0, 1_000_000),
        about: "attempts after the first, where a submit does not say",
        reason: "",
    },
    Definition {
        key: Key::Timeout,
        name: "task.timeout",
        takes: Takes::Span(Duration::from_millis(1), LONGEST),
        about: "how long one attempt may take, where a submit does not say",
        reason: "",
    },
    Definition {
        key: Key::Priority,
        name: "task.priority",
        takes: Takes::Count(0, 9),
        about: "0 to 9, 9 runs first, where a submit does not say",
        reason: "",
    },
    Definition {
        key: Key::Backoff,
        name: "task.backoff",
        takes: Takes::Span(NO_TIME, LONGEST),
        about: "the wait before the first retry, where a submit does not say",
        reason: "",
    },
    Definition {
        key: Key::LongestBackoff,
        name: "task.longest_backoff",
        takes: Takes::Span(NO_TIME, LONGEST),
        about: "the longest wait before a retry, where a submit does not say",
        reason: "",
    },
];

impl Definition {
    /// The definition of the option with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        OPTIONS.iter().find(|option| option.name == name)
    }

    /// The environment variable that sets it.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("BUQUET_{}", self.name.to_uppercase().replace('.', "_"))
    }

    /// What is allowed, for people.
    #[must_use]
    pub fn allowed(&self) -> String {
        match self.takes {
            Takes::Count(least, most) => format!("{least} to {most}"),
            Takes::Span(least, most) => format!("{} to {}", span_text(least), span_text(most)),
            Takes::Word(words) => words.join(", "),
        }
    }

    /// Refuses a value out of range; `source` says in the message who gave it.
    ///
    /// # Errors
    /// [`Error::Config`] with the value, what is allowed, and why.
    pub fn check(&self, value: Value, source: &str) -> Result<Value> {
        let fits = match (value, self.takes) {
            (Value::Count(count), Takes::Count(least, most)) => (least..=most).contains(&count),
            (Value::Span(span), Takes::Span(least, most)) => (least..=most).contains(&span),
            (Value::Word(word), Takes::Word(words)) => words.contains(&word),
            _ => false,
        };
        if fits {
            return Ok(value);
        }
        let reason = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
        let allowed = self.allowed();
        Err(Error::Config(format!("{source}: {} is {value}; allowed are {allowed}{reason}", self.name)))
    }

    /// What holds where nobody says anything.
    #[must_use]
    pub fn default(&self, kind: StoreKind) -> Option<Value> {
        let settings = Settings::for_store(kind);
        let task = TaskOptions::default();
        let count = |count: usize| Value::Count(u64::try_from(count).unwrap_or(u64::MAX));
        let millis = |millis: u64| Value::Span(Duration::from_millis(millis));
        Some(match self.key {
            Key::Heartbeat => Value::Span(settings.heartbeat),
            Key::Stale => Value::Span(settings.stale),
            Key::FullLook => Value::Span(settings.full_look),
            Key::BellWatch => Value::Span(settings.bell_watch),
            Key::RequestBudget => Value::Span(settings.request_budget),
            Key::RecordTasks => count(settings.record.tasks),
            Key::RecordBytes => count(settings.record.bytes),
            Key::Concurrency => Value::Count(20),
            Key::Prefetch | Key::PoolProcesses => return None,
            // Kubernetes kills 30 s after its SIGTERM: giving the leases back takes a moment too.
            Key::Drain => Value::Span(secs(25)),
            Key::Processes => Value::Count(1),
            Key::LogLevel => Value::Word("info"),
            Key::Retries => Value::Count(u64::from(task.retry.max_retries)),
            Key::Timeout => millis(task.timeout_ms),
            Key::Priority => Value::Count(u64::from(task.priority)),
            Key::Backoff => millis(task.retry.initial_ms),
            Key::LongestBackoff => millis(task.retry.max_ms),
        })
    }
}

/// An option as it stands, and who says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// Its value; `None` where it has no default and nobody set it.
    pub value: Option<Value>,
    /// Who says so: an argument, a variable, a file and its table, or the default.
    pub source: String,
    /// The environment variable that sets it.
    pub variable: String,
    /// What is allowed.
    pub allowed: String,
    /// What it is.
    pub about: &'static str,
}

/// All options as they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    settings: Vec<(Key, Setting)>,
}

/// What is said where nobody says anything.
pub const BY_DEFAULT: &str = "default";

impl Options {
    /// The defaults, where `said` says nothing else.
    ///
    /// # Errors
    /// [`Error::Config`] if values do not go together, or not with this kind of store.
    pub fn new(kind: StoreKind, said: impl Fn(&Definition) -> Result<Option<(Value, String)>>) -> Result<Self> {
        let mut settings = Vec::new();
        for option in OPTIONS {
            let said = said(option)?;
            let value = said.as_ref().map(|(value, _)| *value).or_else(|| option.default(kind));
            let source = said.map_or_else(|| BY_DEFAULT.to_owned(), |(_, source)| source);
            let (variable, allowed) = (option.variable(), option.allowed());
            let setting = Setting { name: option.name, value, source, variable, allowed, about: option.about };
            settings.push((option.key, setting));
        }
        let options = Self { settings };
        options.check_together(kind)?;
        Ok(options)
    }

    fn check_together(&self, kind: StoreKind) -> Result<()> {
        let (heartbeat, stale) = (self.span(Key::Heartbeat), self.span(Key::Stale));
        if stale < heartbeat * 3 {
            return Err(Error::Config(format!(
                "engine.stale is {} and engine.heartbeat is {}; give at least three heartbeats, or one that is late would cost \
                 a living worker its tasks",
                span_text(stale),
                span_text(heartbeat)
            )));
        }
        let watch = self.span(Key::BellWatch);
        if kind == StoreKind::S3 && watch < SHORTEST_WATCH_S3 {
            return Err(Error::Config(format!(
                "{}: engine.bell_watch is {}; on S3 give at least {}: each look is a GET, and that many would cost each idle \
                 worker over $10 a month",
                self.source(Key::BellWatch),
                span_text(watch),
                span_text(SHORTEST_WATCH_S3)
            )));
        }
        let (first, longest) = (self.span(Key::Backoff), self.span(Key::LongestBackoff));
        if longest < first {
            return Err(Error::Config(format!(
                "task.longest_backoff is {} and task.backoff is {}; the longest wait cannot be shorter than the first",
                span_text(longest),
                span_text(first)
            )));
        }
        Ok(())
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.settings.iter().map(|(_, setting)| setting)
    }

    fn get(&self, wanted: Key) -> Option<&Setting> {
        self.settings.iter().find(|(key, _)| *key == wanted).map(|(_, setting)| setting)
    }

    fn source(&self, key: Key) -> &str {
        self.get(key).map_or("", |setting| &setting.source)
    }

    /// The value of an option that is a duration.
    #[must_use]
    pub fn span(&self, key: Key) -> Duration {
        match self.get(key).and_then(|setting| setting.value) {
            Some(Value::Span(span)) => span,
            _ => Duration::ZERO,
        }
    }

    /// The value of an option that is a number, if it is set or has a default.
    #[must_use]
    pub fn count(&self, key: Key) -> Option<u64> {
        match self.get(key).and_then(|setting| setting.value) {
            Some(Value::Count(count)) => Some(count),
            _ => None,
        }
    }
}
