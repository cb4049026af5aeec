//! What may be appended to a journal: a legal continuation, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::check::{check_ask, check_told, shown};
use super::entry::{Arm, Ask, CancelOp, Entry, Kind, News, Outcome, Place, Told, What};
use super::model::{Millis, Op};
use super::{limits, status::RunStatus};
use crate::error::{Error, Result};

/// A journal with all of its entries, and what is known about its operations.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: Vec<Arc<Entry>>,
    began: Millis,
    closed: BTreeMap<Op, Closed>,
    open: BTreeSet<Op>,
    places: BTreeSet<(Kind, Place)>,
    compensations: BTreeMap<Op, Op>,
    last: Millis,
    cancelled: Option<Op>,
    ended: Option<RunStatus>,
}

/// How an operation was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The body was told, by the entry in this place.
    Told(Op),
    /// The body called it off, by the entry in this place.
    Cancelled(Op),
}

impl Ledger {
    /// Reads the entries of an execution that began at `began`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the place of the first entry that cannot follow those before it; [`Error::Layout`] if a
    /// newer version wrote one.
    pub fn read(entries: Vec<Arc<Entry>>, began: Millis) -> Result<Self> {
        let mut ledger = Self { began, last: began, ..Self::default() };
        for (place, entry) in entries.into_iter().enumerate() {
            ledger.push(entry).map_err(|error| match error {
                Error::Layout(what) => Error::Layout(format!("entry {place} of the journal: {what}")),
                error => Error::Corrupt(format!(
                    "entry {place} of the journal cannot stand there: {error}; look at the object"
                )),
            })?;
        }
        Ok(ledger)
    }

    /// All entries.
    #[must_use]
    pub fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// The time of the last entry, or the beginning of the execution.
    #[must_use]
    pub const fn last(&self) -> Millis {
        self.last
    }

    /// The number that the next operation would get.
    #[must_use]
    pub fn next_op(&self) -> Op {
        Op::try_from(self.entries.len()).unwrap_or(Op::MAX)
    }

    /// The ask of an operation.
    #[must_use]
    pub fn ask(&self, op: Op) -> Option<&Ask> {
        match &**self.entries.get(usize::try_from(op).ok()?)? {
            Entry::Ask(ask) => Some(ask),
            Entry::Cancel(_) | Entry::Told(_) | Entry::Unknown(_) => None,
        }
    }

    /// How an operation was closed; `None` if it is open, or none.
    #[must_use]
    pub fn closed(&self, op: Op) -> Option<Closed> {
        self.closed.get(&op).copied()
    }

    /// What the body was told of an operation.
    #[must_use]
    pub fn told(&self, op: Op) -> Option<&Told> {
        let Closed::Told(place) = self.closed(op)? else { return None };
        match &**self.entries.get(usize::try_from(place).ok()?)? {
            Entry::Told(told) => Some(told),
            Entry::Ask(_) | Entry::Cancel(_) | Entry::Unknown(_) => None,
        }
    }

    /// The operations that have not ended, in the order of their asks.
    #[must_use]
    pub const fn open(&self) -> &BTreeSet<Op> {
        &self.open
    }

    /// Where the body was told that its run is called off.
    #[must_use]
    pub const fn cancelled(&self) -> Option<Op> {
        self.cancelled
    }

    /// The operation that undoes `op`.
    #[must_use]
    pub fn compensation(&self, op: Op) -> Option<Op> {
        self.compensations.get(&op).copied()
    }

    /// Whether any operation undoes another.
    #[must_use]
    pub fn is_compensating(&self) -> bool {
        !self.compensations.is_empty()
    }

    /// Says that the run has ended: nothing may follow.
    pub const fn end(&mut self, status: RunStatus) {
        self.ended = Some(status);
    }

    /// Appends an entry, if it may follow those before it.
    ///
    /// # Errors
    /// [`Error::Invalid`] saying why it may not; [`Error::Layout`] if a newer version wrote it.
    pub fn push(&mut self, entry: impl Into<Arc<Entry>>) -> Result<Op> {
        let entry = entry.into();
        if let Some(status) = self.ended {
            return Err(Error::Invalid(format!(
                "the run is {}: nothing can be appended to its journal",
                status.name()
            )));
        }
        let place = self.next_op();
        if place == Op::MAX {
            return Err(Error::Invalid("the journal is full: continue as new".into()));
        }
        let at = entry.at().ok_or_else(unknown)?;
        if at < self.last {
            return Err(Error::Invalid(format!(
                "its time {} is before {}, that of the entry before it: time never goes back",
                at.time(),
                self.last.time()
            )));
        }
        match &*entry {
            Entry::Ask(ask) => self.ask_for(place, ask)?,
            Entry::Cancel(cancel) => self.call_off(place, cancel)?,
            Entry::Told(told) => self.tell(place, told)?,
            Entry::Unknown(_) => return Err(unknown()),
        }
        self.last = at;
        self.entries.push(entry);
        Ok(place)
    }

    /// Takes the entries from `length` on back.
    pub fn truncate(&mut self, length: usize) {
        while self.entries.len() > length {
            let Some(entry) = self.entries.pop() else { return };
            let place = self.next_op();
            match &*entry {
                Entry::Ask(ask) => {
                    self.places.remove(&(ask.what.kind(), ask.place.clone()));
                    self.open.remove(&place);
                    if let Some(undone) = ask.what.compensates() {
                        self.compensations.remove(&undone);
                    }
                }
                Entry::Cancel(cancel) => self.reopen(cancel.op),
                Entry::Told(told) => match told.news.op() {
                    Some(op) => self.reopen(op),
                    None => self.cancelled = None,
                },
                Entry::Unknown(_) => {}
            }
        }
        self.last = self.entries.last().and_then(|entry| entry.at()).unwrap_or(self.began);
    }

