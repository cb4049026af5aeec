//! Engines.
#![expect(unsafe_code, reason = "the caller's pointers are followed on its word")]

use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use super::error::{bq_error, report};
use super::{BQ_OK, BQ_TIMEOUT};
use crate::engine::Engine;
use crate::guard::guard;
use crate::handles;
use crate::pointers::{Out, bytes};

/// An engine: one queue of tasks in one store, with its connections and threads.
///
/// The pointer is a name, not an address: do not look behind it. Any thread may use it. After bq_engine_close() every
/// call with it returns BQ_ERR_CLOSED, and after a fork every call in the child returns BQ_ERR_FORKED.
pub struct bq_engine {
    _private: (),
}

/// Opens an engine and starts its threads.
///
/// No network is used: the store is reached at the first operation, and what is wrong there (credentials, a missing
/// bucket) is the error of that operation.
///
/// `config`: JSON, UTF-8, `config_len` bytes, read during the call only; NULL with length 0 stands for {}.
/// `out`: receives the engine, NULL on failure. Close it with bq_engine_close().
/// `error`: may be NULL; receives an error that the caller frees.
///
/// Returns BQ_OK; BQ_ERR_INVALID for a NULL argument or a length above BQ_MAX_BYTES; BQ_ERR_CONFIG for a configuration
/// that cannot be used, such as text that is not the JSON asked for; BQ_ERR_RESOURCES; BQ_ERR_INTERNAL.
// SAFETY: the name is buquet's own, so it cannot stand for anything else in the process.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bq_engine_open(
    config: *const u8,
    config_len: usize,
    out: *mut *mut bq_engine,
    error: *mut *mut bq_error,
) -> i32 {
    let open = || {
        // SAFETY: the caller passes NULL or a place for the result.
        let out = unsafe { Out::new(out, ptr::null_mut(), "out") }?;
        // SAFETY: the caller passes NULL or `config_len` bytes and leaves them alone during the call.
        let config = unsafe { bytes(config, config_len, "config") }?;
        let handle = handles::issue_engine(Arc::new(Engine::open(config)?));
        out.set(ptr::without_provenance_mut(handle));
        Ok(BQ_OK)
    };
    // SAFETY: the caller passes NULL or a place for the error.
    unsafe { report(error, open) }
}

/// Closes an engine: accepts nothing more, waits for what was accepted, ends the threads, frees the handle.
///
/// Workers are stopped and give back what they hold. Operations that have not finished after `timeout_ms` complete with
/// the code "closed". Completions stay in the engine's queues, where they can be drained until each queue is closed;
/// close every queue, before or after.
///
/// `timeout_ms`: 0 waits for nothing, below 0 waits for ever. In any case the message that wakes workers for tasks just
/// submitted gets up to a second. Ending the threads may take up to 5 seconds more while one of them is inside a system
/// call that hangs (a disk, a name server); such a thread ends when its call does.
///
/// Several threads may call it: one closes, the others get BQ_ERR_CLOSED at once, before the first is done.
///
/// Returns BQ_OK if everything had finished; BQ_TIMEOUT if something was cut off (the engine is closed all the same);
/// BQ_ERR_INVALID; BQ_ERR_CLOSED; BQ_ERR_FORKED, which frees nothing; BQ_ERR_INTERNAL.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn bq_engine_close(engine: *mut bq_engine, timeout_ms: i64) -> i32 {
    let close = || {
        let engine = handles::take_engine(engine.addr())?;
        Ok(if engine.close(timeout(timeout_ms)) { BQ_OK } else { BQ_TIMEOUT })
    };
    guard(close).unwrap_or_else(|failure| failure.status)
}

/// A time of the caller's: `None` is for ever.
pub(super) fn timeout(milliseconds: i64) -> Option<Duration> {
    u64::try_from(milliseconds).ok().map(Duration::from_millis)
}
