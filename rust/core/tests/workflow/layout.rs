//! `docs/object_layout.md` shows runs as they are stored.

use std::fs;
use std::path::Path;

use buquet_core::keys;
use buquet_core::record::BatchRecord;
use buquet_core::workflow::chunks::read_back;
use buquet_core::workflow::inbox::{Letter, Sign};
use buquet_core::workflow::model::{ChunkRef, Journal};
use serde_json::{Value, json};

/// The examples on runs, in their order.
fn examples() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/object_layout.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, runs) = page.split_once("\n## Runs\n").unwrap();
    let (runs, _) = runs.split_once("\n## ").unwrap();
    runs.split("```json\n").skip(1).map(|block| block.split_once("```").unwrap().0.to_owned()).collect()
}

#[test]
fn the_documented_record_of_a_run_is_one_and_is_written_as_documented() {
    let example = examples().remove(0);
    let documented: Value = serde_json::from_str(&example).unwrap();
    let id: buquet_core::id::RecordId = documented["id"].as_str().unwrap().parse().unwrap();
    let record = BatchRecord::decode(&keys::record(id), example.as_bytes()).unwrap();
    assert!(id.holds_runs() && record.tasks[0].run.is_some());
    let written: Value = serde_json::from_slice(&record.encode().unwrap()).unwrap();
    assert_eq!(written, documented);
}

#[test]
fn the_documented_chunk_and_signals_are_what_is_written() {
    let [_, chunk, letter, sign] = examples().try_into().unwrap();
    let body = bytes::Bytes::from(chunk.trim().to_owned());
    let sha256 = buquet_core::workflow::ids::sha256(&body);
    let name: ChunkRef = serde_json::from_value(
        json!({"key": "journal.0123456789abcdef", "sha256": sha256, "entries": 1, "bytes": body.len()}),
    )
    .unwrap();
    let journal = Journal { chunks: vec![name], ..Journal::default() };
    assert_eq!(read_back(&journal, &[Some(body)]).unwrap().len(), 1);
    let same = |written: bytes::Bytes, documented: &str| {
        let written: Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(documented).unwrap());
    };
    same(Letter::decode("k", letter.as_bytes()).unwrap().encode().unwrap(), &letter);
    same(Sign::decode("k", sign.as_bytes()).unwrap().encode().unwrap(), &sign);
}
