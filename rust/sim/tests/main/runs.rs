//! Runs of workflows: the true protocol is clean, and every deliberately broken one is caught.

use buquet_core::broken::Variant;
use buquet_sim::runs::{RunsReport, simulate_runs};

/// Within so many seeds every broken protocol must be caught.
const BOUND: u64 = 60;

fn complaints(report: &RunsReport) -> String {
    let violations: Vec<_> = report.violations.iter().map(ToString::to_string).collect();
    format!("seed {}:\n{}", report.seed, violations.join("\n"))
}

fn caught(variant: Variant, rules: &[&str]) {
    let broken =
        |seed: &u64| simulate_runs(*seed, variant).unwrap().violations.iter().any(|found| rules.contains(&found.rule));
    let seed = (0..BOUND).find(broken);
    assert!(seed.is_some(), "{variant:?} was not caught in {BOUND} seeds by any of {rules:?}");
}

#[test]
fn the_true_protocol_is_clean() {
    let mut effects = 0;
    for seed in 0..40 {
        let report = simulate_runs(seed, Variant::True).unwrap();
        assert!(report.violations.is_empty(), "{}", complaints(&report));
        effects += report.effects;
    }
    assert!(effects > 100, "{effects} steps were run");
}

#[test]
fn the_same_seed_is_the_same_trace() {
    let [one, two] = [0, 0].map(|_| simulate_runs(7, Variant::True).unwrap().fingerprint);
    assert_eq!(one, two);
}

#[test]
fn effects_before_their_round_is_stored_are_caught() {
    caught(Variant::EarlyEffects, &["starts are stored first"]);
}

#[test]
fn a_cursor_over_signals_is_caught() {
    caught(Variant::SignalCursor, &["nothing is stuck"]);
}

#[test]
fn a_name_of_a_result_that_is_used_again_is_caught() {
    caught(Variant::ReusedResultName, &["results are what was returned"]);
}

#[test]
fn a_client_that_appends_to_the_journal_is_caught() {
    caught(
        Variant::ClientAppends,
        &["a signal is consumed once", "only a holder appends", "the journal only grows", "all replays agree"],
    );
}

#[test]
fn a_record_that_is_deleted_first_is_caught() {
    caught(Variant::RecordFirst, &["a prune leaves nothing"]);
}

#[test]
fn a_park_that_ignores_a_wake_is_caught() {
    caught(Variant::DeafPark, &["nothing is stuck"]);
}
