//! From an address to a store.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Store;
use super::memory::MemoryStore;
use super::s3::{S3Options, S3Store};
use super::sqlite::SqliteStore;
use crate::config::Target;
use crate::error::Result;
use crate::time::Timestamp;

/// The store that `target` names. Reaches neither network nor disk: the first request does.
///
/// # Errors
/// [`Error::Unavailable`](crate::error::Error::Unavailable) if the system has no thread left for a database.
pub fn open(target: &Target) -> Result<Arc<dyn Store>> {
    Ok(match target {
        Target::S3 { bucket, prefix, region, endpoint } => Arc::new(S3Store::new(S3Options {
            bucket: bucket.clone(),
            prefix: prefix.clone(),
            region: region.clone(),
            endpoint: endpoint.clone(),
        })),
        Target::Sqlite { path } => Arc::new(SqliteStore::open(path)?),
        Target::Memory => Arc::new(MemoryStore::starting_at(system_time())),
    })
}

#[expect(clippy::disallowed_methods, reason = "the machine's clock is the server's clock of a store in memory")]
fn system_time() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(0).after(since_epoch)
}
