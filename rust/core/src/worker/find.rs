//! Finding work: what the process itself submits, what the bell tells, what falls due, and a regular look.
//!
//! [`super::look`] says what to look at next; here it is looked at.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::candidates::{Candidate, Source};
use super::ear::Ear;
use super::fleet::Work;
use super::look::{Facts, Look, Lookout, Rhythm, Seen, Stretch, plan_look};
use super::parked::ParkedLook;
use super::settle::WorkOutcome;
use super::shared::{Phase, Shared};
use crate::error::Result;
use crate::keys::{self, READY, ReadyEntry};
use crate::limits;
use crate::queue::{BellRead, Rung};
use crate::store::{ETag, Page};
use crate::time::Timestamp;

/// The wait after the store could not be reached.
const PAUSE: Duration = Duration::from_secs(1);
const MISSED: &str = "looking for work failed, trying again";
/// So many entries told at once are the beginning of more; then as many workers look into the index.
const BURST: usize = 3;
/// Workers that look at once when there is more in the index than the bell has room to tell of; as many others do so a
/// little later each time.
const CROWD: usize = 64;
/// The longest that one of those waits.
const LATEST: Duration = Duration::from_secs(3);
/// Between two counts of the workers because others were first too often.
const RECOUNT: Duration = Duration::from_secs(2);

/// What the finder knows between its rounds.
#[derive(Debug)]
struct Finder {
    lookout: Lookout,
    /// The tag of the bell when it was read last, and up to where it was read.
    bell: (Option<ETag>, Option<BellRead>),
    /// The bell was looked at before, whether it was there or not.
    listened: bool,
    /// Tells of writes, if the store can; without it the bell is looked at regularly.
    heard: Option<Heard>,
    ear: Ear,
    parked: ParkedLook,
}

/// What tells of writes.
#[derive(Clone, Debug)]
struct Heard {
    /// Others' to the store.
    changes: watch::Receiver<()>,
    /// This process's to the bell.
    touches: watch::Receiver<()>,
}

impl Shared {
    /// Finds work until the worker stops running.
    pub async fn keep_finding(self: Arc<Self>) {
        let now = Instant::now();
        let rhythm = Rhythm { bell: self.settings().bell_watch, full: self.settings().full_look };
        let changes = self.desk().bucket.store().changes();
        let mut finder = Finder {
            lookout: Lookout::new(now, rhythm),
            bell: (None, None),
            listened: false,
            ear: Ear::new(now, rhythm.bell, changes.is_some()),
            parked: ParkedLook::new(rhythm.full),
            heard: changes.map(|changes| Heard { changes, touches: self.core.bell.touches() }),
        };
        // Who does not know of others reaches for everything.
        self.count_workers().await;
        loop {
            if self.lock().phase != Phase::Running {
                return;
            }
            self.give_back_old();
            self.end_called_off();
            self.recount_if_beaten().await;
            if self.room() > 0 {
                if let Err(error) = self.find(&mut finder).await {
                    self.missed(MISSED, &error);
                    self.rest(Instant::now() + self.jittered(PAUSE), None).await;
                    continue;
                }
                self.answered(MISSED);
            }
            if self.room() > 0 {
                self.consider_others(&mut finder);
                if !plan_look(&finder.lookout, &self.facts(&finder)).is_empty() {
                    continue;
                }
            }
            let deadline = self.next_deadline(&finder);
            // Without room for tasks nothing takes note of a write, and the same one would wake this loop again and again.
            let writes = finder.writes_to_hear_of().filter(|_| self.room() > 0);
            self.rest(deadline, writes).await;
        }
    }

    async fn count_workers(&self) {
        if let Err(error) = self.recount().await {
            self.warn("the workers could not be counted, trying again", &error);
        }
    }

    /// Counts the workers anew if others were often first at what this one wanted to claim.
    async fn recount_if_beaten(&self) {
        let due = {
            let mut inner = self.lock();
            let long_ago = inner.counted.is_none_or(|counted| counted.elapsed() >= RECOUNT);
            long_ago && std::mem::take(&mut inner.recount)
        };
        if due {
            self.count_workers().await;
        }
    }

