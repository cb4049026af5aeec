//! Ids, names of results and seeds, all derived: whoever derives them again gets the same.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::model::Op;
use crate::error::{Error, Result};
use crate::id::{RecordId, TaskId};
use crate::record::Json;

use super::limits;

/// Which run, and which of its lives: what its own ids are derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The driver's task.
    pub run: TaskId,
    /// How often its id was started anew.
    pub generation: u64,
    /// How often it has continued as new.
    pub execution: u64,
    /// How often it was retried: the same number may stand for another operation afterwards.
    pub retries: u64,
}

/// The record of the run that is started under this name.
///
/// # Errors
/// [`Error::Invalid`] if it cannot be a name.
pub fn named_run(name: &str) -> Result<RecordId> {
    let chars = name.chars().count();
    if (1..=limits::RUN_NAME_CHARS).contains(&chars) && !name.chars().any(char::is_control) {
        return Ok(RecordId::derived(&["run", name]).for_runs());
    }
    let shown: String = name.chars().take(64).collect();
    Err(Error::Invalid(format!(
        "{shown:?} cannot be the id of a run: give 1 to {} characters, none of them a control character",
        limits::RUN_NAME_CHARS
    )))
}

impl Origin {
    fn parts(&self) -> [String; 4] {
        [self.run.to_string(), self.generation.to_string(), self.execution.to_string(), self.retries.to_string()]
    }

    fn derived(&self, what: &str, op: Op) -> RecordId {
        let [run, generation, execution, retries] = self.parts();
        RecordId::derived(&[what, &run, &generation, &execution, &retries, &op.to_string()])
    }

    /// The task that the operation `op` calls.
    #[must_use]
    pub fn call(&self, op: Op) -> TaskId {
        self.derived("call", op).task(0)
    }

    /// The run that the operation `op` starts.
    #[must_use]
    pub fn child(&self, op: Op) -> TaskId {
        self.derived("child", op).for_runs().task(0)
    }

    /// The run that the operation `op` starts with these options: the one of the name that they give, or its own.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the name cannot be a run's.
    pub fn child_named(&self, op: Op, options: Option<&Json>) -> Result<TaskId> {
        #[derive(Deserialize)]
        struct Named {
            id: Option<String>,
        }
        let named = options.and_then(|options| serde_json::from_str::<Named>(options.text()).ok());
        named.and_then(|named| named.id).map_or_else(|| Ok(self.child(op)), |name| Ok(named_run(&name)?.task(0)))
    }

    /// The last part of the key of a result: no two attempts ever have the same.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `name` cannot be part of a key.
    pub fn result_key(&self, name: &str, op: Op, attempt: u32) -> Result<String> {
        check_name("step", name)?;
        let [run, generation, execution, retries] = self.parts();
        let hex = digest(&["result", &run, &generation, &execution, &retries, &op.to_string(), &attempt.to_string()]);
        Ok(format!("{name}.{hex}"))
    }

    /// What the random numbers of a scope begin from. Retries replay what was, so they keep it.
    #[must_use]
    pub fn seed(&self, scope: &str) -> [u8; 32] {
        let [run, generation, execution, _] = self.parts();
        hashed(&["seed", &run, &generation, &execution, scope])
    }
}

/// 16 hex digits that belong to these parts, in this order, and to no others.
#[must_use]
pub fn digest(parts: &[&str]) -> String {
    hex(&hashed(parts)[..8])
}

