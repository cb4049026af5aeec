//! Graphs, played with outcomes that the tests choose.

mod checks;
mod driven;
mod failing;
mod mapping;
mod random;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::entry::{CancelOp, End, Entry, Fault, Kind, News, Outcome, ResultRef, Told, What};
use super::super::journal::Ledger;
use super::super::model::{Millis, Op};
use super::super::samples::json;
use super::super::status::StepStatus;
use super::*;
use crate::record::Extra;

pub fn step(name: &str, depends_on: &[&str]) -> Step {
    let depends_on: Vec<String> = depends_on.iter().map(|name| (*name).to_owned()).collect();
    let parameter = |name: &String| Parameter { name: name.clone(), required: true };
    Step { name: name.into(), parameters: depends_on.iter().map(parameter).collect(), depends_on, ..Step::default() }
}

pub fn undoable(step: Step) -> Step {
    Step { compensation: Some(Compensation::default()), ..step }
}

pub fn graph(steps: Vec<Step>) -> Graph {
    Graph { name: "order".into(), steps, ..Graph::default() }
}

/// A run of a graph with a journal of its own.
pub struct Play {
    pub graph: Arc<Graph>,
    pub body: Body,
    pub ledger: Ledger,
    pub end: Option<GraphEnd>,
}

impl Play {
    pub fn new(graph: Graph) -> Self {
        Self::with(graph, "null")
    }

    pub fn with(graph: Graph, input: &str) -> Self {
        graph.check().unwrap();
        let graph = Arc::new(graph);
        let body = Body::new(Arc::clone(&graph), Input::read(&json(input)).unwrap()).unwrap();
        let mut play = Self { graph, body, ledger: Ledger::default(), end: None };
        let block = play.body.start();
        play.append(block);
        play
    }

    fn append(&mut self, block: Block) {
        for op in block.cancels {
            self.ledger.push(Entry::Cancel(CancelOp { at: Millis(0), op, extra: Extra::new() })).unwrap();
        }
        for ask in block.asks {
            let place = ask.place.clone();
            let op = self.ledger.push(Entry::Ask(ask)).unwrap();
            self.body.bind(&place, op);
        }
        self.end = self.end.take().or(block.end);
    }

    pub fn tell(&mut self, news: News) {
        let told = Told { at: Millis(0), news, extra: Extra::new() };
        let block = self.body.told(&told);
        self.ledger.push(Entry::Told(told)).unwrap();
        self.append(block);
    }

    pub fn ends(&mut self, op: Op, end: End) {
        let kind = self.ledger.ask(op).unwrap().what.kind();
        self.tell(News::Ended { kind, op, end });
    }

    /// The operation under way that stands for this: a step, `step[n]` or `undo step`.
    pub fn op(&self, name: &str) -> Op {
        let open = self.open();
        open.iter().find(|(_, known)| known == name).unwrap_or_else(|| panic!("{name} is not under way: {open:?}")).0
    }

    pub fn completes(&mut self, name: &str) -> &mut Self {
        self.returns(name, "1")
    }

    pub fn returns(&mut self, name: &str, output: &str) -> &mut Self {
        self.ends(self.op(name), End::completed(json(output), 1));
        self
    }

    pub fn fails(&mut self, name: &str) -> &mut Self {
        let error = Some(Fault::new("ValueError", "no".into()));
        self.ends(self.op(name), End::without(Outcome::Failed, error, 1));
        self
    }

    pub fn skips(&mut self, name: &str) -> &mut Self {
        self.ends(self.op(name), End::without(Outcome::Skipped, None, 1));
        self
    }

    /// What is under way, in the order in which it was asked for.
    pub fn open(&self) -> Vec<(Op, String)> {
        let name = |op: &Op| {
            let ask = self.ledger.ask(*op).unwrap();
            let mapped = self.graph.steps.iter().any(|step| step.name == ask.place.name && step.map_over.is_some());
            let item =
                if mapped && ask.place.scope != body::WHEN { format!("[{}]", ask.place.n) } else { String::new() };
            let prefix = match ask.place.scope.as_str() {
                "" => "",
                body::WHEN => "when ",
                _ => "undo ",
            };
            format!("{prefix}{}{item}", ask.place.name)
        };
        self.ledger.open().iter().map(|op| (*op, name(op))).collect()
    }

    pub fn names(&self) -> Vec<String> {
        self.open().into_iter().map(|(_, name)| name).collect()
    }

    pub fn status(&self, name: &str) -> StepStatus {
        self.body.statuses()[self.graph.place(name).unwrap()]
    }

    /// The same graph, brought to where the journal ends; it must want nothing new, and stand where this one does.
    pub fn replayed(&self) -> Body {
        let mut body = Body::new(Arc::clone(&self.graph), self.body.input.clone()).unwrap();
        replay(&mut body, self.ledger.entries()).unwrap();
        assert_eq!(body.statuses(), self.body.statuses());
        assert!(body.fresh.asks.is_empty() && body.fresh.cancels.is_empty());
        assert_eq!(body.fresh.end.is_some(), self.end.is_some());
        body
    }
}

#[test]
fn a_chain_runs_in_order_and_its_last_result_is_the_runs() {
    let mut play = Play::new(graph(vec![step("a", &[]), step("b", &["a"]), step("c", &["b"])]));
    assert_eq!(play.names(), ["a"]);
    assert_eq!(play.completes("a").names(), ["b"]);
    let (a, b) = (0, play.op("b"));
    assert_eq!(play.body.bindings(b), BTreeMap::from([("a".into(), Source::Result(a))]));
    play.completes("b").completes("c");
    let Some(GraphEnd::Completed(results)) = &play.end else { panic!("{:?}", play.end) };
    assert_eq!(results.keys().collect::<Vec<_>>(), ["c"]);
    play.replayed();
}

