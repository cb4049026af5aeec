//! A queue as its users see it: submit, look, wait.

mod attach;
mod bell;
mod cancel;
mod dead;
mod derived;
pub mod doctor;
mod explain;
mod fill;
mod graph;
mod history;
mod lifecycle;
mod list;
mod look;
mod marker;
mod notices;
mod place;
mod purge;
mod repair;
mod revive;
mod schedules;
mod schemas;
mod settings;
mod submission;
mod submit;
mod unique;
mod wait;
mod wake;

use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use futures::stream;

pub use self::attach::check_files;
pub(crate) use self::bell::{Bell, Read as BellRead, Rung, Told};
pub use self::cancel::{CancelCounts, CancelFilter};
pub use self::dead::{DeadFilter, Moved, Step, Stepped};
pub(crate) use self::derived::Derived;
pub(crate) use self::fill::is_small;
pub use self::graph::{Dependency, Node};
pub use self::history::{Event, History};
pub use self::lifecycle::{Lifecycle, LifecycleChoice};
pub use self::list::{CorruptObject, Filter, Listing};
pub(crate) use self::list::{check_cursor, check_limit};
pub use self::marker::{FORMAT, FORMER, Made};
use self::notices::Outgoing;
use self::place::Place;
pub use self::purge::{Purge, Purged};
pub use self::repair::Repaired;
pub use self::schedules::{Declared, Filled, PutSchedule, ScheduleListing, Synced};
pub(crate) use self::schedules::{LoadedSchedule, ScheduleChange, StoredSchedule};
pub use self::schemas::{Schemas, Shown};
pub use self::settings::{RecordLimits, Settings};
pub use self::submission::{About, Submission, When, check_payload, check_type};
use self::submit::Lanes;
pub use self::unique::{Scope, Unique};
use self::wait::Watches;
use crate::bucket::{Bucket, Deleter, Usage};
use crate::deliver::{Hears, Herald};
use crate::entropy::Entropy;
use crate::error::Result;
use crate::id::{RecordId, TaskId, WorkerId};
use crate::keys::ReadyEntry;
use crate::record::{BatchRecord, Options, Task};
use crate::store::Store;
use crate::tasks::{Spawner, TaskOwner};
use crate::transact::Desk;

/// Records read at the same time by one call.
const READS_IN_FLIGHT: usize = 16;

/// A queue in one store. Clones share everything; dropping the last one stops its background work.
#[derive(Clone, Debug)]
pub struct Queue {
    core: Arc<Core>,
    _tasks: Arc<TaskOwner>,
}

/// What the queue's background tasks share with its users.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) desk: Desk,
    pub(crate) settings: Settings,
    pub(crate) bell: Bell,
    pub(crate) spawner: Spawner,
    schemas: schemas::Known,
    lanes: Lanes,
    notices: Outgoing,
    watches: Watches,
    crew: explain::Crew,
    nearby: Mutex<Vec<std::sync::Weak<dyn Nearby>>>,
    place: Place,
}

/// A worker in the same process: told at once of new work.
pub(crate) trait Nearby: Send + Sync + std::fmt::Debug {
    /// This entry was just written.
    fn offer(&self, entry: ReadyEntry);

    /// Somebody of this process has committed this revision.
    fn notice(&self, record: &BatchRecord);

    /// Whether it has this id.
    fn is(&self, worker: WorkerId) -> bool;

    /// A schedule was just created, changed or deleted.
    fn schedules_changed(&self);
}

/// A task with the parts of its record that concern it.
#[derive(Clone, Debug)]
pub struct TaskView {
    /// The task's id.
    pub id: TaskId,
    /// Its record's type.
    pub kind: String,
    /// Its record's options.
    pub options: Options,
    /// The task.
    pub task: Task,
}

impl TaskView {
    /// The view of one of the record's tasks.
    #[must_use]
    pub fn of(record: &BatchRecord, task: &Task) -> Self {
        Self {
            id: record.id.task(task.n),
            kind: record.kind.clone(),
            options: record.options_of(task).into_owned(),
            task: task.clone(),
        }
    }
}

impl Queue {
    /// Opens the queue in `store`: reads its marker or, at first use, probes the store and writes it.
    ///
    /// # Errors
    /// As [`Queue::ensure`].
    pub async fn open(store: Arc<dyn Store>, entropy: Entropy, settings: Settings) -> Result<Self> {
        let queue = Self::at(store, entropy, settings);
        queue.ensure().await?;
        Ok(queue)
    }

