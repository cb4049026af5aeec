//! The short run: the corpus as it is, and mutations of it by seed, the same in every run.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod mutate;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use buquet_fuzz::{TARGETS, target};

use mutate::Mutator;

/// The checked-in inputs of a target, in the order of their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5, "{} has hardly any inputs", folder.display());
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Runs the target on one input; what breaks it is shown, so that it can be added to the corpus.
fn attempt(name: &str, input: &[u8]) {
    let run = target(name).unwrap();
    let whole = catch_unwind(AssertUnwindSafe(|| run(input))).is_ok();
    assert!(whole, "{name} breaks on b\"{}\": mend it and add it to rust/fuzz/corpus/{name}", input.escape_ascii());
}

fn replay(name: &str, mutations: u64) {
    let corpus = corpus(name);
    for input in &corpus {
        attempt(name, input);
    }
    for seed in 0..mutations {
        attempt(name, &Mutator::new(seed).mutate(&corpus));
    }
}

#[test]
fn records_by_anybody_are_refused_or_can_be_worked_on() {
    replay("record", 6_000);
}

#[test]
fn keys_by_anybody_are_ours_in_one_spelling_or_not_ours() {
    replay("key", 60_000);
}

#[test]
fn requests_by_anybody_are_answered() {
    replay("request", 1_500);
}

#[test]
fn configurations_by_anybody_name_a_store_or_are_explained() {
    replay("config", 6_000);
}

#[test]
fn urls_by_anybody_name_a_store_or_are_explained() {
    replay("url", 20_000);
}

#[test]
fn every_target_has_its_corpus_and_every_corpus_its_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut folders: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    folders.sort();
    assert_eq!(folders, TARGETS.map(|(name, _)| name));
}
