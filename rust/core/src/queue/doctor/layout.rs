//! Whether the prefix is a queue that this version of buquet can read.

use super::visit::Visit;
use super::{Check, Status};
use crate::error::Error;
use crate::keys;
use crate::queue::marker;
use crate::store::{Got, Timed};

/// What the marker says, and whether anything else is there.
pub(super) enum Marker {
    /// It can be read.
    Fits,
    /// It cannot.
    Wrong(Error),
    /// There is none; and whether there are records all the same.
    Missing { records: bool },
}

impl Marker {
    pub(super) const fn is_queue(&self) -> bool {
        matches!(self, Self::Fits)
    }
}

pub(super) async fn gather(visit: &Visit, answer: &Timed<Got>) -> Marker {
    match &answer.value {
        Got::Found(object) => match marker::check(&visit.url(), &object.body) {
            Ok(()) => Marker::Fits,
            Err(error) => Marker::Wrong(error),
        },
        Got::Missing | Got::NotModified => {
            let records = visit.list(keys::TASKS, None, 1).await;
            Marker::Missing { records: records.is_ok_and(|page| !page.value.entries.is_empty()) }
        }
    }
}

pub(super) fn judge(marker: &Marker) -> Check {
    let name = "layout";
    match marker {
        Marker::Fits => Check::ok(name, format!("a queue in layout format {}", marker::FORMAT)),
        Marker::Wrong(error @ Error::Layout(_)) => {
            Check::new(name, Status::Failed, error.to_string(), "upgrade buquet here")
        }
        Marker::Wrong(error) => Check::new(
            name,
            Status::Failed,
            error.to_string(),
            "put the marker back; the records are not touched by it",
        ),
        Marker::Missing { records: false } => Check::new(
            name,
            Status::Warning,
            "there is no queue here yet",
            "if there should be one, check bucket and prefix (buquet config); if not, the first submit makes it",
        ),
        Marker::Missing { records: true } => Check::new(
            name,
            Status::Failed,
            format!("{} is missing, and there are records", keys::MARKER),
            format!("put back {}; without it every client takes this for an empty prefix", marker::FORMER),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_judged_by_what_it_says_and_what_lies_beside_it() {
        assert_eq!(judge(&Marker::Fits).status, Status::Ok);
        assert_eq!(judge(&Marker::Missing { records: false }).status, Status::Warning);
        let check = judge(&Marker::Missing { records: true });
        assert!(check.status == Status::Failed && check.advice.contains("\"format\":1"), "{check:?}");
        assert!(judge(&Marker::Wrong(Error::Layout("newer".into()))).advice.contains("upgrade"));
        assert_eq!(judge(&Marker::Wrong(Error::Corrupt("bad".into()))).status, Status::Failed);
    }
}
