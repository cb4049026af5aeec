//! The gate that every use of SQLite passes, so that a fork finds none under way and no file open.
//!
//! SQLite keeps the locks and the shared memory of a file in tables of the process. A fork copies them, whatever state
//! they are in, together with mutexes whose owners the child does not have. Once every connection is closed, nothing of
//! a file is left in those tables; the gate closes them all, holds the lanes back while the fork happens, and lets them
//! connect again. The child gets a gate of its own, since the state of the inherited one is anybody's guess.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::database::Link;

static FIRST: Gate = Gate::new(true);

/// One process's gate. Idle connections wait here, where a fork can close them without waking their lanes.
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
    /// Whether SQLite's tables hold nothing of the process that this one was forked from.
    clean: bool,
    /// Only ever set in a child, whose gate it is from then on.
    child: OnceLock<Box<Self>>,
}

struct State {
    /// Forks under way; nobody passes meanwhile.
    forks: usize,
    /// How many are inside SQLite.
    inside: usize,
    seats: u64,
    idle: BTreeMap<u64, Link>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("clean", &self.clean).finish_non_exhaustive()
    }
}

impl Gate {
    pub(super) const fn new(clean: bool) -> Self {
        let state = State { forks: 0, inside: 0, seats: 0, idle: BTreeMap::new() };
        Self { state: Mutex::new(state), changed: Condvar::new(), clean, child: OnceLock::new() }
    }

    /// This process's gate.
    pub(super) fn current() -> &'static Self {
        let mut gate = &FIRST;
        while let Some(child) = gate.child.get() {
            gate = child;
        }
        gate
    }

    /// Whether SQLite can be used in this process.
    pub(super) const fn is_clean(&self) -> bool {
        self.clean
    }

    /// Whether this is the gate of the process that this one was forked from.
    pub(super) fn is_inherited(&self) -> bool {
        self.child.get().is_some()
    }

    /// A place for one more connection.
    pub(super) fn seat(&'static self) -> Seat {
        let mut state = self.state();
        state.seats += 1;
        Seat { gate: self, number: state.seats }
    }

    /// Lets nobody pass any more and closes every connection, or gives up on that after `limit`. True if it succeeded.
    pub(super) fn shut(&self, limit: Duration) -> bool {
        self.state().forks += 1;
        let waited = self.changed.wait_timeout_while(self.state(), limit, |state| state.inside > 0);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return false;
        }
        // Under the lock, so that another thread's fork does not happen half-way through.
        // Whoever connects next goes on with the log.
        std::mem::take(&mut state.idle).into_values().for_each(Link::abandon);
        drop(state);
        true
    }

    /// Lets everybody pass again, unless another fork is under way.
    pub(super) fn open(&self) {
        self.state().forks -= 1;
        self.changed.notify_all();
    }

    /// Gives the child a gate of its own. Takes no lock, since the lock may be held by a thread that is not here.
    pub(super) fn replace(&self, shut: bool) {
        self.child.get_or_init(|| Box::new(Self::new(self.clean && shut)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place for one connection, which is closed when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    gate: &'static Gate,
    number: u64,
}

impl Seat {
    /// Waits until no fork is under way; none begins as long as the pass lives. It has the connection that was left by
    /// the one before, unless a fork has closed it.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "a seat has one pass at a time")]
    pub(super) fn pass(&mut self) -> Pass<'_> {
        let waiting = self.gate.state();
        let mut state =
            self.gate.changed.wait_while(waiting, |state| state.forks > 0).unwrap_or_else(PoisonError::into_inner);
        state.inside += 1;
        let link = state.idle.remove(&self.number);
        drop(state);
        Pass { link, seat: self }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.pass().link = None;
    }
}

/// The permission to use SQLite.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    /// What is here in the end is kept for the next pass.
    pub(super) link: Option<Link>,
    seat: &'a Seat,
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut state = self.seat.gate.state();
        state.inside -= 1;
        if let Some(link) = self.link.take() {
            state.idle.insert(self.seat.number, link);
        }
        if state.forks > 0 {
            self.seat.gate.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use rusqlite::Connection;

    use super::*;

    const SOON: Duration = Duration::from_mins(1);

    fn gate() -> &'static Gate {
        Box::leak(Box::new(Gate::new(true)))
    }

    #[test]
    fn a_connection_is_kept_between_passes_and_closed_by_a_fork() {
        let mut seat = gate().seat();
        seat.pass().link = Some(Link::to_nothing(Connection::open_in_memory().unwrap()));
        assert!(seat.pass().link.is_some(), "kept");
        assert!(seat.gate.shut(SOON));
        seat.gate.open();
        assert!(seat.pass().link.is_none(), "closed");
    }

    #[test]
    fn a_fork_waits_for_who_is_inside_and_nobody_enters_meanwhile() {
        let gate = gate();
        let (mut first, mut second) = (gate.seat(), gate.seat());
        let inside = first.pass();
        let fork = thread::spawn(move || gate.shut(SOON));
        while gate.state().forks == 0 {
            thread::yield_now();
        }
        let (entered, enters) = mpsc::channel();
        let late = thread::spawn(move || {
            let _pass = second.pass();
            entered.send(()).unwrap();
        });
        assert!(!fork.is_finished(), "somebody is inside");
        drop(inside);
        assert!(fork.join().unwrap());
        assert_eq!(enters.try_recv(), Err(mpsc::TryRecvError::Empty), "somebody entered during a fork");
        gate.open();
        late.join().unwrap();
        enters.recv().unwrap();
    }

    #[test]
    fn two_forks_at_once_both_have_to_be_over() {
        let gate = gate();
        let mut seat = gate.seat();
        assert!(gate.shut(SOON) && gate.shut(SOON));
        gate.open();
        let late = thread::spawn(move || drop(seat.pass()));
        assert_eq!(gate.state().forks, 1);
        gate.open();
        late.join().unwrap();
    }

    #[test]
    fn a_fork_gives_up_in_time_and_then_the_child_knows() {
        let gate = gate();
        let mut seat = gate.seat();
        let inside = seat.pass();
        let shut = gate.shut(Duration::from_millis(1));
        assert!(!shut && !gate.is_inherited());
        gate.replace(shut);
        let child = gate.child.get().unwrap();
        assert!(gate.is_inherited() && !child.is_clean());
        assert!(child.shut(SOON), "the child's own gate knows nothing of who was inside");
        child.replace(true);
        assert!(!child.child.get().unwrap().is_clean(), "its children inherit what it inherited");
        drop(inside);
        gate.open();
    }
}
