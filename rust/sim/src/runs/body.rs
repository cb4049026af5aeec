//! A body that is a script, run against its journal as a front would.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use buquet_core::Error;
use buquet_core::Result;
use buquet_core::id::{LeaseId, TaskId};
use buquet_core::keys;
use buquet_core::record::{BatchRecord, Json, RetryPolicy};
use buquet_core::worker::{Assignment, CodeName, Reporting, RunState, Worker};
use buquet_core::workflow::attempts::Again;
use buquet_core::workflow::driver::{BodyEnd, Said, Turn};
use buquet_core::workflow::entry::{Ask, Entry, Fault, News, Place, StepAsk, Told, What};
use buquet_core::workflow::model::{Millis, Op};
use tokio::time::sleep;

use super::World;
use super::script::Do;

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// There is nothing to do but to wait.
    Waits,
    /// Go on.
    On,
    /// Its driver is done.
    Done(RunState),
}

/// A body under one lease.
pub struct Body<'a> {
    world: &'a Rc<World>,
    worker: &'a Worker,
    id: TaskId,
    lease: LeaseId,
    script: Vec<Do>,
    /// How much of the script has been asked for.
    asked: usize,
    awaits: BTreeSet<Op>,
    /// Whether the step of an operation fails at its first start, and whether its result is large.
    steps: BTreeMap<Op, (bool, bool)>,
    length: u32,
    now: Millis,
    told: Vec<String>,
    cancelled: bool,
}

impl<'a> Body<'a> {
    /// Opens a run and replays its journal; `None` if the journal is not what the script asks for.
    pub async fn open(world: &'a Rc<World>, worker: &'a Worker, run: &Assignment) -> Result<Option<Self>> {
        let Some(plan) = world.plan(run.id) else {
            world.violate("only started runs run", run.id.to_string());
            return Ok(None);
        };
        let opening = worker.open_run(run.id, run.lease, CodeName::default()).await?;
        let mut body = Self {
            world,
            worker,
            id: run.id,
            lease: run.lease,
            script: plan.script.clone(),
            asked: 0,
            awaits: BTreeSet::new(),
            steps: BTreeMap::new(),
            length: 0,
            now: opening.now.into(),
            told: Vec::new(),
            cancelled: false,
        };
        if let Err(what) = body.replay(&opening.entries) {
            world.violate("all replays agree", format!("run {}: {what}", run.id));
            return Ok(None);
        }
        Ok(Some(body))
    }

    fn replay(&mut self, entries: &[std::sync::Arc<Entry>]) -> std::result::Result<(), String> {
        let mut expected: std::collections::VecDeque<Ask> = std::collections::VecDeque::new();
        for entry in entries {
            if expected.is_empty() && self.awaits.is_empty() && !self.cancelled {
                expected = self.asks().into();
            }
            match &**entry {
                Entry::Ask(ask) => {
                    let wanted = expected.pop_front().ok_or_else(|| format!("{:?} was not asked for", ask.place))?;
                    if (&ask.place, ask.what.kind()) != (&wanted.place, wanted.what.kind()) {
                        return Err(format!("{:?} is where {:?} was asked for", ask.place, wanted.place));
                    }
                    self.note(ask);
                }
                Entry::Told(told) => self.hear(told)?,
                Entry::Cancel(_) | Entry::Unknown(_) => return Err("no script cancels an operation".into()),
            }
        }
        if expected.is_empty() { Ok(()) } else { Err("a block of asks was stored in part".into()) }
    }

    fn note(&mut self, ask: &Ask) {
        self.awaits.insert(self.length);
        let place = usize::try_from(ask.place.n).unwrap_or_default();
        if let Some(Do::Steps { fails, large, .. }) = self.script.get(place) {
            self.steps.insert(self.length, (*fails && ask.place.name == "step.0", *large));
        }
        self.length += 1;
    }

    fn hear(&mut self, told: &Told) -> std::result::Result<(), String> {
        if let Some(op) = told.news.op()
            && !self.awaits.remove(&op)
        {
            return Err(format!("operation {op} is told of, and nobody waits for it"));
        }
        match &told.news {
            News::Signal { op, signal } => {
                let payload = signal.as_ref().and_then(|signal| signal.payload.as_ref());
                self.told.push(format!("{op} signal {}", payload.map_or("-", Json::text)));
            }
            News::Cancel { .. } => self.cancelled = true,
            News::Ended { op, end, .. } => self.told.push(format!("{op} {:?}", end.outcome)),
            News::Timer { op } => self.told.push(format!("{op} timer")),
            News::Select { op, .. } => self.told.push(format!("{op} select")),
        }
        self.length += 1;
        Ok(())
    }

