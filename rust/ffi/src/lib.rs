//! The C ABI of buquet: opaque handles, completion queues, owned buffers and errors.
//!
//! This crate holds no rule of the queue; it carries JSON between a C caller and
//! [`buquet_core::ops::Engine`]. [`abi`] has the exports, one module for each kind of object; the rest is safe
//! Rust except where a module says why not. The caller's view is `include/buquet.h` and `docs/abi.md`.

pub mod abi;
mod engine;
mod failure;
mod fork;
mod guard;
mod handles;
mod notify;
mod pointers;
mod queue;
mod signals;

#[cfg(test)]
mod testing;
