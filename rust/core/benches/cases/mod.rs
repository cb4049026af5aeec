//! The hot paths as closures: what the benchmarks time and what callgrind counts.

use std::hint::black_box;

use buquet_core::broken::Variant;
use buquet_core::entropy::Entropy;
use buquet_core::id::{CommitId, LeaseId, RecordId, WorkerId};
use buquet_core::keys::{self, LeaseEntry, ReadyEntry};
use buquet_core::record::{BatchRecord, Extra, Json, Lease, Options, Outcome, Task, plan_index};
use buquet_core::time::Timestamp;

/// A moment in 2026 that is no full minute.
const NOW: Timestamp = Timestamp(1_790_000_012_345);
/// Tasks in a full record.
const TASKS: u16 = 100;

/// One hot path: a name, and what to do once.
pub struct Case {
    /// What it is called in reports and in the baseline.
    pub name: &'static str,
    /// Does it once.
    pub run: Box<dyn FnMut()>,
}

impl Case {
    fn new(name: &'static str, run: impl FnMut() + 'static) -> Self {
        Self { name, run: Box::new(run) }
    }
}

/// Values that the cases share; the same on every run.
struct Scene {
    key: String,
    pending: BatchRecord,
    running: BatchRecord,
    lease: LeaseId,
    commit: CommitId,
    holder: Lease,
}

impl Scene {
    fn new() -> Self {
        let entropy = Entropy::seeded(1);
        let input = json(r#"{"path": "cat.png", "size": 128}"#);
        let tasks = (0..TASKS).map(|n| Task::new(n, input.clone(), NOW, None)).collect();
        let id = RecordId::random(&entropy);
        let commit = CommitId::random(&entropy);
        let mut pending = BatchRecord::new(id, "thumbnail".into(), Options::default(), NOW, Vec::new(), commit);
        let empty = pending.clone();
        pending.tasks = tasks;
        plan_index(&empty, &mut pending, NOW, Variant::True);
        pending.stamp(commit);
        let lease = LeaseId::random(&entropy);
        let expires_at = NOW.after(pending.options.timeout());
        let holder = Lease { worker: WorkerId::random(&entropy), expires_at, extra: Extra::new() };
        let mut running = pending.clone();
        running.claim(lease, holder.clone(), NOW, usize::from(TASKS));
        plan_index(&pending, &mut running, NOW, Variant::True);
        running.stamp(commit);
        Self { key: keys::record(id), pending, running, lease, commit, holder }
    }
}

/// All cases, each on values of its own.
pub fn cases() -> Vec<Case> {
    vec![encode(), decode(), claim(), claim_path(), settle(), plan(), parse_keys(), print_keys()]
}

fn encode() -> Case {
    let Scene { running, .. } = Scene::new();
    Case::new("record_encode", move || {
        black_box(bytes(&running));
    })
}

fn decode() -> Case {
    let Scene { running, key, .. } = Scene::new();
    let body = bytes(&running);
    Case::new("record_decode", move || {
        black_box(read(&key, &body));
    })
}

fn claim() -> Case {
    let Scene { pending, lease, holder, .. } = Scene::new();
    Case::new("claim", move || {
        let mut record = pending.clone();
        black_box(record.claim(lease, holder.clone(), NOW, usize::from(TASKS)));
    })
}

/// All that a claim computes between its GET and its PUT.
fn claim_path() -> Case {
    let Scene { pending, key, lease, holder, commit, .. } = Scene::new();
    let body = bytes(&pending);
    Case::new("claim_path", move || {
        let old = read(&key, &body);
        let mut new = old.clone();
        new.claim(lease, holder.clone(), NOW, usize::from(TASKS));
        black_box(plan_index(&old, &mut new, NOW, Variant::True));
        new.stamp(commit);
        black_box(bytes(&new));
    })
}

fn settle() -> Case {
    let Scene { running, lease, .. } = Scene::new();
    let outcome = Outcome::Complete { output: json("42") };
    Case::new("settle", move || {
        let mut record = running.clone();
        for n in 0..TASKS {
            black_box(record.settle(record.id.task(n), lease, &outcome, NOW, 0.5));
        }
    })
}

fn plan() -> Case {
    let Scene { pending, running, .. } = Scene::new();
    Case::new("plan_index", move || {
        let mut record = running.clone();
        black_box(plan_index(&pending, &mut record, NOW, Variant::True));
    })
}

fn entries() -> (ReadyEntry, LeaseEntry) {
    let Scene { pending, lease, holder, .. } = Scene::new();
    let ready = ReadyEntry {
        due: NOW,
        record: pending.id,
        seq: 17,
        priority: 5,
        type_hash: keys::type_hash("thumbnail"),
        pending: u32::from(TASKS),
        parked: false,
    };
    (ready, LeaseEntry { minute: NOW.minute(), record: pending.id, lease, worker: holder.worker })
}

fn parse_keys() -> Case {
    let (ready, lease) = entries();
    let (ready, lease) = (ready.to_string(), lease.to_string());
    Case::new("key_parse", move || {
        black_box((ReadyEntry::parse(&ready), LeaseEntry::parse(&lease)));
    })
}

fn print_keys() -> Case {
    let (ready, lease) = entries();
    Case::new("key_print", move || {
        black_box((ready.to_string(), lease.to_string()));
    })
}

#[expect(clippy::unwrap_used, reason = "a benchmark ends where its own values are wrong")]
fn json(text: &str) -> Json {
    Json::parse(text).unwrap()
}

#[expect(clippy::unwrap_used, reason = "as above")]
fn bytes(record: &BatchRecord) -> Vec<u8> {
    record.encode().unwrap().to_vec()
}

#[expect(clippy::unwrap_used, reason = "as above")]
fn read(key: &str, body: &[u8]) -> BatchRecord {
    BatchRecord::decode(key, body).unwrap()
}
