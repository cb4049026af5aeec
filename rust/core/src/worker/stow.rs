//! Inputs and outputs that lie in objects of their own: read after a claim, written before a completion.

use futures::future::ready;
use futures::stream;
use futures::{StreamExt, TryStreamExt};

use super::settle::{Verdict, WorkOutcome};
use super::shared::Shared;
use crate::error::Result;
use crate::keys;
use crate::limits;
use crate::payload::{Parcel, Parcels, read_json, unnamed};
use crate::queue::{check_payload, is_small};
use crate::record::{Advance, BatchRecord, Claimed, Json, Outcome, Stowed, stow};
use crate::time::Timestamp;
use crate::transact::Stored;

/// Inputs of one record read at the same time.
const READS_IN_FLIGHT: usize = 8;

/// The outcomes of one record as they are committed: large outputs moved out of them.
#[derive(Debug, Default)]
pub struct Stowage {
    outcomes: Vec<WorkOutcome>,
    parcels: Parcels,
    chunks_sent: bool,
    /// When they were written.
    at: Option<Timestamp>,
}

impl Stowage {
    /// Writes the large outputs, before the commit that names them. Trying again uses what was written before, unless
    /// that is so old that it may have been collected.
    ///
    /// # Errors
    /// The store's.
    pub async fn prepare(&mut self, worker: &Shared, record: &BatchRecord, outcomes: &[WorkOutcome]) -> Result<()> {
        self.send_chunks(worker, record, outcomes).await?;
        let now = worker.now();
        let lengths: Vec<usize> =
            outcomes.iter().map(|outcome| output(outcome).map_or(0, |output| output.text().len())).collect();
        let large = stow(record, &lengths);
        if large.contains(&true) && self.at.is_none_or(|at| now > at.after(limits::PAYLOAD_FRESH)) {
            (self.parcels, self.at) = (Parcels::default(), None);
            let stowed = outcomes.iter().zip(large).map(|(outcome, is_large)| match output(outcome) {
                Some(json) if is_large => {
                    let parcel = Parcel::pack(record.id, json, worker.entropy());
                    let moved = move_out(outcome, &parcel);
                    self.parcels.push(parcel);
                    moved
                }
                _ => outcome.clone(),
            });
            self.outcomes = stowed.collect();
            // Those of the true protocol come before the commit, and those of the broken one after it.
            let (bucket, variant) = (&worker.desk().bucket, worker.settings().variant);
            if !variant.stows_late() {
                self.parcels.around(bucket, variant, ready(Ok(()))).await?;
            }
            self.at = Some(now);
        }
        Ok(())
    }

    /// Writes the chunks that the journals of these runs will name. Their names come from what they hold.
    async fn send_chunks(&mut self, worker: &Shared, record: &BatchRecord, outcomes: &[WorkOutcome]) -> Result<()> {
        if std::mem::replace(&mut self.chunks_sent, true) {
            return Ok(());
        }
        let advances = outcomes.iter().filter_map(|outcome| match &outcome.outcome {
            Outcome::Advance(advance) => Some(advance),
            _ => None,
        });
        let chunks: Vec<_> = advances.flat_map(|advance| &advance.round.chunks).collect();
        let bucket = &worker.desk().bucket;
        let sends = chunks.into_iter().map(|chunk| {
            let (key, body) = (keys::result(record.id, &chunk.name.key), chunk.body.clone());
            async move { bucket.put(&key, body).await.map(drop) }
        });
        let sent: std::result::Result<(), _> =
            stream::iter(sends).buffer_unordered(READS_IN_FLIGHT).boxed().try_collect().await;
        self.chunks_sent = sent.is_ok();
        sent?;
        Ok(())
    }

    /// The outcomes as they are to be committed.
    pub fn outcomes<'a>(&'a self, outcomes: &'a [WorkOutcome]) -> &'a [WorkOutcome] {
        if self.at.is_some() { &self.outcomes } else { outcomes }
    }

