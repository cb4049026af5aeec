//! Input: the text of one object key.

use buquet_core::keys::{self, FailedEntry, LeaseEntry, ReadyEntry};

/// What a parser takes for ours must be spelt as we would have spelt it: two keys for one thing would be two things.
pub fn run(input: &[u8]) {
    let key = &*String::from_utf8_lossy(input);
    if let Some(entry) = ReadyEntry::parse(key) {
        assert_eq!(entry.to_string(), key);
        assert!(entry.due.minute() >= 0);
    }
    if let Some(entry) = LeaseEntry::parse(key) {
        assert_eq!(entry.to_string(), key);
    }
    if let Some(entry) = FailedEntry::parse(key) {
        assert_eq!(entry.to_string(), key);
        assert!(entry.at.minute() >= 0);
    }
    if let Some(record) = keys::parse_record(key) {
        assert_eq!(keys::record(record), key);
        assert_eq!(record.task(0).record(), record);
    }
    if let Some(worker) = keys::parse_worker(key) {
        assert_eq!(keys::worker(worker), key);
    }
    let of = [
        ReadyEntry::parse(key).is_some(),
        LeaseEntry::parse(key).is_some(),
        FailedEntry::parse(key).is_some(),
        keys::parse_record(key).is_some(),
        keys::parse_worker(key).is_some(),
    ];
    assert!(of.into_iter().filter(|is| *is).count() <= 1, "{key} is several things at once");
}
