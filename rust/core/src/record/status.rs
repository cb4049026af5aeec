//! The states of a task and the moves between them.

use serde::{Deserialize, Serialize};

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskStatus {
    /// Waiting for a worker, or for its time.
    Pending,
    /// Under a worker's lease.
    Running,
    /// Parked until it is woken, or until a time of its own; it holds no place in any worker.
    Waiting,
    /// Done, with an output.
    Completed,
    /// Given up, with an error.
    Failed,
    /// Called off by a person or program.
    Cancelled,
    /// Not started before its time was over.
    Expired,
    /// Finished, and put aside.
    Archived,
}

impl TaskStatus {
    /// Every status, in the order of the life cycle.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Running,
        Self::Waiting,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
        Self::Archived,
    ];

    /// Whether nothing more happens by itself.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Running | Self::Waiting => false,
            Self::Completed | Self::Failed | Self::Cancelled | Self::Expired | Self::Archived => true,
        }
    }

    /// Whether a task may move from this status to `next`: the whole table, nothing else is legal.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        match self {
            Self::Pending => matches!(next, Self::Running | Self::Cancelled | Self::Expired),
            Self::Running => {
                matches!(next, Self::Pending | Self::Waiting | Self::Completed | Self::Failed | Self::Cancelled)
            }
            Self::Waiting => matches!(next, Self::Pending | Self::Running | Self::Cancelled | Self::Expired),
            Self::Failed => matches!(next, Self::Pending | Self::Archived),
            // What was called off because of others waits for them again if they are replayed.
            Self::Cancelled => matches!(next, Self::Waiting | Self::Archived),
            Self::Completed | Self::Expired => matches!(next, Self::Archived),
            Self::Archived => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TaskStatus::{self, Archived, Cancelled, Completed, Expired, Failed, Pending, Running, Waiting};

    #[test]
    fn exactly_the_documented_moves_are_legal() {
        let legal = [
            (Pending, Running),
            (Pending, Cancelled),
            (Pending, Expired),
            (Running, Pending),
            (Running, Completed),
            (Running, Failed),
            (Running, Cancelled),
            (Running, Waiting),
            (Waiting, Pending),
            (Waiting, Running),
            (Waiting, Cancelled),
            (Waiting, Expired),
            (Cancelled, Waiting),
            (Failed, Pending),
            (Completed, Archived),
            (Failed, Archived),
            (Cancelled, Archived),
            (Expired, Archived),
        ];
        for from in TaskStatus::ALL {
            for to in TaskStatus::ALL {
                assert_eq!(from.may_become(to), legal.contains(&(from, to)), "{from:?} -> {to:?}");
            }
        }
    }

    #[test]
    fn only_pending_running_and_waiting_are_unfinished() {
        let unfinished: Vec<_> = TaskStatus::ALL.into_iter().filter(|status| !status.is_terminal()).collect();
        assert_eq!(unfinished, [Pending, Running, Waiting]);
    }
}
