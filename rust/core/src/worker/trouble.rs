//! What a worker tells of trouble with its store, and that it is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::shared::Shared;
use crate::error::Error;

/// Between two warnings about the same kind of trouble.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// What was told.
#[derive(Debug, Default)]
pub struct Told {
    /// When each kind of trouble was last told of.
    said: BTreeMap<&'static str, Instant>,
    /// What the store does not answer, of what was told.
    unanswered: BTreeSet<&'static str>,
}

impl Told {
    /// Whether trouble of this kind is to be told of now.
    fn say(&mut self, what: &'static str, now: Instant) -> bool {
        let again = self.said.get(what).is_none_or(|said| now.saturating_duration_since(*said) >= SAY_AGAIN);
        if again {
            self.said.insert(what, now);
        }
        again
    }

    /// The store answered this; whether that ends an outage that was told of.
    fn answered(&mut self, what: &'static str) -> bool {
        self.unanswered.remove(what) && self.unanswered.is_empty()
    }
}

impl Shared {
    /// Tells the front of trouble that will be tried again; of each kind not too often.
    pub fn warn(&self, what: &'static str, error: &Error) {
        self.tell(what, error);
    }

    /// As [`Self::warn`], of what is tried until the store answers: [`Self::answered`] is to follow then.
    pub fn missed(&self, what: &'static str, error: &Error) {
        if self.tell(what, error) && matches!(error, Error::Unavailable(_)) {
            self.lock().told.unanswered.insert(what);
        }
    }

    /// Notices that the store answered, and tells of it if the front was told that it did not.
    pub fn answered(&self, what: &'static str) {
        let mut inner = self.lock();
        if inner.told.answered(what) {
            inner.warnings.push("the store answers again".to_owned());
            drop(inner);
            self.changed.notify_waiters();
        }
    }

    fn tell(&self, what: &'static str, error: &Error) -> bool {
        tracing::warn!(%error, what);
        let mut inner = self.lock();
        if !inner.told.say(what, Instant::now()) {
            return false;
        }
        inner.warnings.push(format!("{what}: {error}"));
        drop(inner);
        self.changed.notify_waiters();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_ends_once_and_only_when_all_is_answered_that_was_not() {
        let mut told = Told::default();
        assert!(!told.answered("heartbeat"), "nothing was said of an outage");
        told.unanswered.extend(["heartbeat", "look"]);
        assert!(!told.answered("heartbeat"));
        assert!(told.answered("look"));
        assert!(!told.answered("look"));
    }

    #[test]
    fn the_same_trouble_is_told_of_again_after_a_while() {
        let (mut told, now) = (Told::default(), Instant::now());
        assert!(told.say("look", now) && !told.say("look", now) && told.say("heartbeat", now));
        assert!(told.say("look", now + SAY_AGAIN));
    }
}
