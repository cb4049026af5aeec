//! A process as the network sees it: it may be stalled, and it may die.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::plan::{Fate, FaultPlan};
use super::request::Request;

/// On which side of a request a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// The request was never sent.
    Before,
    /// The request is on its way; its answer finds nobody.
    After,
}

#[derive(Debug)]
pub(super) struct Process {
    pub name: String,
    life: Mutex<Life>,
    died: Notify,
}

#[derive(Debug)]
struct Life {
    rng: SmallRng,
    sent: u64,
    dead: bool,
    doom: Option<(u64, CrashPoint)>,
    stalled_until: Option<Instant>,
}

impl Process {
    pub fn new(name: &str, seed: u64) -> Self {
        let life = Life { rng: SmallRng::seed_from_u64(seed), sent: 0, dead: false, doom: None, stalled_until: None };
        Self { name: name.to_owned(), life: Mutex::new(life), died: Notify::new() }
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers the next request and draws its fate; `None` if the process is dead or dies before it.
    pub fn send(&self, plan: &FaultPlan, request: &Request) -> Option<(u64, Fate)> {
        let mut life = self.life();
        if life.dead {
            return None;
        }
        let number = life.sent;
        life.sent += 1;
        let doomed = life.doom.and_then(|(at, point)| (number >= at).then_some(point));
        let fate = plan.draw(&mut life.rng, request);
        drop(life);
        if doomed.is_some() {
            self.die();
        }
        (doomed != Some(CrashPoint::Before)).then_some((number, fate))
    }

    pub fn die(&self) {
        self.life().dead = true;
        self.died.notify_waiters();
    }

    pub fn doom(&self, after: u64, point: CrashPoint) {
        let mut life = self.life();
        life.doom = Some((life.sent + after, point));
    }

    pub fn is_dead(&self) -> bool {
        self.life().dead
    }

    pub async fn dead(&self) {
        let died = self.died.notified();
        tokio::pin!(died);
        died.as_mut().enable();
        if !self.is_dead() {
            died.await;
        }
    }

    pub fn stall(&self, duration: Duration) {
        self.life().stalled_until = Some(Instant::now() + duration);
    }

    /// Waits until the process is not stalled; says whether it was.
    pub async fn runs(&self) -> bool {
        let mut stalled = false;
        loop {
            let until = self.life().stalled_until;
            match until {
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until).await,
                _ => return stalled,
            }
            stalled = true;
        }
    }
}
