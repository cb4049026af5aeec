//! Which faults are drawn, and how often.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;

use super::Request;

/// How bad the network and the server are. Probabilities are per request, 0 to 1; times are milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultPlan {
    /// How long a request or an answer usually travels, each way.
    pub delay_ms: RangeInclusive<u64>,
    /// How often one way takes [`Self::slow_ms`] instead.
    pub slow: f64,
    /// How long a slow way takes.
    pub slow_ms: RangeInclusive<u64>,
    /// The request never arrives.
    pub lost_request: f64,
    /// The request takes effect, its answer never arrives.
    pub lost_answer: f64,
    /// The caller hears of a failure, and the request takes effect [`Self::late_ms`] afterwards.
    pub late: f64,
    /// How late a late request is.
    pub late_ms: RangeInclusive<u64>,
    /// A conditional put is sent again on the way and meets its own first sending; it answers 412, or 409.
    pub sent_twice: f64,
    /// A conditional put meets 409 and has no effect.
    pub conflict: f64,
    /// The server answers 500, with or without effect.
    pub server_error: f64,
    /// The server answers 503 and does nothing.
    pub throttled: f64,
    /// A listing begins with an empty page that is not the last.
    pub empty_page: f64,
    /// How often a lost answer is not noticed at once (a reset connection) but only after [`Self::silence_ms`].
    pub silent: f64,
    /// How long nothing is heard before the connection counts as broken.
    pub silence_ms: u64,
}

impl FaultPlan {
    /// A healthy network: every request takes 2 to 30 ms.
    #[must_use]
    pub const fn calm() -> Self {
        Self {
            delay_ms: 1..=15,
            slow: 0.0,
            slow_ms: 1..=1,
            lost_request: 0.0,
            lost_answer: 0.0,
            late: 0.0,
            late_ms: 1..=1,
            sent_twice: 0.0,
            conflict: 0.0,
            server_error: 0.0,
            throttled: 0.0,
            empty_page: 0.0,
            silent: 0.0,
            silence_ms: 1,
        }
    }

    /// Every kind of fault at the given rate.
    #[must_use]
    pub const fn hostile(rate: f64) -> Self {
        Self {
            delay_ms: 1..=80,
            slow: rate,
            slow_ms: 200..=20_000,
            lost_request: rate,
            lost_answer: rate,
            late: rate,
            late_ms: 1..=60_000,
            sent_twice: rate,
            conflict: rate,
            server_error: rate,
            throttled: rate,
            empty_page: rate,
            silent: 0.3,
            silence_ms: 120_000,
        }
    }

    /// Draws what happens to one request.
    pub(super) fn draw(&self, rng: &mut SmallRng, request: &Request) -> Fate {
        let luck: f64 = rng.random();
        let detail: f64 = rng.random();
        let late = Duration::from_millis(rng.random_range(self.late_ms.clone()));
        let mut way = || {
            let usual = rng.random_range(self.delay_ms.clone());
            let slow = rng.random_range(self.slow_ms.clone());
            Duration::from_millis(if rng.random_bool(self.slow) { slow } else { usual })
        };
        let (out, back) = (way(), way());
        let silence =
            if rng.random_bool(self.silent) { Duration::from_millis(self.silence_ms) } else { Duration::ZERO };
        let survives = rng.random();
        Fate { fault: self.fault(request, luck, detail, late), out, back, silence, survives }
    }

    fn fault(&self, request: &Request, mut luck: f64, detail: f64, late: Duration) -> Option<Fault> {
        let conditional = request.is_conditional_put();
        let kinds = [
            (self.lost_request, true, Fault::LostRequest),
            (self.lost_answer, true, Fault::LostAnswer),
            (self.late, true, Fault::Late(late)),
            (self.sent_twice, conditional, Fault::SentTwice { conflict: detail < 0.3 }),
            (self.conflict, conditional, Fault::Conflict),
            (self.server_error, true, Fault::ServerError { effect: detail < 0.5 }),
            (self.throttled, true, Fault::Throttled),
            (self.empty_page, request.is_listing(), Fault::EmptyPage),
        ];
        for (probability, possible, fault) in kinds {
            if luck < probability {
                return possible.then_some(fault);
            }
            luck -= probability;
        }
        None
    }
}

/// What happens to one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    pub fault: Option<Fault>,
    /// From the caller to the server.
    pub out: Duration,
    /// From the server to the caller.
    pub back: Duration,
    /// How long a caller whose answer is lost waits before it hears that the connection broke.
    pub silence: Duration,
    /// Whether it still arrives if its caller dies, or has given up during a stall, before it left.
    pub survives: bool,
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It never arrived.
    LostRequest,
    /// It took effect; the answer was lost.
    LostAnswer,
    /// The caller heard of a failure; it takes effect this much later.
    Late(Duration),
    /// It arrived twice; the answer is the second one's, 409 instead of 412 if `conflict`.
    SentTwice {
        /// Whether the second sending met the first one still at work.
        conflict: bool,
    },
    /// 409 without effect.
    Conflict,
    /// 500.
    ServerError {
        /// Whether it took effect all the same.
        effect: bool,
    },
    /// 503 without effect.
    Throttled,
    /// A page of a listing that is empty and not the last.
    EmptyPage,
}

impl Fault {
    /// A short name for counting.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LostRequest => "lost request",
            Self::LostAnswer => "lost answer",
            Self::Late(_) => "late",
            Self::SentTwice { conflict: false } => "sent twice (412)",
            Self::SentTwice { conflict: true } => "sent twice (409)",
            Self::Conflict => "409",
            Self::ServerError { effect: true } => "500 with effect",
            Self::ServerError { effect: false } => "500",
            Self::Throttled => "503",
            Self::EmptyPage => "empty page",
        }
    }
}
