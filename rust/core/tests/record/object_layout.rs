//! `docs/object_layout.md` shows what the engine really stores: its examples have the form of live objects, its index
//! keys are those of its record, its tables know every field, and its queries run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use buquet_core::entropy::Entropy;
use buquet_core::id::RecordId;
use buquet_core::keys::{self, FailedEntry, LeaseEntry, ReadyEntry};
use buquet_core::limits;
use buquet_core::queue::{About, FORMAT, Queue, Settings, When};
use buquet_core::record::{BatchRecord, Failure, Json, Options, Outcome};
use buquet_core::store::memory::MemoryStore;
use buquet_core::store::sqlite::SqliteStore;
use buquet_core::store::{Got, Store, StoreKind};
use buquet_core::time::Timestamp;
use buquet_core::worker::{Assignment, Options as WorkerOptions, WorkOutcome, Worker};
use pretty_assertions::assert_eq;
use serde_json::Value;

/// 2026-09-21T14:13:32.345Z.
const START: Timestamp = Timestamp(1_790_000_012_345);
const SOON: Duration = Duration::from_secs(5);

async fn settle(worker: &Worker, task: &Assignment, outcome: Outcome) {
    worker.settle(vec![WorkOutcome { id: task.id, lease: task.lease, outcome }]).await;
}

/// Three tasks in one record: one is completed, one runs, one has failed and waits for its retry.
async fn play(store: Arc<dyn Store>) -> (Queue, Worker) {
    let queue = Queue::open(store, Entropy::seeded(7), Settings::for_store(StoreKind::S3)).await.unwrap();
    let inputs = ["cat.png", "dog.png", "cow.png"];
    let inputs = inputs.map(|path| Json::parse(&format!("{{\"path\":\"{path}\",\"size\":256}}")).unwrap());
    queue.submit_many("thumbnail", inputs.to_vec(), Options::default(), When::Now, &About::default()).await.unwrap();
    let options = WorkerOptions {
        types: vec!["thumbnail".into()],
        concurrency: 2,
        prefetch: Some(0),
        host: "web-1".into(),
        pid: 4711,
    };
    let worker = Worker::start(&queue, options).await.unwrap();
    let first = worker.next(2, SOON).await.unwrap().assignments;
    assert_eq!(first.len(), 2);
    let output = Json::parse("\"cat.256.png\"").unwrap();
    settle(&worker, &first[0], Outcome::Complete { output }).await;
    let second = worker.next(1, SOON).await.unwrap().assignments.remove(0);
    let error = Failure {
        kind: "OSError".into(),
        message: "cow.png: truncated".into(),
        traceback: Some("Traceback (most recent call last): ...".into()),
    };
    settle(&worker, &second, Outcome::Fail { error, retry: true, retry_at: None }).await;
    queue.flush().await;
    (queue, worker)
}

type Objects = BTreeMap<String, Value>;

async fn live_objects() -> Objects {
    let store = Arc::new(MemoryStore::starting_at(START));
    let _playing = play(Arc::clone(&store) as _).await;
    let read =
        |(key, object): (String, buquet_core::store::Object)| (key, serde_json::from_slice(&object.body).unwrap());
    store.objects().into_iter().map(read).collect()
}

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/object_layout.md")).unwrap()
}

/// The examples of the page: code blocks whose title is the object's key.
fn documented_objects() -> Objects {
    let page = page();
    let blocks = page.split("```json title=\"").skip(1);
    blocks
        .map(|block| {
            let (key, rest) = block.split_once("\"\n").unwrap();
            let (body, _) = rest.split_once("```").unwrap();
            (key.to_owned(), serde_json::from_str(body).unwrap_or_else(|error| panic!("{key}: {error}")))
        })
        .collect()
}

fn kind(key: &str) -> &str {
    key.split('/').next().unwrap()
}

fn by_kind(objects: &Objects) -> BTreeMap<&str, &Value> {
    objects.iter().map(|(key, body)| (kind(key), body)).collect()
}

