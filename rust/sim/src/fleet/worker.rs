//! A front as a language binding would write it: pulls assignments, runs handlers, settles their outcomes.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use buquet_core::id::{LeaseId, TaskId};
use buquet_core::worker::{Assignment, Next, Options, Phase, Verdict, WorkOutcome, Worker};
use buquet_core::{Error, Result};
use futures::future::{AbortHandle, Abortable, FusedFuture, FutureExt, LocalBoxFuture};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep};

use super::handler::{Decided, oversized};
use super::{Living, name_of};
use crate::journal::{Attempt, Decision, Told, WorkerLife};
use crate::scenario::WorkerPlan;
use crate::script::Script;

/// How long one `next` waits.
const WAIT: Duration = Duration::from_secs(5);
/// How long a leaving worker lets its handlers run.
const GRACE: Duration = Duration::from_secs(20);

type Key = (TaskId, LeaseId);

/// The handlers and settlements under way in one worker.
struct Desk<'a> {
    living: &'a Living,
    worker: &'a Worker,
    running: FuturesUnordered<LocalBoxFuture<'a, (Key, Option<Decided>)>>,
    handles: BTreeMap<Key, (AbortHandle, bool)>,
    called_off: BTreeSet<Key>,
    settling: FuturesUnordered<LocalBoxFuture<'a, ()>>,
}

impl Living {
    /// Works until the run ends or `leave` happens; says whether it was the latter.
    pub(super) async fn work(&self, plan: &WorkerPlan, leave: impl Future<Output = ()>) -> bool {
        let Some(worker) = self.start(plan).await else { return false };
        let id = worker.id().to_string();
        let left = {
            let leaving = async {
                tokio::select! {
                    biased;
                    () = self.world.end.wait() => false,
                    () = leave => true,
                }
            };
            Desk::new(self, &worker).run(plan.concurrency, leaving).await
        };
        let released = worker.stop().await;
        let stopped_at = self.world.store.now();
        if let Some(life) = self.world.journal.borrow_mut().workers.get_mut(&id) {
            life.stopped_at = Some(stopped_at);
        }
        self.world.trace.event(&self.name, "stopped", &format!("worker {id} gave back {released}"));
        left
    }

    async fn start(&self, plan: &WorkerPlan) -> Option<Worker> {
        let options = Options {
            types: plan.types.clone(),
            concurrency: plan.concurrency,
            prefetch: plan.prefetch,
            host: "simulated".into(),
            pid: 1,
        };
        loop {
            match Worker::start(&self.queue, options.clone()).await {
                Ok(worker) => {
                    let id = worker.id().to_string();
                    self.world.trace.event(&self.name, "worker", &id);
                    let life = WorkerLife { process: self.name.clone(), leaving_at: None, stopped_at: None };
                    self.world.journal.borrow_mut().workers.insert(id, life);
                    return Some(worker);
                }
                Err(Error::Unavailable(_)) => sleep(Duration::from_secs(1)).await,
                Err(error) => {
                    self.world.complain(&self.name, &format!("a worker could not start: {error}"));
                    return None;
                }
            }
        }
    }
}

impl<'a> Desk<'a> {
    fn new(living: &'a Living, worker: &'a Worker) -> Self {
        Self {
            living,
            worker,
            running: FuturesUnordered::new(),
            handles: BTreeMap::new(),
            called_off: BTreeSet::new(),
            settling: FuturesUnordered::new(),
        }
    }

