//! `.buquet.toml`: `[default]` and `[profiles.NAME]`, each with `url`, `region`, `endpoint` and tables of options.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::did_you_mean;
use super::options::{Definition, Key, OPTIONS};
use super::target::Overrides;
use super::value::{Value, Written, read};
use crate::error::{Error, Result};

const NAME: &str = ".buquet.toml";
const ADDRESS: [&str; 3] = ["url", "region", "endpoint"];
const ALLOWED: &str = "allowed are [default] and [profiles.NAME], with url, region, endpoint and tables of options such as \
    [default.worker]; `buquet config` names all options";

#[derive(Debug, Default)]
struct File {
    default: Option<Table>,
    profiles: BTreeMap<String, Table>,
}

/// One way to a store, and options.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) url: Option<String>,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) options: Vec<(Key, Value)>,
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
    pub(super) path: PathBuf,
    /// The file and the table, for people.
    pub(super) source: String,
    /// The table's name, if it is a profile.
    pub(super) profile: Option<String>,
}

/// The table for the profile (a name, and who named it), or `[default]`; `None` if no profile is named and there is
/// no file, or no `[default]` in it. Unless a profile is `required`, one that is named may have no file.
pub(super) fn find(cwd: &Path, profile: Option<(&str, &str)>, required: bool) -> Result<Option<Found>> {
    let Some((path, mut file)) = nearest_file(cwd)? else {
        return match profile.filter(|_| required) {
            None => Ok(None),
            Some((name, source)) => Err(Error::Config(format!(
                "{source} names the profile {name:?}, but there is no {NAME} in {} or any folder above it",
                cwd.display()
            ))),
        };
    };
    let found = |table, title: &str, profile: Option<&str>| Found {
        table,
        folder: path.parent().unwrap_or(cwd).to_owned(),
        source: format!("{} [{title}]", path.display()),
        path: path.clone(),
        profile: profile.map(ToOwned::to_owned),
    };
    let Some((name, source)) = profile else { return Ok(file.default.map(|table| found(table, "default", None))) };
    if let Some(table) = file.profiles.remove(name) {
        return Ok(Some(found(table, &format!("profiles.{name}"), Some(name))));
    }
    let known: Vec<&str> = file.profiles.keys().map(String::as_str).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Err(Error::Config(format!(
        "{source} names the profile {name:?}, which {} does not have; it has: {known}",
        path.display()
    )))
}

fn nearest_file(cwd: &Path) -> Result<Option<(PathBuf, File)>> {
    for folder in cwd.ancestors() {
        let path = folder.join(NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            Err(error) => return Err(Error::Config(format!("cannot read {}: {error}", path.display()))),
        };
        let file = Reader { path: &path, text: &text }.file()?;
        return Ok(Some((path, file)));
    }
    Ok(None)
}

/// Reads a file's text; what is wrong is said with its line, and without a value that may be a secret in the wrong place.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

type Entry<'a> = (&'a Spanned<std::borrow::Cow<'a, str>>, &'a Spanned<DeValue<'a>>);

