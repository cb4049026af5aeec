//! Finding work: what the process itself submits, what the bell tells, what falls due, and a regular look.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::candidates::Candidate;
use super::settle::WorkOutcome;
use super::shared::{Phase, Shared};
use crate::error::Result;
use crate::keys::{self, ReadyEntry, SHARDS};
use crate::limits;
use crate::queue::Rung;
use crate::store::{ETag, Page};
use crate::time::Timestamp;

/// Minutes counted as recent: a shard's latest entries are looked at as well as its oldest, so that urgent new work
/// is seen behind a long backlog.
const RECENT_MINUTES: i64 = 1;
/// Shard pages a regular look may read of an index that does not fit into one page; the rest is the next look's, so
/// that a long index costs an idle worker little.
const PAGES_PER_LOOK: usize = 4;
/// Shard pages that may be read when the bell rang: new work can be in any shard.
const PAGES_PER_RING: usize = 32;
/// Candidates kept in hand for each task there is room for.
const CHOICE: usize = 4;
/// How long after somebody wrote the bell is still looked at: what a watched store tells of can be read only once it is
/// synced, and that is not told.
const SETTLING: Duration = Duration::from_secs(2);
/// The wait after the store could not be reached.
const PAUSE: Duration = Duration::from_secs(1);

/// What the finder knows between its rounds.
#[derive(Debug)]
struct Finder {
    bell: Option<ETag>,
    /// Tells when anybody writes, if the store can; without it the bell is looked at regularly.
    changes: Option<watch::Receiver<()>>,
    /// Until when what was written may not have been seen.
    unsettled: Instant,
    next_bell: Instant,
    next_full: Instant,
    /// A look at the index is wanted.
    look: bool,
    /// Shards still to be read in this round, each from a place on.
    shards: VecDeque<(char, Option<String>)>,
    /// Shard pages that may still be read before the next look.
    pages: usize,
}

impl Shared {
    /// Finds work until the worker stops running.
    pub async fn keep_finding(self: Arc<Self>) {
        let now = Instant::now();
        let mut finder = Finder {
            bell: None,
            changes: self.desk().bucket.store().changes(),
            unsettled: now + SETTLING,
            next_bell: now,
            next_full: now,
            look: true,
            shards: VecDeque::new(),
            pages: 0,
        };
        loop {
            if self.lock().phase != Phase::Running {
                return;
            }
            self.give_back_old();
            self.end_called_off();
            if self.room() > 0
                && let Err(error) = self.find(&mut finder).await
            {
                self.warn("looking for work failed, trying again", &error);
                self.rest(Instant::now() + self.jittered(PAUSE), None).await;
                continue;
            }
            if self.room() > 0 {
                let now = self.now();
                let mut inner = self.lock();
                let idle = inner.candidates.due() == 0 && inner.claims == 0;
                // Entries there was no place for are looked for once they are due and the others used up.
                finder.look |= idle && inner.candidates.take_refused(now);
                drop(inner);
                if idle && finder.is_hungry() {
                    continue;
                }
            }
            let (deadline, settled) = (self.next_deadline(&finder), finder.is_settled());
            self.rest(deadline, finder.changes.clone().filter(|_| settled)).await;
        }
    }

    /// Waits until a moment, until something is to be done here, or until `changes` tells that somebody wrote.
    async fn rest(&self, until: Instant, changes: Option<watch::Receiver<()>>) {
        let written = async {
            if let Some(mut changes) = changes
                && changes.changed().await.is_ok()
            {
                return;
            }
            // The store does not tell, or is going away.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = self.wake.notified() => {}
            () = written => {}
            () = sleep_until(until) => {}
        }
    }

    /// One step: look where it is time to, then claim what is due, whatever the looking came to.
    async fn find(self: &Arc<Self>, finder: &mut Finder) -> Result<()> {
        let looked = self.look_around(finder).await;
        let claimed = self.claim_due().await;
        looked.and(claimed)
    }

