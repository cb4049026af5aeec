//! What a server of buckets does, in SQL. Each runs inside a transaction that its caller opened.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Params, Result, Row, params};

use super::super::hosted::{Content, Deleted, Deletion, Held, Line, Lines, Refused, check};
use super::super::{Condition, ETag, VersionId};
use super::statements::{current, insert_version, set_object};
use crate::time::Timestamp;

/// A table that a queue's file does not have: what a server keeps with a version besides its bytes.
pub(super) const HEADS: &str = "CREATE TABLE IF NOT EXISTS heads (version INTEGER PRIMARY KEY, head TEXT NOT NULL)";

/// The columns of a [`Line`], of a row of `versions` called `v`.
const LINE: &str = "v.key, v.id, v.etag, coalesce(length(v.body), 0), v.modified, v.body IS NULL,
    v.id = (SELECT max(id) FROM versions AS n WHERE n.kept AND n.key = v.key)";

/// Writes an object if its condition holds.
pub(super) fn write(
    database: &Connection,
    now: Timestamp,
    key: &str,
    content: &Content,
    condition: &Condition,
) -> Result<std::result::Result<VersionId, Refused>> {
    let present = current(database, key)?;
    if let Err(refused) = check(condition, present.as_ref().map(|(_, etag)| etag.as_str())) {
        return Ok(Err(refused));
    }
    let version = insert_version(database, now, key, &content.etag.0, Some(&content.body))?;
    database
        .prepare_cached("INSERT INTO heads (version, head) VALUES (?1, ?2)")?
        .execute(params![version, content.head])?;
    set_object(database, key, version, &content.etag.0, now, content.body.len())?;
    Ok(Ok(VersionId(version.to_string())))
}

/// Reads one version, or the newest.
pub(super) fn read(database: &Connection, key: &str, version: Option<i64>) -> Result<Option<Held>> {
    database
        .prepare_cached(
            "SELECT id, modified, etag, body, head FROM versions LEFT JOIN heads ON version = id
             WHERE kept AND key = ?1 AND (?2 IS NULL OR id = ?2) ORDER BY id DESC LIMIT 1",
        )?
        .query_row(params![key, version], held)
        .optional()
}

/// Carries out one deletion if its condition holds.
pub(super) fn remove(
    database: &Connection,
    now: Timestamp,
    deletion: &Deletion,
    version: Option<i64>,
) -> Result<std::result::Result<Deleted, Refused>> {
    let key = &deletion.key;
    let present = current(database, key)?;
    if let Err(refused) = check(&deletion.condition, present.as_ref().map(|(_, etag)| etag.as_str())) {
        return Ok(Err(refused));
    }
    let Some(version) = version else {
        database.prepare_cached("DELETE FROM objects WHERE key = ?1")?.execute([key])?;
        let marker = insert_version(database, now, key, "", None)?;
        return Ok(Ok(Deleted { version: VersionId(marker.to_string()), marker: Some(true) }));
    };
    let marker = remove_version(database, key, version)?;
    Ok(Ok(Deleted { version: VersionId(version.to_string()), marker }))
}

/// Removes one version and says whether it was a marker. Its row stays, empty, or its number could be given again.
fn remove_version(database: &Connection, key: &str, version: i64) -> Result<Option<bool>> {
    let marker = database
        .prepare_cached("SELECT body IS NULL FROM versions WHERE kept AND key = ?1 AND id = ?2")?
        .query_row(params![key, version], |row| row.get(0))
        .optional()?;
    if marker.is_some() {
        database.prepare_cached("UPDATE versions SET kept = 0, body = NULL WHERE id = ?1")?.execute([version])?;
        database.prepare_cached("DELETE FROM heads WHERE version = ?1")?.execute([version])?;
        promote(database, key)?;
    }
    Ok(marker)
}

/// Makes the newest version that is left the present object.
fn promote(database: &Connection, key: &str) -> Result<()> {
    let newest: Option<(i64, String, i64, Option<usize>)> = database
        .prepare_cached(
            "SELECT id, etag, modified, length(body) FROM versions WHERE kept AND key = ?1 ORDER BY id DESC LIMIT 1",
        )?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    match newest {
        Some((version, etag, modified, Some(size))) => {
            set_object(database, key, version, &etag, Timestamp(modified), size)
        }
        _ => database.prepare_cached("DELETE FROM objects WHERE key = ?1")?.execute([key]).map(drop),
    }
}

/// Lists objects in byte order.
pub(super) fn objects(database: &Connection, prefix: &str, after: Option<&str>, limit: usize) -> Result<Lines> {
    let (bound, from) = match after {
        Some(after) if after >= prefix => (">", after),
        _ => (">=", prefix),
    };
    let sql = format!("SELECT key, version, etag, size, modified, 0, 1 FROM objects WHERE key {bound} ?1 ORDER BY key");
    let mut page = Lines::default();
    add(database, &mut page, &sql, [from], prefix, limit)?;
    Ok(page)
}

/// Lists versions by key, newest first within a key; with `after`, the older ones of that key and all later keys.
pub(super) fn all_versions(
    database: &Connection,
    prefix: &str,
    after: Option<(&str, i64)>,
    limit: usize,
) -> Result<Lines> {
    let mut page = Lines::default();
    let (bound, from) = match after {
        Some((key, before)) if key >= prefix => {
            let sql = format!("SELECT {LINE} FROM versions AS v WHERE kept AND key = ?1 AND id < ?2 ORDER BY id DESC");
            add(database, &mut page, &sql, params![key, before], prefix, limit)?;
            (">", key)
        }
        _ => (">=", prefix),
    };
    let sql = format!("SELECT {LINE} FROM versions AS v WHERE kept AND key {bound} ?1 ORDER BY key, id DESC");
    add(database, &mut page, &sql, [from], prefix, limit)?;
    Ok(page)
}

/// Appends what a query finds, up to the limit or the prefix's end.
fn add(
    database: &Connection,
    page: &mut Lines,
    sql: &str,
    bounds: impl Params,
    prefix: &str,
    limit: usize,
) -> Result<()> {
    let mut statement = database.prepare_cached(sql)?;
    let mut rows = statement.query(bounds)?;
    while let Some(row) = rows.next()? {
        let line = line(row)?;
        if !line.key.starts_with(prefix) {
            break;
        }
        if page.lines.len() == limit {
            page.more = true;
            break;
        }
        page.lines.push(line);
    }
    Ok(())
}

fn held(row: &Row<'_>) -> Result<Held> {
    let (version, modified): (i64, i64) = (row.get(0)?, row.get(1)?);
    let (etag, body, head): (String, Option<Vec<u8>>, Option<String>) = (row.get(2)?, row.get(3)?, row.get(4)?);
    let content =
        body.map(|body| Content { body: Bytes::from(body), etag: ETag(etag), head: head.unwrap_or_default() });
    Ok(Held { version: VersionId(version.to_string()), last_modified: Timestamp(modified), content })
}

fn line(row: &Row<'_>) -> Result<Line> {
    let (version, size): (i64, i64) = (row.get(1)?, row.get(3)?);
    Ok(Line {
        key: row.get(0)?,
        version: VersionId(version.to_string()),
        etag: ETag(row.get(2)?),
        size: u64::try_from(size).unwrap_or(0),
        last_modified: Timestamp(row.get(4)?),
        marker: row.get(5)?,
        latest: row.get(6)?,
    })
}
