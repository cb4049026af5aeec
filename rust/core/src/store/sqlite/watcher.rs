//! Learning from the operating system that somebody has written to the file, so that an idle worker need not look.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::AccessKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::files::beside;
use super::teller::Teller;

/// Watches the database's files for as long as it lives.
pub(super) struct Watcher {
    path: PathBuf,
    teller: Arc<Teller>,
    /// Absent while the path leads nowhere that can be watched.
    watching: Mutex<Option<RecommendedWatcher>>,
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Watcher {
    /// Watches the folder of the file at `path`, since the log beside it comes and goes. `None` where the system
    /// cannot tell of writes, or has no watches left.
    pub(super) fn start(path: &Path, teller: &Arc<Teller>) -> Option<Self> {
        let watching = watch(path, teller)?;
        Some(Self { path: path.to_owned(), teller: Arc::clone(teller), watching: Mutex::new(Some(watching)) })
    }

    /// Stops watching what is no longer at the path.
    pub(super) fn let_go(&self) {
        *self.watching() = None;
    }

    /// Watches what is at the path now, unless it does already.
    pub(super) fn ensure(&self) {
        let mut watching = self.watching();
        if watching.is_none() {
            *watching = watch(&self.path, &self.teller);
            let begun = watching.is_some();
            drop(watching);
            if begun {
                self.teller.tell();
            }
        }
    }

    fn watching(&self) -> MutexGuard<'_, Option<RecommendedWatcher>> {
        self.watching.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn watch(path: &Path, teller: &Arc<Teller>) -> Option<RecommendedWatcher> {
    let path = path.canonicalize().ok()?;
    let (folder, database) = (path.parent()?, path.file_name()?.to_owned());
    let log = beside(Path::new(&database), "-wal").into_os_string();
    let teller = Arc::clone(teller);
    let tell = move |event: notify::Result<Event>| {
        if event.is_ok_and(|event| is_write(&event, [&database, &log])) {
            teller.hear();
        }
    };
    let started = notify::recommended_watcher(tell).and_then(|mut watcher| {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    started
        .inspect_err(|error| {
            tracing::debug!(%error, "the file cannot be watched for writes; it is looked at regularly instead");
        })
        .ok()
}

/// Whether an event may mean that one of `files` was written; lost events may always.
fn is_write(event: &Event, files: [&OsString; 2]) -> bool {
    let concerns = |path: &std::path::PathBuf| files.iter().any(|file| path.file_name() == Some(file.as_os_str()));
    let read = matches!(event.kind, EventKind::Access(AccessKind::Open(_) | AccessKind::Read));
    event.need_rescan() || (!read && event.paths.iter().any(concerns))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use notify::event::{AccessMode, DataChange, Flag, ModifyKind};
    use tokio::time::timeout;

    use super::super::SqliteStore;
    use super::*;
    use crate::store::{Condition, Store};

    #[tokio::test]
    async fn a_write_by_another_store_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let [mine, other] = [(); 2].map(|()| SqliteStore::open(&folder.path().join("q.db")).unwrap());
        mine.put("x", "0".into(), &Condition::Always).await.unwrap();
        let mut changes = mine.changes().unwrap();
        other.put("x", "1".into(), &Condition::Always).await.unwrap();
        timeout(Duration::from_secs(20), changes.changed()).await.expect("a write was not told").unwrap();
    }

    #[tokio::test]
    async fn many_writes_of_ones_own_are_told_seldom_and_anothers_among_them_is() {
        let folder = tempfile::tempdir().unwrap();
        let [mine, other] = [(); 2].map(|()| SqliteStore::open(&folder.path().join("q.db")).unwrap());
        mine.put("x", "0".into(), &Condition::Always).await.unwrap();
        let mut changes = mine.changes().unwrap();
        let (writes, mut told) = (200, 0);
        for n in 0..writes {
            mine.put("x", n.to_string().into(), &Condition::Always).await.unwrap();
            told += usize::from(changes.has_changed().unwrap());
            changes.mark_unchanged();
        }
        // The system may tell of some only when they have ended.
        assert!(told < writes / 2, "{told} of {writes} writes were told");
        other.put("x", "1".into(), &Condition::Always).await.unwrap();
        mine.put("x", "2".into(), &Condition::Always).await.unwrap();
        timeout(Duration::from_secs(20), changes.changed()).await.expect("a write was not told").unwrap();
    }

    #[tokio::test]
    async fn a_write_is_told_also_after_the_folder_was_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("q");
        let [mine, other] = [(); 2].map(|()| SqliteStore::open(&inner.join("q.db")).unwrap());
        mine.put("x", "1".into(), &Condition::Always).await.unwrap();
        let mut changes = mine.changes().unwrap();
        mine.generation();
        std::fs::remove_dir_all(&inner).unwrap();
        mine.generation();
        mine.put("x", "2".into(), &Condition::Always).await.unwrap();
        mine.generation();
        changes.mark_unchanged();
        other.put("x", "3".into(), &Condition::Always).await.unwrap();
        timeout(Duration::from_secs(20), changes.changed()).await.expect("a write was not told").unwrap();
    }

    #[test]
    fn only_writes_to_the_database_and_its_log_count() {
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let opened = EventKind::Access(AccessKind::Open(AccessMode::Any));
        let files = ["q.db".into(), "q.db-wal".into()];
        let counts = |kind: EventKind, file: &str| {
            is_write(&Event::new(kind).add_path(Path::new("/some/folder").join(file)), [&files[0], &files[1]])
        };
        assert!(counts(written, "q.db-wal") && counts(written, "q.db"));
        assert!(!counts(written, "other.db-wal") && !counts(opened, "q.db"));
        assert!(is_write(&Event::new(EventKind::Other).set_flag(Flag::Rescan), [&files[0], &files[1]]));
    }
}
