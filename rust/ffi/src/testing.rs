//! Hooks that only the unit tests have: exports that panic, and operations that do so or take their time.

use std::cell::Cell;
use std::os::fd::RawFd;

use buquet_core::{Error, ops};

thread_local! {
    static PANIC: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body` while every export called on this thread panics inside its guard.
pub fn with_panics<T>(body: impl FnOnce() -> T) -> T {
    PANIC.set(true);
    let result = body();
    PANIC.set(false);
    result
}

pub fn panic_if_asked() {
    assert!(!PANIC.get(), "the test asked for it");
}

/// The operations `test.*`, before those of the core.
pub async fn call(core: &ops::Engine, op: &str, request: &[u8]) -> Result<String, Error> {
    match op {
        "test.echo" => Ok(String::from_utf8_lossy(request).into_owned()),
        "test.never" => std::future::pending().await,
        "test.panic" => panic!("the operation panics"),
        "test.not_found" => Err(Error::NotFound("say \"why\"\n".into())),
        _ => core.call(op, request).await,
    }
}

/// Whether `poll` calls the descriptor readable right now.
#[expect(unsafe_code, reason = "poll is only to be had through libc")]
pub fn readable(fd: RawFd) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is to one `pollfd`, and the count says one.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 && poll.revents & libc::POLLIN != 0 }
}
