//! Conditional writes whose outcome is known.
//!
//! The answer to a conditional write can lie: a write whose answer was lost and that is sent again meets itself and
//! is refused. So every body carries a fresh commit id, and where the answer leaves it open whether the write landed
//! the committer reads the object back: if it finds its own id, it succeeded.
//!
//! "Slow down" leaves nothing open: the write had no effect, and is sent again later. So is one that met another
//! write (409): if an earlier sending of the same write was that other one, it is found when this one is refused.

use bytes::Bytes;

use super::Bucket;
use crate::error::Error;
use crate::id::CommitId;
use crate::record::CommitMark;
use crate::store::{Condition, ETag, Got, Object, Put, StoreError, StoreErrorKind};

/// How a commit ended.
#[derive(Clone, Debug)]
pub enum Committed {
    /// It is in the store. The tag is that of its revision, if nobody has committed over it yet.
    Landed(Option<ETag>),
    /// It is not, and never will be: somebody else's revision is there, or none (`None`).
    Lost(Option<Object>),
}

/// Why a commit has no end.
#[derive(Clone, Debug)]
pub enum Uncommitted {
    /// It has not landed and will not land.
    Refused(Error),
    /// It could not be learnt whether it landed; it may land even later. Always [`Error::Unavailable`].
    Unknown(Error),
}

impl Uncommitted {
    /// After `error`, with an earlier sending in doubt or none.
    fn after(error: StoreError, in_doubt: bool) -> Self {
        if in_doubt { Self::Unknown(Error::Unavailable(error.message)) } else { Self::Refused(error.into()) }
    }
}

impl From<Uncommitted> for Error {
    fn from(reason: Uncommitted) -> Self {
        match reason {
            Uncommitted::Refused(error) | Uncommitted::Unknown(error) => error,
        }
    }
}

impl Bucket {
    /// Writes `body`, which carries `commit`, under `condition`.
    ///
    /// # Errors
    /// [`Uncommitted`] tells whether it may have landed all the same.
    pub async fn commit(
        &self,
        key: &str,
        body: Bytes,
        condition: &Condition,
        commit: CommitId,
    ) -> Result<Committed, Uncommitted> {
        let mut pauses = self.pauses();
        // An earlier sending may have landed, or be about to.
        let mut in_doubt = false;
        loop {
            let (error, look) = match self.put_if(key, body.clone(), condition).await {
                Ok(Put::Stored(etag)) => return Ok(Committed::Landed(Some(etag))),
                Ok(Put::Refused) => (refused_without_reason(key), true),
                Err(error) if !error.kind.is_transient() => return Err(Uncommitted::after(error, in_doubt)),
                Err(error) => {
                    let lost = error.kind == StoreErrorKind::Unavailable;
                    (error, lost)
                }
            };
            in_doubt |= look || error.kind == StoreErrorKind::Conflict;
            if look && let Some(end) = self.read_back(key, condition, commit).await? {
                return Ok(end);
            }
            pauses.rest(error).await.map_err(|error| Uncommitted::after(error, in_doubt))?;
        }
    }

    /// Looks what became of a write; `None` if it may be sent again.
    async fn read_back(
        &self,
        key: &str,
        condition: &Condition,
        commit: CommitId,
    ) -> Result<Option<Committed>, Uncommitted> {
        let found = match self.get(key, None).await {
            Ok(answer) => answer.value,
            // Whatever is wrong with reading, the write may have landed.
            Err(error) => return Err(Uncommitted::after(error, true)),
        };
        let found = match found {
            Got::Found(object) => Some(object),
            Got::Missing | Got::NotModified => None,
        };
        if let Some(mark) = found.as_ref().and_then(|object| CommitMark::read(&object.body))
            && mark.landed(commit)
        {
            let etag = found.filter(|_| mark.is_current(commit)).map(|object| object.etag);
            return Ok(Some(Committed::Landed(etag)));
        }
        // Only an object that is no longer what the condition asks for keeps this write out for good. If it still
        // is, the same write is sent again: whichever sending lands first, the others are refused.
        let may_land = match condition {
            Condition::Always => true,
            Condition::IfAbsent => found.is_none(),
            Condition::IfMatch(etag) => found.as_ref().is_some_and(|object| object.etag == *etag),
        };
        Ok(if may_land { None } else { Some(Committed::Lost(found)) })
    }
}

fn refused_without_reason(key: &str) -> StoreError {
    let message = format!("{key}: the store refused a conditional write although its condition holds");
    StoreError::new(StoreErrorKind::Conflict, message)
}
