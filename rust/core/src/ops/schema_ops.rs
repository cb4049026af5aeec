//! Operations on the schemas of task types.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Engine, request};
use crate::error::{Error, Result};
use crate::queue::{Schemas, Shown};
use crate::record::Json;

/// The schemas of one type.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    input: Option<Value>,
    output: Option<Value>,
}

/// Schemas by type.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Put {
    schemas: BTreeMap<String, New>,
}

/// A type.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfType {
    #[serde(rename = "type")]
    kind: String,
}

/// Inputs that are yet to be encoded.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    inputs: Vec<Json>,
    #[serde(default)]
    secret: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Checked {
    has_schema: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Changed {
    changed: bool,
}

/// The schemas of one type, as they are published.
#[derive(Debug, Serialize)]
pub(super) struct Published {
    #[serde(rename = "type")]
    kind: String,
    input: Option<Value>,
    output: Option<Value>,
    at: crate::time::Timestamp,
}

#[derive(Debug, Serialize)]
pub(super) struct List {
    schemas: Vec<Published>,
}

impl From<(String, Schemas)> for Published {
    fn from((kind, schemas): (String, Schemas)) -> Self {
        Self { kind, input: schemas.input, output: schemas.output, at: schemas.at }
    }
}

impl Engine {
    pub(super) async fn schema_put(&self, request: Put) -> Result<Changed> {
        let schemas = request.schemas.into_iter();
        let new = schemas.map(|(kind, New { input, output })| (kind, Schemas { input, output, ..Schemas::default() }));
        Ok(Changed { changed: self.queue().await?.put_schemas(new.collect()).await? })
    }

    pub(super) async fn schema_get(&self, request: OfType) -> Result<Published> {
        let mut schemas = self.existing().await?.schemas().await?;
        let found = schemas.remove_entry(&request.kind).map(Published::from);
        found.ok_or_else(|| {
            let shown: String = request.kind.chars().take(64).collect();
            let known: Vec<String> = schemas.into_keys().take(20).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Error::NotFound(format!("the task type {shown:?} has no schema; those that have one: {known}"))
        })
    }

    pub(super) async fn schema_list(&self, _: request::Empty) -> Result<List> {
        Ok(List { schemas: self.looked_through().await?.schemas().await?.into_iter().map(Into::into).collect() })
    }

    pub(super) async fn schema_check(&self, request: Check) -> Result<Checked> {
        let Check { kind, inputs, secret } = request;
        let shown = if secret { Shown::Places } else { Shown::Values };
        let queue = self.place().await?;
        let has_schema = queue.is_there().await? && queue.hold_to_schema(&kind, &inputs, shown).await?;
        Ok(Checked { has_schema })
    }

    pub(super) async fn schema_delete(&self, request: OfType) -> Result<Changed> {
        Ok(Changed { changed: self.looked_through().await?.delete_schema(&request.kind).await? })
    }
}
