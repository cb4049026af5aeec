//! Failures of the store as S3 tells them.

use buquet_core::store::hosted::Refused;
use buquet_core::store::{StoreError, StoreErrorKind};
use s3s::{S3Error, S3ErrorCode, s3_error};

/// What a client is told about a failed request to the store.
pub fn failure(error: &StoreError) -> S3Error {
    let code = match error.kind {
        StoreErrorKind::Invalid => S3ErrorCode::InvalidArgument,
        StoreErrorKind::Unavailable
        | StoreErrorKind::Throttled
        | StoreErrorKind::Conflict
        | StoreErrorKind::Withheld => S3ErrorCode::ServiceUnavailable,
        StoreErrorKind::Denied | StoreErrorKind::NoBucket | StoreErrorKind::Unsupported => S3ErrorCode::InternalError,
    };
    S3Error::with_message(code, error.message.clone())
}

/// What a client is told whose condition did not hold.
pub fn refusal(refused: Refused) -> S3Error {
    if refused.exists {
        s3_error!(PreconditionFailed, "At least one of the conditions you named does not hold.")
    } else {
        s3_error!(NoSuchKey, "There is no object under this key to compare with.")
    }
}
