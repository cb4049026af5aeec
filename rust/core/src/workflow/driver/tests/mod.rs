//! A front without a body: tests say what the body asks for.

mod calls;
mod random;
mod steps;
mod waits;
mod wishing;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::super::chunks;
use super::super::entry::{Entry, Fault, Told};
use super::super::samples::{json, text};
use super::super::signals::Signal;
use super::super::state::{WishKind, Wished};
use super::super::wishes::Wish;
use super::*;
use crate::id::RecordId;
use crate::record::Json;

/// A run as a store has it, and its driver.
pub struct Stage {
    pub stored: Run,
    pub objects: BTreeMap<String, Bytes>,
    pub driver: Driver,
    pub now: i64,
    pub parked: bool,
    pub over: bool,
    pub next: Next,
}

pub fn run_id() -> TaskId {
    RecordId::derived(&["run", "order-17"]).task(0)
}

fn code(woken: bool) -> Code {
    Code { run: run_id(), version: Some("1".into()), definition: None, woken }
}

impl Stage {
    pub fn new() -> Self {
        Self::of(Run::new("order".into(), Some("1".into()), 1, Millis(0)))
    }

    pub fn of(stored: Run) -> Self {
        let driver = Driver::open(stored.clone(), Vec::new(), code(false)).unwrap();
        let objects = BTreeMap::new();
        Self { stored, objects, driver, now: 0, parked: false, over: false, next: Next::default() }
    }

    /// Another driver takes over: the first was lost, or has parked.
    pub fn reopen(&mut self, woken: bool) -> &mut Self {
        let text = text(&self.stored);
        self.stored = serde_json::from_str(&text).unwrap();
        let bodies: Vec<Option<Bytes>> =
            self.stored.journal.chunks.iter().map(|chunk| self.objects.get(&chunk.key).cloned()).collect();
        let entries = chunks::read_back(&self.stored.journal, &bodies).unwrap();
        self.driver = Driver::open(self.stored.clone(), entries, code(woken)).unwrap();
        self.parked = false;
        self
    }

    pub fn at(&mut self, now: i64) -> &mut Self {
        self.now = now;
        self
    }

    pub fn look(&mut self) -> &Next {
        self.arrive(Arrived::default())
    }

    pub fn arrive(&mut self, arrived: Arrived) -> &Next {
        self.next = self.driver.next(Millis(self.now), arrived).unwrap();
        &self.next
    }

    pub fn wish(&mut self, kind: WishKind) -> Wished {
        let wish = Wish { at: Millis(self.now), by: Some("ann".into()), ..Wish::default() };
        self.stored.wish(kind, wish).unwrap()
    }

    pub fn find_wishes(&mut self) -> &Next {
        let wishes = Some(self.stored.wishes.clone());
        self.arrive(Arrived { wishes, ..Arrived::default() })
    }

    /// Hands over what the body asks for without being told anything.
    pub fn ask(&mut self, asks: Vec<Entry>) -> After {
        self.turn(asks.into_iter().map(said).collect(), None)
    }

    /// Delivers everything that there is to tell, and lets the body ask for these things after the last of it.
    pub fn tell(&mut self, asks: Vec<Entry>) -> After {
        self.tell_and(asks, None)
    }

    pub fn tell_and(&mut self, asks: Vec<Entry>, end: Option<BodyEnd>) -> After {
        let mut entries = self.delivered();
        entries.extend(asks.into_iter().map(said));
        self.turn(entries, end)
    }

    pub fn delivered(&self) -> Vec<Said> {
        self.next.told.iter().map(|told| Said::Told(told.news.kind(), told.news.op())).collect()
    }

    pub fn turn(&mut self, entries: Vec<Said>, end: Option<BodyEnd>) -> After {
        let turn = Turn { entries, end, ..Turn::default() };
        let round = self.driver.advance(turn, Millis(self.now)).unwrap().expect("something to store");
        self.commit(&round)
    }

    /// Stores a round, and goes on.
    pub fn commit(&mut self, round: &Round) -> After {
        self.store(round);
        self.parked = round.park.is_some();
        self.over = round.end.is_some();
        self.driver.committed(self.parked).unwrap()
    }

    pub fn store(&mut self, round: &Round) {
        for chunk in &round.chunks {
            assert!(self.objects.insert(chunk.name.key.clone(), chunk.body.clone()).is_none(), "a name is used twice");
        }
        round.apply(&mut self.stored).unwrap();
    }

    pub fn complete(&mut self, start: Start) -> Reported {
        let end = End::completed(json("1"), 0);
        self.driver.report(start.op, start.attempt, Report::Completed(end), Millis(self.now), 0.0).unwrap()
    }

    pub fn fail(&mut self, start: Start) -> Reported {
        let again = Again { retryable: true, at: None };
        let report = Report::Failed { error: Fault::new("ValueError", "no".into()), again };
        self.driver.report(start.op, start.attempt, report, Millis(self.now), 1.0).unwrap()
    }

    pub fn send(&mut self, signals: Vec<Signal>) -> &Next {
        let inbox = Some(Inbox { signals, ..Inbox::default() });
        self.arrive(Arrived { inbox, ..Arrived::default() })
    }

    /// What there is to tell, in short.
    pub fn news(&self) -> Vec<String> {
        self.next.told.iter().map(short).collect()
    }

    pub fn status(&self) -> RunStatus {
        self.stored.status
    }
}

fn said(entry: Entry) -> Said {
    match entry {
        Entry::Ask(ask) => Said::Ask(Box::new(ask)),
        Entry::Cancel(cancel) => Said::Cancel(cancel.op),
        Entry::Told(told) => Said::Told(told.news.kind(), told.news.op()),
        Entry::Unknown(_) => unreachable!(),
    }
}

pub fn short(told: &Told) -> String {
    match &told.news {
        News::Ended { op, end, .. } => format!("{op} {:?}", end.outcome).to_lowercase(),
        News::Timer { op } => format!("{op} timer"),
        News::Signal { op, signal: Some(signal) } => format!("{op} signal {}", signal.sent_at.0),
        News::Signal { op, signal: None } => format!("{op} too late"),
        News::Select { op, arm, .. } => format!("{op} {arm}"),
        News::Cancel { .. } => "cancel".into(),
    }
}

pub fn sent(name: &str, at: i64) -> Signal {
    Signal { name: name.into(), key: format!("{at:09}_x"), received: super::super::samples::received(at) }
}

#[expect(clippy::unnecessary_wraps, reason = "as a turn takes it")]
pub fn returned(text: &str) -> Option<BodyEnd> {
    Some(BodyEnd::Completed(json(text)))
}

#[expect(clippy::unnecessary_wraps, reason = "as a turn takes it")]
pub fn raised() -> Option<BodyEnd> {
    Some(BodyEnd::Failed(Fault::new("ValueError", "no".into())))
}

pub fn entries(run: &Run) -> Vec<Arc<Entry>> {
    run.journal.entries.clone()
}

pub fn mismatch() -> Json {
    json("{\"position\": 3}")
}