    async fn run(mut self, concurrency: usize, leaving: impl Future<Output = bool>) -> bool {
        let leaving = leaving.fuse();
        let next = futures::future::Fuse::<LocalBoxFuture<'a, Result<Next>>>::terminated();
        tokio::pin!(leaving, next);
        let (mut left, mut until, mut asked) = (None, None, 0);
        loop {
            let free = concurrency.saturating_sub(self.running.len());
            // Who has no room or leaves takes no work on, and still hears what becomes of what runs.
            let max = if left.is_none() { free } else { 0 };
            let asks = !next.is_terminated();
            if if asks { asked == 0 && max > 0 } else { max > 0 || !self.running.is_empty() } {
                next.set(self.worker.next(max, WAIT).boxed_local().fuse());
                asked = max;
            }
            if left.is_some() && self.is_done() {
                break;
            }
            let over = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some((key, decided)) = self.running.next(), if !self.running.is_empty() => self.finish(key, decided),
                Some(()) = self.settling.next(), if !self.settling.is_empty() => {}
                answer = &mut next, if !next.is_terminated() => self.take(answer),
                who = &mut leaving, if left.is_none() => {
                    left = Some(who);
                    until = Some(Instant::now() + GRACE);
                    self.leave();
                }
                () = over, if left.is_some() => break,
            }
        }
        // Handlers that are still at work are cut off, not left standing: one may be asking for more time.
        self.running.clear();
        while self.settling.next().await.is_some() {}
        left.unwrap_or(false)
    }

    fn is_done(&self) -> bool {
        self.running.is_empty() && self.settling.is_empty()
    }

    /// Stops taking on work.
    fn leave(&self) {
        let now = self.living.world.store.now();
        let id = self.worker.id().to_string();
        if let Some(life) = self.living.world.journal.borrow_mut().workers.get_mut(&id) {
            life.leaving_at = Some(now);
        }
        self.living.world.trace.event(&self.living.name, "drain", "");
        let worker = self.worker;
        self.settling.push(async move { worker.drain().await }.boxed_local());
    }

    /// Takes an answer of `next`.
    fn take(&mut self, answer: Result<Next>) {
        let next = match answer {
            Ok(next) => next,
            Err(error) => return self.complain(&format!("next failed: {error}")),
        };
        // That it could not store an outcome in minutes is no complaint against the engine: the network was gone.
        for problem in next.problems.iter().filter(|problem| !is_given_up(&problem.message)) {
            self.complain(&format!("set aside {}: {}", problem.key, problem.message));
        }
        for lost in next.lost {
            let world = &self.living.world;
            world.trace.event(&self.living.name, "lost", &format!("{} {}", lost.id, lost.lease));
            let note = (lost.id.to_string(), lost.lease.to_string(), world.store.now());
            world.journal.borrow_mut().lost.push(note);
            if let Some((handle, stubborn)) = self.handles.get(&(lost.id, lost.lease))
                && !stubborn
            {
                handle.abort();
            }
        }
        for woken in next.woken {
            self.living.world.trace.event(&self.living.name, "woken", &format!("{} {}", woken.id, woken.lease));
        }
        for called in next.cancelled {
            let key = (called.id, called.lease);
            self.living.world.trace.event(&self.living.name, "called off", &format!("{} {}", called.id, called.lease));
            if let Some((handle, stubborn)) = self.handles.get(&key)
                && !stubborn
            {
                self.called_off.insert(key);
                handle.abort();
            }
        }
        if next.phase != Phase::Running && !next.assignments.is_empty() {
            self.complain("a draining worker handed out tasks");
        }
        for assignment in next.assignments {
            self.begin(assignment);
        }
    }

    fn begin(&mut self, task: Assignment) {
        let (living, worker) = (self.living, self.worker);
        let unread = task.input_ref.is_some() && task.input.text() == "null";
        let script = if unread { Ok(Script::give_back()) } else { serde_json::from_str(task.input.text()) };
        let Ok(script) = script else {
            return self.complain(&format!("task {} came with another input: {}", task.id, task.input.text()));
        };
        let key = (task.id, task.lease);
        let detail = format!("{} {} attempt {} {}", task.id, task.lease, task.attempt, script.label);
        living.world.trace.event(&living.name, "assigned", &detail);
        let attempt = Attempt {
            number: task.attempt,
            label: script.label.clone(),
            worker: worker.id().to_string(),
            at: living.world.store.now(),
            woken: task.woken,
            decisions: Vec::new(),
            reports: Vec::new(),
        };
        let names = (task.id.to_string(), task.lease.to_string());
        if living.world.journal.borrow_mut().attempts.insert(names, attempt).is_some() {
            self.complain(&format!("task {} was handed out twice under lease {}", task.id, task.lease));
        }
        let (handle, registration) = AbortHandle::new_pair();
        self.handles.insert(key, (handle, script.stubborn));
        let handler = async move { living.handle(worker, &task, &script).await };
        let handler = Abortable::new(handler, registration).map(move |result| (key, result.ok().flatten()));
        self.running.push(handler.boxed_local());
    }

    /// Sends a handler's outcome, together with those of others that are ready by now.
    fn finish(&mut self, key: Key, decided: Option<Decided>) {
        let mut batch = Vec::new();
        let mut done = Some((key, decided));
        while let Some((key, decided)) = done.take() {
            self.handles.remove(&key);
            let called_off = self.called_off.remove(&key);
            let decided = decided.or_else(|| called_off.then(Decided::cancel));
            batch.extend(decided.map(|decided| (key, decided)));
            done = self.running.next().now_or_never().flatten();
        }
        if !batch.is_empty() {
            let (living, worker) = (self.living, self.worker);
            self.settling.push(async move { living.settle(worker, batch).await }.boxed_local());
        }
    }

    fn complain(&self, what: &str) {
        self.living.world.complain(&self.living.name, what);
    }
}

