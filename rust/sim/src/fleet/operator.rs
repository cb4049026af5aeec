//! A person or a cron job that looks after dead letters: replays, archives and purges them.

use std::collections::BTreeSet;

use buquet_core::Error;
use buquet_core::queue::{DeadFilter, Purge, Step};
use buquet_core::record::{Changes, Move, RetryChanges, TaskStatus};
use std::time::Duration;

use super::Living;
use crate::scenario::{Care, Operation};

/// Records handled by one step.
const STEP: usize = 5;
/// Steps that fail because the network does.
const PATIENCE: usize = 5;

impl Living {
    /// Carries out an operation, step by step to its end.
    pub(super) async fn operate(&self, operation: &Operation) {
        self.store.resumed().await;
        match operation {
            Operation::Care(care) => self.take_care(care).await,
            Operation::Cancel(meant) => self.cancel_all(meant.clone()).await,
        }
    }

    async fn take_care(&self, care: &Care) {
        let mut step = Step { limit: STEP, cursor: None, dry_run: false };
        let mut failures = 0;
        while failures < PATIENCE {
            let stepped = self.care_once(care, &step).await;
            let detail = match &stepped {
                Ok((tasks, _)) => format!("{care:?}: {tasks}"),
                Err(error) => format!("{care:?}: {}", error.code()),
            };
            self.world.trace.event(&self.name, "operated", &detail);
            match stepped {
                Ok((_, None)) => return,
                Ok((_, cursor)) => step.cursor = cursor,
                Err(Error::Unavailable(_)) => failures += 1,
                Err(error) => return self.world.complain(&self.name, &format!("{care:?} failed: {error}")),
            }
        }
    }

    async fn care_once(&self, care: &Care, step: &Step) -> Result<(usize, Option<String>), Error> {
        let all = DeadFilter::default();
        match care {
            Care::Replay { max_retries, priority } => {
                let retry = RetryChanges { max_retries: *max_retries, ..RetryChanges::default() };
                let changes = Changes { priority: *priority, retry, ..Changes::default() };
                let stepped = self.queue.move_failed(&all, Move::Replay(&changes), step).await?;
                Ok((stepped.tasks, stepped.cursor))
            }
            Care::Archive => {
                let stepped = self.queue.move_failed(&all, Move::Archive, step).await?;
                Ok((stepped.tasks, stepped.cursor))
            }
            Care::Purge { everything } => {
                let finished = TaskStatus::ALL.into_iter().filter(|status| status.is_terminal());
                let status: BTreeSet<TaskStatus> =
                    finished.filter(|status| *everything || *status == TaskStatus::Failed).collect();
                let purge = Purge { status, older_than: Duration::ZERO, ..Purge::default() };
                let purged = self.queue.purge(&purge, step).await?;
                Ok((purged.tasks, purged.cursor))
            }
        }
    }

    /// Looks through the whole index of parked work, so that what crashes left there goes.
    pub(super) async fn repair(&self) -> Result<(), Error> {
        let mut cursor = None;
        loop {
            cursor = self.queue.repair(cursor.as_deref()).await?.cursor;
            if cursor.is_none() {
                self.queue.flush().await;
                return Ok(());
            }
        }
    }

    /// Reads the whole index of failed tasks, and notes what is listed: twice, so that what is stale is cleaned first.
    pub(super) async fn audit(&self) -> Result<(), Error> {
        for _ in 0..2 {
            let (mut cursor, mut listed) = (None, Vec::new());
            loop {
                let page = self.queue.failed(&DeadFilter::default(), 500, cursor.as_deref()).await?;
                listed.extend(page.tasks.iter().map(|task| task.id.to_string()));
                cursor = page.cursor;
                if cursor.is_none() {
                    break;
                }
            }
            self.queue.flush().await;
            self.world.journal.borrow_mut().listed_as_failed = Some(listed);
        }
        Ok(())
    }
}
