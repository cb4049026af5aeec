//! What to look at next: the rules by which a worker finds work, without any request.
//!
//! A short index is read with one LIST from its beginning. A longer one is walked through, page by page, in a circle that
//! begins at a place of the worker's own and that nothing starts anew. Some pages of the walk are owed at every regular
//! look, so that each round ends in time whatever else there is to do; others are read as long as there is room for tasks and
//! they bring work. What was written just now is looked for among the latest entries of each shard.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::keys::{self, READY, SHARDS};

/// Pages of the walk that may be read in search of work until one brings some.
const PAGES: usize = 4;
/// Pages of the walk that are owed when the worker begins, or has had no room for long: as a rule, all there are.
const PAGES_AT_FIRST: usize = 128;
/// Regular looks in which a round ends: one fewer than the worker's horizon allows for.
const LOOKS_A_ROUND: usize = 5;
/// Pages of one shard's latest entries that are read.
const PAGES_LATELY: usize = 4;
/// Shards whose latest entries are read at the same time.
const AT_ONCE: usize = 4;
/// Minutes that count as late: work that is due at once is written into the current one.
const LATELY: i64 = 1;
/// Pages of the index for each worker that may claim a record at once. Workers are then spread so thin over the index that
/// they seldom meet.
const PAGES_A_WORKER: usize = 8;

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// The bell.
    Bell,
    /// The index from its beginning, where the mark of schedules stands.
    Beginning,
    /// The next page of the walk, after this key.
    Page(String),
    /// The latest entries of a shard.
    Lately(Stretch),
}

/// A part of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The shard.
    pub shard: char,
    /// Where to go on.
    pub after: String,
    /// Pages that may be read.
    left: usize,
}

/// How things are while the next look is planned.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Now.
    pub now: Instant,
    /// There is room for more tasks than there are entries in hand.
    pub hungry: bool,
    /// The store would tell of anything new, so the bell need not be looked at.
    pub settled: bool,
}

/// What a page showed.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Its last key.
    pub last: Option<&'a str>,
    /// Further entries exist.
    pub more: bool,
    /// It brought something new to claim now.
    pub fresh: bool,
}

/// How often to look.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// Between two looks at the bell.
    pub bell: Duration,
    /// Between two regular looks.
    pub full: Duration,
}

/// What is known of the index, and what is yet to be looked at.
#[derive(Clone, Debug)]
pub struct Lookout {
    rhythm: Rhythm,
    next_bell: Instant,
    next_full: Instant,
    next_doubt: Instant,
    /// From when on a look at the beginning is wanted, before the regular one.
    beginning: Option<Instant>,
    /// Shards whose latest entries are wanted.
    lately: VecDeque<Stretch>,
    /// The way through an index of more than one page.
    walk: Option<Walk>,
    /// Pages of the walk to be read whatever is in hand.
    owed: usize,
    /// Pages of the walk that may be read while there is too little in hand.
    allowed: usize,
    /// About how many pages the index has.
    pages: usize,
    /// A short index brought something when it was read last.
    brought: bool,
}

/// A circle through the index.
#[derive(Clone, Debug)]
struct Walk {
    /// Where it goes on.
    next: String,
    /// Where this round began.
    origin: String,
    /// It has come past the end of the index.
    wrapped: bool,
    /// Pages read in this round.
    pages: usize,
    /// One of them brought something.
    fresh: bool,
}

/// What to look at now, in this order; what stands at the end may be looked at together.
pub fn plan_look(state: &Lookout, facts: &Facts) -> Vec<Look> {
    let mut looks = Vec::new();
    if !facts.settled && facts.now >= state.next_bell {
        looks.push(Look::Bell);
    }
    if facts.now >= state.next_beginning() {
        looks.push(Look::Beginning);
    } else if facts.hungry && !state.lately.is_empty() {
        looks.extend(state.lately.iter().take(AT_ONCE).cloned().map(Look::Lately));
    } else if let Some(walk) = &state.walk
        && (state.owed > 0 || (facts.hungry && state.allowed > 0))
    {
        looks.push(Look::Page(walk.next.clone()));
    }
    looks
}

