//! Graphs as data: what a front declares.

use serde::{Deserialize, Serialize};

use super::super::ids::digest;
use crate::error::{Error, Result};
use crate::record::{Json, RetryPolicy};

/// A workflow whose body is a graph of steps.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Graph {
    /// The workflow's name.
    pub name: String,
    /// The version of its code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How long a run may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Most steps of a run that are under way at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent_steps: Option<u32>,
    /// What a cancellation does besides stopping.
    #[serde(default)]
    pub on_cancel: OnCancel,
    /// The names of the run's inputs, where they are declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Vec<String>>,
    /// The step whose result is the run's; without it, the results of the steps that nothing depends on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// The steps, in the order in which they were declared.
    pub steps: Vec<Step>,
}

/// One step of a graph.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// The steps before it.
    #[serde(default)]
    pub depends_on: Vec<String>,
    /// The parameters of its function.
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    /// Its retry policy, where that is not the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// How long one attempt may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Whether an attempt that was interrupted counts as failed.
    #[serde(default)]
    pub at_most_once: bool,
    /// Whether it has a condition.
    #[serde(default)]
    pub when: bool,
    /// What the steps before it must have come to.
    #[serde(default)]
    pub join: Join,
    /// What its failure does.
    #[serde(default)]
    pub on_failure: StepFailure,
    /// How it is undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<Compensation>,
    /// The task of the queue that it is, instead of a function run where the run runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskStep>,
    /// The step or the input over whose items it is made once for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_over: Option<String>,
    /// Most items under way at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u32>,
    /// So many successful items are enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_successful: Option<u32>,
    /// So many items may fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerated_failures: Option<u32>,
    /// Such a share of the items may fail, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerated_percentage: Option<f64>,
}

/// A parameter of a step's function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Whether it has no default.
    #[serde(default)]
    pub required: bool,
}

/// What the steps before a step must have come to, so that it runs; otherwise it is skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Join {
    /// All are completed.
    #[default]
    Success,
    /// All are completed or skipped.
    Skipped,
    /// All have ended, in whatever way.
    Finished,
    /// At least one has failed.
    Failure,
}

/// What the last failure of a step does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepFailure {
    /// The run fails.
    #[default]
    Fail,
    /// The run goes on; the steps behind it follow their own rules.
    Continue,
    /// The run pauses; resumed, it runs the step again.
    Pause,
    /// What was completed is undone, then the run fails.
    Compensate,
}

/// What a cancellation does besides stopping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnCancel {
    /// Nothing.
    #[default]
    Stop,
    /// What was completed is undone.
    Compensate,
}

/// How a step is undone: by a step of its own, which gets its result.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compensation {
    /// Its retry policy, where that is not the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// How long one attempt may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// A task of the queue in the place of a function.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskStep {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its options, for the submit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Json>,
}

impl Graph {
    /// Its hash: equal for equal definitions, whatever the version says.
    ///
    /// # Errors
    /// [`Error::Internal`] if it cannot be written as JSON, which no definition should cause.
    pub fn hash(&self) -> Result<String> {
        let plain = Self { version: None, ..self.clone() };
        let text = serde_json::to_string(&plain)
            .map_err(|error| Error::Internal(format!("graph {:?} cannot be written as JSON: {error}", self.name)))?;
        Ok(digest(&["graph", &text]))
    }

    /// The place of a step.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<usize> {
        self.steps.iter().position(|step| step.name == name)
    }

    /// The steps that nothing depends on, by their places.
    #[must_use]
    pub fn leaves(&self) -> Vec<usize> {
        let needed = |name: &String| self.steps.iter().any(|step| step.depends_on.contains(name));
        (0..).zip(&self.steps).filter(|(_, step)| !needed(&step.name)).map(|(place, _)| place).collect()
    }
}
