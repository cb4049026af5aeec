//! Background tasks that end with their owner.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::task::JoinSet;

/// Owns background tasks: dropping it aborts them all.
#[derive(Debug, Default)]
pub struct TaskOwner(Arc<Mutex<JoinSet<()>>>);

/// Starts tasks for an owner, without keeping it alive.
#[derive(Clone, Debug)]
pub struct Spawner(Weak<Mutex<JoinSet<()>>>);

impl TaskOwner {
    /// A spawner of this owner.
    #[must_use]
    pub fn spawner(&self) -> Spawner {
        Spawner(Arc::downgrade(&self.0))
    }

    /// Aborts all tasks.
    pub fn abort_all(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl Spawner {
    /// Whether the owner is gone, so that nothing can be started any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }

    /// Starts a task; does nothing once the owner is gone.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(tasks) = self.0.upgrade() {
            let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            while let Some(ended) = tasks.try_join_next() {
                if let Err(error) = ended
                    && error.is_panic()
                {
                    tracing::error!(%error, "a background task panicked; please report it");
                }
            }
            tasks.spawn(task);
        }
    }
}