#[test]
fn a_diamond_joins_once_whatever_ends_first() {
    let diamond = || graph(vec![step("a", &[]), step("b", &["a"]), step("c", &["a"]), step("d", &["b", "c"])]);
    for (first, second) in [("b", "c"), ("c", "b")] {
        let mut play = Play::new(diamond());
        play.completes("a");
        assert_eq!(play.names(), ["b", "c"]);
        assert_eq!(play.completes(first).names(), [second]);
        assert_eq!(play.completes(second).names(), ["d"]);
        play.completes("d");
        assert!(matches!(play.end, Some(GraphEnd::Completed(_))));
        play.replayed();
    }
}

#[test]
fn a_condition_that_is_not_met_skips_its_step_and_the_join_sees_it() {
    let when = |join| {
        let b = Step { when: true, ..step("b", &["a"]) };
        let d = Step { join, ..step("d", &["b", "c"]) };
        let mut play = Play::new(graph(vec![step("a", &[]), b, step("c", &["a"]), d]));
        play.completes("a").skips("b").completes("c");
        play
    };
    let mut play = when(Join::Skipped);
    let sources = play.body.bindings(play.op("d"));
    let missing = Source::Missing { step: "b".into(), status: StepStatus::Skipped, op: Some(play.ledger.told_op("b")) };
    assert_eq!(sources["b"], missing);
    play.completes("d");
    assert!(matches!(play.end, Some(GraphEnd::Completed(_))));
    let play = when(Join::Success);
    assert_eq!((play.status("b"), play.status("d")), (StepStatus::Skipped, StepStatus::Skipped));
    assert!(matches!(play.end, Some(GraphEnd::Completed(_))), "a skip is no failure");
    play.replayed();
}

impl Ledger {
    /// The first operation of this name.
    fn told_op(&self, name: &str) -> Op {
        let named = |op: &Op| self.ask(*op).is_some_and(|ask| ask.place.name == name);
        (0..self.next_op()).find(named).unwrap()
    }
}

#[test]
fn at_most_so_many_steps_are_under_way() {
    let steps = (0..5).map(|n| step(&format!("s{n}"), &[])).collect();
    let mut play = Play::new(Graph { max_concurrent_steps: Some(2), ..graph(steps) });
    assert_eq!(play.names(), ["s0", "s1"]);
    assert_eq!(play.completes("s1").names(), ["s0", "s2"]);
    play.replayed();
}

#[test]
fn inputs_come_from_the_run_and_a_default_is_left_out() {
    let mut a = step("a", &[]);
    a.parameters = vec![
        Parameter { name: "order_id".into(), required: true },
        Parameter { name: "colour".into(), required: false },
    ];
    let play = Play::with(graph(vec![a]), "{\"order_id\": 17}");
    let bindings = play.body.bindings(play.op("a"));
    assert_eq!(bindings, BTreeMap::from([("order_id".into(), Source::Input("order_id".into()))]));
    let composed =
        compose(&bindings, |source| Ok(json(&format!("\"{source:?}\"").replace("\"order_id\"", "x")))).unwrap();
    assert_eq!(composed.text(), "{\"order_id\":\"Input(x)\"}");
}

#[test]
fn a_step_can_be_a_task_of_the_queue() {
    let task = Some(TaskStep { kind: "ship".into(), options: Some(json("{\"priority\": 7}")) });
    let play = Play::new(graph(vec![Step { task: task.clone(), ..step("a", &[]) }]));
    let What::Call(call) = &play.ledger.ask(0).unwrap().what else { panic!() };
    assert_eq!((call.kind.as_str(), call.options.as_ref().unwrap().text()), ("ship", "{\"priority\": 7}"));
    let mut play = Play::new(graph(vec![Step { task, when: true, ..step("a", &[]) }]));
    assert_eq!(play.names(), ["when a"]);
    assert_eq!(play.completes("when a").names(), ["a"]);
    assert_eq!(play.ledger.ask(play.op("a")).unwrap().what.kind(), Kind::Call);
    play.completes("a").replayed();
}

#[test]
fn a_graph_that_changed_where_it_was_not_yet_goes_on_and_elsewhere_names_the_place() {
    let mut play = Play::new(graph(vec![step("a", &[]), step("b", &["a"]), step("c", &["b"])]));
    play.completes("a");
    let with = |steps: Vec<Step>| {
        let mut body = Body::new(Arc::new(graph(steps)), Input::default()).unwrap();
        replay(&mut body, play.ledger.entries()).map(|()| body)
    };
    with(vec![step("a", &[]), step("b", &["a"]), step("new", &["b"]), step("c", &["new"])]).unwrap();
    let body = with(vec![step("also", &["a"]), step("b", &["a"]), step("a", &[])]).unwrap();
    assert_eq!(body.fresh.asked().map(|(_, place)| place.name.as_str()).collect::<Vec<_>>(), ["also"]);
    let renamed = with(vec![step("a", &[]), step("other", &["a"])]).unwrap_err();
    assert_eq!((renamed.position, renamed.asked.as_deref()), (2, Some("step \"other\"")));
    assert!(renamed.recorded.unwrap().contains("step \"b\""));
    let earlier = with(vec![step("a", &[]), step("b", &["a"]), step("new", &[])]).unwrap_err();
    assert_eq!((earlier.position, earlier.recorded), (1, None));
    let mut rewired = step("b", &["a"]);
    rewired.parameters.clear();
    let argument = with(vec![step("a", &[]), rewired]).unwrap_err().argument;
    assert_eq!(argument.as_deref(), Some("a"));
}
