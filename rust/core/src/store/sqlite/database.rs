//! Opening the file: its folder, its format, and the settings every connection needs.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::super::{StoreError, StoreErrorKind};
use super::failure::explain;

/// Written into the file's header, so that another program's database is never taken for ours: "buqu".
const APPLICATION_ID: i32 = 0x6275_7175;

/// The format of the tables below.
const FORMAT: i32 = 1;

/// How often a lock that another process holds is tried again, a millisecond apart, before giving up.
const LOCK_TRIES: i32 = 10_000;

/// Every commit is synced. The log grows to some 16 MB before it is copied into the database, since a copy costs two
/// more syncs.
const SETTINGS: &str = "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;";

/// The size in bytes from which the log is emptied by force. While several processes write without a pause, copying
/// never catches up and the log, which nobody may begin anew before all is copied, would grow without bound.
const LOG_LIMIT: u64 = 64 << 20;

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

/// Where the database is.
#[derive(Clone, Debug)]
pub(super) struct Location {
    /// The file.
    pub(super) path: PathBuf,
}

impl Location {
    /// Opens a connection; creates the folder and the tables if they are not there.
    pub(super) fn connect(&self) -> Result<Connection, StoreError> {
        self.create_folder()?;
        // Switching a new file to the write-ahead log asks for a lock without waiting for it, so several processes
        // that start at once may meet here.
        for _ in 0..LOCK_TRIES {
            match self.prepare() {
                Err(Failure::Sql(error)) if is_locked(&error) => thread::sleep(Duration::from_millis(1)),
                Err(Failure::Sql(error)) => return Err(explain(&self.path, &error)),
                Err(Failure::Refused(error)) => return Err(error),
                Ok(connection) => return Ok(connection),
            }
        }
        let message = format!("{}: another process has kept the database locked for too long", self.path.display());
        Err(StoreError::new(StoreErrorKind::Unavailable, message))
    }

    /// Empties the write-ahead log if it has grown too long; all other writers wait meanwhile. Never waits itself,
    /// since a reader may hold on to the log for as long as it likes: `false` if it has to be tried again.
    pub(super) fn limit_log(&self, connection: &Connection) -> rusqlite::Result<bool> {
        if fs::metadata(self.log()).is_ok_and(|log| log.len() <= LOG_LIMIT) {
            return Ok(true);
        }
        connection.busy_handler(None)?;
        let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
        connection.busy_handler(Some(wait_for_lock))?;
        Ok(!busy?)
    }

    fn log(&self) -> PathBuf {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        log.into()
    }

    fn create_folder(&self) -> Result<(), StoreError> {
        let Some(folder) = self.path.parent() else { return Ok(()) };
        fs::create_dir_all(folder).map_err(|error| {
            let kind = match error.kind() {
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreErrorKind::Denied,
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreErrorKind::Unavailable,
                _ => StoreErrorKind::NoBucket,
            };
            let folder = folder.display();
            let advice = "name a folder that you may write to, for example BUQUET_URL=sqlite:/path/to/buquet.db";
            StoreError::new(kind, format!("cannot create the folder {folder} for the database: {error}; {advice}"))
        })
    }

    fn prepare(&self) -> Result<Connection, Failure> {
        // Without the URI flag of the default: a path is a path, also one that begins with "file:".
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_handler(Some(wait_for_lock))?;
        connection.set_prepared_statement_cache_capacity(32);
        let ready = self.check_format(&connection)?;
        self.use_write_ahead_log(&connection)?;
        connection.execute_batch(SETTINGS)?;
        if !ready {
            self.create_tables(&mut connection)?;
        }
        Ok(connection)
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

    fn create_tables(&self, connection: &mut Connection) -> Result<(), Failure> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
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
fn wait_for_lock(tries: i32) -> bool {
    thread::sleep(Duration::from_millis(1));
    tries < LOCK_TRIES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_syncs_every_commit_to_a_write_ahead_log() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location { path: folder.path().join("q.db") };
        // The second connection finds the tables there; the settings are each connection's own.
        let connections = [location.connect().unwrap(), location.connect().unwrap()];
        for connection in &connections {
            let pragma = |name| connection.query_row(name, [], |row| row.get::<_, rusqlite::types::Value>(0)).unwrap();
            assert_eq!(pragma("PRAGMA synchronous"), 2.into(), "2 is FULL");
            assert_eq!(pragma("PRAGMA journal_mode"), "wal".to_owned().into());
        }
    }

    #[test]
    fn a_log_that_grew_too_long_is_emptied() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location { path: folder.path().join("q.db") };
        let connection = location.connect().unwrap();
        connection.execute_batch("PRAGMA wal_autocheckpoint = 0").unwrap();
        let log = || fs::metadata(folder.path().join("q.db-wal")).unwrap().len();
        let grow = |bytes: u64| {
            let sql = "INSERT INTO versions (key, kept, etag, modified, body) VALUES ('', 0, '', 0, zeroblob(?1))";
            connection.execute(sql, [bytes]).unwrap();
        };
        grow(1 << 20);
        assert!(location.limit_log(&connection).unwrap());
        assert!(log() > 1 << 20, "a short log is left alone");
        grow(LOG_LIMIT);
        let reader = location.connect().unwrap();
        reader.execute_batch("BEGIN").unwrap();
        reader.query_row("SELECT count(*) FROM versions", [], |row| row.get::<_, i64>(0)).unwrap();
        grow(1);
        assert!(!location.limit_log(&connection).unwrap(), "somebody reads in it");
        reader.execute_batch("COMMIT").unwrap();
        assert!(location.limit_log(&connection).unwrap());
        assert_eq!(log(), 0);
    }
}
