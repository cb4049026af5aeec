//! The store's operations in SQL. Each runs inside a transaction that its caller opened.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::super::hosted::VERSIONED;
use super::super::{Condition, ETag, Got, Listed, Object, Page, Put, Version, VersionId, VersionPage};
use crate::time::Timestamp;

/// One conditional write.
pub(super) struct Write {
    pub(super) key: String,
    pub(super) body: Bytes,
    pub(super) etag: ETag,
    pub(super) condition: Condition,
}

/// The newest time ever stored.
pub(super) fn latest_time(database: &Connection) -> Result<Timestamp> {
    database.prepare_cached("SELECT latest FROM clock")?.query_row([], |row| row.get(0).map(Timestamp))
}

/// Notes the newest time stored.
pub(super) fn set_latest_time(database: &Connection, now: Timestamp) -> Result<()> {
    database.prepare_cached("UPDATE clock SET latest = ?1 WHERE latest < ?1")?.execute([now.0]).map(drop)
}

/// Writes an object if its condition holds.
pub(super) fn put_object(database: &Connection, now: Timestamp, write: &Write) -> Result<Put> {
    let current = current(database, &write.key)?;
    let allowed = match &write.condition {
        Condition::Always => true,
        Condition::IfAbsent => current.is_none(),
        Condition::IfMatch(etag) => current.as_ref().is_some_and(|(_, present)| *present == etag.0),
    };
    if !allowed {
        return Ok(Put::Refused);
    }
    let version = match current {
        Some((version, _)) if !write.key.starts_with(VERSIONED) => {
            replace_body(database, now, write, version)?;
            version
        }
        _ => insert_version(database, now, &write.key, &write.etag.0, Some(&write.body))?,
    };
    set_object(database, &write.key, version, &write.etag.0, now, write.body.len())?;
    Ok(Put::Stored(write.etag.clone()))
}

/// Makes a version the present object of its key.
pub(super) fn set_object(
    database: &Connection,
    key: &str,
    version: i64,
    etag: &str,
    modified: Timestamp,
    size: usize,
) -> Result<()> {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    database
        .prepare_cached(
            "INSERT INTO objects (key, version, etag, modified, size) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (key) DO UPDATE SET version = ?2, etag = ?3, modified = ?4, size = ?5",
        )?
        .execute(params![key, version, etag, modified.0, size])
        .map(drop)
}

/// Deletes the keys that are there.
pub(super) fn delete(database: &Connection, now: Timestamp, keys: &[String]) -> Result<()> {
    for key in keys {
        let Some((version, _)) = current(database, key)? else { continue };
        database.prepare_cached("DELETE FROM objects WHERE key = ?1")?.execute([key])?;
        if key.starts_with(VERSIONED) {
            insert_version(database, now, key, "", None)?;
        } else {
            database.prepare_cached("DELETE FROM versions WHERE id = ?1")?.execute([version])?;
        }
    }
    Ok(())
}

/// Reads an object, unless it is still the one that is `known`.
pub(super) fn get(database: &Connection, key: &str, known: Option<&ETag>) -> Result<Got> {
    let Some((version, etag)) = current(database, key)? else { return Ok(Got::Missing) };
    if known.is_some_and(|known| known.0 == etag) {
        return Ok(Got::NotModified);
    }
    get_version(database, key, version)
}

/// Reads one version.
pub(super) fn get_version(database: &Connection, key: &str, version: i64) -> Result<Got> {
    let found = database
        .prepare_cached("SELECT body, etag, modified FROM versions WHERE id = ?1 AND key = ?2 AND body IS NOT NULL")?
        .query_row(params![version, key], object)
        .optional()?;
    Ok(found.map_or(Got::Missing, Got::Found))
}

/// Lists keys in byte order.
pub(super) fn list(database: &Connection, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page> {
    // One bound only: with two, SQLite may seek to the lower one and read all rows up to the higher.
    let (sql, bound) = match after {
        Some(after) if after >= prefix => {
            ("SELECT key, modified, size FROM objects WHERE key > ?1 ORDER BY key", after)
        }
        _ => ("SELECT key, modified, size FROM objects WHERE key >= ?1 ORDER BY key", prefix),
    };
    let mut statement = database.prepare_cached(sql)?;
    let mut rows = statement.query([bound])?;
    let mut page = Page::default();
    while let Some(row) = rows.next()? {
        let entry = listed(row)?;
        if !entry.key.starts_with(prefix) {
            break;
        }
        if page.entries.len() == limit {
            page.more = true;
            break;
        }
        page.entries.push(entry);
    }
    Ok(page)
}

/// Lists the kept versions of one key, newest first, of those before `before`.
pub(super) fn versions(database: &Connection, key: &str, before: i64, limit: usize) -> Result<VersionPage> {
    let mut statement = database.prepare_cached(
        "SELECT id, modified, body IS NULL FROM versions WHERE kept AND key = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3",
    )?;
    let wanted = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let mut versions = statement.query_map(params![key, before, wanted], version)?.collect::<Result<Vec<_>>>()?;
    let more = versions.len() > limit;
    versions.truncate(limit);
    Ok(VersionPage { versions, more })
}

/// Version and tag of the present object.
pub(super) fn current(database: &Connection, key: &str) -> Result<Option<(i64, String)>> {
    database
        .prepare_cached("SELECT version, etag FROM objects WHERE key = ?1")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// Adds a version, a marker if it has no body, and answers its number.
pub(super) fn insert_version(
    database: &Connection,
    now: Timestamp,
    key: &str,
    etag: &str,
    body: Option<&[u8]>,
) -> Result<i64> {
    database
        .prepare_cached("INSERT INTO versions (key, kept, etag, modified, body) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .insert(params![key, key.starts_with(VERSIONED), etag, now.0, body])
}

fn replace_body(database: &Connection, now: Timestamp, write: &Write, version: i64) -> Result<()> {
    database
        .prepare_cached("UPDATE versions SET etag = ?2, modified = ?3, body = ?4 WHERE id = ?1")?
        .execute(params![version, write.etag.0, now.0, &write.body[..]])
        .map(drop)
}

fn object(row: &Row<'_>) -> Result<Object> {
    let body: Vec<u8> = row.get(0)?;
    Ok(Object { body: Bytes::from(body), etag: ETag(row.get(1)?), last_modified: Timestamp(row.get(2)?) })
}

fn listed(row: &Row<'_>) -> Result<Listed> {
    let size: i64 = row.get(2)?;
    Ok(Listed { key: row.get(0)?, last_modified: Timestamp(row.get(1)?), size: u64::try_from(size).unwrap_or(0) })
}

fn version(row: &Row<'_>) -> Result<Version> {
    let id: i64 = row.get(0)?;
    Ok(Version { id: VersionId(id.to_string()), last_modified: Timestamp(row.get(1)?), deleted: row.get(2)? })
}
