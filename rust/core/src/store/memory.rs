//! A bucket in this process's memory, for tests, eager runs and the simulation.
//!
//! Like S3 it tags an object with the hash of its bytes (equal bytes, equal tag) and can round its clock to whole
//! seconds. It keeps every version of the keys under `tasks/`; a recording store keeps every change of every key.

mod hosted;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use md5::{Digest, Md5};
use tokio::time::Instant;

use super::hosted::{Content, VERSIONED};
use super::{
    Condition, ETag, Got, Listed, MAX_KEYS, Object, Page, Put, Store, StoreError, StoreErrorKind, StoreKind,
    StoreResult, Timed, Version, VersionId, VersionPage,
};
use crate::time::Timestamp;

/// 2026-01-01T00:00:00Z, where the clock of [`MemoryStore::new`] begins.
const EPOCH: Timestamp = Timestamp(1_767_225_600_000);

/// One write or deletion, as a recording store remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When it took effect, to the millisecond whatever the store's clock resolution.
    pub at: Timestamp,
    /// The key.
    pub key: String,
    /// What was written; `None` for a deletion.
    pub body: Option<Bytes>,
}

/// A [`Store`] over a map.
#[derive(Debug)]
pub struct MemoryStore {
    anchor: (Instant, Timestamp),
    resolution_ms: i64,
    recording: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Object>,
    versions: BTreeMap<String, Vec<Kept>>,
    last_version: u64,
    changes: Vec<Change>,
}

/// A kept version; without content it marks a deletion.
#[derive(Debug)]
struct Kept {
    id: u64,
    content: Option<Content>,
    last_modified: Timestamp,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store whose clock begins at a fixed date and follows tokio's, paused or not.
    #[must_use]
    pub fn new() -> Self {
        Self::starting_at(EPOCH)
    }

    /// An empty store whose clock says `start` now and follows tokio's from there.
    #[must_use]
    pub fn starting_at(start: Timestamp) -> Self {
        Self { anchor: (Instant::now(), start), resolution_ms: 1, recording: false, state: Mutex::default() }
    }

    /// Rounds the store's clock down to multiples of `millis` (at least 1); S3's has whole seconds: 1000.
    #[must_use]
    pub fn with_clock_resolution(mut self, millis: i64) -> Self {
        self.resolution_ms = millis.max(1);
        self
    }

    /// Remembers every change of every key, for [`Self::changes`].
    #[must_use]
    pub const fn recording(mut self) -> Self {
        self.recording = true;
        self
    }

    /// The exact time on the store's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let (instant, start) = self.anchor;
        start.after(Instant::now().saturating_duration_since(instant))
    }

    /// Every object there is.
    #[must_use]
    pub fn objects(&self) -> BTreeMap<String, Object> {
        self.with(|state| state.objects.clone())
    }

    /// The keys that begin with `prefix`, in order.
    #[must_use]
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let of_prefix = |(key, _): (&String, &Object)| key.starts_with(prefix).then(|| key.clone());
        self.with(|state| {
            state.objects.range::<str, _>((Bound::Included(prefix), Bound::Unbounded)).map_while(of_prefix).collect()
        })
    }

    /// Every change in the order it took effect, if the store is [recording](Self::recording); else nothing.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        self.with(|state| state.changes.clone())
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        // A panic elsewhere cannot leave the maps half changed, so a poisoned lock is no reason to stop.
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    const fn rounded(&self, at: Timestamp) -> Timestamp {
        Timestamp(at.0 - at.0.rem_euclid(self.resolution_ms))
    }

    fn answer<T>(&self, value: T) -> Timed<T> {
        Timed { value, at: self.rounded(self.now()) }
    }

    /// Writes (`Some`) or deletes (`None`) one key and keeps what must be kept. Answers the version kept, 0 for none.
    fn change(&self, state: &mut State, key: &str, content: Option<Content>) -> u64 {
        let at = self.now();
        let last_modified = self.rounded(at);
        if self.recording {
            let body = content.as_ref().map(|content| content.body.clone());
            state.changes.push(Change { at, key: key.to_owned(), body });
        }
        match &content {
            Some(Content { body, etag, .. }) => {
                let object = Object { body: body.clone(), etag: etag.clone(), last_modified };
                state.objects.insert(key.to_owned(), object);
            }
            None => drop(state.objects.remove(key)),
        }
        if !key.starts_with(VERSIONED) {
            return 0;
        }
        state.last_version += 1;
        let kept = Kept { id: state.last_version, content, last_modified };
        state.versions.entry(key.to_owned()).or_default().push(kept);
        state.last_version
    }
}

