//! Learning from the operating system that somebody has written to the file, so that an idle worker need not look.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use notify::event::AccessKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::watch;

/// Watches the database's files for as long as it lives.
pub(super) struct Watcher {
    changes: watch::Receiver<()>,
    _watcher: RecommendedWatcher,
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}

impl Watcher {
    /// Watches the folder of the file at `path`, since the log beside it comes and goes. `None` where the system
    /// cannot tell of writes, or has no watches left.
    pub(super) fn start(path: &Path) -> Option<Self> {
        let path = path.canonicalize().ok()?;
        let (folder, database) = (path.parent()?, path.file_name()?.to_owned());
        let log = {
            let mut log = database.clone();
            log.push("-wal");
            log
        };
        let (sender, changes) = watch::channel(());
        let tell = move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| is_write(&event, [&database, &log])) {
                sender.send_replace(());
            }
        };
        let started = notify::recommended_watcher(tell).and_then(|mut watcher| {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        match started {
            Ok(watcher) => Some(Self { changes, _watcher: watcher }),
            Err(error) => {
                tracing::debug!(%error, "the file cannot be watched for writes; it is looked at regularly instead");
                None
            }
        }
    }

    /// Changes whenever anybody has written.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.clone()
    }
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
        mine.get("x", None).await.unwrap();
        let mut changes = mine.changes().unwrap();
        other.put("x", "1".into(), &Condition::Always).await.unwrap();
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
