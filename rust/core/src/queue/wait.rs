//! Waiting for a task to finish, at the price of few GETs: all waiters of one record share one watch.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Core, Queue, TaskView};
use crate::error::{Error, Result};
use crate::id::{RecordId, TaskId};
use crate::keys;
use crate::record::BatchRecord;
use crate::store::{ETag, Got};

/// The shortest wait that looks for a reason when it was in vain.
const EXPLAINED: Duration = Duration::from_secs(1);

/// What a watch has seen.
#[derive(Clone, Debug, Default)]
enum Seen {
    #[default]
    Nothing,
    Record(Arc<BatchRecord>),
    Missing,
    Error(Error),
}

/// What a look at a record found.
enum Look {
    Changed(Arc<BatchRecord>, ETag),
    Unchanged,
    Missing,
}

/// The records somebody waits for.
#[derive(Debug, Default)]
pub struct Watches(Mutex<BTreeMap<RecordId, watch::Sender<Seen>>>);

/// A watch under way: those who wait are told if it panics.
struct Following<'a> {
    core: &'a Core,
    id: RecordId,
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let message = format!("waiting for a task of the record {} panicked; please report it", self.id);
            self.core.tell(self.id, Seen::Error(Error::Internal(message)));
            self.core.watches.lock().remove(&self.id);
        }
    }
}

impl Queue {
    /// Waits until the task is in a terminal state.
    ///
    /// # Errors
    /// [`Error::Timeout`] after `timeout`, with the reason if the task waits for a worker that does not run;
    /// [`Error::NotFound`] if there is no such task, and the store's.
    pub async fn wait(&self, id: TaskId, timeout: Option<Duration>) -> Result<TaskView> {
        let longest = crate::limits::LONGEST;
        let deadline = Instant::now() + timeout.unwrap_or(longest).min(longest);
        let mut seen = self.core().watch(id.record());
        loop {
            match &*seen.borrow_and_update() {
                Seen::Nothing => {}
                Seen::Missing => return Err(Error::no_task(id)),
                Seen::Error(error) => return Err(error.clone()),
                Seen::Record(record) => {
                    let task = record.task(id).ok_or_else(|| Error::no_task(id))?;
                    if task.status.is_terminal() {
                        return Ok(TaskView::of(record, task));
                    }
                }
            }
            match timeout_at(deadline, seen.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => seen = self.core().watch(id.record()),
                Err(_) => break,
            }
        }
        let view = match &*seen.borrow() {
            Seen::Record(record) => record.task(id).map(|task| TaskView::of(record, task)),
            Seen::Nothing | Seen::Missing | Seen::Error(_) => None,
        };
        let because = match view {
            // Whoever waits for less only looks now and then, and is not to pay for more.
            Some(view) if timeout.is_some_and(|timeout| timeout >= EXPLAINED) => self.because(&view).await,
            _ => String::new(),
        };
        Err(Error::Timeout(format!("task {id} has not finished yet{because}")))
    }
}

impl Watches {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<RecordId, watch::Sender<Seen>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Tells those who wait what was just committed here.
    pub(crate) fn show(&self, record: &BatchRecord) {
        if let Some(watch) = self.watches.lock().get(&record.id) {
            watch.send_replace(Seen::Record(Arc::new(record.clone())));
        }
    }

    fn watch(self: &Arc<Self>, id: RecordId) -> watch::Receiver<Seen> {
        let mut watches = self.watches.lock();
        if let Some(watch) = watches.get(&id) {
            return watch.subscribe();
        }
        let (sender, receiver) = watch::channel(Seen::Nothing);
        watches.insert(id, sender);
        drop(watches);
        let core = Arc::clone(self);
        self.spawner.spawn(async move {
            let _following = Following { core: &core, id };
            core.follow(id).await;
        });
        receiver
    }

    /// Looks at a record, ever less often, until nobody waits for it any more or nothing more can happen to it.
    async fn follow(&self, id: RecordId) {
        let (first, longest) = self.settings.result_watch;
        let (mut pause, mut etag, mut expiry) = (first, None, None);
        loop {
            match self.look(id, etag.as_ref()).await {
                Ok(Look::Unchanged) | Err(Error::Unavailable(_)) => {}
                Ok(Look::Missing) => {
                    self.tell(id, Seen::Missing);
                    break;
                }
                Ok(Look::Changed(record, found)) => {
                    let finished = record.is_finished();
                    (etag, expiry) = (Some(found), record.next_expiry());
                    self.tell(id, Seen::Record(record));
                    if finished {
                        break;
                    }
                    pause = (pause / 2).max(first);
                }
                Err(error) => {
                    self.tell(id, Seen::Error(error));
                    break;
                }
            }
            if self.is_unwatched(id) {
                return;
            }
            if expiry.is_some_and(|at| at <= self.desk.bucket.now())
                && let Err(error) = self.expire(id).await
            {
                tracing::debug!(%error, "what has expired is marked later");
            }
            sleep(pause.mul_f64(self.desk.bucket.entropy().unit().mul_add(-0.2, 1.0))).await;
            pause = pause.mul_f64(1.5).min(longest);
        }
        self.watches.lock().remove(&id);
    }

    async fn look(&self, id: RecordId, known: Option<&ETag>) -> Result<Look> {
        let key = keys::record(id);
        Ok(match self.desk.bucket.get(&key, known).await?.value {
            Got::Found(object) => Look::Changed(Arc::new(BatchRecord::decode(&key, &object.body)?), object.etag),
            Got::NotModified => Look::Unchanged,
            Got::Missing => Look::Missing,
        })
    }

    fn tell(&self, id: RecordId, seen: Seen) {
        if let Some(watch) = self.watches.lock().get(&id) {
            watch.send_replace(seen);
        }
    }

    /// Ends the watch if nobody waits; decided under the lock, so that no waiter can slip in between.
    fn is_unwatched(&self, id: RecordId) -> bool {
        let mut watches = self.watches.lock();
        let unwatched = watches.get(&id).is_none_or(|watch| watch.receiver_count() == 0);
        if unwatched {
            watches.remove(&id);
        }
        unwatched
    }
}
