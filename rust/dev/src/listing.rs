//! Listing objects: keys in byte order, grouped at a delimiter, in pages.

use buquet_core::store::hosted::{Hosted, Line};
use s3s::{S3Result, s3_error};

use crate::failure::failure;
use crate::names;

/// The most keys of one page.
pub const MOST: usize = 1_000;

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first key.
    First,
    /// After a key, which need not be there.
    After(String),
    /// After all keys that begin so.
    AfterGroup(String),
}

/// What is listed.
#[derive(Debug)]
pub struct Query<'a> {
    pub bucket: &'a str,
    pub prefix: &'a str,
    /// Keys that go on after the prefix up to this are told as one group.
    pub delimiter: Option<&'a str>,
    pub start: Start,
    /// Objects and groups at most.
    pub limit: usize,
}

/// One page.
#[derive(Debug, Default)]
pub struct Page {
    /// Objects; their keys are those of the bucket.
    pub objects: Vec<Line>,
    pub groups: Vec<String>,
    /// Where the next page begins, if there is more.
    pub next: Option<Start>,
}

impl Page {
    const fn len(&self) -> usize {
        self.objects.len() + self.groups.len()
    }
}

impl Start {
    /// After the last key or group that a client was shown.
    pub fn after_marker(marker: Option<&str>, query_prefix: &str, delimiter: Option<&str>) -> Self {
        let Some(marker) = marker.filter(|marker| !marker.is_empty()) else { return Self::First };
        let group = delimiter.is_some_and(|delimiter| !delimiter.is_empty() && marker.ends_with(delimiter));
        if group && marker.len() > query_prefix.len() && marker.starts_with(query_prefix) {
            Self::AfterGroup(marker.to_owned())
        } else {
            Self::After(marker.to_owned())
        }
    }

    /// Whether a key belongs to the group that has been told.
    fn covers(&self, key: &str) -> bool {
        matches!(self, Self::AfterGroup(group) if key.starts_with(group.as_str()))
    }

    /// As a continuation token: hex digits, which are safe in XML and in a URL.
    pub fn token(&self) -> String {
        let (kind, text) = match self {
            Self::First => ('f', ""),
            Self::After(key) => ('k', key.as_str()),
            Self::AfterGroup(group) => ('g', group.as_str()),
        };
        std::iter::once(kind.to_string()).chain(text.bytes().map(|byte| format!("{byte:02x}"))).collect()
    }

    /// From a continuation token that this server gave.
    pub fn from_token(token: &str) -> S3Result<Self> {
        let wrong = || s3_error!(InvalidArgument, "The continuation token is none that this server gave.");
        let (kind, digits) = token.split_at_checked(1).ok_or_else(wrong)?;
        if digits.len() % 2 != 0 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let pairs = (0..digits.len()).step_by(2).filter_map(|place| digits.get(place..place + 2));
        let bytes: Vec<u8> = pairs.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect();
        let text = String::from_utf8(bytes).map_err(|_| wrong())?;
        match kind {
            "f" => Ok(Self::First),
            "k" => Ok(Self::After(text)),
            "g" => Ok(Self::AfterGroup(text)),
            _ => Err(wrong()),
        }
    }
}

/// Reads one page.
pub async fn list(store: &dyn Hosted, query: &Query<'_>) -> S3Result<Page> {
    let mut page = Page::default();
    if query.limit == 0 {
        return Ok(page);
    }
    let prefix = names::object(query.bucket, query.prefix);
    let mut at = query.start.clone();
    let mut cursor = match &at {
        Start::First => None,
        Start::After(key) => Some(names::object(query.bucket, key)),
        Start::AfterGroup(group) => Some(beyond(query.bucket, group)),
    };
    loop {
        let wanted = if query.delimiter.is_some() { MOST } else { (query.limit - page.len() + 1).min(MOST) };
        let found = store.objects(&prefix, cursor.as_deref(), wanted).await.map_err(|error| failure(&error))?.value;
        cursor = found.lines.last().map(|line| line.key.clone()).or(cursor);
        for line in found.lines {
            let line = Line { key: names::key(query.bucket, &line.key).to_owned(), ..line };
            if at.covers(&line.key) {
                continue;
            }
            if page.len() == query.limit {
                page.next = Some(at);
                return Ok(page);
            }
            if let Some(group) = group(query, &line.key) {
                page.groups.push(group.clone());
                at = Start::AfterGroup(group);
            } else {
                at = Start::After(line.key.clone());
                page.objects.push(line);
            }
        }
        if !found.more {
            return Ok(page);
        }
        if let Start::AfterGroup(group) = &at {
            cursor = cursor.max(Some(beyond(query.bucket, group)));
        }
    }
}

