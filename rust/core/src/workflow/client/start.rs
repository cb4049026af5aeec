//! Starting runs: the submit of their drivers' tasks.

use futures::{StreamExt, stream};
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::id::TaskId;
use crate::limits;
use crate::payload::{inline_bytes, read_json};
use crate::queue::{Derived, Queue, RUN_TYPE, When, canonical, check_payload, is_encoded, shortened};
use crate::record::{BatchRecord, Extras, Json, Options, RetryPolicy, Task};
use crate::time::Timestamp;
use crate::transact::{Stored, Transacted};
use crate::workflow::ids::{check_name, named_run};
use crate::workflow::model::Run;
use crate::workflow::status::RunStatus;

/// Times a start is tried again after others changed the run meanwhile.
const TRIES: usize = 5;

/// What happens if there is a run of the same name already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExisting {
    /// It is the answer, if workflow and input agree.
    #[default]
    Return,
    /// The start is refused.
    Reject,
    /// One that has ended is started anew.
    AgainIfEnded,
    /// One that has failed or was called off is started anew.
    AgainIfFailed,
}

/// What runs have in common that are started together.
#[derive(Clone, Debug, Default)]
pub struct StartRuns {
    /// The workflow.
    pub workflow: String,
    /// When they are called off by themselves.
    pub deadline: Option<When>,
    /// 0 to 9; 9 goes first.
    pub priority: Option<u8>,
    /// When they begin.
    pub when: When,
    /// Tags and metadata.
    pub extras: Extras,
}

/// A run to be started.
#[derive(Clone, Debug)]
pub struct StartRun {
    /// What it has in common with others.
    pub common: StartRuns,
    /// Its input.
    pub input: Json,
    /// The name it is given: there is one run of a name.
    pub name: Option<String>,
    /// What happens if there is one already.
    pub on_existing: OnExisting,
}

/// A run that was started, or was there already.
#[derive(Clone, Debug)]
pub struct StartedRun {
    /// Its id.
    pub id: TaskId,
    /// How often its name was started.
    pub generation: u64,
    /// Whether this call started it.
    pub created: bool,
    /// Its status.
    pub status: RunStatus,
}

impl StartRuns {
    fn check(&self) -> Result<()> {
        check_name("workflow", &self.workflow)?;
        self.options().check()?;
        self.extras.check()?;
        for (what, when) in [("delay", self.when), ("timeout", self.deadline.unwrap_or_default())] {
            if let When::After(span) = when
                && span > limits::LONGEST
            {
                return Err(Error::Invalid(format!("{what} is {} s; give up to 366 days", span.as_secs())));
            }
        }
        Ok(())
    }

    fn kind(&self) -> String {
        format!("{RUN_TYPE}{}", self.workflow)
    }

    /// A driver lives as long as its worker's heartbeat, and its steps have timeouts and retries of their own.
    fn options(&self) -> Options {
        let defaults = Options::default();
        Options {
            timeout_ms: u64::try_from(limits::LONGEST.as_millis()).unwrap_or(u64::MAX),
            priority: self.priority.unwrap_or(defaults.priority),
            retry: RetryPolicy { max_retries: 0, ..RetryPolicy::default() },
            ..defaults
        }
    }

    fn task(&self, n: u16, input: Json, now: Timestamp, generation: u64) -> Task {
        let available_at = self.when.moment(now);
        let mut run = Run::new(self.workflow.clone(), None, generation, available_at.unwrap_or(now).max(now).into());
        run.deadline = self.deadline.and_then(|deadline| deadline.moment(now)).map(Into::into);
        let task = Task::new(n, input, now, available_at).with(self.extras.clone());
        Task { run: Some(Box::new(run)), ..task }
    }
}

