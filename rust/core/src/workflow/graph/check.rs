//! What a graph must satisfy, checked when it is defined; and its input, checked when a run is started.

use std::collections::{BTreeMap, BTreeSet};

use super::super::ids::check_name;
use super::super::limits;
use super::definition::{Graph, Join, Parameter, Step, StepFailure};
use crate::error::{Error, Result};
use crate::queue::check_type;

const fn refuse<T>(what: String) -> Result<T> {
    Err(Error::Invalid(what))
}

impl Graph {
    /// Checks the whole definition.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the step, what is wrong with it, and what to do.
    pub fn check(&self) -> Result<()> {
        check_name("workflow", &self.name)?;
        if self.steps.is_empty() {
            return refuse(format!("workflow {:?} has no steps: declare at least one", self.name));
        }
        if self.steps.len() > limits::STEPS {
            return refuse(format!("workflow {:?} has {} steps; up to {}", self.name, self.steps.len(), limits::STEPS));
        }
        check_bound(&self.name, "max_concurrent_steps", self.max_concurrent_steps)?;
        self.check_names()?;
        self.steps.iter().try_for_each(|step| self.check_step(step))?;
        self.check_cycles()?;
        self.steps.iter().try_for_each(|step| self.check_reach(step))?;
        self.check_parameters()?;
        match &self.result {
            Some(name) if self.place(name).is_none() => {
                refuse(format!("the result of workflow {:?} is that of {name:?}, and it has no such step", self.name))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn check_names(&self) -> Result<()> {
        let mut names = BTreeSet::new();
        for step in &self.steps {
            check_name("step", &step.name)?;
            if !names.insert(&step.name) {
                return refuse(format!("workflow {:?} has two steps named {:?}: rename one", self.name, step.name));
            }
        }
        Ok(())
    }

    fn check_step(&self, step: &Step) -> Result<()> {
        let name = &step.name;
        let mut seen = BTreeSet::new();
        for dependency in &step.depends_on {
            if self.place(dependency).is_none() {
                return refuse(format!("step {name:?} depends on {dependency:?}, and there is no such step"));
            }
            if !seen.insert(dependency) {
                return refuse(format!("step {name:?} depends on {dependency:?} twice"));
            }
        }
        if let Some(retry) = &step.retry {
            retry.check().map_err(|error| Error::Invalid(format!("step {name:?}: {error}")))?;
        }
        if let Some(task) = &step.task {
            check_type(&task.kind)?;
            if step.on_failure == StepFailure::Pause {
                return refuse(format!(
                    "step {name:?} is a task and pauses when it fails, which only steps in place can; \
                     use on_failure=\"fail\" and retry the run"
                ));
            }
        }
        check_map(step)
    }

    /// A step that waits for itself, by way of others, would never start.
    fn check_cycles(&self) -> Result<()> {
        let mut left: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for step in &self.steps {
            left.insert(&step.name, step.depends_on.iter().map(String::as_str).collect());
        }
        while let Some(free) = left.iter().find(|(_, needs)| needs.is_empty()).map(|(name, _)| *name) {
            left.remove(free);
            for needs in left.values_mut() {
                needs.remove(free);
            }
        }
        let Some(mut at) = left.keys().next().copied() else { return Ok(()) };
        // Whoever is left needs somebody who is left: following them leads round a cycle.
        let mut path: Vec<&str> = Vec::new();
        while !path.contains(&at) {
            path.push(at);
            at = left.get(at).and_then(|needs| needs.first()).copied().unwrap_or(at);
        }
        let cycle: Vec<&str> = path.into_iter().skip_while(|name| *name != at).chain([at]).collect();
        refuse(format!("the steps of workflow {:?} wait for each other: {}", self.name, cycle.join(" -> ")))
    }

    /// A step that runs after failures alone is of no use behind steps that end the run when they fail.
    fn check_reach(&self, step: &Step) -> Result<()> {
        let goes_on = |name: &String| {
            self.place(name)
                .and_then(|place| self.steps.get(place))
                .is_some_and(|before| before.on_failure == StepFailure::Continue)
        };
        if step.join == Join::Failure && !step.depends_on.iter().any(goes_on) {
            return refuse(format!(
                "step {:?} can never be reached: it runs after a failure, and no step that it depends on has \
                 on_failure=\"continue\"",
                step.name
            ));
        }
        Ok(())
    }

    fn check_parameters(&self) -> Result<()> {
        for step in &self.steps {
            let mut names = BTreeSet::new();
            for parameter in &step.parameters {
                if !names.insert(&parameter.name) {
                    return refuse(format!("step {:?} has two parameters named {:?}", step.name, parameter.name));
                }
                let provided = step.depends_on.contains(&parameter.name);
                if !provided && self.place(&parameter.name).is_some() {
                    return refuse(format!(
                        "step {:?} has a parameter {:?}, which is the name of a step that it does not depend on: add it \
                         to depends_on, or rename the parameter",
                        step.name, parameter.name
                    ));
                }
                let declared = self.inputs.as_ref().is_none_or(|inputs| inputs.contains(&parameter.name));
                if parameter.required && !provided && !declared {
                    return refuse(format!(
                        "nobody provides parameter {:?} of step {:?}: no step before it and no input of the run has \
                         that name",
                        parameter.name, step.name
                    ));
                }
            }
        }
        Ok(())
    }

    /// The parameters that the run's input provides, and whether somebody cannot do without.
    #[must_use]
    pub fn inputs(&self) -> BTreeMap<&str, bool> {
        let mut inputs = BTreeMap::new();
        for step in &self.steps {
            let given = |parameter: &&Parameter| !step.depends_on.contains(&parameter.name);
            for parameter in step.parameters.iter().filter(given) {
                *inputs.entry(parameter.name.as_str()).or_default() |= parameter.required;
            }
            if let Some(over) = step.map_over.as_ref().filter(|over| !step.depends_on.contains(over)) {
                inputs.insert(over, true);
            }
        }
        inputs
    }

    /// Checks the names of a run's inputs.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming those that are missing, or that nobody takes.
    pub fn check_inputs<'a>(&self, given: impl Iterator<Item = &'a str>) -> Result<()> {
        let inputs = self.inputs();
        let given: BTreeSet<&str> = given.collect();
        let missing = inputs.iter().find(|(name, required)| **required && !given.contains(**name));
        if let Some((name, _)) = missing {
            return refuse(format!("the input of workflow {:?} lacks {name:?}", self.name));
        }
        let declared = |name: &str| self.inputs.as_ref().is_some_and(|inputs| inputs.iter().any(|input| input == name));
        if let Some(name) = given.iter().find(|name| !inputs.contains_key(**name) && !declared(name)) {
            let taken: Vec<&str> = inputs.keys().copied().collect();
            return refuse(format!(
                "the input of workflow {:?} has {name:?}, which no step takes; they take {}",
                self.name,
                taken.join(", ")
            ));
        }
        Ok(())
    }
}

fn check_bound(name: &str, what: &str, bound: Option<u32>) -> Result<()> {
    if bound == Some(0) {
        return refuse(format!("{what} of {name:?} is 0: give 1 or more, or leave it out"));
    }
    Ok(())
}

fn check_map(step: &Step) -> Result<()> {
    let name = &step.name;
    let Some(over) = &step.map_over else {
        let bounds = [step.max_concurrency, step.min_successful, step.tolerated_failures];
        if bounds.iter().any(Option::is_some) || step.tolerated_percentage.is_some() {
            return refuse(format!("step {name:?} has bounds for items, and no map_over that would make some"));
        }
        return Ok(());
    };
    if over == name {
        return refuse(format!("step {name:?} is made for each item of its own result"));
    }
    check_bound(name, "max_concurrency", step.max_concurrency)?;
    check_bound(name, "min_successful", step.min_successful)?;
    match step.tolerated_percentage {
        Some(share) if !(0.0..=100.0).contains(&share) => {
            refuse(format!("tolerated_percentage of {name:?} is {share}: give 0 to 100"))
        }
        Some(_) | None => Ok(()),
    }
}
