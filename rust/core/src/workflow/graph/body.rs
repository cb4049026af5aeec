//! A graph as the body of a run: what it asks for next, given what it is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::driver::{Next, Said};
use super::super::entry::{Ask, CallAsk, Fault, Kind, News, OnFailure, Outcome, Place, StepAsk, Told, What};
use super::super::model::{Millis, Op};
use super::super::status::StepStatus;
use super::bindings::{Input, Source, args};
use super::definition::{Graph, Join, Step, StepFailure};
use super::map::Items;
use crate::error::{Error, Result};
use crate::record::Extra;

/// The scope of the conditions of steps that do not evaluate them themselves.
pub const WHEN: &str = "when";
/// The scope of the steps that undo others.
pub const COMPENSATE: &str = "rollback";

/// What a graph asks for at one time.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// Operations to call off.
    pub cancels: Vec<Op>,
    /// Operations to ask for. Whoever appends them says which numbers they got: [`Body::bind`].
    pub asks: Vec<Ask>,
    /// The end of the run.
    pub end: Option<GraphEnd>,
}

/// How a graph ends.
#[derive(Clone, Debug)]
pub enum GraphEnd {
    /// Every step has ended: where the results of the run lie, by step.
    Completed(BTreeMap<String, Source>),
    /// A step has failed.
    Failed(Fault),
    /// It was called off.
    Cancelled,
}

/// A run of a graph.
#[derive(Clone, Debug)]
pub struct Body {
    pub(super) graph: Arc<Graph>,
    pub(super) input: Input,
    pub(super) states: Vec<State>,
    /// Operations that were asked for, by where.
    pub(super) asked: BTreeMap<Place, Role>,
    pub(super) roles: BTreeMap<Op, Role>,
    /// How many operations are under way.
    pub(super) under_way: usize,
    /// What was completed and can be undone, in the order in which it was.
    pub(super) undoable: Vec<(Op, Role)>,
    /// The lengths of results that are lists.
    pub(super) lengths: BTreeMap<Op, u32>,
    pub(super) phase: Phase,
    pub(super) outbox: Block,
    /// What a new driver found that is not in the journal yet.
    pub(super) fresh: Block,
}

/// Where a step stands.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// Not decided.
    Waiting,
    /// Its condition is being evaluated.
    Deciding,
    /// It is under way.
    Asked,
    /// Its items are.
    Mapping(Box<Items>),
    /// It has ended; for a step with items they are kept.
    Ended { status: StepStatus, op: Option<Op>, items: Option<Box<Items>> },
}

/// What an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Step(usize),
    When(usize),
    Item(usize, u32),
    Undo(Op),
}

#[derive(Clone, Debug)]
pub(super) enum Phase {
    Running,
    /// What was completed is undone, the latest first; then the run ends like this.
    Compensating {
        left: Vec<(Op, Role)>,
        then: GraphEnd,
    },
    Over,
}

impl Body {
    /// A run of this graph that has not begun.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the input lacks something, or has something that nobody takes.
    pub fn new(graph: Arc<Graph>, input: Input) -> Result<Self> {
        graph.check_inputs(input.names())?;
        let states = graph.steps.iter().map(|_| State::Waiting).collect();
        Ok(Self {
            graph,
            input,
            states,
            asked: BTreeMap::new(),
            roles: BTreeMap::new(),
            under_way: 0,
            undoable: Vec::new(),
            lengths: BTreeMap::new(),
            phase: Phase::Running,
            outbox: Block::default(),
            fresh: Block::default(),
        })
    }

    /// The first things that it asks for.
    pub fn start(&mut self) -> Block {
        self.proceed();
        std::mem::take(&mut self.outbox)
    }

    /// Tells it something; what it asks for then.
    pub fn told(&mut self, told: &Told) -> Block {
        if !matches!(self.phase, Phase::Over) {
            match &told.news {
                News::Cancel { .. } => self.call_off(),
                News::Ended { op, end, .. } => {
                    if let Some(role) = self.roles.get(op).copied() {
                        self.under_way = self.under_way.saturating_sub(1);
                        self.ended(*op, role, told, end.outcome);
                    }
                }
                News::Timer { .. } | News::Signal { .. } | News::Select { .. } => {}
            }
            self.proceed();
        }
        std::mem::take(&mut self.outbox)
    }

    /// Says which number an ask got.
    pub fn bind(&mut self, place: &Place, op: Op) {
        if let Some(role) = self.asked.get(place) {
            self.roles.insert(op, *role);
        }
    }

