//! Graphs as the bodies of runs, with a driver that crashes.

use super::super::super::attempts::Again;
use super::super::super::driver::{After, Arrived, BodyEnd, Code, Driver, Report, Round, Start, Turn};
use super::super::super::model::Run;
use super::super::super::samples::text;
use super::super::super::state::WishKind;
use super::super::super::status::RunStatus;
use super::super::super::wishes::Wish;
use super::*;
use crate::id::{RecordId, TaskId};

struct Stage {
    graph: Arc<Graph>,
    stored: Run,
    driver: Driver,
    body: Body,
    running: Vec<Start>,
    made: Vec<(Op, TaskId)>,
}

fn code() -> Code {
    let run = RecordId::derived(&["run", "order-17"]).task(0);
    Code { run, version: None, definition: None, woken: false }
}

impl Stage {
    fn new(graph: Graph) -> Self {
        graph.check().unwrap();
        let graph = Arc::new(graph);
        let stored = Run::new("order".into(), None, 1, Millis(0));
        let driver = Driver::open(stored.clone(), Vec::new(), code()).unwrap();
        let mut body = Body::new(Arc::clone(&graph), Input::default()).unwrap();
        replay(&mut body, &[]).unwrap();
        Self { graph, stored, driver, body, running: Vec::new(), made: Vec::new() }
    }

    /// Another driver, with a body that is brought to where the journal ends.
    fn reopen(&mut self) {
        self.stored = serde_json::from_str(&text(&self.stored)).unwrap();
        let entries = self.stored.journal.entries.clone();
        self.driver = Driver::open(self.stored.clone(), entries, code()).unwrap();
        self.body = Body::new(Arc::clone(&self.graph), Input::default()).unwrap();
        replay(&mut self.body, self.driver.ledger().entries()).unwrap();
        self.running.clear();
    }

    /// Goes on until there is nothing more to store.
    fn go(&mut self) -> Vec<String> {
        loop {
            let wishes = Some(self.stored.wishes.clone());
            let next = self.driver.next(Millis(0), Arrived { wishes, ..Arrived::default() }).unwrap();
            let (entries, end) = self.body.turn(&next, self.driver.ledger().next_op());
            let end = end.map(|end| match end {
                GraphEnd::Completed(results) => BodyEnd::Completed(json(&text(&results))),
                GraphEnd::Failed(fault) => BodyEnd::Failed(fault),
                GraphEnd::Cancelled => BodyEnd::Cancelled(None),
            });
            let Some(round) = self.driver.advance(Turn { entries, end, ..Turn::default() }, Millis(0)).unwrap() else {
                return self.started();
            };
            let after = self.commit(&round);
            self.running.extend(&after.start);
            self.made.extend(after.make.iter().map(|make| (make.op, make.id)));
            after.make.iter().for_each(|make| self.driver.made(make.op, make.id));
            after.close.iter().for_each(|close| self.driver.informed(close.op, close.id));
            if round.park.is_some() || round.end.is_some() {
                return self.started();
            }
        }
    }

    fn commit(&mut self, round: &Round) -> After {
        round.apply(&mut self.stored).unwrap();
        self.driver.committed(round.park.is_some()).unwrap()
    }

    /// What runs now.
    fn started(&self) -> Vec<String> {
        let name = |start: &Start| self.driver.ledger().ask(start.op).map(|ask| ask.place.name.clone()).unwrap();
        self.running.iter().filter(|start| self.driver.ledger().open().contains(&start.op)).map(name).collect()
    }

    fn report(&mut self, name: &str, report: Report) {
        let place = self.started().iter().position(|known| known == name).unwrap();
        let open: Vec<Start> =
            self.running.iter().copied().filter(|start| self.driver.ledger().open().contains(&start.op)).collect();
        let start = open[place];
        self.running.retain(|known| *known != start);
        self.driver.report(start.op, start.attempt, report, Millis(0), 0.0).unwrap();
    }

    fn completes(&mut self, name: &str) -> Vec<String> {
        self.report(name, Report::Completed(End::completed(json("1"), 0)));
        self.go()
    }

    fn fails(&mut self, name: &str) -> Vec<String> {
        self.report(name, Report::Failed { error: Fault::new("ValueError", "no".into()), again: Again::default() });
        self.go()
    }

    fn wish(&mut self, kind: WishKind) {
        self.stored.wish(kind, Wish { at: Millis(1), ..Wish::default() }).unwrap();
    }
}

