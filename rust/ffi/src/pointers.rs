//! Reads and writes through the caller's pointers.
#![expect(unsafe_code, reason = "a C caller's pointers can only be followed on its word")]

use crate::abi::BQ_MAX_BYTES;
use crate::failure::Failure;

/// Borrows the caller's bytes for the call. NULL stands for the empty string when `len` is 0.
///
/// # Safety
/// `data` is NULL, or `len` is more than [`BQ_MAX_BYTES`], or `data` points to `len` bytes that nobody writes to for as
/// long as the result lives.
pub unsafe fn bytes<'a>(data: *const u8, len: usize, name: &str) -> Result<&'a [u8], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(Failure::invalid(format!("{name} is NULL, but its length is {len}")));
    }
    // A length that was never set, or is negative in C, ends here, before a byte is read.
    if len > BQ_MAX_BYTES {
        let message =
            format!("the length of {name} is {len}, but {BQ_MAX_BYTES} bytes are the most: is it uninitialised?");
        return Err(Failure::invalid(message));
    }
    // SAFETY: `data` is not NULL and `len` is within the limit, which fits; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(data, len) })
}

/// A place of the caller's for one result.
pub struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Takes the place and sets it to `empty`, so that the caller never reads what a failed call left behind.
    ///
    /// # Safety
    /// `place` is NULL or points to a `T` that this thread may write to as long as the result lives.
    pub unsafe fn new(place: *mut T, empty: T, name: &str) -> Result<Self, Failure> {
        if place.is_null() {
            return Err(Failure::invalid(format!("{name} is NULL")));
        }
        let out = Self(place);
        out.set(empty);
        Ok(out)
    }

    pub const fn set(&self, value: T) {
        // SAFETY: not NULL, and writable by the promise made to `new`. The old value is a bare pointer of the
        // caller's, with nothing to drop.
        unsafe { self.0.write(value) }
    }
}
