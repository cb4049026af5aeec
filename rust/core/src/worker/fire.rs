//! Firing schedules: any worker does, and each slot's task is stored once all the same.
//!
//! A worker whose queue has no schedules does nothing here, and asks for nothing: it learns of schedules from the mark
//! that stands among the ready entries. It then knows all of them and when each is due. At that time it reads the one
//! object again, if it has changed: who fired last goes first, a few stand in for it, and the others come late; most often
//! they find that it is done.

mod known;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use self::known::Known;
use super::fleet::Work;
use super::shared::{Phase, Shared};
use crate::error::{Error, Result};
use crate::keys;
use crate::limits;
use crate::queue::{Derived, LoadedSchedule, ScheduleChange, StoredSchedule};
use crate::record::Extra;
use crate::schedule::{Decision, LastRun, Overlap, Run, Schedule, Skip, decide, slot_record};
use crate::time::Timestamp;

/// Schedules seen to, and read, at the same time.
const IN_FLIGHT: usize = 16;
/// Slots of one schedule stored at the same time.
const SLOTS_IN_FLIGHT: usize = 8;
/// Workers that stand in for the one that fired a schedule's last slot.
const STAND_INS: usize = 3;
/// The wait after the store could not be reached.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two looks at all schedules while none is known to have changed: whoever changed one may have died before
/// telling so.
const REFRESH: Duration = Duration::from_mins(10);

/// What a worker was told of schedules.
#[derive(Debug, Default)]
pub struct Notice {
    told: Mutex<Told>,
    wake: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// When the mark was last written, if there is one.
    marked: Option<Timestamp>,
    /// One was changed in this process.
    changed: bool,
}

impl Notice {
    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The mark was seen; this is when it was written.
    pub fn marked(&self, at: Timestamp) {
        self.told().marked = Some(at);
        self.wake.notify_one();
    }

    /// A schedule was changed in this process.
    pub fn changed(&self) {
        self.told().changed = true;
        self.wake.notify_one();
    }

    fn take(&self) -> Told {
        let mut told = self.told();
        let taken = *told;
        told.changed = false;
        taken
    }
}

/// What a worker knows of schedules.
#[derive(Debug, Default)]
struct Firing {
    known: BTreeMap<String, Known>,
    /// Server time at the beginning of the last look at all of them.
    refreshed: Option<Timestamp>,
    /// There is a mark, so there are or were schedules.
    marked: bool,
}

impl Shared {
    /// Fires schedules until the worker stops running.
    pub async fn keep_firing(self: Arc<Self>) {
        let mut firing = Firing::default();
        while self.lock().phase == Phase::Running {
            if let Err(error) = self.fire(&mut firing).await {
                self.warn("a schedule could not be seen to, trying again", &error);
                sleep(self.jittered(PAUSE)).await;
                continue;
            }
            let until = firing.next_wake(self.now());
            tokio::select! {
                biased;
                () = self.schedules.wake.notified() => {}
                () = async {
                    match until {
                        Some(until) => sleep_until(Instant::now() + until).await,
                        None => std::future::pending().await,
                    }
                } => {}
            }
        }
    }

    async fn fire(&self, firing: &mut Firing) -> Result<()> {
        let told = self.schedules.take();
        firing.marked |= told.marked.is_some();
        if firing.must_refresh(told, self.desk().bucket.time_margin(), self.now())
            && let Err(error) = self.refresh_schedules(firing).await
        {
            self.schedules.told().changed = true;
            return Err(error);
        }
        let now = self.now();
        let due: Vec<Known> = firing.take_due(now);
        let seen_to = stream::iter(due).map(|mut known| async move {
            let seen_to = self.see_to(&mut known).await;
            (known, seen_to)
        });
        let seen_to: Vec<(Known, Result<bool>)> = seen_to.buffered(IN_FLIGHT).boxed().collect().await;
        let mut outcome = Ok(());
        for (known, there) in seen_to {
            if !matches!(there, Ok(false)) {
                firing.known.insert(known.name.clone(), known);
            }
            outcome = match there {
                Ok(_) => outcome,
                Err(error) => outcome.and(Err(error)),
            };
        }
        outcome
    }