    /// The broken variant: writes the outputs after the commit that names them.
    pub async fn follow(&self, worker: &Shared) {
        let variant = worker.settings().variant;
        if variant.stows_late() {
            let _ = self.parcels.around(&worker.desk().bucket, variant, ready(Ok(()))).await;
        }
    }
}

impl Shared {
    /// Deletes what this engine wrote for outcomes whose lease was lost, as far as the record as it is now shows that
    /// nothing names it. What a front wrote it may yet name in another outcome.
    pub fn let_go_of_outputs<'a>(
        &self,
        outcomes: impl Iterator<Item = (&'a WorkOutcome, bool)>,
        stored: Option<&Stored>,
    ) {
        let Some(stored) = stored else { return };
        let written = outcomes.filter(|(_, lost)| *lost).filter_map(|(outcome, _)| match &outcome.outcome {
            Outcome::CompleteStowed(output) => output.output_ref.as_ref(),
            Outcome::Advance(advance) => advance.stowed.as_ref(),
            _ => None,
        });
        let unnamed = unnamed(&stored.record, written);
        if !unnamed.is_empty() {
            self.desk().deleter.delete(unnamed);
        }
    }
}

fn output(outcome: &WorkOutcome) -> Option<&Json> {
    match &outcome.outcome {
        Outcome::Complete { output } => Some(output),
        Outcome::CompleteStowed(stowed) => stowed.output.as_ref(),
        Outcome::Advance(advance) => advance.payload(),
        _ => None,
    }
}

fn move_out(outcome: &WorkOutcome, parcel: &Parcel) -> WorkOutcome {
    if let Outcome::Advance(advance) = &outcome.outcome {
        let advance = Advance { stowed: Some(parcel.name.clone()), ..(**advance).clone() };
        return WorkOutcome { outcome: Outcome::Advance(Box::new(advance)), ..outcome.clone() };
    }
    let files = match &outcome.outcome {
        Outcome::CompleteStowed(stowed) => stowed.files.clone(),
        _ => Vec::new(),
    };
    let stowed = Stowed { output: None, output_ref: Some(parcel.name.clone()), files };
    WorkOutcome { outcome: Outcome::CompleteStowed(stowed), ..outcome.clone() }
}

/// Refuses an output that cannot be stored.
pub fn check_output(outcome: &WorkOutcome) -> std::result::Result<(), Verdict> {
    let checked = output(outcome).map_or(Ok(()), |output| check_payload("output", output));
    checked.map_err(|error| Verdict::Refused(error.to_string()))
}

impl Shared {
    /// The record with the inputs of the claimed tasks that lie elsewhere, as far as they are small enough; `None` if
    /// there is none. One that cannot be read is left out: the front reads it by its name and learns why.
    pub async fn fill_inputs(&self, stored: &Stored, claimed: &[Claimed]) -> Option<Stored> {
        let (record, bucket) = (&stored.record, &self.desk().bucket);
        // A run's is read when it is opened.
        let tasks = claimed.iter().filter_map(|claimed| record.tasks.get(usize::from(claimed.n)));
        let tasks = tasks.filter(|task| task.run.is_none());
        let wanted: Vec<_> =
            tasks.filter_map(|task| Some((task.n, task.input_ref.as_ref().filter(|name| is_small(name))?))).collect();
        if wanted.is_empty() {
            return None;
        }
        let reads = wanted.into_iter().map(|(n, name)| async move { (n, read_json(bucket, record.id, name).await) });
        let inputs: Vec<(u16, Result<Json>)> =
            stream::iter(reads).buffer_unordered(READS_IN_FLIGHT).boxed().collect().await;
        let mut filled = stored.clone();
        for (n, input) in inputs {
            match (filled.record.tasks.get_mut(usize::from(n)), input) {
                (Some(task), Ok(input)) => task.input = input,
                (_, Err(error)) => self.warn("an input could not be read", &error),
                (None, Ok(_)) => {}
            }
        }
        Some(filled)
    }
}
