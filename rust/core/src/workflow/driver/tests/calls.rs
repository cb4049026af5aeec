//! Tasks and runs that a body asks for.

use super::super::super::entry::OnClose;
use super::super::super::samples::{call, cancel, child, step, timer};
use super::*;

fn done() -> End {
    End::completed(json("1"), 1)
}

fn called_off() -> End {
    End::without(Outcome::Cancelled, None, 1)
}

/// A stage on which a child was asked for and made.
fn with_child(on_close: OnClose) -> (Stage, TaskId) {
    let mut stage = Stage::new();
    let make = stage.ask(vec![child(0, "pay", on_close)]).make[0];
    stage.driver.made(0, make.id);
    stage.look();
    stage.turn(vec![], None);
    assert!(stage.parked);
    stage.reopen(true);
    (stage, make.id)
}

#[test]
fn a_call_is_made_after_the_round_that_asked_for_it_and_the_next_round_says_so() {
    let mut stage = Stage::new();
    let after = stage.ask(vec![call(0, "ship")]);
    let id = stage.driver.origin().call(0);
    assert_eq!(after.make, [Make { op: 0, kind: Kind::Call, id, revive: false }]);
    assert!(!stage.parked && !stage.look().round, "it is being made");
    stage.driver.made(0, id);
    assert!(stage.look().round);
    stage.turn(vec![], None);
    assert!(stage.parked && stage.stored.open[&0].made);
}

#[test]
fn a_new_driver_makes_sure_of_calls_without_the_mark_and_of_no_others() {
    let mut stage = Stage::new();
    let made = stage.ask(vec![call(0, "ship"), call(0, "bill")]).make;
    stage.driver.made(0, made[0].id);
    stage.look();
    stage.turn(vec![], None);
    stage.reopen(false);
    assert_eq!(stage.driver.owed().make, [made[1]], "under the same id");
    assert!(stage.driver.owed().make.is_empty(), "once");
}

#[test]
fn the_end_of_a_call_is_told_and_a_second_one_dropped() {
    let mut stage = Stage::new();
    let make = stage.ask(vec![call(0, "ship")]).make[0];
    assert_eq!(stage.driver.called(0, make.id, done()).unwrap(), Reported::Taken);
    assert_eq!(stage.driver.called(0, make.id, done()).unwrap(), Reported::Dropped);
    assert_eq!(stage.driver.called(0, run_id(), done()).unwrap(), Reported::Dropped, "another task");
    stage.look();
    assert_eq!(stage.news(), ["0 completed"]);
    stage.tell_and(vec![], returned("1"));
    assert!(stage.over);
}

#[test]
fn a_child_that_is_refused_fails_and_the_parent_learns_why() {
    let mut stage = Stage::new();
    let make = stage.ask(vec![child(0, "pay", OnClose::Cancel)]).make[0];
    let error = Some(Fault::new("Conflict", "it exists with another input".into()));
    stage.driver.called(0, make.id, End::without(Outcome::Failed, error, 0)).unwrap();
    stage.look();
    assert_eq!(stage.news(), ["0 failed"]);
}

#[test]
fn a_call_that_the_body_called_off_is_told_to_stop_and_nobody_waits_for_it() {
    let mut stage = Stage::new();
    let make = stage.ask(vec![call(0, "ship"), timer(0, 0, 90_000)]).make[0];
    stage.driver.made(0, make.id);
    let after = stage.turn(vec![said(cancel(0, 0))], None);
    assert_eq!(after.close, [Close { op: 0, kind: Kind::Call, id: make.id }]);
    stage.reopen(false);
    assert_eq!(stage.driver.owed().close.len(), 1, "again after a crash");
    stage.driver.informed(0, make.id);
    stage.look();
    stage.turn(vec![], None);
    assert!(stage.parked && !stage.stored.open.contains_key(&0));
}

#[test]
fn children_end_before_their_parent() {
    let (mut stage, id) = with_child(OnClose::Cancel);
    stage.look();
    let after = stage.turn(vec![said(step(0, "a"))], None);
    stage.complete(after.start[0]);
    stage.look();
    let after = stage.tell_and(vec![], returned("42"));
    assert_eq!(after.close, [Close { op: 0, kind: Kind::Child, id }]);
    assert!(!stage.over && stage.stored.ending.is_some());
    stage.driver.informed(0, id);
    stage.look();
    stage.turn(vec![], None);
    assert!(stage.parked, "it waits for its child without a body");
    stage.reopen(true);
    stage.driver.called(0, id, called_off()).unwrap();
    assert!(stage.look().round && stage.next.told.is_empty());
    let round = stage.driver.advance(Turn::default(), Millis(9)).unwrap().unwrap();
    assert_eq!(round.end.as_ref().unwrap().output.as_ref().unwrap().text(), "42");
    stage.commit(&round);
    assert_eq!(stage.status(), RunStatus::Completed);
}

