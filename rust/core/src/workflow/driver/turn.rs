//! Taking a turn of the body, and making a round of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::chunks;
use super::super::entry::{Ask, CancelOp, Entry, Kind, News, What};
use super::super::journal::Ledger;
use super::super::limits;
use super::super::model::{Millis, Op, Open, Run};
use super::super::signals::remember;
use super::super::state::{WishKind, due};
use super::super::status::RunStatus;
use super::super::wishes::{EndKind, Ending, Pause, PauseCause};
use super::close::close_children;
use super::offers::Offer;
use super::round::{After, Base, Round, Start};
use super::said::{Said, Turn};
use super::{Driver, Pending, Phase};
use crate::error::{Error, Result};
use crate::record::{Extra, Json};

pub(super) const fn refuse<T>(what: String) -> Result<T> {
    Err(Error::Invalid(what))
}

/// What a turn makes of the run, before it is the driver's.
pub(super) struct Draft {
    pub run: Run,
    pub after: After,
    /// The offers that were delivered or passed over so far.
    pub passed: usize,
    /// Those of them that were delivered.
    pub used: Vec<usize>,
    pub end: Option<Ending>,
    pub grown: bool,
}

impl Driver {
    /// Takes what the body did: the round to commit, or `None` if there is nothing to store. After an error nothing
    /// has changed.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not a legal continuation of the journal; [`Error::Conflict`] while a round is being
    /// committed or when this driver is done; [`Error::LeaseLost`] if the lease is.
    pub fn advance(&mut self, turn: Turn, now: Millis) -> Result<Option<Round>> {
        self.check_ready()?;
        let length = self.ledger.entries().len();
        match self.draft(turn, now) {
            Ok(draft) => self.take(draft, now),
            Err(error) => {
                self.ledger.truncate(length);
                Err(error)
            }
        }
    }

    /// The code asks for something else than the journal has: the round that pauses the run.
    ///
    /// # Errors
    /// As [`Self::advance`].
    pub fn mismatch(&mut self, mismatch: Json, now: Millis) -> Result<Option<Round>> {
        self.check_ready()?;
        let compensating = self.ledger.is_compensating();
        self.run.become_status(RunStatus::Paused)?;
        self.run.pause = Some(Pause {
            at: now,
            cause: PauseCause::Mismatch,
            op: None,
            mismatch: Some(mismatch),
            by: None,
            reason: None,
            compensating,
            extra: Extra::new(),
        });
        self.dirty = true;
        self.mismatched = true;
        self.offered.clear();
        self.advance(Turn::default(), now)
    }

    pub(super) fn check_ready(&self) -> Result<()> {
        match self.phase {
            Phase::Ready => Ok(()),
            Phase::Committing(_) => Err(Error::Conflict("a round is being committed: wait for it".into())),
            Phase::Done => Err(Error::Conflict("the run waits or has ended: this driver is done".into())),
            Phase::Lost => Err(Error::LeaseLost("the lease is lost: drop what was prepared".into())),
        }
    }

    fn draft(&mut self, turn: Turn, now: Millis) -> Result<Draft> {
        let Turn { entries, patches, published, end } = turn;
        let bodyless = self.terminating || self.run.ending.is_some();
        if bodyless && (!entries.is_empty() || end.is_some()) {
            return refuse("the run ends without its body: hand over an empty turn".into());
        }
        let grown = !entries.is_empty();
        let mut draft =
            Draft { run: self.run.clone(), after: self.after.clone(), passed: 0, used: Vec::new(), end: None, grown };
        for said in entries {
            self.take_said(&mut draft, said)?;
        }
        note_named(&mut draft.run, patches, published)?;
        if self.ledger.is_compensating() && draft.run.status == RunStatus::Running {
            draft.run.become_status(RunStatus::Compensating)?;
        }
        self.take_end(&mut draft, end, now)?;
        let waits_for_nothing = grown && draft.end.is_none() && draft.run.ending.is_none();
        if waits_for_nothing && self.ledger.open().is_empty() {
            return refuse("the body has not ended and waits for nothing that could come: end it as failed".into());
        }
        Ok(draft)
    }

