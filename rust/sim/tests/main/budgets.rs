//! The published prices and times, at their published sizes.

use buquet_sim::run::{Options, Report, simulate_scenario};
use buquet_sim::scenario::Scenario;

fn run(scenario: Scenario) -> Report {
    let report = simulate_scenario(scenario, Options::default()).unwrap();
    let violations: Vec<_> = report.violations.iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "{violations:#?}");
    report
}

/// PUTs spent on the work itself: records, index entries, the bell.
fn puts(report: &Report) -> u64 {
    ["tasks", "ready", "leases", "bell.json"].iter().filter_map(|kind| report.tally.puts.get(*kind)).sum()
}

#[test]
fn a_lone_task_costs_five_puts_and_two_gets() {
    run(Scenario::lone(0));
}

#[test]
fn a_thousand_concurrent_submits_cost_a_fifth_of_a_put_each() {
    let report = run(Scenario::burst(0, 1_000));
    assert!(puts(&report) <= 200, "{} PUTs: {:?}", puts(&report), report.tally);
}

#[test]
fn ten_thousand_tasks_in_one_call_cost_a_tenth_of_a_put_each() {
    let report = run(Scenario::bulk(0, 10_000));
    assert!(puts(&report) <= 1_000, "{} PUTs: {:?}", puts(&report), report.tally);
}

#[test]
fn an_idle_worker_costs_two_dollars_a_month_and_picks_up_within_a_second() {
    run(Scenario::idle(0));
}

#[test]
fn the_tasks_of_a_dead_worker_are_back_within_a_minute() {
    for seed in 0..20 {
        let report = run(Scenario::recovery(seed));
        assert_eq!(report.events.get("crash"), Some(&1), "the first worker died");
        assert_eq!(report.happened.get("workers lost"), Some(&100), "while it held all tasks");
    }
}

#[test]
fn a_fleet_finds_its_work_soon_wherever_it_lies_and_seldom_two_find_the_same() {
    let report = run(Scenario::fleet(0, 20_000));
    assert_eq!(report.tasks, 20_017);
}
