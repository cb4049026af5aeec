//! Timers, signals, selects and callbacks.

use super::super::super::entry::Arm;
use super::super::super::samples::{callback, select, signal, step, timer};
use super::*;

fn race() -> Entry {
    select(0, 0, &[("ok", Arm::Signal("go".into())), ("late", Arm::Timer(Millis(50_000)))])
}

fn races(n: u32) -> Entry {
    select(0, n, &[("ok", Arm::Signal("go".into())), ("late", Arm::Timer(Millis(50_000)))])
}

#[test]
fn a_sleep_parks_until_its_time_and_is_told_once() {
    let mut stage = Stage::new();
    let round = stage.driver.advance(Turn { entries: vec![said(timer(0, 0, 90_000))], ..Turn::default() }, Millis(0));
    let round = round.unwrap().unwrap();
    assert_eq!(round.park, Some(Park { until: Some(Millis(90_000)) }));
    stage.commit(&round);
    assert_eq!(stage.status(), RunStatus::Waiting);
    stage.reopen(false).at(90_000).look();
    assert_eq!(stage.news(), ["0 timer"]);
    stage.tell(vec![step(0, "a")]);
    stage.reopen(false).at(200_000).look();
    assert!(stage.next.told.is_empty(), "not a second time");
}

#[test]
fn a_short_sleep_is_waited_for_in_place_and_is_an_entry_all_the_same() {
    let mut stage = Stage::new();
    stage.ask(vec![timer(0, 0, 500)]);
    assert!(!stage.parked);
    assert_eq!(stage.look().again_at, Some(Millis(500)));
    assert!(!stage.next.round);
    stage.at(500).look();
    stage.tell_and(vec![], returned("1"));
    assert_eq!(entries(&stage.stored).len(), 2);
}

#[test]
fn a_driver_that_is_woken_for_nothing_parks_again() {
    let mut stage = Stage::new();
    stage.ask(vec![timer(0, 0, 90_000)]);
    stage.reopen(false).at(1_000);
    assert!(stage.look().round);
    stage.turn(vec![], None);
    assert!(stage.parked);
}

#[test]
fn a_park_that_met_a_wake_looks_again() {
    let mut stage = Stage::new();
    let turn = Turn { entries: vec![said(signal(0, "go", 0, None))], ..Turn::default() };
    let round = stage.driver.advance(turn, Millis(0)).unwrap().unwrap();
    assert!(round.park.is_some());
    stage.store(&round);
    stage.driver.committed(false).unwrap();
    assert!(stage.look().look, "a signal may have come between the look and the park");
    stage.send(vec![sent("go", 1)]);
    assert_eq!(stage.news(), ["0 signal 1"]);
}

#[test]
fn timers_fire_in_the_order_of_their_times() {
    let mut stage = Stage::new();
    stage.ask(vec![timer(0, 0, 300), timer(0, 1, 100), timer(0, 2, 200)]);
    stage.at(400).look();
    assert_eq!(stage.news(), ["1 timer", "2 timer", "0 timer"]);
}

#[test]
fn a_signal_sent_before_anybody_waits_is_not_missed() {
    let mut stage = Stage::new();
    stage.driver.woken();
    let start = stage.ask(vec![step(0, "a")]).start[0];
    assert!(!stage.look().look, "nobody waits for it yet");
    stage.complete(start);
    stage.look();
    stage.tell(vec![signal(0, "go", 0, Some(90_000))]);
    assert!(!stage.parked && stage.look().look);
    stage.send(vec![sent("go", 1)]);
    assert_eq!(stage.news(), ["0 signal 1".replace('0', "2")]);
}

#[test]
fn a_signal_that_lies_unread_is_remembered_by_the_next_driver() {
    let mut stage = Stage::new();
    stage.driver.woken();
    stage.ask(vec![signal(0, "other", 0, None)]);
    stage.look();
    stage.send(vec![sent("go", 1)]);
    stage.turn(vec![], None);
    assert!(stage.stored.unread && stage.parked);
    stage.reopen(false);
    assert!(stage.look().look, "although nobody has woken it");
}

