//! Whole fleets of producers and workers over a faulty store, on one thread, with paused time and one seed.
//!
//! [`scenario`] draws what shall happen, [`fleet`] lets it happen and keeps a [`journal`] of what each process was
//! told, and [`checker`] compares that with everything that ever happened in the store.
#![forbid(unsafe_code)]

pub mod checker;
pub mod fleet;
pub mod journal;
pub mod run;
pub mod runs;
pub mod scenario;
pub mod schedules;
pub mod script;
pub mod trace;
