//! What the bell tells besides having rung: the entries written lately, so that nobody need list the index for them.
//!
//! Each touch has a number, one more than the last, and carries on what the last ones told as far as there is room.
//! Who read it at one number and reads it again at a later one knows which entries came between, or that it cannot know
//! and has to look at the index. All of it is a hint.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::keys::ReadyEntry;
use crate::time::Timestamp;

/// Most entries told.
const ENTRIES: usize = 64;
/// Most types of which it is told that entries were left out.
const TYPES: usize = 32;
/// A body that is larger was not written by us.
const BYTES: usize = 64 * 1024;

/// The bell's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// When it was touched.
    at: Timestamp,
    /// The chain of touches that this one belongs to; each carries on the one before it.
    nonce: String,
    /// The number of this touch in its chain.
    touch: u64,
    /// Entries written up to this touch may be told nowhere.
    since: u64,
    /// Entries, each with the number of the touch that told it first.
    entries: Vec<(u64, Key)>,
    /// Hashes of the types of which entries were left out, each with the number of the last touch concerned.
    left_out: BTreeMap<TypeHash, u64>,
}

/// An entry as its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Key(ReadyEntry);

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0.to_string()
    }
}

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        ReadyEntry::parse(&text).map(Self).ok_or_else(|| format!("{text:?} is no entry of the ready index"))
    }
}

/// The hash of a type as it stands in keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct TypeHash(u32);

impl From<TypeHash> for String {
    fn from(hash: TypeHash) -> Self {
        format!("{:08x}", hash.0)
    }
}

impl TryFrom<String> for TypeHash {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        u32::from_str_radix(&text, 16).map(Self).map_err(|error| format!("{text:?} is no hash of a type: {error}"))
    }
}

/// Up to where somebody has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    nonce: String,
    touch: u64,
}

/// What came since somebody last read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Entries that concern the reader.
    pub entries: Vec<ReadyEntry>,
    /// There may be more of them in the index.
    pub more: bool,
}

/// What one process has to tell with its next touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tidings {
    entries: Vec<ReadyEntry>,
    left_out: Vec<u32>,
    /// Something was written, and it is not known what.
    unknown: bool,
}

impl Tidings {
    /// An entry was written.
    pub fn add(&mut self, entry: ReadyEntry) {
        self.entries.push(entry);
        if self.entries.len() > ENTRIES
            && let Some(least) = least(self.entries.iter().map(|entry| (0, entry)))
        {
            self.leave_out(least);
        }
    }

    fn leave_out(&mut self, place: usize) {
        let type_hash = self.entries.remove(place).type_hash;
        if !self.left_out.contains(&type_hash) {
            self.left_out.push(type_hash);
        }
        // More types than can be told of: everybody has to look.
        self.unknown |= self.left_out.len() > TYPES;
    }

    /// Something was written.
    pub const fn add_unknown(&mut self) {
        self.unknown = true;
    }

    /// Takes back what could not be told.
    pub fn put_back(&mut self, others: Self) {
        others.entries.into_iter().for_each(|entry| self.add(entry));
        for type_hash in others.left_out {
            if !self.left_out.contains(&type_hash) {
                self.left_out.push(type_hash);
            }
        }
        self.unknown |= others.unknown || self.left_out.len() > TYPES;
    }
}

/// Which entry to leave out: the oldest of those that go last anyway.
fn least<'a>(entries: impl Iterator<Item = (u64, &'a ReadyEntry)>) -> Option<usize> {
    entries.enumerate().min_by_key(|(_, (touch, entry))| (entry.priority, *touch)).map(|(place, _)| place)
}

impl Told {
    /// Reads the bell's body; `None` if it tells nothing, as that of an older version does.
    #[must_use]
    pub fn parse(body: &Bytes) -> Option<Self> {
        (body.len() <= BYTES).then(|| serde_json::from_slice(body).ok()).flatten()
    }

