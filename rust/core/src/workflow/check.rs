//! What entries may hold: names, sizes, and what belongs together.

use super::entry::{Arm, Ask, End, Fault, News, Outcome, Received, ResultRef, StepAsk, Told, What};
use super::ids::{check_name, is_digest, is_hex, is_result_key};
use super::limits;
use crate::error::{Error, Result};
use crate::queue::check_type;
use crate::record::{Extra, Json};

const fn refuse<T>(what: String) -> Result<T> {
    Err(Error::Invalid(what))
}

/// Checks what an ask holds.
///
/// # Errors
/// [`Error::Invalid`] naming the field, its value and what is allowed.
pub fn check_ask(ask: &Ask) -> Result<()> {
    check_name(ask.what.kind().name(), &ask.place.name)?;
    let chars = ask.place.scope.chars().count();
    if chars > limits::SCOPE_CHARS || ask.place.scope.chars().any(char::is_control) {
        return refuse(format!(
            "the scope of {:?} has {chars} characters or a control character; nest branches less deep: up to {} \
             characters",
            ask.place.name,
            limits::SCOPE_CHARS
        ));
    }
    check_args(ask)?;
    match &ask.what {
        What::Step(step) => check_step(&ask.place.name, step),
        What::Call(call) => {
            check_type(&call.kind)?;
            check_payload("input", call.input.as_ref(), call.input_ref.as_ref())
        }
        What::Child(child) => {
            check_name("workflow", &child.workflow)?;
            check_payload("input", child.input.as_ref(), child.input_ref.as_ref())
        }
        What::Select { arms } if arms.is_empty() || arms.len() > limits::ARMS => {
            refuse(format!("a select has {} arms; give 1 to {}", arms.len(), limits::ARMS))
        }
        What::Select { arms } => arms.iter().try_for_each(|(label, arm)| {
            check_name("arm", label)?;
            if let Arm::Signal(name) = arm { check_name("signal", name) } else { Ok(()) }
        }),
        What::Callback { heartbeat_ms: Some(0), .. } => {
            refuse(format!("the heartbeat of callback {:?} is 0 ms; give 1 or more", ask.place.name))
        }
        What::Timer { .. } | What::Signal { .. } | What::Callback { .. } => Ok(()),
    }
}

fn check_args(ask: &Ask) -> Result<()> {
    let Some(args) = ask.what.args() else { return Ok(()) };
    if args.len() > limits::ARGUMENTS {
        return refuse(format!("{:?} has {} arguments; give up to {}", ask.place.name, args.len(), limits::ARGUMENTS));
    }
    for (name, digest) in args {
        if !is_digest(digest) || name.chars().count() > limits::NAME_CHARS {
            return refuse(format!(
                "argument {:?} of {:?} has the digest {:?}: a digest has 16 lower-case hex digits",
                shown(name),
                ask.place.name,
                shown(digest)
            ));
        }
    }
    Ok(())
}

