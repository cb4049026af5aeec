//! The doctor's examination.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Engine;
use crate::config::Target;
use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::keys;
use crate::queue::Settings;
use crate::queue::doctor::{Examination, Report, Visit, examine, no_database, policy};
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

impl Engine {
    /// Examines the store and the queue, also where no queue can be opened.
    pub(super) async fn doctor(&self, request: Doctor) -> Result<Findings> {
        if self.is_closed() {
            return Err(Error::Closed("the engine was closed".into()));
        }
        if let Some(cursor) = request.cursor.as_ref().filter(|cursor| !cursor.starts_with(keys::TASKS)) {
            let shown: String = cursor.chars().take(64).collect();
            return Err(Error::Invalid(format!(
                "{shown:?} is not a cursor: pass the one of the answer before, unchanged"
            )));
        }
        let store = match (self.queue.get(), &self.resolved.target) {
            (Some(queue), _) => queue.bucket().shared_store(),
            (None, target @ Target::Sqlite { path }) if !path.exists() => {
                return Ok(Findings { report: no_database(target.url()), policy: None });
            }
            (None, target) => open(target)?,
        };
        let settings = Settings::configured(store.kind(), &self.resolved.options);
        let policy = policy(&store.url());
        let visit = Visit::new(store, &Entropy::from_os(), settings);
        let asked = Examination { deep: request.deep, cursor: request.cursor };
        Ok(Findings { report: examine(&visit, &asked, system_time).await, policy })
    }
}
