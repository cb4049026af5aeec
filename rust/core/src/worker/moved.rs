//! Notices that the database was deleted or replaced while the worker runs, and goes on with what is there now.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::shared::{Phase, Shared};
use crate::error::{Error, Result};
use crate::store::StoreKind;

/// Between two looks, which cost no request.
const LOOK: Duration = Duration::from_secs(1);

impl Shared {
    /// Looks regularly until the worker is stopped. Only a file can be taken away from under a worker.
    pub async fn keep_to_the_store(self: Arc<Self>) {
        let bucket = &self.desk().bucket;
        if bucket.store().kind() != StoreKind::Sqlite {
            return;
        }
        let mut known = bucket.store().generation();
        while self.lock().phase != Phase::Stopped {
            sleep(LOOK).await;
            let found = bucket.store().generation();
            if found == known {
                continue;
            }
            let url = bucket.store().url();
            let trouble = Error::Unavailable(format!(
                "{url} was deleted or replaced; its tasks are gone, and the worker goes on with what is there now"
            ));
            self.warn("the database is another one", &trouble);
            match self.sign_on().await {
                Ok(()) => known = found,
                Err(error) => self.warn("the worker could not be registered in the new database, trying again", &error),
            }
        }
    }

    async fn sign_on(&self) -> Result<()> {
        self.core.ensure().await?;
        self.beat().await?;
        self.wake.notify_one();
        Ok(())
    }
}