impl Living {
    async fn settle(&self, worker: &Worker, batch: Vec<(Key, Decided)>) {
        for ((id, lease), decided) in &batch {
            // Built only for those few that send it: it is as large as a limit of many megabytes.
            if decided.oversized
                && let Some(outcome) = oversized()
            {
                let decision = Decision::Complete("too large".into());
                self.settle_all(worker, vec![WorkOutcome { id: *id, lease: *lease, outcome }], vec![decision]).await;
            }
        }
        let mut batch = batch;
        while !batch.is_empty() {
            let decisions = batch.iter().map(|(_, decided)| decided.decision.clone()).collect();
            let outcome = |((id, lease), decided): &(Key, Decided)| {
                let (id, lease, outcome) = (*id, *lease, decided.outcome.clone());
                WorkOutcome { id, lease, outcome }
            };
            let told = self.settle_all(worker, batch.iter().map(outcome).collect(), decisions).await;
            // Who was woken meanwhile looks again.
            let again = batch.into_iter().zip(told).filter(|(_, told)| *told == Told::Woken);
            batch = again.filter_map(|((key, decided), _)| Some((key, self.look(decided.waits?)))).collect();
        }
    }

    async fn settle_all(&self, worker: &Worker, outcomes: Vec<WorkOutcome>, decisions: Vec<Decision>) -> Vec<Told> {
        let keys: Vec<_> = outcomes.iter().map(|one| (one.id.to_string(), one.lease.to_string())).collect();
        let mut places = Vec::new();
        for (key, decision) in keys.iter().zip(decisions) {
            let mut journal = self.world.journal.borrow_mut();
            let Some(attempt) = journal.attempts.get_mut(key) else { continue };
            places.push(attempt.decisions.len());
            attempt.decisions.push((decision, None));
        }
        let verdicts: Vec<Told> = worker.settle(outcomes).await.iter().map(|settled| told(&settled.verdict)).collect();
        for ((key, place), told) in keys.iter().zip(places).zip(&verdicts) {
            self.world.trace.event(&self.name, "settled", &format!("{} {} {told:?}", key.0, key.1));
            if let Some(attempt) = self.world.journal.borrow_mut().attempts.get_mut(key) {
                attempt.decisions[place].1 = Some(told.clone());
            }
        }
        verdicts
    }
}

/// Whether the engine says that it does not know what became of an outcome.
fn is_given_up(message: &str) -> bool {
    message.starts_with("the outcome could not be stored")
}

fn told(verdict: &Verdict) -> Told {
    match verdict {
        Verdict::Committed { status, .. } => Told::Committed(name_of(*status)),
        Verdict::Woken | Verdict::Advanced { .. } => Told::Woken,
        Verdict::LeaseLost(message) if is_given_up(message) => Told::GivenUp,
        Verdict::LeaseLost(_) => Told::LeaseLost,
        Verdict::Refused(_) => Told::Refused,
    }
}
