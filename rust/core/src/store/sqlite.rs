//! A bucket in one SQLite file, for several processes of one machine.
//!
//! The file is the queue: it has no prefix. Every version of the keys under `tasks/` is kept, as a bucket with
//! versioning would; all other keys (index entries, heartbeats, the bell) keep only their present body, or the file
//! would grow with every heartbeat. The pages of deleted objects are used again.
//!
//! An acknowledged write is durable even when the power fails: every transaction is synced to disk before it is
//! answered (`synchronous = FULL`; `NORMAL` would lose the last commits of the write-ahead log). What makes that
//! affordable is group commit: whatever requests wait when a transaction begins share it, and its one sync.
//!
//! The file must lie on a local disk: SQLite's write-ahead log needs memory that its processes share.

mod clock;
mod database;
mod failure;
mod files;
pub mod fork;
mod gate;
mod hosted;
mod hosted_statements;
mod lane;
mod log;
mod statements;
mod teller;
mod threads;
mod watcher;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use md5::{Digest, Md5};
use tokio::sync::watch;

use self::clock::Clock;
use self::database::{Location, Mode};
use self::files::Identity;
use self::gate::Gate;
use self::lane::{Lane, Work};
use self::statements::{Write, put_object};
use self::teller::Teller;
use self::threads::Threads;
use self::watcher::Watcher;
use super::{
    Condition, ETag, Got, MAX_KEYS, Page, Put, Store, StoreError, StoreErrorKind, StoreKind, StoreResult, VersionId,
    VersionPage,
};

/// The largest body accepted, in bytes: far above any record, far below what SQLite can hold.
const MAX_BODY: usize = 64 << 20;

/// A [`Store`] over a SQLite file.
///
/// Two threads serve it, one for writes and one for reads, each with its own connection. Dropping the store waits for
/// the transactions under way, 5 seconds at most, and then both threads have ended and closed what they opened.
///
/// A process that forks while it has a store tells it so with [`fork`]; the child opens stores of its own.
pub struct SqliteStore {
    location: Location,
    clock: Arc<Clock>,
    writes: Lane,
    reads: Lane,
    teller: Arc<Teller>,
    /// Started for the first who asks for changes; empty where the system cannot tell of them.
    watcher: OnceLock<Option<Watcher>>,
    seen: Mutex<Seen>,
    /// Behind the lanes, since it is dropped after them and waits for their ends.
    _threads: Threads,
}

/// The file that was last seen at the path, and how many there were before it.
#[derive(Debug, Default)]
struct Seen {
    file: Option<Identity>,
    generation: u64,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.location.path).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// A store in the file at `path`, which is created with its folder by the first request.
    ///
    /// # Errors
    /// [`StoreErrorKind::Unavailable`] if the system has no thread left for it, [`StoreErrorKind::Unsupported`] in a
    /// child whose parent forked while it could not pause. Whatever is wrong with the path is reported by the first
    /// request.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_behind(Gate::current(), path)
    }

    fn open_behind(gate: &'static Gate, path: &Path) -> Result<Self, StoreError> {
        if !gate.is_clean() {
            let message = "this process was forked while a SQLite transaction of its parent had not ended within 5 \
                           seconds, so it has SQLite's locks in an unknown state and cannot open a SQLite file; fork \
                           before the parent opens the queue, or start a new program instead of forking";
            return Err(StoreError::new(StoreErrorKind::Unsupported, message));
        }
        let location = Location::new(path);
        let clock = Arc::new(Clock::default());
        let mut threads = Threads::new(gate);
        let teller = Arc::<Teller>::default();
        let lane = |mode, teller| Work { mode, location: location.clone(), clock: Arc::clone(&clock), teller };
        let writes = Lane::start(lane(Mode::Write, Some(Arc::clone(&teller))), gate, &mut threads)?;
        let reads = Lane::start(lane(Mode::Read, None), gate, &mut threads)?;
        let (watcher, seen) = (OnceLock::new(), Mutex::default());
        Ok(Self { location, clock, writes, reads, teller, watcher, seen, _threads: threads })
    }
}

fn version_number(id: &VersionId) -> Result<i64, StoreError> {
    id.0.parse().map_err(|_| {
        StoreError::new(StoreErrorKind::Invalid, format!("{:?} is not the id of a version in a SQLite store", id.0))
    })
}

