//! What the body is to be told next.

use std::collections::BTreeSet;

use super::super::entry::{Arm, End, Fault, Kind, News, Told, What};
use super::super::model::{Millis, Op};
use super::super::signals::Signal;
use super::super::state::due;
use super::super::status::RunStatus;
use super::super::wishes::Wishes;
use super::{Arrival, Driver, Phase};
use crate::error::Result;
use crate::record::Extra;

/// What has come for a run.
#[derive(Clone, Debug, Default)]
pub struct Arrived {
    /// What a look into the inbox has found.
    pub inbox: Option<Inbox>,
    /// What was said to callbacks.
    pub callbacks: Vec<CallbackNews>,
    /// The wishes as they are stored, if somebody has looked.
    pub wishes: Option<Wishes>,
}

/// What a look into the inbox has found.
#[derive(Clone, Debug, Default)]
pub struct Inbox {
    /// The unread signals of the names that the run waits for ([`Driver::awaited`]), of each the earliest ones.
    pub signals: Vec<Signal>,
    /// Those of these names of which there are more.
    pub more: BTreeSet<String>,
    /// Whether signals of other names are unread.
    pub others: bool,
}

/// Something that was said to a callback.
#[derive(Clone, Debug)]
pub struct CallbackNews {
    /// Where it lies in the inbox.
    pub key: String,
    /// The operation.
    pub op: Op,
    /// The generation and the execution of the run that handed the token out.
    pub life: (u64, u64),
    /// What was said.
    pub sign: CallbackSign,
}

/// What can be said to a callback.
#[expect(clippy::large_enum_variant, reason = "there are few at a time")]
#[derive(Clone, Debug)]
pub enum CallbackSign {
    /// It is still being worked on.
    Alive(Millis),
    /// It has ended.
    Ended(End),
}

/// What a front does next.
#[expect(clippy::struct_excessive_bools, reason = "each is something else to do")]
#[derive(Clone, Debug, Default)]
pub struct Next {
    /// What it delivers to the body, in this order. None of it is stored yet.
    pub told: Vec<Told>,
    /// Whether to hand over a turn, even an empty one: something is to be stored.
    pub round: bool,
    /// Whether to look into the inbox first, and ask again.
    pub look: bool,
    /// Objects of the inbox that were consumed before and can be deleted.
    pub delete: Vec<String>,
    /// When to ask again if nothing arrives before.
    pub again_at: Option<Millis>,
    /// Whether the run is to end without its body: stop it, and hand over an empty turn.
    pub terminated: bool,
    /// Whether the lease is lost: stop everything, and drop it.
    pub lost: bool,
}

/// What the last look into the inbox left there.
#[derive(Clone, Debug, Default)]
pub(super) struct Looked {
    more: BTreeSet<String>,
    others: bool,
}

impl Driver {
    /// What comes next, given the time and what has arrived.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] if the run cannot do what is wished, which no legal run should cause.
    pub fn next(&mut self, now: Millis, arrived: Arrived) -> Result<Next> {
        let delete = self.take_in(arrived);
        match self.phase {
            Phase::Lost => return Ok(Next { lost: true, ..Next::default() }),
            // What a round consumes is still needed if that round is not stored.
            Phase::Committing(_) => return Ok(Next::default()),
            Phase::Done => return Ok(Next { delete, ..Next::default() }),
            Phase::Ready => {}
        }
        self.obey(now)?;
        if self.terminating {
            self.offered.clear();
            return Ok(Next { delete, terminated: true, round: true, ..Next::default() });
        }
        if self.run.status == RunStatus::Paused || self.run.ending.is_some() {
            self.keep_ends(now);
        }
        self.offered = self.offers(now);
        let told: Vec<Told> = self.offered.iter().map(|offer| offer.told.clone()).collect();
        let round = !told.is_empty()
            || self.dirty
            || self.due_starts(now).next().is_some()
            || self.is_closed()
            || self.may_park(now).is_some();
        let look = self.wants_look();
        let again_at = if round { None } else { self.earliest_due() };
        Ok(Next { told, round, look, delete, again_at, terminated: false, lost: false })
    }

    /// Takes in what has arrived; returns what can be deleted.
    fn take_in(&mut self, arrived: Arrived) -> Vec<String> {
        let mut delete = Vec::new();
        if let Some(wishes) = arrived.wishes {
            self.run.wishes = self.less_obeyed(wishes);
        }
        if let Some(inbox) = arrived.inbox {
            self.pool.clear();
            self.pool.found(self.returned(), &[]);
            let known = self.pool.found(inbox.signals, &self.run.consumed);
            delete.extend(known.iter().map(Signal::path));
            self.covered = self.awaited();
            self.looked = Looked { more: inbox.more, others: inbox.others };
            self.unlooked = false;
        }
        for news in arrived.callbacks {
            if let Some(key) = self.take_callback(news) {
                delete.push(key);
            }
        }
        delete
    }

