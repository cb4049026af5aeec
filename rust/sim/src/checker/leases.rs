//! Every attempt that ended did so for a reason: its handler's decision, its worker's silence, or its time.

use std::time::Duration;

use buquet_core::time::Timestamp;

use super::history::{Ending, History};
use super::view::Status;
use super::{Evidence, Findings};
use crate::journal::{Attempt, Decision, Told};
use crate::scenario::Kind;

/// A worker is lost when its heartbeat is older than this.
const STALE: Duration = Duration::from_secs(45);
/// How old a heartbeat may be when a claim lands: two beats, and a moment for the claim itself.
const FRESH: Duration = Duration::from_secs(22);
/// How long before a lease its worker's silence may have been noticed.
const NOTICED_BEFORE: Duration = Duration::from_mins(2);
/// How long a dead worker's tasks may lie idle.
const RECOVERY: Duration = Duration::from_mins(1);
/// So many lost workers fail a task.
const LOSSES: u32 = 10;

pub(super) fn check(history: &History, evidence: &Evidence<'_>, found: &mut Findings) {
    let resolution = Duration::from_millis(u64::try_from(evidence.scenario.resolution_ms).unwrap_or(0));
    for ending in &history.endings {
        let key = (ending.task.clone(), ending.lease.clone());
        let attempt = evidence.journal.attempts.get(&key);
        let life = evidence.journal.workers.get(&ending.worker);
        let leaving = life.and_then(|life| life.leaving_at).is_some_and(|at| at <= ending.at);
        let begun = history.beginnings.get(&key).map(|beginning| beginning.at).unwrap_or_default();
        let verdict = if ending.worker_lost {
            judge_loss(history, ending, begun, resolution)
        } else if ending.is_timeout(attempt) {
            judge_timeout(ending)
        } else {
            judge_decision(ending, attempt, leaving)
        };
        if let Err(reason) = verdict {
            let Ending { task, lease, attempt, at, .. } = ending;
            found.add("ends for a reason", format!("task {task} attempt {attempt} under {lease} at {at}: {reason}"));
        }
    }
}

/// Who claims has shown a moment before that it lives: it could be taken for dead otherwise as soon as it has begun.
pub(super) fn check_heartbeats(history: &History, evidence: &Evidence<'_>, found: &mut Findings) {
    if evidence.scenario.kind == Kind::Rough {
        return; // there a claim may take long to land
    }
    for ((task, lease), beginning) in &history.beginnings {
        let beats = history.beats.get(&beginning.worker).map(Vec::as_slice).unwrap_or_default();
        let last = beats.iter().rfind(|(at, _)| *at <= beginning.at);
        let fresh = last.is_some_and(|(at, present)| *present && beginning.at.since(*at) <= FRESH);
        found.require(fresh, "claims only while its heartbeat is fresh", || {
            format!("task {task} under {lease} at {}: the heartbeat before was {last:?}", beginning.at)
        });
    }
}

/// A dead worker's tasks run elsewhere within a minute of its last sign of life.
pub(super) fn check_recovery(history: &History, evidence: &Evidence<'_>, found: &mut Findings) {
    for ending in history.endings.iter().filter(|ending| ending.worker_lost) {
        let beats = history.beats.get(&ending.worker).map(Vec::as_slice).unwrap_or_default();
        let Some((died_at, _)) = beats.iter().rfind(|(at, present)| *present && *at <= ending.at) else { continue };
        let again = history
            .beginnings
            .iter()
            .find(|((task, _), beginning)| *task == ending.task && beginning.attempt == ending.attempt + 1);
        let within = again.is_some_and(|(_, again)| again.at.since(*died_at) <= RECOVERY);
        found.require(within || evidence.scenario.kind != Kind::Recovery, "back within a minute", || {
            format!("task {}: its worker beat last at {died_at}, it runs again {again:?}", ending.task)
        });
    }
}

impl Ending {
    /// Whether the engine itself says that the time was up.
    fn is_timeout(&self, attempt: Option<&Attempt>) -> bool {
        let decided = |message: &str| {
            let said =
                |(decision, _): &(Decision, _)| matches!(decision, Decision::Fail { message: it, .. } if it == message);
            attempt.is_some_and(|attempt| attempt.decisions.iter().any(said))
        };
        self.error.as_ref().is_some_and(|error| error.kind == "Timeout" && !decided(&error.message))
    }