    fn take_said(&mut self, draft: &mut Draft, said: Said) -> Result<()> {
        let at = self.ledger.last();
        match said {
            Said::Told(kind, op) => {
                // What the body has called off in this turn is not told any more.
                let is_open = |offer: &Offer| offer.told.news.op().is_none_or(|op| self.ledger.closed(op).is_none());
                while self.offered.get(draft.passed).is_some_and(|offer| !is_open(offer)) {
                    draft.passed += 1;
                }
                let Some(offer) = self.offered.get(draft.passed).cloned() else {
                    return refuse("it says that the body was told something that was not given to be told".into());
                };
                if (offer.told.news.kind(), offer.told.news.op()) != (kind, op) {
                    let given = (offer.told.news.kind().map_or("cancel", Kind::name), offer.told.news.op());
                    return refuse(format!(
                        "the body was told of {:?} {op:?}, and next to be told was {} {:?}: deliver in the order given",
                        kind.map_or("cancel", Kind::name),
                        given.0,
                        given.1
                    ));
                }
                draft.used.push(draft.passed);
                draft.passed += 1;
                self.take_told(draft, offer)
            }
            Said::Ask(ask) => self.take_ask(draft, Ask { at, ..*ask }),
            Said::Cancel(op) => {
                self.append(draft, Entry::Cancel(CancelOp { at, op, extra: Extra::new() }))?;
                let is_call =
                    self.ledger.ask(op).is_some_and(|ask| matches!(ask.what.kind(), Kind::Call | Kind::Child));
                match draft.run.open.get_mut(&op).filter(|_| is_call) {
                    Some(open) => open.closing = true,
                    None => drop(draft.run.open.remove(&op)),
                }
                Ok(())
            }
        }
    }

    fn append(&mut self, draft: &mut Draft, entry: Entry) -> Result<Op> {
        let entry = Arc::new(entry);
        let op = self.ledger.push(Arc::clone(&entry))?;
        draft.run.journal.entries.push(entry);
        Ok(op)
    }

    fn take_told(&mut self, draft: &mut Draft, offer: Offer) -> Result<()> {
        let op = offer.told.news.op();
        let cancel = matches!(offer.told.news, News::Cancel { .. });
        self.append(draft, Entry::Told(offer.told))?;
        if let Some(op) = op {
            draft.run.open.remove(&op);
        }
        draft.after.delete.extend(offer.key);
        if let Some(signal) = &offer.signal {
            if signal.is_returned() {
                let returned = &mut draft.run.returned;
                let place = returned.iter().position(|one| {
                    one.name == signal.name && one.sent_at == signal.received.sent_at && one.id == signal.received.id
                });
                if let Some(place) = place {
                    returned.remove(place);
                }
            } else {
                remember(&mut draft.run.consumed, signal);
                draft.after.delete.push(signal.path());
            }
        }
        if cancel {
            close_children(draft, &self.ledger);
        }
        Ok(())
    }

    fn take_ask(&mut self, draft: &mut Draft, mut ask: Ask) -> Result<()> {
        let op = self.ledger.next_op();
        match &mut ask.what {
            What::Call(call) => call.task = Some(self.origin().call(op)),
            What::Child(child) => child.run = Some(self.origin().child_named(op, child.options.as_ref())?),
            What::Step(_) | What::Timer { .. } | What::Signal { .. } | What::Select { .. } | What::Callback { .. } => {}
        }
        let open = Open { due: due(&ask.what, ask.at), ..Open::default() };
        self.append(draft, Entry::Ask(ask))?;
        draft.run.open.insert(op, open);
        Ok(())
    }

