//! Learning from the operating system that somebody has written to the file, so that an idle worker need not look.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use notify::event::AccessKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::watch;

use super::files::beside;

/// Watches the database's files for as long as it lives.
pub(super) struct Watcher {
    path: PathBuf,
    changes: watch::Sender<()>,
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
    pub(super) fn start(path: &Path) -> Option<Self> {
        let changes = watch::Sender::new(());
        let watching = watch(path, &changes)?;
        Some(Self { path: path.to_owned(), changes, watching: Mutex::new(Some(watching)) })
    }

    /// Changes whenever anybody has written.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Stops watching what is no longer at the path.
    pub(super) fn let_go(&self) {
        *self.watching() = None;
    }

    /// Watches what is at the path now, unless it does already.
    pub(super) fn ensure(&self) {
        let mut watching = self.watching();
        if watching.is_none() {
            *watching = watch(&self.path, &self.changes);
            let begun = watching.is_some();
            drop(watching);
            if begun {
                self.changes.send_replace(());
            }
        }
    }

    fn watching(&self) -> MutexGuard<'_, Option<RecommendedWatcher>> {
        self.watching.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn watch(path: &Path, changes: &watch::Sender<()>) -> Option<RecommendedWatcher> {
    let path = path.canonicalize().ok()?;
    let (folder, database) = (path.parent()?, path.file_name()?.to_owned());
    let log = beside(Path::new(&database), "-wal").into_os_string();
    let changes = changes.clone();
    let tell = move |event: notify::Result<Event>| {
        if event.is_ok_and(|event| is_write(&event, [&database, &log])) {
            changes.send_replace(());
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
