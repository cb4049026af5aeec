//! Storing a task under an id that is derived from what it is for: however many try, there is one.
//!
//! Whoever comes first commits the record; all others find it. Everybody begins at the same entry number, so that
//! whatever a loser has written into the ready index is stale from the moment the winner's commit landed: with a
//! number from a clock it could be ahead of the record for ever.

use super::Core;
use crate::error::{Error, Result};
use crate::id::{CommitId, RecordId, TaskId};
use crate::payload::{Parcels, unnamed};
use crate::record::{BatchRecord, EntryState, Extra, Options, Task, ready_entry_state};
use crate::transact::{Placed, Transacted};

/// Looks at a place that is taken and gone again.
const LOOKS: usize = 5;

/// The type of a void record that is there on purpose, and not to be replaced.
pub const BARRED: &str = "barred";

/// What became of a task that there must be once.
#[derive(Debug)]
pub enum Derived {
    /// It was stored.
    Created(TaskId),
    /// It was there already, or its place is [`BARRED`]; this is the record. After a commit whose answer was lost for long it can be one's own.
    Found(Box<BatchRecord>),
}

impl Derived {
    /// The task's id.
    #[must_use]
    pub const fn id(&self) -> TaskId {
        match self {
            Self::Created(id) => *id,
            Self::Found(record) => record.id.task(0),
        }
    }
}

impl Core {
    /// Stores `task` as the only one of the record `id`, unless there is one already. Costs what a submit costs; one
    /// that finds its place taken costs a GET more. A void record in the place, left by a sweeper after a submit that
    /// was abandoned half way, is replaced.
    ///
    /// # Errors
    /// The store's; after [`Error::Unavailable`] the task may exist. Trying again does no harm.
    pub(crate) async fn store_derived(
        &self,
        id: RecordId,
        kind: &str,
        options: &Options,
        task: Task,
    ) -> Result<Derived> {
        let commit = CommitId::random(self.desk.bucket.entropy());
        let mut tasks = vec![Task { n: 0, ..task }];
        let parcels = Parcels::of_inputs(id, &mut tasks, self.desk.bucket.entropy());
        let created_at = tasks.first().map_or_else(|| self.desk.bucket.now(), |task| task.submitted_at);
        let draft = BatchRecord::new(id, kind.to_owned(), options.clone(), created_at, tasks, commit);
        for _ in 0..LOOKS {
            let mut record = draft.clone();
            let placing = parcels.around(&self.desk.bucket, self.desk.variant, self.desk.place(&mut record));
            let found = match placing.await? {
                Placed::Landed => return Ok(self.created(&record)),
                Placed::Taken(None) => continue,
                Placed::Taken(Some(found)) => found,
            };
            // It can become current no more: see above. Only what was written here is deleted, as always.
            let entry =
                record.ready_entry().filter(|entry| ready_entry_state(entry, &found.record) == EntryState::Stale);
            self.desk.deleter.delete(entry.map(|entry| entry.to_string()));
            if !found.record.void {
                self.desk.deleter.delete(unnamed(&found.record, parcels.names()));
            }
            if !found.record.void || found.record.kind == BARRED {
                return Ok(Derived::Found(Box::new(found.record)));
            }
            let revive = |record: &mut BatchRecord, _| record.void.then(|| record.fill(&draft));
            match self.desk.transact(*found, true, revive).await? {
                Transacted::Done((), stored) => {
                    return Ok(
                        stored.map_or_else(|| Derived::Created(id.task(0)), |stored| self.created(&stored.record))
                    );
                }
                Transacted::Unchanged(stored) => return Ok(Derived::Found(Box::new(stored.record))),
                Transacted::Unknown((), _, error) => return Err(error),
                // The void was deleted meanwhile, and nothing is in its place.
                Transacted::Missing | Transacted::Overtaken => {}
            }
        }
        Err(Error::Unavailable(format!("{}: its place was taken and given up {LOOKS} times; try again", draft.id)))
    }

    fn created(&self, record: &BatchRecord) -> Derived {
        if let Some(entry) = record.ready_entry() {
            self.announce(entry);
        }
        Derived::Created(record.id.task(0))
    }
}

impl BatchRecord {
    /// Puts into a void record what `draft` holds. Revision and entry number go on from where they are.
    fn fill(&mut self, draft: &Self) {
        self.void = false;
        self.kind.clone_from(&draft.kind);
        self.options = draft.options.clone();
        self.created_at = draft.created_at;
        self.tasks.clone_from(&draft.tasks);
        self.extra = Extra::new();
    }
}
