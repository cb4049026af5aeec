//! From an address to a store.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Store;
use super::hosted::Hosted;
use super::memory::MemoryStore;
use super::s3::{S3Options, S3Store};
use super::sqlite::SqliteStore;
use crate::config::Target;
use crate::error::{Error, Result};
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

/// The embedded store that `target` names, for a server of buckets to stand on.
///
/// # Errors
/// [`Error::Config`] if `target` is no embedded store, [`Error::Unavailable`] as for [`open`].
pub fn open_hosted(target: &Target) -> Result<Arc<dyn Hosted>> {
    Ok(match target {
        Target::Sqlite { path } => Arc::new(SqliteStore::open(path)?),
        Target::Memory => Arc::new(MemoryStore::starting_at(system_time())),
        Target::S3 { bucket, .. } => {
            let problem = format!("s3://{bucket} is a bucket on a server already");
            return Err(Error::Config(format!("{problem}; keep a server's data in sqlite:PATH or memory:")));
        }
    })
}

/// This machine's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "it is the server's clock of a store in memory, and the doctor's to judge"
)]
pub(crate) fn system_time() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(0).after(since_epoch)
}
