//! What lies in the inbox of a run: signals, and what was said to callbacks.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::driver::CallbackSign;
use super::entry::{End, Fault, Outcome};
use super::model::{Millis, Op};
use crate::error::{Error, Result};
use crate::record::{Json, quoted, refuse_newer};

/// The newest format of an object in an inbox.
const FORMAT: u32 = 1;
/// Where what is said to callbacks lies: a name that no signal can have.
pub const CALLBACKS: &str = "~callbacks";

/// A signal, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Letter {
    format: u32,
    /// The generation of the run that it was sent to.
    pub generation: u64,
    /// When it was sent.
    pub at: Millis,
    /// The id that its sender gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What it says.
    pub payload: Json,
}

/// What was said to a callback, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sign {
    format: u32,
    /// The life of the run that handed the token out.
    pub generation: u64,
    /// Likewise.
    pub execution: u64,
    /// The operation.
    pub op: Op,
    /// When it was said.
    pub at: Millis,
    /// How it ended; nothing if it is still being worked on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output: Option<Json>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Fault>,
}

/// Either.
#[derive(Debug)]
pub enum SignOf {
    /// A signal.
    Signal(Letter),
    /// What was said to a callback.
    Callback(Sign),
}

impl Letter {
    /// A signal to a run of this generation.
    #[must_use]
    pub const fn new(generation: u64, at: Millis, id: Option<String>, payload: Json) -> Self {
        Self { format: FORMAT, generation, at, id, payload }
    }

    /// The stored form.
    ///
    /// # Errors
    /// [`Error::Internal`] if it has none.
    pub fn encode(&self) -> Result<Bytes> {
        encode(self)
    }

    /// Reads the stored form found under `key`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is no signal, [`Error::Layout`] if a newer version wrote it.
    pub fn decode(key: &str, body: &[u8]) -> Result<Self> {
        let letter: Self = decode(key, body)?;
        letter.payload.check_readable().map_err(|error| corrupt(key, &error))?;
        Ok(letter)
    }
}

impl Sign {
    /// A sign of life or, with `end`, an end.
    #[must_use]
    pub fn new((generation, execution): (u64, u64), op: Op, at: Millis, end: Option<End>) -> Self {
        let (outcome, output, error) = match end {
            Some(End { outcome, output, error, .. }) => (Some(outcome), output, error),
            None => (None, None, None),
        };
        Self { format: FORMAT, generation, execution, op, at, outcome, output, error }
    }

    /// The stored form.
    ///
    /// # Errors
    /// [`Error::Internal`] if it has none.
    pub fn encode(&self) -> Result<Bytes> {
        encode(self)
    }

    /// Reads the stored form found under `key`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is none, [`Error::Layout`] if a newer version wrote it.
    pub fn decode(key: &str, body: &[u8]) -> Result<Self> {
        let sign: Self = decode(key, body)?;
        sign.output.iter().try_for_each(Json::check_readable).map_err(|error| corrupt(key, &error))?;
        Ok(sign)
    }

    /// What it says.
    #[must_use]
    pub fn into_sign(self) -> CallbackSign {
        match self.outcome {
            None => CallbackSign::Alive(self.at),
            Some(outcome) => {
                let Self { output, error, .. } = self;
                CallbackSign::Ended(End { outcome, output, output_ref: None, error, attempts: 0 })
            }
        }
    }
}

fn encode(value: &impl Serialize) -> Result<Bytes> {
    let text = serde_json::to_vec(value);
    text.map(Bytes::from).map_err(|error| Error::Internal(format!("a signal cannot be written as JSON: {error}")))
}

fn decode<T: for<'de> Deserialize<'de>>(key: &str, body: &[u8]) -> Result<T> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let wrong = |error: serde_json::Error| corrupt(key, &error.to_string());
    let Format { format } = serde_json::from_slice(body).map_err(wrong)?;
    refuse_newer(key, format, FORMAT)?;
    serde_json::from_slice(body).map_err(wrong)
}

fn corrupt(key: &str, what: &str) -> Error {
    Error::Corrupt(format!("{key} is no signal: {}; look at the object", quoted(what)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_what_is_read() {
        let letter = Letter::new(2, Millis(5), Some("x".into()), Json::parse("[1, {\"a\":1e5}]").unwrap());
        let read = Letter::decode("k", &letter.encode().unwrap()).unwrap();
        assert_eq!((read.generation, read.at, read.id, read.payload), (2, Millis(5), Some("x".into()), letter.payload));
        let end = End::without(Outcome::Failed, Some(Fault::new("E", "no".into())), 0);
        let sign = Sign::new((2, 1), 7, Millis(5), Some(end));
        let read = Sign::decode("k", &sign.encode().unwrap()).unwrap();
        assert_eq!((read.generation, read.execution, read.op), (2, 1, 7));
        assert!(matches!(read.into_sign(), CallbackSign::Ended(End { outcome: Outcome::Failed, error: Some(_), .. })));
        let alive = Sign::new((2, 1), 7, Millis(5), None).into_sign();
        assert!(matches!(alive, CallbackSign::Alive(Millis(5))));
    }

    #[test]
    fn what_is_no_signal_is_refused_naming_the_object() {
        for body in ["", "[]", "{\"format\": 1}", "{\"format\": 1, \"generation\": 1, \"at\": 1, \"payload\": 1e999}"] {
            let message = Letter::decode("the/key", body.as_bytes()).unwrap_err().to_string();
            assert!(message.starts_with("the/key is no signal"), "{message}");
        }
        let newer = Letter::decode("the/key", b"{\"format\": 2, \"unknown\": 1}");
        assert!(matches!(newer, Err(Error::Layout(_))));
    }
}
