//! The buckets there are. Every one keeps versions.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use buquet_core::store::hosted::Hosted;
use buquet_core::store::{Condition, Listed, Put, StoreError};
use buquet_core::{Error, Result};
use bytes::Bytes;
use s3s::path::check_bucket_name;
use s3s::{S3Result, s3_error};

use crate::failure::failure;
use crate::names;

/// The buckets in one store.
pub struct Buckets {
    store: Arc<dyn Hosted>,
    /// Those that were seen: every request asks whether its bucket is there.
    seen: RwLock<BTreeSet<String>>,
}

impl fmt::Debug for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets").field("store", &self.store.url()).finish_non_exhaustive()
    }
}

impl Buckets {
    /// The buckets in `store`.
    pub fn new(store: Arc<dyn Hosted>) -> Self {
        Self { store, seen: RwLock::default() }
    }

    /// The store they are in.
    pub fn store(&self) -> &dyn Hosted {
        &*self.store
    }

    /// Creates a bucket that may be there already.
    ///
    /// # Errors
    /// [`Error::Invalid`] if no bucket can have this name.
    pub async fn ensure(&self, name: &str) -> Result<()> {
        if !check_bucket_name(name) {
            let advice = "a name has 3 to 63 small letters, digits, dots and hyphens";
            return Err(Error::Invalid(format!("{name:?} cannot be the name of a bucket; {advice}")));
        }
        Ok(self.put(name).await.map(drop)?)
    }

    /// Creates a bucket.
    pub async fn create(&self, name: &str) -> S3Result<()> {
        match self.put(name).await.map_err(|error| failure(&error))? {
            Put::Stored(_) => Ok(()),
            Put::Refused => Err(s3_error!(BucketAlreadyOwnedByYou, "You have this bucket already.")),
        }
    }

    async fn put(&self, name: &str) -> std::result::Result<Put, StoreError> {
        let put = self.store.put(&names::bucket(name), Bytes::from_static(b"{}"), &Condition::IfAbsent).await?;
        Ok(put.value)
    }

    /// Refuses what concerns a bucket that is not there.
    pub async fn check(&self, name: &str) -> S3Result<()> {
        if self.seen.read().unwrap_or_else(PoisonError::into_inner).contains(name) {
            return Ok(());
        }
        let bucket = names::bucket(name);
        let page = self.store.list(&bucket, None, 1).await.map_err(|error| failure(&error))?.value;
        if !page.entries.iter().any(|entry| entry.key == bucket) {
            return Err(s3_error!(NoSuchBucket, "There is no such bucket."));
        }
        self.seen.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        Ok(())
    }

    /// Deletes a bucket in which nothing is left, no old version either.
    pub async fn delete(&self, name: &str) -> S3Result<()> {
        self.check(name).await?;
        let left = self.store.all_versions(&names::object(name, ""), None, 1).await;
        if !left.map_err(|error| failure(&error))?.value.lines.is_empty() {
            return Err(s3_error!(
                BucketNotEmpty,
                "The bucket has objects or old versions of objects; delete them first."
            ));
        }
        let deleted = self.store.delete_many(&[names::bucket(name)]).await;
        // Afterwards: requests that came in between have seen it still.
        self.seen.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        deleted.map(drop).map_err(|error| failure(&error))
    }

    /// All buckets by name. A development server has few.
    pub async fn all(&self) -> S3Result<Vec<Listed>> {
        let mut found: Vec<Listed> = Vec::new();
        loop {
            let after = found.last().map(|entry| entry.key.as_str());
            let page = self.store.list(names::BUCKETS, after, 1_000).await.map_err(|error| failure(&error))?.value;
            found.extend(page.entries);
            if !page.more {
                return Ok(found);
            }
        }
    }
}