    /// What stands in the object.
    ///
    /// # Errors
    /// Never; JSON of this can always be written.
    pub fn body(&self) -> Result<Bytes> {
        let text = serde_json::to_vec(self);
        text.map(Bytes::from).map_err(|error| Error::Internal(format!("the bell cannot be written as JSON: {error}")))
    }

    /// The first touch of a new chain: whoever reads it looks at the index.
    #[must_use]
    pub fn first(nonce: u64, at: Timestamp, tidings: &Tidings) -> Self {
        let nonce = format!("{nonce:016x}");
        Self { at, nonce, touch: 0, since: 0, entries: Vec::new(), left_out: BTreeMap::new() }.next(at, tidings)
    }

    /// The touch after this one.
    #[must_use]
    pub fn next(mut self, at: Timestamp, tidings: &Tidings) -> Self {
        self.at = at;
        self.touch = self.touch.saturating_add(1);
        self.entries.extend(tidings.entries.iter().map(|entry| (self.touch, Key(*entry))));
        self.left_out.extend(tidings.left_out.iter().map(|hash| (TypeHash(*hash), self.touch)));
        if tidings.unknown {
            self.since = self.touch;
        }
        while self.entries.len() > ENTRIES
            && let Some(place) = least(self.entries.iter().map(|(touch, key)| (*touch, &key.0)))
        {
            let (touch, Key(entry)) = self.entries.remove(place);
            let last = self.left_out.entry(TypeHash(entry.type_hash)).or_default();
            *last = touch.max(*last);
        }
        while self.left_out.len() > TYPES
            && let Some((hash, touch)) =
                self.left_out.iter().map(|(hash, touch)| (*hash, *touch)).min_by_key(|one| one.1)
        {
            self.left_out.remove(&hash);
            self.since = self.since.max(touch);
        }
        // Who has read less than this looks at the index anyway.
        let since = self.since;
        self.entries.retain(|(touch, _)| *touch > since);
        self.left_out.retain(|_, touch| *touch > since);
        self
    }

