//! The log of a run: every request and event, in order, with simulated time. Same seed, same log.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{Display, Write as _};
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use buquet_core::store::faulty::{Answer, Fault, Observer, Request, Step};
use buquet_core::store::{Got, StoreResult};
use tokio::time::Instant;

/// Lines kept for the report of a failure.
const TAIL: usize = 60;

/// Collects the log.
#[derive(Debug)]
pub struct Trace {
    start: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    line: String,
    hasher: DefaultHasher,
    tail: VecDeque<String>,
    full: Option<Vec<String>>,
    tally: Tally,
    events: BTreeMap<&'static str, u64>,
}

/// Requests that reached the server, as S3 bills them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// PUTs by the first part of their key.
    pub puts: BTreeMap<String, u64>,
    /// GETs by the first part of their key.
    pub gets: BTreeMap<String, u64>,
    /// Those of the GETs that were answered "not modified".
    pub not_modified: u64,
    /// LISTs by the first part of their prefix.
    pub lists: BTreeMap<String, u64>,
    /// DELETEs.
    pub deletes: u64,
    /// All of them.
    pub requests: u64,
}

impl Trace {
    /// An empty log that begins now; `full` to keep every line and not only the last ones.
    #[must_use]
    pub fn new(full: bool) -> Self {
        let state = State { full: full.then(Vec::new), ..State::default() };
        Self { start: Instant::now(), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down and counts an event that is no request.
    pub fn event(&self, process: &str, kind: &'static str, detail: &str) {
        let at = self.start.elapsed().as_millis();
        let mut state = self.state();
        *state.events.entry(kind).or_default() += 1;
        let _ = write!(state.line, "{at:>9} {process} -- {kind} {detail}");
        state.finish_line("");
    }

    /// A number that stands for the whole log.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.state().hasher.finish()
    }

    /// All lines if they are kept, else the last ones.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let state = self.state();
        state.full.clone().unwrap_or_else(|| state.tail.iter().cloned().collect())
    }

    /// What the server was asked.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.state().tally.clone()
    }

    /// How often which event happened.
    #[must_use]
    pub fn events(&self) -> BTreeMap<&'static str, u64> {
        self.state().events.clone()
    }
}

impl State {
    fn note(&mut self, head: &dyn Display, request: &Request, fault: Option<Fault>, step: Step<'_>) {
        let _ = write!(self.line, "{head}");
        let _ = match step {
            Step::Landed(answer) => {
                self.tally.count(request, answer);
                write!(self.line, "{request} => ").and_then(|()| write_answer(&mut self.line, answer))
            }
            Step::Answered(answer) => write!(self.line, "<= ").and_then(|()| write_answer(&mut self.line, answer)),
            Step::Unheard => write!(self.line, "<= nobody listens any more"),
            Step::Died => write!(self.line, "{request} died with its process"),
        };
        if let (Some(fault), false) = (fault, matches!(step, Step::Died)) {
            let _ = write!(self.line, " [{}]", fault.name());
        }
        let shown = self.full.is_some() && matches!(step, Step::Landed(_));
        self.finish_line(&if shown { summary(request) } else { String::new() });
    }

    /// Takes the line in; `note` is shown and not part of the fingerprint.
    fn finish_line(&mut self, note: &str) {
        self.hasher.write(self.line.as_bytes());
        let mut line = if self.full.is_none() && self.tail.len() >= TAIL {
            self.tail.pop_front().unwrap_or_default()
        } else {
            String::new()
        };
        line.clear();
        line.push_str(&self.line);
        line.push_str(note);
        self.line.clear();
        match &mut self.full {
            Some(full) => full.push(line),
            None => self.tail.push_back(line),
        }
    }
}

impl Observer for Trace {
    fn note(&self, process: &str, number: u64, request: &Request, fault: Option<Fault>, step: Step<'_>) {
        let at = self.start.elapsed().as_millis();
        self.state().note(&format_args!("{at:>9} {process} #{number} "), request, fault, step);
    }
}

fn write_answer(line: &mut String, answer: &StoreResult<Answer>) -> std::fmt::Result {
    match answer {
        Ok(timed) => write!(line, "{}", timed.value),
        Err(error) => write!(line, "{error}"),
    }
}

/// What a written record says, for human eyes.
fn summary(request: &Request) -> String {
    let Request::Put { key, body, .. } = request else { return String::new() };
    if !key.starts_with("tasks/") {
        return String::new();
    }
    let Ok(record) = serde_json::from_slice::<serde_json::Value>(body) else { return String::new() };
    let tasks = record["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let tasks: Vec<String> = tasks
        .iter()
        .take(8)
        .map(|task| format!("{}@{}", task["status"].as_str().unwrap_or("?"), task["attempt"]))
        .collect();
    format!(" {{rev {}, ready {}, leases {}, {}}}", record["rev"], record["ready"], record["leases"], tasks.join(" "))
}

impl Tally {
    fn count(&mut self, request: &Request, answer: &StoreResult<Answer>) {
        self.requests += 1;
        let add = |counts: &mut BTreeMap<String, u64>, key: &str| {
            let first = key.split_once('/').map_or(key, |(first, _)| first);
            if let Some(count) = counts.get_mut(first) {
                *count += 1;
            } else {
                counts.insert(first.to_owned(), 1);
            }
        };
        match request {
            Request::Put { key, .. } => add(&mut self.puts, key),
            Request::Get { key, .. } | Request::GetVersion { key, .. } => {
                add(&mut self.gets, key);
                let unchanged = answer.as_ref().is_ok_and(|got| matches!(got.value, Answer::Got(Got::NotModified)));
                self.not_modified += u64::from(unchanged);
            }
            Request::List { prefix: key, .. } | Request::ListOn { prefix: key, .. } | Request::Versions { key, .. } => {
                add(&mut self.lists, key);
            }
            Request::Delete { .. } => self.deletes += 1,
            Request::KeepsVersions => {}
        }
    }

    /// The price in units of one PUT: a GET costs 0.08, a DELETE nothing.
    #[must_use]
    pub fn units(&self) -> f64 {
        let sum = |counts: &BTreeMap<String, u64>| as_float(counts.values().sum());
        sum(&self.gets).mul_add(0.08, sum(&self.puts) + sum(&self.lists))
    }
}

/// A count as a number to calculate prices with.
#[expect(clippy::cast_precision_loss, reason = "no count here needs more than 52 bits")]
#[must_use]
pub const fn as_float(count: u64) -> f64 {
    count as f64
}
