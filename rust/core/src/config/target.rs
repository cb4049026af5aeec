//! Parsing and checking the address of a store.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use url::Url;

use crate::error::{Error, Result};
use crate::store::StoreKind;

const ALLOWED: &str = "allowed are s3://BUCKET/PREFIX?region=REGION&endpoint=URL, sqlite:PATH and memory:";

/// A store that can be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A bucket on an S3-compatible server.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// What all keys begin with, without slashes at its ends; may be empty.
        prefix: String,
        /// The region, if one was named.
        region: Option<String>,
        /// The server's URL, if it is not AWS's.
        endpoint: Option<String>,
    },
    /// A SQLite file.
    Sqlite {
        /// The file's path.
        path: PathBuf,
    },
    /// This process's memory.
    Memory,
}

impl Target {
    /// What kind of store it is.
    #[must_use]
    pub const fn kind(&self) -> StoreKind {
        match self {
            Self::S3 { .. } => StoreKind::S3,
            Self::Sqlite { .. } => StoreKind::Sqlite,
            Self::Memory => StoreKind::Memory,
        }
    }

    /// Refuses a name that no bucket on AWS can have, and that would only be looked for in vain. Other servers may allow
    /// more.
    pub(super) fn check_name(&self, source: &str) -> Result<()> {
        let Self::S3 { bucket, endpoint: None, .. } = self else { return Ok(()) };
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        if bucket.bytes().all(fits) && !bucket.contains("..") && bucket.parse::<Ipv4Addr>().is_err() {
            return Ok(());
        }
        Err(Error::Config(format!(
            "{source}: no bucket on AWS is called {bucket:?}; a name has lowercase letters, digits, hyphens and single dots, and is no \
             IP address. For another server give its endpoint"
        )))
    }

    /// Its address with the server that it is on, for people.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Self::S3 { endpoint: Some(endpoint), .. } => format!("{}?endpoint={endpoint}", self.url()),
            _ => self.url(),
        }
    }

    /// Its address, for people.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::S3 { bucket, prefix, .. } if prefix.is_empty() => format!("s3://{bucket}"),
            Self::S3 { bucket, prefix, .. } => format!("s3://{bucket}/{prefix}"),
            Self::Sqlite { path } => format!("sqlite:{}", path.display()),
            Self::Memory => "memory:".to_owned(),
        }
    }
}

/// What may be said about an S3 bucket outside its URL.
#[derive(Clone, Debug, Default)]
pub(super) struct Overrides {
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
}

impl Overrides {
    /// These, and where they say nothing, `others`.
    pub(super) fn or(&self, others: &Self) -> Self {
        let first = |one: &Option<String>, other: &Option<String>| one.clone().or_else(|| other.clone());
        Self { region: first(&self.region, &others.region), endpoint: first(&self.endpoint, &others.endpoint) }
    }

    /// Checks of each part the one that counts, the first of these; beside each set is who gives its region and its
    /// endpoint, for messages.
    pub(super) fn check(sets: &[(&Self, [&str; 2])]) -> Result<()> {
        let region = sets.iter().find_map(|(set, [who, _])| Some((set.region.as_deref()?, who)));
        let endpoint = sets.iter().find_map(|(set, [_, who])| Some((set.endpoint.as_deref()?, who)));
        region.map(|(given, who)| check_region(given, who)).transpose()?;
        endpoint.map(|(given, who)| check_endpoint(given, who)).transpose()?;
        Ok(())
    }

    fn refuse(&self, scheme: &str, source: &str) -> Result<()> {
        if self.region.is_none() && self.endpoint.is_none() {
            return Ok(());
        }
        let problem = format!("region and endpoint belong to s3: URLs, but {source} names a {scheme} store");
        Err(Error::Config(format!("{problem}; leave them out")))
    }
}

/// The store that `url` names; `source` says in messages where the URL is from.
pub(super) fn parse_url(
    url: &str,
    given: &Overrides,
    source: &str,
    folder: &Path,
    home: Option<&str>,
) -> Result<Target> {
    let refused = |problem: &str| Error::Config(format!("{source}: {:?} {problem}; {ALLOWED}", redacted(url)));
    let (scheme, rest) = url.trim().split_once(':').ok_or_else(|| refused("has no scheme"))?;
    match scheme.to_ascii_lowercase().as_str() {
        "s3" => parse_s3(url.trim(), given, source),
        "sqlite" => {
            given.refuse("sqlite:", source)?;
            let path = database_path(rest, home).map_err(refused)?;
            Ok(Target::Sqlite { path: folder.join(path) })
        }
        "memory" if rest.is_empty() => given.refuse("memory:", source).map(|()| Target::Memory),
        "memory" => Err(refused("has something after memory:")),
        _ => Err(refused("has an unknown scheme")),
    }
}

