//! What is told about a task besides its input and outcome: tags, metadata, its parent, when it is too late, how far
//! it has come, and that it is to stop.

use std::collections::BTreeMap;

use serde::Serialize;

use super::fields::read_keeping_the_unknown;
use super::model::Extra;
use crate::error::{Error, Result};
use crate::id::TaskId;
use crate::limits;
use crate::time::Timestamp;

/// What a submitter tells about a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Facts about it, for people and programs; never read by the engine.
    pub metadata: BTreeMap<String, String>,
    /// The task that submitted it.
    pub parent: Option<TaskId>,
}

/// How far an attempt has come.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Progress {
    /// From 0 to 1.
    pub value: f64,
    /// What it is doing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When it said so.
    pub at: Timestamp,
}

/// Somebody's wish that a task be called off.
#[derive(Clone, Debug, Serialize)]
pub struct Cancel {
    /// When it was made.
    pub at: Timestamp,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Extras {
    /// Refuses what is too much or cannot be shown.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the tag or key, and the limit.
    pub fn check(&self) -> Result<()> {
        let tags = self.tags.len();
        if tags > limits::TAGS {
            return Err(Error::Invalid(format!("{tags} tags; give up to {}", limits::TAGS)));
        }
        self.tags.iter().try_for_each(|tag| check_tag(tag))?;
        let bytes = self.metadata_bytes();
        if bytes > limits::METADATA_BYTES {
            return Err(Error::Invalid(format!(
                "the metadata has {bytes} bytes of keys and values; give up to {}, and put what is larger into the input",
                limits::METADATA_BYTES
            )));
        }
        Ok(())
    }

    /// About how many bytes of a record it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.tags.iter().map(String::len).sum::<usize>() + self.metadata_bytes()
    }

    fn metadata_bytes(&self) -> usize {
        self.metadata.iter().map(|(key, value)| key.len() + value.len()).sum()
    }
}

/// Checks one tag.
///
/// # Errors
/// [`Error::Invalid`] with the tag and the rule.
pub fn check_tag(tag: &str) -> Result<()> {
    let chars = tag.chars().count();
    if (1..=limits::TAG_CHARS).contains(&chars) && !tag.chars().any(char::is_control) {
        return Ok(());
    }
    let shown: String = tag.chars().take(limits::TAG_CHARS).collect();
    Err(Error::Invalid(format!(
        "{shown:?} cannot be a tag: give 1 to {} characters, none of them a control character",
        limits::TAG_CHARS
    )))
}

impl Progress {
    /// A report made at `at`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not a part of the whole, or says too much.
    pub fn new(value: f64, message: Option<String>, at: Timestamp) -> Result<Self> {
        if !(0.0..=1.0).contains(&value) {
            return Err(Error::Invalid(format!("progress is {value}; give 0.0 (begun) to 1.0 (done)")));
        }
        check_note("the progress message", message.as_deref())?;
        Ok(Self { value, message, at })
    }
}

impl Cancel {
    /// A wish made at `at`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the author or the reason is too long.
    pub fn new(by: Option<String>, reason: Option<String>, at: Timestamp) -> Result<Self> {
        check_note("the author of the cancellation", by.as_deref())?;
        check_note("the reason for the cancellation", reason.as_deref())?;
        Ok(Self { at, by, reason, extra: Extra::new() })
    }
}

fn check_note(what: &str, text: Option<&str>) -> Result<()> {
    let chars = text.map_or(0, |text| text.chars().count());
    if chars > limits::NOTE_CHARS {
        return Err(Error::Invalid(format!("{what} has {chars} characters; give up to {}", limits::NOTE_CHARS)));
    }
    Ok(())
}

read_keeping_the_unknown!(Cancel { at: take("at"), by: take_or_default("by"), reason: take_or_default("reason") });

impl<'de> serde::Deserialize<'de> for Progress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        /// The stored form: a later report replaces all of it, so nothing unknown needs to be kept.
        #[derive(serde::Deserialize)]
        struct Stored {
            value: f64,
            #[serde(default)]
            message: Option<String>,
            at: Timestamp,
        }
        let Stored { value, message, at } = Stored::deserialize(deserializer)?;
        Ok(Self { value, message, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_few_short_and_printable() {
        let tagged = |tags: Vec<String>| Extras { tags, ..Extras::default() }.check();
        assert!(tagged(vec!["eu".into(), "customer 7".into(), "é".repeat(limits::TAG_CHARS)]).is_ok());
        for bad in ["", "a\nb", "a\0", &"x".repeat(limits::TAG_CHARS + 1)] {
            let message = tagged(vec![bad.into()]).unwrap_err().to_string();
            assert!(message.contains("cannot be a tag"), "{message}");
        }
        assert!(tagged(vec!["x".into(); limits::TAGS + 1]).is_err());
    }

    #[test]
    fn metadata_is_bounded_by_its_bytes() {
        let with = |value: String| Extras { metadata: BTreeMap::from([("k".into(), value)]), ..Extras::default() };
        assert!(with("x".repeat(limits::METADATA_BYTES - 1)).check().is_ok());
        assert!(with("x".repeat(limits::METADATA_BYTES)).check().is_err());
    }

    #[test]
    fn progress_is_a_part_of_the_whole() {
        for bad in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(Progress::new(bad, None, Timestamp(0)).is_err(), "{bad}");
        }
        assert!(Progress::new(1.0, Some("x".repeat(limits::NOTE_CHARS + 1)), Timestamp(0)).is_err());
        assert!(Progress::new(0.4, Some("resizing".into()), Timestamp(0)).is_ok());
    }
}