/// After all keys of a group, but for those that go on with the last character there is.
fn beyond(bucket: &str, group: &str) -> String {
    format!("{}{}", names::object(bucket, group), char::MAX)
}

/// The group that a key belongs to.
fn group(query: &Query<'_>, key: &str) -> Option<String> {
    let delimiter = query.delimiter.filter(|delimiter| !delimiter.is_empty())?;
    let rest = key.get(query.prefix.len()..)?;
    let end = query.prefix.len() + rest.find(delimiter)? + delimiter.len();
    key.get(..end).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use buquet_core::store::hosted::Content;
    use buquet_core::store::memory::MemoryStore;
    use buquet_core::store::{Condition, ETag};
    use bytes::Bytes;
    use pretty_assertions::assert_eq;

    use super::*;

    async fn store(keys: &[&str]) -> MemoryStore {
        let store = MemoryStore::new();
        for key in keys {
            let content = Content { body: Bytes::new(), etag: ETag("\"0\"".to_owned()), head: String::new() };
            store.write(&names::object("b", key), content, &Condition::Always).await.unwrap().value.unwrap();
        }
        store
    }

    /// All pages of `limit`, each as its objects and groups.
    async fn pages(store: &MemoryStore, prefix: &str, delimiter: Option<&str>, limit: usize) -> Vec<Vec<String>> {
        let mut pages = Vec::new();
        let mut start = Start::First;
        loop {
            let query = Query { bucket: "b", prefix, delimiter, start, limit };
            let page = list(store, &query).await.unwrap();
            let keys = page.objects.into_iter().map(|line| line.key).chain(page.groups).collect();
            pages.push(keys);
            match page.next {
                Some(next) => start = Start::from_token(&next.token()).unwrap(),
                None => return pages,
            }
        }
    }

    #[tokio::test]
    async fn a_full_last_page_has_no_successor() {
        let store = store(&["1", "2", "3", "4"]).await;
        assert_eq!(pages(&store, "", None, 2).await, [["1", "2"], ["3", "4"]]);
        assert_eq!(pages(&store, "", None, 4).await.len(), 1);
        assert_eq!(pages(&store, "x", None, 4).await, [Vec::<String>::new()]);
    }

    #[tokio::test]
    async fn groups_count_once_and_are_not_told_again_on_the_next_page() {
        let odd = format!("l/b/{}x", char::MAX);
        let store = store(&["l/a/1", "l/a/2", "l/b/1", &odd, "l/c", "l/d/1", "m"]).await;
        assert_eq!(pages(&store, "l/", Some("/"), 1).await, [["l/a/"], ["l/b/"], ["l/c"], ["l/d/"]]);
        assert_eq!(pages(&store, "l/", Some("/"), 9).await, [["l/c", "l/a/", "l/b/", "l/d/"]]);
        assert_eq!(pages(&store, "", Some("/"), 1).await, [["l/"], ["m"]]);
    }

    #[tokio::test]
    async fn groups_larger_than_a_page_of_the_store_are_passed_in_one_step() {
        let keys: Vec<String> = (0..2_500).map(|n| format!("g/{n}")).chain(["h".to_owned()]).collect();
        let store = store(&keys.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert_eq!(pages(&store, "", Some("/"), 10).await, [["h", "g/"]]);
    }

    #[test]
    fn a_token_is_read_again_and_others_are_refused() {
        for start in [Start::First, Start::After("é/%\n".to_owned()), Start::AfterGroup("a/".to_owned())] {
            assert_eq!(Start::from_token(&start.token()).unwrap(), start);
        }
        for token in ["", "é", "k6", "kzz", "x61", "kff"] {
            assert!(Start::from_token(token).is_err(), "{token:?}");
        }
    }

    #[test]
    fn a_marker_that_is_a_group_stands_for_all_of_it() {
        let group = Start::AfterGroup("l/a/".to_owned());
        assert_eq!(Start::after_marker(Some("l/a/"), "l/", Some("/")), group);
        assert_eq!(Start::after_marker(Some("l/a/"), "l/", None), Start::After("l/a/".to_owned()));
        assert_eq!(Start::after_marker(Some(""), "l/", None), Start::First);
    }
}
