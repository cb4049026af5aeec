//! A completion queue: which operations are in flight, which have completed, and who waits for them.
//!
//! An operation is in flight while its ticket is in `running`. Whoever removes the ticket there completes the
//! operation, which is what makes every operation complete exactly once.
//!
//! Completions wait in memory until they are drained. Once those that wait have [`MOST_BYTES`] nothing more begins; and
//! of what had begun by then, an answer that only tells what is stored is let go, and made again when there is room.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::RangeBounds;
use std::os::fd::RawFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use buquet_core::{Error, ops};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::abi::{BQ_ERR_CLOSED, BQ_MAX_PENDING, BQ_OK, BQ_TIMEOUT};
use crate::engine::{self, Engine, remaining};
use crate::failure::Failure;
use crate::notify::Notify;

/// Bytes of answers that wait to be drained before others have to wait.
pub const MOST_BYTES: usize = 64 << 20;

/// What an operation came to.
pub struct Completion {
    token: u64,
    answer: Result<String, Error>,
    /// What the engine had to tell by then, and no completion before has told.
    notices: Vec<ops::Notice>,
}

/// A queue, shared by its handle and the calls that are under way.
#[derive(Debug)]
pub struct Queue {
    engine: Weak<Engine>,
    state: Mutex<State>,
    /// Something for [`Queue::wait`] to look at: a completion, or the end.
    arrived: Condvar,
    /// The last operation in flight has completed.
    idle: Condvar,
    /// Raised while `ready` has something in it.
    notify: Notify,
    /// There may be room for more answers.
    room: tokio::sync::Notify,
    /// Held by the operation that is next to have the room.
    turn: tokio::sync::Mutex<()>,
}

/// The caller's token and a serial number, since tokens may repeat.
type Ticket = (u64, u64);

#[derive(Default)]
struct State {
    running: BTreeMap<Ticket, oneshot::Sender<()>>,
    ready: VecDeque<Completion>,
    /// Bytes of the answers in `ready`.
    bytes: usize,
    serial: u64,
    /// The engine is closing: nothing more is accepted.
    stopped: bool,
    /// The queue itself is closed.
    closed: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} running, {} ready", self.running.len(), self.ready.len())
    }
}

impl State {
    /// Whether an answer of so many bytes may join those that wait. One that is alone always may, and all at the end,
    /// when nobody may be draining any more.
    const fn has_room(&self, bytes: usize) -> bool {
        self.bytes == 0 || self.bytes.saturating_add(bytes) <= MOST_BYTES || self.stopped || self.closed
    }

    /// Nothing is here and nothing can come any more.
    fn over(&self) -> bool {
        self.closed || (self.stopped && self.running.is_empty() && self.ready.is_empty())
    }
}

impl Queue {
    pub fn new(engine: Weak<Engine>) -> io::Result<Self> {
        Ok(Self {
            engine,
            state: Mutex::default(),
            arrived: Condvar::new(),
            idle: Condvar::new(),
            notify: Notify::new()?,
            room: tokio::sync::Notify::new(),
            turn: tokio::sync::Mutex::new(()),
        })
    }

    pub fn fd(&self) -> RawFd {
        self.notify.fd()
    }

    /// Accepts an operation and starts it.
    pub fn submit(self: &Arc<Self>, op: &str, request: &[u8], token: u64) -> Result<(), Failure> {
        let engine = self.engine.upgrade().ok_or_else(engine_closed)?;
        let (op, request) = (op.to_owned(), request.to_vec());
        let (ticket, cancelled) = self.accept(token)?;
        let running = Running { queue: Arc::downgrade(self), ticket };
        engine.spawn(run(engine.core(), op, request, cancelled, running));
        Ok(())
    }

