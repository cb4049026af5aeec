//! How long the hot paths take: `cargo bench --manifest-path rust/bench/Cargo.toml`.

#[path = "../../core/benches/cases/mod.rs"]
mod cases;

use std::sync::Arc;

use buquet_core::entropy::Entropy;
use buquet_core::queue::{Queue, Settings, Submission};
use buquet_core::record::Json;
use buquet_core::store::StoreKind;
use buquet_core::store::memory::MemoryStore;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use futures::future::try_join_all;
use tokio::runtime::Runtime;

/// Submits under way together in the group commit's benchmark.
const SUBMITS: usize = 1_000;

fn hot_paths(criterion: &mut Criterion) {
    for mut case in cases::cases() {
        criterion.bench_function(case.name, |bencher| bencher.iter(&mut case.run));
    }
}

#[expect(clippy::unwrap_used, reason = "a benchmark ends where what it measures fails")]
fn group_commit(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    criterion.bench_function("group_commit_1000", |bencher| {
        bencher.iter_batched(
            || open(&runtime),
            |queue| {
                let submits = (0..SUBMITS).map(|_| queue.submit(submission()));
                runtime.block_on(try_join_all(submits)).unwrap()
            },
            BatchSize::PerIteration,
        );
    });
}

#[expect(clippy::unwrap_used, reason = "as above")]
fn open(runtime: &Runtime) -> Queue {
    let settings = Settings::for_store(StoreKind::Memory);
    runtime.block_on(Queue::open(Arc::new(MemoryStore::new()), Entropy::seeded(1), settings)).unwrap()
}

#[expect(clippy::unwrap_used, reason = "as above")]
fn submission() -> Submission {
    Submission::new("noop", Json::parse("1").unwrap())
}

criterion_group!(benches, hot_paths, group_commit);
criterion_main!(benches);
