//! What a caller may ask for, checked before anything is stored.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::limits;
use crate::record::{Extras, Json, Options};
use crate::time::Timestamp;

/// How the types of drivers of runs begin; the name of the workflow follows.
pub const RUN_TYPE: &str = "workflow:";

/// When a task may start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// As soon as a worker is free.
    #[default]
    Now,
    /// So long after it was submitted.
    After(Duration),
    /// Not before this moment.
    At(Timestamp),
}

/// A task to be submitted.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The task's type: what workers know its handler by.
    pub kind: String,
    /// The handler's input.
    pub input: Json,
    /// Timeout, priority, retries.
    pub options: Options,
    /// When it may start.
    pub when: When,
    /// What else is told about it.
    pub about: About,
}

/// What is told about tasks besides type, input and options.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Tags, metadata, the parent.
    pub extras: Extras,
    /// From when on they may not be started any more; `None` for never.
    pub expiry: Option<When>,
}

impl Submission {
    /// A task with the default options.
    #[must_use]
    pub fn new(kind: impl Into<String>, input: Json) -> Self {
        Self { kind: kind.into(), input, options: Options::default(), when: When::Now, about: About::default() }
    }

    /// Checks everything that can be checked without the store.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming what is wrong, its value and what is allowed.
    pub fn check(&self) -> Result<()> {
        check(&self.kind, &self.options, self.when, &self.about)?;
        check_payload("input", &self.input)
    }
}

impl When {
    /// The moment, counted from `now`; `None` for at once.
    #[must_use]
    pub fn moment(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Now => None,
            Self::After(delay) => Some(now.after(delay)),
            Self::At(at) => Some(at),
        }
    }
}

impl About {
    /// When it is too late for a task that is submitted `now` and may start from `available_at` on.
    ///
    /// # Errors
    /// [`Error::Invalid`] if that is before it may start.
    pub fn expires_at(&self, now: Timestamp, available_at: Option<Timestamp>) -> Result<Option<Timestamp>> {
        let Some(expires_at) = self.expiry.and_then(|expiry| expiry.moment(now)) else { return Ok(None) };
        let start = available_at.map_or(now, |at| at.max(now));
        if expires_at <= start {
            return Err(Error::Invalid(format!(
                "the task would expire at {expires_at}, before it may start at {start}: give it more time"
            )));
        }
        Ok(Some(expires_at))
    }
}

/// Checks everything that can be checked without the store.
///
/// # Errors
/// [`Error::Invalid`] naming what is wrong, its value and what is allowed.
pub fn check(kind: &str, options: &Options, when: When, about: &About) -> Result<()> {
    check_type(kind)?;
    if kind.starts_with(RUN_TYPE) {
        return Err(Error::Invalid(format!(
            "types that begin with {RUN_TYPE:?} are those of runs, and {kind:?} does: use workflow.start"
        )));
    }
    options.check()?;
    check_delay("delay", when)?;
    check_delay("ttl", about.expiry.unwrap_or_default())?;
    about.extras.check()
}

fn check_delay(what: &str, when: When) -> Result<()> {
    if let When::After(delay) = when
        && delay > limits::LONGEST
    {
        return Err(Error::Invalid(format!("{what} is {} s; give up to 366 days", delay.as_secs())));
    }
    Ok(())
}

/// Checks a task type's name.
///
/// # Errors
/// [`Error::Invalid`] with the name and the rule.
pub fn check_type(kind: &str) -> Result<()> {
    let first = kind.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let rest = kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte));
    if first && rest && kind.len() <= limits::TYPE_CHARS && !kind.contains("..") {
        return Ok(());
    }
    let shown: String = kind.chars().take(64).collect();
    Err(Error::Invalid(format!(
        "{shown:?} cannot be a task type: use 1 to {} of the characters A-Z a-z 0-9 _ . : - \
         with a letter, digit or underscore first and no two dots in a row",
        limits::TYPE_CHARS
    )))
}

/// Checks the size of an input or output, and that everybody can read it: nested up to 127 deep, no lone surrogates,
/// no number beyond a double's range.
///
/// # Errors
/// [`Error::Invalid`] with what is wrong and the limit.
pub fn check_payload(what: &str, payload: &Json) -> Result<()> {
    let size = payload.text().len();
    if size > limits::JSON_BYTES {
        return Err(Error::Invalid(format!(
            "the {what} has {size} bytes of JSON, over the limit of {} bytes a task: write it as a payload, piece by \
             piece, and name that",
            limits::JSON_BYTES
        )));
    }
    // What passes here is understood by every front: no nesting without end, no half characters, no endless numbers.
    payload.check_readable().map_err(|error| {
        Error::Invalid(format!("the {what} is JSON that not every reader understands: {error}; write it otherwise"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_place_or_hide_are_refused() {
        for bad in ["", ".", "..", "../x", "a/b", "a\\b", "a\0", "a\nb", "-a", "a b", "é", "a..b", &"a".repeat(129)] {
            assert!(check_type(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "send_email", "mod.sub:fn-2", "_x", "9", &"a".repeat(128)] {
            assert!(check_type(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_payload_over_the_limit_is_refused_with_its_size() {
        let fits = Json::parse(&format!("\"{}\"", "x".repeat(limits::JSON_BYTES - 2))).unwrap();
        assert!(check_payload("input", &fits).is_ok());
        let over = Json::parse(&format!("\"{}\"", "x".repeat(limits::JSON_BYTES - 1))).unwrap();
        let message = check_payload("input", &over).unwrap_err().to_string();
        assert!(message.contains("4194305") && message.contains("4194304"), "{message}");
    }

    #[test]
    fn json_that_some_reader_would_choke_on_is_refused() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for bad in ["\"\\ud800\"", "1e999", &"9".repeat(5_000), &deep] {
            let refused = Json::parse(bad).is_err() || check_payload("input", &Json::parse(bad).unwrap()).is_err();
            assert!(refused, "{bad:.20}");
        }
        for good in ["\"\\ud83d\\ude00\"", "1180591620717411303424", "[[[[]]]]", "null"] {
            assert!(check_payload("input", &Json::parse(good).unwrap()).is_ok(), "{good}");
        }
    }

    #[test]
    fn options_out_of_range_are_refused() {
        let with = |change: fn(&mut Options)| {
            let mut options = Options::default();
            change(&mut options);
            check("t", &options, When::Now, &About::default())
        };
        assert!(with(|_| ()).is_ok());
        assert!(with(|options| options.timeout_ms = 0).is_err());
        assert!(with(|options| options.timeout_ms = u64::MAX).is_err());
        assert!(with(|options| options.priority = 10).is_err());
        assert!(check("t", &Options::default(), When::After(Duration::MAX), &About::default()).is_err());
        let about = About { expiry: Some(When::After(Duration::MAX)), ..About::default() };
        assert!(check("t", &Options::default(), When::Now, &about).is_err());
    }

    #[test]
    fn a_task_may_not_expire_before_it_may_start() {
        let expiring = |expiry| About { expiry: Some(expiry), ..About::default() };
        let (now, minute) = (Timestamp(1_000), Duration::from_mins(1));
        let later = Some(now.after(minute));
        assert_eq!(expiring(When::After(minute)).expires_at(now, None).unwrap(), later);
        assert_eq!(About::default().expires_at(now, later).unwrap(), None);
        for (expiry, available_at) in [(When::After(minute), later), (When::At(Timestamp(1_000)), None)] {
            let message = expiring(expiry).expires_at(now, available_at).unwrap_err().to_string();
            assert!(message.contains("before it may start"), "{message}");
        }
    }
}