fn check_step(name: &str, step: &StepAsk) -> Result<()> {
    if let Some(retry) = &step.retry {
        retry.check()?;
    }
    let longest = u64::try_from(crate::limits::LONGEST.as_millis()).unwrap_or(u64::MAX);
    match step.timeout_ms {
        Some(ms) if ms == 0 || ms > longest => {
            refuse(format!("the timeout of step {name:?} is {ms} ms; give 1 ms to 366 days"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Checks what the body is to be told.
///
/// # Errors
/// [`Error::Invalid`] naming what does not belong together.
pub fn check_told(told: &Told) -> Result<()> {
    match &told.news {
        News::Ended { kind, op, end } => check_end(end).map_err(|error| {
            Error::Invalid(format!("the end of operation {op}, a {}, makes no sense: {error}", kind.name()))
        }),
        News::Signal { signal: Some(signal), .. } | News::Select { signal: Some(signal), .. } => check_received(signal),
        News::Timer { .. }
        | News::Signal { signal: None, .. }
        | News::Select { signal: None, .. }
        | News::Cancel { .. } => Ok(()),
    }
}

/// Checks how an operation ended.
///
/// # Errors
/// [`Error::Invalid`] naming what does not belong together.
pub fn check_end(end: &End) -> Result<()> {
    let result = end.output.is_some() || end.output_ref.is_some();
    match end.outcome {
        Outcome::Completed if !result => return refuse("it is completed and has no output".into()),
        Outcome::Completed if end.error.is_some() => return refuse("it is completed and has an error".into()),
        Outcome::Completed => {}
        _ if result => return refuse("it is not completed and has an output".into()),
        Outcome::Failed if end.error.is_none() => return refuse("it has failed and has no error".into()),
        Outcome::Failed | Outcome::Cancelled | Outcome::Skipped | Outcome::Timeout => {}
    }
    check_payload("output", end.output.as_ref(), end.output_ref.as_ref())
}

fn check_received(signal: &Received) -> Result<()> {
    if signal.id.as_ref().is_some_and(|id| id.chars().count() > crate::limits::KEY_CHARS) {
        return refuse(format!("the id of a signal has more than {} characters", crate::limits::KEY_CHARS));
    }
    check_payload("payload", signal.payload.as_ref(), signal.payload_ref.as_ref())
}

/// Checks something that lies in the journal or beside it, and not in both places.
fn check_payload(what: &str, here: Option<&Json>, there: Option<&ResultRef>) -> Result<()> {
    match (here, there) {
        (Some(_), Some(_)) => refuse(format!("the {what} lies both in the journal and elsewhere")),
        (Some(json), None) if json.text().len() > limits::RESULT_BYTES => refuse(format!(
            "the {what} has {} bytes, over the limit of {} in a journal: write it under steps/ and name that",
            json.text().len(),
            limits::RESULT_BYTES
        )),
        (Some(json), None) => json.check_readable().map_err(|why| Error::Invalid(format!("the {what}: {why}"))),
        (None, Some(there)) => check_ref(there),
        (None, None) => Ok(()),
    }
}

/// Checks the name of something under `steps/`.
///
/// # Errors
/// [`Error::Invalid`] with the key or the digest.
pub fn check_ref(there: &ResultRef) -> Result<()> {
    if !is_result_key(&there.key) {
        return refuse(format!("{:?} is not the key of a result: a name, a dot, 16 hex digits", shown(&there.key)));
    }
    if there.sha256.len() != 64 || !is_hex(&there.sha256) {
        return refuse(format!(
            "the sha256 of {} is {:?}: give 64 lower-case hex digits",
            there.key,
            shown(&there.sha256)
        ));
    }
    Ok(())
}

impl Fault {
    /// The same error, and if it is more than a journal may hold, cut to that: few causes, and each with its share of
    /// the bytes.
    #[must_use]
    pub fn cut(self) -> Self {
        if serde_json::to_vec(&self).is_ok_and(|text| text.len() <= limits::ERROR_BYTES) {
            return self;
        }
        self.cut_to(limits::ERROR_BYTES / 2, limits::CAUSES)
    }

    fn cut_to(self, bytes: usize, causes: usize) -> Self {
        let kind = cut_text(self.kind, limits::NAME_CHARS * 2);
        let message = cut_text(self.message, bytes / 4);
        let traceback = self.traceback.map(|text| cut_text(text, bytes / 2));
        let cause = self.cause.filter(|_| causes > 1).map(|cause| Box::new(cause.cut_to(bytes / 2, causes - 1)));
        let known: usize = self.extra.values().map(|value| value.get().len()).sum();
        let extra = if known <= bytes / 4 { self.extra } else { Extra::new() };
        Self { kind, message, traceback, cause, op: self.op, extra }
    }
}

fn cut_text(text: String, bytes: usize) -> String {
    if text.len() <= bytes {
        return text;
    }
    let end = (0..=bytes.saturating_sub(3)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}...", &text[..end])
}

/// What is quoted in an error, cut short.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}
