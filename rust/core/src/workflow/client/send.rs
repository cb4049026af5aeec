//! Signals, and what is said to callbacks: an object in the inbox of a run, and then the wake that leads to it.

use std::str::FromStr;

use super::{another_generation, no_run};
use crate::error::{Error, Result};
use crate::id::{RecordId, TaskId};
use crate::keys;
use crate::limits::KEY_CHARS;
use crate::queue::{Queue, check_payload};
use crate::record::{BatchRecord, Extra, Json, Waking};
use crate::time::Timestamp;
use crate::workflow::entry::{End, Entry, News, Outcome, Received, Told, What};
use crate::workflow::ids::{check_name, digest};
use crate::workflow::inbox::{CALLBACKS, Letter, Sign};
use crate::workflow::model::{Millis, Op, Run};
use crate::workflow::signals::mark;
use crate::workflow::status::RunStatus;

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is stored, and the run is woken for it.
    Sent(RunStatus),
    /// The run has ended in this way: it will not be read.
    Ended(RunStatus),
}

/// What is said to a callback.
#[derive(Clone, Debug)]
pub enum Said {
    /// It is still being worked on.
    Alive,
    /// It has ended.
    Ended(End),
}

/// Names one callback of one life of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallbackToken {
    /// The run.
    pub run: TaskId,
    /// Its generation and execution.
    pub life: (u64, u64),
    /// The operation.
    pub op: Op,
}

impl FromStr for CallbackToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let read = || {
            let mut parts = text.rsplitn(4, '.');
            let op = parts.next()?.parse().ok()?;
            let execution = parts.next()?.parse().ok()?;
            let generation = parts.next()?.parse().ok()?;
            let run = parts.next()?.parse::<TaskId>().ok().filter(|run| run.is_run())?;
            Some(Self { run, life: (generation, execution), op })
        };
        read().ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            Error::Invalid(format!(
                "{shown:?} is not the token of a callback: pass the one that ctx.callback gave, unchanged"
            ))
        })
    }
}

impl Queue {
    /// Sends a signal to a run. Returns once it is stored and the run is woken. One with an id is sent once.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] if the run was started anew; [`Error::Invalid`] for a name or payload that cannot be; the store's:
    /// then it may be sent, and sending it again with the same id does no harm.
    pub async fn signal_run(
        &self,
        id: TaskId,
        name: &str,
        payload: Json,
        signal_id: Option<String>,
        generation: Option<u64>,
    ) -> Result<Sent> {
        check_name("signal", name)?;
        check_payload("payload", &payload)?;
        if signal_id.as_ref().is_some_and(|id| id.is_empty() || id.chars().count() > KEY_CHARS) {
            return Err(Error::Invalid(format!("the id of a signal has 1 to {KEY_CHARS} characters")));
        }
        let run = self.run_to_tell(id, generation).await?;
        if run.status.is_ended() {
            return Ok(Sent::Ended(run.status));
        }
        let at = self.next_time();
        let last = match &signal_id {
            Some(id) => format!("id_{}", RecordId::derived(&[id])),
            None => self.fresh(at),
        };
        let is_consumed = |run: &Run| run.consumed.contains(&mark(name, &last));
        if is_consumed(&run) {
            return Ok(Sent::Sent(run.status));
        }
        let letter = Letter::new(run.generation, at, signal_id.clone(), payload);
        let body = letter.encode()?;
        let key = keys::signal(id, name, &last);
        if signal_id.is_some() {
            // Whoever was first has sent it; the wake may be missing all the same.
            self.bucket().put_if_absent(&key, body).await?;
        } else {
            self.bucket().put(&key, body).await?;
        }
        let sent = self.wake_for(id, run.generation, Some(&letter)).await?;
        if let Sent::Ended(_) = sent {
            let now = self.run_to_tell(id, None).await.ok();
            if let Some(now) = now.filter(|now| now.generation == run.generation && is_consumed(now)) {
                return Ok(Sent::Sent(now.status));
            }
            self.core().desk.deleter.delete([key]);
        }
        Ok(sent)
    }

