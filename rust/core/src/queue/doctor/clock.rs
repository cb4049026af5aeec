//! This machine's clock beside the server's. buquet itself goes by the server's alone, but signatures do not.

use super::access::Reached;
use super::{Check, Status, roughly};
use crate::store::StoreKind;

/// What nobody notices, in milliseconds.
const UNNOTICED: i64 = 60_000;
/// S3 refuses requests whose time is wrong by 15 minutes.
const REFUSED_SOON: i64 = 10 * 60_000;

pub(super) fn judge(kind: StoreKind, reached: &Reached) -> Check {
    let Ok(answer) = &reached.answer else { return Check::skipped("clock", "the store does not answer") };
    // The server's answer is cut off to its clock's resolution.
    let skew = reached.local.0 - (answer.at.0 + reached.resolution_ms / 2);
    match kind {
        StoreKind::S3 => judge_skew(skew),
        StoreKind::Sqlite | StoreKind::Memory => judge_own(skew),
    }
}

/// A store without a server goes by this machine's clock, but never back: from the latest moment seen it goes on.
fn judge_own(skew: i64) -> Check {
    let check = if skew >= -UNNOTICED {
        Check::ok("clock", "the store goes by this machine's clock")
    } else {
        let what = format!("the store's time is {} ahead of this machine's clock", roughly(-skew));
        let advice = "somebody wrote to it while a clock was wrong, and it goes on from there: tasks with a set time and \
                      schedules are early by as much; check this machine's clock, nothing else needs mending";
        Check::new("clock", Status::Warning, what, advice)
    };
    check.with("skew_ms", skew)
}

fn judge_skew(skew: i64) -> Check {
    let direction = if skew > 0 { "ahead of" } else { "behind" };
    let what = format!("this machine's clock is {} {direction} the server's", roughly(skew.abs()));
    let check = match skew.abs() {
        0..=UNNOTICED => Check::ok("clock", "this machine's clock agrees with the server's"),
        ..=REFUSED_SOON => {
            let advice =
                "set it (timedatectl set-ntp true); tasks are not harmed, but the at= of a submit is meant by it";
            Check::new("clock", Status::Warning, what, advice)
        }
        _ => {
            let advice =
                "set it (timedatectl set-ntp true): S3 refuses requests from a clock that is wrong by 15 minutes";
            Check::new("clock", Status::Failed, what, advice)
        }
    };
    check.with("skew_ms", skew)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_judged_by_how_wrong_it_is() {
        for (skew, status) in [
            (0, Status::Ok),
            (-59_000, Status::Ok),
            (90_000, Status::Warning),
            (-90_000, Status::Warning),
            (700_000, Status::Failed),
        ] {
            assert_eq!(judge_skew(skew).status, status, "{skew}");
        }
        assert!(judge_skew(-90_000).what.contains("90 s behind"));
    }

    #[test]
    fn a_store_without_a_server_is_only_ever_ahead() {
        assert_eq!(judge_own(7_000).status, Status::Ok);
        let check = judge_own(-3_600_000);
        assert_eq!(check.status, Status::Warning);
        assert!(check.what.contains("60 min ahead") && !check.advice.contains("S3"), "{check:?}");
    }
}