    /// The number of this touch.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.touch
    }

    /// Up to where whoever has read this has read.
    #[must_use]
    pub fn read(&self) -> Read {
        Read { nonce: self.nonce.clone(), touch: self.touch }
    }

    /// What came after `read` of the types that `concerns` the reader.
    #[must_use]
    pub fn news(&self, read: Option<&Read>, concerns: impl Fn(u32) -> bool) -> News {
        let known = read.filter(|read| read.nonce == self.nonce && (self.since..=self.touch).contains(&read.touch));
        let after = known.map_or(0, |read| read.touch);
        let entries = self.entries.iter().filter(|(touch, _)| *touch > after).map(|(_, key)| key.0);
        let left_out = self.left_out.iter().any(|(hash, touch)| *touch > after && concerns(hash.0));
        News { entries: entries.filter(|entry| concerns(entry.type_hash)).collect(), more: known.is_none() || left_out }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::entropy::Entropy;
    use crate::id::RecordId;

    fn entry(entropy: &Entropy, type_hash: u32, priority: u8) -> ReadyEntry {
        let record = RecordId::random(entropy);
        ReadyEntry { due: Timestamp(60_000), record, seq: 1, priority, type_hash, pending: 1, parked: false }
    }

    fn tidings(entries: &[ReadyEntry]) -> Tidings {
        let mut tidings = Tidings::default();
        for entry in entries {
            tidings.add(*entry);
        }
        tidings
    }

    #[test]
    fn who_has_read_every_touch_is_told_each_entry_once_and_need_not_look() {
        let entropy = Entropy::seeded(1);
        let (one, two) = (entry(&entropy, 7, 5), entry(&entropy, 7, 5));
        let first = Told::first(1, Timestamp(0), &tidings(&[one]));
        assert_eq!(first.news(None, |_| true), News { entries: vec![one], more: true }, "who comes new looks");
        let read = first.read();
        assert_eq!(first.news(Some(&read), |_| true), News::default());
        let second = first.next(Timestamp(1), &tidings(&[two]));
        assert_eq!(second.news(Some(&read), |_| true), News { entries: vec![two], more: false });
        assert_eq!(second.news(Some(&read), |hash| hash == 8), News::default(), "others are not concerned");
    }

    #[test]
    fn another_chain_makes_everybody_look() {
        let read = Told::first(1, Timestamp(0), &Tidings::default()).read();
        let other = Told::first(2, Timestamp(0), &Tidings::default());
        assert!(other.news(Some(&read), |_| false).more);
    }

    #[test]
    fn what_is_not_known_makes_everybody_look_once() {
        let mut unknown = Tidings::default();
        unknown.add_unknown();
        let first = Told::first(1, Timestamp(0), &Tidings::default());
        let read = first.read();
        let second = first.next(Timestamp(0), &unknown);
        assert!(second.news(Some(&read), |_| false).more && !second.news(Some(&second.read()), |_| false).more);
    }

    #[test]
    fn of_too_many_the_urgent_ones_are_told_and_only_who_misses_something_looks() {
        let entropy = Entropy::seeded(1);
        let start = Told::first(1, Timestamp(0), &Tidings::default());
        let read = start.read();
        let (urgent, other) = (entry(&entropy, 7, 9), entry(&entropy, 8, 6));
        let mut all = vec![urgent, other];
        all.extend((0..500).map(|_| entry(&entropy, 7, 5)));
        let told = start.next(Timestamp(0), &tidings(&all));
        let mine = told.news(Some(&read), |hash| hash == 7);
        assert!(mine.more && mine.entries.contains(&urgent) && mine.entries.len() == ENTRIES - 1);
        assert_eq!(told.news(Some(&read), |hash| hash == 8), News { entries: vec![other], more: false });
    }

    #[test]
    fn a_body_of_an_older_version_tells_nothing() {
        let old = Bytes::from_static(b"{\"at\":\"2026-09-21T14:13:32.395Z\",\"nonce\":\"9e0fbee184e17741\"}");
        assert_eq!(Told::parse(&old), None);
        assert_eq!(Told::parse(&Bytes::from_static(b"no JSON")), None);
    }

    #[test]
    fn a_full_body_is_of_a_size_that_is_read_again() {
        let entropy = Entropy::seeded(1);
        let mut told = Told::first(u64::MAX, Timestamp::LAST, &Tidings::default());
        for _ in 0..3 {
            let all: Vec<_> = (0..200).map(|n| ReadyEntry { seq: u64::MAX, ..entry(&entropy, n, 5) }).collect();
            told = told.next(Timestamp::LAST, &tidings(&all));
        }
        assert_eq!(Told::parse(&told.body().unwrap()), Some(told));
    }

    proptest! {
        /// However touches and readings alternate: what concerns a reader is told to it, or it looks at the index.
        #[test]
        fn nothing_is_hidden_from_a_reader(steps in prop::collection::vec((0_u32..40, 0_usize..90, 0_u8..10, any::<bool>(), any::<bool>()), 1..40)) {
            let entropy = Entropy::seeded(3);
            let mut told = Told::first(1, Timestamp(0), &Tidings::default());
            let (mut read, mut unseen) = (told.read(), BTreeSet::new());
            for (type_hash, count, priority, unknown, reads) in steps {
                let all: Vec<_> = (0..count).map(|_| entry(&entropy, type_hash, priority)).collect();
                let mut fresh = tidings(&all);
                if unknown && count == 0 {
                    fresh.add_unknown();
                }
                unseen.extend(all.iter().filter(|entry| entry.type_hash < 20).copied());
                told = Told::parse(&told.next(Timestamp(0), &fresh).body().unwrap()).unwrap();
                prop_assert!(told.entries.len() <= ENTRIES && told.left_out.len() <= TYPES);
                if reads {
                    let news = told.news(Some(&read), |hash| hash < 20);
                    let seen: BTreeSet<_> = news.entries.iter().copied().collect();
                    prop_assert!(news.more || seen.is_superset(&unseen));
                    prop_assert!(seen.is_subset(&unseen), "nothing is told twice");
                    (read, unseen) = (told.read(), BTreeSet::new());
                }
            }
        }
    }
}
