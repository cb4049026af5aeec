//! What anybody may do with runs: start them, look at them, wait for them, signal them, and wish something of them.

mod look;
mod prune;
mod send;
mod start;
mod wish;

pub use self::look::{RunFilter, RunHistory, RunListing, RunView};
pub use self::prune::{Prune, Pruned};
pub use self::send::{CallbackToken, Said, Sent};
pub use self::start::{OnExisting, StartRun, StartRuns, StartedRun};
pub use self::wish::WishedRun;
use super::ids::named_run;
use crate::error::{Error, Result};
use crate::id::TaskId;

/// A run is known by the id of its driver, or by the name it was given.
///
/// # Errors
/// [`Error::Invalid`] if it is neither.
pub fn run_id(text: &str) -> Result<TaskId> {
    match text.parse::<TaskId>() {
        Ok(id) if id.is_run() => Ok(id),
        Ok(id) => Err(Error::Invalid(format!("{id} is the id of a task, and of no run"))),
        Err(_) => named_run(text).map(|record| record.task(0)),
    }
}

fn no_run(id: TaskId) -> Error {
    Error::NotFound(format!("there is no run {id} in this queue: it was pruned, or is another queue's"))
}

fn another_generation(id: TaskId, asked: u64, found: u64) -> Error {
    Error::Conflict(format!("run {id} was started anew: this is generation {found}, and {asked} was asked for"))
}
