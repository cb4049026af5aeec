//! Random bodies, driven by drivers that crash, over commits whose fate is not known.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::super::entry::Arm;
use super::super::super::samples::{call, select, signal, step, timer};
use super::*;

/// What a body asks for at one time; it goes on when all of it has ended.
type Block = Vec<u8>;

/// A body: the same tolds make it ask for the same things.
struct Body {
    blocks: Vec<Block>,
    at: usize,
    left: BTreeSet<Op>,
}

impl Body {
    fn new(blocks: &[Block]) -> Self {
        Self { blocks: blocks.to_vec(), at: 0, left: BTreeSet::new() }
    }

    /// What it asks for next, given the number that the first of it gets.
    fn asks(&mut self, first: Op) -> Vec<Entry> {
        let Some(block) = self.blocks.get(self.at) else { return Vec::new() };
        let n = u32::try_from(self.at * 10).unwrap();
        let ask = |(k, kind): (u32, &u8)| {
            let soon = i64::from(n + k) * 3_000;
            match kind % 5 {
                0 => timer(0, n + k, soon),
                1 => signal(0, "go", n + k, Some(soon + 40_000)),
                2 => select(0, n + k, &[("ok", Arm::Signal("go".into())), ("late", Arm::Timer(Millis(soon)))]),
                3 => call(0, &format!("call{}", n + k)),
                _ => step(0, &format!("step{}", n + k)),
            }
        };
        let asks: Vec<Entry> = (0..).zip(block).map(ask).collect();
        self.left = (first..).take(asks.len()).collect();
        asks
    }

    /// It is told that an operation has ended; whether that was the last of its block.
    fn told(&mut self, op: Op) -> bool {
        assert!(self.left.remove(&op), "it is told of {op}, which it does not wait for");
        if self.left.is_empty() {
            self.at += 1;
        }
        self.left.is_empty()
    }

    fn is_over(&self) -> bool {
        self.at == self.blocks.len()
    }
}

struct World {
    stage: Stage,
    body: Body,
    blocks: Vec<Block>,
    running: Vec<Start>,
    started: BTreeSet<(Op, u32)>,
    inbox: Vec<Signal>,
    sent: i64,
    woken: bool,
    made: BTreeMap<Op, TaskId>,
    journal: Vec<String>,
    begun: bool,
}

impl World {
    fn new(blocks: &[Block]) -> Self {
        Self {
            stage: Stage::new(),
            body: Body::new(blocks),
            blocks: blocks.to_vec(),
            running: Vec::new(),
            started: BTreeSet::new(),
            inbox: Vec::new(),
            sent: 0,
            woken: false,
            made: BTreeMap::new(),
            journal: Vec::new(),
            begun: false,
        }
    }

    /// A new driver: the body is brought to where the journal ends.
    fn reopen(&mut self) {
        self.stage.reopen(std::mem::take(&mut self.woken));
        self.body = Body::new(&self.blocks);
        let mut recorded = Vec::new();
        let mut expected: Vec<String> = Vec::new();
        self.begun = false;
        for (place, entry) in (0..).zip(self.stage.driver.ledger().entries().to_vec()) {
            match &*entry {
                Entry::Told(told) => {
                    assert_eq!(recorded, expected, "the body asks for what is recorded");
                    recorded.clear();
                    expected.clear();
                    if self.body.told(told.news.op().unwrap()) {
                        expected = self.body.asks(place + 1).iter().map(name).collect();
                    }
                }
                entry => {
                    if place == 0 {
                        expected = self.body.asks(0).iter().map(name).collect();
                        self.begun = true;
                    }
                    recorded.push(name(entry));
                }
            }
        }
        assert_eq!(recorded, expected);
        let owed = self.stage.driver.owed();
        self.do_after(&owed);
    }

    fn do_after(&mut self, after: &After) {
        for start in &after.start {
            assert!(self.started.insert((start.op, start.attempt)), "{start:?} is started twice");
            let open = &self.stage.stored.open[&start.op];
            assert!(open.started && open.attempt == start.attempt, "a start is counted before it happens");
        }
        self.running.extend(&after.start);
        for make in &after.make {
            let known = *self.made.entry(make.op).or_insert(make.id);
            assert_eq!(known, make.id, "one call, one id");
        }
        self.inbox.retain(|signal| !after.delete.contains(&signal.path()));
    }

