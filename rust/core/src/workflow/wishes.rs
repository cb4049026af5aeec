//! What others wish of a run, why it is paused, and how its body ended.

use serde::{Deserialize, Serialize};

use super::model::{Millis, Op, is_default};
use super::outcome::Fault;
use super::state::WishKind;
use crate::record::fields::read_keeping_the_unknown;
use crate::record::{Extra, Json};

/// What others wish of a run; set by the commit that wakes it, and cleared by its driver.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Wishes {
    /// That it be called off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel: Option<Wish>,
    /// That it pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<Wish>,
    /// That it go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<Wish>,
    /// That it begin again where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Wish>,
    /// That it end without its body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminate: Option<Wish>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Who wishes something, when and why.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Wish {
    /// When.
    pub at: Millis,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Why a run is paused.
#[derive(Clone, Debug, Serialize)]
pub struct Pause {
    /// Since when.
    pub at: Millis,
    /// For what kind of reason.
    pub cause: PauseCause,
    /// The step that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub op: Option<Op>,
    /// In what the code differs from the journal, as its front tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mismatch: Option<Json>,
    /// Who wished it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it was undoing what it did.
    #[serde(skip_serializing_if = "is_default")]
    pub compensating: bool,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The kinds of reasons for a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PauseCause {
    /// Somebody wished it.
    Wish,
    /// A step failed whose failure pauses.
    Failure,
    /// The code asks for something else than the journal has.
    Mismatch,
}

/// How a body ended.
#[derive(Clone, Debug, Serialize)]
pub struct Ending {
    /// When.
    pub at: Millis,
    /// In which way.
    pub kind: EndKind,
    /// What it returned; or the input of the next execution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
    /// What it raised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Fault>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The ways in which a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndKind {
    /// It returned.
    Completed,
    /// It raised.
    Failed,
    /// It gave way to its cancellation, or was terminated.
    Cancelled,
    /// It goes on as new.
    Continued,
}

impl Wish {
    /// Whether it is the same wish.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        (self.at, &self.by, &self.reason) == (other.at, &other.by, &other.reason)
    }
}

impl Wishes {
    /// Where wishes of this kind stand.
    pub const fn place(&mut self, kind: WishKind) -> &mut Option<Wish> {
        match kind {
            WishKind::Cancel => &mut self.cancel,
            WishKind::Pause => &mut self.pause,
            WishKind::Resume => &mut self.resume,
            WishKind::Retry => &mut self.retry,
            WishKind::Terminate => &mut self.terminate,
        }
    }

    /// Drops a wish that is fulfilled; a later one of its kind stays.
    pub fn drop_if(&mut self, kind: WishKind, wish: &Wish) {
        let place = self.place(kind);
        if place.as_ref().is_some_and(|stored| stored.is(wish)) {
            *place = None;
        }
    }

    /// Whether nobody wishes anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let wishes = [&self.cancel, &self.pause, &self.resume, &self.retry, &self.terminate];
        self.extra.is_empty() && wishes.into_iter().all(Option::is_none)
    }
}

read_keeping_the_unknown!(Wishes {
    cancel: take_or_default("cancel"),
    pause: take_or_default("pause"),
    resume: take_or_default("resume"),
    retry: take_or_default("retry"),
    terminate: take_or_default("terminate"),
});
read_keeping_the_unknown!(Wish { at: take("at"), by: take_or_default("by"), reason: take_or_default("reason") });
read_keeping_the_unknown!(Pause {
    at: take("at"),
    cause: take("cause"),
    op: take_or_default("op"),
    mismatch: take_or_default("mismatch"),
    by: take_or_default("by"),
    reason: take_or_default("reason"),
    compensating: take_or_default("compensating"),
});
read_keeping_the_unknown!(Ending {
    at: take("at"),
    kind: take("kind"),
    output: take_if_there("output"),
    error: take_or_default("error"),
});
