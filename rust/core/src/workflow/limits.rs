//! The limits of what a run may hold.

/// Most entries of a journal that lie in the run's record; beyond, the oldest part moves into a chunk.
pub const INLINE_ENTRIES: usize = 200;
/// Most bytes of a journal that lie in the run's record.
pub const INLINE_BYTES: usize = 32 * 1024;
/// Entries that stay in the record when a chunk moves out, at most.
pub const KEPT_ENTRIES: usize = 50;
/// Bytes of entries that stay in the record when a chunk moves out, at most.
pub const KEPT_BYTES: usize = 8 * 1024;
/// Most bytes of one chunk, unless a single entry is larger.
pub const CHUNK_BYTES: usize = 1024 * 1024;
/// Most chunks of one execution.
pub const CHUNKS: usize = 2_000;
/// Most operations of one execution that have not ended at one time.
pub const OPEN: usize = 10_000;
/// Most steps of one run that are started at one time; more wait for a place.
pub const STARTED: usize = 1_000;
/// Most bytes of a result that lies in the journal; larger ones lie under `steps/`.
pub const RESULT_BYTES: usize = 16 * 1024;
/// Most bytes of an error with all of its causes; longer ones are cut.
pub const ERROR_BYTES: usize = 16 * 1024;
/// Most errors that caused one another.
pub const CAUSES: usize = 10;
/// Most characters in the name of a workflow, a step or a signal.
pub const NAME_CHARS: usize = 128;
/// Most characters in the name that a run is given.
pub const RUN_NAME_CHARS: usize = 256;
/// Most characters in a scope.
pub const SCOPE_CHARS: usize = 512;
/// Most arguments of one step.
pub const ARGUMENTS: usize = 100;
/// Most arms of one select.
pub const ARMS: usize = 100;
/// Most signals that are consumed in one round.
pub const SIGNALS: usize = 100;
/// Most unread signals of one name that are looked at, in their order.
pub const UNREAD: usize = 1_000;
/// Consumed signals that a run remembers, so that none is taken twice.
pub const CONSUMED: usize = 1_000;
/// Most patches and most published values of one run.
pub const NAMED: usize = 1_000;
/// Most bytes of all that a run publishes.
pub const PUBLISHED_BYTES: usize = 64 * 1024;
/// Starts that a step is given before interruptions alone fail it.
pub const STARTS: u32 = 3;
/// A wait as short as this, in milliseconds, is waited for in place.
pub const IN_PLACE_MS: i64 = 1_000;
/// Most steps of a graph.
pub const STEPS: usize = 1_000;
/// Most items that one step of a graph is made for.
pub const ITEMS: usize = 100_000;