fn check_size(key: &str, body: &Bytes) -> Result<(), StoreError> {
    if body.len() <= MAX_BODY {
        return Ok(());
    }
    let message = format!("{key:?}: a body of {} bytes; at most {MAX_BODY} are allowed", body.len());
    Err(StoreError::new(StoreErrorKind::Invalid, message))
}

/// How many rows to ask for: one more than wanted tells whether there are more.
fn bounded(limit: usize) -> usize {
    limit.clamp(1, MAX_KEYS)
}

#[async_trait]
impl Store for SqliteStore {
    fn kind(&self) -> StoreKind {
        StoreKind::Sqlite
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.location.path.display())
    }

    fn clock_resolution_ms(&self) -> i64 {
        1
    }

    async fn get(&self, key: &str, if_none_match: Option<&ETag>) -> StoreResult<Got> {
        let (key, known) = (key.to_owned(), if_none_match.cloned());
        self.reads.run(move |database, _| statements::get(database, &key, known.as_ref())).await
    }

    async fn put(&self, key: &str, body: Bytes, condition: &Condition) -> StoreResult<Put> {
        check_size(key, &body)?;
        // Hashed here, on the caller's thread: the writer's is the one that all share.
        let etag = ETag(format!("\"{:x}\"", Md5::digest(&body)));
        let write = Write { key: key.to_owned(), body, etag, condition: condition.clone() };
        self.writes.run(move |database, now| put_object(database, now, &write)).await
    }

    async fn delete_many(&self, keys: &[String]) -> StoreResult<()> {
        if keys.len() > MAX_KEYS {
            let message = format!("{} keys in one deletion; at most {MAX_KEYS} are allowed", keys.len());
            return Err(StoreError::new(StoreErrorKind::Invalid, message));
        }
        let keys = keys.to_vec();
        self.writes.run(move |database, now| statements::delete(database, now, &keys)).await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> StoreResult<Page> {
        let (prefix, after, limit) = (prefix.to_owned(), start_after.map(str::to_owned), bounded(limit));
        self.reads.run(move |database, _| statements::list(database, &prefix, after.as_deref(), limit)).await
    }

    async fn versions(&self, key: &str, before: Option<&VersionId>, limit: usize) -> StoreResult<VersionPage> {
        let before = before.map(version_number).transpose()?.unwrap_or(i64::MAX);
        let (key, limit) = (key.to_owned(), bounded(limit));
        self.reads.run(move |database, _| statements::versions(database, &key, before, limit)).await
    }

    async fn get_version(&self, key: &str, version: &VersionId) -> StoreResult<Got> {
        let (key, version) = (key.to_owned(), version_number(version)?);
        self.reads.run(move |database, _| statements::get_version(database, &key, version)).await
    }

    fn changes(&self) -> Option<watch::Receiver<()>> {
        let start = || Watcher::start(&self.location.path, &self.teller);
        self.watcher.get_or_init(start).as_ref().map(|_| self.teller.changes())
    }

    fn is_quiet(&self) -> bool {
        self.teller.is_quiet()
    }

    fn generation(&self) -> u64 {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // What cannot be looked at now is judged by the next request.
        if let Ok(found) = Identity::at(&self.location.path) {
            let replaced = seen.file.is_some() && found != seen.file;
            seen.file = found;
            seen.generation += u64::from(replaced);
            if let Some(watcher) = self.watcher.get().and_then(Option::as_ref) {
                if replaced {
                    watcher.let_go();
                }
                watcher.ensure();
            }
        }
        seen.generation
    }

    async fn keeps_versions(&self) -> StoreResult<bool> {
        self.reads.run(|_, _| Ok(true)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(clean: bool) -> &'static Gate {
        Box::leak(Box::new(Gate::new(clean)))
    }

    #[test]
    fn a_child_that_inherited_locks_is_told_what_to_do() {
        let error = SqliteStore::open_behind(gate(false), Path::new("q.db")).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Unsupported);
        assert!(error.message.contains("fork before the parent opens the queue"), "{error}");
    }

    #[tokio::test]
    async fn a_store_of_the_parent_refuses_to_work_in_a_child() {
        let folder = tempfile::tempdir().unwrap();
        let gate = gate(true);
        let store = SqliteStore::open_behind(gate, &folder.path().join("q.db")).unwrap();
        store.get("x", None).await.unwrap();
        gate.replace(true);
        let error = store.get("x", None).await.unwrap_err();
        assert!(error.kind == StoreErrorKind::Unsupported && error.message.contains("open a new one"), "{error}");
    }
}