    /// Stored wishes without those that a round in preparation fulfils.
    fn less_obeyed(&self, mut wishes: Wishes) -> Wishes {
        for (kind, wish) in &self.obeyed {
            wishes.drop_if(*kind, wish);
        }
        wishes
    }

    fn take_callback(&mut self, news: CallbackNews) -> Option<String> {
        let ours = news.life == (self.run.generation, self.run.execution) && self.ledger.open().contains(&news.op);
        let Some(what) = self.ledger.ask(news.op).filter(|_| ours).map(|ask| ask.what.clone()) else {
            return Some(news.key);
        };
        if what.kind() != Kind::Callback || self.is_known_to_have_ended(news.op) {
            return Some(news.key).filter(|key| !self.is_kept_for(key));
        }
        match news.sign {
            CallbackSign::Alive(at) => {
                let open = self.run.open.entry(news.op).or_default();
                if open.beat.is_none_or(|beat| beat < at) {
                    open.beat = Some(at);
                    open.due = due(&what, at);
                    self.dirty = true;
                }
                self.after.delete.push(news.key);
            }
            CallbackSign::Ended(end) => {
                let end = End { error: end.error.map(Fault::cut), ..end };
                if super::super::check::check_end(&end).is_err() {
                    return Some(news.key);
                }
                let CallbackNews { key, op, .. } = news;
                let news = News::Ended { kind: Kind::Callback, op, end };
                self.ends.push_back(Arrival { news, key: Some(key) });
            }
        }
        None
    }

    /// Whether an object is what the next round stores: until then it must not be deleted.
    fn is_kept_for(&self, key: &str) -> bool {
        let stored = self.after.delete.iter().any(|kept| kept == key);
        stored || self.ends.iter().any(|arrival| arrival.key.as_deref() == Some(key))
    }

    /// While nothing may be told, what has ended is kept in the run.
    pub(super) fn keep_ends(&mut self, now: Millis) {
        let at = now.max(self.ledger.last());
        while let Some(Arrival { news, key }) = self.ends.pop_front() {
            let Some(op) = news.op().filter(|op| self.ledger.closed(*op).is_none()) else { continue };
            let open = self.run.open.entry(op).or_default();
            open.result = Some(Box::new(Told { at, news, extra: Extra::new() }));
            self.after.delete.extend(key);
            self.dirty = true;
        }
    }

    /// Whether anything waits that may lie in the inbox, and nobody has looked.
    pub(super) fn wants_look(&self) -> bool {
        if self.run.status == RunStatus::Paused || self.run.ending.is_some() {
            return false;
        }
        if self.unlooked {
            return self.open_asks().any(waits_for_inbox);
        }
        let unseen = |name: &String| self.looked.others && !self.covered.contains(name);
        let used_up = |name: &String| self.looked.more.contains(name) && !self.pool.has(name);
        self.awaited().iter().any(|name| unseen(name) || used_up(name))
    }

    /// Whether the inbox may hold something unread.
    pub(super) fn has_unread(&self) -> bool {
        self.unlooked || self.looked.others || !self.looked.more.is_empty() || self.pool.has_unread()
    }

    /// The names of the signals that the run waits for.
    #[must_use]
    pub fn awaited(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for op in self.ledger.open() {
            match self.ledger.ask(*op).map(|ask| (&ask.what, &ask.place.name)) {
                Some((What::Signal { .. }, name)) => {
                    names.insert(name.clone());
                }
                Some((What::Select { arms }, _)) => names.extend(arms.values().filter_map(|arm| match arm {
                    Arm::Signal(name) => Some(name.clone()),
                    Arm::Timer(_) | Arm::Op(_) => None,
                })),
                _ => {}
            }
        }
        names
    }

    fn open_asks(&self) -> impl Iterator<Item = &What> {
        self.ledger.open().iter().filter_map(|op| self.ledger.ask(*op)).map(|ask| &ask.what)
    }
}

fn waits_for_inbox(what: &What) -> bool {
    match what {
        What::Signal { .. } | What::Callback { .. } => true,
        What::Select { arms } => arms.values().any(|arm| matches!(arm, Arm::Signal(_))),
        What::Step(_) | What::Call(_) | What::Child(_) | What::Timer { .. } => false,
    }
}
