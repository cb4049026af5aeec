//! Tells the core when the host forks, so that a child can open the SQLite file that its parent has open.
#![expect(unsafe_code, reason = "the system takes its fork handlers as C functions")]

use std::io;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, Ordering};

use buquet_core::store::sqlite::fork;

use crate::failure::Failure;

/// A flag and no lock, which a fork in between would leave taken in the child.
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Has the handlers below called from now on, by whatever forks in this process: `fork` itself, not `posix_spawn`,
/// `vfork` and their like, whose children run another program at once.
pub fn watch() -> Result<(), Failure> {
    if WATCHED.swap(true, Ordering::AcqRel) {
        return Ok(());
    }
    // SAFETY: the handlers are functions of this library, which the system forgets when it unloads the library, and
    // no panic leaves them.
    let status = unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
    if status == 0 {
        return Ok(());
    }
    WATCHED.store(false, Ordering::Release);
    Err(Failure::resources("the handlers that a fork needs", &io::Error::from_raw_os_error(status)))
}

extern "C" fn prepare() {
    let _ = catch_unwind(fork::prepare);
}

extern "C" fn parent() {
    let _ = catch_unwind(fork::parent);
}

extern "C" fn child() {
    let _ = catch_unwind(fork::child);
}
