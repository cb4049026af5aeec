//! Why a call of the ABI failed, before it takes the shape of a status and a `bq_error`.

use buquet_core::Error;

use crate::abi::{
    BQ_ERR_CLOSED, BQ_ERR_CONFIG, BQ_ERR_FORKED, BQ_ERR_INTERNAL, BQ_ERR_INVALID, BQ_ERR_OVERLOADED, BQ_ERR_RESOURCES,
};

/// A status with its stable code and a message for people.
#[derive(Debug)]
pub struct Failure {
    pub status: i32,
    pub code: &'static str,
    pub message: String,
}

impl Failure {
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { status: BQ_ERR_INVALID, code: "invalid", message: message.into() }
    }

    pub fn closed(message: impl Into<String>) -> Self {
        Self { status: BQ_ERR_CLOSED, code: "closed", message: message.into() }
    }

    pub fn forked(message: impl Into<String>) -> Self {
        Self { status: BQ_ERR_FORKED, code: "forked", message: message.into() }
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self { status: BQ_ERR_INTERNAL, code: "internal", message: message.into() }
    }

    pub fn overloaded(message: impl Into<String>) -> Self {
        Self { status: BQ_ERR_OVERLOADED, code: "overloaded", message: message.into() }
    }

    pub fn resources(wanted: &str, error: &std::io::Error) -> Self {
        let message = format!("the system refused {wanted}: {error}; close what is not needed or raise the limit");
        Self { status: BQ_ERR_RESOURCES, code: "resources", message }
    }

    /// What opening an engine answers when the core refuses: whatever is not about the form of the text is about
    /// what the configuration points to.
    pub fn from_open(error: &Error) -> Self {
        let status = match error {
            Error::Invalid(_) => BQ_ERR_INVALID,
            Error::Closed(_) => BQ_ERR_CLOSED,
            Error::Internal(_) => BQ_ERR_INTERNAL,
            _ => BQ_ERR_CONFIG,
        };
        Self { status, code: error.code(), message: error.to_string() }
    }
}
