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
    options: Options,
    waiting: VecDeque<Waiting>,
    in_flight: usize,
    /// It is in [`Backlog::ready`].
    queued: bool,
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
    pub fn new(input: Json, now: Timestamp, when: When, about: &About) -> Result<Self> {
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
    /// Lanes of which a commit should start, each once, in the order in which they are to come.
    ready: VecDeque<LaneKey>,
    /// Commits under way in all lanes.
    in_flight: usize,
    /// Submits that are not answered yet.
    tasks: usize,
}

/// A commit under way: a lane's next one can only begin once it is over, however it ends.
struct Underway {
    core: Arc<Core>,
    key: LaneKey,
    /// Submits that it answers.
    size: usize,
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.core.lanes.lock().finish(&self.key, self.size);
        // Once the queue is gone no commit could run.
        if !self.core.spawner.is_gone() {
            self.core.start_commits(&self.key);
        }
    }
}

impl Backlog {
    /// Puts a lane into the queue if a commit of it should start.
    fn enqueue(&mut self, key: &LaneKey) {
        if let Some(lane) = self.lanes.get_mut(key).filter(|lane| !lane.queued && lane.wants_commit()) {
            lane.queued = true;
            self.ready.push_back(key.clone());
        }
    }

    /// The next lane of which a commit should and may start. It is in flight then.
    fn begin(&mut self) -> Option<LaneKey> {
        while self.in_flight < limits::SUBMITS_IN_FLIGHT_IN_ALL {
            let key = self.ready.pop_front()?;
            let Some(lane) = self.lanes.get_mut(&key) else { continue };
            lane.queued = false;
            if lane.wants_commit() {
                lane.in_flight += 1;
                self.in_flight += 1;
                return Some(key);
            }
        }
        None
    }

    fn finish(&mut self, key: &LaneKey, size: usize) {
        self.tasks -= size;
        self.in_flight -= 1;
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.in_flight -= 1;
            if lane.in_flight == 0 && lane.waiting.is_empty() {
                self.lanes.remove(key);
            }
        }
    }
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
            let lane = backlog.lanes.entry(key.clone());
            let lane = lane.or_insert_with(|| Lane::new(submission.options.clone(), limits));
            lane.waiting.push_back(Waiting { draft, answer });
            drop(backlog);
        }
        self.core().start_commits(&key);
        answered.await.unwrap_or_else(|_| {
            let message = "the queue was closed, or has failed, while a submit was under way: the task may exist";
            Err(Error::Closed(message.into()))
        })
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
pub(super) fn batch_size<'a>(drafts: impl Iterator<Item = &'a Draft>, limits: RecordLimits) -> usize {
    let (mut bytes, mut first) = (0, true);
    let fits = |draft: &&Draft| {
        bytes += draft.bytes();
        std::mem::take(&mut first) || bytes <= limits.bytes
    };
    drafts.take(limits.tasks).take_while(fits).count()
}

impl Lane {
    const fn new(options: Options, limits: RecordLimits) -> Self {
        Self { options, waiting: VecDeque::new(), in_flight: 0, queued: false, limits }
    }

    /// Whether a commit should start now: at once when none is in flight, and also beside others when a whole record
    /// is waiting.
    fn wants_commit(&self) -> bool {
        let size = self.next_size();
        let full = size == self.limits.tasks || size < self.waiting.len();
        size > 0 && self.in_flight < limits::SUBMITS_IN_FLIGHT && (self.in_flight == 0 || full)
    }

    /// Takes the next record's worth.
    fn next_batch(&mut self) -> (Vec<Waiting>, Options) {
        let size = self.next_size();
        (self.waiting.drain(..size).collect(), self.options.clone())
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

    /// Starts the commits that should and may start, in this lane and in those that wait.
    fn start_commits(self: &Arc<Self>, key: &LaneKey) {
        self.lanes.lock().enqueue(key);
        loop {
            let begun = self.lanes.lock().begin();
            let Some(key) = begun else { return };
            let mut underway = Underway { core: Arc::clone(self), key, size: 0 };
            self.spawner.spawn(async move {
                // Submits that are about to reach this lane travel along; nobody waits for any that are not.
                yield_now().await;
                let next = underway.core.lanes.lock().lanes.get_mut(&underway.key).map(Lane::next_batch);
                let (batch, options) = next.unwrap_or_default();
                underway.size = batch.len();
                underway.core.start_commits(&underway.key);
                if !batch.is_empty() {
                    underway.core.commit_batch(&underway.key, &options, batch).await;
                }
            });
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
