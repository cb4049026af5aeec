//! The exports, by the kind of object they are about, and the statuses they answer with.
//!
//! The documentation of these items is the documentation of the header: it speaks to C programmers.
#![expect(
    clippy::missing_safety_doc,
    clippy::doc_markdown,
    reason = "the documentation is the header's: it states the rules for C, in plain text"
)]
#![expect(non_camel_case_types, reason = "the types have their names in C")]

mod buffer;
mod engine;
mod error;
mod queue;
mod status;
mod version;

pub use buffer::{bq_buffer, bq_buffer_free};
pub use engine::{bq_engine, bq_engine_close, bq_engine_open};
pub use error::{bq_error, bq_error_code, bq_error_free, bq_error_message, bq_error_status};
pub use queue::{
    BQ_MAX_BYTES, BQ_MAX_PENDING, bq_cancel, bq_queue, bq_queue_close, bq_queue_drain, bq_queue_fd, bq_queue_open,
    bq_queue_wait, bq_submit,
};
pub use status::{
    BQ_ERR_CLOSED, BQ_ERR_CONFIG, BQ_ERR_FORKED, BQ_ERR_INTERNAL, BQ_ERR_INVALID, BQ_ERR_OVERLOADED, BQ_ERR_RESOURCES,
    BQ_OK, BQ_TIMEOUT,
};
pub use version::{BQ_ABI_VERSION, bq_abi_version, bq_version};

#[cfg(test)]
mod tests;
