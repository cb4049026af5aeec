//! Submitting with group commit: what arrives while a commit is in flight goes into the next one together.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use futures::stream;
use tokio::sync::oneshot;
use tokio::task::yield_now;

use super::submission::{self, About, Submission, When, check_payload};
use super::{Core, Queue, RecordLimits};
use crate::error::{Error, Result};
use crate::id::{CommitId, RecordId, TaskId};
use crate::limits;
use crate::payload::{Parcels, inline_bytes};
use crate::record::{BatchRecord, Extras, Json, Options, Task};
use crate::time::Timestamp;

/// Fresh ids tried when a submit finds its place taken.
const NEW_IDS: usize = 5;

/// Tasks of equal type, options and due minute: those may share a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LaneKey {
    kind: String,
    options: String,
    due_minute: Option<i64>,
}

#[derive(Debug)]
struct Lane {
    waiting: VecDeque<Waiting>,
    in_flight: usize,
    limits: RecordLimits,
}

#[derive(Debug)]
struct Waiting {
    draft: Draft,
    answer: oneshot::Sender<Result<TaskId>>,
}

/// A task on its way into a record.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub input: Json,
    pub available_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub extras: Extras,
    /// The key that makes it the only one.
    pub key: Option<String>,
}

impl Draft {
    fn new(input: Json, now: Timestamp, when: When, about: &About) -> Result<Self> {
        let available_at = when.moment(now);
        let expires_at = about.expires_at(now, available_at)?;
        Ok(Self { input, available_at, expires_at, extras: about.extras.clone(), key: None })
    }

    fn bytes(&self) -> usize {
        inline_bytes(&self.input) + self.extras.bytes()
    }

    /// The task it becomes.
    pub fn task(&self, n: u16, submitted_at: Timestamp) -> Task {
        let task = Task::new(n, self.input.clone(), submitted_at, self.available_at).with(self.extras.clone());
        Task { expires_at: self.expires_at, key: self.key.clone(), ..task }
    }
}

/// The submits under way, by what may share a record.
#[derive(Debug, Default)]
pub struct Lanes(Mutex<Backlog>);

#[derive(Debug, Default)]
struct Backlog {
    lanes: BTreeMap<LaneKey, Lane>,
    /// Submits that are not answered yet.
    tasks: usize,
}

impl Queue {
    /// Submits a task. Returns once the task and the entry that leads to it are stored. Submits that come while
    /// another of the same type and options is in flight are stored together.
    ///
    /// # Errors
    /// [`Error::Invalid`] before anything is stored; the store's. After [`Error::Unavailable`] the task may exist.
    pub async fn submit(&self, submission: Submission) -> Result<TaskId> {
        submission.check()?;
        self.check_inputs(&submission.kind, std::slice::from_ref(&submission.input)).await?;
        let (key, draft) = self.core().place(&submission)?;
        let (answer, answered) = oneshot::channel();
        {
            let mut backlog = self.core().lanes.lock();
            if backlog.tasks >= limits::SUBMIT_BACKLOG {
                return Err(Error::Unavailable(format!(
                    "{} submits are waiting to be stored already; wait for some to be answered",
                    limits::SUBMIT_BACKLOG
                )));
            }
            backlog.tasks += 1;
            let limits = self.core().settings.record;
            let lane = backlog.lanes.entry(key.clone()).or_insert_with(|| Lane::new(limits));
            lane.waiting.push_back(Waiting { draft, answer });
            drop(backlog);
        }
        self.core().start_commits(&key, &submission.options);
        answered
            .await
            .unwrap_or_else(|_| Err(Error::Closed("the queue was closed while a submit was under way".into())))
    }

    /// Submits many tasks of one type with the same options, in as few records as possible. Returns their ids in
    /// order.
    ///
    /// # Errors
    /// As [`Queue::submit`]. If the store fails half way, some of the tasks may exist.
    pub async fn submit_many(
        &self,
        kind: &str,
        inputs: Vec<Json>,
        options: Options,
        when: When,
        about: &About,
    ) -> Result<Vec<TaskId>> {
        submission::check(kind, &options, when, about)?;
        if inputs.len() > limits::SUBMIT_MANY {
            return Err(Error::Invalid(format!(
                "{} inputs in one call; give up to {} and call again for the rest",
                inputs.len(),
                limits::SUBMIT_MANY
            )));
        }
        for (n, input) in inputs.iter().enumerate() {
            check_payload(&format!("input number {n}"), input)?;
        }
        self.check_inputs(kind, &inputs).await?;
        let limits = self.core().settings.record;
        let now = self.bucket().now();
        let drafts: Result<VecDeque<Draft>> =
            inputs.into_iter().map(|input| Draft::new(input, now, when, about)).collect();
        let mut drafts = drafts?;
        let batches = std::iter::from_fn(move || {
            let batch: Vec<Draft> = (0..batch_size(drafts.iter(), limits)).filter_map(|_| drafts.pop_front()).collect();
            (!batch.is_empty()).then_some(batch)
        });
        let stores = stream::iter(batches).map(|batch| self.core().store(kind, &options, batch));
        let outcomes: Vec<Result<Vec<TaskId>>> = stores.buffered(limits::SUBMITS_IN_FLIGHT).collect().await;
        let done: usize = outcomes.iter().flatten().map(Vec::len).sum();
        let ids: Result<Vec<Vec<TaskId>>> = outcomes.into_iter().collect();
        match ids {
            Ok(ids) => Ok(ids.into_iter().flatten().collect()),
            Err(Error::Unavailable(message)) if done > 0 => {
                Err(Error::Unavailable(format!("{message} ({done} of the tasks were stored before)")))
            }
            Err(error) => Err(error),
        }
    }
}

