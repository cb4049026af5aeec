use proptest::prelude::*;

use super::super::entry::{End, Kind};
use super::super::samples::{completed, ended, json, step, text};
use super::*;

fn steps(count: usize) -> Vec<Arc<Entry>> {
    (0..count).map(|n| Arc::new(step(i64::try_from(n).unwrap(), &format!("step{n}")))).collect()
}

/// A journal that grew by one entry at a time, and the objects that were written.
fn grown(entries: &[Arc<Entry>]) -> (Journal, Vec<Chunk>) {
    let mut journal = Journal::default();
    let mut chunks = Vec::new();
    for entry in entries {
        journal.entries.push(entry.clone());
        chunks.extend(move_out(&mut journal, "run 1").unwrap());
        let bytes: usize = journal.entries.iter().map(|entry| text(entry).len()).sum();
        assert!(journal.entries.len() <= limits::INLINE_ENTRIES && bytes <= limits::INLINE_BYTES);
    }
    (journal, chunks)
}

fn bodies(chunks: &[Chunk]) -> Vec<Option<Bytes>> {
    chunks.iter().map(|chunk| Some(chunk.body.clone())).collect()
}

#[test]
fn a_short_journal_stays_in_its_record() {
    let (journal, chunks) = grown(&steps(limits::INLINE_ENTRIES));
    assert!(chunks.is_empty() && journal.chunks.is_empty());
    assert_eq!(read_back(&journal, &[]).unwrap().len(), limits::INLINE_ENTRIES);
}

#[test]
fn the_oldest_part_of_a_long_one_moves_out_and_the_latest_entries_stay() {
    let (journal, chunks) = grown(&steps(limits::INLINE_ENTRIES + 1));
    assert_eq!(chunks.len(), 1);
    assert_eq!(journal.entries.len(), limits::KEPT_ENTRIES);
    assert_eq!(text(&journal.entries.last()), text(&Some(step(200, "step200"))));
    assert!(is_result_key(&journal.chunks[0].key) && journal.chunks[0].key.starts_with("journal."));
    let body = String::from_utf8(chunks[0].body.to_vec()).unwrap();
    assert!(
        body.starts_with("{\"format\":1,\"first\":0,\"entries\":[{\"ask\":\"step\",\"scope\":\"\",\"name\":\"step0\"")
    );
}

#[test]
fn what_is_written_grows_with_the_steps_and_not_with_their_square() {
    let written = |count| {
        let (journal, chunks) = grown(&steps(count));
        assert!(text(&journal).len() < 64 * 1024, "the record stays small");
        chunks.iter().map(|chunk| chunk.body.len()).sum::<usize>()
    };
    let (few, many) = (written(1_000), written(20_000));
    assert!(many < few * 25, "{few} bytes for 1,000 entries and {many} for 20,000");
}

#[test]
fn large_entries_move_out_by_their_bytes() {
    let result = || End::completed(json(&format!("\"{}\"", "x".repeat(limits::RESULT_BYTES - 2))), 1);
    let pair = |n: u32| [step(1, &format!("s{n}")), ended(1, Kind::Step, n * 2, result())].map(Arc::new);
    let entries: Vec<Arc<Entry>> = (0..40).flat_map(pair).collect();
    let (journal, chunks) = grown(&entries);
    assert_eq!(read_back(&journal, &bodies(&chunks)).unwrap().len(), entries.len());
    let mut journal = Journal { entries: (0..200).flat_map(|_| entries[..2].to_vec()).collect(), ..Journal::default() };
    let chunks = move_out(&mut journal, "run 1").unwrap();
    assert!(chunks.len() > 1 && chunks.iter().all(|chunk| chunk.body.len() < limits::CHUNK_BYTES + 200));
    assert_eq!(read_back(&journal, &bodies(&chunks)).unwrap().len(), 400);
}

