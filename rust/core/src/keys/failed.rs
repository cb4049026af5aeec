//! Keys of the index of failed tasks.

use std::fmt;

use super::{FAILED, MINUTE_MS, counted};
use crate::id::RecordId;
use crate::time::Timestamp;

/// An entry of the index of failed tasks: one leads to all failed tasks of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FailedEntry {
    /// When the latest of the tasks failed. Whole minutes are the key's time bucket.
    pub at: Timestamp,
    /// The record it leads to.
    pub record: RecordId,
    /// The revision of the record that it was written for; so no entry of a record has the number of another.
    pub rev: u64,
    /// [`type_hash`](super::type_hash) of the record's type.
    pub type_hash: u32,
    /// How many tasks of the record had failed when the entry was written.
    pub count: u32,
}

impl fmt::Display for FailedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, record, rev, type_hash, count } = self;
        let (minute, rest) = (at.0.max(0) / MINUTE_MS, at.0.max(0) % MINUTE_MS);
        write!(f, "{FAILED}{}/{minute:010}/{record}.{rev}.{type_hash:08x}.{rest}.{count}", record.shard())
    }
}

impl FailedEntry {
    /// Reads a key of the index of failed tasks; `None` if it is not one.
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        let (shard, rest) = key.strip_prefix(FAILED)?.split_once('/')?;
        let (minute, name) = rest.split_once('/')?;
        let mut parts = name.split('.');
        let entry = Self {
            record: parts.next()?.parse().ok()?,
            rev: counted(parts.next()?)?,
            type_hash: u32::from_str_radix(parts.next()?, 16).ok()?,
            at: Timestamp(
                minute.parse::<i64>().ok()?.checked_mul(MINUTE_MS)?.checked_add(parts.next()?.parse().ok()?)?,
            ),
            count: parts.next()?.parse().ok()?,
        };
        (shard.chars().eq([entry.record.shard()]) && entry.to_string() == key).then_some(entry)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entropy::Entropy;
    use crate::limits;

    fn arbitrary() -> impl Strategy<Value = FailedEntry> {
        (any::<u64>(), 0_i64..4_000_000_000_000, 0..limits::COUNTABLE, any::<u32>(), any::<u32>()).prop_map(
            |(seed, at, rev, type_hash, count)| FailedEntry {
                at: Timestamp(at),
                record: RecordId::random(&Entropy::seeded(seed)),
                rev,
                type_hash,
                count,
            },
        )
    }

    proptest! {
        #[test]
        fn a_key_survives_the_round_trip(entry in arbitrary()) {
            prop_assert_eq!(FailedEntry::parse(&entry.to_string()), Some(entry));
        }

        #[test]
        fn keys_of_a_shard_sort_by_minute(a in arbitrary(), b in arbitrary()) {
            let b = FailedEntry { record: a.record, ..b };
            if a.at.minute() < b.at.minute() {
                prop_assert!(a.to_string() < b.to_string());
            }
        }

        #[test]
        fn no_text_makes_the_parser_fail_in_any_other_way(text in "\\PC{0,80}") {
            for prefix in ["", "failed/0/", "failed/a/0000000001/"] {
                let _ = FailedEntry::parse(&format!("{prefix}{text}"));
            }
        }
    }
}