    fn asks(&mut self) -> Vec<Ask> {
        let Some(next) = self.script.get(self.asked).cloned() else { return Vec::new() };
        let n = u32::try_from(self.asked).unwrap_or(u32::MAX);
        let ask = |name: String, what| Ask {
            at: Millis(0),
            place: Place { scope: String::new(), name, n },
            what,
            extra: buquet_core::record::Extra::new(),
        };
        self.asked += 1;
        match next {
            Do::Steps { count, .. } => (0..count).map(|k| ask(format!("step.{k}"), What::Step(step()))).collect(),
            Do::Sleep(ms) => vec![ask("sleep".into(), What::Timer { until: self.now.plus(ms) })],
            Do::Signal => vec![ask("go".into(), What::Signal { until: None })],
        }
    }

    fn end(&self) -> Option<BodyEnd> {
        if self.cancelled {
            return Some(BodyEnd::Cancelled(None));
        }
        let over = self.awaits.is_empty() && self.asked >= self.script.len();
        let output = over.then(|| serde_json::to_string(&self.told).ok()).flatten();
        output.and_then(|text| Json::parse(&text).ok()).map(BodyEnd::Completed)
    }

    /// Delivers what there is, stores what came of it, and runs the steps that may start.
    pub async fn turn(&mut self) -> Result<Turned> {
        let moment = self.worker.next_of_run(self.id, self.lease).await?;
        self.now = moment.now;
        let mut turn = Turn::default();
        if !moment.next.terminated {
            self.go_on(&mut turn);
            for told in &moment.next.told {
                if let Err(what) = self.hear(told) {
                    self.world.violate("all replays agree", format!("run {}: {what}", self.id));
                    return Err(Error::LeaseLost("the simulation gives it up".into()));
                }
                turn.entries.push(Said::Told(told.news.kind(), told.news.op()));
                self.go_on(&mut turn);
            }
            turn.end = self.end();
        }
        if !moment.next.round && turn.entries.is_empty() && turn.end.is_none() {
            return Ok(Turned::Waits);
        }
        let advanced = self.worker.advance_run(self.id, self.lease, turn).await?;
        for start in &advanced.start {
            self.run_step(start.op, start.attempt).await?;
        }
        Ok(match advanced.state {
            RunState::Running if advanced.stored => Turned::On,
            RunState::Running => Turned::Waits,
            done => Turned::Done(done),
        })
    }

    fn go_on(&mut self, turn: &mut Turn) {
        if self.awaits.is_empty() && !self.cancelled {
            for ask in self.asks() {
                self.note(&ask);
                turn.entries.push(Said::Ask(Box::new(ask)));
            }
        }
    }

    async fn run_step(&mut self, op: Op, attempt: u32) -> Result<()> {
        self.check_counted(op, attempt);
        self.world.seen.borrow_mut().effects.push((self.id, 0, op, attempt));
        let (fails, large) = self.steps.get(&op).copied().unwrap_or_default();
        let reporting = if fails && attempt == 1 {
            let error: Option<Fault> = serde_json::from_str("{\"type\": \"E\", \"message\": \"no\"}").ok();
            error.map_or(Reporting::Released, |error| Reporting::Failed(error, Again { retryable: true, at: None }))
        } else {
            let text = if large { format!("\"{op} {}\"", "x".repeat(20_000)) } else { format!("\"{op}\"") };
            Json::parse(&text).map_or(Reporting::Released, Reporting::Completed)
        };
        loop {
            let start = (op, attempt);
            match self.worker.report_step(self.id, self.lease, start, reporting.clone()).await {
                Ok(_) => return Ok(()),
                Err(Error::Unavailable(_)) => sleep(Duration::from_secs(1)).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// No effect comes before the round that counts it is stored.
    fn check_counted(&self, op: Op, attempt: u32) {
        let key = keys::record(self.id.record());
        let objects = self.world.store.objects();
        let record = objects.get(&key).and_then(|object| BatchRecord::decode(&key, &object.body).ok());
        let run = record.as_ref().and_then(|record| record.task(self.id)?.run.as_deref());
        let counted = run.is_some_and(|run| {
            // It has ended meanwhile, under another lease, or its start is there.
            run.open.get(&op).is_none_or(|open| open.attempt >= attempt)
                && run.journal.len() > usize::try_from(op).unwrap_or(0)
        });
        if !counted {
            let what = format!("start {attempt} of operation {op} of run {} is not stored", self.id);
            self.world.violate("starts are stored first", what);
        }
    }
}

fn step() -> StepAsk {
    let retry = RetryPolicy { max_retries: 30, jitter: 0.0, initial_ms: 100, max_ms: 1_000, ..RetryPolicy::default() };
    StepAsk { retry: Some(retry), ..StepAsk::default() }
}
