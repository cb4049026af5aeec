//! A schedule as a worker knows it, and when to look after it.

use std::time::Duration;

use crate::queue::StoredSchedule;
use crate::schedule::{Schedule, Timing};
use crate::store::ETag;
use crate::time::Timestamp;

/// How long after a slot those few come who stand in for whoever fired the last one: by then it is done, if that one
/// still lives.
const BEHIND: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(650));
/// How long after it all others come: by then it is done, if anybody lives whom the others know of.
const FAR_BEHIND: (Duration, Duration) = (Duration::from_secs(30), Duration::from_mins(1));
/// Between two looks at whether the task that a slot waits for has finished.
const WATCH: Duration = Duration::from_secs(5);

/// A schedule as a worker knows it.
#[derive(Clone, Debug)]
pub struct Known {
    pub name: String,
    pub schedule: Schedule,
    pub timing: Timing,
    pub etag: ETag,
    /// Server time before it was read.
    pub read_at: Timestamp,
    /// This worker fired the last slot, so it fires the next one.
    pub mine: bool,
    /// This worker is one of those who stand in for that one.
    pub stands_in: bool,
    /// When to look after it; `None` for not before it changes.
    pub at: Option<Timestamp>,
}

impl Known {
    /// A schedule that was just read. One whose timing makes no sense was refused when it was read.
    pub fn new(stored: StoredSchedule, read_at: Timestamp, mine: bool, stands_in: bool) -> Self {
        let StoredSchedule { schedule, etag } = stored;
        let timing = schedule.definition.timing().unwrap_or(Timing::Every(i64::MAX));
        Self { name: schedule.name.clone(), schedule, timing, etag, read_at, mine, stands_in, at: None }
    }

    /// Comes back when the next slot is due, or to see whether one need wait no longer.
    pub fn wait_for_next(&mut self, random: f64) {
        if !self.schedule.enabled {
            self.at = None;
            return;
        }
        let (least, most) = if self.stands_in { BEHIND } else { FAR_BEHIND };
        let behind = least + most.saturating_sub(least).mul_f64(random);
        let next = self.timing.next_after(self.schedule.handled).map(|next| {
            // Counted from now if it is due already, or all who have just learnt of it would come at once.
            if self.mine { next } else { next.max(self.read_at).after(behind) }
        });
        let watch = self.schedule.waiting.map(|_| self.read_at.after(WATCH.mul_f64(random + 0.5)));
        self.at = next.into_iter().chain(watch).min();
    }
}
