//! Which store to use, and every option: explicit argument, environment, file, or the default. The first that says
//! something wins.

mod credentials;
mod file;
mod nearest;
mod options;
mod shown;
mod target;
mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use self::credentials::Credentials;
use self::file::Found;
use self::nearest::did_you_mean;
pub use self::options::{Definition, Key, OPTIONS, Options, Setting, Takes};
pub use self::shown::Shown;
pub use self::target::Target;
use self::target::{Overrides, bucket_target, parse_url};
pub use self::value::{Value, span_text};
use self::value::{Written, read};
use crate::error::{Error, Result};

/// The folder of the store that is used where nothing is configured, and that store in it.
const DEFAULT_FOLDER: &str = ".buquet";
const DEFAULT_URL: &str = "sqlite:.buquet/buquet.db";
const NO_NAME: &str = "the default, as nothing is configured";

/// What the caller said explicitly. Every field may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// The store's URL: `s3://bucket/prefix`, `sqlite:PATH` or `memory:`.
    pub url: Option<String>,
    /// The region of an S3 bucket; stronger than one in the URL.
    pub region: Option<String>,
    /// The URL of an S3 server other than AWS's; stronger than one in the store's URL.
    pub endpoint: Option<String>,
    /// Which table of `.buquet.toml` to use: `[profiles.NAME]`.
    pub profile: Option<String>,
    /// Where relative paths begin, and from where `.buquet.toml` is looked for; the working directory if left out.
    pub folder: Option<PathBuf>,
    /// Whether to look for something where there is no queue is a mistake, rather than a way to find nothing.
    pub expect_queue: bool,
    /// Options by name, such as `worker.concurrency`.
    pub options: BTreeMap<String, serde_json::Value>,
}

/// A store, what named it, and all options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The store.
    pub target: Target,
    /// Where it was named, for people: `BUQUET_URL`, a file and its table.
    pub source: String,
    /// Who named the region and the endpoint of an S3 store.
    pub named: Named,
    /// The file that counts, if there is one.
    pub file: Option<PathBuf>,
    /// The profile that counts, and who named it.
    pub profile: Option<(String, String)>,
    /// The options.
    pub options: Options,
}

/// Who named what belongs to a store on S3.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Who named the region.
    pub region: Option<String>,
    /// Who named the endpoint.
    pub endpoint: Option<String>,
}

type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Finds the store and the options.
///
/// The store is named by the first of these that is there: `config.url`; `config.profile`; `BUQUET_URL`; `S3_BUCKET` with
/// `S3_REGION`, `S3_ENDPOINT` and `S3_PREFIX`; `.buquet.toml` in `cwd` or the nearest folder above it (the table that
/// `BUQUET_PROFILE` names, else `[default]`); else `sqlite:.buquet/buquet.db` in `cwd` or the nearest folder above it that has a
/// `.buquet`. Empty variables count as unset. Relative paths of databases begin at `cwd`, those in a file at the file's folder.
/// `config.folder` stands in for `cwd`.
///
/// An S3 store without an endpoint takes `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`, as all AWS tools do. An option is taken
/// from `config`, its variable, or the table of `.buquet.toml`, whatever named the store.
///
/// # Errors
/// [`Error::Config`] says which value is wrong and what is allowed. Credentials in a URL are refused, not repeated.
pub fn resolve(config: &EngineConfig, env: Env<'_>, cwd: &Path) -> Result<Resolved> {
    let env = |name: &str| env(name).filter(|value| !value.is_empty());
    if config.url.is_some() && config.profile.is_some() {
        return Err(Error::Config("both url and profile are given; give one of them".to_owned()));
    }
    let cwd = config.folder.as_deref().unwrap_or(cwd);
    if !cwd.is_absolute() && config.folder.is_some() {
        return Err(Error::Config(format!("folder={:?} must be an absolute path", cwd.display().to_string())));
    }
    let search = Search { config, env: &env, cwd };
    let profile = search.profile();
    let found = search.file(profile.as_ref())?;
    let (mut target, source, mut named) = search.store(found.as_ref(), profile.as_ref())?;
    if let Target::S3 { endpoint: endpoint @ None, .. } = &mut target {
        for name in ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"] {
            if let Some(url) = env(name).filter(|_| endpoint.is_none()) {
                *endpoint = Some(target::check_endpoint(&url, name)?);
                named.endpoint = Some(name.to_owned());
            }
        }
    }
    target.check_name(&source)?;
    let options = search.options(&target, found.as_ref())?;
    let profile = profile.filter(|_| found.as_ref().is_some_and(|found| found.profile.is_some()));
    let file = found.map(|found| found.path);
    Ok(Resolved { target, source, named, file, profile, options })
}