    /// The queue that is in `store`, or may be. Asks nothing of it yet.
    #[must_use]
    pub fn at(store: Arc<dyn Store>, entropy: Entropy, settings: Settings) -> Self {
        let bucket = Bucket::new(store, entropy);
        let deleter = Deleter::new(bucket.clone());
        let tasks = TaskOwner::default();
        let spawner = tasks.spawner();
        let to_run = deleter.clone();
        let alarm = |panic: &str| tracing::error!(panic, "the deletion of index entries panicked and begins anew");
        spawner.keep(move || to_run.clone().run(), alarm);
        let herald = Herald::default();
        let core = Arc::new(Core {
            bell: Bell::new(bucket.clone(), settings.bell_touch),
            desk: Desk {
                bucket,
                deleter,
                variant: settings.variant,
                parked_in: Arc::default(),
                herald: herald.clone(),
            },
            settings,
            spawner,
            schemas: schemas::Known::default(),
            lanes: Lanes::default(),
            notices: Outgoing::default(),
            watches: Watches::default(),
            crew: explain::Crew::default(),
            nearby: Mutex::default(),
            place: Place::default(),
        });
        let hears: std::sync::Weak<Core> = Arc::downgrade(&core);
        herald.tell(hears);
        Self { core, _tasks: Arc::new(tasks) }
    }

    /// Makes sure that the store is marked as a queue: where it is not, probes the store and writes the marker, and says so. Asks
    /// nothing of a store that is known to be marked.
    ///
    /// # Errors
    /// [`crate::Error::Unsupported`] if the store cannot keep what buquet promises, [`crate::Error::Layout`] if a
    /// newer version of buquet wrote the marker, and the store's.
    pub async fn ensure(&self) -> Result<Option<Made>> {
        self.core.ensure().await
    }

    /// Whether there is a queue in the store. Makes none, and asks nothing where there is known to be one.
    ///
    /// # Errors
    /// [`crate::Error::Layout`] if a newer version of buquet wrote the marker, and the store's.
    pub async fn is_there(&self) -> Result<bool> {
        self.core.is_there().await
    }

    pub(crate) const fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// The bucket underneath.
    #[must_use]
    pub fn bucket(&self) -> &Bucket {
        &self.core.desk.bucket
    }

    /// What has been asked of the store since the queue was opened.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.bucket().usage()
    }

    /// Looks up tasks; `None` for those that do not exist. Tasks of one record cost one GET.
    ///
    /// # Errors
    /// The store's, and [`crate::Error::Corrupt`] if a record cannot be read.
    pub async fn get(&self, ids: &[TaskId]) -> Result<Vec<Option<TaskView>>> {
        let mut records: Vec<RecordId> = ids.iter().map(|id| id.record()).collect();
        records.sort_unstable();
        records.dedup();
        let desk = &self.core.desk;
        let loads = stream::iter(records).map(|id| async move { (id, desk.load(id).await) });
        let loaded: Vec<_> = loads.buffer_unordered(READS_IN_FLIGHT).collect().await;
        let mut found = std::collections::BTreeMap::new();
        for (id, stored) in loaded {
            if let Some(stored) = stored? {
                found.insert(id, stored.record);
            }
        }
        let view = |id: &TaskId| {
            let record = found.get(&id.record())?;
            record.task(*id).map(|task| TaskView::of(record, task))
        };
        Ok(ids.iter().map(view).collect())
    }

    /// Touches the bell if a touch is due, so that workers hear of what was made here.
    pub async fn flush_bell(&self) {
        self.core.bell.flush().await;
    }

    /// Finishes what was put off: deletes and the bell.
    pub async fn flush(&self) {
        self.flush_bell().await;
        self.core.desk.deleter.flush().await;
    }
}

impl Hears for Core {
    fn delivered(&self, record: &BatchRecord) {
        self.show(record);
        self.tell_nearby(record);
        record.claim_entries().for_each(|entry| self.announce(entry));
    }

    fn delivered_unseen(&self) {
        self.ring();
    }
}

impl Core {
    pub(crate) fn add_nearby(&self, worker: std::sync::Weak<dyn Nearby>) {
        let mut nearby = self.nearby.lock().unwrap_or_else(PoisonError::into_inner);
        nearby.retain(|worker| worker.strong_count() > 0);
        nearby.push(worker);
    }

    /// Tells the workers of this process what became of a record.
    pub(crate) fn tell_nearby(&self, record: &BatchRecord) {
        self.nearby().iter().for_each(|worker| worker.notice(record));
    }

    /// Whether a worker of this process has this id.
    pub(crate) fn is_nearby(&self, worker: WorkerId) -> bool {
        self.nearby().iter().any(|nearby| nearby.is(worker))
    }

    /// Tells the workers of other processes that there is new work.
    pub(crate) fn ring(&self) {
        self.bell.ring(&self.spawner, None);
    }

    fn nearby(&self) -> Vec<Arc<dyn Nearby>> {
        let nearby = self.nearby.lock().unwrap_or_else(PoisonError::into_inner);
        nearby.iter().filter_map(std::sync::Weak::upgrade).collect()
    }

    /// Tells workers of new work: those of this process at once, others by the bell.
    pub(crate) fn announce(&self, entry: ReadyEntry) {
        self.nearby().iter().for_each(|worker| worker.offer(entry));
        // Work due later than this is found by the regular look.
        if entry.due <= self.desk.bucket.now().after(self.settings.horizon()) {
            self.bell.ring(&self.spawner, Some(entry));
        }
    }
}
