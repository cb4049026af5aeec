//! Bringing a graph to where its journal ends.

use std::sync::Arc;

use serde::Serialize;

use super::super::entry::{Ask, Entry};
use super::super::model::Op;
use super::body::{Block, Body};

/// In what a graph differs from a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// The entry of the journal, or where one would be.
    pub position: usize,
    /// What is recorded there.
    pub recorded: Option<String>,
    /// What the graph asks for.
    pub asked: Option<String>,
    /// The parameter whose source is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argument: Option<String>,
}

/// Replays a journal from its beginning. Afterwards the body stands where the journal ends; what it asks for and is
/// not recorded behind the last told is new, and comes with its next turn.
///
/// # Errors
/// [`Mismatch`] if the graph asks for something else than was recorded.
pub fn replay(body: &mut Body, entries: &[Arc<Entry>]) -> Result<(), Mismatch> {
    let mut block = body.start();
    let mut position = 0;
    loop {
        let asked: Vec<&Arc<Entry>> =
            entries.iter().skip(position).take_while(|entry| !matches!(&***entry, Entry::Told(_))).collect();
        let told = position + asked.len();
        compare(body, &mut block, &asked, position)?;
        let Some(Entry::Told(news)) = entries.get(told).map(|entry| &**entry) else { break };
        if let Some(ask) = block.asks.first() {
            return Err(Mismatch { position: told, recorded: None, asked: Some(shown(ask)), argument: None });
        }
        if !block.is_empty() {
            let asked = if block.end.is_some() { "the end of the run" } else { "the end of a step" };
            return Err(Mismatch { position: told, recorded: None, asked: Some(asked.into()), argument: None });
        }
        block = body.told(news);
        position = told + 1;
    }
    body.fresh = block;
    Ok(())
}

/// Takes out of `block` what is recorded; everything that is recorded must be in it.
fn compare(body: &mut Body, block: &mut Block, recorded: &[&Arc<Entry>], first: usize) -> Result<(), Mismatch> {
    for (position, entry) in (first..).zip(recorded) {
        let differs = |recorded: String, argument| Mismatch {
            position,
            recorded: Some(recorded),
            asked: block.asked().next().map(|(kind, place)| format!("{} {:?}", kind.name(), place.name)),
            argument,
        };
        match &***entry {
            Entry::Ask(ask) => {
                let same = |other: &Ask| other.place == ask.place && other.what.kind() == ask.what.kind();
                let Some(found) = block.asks.iter().position(same) else { return Err(differs(shown(ask), None)) };
                if let Some(argument) = block.asks.get(found).and_then(|other| other_argument(ask, other)) {
                    return Err(differs(shown(ask), Some(argument)));
                }
                block.asks.remove(found);
                body.bind(&ask.place, Op::try_from(position).unwrap_or(Op::MAX));
            }
            Entry::Cancel(cancel) => {
                let Some(found) = block.cancels.iter().position(|op| *op == cancel.op) else {
                    return Err(differs(format!("operation {} called off", cancel.op), None));
                };
                block.cancels.remove(found);
            }
            Entry::Told(_) | Entry::Unknown(_) => {}
        }
    }
    Ok(())
}

/// The first parameter that is bound otherwise than was recorded.
fn other_argument(recorded: &Ask, asked: &Ask) -> Option<String> {
    let (recorded, asked) = (recorded.what.args()?, asked.what.args()?);
    let names = recorded.keys().chain(asked.keys());
    names.into_iter().find(|name| recorded.get(*name) != asked.get(*name)).cloned()
}

fn shown(ask: &Ask) -> String {
    format!("{} {:?} number {} of scope {:?}", ask.what.kind().name(), ask.place.name, ask.place.n, ask.place.scope)
}