/// SHA-256 of a stored object, in hex.
#[must_use]
pub fn sha256(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

fn hashed(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        // With their lengths, so that no two lists of parts run together into the same text.
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// Checks a name that becomes part of a key: of a workflow, a step or a signal.
///
/// # Errors
/// [`Error::Invalid`] with the name and the rule.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let rest = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte));
    if first && rest && name.len() <= limits::NAME_CHARS && !name.contains("..") {
        return Ok(());
    }
    let shown: String = name.chars().take(64).collect();
    Err(Error::Invalid(format!(
        "{shown:?} cannot be the name of a {what}: use 1 to {} of the characters A-Z a-z 0-9 _ . : - \
         with a letter, digit or underscore first and no two dots in a row",
        limits::NAME_CHARS
    )))
}

/// Whether this is the last part of the key of a result or a chunk: a name, a dot and 16 hex digits.
#[must_use]
pub fn is_result_key(key: &str) -> bool {
    key.rsplit_once('.').is_some_and(|(name, hex)| check_name("step", name).is_ok() && is_digest(hex))
}

/// Whether this is 16 lower-case hex digits.
#[must_use]
pub fn is_digest(text: &str) -> bool {
    text.len() == 16 && is_hex(text)
}

/// Whether these are lower-case hex digits.
#[must_use]
pub fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn origin() -> Origin {
        Origin { run: named_run("order-17").unwrap().task(0), generation: 1, execution: 0, retries: 0 }
    }

    #[test]
    fn a_name_leads_to_one_record() {
        assert_eq!(named_run("order-17").unwrap(), named_run("order-17").unwrap());
        assert_ne!(named_run("order-17").unwrap(), named_run("order-18").unwrap());
        for bad in ["", "a\nb", &"x".repeat(limits::RUN_NAME_CHARS + 1)] {
            assert!(named_run(bad).unwrap_err().to_string().contains("cannot be the id of a run"), "{bad}");
        }
        assert!(named_run("../order 17/é").is_ok(), "the key has the derived id, so any name will do");
    }

    #[test]
    fn no_two_lives_of_a_run_share_an_id() {
        let one = origin();
        let lives = [
            one,
            Origin { generation: 2, ..one },
            Origin { execution: 1, ..one },
            Origin { retries: 1, ..one },
            Origin { run: named_run("order-18").unwrap().task(0), ..one },
        ];
        let ids = lives.iter().flat_map(|life| [life.call(3), life.call(4), life.child(3), life.child(4)]);
        assert_eq!(ids.map(|id| id.to_string()).collect::<BTreeSet<_>>().len(), 4 * lives.len());
        let keys = lives.iter().flat_map(|life| [life.result_key("pick", 3, 1), life.result_key("pick", 3, 2)]);
        assert_eq!(keys.map(Result::unwrap).collect::<BTreeSet<_>>().len(), 2 * lives.len());
    }

    #[test]
    fn a_child_that_is_given_a_name_is_the_run_of_that_name() {
        let options = |text: &str| Json::parse(text).unwrap();
        let named = origin().child_named(3, Some(&options("{\"id\": \"pay-17\", \"priority\": 3}"))).unwrap();
        assert_eq!(named, named_run("pay-17").unwrap().task(0));
        for none in [None, Some(&options("{}")), Some(&options("null"))] {
            assert_eq!(origin().child_named(3, none).unwrap(), origin().child(3));
        }
        assert!(origin().child_named(3, Some(&options("{\"id\": \"\"}"))).is_err());
    }

    #[test]
    fn a_retry_draws_the_same_random_numbers_again_and_a_new_execution_others() {
        let one = origin();
        assert_eq!(one.seed("0.1"), Origin { retries: 4, ..one }.seed("0.1"));
        assert_ne!(one.seed("0.1"), one.seed("0.11"));
        assert_ne!(one.seed(""), Origin { execution: 1, ..one }.seed(""));
        assert_ne!(one.seed(""), Origin { generation: 2, ..one }.seed(""));
    }

    #[test]
    fn names_with_path_tricks_are_refused() {
        for bad in ["", "..", "../x", "a/b", "a..b", ".hidden", "-x", "a b", "a\0", "é", &"x".repeat(129)] {
            let message = check_name("step", bad).unwrap_err().to_string();
            assert!(message.contains("cannot be the name of a step"), "{message}");
            assert!(origin().result_key(bad, 0, 1).is_err(), "{bad}");
        }
        for good in ["a", "_x", "Order.pick", "a:b-c", "7"] {
            assert!(check_name("step", good).is_ok(), "{good}");
        }
    }

    #[test]
    fn only_a_name_a_dot_and_a_digest_are_the_key_of_a_result() {
        let key = origin().result_key("Order.pick", 3, 1).unwrap();
        assert!(is_result_key(&key), "{key}");
        for bad in ["pick", "pick.xyz", "../x.0123456789abcdef", ".0123456789abcdef", "pick.0123456789ABCDEF"] {
            assert!(!is_result_key(bad), "{bad}");
        }
    }
}
