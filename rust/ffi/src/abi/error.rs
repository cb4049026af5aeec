//! Errors as objects of the caller's.
#![expect(unsafe_code, reason = "the objects cross as pointers, which are followed on the caller's word")]

use std::ffi::{CString, c_char};
use std::ptr;

use super::{BQ_ERR_INTERNAL, BQ_ERR_INVALID};
use crate::failure::Failure;
use crate::guard::guard;

/// What went wrong in a call.
///
/// A function that takes `bq_error **error` sets it to NULL on success and to a new object on failure. The object
/// belongs to the caller, who frees it with bq_error_free(). Pass NULL for `error` to do without.
///
/// An error does not change. Several threads may read it; it must not be used after it was freed.
pub struct bq_error {
    status: i32,
    code: CString,
    message: CString,
}

/// The status that the failed call returned. BQ_ERR_INVALID if `error` is NULL.
// SAFETY: the name is buquet's own, so it cannot stand for anything else in the process.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bq_error_status(error: *const bq_error) -> i32 {
    // SAFETY: the caller passes NULL or an error that it has not freed.
    guard(|| Ok(unsafe { error.as_ref() }.map_or(BQ_ERR_INVALID, |error| error.status))).unwrap_or(BQ_ERR_INTERNAL)
}

/// The stable name of the kind of error, such as "config": never NULL, and "" if `error` is NULL.
///
/// The text lives as long as the error.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bq_error_code(error: *const bq_error) -> *const c_char {
    // SAFETY: the caller passes NULL or an error that it has not freed.
    let code = guard(|| Ok(unsafe { error.as_ref() }.map_or(c"", |error| error.code.as_c_str())));
    code.unwrap_or(c"").as_ptr()
}

/// What was wrong, with which value, and what to do: UTF-8 for people, never NULL, and "" if `error` is NULL.
///
/// The text lives as long as the error. Its wording may change in any release.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bq_error_message(error: *const bq_error) -> *const c_char {
    // SAFETY: the caller passes NULL or an error that it has not freed.
    let message = guard(|| Ok(unsafe { error.as_ref() }.map_or(c"", |error| error.message.as_c_str())));
    message.unwrap_or(c"").as_ptr()
}

/// Frees an error. NULL is allowed.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bq_error_free(error: *mut bq_error) {
    let _ = guard(|| {
        if !error.is_null() {
            // SAFETY: the pointer came from `report`, and the caller passes it here once.
            drop(unsafe { Box::from_raw(error) });
        }
        Ok(())
    });
}

/// Runs `body` behind the guard; turns its failure into a status and, if the caller wants one, an error object.
///
/// # Safety
/// `error` is NULL or points to a place that this thread may write to.
pub(super) unsafe fn report(error: *mut *mut bq_error, body: impl FnOnce() -> Result<i32, Failure>) -> i32 {
    // SAFETY: the place is writable by this function's own condition.
    let place = unsafe { error.as_mut() };
    match (guard(body), place) {
        (Ok(status), None) => status,
        (Ok(status), Some(place)) => {
            *place = ptr::null_mut();
            status
        }
        (Err(failure), None) => failure.status,
        (Err(failure), Some(place)) => {
            *place = Box::into_raw(Box::new(bq_error {
                status: failure.status,
                code: text(failure.code),
                message: text(&failure.message),
            }));
            failure.status
        }
    }
}

/// C text ends at the first NUL, which a message may quote from the caller's input: it is shown instead.
fn text(text: &str) -> CString {
    CString::new(text.replace('\0', "\\0")).unwrap_or_default()
}
