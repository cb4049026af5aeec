//! The doctor's examination.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Engine;
use crate::config::Target;
use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::keys;
use crate::queue::doctor::{Examination, Report, Visit, examine, no_database, policy};
use crate::queue::{CorruptObject, Settings, check_cursor};
use crate::store::open::{open, system_time};

/// How thoroughly to look.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Doctor {
    #[serde(default)]
    deep: bool,
    cursor: Option<String>,
}

/// What was found.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    #[serde(flatten)]
    report: Report,
    /// The IAM policy that the queue needs; only on S3.
    policy: Option<Value>,
}

/// What a page of the index of parked work came to.
#[derive(Debug, Serialize)]
pub struct Repaired {
    waiting: usize,
    deleted: usize,
    cursor: Option<String>,
    corrupt: Vec<CorruptObject>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repair {
    cursor: Option<String>,
}

impl Engine {
    pub(super) async fn repair(&self, request: Repair) -> Result<Repaired> {
        let crate::queue::Repaired { waiting, deleted, cursor, corrupt } =
            self.existing().await?.repair(request.cursor.as_deref()).await?;
        Ok(Repaired { waiting, deleted, cursor, corrupt })
    }

    /// Examines the store and the queue, also where no queue can be opened.
    pub(super) async fn doctor(&self, request: Doctor) -> Result<Findings> {
        if self.is_closed() {
            return Err(Error::Closed("the engine was closed".into()));
        }
        check_cursor(request.cursor.as_deref(), keys::TASKS)?;
        let store = match (&self.resolved.target, self.queue.get()) {
            (target @ Target::Sqlite { path }, _) if !path.exists() => {
                return Ok(Findings { report: no_database(target.url()), policy: None });
            }
            (_, Some(queue)) => queue.bucket().shared_store(),
            (target, None) => open(target)?,
        };
        let settings = Settings::configured(store.kind(), &self.resolved.options);
        let policy = policy(&store.url());
        let visit = Visit::new(store, &Entropy::from_os(), settings);
        let asked = Examination { deep: request.deep, cursor: request.cursor };
        let mut report = examine(&visit, &asked, system_time).await;
        report.url = self.resolved.target.address();
        Ok(Findings { report, policy })
    }
}
