//! Checks of old versions, kept of the keys under `tasks/`.
#![expect(clippy::missing_errors_doc, reason = "every check errs with what the store does wrong")]

use super::{AnyStore, Broken, Check, found, must, write};
use crate::store::{Got, Version, VersionPage};

async fn page(store: &AnyStore, key: &str, before: Option<&Version>, limit: usize) -> Result<VersionPage, Broken> {
    Ok(store.versions(key, before.map(|version| &version.id), limit).await?.value)
}

async fn body(store: &AnyStore, key: &str, version: &Version) -> Result<String, Broken> {
    let object = found(key, store.get_version(key, &version.id).await?.value)?;
    Ok(String::from_utf8_lossy(&object.body).into_owned())
}

async fn bodies(store: &AnyStore, key: &str, versions: &[Version]) -> Result<Vec<String>, Broken> {
    let mut bodies = Vec::new();
    for version in versions {
        bodies.push(body(store, key, version).await?);
    }
    Ok(bodies)
}

/// Every write is a version, newest first, of exactly the key asked for.
pub async fn versions_are_kept_newest_first(store: &AnyStore) -> Check {
    must!(store.keeps_versions().await?.value, "the store says that it keeps no versions");
    let key = "tasks/0/newest.json";
    // Neighbours that begin with the same letters, before and after it.
    for n in 1..=3 {
        for name in [key, "tasks/0/newest.json.x", "tasks/0/newest", "tasks/0/newest.jsom"] {
            write(store, name, format!("{name} {n}")).await?;
        }
    }
    let all = page(store, key, None, 100).await?;
    must!(!all.more && all.versions.len() == 3, "3 writes made {} versions, more: {}", all.versions.len(), all.more);
    let wanted: Vec<String> = (1..=3).rev().map(|n| format!("{key} {n}")).collect();
    let read = bodies(store, key, &all.versions).await?;
    must!(read == wanted, "the versions hold {read:?}");
    let none = page(store, "tasks/0/never.json", None, 100).await?;
    must!(none.versions.is_empty() && !none.more, "a key never written has {} versions", none.versions.len());
    Ok(())
}

/// Pages of versions, put together, are all versions.
pub async fn versions_come_in_pages(store: &AnyStore) -> Check {
    let key = "tasks/1/paged.json";
    for n in 0..7 {
        write(store, key, format!("{n}")).await?;
        write(store, "tasks/1/paged.json.other", format!("{n}")).await?;
    }
    for limit in [1, 2, 3, 7] {
        let mut versions: Vec<Version> = Vec::new();
        loop {
            let next = page(store, key, versions.last(), limit).await?;
            must!(next.versions.len() <= limit, "{} versions, though {limit} were asked for", next.versions.len());
            must!(!next.versions.is_empty() || !next.more, "an empty page says that there is more");
            versions.extend(next.versions);
            if !next.more {
                break;
            }
        }
        let read = bodies(store, key, &versions).await?;
        must!(read == ["6", "5", "4", "3", "2", "1", "0"], "pages of {limit} gave {read:?}");
    }
    Ok(())
}

/// A deletion is the newest version and has no body; the older ones can still be read.
pub async fn a_deletion_leaves_the_older_versions(store: &AnyStore) -> Check {
    let key = "tasks/2/deleted.json";
    write(store, key, "1").await?;
    store.delete_many(&[key.to_owned()]).await?;
    let all = page(store, key, None, 100).await?;
    let deleted: Vec<bool> = all.versions.iter().map(|version| version.deleted).collect();
    must!(deleted == [true, false], "after a write and a deletion the versions are {:?}", all.versions);
    for version in &all.versions {
        let got = store.get_version(key, &version.id).await?.value;
        let expected = if version.deleted { got == Got::Missing } else { found(key, got.clone())?.body == "1" };
        must!(expected, "the version {version:?} gave {got:?}");
    }
    write(store, key, "2").await?;
    let all = page(store, key, None, 100).await?;
    must!(all.versions.len() == 3, "written again, it has {} versions", all.versions.len());
    let newest = all.versions.first().ok_or_else(|| Broken("no versions".to_owned()))?;
    must!(!newest.deleted && body(store, key, newest).await? == "2", "the newest version is {newest:?}");
    Ok(())
}
