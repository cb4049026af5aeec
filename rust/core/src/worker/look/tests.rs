//! The rules against an index in memory, without a store.

use std::collections::BTreeSet;
use std::ops::Bound;

use proptest::prelude::*;

use super::*;
use crate::entropy::Entropy;
use crate::id::RecordId;
use crate::keys::ReadyEntry;
use crate::time::Timestamp;

const SECOND: Duration = Duration::from_secs(1);
const RHYTHM: Rhythm = Rhythm { bell: Duration::from_millis(900), full: Duration::from_mins(1) };
/// The minute in which these tests play, and the last one that is looked for.
const MINUTE: i64 = 1_000;
const HORIZON: i64 = 1_006;
/// Entries of one page.
const PAGE: usize = 100;

/// An index, and what of it was seen.
struct Index {
    keys: BTreeSet<String>,
    seen: BTreeSet<String>,
    lists: usize,
    /// What the pages bring is new to claim.
    fresh: bool,
}

impl Index {
    /// So many entries that are due in these minutes.
    fn new(count: usize, minutes: std::ops::RangeInclusive<i64>) -> Self {
        let entropy = Entropy::seeded(1);
        let span = u64::try_from(minutes.end() - minutes.start() + 1).unwrap();
        let key = |_| {
            let minute = minutes.start() + i64::try_from(entropy.below(span)).unwrap();
            let record = RecordId::random(&entropy);
            let due = Timestamp(minute * 60_000);
            ReadyEntry { due, record, seq: 1, priority: 5, type_hash: 7, pending: 1, parked: false }.to_string()
        };
        Self { keys: (0..count).map(key).collect(), seen: BTreeSet::new(), lists: 0, fresh: false }
    }

    fn list(&mut self, prefix: &str, after: Option<&str>) -> (Option<String>, bool) {
        self.lists += 1;
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let mut rest = self.keys.range::<str, _>((from, Bound::Unbounded)).filter(|key| key.starts_with(prefix));
        let page: Vec<String> = rest.by_ref().take(PAGE).cloned().collect();
        let more = rest.next().is_some();
        self.seen.extend(page.iter().cloned());
        (page.last().cloned(), more)
    }

    /// Looks at all that is to be looked at now.
    fn look(&mut self, lookout: &mut Lookout, facts: &Facts) {
        for _ in 0..1_000 {
            let looks = plan_look(lookout, facts);
            if looks.is_empty() {
                return;
            }
            for look in looks {
                self.perform(lookout, facts.now, look);
            }
        }
        panic!("it never came to an end: {lookout:?}");
    }

    fn perform(&mut self, lookout: &mut Lookout, now: Instant, look: Look) {
        let fresh = self.fresh;
        match look {
            Look::Bell => lookout.saw_bell(now + RHYTHM.bell),
            Look::Beginning => {
                let (last, more) = self.list(READY, None);
                let seen = Seen { last: last.as_deref(), more, fresh };
                lookout.saw_beginning(now, &seen, || keys::place(READY, 0.4, MINUTE, MINUTE), 0.5);
            }
            Look::Page(after) => {
                let (last, more) = self.list(READY, Some(&after));
                lookout.saw_page(&after, &Seen { last: last.as_deref(), more, fresh }, MINUTE, HORIZON);
            }
            Look::Lately(stretch) => {
                let (last, more) = self.list(&keys::shard_prefix(READY, stretch.shard), Some(&stretch.after));
                lookout.saw_lately(&stretch, &Seen { last: last.as_deref(), more, fresh }, HORIZON);
            }
        }
    }

    fn saw_all(&self) -> bool {
        self.seen == self.keys
    }
}

fn begin() -> (Lookout, Facts) {
    let now = Instant::now();
    (Lookout::new(now, RHYTHM), Facts { now, hungry: true, settled: false })
}

fn later(facts: &Facts, by: Duration) -> Facts {
    Facts { now: facts.now + by, ..*facts }
}

