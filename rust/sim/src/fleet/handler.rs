//! What happens between an assignment and its outcome.

use std::time::Duration;

use buquet_core::limits;
use buquet_core::record::{Failure, Json, Outcome};
use buquet_core::worker::{Assignment, Worker};
use tokio::time::sleep;

use super::Living;
use crate::journal::Decision;
use crate::script::{Script, Step};

/// A little more than an output may have.
const TOO_LARGE: usize = limits::JSON_BYTES + 1;

/// How much of a decision is worth tracing: outputs may be long.
const DETAIL_CHARS: usize = 200;

/// What a handler came to, in the engine's words and in the checker's.
#[derive(Clone, Debug)]
pub(super) struct Decided {
    pub outcome: Outcome,
    pub decision: Decision,
    /// To be tried first, and refused.
    pub oversized: bool,
    /// What it waits for, if it wants to be parked.
    pub waits: Option<Waits>,
}

/// What a handler waits for.
#[derive(Clone, Debug)]
pub(super) struct Waits {
    /// The task's label.
    label: String,
    /// What it returns in the end.
    output: String,
    again_ms: Option<u64>,
}

impl Living {
    /// Runs the handler of an assignment; `None` if it took its process with it.
    pub(super) async fn handle(&self, worker: &Worker, task: &Assignment, script: &Script) -> Option<Decided> {
        let step = script.step(task.attempt);
        let runs = step.duration(Duration::from_millis(task.timeout_ms));
        if let Step::Extend { by_ms, .. } = step {
            sleep(runs / 2).await;
            self.store.resumed().await;
            let extended = worker.extend(task.id, task.lease, Duration::from_millis(by_ms)).await;
            let detail = extended.map_or_else(|error| error.code().to_owned(), |at| at.to_string());
            self.world.trace.event(&self.name, "extended", &format!("{} {detail}", task.id));
            sleep(runs / 2).await;
        } else {
            self.run_for(runs, worker, task, script).await;
        }
        // A stalled process decides nothing.
        self.store.resumed().await;
        if let Step::Await { gap_ms, again_ms, .. } = step {
            let output = format!("\"{}/{}/{}\"", script.label, task.attempt, task.lease);
            let decided = self.look(Waits { label: script.label.clone(), output, again_ms });
            sleep(Duration::from_millis(gap_ms)).await;
            self.store.resumed().await;
            return Some(decided);
        }
        if matches!(step, Step::Die { .. }) {
            self.store.crash();
            return None;
        }
        let decided = self.decide(step, task, script);
        let decision: String = format!("{:?}", decided.decision).chars().take(DETAIL_CHARS).collect();
        self.world.trace.event(&self.name, "decided", &format!("{} {decision}", task.id));
        Some(decided)
    }

    /// Works so long, and now and then says how far it has come.
    async fn run_for(&self, runs: Duration, worker: &Worker, task: &Assignment, script: &Script) {
        let parts = script.reports + 1;
        for n in 1..parts {
            sleep(runs / parts).await;
            self.store.resumed().await;
            let message = format!("{}/{}/{}/{n}", script.label, task.attempt, task.lease);
            let reported = worker.progress(task.id, task.lease, f64::from(n) / f64::from(parts), Some(message.clone()));
            self.world.trace.event(&self.name, "reported", &format!("{message} {}", reported.is_ok()));
            let key = (task.id.to_string(), task.lease.to_string());
            if let Some(attempt) = self.world.journal.borrow_mut().attempts.get_mut(&key)
                && reported.is_ok()
            {
                attempt.reports.push(message);
            }
        }
        sleep(runs / parts).await;
    }

    /// Looks whether all signals were sent: then it completes, and otherwise parks.
    pub(super) fn look(&self, waits: Waits) -> Decided {
        let signals = self.world.journal.borrow().signals.get(&waits.label).copied().unwrap_or_default();
        let json = Json::parse(&waits.output).ok().filter(|_| signals.sent >= signals.needed);
        if let Some(output) = json {
            let decision = Decision::Complete(waits.output);
            return Decided { outcome: Outcome::Complete { output }, decision, oversized: false, waits: None };
        }
        let until = waits.again_ms.map(|again| self.queue.bucket().now().after(Duration::from_millis(again)));
        let (outcome, decision) = (Outcome::Park { until }, Decision::Park(until));
        Decided { outcome, decision, oversized: false, waits: Some(waits) }
    }

    fn decide(&self, step: Step, task: &Assignment, script: &Script) -> Decided {
        let now = self.queue.bucket().now();
        let words = format!("{}/{}/{}", script.label, task.attempt, task.lease);
        let fail = |kind: &str, retry, delay_ms: Option<u64>| {
            let error = Failure { kind: kind.to_owned(), message: words.clone(), traceback: None };
            let retry_at = delay_ms.map(|delay| now.after(Duration::from_millis(delay)));
            let decision = Decision::Fail { message: words.clone(), retry };
            (Outcome::Fail { error, retry, retry_at }, decision)
        };
        let (outcome, decision) = match step {
            Step::Complete { .. }
            | Step::Overrun { .. }
            | Step::Extend { .. }
            | Step::Await { .. }
            | Step::Die { .. } => {
                let output = format!("\"{words}{}\"", script.padding);
                let json = Json::parse(&output).ok();
                json.map_or_else(
                    || fail("SimulationError", false, None),
                    |json| (Outcome::Complete { output: json }, Decision::Complete(output.clone())),
                )
            }
            Step::Fail { retry, delay_ms, .. } => fail("HandlerError", retry, delay_ms),
            Step::Oversize { .. } => fail("TooLarge", true, None),
            Step::Timeout => fail("Timeout", true, None),
            Step::Reschedule { delay_ms, .. } => {
                let at = now.after(Duration::from_millis(delay_ms));
                (Outcome::Reschedule { at }, Decision::Reschedule(at))
            }
            Step::Release { .. } => (Outcome::Release, Decision::Release),
        };
        Decided { outcome, decision, oversized: matches!(step, Step::Oversize { .. }), waits: None }
    }
}

impl Decided {
    /// What becomes of a handler that was called off.
    pub(super) const fn cancel() -> Self {
        Self { outcome: Outcome::Cancel, decision: Decision::Cancel, oversized: false, waits: None }
    }
}

/// An outcome that is over the limit.
pub(super) fn oversized() -> Option<Outcome> {
    let output = Json::parse(&format!("\"{}\"", "x".repeat(TOO_LARGE))).ok()?;
    Some(Outcome::Complete { output })
}

impl Step {
    fn duration(self, timeout: Duration) -> Duration {
        match self {
            Self::Timeout => timeout,
            Self::Overrun { ms } => timeout + Duration::from_millis(ms),
            Self::Complete { ms }
            | Self::Fail { ms, .. }
            | Self::Reschedule { ms, .. }
            | Self::Release { ms }
            | Self::Extend { ms, .. }
            | Self::Await { ms, .. }
            | Self::Oversize { ms }
            | Self::Die { ms } => Duration::from_millis(ms),
        }
    }
}