    /// Goes on by one round, if there is one. `fate` says what becomes of its commit.
    fn go(&mut self, fate: u8) {
        let look = self.stage.look().look;
        if look {
            let signals = self.inbox.clone();
            let delete = self.stage.send(signals).delete.clone();
            self.inbox.retain(|signal| !delete.contains(&signal.path()));
        }
        let first = self.stage.driver.ledger().next_op();
        let mut entries = Vec::new();
        if !self.begun {
            entries.extend(self.body.asks(0).into_iter().map(said));
            self.begun = true;
        }
        for told in self.stage.next.told.clone() {
            entries.push(Said::Told(told.news.kind(), told.news.op()));
            if self.body.told(told.news.op().unwrap()) {
                let next = first + Op::try_from(entries.len()).unwrap();
                entries.extend(self.body.asks(next).into_iter().map(said));
            }
        }
        let end = if self.body.is_over() { returned("1") } else { None };
        let turn = Turn { entries, end, ..Turn::default() };
        let Some(round) = self.stage.driver.advance(turn, Millis(self.stage.now)).unwrap() else { return };
        if fate == 0 {
            // It did not land, and the driver is gone.
            return self.reopen();
        }
        self.stage.store(&round);
        self.note_journal();
        self.stage.over = round.end.is_some();
        if self.stage.over {
            return;
        }
        if fate == 1 {
            // It landed, and the driver never knew.
            self.stage.driver.lost();
            return self.reopen();
        }
        let refused = self.woken;
        let after = self.stage.driver.committed(!refused).unwrap();
        self.woken &= round.park.is_none();
        self.do_after(&after);
        if let Some(park) = round.park.filter(|_| !refused) {
            self.stage.now = park.until.map_or(self.stage.now, |until| until.0.max(self.stage.now));
            self.reopen();
        }
    }

    /// The stored journal only grows.
    fn note_journal(&mut self) {
        let run = &self.stage.stored;
        let bodies: Vec<Option<Bytes>> =
            run.journal.chunks.iter().map(|chunk| self.stage.objects.get(&chunk.key).cloned()).collect();
        let entries: Vec<String> = chunks::read_back(&run.journal, &bodies).unwrap().iter().map(text).collect();
        assert!(entries.starts_with(&self.journal), "nothing is inserted or taken back");
        self.journal = entries;
    }

    fn end_something(&mut self, which: usize, fails: bool) {
        let calls: Vec<(Op, TaskId)> = self.made.iter().map(|(op, id)| (*op, *id)).collect();
        if !self.running.is_empty() && !which.is_multiple_of(3) {
            let start = self.running.swap_remove(which % self.running.len());
            if fails {
                self.stage.fail(start)
            } else {
                self.stage.complete(start)
            };
        } else if !calls.is_empty() {
            let (op, id) = calls[which % calls.len()];
            self.stage.driver.made(op, id);
            self.stage.driver.called(op, id, End::completed(json("1"), 1)).unwrap();
        }
    }

    fn send(&mut self) {
        self.sent += 1;
        self.inbox.push(sent("go", self.sent));
        self.woken = true;
        self.stage.driver.woken();
    }

    fn step(&mut self, die: u16) {
        let [kind, detail] = die.to_be_bytes();
        match kind % 8 {
            0 => self.reopen(),
            1 => self.send(),
            2 => self.stage.now += i64::from(detail) * 100,
            3 | 4 => self.end_something(usize::from(detail), detail % 5 == 0),
            _ => self.go(detail % 6),
        }
    }
}

fn name(entry: &Entry) -> String {
    let Entry::Ask(ask) = entry else { unreachable!() };
    format!("{:?} {:?}", ask.what.kind(), ask.place)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_crashes_every_run_ends_with_one_legal_journal(
        blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..5), 1..6),
        dice in prop::collection::vec(any::<u16>(), 0..120),
    ) {
        let mut world = World::new(&blocks);
        for die in dice {
            if world.stage.over {
                break;
            }
            world.step(die);
        }
        for n in 0..2_000_usize {
            if world.stage.over {
                break;
            }
            // Calm: what runs ends, time passes, and nothing crashes.
            world.go(9);
            if !world.stage.over {
                world.end_something(n, false);
                world.stage.now += 500;
            }
        }
        prop_assert!(world.stage.over, "it does not end: {}", text(&world.stage.stored));
        prop_assert_eq!(world.stage.status(), RunStatus::Completed);

        let told: Vec<serde_json::Value> =
            world.journal.iter().map(|entry| serde_json::from_str(entry).unwrap()).collect();
        let taken: Vec<i64> = told.iter().filter_map(|entry| entry["sent_at"].as_i64()).collect();
        let once: BTreeSet<i64> = taken.iter().copied().collect();
        prop_assert_eq!(once.len(), taken.len(), "no signal is taken twice");
        let unread: BTreeSet<i64> = world.inbox.iter().map(|signal| signal.received.sent_at.0).collect();
        for sent in 1..=world.sent {
            prop_assert!(once.contains(&sent) || unread.contains(&sent), "signal {} is lost", sent);
        }
    }
}
