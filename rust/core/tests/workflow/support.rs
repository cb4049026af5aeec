//! A front for tests: its bodies are lists of things to do, one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use buquet_core::entropy::Entropy;
use buquet_core::id::TaskId;
use buquet_core::queue::{Queue, Settings};
use buquet_core::record::{Json, RetryPolicy};
use buquet_core::store::memory::MemoryStore;
use buquet_core::store::{Store, StoreKind};
use buquet_core::worker::{Assignment, CodeName, Opening, Options, Reporting, RunState, Worker};
use buquet_core::workflow::attempts::Again;
use buquet_core::workflow::client::{StartRun, StartRuns, StartedRun};
use buquet_core::workflow::driver::{BodyEnd, Said, Turn};
use buquet_core::workflow::entry::{Ask, Entry, Fault, News, Place, StepAsk, Told, What};
use buquet_core::workflow::model::{Millis, Op};
use buquet_core::{Error, Result};
use tokio::time::sleep;

pub const SOON: Duration = Duration::from_secs(5);

/// One thing that a body does. It goes on when all of it has ended.
#[derive(Clone, Debug)]
pub enum Do {
    /// Steps of these names, at the same time.
    Steps(Vec<&'static str>),
    /// Waits so many milliseconds.
    Sleep(u64),
    /// Waits for a signal, for so many milliseconds or without an end.
    Signal(&'static str, Option<u64>),
    /// Waits for a token.
    Callback,
    /// Goes on as new, with this input.
    Anew(&'static str),
    /// Raises.
    Fail,
}

/// What steps come to, by their names: all others return their own name.
#[derive(Clone, Debug, Default)]
pub struct Effects(Arc<Mutex<Vec<(String, u32)>>>);

impl Effects {
    /// The steps that were run, and which of their starts, in order.
    pub fn seen(&self) -> Vec<(String, u32)> {
        self.0.lock().unwrap().clone()
    }

    fn run(&self, name: &str, attempt: u32) -> Reporting {
        self.0.lock().unwrap().push((name.to_owned(), attempt));
        match name {
            "fails" => Reporting::Failed(Fault { op: None, ..fault("no") }, Again { retryable: true, at: None }),
            "large" => Reporting::Completed(json(&format!("[\"{}\"]", "x".repeat(40_000)))),
            name => Reporting::Completed(json(&format!("\"{name}\""))),
        }
    }
}

pub fn json(text: &str) -> Json {
    Json::parse(text).unwrap()
}

fn fault(message: &str) -> Fault {
    serde_json::from_str(&format!("{{\"type\": \"ValueError\", \"message\": \"{message}\"}}")).unwrap()
}

pub fn memory() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new())
}

/// A process on a store, with settings of S3.
pub async fn process(store: &Arc<MemoryStore>, seed: u64) -> Queue {
    let store: Arc<dyn Store> = Arc::clone(store) as _;
    Queue::open(store, Entropy::seeded(seed), Settings::for_store(StoreKind::S3)).await.unwrap()
}

pub async fn worker_on(queue: &Queue) -> Worker {
    let options = Options { types: vec!["workflow:order".into()], concurrency: 200, ..Options::default() };
    Worker::start(queue, options).await.unwrap()
}

pub fn order(name: Option<&str>) -> StartRun {
    StartRun {
        common: StartRuns { workflow: "order".into(), ..StartRuns::default() },
        input: json("{\"n\": 1}"),
        name: name.map(Into::into),
        on_existing: Default::default(),
    }
}

pub async fn start(queue: &Queue) -> StartedRun {
    queue.start_run(&order(None)).await.unwrap()
}

pub async fn assigned(worker: &Worker) -> Assignment {
    for _ in 0..100 {
        if let Some(run) = worker.next(1, Duration::from_mins(10)).await.unwrap().assignments.pop() {
            return run;
        }
    }
    panic!("no run was assigned")
}

/// A body that is run against its journal.
pub struct Body<'a> {
    pub worker: &'a Worker,
    pub id: TaskId,
    pub lease: buquet_core::id::LeaseId,
    script: Vec<Do>,
    effects: Effects,
    /// How much of the script has been asked for.
    asked: usize,
    awaits: BTreeSet<Op>,
    names: BTreeMap<Op, String>,
    journal: usize,
    now: Millis,
    /// Every entry, as this body knows it: what was asked for and told, in order.
    pub told: Vec<String>,
    cancelled: bool,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// There is nothing to do but to wait until then.
    Waits(Option<Millis>),
    /// Go on.
    On,
    /// Its driver is done.
    Done(RunState),
}

