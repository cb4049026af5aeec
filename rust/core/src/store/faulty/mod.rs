//! A bad network in front of a store, seeded: the same seed and the same requests give the same faults.
//!
//! A [`Network`] leads to one store; each simulated process reaches it through its own [`FaultyStore`], which can be
//! stalled and can die. Every request is a task of its own, so it may outlive the caller that gave up on it and the
//! process that sent it, as a packet does. Must run inside a tokio runtime; for reproducible runs that is a
//! current-thread one with paused time.

mod plan;
mod process;
mod request;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::future::pending;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;

use self::plan::Fate;
pub use self::plan::{Fault, FaultPlan};
pub use self::process::CrashPoint;
use self::process::Process;
pub use self::request::{Answer, Request};
use super::{
    Condition, ETag, Got, Page, Put, Store, StoreError, StoreErrorKind, StoreKind, StoreResult, Timed, VersionId,
    VersionPage,
};

/// What happens to a request, as an [`Observer`] is told.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// It reached the server, which answered this.
    Landed(&'a StoreResult<Answer>),
    /// Its caller was told this.
    Answered(&'a StoreResult<Answer>),
    /// Its caller had given up when the answer came.
    Unheard,
    /// Its process died before it was sent, or while it was under way.
    Died,
}

/// Is told of every request, in the order things happen.
pub trait Observer: Send + Sync + 'static {
    /// One step of the request that is the `number`th of `process` (from 0), and the fault it meets, if any.
    fn note(&self, process: &str, number: u64, request: &Request, fault: Option<Fault>, step: Step<'_>);
}

/// Observes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn note(&self, _: &str, _: u64, _: &Request, _: Option<Fault>, _: Step<'_>) {}
}

/// The way from many processes to one store.
pub struct Network {
    store: Arc<dyn Store>,
    seed: u64,
    plan: Mutex<FaultPlan>,
    injected: Mutex<BTreeMap<&'static str, u64>>,
    observer: Arc<dyn Observer>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("store", &self.store.url()).field("seed", &self.seed).finish_non_exhaustive()
    }
}

impl Network {
    /// A network in front of `store` whose faults follow from `seed` and `plan`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, seed: u64, plan: FaultPlan, observer: Arc<dyn Observer>) -> Arc<Self> {
        Arc::new(Self { store, seed, plan: Mutex::new(plan), injected: Mutex::default(), observer })
    }

    /// From now on, requests meet the faults of `plan`; those under way keep their fate.
    pub fn set_plan(&self, plan: FaultPlan) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    }

    /// How many faults of which kind were injected so far.
    #[must_use]
    pub fn injected(&self) -> BTreeMap<&'static str, u64> {
        self.injected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The store as the process `name` reaches it. A restarted process needs another name.
    #[must_use]
    pub fn connect(self: &Arc<Self>, name: &str) -> Arc<FaultyStore> {
        let mut hasher = DefaultHasher::new();
        (self.seed, name).hash(&mut hasher);
        let process = Arc::new(Process::new(name, hasher.finish()));
        Arc::new(FaultyStore { network: Arc::clone(self), process })
    }

    fn count(&self, fault: Fault) {
        *self.injected.lock().unwrap_or_else(PoisonError::into_inner).entry(fault.name()).or_default() += 1;
    }
}

/// A [`Store`] seen by one process through a [`Network`].
#[derive(Debug)]
pub struct FaultyStore {
    network: Arc<Network>,
    process: Arc<Process>,
}

impl FaultyStore {
    /// The process dies now: its requests never answer again and none is sent any more; those under way may land.
    pub fn crash(&self) {
        self.process.die();
    }

    /// The process will die at its request number `after` from now (0: the next one).
    pub fn crash_at(&self, after: u64, point: CrashPoint) {
        self.process.doom(after, point);
    }

    /// Waits until the process has died.
    pub async fn crashed(&self) {
        self.process.dead().await;
    }

    /// The process is cut off for `duration`: requests leave and answers arrive only afterwards.
    pub fn stall(&self, duration: Duration) {
        self.process.stall(duration);
    }

    /// Waits until the process is not stalled; says whether it was.
    pub async fn resumed(&self) -> bool {
        self.process.runs().await
    }

    async fn call(&self, request: Request) -> StoreResult<Answer> {
        let plan = self.network.plan.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some((number, fate)) = self.process.send(&plan, &request) else {
            return pending().await;
        };
        let (tell, answer) = oneshot::channel();
        let journey = Journey {
            network: Arc::clone(&self.network),
            process: Arc::clone(&self.process),
            number,
            request,
            fault: fate.fault,
        };
        tokio::spawn(journey.travel(fate, tell));
        match answer.await {
            Ok(answer) => answer,
            Err(_) => pending().await,
        }
    }
}

/// One request under way.
struct Journey {
    network: Arc<Network>,
    process: Arc<Process>,
    number: u64,
    request: Request,
    fault: Option<Fault>,
}

impl Journey {
    async fn travel(self, fate: Fate, tell: oneshot::Sender<StoreResult<Answer>>) {
        let held = self.process.runs().await;
        tokio::time::sleep(fate.out).await;
        let abandoned = self.process.is_dead() || (held && tell.is_closed());
        if abandoned && !fate.survives {
            return self.note(Step::Died);
        }
        if let Some(fault) = self.fault {
            self.network.count(fault);
        }
        let answer = match self.fault {
            None => self.land().await,
            Some(Fault::EmptyPage) => self.show_nothing().await,
            Some(Fault::Late(by)) => return self.late(by, fate, tell).await,
            Some(fault) => self.stumble(fault, fate.silence).await,
        };
        tokio::time::sleep(fate.back).await;
        self.tell(answer, tell).await;
    }