    fn reopen(&mut self, op: Op) {
        self.closed.remove(&op);
        self.open.insert(op);
    }

    fn ask_for(&mut self, op: Op, ask: &Ask) -> Result<()> {
        check_ask(ask)?;
        let kind = ask.what.kind();
        let Place { scope, name, n } = &ask.place;
        if self.open.len() >= limits::OPEN {
            return Err(Error::Invalid(format!(
                "{} operations have not ended; await some before you ask for {} {name:?}",
                self.open.len(),
                kind.name()
            )));
        }
        if self.places.contains(&(kind, ask.place.clone())) {
            return Err(Error::Invalid(format!(
                "{} {name:?} number {n} of scope {scope:?} was asked for already: each occurrence has a number of its own",
                kind.name()
            )));
        }
        if let What::Select { arms } = &ask.what {
            let unknown = arms.iter().find(|(_, arm)| matches!(arm, Arm::Op(op) if self.ask(*op).is_none()));
            if let Some((label, arm)) = unknown {
                return Err(Error::Invalid(format!("arm {label:?} of a select waits for {arm:?}, and there is none")));
            }
        }
        if let Some(undone) = ask.what.compensates() {
            self.check_compensation(undone, name)?;
            self.compensations.insert(undone, op);
        }
        self.places.insert((kind, ask.place.clone()));
        self.open.insert(op);
        Ok(())
    }

    fn check_compensation(&self, undone: Op, name: &str) -> Result<()> {
        let completed = matches!(
            self.told(undone).map(|told| &told.news),
            Some(News::Ended { end, .. }) if end.outcome == Outcome::Completed
        );
        if !completed {
            return Err(Error::Invalid(format!("{name:?} undoes operation {undone}, which is not completed")));
        }
        if self.compensations.contains_key(&undone) {
            return Err(Error::Invalid(format!("{name:?} undoes operation {undone}, which is being undone already")));
        }
        Ok(())
    }

    fn call_off(&mut self, place: Op, cancel: &CancelOp) -> Result<()> {
        self.check_open(cancel.op, "called off")?;
        self.open.remove(&cancel.op);
        self.closed.insert(cancel.op, Closed::Cancelled(place));
        Ok(())
    }

    fn tell(&mut self, place: Op, told: &Told) -> Result<()> {
        check_told(told)?;
        let Some(op) = told.news.op() else {
            if self.cancelled.is_some() {
                return Err(Error::Invalid("the body was told already that its run is called off".into()));
            }
            self.cancelled = Some(place);
            return Ok(());
        };
        let ask = self.check_open(op, "told of")?;
        let (asked, kind) = (ask.what.kind(), told.news.kind());
        if kind != Some(asked) {
            let told = kind.map_or("cancel", Kind::name);
            return Err(Error::Invalid(format!("operation {op} is a {}, and is told of as a {told}", asked.name())));
        }
        self.check_news(op, &ask.what, &told.news)?;
        self.open.remove(&op);
        self.closed.insert(op, Closed::Told(place));
        Ok(())
    }

    fn check_open(&self, op: Op, what: &str) -> Result<&Ask> {
        let ask = self.ask(op).ok_or_else(|| {
            Error::Invalid(format!("operation {op} is {what}, and the entry in that place asks for nothing"))
        })?;
        match self.closed(op) {
            None => Ok(ask),
            Some(Closed::Told(place)) => {
                Err(Error::Invalid(format!("operation {op} is {what}, and it has ended: entry {place} says how")))
            }
            Some(Closed::Cancelled(place)) => {
                Err(Error::Invalid(format!("operation {op} is {what}, and entry {place} has called it off")))
            }
        }
    }

    fn check_news(&self, op: Op, what: &What, news: &News) -> Result<()> {
        let refuse = |why: &str| Err(Error::Invalid(format!("operation {op}: {why}")));
        match (what, news) {
            (What::Step(step), News::Ended { end, .. }) => match end.outcome {
                Outcome::Timeout => refuse("a step does not end by a time-out of its own"),
                Outcome::Skipped if !step.when => refuse("it has no condition, and cannot be skipped"),
                Outcome::Skipped | Outcome::Completed | Outcome::Failed | Outcome::Cancelled => Ok(()),
            },
            (What::Callback { .. }, News::Ended { end, .. }) if end.outcome == Outcome::Skipped => {
                refuse("a callback cannot be skipped")
            }
            (What::Call(_) | What::Child(_), News::Ended { end, .. })
                if matches!(end.outcome, Outcome::Skipped | Outcome::Timeout) =>
            {
                refuse("a task or a run cannot end in this way")
            }
            (What::Signal { until: None }, News::Signal { signal: None, .. }) => {
                refuse("it waits without an end, and cannot time out")
            }
            (What::Select { arms }, News::Select { arm, signal, .. }) => match (arms.get(arm), signal) {
                (None, _) => refuse(&format!("it has no arm {:?}", shown(arm))),
                (Some(Arm::Signal(_)), None) => refuse("the arm is a signal, and none is told"),
                (Some(Arm::Timer(_) | Arm::Op(_)), Some(_)) => refuse("the arm is no signal, and one is told"),
                (Some(Arm::Op(waited)), None) if self.closed(*waited).is_none() => {
                    refuse(&format!("operation {waited} has not ended, and its arm is told"))
                }
                (Some(_), _) => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

fn unknown() -> Error {
    Error::Layout("a newer version of buquet wrote it: upgrade buquet".into())
}

#[cfg(test)]
mod tests;
