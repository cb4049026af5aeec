//! What a server of buckets asks of the embedded stores holds on each: the memory and a SQLite file.

use std::sync::Arc;

use buquet_core::store::hosted::{Content, Deleted, Deletion, Hosted, Line, Lines, Refused};
use buquet_core::store::memory::MemoryStore;
use buquet_core::store::sqlite::SqliteStore;
use buquet_core::store::{Condition, ETag, VersionId};
use bytes::Bytes;
use pretty_assertions::assert_eq;

type Any = Arc<dyn Hosted>;

fn content(text: &str) -> Content {
    let etag = ETag(format!("\"of {text}\""));
    Content { body: Bytes::from(text.to_owned()), etag, head: format!("head of {text}") }
}

async fn write_if(store: &Any, key: &str, text: &str, condition: Condition) -> Result<VersionId, Refused> {
    store.write(key, content(text), &condition).await.unwrap().value
}

async fn write(store: &Any, key: &str, text: &str) -> VersionId {
    write_if(store, key, text, Condition::Always).await.unwrap()
}

async fn read(store: &Any, key: &str, version: Option<&VersionId>) -> Option<String> {
    let held = store.read(key, version).await.unwrap().value?;
    let content = held.content?;
    assert_eq!(content.head, format!("head of {}", String::from_utf8_lossy(&content.body)));
    Some(String::from_utf8(content.body.to_vec()).unwrap())
}

async fn remove_if(
    store: &Any,
    key: &str,
    version: Option<&VersionId>,
    condition: Condition,
) -> Result<Deleted, Refused> {
    let deletion = Deletion { key: key.to_owned(), version: version.cloned(), condition };
    store.remove(vec![deletion]).await.unwrap().value.remove(0)
}

async fn remove(store: &Any, key: &str, version: Option<&VersionId>) -> Deleted {
    remove_if(store, key, version, Condition::Always).await.unwrap()
}

fn keys(lines: &Lines) -> Vec<&str> {
    lines.lines.iter().map(|line| line.key.as_str()).collect()
}

async fn every_write_is_a_version_with_its_head(store: Any) {
    let one = write(&store, "tasks/k", "1").await;
    let two = write(&store, "tasks/k", "2").await;
    assert_eq!(read(&store, "tasks/k", None).await.as_deref(), Some("2"));
    assert_eq!(read(&store, "tasks/k", Some(&one)).await.as_deref(), Some("1"));
    assert_eq!(read(&store, "tasks/k", Some(&two)).await.as_deref(), Some("2"));
    assert_eq!(read(&store, "tasks/other", Some(&one)).await, None, "a version belongs to its key");
    assert_eq!(store.read("tasks/other", None).await.unwrap().value, None);
}

async fn conditions_are_compared_with_the_present_object(store: Any) {
    let wrong = || Condition::IfMatch(ETag("\"x\"".to_owned()));
    let any = || Condition::IfMatch(ETag("*".to_owned()));
    assert_eq!(write_if(&store, "tasks/k", "0", wrong()).await, Err(Refused { exists: false }));
    assert_eq!(write_if(&store, "tasks/k", "0", any()).await, Err(Refused { exists: false }));
    write_if(&store, "tasks/k", "1", Condition::IfAbsent).await.unwrap();
    assert_eq!(write_if(&store, "tasks/k", "2", Condition::IfAbsent).await, Err(Refused { exists: true }));
    assert_eq!(write_if(&store, "tasks/k", "2", wrong()).await, Err(Refused { exists: true }));
    write_if(&store, "tasks/k", "2", Condition::IfMatch(content("1").etag)).await.unwrap();
    write_if(&store, "tasks/k", "3", any()).await.unwrap();
    assert_eq!(remove_if(&store, "tasks/k", None, wrong()).await, Err(Refused { exists: true }));
    assert_eq!(read(&store, "tasks/k", None).await.as_deref(), Some("3"));
    remove_if(&store, "tasks/k", None, Condition::IfMatch(content("3").etag)).await.unwrap();
    assert_eq!(remove_if(&store, "tasks/k", None, any()).await, Err(Refused { exists: false }));
    write_if(&store, "tasks/k", "4", Condition::IfAbsent).await.unwrap();
}

async fn a_deletion_is_a_version_that_can_be_removed_again(store: Any) {
    let one = write(&store, "tasks/k", "1").await;
    let marked = remove(&store, "tasks/k", None).await;
    assert_eq!(marked.marker, Some(true));
    let newest = store.read("tasks/k", None).await.unwrap().value.unwrap();
    assert_eq!((newest.version, newest.content), (marked.version.clone(), None));
    assert_eq!(store.objects("tasks/", None, 10).await.unwrap().value, Lines::default());

    assert_eq!(remove(&store, "tasks/k", Some(&marked.version)).await, marked);
    assert_eq!(read(&store, "tasks/k", None).await.as_deref(), Some("1"));
    assert_eq!(keys(&store.objects("tasks/", None, 10).await.unwrap().value), ["tasks/k"]);

    let gone = remove(&store, "tasks/k", Some(&one)).await;
    assert_eq!(gone, Deleted { version: one.clone(), marker: Some(false) });
    assert_eq!(store.read("tasks/k", None).await.unwrap().value, None);
    assert_eq!(remove(&store, "tasks/k", Some(&one)).await.marker, None, "there is nothing left to remove");
    assert!(write(&store, "tasks/k", "2").await != one, "the name of a version is never given again");
}

