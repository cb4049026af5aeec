//! Driving a run, without I/O: what comes next, given the journal and what has arrived.
//!
//! A front delivers what [`Driver::next`] tells, collects what the body asks for, and has it taken by
//! [`Driver::advance`], which gives the [`Round`] to commit. Only what [`Driver::committed`] names is started.

mod calls;
mod close;
mod offers;
mod release;
mod round;
mod said;
mod tell;
mod turn;
mod wait;
mod will;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

pub use self::round::{After, Close, Make, Park, Round, Start};
pub use self::said::{BodyEnd, Said, Turn};
pub use self::tell::{Arrived, CallbackNews, CallbackSign, Inbox, Next};
use super::attempts::{self, Again};
use super::entry::{End, Entry, Fault, Kind, News, OnFailure, Outcome, StepAsk, What};
use super::ids::Origin;
use super::journal::Ledger;
use super::model::{Millis, Op, Run};
use super::signals::{Pool, Signal};
use super::state::{WishKind, begin_again};
use super::status::RunStatus;
use super::wishes::Wish;
use crate::error::{Error, Result};
use crate::id::TaskId;

/// Who drives, and with which code.
#[derive(Clone, Debug)]
pub struct Code {
    /// The driver's task.
    pub run: TaskId,
    /// The version of the code.
    pub version: Option<String>,
    /// The hash of the graph's definition, if the body is one.
    pub definition: Option<String>,
    /// The bit that the claim handed over: something may lie in the inbox.
    pub woken: bool,
}

/// Drives one run, for as long as one lease lasts.
#[expect(clippy::struct_excessive_bools, reason = "each is about something else")]
#[derive(Debug)]
pub struct Driver {
    code: Code,
    /// As it was committed last, apart from what is being prepared.
    run: Run,
    ledger: Ledger,
    phase: Phase,
    /// Ends that the body is not told yet, in the order in which they came.
    ends: VecDeque<Arrival>,
    /// What the front was given to deliver.
    offered: Vec<offers::Offer>,
    pool: Pool,
    /// Whether the inbox may hold something that was not looked at.
    unlooked: bool,
    /// What the last look has left there, and the names that it was for.
    looked: tell::Looked,
    covered: BTreeSet<String>,
    /// Whether something is to be stored although the body asks for nothing.
    dirty: bool,
    /// Whether the run is to end without its body.
    terminating: bool,
    /// Wishes that the next round fulfils.
    obeyed: Vec<(WishKind, Wish)>,
    /// Operations whose task or run is being made or called off by this driver.
    in_hand: BTreeSet<(Op, bool)>,
    /// By what the stored run is known.
    stored: round::Base,
    /// Whether the code does not fit the journal: nothing is told by this driver any more.
    mismatched: bool,
    /// What is to be done when the next round is committed, apart from what that round itself asks for.
    after: After,
}

/// An operation that has ended, and what is to be deleted once that is stored.
#[derive(Clone, Debug)]
struct Arrival {
    news: News,
    key: Option<String>,
}

#[derive(Clone, Debug)]
enum Phase {
    /// The front may go on.
    Ready,
    /// A round is being committed: nothing starts, what ends waits for the next one.
    Committing(Box<Pending>),
    /// The run waits, or has ended: this driver is done.
    Done,
    /// Somebody else drives, or may: whatever is prepared here is dropped.
    Lost,
}

/// What follows a commit.
#[derive(Clone, Debug)]
struct Pending {
    after: After,
    ends: bool,
    parks: bool,
}

/// How an attempt of a step ended, as its front tells.
#[derive(Clone, Debug)]
pub enum Report {
    /// With a result.
    Completed(End),
    /// With an error.
    Failed {
        /// Which.
        error: Fault,
        /// Whether and when to try again.
        again: Again,
    },
    /// Its condition was not met.
    Skipped,
    /// It gave way to being called off.
    Cancelled,
    /// A drain has taken it back.
    Released,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// It is taken in.
    Taken,
    /// The step is started again at this time.
    Again(Millis),
    /// The operation has ended or was called off, or the attempt is another, or this driver is done: nothing changed.
    Dropped,
}

impl Driver {
    /// Takes over a run, given all entries of its journal. Steps that were started and have no end were interrupted.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the journal is not a legal one, [`Error::Layout`] if a newer version wrote it,
    /// [`Error::Conflict`] if the run has ended.
    pub fn open(run: Run, entries: Vec<Arc<Entry>>, code: Code) -> Result<Self> {
        if run.status.is_ended() {
            return Err(Error::Conflict(format!("the run is {}: there is nothing to drive", run.status.name())));
        }
        if entries.len() != run.journal.len() {
            return Err(Error::Corrupt(format!(
                "the journal has {} entries, and {} were read; read its chunks again",
                run.journal.len(),
                entries.len()
            )));
        }
        let ledger = Ledger::read(entries, run.began)?;
        // A driver that did not park may have taken a wake with it.
        let left = matches!(run.status, RunStatus::Running | RunStatus::Compensating);
        let unlooked = code.woken || run.unread || left;
        let stored = round::Base::of(&run);
        let mut driver = Self {
            code,
            run,
            ledger,
            phase: Phase::Ready,
            ends: VecDeque::new(),
            offered: Vec::new(),
            pool: Pool::default(),
            unlooked,
            looked: tell::Looked::default(),
            covered: BTreeSet::new(),
            dirty: false,
            terminating: false,
            obeyed: Vec::new(),
            in_hand: BTreeSet::new(),
            stored,
            mismatched: false,
            after: After::default(),
        };
        driver.begin()?;
        Ok(driver)
    }

