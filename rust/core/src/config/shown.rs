//! The configuration as it is shown: every option, its value, and where that is from.

use serde::Serialize;

use super::options::BY_DEFAULT;
use super::{Credentials, Resolved, Setting, Target};

/// All there is to know about a configuration, without a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// The file that counts, if there is one.
    pub file: Option<String>,
    /// The address of the store.
    pub store: Vec<Address>,
    /// The options.
    pub options: Vec<Setting>,
    /// Where the credentials come from; only S3 has any.
    pub credentials: Option<Credentials>,
}

/// A part of the store's address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Address {
    /// What part.
    pub name: &'static str,
    /// Its value.
    pub value: Option<String>,
    /// Who says so.
    pub source: String,
    /// The variable that sets it.
    pub variable: &'static str,
}

impl Shown {
    /// The resolved configuration, in an environment.
    #[must_use]
    pub fn of(resolved: &Resolved, env: &dyn Fn(&str) -> Option<String>) -> Self {
        let (region, endpoint, is_s3) = match &resolved.target {
            Target::S3 { region, endpoint, .. } => (region.clone(), endpoint.clone(), true),
            Target::Sqlite { .. } | Target::Memory => (None, None, false),
        };
        let part = |name, variable, value, source: Option<String>, otherwise: &str| Address {
            name,
            value,
            source: source.unwrap_or_else(|| otherwise.to_owned()),
            variable,
        };
        let (profile, named_by) = resolved.profile.clone().unzip();
        // As the SDK does where buquet is told nothing.
        let sdk = ["AWS_REGION", "AWS_DEFAULT_REGION"];
        let by_sdk =
            || sdk.iter().find_map(|name| env(name).filter(|value| !value.is_empty()).map(|value| (value, *name)));
        let (region, region_otherwise) = match (region, is_s3) {
            (None, true) => {
                by_sdk().map_or((None, "the AWS configuration"), |(region, variable)| (Some(region), variable))
            }
            (region, _) => (region, BY_DEFAULT),
        };
        let store = vec![
            part("url", "BUQUET_URL", Some(resolved.target.url()), Some(resolved.source.clone()), ""),
            part("region", "BUQUET_REGION", region, resolved.named.region.clone(), region_otherwise),
            part("endpoint", "BUQUET_ENDPOINT", endpoint, resolved.named.endpoint.clone(), BY_DEFAULT),
            part("profile", "BUQUET_PROFILE", profile, named_by, BY_DEFAULT),
        ];
        Self {
            file: resolved.file.as_ref().map(|path| path.display().to_string()),
            store,
            options: resolved.options.iter().cloned().collect(),
            credentials: is_s3.then(|| Credentials::by(env)),
        }
    }
}
