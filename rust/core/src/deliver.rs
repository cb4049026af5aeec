//! Delivering what records owe to tasks that wait for theirs.
//!
//! The commit that ends a task notes in its record what it owes. Some entry leads to that until it is delivered: that of the
//! lease which ended with the task, or, where there is none, one that was written for it and that every sweep follows.

use std::sync::{Arc, OnceLock, Weak};

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};

use crate::error::{Error, Result};
use crate::id::{LeaseId, RecordId, WorkerId};
use crate::keys::LeaseEntry;
use crate::record::{BatchRecord, Debt, Delivery, IndexPlan};
use crate::time::Timestamp;
use crate::transact::{Committing, Debts, Desk, Transacted};

/// Deliveries of one record under way at the same time.
const IN_FLIGHT: usize = 16;

/// Who is told of records that deliveries change.
pub trait Hears: Send + Sync {
    /// A delivery has committed this revision.
    fn delivered(&self, record: &BatchRecord);

    /// A delivery has committed a revision of a record, and somebody another one right after.
    fn delivered_unseen(&self);
}

/// Tells whoever hears, once there is somebody.
#[derive(Clone, Default)]
pub struct Herald(Arc<OnceLock<Weak<dyn Hears>>>);

impl std::fmt::Debug for Herald {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Herald")
    }
}

impl Herald {
    /// From now on `who` is told.
    pub fn tell(&self, who: Weak<dyn Hears>) {
        let _ = self.0.set(who);
    }

    fn who(&self) -> Option<Arc<dyn Hears>> {
        self.0.get().and_then(Weak::upgrade)
    }
}

/// What one record owes, and what is to be deleted once that is delivered.
struct Job {
    debts: Vec<Debt>,
    behind: Vec<String>,
}

impl Desk {
    /// Delivers what a record owes, and what the records owe that this ends. The entries in `behind` are deleted once that
    /// of their own record is done.
    ///
    /// # Errors
    /// The store's; then some may have been delivered, which does no harm.
    pub fn serve(&self, record: &BatchRecord, behind: Vec<String>) -> BoxFuture<'_, Result<()>> {
        let mut jobs = vec![Job { debts: record.debts(), behind }];
        let serve = async move {
            while let Some(Job { debts, behind }) = jobs.pop() {
                let deliveries = stream::iter(debts).map(|debt| async move { self.deliver(&debt).await });
                let ended: Vec<Option<Job>> = deliveries.buffered(IN_FLIGHT).boxed().try_collect().await?;
                self.deleter.delete(behind);
                jobs.extend(ended.into_iter().flatten());
            }
            Ok(())
        };
        serve.boxed()
    }

    /// Delivers one thing that is owed; what its target owes in turn, if that ends it.
    async fn deliver(&self, debt: &Debt) -> Result<Option<Job>> {
        let Some(stored) = self.load(debt.target.record()).await? else { return Ok(None) };
        let change = |record: &mut BatchRecord, now: Timestamp| {
            let delivery = record.deliver(debt, now);
            (delivery != Delivery::Known).then_some(delivery)
        };
        // What the target's record owes is left to whoever made it so: deliveries do not wait for each other.
        let Committing { outcome, behind, owes } = self.commit(stored, true, Debts::Keep, change).await?;
        match outcome {
            Transacted::Done(_, stored) => {
                match (self.herald.who(), &stored) {
                    (Some(herald), Some(stored)) => herald.delivered(&stored.record),
                    (Some(herald), None) => herald.delivered_unseen(),
                    (None, _) => {}
                }
                match stored {
                    Some(stored) if owes => return Ok(Some(Job { debts: stored.record.debts(), behind })),
                    None if owes => {
                        self.deleter.delete(behind.into_iter().filter(|key| LeaseEntry::parse(key).is_none()));
                    }
                    _ => self.deleter.delete(behind),
                }
                Ok(None)
            }
            Transacted::Unchanged(_) | Transacted::Missing => Ok(None),
            Transacted::Overtaken => Err(Error::Unavailable("a delivery was overtaken".into())),
            Transacted::Unknown(_, _, error) => Err(error),
        }
    }

    /// Sees to it that some entry leads to what a commit owes from now on: that of a lease that ends with it, or one of its
    /// own, which any sweep follows within a minute.
    pub(crate) fn hook_on(
        &self,
        plan: &mut IndexPlan,
        ended: bool,
        record: RecordId,
        now: Timestamp,
    ) -> Option<String> {
        if !ended || plan.behind.iter().any(|key| LeaseEntry::parse(key).is_some()) {
            return None;
        }
        let lease = LeaseId::random(self.bucket.entropy());
        let hook = LeaseEntry { minute: now.minute(), record, lease, worker: WorkerId::NOBODY }.to_string();
        plan.ahead.push(hook.clone());
        plan.behind.push(hook.clone());
        Some(hook)
    }
}
