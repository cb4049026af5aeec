//! The limits of everything that could grow, and the defaults of everything that can be left out.

use std::time::Duration;

/// Most tasks in one record.
pub const RECORD_TASKS: usize = 100;
/// Most bytes of input that share one record.
pub const RECORD_BYTES: usize = 256 * 1024;
/// Most bytes of JSON in one task's input or output.
pub const JSON_BYTES: usize = 4 * 1024 * 1024;
/// Most bytes of an input or output that lies in its record; larger ones get an object of their own.
pub const INLINE_BYTES: usize = 32 * 1024;
/// Once a record holds as many bytes of inputs and outputs, further outputs get objects of their own.
pub const RECORD_FULL: usize = 2 * RECORD_BYTES;
/// An output as small as this stays in its record, however full that is.
pub const TINY_BYTES: usize = 1024;
/// Most bytes of JSON in an object of its own that is handed out as if it lay in the record.
pub const PAYLOAD_BYTES: usize = 128 * 1024;
/// Most bytes of such JSON in one answer; further inputs and outputs are named and not read.
pub const ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// Most bytes in one piece of a payload.
pub const PIECE_BYTES: usize = 4 * 1024 * 1024;
/// Most pieces of a payload.
pub const PIECES: u32 = 20_000;
/// Most bytes of a payload.
pub const PAYLOAD_TOTAL: u64 = 5 * 1024 * 1024 * 1024;
/// Most payloads that come with one input or output.
pub const TASK_FILES: usize = 100;
/// Payloads being written at the same time, piece by piece, through one engine.
pub const UPLOADS: usize = 1_000;
/// Most bytes of an error's type, message and traceback together; longer ones are cut.
pub const ERROR_BYTES: usize = 16 * 1024;
/// Most characters in a task type's name.
pub const TYPE_CHARS: usize = 128;
/// Most tags of one task.
pub const TAGS: usize = 16;
/// Most characters in one tag.
pub const TAG_CHARS: usize = 64;
/// Most bytes of keys and values in one task's metadata.
pub const METADATA_BYTES: usize = 4 * 1024;
/// Most characters in a progress message, or in the author or the reason of a cancellation.
pub const NOTE_CHARS: usize = 500;
/// Most tasks named in one `cancel`.
pub const CANCEL_MANY: usize = 100_000;
/// Most tasks that are told when tasks of one record end.
pub const LINK_TARGETS: usize = 64;
/// Most tasks that one task waits for.
pub const DEPENDENCIES: usize = 100_000;
/// When it is looked whether all dependencies of a task that waits know of it: its submit may have been cut off.
pub const LOOK_AGAIN: Duration = Duration::from_mins(1);
/// Most tasks named in one `tasks.wake`.
pub const WAKE_MANY: usize = 100_000;
/// Most characters in an idempotency key.
pub const KEY_CHARS: usize = 256;
/// Most notices of cancellations kept for workers to read.
pub const NOTICES: usize = 1_000;
/// How long a notice is kept: far longer than any living worker takes to read it.
pub const NOTICE_AGE: Duration = Duration::from_mins(5);
/// Most task types of one worker.
pub const WORKER_TYPES: usize = 1_000;
/// Most characters in the name of a worker's host.
pub const HOST_CHARS: usize = 255;
/// Most tasks in one `submit_many`.
pub const SUBMIT_MANY: usize = 100_000;
/// Most tasks waiting in this process for their submit to be stored.
pub const SUBMIT_BACKLOG: usize = 200_000;
/// Submits of one type, with the same options and due at the same time, or of one `submit_many`, that are under way at
/// the same time.
pub const SUBMITS_IN_FLIGHT: usize = 16;
/// Submits under way at the same time in all.
pub const SUBMITS_IN_FLIGHT_IN_ALL: usize = 128;
/// Most entries in one answer of `list`, `history` or `workers`.
pub const PAGE: usize = 1_000;
/// Most index entries a worker remembers, due or not.
pub const CANDIDATES: usize = 2_000;
/// Most tasks one worker holds at a time, running or fetched ahead.
pub const HELD_TASKS: usize = 20_000;
/// Claims under way at the same time in one worker.
pub const CLAIMS_IN_FLIGHT: usize = 64;
/// Times a commit is rebased onto somebody else's before it is given up for now.
pub const REBASES: usize = 20;
/// Commit ids a record remembers: a committer whose answer was lost finds itself here even if others came after.
pub const TRAIL: usize = 64;
/// No revision or entry is numbered as high as this: it cannot be reached by counting, and other readers of JSON
/// begin to round here.
pub const COUNTABLE: u64 = 1 << 53;
/// Times a task may lose its worker before it is failed instead of run again: a task that kills its worker
/// must not go round for ever.
pub const LOSSES: u32 = 10;

/// The longest timeout and the longest delay.
pub const LONGEST: Duration = Duration::from_hours(366 * 24);
/// How long an attempt may take unless said otherwise.
pub const TIMEOUT: Duration = Duration::from_mins(5);
/// A lease outlives the timeout of its tasks by this: they may be fetched a little ahead, and the outcome must
/// still be stored.
pub const LEASE_SLACK: Duration = Duration::from_secs(30);
/// A task fetched ahead and not started for this long is given back for others to take.
pub const FETCHED_AHEAD: Duration = Duration::from_secs(5);
/// A payload has to be named by a record this soon after its first piece was written.
pub const PAYLOAD_FRESH: Duration = Duration::from_hours(12);
/// A payload that no record names is left alone for this long: it may still be on its way into one.
pub const PAYLOAD_GRACE: Duration = Duration::from_hours(24);
/// An index entry that leads nowhere is an accident after this long.
pub const GRACE: Duration = Duration::from_mins(1);

/// Most pages of schedules a worker reads; of more it warns.
pub const SCHEDULE_PAGES: usize = 100;
/// Most slots of a schedule that are caught up with, or filled in by one call.
pub const CATCH_UP: u32 = 1_000;
/// Most slots shown by one preview.
pub const PREVIEW: usize = 1_000;
/// Most schedules declared by one call.
pub const DECLARED: usize = 1_000;
/// The shortest interval of a schedule.
pub const SHORTEST_EVERY: Duration = Duration::from_secs(1);
/// The longest jitter of a schedule.
pub const JITTER: Duration = Duration::from_hours(24);
