//! Where the arguments of a step come from.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::ids::digest;
use super::super::model::Op;
use super::super::status::StepStatus;
use super::body::{Body, Role, State};
use super::definition::Step;
use crate::error::{Error, Result};
use crate::record::{Extra, Json};

/// The input of a run, by parameter.
#[derive(Clone, Debug, Default)]
pub struct Input(Extra);

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The run's input of this name.
    Input(String),
    /// The result of an operation.
    Result(Op),
    /// The results of a step's items, in their order; `None` for those that brought none.
    Results(Vec<Option<Op>>),
    /// One item of a list.
    Item {
        /// The list.
        of: Box<Self>,
        /// Which item.
        n: u32,
    },
    /// A step that brought no result, and how it ended.
    Missing {
        /// The step.
        step: String,
        /// How it ended.
        status: StepStatus,
        /// The operation with its error, if it has one.
        op: Option<Op>,
    },
}

impl Input {
    /// Reads the input of a run: an object, or null for none.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is anything else.
    pub fn read(input: &Json) -> Result<Self> {
        if input.text().trim() == "null" {
            return Ok(Self::default());
        }
        serde_json::from_str(input.text()).map(Self).map_err(|_| {
            let shown: String = input.text().chars().take(64).collect();
            Error::Invalid(format!(
                "the input of a graph is an object with a value for each parameter, and not {shown}"
            ))
        })
    }

    /// The names of its values.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether it has a value of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The length of the list of this name.
    #[must_use]
    pub fn length(&self, name: &str) -> Option<u32> {
        length(self.0.get(name)?.get())
    }
}

/// The length of a list.
#[must_use]
pub fn length(text: &str) -> Option<u32> {
    let items: Vec<serde::de::IgnoredAny> = serde_json::from_str(text).ok()?;
    u32::try_from(items.len()).ok()
}

/// Digests of the sources of a step's parameters: they tell when a parameter comes from somewhere else than before.
#[must_use]
pub fn args(step: &Step, input: &Input) -> BTreeMap<String, String> {
    let mut args = BTreeMap::new();
    for parameter in &step.parameters {
        let name = parameter.name.as_str();
        let kind = if step.depends_on.iter().any(|dependency| dependency == name) {
            "step"
        } else if input.has(name) {
            "input"
        } else {
            continue;
        };
        let item = if step.map_over.as_deref() == Some(name) { "item of" } else { "" };
        args.insert(name.to_owned(), digest(&[item, kind, name]));
    }
    args
}

/// Puts the arguments of a task together as JSON, where `value` finds what a source brings.
///
/// # Errors
/// Those of `value`.
pub fn compose(bindings: &BTreeMap<String, Source>, mut value: impl FnMut(&Source) -> Result<Json>) -> Result<Json> {
    let mut object = BTreeMap::new();
    for (name, source) in bindings {
        object.insert(name, value(source)?);
    }
    let text = serde_json::to_string(&object)
        .map_err(|error| Error::Internal(format!("arguments cannot be written as JSON: {error}")))?;
    Json::parse(&text)
}

impl Body {
    /// Where the arguments of an operation come from, by parameter.
    #[must_use]
    pub fn bindings(&self, op: Op) -> BTreeMap<String, Source> {
        let (place, item) = match self.roles.get(&op) {
            Some(Role::Undo(undone)) => return BTreeMap::from([("result".to_owned(), Source::Result(*undone))]),
            Some(Role::Step(place) | Role::When(place)) => (*place, None),
            Some(Role::Item(place, n)) => (*place, Some(*n)),
            None => return BTreeMap::new(),
        };
        let Some(step) = self.graph.steps.get(place) else { return BTreeMap::new() };
        let mut bindings = BTreeMap::new();
        for parameter in &step.parameters {
            let Some(source) = self.source(step, &parameter.name) else { continue };
            let source = match item {
                Some(n) if step.map_over.as_ref() == Some(&parameter.name) => Source::Item { of: Box::new(source), n },
                Some(_) | None => source,
            };
            bindings.insert(parameter.name.clone(), source);
        }
        bindings
    }

    fn source(&self, step: &Step, name: &str) -> Option<Source> {
        if step.depends_on.iter().any(|dependency| dependency == name) {
            return self.graph.place(name).map(|place| self.result(place));
        }
        self.input.has(name).then(|| Source::Input(name.to_owned()))
    }

    /// Where the result of a step that has ended lies.
    pub(super) fn result(&self, place: usize) -> Source {
        let step = self.graph.steps.get(place).map(|step| step.name.clone()).unwrap_or_default();
        match self.states.get(place) {
            Some(State::Ended { status: StepStatus::Completed, items: Some(items), .. }) => {
                Source::Results((0..items.count).map(|n| items.completed.get(&n).copied()).collect())
            }
            Some(State::Ended { status: StepStatus::Completed, op: Some(op), .. }) => Source::Result(*op),
            Some(State::Ended { status, op, .. }) => Source::Missing { step, status: *status, op: *op },
            _ => Source::Missing { step, status: StepStatus::Pending, op: None },
        }
    }
}
