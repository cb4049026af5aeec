//! A descriptor that is readable while a flag is up: an eventfd on Linux, a pipe elsewhere.
#![expect(unsafe_code, reason = "descriptors made by the system come as bare numbers")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// The flag. Callers serialise [`Self::raise`] and [`Self::lower`] and call them in turn, so that at most one
/// token is ever in the descriptor.
#[derive(Debug)]
pub struct Notify {
    reader: File,
    /// The pipe's other end; an eventfd has none.
    writer: Option<File>,
}

impl Notify {
    pub fn new() -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        return Self::eventfd();
        #[cfg(not(target_os = "linux"))]
        return Self::pipe();
    }

    #[cfg(target_os = "linux")]
    fn eventfd() -> io::Result<Self> {
        // SAFETY: `eventfd` takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the system has just made `fd` and nobody else owns it.
        let reader = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { reader: reader.into(), writer: None })
    }

    #[cfg(any(test, not(target_os = "linux")))]
    fn pipe() -> io::Result<Self> {
        let mut ends = [-1; 2];
        // SAFETY: `ends` has room for the two descriptors that `pipe` writes.
        if unsafe { libc::pipe(ends.as_mut_ptr()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the system has just made both descriptors and nobody else owns them.
        let [reader, writer] = ends.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        for end in [&reader, &writer] {
            // SAFETY: `fcntl` with these commands takes no pointers, and the descriptor is open.
            let set = unsafe {
                libc::fcntl(end.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) != -1
                    && libc::fcntl(end.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) != -1
            };
            if !set {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Self { reader: reader.into(), writer: Some(writer.into()) })
    }

    /// The descriptor to poll.
    pub fn fd(&self) -> RawFd {
        self.reader.as_raw_fd()
    }

    /// Makes the descriptor readable. It cannot fail: the descriptor is open and empty, so there is room.
    pub fn raise(&self) {
        let _ = { self.writer.as_ref().unwrap_or(&self.reader) }.write(&1_u64.to_ne_bytes());
    }

    /// Makes it unreadable again. If the host has read from it against the rules, there is nothing left to take.
    pub fn lower(&self) {
        let _ = (&self.reader).read(&mut [0; 8]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::readable;

    fn is_readable_exactly_while_raised(notify: &Notify) {
        for _ in 0..3 {
            assert!(!readable(notify.fd()));
            notify.raise();
            assert!(readable(notify.fd()));
            notify.lower();
        }
        assert!(!readable(notify.fd()));
    }

    #[test]
    fn the_systems_own_kind_is_readable_exactly_while_raised() {
        is_readable_exactly_while_raised(&Notify::new().unwrap());
    }

    #[test]
    fn a_pipe_is_readable_exactly_while_raised() {
        is_readable_exactly_while_raised(&Notify::pipe().unwrap());
    }

    #[test]
    fn a_host_that_reads_the_descriptor_against_the_rules_blocks_nobody() {
        let notify = Notify::new().unwrap();
        notify.raise();
        notify.lower();
        notify.lower();
        assert!(!readable(notify.fd()));
    }
}
