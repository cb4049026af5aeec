//! File locks of SQLite that no other library of the process can drop.
//!
//! SQLite locks its files with POSIX locks, which belong to the process: when anybody in it closes any descriptor of a
//! file, all the locks that the process has on that file are gone, whoever took them. Another SQLite in the process (that of
//! Python's `sqlite3`, say) does so whenever it closes the database, and so does a program that merely copies the file. SQLite then
//! goes on without its locks and is not told: others take themselves for the only users, remove its write-ahead log or
//! write at the same time, and what was committed is lost.
//!
//! Open file description locks of Linux and macOS conflict with POSIX locks and with each other as those do, and are
//! dropped by nobody but their owner. SQLite's Unix layer can be given another `fcntl`; this crate gives it one that takes
//! those locks instead. Nothing else of SQLite changes: files, formats, and how it works with other processes, also such as use
//! POSIX locks.
#![expect(unsafe_code, reason = "SQLite takes a system call of ours only as a C function")]

use std::ffi::{c_char, c_int};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::OnceLock;

use rusqlite::ffi::{SQLITE_OK, sqlite3_syscall_ptr, sqlite3_vfs_find};

unsafe extern "C" {
    safe fn buquet_locks_supported() -> c_int;
    safe fn buquet_locks_is_taken(fd: c_int, byte: c_int) -> c_int;
    fn buquet_locks_fcntl(fd: c_int, command: c_int, ...) -> c_int;
}

/// The byte of a shared-memory file that whoever writes to the database has locked, from the first page to the end of its
/// commit: a part of SQLite's format.
const WRITER: c_int = 120;

/// Whether anybody, this process included, writes to the database with this shared-memory file. `None` if the system does
/// not tell.
#[must_use]
pub fn is_written(shared_memory: &File) -> Option<bool> {
    if !install() {
        return None;
    }
    match buquet_locks_is_taken(shared_memory.as_raw_fd(), WRITER) {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// Lets SQLite lock files so that its locks last until it drops them. To be called before the process opens its first
/// database; later calls do nothing.
///
/// `false` if this system has no such locks, so that those of SQLite stay as they are.
pub fn install() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| buquet_locks_supported() != 0 && replace_fcntl())
}

fn replace_fcntl() -> bool {
    const NAME: *const c_char = c"fcntl".as_ptr();
    // SAFETY: `fcntl` and the function put into its place have the same type, `int (int, int, ...)`; SQLite calls it with
    // that one, whatever the type of the pointer here.
    let call: sqlite3_syscall_ptr = Some(unsafe {
        std::mem::transmute::<unsafe extern "C" fn(c_int, c_int, ...) -> c_int, unsafe extern "C" fn()>(
            buquet_locks_fcntl,
        )
    });
    // SAFETY: without a name SQLite answers its default layer, which is registered for as long as the program runs.
    let Some(layer) = (unsafe { sqlite3_vfs_find(ptr::null()).as_mut() }) else { return false };
    // SAFETY: the layer is valid, the name a C string, and the function stays for as long as the program runs.
    layer.xSetSystemCall.is_some_and(|set| unsafe { set(layer, NAME, call) } == SQLITE_OK)
}