impl Queue {
    /// Starts a run. Returns once it is stored.
    ///
    /// # Errors
    /// [`Error::Invalid`] before anything is stored; [`Error::Conflict`] if there is one of this name, and that is not what
    /// was asked for; the store's. After [`Error::Unavailable`] it may have been started; under the same name it is started once.
    pub async fn start_run(&self, start: &StartRun) -> Result<StartedRun> {
        start.common.check()?;
        check_payload("input", &start.input)?;
        let kind = start.common.kind();
        self.check_inputs(&kind, std::slice::from_ref(&start.input)).await?;
        let Some(name) = &start.name else {
            let make = |now| vec![start.common.task(0, start.input.clone(), now, 1)];
            let ids = self.core().store_new(&kind, &start.common.options(), true, make).await?;
            let id = ids.into_iter().next().ok_or_else(|| Error::Internal("a run has no id".into()))?;
            return Ok(StartedRun { id, generation: 1, created: true, status: RunStatus::Pending });
        };
        if name.parse::<TaskId>().is_ok() {
            return Err(Error::Invalid(format!(
                "{name:?} cannot be the name of a run: it looks like an id; leave the name out for an id of its own"
            )));
        }
        let id = named_run(name)?;
        for _ in 0..TRIES {
            let task = start.common.task(0, start.input.clone(), self.bucket().now(), 1);
            let task = Task { key: Some(name.clone()), ..task };
            match self.core().store_derived(id, &kind, &start.common.options(), task).await? {
                Derived::Created(id) => {
                    return Ok(StartedRun { id, generation: 1, created: true, status: RunStatus::Pending });
                }
                Derived::Found(record) => {
                    if let Some(started) = self.meet_existing(start, name, &record).await? {
                        return Ok(started);
                    }
                }
            }
        }
        Err(Error::Unavailable(format!("the start of run {name:?} was overtaken {TRIES} times; try again")))
    }

    /// Starts many runs of one workflow, up to 100 in a record: their commits are shared. Returns their ids in order.
    ///
    /// # Errors
    /// As [`Queue::start_run`]. If the store fails half way, some of them may have been started.
    pub async fn start_runs(&self, common: &StartRuns, inputs: Vec<Json>) -> Result<Vec<TaskId>> {
        common.check()?;
        if inputs.len() > limits::SUBMIT_MANY {
            let (count, most) = (inputs.len(), limits::SUBMIT_MANY);
            return Err(Error::Invalid(format!(
                "{count} inputs in one call; give up to {most} and call again for the rest"
            )));
        }
        for (n, input) in inputs.iter().enumerate() {
            check_payload(&format!("input number {n}"), input)?;
        }
        let (kind, options) = (common.kind(), common.options());
        self.check_inputs(&kind, &inputs).await?;
        let batches = batches(inputs, self.core().settings.record.tasks, self.core().settings.record.bytes);
        let stores = stream::iter(batches).map(|batch| {
            let (kind, options) = (&kind, &options);
            async move {
                let make = |now| (0..).zip(&batch).map(|(n, input)| common.task(n, input.clone(), now, 1)).collect();
                self.core().store_new(kind, options, true, make).await
            }
        });
        let stored: Vec<Result<Vec<TaskId>>> = stores.buffered(limits::SUBMITS_IN_FLIGHT).boxed().collect().await;
        let ids: Result<Vec<Vec<TaskId>>> = stored.into_iter().collect();
        Ok(ids?.into_iter().flatten().collect())
    }

    /// What a start under a name comes to that is taken; `None` to try again.
    async fn meet_existing(&self, start: &StartRun, name: &str, record: &BatchRecord) -> Result<Option<StartedRun>> {
        let id = record.id.task(0);
        let Some(task) = record.tasks.first() else {
            return Err(Error::Corrupt(format!("the record {} of run {name:?} holds nothing; look at it", record.id)));
        };
        if task.purged_at.is_some() {
            return Err(Error::Unavailable(format!("run {name:?} is being pruned; try again")));
        }
        let Some(run) = task.run.as_deref() else {
            return Err(Error::Corrupt(format!("the record {} of run {name:?} holds no run; look at it", record.id)));
        };
        let (generation, status) = (run.generation, run.status);
        let again = match start.on_existing {
            OnExisting::Reject => {
                return Err(Error::Conflict(format!("there is a run {name:?} already: it is {}", status.name())));
            }
            OnExisting::Return => false,
            OnExisting::AgainIfEnded => status.is_ended(),
            OnExisting::AgainIfFailed => matches!(status, RunStatus::Failed | RunStatus::Cancelled),
        };
        if again {
            return self.start_again(start, name, record, generation).await;
        }
        self.compare_start(start, name, record, task).await?;
        Ok(Some(StartedRun { id, generation, created: false, status }))
    }

