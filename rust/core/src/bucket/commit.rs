//! Conditional writes whose outcome is known.
//!
//! The answer to a conditional write can lie: a write whose answer was lost and that is sent again meets itself and
//! is refused. So every body carries a fresh commit id, and on any answer but a plain success the committer reads
//! the object back: if it finds its own id, it succeeded.

use bytes::Bytes;

use super::Bucket;
use crate::error::{Error, Result};
use crate::id::CommitId;
use crate::record::CommitMark;
use crate::store::{Condition, ETag, Got, Object, Put};

/// How a commit ended.
#[derive(Clone, Debug)]
pub enum Committed {
    /// It is in the store. The tag is that of its revision, if nobody has committed over it yet.
    Landed(Option<ETag>),
    /// It is not, and never will be: somebody else's revision is there, or none (`None`).
    Lost(Option<Object>),
}

impl Bucket {
    /// Writes `body`, which carries `commit`, under `condition`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it could not be learnt whether it landed; it may land even later. The store's
    /// other errors if it surely did not.
    pub async fn commit(&self, key: &str, body: Bytes, condition: &Condition, commit: CommitId) -> Result<Committed> {
        let mut pauses = self.pauses();
        let mut uncertain = false;
        loop {
            let refusal = match self.put_if(key, body.clone(), condition).await {
                Ok(Put::Stored(etag)) => return Ok(Committed::Landed(Some(etag))),
                Ok(Put::Refused) => None,
                Err(error) if error.kind.is_transient() => Some(error),
                Err(error) if uncertain => return Err(Error::Unavailable(error.message)),
                Err(error) => return Err(error.into()),
            };
            uncertain = true;
            let found = match self.get(key, None).await {
                Ok(answer) => answer.value,
                // Whatever is wrong with reading, the write may have landed.
                Err(error) => return Err(Error::Unavailable(error.message)),
            };
            let found = match found {
                Got::Found(object) => Some(object),
                Got::Missing | Got::NotModified => None,
            };
            if let Some(mark) = found.as_ref().and_then(|object| CommitMark::read(&object.body))
                && mark.landed(commit)
            {
                let etag = found.filter(|_| mark.is_current(commit)).map(|object| object.etag);
                return Ok(Committed::Landed(etag));
            }
            // Only an object that is no longer what the condition asks for keeps this write out for good. If it still
            // is, the same write is sent again: whichever sending lands first, the others are refused.
            let may_land = match condition {
                Condition::Always => true,
                Condition::IfAbsent => found.is_none(),
                Condition::IfMatch(etag) => found.as_ref().is_some_and(|object| object.etag == *etag),
            };
            if !may_land {
                return Ok(Committed::Lost(found));
            }
            let error = refusal.unwrap_or_else(|| {
                let message = format!("{key}: the store refused a conditional write although its condition holds");
                crate::store::StoreError::new(crate::store::StoreErrorKind::Conflict, message)
            });
            pauses.rest(error).await?;
        }
    }
}
