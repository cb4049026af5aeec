//! Steps that are made once for each item of a list.

use std::sync::Arc;

use super::super::entry::{Fault, Outcome, Told};
use super::super::limits;
use super::super::model::Op;
use super::super::status::StepStatus;
use super::bindings::{Source, length};
use super::body::{Body, Role, State, fault};
use super::definition::Step;
use super::map::{Items, Verdict};

impl Body {
    pub(super) fn begin_items(&mut self, place: usize, step: &Step) {
        let over = step.map_over.clone().unwrap_or_default();
        match self.length_of(step, &over) {
            Some(count) if usize::try_from(count).is_ok_and(|count| count <= limits::ITEMS) => {
                self.set(place, State::Mapping(Box::new(Items { count, ..Items::default() })));
                self.judge(place, None);
            }
            Some(count) => {
                let said = format!("{over:?} has {count} items; a step is made for up to {}", limits::ITEMS);
                self.failed(place, None, StepStatus::Failed, Fault::new("ValueError", said));
            }
            None => {
                let said = format!("{over:?} is not a list, and step {:?} is made for each of its items", step.name);
                self.failed(place, None, StepStatus::Failed, Fault::new("TypeError", said));
            }
        }
    }

    /// The length of the list that a step is made over.
    fn length_of(&self, step: &Step, over: &str) -> Option<u32> {
        if !step.depends_on.iter().any(|dependency| dependency == over) {
            return self.input.length(over);
        }
        match self.result(self.graph.place(over)?) {
            Source::Results(results) => u32::try_from(results.len()).ok(),
            Source::Result(op) => self.lengths.get(&op).copied(),
            Source::Input(_) | Source::Item { .. } | Source::Missing { .. } => None,
        }
    }

    /// Notes the length of a result, if it is a list.
    pub(super) fn note_length(&mut self, op: Op, told: &Told) {
        let super::super::entry::News::Ended { end, .. } = &told.news else { return };
        let inline = end.output.as_ref().and_then(|output| length(output.text()));
        if let Some(length) = inline.or_else(|| end.output_ref.as_ref().and_then(|there| there.items)) {
            self.lengths.insert(op, length);
        }
    }

    /// Asks for as many items as there is room for.
    pub(super) fn ask_for_items(&mut self, place: usize) {
        let graph = Arc::clone(&self.graph);
        let Some(step) = graph.steps.get(place) else { return };
        while self.has_room() {
            let Some(State::Mapping(items)) = self.states.get_mut(place) else { return };
            if items.room(step) == 0 {
                return;
            }
            let n = items.next;
            items.next += 1;
            items.open += 1;
            let what = self.what(step);
            self.ask(Role::Item(place, n), "", &step.name, n, what);
        }
    }

    pub(super) fn item_ended(&mut self, place: usize, n: u32, op: Op, told: &Told, outcome: Outcome) {
        let Some(State::Mapping(items)) = self.states.get_mut(place) else { return };
        items.open = items.open.saturating_sub(1);
        if outcome == Outcome::Completed {
            items.completed.insert(n, op);
            self.undoable.push((op, Role::Item(place, n)));
            self.judge(place, None);
        } else {
            items.failed.insert(n, (op, Some(fault(told))));
            self.judge(place, Some((n, op, fault(told))));
        }
    }

    /// Whether the step is over; `last` is the failure that may have ended it.
    fn judge(&mut self, place: usize, last: Option<(u32, Op, Fault)>) {
        let graph = Arc::clone(&self.graph);
        let Some(step) = graph.steps.get(place) else { return };
        let Some(State::Mapping(items)) = self.states.get(place) else { return };
        let verdict = items.verdict(step);
        let kept = items.clone();
        match verdict {
            Verdict::Open => {}
            Verdict::Completed => {
                self.stop_where(|role| matches!(role, Role::Item(of, _) if of == place));
                self.set(place, State::Ended { status: StepStatus::Completed, op: None, items: Some(kept) });
            }
            Verdict::Failed(why) => {
                self.stop_where(|role| matches!(role, Role::Item(of, _) if of == place));
                let (op, fault) = match last {
                    Some((n, op, cause)) => {
                        let said = format!("{}[{n}]: {}: {}; {why}", step.name, cause.kind, cause.message);
                        let fault =
                            Fault { cause: Some(Box::new(cause)), op: Some(op), ..Fault::new("ItemsFailed", said) };
                        (Some(op), fault)
                    }
                    None => (None, Fault::new("ItemsFailed", format!("{}: {why}", step.name))),
                };
                self.failed(place, op, StepStatus::Failed, fault);
            }
        }
    }
}
