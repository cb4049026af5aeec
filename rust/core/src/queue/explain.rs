//! Why a task has not been started: the first thing somebody wants to know whose task just waits.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Queue, TaskView};
use crate::error::{Error, Result};
use crate::id::TaskId;
use crate::record::{After, Slot, TaskStatus};
use crate::time::Timestamp;
use crate::worker::Phase;

/// What was learnt about the workers serves others who ask, for so long.
const FRESH: Duration = Duration::from_secs(5);
/// A wait whose time is up looks for the reason for so long at most.
const LOOK: Duration = Duration::from_secs(1);
/// Types that are named.
const MOST_NAMED: usize = 20;

/// The types that living workers take, as they were last seen.
#[derive(Debug, Default)]
pub struct Crew(Mutex<Option<(Instant, Arc<Takers>)>>);

#[derive(Debug, Default)]
struct Takers {
    workers: usize,
    /// Those that have lost all their places to attempts that do not return.
    stuck: usize,
    types: BTreeSet<String>,
}

impl Queue {
    /// Says why a task has not been started: it is not due yet, no worker runs, or none takes its type. `None` if
    /// nothing of that is so.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such task, and the store's.
    pub async fn explain(&self, id: TaskId) -> Result<Option<String>> {
        let found = self.get(&[id]).await?.into_iter().flatten().next();
        let view = found.ok_or_else(|| Error::NotFound(format!("there is no task {id}")))?;
        self.explain_view(&view).await
    }

    /// The reason, in a few words after another message, as far as it is found in a moment; else nothing.
    pub(super) async fn because(&self, view: &TaskView) -> String {
        match timeout(LOOK, self.explain_view(view)).await {
            Ok(Ok(Some(reason))) => format!(": {reason}"),
            Ok(Ok(None) | Err(_)) | Err(_) => String::new(),
        }
    }

    async fn explain_view(&self, view: &TaskView) -> Result<Option<String>> {
        match view.task.status {
            TaskStatus::Pending => {}
            TaskStatus::Waiting if view.task.awaits_others() => return Ok(view.task.after.as_deref().map(waits_for)),
            TaskStatus::Waiting => return Ok(Some(waits(view.task.park.as_ref().and_then(|park| park.until)))),
            TaskStatus::Running
            | TaskStatus::Completed
            | TaskStatus::Failed
            | TaskStatus::Cancelled
            | TaskStatus::Expired
            | TaskStatus::Archived => return Ok(None),
        }
        // The time here may lag behind that of whoever submitted it a moment ago.
        if view.task.available_at > self.bucket().now().after(self.bucket().time_margin()) {
            return Ok(Some(not_due(view.task.available_at)));
        }
        let takers = self.takers().await?;
        Ok(not_taken(&view.kind, &takers))
    }

    async fn takers(&self) -> Result<Arc<Takers>> {
        let crew = &self.core().crew.0;
        let known = crew.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, takers)) = known
            && at.elapsed() < FRESH
        {
            return Ok(takers);
        }
        let mut takers = Takers::default();
        let (seen, _) = self.workers().await?;
        for worker in seen.into_iter().filter(|seen| seen.alive).map(|seen| seen.registration) {
            if worker.takes_tasks() {
                takers.workers += 1;
                takers.types.extend(worker.types);
            } else if worker.state == Phase::Running {
                takers.stuck += 1;
            }
        }
        let takers = Arc::new(takers);
        *crew.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), Arc::clone(&takers)));
        Ok(takers)
    }
}

fn not_due(at: Timestamp) -> String {
    format!("it is not to start before {at}")
}

fn waits_for(after: &After) -> String {
    let count = |slot: &Slot| slot.tasks().count();
    let open: usize = after.open().map(|(_, slot)| count(slot)).sum();
    let all: usize = after.slots.iter().map(count).sum();
    let first = after.open().find_map(|(_, slot)| slot.tasks().next());
    let first = first.map_or_else(String::new, |first| format!(", such as {first}"));
    format!("it waits for {open} of the {all} tasks that it is to run after{first}")
}

fn waits(until: Option<Timestamp>) -> String {
    let or = until.map_or_else(String::new, |until| format!(", or for {until}"));
    format!("it is parked, and waits to be woken{or}")
}

fn not_taken(kind: &str, takers: &Takers) -> Option<String> {
    if takers.workers == 0 {
        let lost = "no place is left in any worker that runs: attempts whose time was up do not return";
        return Some(if takers.stuck > 0 { lost } else { "no worker runs" }.into());
    }
    if takers.types.contains(kind) {
        return None;
    }
    let mut known: Vec<&str> = takers.types.iter().take(MOST_NAMED).map(String::as_str).collect();
    if takers.types.len() > known.len() {
        known.push("and others");
    }
    let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
    Some(format!("no living worker takes type {kind:?}; living workers take {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takers(workers: usize, types: &[&str]) -> Takers {
        Takers { workers, stuck: 0, types: types.iter().map(|&kind| kind.to_owned()).collect() }
    }

    #[test]
    fn a_type_that_nobody_takes_is_told_with_those_that_are_taken() {
        let reason = not_taken("count_wrods", &takers(2, &["resize", "count_words"])).unwrap();
        assert_eq!(reason, "no living worker takes type \"count_wrods\"; living workers take count_words, resize");
        assert_eq!(not_taken("resize", &takers(2, &["resize"])), None);
    }

    #[test]
    fn without_workers_that_is_the_reason() {
        assert_eq!(not_taken("resize", &takers(0, &[])).unwrap(), "no worker runs");
    }

    #[test]
    fn workers_that_have_lost_all_their_places_take_nothing() {
        let reason = not_taken("resize", &Takers { stuck: 2, ..takers(0, &[]) }).unwrap();
        assert!(reason.starts_with("no place is left in any worker that runs"), "{reason}");
        assert_eq!(not_taken("resize", &Takers { stuck: 2, ..takers(1, &["resize"]) }), None);
    }

    #[test]
    fn of_very_many_types_some_are_named() {
        let types: Vec<String> = (0..1_000).map(|n| format!("type{n:04}")).collect();
        let types: Vec<&str> = types.iter().map(String::as_str).collect();
        let reason = not_taken("other", &takers(1, &types)).unwrap();
        assert!(reason.ends_with("type0019, and others"), "{reason}");
    }
}
