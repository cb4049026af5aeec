//! Schedules: when tasks are to be submitted by themselves. Pure: values in, values out.
//!
//! A schedule has *slots*, the moments at which it fires. Each slot has at most one task, whose id is derived from
//! the schedule and the slot, so that any number of workers may try to store it.

mod codec;
mod expression;
mod model;
mod policy;
mod timing;
mod zone;

pub use self::codec::FORMAT;
pub use self::expression::Expression;
pub use self::model::{
    CatchUp, Definition, Overlap, Run, Schedule, Skip, SkipReason, check_fires, check_name, slot_jitter, slot_record,
    timing,
};
pub use self::policy::{Decision, LastRun, decide};
pub use self::timing::Timing;
pub use self::zone::parse_zone;
