//! The engine's errors: few kinds, each telling the caller what to do.

use crate::store::{StoreError, StoreErrorKind};

/// What went wrong. [`Error::code`] is the stable name that crosses the C ABI.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The caller's argument is wrong; nothing was stored. Change it.
    #[error("{0}")]
    Invalid(String),
    /// The configuration is wrong: URL, environment variable or file. Change it.
    #[error("{0}")]
    Config(String),
    /// There is no such task, worker or object.
    #[error("{0}")]
    NotFound(String),
    /// The bucket was written by an incompatible version of buquet.
    #[error("{0}")]
    Layout(String),
    /// A stored object cannot be read as what it should be.
    #[error("{0}")]
    Corrupt(String),
    /// The lease is gone: another worker has, or may have, taken over. Drop the result.
    #[error("{0}")]
    LeaseLost(String),
    /// What is asked for contradicts what is stored: a key that belongs to something else. Nothing was stored.
    #[error("{0}")]
    Conflict(String),
    /// The store refuses: credentials, permissions, or a missing bucket.
    #[error("{0}")]
    Denied(String),
    /// The store cannot keep what buquet promises.
    #[error("{0}")]
    Unsupported(String),
    /// The store did not answer, or not well, for as long as the budget lasted. Try again later.
    #[error("{0}")]
    Unavailable(String),
    /// The time the caller gave is up. The operation may go on in the store.
    #[error("{0}")]
    Timeout(String),
    /// The engine, the queue or the worker was shut down, or the operation cancelled.
    #[error("{0}")]
    Closed(String),
    /// A defect in buquet itself. Please report it.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// Nobody has the task of this id, which is said in the same words wherever it is asked for.
    pub(crate) fn no_task(id: impl std::fmt::Display) -> Self {
        Self::NotFound(format!("there is no task {id} in this queue: it was purged, or is another queue's"))
    }

    /// The stable name of this kind.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::Config(_) => "config",
            Self::NotFound(_) => "not_found",
            Self::Layout(_) => "layout",
            Self::Corrupt(_) => "corrupt",
            Self::LeaseLost(_) => "lease_lost",
            Self::Conflict(_) => "conflict",
            Self::Denied(_) => "denied",
            Self::Unsupported(_) => "unsupported",
            Self::Unavailable(_) => "unavailable",
            Self::Timeout(_) => "timeout",
            Self::Closed(_) => "closed",
            Self::Internal(_) => "internal",
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error.kind {
            StoreErrorKind::Unavailable
            | StoreErrorKind::Throttled
            | StoreErrorKind::Conflict
            | StoreErrorKind::Withheld => Self::Unavailable(error.message),
            StoreErrorKind::Denied | StoreErrorKind::NoBucket => Self::Denied(error.message),
            StoreErrorKind::Unsupported => Self::Unsupported(error.message),
            StoreErrorKind::Invalid => Self::Invalid(error.message),
        }
    }
}

/// The engine's result.
pub type Result<T> = std::result::Result<T, Error>;
