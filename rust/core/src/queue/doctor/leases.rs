//! The index of running work: leases that nobody took back although their time is up.

use super::visit::Visit;
use super::{Check, Status, plural, roughly};
use crate::error::Result;
use crate::keys::{self, LeaseEntry};
use crate::limits;
use crate::time::Timestamp;

/// Pages read; of a longer index, the first.
const PAGES: usize = 3;
/// A lease is taken back in this many minutes after its own, if anybody sweeps.
const PATIENCE_MINUTES: i64 = 3;

/// The leases that were found.
#[derive(Clone, Debug)]
pub(super) struct Leases {
    /// Each with the time it was written.
    pub entries: Vec<(LeaseEntry, Timestamp)>,
    /// Whether there are more.
    pub more: bool,
    pub now: Timestamp,
}

pub(super) async fn gather(visit: &Visit) -> Result<Leases> {
    let mut leases = Leases { entries: Vec::new(), more: false, now: Timestamp(0) };
    let mut after: Option<String> = None;
    for _ in 0..PAGES {
        let page = visit.list(keys::LEASES, after.as_deref(), limits::PAGE).await?;
        let parsed = page.value.entries.iter().map(|listed| (LeaseEntry::parse(&listed.key), listed.last_modified));
        leases.entries.extend(parsed.filter_map(|(entry, written)| Some((entry?, written))));
        leases.now = page.at;
        leases.more = page.value.more;
        after = page.value.entries.last().filter(|_| page.value.more).map(|last| last.key.clone());
        if after.is_none() {
            break;
        }
    }
    Ok(leases)
}

pub(super) fn judge(leases: &Result<Leases>, alive: usize) -> Check {
    let name = "leases";
    let leases = match leases {
        Ok(leases) => leases,
        Err(error) => return Check::unknown(name, error),
    };
    let now = leases.now.minute();
    let late = leases.entries.iter().map(|(entry, _)| now - entry.minute).filter(|late| *late > PATIENCE_MINUTES);
    let (count, worst) = late.fold((0, 0), |(count, worst): (usize, i64), late| (count + 1, worst.max(late)));
    let at_least = if leases.more { "at least " } else { "" };
    let check = if count == 0 {
        Check::ok(name, format!("{at_least}{} running, none past its time", plural(leases.entries.len(), "lease")))
    } else {
        let what = format!("{} past their time, the worst by {}", plural(count, "lease"), roughly(worst * 60_000));
        if alive == 0 {
            Check::new(name, Status::Failed, what, "start a worker: workers take back what is past its time")
        } else {
            let advice = "workers take these back; look for \"a record could not be looked after\" in their logs";
            Check::new(name, Status::Warning, what, advice)
        }
    };
    check.with("leases", leases.entries.len()).with("past_their_time", count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;
    use crate::id::{LeaseId, RecordId, WorkerId};

    fn leases(minutes: &[i64]) -> Leases {
        let entropy = Entropy::seeded(7);
        let entry = |minute: &i64| LeaseEntry {
            minute: *minute,
            record: RecordId::random(&entropy),
            lease: LeaseId::random(&entropy),
            worker: WorkerId::random(&entropy),
        };
        let entries = minutes.iter().map(|minute| (entry(minute), Timestamp(0))).collect();
        Leases { entries, more: false, now: Timestamp(100 * 60_000) }
    }

    #[test]
    fn a_lease_is_late_once_a_sweep_should_have_taken_it_back() {
        assert_eq!(judge(&Ok(leases(&[105, 100, 98])), 1).status, Status::Ok);
        let check = judge(&Ok(leases(&[105, 90])), 1);
        assert!(check.status == Status::Warning && check.what.contains("10 min"), "{check:?}");
        assert_eq!(judge(&Ok(leases(&[90])), 0).status, Status::Failed);
    }
}
