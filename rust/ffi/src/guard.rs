//! The guard around every export: no panic crosses the boundary.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::failure::Failure;

/// Runs `body`; a panic becomes a failure with the status for internal errors.
///
/// `AssertUnwindSafe` holds because everything shared sits behind locks whose poison is ignored, and each critical
/// section leaves its data whole at every point where it can unwind.
pub fn guard<T>(body: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(|| {
        #[cfg(test)]
        crate::testing::panic_if_asked();
        body()
    }))
    .unwrap_or_else(|panic| Err(Failure::internal(describe(&*panic))))
}

/// What a panic said, as a message for the caller.
pub fn describe(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a defect in buquet, please report it: {}", said.unwrap_or("panic without a message"))
}