impl Lookout {
    /// Of somebody who begins now.
    pub const fn new(now: Instant, rhythm: Rhythm) -> Self {
        Self {
            rhythm,
            next_bell: now,
            next_full: now,
            next_doubt: now,
            beginning: None,
            lately: VecDeque::new(),
            walk: None,
            owed: 0,
            allowed: 0,
            pages: 1,
            brought: false,
        }
    }

    /// When there is something to look at again, if nothing happens before.
    pub fn next_look(&self, settled: bool) -> Instant {
        if settled { self.next_beginning() } else { self.next_bell.min(self.next_beginning()) }
    }

    fn next_beginning(&self) -> Instant {
        self.beginning.map_or(self.next_full, |at| at.min(self.next_full))
    }

    /// Whether the index is so long that the walk does not come by all of it again soon.
    pub const fn is_long(&self) -> bool {
        self.pages > PAGES
    }

    /// How many workers may reach for one record at the same time.
    pub fn shares(&self) -> usize {
        (self.pages / PAGES_A_WORKER).max(1)
    }

    /// The bell is looked at, and will be again at `next`.
    pub const fn saw_bell(&mut self, next: Instant) {
        self.next_bell = next;
    }

    /// The bell is looked at by then.
    pub fn hurry_to_bell(&mut self, by: Instant) {
        self.next_bell = self.next_bell.min(by);
    }

    /// When the bell is looked at again, unless all is settled.
    pub const fn next_bell(&self) -> Instant {
        self.next_bell
    }

    /// There is something new in the index: it is looked for from `at` on, in minute `minute` and later, first in the
    /// shard that the worker's `place` lies in.
    pub fn expect(&mut self, at: Instant, minute: i64, place: f64) {
        self.beginning = Some(self.beginning.map_or(at, |before| before.min(at)));
        if self.walk.is_none() {
            return;
        }
        let own = keys::place(READY, place, minute, minute);
        let from = SHARDS.chars().position(|shard| own.starts_with(&keys::shard_prefix(READY, shard))).unwrap_or(0);
        for shard in SHARDS.chars().cycle().skip(from).take(SHARDS.len()) {
            // One that is wanted already reaches from an earlier minute on.
            if !self.lately.iter().any(|wanted| wanted.shard == shard) {
                let after = keys::minute_start(READY, shard, minute - LATELY);
                self.lately.push_back(Stretch { shard, after, left: PAGES_LATELY });
            }
        }
    }

    /// The earliest time to check again whether others have left what is theirs: no more often than the bell is looked at.
    pub const fn next_doubt(&self) -> Instant {
        self.next_doubt
    }

    /// Checks whether others have left what is theirs.
    pub fn doubt(&mut self, now: Instant) {
        self.next_doubt = now + self.rhythm.bell;
        self.want_more(now);
    }

    /// All that was found is used up. Where there was something there may be more by now, since whoever writes it rings
    /// only once a second.
    pub fn used_up(&mut self, now: Instant) {
        if std::mem::take(&mut self.brought) {
            self.beginning = Some(now);
        }
    }

    /// Looks again for what was seen before when there was no place for it.
    pub fn want_more(&mut self, now: Instant) {
        if self.walk.is_some() {
            self.allowed = self.allowed.max(PAGES);
        } else {
            self.beginning = Some(now);
        }
    }

    /// The index was looked at from its beginning. A walk, if there is to be one, begins after `start`; `random` from 0
    /// to 1 keeps workers from looking at the same time.
    pub fn saw_beginning(&mut self, now: Instant, seen: &Seen<'_>, start: impl FnOnce() -> String, random: f64) {
        self.beginning = None;
        self.brought = seen.fresh && !seen.more;
        let due = now >= self.next_full;
        let long_ago = now.saturating_duration_since(self.next_full) > self.rhythm.full * 2;
        if due {
            self.next_full = now + self.rhythm.full.mul_f64(random.mul_add(0.1, 1.0));
        }
        if !seen.more {
            (self.walk, self.pages, self.owed, self.allowed) = (None, 1, 0, 0);
            self.lately.clear();
            return;
        }
        let covered = seen.last.and_then(shard_of).unwrap_or(0);
        self.pages = guess(self.pages, covered, covered + 1);
        if self.walk.is_none() {
            self.walk = Some(Walk::from(start()));
            (self.owed, self.allowed) = (PAGES_AT_FIRST, PAGES);
        } else if due {
            let share = if long_ago { PAGES_AT_FIRST } else { self.pages.div_ceil(LOOKS_A_ROUND) };
            self.owed = self.owed.max(share);
        }
    }

