//! The batch record: what it holds, how it is written, how it changes. Pure: values in, values out.

mod backoff;
mod codec;
mod fields;
mod index;
mod model;
mod payload;
mod readable;
mod status;
mod transition;

pub use backoff::RetryPolicy;
pub use codec::{CommitMark, Json};
pub use index::{EntryState, IndexPlan, is_overdue, lease_entry_state, plan_index, ready_entry_state};
pub use model::{BatchRecord, Extra, Lease, Options, ReadyRef, Task, TaskError};
pub use payload::{PayloadRef, Stowed, stow};
pub use status::TaskStatus;
pub use transition::{Failure, Fall, Outcome, Settlement};
