//! What can be told to the body now, in which order.

use std::collections::BTreeSet;

use super::super::entry::{Arm, End, Fault, Kind, News, Outcome, Told, What};
use super::super::limits;
use super::super::model::{Millis, Op, Run};
use super::super::signals::Signal;
use super::super::state::DEADLINE;
use super::super::status::RunStatus;
use super::super::wishes::Wish;
use super::{Arrival, Driver};
use crate::record::Extra;

/// Something that the front was given to deliver.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub told: Told,
    /// The signal it consumes.
    pub signal: Option<Signal>,
    /// The object that can be deleted once it is stored.
    pub key: Option<String>,
    /// The wish that it fulfils.
    pub wish: Option<Wish>,
}

/// What is put together to be told.
struct Telling<'a> {
    driver: &'a Driver,
    now: Millis,
    at: Millis,
    offers: Vec<Offer>,
    closed: BTreeSet<Op>,
    taken: BTreeSet<String>,
    /// Whether the inbox has to be looked at before any wait can be over.
    unlooked: bool,
}

impl Driver {
    /// What can be told now.
    pub(super) fn offers(&self, now: Millis) -> Vec<Offer> {
        if self.run.status == RunStatus::Paused || self.run.ending.is_some() {
            return Vec::new();
        }
        let at = now.max(self.ledger.last());
        let (closed, taken) = (BTreeSet::new(), BTreeSet::new());
        let mut telling =
            Telling { driver: self, now, at, offers: Vec::new(), closed, taken, unlooked: self.wants_look() };
        telling.kept();
        telling.ends();
        telling.cancel();
        telling.times();
        telling.waits();
        telling.offers
    }
}