    fn accept(&self, token: u64) -> Result<(Ticket, oneshot::Receiver<()>), Failure> {
        let mut state = self.state();
        if state.closed {
            return Err(Failure::closed("the queue is closed: open a new one"));
        }
        if state.stopped {
            return Err(engine_closed());
        }
        if state.running.len() + state.ready.len() >= BQ_MAX_PENDING {
            return Err(Failure::overloaded(format!(
                "{} operations are in flight and {} completions wait on this queue, {BQ_MAX_PENDING} are allowed \
                 together: drain completions, then submit again",
                state.running.len(),
                state.ready.len()
            )));
        }
        let (cancel, cancelled) = oneshot::channel();
        state.serial += 1;
        let ticket = (token, state.serial);
        state.running.insert(ticket, cancel);
        drop(state);
        Ok((ticket, cancelled))
    }

    /// Completes every operation in flight under `token` as closed; their tasks stop when they see it.
    pub fn cancel(&self, token: u64) {
        self.abort((token, 0)..=(token, u64::MAX), "the operation was cancelled; it may still have taken effect");
    }

    /// Waits for a completion: `BQ_OK`, `BQ_TIMEOUT`, or `BQ_ERR_CLOSED` once none can come. `None`: for ever.
    pub fn wait(&self, timeout: Option<Duration>) -> i32 {
        let nothing = |state: &mut State| state.ready.is_empty() && !state.over();
        let state = wait_while(&self.arrived, self.state(), timeout, nothing);
        if state.over() {
            BQ_ERR_CLOSED
        } else if state.ready.is_empty() {
            BQ_TIMEOUT
        } else {
            BQ_OK
        }
    }

    /// Takes up to `max` completions, in the order in which they came.
    pub fn drain(&self, max: usize) -> Vec<Completion> {
        let mut state = self.state();
        let taken = max.min(state.ready.len());
        let completions: Vec<_> = state.ready.drain(..taken).collect();
        state.bytes -= completions.iter().map(|completion| size(&completion.answer)).sum::<usize>();
        if taken > 0 && state.ready.is_empty() {
            self.notify.lower();
        }
        drop(state);
        self.room.notify_waiters();
        completions
    }

    /// Drops everything, in flight or completed, and wakes who waits.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let running = std::mem::take(&mut state.running);
        let ready = std::mem::take(&mut state.ready);
        state.bytes = 0;
        self.arrived.notify_all();
        self.idle.notify_all();
        drop(state);
        self.room.notify_waiters();
        drop((running, ready));
    }

    /// Accepts no more operations: the engine is closing.
    pub fn stop_accepting(&self) {
        self.state().stopped = true;
        self.arrived.notify_all();
        self.room.notify_waiters();
    }

    /// Waits until nothing is in flight. False if the deadline came first.
    pub fn wait_until_idle(&self, deadline: Option<Instant>) -> bool {
        wait_while(&self.idle, self.state(), deadline.map(remaining), |state| !state.running.is_empty())
            .running
            .is_empty()
    }

    /// Completes everything in flight as closed.
    pub fn abandon(&self) {
        self.abort(.., "the engine was closed before the operation was done; it may still have taken effect");
    }

    fn abort(&self, range: impl RangeBounds<Ticket>, message: &str) {
        let tickets: Vec<_> = self.state().running.range(range).map(|(ticket, _)| *ticket).collect();
        for ticket in tickets {
            self.complete(ticket, Err(Error::Closed(message.into())), Vec::new());
        }
    }

    /// Completes an operation, unless that has happened already.
    fn complete(&self, ticket: Ticket, answer: Result<String, Error>, notices: Vec<ops::Notice>) {
        self.push(self.state(), ticket, answer, notices);
    }

    /// Completes an operation if there is room for its answer; whether there was.
    fn complete_if_room(&self, ticket: Ticket, answer: Result<String, Error>, core: &ops::Engine) -> bool {
        let state = self.state();
        let fits = state.has_room(size(&answer));
        if fits {
            self.push(state, ticket, answer, core.take_notices());
        }
        fits
    }

    fn push(
        &self,
        mut state: MutexGuard<'_, State>,
        ticket: Ticket,
        answer: Result<String, Error>,
        notices: Vec<ops::Notice>,
    ) {
        if state.running.remove(&ticket).is_none() {
            return;
        }
        if state.ready.is_empty() {
            self.notify.raise();
        }
        state.bytes += size(&answer);
        state.ready.push_back(Completion { token: ticket.0, answer, notices });
        self.arrived.notify_all();
        if state.running.is_empty() {
            self.idle.notify_all();
        }
    }

    /// Waits until an answer of so many bytes may join those that wait to be drained; gives the turn, if it took one.
    async fn wait_for_room(&self, bytes: usize) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        if self.state().has_room(bytes) {
            return None;
        }
        let turn = self.turn.lock().await;
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if self.state().has_room(bytes) {
                return Some(turn);
            }
            room.await;
        }
    }

    /// Bytes of answers that wait to be drained.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.state().bytes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An operation's hold on its queue. Dropped without an answer, it completes the operation as closed: that happens
