//! SQLite's errors in our terms.

use std::path::Path;

use rusqlite::ErrorCode;

use super::super::{StoreError, StoreErrorKind};

/// What `error`, met in the database at `path`, means and what to do about it.
pub(super) fn explain(path: &Path, error: &rusqlite::Error) -> StoreError {
    let (kind, advice) = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            (StoreErrorKind::Invalid, "the file is not a SQLite database; give buquet a file of its own")
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            (StoreErrorKind::Invalid, "the file is damaged; restore it from a copy, or use another one")
        }
        Some(ErrorCode::CannotOpen) => {
            (StoreErrorKind::Denied, "check that the path is a file, not a folder, and that you may write there")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            (StoreErrorKind::Denied, "make the file and its folder writable, or use another path")
        }
        Some(ErrorCode::DiskFull) => (StoreErrorKind::Unavailable, "the disk is full; free some space"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (StoreErrorKind::Unavailable, "another process has kept the database locked for too long")
        }
        Some(_) => (StoreErrorKind::Unavailable, "the disk or the file may be at fault"),
        None => (StoreErrorKind::Invalid, "the file holds something that buquet did not write"),
    };
    StoreError::new(kind, format!("{}: {error}: {advice}", path.display()))
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn each_failure_says_whose_fault_it_is_and_what_to_do() {
        for (code, kind, advice) in [
            (ffi::SQLITE_FULL, StoreErrorKind::Unavailable, "free some space"),
            (ffi::SQLITE_READONLY, StoreErrorKind::Denied, "writable"),
            (ffi::SQLITE_BUSY, StoreErrorKind::Unavailable, "locked"),
            (ffi::SQLITE_CORRUPT, StoreErrorKind::Invalid, "damaged"),
            (ffi::SQLITE_IOERR, StoreErrorKind::Unavailable, "disk"),
        ] {
            let failure = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let error = explain(Path::new("/data/q.db"), &failure);
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.message.starts_with("/data/q.db: ") && error.message.contains(advice), "{error}");
        }
    }
}