    /// The page of the walk after `after` was read. Entries of a minute later than `horizon` are of no use yet; `minute`
    /// is the current one.
    pub fn saw_page(&mut self, after: &str, seen: &Seen<'_>, minute: i64, horizon: i64) {
        let Some(walk) = &mut self.walk else { return };
        self.owed = self.owed.saturating_sub(1);
        // What brings work pays for itself.
        self.allowed = if seen.fresh { self.allowed.max(PAGES) } else { self.allowed.saturating_sub(1) };
        walk.fresh |= seen.fresh;
        let covered = seen.last.and_then(shard_of).zip(shard_of(after)).map_or(0, |(to, from)| to.saturating_sub(from));
        if seen.more {
            self.pages = guess(self.pages, covered.saturating_sub(1), covered + 1);
        }
        if let Some(round) = walk.go_on(onward(after, seen, minute, horizon)) {
            self.pages = round.pages.max(1);
            self.owed = 0;
            if !round.fresh {
                self.allowed = 0;
            }
        }
    }

    /// A page of a shard's latest entries was read.
    pub fn saw_lately(&mut self, stretch: &Stretch, seen: &Seen<'_>, horizon: i64) {
        self.lately.retain(|wanted| wanted.shard != stretch.shard);
        let beyond = keys::minute_start(READY, stretch.shard, horizon + 1);
        if let Some(last) = seen.last.filter(|last| seen.more && stretch.left > 1 && **last < *beyond) {
            self.lately.push_back(Stretch { shard: stretch.shard, after: last.to_owned(), left: stretch.left - 1 });
        }
    }
}

/// How many pages an index has of which one covers at least and at most so many shards: `known`, if that can be.
fn guess(known: usize, least: usize, most: usize) -> usize {
    let pages = |shards: usize| SHARDS.len().checked_div(shards).map_or(usize::MAX, |pages| pages + 1);
    known.clamp(SHARDS.len().div_ceil(most), pages(least))
}

/// The place of a key's shard among the shards.
fn shard_of(key: &str) -> Option<usize> {
    let shard = key.strip_prefix(READY)?.chars().next()?;
    SHARDS.chars().position(|one| one == shard)
}

/// Where the walk goes on after a page; `None` at the end of the index.
fn onward(after: &str, seen: &Seen<'_>, minute: i64, horizon: i64) -> Option<String> {
    let Some(last) = seen.last else {
        // The store says that there is more and shows nothing: go on behind the gap.
        let shard = after.strip_prefix(READY)?.chars().next()?;
        let recent = keys::minute_start(READY, shard, minute - LATELY);
        return seen
            .more
            .then_some(())
            .and_then(|()| if *after < *recent { Some(recent) } else { keys::next_shard(READY, after) });
    };
    let shard = last.strip_prefix(READY)?.chars().next()?;
    if seen.more && *last >= *keys::minute_start(READY, shard, horizon + 1) {
        return keys::next_shard(READY, last);
    }
    seen.more.then(|| last.to_owned())
}

/// What a round of the walk was like.
struct Round {
    pages: usize,
    fresh: bool,
}

impl Walk {
    const fn from(start: String) -> Self {
        Self { next: start, origin: String::new(), wrapped: false, pages: 0, fresh: false }
    }

    /// Goes on from there, or from the beginning of the index; tells of the round if that ends it.
    fn go_on(&mut self, next: Option<String>) -> Option<Round> {
        if self.origin.is_empty() {
            self.origin.clone_from(&self.next);
        }
        self.pages += 1;
        self.wrapped |= next.is_none();
        self.next = next.unwrap_or_else(|| keys::shard_prefix(READY, '0'));
        if !self.wrapped || self.next < self.origin {
            return None;
        }
        let round = Round { pages: self.pages, fresh: self.fresh };
        *self = Self::from(std::mem::take(&mut self.next));
        Some(round)
    }
}

#[cfg(test)]
mod tests;