#[test]
fn names_that_nobody_waited_for_are_looked_for_once_somebody_does() {
    let mut stage = Stage::new();
    stage.driver.woken();
    stage.ask(vec![signal(0, "go", 0, None), timer(0, 0, 90_000)]);
    let others = || Inbox { others: true, ..Inbox::default() };
    stage.arrive(Arrived { inbox: Some(others()), ..Arrived::default() });
    assert!(!stage.next.look, "it was looked for go");
    stage.turn(vec![], None);
    assert!(stage.parked && stage.stored.unread);
    stage.reopen(false).at(90_000).look();
    stage.arrive(Arrived { inbox: Some(others()), ..Arrived::default() });
    stage.tell(vec![signal(0, "other", 0, None)]);
    assert!(!stage.parked && stage.look().look, "and now for the other");
    assert_eq!(stage.driver.awaited().into_iter().collect::<Vec<_>>(), ["go", "other"]);
    stage.send(vec![sent("other", 3)]);
    assert_eq!(stage.news(), ["3 signal 3"]);
}

#[test]
fn more_than_can_be_read_at_once_is_looked_for_when_that_is_used_up() {
    let mut stage = Stage::new();
    stage.driver.woken();
    stage.ask(vec![signal(0, "go", 0, None)]);
    let more = BTreeSet::from(["go".to_owned()]);
    let inbox = Inbox { signals: vec![sent("go", 1)], more, others: false };
    stage.arrive(Arrived { inbox: Some(inbox), ..Arrived::default() });
    stage.tell(vec![signal(0, "go", 1, None)]);
    assert!(stage.look().look);
    stage.send(vec![]);
    assert!(!stage.next.look);
}

#[test]
fn a_wake_that_a_lost_driver_had_taken_is_not_lost_with_it() {
    let mut stage = Stage::new();
    stage.ask(vec![signal(0, "go", 0, None), step(0, "a")]);
    stage.driver.woken();
    stage.reopen(false);
    assert!(stage.look().look);
}

#[test]
fn a_wait_does_not_time_out_before_the_inbox_was_looked_at() {
    let mut stage = Stage::new();
    stage.ask(vec![signal(0, "go", 0, Some(50_000))]);
    stage.reopen(true).at(60_000).look();
    assert!(stage.next.look && stage.next.told.is_empty());
    stage.send(vec![sent("go", 49_999)]);
    assert_eq!(stage.news(), ["0 signal 49999"]);
}

#[test]
fn a_wait_whose_time_is_up_says_so_and_a_later_signal_stays_unread() {
    let mut stage = Stage::new();
    stage.ask(vec![signal(0, "go", 0, Some(50_000))]);
    stage.reopen(false).at(50_000).look();
    assert_eq!(stage.news(), ["0 too late"]);
    stage.tell(vec![step(0, "a")]);
    stage.driver.woken();
    assert!(stage.look().told.is_empty());
}

#[test]
fn signals_are_taken_in_order_one_for_each_wait_and_their_objects_deleted_afterwards() {
    let mut stage = Stage::new();
    stage.driver.woken();
    let turn = Turn { entries: (0..3).map(|n| said(signal(0, "go", n, None))).collect(), ..Turn::default() };
    let round = stage.driver.advance(turn, Millis(0)).unwrap().unwrap();
    stage.commit(&round);
    stage.send(vec![sent("go", 9), sent("go", 7), sent("go", 8), sent("go", 10)]);
    assert_eq!(stage.news(), ["0 signal 7", "1 signal 8", "2 signal 9"]);
    let after = stage.tell_and(vec![], returned("1"));
    assert_eq!(after.delete, ["go/000000007_x", "go/000000008_x", "go/000000009_x"]);
    assert_eq!(stage.stored.consumed.len(), 3);
}

#[test]
fn a_signal_for_a_wait_that_was_called_off_in_the_same_round_stays_unread() {
    let mut stage = Stage::new();
    let start = stage.ask(vec![step(0, "a"), signal(0, "go", 0, None)]).start[0];
    stage.complete(start);
    stage.driver.woken();
    stage.send(vec![sent("go", 1)]);
    assert_eq!(stage.news(), ["0 completed", "1 signal 1"]);
    let asks = vec![Said::Told(Some(Kind::Step), Some(0)), Said::Cancel(1), said(signal(0, "go", 1, None))];
    assert!(stage.turn(asks, None).delete.is_empty());
    assert!(stage.look().told.iter().map(short).eq(["4 signal 1"]));
}

