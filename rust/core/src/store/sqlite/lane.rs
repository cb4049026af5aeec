//! A thread that owns a connection and serves whatever requests wait in one transaction: group commit.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::super::{StoreError, StoreErrorKind, StoreResult, Timed};
use super::clock::Clock;
use super::database::{Link, Location, Mode};
use super::failure::explain;
use super::gate::{Gate, Seat};
use super::statements::{latest_time, set_latest_time};
use super::teller::Teller;
use super::threads::Threads;
use crate::time::Timestamp;

/// Requests that may wait before the callers do.
const QUEUE: usize = 1_024;

/// Requests that share a transaction at most, so that the first of them does not wait for too many others.
const GROUP: usize = 512;

/// Between two tries to empty a write-ahead log.
const LOG_PAUSE: Duration = Duration::from_secs(5);

/// What the thread does.
pub(super) struct Work {
    pub(super) mode: Mode,
    pub(super) location: Location,
    pub(super) clock: Arc<Clock>,
    /// Learns of what is written.
    pub(super) teller: Option<Arc<Teller>>,
}

/// The way to the thread. It ends when this is dropped.
pub(super) struct Lane {
    gate: &'static Gate,
    /// Absent only while this is dropped.
    jobs: Option<mpsc::Sender<Box<dyn Job>>>,
}

impl Lane {
    /// Starts the thread, as one of `threads`; it connects when the first request comes.
    pub(super) fn start(work: Work, gate: &'static Gate, threads: &mut Threads) -> Result<Self, StoreError> {
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let name = match work.mode {
            Mode::Write => "buquet-db-write",
            Mode::Read => "buquet-db-read",
        };
        let worker = Worker { work, seat: gate.seat(), limit_log_from: Instant::now() };
        threads.start(name, move || worker.serve(waiting))?;
        Ok(Self { gate, jobs: Some(jobs) })
    }

    /// Runs `work` in a transaction together with whatever else waits; answers once that is committed.
    pub(super) async fn run<T, W>(&self, work: W) -> StoreResult<T>
    where
        T: Send + 'static,
        W: FnOnce(&Connection, Timestamp) -> rusqlite::Result<T> + Send + 'static,
    {
        if self.gate.is_inherited() {
            let message = "this store was opened before a fork and its threads are the parent's; open a new one";
            return Err(StoreError::new(StoreErrorKind::Unsupported, message));
        }
        let (answer, answered) = oneshot::channel();
        let call = Call { work: Some(work), value: None, answer };
        let gone = || StoreError::new(StoreErrorKind::Unavailable, "the database's thread has ended; report this");
        self.jobs.as_ref().ok_or_else(gone)?.send(Box::new(call)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if self.gate.is_inherited() {
            // Its locks may be held by threads that are not here.
            mem::forget(self.jobs.take());
        }
    }
}

/// A request as its thread sees it.
trait Job: Send {
    /// Whether nobody waits for the answer any more.
    fn abandoned(&self) -> bool;
    /// Does the work inside the open transaction and keeps the answer.
    fn run(&mut self, database: &Connection, now: Timestamp) -> rusqlite::Result<()>;
    /// Gives the answer: the work's, or what befell the transaction.
    fn finish(self: Box<Self>, outcome: Result<(), StoreError>);
}

struct Call<T, W> {
    work: Option<W>,
    value: Option<Timed<T>>,
    answer: oneshot::Sender<StoreResult<T>>,
}

impl<T, W> Job for Call<T, W>
where
    T: Send,
    W: FnOnce(&Connection, Timestamp) -> rusqlite::Result<T> + Send,
{
    fn abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    fn run(&mut self, database: &Connection, now: Timestamp) -> rusqlite::Result<()> {
        if let Some(work) = self.work.take() {
            self.value = Some(Timed { value: work(database, now)?, at: now });
        }
        Ok(())
    }

    fn finish(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { value, answer, .. } = *self;
        let missing = || StoreError::new(StoreErrorKind::Unavailable, "the request was not run; report this");
        // Nobody waiting any more is no error.
        drop(answer.send(outcome.and_then(|()| value.ok_or_else(missing))));
    }
}

struct Worker {
    work: Work,
    seat: Seat,
    /// Not before this is it tried again to empty a log that somebody reads in.
    limit_log_from: Instant,
}

impl Worker {
    fn serve(mut self, mut waiting: mpsc::Receiver<Box<dyn Job>>) {
        loop {
            let mut group: Vec<Box<dyn Job>> = Vec::new();
            if waiting.blocking_recv_many(&mut group, GROUP) == 0 {
                return;
            }
            group.retain(|job| !job.abandoned());
            if group.is_empty() {
                continue;
            }
            let outcome = self.commit(&mut group);
            // Whoever is woken by its answer runs code of its own, which must not hold up a fork.
            for job in group {
                job.finish(outcome.clone());
            }
            self.limit_log();
        }
    }

