//! The stores: what all of them promise, and what each has of its own. Those that need an S3 server find it in
//! `BUQUET_TEST_S3`.

mod contract;
mod hosted;
mod probe;
mod s3;
mod s3_lifecycle;
mod s3_purge;
mod s3_spoilt;
mod s3_tls;
mod sqlite;
pub mod support;
