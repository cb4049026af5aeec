//! Every object key, built and parsed in one place.
//!
//! Keys are relative to the queue's prefix. Index keys carry, after the id, what a worker needs to decide without
//! reading the record.

mod failed;
mod runs;

use std::fmt;

pub use self::failed::FailedEntry;
use self::runs::STATE;
pub use self::runs::{inbox, of_runs, parse_run, parse_signal, result, signal};
use crate::id::{LeaseId, PayloadId, RecordId, WorkerId};
use crate::limits;
use crate::time::Timestamp;

/// The marker: layout format and parameters of the queue.
pub const MARKER: &str = "buquet.json";
/// The bell: touched by submitters, watched by idle workers.
pub const BELL: &str = "bell.json";
/// The board of cancellations: written by who calls running tasks off, read by who runs tasks.
pub const CANCELS: &str = "cancels.json";
/// The schemas of task types.
pub const SCHEMAS: &str = "schemas.json";
/// All batch records.
pub const TASKS: &str = "tasks/";
/// The index of claimable work.
pub const READY: &str = "ready/";
/// The index of parked work: tasks that wait to be woken, or for a time of their own.
pub const PARKED: &str = "parked/";
/// The index of running work.
pub const LEASES: &str = "leases/";
/// The index of failed tasks.
pub const FAILED: &str = "failed/";
/// Registrations and heartbeats.
pub const WORKERS: &str = "workers/";
/// Cron schedules.
pub const SCHEDULES: &str = "schedules/";
/// Says that there are schedules, and by when it was written that one was changed. It sorts before all entries of the
/// ready index, so whoever looks at that sees it without a request.
pub const SCHEDULES_MARK: &str = "ready/!schedules";
/// What the marks in the ready index begin with.
pub const MARKS: &str = "ready/!";
/// Says that tasks were ever parked here, so that workers look into the index of parked work. It sorts before all entries of
/// the ready index, too.
pub const PARKED_MARK: &str = "ready/!parked";
/// Payloads too large for their records, in pieces.
pub const PAYLOADS: &str = "payloads/";
/// What is written to try a store out, and deleted again.
pub const PROBE: &str = "probe/";
/// Runs of workflows: their records, and what belongs to them.
pub const WORKFLOW: &str = "workflow/";
/// The shards: the first hex digit of a record's id.
pub const SHARDS: &str = "0123456789abcdef";

const MINUTE_MS: i64 = 60_000;

/// Whether a key is one that a queue may have.
#[must_use]
pub fn is_ours(key: &str) -> bool {
    const FOLDERS: [&str; 10] = [TASKS, READY, PARKED, LEASES, FAILED, WORKERS, SCHEDULES, PAYLOADS, PROBE, WORKFLOW];
    [MARKER, BELL, CANCELS, SCHEMAS].contains(&key) || FOLDERS.iter().any(|folder| key.starts_with(folder))
}

/// The key of a batch record. Those of runs lie apart.
#[must_use]
pub fn record(id: RecordId) -> String {
    if id.holds_runs() { format!("{WORKFLOW}{id}/{STATE}") } else { format!("{TASKS}{}/{id}.json", id.shard()) }
}

/// The record a key under [`TASKS`] belongs to.
#[must_use]
pub fn parse_record(key: &str) -> Option<RecordId> {
    let (shard, name) = key.strip_prefix(TASKS)?.split_once('/')?;
    let id: RecordId = name.strip_suffix(".json")?.parse().ok()?;
    (shard.chars().eq([id.shard()]) && !id.holds_runs()).then_some(id)
}

/// The key of a worker's registration and heartbeat.
#[must_use]
pub fn worker(id: WorkerId) -> String {
    format!("{WORKERS}{id}.json")
}

/// The worker a key under [`WORKERS`] belongs to.
#[must_use]
pub fn parse_worker(key: &str) -> Option<WorkerId> {
    key.strip_prefix(WORKERS)?.strip_suffix(".json")?.parse().ok()
}

/// The key of a schedule.
#[must_use]
pub fn schedule(name: &str) -> String {
    format!("{SCHEDULES}{name}.json")
}