    /// What the caller will hear of a request that met `fault`.
    async fn stumble(&self, fault: Fault, silence: Duration) -> StoreResult<Answer> {
        let lands = match fault {
            Fault::LostRequest | Fault::Conflict | Fault::Throttled | Fault::EmptyPage | Fault::Late(_) => false,
            Fault::LostAnswer | Fault::SentTwice { .. } => true,
            Fault::ServerError { effect } => effect,
        };
        if lands {
            self.land().await.ok();
        }
        match fault {
            Fault::LostRequest | Fault::LostAnswer | Fault::Late(_) => {
                tokio::time::sleep(silence).await;
                Err(StoreError::new(StoreErrorKind::Unavailable, "the connection broke"))
            }
            Fault::SentTwice { conflict: false } | Fault::EmptyPage => self.land().await,
            Fault::SentTwice { conflict: true } | Fault::Conflict => {
                Err(StoreError::new(StoreErrorKind::Conflict, "409 ConditionalRequestConflict"))
            }
            Fault::ServerError { .. } => Err(StoreError::new(StoreErrorKind::Unavailable, "500 InternalError")),
            Fault::Throttled => Err(StoreError::new(StoreErrorKind::Throttled, "503 SlowDown")),
        }
    }

    /// The caller hears of a broken connection; the request lands afterwards.
    async fn late(self, by: Duration, fate: Fate, tell: oneshot::Sender<StoreResult<Answer>>) {
        let lost = self.stumble(Fault::Late(by), Duration::ZERO).await;
        self.tell(lost, tell).await;
        tokio::time::sleep(by + fate.back).await;
        self.land().await.ok();
    }

    /// A page as it would be, but without its entries.
    async fn show_nothing(&self) -> StoreResult<Answer> {
        let Timed { value, at } = self.land().await?;
        Ok(Timed { value: self.request.empty_page().unwrap_or(value), at })
    }

    async fn land(&self) -> StoreResult<Answer> {
        let answer = self.request.perform(&*self.network.store).await;
        self.note(Step::Landed(&answer));
        answer
    }

    async fn tell(&self, answer: StoreResult<Answer>, tell: oneshot::Sender<StoreResult<Answer>>) {
        self.process.runs().await;
        if self.process.is_dead() {
            self.note(Step::Died);
        } else if tell.is_closed() {
            self.note(Step::Unheard);
        } else {
            self.note(Step::Answered(&answer));
            tell.send(answer).ok();
        }
    }

    fn note(&self, step: Step<'_>) {
        self.network.observer.note(&self.process.name, self.number, &self.request, self.fault, step);
    }
}

fn mismatch<T>(answer: &Answer) -> StoreResult<T> {
    Err(StoreError::new(StoreErrorKind::Invalid, format!("the faulty store answered another question: {answer}")))
}

/// Sends a request and takes the answer's only fitting variant out of it.
macro_rules! ask {
    ($store:expr, $request:expr, $fitting:pat => $value:expr) => {{
        let Timed { value, at } = $store.call($request).await?;
        match value {
            $fitting => Ok(Timed { value: $value, at }),
            other => mismatch(&other),
        }
    }};
}

#[async_trait]
impl Store for FaultyStore {
    fn kind(&self) -> StoreKind {
        // Whatever lies behind the network: requests over it are to be treated as the costly ones they stand for.
        StoreKind::S3
    }

    fn url(&self) -> String {
        self.network.store.url()
    }

    fn clock_resolution_ms(&self) -> i64 {
        self.network.store.clock_resolution_ms()
    }

    async fn get(&self, key: &str, if_none_match: Option<&ETag>) -> StoreResult<Got> {
        let request = Request::Get { key: key.to_owned(), if_none_match: if_none_match.cloned() };
        ask!(self, request, Answer::Got(got) => got)
    }

    async fn put(&self, key: &str, body: Bytes, condition: &Condition) -> StoreResult<Put> {
        let request = Request::Put { key: key.to_owned(), body, condition: condition.clone() };
        ask!(self, request, Answer::Put(put) => put)
    }

    async fn delete_many(&self, keys: &[String]) -> StoreResult<()> {
        ask!(self, Request::Delete { keys: keys.to_vec() }, Answer::Deleted => ())
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> StoreResult<Page> {
        let request = Request::List { prefix: prefix.to_owned(), start_after: start_after.map(str::to_owned), limit };
        ask!(self, request, Answer::Page(page) => page)
    }

    async fn list_on(&self, prefix: &str, token: &str, limit: usize) -> StoreResult<Page> {
        let request = Request::ListOn { prefix: prefix.to_owned(), token: token.to_owned(), limit };
        ask!(self, request, Answer::Page(page) => page)
    }

    async fn versions(&self, key: &str, before: Option<&VersionId>, limit: usize) -> StoreResult<VersionPage> {
        let request = Request::Versions { key: key.to_owned(), before: before.cloned(), limit };
        ask!(self, request, Answer::Versions(page) => page)
    }

    async fn get_version(&self, key: &str, version: &VersionId) -> StoreResult<Got> {
        let request = Request::GetVersion { key: key.to_owned(), version: version.clone() };
        ask!(self, request, Answer::Got(got) => got)
    }

    async fn keeps_versions(&self) -> StoreResult<bool> {
        ask!(self, Request::KeepsVersions, Answer::KeepsVersions(kept) => kept)
    }
}
