//! The batch record: what it holds, how it is written, how it changes. Pure: values in, values out.

mod after;
mod backoff;
mod cancel;
mod codec;
mod dead;
mod extras;
pub(crate) mod fields;
mod index;
mod links;
mod model;
mod options;
mod park;
mod payload;
mod readable;
mod replay;
mod status;
mod transition;

pub use after::{After, Delivery, ENGINE, On, Results, Slot};
pub use backoff::RetryPolicy;
pub use cancel::Cancelling;
pub use codec::{CommitMark, Json};
pub(crate) use codec::{advance, quoted, refuse_newer};
pub use dead::{FailedRef, Overrides, failed_entry_state};
pub use extras::{Cancel, Extras, Progress, check_tag};
pub use index::{EntryState, IndexPlan, is_overdue, lease_entry_state, plan_index, ready_entry_state};
pub use links::{Culprit, Debt, Ended, Link, Linking, Ranges};
pub use model::{BatchRecord, Extra, Lease, ReadyRef, Task, TaskError};
pub use options::Options;
pub use park::{Claimed, Park, Waking};
pub use payload::{PayloadRef, Stowed, stow};
pub use replay::{Changes, Move, Refusal, RetryChanges};
pub use status::TaskStatus;
pub use transition::{Failure, Fall, Outcome, Settlement};