#[test]
fn a_signal_is_consumed_by_one_recorded_wait_wherever_a_driver_crashes() {
    let waits = |n| signal(0, "go", n, None);
    let mut stage = Stage::new();
    stage.driver.woken();
    stage.ask(vec![waits(0)]);
    stage.send(vec![sent("go", 1)]);
    assert_eq!(stage.news(), ["0 signal 1"]);
    // Before the commit: nothing is consumed.
    stage.reopen(true);
    stage.send(vec![sent("go", 1)]);
    assert_eq!(stage.news(), ["0 signal 1"]);
    stage.tell(vec![waits(1)]);
    // After the commit, and before its object is deleted: it is known.
    stage.reopen(true);
    let next = stage.send(vec![sent("go", 1), sent("go", 2)]);
    assert_eq!(next.delete, ["go/000000001_x"]);
    assert_eq!(stage.news(), ["2 signal 2"]);
}

#[test]
fn nothing_is_deleted_before_the_round_that_consumes_it_is_stored() {
    let mut stage = Stage::new();
    stage.driver.woken();
    stage.ask(vec![signal(0, "go", 0, None)]);
    stage.send(vec![sent("go", 1)]);
    let turn = Turn { entries: stage.delivered(), end: returned("1"), ..Turn::default() };
    let round = stage.driver.advance(turn, Millis(1)).unwrap().unwrap();
    assert!(stage.send(vec![sent("go", 1)]).delete.is_empty());
    assert_eq!(stage.commit(&round).delete, ["go/000000001_x"]);
}

#[test]
fn at_most_a_hundred_signals_enter_in_one_round() {
    let mut stage = Stage::new();
    stage.driver.woken();
    stage.ask((0..150).map(|n| signal(0, "go", n, None)).collect());
    stage.send((0..150).map(|n| sent("go", n)).collect());
    assert_eq!(stage.next.told.len(), 100);
    stage.tell(vec![]);
    assert!(!stage.parked, "there is more to tell");
    assert_eq!(stage.look().told.len(), 50);
}

#[test]
fn a_select_has_one_winner_and_nothing_of_the_losers_is_left() {
    let mut stage = Stage::new();
    stage.ask(vec![race()]);
    stage.reopen(true);
    stage.send(vec![sent("go", 1)]);
    assert_eq!(stage.news(), ["0 ok"]);
    stage.tell(vec![timer(0, 0, 500_000)]);
    let round = stage.driver.next(Millis(50_000), Arrived::default()).unwrap();
    assert!(round.told.is_empty() && stage.driver.run().open.len() == 1, "its timer is gone");
}

#[test]
fn a_signal_wins_twice_and_then_the_shared_time() {
    let mut stage = Stage::new();
    stage.ask(vec![races(0)]);
    for turn in 0..2 {
        stage.reopen(true).at(10_000 * i64::from(turn + 1));
        let at = stage.now;
        stage.send(vec![sent("go", at)]);
        assert_eq!(stage.news(), [format!("{} ok", turn * 2)]);
        stage.tell(vec![races(turn + 1)]);
    }
    stage.reopen(false).at(50_000).look();
    assert_eq!(stage.news(), ["4 late"]);
}

#[test]
fn a_signal_that_becomes_visible_late_comes_after_the_timer_and_is_not_lost() {
    let mut stage = Stage::new();
    stage.ask(vec![race()]);
    stage.reopen(false).at(50_000).look();
    assert_eq!(stage.news(), ["0 late"]);
    stage.tell(vec![signal(0, "go", 0, None)]);
    stage.reopen(true);
    stage.send(vec![sent("go", 49_000)]);
    assert_eq!(stage.news(), ["2 signal 49000"]);
    assert!(stage.next.told[0].at >= Millis(50_000), "time never goes back");
}

