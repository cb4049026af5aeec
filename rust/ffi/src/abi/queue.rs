//! Completion queues and the operations submitted to them.
#![expect(unsafe_code, reason = "the caller's pointers are followed on its word")]

use std::ptr;

use super::BQ_OK;
use super::buffer::{bq_buffer, hand_over};
use super::engine::{bq_engine, timeout};
use super::error::{bq_error, report};
use crate::failure::Failure;
use crate::guard::guard;
use crate::handles;
use crate::pointers::{Out, bytes};
use crate::queue::render;

/// How many operations a queue holds at most, in flight and completed together.
pub const BQ_MAX_PENDING: usize = 65536;

/// How many bytes a configuration, the name of an operation or a request may have: 1 GiB. A greater length is refused
/// before a byte is read.
pub const BQ_MAX_BYTES: usize = 1 << 30;

/// A completion queue on an engine: operations are submitted to it, and their completions come back on it. Open one
/// for each event loop or thread.
///
/// The pointer is a name, not an address: do not look behind it. Any thread may use it. After bq_queue_close() every
/// call with it returns BQ_ERR_CLOSED, and after a fork every call in the child returns BQ_ERR_FORKED.
pub struct bq_queue {
    _private: (),
}

/// Opens a completion queue on an engine.
///
/// `out`: receives the queue, NULL on failure. Close it with bq_queue_close(), before or after its engine.
/// `error`: may be NULL; receives an error that the caller frees.
///
/// Returns BQ_OK; BQ_ERR_INVALID; BQ_ERR_CLOSED; BQ_ERR_FORKED; BQ_ERR_RESOURCES; BQ_ERR_INTERNAL.
// SAFETY: the name is buquet's own, so it cannot stand for anything else in the process.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bq_queue_open(
    engine: *mut bq_engine,
    out: *mut *mut bq_queue,
    error: *mut *mut bq_error,
) -> i32 {
    let open = || {
        // SAFETY: the caller passes NULL or a place for the result.
        let out = unsafe { Out::new(out, ptr::null_mut(), "out") }?;
        let queue = handles::engine(engine.addr())?.open_queue()?;
        out.set(ptr::without_provenance_mut(handles::issue_queue(queue)));
        Ok(BQ_OK)
    };
    // SAFETY: the caller passes NULL or a place for the error.
    unsafe { report(error, open) }
}

/// Closes a queue and frees the handle. It does not block.
///
/// Operations in flight are aborted and completions not yet drained are dropped, since nobody can read them any more;
/// what an operation has already stored stays stored. Threads inside bq_queue_wait() return BQ_ERR_CLOSED. The
/// descriptor of bq_queue_fd() is closed: take it out of the event loop first.
///
/// Returns BQ_OK; BQ_ERR_INVALID; BQ_ERR_CLOSED; BQ_ERR_FORKED, which frees nothing; BQ_ERR_INTERNAL.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn bq_queue_close(queue: *mut bq_queue) -> i32 {
    let close = || {
        handles::take_queue(queue.addr())?.close();
        Ok(BQ_OK)
    };
    guard(close).unwrap_or_else(|failure| failure.status)
}

/// The queue's descriptor, for poll(), epoll, kqueue or an event loop: readable while completions wait.
///
/// It belongs to the queue: do not read it, write it or close it. It stays the same until bq_queue_close().
///
/// Returns the descriptor, or -1 for a handle that cannot be used.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn bq_queue_fd(queue: *const bq_queue) -> i32 {
    guard(|| Ok(handles::queue(queue.addr())?.fd())).unwrap_or(-1)
}