#[test]
fn a_child_that_is_to_go_on_is_left_alone() {
    let (mut stage, _) = with_child(OnClose::Abandon);
    stage.look();
    let start = stage.turn(vec![said(step(0, "a"))], None).start[0];
    stage.complete(start);
    stage.look();
    let after = stage.tell_and(vec![], returned("42"));
    assert!(stage.over && after.close.is_empty());
}

#[test]
fn a_cancelled_parent_calls_its_children_off_first_and_ends_after_them() {
    let (mut stage, id) = with_child(OnClose::Cancel);
    stage.wish(WishKind::Cancel);
    stage.find_wishes();
    assert_eq!(stage.news(), ["cancel"]);
    let after = stage.tell_and(vec![cancel(0, 0)], Some(BodyEnd::Cancelled(None)));
    assert_eq!(after.close, [Close { op: 0, kind: Kind::Child, id }]);
    assert!(!stage.over);
    stage.driver.called(0, id, called_off()).unwrap();
    stage.look();
    stage.turn(vec![], None);
    assert_eq!(stage.status(), RunStatus::Cancelled);
}

#[test]
fn a_parent_that_is_cancelled_while_it_awaits_a_child_waits_for_it_again_when_resumed() {
    let (mut stage, id) = with_child(OnClose::Cancel);
    stage.wish(WishKind::Cancel);
    stage.find_wishes();
    stage.tell_and(vec![cancel(0, 0)], Some(BodyEnd::Cancelled(None)));
    stage.driver.called(0, id, called_off()).unwrap();
    stage.look();
    stage.turn(vec![], None);
    assert_eq!(stage.wish(WishKind::Resume), Wished::Begun);
    stage.reopen(true);
    assert_eq!(stage.driver.owed().make, [Make { op: 0, kind: Kind::Child, id, revive: true }]);
    stage.look();
    stage.turn(vec![], None);
    stage.driver.made(0, id);
    stage.driver.called(0, id, done()).unwrap();
    stage.look();
    assert_eq!(stage.news(), ["0 completed"], "and not its own cancellation");
    stage.tell_and(vec![], returned("1"));
    assert_eq!(stage.status(), RunStatus::Completed);
}

#[test]
fn going_on_as_new_empties_the_journal_and_keeps_what_the_run_is() {
    let mut stage = Stage::new();
    stage.stored.deadline = Some(Millis(900_000));
    let start = stage.reopen(false).ask(vec![step(0, "a")]).start[0];
    stage.complete(start);
    stage.at(7_000).look();
    let after = stage.tell_and(vec![], Some(BodyEnd::Continued(json("[1]"))));
    assert_eq!(after.continued.unwrap().text(), "[1]");
    let run = &stage.stored;
    assert_eq!((run.execution, run.journal.len(), run.open.len(), run.began), (1, 0, 0, Millis(7_000)));
    assert_eq!((run.status, run.deadline), (RunStatus::Running, Some(Millis(900_000))));
    assert!(!stage.over && !stage.parked);
    let start = stage.ask(vec![step(0, "a")]).start;
    assert_eq!(start, [Start { op: 0, attempt: 1 }], "the same driver goes on");
}

#[test]
fn five_hundred_signals_survive_going_on_as_new_every_twenty() {
    let mut stage = Stage::new();
    let waits = |n| super::super::super::samples::signal(0, "go", n, None);
    let mut inbox: Vec<Signal> = (0..500).map(|n| sent("go", n)).collect();
    stage.driver.woken();
    stage.ask(vec![waits(0)]);
    let mut taken = Vec::new();
    while taken.len() < 500 {
        stage.send(inbox.clone());
        assert_eq!(stage.next.told.len(), 1);
        taken.extend(stage.news());
        let after = if taken.len() % 20 == 0 {
            let after = stage.tell_and(vec![], Some(BodyEnd::Continued(json("1"))));
            stage.ask(vec![waits(0)]);
            after
        } else {
            let n = u32::try_from(taken.len() % 20).unwrap();
            stage.tell(vec![waits(n)])
        };
        inbox.retain(|signal| !after.delete.contains(&signal.path()));
    }
    assert_eq!((inbox.len(), stage.stored.execution), (0, 25));
    let order: Vec<String> = taken.iter().map(|news| news.rsplit(' ').next().unwrap().to_owned()).collect();
    assert_eq!(order, (0..500).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_late_end_of_an_earlier_execution_is_not_taken_for_one_of_this() {
    let mut stage = Stage::new();
    let made = stage.ask(vec![child(0, "pay", OnClose::Abandon), step(0, "a")]);
    stage.driver.made(0, made.make[0].id);
    stage.complete(made.start[0]);
    stage.look();
    stage.tell_and(vec![], Some(BodyEnd::Continued(json("1"))));
    let again = stage.ask(vec![child(0, "pay", OnClose::Abandon)]).make[0];
    assert_ne!(again.id, made.make[0].id);
    assert_eq!(stage.driver.called(0, made.make[0].id, done()).unwrap(), Reported::Dropped);
    assert_eq!(stage.driver.called(0, again.id, done()).unwrap(), Reported::Taken);
}
