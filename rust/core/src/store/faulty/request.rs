//! A request to a store as a value, so that it can be delayed, doubled, lost, and written down.

use std::fmt;

use bytes::Bytes;

use crate::store::{Condition, ETag, Got, Page, Put, Store, StoreResult, Timed, VersionId, VersionPage};

/// A request, all of it owned: it may outlive the caller that sent it.
#[derive(Clone, Debug)]
pub enum Request {
    /// [`Store::get`].
    Get {
        /// The object's key.
        key: String,
        /// Answer with the object only if it is not this one any more.
        if_none_match: Option<ETag>,
    },
    /// [`Store::put`].
    Put {
        /// The object's key.
        key: String,
        /// What to write.
        body: Bytes,
        /// When it may be written.
        condition: Condition,
    },
    /// [`Store::delete_many`].
    Delete {
        /// The keys to delete.
        keys: Vec<String>,
    },
    /// [`Store::list`].
    List {
        /// What the keys begin with.
        prefix: String,
        /// Where to go on.
        start_after: Option<String>,
        /// The most keys wanted.
        limit: usize,
    },
    /// [`Store::list_on`] after an empty page that this network made up.
    ListOn {
        /// What the keys begin with.
        prefix: String,
        /// Where the listing began.
        token: String,
        /// The most keys wanted.
        limit: usize,
    },
    /// [`Store::versions`].
    Versions {
        /// The object's key.
        key: String,
        /// Where to go on.
        before: Option<VersionId>,
        /// The most versions wanted.
        limit: usize,
    },
    /// [`Store::get_version`].
    GetVersion {
        /// The object's key.
        key: String,
        /// The version's name.
        version: VersionId,
    },
    /// [`Store::keeps_versions`].
    KeepsVersions,
}

/// The answer to a [`Request`] of the same name.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To a `Get` or `GetVersion`.
    Got(Got),
    /// To a `Put`.
    Put(Put),
    /// To a `Delete`.
    Deleted,
    /// To a `List`.
    Page(Page),
    /// To a `Versions`.
    Versions(VersionPage),
    /// To a `KeepsVersions`.
    KeepsVersions(bool),
}

impl Request {
    /// Whether a repetition can meet its own first sending: the put is conditional.
    #[must_use]
    pub const fn is_conditional_put(&self) -> bool {
        matches!(self, Self::Put { condition: Condition::IfAbsent | Condition::IfMatch(_), .. })
    }

    /// The empty page that a server answers which finds nothing to show where this begins, and has not looked further.
    pub(super) fn empty_page(&self) -> Option<Answer> {
        let token = match self {
            Self::List { start_after, .. } => start_after.clone().unwrap_or_default(),
            Self::ListOn { token, .. } => token.clone(),
            _ => return None,
        };
        Some(Answer::Page(Page { entries: Vec::new(), more: false, token: Some(token) }))
    }

    /// Whether it asks for keys.
    pub(super) const fn is_listing(&self) -> bool {
        matches!(self, Self::List { .. } | Self::ListOn { .. })
    }

    /// Sends it to `store`, once.
    pub(super) async fn perform(&self, store: &dyn Store) -> StoreResult<Answer> {
        match self {
            Self::Get { key, if_none_match } => wrap(store.get(key, if_none_match.as_ref()).await, Answer::Got),
            Self::Put { key, body, condition } => wrap(store.put(key, body.clone(), condition).await, Answer::Put),
            Self::Delete { keys } => wrap(store.delete_many(keys).await, |()| Answer::Deleted),
            Self::List { prefix, start_after, limit } => {
                wrap(store.list(prefix, start_after.as_deref(), *limit).await, Answer::Page)
            }
            Self::ListOn { prefix, token, limit } => {
                let start_after = Some(token.as_str()).filter(|token| !token.is_empty());
                wrap(store.list(prefix, start_after, *limit).await, Answer::Page)
            }
            Self::Versions { key, before, limit } => {
                wrap(store.versions(key, before.as_ref(), *limit).await, Answer::Versions)
            }
            Self::GetVersion { key, version } => wrap(store.get_version(key, version).await, Answer::Got),
            Self::KeepsVersions => wrap(store.keeps_versions().await, Answer::KeepsVersions),
        }
    }
}

fn wrap<T>(result: StoreResult<T>, answer: impl FnOnce(T) -> Answer) -> StoreResult<Answer> {
    result.map(|Timed { value, at }| Timed { value: answer(value), at })
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get { key, if_none_match: None } => write!(f, "get {key}"),
            Self::Get { key, if_none_match: Some(etag) } => write!(f, "get {key} if-none-match {}", etag.0),
            Self::Put { key, body, condition } => {
                write!(f, "put {key} ({} bytes)", body.len())?;
                match condition {
                    Condition::Always => Ok(()),
                    Condition::IfAbsent => f.write_str(" if-absent"),
                    Condition::IfMatch(etag) => write!(f, " if-match {}", etag.0),
                }
            }
            Self::Delete { keys } => write!(f, "delete {}", keys.join(" ")),
            Self::List { prefix, start_after, limit } => {
                write!(f, "list {prefix} limit {limit}")?;
                start_after.as_ref().map_or(Ok(()), |after| write!(f, " after {after}"))
            }
            Self::ListOn { prefix, token, limit } => write!(f, "list {prefix} limit {limit} on from {token}"),
            Self::Versions { key, before, limit } => {
                write!(f, "versions {key} limit {limit}")?;
                before.as_ref().map_or(Ok(()), |before| write!(f, " before {}", before.0))
            }
            Self::GetVersion { key, version } => write!(f, "get {key} version {}", version.0),
            Self::KeepsVersions => f.write_str("keeps-versions"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Got(Got::Found(object)) => write!(f, "found {}", object.etag.0),
            Self::Got(Got::NotModified) => f.write_str("not modified"),
            Self::Got(Got::Missing) => f.write_str("missing"),
            Self::Put(Put::Stored(etag)) => write!(f, "stored {}", etag.0),
            Self::Put(Put::Refused) => f.write_str("refused"),
            Self::Deleted => f.write_str("deleted"),
            Self::Page(page) => write!(f, "{} keys, more: {}", page.entries.len(), page.more),
            Self::Versions(page) => write!(f, "{} versions, more: {}", page.versions.len(), page.more),
            Self::KeepsVersions(kept) => write!(f, "{kept}"),
        }
    }
}
