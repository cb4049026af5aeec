//! How eagerly a queue and its workers look, beat and wait. The defaults are the documented ones.

use std::time::Duration;

use crate::broken::Variant;
use crate::config::{Key, Options};
use crate::limits;
use crate::store::StoreKind;

/// Intervals and limits of one engine.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Between two heartbeats of a worker that holds leases.
    pub heartbeat: Duration,
    /// Between two heartbeats of an idle worker.
    pub idle_heartbeat: Duration,
    /// A worker whose heartbeat is older is lost.
    pub stale: Duration,
    /// Between two looks at the whole ready index, whatever the bell says.
    pub full_look: Duration,
    /// Between two sweeps over the lease index by a worker that found no work since the last one.
    pub sweep: Duration,
    /// Between two sweeps by one that did: whoever shares its work may have died right after the last.
    pub busy_sweep: Duration,
    /// Between two looks at the bell by an idle worker.
    pub bell_watch: Duration,
    /// How long a worker leaves a record to each of those that go first, one after the other: about a claim's time.
    pub patience: Duration,
    /// Between two touches of the bell by one process.
    pub bell_touch: Duration,
    /// First and longest pause between two looks at a task somebody waits for.
    pub result_watch: (Duration, Duration),
    /// Between two looks at the board of cancellations by a worker that holds tasks.
    pub cancel_watch: Duration,
    /// Between two writes of reported progress.
    pub progress_every: Duration,
    /// How long an outcome waits for others of the same record that are still running here.
    pub settle_linger: Duration,
    /// How long nobody may have changed a record that is purged: longer than a request can be on its way.
    pub purge_grace: Duration,
    /// How long a submit goes on trying while the store does not take it.
    pub request_budget: Duration,
    /// What goes together into one record.
    pub record: RecordLimits,
    /// The true protocol, or a broken one under test.
    pub variant: Variant,
}

/// How much is stored in one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordLimits {
    /// Most tasks.
    pub tasks: usize,
    /// Most bytes of input.
    pub bytes: usize,
}

/// Looks in which an idle worker gets round all shards of an index that does not fit into one page.
const LOOKS_TO_GET_ROUND: u32 = 6;

impl Settings {
    /// The longest [`Settings::full_look`] that any process of a queue may have.
    pub const LONGEST_FULL_LOOK: Duration = Duration::from_mins(1);

    /// How far ahead of its time work is looked for. Whoever submits work that is due sooner rings the bell, so each
    /// worker has seen what is due later by the time it is due: also one that looks less often than the submitter would.
    #[must_use]
    pub fn horizon(&self) -> Duration {
        self.full_look.max(Self::LONGEST_FULL_LOOK) * LOOKS_TO_GET_ROUND
    }

    /// How long a worker may be silent before it counts as dead: one that holds no lease beats seldom.
    #[must_use]
    pub fn silence(&self, idle: bool) -> Duration {
        if idle { self.idle_heartbeat + self.stale } else { self.stale }
    }

    /// Those that `options` ask for.
    #[must_use]
    pub fn configured(kind: StoreKind, options: &Options) -> Self {
        let defaults = Self::for_store(kind);
        let count =
            |key, default: usize| options.count(key).and_then(|count| usize::try_from(count).ok()).unwrap_or(default);
        Self {
            heartbeat: options.span(Key::Heartbeat),
            stale: options.span(Key::Stale),
            full_look: options.span(Key::FullLook),
            bell_watch: options.span(Key::BellWatch),
            request_budget: options.span(Key::RequestBudget),
            record: RecordLimits {
                tasks: count(Key::RecordTasks, defaults.record.tasks),
                bytes: count(Key::RecordBytes, defaults.record.bytes),
            },
            ..defaults
        }
    }

    /// The defaults for a kind of store: a look at S3 costs money, a look at a local file next to nothing.
    #[must_use]
    pub const fn for_store(kind: StoreKind) -> Self {
        let common = Self {
            heartbeat: Duration::from_secs(10),
            idle_heartbeat: Duration::from_mins(1),
            stale: Duration::from_secs(45),
            full_look: Duration::from_mins(1),
            sweep: Duration::from_secs(50),
            busy_sweep: Duration::from_secs(20),
            // Not quite a second, so that a task is picked up within one.
            bell_watch: Duration::from_millis(900),
            patience: Duration::from_millis(250),
            bell_touch: Duration::from_secs(1),
            result_watch: (Duration::from_millis(100), Duration::from_secs(2)),
            cancel_watch: Duration::from_secs(10),
            progress_every: Duration::from_secs(10),
            settle_linger: Duration::from_millis(25),
            purge_grace: Duration::from_mins(10),
            request_budget: Duration::from_secs(10),
            record: RecordLimits { tasks: limits::RECORD_TASKS, bytes: limits::RECORD_BYTES },
            variant: Variant::True,
        };
        match kind {
            StoreKind::S3 => common,
            StoreKind::Sqlite | StoreKind::Memory => Self {
                // Of a file it is known without a look whether anybody has written to it.
                bell_watch: Duration::from_millis(4),
                patience: Duration::from_millis(10),
                bell_touch: Duration::from_millis(5),
                result_watch: (Duration::from_millis(2), Duration::from_millis(50)),
                cancel_watch: Duration::from_secs(1),
                progress_every: Duration::from_secs(1),
                settle_linger: Duration::from_millis(5),
                // What a process on this machine has asked of the file does not come later than its next request.
                purge_grace: Duration::ZERO,
                ..common
            },
        }
    }
}