struct Search<'a> {
    config: &'a EngineConfig,
    env: Env<'a>,
    cwd: &'a Path,
}

/// A store, who named it, and who named its parts.
type Store = (Target, String, Named);

impl Search<'_> {
    fn profile(&self) -> Option<(String, String)> {
        let given = self.config.profile.clone().map(|name| (name, "the profile argument".to_owned()));
        given.or_else(|| (self.env)("BUQUET_PROFILE").map(|name| (name, "BUQUET_PROFILE".to_owned())))
    }

    /// The table that counts. Whoever names a store otherwise may name a profile that there is no file for.
    fn file(&self, profile: Option<&(String, String)>) -> Result<Option<Found>> {
        let elsewhere =
            self.config.url.is_some() || ["BUQUET_URL", "S3_BUCKET"].iter().any(|n| (self.env)(n).is_some());
        let required = self.config.profile.is_some() || !elsewhere;
        file::find(self.cwd, profile.map(|(name, source)| (name.as_str(), source.as_str())), required)
    }

    fn store(&self, found: Option<&Found>, profile: Option<&(String, String)>) -> Result<Store> {
        let given = Overrides { region: self.config.region.clone(), endpoint: self.config.endpoint.clone() };
        let variables = Overrides { region: (self.env)("BUQUET_REGION"), endpoint: (self.env)("BUQUET_ENDPOINT") };
        let url = |url: &str, source: &str, own: &Overrides, folder: &Path| {
            // What is set for all programs of a machine may not concern a database on it.
            let variables = if is_s3(url) { variables.clone() } else { Overrides::default() };
            if is_s3(url) {
                Overrides::check(&[(&given, ARGUMENTS), (&variables, VARIABLES)])?;
            }
            let all = given.or(&variables).or(own);
            let target = parse_url(url, &all, source, folder, (self.env)("HOME").as_deref())?;
            let named = Named::of(&target, source, [&given, &variables, own]);
            Ok((target, source.to_owned(), named))
        };
        let none = Overrides::default();
        if let Some(address) = &self.config.url {
            return url(address, "the url argument", &none, self.cwd);
        }
        if self.config.profile.is_none() {
            if let Some(address) = (self.env)("BUQUET_URL") {
                return url(&address, "BUQUET_URL", &none, self.cwd);
            }
            if let Some(bucket) = (self.env)("S3_BUCKET") {
                let own = Overrides { region: (self.env)("S3_REGION"), endpoint: (self.env)("S3_ENDPOINT") };
                let own_names = ["S3_REGION", "S3_ENDPOINT"];
                Overrides::check(&[(&given, ARGUMENTS), (&variables, VARIABLES), (&own, own_names)])?;
                let (prefix, all) = ((self.env)("S3_PREFIX").unwrap_or_default(), given.or(&variables).or(&own));
                let target = bucket_target(&bucket, &prefix, &all, "S3_BUCKET")?;
                let mut named = Named::of(&target, "S3_BUCKET", [&given, &variables, &none]);
                named.region = named.region.map(|name| name.replace("S3_BUCKET", "S3_REGION"));
                named.endpoint = named.endpoint.map(|name| name.replace("S3_BUCKET", "S3_ENDPOINT"));
                return Ok((target, "S3_BUCKET".to_owned(), named));
            }
        }
        match (found, found.and_then(|found| found.table.url.as_ref())) {
            (Some(found), Some(address)) => url(address, &found.source, &found.table.overrides(), &found.folder),
            (Some(found), None) if profile.is_some() => {
                Err(Error::Config(format!("{} has no url; add url = \"s3://BUCKET/PREFIX\" or another", found.source)))
            }
            _ => {
                let folder = self.cwd.ancestors().find(|folder| folder.join(DEFAULT_FOLDER).is_dir());
                url(DEFAULT_URL, NO_NAME, &none, folder.unwrap_or(self.cwd))
            }
        }
    }

    fn options(&self, target: &Target, found: Option<&Found>) -> Result<Options> {
        if let Some(unknown) = self.config.options.keys().find(|name| Definition::named(name).is_none()) {
            return Err(Error::Config(unknown_option(unknown)));
        }
        Options::new(target.kind(), |option| {
            if let Some(given) = self.config.options.get(option.name) {
                let source = "the options argument";
                return read(option, &Written::from(given), source).map(|value| Some((value, source.to_owned())));
            }
            let variable = option.variable();
            if let Some(text) = (self.env)(&variable) {
                return read(option, &Written::Text(text), &variable).map(|value| Some((value, variable)));
            }
            Ok(found.and_then(|found| {
                let said = found.table.options.iter().find(|(key, _)| *key == option.key);
                said.map(|(_, value)| (*value, found.source.clone()))
            }))
        })
    }
}

