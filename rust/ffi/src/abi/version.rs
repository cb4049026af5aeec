//! Versions.
#![expect(unsafe_code, reason = "exports for C need unmangled names")]

use std::ffi::{CStr, c_char};

/// The version of the ABI that this header describes: major << 16 | minor.
pub const BQ_ABI_VERSION: u32 = 0x0001_0000;

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => c"",
};

/// The version of the ABI that the loaded library has: major << 16 | minor.
///
/// Check it after loading the library: the major part must be that of BQ_ABI_VERSION, the minor part must not be
/// lower. A minor version only adds.
///
/// Any thread may call it at any time.
// SAFETY: the name is buquet's own, so it cannot stand for anything else in the process.
#[unsafe(no_mangle)]
pub const extern "C" fn bq_abi_version() -> u32 {
    BQ_ABI_VERSION
}

/// The version of the library, such as "0.2.0": static text, never NULL, not to be freed.
///
/// Any thread may call it at any time.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub const extern "C" fn bq_version() -> *const c_char {
    VERSION.as_ptr()
}