    /// Looks which schedules there are, and reads those that may have changed.
    async fn refresh_schedules(&self, firing: &mut Firing) -> Result<()> {
        let (started, margin) = (self.now(), self.desk().bucket.time_margin());
        let (mut names, mut changed, mut cursor) = (BTreeSet::new(), Vec::new(), None);
        for _ in 0..limits::SCHEDULE_PAGES {
            let page = self.desk().bucket.list(keys::SCHEDULES, cursor.as_deref(), limits::PAGE).await?.value;
            for listed in &page.entries {
                let Some(name) = keys::parse_schedule(&listed.key) else { continue };
                names.insert(name.to_owned());
                let known = firing.known.get(name);
                if known.is_none_or(|known| listed.last_modified.after(margin) >= known.read_at) {
                    changed.push((name.to_owned(), known.map(|known| known.etag.clone())));
                }
            }
            cursor = page.entries.last().filter(|_| page.more).map(|last| last.key.clone());
            if cursor.is_none() {
                break;
            }
        }
        if let Some(last) = cursor {
            self.warn("some schedules are not fired", &too_many_schedules(&last));
        }
        firing.known.retain(|name, _| names.contains(name));
        let reads = stream::iter(changed).map(|(name, etag)| async move {
            let read_at = self.now();
            let loaded = self.core.load_schedule(&name, etag.as_ref()).await;
            (name, read_at, loaded)
        });
        let reads: Vec<_> = reads.buffered(IN_FLIGHT).boxed().collect().await;
        for (name, read_at, loaded) in reads {
            match loaded {
                Ok(LoadedSchedule::Found(stored)) => {
                    let known = self.know(*stored, read_at);
                    firing.known.insert(name, known);
                }
                Ok(LoadedSchedule::NotModified) => {
                    if let Some(known) = firing.known.get_mut(&name) {
                        known.read_at = read_at;
                    }
                }
                Ok(LoadedSchedule::Missing) => drop(firing.known.remove(&name)),
                Err(error @ (Error::Corrupt(_) | Error::Layout(_))) => self.report_schedule(&name, &error),
                Err(error) => return Err(error),
            }
        }
        firing.refreshed = Some(started);
        Ok(())
    }

    fn know(&self, stored: StoredSchedule, read_at: Timestamp) -> Known {
        let mine = stored.schedule.last_run.as_ref().is_some_and(|run| run.worker == self.id);
        let stands_in = self.fleet().rank(Work::Schedule(&stored.schedule.name)) < STAND_INS;
        let mut known = Known::new(stored, read_at, mine, stands_in);
        known.wait_for_next(self.entropy().unit());
        known
    }

    fn report_schedule(&self, name: &str, error: &Error) {
        self.report(&keys::schedule(name), format!("{error}; set aside until it changes"));
    }

