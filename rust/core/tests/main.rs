//! All tests of the engine from outside, in one program: each program costs half a minute of compiling and linking.
#![cfg(test)]

mod queue;
mod record;
mod store;
mod workflow;
