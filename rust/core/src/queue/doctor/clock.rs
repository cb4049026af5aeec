//! This machine's clock beside the server's. buquet itself goes by the server's alone, but signatures do not.

use super::access::Reached;
use super::{Check, Status, roughly};

/// What nobody notices, in milliseconds.
const UNNOTICED: i64 = 60_000;
/// S3 refuses requests whose time is wrong by 15 minutes.
const REFUSED_SOON: i64 = 10 * 60_000;

pub(super) fn judge(reached: &Reached) -> Check {
    let Ok(answer) = &reached.answer else { return Check::skipped("clock", "the store does not answer") };
    // The server's answer is cut off to its clock's resolution.
    let skew = reached.local.0 - (answer.at.0 + reached.resolution_ms / 2);
    judge_skew(skew)
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
}
