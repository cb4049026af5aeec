//! The write-ahead log: copied into the database now and then, and never too long.

use std::cell::Cell;
use std::ffi::c_int;

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use super::database::{Link, Location, wait_for_lock};
use super::files::Files;

/// The log grows to so many pages, some 16 MB, before it is copied into the database, since a copy costs two more syncs.
/// Not by the commit itself, as SQLite would: others write meanwhile, and what they write would be taken for a part of it.
const LOG_PAGES: c_int = 4_000;

thread_local! {
    /// How many pages the log had after the last commit on this thread.
    static PAGES: Cell<c_int> = const { Cell::new(0) };
}

/// The size in bytes from which the log is emptied by force. While several processes write without a pause, copying
/// never catches up and the log, which nobody may begin anew before all is copied, would grow without bound.
const LOG_LIMIT: u64 = 64 << 20;

/// Lets [`Location::copy_log`] know of this connection's commits.
pub(super) fn note_commits(connection: &Connection) {
    connection.wal_hook(Some(note_pages));
}

/// Notes how long the log is after a commit.
#[expect(clippy::unnecessary_wraps, reason = "SQLite's hooks may fail")]
fn note_pages(_: &Wal, pages: c_int) -> rusqlite::Result<()> {
    PAGES.set(pages);
    Ok(())
}

impl Location {
    /// Copies the write-ahead log into the database if it has grown; whoever writes does not wait for that.
    pub(super) fn copy_log(&self, link: &Link) -> rusqlite::Result<()> {
        if PAGES.take() < LOG_PAGES || !self.is_current(link) {
            return Ok(());
        }
        link.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
    }

    /// Empties the write-ahead log if it has grown too long; all other writers wait meanwhile. Never waits itself,
    /// since a reader may hold on to the log for as long as it likes: `false` if it has to be tried again.
    pub(super) fn limit_log(&self, link: &Link) -> rusqlite::Result<bool> {
        let is_short = |files: &Files| files.log_size() <= LOG_LIMIT;
        if link.files.as_ref().is_none_or(is_short) || !self.is_current(link) {
            return Ok(true);
        }
        let connection = &link.connection;
        connection.busy_handler(None)?;
        let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
        connection.busy_handler(Some(wait_for_lock))?;
        Ok(!busy?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::database::Mode;
    use super::*;

    #[test]
    fn a_log_that_grew_is_copied_and_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::new(&folder.path().join("q.db"));
        let link = location.connect(Mode::Write).unwrap();
        let size = |name: &str| fs::metadata(folder.path().join(name)).unwrap().len();
        let grow = |bytes: u64| {
            let sql = "INSERT INTO versions (key, kept, etag, modified, body) VALUES ('', 0, '', 0, zeroblob(?1))";
            link.connection.execute(sql, [bytes]).unwrap();
        };
        grow(1 << 20);
        location.copy_log(&link).unwrap();
        assert!(size("q.db") < 1 << 20, "it is short");
        grow(16 << 20);
        assert!(size("q.db") < 1 << 20, "not by the commit");
        location.copy_log(&link).unwrap();
        assert!(size("q.db") > 16 << 20);
        let log = size("q.db-wal");
        grow(1 << 20);
        assert_eq!(size("q.db-wal"), log);
    }

    #[test]
    fn a_log_that_grew_too_long_is_emptied() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::new(&folder.path().join("q.db"));
        let link = location.connect(Mode::Write).unwrap();
        let connection = &link.connection;
        let log = || fs::metadata(folder.path().join("q.db-wal")).unwrap().len();
        let grow = |bytes: u64| {
            let sql = "INSERT INTO versions (key, kept, etag, modified, body) VALUES ('', 0, '', 0, zeroblob(?1))";
            connection.execute(sql, [bytes]).unwrap();
        };
        grow(1 << 20);
        assert!(location.limit_log(&link).unwrap());
        assert!(log() > 1 << 20, "a short log is left alone");
        grow(LOG_LIMIT);
        let reader = location.connect(Mode::Read).unwrap().connection;
        reader.execute_batch("BEGIN").unwrap();
        reader.query_row("SELECT count(*) FROM versions", [], |row| row.get::<_, i64>(0)).unwrap();
        grow(1);
        assert!(!location.limit_log(&link).unwrap(), "somebody reads in it");
        reader.execute_batch("COMMIT").unwrap();
        assert!(location.limit_log(&link).unwrap());
        assert_eq!(log(), 0);
    }
}