    /// Does what is to be done about one schedule whose time has come; whether it is still there.
    async fn see_to(&self, known: &mut Known) -> Result<bool> {
        let read_at = self.now();
        match self.core.load_schedule(&known.name, Some(&known.etag)).await {
            Ok(LoadedSchedule::Found(stored)) => {
                *known = self.know(*stored, read_at);
                if !known.mine {
                    // Somebody else is at it: if that stops, the next look finds it as it is now.
                    return Ok(true);
                }
            }
            Ok(LoadedSchedule::NotModified) => known.read_at = read_at,
            Ok(LoadedSchedule::Missing) => return Ok(false),
            Err(error @ (Error::Corrupt(_) | Error::Layout(_))) => {
                self.report_schedule(&known.name, &error);
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        self.fire_due(known).await
    }

    /// Fires what is due and writes down how far that has come; whether the schedule is still there.
    async fn fire_due(&self, known: &mut Known) -> Result<bool> {
        let last = self.last_run(&known.schedule).await?;
        let decision = decide(&known.schedule, &known.timing, self.now(), last);
        if !decision.changes(&known.schedule) {
            known.wait_for_next(self.entropy().unit());
            return Ok(true);
        }
        let this: &Known = known;
        let firings = stream::iter(&decision.fire).map(|slot| self.store_slot(this, *slot));
        let answers: Vec<Result<(Timestamp, Derived)>> = firings.buffered(SLOTS_IN_FLIGHT).boxed().collect().await;
        let (mut last_stored, mut foreign) = (None, false);
        for answer in answers {
            let (slot, derived) = answer?;
            foreign |= matches!(derived, Derived::Found(_));
            last_stored = Some((slot, derived.id()));
        }
        let read_at = self.now();
        let run = last_stored.map(|(slot, task)| Run { slot, task, at: read_at, worker: self.id, extra: Extra::new() });
        let stored = StoredSchedule { schedule: known.schedule.clone(), etag: known.etag.clone() };
        let note = |schedule: &mut Schedule, now| schedule.note(&decision, run.as_ref(), now).then_some(());
        match self.core.change_schedule(stored, note).await? {
            ScheduleChange::Done((), schedule, Some(etag)) => {
                *known = self.know(StoredSchedule { schedule, etag }, read_at);
            }
            // Somebody has changed it right after: it is read again.
            ScheduleChange::Done((), schedule, None) => {
                known.schedule = schedule;
                known.wait_for_next(self.entropy().unit());
            }
            ScheduleChange::Unchanged(stored) => *known = self.know(stored, read_at),
            ScheduleChange::Missing => return Ok(false),
        }
        if foreign && known.mine {
            known.mine = false;
            known.wait_for_next(self.entropy().unit());
        }
        Ok(true)
    }

    /// Stores a slot's task. Who did not fire the last slot looks first whether somebody else has fired this one.
    async fn store_slot(&self, known: &Known, slot: Timestamp) -> Result<(Timestamp, Derived)> {
        let id = slot_record(&known.schedule, slot);
        if !known.mine
            && !self.settings().variant.forgets_slots()
            && let Some(found) = self.desk().load(id).await?
            && !found.record.void
        {
            return Ok((slot, Derived::Found(Box::new(found.record))));
        }
        Ok((slot, self.core.store_slot(&known.schedule, slot, None).await?))
    }

    /// How the last run fares, if the schedule heeds it.
    async fn last_run(&self, schedule: &Schedule) -> Result<LastRun> {
        let heeded = schedule.last_run.as_ref().filter(|_| schedule.definition.overlap != Overlap::Allow);
        let Some(run) = heeded else { return Ok(LastRun::Finished) };
        // A record that is gone or cannot be read must not hold the schedule up for ever.
        let stored = match self.desk().load(run.task.record()).await {
            Ok(stored) => stored,
            Err(Error::Corrupt(_) | Error::Layout(_)) => None,
            Err(error) => return Err(error),
        };
        let task = stored.as_ref().and_then(|stored| stored.record.task(run.task));
        Ok(if task.is_some_and(|task| !task.status.is_terminal()) { LastRun::Unfinished } else { LastRun::Finished })
    }
}

impl Firing {
    fn must_refresh(&self, told: Told, margin: Duration, now: Timestamp) -> bool {
        let Some(refreshed) = self.refreshed else { return told.changed || self.marked };
        // What was written at about the time of the last look may have come right after it.
        let newer = told.marked.is_some_and(|marked| marked.after(margin) >= refreshed);
        told.changed || newer || (self.marked && now.since(refreshed) >= REFRESH)
    }

    fn take_due(&mut self, now: Timestamp) -> Vec<Known> {
        let is_due = |known: &Known| known.at.is_some_and(|at| at <= now);
        let names: Vec<String> =
            self.known.iter().filter(|(_, known)| is_due(known)).map(|(name, _)| name.clone()).collect();
        names.iter().filter_map(|name| self.known.remove(name)).collect()
    }

    /// How long until something is due; `None` if nothing ever is.
    fn next_wake(&self, now: Timestamp) -> Option<Duration> {
        let refresh = self.refreshed.filter(|_| self.marked).map(|refreshed| refreshed.after(REFRESH));
        let next = self.known.values().filter_map(|known| known.at).chain(refresh).min()?;
        // The clock shows the earliest the server's time can be, so the moment may have to be waited for again.
        Some(next.since(now).clamp(Duration::from_millis(1), REFRESH))
    }
}

impl Schedule {
    /// Takes in what was decided and done; whether that changes anything. If somebody else has come further it does
    /// not, except for a later slot that only this worker has fired.
    fn note(&mut self, decision: &Decision, run: Option<&Run>, now: Timestamp) -> bool {
        let is_later = |run: &&Run| self.last_run.as_ref().is_none_or(|last| last.slot < run.slot);
        let later = run.filter(is_later).cloned();
        let changed = later.is_some();
        self.last_run = later.or_else(|| self.last_run.take());
        // What has fired meanwhile waits no more.
        let fired = self.last_run.as_ref().map(|run| run.slot);
        let waiting = decision.waiting.filter(|slot| fired.is_none_or(|fired| fired < *slot));
        if self.handled > decision.handled || (self.handled == decision.handled && self.waiting == waiting) {
            return changed;
        }
        self.handled = decision.handled;
        self.waiting = waiting;
        if let Some((slot, reason)) = decision.skipped {
            self.last_skip = Some(Skip { slot, reason, at: now, extra: Extra::new() });
        }
        true
    }
}

/// What is said where a queue has more schedules than a worker reads.
fn too_many_schedules(last: &str) -> Error {
    let most = limits::SCHEDULE_PAGES * limits::PAGE;
    Error::Invalid(format!(
        "there are more than {most} schedules; those after {last} are left out: delete some, or use another queue"
    ))
}