/// The name of the schedule a key under [`SCHEDULES`] belongs to.
#[must_use]
pub fn parse_schedule(key: &str) -> Option<&str> {
    key.strip_prefix(SCHEDULES)?.strip_suffix(".json").filter(|name| !name.contains('/'))
}

/// The key of the `n`-th piece of a payload of one of the record's tasks.
#[must_use]
pub fn payload(owner: RecordId, id: PayloadId, n: u32) -> String {
    format!("{PAYLOADS}{}/{owner}/{id}.{n:05}", owner.shard())
}

/// Where all payloads lie that a record's tasks name.
#[must_use]
pub fn payloads_of(owner: RecordId) -> String {
    format!("{PAYLOADS}{}/{owner}/", owner.shard())
}

/// The record and the payload a key under [`PAYLOADS`] belongs to, and which piece it is.
#[must_use]
pub fn parse_payload(key: &str) -> Option<(RecordId, PayloadId, u32)> {
    let mut parts = key.strip_prefix(PAYLOADS)?.splitn(3, '/').skip(1);
    let owner = parts.next()?.parse().ok()?;
    let (id, n) = parts.next()?.split_once('.')?;
    let (id, n) = (id.parse().ok()?, n.parse().ok()?);
    // One spelling only: what does not print as it was read is not ours.
    (payload(owner, id, n) == key).then_some((owner, id, n))
}

/// Everything in one shard of an index.
#[must_use]
pub fn shard_prefix(index: &str, shard: char) -> String {
    format!("{index}{shard}/")
}

/// Where, in one shard of an index, the entries of `minute` begin: to be used as `start_after`.
#[must_use]
pub fn minute_start(index: &str, shard: char, minute: i64) -> String {
    format!("{index}{shard}/{:010}", minute.max(0))
}

/// A number that can have been reached by counting; from any other a record would be written that nobody can read.
fn counted(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number| *number < limits::COUNTABLE)
}

/// Where, in an index, the shard after that of `key` begins: to be used as `start_after`. `None` after the last.
#[must_use]
pub fn next_shard(index: &str, key: &str) -> Option<String> {
    let shard = key.strip_prefix(index)?.chars().next()?;
    let next = SHARDS.chars().find(|next| *next > shard)?;
    Some(shard_prefix(index, next))
}

/// A place in an index, from 0 for its beginning to 1 for its end, as far as shards go and as entries are spread over
/// the minutes of `from` to `to`: to be used as `start_after`.
#[must_use]
pub fn place(index: &str, fraction: f64, from: i64, to: i64) -> String {
    /// The whole part of a number that is not negative, less than 2^32, and the rest.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the number is in the range of a u32")]
    fn split(number: f64) -> (u32, f64) {
        (number.trunc().clamp(0.0, f64::from(u32::MAX)) as u32, number.fract())
    }
    let (shard, rest) = split(fraction.clamp(0.0, 0.999_999) * 16.0);
    let shard = char::from_digit(shard, 16).unwrap_or('0');
    let minutes = u32::try_from(to.saturating_sub(from).max(0)).unwrap_or(u32::MAX - 1) + 1;
    let (minute, rest) = split(rest * f64::from(minutes));
    let (digits, _) = split(rest * f64::from(u32::MAX));
    let begin = minute_start(index, shard, from.saturating_add(i64::from(minute)));
    if digits == 0 { begin } else { format!("{begin}/{shard}{digits:08x}") }
}

/// A short hash of a task type, so that a worker knows from the key whether an entry concerns it.
///
/// FNV-1a, 32 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>). Types may collide: the record decides.
#[must_use]
pub fn type_hash(kind: &str) -> u32 {
    kind.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// An entry of the index of claimable work, or of that of parked work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadyEntry {
    /// When the record's next task is due. Whole minutes are the key's time bucket.
    pub due: Timestamp,
    /// The record it leads to.
    pub record: RecordId,
    /// The entry's number; every new entry of a record gets a higher one.
    pub seq: u64,
    /// The record's priority, 0 to 9.
    pub priority: u8,
    /// [`type_hash`] of the record's type.
    pub type_hash: u32,
    /// How many of its tasks it led to when it was written.
    pub pending: u32,
    /// It leads to parked tasks: it lies under [`PARKED`].
    pub parked: bool,
}

