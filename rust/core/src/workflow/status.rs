//! The statuses of a run and of its steps, and the moves between them. `docs/workflows.md` has the same tables.

use serde::{Deserialize, Serialize};

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// Stored, and not begun; or begun again by a retry.
    Pending,
    /// A worker advances it, or will at once.
    Running,
    /// It waits for a time, a signal, a call or a child, and holds no place in any worker.
    Waiting,
    /// Nothing is started or told until it is resumed.
    Paused,
    /// It undoes what it did, before it ends as failed or cancelled.
    Compensating,
    /// Its body has returned.
    Completed,
    /// Its body has raised, or its driver was lost for good.
    Failed,
    /// It was called off.
    Cancelled,
}

impl RunStatus {
    /// Every status, in the order of the life cycle.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Running,
        Self::Waiting,
        Self::Paused,
        Self::Compensating,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Whether nothing more happens by itself.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Cancelled => true,
            Self::Pending | Self::Running | Self::Waiting | Self::Paused | Self::Compensating => false,
        }
    }

    /// Whether a run may move from this status to `next`: the whole table, nothing else is legal. One commit can make
    /// several moves, such as from waiting over running to completed.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        match self {
            Self::Pending | Self::Waiting => matches!(next, Self::Running | Self::Failed | Self::Cancelled),
            Self::Running => matches!(
                next,
                Self::Waiting | Self::Paused | Self::Compensating | Self::Completed | Self::Failed | Self::Cancelled
            ),
            Self::Paused => matches!(next, Self::Running | Self::Compensating | Self::Failed | Self::Cancelled),
            Self::Compensating => matches!(next, Self::Paused | Self::Failed | Self::Cancelled),
            Self::Failed | Self::Cancelled => matches!(next, Self::Pending),
            Self::Completed => false,
        }
    }

    /// Its name, as it is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Compensating => "compensating",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Where a step of a run stands; the same for its calls, children, timers and whatever else it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepStatus {
    /// Asked for, and not started; or to be started again after its worker was lost or drained.
    Pending,
    /// Its start is stored.
    Running,
    /// It waits for its retry, its time or its event.
    Waiting,
    /// It has a result.
    Completed,
    /// Given up, with an error.
    Failed,
    /// Its condition was not met, or one of the steps before it did not bring what it needs.
    Skipped,
    /// Called off, or never started because its run ended.
    Cancelled,
    /// It was completed, and what it did is undone.
    Compensated,
}

impl StepStatus {
    /// Every status, in the order of the life cycle.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Running,
        Self::Waiting,
        Self::Completed,
        Self::Failed,
        Self::Skipped,
        Self::Cancelled,
        Self::Compensated,
    ];

    /// Whether nothing more happens by itself, apart from compensation.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Skipped | Self::Cancelled | Self::Compensated => true,
            Self::Pending | Self::Running | Self::Waiting => false,
        }
    }

    /// Whether a step may move from this status to `next`: the whole table, nothing else is legal.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        match self {
            Self::Pending => matches!(next, Self::Running | Self::Failed | Self::Skipped | Self::Cancelled),
            Self::Running => matches!(
                next,
                Self::Pending | Self::Waiting | Self::Completed | Self::Failed | Self::Skipped | Self::Cancelled
            ),
            Self::Waiting => matches!(next, Self::Running | Self::Completed | Self::Failed | Self::Cancelled),
            Self::Completed => matches!(next, Self::Compensated),
            Self::Failed | Self::Skipped | Self::Cancelled => matches!(next, Self::Pending),
            Self::Compensated => false,
        }
    }

    /// Its name, as it is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Compensated => "compensated",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{RunStatus, StepStatus};

    const PAGE: &str = include_str!("../../../../docs/workflows.md");

    type Moves = BTreeSet<(String, String)>;

    /// The moves in the table under the heading `heading`: a status, its meaning, and what it may become.
    fn documented(heading: &str) -> (Vec<String>, Moves) {
        let section = PAGE.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        let mut statuses = Vec::new();
        let mut moves = Moves::new();
        for row in rows {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let from = cells[0].trim_matches('`').to_owned();
            let to = cells[2].split(',').map(|name| name.trim().trim_matches('`')).filter(|name| *name != "nothing");
            moves.extend(to.map(|to| (from.clone(), to.to_owned())));
            statuses.push(from);
        }
        (statuses, moves)
    }

    #[test]
    fn exactly_the_documented_moves_of_a_run_are_legal() {
        let (statuses, moves) = documented("The statuses of a run");
        assert_eq!(statuses, RunStatus::ALL.map(RunStatus::name));
        for from in RunStatus::ALL {
            for to in RunStatus::ALL {
                let listed = moves.contains(&(from.name().into(), to.name().into()));
                assert_eq!(from.may_become(to), listed, "{from:?} -> {to:?}");
            }
        }
    }

    #[test]
    fn exactly_the_documented_moves_of_a_step_are_legal() {
        let (statuses, moves) = documented("The statuses of a step");
        assert_eq!(statuses, StepStatus::ALL.map(StepStatus::name));
        for from in StepStatus::ALL {
            for to in StepStatus::ALL {
                let listed = moves.contains(&(from.name().into(), to.name().into()));
                assert_eq!(from.may_become(to), listed, "{from:?} -> {to:?}");
            }
        }
    }

    #[test]
    fn what_is_stored_is_the_name() {
        for status in RunStatus::ALL {
            assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{}\"", status.name()));
        }
        for status in StepStatus::ALL {
            assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{}\"", status.name()));
        }
    }

    #[test]
    fn what_has_ended_moves_only_by_retry_or_compensation() {
        let by_itself = |from: StepStatus, to| from.is_ended() && from.may_become(to);
        for from in StepStatus::ALL {
            for to in StepStatus::ALL.into_iter().filter(|to| by_itself(from, *to)) {
                assert!(matches!(to, StepStatus::Pending | StepStatus::Compensated), "{from:?} -> {to:?}");
            }
        }
        for from in RunStatus::ALL.into_iter().filter(|status| status.is_ended()) {
            for to in RunStatus::ALL.into_iter().filter(|to| from.may_become(*to)) {
                assert_eq!(to, RunStatus::Pending, "{from:?}");
            }
        }
    }

    #[test]
    fn every_status_can_be_reached_and_every_unended_one_can_end() {
        for status in RunStatus::ALL.into_iter().filter(|status| *status != RunStatus::Pending) {
            assert!(RunStatus::ALL.into_iter().any(|from| from.may_become(status)), "{status:?}");
        }
        for status in RunStatus::ALL.into_iter().filter(|status| !status.is_ended()) {
            assert!(status.may_become(RunStatus::Failed) && status.may_become(RunStatus::Cancelled), "{status:?}");
        }
        for status in StepStatus::ALL.into_iter().filter(|status| !status.is_ended()) {
            assert!(status.may_become(StepStatus::Failed) && status.may_become(StepStatus::Cancelled), "{status:?}");
        }
    }
}
