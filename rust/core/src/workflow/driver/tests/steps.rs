//! Steps: what is started when, what is counted, and what becomes of attempts that bring nothing.

use super::super::super::entry::What;
use super::super::super::samples::{ask, cancel, step};
use super::*;

fn once(name: &str) -> Entry {
    Entry::Ask(ask(0, name, 0, What::Step(StepAsk { at_most_once: true, ..StepAsk::default() })))
}

fn pausing(name: &str) -> Entry {
    let retry = Some(crate::record::RetryPolicy { max_retries: 0, ..crate::record::RetryPolicy::default() });
    Entry::Ask(ask(0, name, 0, What::Step(StepAsk { on_failure: Some(OnFailure::Pause), retry, ..StepAsk::default() })))
}

#[test]
fn a_start_is_counted_by_the_commit_before_it() {
    let mut stage = Stage::new();
    let turn = Turn { entries: vec![said(step(0, "a"))], ..Turn::default() };
    let round = stage.driver.advance(turn, Millis(0)).unwrap().unwrap();
    assert!(stage.stored.open.is_empty(), "nothing is stored, and nothing started");
    stage.store(&round);
    assert_eq!((stage.stored.open[&0].attempt, stage.stored.open[&0].started), (1, true));
    assert_eq!(stage.driver.committed(false).unwrap().start, [Start { op: 0, attempt: 1 }]);
}

#[test]
fn the_last_step_and_the_end_of_the_run_are_one_commit() {
    let mut stage = Stage::new();
    let start = stage.ask(vec![step(0, "a")]).start[0];
    stage.complete(start);
    assert!(stage.at(5).look().round);
    assert_eq!(stage.news(), ["0 completed"]);
    stage.tell_and(vec![], returned("42"));
    assert!(stage.over && stage.status() == RunStatus::Completed);
    assert_eq!(entries(&stage.stored).len(), 2);
    assert!(stage.driver.advance(Turn::default(), Millis(6)).is_err());
}

#[test]
fn an_end_and_the_next_start_are_one_commit() {
    let mut stage = Stage::new();
    let first = stage.ask(vec![step(0, "a")]).start[0];
    stage.complete(first);
    stage.look();
    let after = stage.tell(vec![step(0, "b")]);
    assert_eq!(after.start, [Start { op: 2, attempt: 1 }]);
    assert_eq!(stage.stored.open.keys().collect::<Vec<_>>(), [&2]);
}

#[test]
fn what_ends_during_a_commit_goes_into_the_next_round() {
    let mut stage = Stage::new();
    let starts = stage.ask(vec![step(0, "a"), step(0, "b"), step(0, "c")]).start;
    stage.complete(starts[0]);
    stage.look();
    let turn = Turn { entries: stage.delivered(), ..Turn::default() };
    let round = stage.driver.advance(turn, Millis(1)).unwrap().unwrap();
    stage.complete(starts[1]);
    stage.complete(starts[2]);
    assert!(stage.look().told.is_empty() && !stage.next.round, "while a round is committed nothing is told");
    stage.commit(&round);
    stage.look();
    assert_eq!(stage.news(), ["1 completed", "2 completed"], "a fan-out is committed in groups");
}

#[test]
fn results_are_told_in_the_order_in_which_they_came() {
    let mut stage = Stage::new();
    let starts = stage.ask(vec![step(0, "slow"), step(0, "fast"), step(0, "mid")]).start;
    for n in [1, 2, 0] {
        stage.complete(starts[n]);
    }
    stage.look();
    assert_eq!(stage.news(), ["1 completed", "2 completed", "0 completed"]);
}

#[test]
fn a_failed_attempt_is_tried_again_when_its_back_off_is_over() {
    let mut stage = Stage::new();
    let start = stage.ask(vec![step(0, "a")]).start[0];
    assert_eq!(stage.at(1_000).fail(start), Reported::Again(Millis(1_800)));
    assert!(stage.look().round, "the failure is noted");
    assert!(stage.turn(vec![], None).start.is_empty());
    assert!(!stage.parked, "so short a wait is waited for in place");
    assert_eq!(stage.at(1_001).look().again_at, Some(Millis(1_800)));
    assert!(stage.at(1_800).look().round);
    assert_eq!(stage.turn(vec![], None).start, [Start { op: 0, attempt: 2 }]);
}