fn tag(body: &Bytes) -> ETag {
    ETag(format!("\"{:x}\"", Md5::digest(body)))
}

fn holds(condition: &Condition, present: Option<&Object>) -> bool {
    match condition {
        Condition::Always => true,
        Condition::IfAbsent => present.is_none(),
        Condition::IfMatch(etag) => present.is_some_and(|object| object.etag == *etag),
    }
}

fn version_number(id: &VersionId) -> Result<u64, StoreError> {
    id.0.parse().map_err(|_| {
        StoreError::new(StoreErrorKind::Invalid, format!("{:?} is not the id of a version in a memory store", id.0))
    })
}

#[async_trait]
impl Store for MemoryStore {
    fn kind(&self) -> StoreKind {
        StoreKind::Memory
    }

    fn url(&self) -> String {
        "memory:".to_owned()
    }

    fn clock_resolution_ms(&self) -> i64 {
        self.resolution_ms
    }

    async fn get(&self, key: &str, if_none_match: Option<&ETag>) -> StoreResult<Got> {
        let got = self.with(|state| match state.objects.get(key) {
            None => Got::Missing,
            Some(object) if if_none_match == Some(&object.etag) => Got::NotModified,
            Some(object) => Got::Found(object.clone()),
        });
        Ok(self.answer(got))
    }

    async fn put(&self, key: &str, body: Bytes, condition: &Condition) -> StoreResult<Put> {
        let etag = tag(&body);
        let put = self.with(|state| {
            if !holds(condition, state.objects.get(key)) {
                return Put::Refused;
            }
            self.change(state, key, Some(Content { body, etag: etag.clone(), head: String::new() }));
            Put::Stored(etag)
        });
        Ok(self.answer(put))
    }