async fn removing_the_newest_version_brings_back_the_one_before(store: Any) {
    write(&store, "tasks/k", "1").await;
    let two = write(&store, "tasks/k", "2").await;
    remove(&store, "tasks/k", Some(&two)).await;
    assert_eq!(read(&store, "tasks/k", None).await.as_deref(), Some("1"));
    let listed = store.objects("tasks/", None, 10).await.unwrap().value;
    assert_eq!(listed.lines[0].etag, content("1").etag);
    write_if(&store, "tasks/k", "3", Condition::IfMatch(content("1").etag)).await.unwrap();
}

async fn many_deletions_are_answered_in_order(store: Any) {
    write(&store, "tasks/a", "1").await;
    write(&store, "tasks/b", "1").await;
    let deletion = |key: &str, condition| Deletion { key: key.to_owned(), version: None, condition };
    let wrong = Condition::IfMatch(ETag("\"x\"".to_owned()));
    let deletions = vec![
        deletion("tasks/a", Condition::Always),
        deletion("tasks/b", wrong),
        deletion("tasks/c", Condition::Always),
    ];
    let answers = store.remove(deletions).await.unwrap().value;
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(keys(&store.objects("tasks/", None, 10).await.unwrap().value), ["tasks/b"]);
}

async fn objects_are_listed_in_order_with_their_tags(store: Any) {
    for key in ["tasks/l/b", "tasks/l/a", "tasks/m", "tasks/l/c"] {
        write(&store, key, key).await;
    }
    let page = store.objects("tasks/l/", None, 2).await.unwrap().value;
    assert_eq!((keys(&page), page.more), (vec!["tasks/l/a", "tasks/l/b"], true));
    let page = store.objects("tasks/l/", Some("tasks/l/b"), 2).await.unwrap().value;
    let [Line { key, etag, size, marker: false, latest: true, .. }] = page.lines.as_slice() else {
        panic!("{page:?}");
    };
    assert_eq!((key.as_str(), etag, *size, page.more), ("tasks/l/c", &content("tasks/l/c").etag, 9, false));
}

async fn versions_of_all_keys_come_in_pages_of_any_size(store: Any) {
    for text in ["1", "2"] {
        write(&store, "tasks/v/a", text).await;
        write(&store, "tasks/v/b", text).await;
    }
    remove(&store, "tasks/v/a", None).await;
    write(&store, "tasks/w", "1").await;
    let whole = store.all_versions("tasks/v/", None, 100).await.unwrap().value;
    let told =
        |lines: &[Line]| lines.iter().map(|line| (line.key.clone(), line.marker, line.latest)).collect::<Vec<_>>();
    let line = |key: &str, marker, latest| (key.to_owned(), marker, latest);
    assert_eq!(
        told(&whole.lines),
        [
            line("tasks/v/a", true, true),
            line("tasks/v/a", false, false),
            line("tasks/v/a", false, false),
            line("tasks/v/b", false, true),
            line("tasks/v/b", false, false),
        ]
    );
    for limit in 1..=6 {
        let mut found: Vec<Line> = Vec::new();
        loop {
            let after = found.last().map(|line| (line.key.as_str(), Some(&line.version)));
            let page = store.all_versions("tasks/v/", after, limit).await.unwrap().value;
            assert!(page.lines.len() <= limit);
            found.extend(page.lines);
            if !page.more {
                break;
            }
        }
        assert_eq!(found, whole.lines, "pages of {limit}");
    }
    let after = store.all_versions("tasks/v/", Some(("tasks/v/a", None)), 100).await.unwrap().value;
    assert_eq!(keys(&after), ["tasks/v/b", "tasks/v/b"], "a key without a version skips all of that key");
}

async fn the_clock_is_not_behind_what_is_stored(store: Any) {
    write(&store, "tasks/k", "1").await;
    let stored = store.read("tasks/k", None).await.unwrap().value.unwrap().last_modified;
    assert!(store.now() >= stored);
}

macro_rules! on_each_store {
    ($($check:ident),+ $(,)?) => {
        mod memory {
            use super::*;
            $(#[tokio::test]
            async fn $check() {
                let store: Any = Arc::new(MemoryStore::new());
                store.prepare().await.unwrap();
                super::$check(store).await;
            })+
        }

        mod sqlite {
            use super::*;
            $(#[tokio::test]
            async fn $check() {
                let folder = tempfile::tempdir().unwrap();
                let store: Any = Arc::new(SqliteStore::open(&folder.path().join("q.db")).unwrap());
                store.prepare().await.unwrap();
                super::$check(store).await;
            })+
        }
    };
}

on_each_store! {
    every_write_is_a_version_with_its_head,
    conditions_are_compared_with_the_present_object,
    a_deletion_is_a_version_that_can_be_removed_again,
    removing_the_newest_version_brings_back_the_one_before,
    many_deletions_are_answered_in_order,
    objects_are_listed_in_order_with_their_tags,
    versions_of_all_keys_come_in_pages_of_any_size,
    the_clock_is_not_behind_what_is_stored,
}
