//! What a process that forks has to say, so that the child can open the files that its parent has open.
//!
//! The three functions are made for `pthread_atfork`: the thread that forks calls [`prepare`] before, [`parent`] after
//! it in the parent, also if the fork failed, and [`child`] in the child. They may be called from any thread, inside a
//! runtime or not. Without them a child that opens its parent's file may hang, or damage it.

use std::cell::Cell;
use std::time::Duration;

use super::gate::Gate;

/// How long a fork waits for the transactions that are under way.
const LIMIT: Duration = Duration::from_secs(5);

thread_local! {
    /// Whether the fork of this thread found the gate shut; `None` if this thread is not forking.
    static SHUT: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Lets the transactions under way finish, closes every connection, and lets no other begin. Gives up after 5 seconds;
/// the child then refuses to open SQLite files.
pub fn prepare() {
    if SHUT.get().is_none() {
        SHUT.set(Some(false));
        SHUT.set(Some(Gate::current().shut(LIMIT)));
    }
}

/// Lets requests go on: the next of each store connects anew.
pub fn parent() {
    if SHUT.take().is_some() {
        Gate::current().open();
    }
}

/// Forgets the parent's connections and threads: its stores refuse requests, new ones can be opened.
pub fn child() {
    if let Some(shut) = SHUT.take() {
        Gate::current().replace(shut);
    }
}
