//! What is kept beside the tasks and decides about them: schemas and schedules that cannot be read.

use super::visit::{Visit, keys_of};
use super::{Check, Status, plural};
use crate::error::{Error, Result};
use crate::keys;
use crate::limits;
use crate::queue::schemas::Book;
use crate::schedule::Schedule;
use crate::store::Got;

/// Schedules that are read; of more, the first.
const MOST_READ: usize = 200;
/// Unreadable objects that are named.
const MOST_NAMED: usize = 20;

/// What was read.
#[derive(Default)]
pub(super) struct Definitions {
    /// Types that have schemas.
    types: usize,
    /// Whether the schemas are what cannot be read.
    refuses_submits: bool,
    schedules: usize,
    /// What is said of those that cannot be read; it begins with the key.
    corrupt: Vec<String>,
    /// Likewise of those that a newer version of buquet wrote.
    newer: Vec<String>,
    /// Whether there are schedules that were not read.
    more: bool,
}

impl Definitions {
    fn set_aside(&mut self, error: &Error) {
        let list = if matches!(error, Error::Layout(_)) { &mut self.newer } else { &mut self.corrupt };
        list.push(error.to_string());
    }
}

pub(super) async fn gather(visit: &Visit) -> Result<Definitions> {
    let mut found = Definitions::default();
    match visit.get(keys::SCHEMAS).await?.value {
        Got::Found(object) => match Book::decode(keys::SCHEMAS, &object.body) {
            Ok(book) => found.types = book.schemas.len(),
            Err(error) => {
                found.refuses_submits = !matches!(error, Error::Layout(_));
                found.set_aside(&error);
            }
        },
        Got::Missing | Got::NotModified => {}
    }
    let page = visit.list(keys::SCHEDULES, None, limits::PAGE).await?.value;
    let mut wanted = keys_of(&page.entries);
    found.more = page.more || wanted.len() > MOST_READ;
    wanted.truncate(MOST_READ);
    for (key, body) in visit.read(wanted).await? {
        found.schedules += 1;
        if let Err(error) = Schedule::decode(&key, &body) {
            found.set_aside(&error);
        }
    }
    Ok(found)
}

pub(super) fn judge(found: &Result<Definitions>) -> Check {
    let name = "definitions";
    let found = match found {
        Ok(found) => found,
        Err(error) => return Check::unknown(name, error),
    };
    let check = match (found.corrupt.first(), found.newer.first()) {
        (Some(first), _) => {
            let newer = match found.newer.len() {
                0 => String::new(),
                newer => format!("; {newer} more of a newer version of buquet, and nothing is wrong with those"),
            };
            let what = format!("{}{newer}", named(&found.corrupt, first));
            Check::new(name, Status::Failed, what, advice(found))
        }
        (None, Some(first)) => {
            let what = format!("of a newer version of buquet: {first}");
            Check::new(name, Status::Warning, what, "nothing is wrong with it: upgrade buquet here")
        }
        (None, None) => {
            let of = if found.more { " of more" } else { "" };
            let types = plural(found.types, "type");
            Check::ok(
                name,
                format!("schemas of {types} and {}{of} read, all sound", plural(found.schedules, "schedule")),
            )
        }
    };
    let bad: Vec<&str> = found.corrupt.iter().chain(&found.newer).take(MOST_NAMED).map(String::as_str).collect();
    check.with("schedules", found.schedules).with("unreadable", bad)
}

fn named(corrupt: &[String], first: &str) -> String {
    match corrupt.len() {
        1 => first.to_owned(),
        all => format!("{all} objects cannot be read, the first: {first}"),
    }
}

const fn advice(found: &Definitions) -> &'static str {
    if found.refuses_submits {
        "submits are refused while the schemas cannot be read: put back an older version of the object, or delete it"
    } else {
        "it fires no more: put back an older version of the object, or delete the schedule and create it again"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(refuses_submits: bool, corrupt: &[&str], newer: &[&str]) -> Definitions {
        let owned = |list: &[&str]| list.iter().map(|&what| what.to_owned()).collect();
        Definitions { refuses_submits, corrupt: owned(corrupt), newer: owned(newer), ..Definitions::default() }
    }

    #[test]
    fn schemas_that_cannot_be_read_refuse_submits_and_schedules_do_not_fire() {
        let schemas = judge(&Ok(with(true, &["schemas.json cannot be read"], &[])));
        assert_eq!(schemas.status, Status::Failed);
        assert!(schemas.what.contains("schemas.json") && schemas.advice.contains("submits are refused"), "{schemas:?}");
        let schedule = judge(&Ok(with(false, &["schedules/a.json is not valid"], &["schemas.json has format 9"])));
        assert_eq!(schedule.status, Status::Failed);
        assert!(
            schedule.advice.contains("fires no more") && schedule.what.contains("1 more of a newer"),
            "{schedule:?}"
        );
    }

    #[test]
    fn what_a_newer_version_wrote_is_only_a_warning() {
        let check = judge(&Ok(with(false, &[], &["schedules/a.json has format 9: upgrade buquet"])));
        assert_eq!(check.status, Status::Warning);
        assert!(check.advice.contains("upgrade") && !check.advice.contains("delete"), "{check:?}");
        let sound = judge(&Ok(Definitions { types: 1, ..Definitions::default() }));
        assert_eq!(sound.what, "schemas of 1 type and 0 schedules read, all sound");
    }
}