/// `PATH`, or `///PATH` as in other programs' URLs.
fn database_path(rest: &str, home: Option<&str>) -> std::result::Result<PathBuf, &'static str> {
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(_) => return Err("has // where a path belongs (sqlite:relative/path or sqlite:/absolute/path)"),
        None => rest,
    };
    if path.is_empty() || path.ends_with('/') {
        return Err("names no file");
    }
    if path == ":memory:" {
        return Err("is not supported (use memory:)");
    }
    if path.contains('?') || path.chars().any(char::is_control) {
        return Err("has characters that do not belong in the path of a database");
    }
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => Ok(Path::new(home).join(rest)),
        _ => Ok(PathBuf::from(path)),
    }
}

fn parse_s3(text: &str, given: &Overrides, source: &str) -> Result<Target> {
    let shown = redacted(text);
    let refused = |problem: &str| Error::Config(format!("{source}: {shown:?} {problem}; {ALLOWED}"));
    let url = Url::parse(text).map_err(|error| refused(&format!("is malformed: {error}")))?;
    refuse_credentials(&url, source)?;
    if url.port().is_some() || url.fragment().is_some() {
        return Err(refused("has a port or a fragment, which a bucket does not have"));
    }
    let bucket = url.host_str().ok_or_else(|| refused("names no bucket (it needs two slashes: s3://BUCKET)"))?;
    let mut own = Overrides::default();
    for (name, value) in url.query_pairs() {
        let place = match name.as_ref() {
            "region" => &mut own.region,
            "endpoint" => &mut own.endpoint,
            // Behind a question mark in a password there is an @.
            odd if odd.contains('@') => return Err(refused("has an @ in its parameters")),
            odd => return Err(refused(&format!("has the unknown parameter {odd:?}"))),
        };
        if place.replace(value.into_owned()).is_some() {
            return Err(refused(&format!("has {name} twice")));
        }
    }
    let prefix = percent_decode_str(url.path()).decode_utf8().map_err(|_| refused("is not valid UTF-8"))?;
    bucket_target(bucket, &prefix, &given.or(&own), source)
}

/// A bucket from its checked parts.
pub(super) fn bucket_target(bucket: &str, prefix: &str, given: &Overrides, source: &str) -> Result<Target> {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_".contains(byte);
    let bytes = bucket.as_bytes();
    if !(3..=63).contains(&bytes.len()) || !bytes.iter().all(inner) || !edge(bytes.first()) || !edge(bytes.last()) {
        return Err(Error::Config(format!(
            "{source}: {bucket:?} is not the name of a bucket; it has 3 to 63 letters, digits, dots and hyphens"
        )));
    }
    let prefix = prefix.trim_matches('/');
    let odd = |part: &str| part.is_empty() || part == "." || part == ".." || part.chars().any(char::is_control);
    if !prefix.is_empty() && (prefix.len() > 512 || prefix.split('/').any(odd)) {
        return Err(Error::Config(format!(
            "{source}: {prefix:?} cannot be a prefix; it has at most 512 bytes and no empty, \".\" or \"..\" part"
        )));
    }
    let region = given.region.as_deref().map(|region| check_region(region, source)).transpose()?;
    let endpoint = given.endpoint.as_deref().map(|endpoint| check_endpoint(endpoint, source)).transpose()?;
    Ok(Target::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned(), region, endpoint })
}

fn check_region(region: &str, source: &str) -> Result<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if region.is_empty() || region.len() > 64 || !region.bytes().all(fits) {
        return Err(Error::Config(format!("{source}: {region:?} is not a region; one looks like eu-central-1")));
    }
    Ok(region.to_owned())
}

/// The endpoint as it is used, without a slash at its end; `source` says in messages where it is from.
pub(super) fn check_endpoint(endpoint: &str, source: &str) -> Result<String> {
    let shown = redacted(endpoint);
    let refused = |problem: &str| {
        Error::Config(format!("{source}: the endpoint {shown:?} {problem}; one looks like https://s3.example.org:9000"))
    };
    let url = Url::parse(endpoint.trim()).map_err(|error| refused(&format!("is malformed: {error}")))?;
    refuse_credentials(&url, source)?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(refused("is not an http or https URL"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refused("has a query or a fragment"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn refuse_credentials(url: &Url, source: &str) -> Result<()> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(());
    }
    Err(Error::Config(format!(
        "{source}: the URL holds credentials; take them out, and give them as AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY, or in an AWS profile"
    )))
}

/// `url` without what may be a secret: anything before an @, and every parameter's value.
fn redacted(url: &str) -> String {
    // A password may hold a question mark: what is before the last @ goes first, and only then parameters.
    let url = match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            format!("{}***{}", url.get(..scheme + 3).unwrap_or_default(), url.get(at..).unwrap_or_default())
        }
        (_, Some(_)) => return "***".to_owned(),
        _ => url.to_owned(),
    };
    let Some((address, query)) = url.split_once('?') else { return url };
    let names: Vec<String> = query
        .split('&')
        .map(|pair| pair.split('=').next().unwrap_or_default())
        .map(|name| format!("{name}=..."))
        .collect();
    format!("{address}?{}", names.join("&"))
}
