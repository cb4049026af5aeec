//! Names of things: records, tasks, leases, commits, workers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use crate::entropy::Entropy;
use crate::error::Error;

/// A task: its record's id with the task's index in the low 16 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(Uuid);

/// A batch record: a random or derived version-8 UUID whose low 16 bits are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(Uuid);

const INDEX_MASK: u128 = 0xffff;

impl RecordId {
    /// Before all ids in their order, and no record's.
    pub const LEAST: Self = Self(Uuid::nil());

    /// A fresh random id.
    #[must_use]
    pub fn random(entropy: &Entropy) -> Self {
        Self::from_bytes(entropy.bytes())
    }

    /// The id that belongs to these parts, in this order, and to no others: whoever derives it derives the same.
    #[must_use]
    pub fn derived(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            // With their lengths, so that no two lists of parts run together into the same text.
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(hash.finalize()).for_each(|(byte, hashed)| *byte = hashed);
        Self::from_bytes(bytes)
    }

    const fn from_bytes(bytes: [u8; 16]) -> Self {
        let uuid = Builder::from_custom_bytes(bytes).into_uuid();
        Self(Uuid::from_u128(uuid.as_u128() & !INDEX_MASK))
    }

    /// The id of the record's `n`-th task.
    #[must_use]
    pub const fn task(self, n: u16) -> TaskId {
        TaskId(Uuid::from_u128(self.0.as_u128() | n as u128))
    }

    /// The first hex digit: the shard the record lies in.
    #[must_use]
    pub fn shard(self) -> char {
        char::from_digit(u32::from(self.0.as_bytes()[0] >> 4), 16).unwrap_or('0')
    }

    /// Its bits, those of both halves together.
    #[must_use]
    pub const fn bits(self) -> u64 {
        let (high, low) = self.0.as_u64_pair();
        high ^ low
    }
}

impl TaskId {
    /// The record that holds the task.
    #[must_use]
    pub const fn record(self) -> RecordId {
        RecordId(Uuid::from_u128(self.0.as_u128() & !INDEX_MASK))
    }

    /// The task's place in its record.
    #[must_use]
    pub fn index(self) -> u16 {
        u16::try_from(self.0.as_u128() & INDEX_MASK).unwrap_or(u16::MAX)
    }
}

fn parse_uuid(text: &str) -> Result<Uuid, Error> {
    // Only the canonical spelling: an id becomes part of a key, and a key must have one spelling.
    Uuid::parse_str(text)
        .ok()
        .filter(|uuid| uuid.get_version_num() == 8 && uuid.hyphenated().to_string() == text)
        .ok_or_else(|| {
            let shown: String = text.chars().take(64).collect();
            Error::Invalid(format!(
                "{shown:?} is not a task id: a task id is a lower-case version-8 UUID such as \
                 \"5f0c7a52-41c3-8e5a-9d1b-3a6f0c2e0000\", as submit returned it"
            ))
        })
}

impl FromStr for TaskId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse_uuid(text).map(Self)
    }
}

impl FromStr for RecordId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let id = parse_uuid(text).map(TaskId)?;
        if id.index() == 0 {
            Ok(id.record())
        } else {
            Err(Error::Invalid(format!(
                "{text:?} is a task id where a record id belongs: its last four digits are not 0000"
            )))
        }
    }
}

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

as_text!(TaskId, RecordId, LeaseId, CommitId, WorkerId, ScheduleId, PayloadId);

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Hex);

        impl $name {
            /// A fresh random id.
            #[must_use]
            pub fn random(entropy: &Entropy) -> Self {
                Self(Hex(entropy.bits()))
            }

            /// Its bits.
            #[must_use]
            pub const fn bits(self) -> u64 {
                self.0.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                digits
                    .then(|| u64::from_str_radix(text, 16).ok())
                    .flatten()
                    .map(|bits| Self(Hex(bits)))
                    .ok_or_else(|| {
                        let shown: String = text.chars().take(64).collect();
                        Error::Invalid(format!("{shown:?} is not a {} id: it has 16 lower-case hex digits", $what))
                    })
            }
        }
    };
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Hex(u64);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

hex_id!(
    /// One claim of some of a record's tasks by one worker; never used twice.
    LeaseId,
    "lease"
);
hex_id!(
    /// One commit: written into the record, it tells a committer whose answer was lost that it succeeded.
    CommitId,
    "commit"
);
hex_id!(
    /// One started worker.
    WorkerId,
    "worker"
);
hex_id!(
    /// One schedule from its creation to its deletion.
    ScheduleId,
    "schedule"
);
hex_id!(
    /// One payload that lies in objects of its own; a new one for each time it is written.
    PayloadId,
    "payload"
);

impl WorkerId {
    /// No worker: of entries that lead to what a record owes.
    pub const NOBODY: Self = Self(Hex(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_id_leads_to_its_record_and_place() {
        let record = RecordId::random(&Entropy::seeded(1));
        let task = record.task(99);
        assert_eq!((task.record(), task.index()), (record, 99));
        assert_eq!(task.to_string().parse::<TaskId>().unwrap(), task);
        assert!(record.to_string().starts_with(record.shard()));
    }

    #[test]
    fn a_derived_id_belongs_to_its_parts_alone() {
        let id = RecordId::derived(&["schedule", "nightly"]);
        assert_eq!(id, RecordId::derived(&["schedule", "nightly"]));
        assert_eq!(id.to_string().parse::<RecordId>().unwrap(), id);
        for other in [&["schedule", "nightl", "y"][..], &["schedulenightly"], &["nightly", "schedule"], &[]] {
            assert_ne!(RecordId::derived(other), id, "{other:?}");
        }
        // Stored ids depend on it: it must never change.
        assert_eq!(id.to_string(), "09dcc646-c988-8781-b858-39ee0a4e0000");
    }

    #[test]
    fn ids_have_one_spelling_only() {
        let id = RecordId::random(&Entropy::seeded(1)).to_string();
        for bad in
            [id.to_uppercase(), id.replace('-', ""), format!("{{{id}}}"), "../x".into(), String::new(), "\0".into()]
        {
            assert!(bad.parse::<TaskId>().is_err(), "{bad:?}");
        }
        assert!("00000000-0000-4000-8000-000000000000".parse::<TaskId>().is_err(), "only version 8");
        assert!("0123456789ABCDEF".parse::<LeaseId>().is_err());
        assert!("+123456789abcdef".parse::<LeaseId>().is_err());
    }

    #[test]
    fn hex_ids_survive_their_text() {
        let lease = LeaseId::random(&Entropy::seeded(3));
        assert_eq!(lease.to_string().parse::<LeaseId>().unwrap(), lease);
    }
}
