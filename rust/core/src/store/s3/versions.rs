//! The versions of one key in the answer to a listing of versions.

use std::cmp::Reverse;

use aws_sdk_s3::operation::list_object_versions::ListObjectVersionsOutput;
use aws_smithy_types::DateTime;

use super::super::{Version, VersionId, VersionPage};
use crate::time::Timestamp;

/// Newest first, of exactly the key `full`; `None` if the answer lacks a time.
///
/// The SDK sorts bodies and deletions into two lists, whose common order is lost. Here it is found again by time, and
/// for equal times by what the answer says about the first and the last of the page: the next page begins after that
/// one, so it must be last here too.
pub(super) fn page(full: &str, output: &ListObjectVersionsOutput) -> Option<VersionPage> {
    let last = output.next_version_id_marker().filter(|_| output.next_key_marker() == Some(full));
    let mut entries = Vec::new();
    for version in output.versions().iter().filter(|version| version.key() == Some(full)) {
        entries.push(entry(version.version_id(), version.last_modified(), version.is_latest(), false)?);
    }
    for marker in output.delete_markers().iter().filter(|marker| marker.key() == Some(full)) {
        entries.push(entry(marker.version_id(), marker.last_modified(), marker.is_latest(), true)?);
    }
    entries.sort_by_key(|(is_latest, version)| {
        let is_last = last == Some(version.id.0.as_str());
        (is_last, Reverse(*is_latest), Reverse(version.last_modified))
    });
    let versions = entries.into_iter().map(|(_, version)| version).collect();
    Some(VersionPage { versions, more: output.is_truncated() == Some(true) && last.is_some() })
}

fn entry(id: Option<&str>, time: Option<&DateTime>, is_latest: Option<bool>, deleted: bool) -> Option<(bool, Version)> {
    let last_modified = Timestamp((*time?).to_millis().ok()?);
    // A bucket that never had versioning names its only version so, or not at all.
    let id = VersionId(id.unwrap_or("null").to_owned());
    Some((is_latest == Some(true), Version { id, last_modified, deleted }))
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::{DeleteMarkerEntry, ObjectVersion};
    use pretty_assertions::assert_eq;

    use super::*;

    fn written(key: &str, id: &str, second: i64, latest: bool) -> ObjectVersion {
        let time = DateTime::from_secs(second);
        ObjectVersion::builder().key(key).version_id(id).last_modified(time).is_latest(latest).build()
    }

    fn deleted(key: &str, id: &str, second: i64, latest: bool) -> DeleteMarkerEntry {
        let time = DateTime::from_secs(second);
        DeleteMarkerEntry::builder().key(key).version_id(id).last_modified(time).is_latest(latest).build()
    }

    fn ids(page: &VersionPage) -> Vec<&str> {
        page.versions.iter().map(|version| version.id.0.as_str()).collect()
    }

    #[test]
    fn writes_and_deletions_are_put_in_one_order() {
        let output = ListObjectVersionsOutput::builder()
            .versions(written("k", "d", 40, false))
            .versions(written("k", "b", 20, false))
            .delete_markers(deleted("k", "e", 40, true))
            .delete_markers(deleted("k", "c", 30, false))
            .build();
        let page = page("k", &output).unwrap();
        assert_eq!(ids(&page), ["e", "d", "c", "b"]);
        assert_eq!(page.versions.iter().map(|version| version.deleted).collect::<Vec<_>>(), [true, false, true, false]);
        assert!(!page.more);
    }

    #[test]
    fn the_one_after_which_the_next_page_begins_is_last() {
        let output = ListObjectVersionsOutput::builder()
            .versions(written("k", "b", 20, false))
            .versions(written("k", "a", 20, false))
            .delete_markers(deleted("k", "c", 20, false))
            .is_truncated(true)
            .next_key_marker("k")
            .next_version_id_marker("b")
            .build();
        let page = page("k", &output).unwrap();
        assert_eq!(ids(&page).last(), Some(&"b"));
        assert!(page.more);
    }

    #[test]
    fn other_keys_that_begin_alike_are_left_out_and_are_no_reason_for_more() {
        let output = ListObjectVersionsOutput::builder()
            .versions(written("k", "a", 10, true))
            .versions(written("k2", "z", 50, true))
            .is_truncated(true)
            .next_key_marker("k2")
            .next_version_id_marker("z")
            .build();
        let page = page("k", &output).unwrap();
        assert_eq!((ids(&page), page.more), (vec!["a"], false));
    }
}