/// when the runtime ends under it.
struct Running {
    queue: Weak<Queue>,
    ticket: Ticket,
}

impl Running {
    fn complete(&self, answer: Result<String, Error>, notices: Vec<ops::Notice>) {
        if let Some(queue) = self.queue.upgrade() {
            queue.complete(self.ticket, answer, notices);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.complete(Err(Error::Closed("the engine ended before the operation was done".into())), Vec::new());
    }
}

async fn run(
    core: Arc<ops::Engine>,
    op: String,
    request: Vec<u8>,
    mut cancelled: oneshot::Receiver<()>,
    running: Running,
) {
    tokio::select! {
        biased;
        _ = &mut cancelled => {}
        () = run_in_turn(&core, &op, &request, &running) => {}
    }
}

/// Runs an operation and completes it, once there is room for its answer.
async fn run_in_turn(core: &ops::Engine, op: &str, request: &[u8], running: &Running) {
    if let Some(queue) = running.queue.upgrade() {
        queue.wait_for_room(1).await;
    }
    let answer = engine::call(core, op, request).await;
    let Some(queue) = running.queue.upgrade() else { return };
    if !engine::only_looks(op) {
        return queue.complete(running.ticket, answer, core.take_notices());
    }
    let bytes = size(&answer);
    if queue.complete_if_room(running.ticket, answer, core) {
        return;
    }
    let _turn = queue.wait_for_room(bytes).await;
    let answer = engine::call(core, op, request).await;
    queue.complete(running.ticket, answer, core.take_notices());
}

fn size(answer: &Result<String, Error>) -> usize {
    answer.as_ref().map_or(0, String::len)
}

/// The completions as a JSON array.
pub fn render(completions: &[Completion]) -> Vec<u8> {
    let answers = completions.iter().map(|completion| completion.answer.as_ref().map_or(0, String::len));
    let mut text = String::with_capacity(answers.sum::<usize>() + 64 * completions.len() + 2);
    for completion in completions {
        text.push(if text.is_empty() { '[' } else { ',' });
        text.push_str("{\"token\":");
        text.push_str(&completion.token.to_string());
        match &completion.answer {
            Ok(answer) => {
                text.push_str(",\"ok\":");
                text.push_str(answer);
            }
            Err(error) => {
                let error = serde_json::json!({"code": error.code(), "message": error.to_string()});
                text.push_str(",\"error\":");
                text.push_str(&error.to_string());
            }
        }
        if !completion.notices.is_empty() {
            text.push_str(",\"notices\":");
            text.push_str(&serde_json::json!(completion.notices).to_string());
        }
        text.push('}');
    }
    text.push(']');
    text.into_bytes()
}

fn engine_closed() -> Failure {
    Failure::closed("the engine of this queue is closed: open a new engine and a queue on it")
}

fn wait_while<'a>(
    condvar: &Condvar,
    state: MutexGuard<'a, State>,
    timeout: Option<Duration>,
    condition: impl FnMut(&mut State) -> bool,
) -> MutexGuard<'a, State> {
    match timeout {
        Some(timeout) => {
            condvar.wait_timeout_while(state, timeout, condition).unwrap_or_else(PoisonError::into_inner).0
        }
        None => condvar.wait_while(state, condition).unwrap_or_else(PoisonError::into_inner),
    }
}