/// How many of the drafts fit into one record; one that is alone always does.
fn batch_size<'a>(drafts: impl Iterator<Item = &'a Draft>, limits: RecordLimits) -> usize {
    let (mut bytes, mut first) = (0, true);
    let fits = |draft: &&Draft| {
        bytes += draft.bytes();
        std::mem::take(&mut first) || bytes <= limits.bytes
    };
    drafts.take(limits.tasks).take_while(fits).count()
}

impl Lane {
    const fn new(limits: RecordLimits) -> Self {
        Self { waiting: VecDeque::new(), in_flight: 0, limits }
    }

    /// Whether a commit should start now: at once when none is in flight, and also beside others when a whole record
    /// is waiting. It is in flight then.
    fn begin_commit(&mut self) -> bool {
        let size = self.next_size();
        let full = size == self.limits.tasks || size < self.waiting.len();
        let begins = size > 0 && self.in_flight < limits::SUBMITS_IN_FLIGHT && (self.in_flight == 0 || full);
        self.in_flight += usize::from(begins);
        begins
    }

    /// Takes the next record's worth.
    fn next_batch(&mut self) -> Vec<Waiting> {
        let size = self.next_size();
        self.waiting.drain(..size).collect()
    }

    fn next_size(&self) -> usize {
        batch_size(self.waiting.iter().map(|waiting| &waiting.draft), self.limits)
    }
}

impl Lanes {
    fn lock(&self) -> std::sync::MutexGuard<'_, Backlog> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// The task to be, by the time it is now.
    pub(super) fn draft(&self, submission: &Submission) -> Result<Draft> {
        Draft::new(submission.input.clone(), self.desk.bucket.now(), submission.when, &submission.about)
    }

    fn place(&self, submission: &Submission) -> Result<(LaneKey, Draft)> {
        let draft = self.draft(submission)?;
        let options = serde_json::to_string(&submission.options)
            .map_err(|error| Error::Internal(format!("options cannot be written as JSON: {error}")))?;
        let due_minute = draft.available_at.map(Timestamp::minute);
        Ok((LaneKey { kind: submission.kind.clone(), options, due_minute }, draft))
    }

    fn start_commits(self: &Arc<Self>, key: &LaneKey, options: &Options) {
        if !self.lanes.lock().lanes.get_mut(key).is_some_and(Lane::begin_commit) {
            return;
        }
        let (core, key, options) = (Arc::clone(self), key.clone(), options.clone());
        self.spawner.spawn(async move {
            // Submits that are about to reach this lane travel along; nobody waits for any that are not.
            yield_now().await;
            let batch = core.lanes.lock().lanes.get_mut(&key).map(Lane::next_batch).unwrap_or_default();
            core.start_commits(&key, &options);
            let size = batch.len();
            if size > 0 {
                core.commit_batch(&key, &options, batch).await;
            }
            core.finish_commit(&key, size);
            core.start_commits(&key, &options);
        });
    }

    fn finish_commit(&self, key: &LaneKey, size: usize) {
        let mut backlog = self.lanes.lock();
        backlog.tasks -= size;
        if let Some(lane) = backlog.lanes.get_mut(key) {
            lane.in_flight -= 1;
            if lane.in_flight == 0 && lane.waiting.is_empty() {
                backlog.lanes.remove(key);
            }
        }
    }

    async fn commit_batch(&self, key: &LaneKey, options: &Options, batch: Vec<Waiting>) {
        let (drafts, answers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|waiting| (waiting.draft, waiting.answer)).unzip();
        // A caller that gave up does not hold up the others: its task is stored all the same.
        match self.store(&key.kind, options, drafts).await {
            Ok(ids) => {
                for (answer, id) in answers.into_iter().zip(ids) {
                    let _ = answer.send(Ok(id));
                }
            }
            Err(error) => {
                for answer in answers {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
    }

    /// Stores one record and tells the workers.
    async fn store(&self, kind: &str, options: &Options, drafts: Vec<Draft>) -> Result<Vec<TaskId>> {
        let bucket = &self.desk.bucket;
        for _ in 0..NEW_IDS {
            let now = bucket.now();
            let mut tasks: Vec<Task> = (0..).zip(&drafts).map(|(n, draft)| draft.task(n, now)).collect();
            let id = RecordId::random(bucket.entropy());
            let parcels = Parcels::of_inputs(id, &mut tasks, bucket.entropy());
            let commit = CommitId::random(bucket.entropy());
            let mut record = BatchRecord::new(id, kind.to_owned(), options.clone(), now, tasks, commit);
            if parcels.around(bucket, self.desk.variant, self.desk.create(&mut record)).await? {
                if let Some(entry) = record.ready_entry() {
                    self.announce(entry);
                }
                return Ok(record.tasks.iter().map(|task| id.task(task.n)).collect());
            }
            // A sweeper took this submit for dead and voided its record: nobody was told of the id yet.
        }
        Err(Error::Unavailable(format!("a submit was overtaken by sweepers {NEW_IDS} times; the store is too slow")))
    }
}
