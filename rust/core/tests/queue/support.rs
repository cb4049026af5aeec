//! A queue on a store in memory, with an entropy of its own, and counts of its requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use buquet_core::entropy::Entropy;
use buquet_core::queue::{Queue, Settings};
use buquet_core::store::faulty::{Fault, Observer, Request, Step};
use buquet_core::store::memory::MemoryStore;
use buquet_core::store::{Store, StoreKind};

pub async fn queue_on(store: &Arc<MemoryStore>, seed: u64) -> Queue {
    let store: Arc<dyn Store> = Arc::clone(store) as _;
    Queue::open(store, Entropy::seeded(seed), Settings::for_store(StoreKind::S3)).await.unwrap()
}

/// Counts requests by kind, and by kind and the first part of the key.
#[derive(Debug, Default)]
pub struct Counts(Mutex<BTreeMap<String, usize>>);

impl Counts {
    pub fn of(&self, what: &str) -> usize {
        self.0.lock().unwrap().get(what).copied().unwrap_or(0)
    }
}

impl Observer for Counts {
    fn note(&self, _: &str, _: u64, request: &Request, _: Option<Fault>, step: Step<'_>) {
        if !matches!(step, Step::Landed(_)) {
            return;
        }
        let (kind, key) = match request {
            Request::Get { key, .. } => ("get", key),
            Request::Put { key, .. } => ("put", key),
            Request::List { prefix, .. } => ("list", prefix),
            _ => return,
        };
        let first = key.split('/').next().unwrap_or_default();
        for counted in [kind.to_owned(), format!("{kind} {first}")] {
            *self.0.lock().unwrap().entry(counted).or_default() += 1;
        }
    }
}