    async fn look_around(&self, finder: &mut Finder) -> Result<()> {
        let now = Instant::now();
        if now >= finder.next_full {
            finder.look = true;
            finder.pages = finder.pages.max(PAGES_PER_LOOK);
        }
        finder.note_changes(now);
        if now >= finder.next_bell && !finder.is_settled() {
            finder.next_bell = now + self.settings().bell_watch;
            if let Rung::Yes(etag) = self.core.bell.look(finder.bell.as_ref()).await? {
                finder.bell = etag;
                finder.look = true;
                finder.pages = PAGES_PER_RING;
            }
        }
        if finder.look {
            self.look_at_all(finder).await?;
            finder.look = false;
            // Later rather than sooner: what the bell tells costs less.
            finder.next_full = now + self.settings().full_look.mul_f64(self.entropy().unit().mul_add(0.1, 1.0));
        }
        let wanted = self.room().saturating_mul(CHOICE).min(limits::CANDIDATES / 4);
        while finder.pages > 0 && self.lock().candidates.due() < wanted {
            let Some((shard, start)) = finder.shards.pop_front() else { break };
            match self.look_at_shard(shard, start.as_deref()).await {
                Ok(ShardLook { found, next }) => {
                    finder.shards.extend(next.map(|next| (shard, Some(next))));
                    // What brings work pays for itself.
                    finder.pages = if found { finder.pages.max(PAGES_PER_LOOK) } else { finder.pages - 1 };
                }
                Err(error) => {
                    finder.shards.push_front((shard, start));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// One LIST of the whole index; where that is not all, the shards are read one by one, each going on where the
    /// last look left it.
    async fn look_at_all(&self, finder: &mut Finder) -> Result<()> {
        let page = self.desk().bucket.list(keys::READY, None, limits::PAGE).await?.value;
        self.take_page(&page);
        if !page.more {
            finder.shards.clear();
        } else if finder.shards.is_empty() || finder.pages >= PAGES_PER_RING {
            let mut shards: Vec<char> = SHARDS.chars().collect();
            self.entropy().shuffle(&mut shards);
            finder.shards = shards.into_iter().map(|shard| (shard, None)).collect();
        }
        Ok(())
    }

    /// One page of a shard, from a place on; and its latest entries, if the page does not reach them.
    async fn look_at_shard(&self, shard: char, start: Option<&str>) -> Result<ShardLook> {
        let prefix = keys::shard_prefix(keys::READY, shard);
        let bucket = &self.desk().bucket;
        let page = bucket.list(&prefix, start, limits::PAGE).await?.value;
        let mut found = self.take_page(&page);
        let horizon = keys::minute_start(keys::READY, shard, self.horizon().minute() + 1);
        let last = page.entries.last().filter(|last| page.more && last.key < horizon).map(|last| last.key.clone());
        if start.is_none()
            && let Some(last) = &last
        {
            let recent = keys::minute_start(keys::READY, shard, self.now().minute() - RECENT_MINUTES);
            if *last < recent {
                found |= self.take_page(&bucket.list(&prefix, Some(&recent), limits::PAGE).await?.value);
            }
        }
        Ok(ShardLook { found, next: last })
    }

    /// Remembers a page's entries; whether it brought anything new to claim now.
    fn take_page(&self, page: &Page) -> bool {
        let horizon = self.horizon();
        let mut found = false;
        if let Some(mark) = page.entries.first().filter(|first| first.key == keys::SCHEDULES_MARK) {
            self.schedules.marked(mark.last_modified);
        }
        for listed in &page.entries {
            let Some(entry) = ReadyEntry::parse(&listed.key) else { continue };
            if self.knows(&entry) && entry.due <= horizon {
                found |= self.add_candidate(Candidate { entry, written: Some(listed.last_modified) }, Timestamp(0));
            }
        }
        found
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
        let (next_due, oldest, claiming) = {
            let inner = self.lock();
            let oldest = inner.hold.fetched.front().map(|(fetched, _)| *fetched + limits::FETCHED_AHEAD);
            (inner.candidates.next_due(), oldest, inner.claims > 0 && inner.candidates.due() > 0)
        };
        let mut deadline = Instant::now() + self.settings().full_look;
        if self.room() > 0 && !claiming {
            let now = self.now();
            // The clock shows the earliest the server's time can be, so the moment may have to be waited for again.
            let due = next_due.map(|due| Instant::now() + due.since(now).max(Duration::from_millis(1)));
            let bell = if finder.is_settled() { deadline } else { finder.next_bell };
            deadline = deadline.min(bell).min(finder.next_full).min(due.unwrap_or(deadline));
        }
        deadline.min(oldest.unwrap_or(deadline))
    }
}

/// What a look at a shard brought.
struct ShardLook {
    /// There was something new to claim now.
    found: bool,
    /// Where it goes on, if it does.
    next: Option<String>,
}

impl Finder {
    /// Takes note of what was written since the last time.
    fn note_changes(&mut self, now: Instant) {
        if let Some(changes) = &mut self.changes
            && changes.has_changed().unwrap_or(false)
        {
            changes.mark_unchanged();
            self.unsettled = now + SETTLING;
        }
    }

    /// Whether the store would tell of anything new, so that looking at the bell can wait until it does.
    fn is_settled(&self) -> bool {
        self.changes.is_some() && Instant::now() >= self.unsettled
    }

    /// Whether there is something to read at once.
    fn is_hungry(&self) -> bool {
        self.look || (self.pages > 0 && !self.shards.is_empty())
    }
}
