//! What the failure of a step does, and how what was completed is undone.

use std::sync::Arc;

use super::super::entry::{Fault, StepAsk, What};
use super::super::model::Op;
use super::super::status::StepStatus;
use super::body::{Body, COMPENSATE, GraphEnd, Phase, Role, ended};
use super::definition::{OnCancel, StepFailure};

impl Body {
    /// A step has failed for good.
    pub(super) fn failed(&mut self, place: usize, op: Option<Op>, status: StepStatus, fault: Fault) {
        self.set(place, ended(status, op));
        let graph = Arc::clone(&self.graph);
        let Some(step) = graph.steps.get(place) else { return };
        let named = |cause: Fault| {
            let said = format!("step {:?} failed: {}: {}", step.name, cause.kind, cause.message);
            let op = cause.op.or(op);
            Fault {
                op,
                traceback: cause.traceback.clone(),
                cause: Some(Box::new(cause)),
                ..Fault::new("StepFailed", said)
            }
        };
        match step.on_failure {
            StepFailure::Continue => {}
            // A pause is the driver's: what is told all the same was no attempt that could be made again.
            StepFailure::Fail | StepFailure::Pause => self.stop(false, GraphEnd::Failed(named(fault))),
            StepFailure::Compensate => self.stop(true, GraphEnd::Failed(named(fault))),
        }
    }

    /// The run is called off.
    pub(super) fn call_off(&mut self) {
        if matches!(self.phase, Phase::Running) {
            self.stop(self.graph.on_cancel == OnCancel::Compensate, GraphEnd::Cancelled);
        }
    }

    /// Calls off what is under way, undoes what was completed if `undoes`, and ends.
    fn stop(&mut self, undoes: bool, then: GraphEnd) {
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        self.stop_where(|_| true);
        let can_be_undone = |(_, role): &(Op, Role)| self.compensates(*role);
        let left: Vec<(Op, Role)> =
            if undoes { self.undoable.iter().copied().filter(can_be_undone).collect() } else { Vec::new() };
        self.phase = Phase::Compensating { left, then };
    }

    fn compensates(&self, role: Role) -> bool {
        match role {
            Role::Step(place) | Role::Item(place, _) => {
                self.graph.steps.get(place).is_some_and(|step| step.compensation.is_some())
            }
            Role::When(_) | Role::Undo(_) => false,
        }
    }

    /// Calls off the operations under way whose role is one of these. Nothing was asked for in this block that could be
    /// among them and has no number yet, except what is taken back here.
    pub(super) fn stop_where(&mut self, which: impl Fn(Role) -> bool) {
        let open: Vec<Op> =
            self.roles.iter().filter(|(_, role)| which(**role) && self.is_open(**role)).map(|(op, _)| *op).collect();
        self.under_way = self.under_way.saturating_sub(open.len());
        for op in open {
            self.roles.remove(&op);
            self.outbox.cancels.push(op);
        }
        let asks = std::mem::take(&mut self.outbox.asks);
        let count = asks.len();
        let asked = &self.asked;
        let kept: Vec<_> =
            asks.into_iter().filter(|ask| !asked.get(&ask.place).is_some_and(|role| which(*role))).collect();
        self.under_way = self.under_way.saturating_sub(count - kept.len());
        self.outbox.asks = kept;
    }

    /// Undoes the next step, one after the other; one that fails does not keep the rest.
    pub(super) fn compensate(&mut self) {
        if self.under_way > 0 {
            return;
        }
        let Phase::Compensating { left, then } = &mut self.phase else { return };
        let Some((op, role)) = left.pop() else {
            self.outbox.end = Some(then.clone());
            self.phase = Phase::Over;
            return;
        };
        let (Role::Step(place) | Role::Item(place, _) | Role::When(place)) = role else { return };
        let n = if let Role::Item(_, n) = role { n } else { 0 };
        let graph = Arc::clone(&self.graph);
        let Some((step, how)) = graph.steps.get(place).and_then(|step| Some((step, step.compensation.as_ref()?)))
        else {
            return;
        };
        let what = What::Step(StepAsk {
            retry: how.retry.clone(),
            timeout_ms: how.timeout_ms,
            compensates: Some(op),
            ..StepAsk::default()
        });
        self.ask(Role::Undo(op), COMPENSATE, &step.name, n, what);
    }
}
