//! Which files a connection works on, and whether its paths still lead to them.
//!
//! A program that has a file open goes on with it when somebody deletes or replaces it, and what it writes is gone with the
//! last descriptor. So nothing is acknowledged before a look at the paths.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What tells one file from all others of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// The file that `path` leads to, if there is one.
    pub(super) fn at(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(file) => Ok(Some(Self { device: file.dev(), inode: file.ino() })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The database, its log and the memory that its users share.
#[derive(Debug)]
pub(super) struct Files([(PathBuf, Identity); 3]);

impl Files {
    /// Those of the database at `path`, which is open; `None` if one of them is not there any more.
    pub(super) fn of(path: &Path) -> io::Result<Option<Self>> {
        // SQLite names the others after the file that a link leads to.
        let Ok(real) = path.canonicalize() else { return Ok(None) };
        let mut files = Vec::new();
        for path in [path.to_owned(), beside(&real, "-wal"), beside(&real, "-shm")] {
            let Some(identity) = Identity::at(&path)? else { return Ok(None) };
            files.push((path, identity));
        }
        Ok(files.try_into().ok().map(Self))
    }

    /// The database.
    pub(super) const fn database(&self) -> Identity {
        let [(_, database), ..] = self.0;
        database
    }

    /// How long the log is, in bytes.
    pub(super) fn log_size(&self) -> u64 {
        let [_, (log, _), _] = &self.0;
        fs::metadata(log).map_or(0, |log| log.len())
    }

    /// The memory that the users share; `None` if it is no longer there.
    pub(super) fn shared_memory(&self) -> Option<SharedMemory> {
        let [_, _, (path, identity)] = &self.0;
        let file = File::open(path).ok()?;
        let opened = file.metadata().ok()?;
        let same = Identity { device: opened.dev(), inode: opened.ino() } == *identity;
        same.then(|| SharedMemory { path: path.clone(), identity: *identity, file })
    }

    /// Whether everybody who opens the database finds these files.
    pub(super) fn are_current(&self) -> bool {
        self.0.iter().all(|(path, identity)| matches!(Identity::at(path), Ok(Some(found)) if found == *identity))
    }
}

/// The memory that the users of a database share, as a file that is open.
#[derive(Debug)]
pub(super) struct SharedMemory {
    path: PathBuf,
    identity: Identity,
    file: File,
}

impl SharedMemory {
    /// Whether anybody writes to the database; `None` if that cannot be known, since the database is another by now for example.
    pub(super) fn is_written(&self) -> Option<bool> {
        let same = matches!(Identity::at(&self.path), Ok(Some(found)) if found == self.identity);
        if same { buquet_locks::is_written(&self.file) } else { None }
    }
}

/// The file that SQLite keeps beside a database.
pub(super) fn beside(database: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(database);
    name.push(ending);
    name.into()
}
