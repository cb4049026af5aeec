//! An engine as the ABI sees it: the core's engine, the runtime it runs on, and the queues opened on it.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use buquet_core::{Error, ops};
#[cfg(feature = "dev-server")]
use buquet_dev::DevServers;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::fork;
use crate::guard::describe;
use crate::queue::Queue;

/// Threads that drive operations. The work is waiting for the store, so that two keep many operations going.
const WORKER_THREADS: usize = 2;
/// Threads for calls that block: SQLite, and looking up host names.
const MAX_BLOCKING_THREADS: usize = 32;
/// How long closing waits, after the caller's own time is up, for threads that are inside such a call.
const THREAD_GRACE: Duration = Duration::from_secs(5);

/// How long closing waits at least for the bell's touch, even where the caller gives no time: it wakes the workers for
/// tasks that were just submitted.
const BELL_GRACE: Duration = Duration::from_secs(1);

/// An engine, shared by its handle and the calls that are under way.
#[derive(Debug)]
pub struct Engine {
    core: Arc<ops::Engine>,
    handle: Handle,
    /// Absent once the engine is closing.
    runtime: Mutex<Option<Runtime>>,
    queues: Mutex<Queues>,
}

/// The operations of `buquet dev`.
#[cfg(feature = "dev-server")]
fn dev_servers() -> DevServers {
    DevServers::default()
}

/// What stands for the operations of `buquet dev`.
#[cfg(not(feature = "dev-server"))]
const fn dev_servers() -> ops::LeftOut {
    ops::LeftOut {
        prefix: "dev_server.",
        message: "this build of buquet leaves out the S3 server for development; install a released wheel, or build \
                  with BUQUET_FEATURES=dev-server",
    }
}

#[derive(Debug, Default)]
struct Queues {
    closed: bool,
    open: Vec<Weak<Queue>>,
}

impl Engine {
    /// Reads the configuration and starts the threads.
    pub fn open(config: &[u8]) -> Result<Self, Failure> {
        fork::watch()?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKER_THREADS)
            .max_blocking_threads(MAX_BLOCKING_THREADS)
            .thread_name("buquet")
            .on_thread_start(crate::signals::block_all)
            .enable_all()
            .build()
            .map_err(|error| Failure::resources("the threads and descriptors of an engine", &error))?;
        let core = {
            let _inside = runtime.enter();
            ops::Engine::new(if config.is_empty() { b"{}" } else { config })
        };
        let core = core.map_err(|error| Failure::from_open(&error))?;
        let core = Arc::new(core.with(dev_servers()));
        let handle = runtime.handle().clone();
        Ok(Self { core, handle, runtime: Mutex::new(Some(runtime)), queues: Mutex::default() })
    }

    /// Opens a completion queue on this engine.
    pub fn open_queue(self: &Arc<Self>) -> Result<Arc<Queue>, Failure> {
        let queue = Queue::new(Arc::downgrade(self))
            .map_err(|error| Failure::resources("the descriptor of a queue", &error))?;
        let queue = Arc::new(queue);
        let mut queues = self.queues();
        if queues.closed {
            return Err(Failure::closed("the engine is closing: open a new engine"));
        }
        queues.open.retain(|open| open.strong_count() > 0);
        queues.open.push(Arc::downgrade(&queue));
        drop(queues);
        Ok(queue)
    }

    /// Starts a task; once the engine is closed the task is dropped instead.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.handle.spawn(task));
    }

    /// The core's engine, for a task.
    pub fn core(&self) -> Arc<ops::Engine> {
        Arc::clone(&self.core)
    }

    /// Accepts nothing more, gives what was accepted until `timeout` to finish (`None`: for ever), completes the
    /// rest as closed, and ends the threads; a touch of the bell that is due gets [`BELL_GRACE`] in any case. True if
    /// everything had finished by itself.
    pub fn close(&self, timeout: Option<Duration>) -> bool {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let queues = self.stop_accepting();
        let Some(runtime) = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return true;
        };
        let core = self.core();
        let stopped = self.finish(async move { core.shutdown().await }, deadline);
        let idle = queues.iter().all(|queue| queue.wait_until_idle(deadline));
        for queue in &queues {
            queue.abandon();
        }
        let core = self.core();
        let bell_deadline = deadline.map(|deadline| deadline.max(Instant::now() + BELL_GRACE));
        let rung = self.finish(async move { core.flush_bell().await }, bell_deadline);
        runtime.shutdown_timeout(deadline.map_or(THREAD_GRACE, |deadline| remaining(deadline).max(THREAD_GRACE)));
        stopped && idle && rung
    }

    fn stop_accepting(&self) -> Vec<Arc<Queue>> {
        let mut queues = self.queues();
        queues.closed = true;
        let open: Vec<_> = queues.open.drain(..).filter_map(|queue| queue.upgrade()).collect();
        drop(queues);
        for queue in &open {
            queue.stop_accepting();
        }
        open
    }

    /// Runs a task beside the operations that are still under way. True if it came to its end in time.
    fn finish(&self, task: impl Future<Output = ()> + Send + 'static, deadline: Option<Instant>) -> bool {
        let (done, ended) = mpsc::channel();
        self.spawn(async move {
            task.await;
            let _ = done.send(());
        });
        // A task that panics drops its sender, which ends the wait too.
        deadline.map_or_else(|| ended.recv().is_ok(), |deadline| ended.recv_timeout(remaining(deadline)).is_ok())
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an operation can be run again where its answer was not kept.
pub fn only_looks(op: &str) -> bool {
    #[cfg(test)]
    let looks = op == "test.echo" || ops::only_looks(op);
    #[cfg(not(test))]
    let looks = ops::only_looks(op);
    looks
}

/// Runs one operation; a panic in it becomes its answer.
pub async fn call(core: &ops::Engine, op: &str, request: &[u8]) -> Result<String, Error> {
    #[cfg(test)]
    let call = crate::testing::call(core, op, request);
    #[cfg(not(test))]
    let call = core.call(op, request);
    let mut call = pin!(call);
    poll_fn(|context| {
        // The future is not polled again after a panic, so nobody sees what the panic left half done inside it.
        catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context)))
            .unwrap_or_else(|panic| std::task::Poll::Ready(Err(Error::Internal(describe(&*panic)))))
    })
    .await
}

/// The time left until `deadline`.
pub fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