fn chain() -> Graph {
    graph(vec![step("a", &[]), step("b", &["a"]), step("c", &["b"])])
}

#[test]
fn a_chain_survives_a_crash_after_every_step() {
    let mut stage = Stage::new(chain());
    assert_eq!(stage.go(), ["a"]);
    for (done, next) in [("a", "b"), ("b", "c")] {
        assert_eq!(stage.completes(done), [next]);
        stage.reopen();
        assert_eq!(stage.go(), [next], "it is started again, and nothing before it");
    }
    assert!(stage.completes("c").is_empty());
    assert_eq!(stage.stored.status, RunStatus::Completed);
    assert_eq!(stage.stored.journal.len(), 6);
}

#[test]
fn a_failed_run_is_retried_from_its_failed_step() {
    let mut stage = Stage::new(chain());
    stage.go();
    stage.completes("a");
    stage.fails("b");
    assert_eq!(stage.stored.status, RunStatus::Failed);
    stage.wish(WishKind::Retry);
    stage.reopen();
    assert_eq!(stage.go(), ["b"]);
    assert_eq!(stage.completes("b"), ["c"]);
    stage.completes("c");
    assert_eq!(stage.stored.status, RunStatus::Completed);
}

#[test]
fn a_failure_that_pauses_is_resumed_with_the_step_that_failed() {
    let mut paused = chain();
    paused.steps[1].on_failure = StepFailure::Pause;
    let mut stage = Stage::new(paused);
    stage.go();
    stage.completes("a");
    stage.fails("b");
    assert_eq!(stage.stored.status, RunStatus::Paused);
    for _ in 0..2 {
        stage.wish(WishKind::Resume);
        stage.reopen();
        assert_eq!(stage.go(), ["b"]);
        stage.fails("b");
        assert_eq!(stage.stored.status, RunStatus::Paused);
    }
    stage.wish(WishKind::Resume);
    stage.reopen();
    stage.go();
    assert_eq!(stage.completes("b"), ["c"]);
}

#[test]
fn a_run_that_undoes_its_steps_shows_it_and_goes_on_after_a_crash() {
    let last = Step { on_failure: StepFailure::Compensate, ..step("last", &["a", "b"]) };
    let mut stage = Stage::new(graph(vec![undoable(step("a", &[])), undoable(step("b", &[])), last]));
    stage.go();
    stage.completes("b");
    stage.completes("a");
    assert_eq!(stage.fails("last"), ["a"], "its compensation");
    assert_eq!(stage.stored.status, RunStatus::Compensating);
    stage.reopen();
    assert_eq!(stage.go(), ["a"]);
    assert_eq!(stage.completes("a"), ["b"]);
    stage.completes("b");
    assert_eq!((stage.stored.status, stage.stored.undone), (RunStatus::Failed, true));
}

#[test]
fn a_cancellation_reaches_steps_that_run() {
    let mut stage = Stage::new(chain());
    stage.go();
    stage.completes("a");
    stage.wish(WishKind::Cancel);
    assert!(stage.go().is_empty());
    assert_eq!(stage.stored.status, RunStatus::Cancelled);
}

#[test]
fn a_step_that_is_a_task_is_made_once_and_its_end_told() {
    let task = Some(TaskStep { kind: "ship".into(), options: None });
    let mut stage = Stage::new(graph(vec![Step { task, ..step("a", &[]) }, step("b", &["a"])]));
    assert!(stage.go().is_empty());
    assert_eq!(stage.stored.status, RunStatus::Waiting);
    stage.reopen();
    let (op, id) = stage.made[0];
    assert!(stage.driver.owed().make.is_empty());
    stage.driver.called(op, id, End::completed(json("7"), 1)).unwrap();
    assert_eq!(stage.go(), ["b"]);
    assert_eq!(stage.body.bindings(2)["a"], Source::Result(op));
}

#[test]
fn two_steps_that_end_together_where_the_first_calls_the_second_off() {
    let mut stage = Stage::new(graph(vec![step("a", &[]), step("b", &[])]));
    stage.go();
    stage.report("a", Report::Failed { error: Fault::new("E", String::new()), again: Again::default() });
    stage.report("b", Report::Completed(End::completed(json("1"), 0)));
    stage.go();
    assert_eq!(stage.stored.status, RunStatus::Failed);
}
