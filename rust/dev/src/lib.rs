//! `buquet dev`: an S3 server on this machine, for development and tests, over the embedded stores.
//!
//! [`s3s`] speaks the protocol and checks signatures; [`buquet_core::store::hosted`] keeps the buckets; between them
//! lies what S3 means by its operations. [`DevServers`] are the engine's operations that start and stop servers.
#![forbid(unsafe_code)]

mod buckets;
mod checksums;
mod failure;
mod faults;
mod gateway;
mod head;
mod listing;
mod multipart;
mod names;
mod objects;
mod operations;
mod pages;
mod server;
mod service;
mod tags;

pub use operations::DevServers;
