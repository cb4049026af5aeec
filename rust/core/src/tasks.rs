//! Background tasks that end with their owner.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// The first and the longest pause before a task that panicked begins anew.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

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

    /// Starts a task; does nothing once the owner is gone. What it holds is dropped when it panics, so guards there
    /// put right what others rely on.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // What a panic leaves half done is behind locks and guards.
        let task = AssertUnwindSafe(task).catch_unwind().map(|ended| {
            if let Err(panic) = ended {
                tracing::error!(panic = describe(&*panic), "a background task panicked; please report it");
            }
        });
        if let Some(tasks) = self.0.upgrade() {
            let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            while tasks.try_join_next().is_some() {}
            tasks.spawn(task);
        }
    }

    /// Keeps a task going until it ends by itself: after a panic, of which `alarm` is told, it begins anew.
    pub fn keep<F>(&self, begin: impl Fn() -> F + Send + 'static, alarm: impl Fn(&str) + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn(async move {
            let mut pause = FIRST_PAUSE;
            loop {
                let start = Instant::now();
                let Err(panic) = AssertUnwindSafe(begin()).catch_unwind().await else { return };
                alarm(describe(&*panic));
                if start.elapsed() > LONGEST_PAUSE {
                    pause = FIRST_PAUSE;
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        });
    }
}

/// What a panic says.
pub fn describe(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_begins_anew_and_says_so_until_it_ends_by_itself() {
        let (owner, runs) = (TaskOwner::default(), Arc::new(AtomicU32::new(0)));
        let alarms = Arc::new(Mutex::new(Vec::<String>::new()));
        let (counted, heard) = (Arc::clone(&runs), Arc::clone(&alarms));
        let begin = move || {
            let runs = Arc::clone(&counted);
            async move { assert!(runs.fetch_add(1, Ordering::Relaxed) >= 2, "not yet") }
        };
        owner.spawner().keep(begin, move |panic| heard.lock().unwrap().push(panic.to_owned()));
        sleep(Duration::from_mins(5)).await;
        assert_eq!(runs.load(Ordering::Relaxed), 3, "it ended well");
        assert_eq!(*alarms.lock().unwrap(), ["not yet", "not yet"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_is_dropped_when_it_panics_or_its_owner_is_gone() {
        let (owner, held) = (TaskOwner::default(), Arc::new(()));
        let spawner = owner.spawner();
        let task = |panics: bool| {
            let held = Arc::clone(&held);
            async move {
                assert!(!panics, "as it should");
                sleep(Duration::MAX).await;
                drop(held);
            }
        };
        spawner.spawn(task(true));
        spawner.spawn(task(false));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(Arc::strong_count(&held), 2);
        drop(owner);
        sleep(Duration::from_secs(1)).await;
        assert!(spawner.is_gone());
        spawner.spawn(task(false));
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
