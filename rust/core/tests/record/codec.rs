//! What is stored comes back as it was, and what a newer version wrote is kept.

use std::collections::BTreeMap;

use buquet_core::keys;
use buquet_core::record::{BatchRecord, CommitMark, Extra};
use pretty_assertions::assert_eq;
use proptest::prelude::*;
use serde_json::value::RawValue;

use super::story::*;

/// A record in which every kind of object occurs: options, retry, ready entry, leases, tasks, an error.
fn rich_record() -> BatchRecord {
    let mut record = shared_record();
    let old = record.clone();
    record.settle(id(&record, 0), lease(1), &complete(), at(5), 0.0);
    record.settle(id(&record, 2), lease(2), &fail(true, None), at(5), 0.0);
    step(&old, &mut record, at(5), 3);
    record
}

fn decode(record: &BatchRecord, body: &str) -> BatchRecord {
    BatchRecord::decode(&keys::record(record.id), body.as_bytes()).unwrap()
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

/// JSON as text, with numbers, spellings and orders that a detour over numbers and maps would not keep.
fn arbitrary_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("1180591620717411303424".to_owned()),
        Just("-0.0".to_owned()),
        Just("1E+300".to_owned()),
        Just("3.141592653589793238462643383279".to_owned()),
        Just(r#""\u00e9\ud83d\ude00\/""#.to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        let name = "\\PC{0,6}".prop_map(|name| serde_json::to_string(&name).unwrap());
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|items| format!("[{}]", items.join(" ,\n"))),
            prop::collection::vec((name, inner), 0..5).prop_map(|fields| {
                let fields: Vec<_> = fields.into_iter().map(|(name, value)| format!("{name} : {value}")).collect();
                format!("{{{}}}", fields.join(", "))
            }),
        ]
    })
}

fn unknown_fields() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map("\\PC{0,9}".prop_map(|name| format!("new {name}")), arbitrary_json(), 0..4)
}

/// The places where a newer version may have put a field.
fn places(record: &mut BatchRecord) -> Vec<&mut Extra> {
    let mut places = vec![&mut record.extra, &mut record.options.extra, &mut record.options.retry.extra];
    places.extend(record.ready.as_mut().map(|ready| &mut ready.extra));
    places.extend(record.leases.values_mut().map(|held| &mut held.extra));
    for task in &mut record.tasks {
        places.push(&mut task.extra);
        places.extend(task.error.as_mut().map(|error| &mut error.extra));
    }
    places
}

proptest! {
    #[test]
    fn unknown_fields_survive_at_every_level(fields in prop::collection::vec(unknown_fields(), 10)) {
        let mut record = rich_record();
        let mut used = 0;
        for (place, fields) in places(&mut record).into_iter().zip(&fields) {
            place.extend(fields.iter().map(|(name, value)| (name.clone(), raw(value))));
            used += 1;
        }
        prop_assert_eq!(used, 10, "every place got its fields");
        let mut read = decode(&record, &text(&record));
        prop_assert_eq!(text(&read), text(&record));
        for (place, fields) in places(&mut read).into_iter().zip(&fields) {
            let kept: BTreeMap<_, _> = place.iter().map(|(name, raw)| (name.clone(), raw.get().to_owned())).collect();
            prop_assert_eq!(&kept, fields);
        }
    }

    #[test]
    fn payloads_survive_letter_for_letter(input in arbitrary_json(), output in arbitrary_json()) {
        let mut record = rich_record();
        record.tasks[1].input = json(&input);
        record.tasks[0].output = Some(json(&output));
        let read = decode(&record, &text(&record));
        prop_assert_eq!(read.tasks[1].input.text(), input);
        prop_assert_eq!(read.tasks[0].output.as_ref().unwrap().text(), output);
        prop_assert_eq!(text(&read), text(&record));
    }
}

#[test]
fn an_older_worker_carries_a_newer_ones_fields_through_its_own_changes() {
    let mut record = rich_record();
    for place in places(&mut record) {
        place.insert("new".into(), raw("{\"b\":1180591620717411303424, \"a\":[1.50]}"));
    }
    let old = decode(&record, &text(&record));
    let mut new = old.clone();
    new.claim(lease(7), holder(7, at(400)), at(6), 1);
    new.settle(id(&new, 1), lease(1), &complete(), at(7), 0.0);
    step(&old, &mut new, at(7), 9);
    let mut read = decode(&new, &text(&new));
    let kept = places(&mut read).into_iter().filter(|place| place.contains_key("new")).count();
    // All but those of the lease that is over; the new lease has none.
    assert_eq!(kept, 9, "{}", text(&new));
}

#[test]
fn fields_may_come_in_any_order_and_known_ones_may_be_absent_or_null() {
    let record = rich_record();
    let body = text(&record);
    let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&body).unwrap();
    let backwards: Vec<_> = fields.iter().rev().map(|(name, value)| format!("{name:?}:{value}")).collect();
    assert_eq!(text(&decode(&record, &format!("{{{}}}", backwards.join(",")))), body);
    let nulls = body.replacen("\"attempt\":0", "\"started_at\":null,\"lease\":null,\"error\":null,\"attempt\":0", 1);
    assert!(nulls != body && text(&decode(&record, &nulls)) == body);
}

#[test]
fn an_output_of_null_is_an_output() {
    let mut record = rich_record();
    record.tasks[0].output = Some(json("null"));
    let read = decode(&record, &text(&record));
    assert_eq!(read.tasks[0].output.as_ref().map(buquet_core::record::Json::text), Some("null"));
    assert!(read.tasks[1].output.is_none());
}

#[test]
fn payloads_as_deep_as_every_front_can_read_and_unknown_fields_of_any_depth_are_carried() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let mut record = rich_record();
    record.tasks[1].input = json(&nested(127));
    record.tasks[0].output = Some(json(&nested(127)));
    record.tasks[0].extra.insert("new".into(), raw(&nested(50_000)));
    let read = decode(&record, &text(&record));
    assert_eq!(text(&read), text(&record));
}

#[test]
fn a_commit_finds_itself_in_the_body_also_after_others_came() {
    let mut record = rich_record();
    step(&record.clone(), &mut record, at(9), 10);
    let mark = CommitMark::read(&record.encode().unwrap()).unwrap();
    assert!(mark.is_current(commit(10)) && mark.landed(commit(10)));
    assert!(!mark.is_current(commit(3)) && mark.landed(commit(3)));
    assert!(!mark.landed(commit(99)));
    assert!(CommitMark::read(b"{}").is_none() && CommitMark::read(b"not json").is_none());
}