    /// Delivers what there is to tell. Gives the turn's entries, and the end of the run; `first` is the number that the
    /// first of these entries will have in the journal.
    pub fn turn(&mut self, next: &Next, first: Op) -> (Vec<Said>, Option<GraphEnd>) {
        let mut entries = Vec::new();
        let fresh = std::mem::take(&mut self.fresh);
        let mut end = self.append(fresh, first, &mut entries);
        for told in &next.told {
            if end.is_some() {
                break;
            }
            if told.news.op().is_some_and(|op| !self.roles.contains_key(&op)) {
                // It was called off by what came before.
                continue;
            }
            entries.push(Said::Told(told.news.kind(), told.news.op()));
            let block = self.told(told);
            end = self.append(block, first, &mut entries);
        }
        (entries, end)
    }

    fn append(&mut self, block: Block, first: Op, entries: &mut Vec<Said>) -> Option<GraphEnd> {
        entries.extend(block.cancels.into_iter().map(Said::Cancel));
        for ask in block.asks {
            let op = first + Op::try_from(entries.len()).unwrap_or(Op::MAX);
            self.bind(&ask.place, op);
            entries.push(Said::Ask(Box::new(ask)));
        }
        block.end
    }

    /// Where the steps stand, in the order of their declaration.
    #[must_use]
    pub fn statuses(&self) -> Vec<StepStatus> {
        let over = !matches!(self.phase, Phase::Running);
        let unended = |status| if over { StepStatus::Cancelled } else { status };
        let status = |state: &State| match state {
            State::Waiting => unended(StepStatus::Pending),
            State::Deciding | State::Asked | State::Mapping(_) => unended(StepStatus::Running),
            State::Ended { status, .. } => *status,
        };
        self.states.iter().map(status).collect()
    }

    /// Goes on until nothing more can be asked for.
    pub(super) fn proceed(&mut self) {
        match self.phase {
            Phase::Running => {}
            Phase::Compensating { .. } => return self.compensate(),
            Phase::Over => return,
        }
        while let Some(place) = (0..self.states.len()).find(|place| self.is_decidable(*place)) {
            self.decide(place);
            if !matches!(self.phase, Phase::Running) {
                return self.proceed();
            }
        }
        for place in 0..self.states.len() {
            self.ask_for_items(place);
        }
        let ended = self.states.iter().all(|state| matches!(state, State::Ended { .. }));
        if ended {
            self.phase = Phase::Over;
            self.outbox.end = Some(GraphEnd::Completed(self.results()));
        }
    }

    fn results(&self) -> BTreeMap<String, Source> {
        let named = self.graph.result.as_ref().and_then(|name| self.graph.place(name));
        let places = named.map_or_else(|| self.graph.leaves(), |place| vec![place]);
        let result = |place: usize| self.graph.steps.get(place).map(|step| (step.name.clone(), self.result(place)));
        places.into_iter().filter_map(result).collect()
    }

    /// Whether the steps before it have ended, and there is room for it.
    fn is_decidable(&self, place: usize) -> bool {
        let Some(step) = self.graph.steps.get(place) else { return false };
        if !matches!(self.states.get(place), Some(State::Waiting)) {
            return false;
        }
        let before = self.before(step);
        let ended = before.iter().all(Option::is_some);
        // A step that is skipped, or has items of its own, needs no place.
        ended && (self.has_room() || !is_met(step.join, &before) || (step.map_over.is_some() && !step.when))
    }

    pub(super) fn has_room(&self) -> bool {
        let most = self.graph.max_concurrent_steps.and_then(|most| usize::try_from(most).ok());
        most.is_none_or(|most| self.under_way < most)
    }

    /// How the steps before a step have ended.
    fn before(&self, step: &Step) -> Vec<Option<StepStatus>> {
        let status = |name: &String| match self.states.get(self.graph.place(name)?)? {
            State::Ended { status, .. } => Some(*status),
            State::Waiting | State::Deciding | State::Asked | State::Mapping(_) => None,
        };
        step.depends_on.iter().map(status).collect()
    }

    fn decide(&mut self, place: usize) {
        let graph = Arc::clone(&self.graph);
        let Some(step) = graph.steps.get(place) else { return };
        if !is_met(step.join, &self.before(step)) {
            self.set(place, ended(StepStatus::Skipped, None));
            return;
        }
        if step.when && (step.map_over.is_some() || step.task.is_some()) {
            self.set(place, State::Deciding);
            let asked = StepAsk { when: true, args: Some(args(step, &self.input)), ..StepAsk::default() };
            self.ask(Role::When(place), WHEN, &step.name, 0, What::Step(asked));
            return;
        }
        self.begin(place, step);
    }

    /// Begins a step whose condition is met, or evaluated by its own start.
    pub(super) fn begin(&mut self, place: usize, step: &Step) {
        if step.map_over.is_some() {
            return self.begin_items(place, step);
        }
        self.set(place, State::Asked);
        let what = self.what(step);
        self.ask(Role::Step(place), "", &step.name, 0, what);
    }

