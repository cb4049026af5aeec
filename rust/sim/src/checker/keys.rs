//! One task a key, or one within a window; whoever submits it again is told of it, and of another one never.

use std::collections::BTreeMap;
use std::time::Duration;

use buquet_core::time::Timestamp;

use super::history::History;
use super::{Evidence, Findings};
use crate::journal::Keyed;

/// A task that was stored under a key.
struct Stored {
    key: String,
    label: String,
    created_at: Timestamp,
}

pub(super) fn check(history: &History, evidence: &Evidence<'_>, found: &mut Findings) {
    let stored = stored(history, found);
    let mut windows: BTreeMap<&str, Option<Duration>> = BTreeMap::new();
    for keyed in &evidence.journal.keyed {
        windows.insert(&keyed.key, keyed.window);
        check_answer(keyed, &stored, found);
    }
    for (key, window) in windows {
        let tasks: Vec<_> = stored.iter().filter(|(_, lives)| lives.iter().any(|life| life.key == key)).collect();
        match window {
            None => found.require(tasks.len() <= 1, "one task a key", || {
                format!("{key} has the tasks {:?}", tasks.iter().map(|(id, _)| id).collect::<Vec<_>>())
            }),
            Some(window) => check_window(key, window, &stored, found),
        }
    }
    check_makers(history, evidence, &stored, found);
}

/// By task, each of its lives: it comes again after it was purged.
fn stored(history: &History, found: &mut Findings) -> BTreeMap<String, Vec<Stored>> {
    let mut stored: BTreeMap<String, Vec<Stored>> = BTreeMap::new();
    for record in history.submitted() {
        for task in &record.tasks {
            let Some(key) = task.key.clone() else { continue };
            match task.label() {
                Some(label) => {
                    let life = Stored { key, label, created_at: record.created_at };
                    stored.entry(record.task_id(task.n)).or_default().push(life);
                }
                None => found.add("input kept", format!("the task of {key} has the input {}", task.input.get())),
            }
        }
    }
    stored
}

fn check_answer(keyed: &Keyed, stored: &BTreeMap<String, Vec<Stored>>, found: &mut Findings) {
    let Keyed { key, label, .. } = keyed;
    let Some((id, _)) = &keyed.answer else {
        let other = stored.values().flatten().any(|life| life.key == *key && life.label != *label);
        return found.require(other, "the same key, the same task", || {
            format!("{label} was refused, and {key} belongs to no other task")
        });
    };
    let lives = stored.get(id).map(Vec::as_slice).unwrap_or_default();
    found.require(!lives.is_empty(), "acknowledged is durable", || {
        format!("{label} was acknowledged as {id} and is not there")
    });
    let same = lives.is_empty() || lives.iter().any(|life| life.label == *label && life.key == *key);
    found.require(same, "the same key, the same task", || format!("{label} was answered with {id}"));
}

/// Two tasks of a key are a window apart.
fn check_window(key: &str, window: Duration, stored: &BTreeMap<String, Vec<Stored>>, found: &mut Findings) {
    let mut times: Vec<Timestamp> =
        stored.values().flatten().filter(|life| life.key == key).map(|life| life.created_at).collect();
    times.sort_unstable();
    for pair in times.windows(2) {
        let [one, two] = pair else { continue };
        found.require(two.since(*one) >= window, "one task a window", || {
            format!("{key} was submitted at {one} and at {two}, within {} ms", window.as_millis())
        });
    }
}

/// Each task was made once, and every revision that begins one belongs to its record.
fn check_makers(
    history: &History,
    evidence: &Evidence<'_>,
    stored: &BTreeMap<String, Vec<Stored>>,
    found: &mut Findings,
) {
    let answers = evidence.journal.keyed.iter().filter_map(|keyed| keyed.answer.as_ref());
    let mut made: BTreeMap<&str, usize> = BTreeMap::new();
    for (id, _) in answers.filter(|(_, created)| *created) {
        *made.entry(id).or_default() += 1;
    }
    for (id, count) in made {
        let lives = stored.get(id).map_or(0, Vec::len);
        found.require(count <= lives, "submitted once", || {
            format!("{count} submits were told that they made {id}, which was made {lives} times")
        });
    }
    for task in history.last().flat_map(|(_, record)| &record.tasks) {
        let known = task.key.as_deref().is_none_or(|key| evidence.scenario.has_key(key));
        found.require(known, "submitted once", || format!("nobody submitted the key {:?}", task.key));
    }
}