    /// Waits until a moment, until something is to be done here, or until it is heard that somebody wrote.
    async fn rest(&self, until: Instant, writes: Option<Heard>) {
        let written = async {
            match writes {
                Some(mut heard) => heard.any().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.wake.notified() => {}
            () = written => {}
            () = sleep_until(until) => {}
        }
    }

    fn facts(&self, finder: &Finder) -> Facts {
        let wanted = self.wanted();
        let hungry = self.lock().candidates.due() < wanted;
        Facts { now: Instant::now(), hungry, settled: finder.ear.is_settled() }
    }

    /// One step: look where it is time to, then claim what is due, whatever the looking came to.
    async fn find(self: &Arc<Self>, finder: &mut Finder) -> Result<()> {
        finder.note_changes(Instant::now());
        let looked = self.look_around(finder).await.and(self.look_at_parked(&mut finder.parked).await);
        let claimed = self.claim_due().await;
        looked.and(claimed)
    }

    async fn look_around(&self, finder: &mut Finder) -> Result<()> {
        let mut looks = plan_look(&finder.lookout, &self.facts(finder)).into_iter().peekable();
        if looks.next_if_eq(&Look::Bell).is_some() {
            self.look_at_bell(finder).await?;
        }
        let lookout = &mut finder.lookout;
        let mut stretches = Vec::new();
        for look in looks {
            match look {
                Look::Bell => {}
                Look::Beginning => self.look_at_beginning(lookout, &mut finder.parked).await?,
                Look::Page(after) => self.look_at_page(lookout, &after).await?,
                Look::Lately(stretch) => stretches.push(stretch),
            }
        }
        let pages = join_all(stretches.iter().map(|stretch| self.read_stretch(stretch))).await;
        for (stretch, page) in stretches.iter().zip(pages) {
            let page = page?;
            let seen = self.take_page(&page, lookout.shares());
            lookout.saw_lately(stretch, &seen, self.horizon().minute());
        }
        Ok(())
    }

    /// Takes in what the bell tells, and expects more in the index if it does not tell all.
    async fn look_at_bell(&self, finder: &mut Finder) -> Result<()> {
        let now = Instant::now();
        finder.lookout.saw_bell(finder.ear.next_look(now));
        let quiet = self.desk().bucket.store().is_quiet();
        let rung = self.core.bell.look(finder.bell.0.as_ref()).await?;
        finder.ear.look(now, quiet);
        let began = !std::mem::replace(&mut finder.listened, true);
        let Rung::Yes(etag, told) = rung else { return Ok(()) };
        let news = told.as_ref().map(|told| told.news(finder.bell.1.as_ref(), |hash| self.concerns(hash)));
        finder.bell = (etag, told.as_ref().map(crate::queue::Told::read));
        let (entries, more) = news.map_or_else(|| (Vec::new(), true), |news| (news.entries, news.more));
        let (fleet, horizon) = (self.fleet(), self.horizon());
        let due: Vec<ReadyEntry> = entries.into_iter().filter(|entry| entry.due <= horizon).collect();
        for entry in &due {
            self.offer_candidate(Candidate::new(*entry, Source::Told), &fleet, 1);
        }
        // Who has just begun looks at all of the index anyway.
        let more = more && !began;
        if !more && due.len() < BURST {
            return Ok(());
        }
        let rank = fleet.rank(Work::Ring(told.map_or(0, |told| told.number())));
        if more || rank < due.len() {
            let turn = u32::try_from(rank / CROWD).unwrap_or(u32::MAX);
            let wait = self.settings().patience.saturating_mul(turn).min(LATEST);
            let (minute, place) = (self.now().minute(), fleet.place(self.entropy().unit()));
            finder.lookout.expect(Instant::now() + wait, minute, place);
        }
        Ok(())
    }

    /// One LIST of the index from its beginning. If that is all of it, it is taken in; else the walk through it begins
    /// elsewhere, so that not all workers meet here.
    async fn look_at_beginning(&self, lookout: &mut Lookout, parked: &mut ParkedLook) -> Result<()> {
        let page = self.desk().bucket.list(READY, None, limits::PAGE).await?.value;
        for mark in page.entries.iter().take_while(|listed| listed.key.starts_with(keys::MARKS)) {
            match mark.key.as_str() {
                keys::SCHEDULES_MARK => self.schedules.marked(mark.last_modified),
                keys::PARKED_MARK => parked.begin(Instant::now()),
                _ => {}
            }
        }
        let fleet = self.fleet();
        let seen = if page.more && fleet.size() > 1 {
            Seen { last: page.entries.last().map(|last| last.key.as_str()), more: true, fresh: false }
        } else {
            self.take_page(&page, 1)
        };
        let start = || {
            let first = page.entries.iter().find_map(|listed| ReadyEntry::parse(&listed.key));
            let (now, random) = (self.now().minute(), self.entropy().unit());
            keys::place(READY, fleet.place(random), first.map_or(now, |first| first.due.minute()), now)
        };
        lookout.saw_beginning(Instant::now(), &seen, start, self.entropy().unit());
        Ok(())
    }

    /// The next page of the walk through the index.
    async fn look_at_page(&self, lookout: &mut Lookout, after: &str) -> Result<()> {
        let page = self.desk().bucket.list(READY, Some(after), limits::PAGE).await?.value;
        let seen = self.take_page(&page, lookout.shares());
        lookout.saw_page(after, &seen, self.now().minute(), self.horizon().minute());
        Ok(())
    }

    async fn read_stretch(&self, stretch: &Stretch) -> Result<Page> {
        let prefix = keys::shard_prefix(READY, stretch.shard);
        Ok(self.desk().bucket.list(&prefix, Some(&stretch.after), limits::PAGE).await?.value)
    }

    /// Remembers a page's entries, as far as they are this worker's to claim, for now or for later.
    fn take_page<'a>(&self, page: &'a Page, shares: usize) -> Seen<'a> {
        let (fleet, horizon) = (self.fleet(), self.horizon());
        let mut fresh = false;
        for listed in &page.entries {
            let Some(entry) = ReadyEntry::parse(&listed.key) else { continue };
            if self.knows(&entry) && entry.due <= horizon {
                let candidate = Candidate::new(entry, Source::Listed(listed.last_modified));
                fresh |= self.offer_candidate(candidate, &fleet, shares);
            }
        }
        Seen { last: page.entries.last().map(|last| last.key.as_str()), more: page.more, fresh }
    }

    /// Takes what others were to claim first and left, and looks again for what there was no place for.
    fn consider_others(&self, finder: &mut Finder) {
        let lookout = &mut finder.lookout;
        let now = self.now();
        let mut inner = self.lock();
        let urgent = inner.candidates.most_urgent();
        let mut left = inner.deferred.take_few(now, urgent);
        if inner.deferred.forget_old(now) {
            inner.candidates.refuse(now);
        }
        let idle = urgent.is_none() && inner.claims == 0 && left.is_empty();
        let doubts = idle && Instant::now() >= lookout.next_doubt();
        if doubts && lookout.is_long() {
            // The walk does not come by again soon, so some are tried without being listed again.
            left = inner.deferred.sample(now);
        }
        let doubts = doubts && inner.deferred.doubt(now);
        // Entries there was no place for are looked for once they are due and the others used up.
        let refused = idle && inner.candidates.take_refused(now);
        let taken = !left.is_empty();
        for candidate in left {
            inner.candidates.add(candidate, Timestamp(0), now);
        }
        drop(inner);
        if doubts || refused {
            finder.parked.hurry(Instant::now());
        }
        if doubts {
            lookout.doubt(Instant::now());
        } else if refused {
            lookout.want_more(Instant::now());
        } else if idle && !taken {
            lookout.used_up(Instant::now());
        }
        if taken {
            self.wake.notify_one();
        }
    }

    /// Starts claims for what is due, as far as there is room.
    async fn claim_due(self: &Arc<Self>) -> Result<()> {
        let now = self.now();
        self.lock().candidates.ripen(now);
        if self.lock().candidates.due() == 0 || self.room() == 0 {
            return Ok(());
        }
        self.ensure_fresh_beat().await?;
        loop {
            let room = self.room();
            let (candidate, most) = {
                let mut inner = self.lock();
                if room == 0 || inner.claims >= limits::CLAIMS_IN_FLIGHT || inner.phase != Phase::Running {
                    return Ok(());
                }
                let Some(candidate) = inner.candidates.draw(self.entropy()) else { return Ok(()) };
                let pending = usize::try_from(candidate.entry.pending).unwrap_or(1);
                let most = room.min(pending.clamp(1, limits::RECORD_TASKS));
                inner.reserved += most;
                inner.claims += 1;
                drop(inner);
                self.pulse.notify_one();
                (candidate, most)
            };
            self.spawner.spawn(Arc::clone(self).claim(candidate, most));
        }
    }

    /// Gives back what was fetched ahead and has waited too long, so that a long task does not block others here.
    fn give_back_old(self: &Arc<Self>) {
        let old = self.take_fetched(limits::FETCHED_AHEAD);
        if !old.is_empty() {
            self.lock().overfetched = true;
            let worker = Arc::clone(self);
            self.spawner.spawn(async move {
                Self::settle(&worker, old.into_iter().map(WorkOutcome::release).collect()).await;
            });
        }
    }

    fn next_deadline(&self, finder: &Finder) -> Instant {
        let now = self.now();
        let (next_due, ripe, oldest, claiming) = {
            let inner = self.lock();
            let oldest = inner.hold.fetched.front().map(|(fetched, _)| *fetched + limits::FETCHED_AHEAD);
            let (deferred, ripe) = inner.deferred.next(now);
            let next_due = inner.candidates.next_due().into_iter().chain(deferred).min();
            (next_due, ripe, oldest, inner.claims > 0 && inner.candidates.due() > 0)
        };
        let moment = Instant::now();
        let mut deadline = moment + self.settings().full_look;
        if self.room() > 0 && !claiming {
            // The clock shows the earliest the server's time can be, so the moment may have to be waited for again.
            let due = next_due.map(|due| moment + due.since(now).max(Duration::from_millis(1)));
            let doubt = Some(finder.lookout.next_doubt()).filter(|at| ripe && *at > moment);
            let look = finder.lookout.next_look(finder.ear.is_settled());
            let look = finder.parked.next().map_or(look, |parked| parked.min(look));
            deadline = [due, doubt].into_iter().flatten().fold(deadline.min(look), Instant::min);
        }
        deadline.min(oldest.unwrap_or(deadline))
    }
}

impl Finder {
    /// Takes note of what was written since the last time.
    fn note_changes(&mut self, now: Instant) {
        let Some(heard) = &mut self.heard else { return };
        if is_news(&mut heard.touches) {
            self.lookout.hurry_to_bell(self.ear.hear_own(now));
        }
        if is_news(&mut heard.changes) {
            self.lookout.hurry_to_bell(self.ear.hear(now));
        }
    }

    /// Where to hear of what is written.
    fn writes_to_hear_of(&self) -> Option<Heard> {
        let listens = self.ear.listens(Instant::now(), self.lookout.next_bell());
        self.heard.clone().filter(|_| listens)
    }
}

impl Heard {
    /// Waits for the next.
    async fn any(&mut self) {
        let heard = tokio::select! {
            biased;
            heard = self.changes.changed() => heard,
            heard = self.touches.changed() => heard,
        };
        if heard.is_err() {
            // The store is going away.
            std::future::pending::<()>().await;
        }
    }
}

/// Whether there was anything; said once.
fn is_news(heard: &mut watch::Receiver<()>) -> bool {
    let news = heard.has_changed().unwrap_or(false);
    if news {
        heard.mark_unchanged();
    }
    news
}