    async fn compare_start(&self, start: &StartRun, name: &str, record: &BatchRecord, task: &Task) -> Result<()> {
        let first = match &task.input_ref {
            Some(there) => read_json(self.bucket(), record.id, there).await?,
            None => task.input.clone(),
        };
        let encoded = is_encoded(first.text()) || is_encoded(start.input.text());
        let begun_anew = task.run.as_ref().is_some_and(|run| run.execution > 0);
        let same = encoded || begun_anew || canonical(first.text())? == canonical(start.input.text())?;
        if record.kind == start.common.kind() && same {
            return Ok(());
        }
        Err(Error::Conflict(format!(
            "run {name:?} is one of {:?} with the input {}; it cannot be started as {:?} with the input {}: use another name, or \
             on_existing \"again_if_ended\"",
            record.kind.strip_prefix(RUN_TYPE).unwrap_or(&record.kind),
            shortened(first.text()),
            start.common.workflow,
            shortened(start.input.text()),
        )))
    }

    /// Starts a run anew that has ended, under its old name; `None` if somebody else changed it meanwhile.
    async fn start_again(
        &self,
        start: &StartRun,
        name: &str,
        record: &BatchRecord,
        generation: u64,
    ) -> Result<Option<StartedRun>> {
        let Some(stored) = self.core().desk.load(record.id).await? else { return Ok(None) };
        let mut tasks = vec![start.common.task(0, start.input.clone(), self.bucket().now(), generation + 1)];
        let parcels = crate::payload::Parcels::of_inputs(record.id, &mut tasks, self.bucket().entropy());
        let task = tasks.pop().map(|task| Task { key: Some(name.to_owned()), ..task });
        let (kind, options) = (start.common.kind(), start.common.options());
        let change = |record: &mut BatchRecord, now| {
            let task = task.clone().map(|task| Task { submitted_at: now, ..task })?;
            record.start_again(&kind, &options, task)
        };
        let committing = self.core().desk.transact(stored, true, change);
        match parcels.around(self.bucket(), self.core().desk.variant, committing).await? {
            Transacted::Done((), stored) => {
                self.tell_of_start(stored.as_deref());
                let id = record.id.task(0);
                Ok(Some(StartedRun { id, generation: generation + 1, created: true, status: RunStatus::Pending }))
            }
            Transacted::Unchanged(_) | Transacted::Missing | Transacted::Overtaken => Ok(None),
            Transacted::Unknown((), _, error) => Err(error),
        }
    }

    fn tell_of_start(&self, stored: Option<&Stored>) {
        let entry = stored.and_then(|stored| stored.record.ready_entry());
        match entry {
            Some(entry) => self.core().announce(entry),
            None => self.core().ring(),
        }
    }
}

/// Inputs that go into one record each.
fn batches(inputs: Vec<Json>, tasks: usize, most: usize) -> Vec<Vec<Json>> {
    let mut batches: Vec<Vec<Json>> = Vec::new();
    let mut bytes = 0;
    for input in inputs {
        bytes += inline_bytes(&input);
        match batches.last_mut() {
            Some(batch) if batch.len() < tasks && bytes <= most => batch.push(input),
            _ => {
                bytes = inline_bytes(&input);
                batches.push(vec![input]);
            }
        }
    }
    batches
}
