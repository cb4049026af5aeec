//! The handles that callers hold: numbers in the shape of pointers, never dereferenced.
//!
//! A number is used once in the life of a process, and a registry says what it stands for. A handle that was closed,
//! inherited through a fork or made up is therefore refused, whatever the caller does with it.
#![expect(unsafe_code, reason = "the registry is replaced after a fork, without a lock that the fork may have copied")]

use std::collections::BTreeMap;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::engine::Engine;
use crate::failure::Failure;
use crate::queue::Queue;

/// What a handle stands for.
#[derive(Clone, Debug)]
enum Target {
    Engine(Arc<Engine>),
    Queue(Arc<Queue>),
}

/// The open handles of one process.
struct Registry {
    process: u32,
    /// Handles below this one were issued by the process that this one was forked from.
    first: usize,
    open: RwLock<BTreeMap<usize, Target>>,
}

static CURRENT: AtomicPtr<Registry> = AtomicPtr::new(ptr::null_mut());
static NEXT: AtomicUsize = AtomicUsize::new(1);

impl Registry {
    /// The registry of this process. A child gets a fresh one at its first call; the inherited one is leaked, since
    /// its lock may be held by a thread, and its engines need threads, that the child does not have.
    fn current() -> &'static Self {
        let process = std::process::id();
        let found = CURRENT.load(Ordering::Acquire);
        // SAFETY: the pointer is null or comes from `Box::into_raw` below, and is never freed once it is stored.
        if let Some(registry) = unsafe { found.as_ref() }
            && registry.process == process
        {
            return registry;
        }
        let first = NEXT.load(Ordering::Relaxed);
        let fresh = Box::into_raw(Box::new(Self { process, first, open: RwLock::default() }));
        let winner = match CURRENT.compare_exchange(found, fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => fresh,
            Err(other) => {
                // SAFETY: `fresh` lost the race, so it was never stored and this is its only owner.
                drop(unsafe { Box::from_raw(fresh) });
                other
            }
        };
        // SAFETY: as above; a winner was stored by a thread of this process, so it is neither null nor freed.
        unsafe { &*winner }
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<usize, Target>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<usize, Target>> {
        self.open.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn issue(&self, target: Target) -> usize {
        let handle = NEXT.fetch_add(1, Ordering::Relaxed);
        self.write().insert(handle, target);
        handle
    }

    /// Why `handle` stands for nothing usable; `kind` is what the function takes.
    fn refusal(&self, handle: usize, kind: &str) -> Failure {
        if handle == 0 {
            Failure::invalid(format!("the {kind} is NULL"))
        } else if self.read().contains_key(&handle) {
            Failure::invalid(format!(
                "this handle is open, but it does not stand for the {kind} that the function takes"
            ))
        } else if handle < self.first {
            Failure::forked(format!(
                "this {kind} was opened before a fork and cannot be used in the child (process {}): open a new engine \
                 in the child",
                self.process
            ))
        } else if handle < NEXT.load(Ordering::Relaxed) {
            Failure::closed(format!("this {kind} was closed: open a new one"))
        } else {
            Failure::invalid(format!("no call ever returned {handle:#x}: pass the {kind} as it was returned"))
        }
    }
}

/// Registers an engine and returns its handle.
pub fn issue_engine(engine: Arc<Engine>) -> usize {
    Registry::current().issue(Target::Engine(engine))
}

/// Registers a queue and returns its handle.
pub fn issue_queue(queue: Arc<Queue>) -> usize {
    Registry::current().issue(Target::Queue(queue))
}

/// The open engine behind `handle`.
pub fn engine(handle: usize) -> Result<Arc<Engine>, Failure> {
    let registry = Registry::current();
    let target = registry.read().get(&handle).cloned();
    if let Some(Target::Engine(engine)) = target { Ok(engine) } else { Err(registry.refusal(handle, "engine")) }
}

/// The open queue behind `handle`.
pub fn queue(handle: usize) -> Result<Arc<Queue>, Failure> {
    let registry = Registry::current();
    let target = registry.read().get(&handle).cloned();
    if let Some(Target::Queue(queue)) = target { Ok(queue) } else { Err(registry.refusal(handle, "queue")) }
}

/// Takes the engine out of the registry: of several callers one gets it, the others learn that it is closed.
pub fn take_engine(handle: usize) -> Result<Arc<Engine>, Failure> {
    let engine = engine(handle)?;
    take(handle, "engine").map(|()| engine)
}

/// Takes the queue out of the registry, as [`take_engine`] does.
pub fn take_queue(handle: usize) -> Result<Arc<Queue>, Failure> {
    let queue = queue(handle)?;
    take(handle, "queue").map(|()| queue)
}

fn take(handle: usize, kind: &str) -> Result<(), Failure> {
    let registry = Registry::current();
    let taken = registry.write().remove(&handle);
    taken.map(drop).ok_or_else(|| registry.refusal(handle, kind))
}
