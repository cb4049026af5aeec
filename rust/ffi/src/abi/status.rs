//! The statuses of the ABI. Zero and above: the call did its work. Below: it did not.

/// The call did what it says.
pub const BQ_OK: i32 = 0;
/// The time was up first. Not an error.
pub const BQ_TIMEOUT: i32 = 1;
/// An argument cannot be used: NULL, a handle of the wrong kind, text that is not UTF-8.
pub const BQ_ERR_INVALID: i32 = -1;
/// The engine's configuration cannot be used.
pub const BQ_ERR_CONFIG: i32 = -2;
/// The engine or the queue was closed.
pub const BQ_ERR_CLOSED: i32 = -3;
/// The handle was opened before a fork, and this is the child. Open a new engine in the child.
pub const BQ_ERR_FORKED: i32 = -4;
/// A defect in buquet. Please report it.
pub const BQ_ERR_INTERNAL: i32 = -5;
/// The queue holds BQ_MAX_PENDING operations. Drain it, then submit again.
pub const BQ_ERR_OVERLOADED: i32 = -6;
/// The system refused a thread or a descriptor.
pub const BQ_ERR_RESOURCES: i32 = -7;
