//! The regular look into the index of parked work: what becomes due there by itself.
//!
//! Most of it has no time of its own and lies at the end of each shard, where nobody looks. An index of one page is read with
//! one LIST; of a longer one each look reads the beginning of some shards, so that a round over all of them takes less time
//! than workers look ahead.

use std::time::Duration;

use tokio::time::Instant;

use super::candidates::{Candidate, Source};
use super::shared::Shared;
use crate::error::Result;
use crate::keys::{self, PARKED, ReadyEntry};
use crate::limits;
use crate::store::Page;

/// Shards of a long index that one look reads: all sixteen in four looks.
const SHARDS_A_LOOK: usize = 4;
/// Pages that one look reads at most.
const PAGES: usize = 32;
/// What is due for so long was left by whoever was to go first.
const LEFT: Duration = Duration::from_secs(5);

/// When to look, and where to go on.
#[derive(Debug)]
pub struct ParkedLook {
    every: Duration,
    /// Not before anybody has parked anything.
    next: Option<Instant>,
    /// Where the round through a long index goes on; at the beginning if `None`.
    after: Option<String>,
    /// The whole of it is to be read at once, by whoever has just begun.
    first: bool,
    /// The last look showed something that is due soon.
    found: bool,
}

impl ParkedLook {
    /// Of somebody who does not know of any parked work.
    pub const fn new(every: Duration) -> Self {
        Self { every, next: None, after: None, first: true, found: false }
    }

    /// There is parked work, or was.
    pub fn begin(&mut self, now: Instant) {
        self.next.get_or_insert(now);
    }

    /// When to look again, if at all.
    pub const fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Looks again soon for what there was no place for.
    pub fn hurry(&mut self, now: Instant) {
        if std::mem::take(&mut self.found) {
            self.next = self.next.map(|next| next.min(now));
        }
    }

    /// A page was read, after which `last` was seen and there is `more`, or not; nothing beyond minute `horizon` is of use.
    /// Whether that was the end of a shard.
    fn went_on(&mut self, last: Option<&str>, more: bool, horizon: i64) -> bool {
        let from = self.after.take();
        if !more {
            return true;
        }
        let Some(last) = last else {
            // The store says that there is more and shows nothing: go on behind the gap.
            let from = from.unwrap_or_else(|| keys::shard_prefix(PARKED, '0'));
            self.after = keys::next_shard(PARKED, &from);
            return true;
        };
        let shard = last.strip_prefix(PARKED).and_then(|rest| rest.chars().next()).unwrap_or('0');
        let beyond = *last >= *keys::minute_start(PARKED, shard, horizon + 1);
        self.after = if beyond { keys::next_shard(PARKED, last) } else { Some(last.to_owned()) };
        beyond
    }
}

impl Shared {
    /// Looks for parked tasks that are due by themselves, if it is time to.
    pub(super) async fn look_at_parked(&self, look: &mut ParkedLook) -> Result<()> {
        let now = Instant::now();
        if look.next.is_none_or(|next| now < next) {
            return Ok(());
        }
        let (horizon, mut shards) = (self.horizon().minute(), 0);
        look.found = false;
        for _ in 0..PAGES {
            let page = self.desk().bucket.list(PARKED, look.after.as_deref(), limits::PAGE).await?.value;
            look.found |= self.take_parked(&page);
            let last = page.entries.last().map(|last| last.key.as_str());
            shards += usize::from(look.went_on(last, page.more, horizon));
            if look.after.is_none() || (shards >= SHARDS_A_LOOK && !look.first) {
                break;
            }
        }
        look.first &= look.after.is_some();
        look.next = Some(now + look.every.mul_f64(self.entropy().unit().mul_add(0.1, 1.0)));
        Ok(())
    }

    /// Remembers what is due soon, as far as it is this worker's to claim; whether there was anything.
    fn take_parked(&self, page: &Page) -> bool {
        let (fleet, horizon, now) = (self.fleet(), self.horizon(), self.now());
        let mut found = false;
        for listed in &page.entries {
            let Some(entry) = ReadyEntry::parse(&listed.key) else { continue };
            if !self.knows(&entry) || entry.due > horizon {
                continue;
            }
            found = true;
            let candidate = Candidate::new(entry, Source::Listed(listed.last_modified));
            if entry.due.after(LEFT) < now {
                self.add_candidate(candidate, entry.due);
            } else {
                self.offer_candidate(candidate, &fleet, 1);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look() -> ParkedLook {
        ParkedLook::new(Duration::from_mins(1))
    }

    #[test]
    fn nobody_looks_before_anything_was_parked() {
        let (mut look, now) = (look(), Instant::now());
        look.hurry(now);
        assert_eq!(look.next(), None);
        look.begin(now);
        look.begin(now + Duration::from_secs(1));
        assert_eq!(look.next(), Some(now));
    }

    #[test]
    fn a_short_index_is_read_from_its_beginning_each_time() {
        let mut look = look();
        assert!(look.went_on(Some("parked/3/0000000100/x"), false, 200));
        assert_eq!(look.after, None);
    }

    #[test]
    fn of_a_long_index_what_is_due_later_is_passed_over() {
        let mut look = look();
        assert!(!look.went_on(Some("parked/3/0000000100/x"), true, 200));
        assert_eq!(look.after.as_deref(), Some("parked/3/0000000100/x"));
        assert!(look.went_on(Some("parked/3/0000000201/x"), true, 200));
        assert_eq!(look.after.as_deref(), Some("parked/4/"));
        assert!(look.went_on(None, true, 200), "a gap");
        assert_eq!(look.after.as_deref(), Some("parked/5/"));
        assert!(look.went_on(Some("parked/f/0000000201/x"), true, 200));
        assert_eq!(look.after, None, "the round is over");
    }
}
