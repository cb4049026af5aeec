//! Replaying failed tasks together with what was called off because of them.
//!
//! Those that wait come back first, so that each is there when what it waits for ends. Then their links are made anew: what
//! is still owed from before they came back does not reach them.

use std::collections::{BTreeMap, BTreeSet};

use super::Queue;
use super::dead::Moved;
use crate::deliver::Hears;
use crate::error::Result;
use crate::id::{RecordId, TaskId};
use crate::limits;
use crate::record::{BatchRecord, Changes, Move};
use crate::time::Timestamp;
use crate::transact::Transacted;

impl Queue {
    /// Runs failed tasks again, and lets what was called off because of them wait for them again, and so on down the chain.
    ///
    /// # Errors
    /// As [`Queue::move_tasks`]; then some may wait again for tasks that were not replayed: say it again.
    pub async fn replay_with_dependents(&self, ids: &[TaskId], changes: &Changes) -> Result<Vec<Moved>> {
        changes.check()?;
        let mut waiting: BTreeSet<RecordId> = BTreeSet::new();
        for (target, sources) in self.called_off_by(ids).await?.iter().rev() {
            if self.revive(*target, sources).await? {
                waiting.insert(target.record());
            }
        }
        let moved = self.move_tasks(ids, Move::Replay(changes)).await?;
        for record in waiting {
            self.core().look_after(record).await?;
        }
        Ok(moved)
    }

    /// Whoever waits, or has waited, for these tasks, and for those in turn, each with the records in which it does.
    async fn called_off_by(&self, ids: &[TaskId]) -> Result<Vec<(TaskId, BTreeSet<RecordId>)>> {
        let mut targets: Vec<(TaskId, BTreeSet<RecordId>)> = Vec::new();
        let mut places: BTreeMap<TaskId, usize> = BTreeMap::new();
        let (mut sources, mut seen): (Vec<TaskId>, BTreeSet<TaskId>) = (ids.to_vec(), ids.iter().copied().collect());
        while let Some(source) = sources.pop() {
            let Some(stored) = self.core().desk.load(source.record()).await? else { continue };
            for target in stored.record.dependents(source.index()) {
                let place = *places.entry(target).or_insert(targets.len());
                match targets.get_mut(place) {
                    Some((_, records)) => {
                        records.insert(source.record());
                    }
                    None => targets.push((target, BTreeSet::from([source.record()]))),
                }
                if seen.insert(target) {
                    sources.push(target);
                }
            }
        }
        Ok(targets)
    }

    /// Lets a task wait again; whether it had been called off because of these.
    async fn revive(&self, target: TaskId, sources: &BTreeSet<RecordId>) -> Result<bool> {
        let Some(stored) = self.core().desk.load(target.record()).await? else { return Ok(false) };
        let change = |record: &mut BatchRecord, now: Timestamp| {
            record.revive(target, sources, now.after(limits::LOOK_AGAIN)).then_some(())
        };
        match self.core().desk.transact(stored, true, change).await? {
            Transacted::Done((), stored) => {
                if let Some(stored) = stored {
                    self.core().delivered(&stored.record);
                }
                Ok(true)
            }
            Transacted::Unchanged(_) | Transacted::Missing | Transacted::Overtaken => Ok(false),
            Transacted::Unknown((), _, error) => Err(error),
        }
    }
}