impl fmt::Display for ReadyEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { due, record, seq, priority, type_hash, pending, parked } = self;
        let index = if *parked { PARKED } else { READY };
        let (minute, rest) = (due.0.max(0) / MINUTE_MS, due.0.max(0) % MINUTE_MS);
        let shard = record.shard();
        write!(f, "{index}{shard}/{minute:010}/{record}.{seq}.{priority}.{type_hash:08x}.{rest}.{pending}")
    }
}

impl ReadyEntry {
    /// Reads a key of one of the two indexes; `None` if it is not one.
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        let parked = key.starts_with(PARKED);
        let (shard, rest) = key.strip_prefix(if parked { PARKED } else { READY })?.split_once('/')?;
        let (minute, name) = rest.split_once('/')?;
        let mut parts = name.split('.');
        let entry = Self {
            parked,
            record: parts.next()?.parse().ok()?,
            seq: counted(parts.next()?)?,
            priority: parts.next()?.parse().ok()?,
            type_hash: u32::from_str_radix(parts.next()?, 16).ok()?,
            due: Timestamp(
                minute.parse::<i64>().ok()?.checked_mul(MINUTE_MS)?.checked_add(parts.next()?.parse().ok()?)?,
            ),
            pending: parts.next()?.parse().ok()?,
        };
        // One spelling only: what does not print as it was read is not ours.
        (shard.chars().eq([entry.record.shard()]) && entry.to_string() == key).then_some(entry)
    }
}

/// An entry of the lease index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseEntry {
    /// The minute in which the lease expires, counted from the epoch.
    pub minute: i64,
    /// The record it leads to.
    pub record: RecordId,
    /// The lease.
    pub lease: LeaseId,
    /// The worker that holds it.
    pub worker: WorkerId,
}

impl fmt::Display for LeaseEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { minute, record, lease, worker } = self;
        write!(f, "{LEASES}{}/{:010}/{record}.{lease}.{worker}", record.shard(), minute.max(&0))
    }
}

impl LeaseEntry {
    /// Reads a key of the lease index; `None` if it is not one.
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        let (shard, rest) = key.strip_prefix(LEASES)?.split_once('/')?;
        let (minute, name) = rest.split_once('/')?;
        let mut parts = name.split('.');
        let entry = Self {
            minute: minute.parse().ok()?,
            record: parts.next()?.parse().ok()?,
            lease: parts.next()?.parse().ok()?,
            worker: parts.next()?.parse().ok()?,
        };
        (shard.chars().eq([entry.record.shard()]) && entry.to_string() == key).then_some(entry)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entropy::Entropy;

    fn arbitrary_ready() -> impl Strategy<Value = ReadyEntry> {
        let place = (any::<u64>(), 0_i64..4_000_000_000_000, 0..limits::COUNTABLE, any::<bool>());
        (place, 0_u8..10, any::<u32>(), any::<u32>()).prop_map(
            |((seed, due, seq, parked), priority, type_hash, pending)| ReadyEntry {
                parked,
                due: Timestamp(due),
                record: RecordId::random(&Entropy::seeded(seed)),
                seq,
                priority,
                type_hash,
                pending,
            },
        )
    }

    proptest! {
        #[test]
        fn a_ready_key_survives_the_round_trip(entry in arbitrary_ready()) {
            prop_assert_eq!(ReadyEntry::parse(&entry.to_string()), Some(entry));
        }

        #[test]
        fn ready_keys_of_a_shard_sort_by_minute(a in arbitrary_ready(), b in arbitrary_ready()) {
            let b = ReadyEntry { record: a.record, parked: a.parked, ..b };
            if a.due.minute() < b.due.minute() {
                prop_assert!(a.to_string() < b.to_string());
            }
        }

        #[test]
        fn a_lease_key_survives_the_round_trip(seed in any::<u64>(), minute in 0_i64..9_999_999_999) {
            let entropy = Entropy::seeded(seed);
            let entry = LeaseEntry {
                minute,
                record: RecordId::random(&entropy),
                lease: LeaseId::random(&entropy),
                worker: WorkerId::random(&entropy),
            };
            prop_assert_eq!(LeaseEntry::parse(&entry.to_string()), Some(entry));
        }

        #[test]
        fn no_text_makes_a_parser_fail_in_any_other_way(text in "\\PC{0,80}") {
            for prefix in ["", "ready/0/", "parked/0/", "leases/a/0000000001/", "tasks/0/", "workers/"] {
                let key = format!("{prefix}{text}");
                let _ = (ReadyEntry::parse(&key), LeaseEntry::parse(&key), parse_record(&key), parse_worker(&key));
                let _ = parse_payload(&format!("payloads/{text}"));
            }
        }
    }