impl Reader<'_> {
    fn place(&self, offset: usize) -> String {
        let before = self.text.get(..offset).unwrap_or_default();
        format!("{}, line {}", self.path.display(), before.matches('\n').count() + 1)
    }

    fn refused<T>(&self, offset: usize, problem: &str) -> Result<T> {
        Err(Error::Config(format!("{}: {problem}", self.place(offset))))
    }

    fn file(&self) -> Result<File> {
        let document = DeTable::parse(self.text).or_else(|error| {
            let what = error.message().split('"').next().unwrap_or_default().trim_end();
            self.refused(error.span().map_or(0, |span| span.start), &format!("{what}; {ALLOWED}"))
        })?;
        let mut file = File::default();
        for entry @ (key, value) in document.get_ref() {
            match key.get_ref().as_ref() {
                "default" => file.default = Some(self.table(value, "default")?),
                "profiles" => {
                    for (name, value) in self.members(value, "profiles")? {
                        let title = format!("profiles.{}", name.get_ref());
                        file.profiles.insert(name.get_ref().to_string(), self.table(value, &title)?);
                    }
                }
                _ => return self.unknown(entry, "", &["default", "profiles"]),
            }
        }
        Ok(file)
    }

    fn members<'a>(&self, value: &'a Spanned<DeValue<'a>>, title: &str) -> Result<&'a DeTable<'a>> {
        let Some(table) = value.get_ref().as_table() else {
            return self.refused(value.span().start, &format!("{title} is no table; {ALLOWED}"));
        };
        Ok(table)
    }

    fn table(&self, value: &Spanned<DeValue<'_>>, title: &str) -> Result<Table> {
        let mut table = Table::default();
        for entry @ (key, value) in self.members(value, title)? {
            let name = key.get_ref().as_ref();
            let place = match name {
                "url" => &mut table.url,
                "region" => &mut table.region,
                "endpoint" => &mut table.endpoint,
                name if sections().any(|section| section == name) => {
                    self.section(value, title, name, &mut table.options)?;
                    continue;
                }
                _ => return self.unknown(entry, title, &[&ADDRESS[..], &sections().collect::<Vec<_>>()].concat()),
            };
            match value.get_ref().as_str() {
                Some(text) => *place = Some(text.to_owned()),
                None => return self.refused(value.span().start, &format!("{name} in [{title}] is no text")),
            }
        }
        if table.url.is_none() && (table.region.is_some() || table.endpoint.is_some()) {
            return self
                .refused(value.span().start, &format!("[{title}] has a region or an endpoint and no url; {ALLOWED}"));
        }
        Ok(table)
    }

    fn section(
        &self,
        value: &Spanned<DeValue<'_>>,
        title: &str,
        section: &str,
        options: &mut Vec<(Key, Value)>,
    ) -> Result<()> {
        let title = format!("{title}.{section}");
        for entry @ (key, value) in self.members(value, &title)? {
            let Some(option) = Definition::named(&format!("{section}.{}", key.get_ref())) else {
                return self.unknown(entry, &title, &in_section(section));
            };
            let source = format!("{} [{title}]", self.place(value.span().start));
            options.push((option.key, read(option, &written(value.get_ref()), &source)?));
        }
        Ok(())
    }

    fn unknown<T>(&self, (key, _): Entry<'_>, title: &str, known: &[&str]) -> Result<T> {
        let name: String = key.get_ref().chars().take(64).collect();
        let inside = if title.is_empty() { String::new() } else { format!(" in [{title}]") };
        let table = title.split('.').take(if title.starts_with("profiles") { 2 } else { 1 }).collect::<Vec<_>>();
        // Right name, wrong table.
        let elsewhere = OPTIONS.iter().filter_map(|option| option.name.split_once('.')).find(|(_, last)| *last == name);
        let hint = elsewhere.map_or_else(
            || did_you_mean(&name, known),
            |(section, _)| {
                let table = if title.is_empty() { "default".to_owned() } else { table.join(".") };
                format!("; it belongs in [{table}.{section}]")
            },
        );
        let allowed = if title.is_empty() { ALLOWED.to_owned() } else { format!("known are {}", known.join(", ")) };
        self.refused(key.span().start, &format!("there is no {name:?}{inside}{hint}; {allowed}"))
    }
}

fn sections() -> impl Iterator<Item = &'static str> {
    let mut seen = Vec::new();
    OPTIONS.iter().filter_map(|option| option.name.split('.').next()).filter(move |section| {
        let new = !seen.contains(section);
        seen.push(*section);
        new
    })
}

fn in_section(section: &str) -> Vec<&'static str> {
    let named = OPTIONS.iter().filter_map(|option| option.name.split_once('.'));
    named.filter(|(table, _)| *table == section).map(|(_, name)| name).collect()
}

fn written(value: &DeValue<'_>) -> Written {
    match value {
        DeValue::String(text) => Written::Text(text.to_string()),
        #[expect(clippy::cast_precision_loss, reason = "what is beyond 52 bits is out of every range")]
        DeValue::Integer(integer) => Written::Number(
            i64::from_str_radix(integer.as_str(), integer.radix()).map_or(f64::NAN, |number| number as f64),
        ),
        DeValue::Float(float) => Written::Number(float.as_str().parse().unwrap_or(f64::NAN)),
        other => Written::Other(other.type_str()),
    }
}
