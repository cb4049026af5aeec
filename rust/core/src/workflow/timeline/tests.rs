use std::sync::Arc;

use super::super::entry::{Entry, StepAsk, Told, What};
use super::super::samples::{ask, call, cancel, completed, failed, signal, step, timer, told};
use super::super::status::RunStatus;
use super::*;
use crate::record::Extra;

fn run(status: RunStatus) -> Run {
    Run { status, ..Run::new("order".into(), None, 1, Millis(0)) }
}

fn read(entries: Vec<Entry>) -> Ledger {
    Ledger::read(entries.into_iter().map(Arc::new).collect(), Millis(0)).unwrap()
}

fn statuses(run: &Run, entries: Vec<Entry>) -> Vec<StepStatus> {
    let ledger = read(entries);
    timeline(run, &ledger).into_iter().map(|line| line.status).collect()
}

#[test]
fn the_status_of_an_open_step_follows_from_what_is_open() {
    let with = |open: Open| {
        let mut run = run(RunStatus::Running);
        run.open.insert(0, open);
        statuses(&run, vec![step(1, "a")])[0]
    };
    let open = Open::default;
    assert_eq!(with(open()), StepStatus::Pending);
    assert_eq!(with(Open { attempt: 1, started: true, ..open() }), StepStatus::Running);
    assert_eq!(with(Open { attempt: 1, due: Some(Millis(9)), ..open() }), StepStatus::Waiting);
    assert_eq!(with(Open { attempt: 4, held: true, ..open() }), StepStatus::Failed);
    let Entry::Told(told) = completed(2, 0) else { unreachable!() };
    let result = Some(Box::new(Told { extra: Extra::new(), ..told }));
    assert_eq!(with(Open { attempt: 1, result, ..open() }), StepStatus::Completed);
    assert_eq!(statuses(&run(RunStatus::Running), vec![step(1, "a")]), [StepStatus::Pending]);
}

#[test]
fn waits_wait_and_calls_run_once_they_are_made() {
    let entries = || vec![timer(1, 0, 9), signal(1, "s", 0, None), call(1, "ship")];
    let mut run = run(RunStatus::Waiting);
    run.open = (0..3).map(|op| (op, Open::default())).collect();
    assert_eq!(statuses(&run, entries()), [StepStatus::Waiting, StepStatus::Waiting, StepStatus::Pending]);
    run.open.insert(2, Open { made: true, ..Open::default() });
    assert_eq!(statuses(&run, entries())[2], StepStatus::Running);
}

#[test]
fn closed_operations_say_how_they_ended() {
    use StepStatus::{Cancelled, Compensated, Completed, Failed, Pending};
    let undo = What::Step(StepAsk { compensates: Some(0), ..StepAsk::default() });
    let entries = vec![
        step(1, "a"),
        step(1, "b"),
        step(1, "c"),
        timer(1, 0, 3),
        completed(2, 0),
        failed(2, 1),
        cancel(2, 2),
        told(3, News::Timer { op: 3 }),
        Entry::Ask(ask(3, "undo_a", 0, undo)),
    ];
    let compensating = run(RunStatus::Compensating);
    assert_eq!(statuses(&compensating, entries.clone()), [Completed, Failed, Cancelled, Completed, Pending]);
    let undone: Vec<Entry> = entries.iter().cloned().chain([completed(4, 8)]).collect();
    assert_eq!(statuses(&compensating, undone), [Compensated, Failed, Cancelled, Completed, Completed]);
    let not_undone: Vec<Entry> = entries.iter().cloned().chain([failed(4, 8)]).collect();
    assert_eq!(statuses(&compensating, not_undone), [Completed, Failed, Cancelled, Completed, Failed]);
    assert_eq!(statuses(&run(RunStatus::Failed), entries)[4], Cancelled, "what was open at the end");
}

#[test]
fn a_line_tells_when_how_often_and_why_not() {
    let mut run = run(RunStatus::Running);
    let error = Some(Fault::new("ValueError", "no".into()));
    run.open.insert(1, Open { attempt: 2, due: Some(Millis(60)), error, ..Open::default() });
    let ledger = read(vec![step(1, "a"), step(1, "b"), completed(7, 0)]);
    let lines = timeline(&run, &ledger);
    let told =
        |line: &Line| (line.op, line.place.name.clone(), line.attempts, line.asked_at.0, line.ended_at.map(|at| at.0));
    assert_eq!(
        lines.iter().map(told).collect::<Vec<_>>(),
        [(0, "a".into(), 1, 1, Some(7)), (1, "b".into(), 2, 1, None)]
    );
    assert_eq!(lines[1].error.as_ref().unwrap().message, "no");
    assert_eq!(lines[1].due, Some(Millis(60)));
    assert_eq!(counts(&lines), BTreeMap::from([(StepStatus::Completed, 1), (StepStatus::Waiting, 1)]));
}
