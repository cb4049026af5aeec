//! Durable runs: what a run holds, what may happen to it, and what comes next. Pure: values in, values out.
//!
//! [`model`] and [`entry`] are the field `run` of a driver's task, [`journal`] says what may be appended to a journal,
//! [`state`] what others may wish, [`driver`] what comes next, and [`graph`] is
//! a body that needs no front.

pub mod attempts;
pub mod check;
pub mod chunks;
pub mod client;
mod codec;
pub mod driver;
pub mod entry;
pub mod graph;
pub mod ids;
pub mod inbox;
pub mod journal;
pub mod limits;
pub mod model;
pub mod outcome;
pub mod signals;
pub mod state;
pub mod status;
pub mod timeline;
pub mod wishes;

#[cfg(test)]
mod samples;