    /// Says something to a callback.
    ///
    /// # Errors
    /// As [`Queue::signal_run`].
    pub async fn tell_callback(&self, token: CallbackToken, said: Said) -> Result<Sent> {
        let CallbackToken { run: id, life, op } = token;
        let end = match said {
            Said::Alive => None,
            Said::Ended(end) => {
                end.output.iter().try_for_each(|output| check_payload("output", output))?;
                let makes_sense = match end.outcome {
                    Outcome::Completed => end.output.is_some() && end.error.is_none(),
                    Outcome::Failed => end.error.is_some() && end.output.is_none(),
                    Outcome::Cancelled | Outcome::Skipped | Outcome::Timeout => false,
                };
                if !makes_sense {
                    return Err(Error::Invalid(
                        "a callback is completed with an output, or failed with an error".into(),
                    ));
                }
                Some(end)
            }
        };
        let run = self.run_to_tell(id, Some(life.0)).await?;
        if run.status.is_ended() || run.execution != life.1 {
            return Ok(Sent::Ended(run.status));
        }
        if !run.open.contains_key(&op) {
            return Ok(Sent::Ended(run.status));
        }
        let at = self.next_time();
        let body = Sign::new(life, op, at, end).encode()?;
        self.bucket().put(&keys::signal(id, CALLBACKS, &self.fresh(at)), body).await?;
        self.wake_for(id, life.0, None).await
    }

    async fn run_to_tell(&self, id: TaskId, generation: Option<u64>) -> Result<Run> {
        let stored = self.core().desk.load(id.record()).await?;
        let task = stored.as_ref().and_then(|stored| stored.record.task(id)).filter(|task| task.purged_at.is_none());
        let run = task.and_then(|task| task.run.as_deref()).ok_or_else(|| no_run(id))?;
        match generation.filter(|asked| *asked != run.generation) {
            Some(asked) => Err(another_generation(id, asked, run.generation)),
            None => Ok(run.clone()),
        }
    }

    async fn wake_for(&self, id: TaskId, generation: u64, letter: Option<&Letter>) -> Result<Sent> {
        let letter = letter.filter(|_| self.core().settings.variant.clients_append());
        let change = |record: &mut BatchRecord, now: Timestamp| {
            letter.map(|letter| append_anyhow(record, id, letter));
            let run = record.task(id).and_then(|task| task.run.as_deref()).ok_or_else(|| no_run(id))?;
            let status = run.status;
            if run.generation != generation {
                return Err(another_generation(id, generation, run.generation));
            }
            Ok(match record.wake(id, now) {
                waking @ (Waking::Woken | Waking::Noted | Waking::Known) => (Sent::Sent(status), waking.is_change()),
                Waking::Finished(_) | Waking::Missing => (Sent::Ended(status), false),
            })
        };
        self.core().change_run(id, change).await
    }

    /// Server time, later than all that was sent before through this queue.
    fn next_time(&self) -> Millis {
        Millis(self.core().next_sending(self.bucket().now().0))
    }

    /// The last part of a key that no other signal has; in the order of time.
    fn fresh(&self, at: Millis) -> String {
        let random = self.bucket().entropy().bits();
        format!("{:014}_{}", at.0.max(0), digest(&[&random.to_string(), &at.0.to_string()]))
    }
}

/// The broken variant: tells the first wait in a run's journal of a signal, whoever drives it.
fn append_anyhow(record: &mut BatchRecord, id: TaskId, letter: &Letter) {
    let task = record.tasks.get_mut(usize::from(id.index()));
    let Some(run) = task.and_then(|task| task.run.as_mut()) else { return };
    let entries = &run.journal.entries;
    let is_told =
        |op: Op| entries.iter().any(|entry| matches!(&**entry, Entry::Told(told) if told.news.op() == Some(op)));
    let waits = (0..).zip(entries).find(|(op, entry)| {
        matches!(&***entry, Entry::Ask(ask) if matches!(ask.what, What::Signal { .. })) && !is_told(*op)
    });
    if let Some((op, _)) = waits.filter(|_| run.journal.chunks.is_empty()) {
        let signal = Received {
            payload: Some(letter.payload.clone()),
            payload_ref: None,
            sent_at: letter.at,
            id: letter.id.clone(),
        };
        let told = Told { at: letter.at, news: News::Signal { op, signal: Some(signal) }, extra: Extra::new() };
        run.open.remove(&op);
        run.journal.entries.push(std::sync::Arc::new(Entry::Told(told)));
    }
}
