//! Who is told of writes to the file: not of those that this process's own writer makes.
//!
//! The system tells that a file was written, not by whom. But one connection at a time writes to a database, so what is
//! written while this process's writer has the lock is its own. Whether somebody else has written before that is known from the count that
//! SQLite keeps of others' commits. What is told at the very end of a transaction may be another's that came right after;
//! then that is still under way, or counted.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;

use super::database::Link;
use super::files::SharedMemory;

/// Tells of others' writes.
#[derive(Debug, Default)]
pub(super) struct Teller {
    changes: watch::Sender<()>,
    writing: Mutex<Writing>,
    /// That of the connection that this process writes with, as long as it is open.
    memory: Mutex<Weak<SharedMemory>>,
}

/// Whether this process writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writing {
    #[default]
    No,
    /// It does, and nothing was heard of that yet.
    Unheard,
    /// It does, and the file was written meanwhile.
    Heard,
}

impl Teller {
    /// Changes when somebody else has written, or may have.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Says that somebody may have written.
    pub(super) fn tell(&self) {
        self.changes.send_replace(());
    }

    /// The file was written, by whomever.
    pub(super) fn hear(&self) {
        let mut writing = self.writing();
        if *writing == Writing::No {
            drop(writing);
            self.tell();
        } else {
            *writing = Writing::Heard;
        }
    }

    /// This process writes with this connection from now on.
    pub(super) fn write_with(&self, link: &Link) {
        *self.memory() = link.memory.as_ref().map(Arc::downgrade).unwrap_or_default();
    }

    /// This process's writer has the lock.
    pub(super) fn begin(&self, link: &Link) -> rusqlite::Result<()> {
        if self.changes.receiver_count() == 0 {
            return Ok(());
        }
        if link.others_wrote()? {
            self.tell();
        }
        *self.writing() = Writing::Unheard;
        Ok(())
    }

    /// This process's writer has dropped the lock after a commit, or an error.
    pub(super) fn end(&self, link: &Link, committed: bool) {
        let heard = mem::take(&mut *self.writing()) == Writing::Heard;
        // In this order: who has written before the look at the lock is counted by the other.
        if heard && !(committed && self.is_quiet() && link.others_wrote().is_ok_and(|wrote| !wrote)) {
            self.tell();
        }
    }

    /// Whether nobody writes now, this process included; `false` also if that cannot be known.
    pub(super) fn is_quiet(&self) -> bool {
        self.memory().upgrade().and_then(|memory| memory.is_written()) == Some(false)
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self) -> MutexGuard<'_, Weak<SharedMemory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rusqlite::Connection;

    use super::super::database::{Location, Mode};
    use super::*;

    /// A writer of a new database, and what is told of it.
    fn writer(folder: &Path) -> (Link, Teller, watch::Receiver<()>) {
        let (teller, location) = (Teller::default(), Location::new(&folder.join("q.db")));
        let link = location.connect(Mode::Write).unwrap();
        teller.write_with(&link);
        let changes = teller.changes();
        assert!(link.others_wrote().unwrap(), "what was before is not known");
        (link, teller, changes)
    }

    fn write(connection: &Connection) {
        connection.execute_batch("UPDATE clock SET latest = latest + 1").unwrap();
    }

    fn told(changes: &mut watch::Receiver<()>) -> bool {
        let told = changes.has_changed().unwrap();
        changes.mark_unchanged();
        told
    }

    /// Writes as a lane does; the system tells of it.
    fn write_heard(link: &Link, teller: &Teller) {
        link.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        teller.begin(link).unwrap();
        write(&link.connection);
        link.connection.execute_batch("COMMIT").unwrap();
        teller.hear();
    }

    #[test]
    fn a_write_of_ones_own_is_not_told_and_anothers_is() {
        let folder = tempfile::tempdir().unwrap();
        let (link, teller, mut changes) = writer(folder.path());
        write_heard(&link, &teller);
        teller.end(&link, true);
        assert!(!told(&mut changes));
        teller.hear();
        assert!(told(&mut changes), "nobody here writes");
    }

    #[test]
    fn what_another_wrote_before_is_told_although_the_system_tells_it_late() {
        let folder = tempfile::tempdir().unwrap();
        let (link, teller, mut changes) = writer(folder.path());
        let other = Location::new(&folder.path().join("q.db")).connect(Mode::Write).unwrap();
        write(&other.connection);
        link.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        teller.begin(&link).unwrap();
        assert!(told(&mut changes), "at once");
        teller.hear();
        link.connection.execute_batch("COMMIT").unwrap();
        teller.end(&link, true);
        assert!(!told(&mut changes), "once");
    }

    #[test]
    fn what_another_writes_right_after_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (link, teller, mut changes) = writer(folder.path());
        let other = Location::new(&folder.path().join("q.db")).connect(Mode::Write).unwrap();
        write_heard(&link, &teller);
        write(&other.connection);
        teller.end(&link, true);
        assert!(told(&mut changes), "it has ended");

        write_heard(&link, &teller);
        other.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        teller.end(&link, true);
        assert!(told(&mut changes), "it is under way");
    }

    #[test]
    fn after_an_error_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (link, teller, mut changes) = writer(folder.path());
        write_heard(&link, &teller);
        teller.end(&link, false);
        assert!(told(&mut changes));
    }

    #[test]
    fn it_is_quiet_unless_somebody_writes_or_the_database_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let (link, teller, _changes) = writer(folder.path());
        let other = Location::new(&folder.path().join("q.db")).connect(Mode::Write).unwrap();
        assert!(teller.is_quiet());
        for connection in [&link.connection, &other.connection] {
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
            assert!(!teller.is_quiet());
            connection.execute_batch("COMMIT").unwrap();
            assert!(teller.is_quiet());
        }
        std::fs::rename(folder.path().join("q.db-shm"), folder.path().join("old")).unwrap();
        assert!(!teller.is_quiet(), "it is not known");
        std::fs::rename(folder.path().join("old"), folder.path().join("q.db-shm")).unwrap();
        assert!(teller.is_quiet());
        drop(link);
        assert!(!teller.is_quiet(), "its file is closed");
    }
}
