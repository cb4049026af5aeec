//! The board of cancellations: one small object that tells busy workers which of their records to look at.
//!
//! A wish to call a running task off is in the task's record, where its worker meets it with its next commit. Who holds a
//! task for long commits seldom, so the canceller also writes the record's id here, and every worker that holds tasks
//! reads the board as often as it beats. A notice that is lost costs time, never the wish itself.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, sleep};

use super::Core;
use crate::bucket::OPERATION_TIMEOUT;
use crate::error::{Error, Result};
use crate::id::RecordId;
use crate::keys;
use crate::limits;
use crate::store::{Condition, ETag, Got, Put};
use crate::time::Timestamp;

/// The first and the longest pause after somebody else wrote first; a random part of each is taken off.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long notices are tried to be written.
const PATIENCE: Duration = OPERATION_TIMEOUT;

/// What the board says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Board {
    /// The latest notices, oldest first.
    notices: Vec<Notice>,
    /// Some notices found no room: whoever holds tasks looks at all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    overflowed_at: Option<Timestamp>,
    /// Other bytes with each write.
    #[serde(default)]
    nonce: String,
}

/// A record in which a running task is to be called off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Notice {
    record: RecordId,
    at: Timestamp,
}

impl Board {
    /// Adds records, and drops notices that everybody who is alive has seen.
    fn add(&mut self, records: &[RecordId], now: Timestamp) {
        let recent = |at: Timestamp| now <= at.after(limits::NOTICE_AGE);
        self.notices.retain(|notice| recent(notice.at) && !records.contains(&notice.record));
        self.overflowed_at = self.overflowed_at.filter(|at| recent(*at));
        self.notices.extend(records.iter().map(|record| Notice { record: *record, at: now }));
        if self.notices.len() > limits::NOTICES {
            self.notices.clear();
            self.overflowed_at = Some(now);
        }
    }

    /// Whether it asks for a look at this record.
    #[must_use]
    pub fn concerns(&self, record: RecordId) -> bool {
        self.overflowed_at.is_some() || self.notices.iter().any(|notice| notice.record == record)
    }

    /// Reads the stored form; what cannot be read says nothing.
    #[must_use]
    pub fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }
}

/// The notices of this process that are not on the board yet. Those that come while others are being written go
/// together, so that the callers of one process never stand in each other's way.
#[derive(Debug, Default)]
pub struct Outgoing {
    waiting: Mutex<BTreeSet<RecordId>>,
    turn: AsyncMutex<()>,
}

/// Notices being written; those that are not written go back, and along with the next ones.
struct Batch<'a> {
    outgoing: &'a Outgoing,
    records: BTreeSet<RecordId>,
}

impl Outgoing {
    fn waiting(&self) -> MutexGuard<'_, BTreeSet<RecordId>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Batch<'_> {
        Batch { outgoing: self, records: std::mem::take(&mut *self.waiting()) }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let mut waiting = self.outgoing.waiting();
        waiting.append(&mut self.records);
        // More than the board holds say no more than that all are to be looked at.
        while waiting.len() > limits::NOTICES + 1 {
            waiting.pop_first();
        }
        drop(waiting);
    }
}

impl Core {
    /// Puts records on the board. The records themselves say it too, to whoever commits to them.
    ///
    /// # Errors
    /// The store's; [`Error::Unavailable`] if others wrote first for too long.
    pub(crate) async fn post_notices(&self, records: &[RecordId]) -> Result<()> {
        {
            let mut waiting = self.notices.waiting();
            waiting.extend(records);
            if waiting.is_empty() {
                return Ok(());
            }
        }
        let _turn = self.notices.turn.lock().await;
        // Whoever had the turn before has taken these along, unless it failed.
        let mut batch = self.notices.take();
        if batch.records.is_empty() {
            return Ok(());
        }
        let records: Vec<RecordId> = batch.records.iter().copied().collect();
        self.write_notices(&records).await.map_err(|error| {
            tracing::warn!(%error, "workers could not be told of cancellations");
            Error::Unavailable(format!(
                "the tasks are called off in their records, but the workers that run them could not be told ({error}); \
                 they learn of it when they next store something there; cancel again to tell them sooner"
            ))
        })?;
        batch.records.clear();
        Ok(())
    }

    async fn write_notices(&self, records: &[RecordId]) -> Result<()> {
        let bucket = &self.desk.bucket;
        let (until, mut pause) = (Instant::now() + PATIENCE, FIRST_PAUSE);
        loop {
            let (mut board, condition) = match bucket.get(keys::CANCELS, None).await?.value {
                Got::Found(object) => (Board::read(&object.body), Condition::IfMatch(object.etag)),
                Got::Missing | Got::NotModified => (Board::default(), Condition::IfAbsent),
            };
            board.add(records, bucket.now());
            board.nonce = format!("{:016x}", bucket.entropy().bits());
            let body = serde_json::to_vec(&board)
                .map_err(|error| Error::Internal(format!("the notices cannot be written as JSON: {error}")))?;
            let problem = match bucket.put_if(keys::CANCELS, Bytes::from(body), &condition).await {
                Ok(Put::Stored(_)) => return Ok(()),
                Ok(Put::Refused) => format!("others wrote {} first for {} s", keys::CANCELS, PATIENCE.as_secs()),
                // Writing a notice twice does no harm.
                Err(error) if error.kind.is_transient() => error.message,
                Err(error) => return Err(error.into()),
            };
            if Instant::now() + pause > until {
                return Err(Error::Unavailable(problem));
            }
            sleep(pause.mul_f64(bucket.entropy().unit())).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The board, if it has changed since it had the tag `known`.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn read_notices(&self, known: Option<&ETag>) -> Result<Option<(Board, ETag)>> {
        Ok(match self.desk.bucket.get(keys::CANCELS, known).await?.value {
            Got::Found(object) => Some((Board::read(&object.body), object.etag)),
            Got::Missing | Got::NotModified => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;

    #[test]
    fn a_board_forgets_what_is_old_and_says_each_record_once() {
        let entropy = Entropy::seeded(1);
        let [old, new] = [(); 2].map(|()| RecordId::random(&entropy));
        let mut board = Board::default();
        board.add(&[old], Timestamp(0));
        board.add(&[new, new], Timestamp(1));
        assert!(board.concerns(old) && board.concerns(new));
        board.add(&[new], Timestamp(0).after(limits::NOTICE_AGE * 2));
        assert!(!board.concerns(old) && board.concerns(new));
        assert_eq!(board.notices.len(), 1);
    }

    #[test]
    fn a_board_that_is_full_asks_for_a_look_at_everything_for_a_while() {
        let entropy = Entropy::seeded(1);
        let many: Vec<RecordId> = (0..=limits::NOTICES).map(|_| RecordId::random(&entropy)).collect();
        let mut board = Board::default();
        board.add(&many, Timestamp(0));
        assert!(board.notices.is_empty() && board.concerns(RecordId::random(&entropy)));
        board.add(&[], Timestamp(0).after(limits::NOTICE_AGE * 2));
        assert!(!board.concerns(RecordId::random(&entropy)));
    }
}