impl<'a> Body<'a> {
    pub async fn open(worker: &'a Worker, run: &Assignment, script: &[Do], effects: &Effects) -> Result<Self> {
        let code = CodeName { version: Some("v1".into()), definition: None };
        let opening = worker.open_run(run.id, run.lease, code).await?;
        let mut body = Self {
            worker,
            id: run.id,
            lease: run.lease,
            script: script.to_vec(),
            effects: effects.clone(),
            asked: 0,
            awaits: BTreeSet::new(),
            names: BTreeMap::new(),
            journal: 0,
            now: opening.now.into(),
            told: Vec::new(),
            cancelled: false,
        };
        body.replay(&opening);
        Ok(body)
    }

    fn replay(&mut self, opening: &Opening) {
        (self.asked, self.awaits, self.journal) = (0, BTreeSet::new(), 0);
        let mut entries = opening.entries.iter();
        // What the body asks for must be what the journal has.
        let mut expected = Vec::new();
        while self.journal < opening.entries.len() {
            if expected.is_empty() && self.awaits.is_empty() && !self.cancelled {
                expected = self.asks();
            }
            match &**entries.next().unwrap() {
                Entry::Ask(ask) => {
                    let wanted = expected.remove(0);
                    assert_eq!((&ask.place, ask.what.kind()), (&wanted.place, wanted.what.kind()));
                    self.note(ask);
                }
                Entry::Told(told) => {
                    self.hear(told);
                    self.journal += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(expected.is_empty(), "asks are stored with the round that makes them");
    }

    fn note(&mut self, ask: &Ask) {
        let op = Op::try_from(self.journal).unwrap();
        self.awaits.insert(op);
        self.names.insert(op, ask.place.name.clone());
        self.journal += 1;
    }

    fn hear(&mut self, told: &Told) {
        let said = match &told.news {
            News::Ended { op, end, .. } => {
                let output = end.output.as_ref().map_or("-", |output| output.text());
                let output = if end.output_ref.is_some() { "elsewhere" } else { output };
                format!("{op} {:?} {output}", end.outcome)
            }
            News::Timer { op } => format!("{op} timer"),
            News::Signal { op, signal } => {
                let payload = signal.as_ref().and_then(|signal| signal.payload.as_ref());
                format!("{op} signal {}", payload.map_or("-", |payload| payload.text()))
            }
            News::Select { op, arm, .. } => format!("{op} select {arm}"),
            News::Cancel { .. } => {
                self.cancelled = true;
                "cancel".into()
            }
        };
        self.told.push(said);
        told.news.op().map(|op| self.awaits.remove(&op));
    }

    /// What the script asks for next; nothing at its end.
    fn asks(&mut self) -> Vec<Ask> {
        let Some(next) = self.script.get(self.asked).cloned() else { return Vec::new() };
        let n = u32::try_from(self.asked).unwrap();
        let ask = |name: &str, what| Ask {
            at: Millis(0),
            place: Place { scope: String::new(), name: name.into(), n },
            what,
            extra: Default::default(),
        };
        let until = |ms: u64| self.now.plus(ms);
        let asks = match next {
            Do::Steps(names) => names.into_iter().map(|name| ask(name, What::Step(step(name)))).collect(),
            Do::Sleep(ms) => vec![ask("sleep", What::Timer { until: until(ms) })],
            Do::Signal(name, ms) => vec![ask(name, What::Signal { until: ms.map(until) })],
            Do::Callback => vec![ask("callback", What::Callback { until: None, heartbeat_ms: None })],
            Do::Anew(_) | Do::Fail => return Vec::new(),
        };
        self.asked += 1;
        asks
    }

    fn end(&self) -> Option<BodyEnd> {
        match self.script.get(self.asked) {
            _ if self.cancelled => Some(BodyEnd::Cancelled(None)),
            _ if !self.awaits.is_empty() => None,
            None => Some(BodyEnd::Completed(json(&serde_json::to_string(&self.told).unwrap()))),
            Some(Do::Anew(input)) => Some(BodyEnd::Continued(json(input))),
            Some(Do::Fail) => Some(BodyEnd::Failed(fault("the body"))),
            Some(_) => None,
        }
    }

    /// Delivers what there is, stores what came of it, and runs the steps that may start.
    pub async fn turn(&mut self) -> Result<Turned> {
        let moment = self.worker.next_of_run(self.id, self.lease).await?;
        self.now = moment.now;
        let mut turn = Turn::default();
        let mut says = |body: &mut Self, told: Option<&Told>| {
            if let Some(told) = told {
                body.hear(told);
                turn.entries.push(Said::Told(told.news.kind(), told.news.op()));
                body.journal += 1;
            }
            if body.awaits.is_empty() && !body.cancelled {
                for ask in body.asks() {
                    body.note(&ask);
                    turn.entries.push(Said::Ask(Box::new(ask)));
                }
            }
        };
        if !moment.next.terminated {
            says(self, None);
            for told in &moment.next.told {
                says(self, Some(told));
            }
            turn.end = self.end();
        }
        if !moment.next.round && turn.entries.is_empty() && turn.end.is_none() {
            return Ok(Turned::Waits(moment.next.again_at));
        }
        let advanced = self.worker.advance_run(self.id, self.lease, turn).await?;
        for start in &advanced.start {
            self.run_step(start.op, start.attempt).await?;
        }
        match advanced.state {
            RunState::Running if advanced.stored => Ok(Turned::On),
            RunState::Running => Ok(Turned::Waits(moment.next.again_at)),
            RunState::Continued => {
                let opening = self.worker.reopen_run(self.id, self.lease)?;
                self.told.push(format!("anew {}", opening.input.text()));
                if opening.run.execution > 2 {
                    self.script.clear();
                }
                self.replay(&opening);
                Ok(Turned::On)
            }
            done => Ok(Turned::Done(done)),
        }
    }

    pub async fn run_step(&mut self, op: Op, attempt: u32) -> Result<()> {
        let reporting = self.effects.run(&self.names[&op], attempt);
        loop {
            match self.worker.report_step(self.id, self.lease, (op, attempt), reporting.clone()).await {
                Ok(_) => return Ok(()),
                Err(Error::Unavailable(_)) => sleep(Duration::from_secs(1)).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Drives it until its driver is done, as a front that also hears of wakes does.
    pub async fn drive(mut self) -> Result<(RunState, Vec<String>)> {
        loop {
            match self.turn().await? {
                Turned::On => {}
                Turned::Done(state) => return Ok((state, self.told)),
                Turned::Waits(until) => {
                    let wait = until.map_or(Duration::from_mins(5), |until| {
                        Duration::from_millis(u64::try_from(until.0 - self.now.0).unwrap_or(1).max(1))
                    });
                    self.worker.next(0, wait).await?;
                }
            }
        }
    }
}

fn step(name: &str) -> StepAsk {
    let retry = RetryPolicy { max_retries: 2, jitter: 0.0, initial_ms: 100, ..RetryPolicy::default() };
    StepAsk { retry: Some(retry), when: name == "when", ..StepAsk::default() }
}

/// Takes runs and drives them until one has ended; what its body was told, in order.
pub async fn run_to_end(worker: &Worker, script: &[Do], effects: &Effects) -> Vec<String> {
    loop {
        let run = assigned(worker).await;
        let (state, told) = Body::open(worker, &run, script, effects).await.unwrap().drive().await.unwrap();
        if state == RunState::Ended {
            return told;
        }
    }
}