    pub(super) fn what(&self, step: &Step) -> What {
        let args = Some(args(step, &self.input));
        match &step.task {
            Some(task) => What::Call(CallAsk {
                args,
                task: None,
                kind: task.kind.clone(),
                input: None,
                input_ref: None,
                options: task.options.clone(),
                compensates: None,
            }),
            None => What::Step(StepAsk {
                args,
                retry: step.retry.clone(),
                timeout_ms: step.timeout_ms,
                at_most_once: step.at_most_once,
                on_failure: (step.on_failure == StepFailure::Pause).then_some(OnFailure::Pause),
                compensates: None,
                when: step.when && step.map_over.is_none(),
            }),
        }
    }

    pub(super) fn ask(&mut self, role: Role, scope: &str, name: &str, n: u32, what: What) {
        let place = Place { scope: scope.to_owned(), name: name.to_owned(), n };
        self.asked.insert(place.clone(), role);
        self.under_way += 1;
        self.outbox.asks.push(Ask { at: Millis::default(), place, what, extra: Extra::new() });
    }

    pub(super) fn set(&mut self, place: usize, state: State) {
        if let Some(known) = self.states.get_mut(place) {
            *known = state;
        }
    }

    fn ended(&mut self, op: Op, role: Role, told: &Told, outcome: Outcome) {
        let graph = Arc::clone(&self.graph);
        self.note_length(op, told);
        match role {
            Role::Undo(_) => {}
            Role::Item(place, n) => self.item_ended(place, n, op, told, outcome),
            Role::Step(place) | Role::When(place) => {
                let Some(step) = graph.steps.get(place) else { return };
                match outcome {
                    Outcome::Completed if matches!(role, Role::When(_)) => self.begin(place, step),
                    Outcome::Completed => {
                        self.set(place, ended(StepStatus::Completed, Some(op)));
                        self.undoable.push((op, role));
                    }
                    Outcome::Skipped => self.set(place, ended(StepStatus::Skipped, Some(op))),
                    Outcome::Failed | Outcome::Timeout => self.failed(place, Some(op), StepStatus::Failed, fault(told)),
                    Outcome::Cancelled => self.failed(place, Some(op), StepStatus::Cancelled, fault(told)),
                }
            }
        }
    }

    /// Whether an operation is under way.
    pub(super) fn is_open(&self, role: Role) -> bool {
        match role {
            Role::Step(place) => matches!(self.states.get(place), Some(State::Asked)),
            Role::When(place) => matches!(self.states.get(place), Some(State::Deciding)),
            Role::Item(place, n) => match self.states.get(place) {
                Some(State::Mapping(items)) => {
                    n < items.next && !items.completed.contains_key(&n) && !items.failed.contains_key(&n)
                }
                _ => false,
            },
            Role::Undo(_) => false,
        }
    }

    /// The number that something asked for got.
    ///
    /// # Errors
    /// [`Error::Invalid`] if nothing was asked for there.
    pub fn op(&self, place: &Place) -> Result<Op> {
        let role = self.asked.get(place);
        let found = self.roles.iter().find(|(_, known)| Some(*known) == role).map(|(op, _)| *op);
        found.ok_or_else(|| Error::Invalid(format!("{:?} was not asked for", place.name)))
    }
}

pub(super) const fn ended(status: StepStatus, op: Option<Op>) -> State {
    State::Ended { status, op, items: None }
}

pub(super) fn fault(told: &Told) -> Fault {
    match &told.news {
        News::Ended { end, .. } => {
            end.error.clone().unwrap_or_else(|| Fault::new("Cancelled", "it was called off".into()))
        }
        _ => Fault::new("Unknown", String::new()),
    }
}

/// Whether a step runs, given how the steps before it have ended.
fn is_met(join: Join, before: &[Option<StepStatus>]) -> bool {
    let failed = |status: &Option<StepStatus>| matches!(status, Some(StepStatus::Failed | StepStatus::Cancelled));
    let completed = |status: &Option<StepStatus>| matches!(status, Some(StepStatus::Completed));
    match join {
        Join::Success => before.iter().all(completed),
        Join::Skipped => !before.iter().any(failed),
        Join::Finished => true,
        Join::Failure => before.iter().any(failed),
    }
}

impl Block {
    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.cancels.is_empty() && self.asks.is_empty() && self.end.is_none()
    }

    /// The kinds and places of what it asks for.
    pub(super) fn asked(&self) -> impl Iterator<Item = (Kind, &Place)> {
        self.asks.iter().map(|ask| (ask.what.kind(), &ask.place))
    }
}
