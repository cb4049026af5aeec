//! Bodies that are no record of ours: refused with an error that names the key, never a panic.

use buquet_core::Error;
use buquet_core::broken::Variant;
use buquet_core::keys;
use buquet_core::record::{BatchRecord, Fall, plan_index};
use proptest::prelude::*;

use super::story::*;

fn read(body: &[u8]) -> Result<BatchRecord, Error> {
    BatchRecord::decode(&keys::record(shared_record().id), body)
}

fn assert_corrupt(body: &[u8], why: &str) {
    let key = keys::record(shared_record().id);
    match read(body) {
        Err(Error::Corrupt(message)) => assert!(message.contains(&key), "{why}: {message}"),
        other => panic!("{why}: {other:?}"),
    }
}

/// The body of a good record with one piece of it replaced.
fn with(from: &str, to: &str) -> Vec<u8> {
    let body = text(&shared_record());
    assert!(body.contains(from), "{from} is not in {body}");
    body.replacen(from, to, 1).into_bytes()
}

#[test]
fn what_is_not_a_record_is_corrupt() {
    for body in [
        "",
        " ",
        "null",
        "[]",
        "1",
        "\"text\"",
        "{}",
        "not json",
        "{\"format\":1}",
        "{\"format\":\"1\"}",
        "{\"format\":-1}",
    ] {
        assert_corrupt(body.as_bytes(), body);
    }
    assert_corrupt(b"\xff\xfe{}", "no UTF-8");
    assert_corrupt(&with("\"type\":\"t\"", "\"type\":\"\u{0}\""), "a raw control character");
    assert_corrupt(&[text(&shared_record()).as_bytes(), b"x"].concat(), "more after the end");
    let deep = "[".repeat(1_000_000);
    assert_corrupt(deep.as_bytes(), "brackets without end");
    assert_corrupt(&with("\"input\":0", &format!("\"input\":{deep}")), "an input without end");
}

#[test]
fn a_field_that_is_missing_or_of_another_kind_is_corrupt() {
    let table = [
        ("\"id\":", "\"di\":"),
        ("\"type\":\"t\"", "\"type\":7"),
        ("\"options\":{", "\"options\":[],\"x\":{"),
        ("\"timeout_ms\":300000", "\"timeout_ms\":-1"),
        ("\"priority\":5", "\"priority\":5.5"),
        ("\"max_retries\":2", "\"max_retries\":4294967296"),
        ("\"multiplier\":2.0", "\"multiplier\":\"2\""),
        ("\"created_at\":\"20", "\"created_at\":\"x20"),
        ("\"rev\":2", "\"rev\":\"2\""),
        ("\"commit\":\"00", "\"commit\":\"0x"),
        ("\"leases\":{\"00", "\"leases\":{\"xx"),
        ("\"tasks\":[", "\"tasks\":[null,"),
        ("\"status\":\"pending\"", "\"status\":\"sleeping\""),
        ("\"attempt\":0", "\"attempt\":-1"),
        ("\"input\":3,", ""),
        ("\"ready\":{", "\"ready\":7,\"x\":{"),
    ];
    for (from, to) in table {
        assert_corrupt(&with(from, to), to);
    }
}

#[test]
fn a_record_that_contradicts_itself_is_corrupt() {
    let table = [
        ("\"n\":3", "\"n\":9", "tasks out of order"),
        ("\"status\":\"running\"", "\"status\":\"pending\"", "pending under a lease"),
        ("\"status\":\"pending\"", "\"status\":\"running\"", "running without a lease"),
        ("\"status\":\"pending\"", "\"status\":\"completed\"", "a ready entry for nothing"),
        ("\"lease\":\"0000000000000002\"", "\"lease\":\"0000000000000001\"", "a lease without a task"),
        ("\"lease\":\"0000000000000002\"", "\"lease\":\"0000000000000009\"", "a lease that is not listed"),
        ("\"pending\":4}", "\"pending\":4},\"ready\":null", "pending without a ready entry"),
        ("\"seq\":1,\"ready\"", "\"seq\":0,\"ready\"", "a ready entry from the future"),
        ("\"rev\":2", "\"rev\":18446744073709551615", "a revision nobody can have counted to"),
        ("\"seq\":1,\"ready\"", "\"seq\":9007199254740992,\"ready\"", "a number nobody can have counted to"),
    ];
    for (from, to, why) in table {
        assert_corrupt(&with(from, to), why);
    }
}

#[test]
fn a_record_under_the_key_of_another_is_corrupt() {
    let record = shared_record();
    let body = record.encode().unwrap();
    let key = keys::record(record.id);
    for wrong in [key.replace("tasks/", "leases/"), key.replace(".json", ""), key.replacen('/', "/0", 1), String::new()]
    {
        match BatchRecord::decode(&wrong, &body) {
            Err(Error::Corrupt(message)) => {
                assert!(message.starts_with(&wrong) && message.contains(&record.id.to_string()), "{message}");
            }
            other => panic!("{wrong}: {other:?}"),
        }
    }
}

#[test]
fn a_newer_format_asks_for_an_upgrade_whatever_else_is_in_it() {
    let key = keys::record(shared_record().id);
    let bodies = [
        with("\"format\":1", "\"format\":5"),
        b"{\"format\":4000000000,\"tasks\":{}}".to_vec(),
        b"{\"format\":5}".to_vec(),
    ];
    for body in bodies {
        match read(&body) {
            Err(Error::Layout(message)) => assert!(message.contains(&key) && message.contains("upgrade"), "{message}"),
            other => panic!("{other:?}"),
        }
    }
}

/// What a worker does to a record it can read, whatever is in it.
fn work_on(mut record: BatchRecord) {
    let leases: Vec<_> = record.leases.keys().copied().collect();
    for (n, held) in leases.into_iter().enumerate() {
        let old = record.clone();
        record.fall(held, if n % 2 == 0 { Fall::Expired } else { Fall::WorkerLost }, at(400), 0.5);
        plan_index(&old, &mut record, at(400), Variant::True);
        record.stamp(commit(70));
    }
    let old = record.clone();
    record.claim(lease(77), holder(7, at(900)), at(500), 9);
    plan_index(&old, &mut record, at(500), Variant::True);
    record.stamp(commit(71));
    assert_eq!(record.check(), Ok(()));
    let body = record.encode().unwrap();
    assert!(BatchRecord::decode(&keys::record(record.id), &body).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_damaged_body_is_refused_or_can_be_worked_on(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..4), 1..4),
    ) {
        let mut body = text(&shared_record()).into_bytes();
        for (place, byte, kind) in damage {
            let place = place.index(body.len());
            match kind {
                0 => body[place] = byte,
                1 => body[place] = b"0123456789-+.eE\"{}[],:"[usize::from(byte) % 22],
                2 => body.insert(place, b'0' + byte % 10),
                _ => { body.remove(place); }
            }
        }
        match read(&body) {
            Ok(record) => work_on(record),
            Err(Error::Corrupt(_) | Error::Layout(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn any_bytes_are_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(matches!(read(&body), Err(Error::Corrupt(_))));
    }

    #[test]
    fn a_body_cut_short_is_corrupt(place in any::<prop::sample::Index>()) {
        let body = text(&shared_record()).into_bytes();
        prop_assert!(matches!(read(&body[..place.index(body.len())]), Err(Error::Corrupt(_))));
    }
}