#[test]
fn a_chunk_that_is_missing_or_altered_is_named() {
    let (journal, chunks) = grown(&steps(500));
    let message = |bodies: &[Option<Bytes>]| {
        let error = read_back(&journal, bodies).unwrap_err();
        assert!(matches!(error, Error::Corrupt(_)), "{error}");
        error.to_string()
    };
    let mut gone = bodies(&chunks);
    gone[1] = None;
    let said = message(&gone);
    assert!(said.contains(&chunks[1].name.key) && said.contains("is gone"), "{said}");
    assert!(message(&gone[..1]).contains("is gone"));
    let mut altered = bodies(&chunks);
    altered[1] = Some(Bytes::from(String::from_utf8(chunks[1].body.to_vec()).unwrap().replace("step", "stop")));
    assert!(message(&altered).contains("SHA-256"));
    let mut swapped = bodies(&chunks);
    swapped.swap(0, 1);
    assert!(message(&swapped).contains(&chunks[0].name.key));
}

#[test]
fn a_chunk_of_another_place_or_a_newer_version_is_refused() {
    let (journal, chunks) = grown(&steps(500));
    let with = |change: &dyn Fn(&mut ChunkRef, String) -> String| {
        let (mut journal, mut bodies) = (journal.clone(), bodies(&chunks));
        let body = change(&mut journal.chunks[1], String::from_utf8(chunks[1].body.to_vec()).unwrap());
        journal.chunks[1].sha256 = sha256(body.as_bytes());
        bodies[1] = Some(Bytes::from(body));
        read_back(&journal, &bodies).unwrap_err()
    };
    let first = with(&|_, body| body.replacen("\"first\":151", "\"first\":7", 1));
    assert!(first.to_string().contains("other entries"), "{first}");
    let fewer = with(&|name, body| {
        name.entries -= 1;
        body
    });
    assert!(fewer.to_string().contains("other entries"), "{fewer}");
    let newer = with(&|_, body| body.replacen("\"format\":1", "\"format\":2", 1));
    assert!(matches!(newer, Error::Layout(_)), "{newer}");
    let key = with(&|name, body| {
        name.key = "../x".into();
        body
    });
    assert!(key.to_string().contains("its key is not one of ours"), "{key}");
}

#[test]
fn no_two_contents_have_one_name() {
    let (_, one) = grown(&steps(300));
    let mut other = steps(300);
    other[3] = Arc::new(completed(3, 0));
    let (_, other) = grown(&other);
    assert_ne!(one[0].name.key, other[0].name.key);
    let mut journal = Journal { entries: steps(300), ..Journal::default() };
    let elsewhere = move_out(&mut journal, "run 2").unwrap();
    let mut journal = Journal { entries: steps(300), ..Journal::default() };
    let here = move_out(&mut journal, "run 1").unwrap();
    assert_eq!(here[0].name.sha256, elsewhere[0].name.sha256);
    assert_ne!(here[0].name.key, elsewhere[0].name.key);
}

proptest! {
    #[test]
    fn however_it_grew_a_journal_is_read_back_and_can_be_cut_anywhere(
        sizes in prop::collection::vec(0_usize..6_000, 1..120), many in 1_usize..12, place in any::<prop::sample::Index>(),
    ) {
        let entry = |(n, size): (usize, &usize)| {
            let output = json(&format!("\"{}\"", "x".repeat(*size)));
            Arc::new(ended(1, Kind::Step, u32::try_from(n).unwrap(), End::completed(output, 1)))
        };
        let entries: Vec<Arc<Entry>> = sizes.iter().cycle().take(sizes.len() * many).enumerate().map(entry).collect();
        let (journal, chunks) = grown(&entries);
        let read = read_back(&journal, &bodies(&chunks)).unwrap();
        prop_assert_eq!(text(&read), text(&entries));
        prop_assert_eq!(journal.len(), entries.len());

        let length = place.index(entries.len() + 1);
        let (kept, dropped) = cut(&journal, &read, length);
        prop_assert_eq!(kept.len(), length);
        prop_assert_eq!(kept.chunks.len() + dropped.len(), journal.chunks.len());
        let read = read_back(&kept, &bodies(&chunks)).unwrap();
        prop_assert_eq!(text(&read), text(&entries[..length].to_vec()));
    }
}
