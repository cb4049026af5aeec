//! Steps that have ended. Large results are written before anything names them.

use std::sync::Arc;

use super::Shared;
use crate::error::Result;
use crate::id::{LeaseId, TaskId};
use crate::keys;
use crate::queue::check_payload;
use crate::record::Json;
use crate::workflow::attempts::Again;
use crate::workflow::driver::{Driver, Report, Reported};
use crate::workflow::entry::{End, Fault, ResultRef};
use crate::workflow::ids::sha256;
use crate::workflow::limits;
use crate::workflow::model::Op;

/// How an attempt of a step ended, as a front tells.
#[derive(Clone, Debug)]
pub enum Reporting {
    /// With this result.
    Completed(Json),
    /// With an error.
    Failed(Fault, Again),
    /// Its condition was not met.
    Skipped,
    /// It gave way to being called off.
    Cancelled,
    /// A drain has taken it back.
    Released,
}

impl Shared {
    /// Takes in that an attempt of a step has ended.
    ///
    /// # Errors
    /// [`crate::Error::LeaseLost`] if the run is not held any more; [`crate::Error::Invalid`] for a result that cannot be stored: report it
    /// as failed; the store's, then report it again.
    pub async fn report_step(
        worker: &Arc<Self>,
        id: TaskId,
        lease: LeaseId,
        (op, attempt): (Op, u32),
        reporting: Reporting,
    ) -> Result<Reported> {
        let driving = worker.driving(id, lease)?;
        let mut written = None;
        let report = match reporting {
            Reporting::Completed(output) => {
                check_payload("output", &output)?;
                let large = output.text().len() > limits::RESULT_BYTES;
                let reuses = worker.settings().variant.reuses_result_names();
                let place = large.then(|| place(&driving.lock().driver, op, attempt, reuses)).flatten();
                match place {
                    Some(key) => {
                        let there = worker.write_result(id, key?, &output).await?;
                        written = Some(keys::result(id.record(), &there.key));
                        let end = End { output: None, output_ref: Some(there), ..End::completed(output, attempt) };
                        Report::Completed(end)
                    }
                    None if large => return Ok(Reported::Dropped),
                    None => Report::Completed(End::completed(output, attempt)),
                }
            }
            Reporting::Failed(error, again) => Report::Failed { error, again },
            Reporting::Skipped => Report::Skipped,
            Reporting::Cancelled => Report::Cancelled,
            Reporting::Released => Report::Released,
        };
        let (now, random) = (worker.now().into(), worker.entropy().unit());
        let reported = driving.lock().driver.report(op, attempt, report, now, random)?;
        if reported == Reported::Dropped {
            worker.desk().deleter.delete(written);
        }
        Ok(reported)
    }

    /// Writes something that a journal will name.
    pub(super) async fn write_result(&self, run: TaskId, key: String, value: &Json) -> Result<ResultRef> {
        let text = value.text();
        let there = ResultRef {
            sha256: sha256(text.as_bytes()),
            bytes: u64::try_from(text.len()).unwrap_or(u64::MAX),
            items: length(text),
            key,
            extra: crate::record::Extra::new(),
        };
        let body = bytes::Bytes::copy_from_slice(text.as_bytes());
        self.desk().bucket.put(&keys::result(run.record(), &there.key), body).await?;
        Ok(there)
    }
}

/// Where the result of an attempt lies that is under way; `None` if it is not.
fn place(driver: &Driver, op: Op, attempt: u32, reuses: bool) -> Option<Result<String>> {
    let is_under_way = driver.run().open.get(&op).is_some_and(|open| open.started && open.attempt == attempt);
    let ask = driver.ledger().ask(op).filter(|_| is_under_way)?;
    if reuses {
        return Some(driver.origin().result_key(&ask.place.name, 0, 0));
    }
    Some(driver.origin().result_key(&ask.place.name, op, attempt))
}

/// The length of a list; `None` for any other value.
fn length(text: &str) -> Option<u32> {
    let list: Vec<&serde_json::value::RawValue> = serde_json::from_str(text).ok()?;
    u32::try_from(list.len()).ok()
}