impl Telling<'_> {
    const fn run(&self) -> &Run {
        &self.driver.run
    }

    fn tell(&mut self, news: News, signal: Option<Signal>, key: Option<String>) {
        let told = Told { at: self.at, news, extra: Extra::new() };
        if let Some(op) = told.news.op() {
            self.closed.insert(op);
        }
        self.taken.extend(signal.as_ref().map(Signal::mark));
        self.offers.push(Offer { told, signal, key, wish: None });
    }

    fn is_open(&self, op: Op) -> bool {
        self.driver.ledger.open().contains(&op) && !self.closed.contains(&op)
    }

    /// What ended while the run was paused, in the order in which it ended.
    fn kept(&mut self) {
        let mut kept: Vec<(Millis, Op, News)> = Vec::new();
        for (op, open) in &self.run().open {
            if let Some(told) = open.result.as_ref().filter(|_| self.is_open(*op)) {
                kept.push((told.at, *op, told.news.clone()));
            }
        }
        kept.sort_by_key(|(at, op, _)| (*at, *op));
        for (_, op, news) in kept {
            self.tell(news, None, None);
            self.selects_of(op);
        }
    }

    fn ends(&mut self) {
        for Arrival { news, key } in &self.driver.ends {
            let Some(op) = news.op().filter(|op| self.is_open(*op)) else { continue };
            self.tell(news.clone(), None, key.clone());
            self.selects_of(op);
        }
    }

    fn cancel(&mut self) {
        if self.driver.ledger.cancelled().is_some() {
            return;
        }
        let wish = self.run().wishes.cancel.clone();
        let news = match &wish {
            Some(wish) => News::Cancel { reason: wish.reason.clone(), by: wish.by.clone() },
            None if self.driver.is_late(self.now) => {
                let deadline = self.run().deadline.unwrap_or(self.now).time();
                News::Cancel { reason: Some(format!("its deadline {deadline} has passed")), by: Some(DEADLINE.into()) }
            }
            None => return,
        };
        self.tell(news, None, None);
        if let Some(offer) = self.offers.last_mut() {
            offer.wish = wish;
        }
    }

    /// Timers and callbacks whose time has come, the earliest first.
    fn times(&mut self) {
        let ledger = &self.driver.ledger;
        let mut due: Vec<(Millis, Op, Kind)> = Vec::new();
        for op in ledger.open().iter().filter(|op| self.is_open(**op)) {
            let kind = ledger.ask(*op).map(|ask| ask.what.kind());
            let at = self.run().open.get(op).and_then(|open| open.due).filter(|at| *at <= self.now);
            if let (Some(at), Some(kind @ (Kind::Timer | Kind::Callback))) = (at, kind)
                && !(kind == Kind::Callback && self.unlooked)
            {
                due.push((at, *op, kind));
            }
        }
        due.sort_unstable_by_key(|(at, op, _)| (*at, *op));
        for (at, op, kind) in due {
            let news = match kind {
                Kind::Timer => News::Timer { op },
                _ => self.late_callback(op, at),
            };
            self.tell(news, None, None);
            self.selects_of(op);
        }
    }

    fn late_callback(&self, op: Op, at: Millis) -> News {
        let beat = match self.driver.ledger.ask(op).map(|ask| &ask.what) {
            Some(What::Callback { until, heartbeat_ms: Some(ms) }) if *until != Some(at) => Some(*ms),
            _ => None,
        };
        let message = beat.map_or_else(
            || format!("nobody has completed it by {}", at.time()),
            |ms| format!("it has given no sign of life for {ms} ms"),
        );
        let end = End::without(Outcome::Timeout, Some(Fault::new("CallbackTimeout", message)), 0);
        News::Ended { kind: Kind::Callback, op, end }
    }

    /// Signals for those who wait, the earliest ask first; and waits whose time is up.
    fn waits(&mut self) {
        let open: Vec<Op> = self.driver.ledger.open().iter().copied().collect();
        for op in open {
            if self.taken.len() >= limits::SIGNALS {
                break;
            }
            if !self.is_open(op) {
                continue;
            }
            match self.driver.ledger.ask(op).map(|ask| (&ask.what, ask.place.name.as_str())) {
                Some((What::Signal { until }, name)) => self.signal(op, name, *until),
                Some((What::Select { .. }, _)) => self.select(op),
                _ => {}
            }
        }
    }

    fn signal(&mut self, op: Op, name: &str, until: Option<Millis>) {
        if let Some(signal) = self.driver.pool.first(std::iter::once(name), &self.taken).cloned() {
            self.tell(News::Signal { op, signal: Some(signal.received.clone()) }, Some(signal), None);
        } else if until.is_some_and(|until| until <= self.now) && !self.unlooked {
            self.tell(News::Signal { op, signal: None }, None, None);
        }
    }

    /// Selects that wait for an operation that has just ended.
    fn selects_of(&mut self, ended: Op) {
        let later = self.driver.ledger.open().range(ended..).copied();
        let open: Vec<Op> = later.filter(|op| self.is_open(*op)).collect();
        for op in open {
            if let Some(What::Select { arms }) = self.driver.ledger.ask(op).map(|ask| &ask.what)
                && let Some(label) = arms.iter().find(|(_, arm)| **arm == Arm::Op(ended)).map(|(label, _)| label)
            {
                self.tell(News::Select { op, arm: label.clone(), signal: None }, None, None);
            }
        }
    }

    /// The winner of a select, if there is one: what has ended, else a signal, else a time.
    fn select(&mut self, op: Op) {
        let Some(What::Select { arms }) = self.driver.ledger.ask(op).map(|ask| &ask.what) else { return };
        let ended = |waited: &Op| self.driver.ledger.closed(*waited).is_some();
        let ended = arms.iter().find(|(_, arm)| matches!(arm, Arm::Op(waited) if ended(waited)));
        if let Some((label, _)) = ended {
            return self.tell(News::Select { op, arm: label.clone(), signal: None }, None, None);
        }
        let names =
            arms.values().filter_map(|arm| if let Arm::Signal(name) = arm { Some(name.as_str()) } else { None });
        if let Some(signal) = self.driver.pool.first(names, &self.taken).cloned() {
            let of_it = |arm: &Arm| matches!(arm, Arm::Signal(name) if *name == signal.name);
            let label = arms.iter().find(|(_, arm)| of_it(arm)).map(|(label, _)| label.clone()).unwrap_or_default();
            let received = Some(signal.received.clone());
            return self.tell(News::Select { op, arm: label, signal: received }, Some(signal), None);
        }
        let unlooked = self.unlooked && arms.values().any(|arm| matches!(arm, Arm::Signal(_)));
        let times =
            arms.iter().filter_map(|(label, arm)| if let Arm::Timer(at) = arm { Some((*at, label)) } else { None });
        if let Some((at, label)) = times.min()
            && at <= self.now
            && !unlooked
        {
            self.tell(News::Select { op, arm: label.clone(), signal: None }, None, None);
        }
    }
}