/// Somebody who has walked once through an index of so many pages and found nothing.
fn walked(pages: usize) -> (Index, Lookout, Facts) {
    let (mut lookout, facts) = begin();
    let mut index = Index::new(pages * PAGE, MINUTE - 50..=MINUTE - 10);
    index.look(&mut lookout, &facts);
    assert!(index.saw_all(), "all of it, at first");
    (index.seen, index.lists) = (BTreeSet::new(), 0);
    (index, lookout, facts)
}

#[test]
fn a_short_index_is_read_at_the_beginning_and_at_every_regular_look() {
    let (mut lookout, facts) = begin();
    let mut index = Index::new(PAGE, MINUTE - 5..=MINUTE);
    assert_eq!(plan_look(&lookout, &facts), [Look::Bell, Look::Beginning], "the bell first: what it misses is seen");
    index.look(&mut lookout, &facts);
    assert!(index.saw_all() && index.lists == 1);
    assert_eq!(plan_look(&lookout, &later(&facts, SECOND)), [Look::Bell]);
    assert_eq!(lookout.next_look(false), facts.now + RHYTHM.bell);
    assert!(
        lookout.next_look(true) >= facts.now + RHYTHM.full && lookout.next_look(true) <= facts.now + RHYTHM.full * 2
    );
    index.look(&mut lookout, &later(&facts, RHYTHM.full * 2));
    assert_eq!(index.lists, 2);
}

#[test]
fn the_bell_is_left_alone_while_the_store_would_tell() {
    let (lookout, facts) = begin();
    assert_eq!(plan_look(&lookout, &Facts { settled: true, ..facts }), [Look::Beginning]);
}

#[test]
fn what_is_expected_is_looked_for_from_its_moment_on() {
    let (mut lookout, facts) = begin();
    let mut index = Index::new(3, MINUTE..=MINUTE);
    index.look(&mut lookout, &facts);
    lookout.expect(facts.now + SECOND, MINUTE, 0.0);
    lookout.expect(facts.now + SECOND * 3, MINUTE, 0.0);
    let settled = Facts { settled: true, ..facts };
    assert!(plan_look(&lookout, &settled).is_empty());
    assert_eq!(lookout.next_look(true), facts.now + SECOND, "the earlier of the two");
    assert_eq!(plan_look(&lookout, &later(&settled, SECOND)), [Look::Beginning]);
}

#[test]
fn a_long_index_is_walked_through_once_at_the_beginning_whatever_is_in_hand() {
    for (count, hungry) in [(60 * PAGE, true), (60 * PAGE, false), (PAGE + 1, false)] {
        let (mut lookout, facts) = begin();
        let mut index = Index::new(count, MINUTE - 20..=MINUTE);
        index.look(&mut lookout, &Facts { hungry, ..facts });
        assert!(index.saw_all(), "{} of {count}", index.seen.len());
        assert!(index.lists <= count / PAGE + 3, "{} LISTs", index.lists);
    }
}

#[test]
fn a_walk_begins_where_it_is_told_and_ends_there() {
    let (mut lookout, facts) = begin();
    let mut index = Index::new(20 * PAGE, MINUTE..=MINUTE);
    index.perform(&mut lookout, facts.now, Look::Beginning);
    let start = keys::place(READY, 0.4, MINUTE, MINUTE);
    let at = later(&Facts { settled: true, ..facts }, Duration::ZERO);
    assert_eq!(plan_look(&lookout, &at), [Look::Page(start.clone())]);
    let mut after = Vec::new();
    while let [Look::Page(next)] = &plan_look(&lookout, &at)[..] {
        after.push(next.clone());
        index.perform(&mut lookout, at.now, Look::Page(next.clone()));
    }
    let wraps = after.windows(2).filter(|two| two[1] < two[0]).count();
    assert_eq!((wraps, after[0] == start), (1, true), "one circle");
    assert!(index.saw_all());
}

#[test]
fn new_work_does_not_start_a_walk_anew() {
    let (mut index, mut lookout, facts) = walked(60);
    index.look(&mut lookout, &later(&facts, RHYTHM.full * 2));
    let next = lookout.walk.as_ref().unwrap().next.clone();
    for n in 1..50 {
        let at = later(&facts, RHYTHM.full * 2 + SECOND * n);
        lookout.expect(at.now, MINUTE, 0.3);
        index.look(&mut lookout, &at);
    }
    assert_eq!(lookout.walk.unwrap().next, next);
}