#[test]
fn a_long_back_off_parks_until_it_is_over_and_survives_a_crash() {
    let mut stage = Stage::new();
    let start = stage.ask(vec![step(0, "a")]).start[0];
    let again = Again { retryable: true, at: Some(Millis(60_000)) };
    let report = Report::Failed { error: Fault::new("E", String::new()), again };
    stage.driver.report(start.op, start.attempt, report, Millis(0), 0.0).unwrap();
    let round = stage.driver.advance(Turn::default(), Millis(0)).unwrap().unwrap();
    assert_eq!(round.park, Some(Park { until: Some(Millis(60_000)) }));
    stage.commit(&round);
    assert_eq!(stage.status(), RunStatus::Waiting);
    stage.reopen(false).at(60_000).look();
    assert_eq!(stage.turn(vec![], None).start, [Start { op: 0, attempt: 2 }]);
    assert_eq!((stage.stored.open[&0].failures, stage.status()), (1, RunStatus::Running));
}

#[test]
fn members_of_a_fan_out_that_are_retried_finish_with_all_of_their_attempts() {
    let mut stage = Stage::new();
    let mut starts = stage.ask(vec![step(0, "a"), step(0, "b"), step(0, "c")]).start;
    stage.complete(starts.remove(0));
    for _ in 0..2 {
        for start in &starts {
            stage.fail(*start);
        }
        stage.look();
        stage.tell(vec![]);
        let later = stage.now + 10_000;
        stage.reopen(false).at(later).look();
        starts = stage.turn(vec![], None).start;
    }
    assert_eq!(starts, [Start { op: 1, attempt: 3 }, Start { op: 2, attempt: 3 }]);
    for start in starts {
        stage.complete(start);
    }
    stage.look();
    assert_eq!(stage.news(), ["1 completed", "2 completed"]);
}

#[test]
fn after_a_crash_a_step_that_was_started_is_started_again_and_its_late_report_is_dropped() {
    let mut stage = Stage::new();
    let first = stage.ask(vec![step(0, "a")]).start[0];
    stage.reopen(false);
    assert!(stage.look().round);
    let second = stage.turn(vec![], None).start[0];
    assert_eq!(second, Start { op: 0, attempt: 2 });
    assert_eq!(stage.complete(first), Reported::Dropped);
    assert_eq!(stage.complete(second), Reported::Taken);
    assert_eq!(stage.complete(second), Reported::Dropped, "nor twice");
}

#[test]
fn a_step_that_kills_its_worker_fails_after_its_starts_and_the_body_is_told() {
    let mut stage = Stage::new();
    stage.ask(vec![step(0, "a")]);
    for _ in 0..3 {
        stage.reopen(false).look();
        assert!(stage.next.told.is_empty());
        stage.turn(vec![], None);
    }
    stage.reopen(false).look();
    let News::Ended { end, .. } = &stage.next.told[0].news else { unreachable!() };
    assert_eq!((end.attempts, end.error.as_ref().unwrap().kind.as_str()), (4, "WorkerLost"));
}

#[test]
fn a_step_that_runs_at_most_once_is_not_started_again_after_a_crash() {
    let mut stage = Stage::new();
    stage.ask(vec![once("pay")]);
    stage.reopen(false).look();
    assert_eq!(stage.news(), ["0 failed"]);
}

#[test]
fn a_drain_gives_steps_back_and_nothing_is_counted() {
    let mut stage = Stage::new();
    let start = stage.ask(vec![once("pay")]).start[0];
    stage.driver.report(start.op, start.attempt, Report::Released, Millis(0), 0.0).unwrap();
    let round = stage.driver.advance(Turn::default(), Millis(0)).unwrap().unwrap();
    stage.store(&round);
    let open = &stage.stored.open[&0];
    assert_eq!((open.interruptions, open.failures, open.released), (0, 0, 1));
}

#[test]
fn a_commit_whose_fate_is_not_known_starts_nothing() {
    let mut stage = Stage::new();
    let turn = Turn { entries: vec![said(step(0, "a"))], ..Turn::default() };
    let round = stage.driver.advance(turn, Millis(0)).unwrap().unwrap();
    stage.store(&round);
    stage.driver.lost();
    assert!(matches!(stage.driver.committed(false), Err(Error::LeaseLost(_))));
    assert!(stage.look().lost && stage.next.told.is_empty());
    assert!(matches!(stage.driver.advance(Turn::default(), Millis(0)), Err(Error::LeaseLost(_))));
    assert_eq!(stage.complete(Start { op: 0, attempt: 1 }), Reported::Dropped);
    stage.reopen(false);
    assert_eq!(stage.driver.run().open[&0].interruptions, 1, "whether it ran is not known");
}

