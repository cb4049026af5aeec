//! Submitting a task that there may be only once: by a key that the caller gives, or by its input.
//!
//! The key hashes to the record's id, so the store itself lets one of many racing submits through, and no request is
//! spent on looking. With a window, the time since the epoch is cut into slots of its length and the slot is hashed too;
//! whoever submits also looks at the slot before, so that two submits on either side of a boundary are one. A submit in
//! that slot which is still on its way would escape the look; a void record put in its place makes it come again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::derived::{BARRED, Derived};
use super::{Core, Queue, Submission};
use crate::error::{Error, Result};
use crate::id::{CommitId, RecordId, TaskId};
use crate::limits;
use crate::payload::read_json;
use crate::queue::schemas::is_encoded;
use crate::record::{BatchRecord, Options};
use crate::time::Timestamp;
use crate::transact::Placed;

/// Submits that find their slot barred before they give up.
const SLOTS: usize = 5;

/// Among which tasks one is to be the only one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Those of its type.
    #[default]
    Type,
    /// All of the queue.
    Queue,
}

/// What makes a task the only one of its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unique {
    /// What to know it by; its input if `None`.
    pub key: Option<String>,
    /// Among which tasks.
    pub scope: Scope,
    /// For how long after its submit; as long as it is stored if `None`.
    pub window: Option<Duration>,
}

impl Unique {
    /// Checks everything that can be checked without the store.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming what is wrong, its value and what is allowed.
    pub fn check(&self) -> Result<()> {
        if let Some(key) = &self.key {
            let chars = key.chars().count();
            if !(1..=limits::KEY_CHARS).contains(&chars) || key.chars().any(char::is_control) {
                let shown: String = key.chars().take(64).collect();
                return Err(Error::Invalid(format!(
                    "{shown:?} cannot be an idempotency key: give 1 to {} characters, none of them a control character",
                    limits::KEY_CHARS
                )));
            }
        }
        if let Some(window) = self.window
            && !(Duration::from_secs(1)..=limits::LONGEST).contains(&window)
        {
            return Err(Error::Invalid(format!(
                "the window is {} s; give 1 s to 366 days, or none for as long as the task is stored",
                window.as_secs_f64()
            )));
        }
        Ok(())
    }

    /// The key as it is stored with the task.
    fn key_for(&self, input: &str) -> String {
        self.key.clone().unwrap_or_else(|| format!("input:{}", RecordId::derived(&[input])))
    }

    /// The record of a slot; without a window there is one slot only.
    fn record(&self, kind: &str, key: &str, slot: Option<i64>) -> RecordId {
        let within = match self.scope {
            Scope::Type => kind,
            Scope::Queue => "",
        };
        let window = self.window.map_or(0, |window| window.as_millis()).to_string();
        let slot = slot.map_or_else(String::new, |slot| slot.to_string());
        RecordId::derived(&["unique", within, key, &window, &slot])
    }

    fn slot(&self, now: Timestamp) -> Option<i64> {
        Some(now.0.div_euclid(self.window_ms()?))
    }

    /// When the slot after this one begins.
    fn after_slot(&self, slot: i64) -> Timestamp {
        Timestamp(slot.saturating_add(1).saturating_mul(self.window_ms().unwrap_or(1)))
    }

    fn window_ms(&self) -> Option<i64> {
        Some(i64::try_from(self.window?.as_millis()).unwrap_or(i64::MAX).max(1))
    }
}

impl Queue {
    /// Submits a task unless there is one of the same key already. The id, and whether this call made it.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the key was used for another type or input; otherwise as [`Queue::submit`].
    pub async fn submit_unique(&self, submission: &Submission, unique: &Unique) -> Result<(TaskId, bool)> {
        submission.check()?;
        unique.check()?;
        self.check_inputs(&submission.kind, std::slice::from_ref(&submission.input)).await?;
        let input = canonical(submission.input.text())?;
        let key = unique.key_for(&input);
        let mut not_before = Timestamp(0);
        for _ in 0..SLOTS {
            let now = self.bucket().now().max(not_before);
            let slot = unique.slot(now);
            if let Some(first) = self.core().seen_before(&submission.kind, &key, unique, now).await? {
                return self.compare(&first, submission, &input, &key).await.map(|id| (id, false));
            }
            let mut draft = self.core().draft(submission)?;
            draft.key = Some(key.clone());
            let id = if self.core().settings.variant.forgets_keys() {
                RecordId::random(self.bucket().entropy())
            } else {
                unique.record(&submission.kind, &key, slot)
            };
            let (kind, options, task) = (&submission.kind, &submission.options, draft.task(0, now));
            match self.core().store_derived(id, kind, options, task).await? {
                Derived::Created(id) => return Ok((id, true)),
                // Somebody has barred this slot from the next one: it is later than this process thought.
                Derived::Found(record) if record.void => not_before = unique.after_slot(slot.unwrap_or_default()),
                Derived::Found(first) => {
                    return self.compare(&first, submission, &input, &key).await.map(|id| (id, false));
                }
            }
        }
        Err(Error::Unavailable(format!("the submit with the key {key:?} was overtaken {SLOTS} times; try again")))
    }