    /// Whether this is what becomes of a task whose handler decided so.
    pub(super) fn matches(&self, decision: &Decision) -> bool {
        // Who was called off does not run again, whatever its handler says; a result that is there is kept.
        let pending = if self.called_off { Status::Cancelled } else { Status::Pending };
        let calm = self.error.is_none() && !self.retry_spent && !self.worker_lost;
        match decision {
            Decision::Complete(output) => self.status == Status::Completed && self.output.as_ref() == Some(output),
            Decision::Fail { message, retry } => {
                let again = *retry && self.retries_left && !self.called_off;
                let ended = if self.called_off { Status::Cancelled } else { Status::Failed };
                self.error.as_ref().is_some_and(|error| error.message == *message)
                    && self.status == if again { Status::Pending } else { ended }
                    && self.retry_spent == again
            }
            Decision::Reschedule(at) => self.status == pending && calm && (self.called_off || self.available_at == *at),
            Decision::Park(until) => {
                let waits = self.status == Status::Waiting && self.until == *until;
                calm && if self.called_off { self.status == Status::Cancelled } else { waits }
            }
            Decision::Release | Decision::Cancel => self.status == pending && calm,
        }
    }
}

fn judge_decision(ending: &Ending, attempt: Option<&Attempt>, leaving: bool) -> Result<(), String> {
    let decisions = attempt.map(|attempt| attempt.decisions.as_slice()).unwrap_or_default();
    if decisions.iter().any(|(decision, _)| ending.matches(decision)) {
        return Ok(());
    }
    let abandoned = decisions.iter().any(|(_, told)| matches!(told, Some(Told::LeaseLost | Told::GivenUp)));
    if ending.matches(&Decision::Release) && (attempt.is_none() || leaving || abandoned) {
        return Ok(());
    }
    Err(format!("{} with {:?} {:?}, but decided was {decisions:?}", ending.status.name(), ending.output, ending.error))
}

fn judge_timeout(ending: &Ending) -> Result<(), String> {
    if ending.at < ending.expires_at {
        return Err(format!("called overdue before its lease ended at {}", ending.expires_at));
    }
    let fits = if ending.called_off {
        ending.status == Status::Cancelled && !ending.retry_spent
    } else if ending.retries_left {
        ending.status == Status::Pending && ending.retry_spent
    } else {
        ending.status == Status::Failed && !ending.retry_spent
    };
    if fits { Ok(()) } else { Err(format!("overdue, and {} all the same", ending.status.name())) }
}

fn judge_loss(history: &History, ending: &Ending, begun: Timestamp, resolution: Duration) -> Result<(), String> {
    let expected = match ending.losses {
        _ if ending.called_off => Status::Cancelled,
        0..=LOSSES => Status::Pending,
        _ => Status::Failed,
    };
    if ending.status != expected || ending.retry_spent {
        return Err(format!("its worker was lost {} times, and it is {}", ending.losses, ending.status.name()));
    }
    let beats = history.beats.get(&ending.worker).map(Vec::as_slice).unwrap_or_default();
    let silence = longest_silence(beats, begun.before(NOTICED_BEFORE), ending.at);
    if silence + resolution >= STALE {
        return Ok(());
    }
    let Ending { worker, .. } = ending;
    Err(format!(
        "its worker {worker} was taken for dead, and was never silent for more than {} ms",
        silence.as_millis()
    ))
}

/// How old a worker's heartbeat ever was in a time; very old where it had none any more.
fn longest_silence(beats: &[(Timestamp, bool)], from: Timestamp, to: Timestamp) -> Duration {
    let mut longest = Duration::ZERO;
    let ends = beats.iter().skip(1).map(|(at, _)| *at).chain([Timestamp(i64::MAX)]);
    for ((at, present), end) in beats.iter().zip(ends) {
        if end < from || *at > to {
            continue;
        }
        longest = longest.max(if *present { end.min(to).since(*at) } else { Duration::MAX / 2 });
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_counted_from_beat_to_beat_within_the_time() {
        let beats = [(Timestamp(0), true), (Timestamp(10_000), true), (Timestamp(60_000), true)];
        let seconds = |from, to| longest_silence(&beats, Timestamp(from), Timestamp(to)).as_secs();
        assert_eq!(seconds(0, 9_000), 10 - 1);
        assert_eq!(seconds(0, 70_000), 50);
        assert_eq!(seconds(61_000, 75_000), 15);
        assert_eq!(seconds(20_000, 40_000), 30, "the silence began before");
    }

    #[test]
    fn a_worker_whose_heartbeat_was_deleted_is_silent() {
        let beats = [(Timestamp(0), true), (Timestamp(1_000), false)];
        assert!(longest_silence(&beats, Timestamp(0), Timestamp(2_000)) > STALE);
    }
}