fn documented_record() -> BatchRecord {
    let (key, body) = documented_objects().into_iter().find(|(key, _)| keys::parse_record(key).is_some()).unwrap();
    BatchRecord::decode(&key, body.to_string().as_bytes()).unwrap()
}

/// The same fields and kinds of values. The keys of `leases` are ids, and `left_out` has one for each type that there is.
fn assert_same_form(documented: &Value, live: &Value, place: &str) {
    match (documented, live) {
        (Value::Object(documented), Value::Object(live)) if place.ends_with(".leases") => {
            assert_eq!(documented.len(), live.len(), "{place}");
            documented.values().zip(live.values()).for_each(|(a, b)| assert_same_form(a, b, &format!("{place}[]")));
        }
        (Value::Object(documented), Value::Object(live)) if place.ends_with(".left_out") => {
            assert!(documented.values().chain(live.values()).all(Value::is_u64), "{place}");
        }
        (Value::Object(documented), Value::Object(live)) => {
            let names = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<BTreeSet<_>>();
            assert_eq!(names(documented), names(live), "the fields of {place}");
            documented
                .iter()
                .for_each(|(name, field)| assert_same_form(field, &live[name], &format!("{place}.{name}")));
        }
        (Value::Array(documented), Value::Array(live)) => {
            assert_eq!(documented.len(), live.len(), "{place}");
            documented.iter().zip(live).for_each(|(a, b)| assert_same_form(a, b, &format!("{place}[]")));
        }
        (Value::String(documented), Value::String(live)) => {
            let looks = |text: &str| (text.len(), text.ends_with('Z'));
            let same = looks(documented) == looks(live) || !live.ends_with('Z');
            assert!(same, "{place}: {documented} is spelt {live} now");
        }
        (documented, live) => {
            assert_eq!(std::mem::discriminant(documented), std::mem::discriminant(live), "{place}: {live}");
        }
    }
}

fn field_names(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                // The payload is the user's; the keys of `leases` are ids.
                if name.len() != 16 {
                    names.insert(name.clone());
                }
                if name != "input" && name != "output" {
                    field_names(field, names);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| field_names(item, names)),
        _ => {}
    }
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_object_has_an_example_of_its_present_form() {
    let (documented, live) = (documented_objects(), live_objects().await);
    let shown = serde_json::to_string_pretty(&live).unwrap();
    println!("The objects of today, for the page:\n{shown}");
    let (documented, live) = (by_kind(&documented), by_kind(&live));
    assert_eq!(documented.keys().collect::<Vec<_>>(), live.keys().collect::<Vec<_>>());
    for (kind, body) in live {
        assert_same_form(documented[kind], body, kind);
    }
}

#[tokio::test(start_paused = true)]
async fn every_field_of_an_object_has_its_row_in_a_table() {
    let page = page();
    let rows: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next()).collect();
    let rows: BTreeSet<&str> = rows.iter().flat_map(|row| row.split('`')).collect();
    let mut names = BTreeSet::new();
    live_objects().await.values().for_each(|body| field_names(body, &mut names));
    let missing: Vec<_> = names.iter().filter(|name| !rows.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "no row says what these are: {missing:?}");
}

#[test]
fn the_documented_record_is_one_and_is_written_as_documented() {
    let (record, documented) = (documented_record(), documented_objects());
    let written: Value = serde_json::from_slice(&record.encode().unwrap()).unwrap();
    assert_eq!(written, documented[&keys::record(record.id)]);
    assert_eq!(u64::from(record.format), documented["buquet.json"]["format"].as_u64().unwrap());
    assert_eq!(record.format, FORMAT);
    assert!(page().contains(&format!("newest first, at most {};", limits::TRAIL)));
}

