//! Deliberately broken protocols, so that the simulation can prove that it would notice.
//!
//! Only the feature `broken-variants` makes any but the true protocol selectable.

/// Which rule of the protocol is broken, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variant {
    /// None: the true protocol.
    #[default]
    True,
    /// A new ready entry gets the same key as the last one.
    #[cfg(feature = "broken-variants")]
    ReusedReadyKey,
    /// Index entries are written after the commit that needs them.
    #[cfg(feature = "broken-variants")]
    IndexAfterCommit,
    /// Entries of the index of failed tasks are written after the commit that needs them.
    #[cfg(feature = "broken-variants")]
    FailedAfterCommit,
    /// A purge deletes records without barring commits to them first.
    #[cfg(feature = "broken-variants")]
    UnsealedPurge,
    /// A refused conditional write is believed without reading back.
    #[cfg(feature = "broken-variants")]
    NoReadBack,
    /// An outcome is stored whoever holds the lease.
    #[cfg(feature = "broken-variants")]
    UnfencedCompletion,
    /// Payloads are written after the commit that names them.
    #[cfg(feature = "broken-variants")]
    PayloadAfterCommit,
    /// Heartbeats are judged by the local clock, which is off by this many milliseconds.
    #[cfg(feature = "broken-variants")]
    LocalClockExpiry(i64),
    /// The task of a schedule's slot gets any id.
    #[cfg(feature = "broken-variants")]
    ForgottenSlots,
    /// The task of a unique submit gets any id.
    #[cfg(feature = "broken-variants")]
    ForgottenKeys,
    /// A unique submit looks at the window before its own, and does not bar it.
    #[cfg(feature = "broken-variants")]
    UnbarredWindows,
    /// That a running task is to be called off is said on the board only, not in its record.
    #[cfg(feature = "broken-variants")]
    UnstoredWishes,
    /// Tasks are claimed however late it is.
    #[cfg(feature = "broken-variants")]
    LateClaims,
    /// A report of progress is stored whoever holds the lease.
    #[cfg(feature = "broken-variants")]
    UnfencedProgress,
    /// A task is parked whether it was woken meanwhile or not.
    #[cfg(feature = "broken-variants")]
    DeafPark,
    /// What a record owes is noted as delivered without being so.
    #[cfg(feature = "broken-variants")]
    ClearedDebts,
    /// Index entries are deleted before what their record owes is delivered.
    #[cfg(feature = "broken-variants")]
    DroppedHooks,
    /// A purge delivers nothing, and asks for nobody who has yet to read.
    #[cfg(feature = "broken-variants")]
    SilentPurge,
}

macro_rules! breaks {
    ($(#[$doc:meta] $name:ident: $variant:ident),* $(,)?) => {
        impl Variant {$(
            #[$doc]
            #[must_use]
            pub const fn $name(self) -> bool {
                #[cfg(feature = "broken-variants")]
                return matches!(self, Self::$variant);
                #[cfg(not(feature = "broken-variants"))]
                false
            }
        )*}
    };
}

breaks! {
    /// Whether ready keys are used again.
    reuses_ready_keys: ReusedReadyKey,
    /// Whether the index follows the commit.
    indexes_late: IndexAfterCommit,
    /// Whether the index of failed tasks follows the commit.
    indexes_failures_late: FailedAfterCommit,
    /// Whether records are deleted while others may commit to them.
    purges_unsealed: UnsealedPurge,
    /// Whether refusals are believed.
    believes_refusals: NoReadBack,
    /// Whether leases are ignored.
    ignores_leases: UnfencedCompletion,
    /// Whether the tasks of slots have ids of no meaning.
    forgets_slots: ForgottenSlots,
    /// Whether the tasks of unique submits have ids of no meaning.
    forgets_keys: ForgottenKeys,
    /// Whether windows stay open behind a unique submit.
    bars_nothing: UnbarredWindows,
    /// Whether wishes to call off what runs are not kept.
    forgets_wishes: UnstoredWishes,
    /// Whether it is never too late for a claim.
    claims_late: LateClaims,
    /// Whether anybody may report progress.
    reports_unfenced: UnfencedProgress,
    /// Whether wakes are ignored when a task is parked.
    parks_anyhow: DeafPark,
    /// Whether debts are noted as delivered without being so.
    clears_undelivered: ClearedDebts,
    /// Whether entries are deleted before what they lead to is delivered.
    deletes_undelivered: DroppedHooks,
    /// Whether a purge delivers nothing.
    purges_undelivered: SilentPurge,
    /// Whether payloads follow the commit.
    stows_late: PayloadAfterCommit,
}

impl Variant {
    /// By how many milliseconds the clock that judges heartbeats is off.
    #[must_use]
    pub const fn clock_error_ms(self) -> i64 {
        #[cfg(feature = "broken-variants")]
        if let Self::LocalClockExpiry(error) = self {
            return error;
        }
        0
    }
}