/// Starts an operation. It does not block; the answer arrives on the queue as one completion with this token.
///
/// `op`: the name of the operation, `op_len` bytes. `request`: its request, JSON in UTF-8, `request_len` bytes; NULL
/// with length 0 stands for {}. Both are read during the call only.
/// `token`: any number, handed back in the completion. Tokens need not differ, but bq_cancel() goes by them.
/// `error`: may be NULL; receives an error that the caller frees.
///
/// Returns BQ_OK if the operation was accepted: it then completes exactly once, unless the queue is closed first. A
/// wrong operation name or request is an error of the completion, not of this call. BQ_ERR_INVALID for a NULL argument,
/// a length above BQ_MAX_BYTES or a name that is not UTF-8; BQ_ERR_OVERLOADED if BQ_MAX_PENDING operations are in the queue; BQ_ERR_CLOSED if the
/// queue or its engine is closed; BQ_ERR_FORKED; BQ_ERR_INTERNAL.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bq_submit(
    queue: *mut bq_queue,
    op: *const u8,
    op_len: usize,
    request: *const u8,
    request_len: usize,
    token: u64,
    error: *mut *mut bq_error,
) -> i32 {
    let submit = || {
        // SAFETY: the caller passes NULL or `op_len` bytes and leaves them alone during the call.
        let op = unsafe { bytes(op, op_len, "op") }?;
        // SAFETY: the same holds for the request.
        let request = unsafe { bytes(request, request_len, "request") }?;
        let op = str::from_utf8(op)
            .map_err(|error| Failure::invalid(format!("the name of the operation is not UTF-8: {error}")))?;
        let request = if request.is_empty() { b"{}" } else { request };
        handles::queue(queue.addr())?.submit(op, request, token)?;
        Ok(BQ_OK)
    };
    // SAFETY: the caller passes NULL or a place for the error.
    unsafe { report(error, submit) }
}

/// Cancels every operation in flight with this token. It does not block.
///
/// Each of them completes with the code "closed" unless it has completed already; it may have taken effect in the store
/// or may still do so.
///
/// Returns BQ_OK, also if no such operation is in flight; BQ_ERR_INVALID; BQ_ERR_CLOSED; BQ_ERR_FORKED;
/// BQ_ERR_INTERNAL.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn bq_cancel(queue: *mut bq_queue, token: u64) -> i32 {
    let cancel = || {
        handles::queue(queue.addr())?.cancel(token);
        Ok(BQ_OK)
    };
    guard(cancel).unwrap_or_else(|failure| failure.status)
}

/// Waits until a completion can be drained.
///
/// `timeout_ms`: 0 only looks, below 0 waits for ever. Several threads may wait; all of them wake, and the first to
/// drain gets the completions.
///
/// Returns BQ_OK if completions wait; BQ_TIMEOUT; BQ_ERR_CLOSED if the queue is closed, also meanwhile, or if its engine
/// is closed and the last completion was drained; BQ_ERR_INVALID; BQ_ERR_FORKED; BQ_ERR_INTERNAL.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn bq_queue_wait(queue: *mut bq_queue, timeout_ms: i64) -> i32 {
    guard(|| Ok(handles::queue(queue.addr())?.wait(timeout(timeout_ms)))).unwrap_or_else(|failure| failure.status)
}

/// Takes completions off the queue, oldest first. It does not block.
///
/// `max`: how many at most, 1 or more.
/// `out`: receives a buffer that the caller frees with bq_buffer_free(), with a JSON array of completions:
/// [{"token": 7, "ok": ANSWER}, {"token": 8, "error": {"code": "not_found", "message": "..."}}]. NULL if there are
/// none, and on failure.
/// `error`: may be NULL; receives an error that the caller frees.
///
/// Returns BQ_OK, also if there were none; BQ_ERR_INVALID; BQ_ERR_CLOSED; BQ_ERR_FORKED; BQ_ERR_INTERNAL.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bq_queue_drain(
    queue: *mut bq_queue,
    max: usize,
    out: *mut *mut bq_buffer,
    error: *mut *mut bq_error,
) -> i32 {
    let drain = || {
        // SAFETY: the caller passes NULL or a place for the result.
        let out = unsafe { Out::new(out, ptr::null_mut(), "out") }?;
        let queue = handles::queue(queue.addr())?;
        if max == 0 {
            return Err(Failure::invalid("max is 0: ask for at least one completion"));
        }
        let completions = queue.drain(max);
        if !completions.is_empty() {
            out.set(hand_over(render(&completions)));
        }
        Ok(BQ_OK)
    };
    // SAFETY: the caller passes NULL or a place for the error.
    unsafe { report(error, drain) }
}