#[test]
fn new_work_in_a_long_index_is_looked_for_among_the_latest_entries_of_every_shard() {
    let (mut index, mut lookout, facts) = walked(60);
    let fresh = Index::new(40, MINUTE..=MINUTE).keys;
    index.keys.extend(fresh.iter().cloned());
    lookout.expect(facts.now, MINUTE, 0.99);
    let settled = Facts { settled: true, ..facts };
    let first: Vec<char> = {
        index.perform(&mut lookout, facts.now, Look::Beginning);
        let shard = |look: Look| if let Look::Lately(stretch) = look { stretch.shard } else { '?' };
        plan_look(&lookout, &settled).into_iter().map(shard).collect()
    };
    assert_eq!(first, ['f', '0', '1', '2'], "a few at a time, its own shard first");
    index.look(&mut lookout, &settled);
    assert!(index.seen.is_superset(&fresh) && index.lists <= 17, "{} LISTs", index.lists);
}

#[test]
fn many_latest_entries_are_read_a_few_pages_far() {
    let (mut index, mut lookout, facts) = walked(60);
    index.keys.extend(Index::new(16 * 10 * PAGE, MINUTE..=MINUTE).keys);
    lookout.expect(facts.now, MINUTE, 0.0);
    index.look(&mut lookout, &facts);
    assert_eq!(index.lists, 1 + SHARDS.len() * PAGES_LATELY);
}

#[test]
fn whoever_has_enough_in_hand_reads_only_what_is_owed() {
    let (mut index, mut lookout, facts) = walked(60);
    let full = Facts { hungry: false, ..facts };
    lookout.expect(full.now, MINUTE, 0.0);
    lookout.want_more(full.now);
    index.look(&mut lookout, &full);
    assert_eq!(index.lists, 1, "the beginning");
    index.look(&mut lookout, &later(&full, RHYTHM.full * 2));
    assert_eq!(index.lists, 1 + 1 + lookout.pages.div_ceil(LOOKS_A_ROUND));
    assert!((60..=61).contains(&lookout.pages));
}

#[test]
fn what_brings_work_is_gone_on_with_and_what_does_not_soon_is_not() {
    let (mut index, mut lookout, facts) = walked(60);
    lookout.want_more(facts.now);
    index.look(&mut lookout, &facts);
    assert_eq!(index.lists, PAGES);

    index.fresh = true;
    lookout.want_more(facts.now);
    for _ in 0..30 {
        let looks = plan_look(&lookout, &facts);
        assert!(matches!(looks[..], [Look::Page(_)]), "{looks:?}");
        for look in looks {
            index.perform(&mut lookout, facts.now, look);
        }
    }
    assert!(plan_look(&lookout, &Facts { hungry: false, ..facts }).is_empty(), "until there is enough");
}

#[test]
fn in_a_short_index_more_is_found_by_reading_it_again() {
    let (mut lookout, facts) = begin();
    let mut index = Index::new(3, MINUTE..=MINUTE);
    index.look(&mut lookout, &facts);
    lookout.want_more(facts.now);
    index.look(&mut lookout, &facts);
    assert_eq!(index.lists, 2);
}

#[test]
fn whether_others_have_left_something_is_looked_at_no_more_often_than_the_bell() {
    let (mut index, mut lookout, facts) = walked(0);
    assert!(lookout.next_doubt() <= facts.now);
    lookout.doubt(facts.now);
    index.look(&mut lookout, &facts);
    assert_eq!((index.lists, lookout.next_doubt()), (1, facts.now + RHYTHM.bell));
}

#[test]
fn a_short_index_that_brought_something_is_read_once_more_when_that_is_used_up() {
    let (mut lookout, facts) = begin();
    let mut index = Index::new(3, MINUTE..=MINUTE);
    index.fresh = true;
    index.look(&mut lookout, &facts);
    assert_eq!(index.lists, 1, "not before");
    lookout.used_up(facts.now);
    index.fresh = false;
    index.look(&mut lookout, &facts);
    lookout.used_up(facts.now);
    index.look(&mut lookout, &facts);
    assert_eq!(index.lists, 2, "and no further, since that brought nothing");
}