#[test]
fn a_select_over_steps_is_won_by_the_first_to_end_and_the_other_goes_on() {
    let mut stage = Stage::new();
    let arms = [("a", Arm::Op(0)), ("b", Arm::Op(1))];
    let starts = stage.ask(vec![step(0, "a"), step(0, "b"), select(0, 0, &arms)]).start;
    stage.complete(starts[1]);
    stage.complete(starts[0]);
    stage.look();
    assert_eq!(stage.news(), ["1 completed", "2 b", "0 completed"]);
    stage.tell(vec![select(0, 1, &arms)]);
    stage.look();
    assert_eq!(stage.news(), ["6 a"], "what has ended wins at once");
}

#[test]
fn a_clock_that_goes_back_does_not_take_the_journal_back() {
    let mut stage = Stage::new();
    stage.at(10_000).ask(vec![timer(0, 0, 20_000)]);
    stage.reopen(false).at(20_000).look();
    stage.tell(vec![timer(0, 1, 30_000)]);
    stage.reopen(true).at(5_000);
    stage.wish(WishKind::Cancel);
    stage.find_wishes();
    assert_eq!(stage.news(), ["cancel"]);
    assert_eq!(stage.next.told[0].at, Millis(20_000));
}

fn said_to(op: Op, sign: CallbackSign) -> Arrived {
    let news = CallbackNews { key: format!("callback/{op}"), op, life: (1, 0), sign };
    Arrived { callbacks: vec![news], ..Arrived::default() }
}

#[test]
fn a_callback_is_completed_once_and_its_object_deleted() {
    let mut stage = Stage::new();
    stage.ask(vec![callback(0, "paid", None, None), timer(0, 0, 90_000)]);
    stage.reopen(true);
    let ended = || CallbackSign::Ended(End::completed(json("7"), 0));
    stage.arrive(said_to(0, ended()));
    assert!(stage.arrive(said_to(0, ended())).delete.is_empty(), "the same object, found again before it is stored");
    let mut second = said_to(0, ended());
    second.callbacks[0].key = "callback/second".into();
    assert_eq!(stage.arrive(second).delete, ["callback/second"], "the second is nothing");
    assert_eq!(stage.news(), ["0 completed"]);
    assert_eq!(stage.tell(vec![]).delete, ["callback/0"]);
    assert_eq!(stage.arrive(said_to(0, ended())).told.len(), 0);
}

#[test]
fn a_callback_times_out_or_fails_and_the_body_can_tell() {
    let mut stage = Stage::new();
    stage.ask(vec![callback(0, "paid", Some(50_000), None), callback(0, "shipped", None, None)]);
    stage.reopen(false).at(50_000);
    let error = Some(Fault::new("Refused", "no".into()));
    stage.arrive(said_to(1, CallbackSign::Ended(End::without(Outcome::Failed, error, 0))));
    assert_eq!(stage.news(), ["1 failed", "0 timeout"]);
    let News::Ended { end, .. } = &stage.next.told[1].news else { unreachable!() };
    assert_eq!(end.error.as_ref().unwrap().kind, "CallbackTimeout");
}

#[test]
fn heartbeats_keep_a_callback_alive_until_they_stop() {
    let mut stage = Stage::new();
    stage.ask(vec![callback(0, "paid", None, Some(10_000))]);
    assert_eq!(stage.stored.open[&0].due, Some(Millis(10_000)));
    stage.reopen(true).at(9_000);
    stage.send(vec![]);
    stage.arrive(said_to(0, CallbackSign::Alive(Millis(9_000))));
    let after = stage.turn(vec![], None);
    assert_eq!((after.delete.len(), stage.stored.open[&0].due), (1, Some(Millis(19_000))));
    stage.reopen(false).at(19_000).look();
    let News::Ended { end, .. } = &stage.next.told[0].news else { unreachable!() };
    assert!(end.error.as_ref().unwrap().message.contains("no sign of life for 10000 ms"));
}

#[test]
fn a_token_of_another_life_of_the_run_is_nothing() {
    let mut stage = Stage::new();
    stage.ask(vec![callback(0, "paid", None, None)]);
    stage.reopen(true);
    let news = CallbackNews { key: "k".into(), op: 0, life: (1, 7), sign: CallbackSign::Alive(Millis(1)) };
    stage.arrive(Arrived { callbacks: vec![news], ..Arrived::default() });
    assert!(stage.next.told.is_empty() && stage.driver.run().open[&0].beat.is_none());
}
