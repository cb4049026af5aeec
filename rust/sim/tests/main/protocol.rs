//! The true protocol is clean, and every deliberately broken one is caught.

use buquet_core::broken::Variant;
use buquet_sim::fleet::Protocol;
use buquet_sim::run::{Options, Report, simulate, simulate_scenario};
use buquet_sim::scenario::Scenario;

/// Within so many seeds every broken protocol must be caught.
const BOUND: usize = 200;

fn run(seed: u64, protocol: Protocol) -> Report {
    simulate(seed, Options { protocol, trace: false }).unwrap()
}

fn complaints(report: &Report) -> String {
    let violations: Vec<_> = report.violations.iter().map(ToString::to_string).collect();
    format!("seed {}:\n{}", report.seed, violations.join("\n"))
}

/// The seeds of runs in which many submit the same few keys, and slowly.
fn keyed() -> impl Iterator<Item = u64> {
    (5..).step_by(25)
}

/// Checks that one of the rules catches the protocol in one of the first seeds, and that the true protocol passes it.
fn caught(protocol: Protocol, rules: &[&str]) {
    caught_in(0.., protocol, rules);
}

fn caught_in(seeds: impl Iterator<Item = u64>, protocol: Protocol, rules: &[&str]) {
    let broken = |seed: &u64| run(*seed, protocol).violations.iter().any(|found| rules.contains(&found.rule));
    let seed = seeds.take(BOUND).find(broken);
    assert!(seed.is_some(), "{protocol:?} was not caught in {BOUND} seeds by any of {rules:?}");
    let clean = run(seed.unwrap(), Protocol::Uniform(Variant::True));
    assert!(clean.violations.is_empty(), "the true protocol fails it too: {}", complaints(&clean));
}

#[test]
fn the_true_protocol_is_clean() {
    let mut faults = std::collections::BTreeMap::new();
    for seed in 0..100 {
        let report = run(seed, Protocol::Uniform(Variant::True));
        assert!(report.violations.is_empty(), "{}", complaints(&report));
        for (kind, count) in report.faults {
            *faults.entry(kind).or_insert(0) += count;
        }
    }
    assert_eq!(faults.len(), 10, "every kind of fault was injected: {faults:?}");
}

#[test]
fn a_reused_ready_key_is_caught() {
    caught(Protocol::Uniform(Variant::ReusedReadyKey), &["acknowledged is finished"]);
}

#[test]
fn an_index_written_after_the_commit_is_caught() {
    caught(Protocol::Uniform(Variant::IndexAfterCommit), &["acknowledged is finished"]);
}

#[test]
fn an_index_of_failed_tasks_written_after_the_commit_is_caught() {
    caught(Protocol::Uniform(Variant::FailedAfterCommit), &["dead letters ahead", "dead letters are found"]);
}

#[test]
fn a_purge_that_bars_no_commit_is_caught() {
    caught(Protocol::Uniform(Variant::UnsealedPurge), &["records stay"]);
}

#[test]
fn a_refusal_believed_without_reading_back_is_caught() {
    caught(Protocol::Uniform(Variant::NoReadBack), &["lost never overwrites"]);
}

#[test]
fn an_unfenced_completion_is_caught() {
    caught(Protocol::Uniform(Variant::UnfencedCompletion), &["ends for a reason"]);
}

#[test]
fn slots_whose_tasks_have_any_id_are_caught() {
    caught(Protocol::Uniform(Variant::ForgottenSlots), &["one task a slot"]);
}

#[test]
fn keys_whose_tasks_have_any_id_are_caught() {
    caught(Protocol::Uniform(Variant::ForgottenKeys), &["one task a key", "one task a window"]);
}

#[test]
fn a_window_left_open_behind_a_unique_submit_is_caught() {
    caught_in(keyed(), Protocol::Uniform(Variant::UnbarredWindows), &["one task a window"]);
}

#[test]
fn a_wish_that_is_only_told_is_caught() {
    caught(Protocol::Uniform(Variant::UnstoredWishes), &["called off as told"]);
}

#[test]
fn a_claim_of_what_has_expired_is_caught() {
    caught(Protocol::Uniform(Variant::LateClaims), &["legal history"]);
}

#[test]
fn a_report_of_whoever_lost_the_lease_is_caught() {
    caught(Protocol::Uniform(Variant::UnfencedProgress), &["legal history"]);
}

#[test]
fn a_park_that_ignores_that_its_task_was_woken_is_caught() {
    let report = |seed, variant| {
        let protocol = Protocol::Uniform(variant);
        simulate_scenario(Scenario::waiting(seed), Options { protocol, trace: false }).unwrap()
    };
    let lost = |seed: &u64| report(*seed, Variant::DeafPark).violations.iter().any(|it| it.rule == "no wake is lost");
    let seed = (0..20).find(lost).expect("a wake is lost in one of the first seeds");
    let clean = report(seed, Variant::True);
    assert!(clean.violations.is_empty(), "the true protocol fails it too: {}", complaints(&clean));
}

#[test]
fn tasks_that_wait_are_woken_whatever_happens() {
    let mut happened = std::collections::BTreeMap::new();
    for seed in 0..40 {
        let report = simulate_scenario(Scenario::waiting(seed), Options::default()).unwrap();
        assert!(report.violations.is_empty(), "{}", complaints(&report));
        for (kind, count) in report.happened {
            *happened.entry(kind).or_insert(0) += count;
        }
    }
    for kind in ["parked", "woken", "looked again by themselves", "parks refused"] {
        assert!(happened.get(kind).is_some_and(|count| *count > 20), "{kind}: {happened:?}");
    }
}

#[test]
fn a_payload_written_after_the_commit_is_caught() {
    caught(Protocol::Uniform(Variant::PayloadAfterCommit), &["payload ahead"]);
}

#[test]
fn expiry_by_the_local_clock_is_caught() {
    caught(Protocol::LocalClock, &["ends for a reason"]);
}