#[test]
fn the_documented_index_keys_are_those_of_the_documented_record() {
    let (record, documented) = (documented_record(), documented_objects());
    let keys = |index: &str| documented.keys().filter(|key| key.starts_with(index)).cloned().collect::<Vec<_>>();
    assert_eq!(keys(keys::READY), [record.ready_entry().unwrap().to_string()]);
    let lease = |(lease, held): (&_, &buquet_core::record::Lease)| {
        let minute = held.expires_at.minute();
        LeaseEntry { minute, record: record.id, lease: *lease, worker: held.worker }.to_string()
    };
    assert_eq!(keys(keys::LEASES), record.leases.iter().map(lease).collect::<Vec<_>>());
    let worker = record.leases.values().next().unwrap().worker;
    assert_eq!(keys(keys::WORKERS), [keys::worker(worker)]);
    let page = page();
    let parsed = documented.keys().find_map(|key| ReadyEntry::parse(key)).unwrap();
    for part in [parsed.due.minute().to_string(), format!("{:08x}", parsed.type_hash), parsed.due.to_string()] {
        assert!(page.contains(&part), "the page takes the key apart: {part}");
    }
}

#[test]
fn the_documented_entry_of_a_failed_task_is_one_of_the_documented_record() {
    let page = page();
    let entry = page.lines().find_map(FailedEntry::parse).unwrap();
    let record = documented_record();
    assert_eq!((entry.record, entry.type_hash), (record.id, keys::type_hash(&record.kind)));
    let (minute, rest) = (entry.at.minute(), entry.at.0 % 60_000);
    for part in [format!("| `{minute:010}` |"), format!("| `{rest}` |"), format!("| `{}` |", entry.rev)] {
        assert!(page.contains(&part), "the page takes the key apart: {part}");
    }
}

#[test]
fn the_documented_entry_and_task_of_parked_work_are_what_is_written() {
    let page = page();
    let mut record = documented_record();
    let (id, lease) = (record.id.task(1), record.tasks[1].lease.unwrap());
    record.settle(id, lease, &Outcome::Park { until: None }, START, 0.5);
    let written = serde_json::to_value(&record.tasks[1]).unwrap();
    let block = page
        .split("```json\n")
        .filter_map(|block| block.split_once("```"))
        .find_map(|(body, _)| serde_json::from_str::<Value>(body).ok().filter(|value| value["status"] == "waiting"));
    assert_eq!(block.unwrap(), written);
    let entry = page.lines().filter(|line| line.starts_with(keys::PARKED)).find_map(ReadyEntry::parse).unwrap();
    assert_eq!((entry.record, entry.due, entry.parked), (record.id, Timestamp::LAST, true));
}

/// The queries that the page gives for `sqlite3`.
fn documented_queries() -> Vec<String> {
    const START: &str = "sqlite3 -readonly .buquet/buquet.db \"";
    let page = page();
    let queries = page.lines().filter_map(|line| line.strip_prefix(START)?.strip_suffix('"'));
    queries.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queries_on_the_page_find_something() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("buquet.db");
    let store = Arc::new(SqliteStore::open(&path).unwrap());
    let (queue, worker) = play(Arc::clone(&store) as _).await;
    let page = store.list(keys::TASKS, None, 10).await.unwrap().value;
    let live: RecordId = keys::parse_record(&page.entries[0].key).unwrap();
    let Got::Found(object) = queue.bucket().get(&keys::record(live), None).await.unwrap().value else { panic!() };
    let queries = documented_queries();
    assert!(queries.len() >= 3, "{queries:?}");
    let database = rusqlite::Connection::open(&path).unwrap();
    for query in queries {
        let query = query.replace(&keys::record(documented_record().id), &keys::record(live));
        let mut statement = database.prepare(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
        assert!(statement.readonly(), "{query}");
        let mut rows = statement.query([]).unwrap();
        let row = rows.next().unwrap().unwrap_or_else(|| panic!("{query} finds nothing"));
        if query.contains("body AS TEXT) FROM") {
            assert_eq!(row.get::<_, String>(0).unwrap().into_bytes(), object.body.to_vec(), "{query}");
        }
    }
    worker.stop().await;
}