    async fn delete_many(&self, keys: &[String]) -> StoreResult<()> {
        if keys.len() > MAX_KEYS {
            let message = format!("{} keys in one deletion; at most {MAX_KEYS} are allowed", keys.len());
            return Err(StoreError::new(StoreErrorKind::Invalid, message));
        }
        self.with(|state| {
            for key in keys {
                if state.objects.contains_key(key) {
                    self.change(state, key, None);
                }
            }
        });
        Ok(self.answer(()))
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> StoreResult<Page> {
        let limit = limit.clamp(1, MAX_KEYS);
        let from = match start_after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let page = self.with(|state| {
            let mut found = state
                .objects
                .range::<str, _>((from, Bound::Unbounded))
                .take_while(|(key, _)| key.starts_with(prefix))
                .map(|(key, object)| Listed {
                    key: key.clone(),
                    last_modified: object.last_modified,
                    size: object.body.len() as u64,
                });
            let entries = found.by_ref().take(limit).collect();
            Page { entries, more: found.next().is_some(), token: None }
        });
        Ok(self.answer(page))
    }

    async fn versions(&self, key: &str, before: Option<&VersionId>, limit: usize) -> StoreResult<VersionPage> {
        let limit = limit.clamp(1, MAX_KEYS);
        let before = before.map(version_number).transpose()?.unwrap_or(u64::MAX);
        let page = self.with(|state| {
            let kept = state.versions.get(key).map(Vec::as_slice).unwrap_or_default();
            let mut older = kept.iter().rev().skip_while(|version| version.id >= before).map(|version| Version {
                id: VersionId(version.id.to_string()),
                last_modified: version.last_modified,
                deleted: version.content.is_none(),
            });
            let versions = older.by_ref().take(limit).collect();
            VersionPage { versions, more: older.next().is_some() }
        });
        Ok(self.answer(page))
    }

    async fn get_version(&self, key: &str, version: &VersionId) -> StoreResult<Got> {
        let wanted = version_number(version)?;
        let got = self.with(|state| {
            let kept = state.versions.get(key).and_then(|kept| kept.iter().find(|kept| kept.id == wanted))?;
            let Content { body, etag, .. } = kept.content.clone()?;
            Some(Object { body, etag, last_modified: kept.last_modified })
        });
        Ok(self.answer(got.map_or(Got::Missing, Got::Found)))
    }

    async fn keeps_versions(&self) -> StoreResult<bool> {
        Ok(self.answer(true))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pretty_assertions::assert_eq;

    use super::*;

    async fn write(store: &MemoryStore, key: &str, body: &'static str, condition: &Condition) -> Put {
        store.put(key, Bytes::from_static(body.as_bytes()), condition).await.unwrap().value
    }

    fn stored(put: Put) -> ETag {
        match put {
            Put::Stored(etag) => etag,
            Put::Refused => panic!("the put was refused"),
        }
    }

    #[tokio::test]
    async fn a_put_writes_only_under_its_condition() {
        let store = MemoryStore::new();
        assert_eq!(write(&store, "a", "0", &Condition::IfMatch(ETag("\"x\"".into()))).await, Put::Refused);
        let first = stored(write(&store, "a", "1", &Condition::IfAbsent).await);
        assert_eq!(write(&store, "a", "2", &Condition::IfAbsent).await, Put::Refused);
        let second = stored(write(&store, "a", "2", &Condition::IfMatch(first.clone())).await);
        assert_eq!(write(&store, "a", "3", &Condition::IfMatch(first)).await, Put::Refused);
        assert_eq!(store.get("a", Some(&second)).await.unwrap().value, Got::NotModified);
        assert_eq!(store.get("b", None).await.unwrap().value, Got::Missing);
    }

    #[tokio::test]
    async fn equal_bytes_have_equal_tags() {
        let store = MemoryStore::new();
        let tag = stored(write(&store, "a", "hello", &Condition::Always).await);
        assert_eq!(tag, ETag("\"5d41402abc4b2a76b9719d911017c592\"".into()));
        assert_eq!(stored(write(&store, "b", "hello", &Condition::Always).await), tag);
    }

    #[tokio::test]
    async fn a_listing_is_ordered_paged_and_stays_in_its_prefix() {
        let store = MemoryStore::new();
        for key in ["r/3", "r/1", "q/9", "r/2", "s/1"] {
            write(&store, key, "x", &Condition::Always).await;
        }
        let keys = |page: Page| page.entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>();
        let page = store.list("r/", None, 2).await.unwrap().value;
        assert!(page.more);
        assert_eq!(keys(page), ["r/1", "r/2"]);
        let page = store.list("r/", Some("r/2"), 2).await.unwrap().value;
        assert!(!page.more);
        assert_eq!(keys(page), ["r/3"]);
        assert_eq!(keys(store.list("r/", Some("a"), 9).await.unwrap().value), ["r/1", "r/2", "r/3"]);
        assert_eq!(keys(store.list("r/", Some("z"), 9).await.unwrap().value), Vec::<String>::new());
    }

    #[tokio::test]
    async fn versions_of_tasks_are_kept_newest_first_and_of_nothing_else() {
        let store = MemoryStore::new();
        for body in ["1", "2"] {
            write(&store, "tasks/0/a.json", body, &Condition::Always).await;
            write(&store, "bell.json", body, &Condition::Always).await;
        }
        store.delete_many(&["tasks/0/a.json".into(), "tasks/0/absent.json".into()]).await.unwrap();
        let page = store.versions("tasks/0/a.json", None, 2).await.unwrap().value;
        assert!(page.more);
        assert_eq!(page.versions.iter().map(|version| version.deleted).collect::<Vec<_>>(), [true, false]);
        let older = store.versions("tasks/0/a.json", Some(&page.versions[1].id), 9).await.unwrap().value;
        assert_eq!((older.versions.len(), older.more), (1, false));
        let Got::Found(first) = store.get_version("tasks/0/a.json", &older.versions[0].id).await.unwrap().value else {
            panic!("the first version is gone");
        };
        assert_eq!(first.body, "1");
        assert_eq!(
            store.get_version("tasks/0/a.json", &page.versions[0].id).await.unwrap().value,
            Got::Missing,
            "a deletion has no body"
        );
        assert!(store.versions("bell.json", None, 9).await.unwrap().value.versions.is_empty());
        assert!(store.versions("tasks/0/a.json", Some(&VersionId("nonsense".into())), 9).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_follows_tokio_and_is_rounded_down() {
        let store = MemoryStore::starting_at(Timestamp(5_000)).with_clock_resolution(1_000).recording();
        tokio::time::advance(Duration::from_millis(1_999)).await;
        let put = store.put("a", Bytes::from_static(b"x"), &Condition::Always).await.unwrap();
        assert_eq!(put.at, Timestamp(6_000));
        assert_eq!(store.objects()["a"].last_modified, Timestamp(6_000));
        assert_eq!(store.changes()[0].at, Timestamp(6_999), "the record of changes is exact");
    }

    #[tokio::test]
    async fn a_deletion_of_too_many_keys_is_refused_as_on_s3() {
        let keys: Vec<String> = (0..=MAX_KEYS).map(|n| n.to_string()).collect();
        assert_eq!(MemoryStore::new().delete_many(&keys).await.unwrap_err().kind, StoreErrorKind::Invalid);
    }
}
