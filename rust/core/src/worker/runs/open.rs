//! Taking over a run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::{About, Driving, Shared, State, held};
use crate::error::{Error, Result};
use crate::id::{LeaseId, RecordId, TaskId};
use crate::keys;
use crate::payload::read_json;
use crate::queue::is_small;
use crate::record::{Json, PayloadRef, Task};
use crate::store::Got;
use crate::time::Timestamp;
use crate::worker::settle::not_held;
use crate::workflow::chunks::read_back;
use crate::workflow::driver::{Code, Driver};
use crate::workflow::entry::Entry;
use crate::workflow::model::{Journal, Run};

/// Chunks of one journal read at the same time.
const READS_IN_FLIGHT: usize = 8;

/// Which code a front has for a run.
#[derive(Clone, Debug, Default)]
pub struct CodeName {
    /// Its version.
    pub version: Option<String>,
    /// The hash of the graph's definition, if the body is one.
    pub definition: Option<String>,
}

/// What a front needs in order to run a body against its journal.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The run. Its journal is in `entries`.
    pub run: Run,
    /// The name it was given.
    pub key: Option<String>,
    /// What its random numbers begin with.
    pub seed: [u8; 32],
    /// Its input; null where it is too large to be handed out.
    pub input: Json,
    /// Where its input lies, if not in the record.
    pub input_ref: Option<PayloadRef>,
    /// Payloads that came with it.
    pub input_files: Vec<PayloadRef>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Facts about it.
    pub metadata: BTreeMap<String, String>,
    /// The whole journal of this execution.
    pub entries: Vec<Arc<Entry>>,
    /// Server time.
    pub now: Timestamp,
}

impl Shared {
    /// Takes over a run that is held: reads what its front needs, and makes its driver.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if it is not held any more; [`Error::Invalid`] if the task drives no run; [`Error::Corrupt`] if
    /// its journal cannot be read; the store's.
    pub async fn open_run(worker: &Arc<Self>, id: TaskId, lease: LeaseId, code: CodeName) -> Result<Opening> {
        let mut task = worker.read_task(id, lease).await?;
        let Some(mut run) = task.run.take().map(|run| *run) else {
            return Err(Error::Invalid(format!("task {id} drives no run: settle it as a task")));
        };
        if run.journal.is_empty() {
            run.version.clone_from(&code.version);
            run.definition.clone_from(&code.definition);
        }
        let entries = worker.read_journal(id.record(), &run.journal).await?;
        let woken = task.park.as_ref().is_some_and(|park| park.heard);
        let code = Code { run: id, version: code.version, definition: code.definition, woken };
        let driver = Driver::open(run, entries, code)?;
        let input = match &task.input_ref {
            Some(name) if is_small(name) => read_json(&worker.desk().bucket, id.record(), name).await?,
            Some(_) | None => task.input,
        };
        let about = About {
            key: task.key,
            input,
            input_ref: task.input_ref.map(|name| *name),
            input_files: task.input_files,
            tags: task.tags,
            metadata: task.metadata,
        };
        let state = State { driver, about, read: BTreeMap::new(), heard: BTreeSet::new() };
        let opening = worker.opening(&state);
        let driving = Arc::new(Driving { lease, state: Mutex::new(state) });
        let mut inner = worker.lock();
        if !inner.hold.holds(id, lease) {
            return Err(not_held(id));
        }
        if inner.drivers.get(&id).is_some_and(|driving| driving.lease == lease) {
            return Err(Error::Conflict(format!("run {id} was opened under this lease already")));
        }
        inner.drivers.insert(id, driving);
        drop(inner);
        Ok(opening)
    }

    /// What a front needs in order to begin the execution that follows after one that went on as new.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if it is not held any more; [`Error::Conflict`] if it was not opened.
    pub fn reopen_run(&self, id: TaskId, lease: LeaseId) -> Result<Opening> {
        let driving = self.driving(id, lease)?;
        Ok(self.opening(&driving.lock()))
    }

    fn opening(&self, State { driver, about, .. }: &State) -> Opening {
        Opening {
            run: driver.run().clone(),
            key: about.key.clone(),
            seed: driver.origin().seed(""),
            input: about.input.clone(),
            input_ref: about.input_ref.clone(),
            input_files: about.input_files.clone(),
            tags: about.tags.clone(),
            metadata: about.metadata.clone(),
            entries: driver.ledger().entries().to_vec(),
            now: self.now(),
        }
    }

    /// A task that is held, from the revision that is known here.
    async fn read_task(&self, id: TaskId, lease: LeaseId) -> Result<Task> {
        let slot = {
            let mut inner = self.lock();
            if !inner.hold.holds(id, lease) {
                return Err(not_held(id));
            }
            inner.hold.slot(id.record())
        };
        let mut cached = slot.stored.lock().await;
        if cached.as_deref().is_none_or(|stored| held(&stored.record, id, lease).is_none()) {
            *cached = self.desk().load(id.record()).await?.map(Box::new);
        }
        let task = cached.as_deref().and_then(|stored| held(&stored.record, id, lease)).cloned();
        drop(cached);
        task.ok_or_else(|| not_held(id))
    }

    async fn read_journal(&self, owner: RecordId, journal: &Journal) -> Result<Vec<Arc<Entry>>> {
        read_journal(&self.desk().bucket, owner, journal).await
    }
}

/// All entries of a journal, those in chunks too.
///
/// # Errors
/// [`Error::Corrupt`] if a chunk is gone or was altered; the store's.
pub async fn read_journal(
    bucket: &crate::bucket::Bucket,
    owner: RecordId,
    journal: &Journal,
) -> Result<Vec<Arc<Entry>>> {
    let reads = journal.chunks.iter().map(|chunk| async move {
        let bytes = usize::try_from(chunk.bytes).unwrap_or(usize::MAX);
        Ok::<_, Error>(match bucket.get_large(&keys::result(owner, &chunk.key), bytes).await?.value {
            Got::Found(object) => Some(object.body),
            Got::Missing | Got::NotModified => None,
        })
    });
    let bodies: Vec<Option<Bytes>> = stream::iter(reads).buffered(READS_IN_FLIGHT).boxed().try_collect().await?;
    read_back(journal, &bodies)
}
