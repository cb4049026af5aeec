use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::model::Run;
use super::super::samples::{arbitrary_entry, text};
use super::*;

fn read(value: &Value) -> serde_json::Result<Entry> {
    serde_json::from_str(&value.to_string())
}

proptest! {
    #[test]
    fn an_entry_survives_the_round_trip(entry in arbitrary_entry()) {
        let written = text(&entry);
        let read: Entry = serde_json::from_str(&written).unwrap();
        prop_assert_eq!(text(&read), written);
        prop_assert!(!matches!(read, Entry::Unknown(_)));
    }

    #[test]
    fn no_text_makes_the_reader_fail_in_any_other_way(text in "[{}\\[\\]\",:a-z0-9 ]{0,60}") {
        let _ = serde_json::from_str::<Entry>(&text);
        let _ = serde_json::from_str::<Run>(&text);
    }
}

#[test]
fn entries_have_the_documented_form() {
    let asks = [
        json!({"ask": "step", "scope": "", "name": "charge", "n": 0, "args": {"order_id": "0123456789abcdef"}, "at": 5}),
        json!({"ask": "timer", "scope": "0", "name": "sleep", "n": 2, "until": 90, "at": 5}),
        json!({"ask": "select", "scope": "", "name": "select", "n": 0,
               "arms": {"late": {"timer": 90}, "ok": {"signal": "approved"}, "pick": {"op": 3}}, "at": 5}),
        json!({"ask": "cancel", "op": 3, "at": 5}),
        json!({"told": "step", "op": 3, "outcome": "completed", "output": null, "attempts": 2, "at": 5}),
        json!({"told": "signal", "op": 3, "outcome": "timeout", "at": 5}),
        json!({"told": "select", "op": 3, "arm": "ok", "payload": 1, "sent_at": 4, "at": 5}),
        json!({"told": "cancel", "reason": "late", "at": 5}),
    ];
    for entry in asks {
        let again: Value = serde_json::from_str(&text(&read(&entry).unwrap())).unwrap();
        assert_eq!(again, entry);
    }
}

#[test]
fn what_a_newer_version_wrote_is_kept_field_for_field() {
    for entry in [
        json!({"ask": "lock", "name": "door", "at": 5, "ttl": {"ms": 1}}),
        json!({"told": "lock", "op": 3, "at": 5}),
        json!({"ask": "step", "scope": "", "name": "a", "n": 0, "at": 5, "colour": ["red"]}),
        json!({"ask": "cancel", "op": 3, "at": 5, "colour": 1.50}),
        json!({"told": "timer", "op": 3, "at": 5, "colour": null}),
    ] {
        let again: Value = serde_json::from_str(&text(&read(&entry).unwrap())).unwrap();
        assert_eq!(again, entry);
    }
}

#[test]
fn an_entry_that_is_nothing_or_lacks_something_is_refused_by_name() {
    for (entry, named) in [
        (json!({"at": 5}), "neither"),
        (json!({"ask": "step", "told": "step"}), "both"),
        (json!({"ask": "step", "scope": "", "n": 0, "at": 5}), "name"),
        (json!({"ask": "timer", "scope": "", "name": "sleep", "n": 0, "until": "soon"}), "until"),
        (json!({"told": "step", "op": 3, "outcome": "lost", "at": 5}), "outcome"),
        (json!({"told": "signal", "op": 3, "outcome": "failed", "at": 5}), "signal"),
        (json!({"told": "step", "outcome": "completed", "at": 5}), "op"),
        (json!(["ask"]), "map"),
    ] {
        let message = read(&entry).unwrap_err().to_string();
        assert!(message.contains(named), "{entry}: {message}");
    }
}

#[test]
fn a_run_keeps_what_it_does_not_know_at_every_level() {
    let run = json!({
        "name": "order", "version": "3", "generation": 1, "execution": 2, "status": "paused", "began": 5, "new": 1,
        "journal": {
            "chunks": [{"key": "journal.0123456789abcdef", "sha256": "aa", "entries": 3, "bytes": 9, "new": 2}],
            "entries": [{"ask": "step", "scope": "", "name": "a", "n": 0, "at": 5, "new": 3}],
            "new": 4,
        },
        "open": {"3": {"attempt": 1, "started": true, "due": 9, "new": 5, "error": {"type": "E", "message": "", "new": 6}}},
        "patches": {"new-price": true}, "published": {"progress": {"done": 1}}, "consumed": ["0123456789abcdef"],
        "unread": true, "retries": 1, "failed_op": 3, "deadline": 99, "definition": "0123456789abcdef",
        "wishes": {"cancel": {"at": 7, "by": "ann", "new": 7}, "hurry": {"at": 8}},
        "pause": {"at": 6, "cause": "mismatch", "mismatch": {"position": 3}, "new": 8},
        "ending": {"at": 6, "kind": "completed", "output": null, "new": 9},
        "parent": {"run": "5f0c7a52-41c3-8e5a-9d1b-3a6f0c2e0000", "op": 4, "new": 10},
    });
    let read: Run =
        serde_json::from_value(run.clone()).unwrap_or_else(|_| serde_json::from_str(&run.to_string()).unwrap());
    let again: Value = serde_json::from_str(&text(&read)).unwrap();
    assert_eq!(again, run);
}

#[test]
fn a_new_run_is_small() {
    let run = Run::new("order".into(), None, 1, Millis(5));
    let expected = "{\"name\":\"order\",\"version\":null,\"generation\":1,\"execution\":0,\"status\":\"pending\",\"began\":5,\
                    \"journal\":{\"entries\":[]}}";
    assert_eq!(text(&run), expected);
    assert_eq!(text(&serde_json::from_str::<Run>(expected).unwrap()), expected);
}