/// Who names a region and an endpoint besides the file.
const ARGUMENTS: [&str; 2] = ["the region argument", "the endpoint argument"];
const VARIABLES: [&str; 2] = ["BUQUET_REGION", "BUQUET_ENDPOINT"];

impl Named {
    /// Who named the region and the endpoint: an argument, a variable, the file, or the URL itself.
    fn of(target: &Target, source: &str, [given, variables, own]: [&Overrides; 3]) -> Self {
        let Target::S3 { region, endpoint, .. } = target else { return Self::default() };
        let who = |there: bool, part: fn(&Overrides) -> bool, name: &str| {
            there.then(|| match (part(given), part(variables), part(own)) {
                (true, ..) => format!("the {name} argument"),
                (_, true, _) => format!("BUQUET_{}", name.to_uppercase()),
                _ => source.to_owned(),
            })
        };
        Self {
            region: who(region.is_some(), |part| part.region.is_some(), "region"),
            endpoint: who(endpoint.is_some(), |part| part.endpoint.is_some(), "endpoint"),
        }
    }
}

/// Says that there is no such option, and which there are.
#[must_use]
pub fn unknown_option(name: &str) -> String {
    let known: Vec<&str> = OPTIONS.iter().map(|option| option.name).collect();
    let shown: String = name.chars().take(64).collect();
    let (hint, known) = (did_you_mean(&shown, &known), known.join(", "));
    format!("there is no option {shown:?}{hint}; known are {known}")
}

/// Of the names of environment variables those that are nearly the name of one of ours: what to tell a person.
#[must_use]
pub fn misspelt(names: impl Iterator<Item = String>) -> Vec<String> {
    let options: Vec<String> = OPTIONS.iter().map(Definition::variable).collect();
    let known: Vec<&str> = ADDRESS_VARIABLES.into_iter().chain(options.iter().map(String::as_str)).collect();
    let strange = names.filter(|name| name.starts_with("BUQUET_") && !known.contains(&name.as_str()));
    let hinted = strange.map(|name| (did_you_mean(&name, &known), name)).filter(|(hint, _)| !hint.is_empty());
    hinted.map(|(hint, name)| format!("there is no variable {name}, so it is ignored{hint}")).collect()
}

/// The variables that name the store.
const ADDRESS_VARIABLES: [&str; 4] = ["BUQUET_URL", "BUQUET_REGION", "BUQUET_ENDPOINT", "BUQUET_PROFILE"];

fn is_s3(url: &str) -> bool {
    url.trim().get(..3).is_some_and(|scheme| scheme.eq_ignore_ascii_case("s3:"))
}

#[cfg(test)]
mod option_tests;
#[cfg(test)]
mod tests;
