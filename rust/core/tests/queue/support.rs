//! A queue on a store in memory, with an entropy of its own.

use std::sync::Arc;

use buquet_core::entropy::Entropy;
use buquet_core::queue::{Queue, Settings};
use buquet_core::store::memory::MemoryStore;
use buquet_core::store::{Store, StoreKind};

pub async fn queue_on(store: &Arc<MemoryStore>, seed: u64) -> Queue {
    let store: Arc<dyn Store> = Arc::clone(store) as _;
    Queue::open(store, Entropy::seeded(seed), Settings::for_store(StoreKind::S3)).await.unwrap()
}