    /// Makes the draft the driver's own, and a round of it.
    fn take(&mut self, draft: Draft, now: Millis) -> Result<Option<Round>> {
        let Draft { run, mut after, used, end, grown, .. } = draft;
        let before = std::mem::replace(&mut self.run, run);
        let origin = self.origin();
        let origin = [origin.generation, origin.execution, origin.retries].map(|n| n.to_string()).join(".");
        let chunks = match chunks::move_out(&mut self.run.journal, &format!("{} {origin}", self.code.run)) {
            Ok(chunks) => chunks,
            Err(error) => {
                self.ledger.truncate(before.journal.len());
                self.run = before;
                return Err(error);
            }
        };
        self.settle(&used);
        let lives_on = end.as_ref().is_none_or(|end| end.kind == EndKind::Continued);
        self.run.unread = lives_on && self.has_unread();
        let continued = after.continued.clone();
        let end = end.filter(|_| continued.is_none());
        if continued.is_some() {
            self.begin_anew()?;
        }
        if end.is_some() {
            self.ledger.end(self.run.status);
        } else {
            after.start = self.start(now);
        }
        let may_park = end.is_none() && continued.is_none();
        let park = self.may_park(now).filter(|_| may_park);
        if park.is_some() && self.run.status == RunStatus::Running {
            self.run.become_status(RunStatus::Waiting)?;
        }
        let ends = end.is_some() || continued.is_some() || park.is_some();
        if !grown && !self.dirty && !ends && after.start.is_empty() {
            return Ok(None);
        }
        self.dirty = false;
        self.after = After::default();
        let base = std::mem::replace(&mut self.stored, Base::of(&self.run));
        let obeyed = std::mem::take(&mut self.obeyed);
        self.phase = Phase::Committing(Box::new(Pending { after, ends: end.is_some(), parks: park.is_some() }));
        Ok(Some(Round { run: self.run.clone(), base, obeyed, chunks, park, end, input: continued }))
    }

    /// The body begins anew with an empty journal.
    fn begin_anew(&mut self) -> Result<()> {
        self.run.wishes.cancel = self.told_cancel();
        self.ledger = Ledger::read(Vec::new(), self.run.began)?;
        self.ends.clear();
        self.in_hand.clear();
        Ok(())
    }

    /// What was delivered is not offered again.
    fn settle(&mut self, used: &[usize]) {
        let offered = std::mem::take(&mut self.offered);
        let delivered = offered.into_iter().enumerate().filter(|(place, _)| used.contains(place));
        for (_, offer) in delivered {
            if let Some(signal) = &offer.signal {
                self.pool.remove(signal);
            }
            if let Some(wish) = offer.wish {
                self.fulfil(WishKind::Cancel, wish);
            }
        }
        let ledger = &self.ledger;
        self.ends.retain(|arrival| arrival.news.op().is_some_and(|op| ledger.closed(op).is_none()));
    }

    /// Counts the starts of this round.
    fn start(&mut self, now: Millis) -> Vec<Start> {
        let starting: Vec<Op> = self.due_starts(now).collect();
        let mut starts = Vec::new();
        for op in starting {
            let open = self.run.open.entry(op).or_default();
            open.attempt = open.attempt.saturating_add(1);
            open.started = true;
            open.due = None;
            starts.push(Start { op, attempt: open.attempt });
        }
        starts
    }
}

fn note_named(run: &mut Run, patches: BTreeMap<String, bool>, published: BTreeMap<String, Json>) -> Result<()> {
    for (name, answer) in patches {
        let known = *run.patches.entry(name.clone()).or_insert(answer);
        if known != answer {
            return refuse(format!("patched({name:?}) has answered {known} before, and now answers {answer}"));
        }
    }
    run.published.extend(published);
    let bytes: usize = run.published.iter().map(|(name, value)| name.len() + value.text().len()).sum();
    if run.patches.len() > limits::NAMED || run.published.len() > limits::NAMED || bytes > limits::PUBLISHED_BYTES {
        return refuse(format!(
            "the run has {} patches and publishes {} values of {bytes} bytes; up to {} each, and {} bytes",
            run.patches.len(),
            run.published.len(),
            limits::NAMED,
            limits::PUBLISHED_BYTES
        ));
    }
    Ok(())
}
