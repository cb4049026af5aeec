//! Input: the body of a batch record.

use std::time::Duration;

use buquet_core::Error;
use buquet_core::broken::Variant;
use buquet_core::entropy::Entropy;
use buquet_core::id::{CommitId, LeaseId, RecordId, WorkerId};
use buquet_core::keys::{self, FailedEntry, ReadyEntry};
use buquet_core::record::{
    BatchRecord, Changes, CommitMark, EntryState, Extra, Failure, Fall, Json, Lease, Move, Outcome, failed_entry_state,
    plan_index, ready_entry_state,
};
use buquet_core::time::Timestamp;
use serde_json::Value;

/// 2026-09-21, after everything in the corpus was submitted.
const NOW: Timestamp = Timestamp(1_790_000_500_000);

/// What is read as a record must be whole: it can be written, read again, worked on, and found by its entry.
pub fn run(input: &[u8]) {
    let _ = CommitMark::read(input);
    let key = key_of(input);
    let record = match BatchRecord::decode(&key, input) {
        Ok(record) => record,
        Err(Error::Corrupt(message) | Error::Layout(message)) => {
            assert!(message.contains(&key) && message.len() < 2_000, "{message}");
            return;
        }
        Err(other) => panic!("a record is refused with {}: {other}", other.code()),
    };
    let once = written(&record);
    assert_eq!(written(&read(&once, &record)), once, "it changes by being read");
    if let Some(entry) = record.ready_entry() {
        assert_eq!(ReadyEntry::parse(&entry.to_string()), Some(entry), "its own entry does not lead to it");
        assert_eq!(ready_entry_state(&entry, &record), EntryState::Current);
    }
    if let Some(entry) = record.failed_entry() {
        assert_eq!(FailedEntry::parse(&entry.to_string()), Some(entry), "its entry among the failed is none");
        assert_eq!(failed_entry_state(&entry, &record), EntryState::Current);
    }
    for later in [NOW, Timestamp::FIRST, Timestamp::LAST] {
        work_on(record.clone(), later);
    }
}

/// The key under which the record would be looked for.
fn key_of(input: &[u8]) -> String {
    let id = serde_json::from_slice::<Value>(input).ok().and_then(|body| body["id"].as_str()?.parse::<RecordId>().ok());
    keys::record(id.unwrap_or_else(|| RecordId::random(&Entropy::seeded(1))))
}

fn written(record: &BatchRecord) -> Vec<u8> {
    record.encode().expect("what was read can be written").to_vec()
}

fn read(body: &[u8], record: &BatchRecord) -> BatchRecord {
    BatchRecord::decode(&keys::record(record.id), body).expect("what was written can be read")
}

/// What workers, sweepers and people do: take back, claim, extend, settle, replay, archive, purge. After each commit the record must still be one.
fn work_on(mut record: BatchRecord, now: Timestamp) {
    let entropy = Entropy::seeded(7);
    for (n, lease) in record.leases.clone().into_keys().enumerate() {
        let why = if n % 2 == 0 { Fall::Expired } else { Fall::WorkerLost };
        record = committed(&record, now, &entropy, |record| record.fall(lease, why, now, 0.5));
    }
    let lease = LeaseId::random(&entropy);
    let expires_at = now.after(record.options.timeout());
    let holder = Lease { worker: WorkerId::random(&entropy), expires_at, extra: Extra::new() };
    record = committed(&record, now, &entropy, |record| drop(record.claim(lease, holder, now, 3)));
    let tasks = record.tasks.clone();
    for (task, outcome) in tasks.iter().filter(|task| task.lease == Some(lease)).zip(outcomes(now)) {
        let id = record.id.task(task.n);
        record = committed(&record, now, &entropy, |record| {
            let _ = record.extend(id, lease, now.after(Duration::from_mins(1)));
            record.settle(id, lease, &outcome, now, 0.999);
        });
    }
    let changes = Changes { priority: Some(9), ..Changes::default() };
    let replay = Move::Replay(&changes);
    record = committed(&record, now, &entropy, |record| {
        record.move_failed(replay, now, |task| task.n > 0);
    });
    record = committed(&record, now, &entropy, |record| {
        let _ = record.move_task(0, Move::Archive, now);
    });
    committed(&record, now, &entropy, |record| {
        record.purge(now, |_| true);
    });
}

fn outcomes(now: Timestamp) -> [Outcome; 3] {
    let error = Failure { kind: "E".into(), message: "no".into(), traceback: None };
    [
        Outcome::Fail { error, retry: true, retry_at: None },
        Outcome::Complete { output: Json::parse("[null]").expect("JSON") },
        Outcome::Reschedule { at: now.after(Duration::MAX) },
    ]
}

fn committed(
    old: &BatchRecord,
    now: Timestamp,
    entropy: &Entropy,
    change: impl FnOnce(&mut BatchRecord),
) -> BatchRecord {
    let mut new = old.clone();
    change(&mut new);
    let plan = plan_index(old, &mut new, now, Variant::True);
    new.stamp(CommitId::random(entropy));
    assert!(plan.ahead.iter().all(|key| !plan.behind.contains(key)), "{plan:?}");
    // A record at the very end of all numbers may stop being one; it is refused then, which is all it needs.
    if old.rev + 1 < 1 << 53 && old.seq + 1 < 1 << 53 {
        read(&written(&new), &new);
    }
    new
}