#[test]
fn a_round_made_from_another_state_is_refused() {
    let mut stage = Stage::new();
    let turn = |name| Turn { entries: vec![said(step(0, name))], ..Turn::default() };
    let outdated = stage.driver.advance(turn("a"), Millis(0)).unwrap().unwrap();
    stage.reopen(false);
    stage.ask(vec![step(0, "b")]);
    let before = text(&stage.stored);
    assert!(matches!(outdated.apply(&mut stage.stored), Err(Error::LeaseLost(_))));
    assert_eq!(text(&stage.stored), before);
}

#[test]
fn what_is_no_legal_continuation_changes_nothing() {
    let mut stage = Stage::new();
    let start = stage.ask(vec![step(0, "a")]).start[0];
    stage.complete(start);
    stage.look();
    let told = || stage_told(0);
    for entries in [
        vec![said(step(0, "b")), said(step(0, "b"))],
        vec![told(), told()],
        vec![stage_told(7)],
        vec![told(), said(cancel(0, 0))],
        vec![said(step(0, "../b"))],
    ] {
        let turn = Turn { entries, ..Turn::default() };
        assert!(matches!(stage.driver.advance(turn, Millis(1)), Err(Error::Invalid(_))));
    }
    assert_eq!(stage.driver.ledger().entries().len(), 1);
    stage.tell(vec![step(0, "b")]);
    assert_eq!(entries(&stage.stored).len(), 3);
}

fn stage_told(op: Op) -> Said {
    Said::Told(Some(Kind::Step), Some(op))
}

#[test]
fn a_body_that_waits_for_nothing_is_refused() {
    let mut stage = Stage::new();
    let start = stage.ask(vec![step(0, "a")]).start[0];
    stage.complete(start);
    stage.look();
    let turn = Turn { entries: stage.delivered(), ..Turn::default() };
    let message = stage.driver.advance(turn, Millis(1)).unwrap_err().to_string();
    assert!(message.contains("waits for nothing"), "{message}");
    stage.tell_and(vec![], raised());
    assert_eq!(stage.status(), RunStatus::Failed);
}

#[test]
fn a_body_that_ends_early_is_not_given_the_rest() {
    let mut stage = Stage::new();
    let starts = stage.ask(vec![step(0, "a"), step(0, "b")]).start;
    stage.complete(starts[0]);
    stage.complete(starts[1]);
    stage.look();
    stage.turn(vec![stage_told(0)], returned("1"));
    assert_eq!(entries(&stage.stored).len(), 3);
    assert!(stage.over);
}

#[test]
fn a_step_that_was_called_off_is_closed_and_its_result_dropped() {
    let mut stage = Stage::new();
    let starts = stage.ask(vec![step(0, "winner"), step(0, "loser")]).start;
    stage.complete(starts[0]);
    stage.look();
    stage.tell(vec![cancel(0, 1), step(0, "next")]);
    assert_eq!(stage.complete(starts[1]), Reported::Dropped);
    assert_eq!(stage.stored.open.keys().collect::<Vec<_>>(), [&4]);
}

#[test]
fn a_result_that_came_before_its_step_was_called_off_is_dropped_too() {
    let mut stage = Stage::new();
    let starts = stage.ask(vec![step(0, "winner"), step(0, "loser")]).start;
    stage.complete(starts[0]);
    stage.look();
    let turn = Turn {
        entries: stage.delivered().into_iter().chain([Said::Cancel(1), said(step(0, "x"))]).collect(),
        ..Turn::default()
    };
    stage.complete(starts[1]);
    let round = stage.driver.advance(turn, Millis(1)).unwrap().unwrap();
    stage.commit(&round);
    assert!(stage.look().told.is_empty());
}

#[test]
fn what_the_body_called_off_in_the_same_round_is_passed_over() {
    let mut stage = Stage::new();
    let starts = stage.ask(vec![step(0, "a"), step(0, "b"), step(0, "c")]).start;
    for start in starts {
        stage.complete(start);
    }
    stage.look();
    assert_eq!(stage.news(), ["0 completed", "1 completed", "2 completed"]);
    stage.turn(vec![stage_told(0), Said::Cancel(1), stage_told(2)], returned("1"));
    let told = entries(&stage.stored).iter().filter(|entry| matches!(&***entry, Entry::Told(_))).count();
    assert_eq!((told, stage.over), (2, true));
}

