//! The doctor: looks at a store and a queue, says what is wrong, and what to do about each.
//!
//! Each part gathers facts with a bounded number of requests, and a pure function judges them. Nothing is changed but
//! scratch keys under `probe/`, which are deleted again.

mod access;
mod clock;
mod definitions;
mod layout;
mod leases;
mod policy;
mod ready;
mod records;
mod visit;
mod workers;

use serde::Serialize;
use serde_json::{Map, Value};

pub use self::policy::policy;
pub use self::visit::Visit;
use crate::bucket::Requests;
use crate::error::Error;
use crate::time::Timestamp;

/// How a check came out, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All is well.
    Ok,
    /// It could not be looked at, or there is nothing to look at.
    Skipped,
    /// It works, and will not always.
    Warning,
    /// It does not work.
    Failed,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it came out.
    pub status: Status,
    /// What was found.
    pub what: String,
    /// What to do about it; empty where there is nothing to do.
    pub advice: String,
    /// The figures behind it.
    pub details: Map<String, Value>,
}

/// What the doctor found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The worst that was found: `ok`, `warning` or `failed`.
    pub status: Status,
    /// The store's address.
    pub url: String,
    /// Every check, in the order in which they build on each other.
    pub checks: Vec<Check>,
    /// The requests that this took.
    pub requests: Requests,
    /// What they cost on S3.
    pub dollars: f64,
    /// Where to go on reading records; `None` at the end, or where not all were asked for.
    pub cursor: Option<String>,
}

/// What is asked of the doctor.
#[derive(Clone, Debug, Default)]
pub struct Examination {
    /// Read every record, a page at a time.
    pub deep: bool,
    /// Read only records, from where the page before ended.
    pub cursor: Option<String>,
}

impl Check {
    fn new(name: &'static str, status: Status, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, status, what: what.into(), advice: advice.into(), details: Map::new() }
    }

    fn ok(name: &'static str, what: impl Into<String>) -> Self {
        Self::new(name, Status::Ok, what, "")
    }

    fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Self::new(name, Status::Skipped, why, "")
    }

    /// It could not be looked at although the store answered before.
    fn unknown(name: &'static str, error: &Error) -> Self {
        let advice = "see the checks above; if those are well, run the doctor again";
        Self::new(name, Status::Warning, format!("it could not be looked at: {error}"), advice)
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }
}

/// The checks that need a store which can be read, in their order.
const BUILT_ON_ACCESS: [&str; 7] = ["layout", "workers", "leases", "ready", "records", "definitions", "parked"];

/// What is to be said of a database that nobody has made yet. A look into it would make it.
#[must_use]
pub fn no_database(url: String) -> Report {
    let what = format!("there is no {url} yet");
    let advice = "if there should be one, check the path (buquet config shows it); if not, the first submit makes it";
    let mut checks = vec![Check::new("store", Status::Warning, what, advice)];
    let rest = ["permissions", "conditional_writes", "versioning", "clock"].into_iter().chain(BUILT_ON_ACCESS);
    checks.extend(rest.map(|name| Check::skipped(name, "there is no database yet")));
    Report { status: Status::Warning, url, checks, requests: Requests::default(), dollars: 0.0, cursor: None }
}

/// Examines the queue. It answers, whatever is wrong.
pub async fn examine(visit: &Visit, asked: &Examination, local_time: fn() -> Timestamp) -> Report {
    if asked.cursor.is_some() {
        let (check, cursor) = records::all(visit, asked.cursor.as_deref()).await;
        return report(visit, vec![check], cursor);
    }
    let mut checks = Vec::new();
    let reached = access::reach(visit, local_time).await;
    checks.push(access::judge_reach(&reached));
    let Ok(answer) = &reached.answer else {
        let denied = access::is_denied(&reached);
        if denied {
            let tried = access::try_all(visit).await;
            checks.push(access::judge_permissions(visit.kind(), &tried));
        }
        let rest = ["permissions", "conditional_writes", "versioning", "clock"];
        let rest = rest.iter().skip(usize::from(denied)).chain(&BUILT_ON_ACCESS);
        checks.extend(rest.map(|name| Check::skipped(name, "the store cannot be read")));
        return report(visit, checks, None);
    };
    let tried = access::try_all(visit).await;
    checks.push(access::judge_permissions(visit.kind(), &tried));
    checks.push(access::conditional_writes(visit, &tried).await);
    checks.push(access::judge_versioning(visit.kind(), &visit.url(), &tried.versioning));
    checks.push(clock::judge(visit.kind(), &reached));
    let marker = layout::gather(visit, answer).await;
    let layout = layout::judge(&marker);
    let there = marker.is_queue();
    checks.push(layout);
    if !there {
        let rest = BUILT_ON_ACCESS.iter().skip(1);
        checks.extend(rest.map(|name| Check::skipped(name, "there is no queue that this version of buquet can read")));
        return report(visit, checks, None);
    }
    let cursor = examine_queue(visit, asked, &mut checks).await;
    report(visit, checks, cursor)
}

async fn examine_queue(visit: &Visit, asked: &Examination, checks: &mut Vec<Check>) -> Option<String> {
    let leases = leases::gather(visit).await;
    let workers = workers::gather(visit, &leases).await;
    checks.push(workers::judge(&workers));
    checks.push(leases::judge(&leases, workers.as_ref().map_or(0, workers::Workers::alive)));
    let ready = ready::gather(visit, workers.as_ref().ok(), false).await;
    checks.push(ready::judge("ready", &ready, workers.as_ref().ok()));
    let (records, cursor) = if asked.deep {
        records::all(visit, None).await
    } else {
        (records::sample(visit, leases.as_ref().ok(), ready.as_ref().ok()).await, None)
    };
    checks.push(records);
    checks.push(definitions::judge(&definitions::gather(visit).await));
    let parked = ready::gather(visit, workers.as_ref().ok(), true).await;
    checks.push(ready::judge("parked", &parked, workers.as_ref().ok()));
    cursor
}

fn report(visit: &Visit, checks: Vec<Check>, cursor: Option<String>) -> Report {
    let bad = checks.iter().map(|check| check.status).filter(|status| *status > Status::Skipped).max();
    let requests = visit.requests();
    Report {
        status: bad.unwrap_or(Status::Ok),
        url: visit.url(),
        checks,
        dollars: requests.dollars(),
        requests,
        cursor,
    }
}

/// How long ago, or how long, for people.
fn roughly(millis: i64) -> String {
    let seconds = millis.max(0) / 1_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn plural(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}