    fn limit_log(&mut self) {
        let Mode::Write = self.work.mode else { return };
        let (pass, location, now) = (self.seat.pass(), &self.work.location, Instant::now());
        let Some(link) = &pass.link else { return };
        if let Err(error) = location.copy_log(link) {
            tracing::debug!(%error, path = %location.path.display(), "cannot copy the write-ahead log yet");
        }
        if now < self.limit_log_from {
            return;
        }
        match location.limit_log(link) {
            Ok(true) => {}
            Ok(false) => self.limit_log_from = now + LOG_PAUSE,
            Err(error) => {
                // What was acknowledged is safe in the log.
                tracing::warn!(%error, path = %location.path.display(), "cannot empty the write-ahead log");
                self.limit_log_from = now + LOG_PAUSE;
            }
        }
    }

    /// Serves the whole group in one transaction. An SQL error is the disk's or the file's, never one request's own
    /// (a refused condition is an answer), so it is everybody's.
    fn commit(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        let (mut pass, work) = (self.seat.pass(), &self.work);
        let location = &work.location;
        // Whatever goes wrong with a connection, the next request gets a new one: it is put back only at the end.
        let link = match pass.link.take() {
            Some(link) if location.is_current(&link) => link,
            Some(link) => {
                link.abandon();
                work.connect()?
            }
            None => work.connect()?,
        };
        let outcome = work.transact(&link, group);
        // What was written is acknowledged only if others find it.
        if (work.mode == Mode::Write || outcome.is_err()) && !location.is_current(&link) {
            link.abandon();
            return Err(location.replaced());
        }
        outcome.map_err(|error| explain(&location.path, &error))?;
        pass.link = Some(link);
        Ok(())
    }
}

impl Work {
    fn connect(&self) -> Result<Link, StoreError> {
        let link = self.location.connect(self.mode)?;
        if let Some(teller) = &self.teller {
            teller.write_with(&link);
        }
        Ok(link)
    }

    fn transact(&self, link: &Link, group: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
        let behavior = match self.mode {
            Mode::Write => TransactionBehavior::Immediate,
            Mode::Read => TransactionBehavior::Deferred,
        };
        let transaction = Transaction::new_unchecked(&link.connection, behavior)?;
        let Some(teller) = &self.teller else { return serve(transaction, &self.clock, group) };
        let outcome = teller.begin(link).and_then(|()| serve(transaction, &self.clock, group));
        teller.end(link, outcome.is_ok());
        outcome
    }
}

/// Serves the group in the transaction and commits that.
fn serve(transaction: Transaction<'_>, clock: &Clock, group: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    let now = clock.now(latest_time(&transaction)?);
    let changes = transaction.total_changes();
    for job in group {
        job.run(&transaction, now)?;
    }
    // A transaction that changed nothing needs no sync, so it must not write the clock either.
    if transaction.total_changes() > changes {
        set_latest_time(&transaction, now)?;
    }
    transaction.commit()
}