#[test]
fn who_had_no_room_for_long_looks_at_everything_as_if_it_had_just_begun() {
    let (mut index, mut lookout, facts) = walked(60);
    index.look(&mut lookout, &later(&facts, Duration::from_mins(30)));
    assert!(index.saw_all());
}

#[test]
fn entries_that_are_due_far_in_the_future_are_passed_over() {
    let (mut lookout, facts) = begin();
    let mut index = Index::new(60 * PAGE, HORIZON + 1..=HORIZON + 90);
    let due = Index::new(PAGE, MINUTE - 5..=MINUTE).keys;
    index.keys.extend(due.iter().cloned());
    index.look(&mut lookout, &facts);
    assert!(index.seen.is_superset(&due));
    assert!(index.lists <= 2 + SHARDS.len(), "{} LISTs", index.lists);
}

#[test]
fn an_empty_page_that_says_there_is_more_ends_no_walk() {
    let (mut lookout, facts) = begin();
    let seen = Seen { last: None, more: true, fresh: false };
    lookout.saw_beginning(facts.now, &seen, || keys::shard_prefix(READY, '0'), 0.0);
    let mut places = Vec::new();
    while let [.., Look::Page(after)] = &plan_look(&lookout, &facts)[..] {
        places.push(after.clone());
        lookout.saw_page(after, &seen, MINUTE, HORIZON);
    }
    assert_eq!(places.len(), 2 * SHARDS.len(), "in each shard its beginning and its latest entries: {places:?}");
    assert!(places.is_sorted());
}

#[test]
fn the_fewer_pages_there_are_the_fewer_workers_reach_for_one_record() {
    let shares = |pages: usize| walked(pages).1.shares();
    assert_eq!((shares(3), shares(16), shares(80)), (1, 2, 10));
    let (mut lookout, facts) = begin();
    Index::new(5, MINUTE..=MINUTE).look(&mut lookout, &facts);
    assert_eq!(lookout.shares(), 1);
}

#[test]
fn the_length_of_the_index_is_guessed_from_how_far_a_page_reaches() {
    let (mut lookout, facts) = begin();
    let mut index = Index::new(3 * PAGE, MINUTE..=MINUTE);
    index.perform(&mut lookout, facts.now, Look::Beginning);
    assert!((3..=4).contains(&lookout.pages), "{}", lookout.pages);
    assert_eq!((guess(1, 0, 1), guess(60, 0, 1), guess(60, 4, 6), guess(1, 4, 6)), (16, 60, 5, 3));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// However often somebody rings, and whatever is in hand: every entry is seen within the horizon, and the looks that
    /// nothing asked for are few.
    #[test]
    fn nothing_stays_unseen_for_longer_than_the_horizon(
        pages in 0_usize..70,
        rings in prop::collection::vec((1_u32..240, any::<bool>()), 0..60),
        hungry in any::<bool>(),
    ) {
        let (mut lookout, facts) = begin();
        let mut index = Index::new(pages * PAGE, MINUTE - 50..=MINUTE - 10);
        index.look(&mut lookout, &facts);
        (index.seen, index.lists) = (BTreeSet::new(), 0);
        let minutes = u32::try_from(HORIZON - MINUTE).unwrap();
        let mut rung = 0;
        for second in 1..=minutes * 60 {
            let at = Facts { hungry, ..later(&facts, SECOND * second) };
            if rings.iter().any(|(when, often)| second == *when || (*often && second % 2 == 0)) {
                lookout.expect(at.now, MINUTE, 0.2);
                rung += 1;
            }
            index.look(&mut lookout, &at);
        }
        prop_assert!(index.saw_all(), "{} of {}", index.seen.len(), index.keys.len());
        let regular = usize::try_from(minutes).unwrap() * (1 + (pages + 2).div_ceil(LOOKS_A_ROUND));
        prop_assert!(index.lists <= regular + rung * 17, "{} LISTs, {rung} rings", index.lists);
    }
}
