//! Which store to use: explicit argument, environment, file, or the embedded default. The first that names one wins.

mod file;
mod target;

use std::path::Path;

use serde::Deserialize;

pub use self::target::Target;
use self::target::{Overrides, bucket_target, parse_url};
use crate::error::{Error, Result};

/// The store that is used where nothing is configured.
const DEFAULT_URL: &str = "sqlite:.buquet/buquet.db";

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
}

/// A store, and what named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The store.
    pub target: Target,
    /// Where it was named, for people: `BUQUET_URL`, a file and its table.
    pub source: String,
}

/// Finds the store.
///
/// The first of these that is there: `config.url`; `config.profile`; `BUQUET_URL`; `S3_BUCKET` with `S3_REGION`, `S3_ENDPOINT` and
/// `S3_PREFIX`; `.buquet.toml` in `cwd` or the nearest folder above it (the table that `BUQUET_PROFILE` names, else
/// `[default]`); else `sqlite:.buquet/buquet.db`. Empty variables count as unset. Relative paths of databases begin at
/// `cwd`, those in a file at the file's folder.
///
/// An S3 store without an endpoint takes `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`, as all AWS tools do.
///
/// # Errors
/// [`Error::Config`] says which value is wrong and what is allowed. Credentials in a URL are refused, not repeated.
pub fn resolve(config: &EngineConfig, env: &dyn Fn(&str) -> Option<String>, cwd: &Path) -> Result<Resolved> {
    let env = |name: &str| env(name).filter(|value| !value.is_empty());
    if config.url.is_some() && config.profile.is_some() {
        return Err(Error::Config("both url and profile are given; give one of them".to_owned()));
    }
    let given = Overrides { region: config.region.clone(), endpoint: config.endpoint.clone() };
    let mut resolved = find(config, &env, cwd, &given)?;
    if let Target::S3 { endpoint: endpoint @ None, .. } = &mut resolved.target {
        for name in ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"] {
            if let Some(url) = env(name).filter(|_| endpoint.is_none()) {
                *endpoint = Some(target::check_endpoint(&url, name)?);
            }
        }
    }
    Ok(resolved)
}

fn find(
    config: &EngineConfig,
    env: &dyn Fn(&str) -> Option<String>,
    cwd: &Path,
    given: &Overrides,
) -> Result<Resolved> {
    let home = env("HOME");
    let parse = |url: &str, source: String, folder: &Path| {
        let target = parse_url(url, given, &source, folder, home.as_deref())?;
        Ok(Resolved { target, source })
    };
    if let Some(url) = &config.url {
        return parse(url, "the url argument".to_owned(), cwd);
    }
    if config.profile.is_none() {
        if let Some(url) = env("BUQUET_URL") {
            return parse(&url, "BUQUET_URL".to_owned(), cwd);
        }
        if let Some(bucket) = env("S3_BUCKET") {
            let own = Overrides { region: env("S3_REGION"), endpoint: env("S3_ENDPOINT") };
            let target = bucket_target(&bucket, &env("S3_PREFIX").unwrap_or_default(), &given.or(&own), "S3_BUCKET")?;
            return Ok(Resolved { target, source: "S3_BUCKET".to_owned() });
        }
    }
    let chosen = config.profile.clone().map(|name| (name, "the profile argument"));
    let chosen = chosen.or_else(|| env("BUQUET_PROFILE").map(|name| (name, "BUQUET_PROFILE")));
    if let Some(found) = file::find(cwd, chosen.as_ref().map(|(name, source)| (name.as_str(), *source)))? {
        let given = given.or(&found.table.overrides());
        let target = parse_url(&found.table.url, &given, &found.source, &found.folder, home.as_deref())?;
        return Ok(Resolved { target, source: found.source });
    }
    parse(DEFAULT_URL, "the default, as nothing is configured".to_owned(), cwd)
}

#[cfg(test)]
mod tests;
