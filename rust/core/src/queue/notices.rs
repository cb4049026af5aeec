//! The board of cancellations: one small object that tells busy workers which of their records to look at.
//!
//! A wish to call a running task off is in the task's record, where its worker meets it with its next commit. Who holds a
//! task for long commits seldom, so the canceller also writes the record's id here, and every worker that holds tasks
//! reads the board as often as it beats. A notice that is lost costs time, never the wish itself.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Core;
use crate::error::{Error, Result};
use crate::id::RecordId;
use crate::keys;
use crate::limits;
use crate::store::{Condition, ETag, Got, Put};
use crate::time::Timestamp;

/// Times a notice is written over somebody else's before it is left to the record alone.
const TRIES: usize = 10;

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

impl Core {
    /// Puts records on the board. Best effort: the records themselves say it too.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn post_notices(&self, records: &[RecordId]) -> Result<()> {
        let bucket = &self.desk.bucket;
        for _ in 0..TRIES {
            let (mut board, condition) = match bucket.get(keys::CANCELS, None).await?.value {
                Got::Found(object) => (Board::read(&object.body), Condition::IfMatch(object.etag)),
                Got::Missing | Got::NotModified => (Board::default(), Condition::IfAbsent),
            };
            board.add(records, bucket.now());
            board.nonce = format!("{:016x}", bucket.entropy().bits());
            let body = serde_json::to_vec(&board)
                .map_err(|error| Error::Internal(format!("the notices cannot be written as JSON: {error}")))?;
            match bucket.put_if(keys::CANCELS, Bytes::from(body), &condition).await {
                Ok(Put::Stored(_)) => return Ok(()),
                Ok(Put::Refused) => {}
                // Writing a notice twice does no harm.
                Err(error) if error.kind.is_transient() => {}
                Err(error) => return Err(error.into()),
            }
        }
        tracing::debug!("a cancellation found no place on the board; its worker learns of it with its next commit");
        Ok(())
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
