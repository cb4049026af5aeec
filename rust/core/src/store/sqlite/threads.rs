//! The threads of one store, which are gone, with what they had open, once the store is.

use std::convert::Infallible;
use std::fmt;
use std::mem;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::super::{StoreError, StoreErrorKind};
use super::gate::Gate;

/// How long dropping waits for a transaction that is under way, on a disk that hangs for example.
const GRACE: Duration = Duration::from_secs(5);

/// Waits for its threads when it is dropped; what tells them to end has to be dropped before.
pub(super) struct Threads {
    gate: &'static Gate,
    handles: Vec<JoinHandle<()>>,
    /// Each thread has a copy, and nobody sends: the last copy that is dropped ends the receiver's wait.
    running: Option<Sender<Infallible>>,
    ended: Mutex<Receiver<Infallible>>,
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.handles.iter().map(JoinHandle::thread)).finish()
    }
}

impl Threads {
    /// No threads yet.
    pub(super) fn new(gate: &'static Gate) -> Self {
        let (running, ended) = channel();
        Self { gate, handles: Vec::new(), running: Some(running), ended: Mutex::new(ended) }
    }

    /// Runs `work` on a thread of its own.
    pub(super) fn start(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
        let running = self.running.clone();
        let body = move || {
            work();
            drop(running);
        };
        let handle = thread::Builder::new().name(name.to_owned()).spawn(body).map_err(|error| {
            let message = format!("cannot start a thread for the database: {error}; raise the limit on threads");
            StoreError::new(StoreErrorKind::Unavailable, message)
        })?;
        self.handles.push(handle);
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let handles = mem::take(&mut self.handles);
        if self.gate.is_inherited() {
            // The threads are the parent's; even letting go of the handles would write to what was their memory.
            mem::forget(handles);
            return;
        }
        // An answer can wake, and so end, the last owner of the store on a thread of the store's own.
        if handles.iter().any(|handle| handle.thread().id() == thread::current().id()) {
            return;
        }
        self.running = None;
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(GRACE) == Err(RecvTimeoutError::Disconnected) {
            for handle in handles {
                // A thread that panicked has ended too; its callers were told.
                let _ = handle.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn dropping_waits_until_the_threads_are_done() {
        let done = Arc::new(AtomicBool::new(false));
        let mut threads = Threads::new(Gate::current());
        let noted = Arc::clone(&done);
        let work = move || {
            thread::sleep(Duration::from_millis(50));
            noted.store(true, Ordering::Relaxed);
        };
        threads.start("works", work).unwrap();
        drop(threads);
        assert!(done.load(Ordering::Relaxed));
    }

    #[test]
    fn a_thread_that_drops_the_last_owner_does_not_wait_for_itself() {
        let (give, take) = channel::<Threads>();
        let (over, wait) = channel();
        let mut threads = Threads::new(Gate::current());
        let owner = move || {
            drop(take.recv());
            over.send(()).unwrap();
        };
        threads.start("owner", owner).unwrap();
        give.send(threads).unwrap();
        wait.recv_timeout(GRACE / 2).unwrap();
    }

    #[test]
    fn the_threads_of_a_parent_are_not_waited_for() {
        let gate: &Gate = Box::leak(Box::new(Gate::new(true)));
        let (go, wait) = channel::<()>();
        let mut threads = Threads::new(gate);
        let work = move || {
            let _ = wait.recv();
        };
        threads.start("parent's", work).unwrap();
        gate.replace(true);
        drop(threads);
        drop(go);
    }
}
