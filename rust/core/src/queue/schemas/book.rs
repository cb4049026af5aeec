//! The schemas of a queue as they are stored. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::check::Compiled;
use crate::error::{Error, Result};
use crate::id::CommitId;
use crate::queue::check_type;
use crate::time::Timestamp;

/// Most types that have a schema.
const MOST_TYPES: usize = 1_000;
/// Most bytes of one schema.
const SCHEMA_BYTES: usize = 64 * 1024;
/// Most bytes of all: everybody who submits reads them.
const ALL_BYTES: usize = 1024 * 1024;
/// The one member of an object that stands for something compressed or encrypted. Only who encoded it can look inside, and
/// has checked it before.
const ENVELOPE: &str = "$buquet";

/// The schemas of one type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schemas {
    /// That of inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// That of outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// When they were published.
    #[serde(default)]
    pub at: Timestamp,
}

impl Schemas {
    fn same_as(&self, other: &Self) -> bool {
        (&self.input, &self.output) == (&other.input, &other.output)
    }
}

/// The stored object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Book {
    format: u32,
    commit: CommitId,
    /// By type.
    pub schemas: BTreeMap<String, Schemas>,
}

/// The layout of the stored object.
const FORMAT: u32 = 1;

impl Book {
    /// One without schemas.
    pub const fn empty(commit: CommitId) -> Self {
        Self { format: FORMAT, commit, schemas: BTreeMap::new() }
    }

    /// Reads the stored object.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it cannot be read, [`Error::Layout`] if a newer version wrote it.
    pub fn decode(key: &str, body: &[u8]) -> Result<Self> {
        let book: Self = serde_json::from_slice(body).map_err(|error| {
            Error::Corrupt(format!("{key} cannot be read: {error}; restore an older version of it, or delete it"))
        })?;
        if book.format > FORMAT {
            let format = book.format;
            return Err(Error::Layout(format!("{key} has format {format}: upgrade buquet, which here knows {FORMAT}")));
        }
        Ok(book)
    }

    /// Adds schemas under a fresh commit; `None` if nothing changes.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there are too many.
    pub fn with(&self, new: &BTreeMap<String, Schemas>, commit: CommitId) -> Result<Option<Self>> {
        let known = |kind: &String, new: &Schemas| self.schemas.get(kind).is_some_and(|known| known.same_as(new));
        if new.iter().all(|(kind, new)| known(kind, new)) {
            return Ok(None);
        }
        let mut book = Self { format: FORMAT, commit, schemas: self.schemas.clone() };
        for (kind, schemas) in new.iter().filter(|(kind, new)| !known(kind, new)) {
            book.schemas.insert(kind.clone(), schemas.clone());
        }
        let (types, bytes) = (book.schemas.len(), book.encode()?.len());
        if types > MOST_TYPES || bytes > ALL_BYTES {
            return Err(Error::Invalid(format!(
                "the queue would have schemas of {types} types in {bytes} bytes; up to {MOST_TYPES} types and {ALL_BYTES} bytes \
                 fit: delete some, or leave descriptions out"
            )));
        }
        Ok(Some(book))
    }

    /// Without a type's schemas, under a fresh commit; `None` if it has none.
    pub fn without(&self, kind: &str, commit: CommitId) -> Option<Self> {
        let mut book = Self { format: FORMAT, commit, schemas: self.schemas.clone() };
        book.schemas.remove(kind).map(|_| book)
    }

    /// The stored form.
    ///
    /// # Errors
    /// [`Error::Internal`] if it has none.
    pub fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::Internal(format!("schemas cannot be written as JSON: {error}")))
    }
}

/// Checks schemas that somebody publishes.
///
/// # Errors
/// [`Error::Invalid`] names the type and what is wrong.
pub fn check_new(kind: &str, schemas: &Schemas) -> Result<()> {
    check_type(kind)?;
    if schemas.input.is_none() && schemas.output.is_none() {
        return Err(Error::Invalid(format!("no schema is given for {kind:?}; give input, output or both")));
    }
    for (what, schema) in [("input", &schemas.input), ("output", &schemas.output)] {
        let Some(schema) = schema else { continue };
        let bytes = schema.to_string().len();
        if bytes > SCHEMA_BYTES {
            return Err(Error::Invalid(format!(
                "the {what} schema of {kind:?} has {bytes} bytes, over the limit of {SCHEMA_BYTES}"
            )));
        }
        if let Some(problem) = Compiled::new(schema).problem() {
            return Err(Error::Invalid(format!("the {what} schema of {kind:?} cannot be used: {problem}")));
        }
    }
    Ok(())
}

/// Whether an input was encoded by its front: compressed or encrypted, so that only fronts can read it.
pub fn is_encoded(text: &str) -> bool {
    text.contains(ENVELOPE) && serde_json::from_str(text).is_ok_and(|value| is_envelope(&value))
}

pub(super) fn is_envelope(value: &Value) -> bool {
    value.as_object().is_some_and(|members| members.len() == 1 && members.contains_key(ENVELOPE))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::entropy::Entropy;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {"path": {"type": "string", "pattern": "^[a-z.]+$"}, "size": {"type": "integer", "maximum": 1024}},
            "required": ["path"],
            "additionalProperties": false
        })
    }

    #[test]
    fn a_schema_that_cannot_be_used_is_refused_when_it_is_published() {
        let new = |schema: Value| check_new("t", &Schemas { input: Some(schema), ..Schemas::default() });
        new(schema()).unwrap();
        for (bad, said) in [
            (json!({"type": "strange"}), "strange"),
            (json!({"$ref": "https://example.com/schema.json"}), "example.com"),
            (json!({"$ref": "file:///etc/passwd"}), "passwd"),
            (json!({"pattern": "(?=look)ahead"}), "pattern"),
            (json!({"pattern": "("}), "pattern"),
            (json!(7), "input schema"),
            (json!({"description": "x".repeat(SCHEMA_BYTES)}), "bytes"),
        ] {
            let message = new(bad.clone()).unwrap_err().to_string();
            assert!(message.contains(said) && message.len() < 1_000, "{bad}: {message}");
        }
        assert!(check_new("t", &Schemas::default()).is_err());
        assert!(check_new("../t", &Schemas { input: Some(schema()), ..Schemas::default() }).is_err());
    }

    #[test]
    fn a_book_changes_only_where_there_is_something_to_change() {
        let commit = || CommitId::random(&Entropy::seeded(1));
        let one = BTreeMap::from([("a".to_owned(), Schemas { input: Some(schema()), ..Schemas::default() })]);
        let book = Book::empty(commit()).with(&one, commit()).unwrap().unwrap();
        let later = Schemas { at: Timestamp(7), ..one["a"].clone() };
        assert!(book.with(&BTreeMap::from([("a".into(), later)]), commit()).unwrap().is_none());
        assert!(book.without("b", commit()).is_none());
        assert!(book.without("a", commit()).unwrap().schemas.is_empty());
        let again = Book::decode("k", &book.encode().unwrap()).unwrap();
        assert_eq!(again.schemas, book.schemas);
        assert!(matches!(Book::decode("k", b"{"), Err(Error::Corrupt(_))));
        let many = (0..=MOST_TYPES).map(|n| (format!("t{n}"), one["a"].clone())).collect();
        assert!(book.with(&many, commit()).unwrap_err().to_string().contains("1002 types"));
    }
}
