//! Opening the file: its folder, its format, and the settings every connection needs.

use std::cell::Cell;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{self, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use super::super::{StoreError, StoreErrorKind};
use super::failure::explain;
use super::files::{Files, Identity, SharedMemory};
use super::hosted_statements::HEADS;
use super::log::note_commits;

/// Written into the file's header, so that another program's database is never taken for ours: "buqu".
const APPLICATION_ID: i32 = 0x6275_7175;

/// The format of the tables below.
const FORMAT: i32 = 1;

/// How often a lock that another process holds is tried again, a millisecond apart, before giving up.
const LOCK_TRIES: i32 = 10_000;

/// Every commit is synced.
const SETTINGS: &str = "PRAGMA synchronous = FULL;";

/// `objects` is narrow, so that listing reads nothing else; the bodies lie in `versions`. A `kept` row of `versions`
/// stays when its object is written again or deleted, and marks a deletion if it has no body. `clock` has one row.
const SCHEMA: &str = "
    CREATE TABLE objects (
        key TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL, etag TEXT NOT NULL,
        modified INTEGER NOT NULL, size INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE versions (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL, kept INTEGER NOT NULL, etag TEXT NOT NULL,
        modified INTEGER NOT NULL, body BLOB
    );
    CREATE INDEX kept_versions ON versions (key, id) WHERE kept;
    CREATE TABLE clock (latest INTEGER NOT NULL);
    INSERT INTO clock VALUES (0);
";

/// How often a database is opened again that was replaced at that very moment.
const OPEN_TRIES: usize = 3;

/// Where the database is.
#[derive(Clone, Debug)]
pub(super) struct Location {
    /// The file.
    pub(super) path: PathBuf,
    /// Whether a server of buckets keeps its tables there too.
    pub(super) hosted: Arc<AtomicBool>,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Writing, which makes the file if need be. Its transactions take the write lock at the start: one that only
    /// finds out later may fail half-way.
    Write,
    /// Reading one consistent state. Makes nothing: a file that is not there reads as an empty one.
    Read,
}

/// A connection and the files that it works on.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: Connection,
    /// Absent where there is nothing to read yet.
    pub(super) files: Option<Files>,
    /// The memory that it shares with the other users, if it writes.
    pub(super) memory: Option<Arc<SharedMemory>>,
    /// SQLite's count of others' commits when it was looked at last.
    others: Cell<Option<i64>>,
}

impl Link {
    #[cfg(test)]
    pub(super) const fn to_nothing(connection: Connection) -> Self {
        Self::new(connection, None)
    }

    const fn new(connection: Connection, files: Option<Files>) -> Self {
        Self { connection, files, memory: None, others: Cell::new(None) }
    }

    /// Whether any other connection may have committed since this was asked last.
    pub(super) fn others_wrote(&self) -> rusqlite::Result<bool> {
        let count = self.connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        Ok(self.others.replace(Some(count)) != Some(count))
    }

    /// Closes it without the copy of the log that a last user makes: it should not wait for the disk, and where the files
    /// were replaced the log belongs to another database.
    pub(super) fn abandon(self) {
        // If this is refused the log is copied, which SQLite does only as the file's last user.
        let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }
}

impl Location {
    /// The database at `path`, which no later change of the working directory moves.
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path::absolute(path).unwrap_or_else(|_| path.to_owned()), hosted: Arc::default() }
    }

    /// Opens a connection. For writing it creates the folder and the tables if they are not there.
    pub(super) fn connect(&self, mode: Mode) -> Result<Link, StoreError> {
        if mode == Mode::Write {
            self.create_folder()?;
        }
        for _ in 0..OPEN_TRIES {
            let before = Identity::at(&self.path).map_err(|error| self.not_looked_at(&error))?;
            if before.is_none() && mode == Mode::Read {
                return self.nothing();
            }
            let connection = self.open(mode).map_err(|error| explain(&self.path, &error))?;
            if !self.make_ready(&connection, mode)? {
                return self.nothing();
            }
            let files = Files::of(&self.path).map_err(|error| self.not_looked_at(&error))?;
            let mut link = Link::new(connection, files);
            link.memory =
                link.files.as_ref().filter(|_| mode == Mode::Write).and_then(Files::shared_memory).map(Arc::new);
            match &link.files {
                Some(files) if before.is_none_or(|before| before == files.database()) => return Ok(link),
                _ => link.abandon(),
            }
        }
        Err(self.replaced())
    }

    /// Whether everybody who opens the database works on the same files as `link`.
    pub(super) fn is_current(&self, link: &Link) -> bool {
        let is_absent = || matches!(Identity::at(&self.path), Ok(None));
        link.files.as_ref().map_or_else(is_absent, Files::are_current)
    }

    /// The error for a request that met the end of the files.
    pub(super) fn replaced(&self) -> StoreError {
        let message = format!(
            "{} or a file beside it was deleted or replaced while it was open, so nothing was stored; the next request uses what is \
             at the path then",
            self.path.display()
        );
        StoreError::new(StoreErrorKind::Unavailable, message)
    }

    /// A database in memory to read in where there is none yet.
    fn nothing(&self) -> Result<Link, StoreError> {
        let open = || {
            let connection = Connection::open_in_memory()?;
            connection.execute_batch(SCHEMA)?;
            connection.execute_batch(HEADS)?;
            Ok(Link::new(connection, None))
        };
        open().map_err(|error| explain(&self.path, &error))
    }

    fn not_looked_at(&self, error: &io::Error) -> StoreError {
        let kind = match error.kind() {
            ErrorKind::PermissionDenied => StoreErrorKind::Denied,
            ErrorKind::NotADirectory => StoreErrorKind::NoBucket,
            _ => StoreErrorKind::Unavailable,
        };
        StoreError::new(
            kind,
            format!("{}: {error}; name a file in a folder that you may write to", self.path.display()),
        )
    }

    fn create_folder(&self) -> Result<(), StoreError> {
        let Some(folder) = self.path.parent() else { return Ok(()) };
        if folder.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(folder).map_err(|error| {
            let kind = match error.kind() {
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreErrorKind::Denied,
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreErrorKind::Unavailable,
                _ => StoreErrorKind::NoBucket,
            };
            let folder = folder.display();
            let advice = "name a folder that you may write to, for example BUQUET_URL=sqlite:/path/to/buquet.db";
            StoreError::new(kind, format!("cannot create the folder {folder} for the database: {error}; {advice}"))
        })?;
        if folder.ends_with(".buquet") {
            // Only for convenience: nothing rests on it.
            let _ = fs::write(folder.join(".gitignore"), "*\n");
        }
        Ok(())
    }

    fn open(&self, mode: Mode) -> rusqlite::Result<Connection> {
        if !buquet_locks::install() {
            tracing::warn!(
                "this system has no locks of open files: no other library of this process may open the file"
            );
        }
        // Without the URI flag of the default: a path is a path, also one that begins with "file:".
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        flags.set(OpenFlags::SQLITE_OPEN_CREATE, mode == Mode::Write);
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_handler(Some(wait_for_lock))?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(connection)
    }

    /// Checks and prepares the file; `false` if there is nothing to read in it yet.
    fn make_ready(&self, connection: &Connection, mode: Mode) -> Result<bool, StoreError> {
        // Switching a new file to the write-ahead log asks for a lock without waiting for it, so several processes
        // that start at once may meet here. The connection stays the same: closing one drops the locks of other libraries.
        for _ in 0..LOCK_TRIES {
            match self.prepare(connection, mode) {
                Err(Failure::Sql(error)) if is_locked(&error) => thread::sleep(Duration::from_millis(1)),
                Err(Failure::Sql(error)) => return Err(explain(&self.path, &error)),
                Err(Failure::Refused(error)) => return Err(error),
                Ok(ready) => return Ok(ready),
            }
        }
        let message = format!("{}: another process has kept the database locked for too long", self.path.display());
        Err(StoreError::new(StoreErrorKind::Unavailable, message))
    }

    fn prepare(&self, connection: &Connection, mode: Mode) -> Result<bool, Failure> {
        let ready = self.check_format(connection)?;
        if !ready && mode == Mode::Read {
            return Ok(false);
        }
        self.use_write_ahead_log(connection)?;
        connection.execute_batch(SETTINGS)?;
        note_commits(connection);
        if !ready {
            self.create_tables(connection)?;
        }
        if mode == Mode::Write && self.hosted.load(Ordering::Relaxed) {
            connection.execute_batch(HEADS)?;
        }
        Ok(true)
    }

    /// Whether our tables are there already; an error if somebody else's are.
    fn check_format(&self, connection: &Connection) -> Result<bool, Failure> {
        let pragma = |name| connection.query_row(name, [], |row| row.get::<_, i32>(0));
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let (application, format) = (pragma("PRAGMA application_id")?, pragma("PRAGMA user_version")?);
        if tables == 0 {
            return Ok(false);
        }
        if application != APPLICATION_ID {
            return Err(self.refused("is the database of another program; give buquet a file of its own"));
        }
        if format != FORMAT {
            let problem = format!("has format {format}, this version of buquet knows {FORMAT}; upgrade buquet");
            return Err(self.refused(&problem));
        }
        Ok(true)
    }

    fn use_write_ahead_log(&self, connection: &Connection) -> Result<(), Failure> {
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode == "wal" {
            return Ok(());
        }
        Err(self.refused("lies where SQLite cannot keep a write-ahead log; put it on a local disk"))
    }

    fn create_tables(&self, connection: &Connection) -> Result<(), Failure> {
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        // Another process may have been first.
        if !self.check_format(&transaction)? {
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", FORMAT)?;
        }
        Ok(transaction.commit()?)
    }

    fn refused(&self, problem: &str) -> Failure {
        let message = format!("{} {problem}", self.path.display());
        Failure::Refused(StoreError::new(StoreErrorKind::Invalid, message))
    }
}

/// Why a connection could not be made ready.
enum Failure {
    Sql(rusqlite::Error),
    Refused(StoreError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

fn is_locked(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Evenly spaced tries instead of SQLite's own, which come ever more rarely and so let a newcomer overtake.
pub(super) fn wait_for_lock(tries: i32) -> bool {
    thread::sleep(Duration::from_millis(1));
    tries < LOCK_TRIES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_syncs_every_commit_to_a_write_ahead_log() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::new(&folder.path().join("q.db"));
        // The second connection finds the tables there; the settings are each connection's own.
        let links = [Mode::Write, Mode::Read].map(|mode| location.connect(mode).unwrap());
        for Link { connection, .. } in &links {
            let pragma = |name| connection.query_row(name, [], |row| row.get::<_, rusqlite::types::Value>(0)).unwrap();
            assert_eq!(pragma("PRAGMA synchronous"), 2.into(), "2 is FULL");
            assert_eq!(pragma("PRAGMA journal_mode"), "wal".to_owned().into());
        }
    }
}