#[test]
fn the_end_does_not_wait_for_steps_that_still_run_and_says_which() {
    let mut stage = Stage::new();
    let starts = stage.ask(vec![step(0, "a"), step(0, "slow")]).start;
    stage.complete(starts[0]);
    stage.look();
    assert_eq!(stage.tell_and(vec![], returned("1")).stop, [1]);
    assert!(stage.over);
}

#[test]
fn a_failure_that_pauses_holds_the_run_until_a_resume_runs_the_step_again() {
    let mut stage = Stage::new();
    let starts = stage.ask(vec![pausing("a"), step(0, "b")]).start;
    stage.fail(starts[0]);
    assert!(stage.look().told.is_empty(), "the body is not told");
    stage.turn(vec![], None);
    assert_eq!(stage.status(), RunStatus::Paused);
    assert_eq!(stage.stored.pause.as_ref().unwrap().op, Some(0));
    stage.complete(starts[1]);
    stage.look();
    stage.turn(vec![], None);
    assert!(stage.parked, "what ran has ended, and is kept");
    stage.wish(WishKind::Resume);
    stage.reopen(true).look();
    assert_eq!(stage.news(), ["1 completed"]);
    let start = stage.tell(vec![]).start[0];
    assert_eq!((start, stage.status()), (Start { op: 0, attempt: 2 }, RunStatus::Running));
    stage.complete(start);
    stage.look();
    stage.tell_and(vec![], returned("1"));
    assert_eq!(stage.status(), RunStatus::Completed);
}

#[test]
fn a_long_run_keeps_its_record_small_and_is_read_back() {
    let mut stage = Stage::new();
    let mut start = stage.ask(vec![step(0, "s0")]).start[0];
    for n in 1..600 {
        stage.complete(start);
        stage.at(n).look();
        start = stage.tell(vec![step(0, &format!("s{n}"))]).start[0];
    }
    assert!(stage.objects.len() > 4 && text(&stage.stored).len() < 40_000);
    stage.reopen(false);
    assert_eq!(stage.driver.ledger().entries().len(), 1_199);
}

#[test]
fn ten_thousand_steps_leave_a_small_record_and_are_read_back() {
    let mut stage = Stage::new();
    let mut start = stage.ask(vec![step(0, "s0")]).start[0];
    for n in 1..10_000 {
        stage.complete(start);
        stage.at(n).look();
        start = stage.tell(vec![step(0, &format!("s{n}"))]).start[0];
    }
    assert!(text(&stage.stored).len() < 64 * 1024);
    assert_eq!(stage.reopen(false).driver.ledger().entries().len(), 19_999);
}

#[test]
fn at_most_a_thousand_steps_are_started_at_a_time() {
    let mut stage = Stage::new();
    let starts = stage.ask((0..1_200).map(|n| step(0, &format!("s{n}"))).collect()).start;
    assert_eq!(starts.len(), 1_000);
    stage.complete(starts[0]);
    stage.complete(starts[1]);
    stage.look();
    let more: Vec<Op> = stage.tell(vec![]).start.iter().map(|start| start.op).collect();
    assert_eq!(more, [1_000, 1_001]);
}

#[test]
fn patches_answer_once_and_published_values_are_bounded() {
    let mut stage = Stage::new();
    let turn = |answer| Turn {
        patches: BTreeMap::from([("new-price".into(), answer)]),
        entries: vec![said(step(0, &format!("s{answer}")))],
        ..Turn::default()
    };
    let round = stage.driver.advance(turn(true), Millis(0)).unwrap().unwrap();
    stage.commit(&round);
    assert!(stage.stored.patches["new-price"]);
    assert!(stage.driver.advance(turn(false), Millis(0)).unwrap_err().to_string().contains("answered true before"));
    let large = json(&format!("\"{}\"", "x".repeat(70_000)));
    let turn = Turn { published: BTreeMap::from([("log".into(), large)]), ..Turn::default() };
    assert!(stage.driver.advance(turn, Millis(0)).unwrap_err().to_string().contains("publishes"));
}