    /// The first task of the key, if it is the same as the one submitted now. Where one of the inputs was compressed or
    /// encrypted only the types are compared: it is another each time, and only its front can tell.
    async fn compare(&self, record: &BatchRecord, submission: &Submission, input: &str, key: &str) -> Result<TaskId> {
        let Some(first) = record.tasks.first() else {
            return Err(Error::Corrupt(format!(
                "the record {} of the key {key:?} holds no task; look at it",
                record.id
            )));
        };
        let id = record.id.task(first.n);
        if first.purged_at.is_some() {
            return Ok(id);
        }
        let first_input = match &first.input_ref {
            Some(name) => read_json(self.bucket(), record.id, name).await?,
            None => first.input.clone(),
        };
        let encoded = is_encoded(first_input.text()) || is_encoded(input);
        let same = encoded || canonical(first_input.text())? == input;
        if record.kind == submission.kind && same {
            return Ok(id);
        }
        Err(Error::Conflict(format!(
            "the key {key:?} belongs to task {id}, a {:?} with the input {}; it cannot be used for a {:?} with the input \
             {}: use another key, or submit the same",
            record.kind,
            shortened(first_input.text()),
            submission.kind,
            shortened(submission.input.text()),
        )))
    }
}

impl Core {
    /// The record of the slot before, if its task is within the window; where there is none, none can come any more.
    async fn seen_before(&self, kind: &str, key: &str, unique: &Unique, now: Timestamp) -> Result<Option<BatchRecord>> {
        let (Some(slot), Some(window)) = (unique.slot(now), unique.window) else { return Ok(None) };
        let id = unique.record(kind, key, Some(slot - 1));
        let found = match self.desk.load(id).await? {
            Some(stored) if !stored.record.void || stored.record.kind == BARRED => Some(stored.record),
            Some(_) => return Ok(None),
            None if self.settings.variant.bars_nothing() => return Ok(None),
            None => self.bar(id, now).await?,
        };
        Ok(found.filter(|record| !record.void && record.created_at.after(window) > now))
    }

    /// Puts a void record where no task is to come any more; the record that is there already, if one is.
    async fn bar(&self, id: RecordId, now: Timestamp) -> Result<Option<BatchRecord>> {
        let commit = CommitId::random(self.desk.bucket.entropy());
        let mut void = BatchRecord::new(id, BARRED.to_owned(), Options::default(), now, Vec::new(), commit);
        void.void = true;
        match self.desk.place(&mut void).await? {
            Placed::Landed | Placed::Taken(None) => Ok(None),
            Placed::Taken(Some(found)) => Ok(Some(found.record)),
        }
    }
}

/// The text of a value, with the keys of its objects in order and no spaces. Numbers stay as they are written: two that
/// a double cannot tell apart are two.
pub fn canonical(text: &str) -> Result<String> {
    fn write(value: &RawValue, out: &mut String) -> serde_json::Result<()> {
        let text = value.get();
        match text.bytes().next() {
            Some(b'{') => {
                let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
                out.push('{');
                for (name, value) in fields {
                    out.push_str(&serde_json::to_string(&name)?);
                    out.push(':');
                    write(value, out)?;
                    out.push(',');
                }
                out.push('}');
            }
            Some(b'[') => {
                out.push('[');
                for value in serde_json::from_str::<Vec<&RawValue>>(text)? {
                    write(value, out)?;
                    out.push(',');
                }
                out.push(']');
            }
            // Written in one way, whatever was escaped.
            Some(b'"') => out.push_str(&serde_json::to_string(&serde_json::from_str::<String>(text)?)?),
            _ => out.push_str(text),
        }
        Ok(())
    }
    let mut out = String::with_capacity(text.len());
    serde_json::from_str::<&RawValue>(text)
        .and_then(|value| write(value, &mut out))
        .map_err(|error| Error::Invalid(format!("the input is not JSON: {error}")))?;
    Ok(out)
}

/// The beginning of a text, for people to read.
pub fn shortened(text: &str) -> String {
    const SHOWN: usize = 120;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed(key: &str) -> Unique {
        Unique { key: Some(key.into()), ..Unique::default() }
    }

    #[test]
    fn the_order_of_an_inputs_keys_does_not_matter() {
        let [one, two, three] = [r#"{"a":1,"b":2}"#, r#"{ "b": 2, "a": 1 }"#, r#"{"a":1,"b":3}"#]
            .map(|text| Unique::default().key_for(&canonical(text).unwrap()));
        assert_eq!(one, two);
        assert_ne!(one, three);
    }

    #[test]
    fn inputs_that_differ_in_anything_but_spelling_are_two() {
        let same = |one, two| canonical(one).unwrap() == canonical(two).unwrap();
        assert!(same(r#"[1, {"x" : "\u0041"}]"#, r#"[1,{"x":"A"}]"#) && same("{}", " {} "));
        for (one, two) in [("1", "1.0"), ("[1]", "[1,1]"), ("[]", "{}"), ("9007199254740992", "9007199254740993")] {
            assert!(!same(one, two), "{one} {two}");
        }
    }

    #[test]
    fn scope_key_window_and_slot_tell_records_apart() {
        let windowed = Unique { window: Some(Duration::from_mins(1)), ..keyed("k") };
        let across = Unique { scope: Scope::Queue, ..keyed("k") };
        let ids = [
            keyed("k").record("a", "k", None),
            keyed("k").record("b", "k", None),
            keyed("k").record("a", "l", None),
            across.record("a", "k", None),
            windowed.record("a", "k", windowed.slot(Timestamp(59_999))),
            windowed.record("a", "k", windowed.slot(Timestamp(60_000))),
        ];
        for (n, id) in ids.iter().enumerate() {
            assert!(!ids[..n].contains(id), "number {n}");
        }
        assert_eq!(across.record("a", "k", None), across.record("b", "k", None));
    }

    #[test]
    fn keys_and_windows_that_cannot_be_are_refused() {
        for bad in [keyed(""), keyed("a\nb"), keyed(&"x".repeat(limits::KEY_CHARS + 1))] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        let windowed = |window| Unique { window: Some(window), ..keyed("k") };
        assert!(windowed(Duration::from_millis(1)).check().is_err() && windowed(Duration::MAX).check().is_err());
        assert!(windowed(Duration::from_secs(1)).check().is_ok());
    }
}
