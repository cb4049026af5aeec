//! Requests under way at the same time: so many of each kind, so that none waits behind another kind.

use tokio::sync::{Semaphore, SemaphorePermit};

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// A sign of life: it waits for nothing, or its worker is taken for dead.
    Beat,
    /// A worker's own work: claims, outcomes, extensions. There is as much of it as the worker may hold.
    Work,
    /// All else, above all what callers ask for: there may be any amount of it.
    Bulk,
}

/// The places; 256 in all.
#[derive(Debug)]
pub struct Lanes {
    beat: Semaphore,
    work: Semaphore,
    bulk: Semaphore,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { beat: Semaphore::new(4), work: Semaphore::new(96), bulk: Semaphore::new(156) }
    }
}

impl Lanes {
    /// Waits for a place. There is always one some time: the semaphores are never closed.
    pub async fn enter(&self, lane: Lane) -> Option<SemaphorePermit<'_>> {
        let places = match lane {
            Lane::Beat => &self.beat,
            Lane::Work => &self.work,
            Lane::Bulk => &self.bulk,
        };
        places.acquire().await.ok()
    }
}
