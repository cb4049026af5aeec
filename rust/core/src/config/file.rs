//! `.buquet.toml`: `[default]` and `[profiles.NAME]`, each with `url` and optionally `region` and `endpoint`.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::target::Overrides;
use crate::error::{Error, Result};

const NAME: &str = ".buquet.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default: Option<Table>,
    #[serde(default)]
    profiles: BTreeMap<String, Table>,
}

/// One way to a store.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    pub(super) url: String,
    region: Option<String>,
    endpoint: Option<String>,
}

impl Table {
    pub(super) fn overrides(&self) -> Overrides {
        Overrides { region: self.region.clone(), endpoint: self.endpoint.clone() }
    }
}

/// A table that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) table: Table,
    pub(super) folder: PathBuf,
    /// The file and the table, for people.
    pub(super) source: String,
}

/// The table for the profile (a name, and who named it), or `[default]`; `None` if no profile is named and there is
/// no file, or no `[default]` in it.
pub(super) fn find(cwd: &Path, profile: Option<(&str, &str)>) -> Result<Option<Found>> {
    let Some((path, mut file)) = nearest(cwd)? else {
        return match profile {
            None => Ok(None),
            Some((name, source)) => Err(Error::Config(format!(
                "{source} names the profile {name:?}, but there is no {NAME} in {} or any folder above it",
                cwd.display()
            ))),
        };
    };
    let folder = path.parent().unwrap_or(cwd).to_owned();
    let found = |table, title: &str| Found { table, folder, source: format!("{} [{title}]", path.display()) };
    let Some((name, source)) = profile else { return Ok(file.default.map(|table| found(table, "default"))) };
    if let Some(table) = file.profiles.remove(name) {
        return Ok(Some(found(table, &format!("profiles.{name}"))));
    }
    let known: Vec<&str> = file.profiles.keys().map(String::as_str).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Err(Error::Config(format!(
        "{source} names the profile {name:?}, which {} does not have; it has: {known}",
        path.display()
    )))
}

fn nearest(cwd: &Path) -> Result<Option<(PathBuf, File)>> {
    for folder in cwd.ancestors() {
        let path = folder.join(NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            Err(error) => return Err(Error::Config(format!("cannot read {}: {error}", path.display()))),
        };
        let file = toml::from_str(&text).map_err(|error| Error::Config(explain(&path, &text, &error)))?;
        return Ok(Some((path, file)));
    }
    Ok(None)
}

/// Says where and what is wrong without repeating a value, which may be a secret in the wrong place.
fn explain(path: &Path, text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let what = error.message().split('"').next().unwrap_or_default().trim_end();
    let path = path.display();
    format!("{path}, line {line}: {what}; allowed are [default] and [profiles.NAME] with url, region and endpoint")
}