    #[test]
    fn an_entry_whose_number_cannot_have_been_counted_is_not_ours() {
        let record = RecordId::random(&Entropy::seeded(5));
        let entry =
            |seq| ReadyEntry { due: Timestamp(0), record, seq, priority: 5, type_hash: 0, pending: 1, parked: false };
        let failed = |rev| FailedEntry { at: Timestamp(0), record, rev, type_hash: 0, count: 1 };
        for (number, ours) in [(limits::COUNTABLE - 1, true), (limits::COUNTABLE, false), (u64::MAX, false)] {
            assert_eq!(ReadyEntry::parse(&entry(number).to_string()).is_some(), ours, "{number}");
            assert_eq!(FailedEntry::parse(&failed(number).to_string()).is_some(), ours, "{number}");
        }
    }

    #[test]
    fn places_lie_in_the_order_of_their_fractions_from_the_beginning_of_the_first_shard_to_the_last() {
        let places: Vec<String> = (0..1_000).map(|n| place(READY, f64::from(n) / 1_000.0, 100, 104)).collect();
        assert!(
            places.is_sorted() && places[0] == "ready/0/0000000100" && places[999].starts_with("ready/f/0000000104/f")
        );
        assert!(places.iter().any(|place| place.starts_with("ready/8/0000000102/8")));
        assert_eq!(place(READY, 0.5, 100, 100), "ready/8/0000000100");
        assert!(place(READY, 2.0, i64::MIN, i64::MAX).starts_with("ready/f/"), "nonsense stays in the index");
    }

    #[test]
    fn after_a_shard_comes_the_next() {
        assert_eq!(next_shard(READY, "ready/9/0000000100/x").as_deref(), Some("ready/a/"));
        assert_eq!(next_shard(READY, SCHEDULES_MARK).as_deref(), Some("ready/0/"));
        assert_eq!((next_shard(READY, "ready/f/"), next_shard(READY, "leases/0/")), (None, None));
    }

    #[test]
    fn a_payload_key_leads_to_its_record() {
        let entropy = Entropy::seeded(5);
        let (owner, id) = (RecordId::random(&entropy), PayloadId::random(&entropy));
        let key = payload(owner, id, 7);
        assert_eq!(parse_payload(&key), Some((owner, id, 7)));
        for bad in
            [key.replace(".00007", ".7"), format!("{key}x"), key.replace("payloads/", "tasks/"), format!("{key}/x")]
        {
            assert_eq!(parse_payload(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_record_key_names_its_shard() {
        let id = RecordId::random(&Entropy::seeded(5));
        assert_eq!(parse_record(&record(id)), Some(id));
        let other = if id.shard() == '0' { '1' } else { '0' };
        assert_eq!(parse_record(&format!("tasks/{other}/{id}.json")), None, "in the wrong shard");
    }

    #[test]
    fn the_marks_of_schedules_and_of_parked_work_come_before_all_entries() {
        let entropy = Entropy::seeded(5);
        let record = RecordId::random(&entropy);
        let entry =
            ReadyEntry { due: Timestamp(0), record, seq: 0, priority: 0, type_hash: 0, pending: 0, parked: false };
        for mark in [PARKED_MARK, SCHEDULES_MARK] {
            assert!(mark < entry.to_string().as_str() && mark < shard_prefix(READY, '0').as_str());
            assert_eq!(ReadyEntry::parse(mark), None);
        }
        assert_eq!(parse_schedule(&schedule("a.b")), Some("a.b"));
    }

    #[test]
    fn the_type_hash_is_fnv_1a() {
        assert_eq!((type_hash(""), type_hash("a"), type_hash("foobar")), (0x811c_9dc5, 0xe40c_292c, 0xbf9c_f968));
    }
}
