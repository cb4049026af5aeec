//! The memory as a server of buckets uses it.

use std::ops::Bound;

use async_trait::async_trait;

use super::super::hosted::{Content, Deleted, Deletion, Held, Hosted, Line, Lines, Refused, check};
use super::super::{Condition, ETag, MAX_KEYS, Object, StoreResult, VersionId};
use super::{Kept, MemoryStore, State, version_number};
use crate::time::Timestamp;

impl MemoryStore {
    fn remove_one(&self, state: &mut State, deletion: &Deletion, version: Option<u64>) -> Result<Deleted, Refused> {
        let present = state.objects.get(&deletion.key);
        check(&deletion.condition, present.map(|object| object.etag.0.as_str()))?;
        let Some(version) = version else {
            let marker = self.change(state, &deletion.key, None);
            return Ok(Deleted { version: VersionId(marker.to_string()), marker: Some(true) });
        };
        let kept = state.versions.get_mut(&deletion.key);
        let found = kept.and_then(|kept| {
            let place = kept.iter().position(|one| one.id == version)?;
            Some(kept.remove(place))
        });
        promote(state, &deletion.key);
        let marker = found.map(|one| one.content.is_none());
        Ok(Deleted { version: VersionId(version.to_string()), marker })
    }
}

/// Makes the newest version that is left the present object.
fn promote(state: &mut State, key: &str) {
    let newest = state.versions.get(key).and_then(|kept| kept.last());
    match newest.and_then(|one| Some((one.content.as_ref()?, one.last_modified))) {
        Some((Content { body, etag, .. }, last_modified)) => {
            let object = Object { body: body.clone(), etag: etag.clone(), last_modified };
            state.objects.insert(key.to_owned(), object);
        }
        None => drop(state.objects.remove(key)),
    }
    if state.versions.get(key).is_some_and(Vec::is_empty) {
        state.versions.remove(key);
    }
}

fn line(key: &str, kept: &Kept, latest: bool) -> Line {
    let content = kept.content.as_ref();
    Line {
        key: key.to_owned(),
        version: VersionId(kept.id.to_string()),
        etag: content.map_or_else(|| ETag(String::new()), |content| content.etag.clone()),
        size: content.map_or(0, |content| content.body.len() as u64),
        last_modified: kept.last_modified,
        marker: content.is_none(),
        latest,
    }
}

/// The versions of one key, newest first.
fn lines<'a>(key: &'a str, kept: &'a [Kept]) -> impl Iterator<Item = Line> + 'a {
    let newest = kept.len().saturating_sub(1);
    kept.iter().enumerate().rev().map(move |(place, one)| line(key, one, place == newest))
}

fn page(mut found: impl Iterator<Item = Line>, limit: usize) -> Lines {
    let lines = found.by_ref().take(limit.clamp(1, MAX_KEYS)).collect();
    Lines { lines, more: found.next().is_some() }
}

#[async_trait]
impl Hosted for MemoryStore {
    async fn prepare(&self) -> StoreResult<()> {
        Ok(self.answer(()))
    }

    fn now(&self) -> Timestamp {
        self.rounded(Self::now(self))
    }

    async fn write(
        &self,
        key: &str,
        content: Content,
        condition: &Condition,
    ) -> StoreResult<Result<VersionId, Refused>> {
        let written = self.with(|state| {
            check(condition, state.objects.get(key).map(|object| object.etag.0.as_str()))?;
            Ok(VersionId(self.change(state, key, Some(content)).to_string()))
        });
        Ok(self.answer(written))
    }

    async fn read(&self, key: &str, version: Option<&VersionId>) -> StoreResult<Option<Held>> {
        let wanted = version.map(version_number).transpose()?;
        let held = self.with(|state| {
            let mut kept = state.versions.get(key)?.iter().rev();
            let one = match wanted {
                None => kept.next(),
                Some(wanted) => kept.find(|one| one.id == wanted),
            }?;
            let version = VersionId(one.id.to_string());
            Some(Held { version, last_modified: one.last_modified, content: one.content.clone() })
        });
        Ok(self.answer(held))
    }

    async fn remove(&self, deletions: Vec<Deletion>) -> StoreResult<Vec<Result<Deleted, Refused>>> {
        let number = |deletion: &Deletion| deletion.version.as_ref().map(version_number).transpose();
        let versions = deletions.iter().map(number).collect::<Result<Vec<_>, _>>()?;
        let removed = self.with(|state| {
            let pairs = deletions.iter().zip(versions);
            pairs.map(|(deletion, version)| self.remove_one(state, deletion, version)).collect()
        });
        Ok(self.answer(removed))
    }

    async fn objects(&self, prefix: &str, after: Option<&str>, limit: usize) -> StoreResult<Lines> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let found = self.with(|state| {
            let keys = state.objects.range::<str, _>((from, Bound::Unbounded)).map(|(key, _)| key);
            let keys = keys.take_while(|key| key.starts_with(prefix));
            page(keys.filter_map(|key| Some(line(key, state.versions.get(key)?.last()?, true))), limit)
        });
        Ok(self.answer(found))
    }

    async fn all_versions(
        &self,
        prefix: &str,
        after: Option<(&str, Option<&VersionId>)>,
        limit: usize,
    ) -> StoreResult<Lines> {
        let (key, version) = after.unwrap_or_default();
        let before = version.map(version_number).transpose()?.unwrap_or(0);
        let from = if key >= prefix { key } else { prefix };
        let found = self.with(|state| {
            let keys = state.versions.range::<str, _>((Bound::Included(from), Bound::Unbounded));
            let keys = keys.take_while(|(name, _)| name.starts_with(prefix));
            let all = keys.flat_map(|(name, kept)| {
                let same = after.is_some() && name == key;
                let older = kept.partition_point(|one| !same || one.id < before);
                lines(name, kept).skip(kept.len() - older)
            });
            page(all, limit)
        });
        Ok(self.answer(found))
    }
}
