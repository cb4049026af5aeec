//! Answers as buffers of the caller's.
#![expect(unsafe_code, reason = "the objects cross as pointers, which are followed on the caller's word")]
#![expect(clippy::expl_impl_clone_on_copy, clippy::useless_let_if_seq, reason = "the expansion of derive_ReprC")]

use safer_ffi::derive_ReprC;

use crate::guard::guard;

/// Bytes that the library made and the caller owns. Free with bq_buffer_free(), not with free().
///
/// One NUL byte follows the data and is not counted in `len`, so that text can be used as a C string. The bytes do not
/// change. Several threads may read them; they must not be used after the buffer was freed.
#[derive_ReprC]
#[repr(C)]
pub struct bq_buffer {
    /// The first byte; never NULL.
    pub data: *const u8,
    /// The number of bytes.
    pub len: usize,
}

/// A buffer with what it points into. The caller sees the first field; freeing relies on the second, so that a
/// caller who changes `data` or `len` harms nothing.
#[repr(C)]
struct Owned {
    seen: bq_buffer,
    bytes: Box<[u8]>,
}

/// Frees a buffer and its bytes. NULL is allowed.
// SAFETY: the name is buquet's own, so it cannot stand for anything else in the process.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bq_buffer_free(buffer: *mut bq_buffer) {
    let _ = guard(|| {
        if !buffer.is_null() {
            // SAFETY: the pointer came from `hand_over`, where it was a pointer to `Owned`, and the caller passes
            // it here once.
            drop(unsafe { Box::from_raw(buffer.cast::<Owned>()) });
        }
        Ok(())
    });
}

/// Gives the bytes to the caller.
pub(super) fn hand_over(mut bytes: Vec<u8>) -> *mut bq_buffer {
    let len = bytes.len();
    bytes.push(0);
    let bytes = bytes.into_boxed_slice();
    let seen = bq_buffer { data: bytes.as_ptr(), len };
    Box::into_raw(Box::new(Owned { seen, bytes })).cast()
}