    fn begin(&mut self) -> Result<()> {
        if let Some(wish) = self.run.wishes.retry.clone() {
            self.obeyed.push((WishKind::Retry, wish));
            let (ledger, dropped) = begin_again(&mut self.run, &self.ledger, self.code.run)?;
            self.ledger = ledger;
            self.after.drop.extend(dropped);
            self.dirty = true;
        } else {
            self.note_interruptions();
        }
        if matches!(self.run.status, RunStatus::Pending | RunStatus::Waiting) {
            self.run.become_status(RunStatus::Running)?;
        }
        self.pool.found(self.returned(), &[]);
        Ok(())
    }

    /// Signals that lie in the run.
    fn returned(&self) -> Vec<Signal> {
        self.run.returned.iter().enumerate().map(|(n, returned)| Signal::returned(n, returned)).collect()
    }

    fn note_interruptions(&mut self) {
        let open: Vec<Op> = self.ledger.open().iter().copied().collect();
        for op in open {
            let Some(step) = self.step(op) else { continue };
            let Some(state) = self.run.open.get_mut(&op).filter(|open| open.started) else { continue };
            let end = attempts::interrupted(state, &step);
            self.dirty = true;
            if let Some(end) = end {
                self.ended(op, &step, end);
            }
        }
    }

    /// The run, as it was committed last; what is being prepared may show already.
    #[must_use]
    pub const fn run(&self) -> &Run {
        &self.run
    }

    /// The journal, for the replay.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What the ids of the run's own are derived from.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        Origin {
            run: self.code.run,
            generation: self.run.generation,
            execution: self.run.execution,
            retries: self.run.retries,
        }
    }

    /// Whether the lease is lost.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        matches!(self.phase, Phase::Lost)
    }

    /// Whether a round is being committed.
    #[must_use]
    pub const fn is_committing(&self) -> bool {
        matches!(self.phase, Phase::Committing(_))
    }

    /// The lease is lost, or a commit's fate will not be known: nothing is started or told any more.
    pub fn lost(&mut self) {
        self.phase = Phase::Lost;
        self.offered.clear();
        self.ends.clear();
    }

    /// Somebody has woken the run: the inbox may hold something new.
    pub const fn woken(&mut self) {
        self.unlooked = true;
    }

    /// An attempt of a step has ended. `random` is in `0.0..1.0`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a result is not what may be stored.
    pub fn report(&mut self, op: Op, attempt: u32, report: Report, now: Millis, random: f64) -> Result<Reported> {
        let Some(step) = self.step(op).filter(|_| !self.is_over() && self.ledger.closed(op).is_none()) else {
            return Ok(Reported::Dropped);
        };
        let Some(open) = self.run.open.get_mut(&op).filter(|open| open.started && open.attempt == attempt) else {
            return Ok(Reported::Dropped);
        };
        let end = match report {
            Report::Completed(end) => {
                let end = End { outcome: Outcome::Completed, attempts: attempt, ..end };
                super::check::check_end(&end)?;
                open.started = false;
                end
            }
            Report::Failed { error, again, .. } => {
                self.dirty = true;
                match attempts::failed(open, &step, error.cut(), again, now, random) {
                    Some(end) => end,
                    None => return Ok(Reported::Again(open.due.unwrap_or(now))),
                }
            }
            Report::Skipped if !step.when => {
                return Err(Error::Invalid(format!("operation {op} has no condition, and cannot be skipped")));
            }
            Report::Skipped => {
                open.started = false;
                End::without(Outcome::Skipped, None, attempt)
            }
            Report::Cancelled => {
                open.started = false;
                End::without(Outcome::Cancelled, None, attempt)
            }
            Report::Released => {
                attempts::released(open);
                self.dirty = true;
                return Ok(Reported::Taken);
            }
        };
        self.ended(op, &step, end);
        Ok(Reported::Taken)
    }

    const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Done | Phase::Lost)
    }

    fn is_known_to_have_ended(&self, op: Op) -> bool {
        let kept = self.run.open.get(&op).is_some_and(|open| open.result.is_some() || open.held);
        kept || self.ends.iter().any(|arrival| arrival.news.op() == Some(op))
    }

    fn step(&self, op: Op) -> Option<StepAsk> {
        match &self.ledger.ask(op)?.what {
            What::Step(step) => Some(step.clone()),
            What::Call(_)
            | What::Child(_)
            | What::Timer { .. }
            | What::Signal { .. }
            | What::Select { .. }
            | What::Callback { .. } => None,
        }
    }

    /// A step has ended for good: it waits to be told, or holds the run up.
    fn ended(&mut self, op: Op, step: &StepAsk, end: End) {
        if end.outcome == Outcome::Failed && step.on_failure == Some(OnFailure::Pause) {
            let open = self.run.open.entry(op).or_default();
            open.held = true;
            open.error = end.error;
            self.dirty = true;
            return;
        }
        self.ends.push_back(Arrival { news: News::Ended { kind: Kind::Step, op, end }, key: None });
    }
}

#[cfg(test)]
mod tests;
