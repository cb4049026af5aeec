//! Tags, times and conditions, between S3's spelling and the store's.

use std::time::{Duration, UNIX_EPOCH};

use buquet_core::store::{Condition, ETag as StoredTag};
use buquet_core::time::Timestamp as StoredTime;
use s3s::dto::{ETag, ETagCondition, Timestamp};
use s3s::{S3Result, s3_error};

/// The tag as the store has it, in quotes.
pub fn stored(tag: &ETag) -> StoredTag {
    StoredTag(format!("\"{}\"", tag.value()))
}

/// The tag as S3 has it.
pub fn shown(tag: &StoredTag) -> ETag {
    ETag::Strong(tag.0.trim_matches('"').to_owned())
}

/// A point in time as S3 has it.
pub fn time(at: StoredTime) -> Timestamp {
    Timestamp::from(UNIX_EPOCH + Duration::from_millis(u64::try_from(at.0).unwrap_or(0)))
}

/// The time in whole seconds, as it stands in headers.
pub fn header_time(at: StoredTime) -> Timestamp {
    time(StoredTime(at.0 - at.0.rem_euclid(1_000)))
}

/// The condition of a write or a deletion.
pub fn condition(if_match: Option<&ETagCondition>, if_none_match: Option<&ETagCondition>) -> S3Result<Condition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(Condition::Always),
        (None, Some(ETagCondition::Any)) => Ok(Condition::IfAbsent),
        (Some(ETagCondition::Any), None) => Ok(Condition::IfMatch(StoredTag("*".to_owned()))),
        (Some(ETagCondition::ETag(tag)), None) => Ok(Condition::IfMatch(stored(tag))),
        _ => Err(s3_error!(NotImplemented, "A write takes If-Match, or If-None-Match: *, and no other condition.")),
    }
}

/// Whether a tag is the one, or one of any, that a condition names.
pub fn matches(condition: &ETagCondition, tag: &StoredTag) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(named) => stored(named) == *tag,
    }
}
