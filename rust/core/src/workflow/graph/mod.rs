//! Graphs of steps: definitions as data, and a body that the engine drives. Given what it is told, it says what to ask
//! for next; it never sees a result, only where that lies.

mod bindings;
mod body;
mod check;
mod definition;
mod items;
mod map;
mod replay;
mod stop;

pub use self::bindings::{Input, Source, compose};
pub use self::body::{Block, Body, GraphEnd};
pub use self::definition::{Compensation, Graph, Join, OnCancel, Parameter, Step, StepFailure, TaskStep};
pub use self::map::{Items, Verdict};
pub use self::replay::{Mismatch, replay};

#[cfg(test)]
mod tests;
