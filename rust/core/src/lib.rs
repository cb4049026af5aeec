//! The engine of buquet: a distributed task queue whose only infrastructure is an S3-compatible bucket.
//!
//! The layers, each knowing only those before it: [`store`] (what is asked of a bucket), [`record`] (pure: the
//! batch record and its transitions), [`queue`] and [`worker`] (the protocol), [`ops`] (the same as JSON
//! operations, for the C ABI).
#![forbid(unsafe_code)]

pub mod broken;
pub mod bucket;
pub mod clock;
pub mod config;
mod deliver;
pub mod entropy;
pub mod error;
pub mod id;
pub mod keys;
pub mod limits;
pub mod ops;
pub mod payload;
pub mod queue;
pub mod record;
pub mod schedule;
pub mod store;
mod tasks;
pub mod time;
mod transact;
pub mod worker;
pub mod workflow;

pub use error::{Error, Result};
