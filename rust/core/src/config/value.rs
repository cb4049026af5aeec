//! An option's value, and how it is read from a file, a variable or a request.

use std::fmt;
use std::time::Duration;

use serde::de::IntoDeserializer;
use serde::de::value::{Error as TextError, F64Deserializer, StrDeserializer};
use serde::{Deserialize, Serialize, Serializer};

use super::options::{Definition, Takes};
use crate::error::{Error, Result};
use crate::ops::Span;

/// A value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A whole number.
    Count(u64),
    /// A duration.
    Span(Duration),
    /// A word.
    Word(&'static str),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Span(span) => f.write_str(&span_text(*span)),
            Self::Word(word) => f.write_str(word),
        }
    }
}

/// Numbers as numbers, all else as it would be written.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u64(*count),
            other => serializer.collect_str(other),
        }
    }
}

/// A value as somebody wrote it.
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    /// Text, as all variables are.
    Text(String),
    /// A number.
    Number(f64),
    /// Something else, and what it is called.
    Other(&'static str),
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{:?}", text.chars().take(64).collect::<String>()),
            Self::Number(number) => write!(f, "{number}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

impl From<&serde_json::Value> for Written {
    fn from(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::String(text) => Self::Text(text.clone()),
            serde_json::Value::Number(number) => Self::Number(number.as_f64().unwrap_or(f64::NAN)),
            serde_json::Value::Null => Self::Other("null"),
            serde_json::Value::Bool(_) => Self::Other("true or false"),
            serde_json::Value::Array(_) => Self::Other("an array"),
            serde_json::Value::Object(_) => Self::Other("an object"),
        }
    }
}

/// Reads what was written for an option; `source` says in messages by whom.
///
/// # Errors
/// [`Error::Config`] with the value and what is allowed.
pub fn read(option: &Definition, written: &Written, source: &str) -> Result<Value> {
    let refused = |problem: &str| {
        let (name, allowed) = (option.name, option.allowed());
        Err(Error::Config(format!("{source}: {name} is {written}, which is no {problem}; allowed are {allowed}")))
    };
    let value = match option.takes {
        Takes::Count(..) => count(written).map(Value::Count),
        Takes::Span(..) => span(written).map(Value::Span),
        Takes::Word(words) => word(words, written).map(Value::Word),
    };
    match (value, option.takes) {
        (Some(value), _) => option.check(value, source),
        (None, Takes::Count(..)) => refused("whole number"),
        (None, Takes::Span(..)) => {
            refused("duration such as \"250ms\", \"30s\", \"1h30m\" or a number of seconds up to 366 days")
        }
        (None, Takes::Word(_)) => refused("word that is known"),
    }
}

fn count(written: &Written) -> Option<u64> {
    match written {
        Written::Text(text) => text.trim().parse().ok(),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole and within the range")]
        Written::Number(number) if number.fract() == 0.0 && (0.0..=1e15).contains(number) => Some(*number as u64),
        _ => None,
    }
}

fn span(written: &Written) -> Option<Duration> {
    let seconds = |number: f64| {
        let deserializer: F64Deserializer<TextError> = number.into_deserializer();
        Span::deserialize(deserializer).ok()
    };
    let span = match written {
        Written::Text(text) => {
            let deserializer: StrDeserializer<'_, TextError> = text.trim().into_deserializer();
            text.trim().parse().map_or_else(|_| Span::deserialize(deserializer).ok(), seconds)
        }
        Written::Number(number) => seconds(*number),
        Written::Other(_) => None,
    };
    span.map(|span| span.0)
}

fn word(words: &'static [&'static str], written: &Written) -> Option<&'static str> {
    let Written::Text(text) = written else { return None };
    words.iter().copied().find(|word| word.eq_ignore_ascii_case(text.trim()))
}

/// A duration as it is written: `1h30m`, `250ms`.
#[must_use]
pub fn span_text(span: Duration) -> String {
    let mut rest = span.as_millis();
    let mut text = String::new();
    for (unit, millis) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest >= millis {
            text.extend([(rest / millis).to_string().as_str(), unit]);
            rest %= millis;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}
