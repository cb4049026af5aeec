//! Records that cannot be read: a sample of them, or all, page by page.

use super::leases::Leases;
use super::ready::{Ready, Sample};
use super::visit::{Visit, keys_of};
use super::{Check, Status, plural};
use crate::error::{Error, Result};
use crate::keys;
use crate::queue::CorruptObject;

/// Records read to look at a sample: of those that run, and of all.
const OF_LEASES: usize = 20;
const OF_ALL: usize = 50;
/// Records read for one page of all.
const OF_A_PAGE: usize = 500;
/// Unreadable ones that are named.
const MOST_NAMED: usize = 20;

/// The records that were read.
struct Records {
    read: usize,
    corrupt: Vec<CorruptObject>,
    /// Those that a newer version of buquet wrote, and what is said of each.
    newer: Vec<String>,
    /// Whether there are more.
    more: bool,
}

/// A sample: those that run, the oldest that wait, and some of all.
pub(super) async fn sample(visit: &Visit, leases: Option<&Leases>, ready: Option<&Ready>) -> Check {
    judge(&gather(visit, leases, ready).await, false)
}

async fn gather(visit: &Visit, leases: Option<&Leases>, ready: Option<&Ready>) -> Result<Records> {
    let page = visit.list(keys::TASKS, None, OF_ALL).await?.value;
    let mut wanted = keys_of(&page.entries);
    let running = leases.map(|leases| leases.entries.iter().map(|(entry, _)| keys::record(entry.record))).into_iter();
    wanted.extend(running.flatten().take(OF_LEASES));
    wanted.sort_unstable();
    wanted.dedup();
    let mut records = read(visit, wanted).await?;
    records.more = page.more;
    for group in ready.map(|ready| &ready.groups).into_iter().flatten() {
        records.read += usize::from(group.sample != Sample::Unread);
        if let Sample::Corrupt(key, message) = &group.sample
            && records.corrupt.iter().all(|found| found.key != *key)
        {
            records.corrupt.push(CorruptObject { key: key.clone(), message: message.clone() });
        }
    }
    Ok(records)
}

/// One page of all, and where the next begins.
pub(super) async fn all(visit: &Visit, cursor: Option<&str>) -> (Check, Option<String>) {
    let page = match visit.list(keys::TASKS, cursor, OF_A_PAGE).await {
        Ok(page) => page.value,
        Err(error) => return (Check::unknown("records", &error.into()), cursor.map(ToOwned::to_owned)),
    };
    let last = page.entries.last().filter(|_| page.more).map(|last| last.key.clone());
    let records = read(visit, keys_of(&page.entries)).await;
    (judge(&records, true), last)
}

async fn read(visit: &Visit, keys: Vec<String>) -> Result<Records> {
    let read = visit.records(keys).await?;
    let count = read.len();
    let (mut corrupt, mut newer) = (Vec::new(), Vec::new());
    for (key, record) in read {
        match record {
            Ok(_) => {}
            Err(Error::Layout(message)) => newer.push(message),
            Err(error) => corrupt.push(CorruptObject { key, message: error.to_string() }),
        }
    }
    Ok(Records { read: count, corrupt, newer, more: false })
}

fn judge(records: &Result<Records>, all: bool) -> Check {
    let name = "records";
    let records = match records {
        Ok(records) => records,
        Err(error) => return Check::unknown(name, error),
    };
    let read = plural(records.read, "record");
    let named: Vec<serde_json::Value> = records
        .corrupt
        .iter()
        .take(MOST_NAMED)
        .map(|corrupt| serde_json::json!({"key": corrupt.key, "message": corrupt.message}))
        .collect();
    let check = match (records.corrupt.first(), records.newer.first()) {
        (None, Some(first)) => {
            let count = records.newer.len();
            let what = format!("{count} of {read} are of a newer version of buquet: {first}");
            let advice = "nothing is wrong with them: upgrade buquet here";
            Check::new(name, Status::Warning, what, advice)
        }
        (None, None) if all || !records.more => Check::ok(name, format!("{read} read, all sound")),
        (None, None) => Check {
            advice: "buquet doctor --deep reads all".into(),
            ..Check::ok(name, format!("{read} of more read, all sound"))
        },
        (Some(first), _) => {
            let count = records.corrupt.len();
            // The message begins with the key.
            let newer = match records.newer.len() {
                0 => String::new(),
                newer => format!("; {newer} more are of a newer version of buquet, and nothing is wrong with those"),
            };
            let what = format!("{count} of {read} cannot be read, the first: {}{newer}", first.message);
            let advice = "workers leave these alone and go on; put back an older version of the object (aws s3api \
                          list-object-versions), or delete it and submit its tasks again";
            Check::new(name, Status::Failed, what, advice)
        }
    };
    let newer: Vec<&str> = records.newer.iter().take(MOST_NAMED).map(String::as_str).collect();
    check.with("read", records.read).with("corrupt", named).with("newer", newer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_record_is_a_failure_that_names_it() {
        let corrupt = vec![CorruptObject { key: "tasks/0/x.json".into(), message: "tasks/0/x.json is no JSON".into() }];
        let check = judge(&Ok(Records { read: 3, corrupt, newer: vec![], more: false }), false);
        assert_eq!(check.status, Status::Failed);
        assert!(check.what.contains("1 of 3 records") && check.what.contains("tasks/0/x.json"), "{check:?}");
    }

    #[test]
    fn a_record_of_a_newer_version_is_not_to_be_deleted() {
        let newer = vec!["tasks/0/x.json has format 9: upgrade buquet".to_owned()];
        let check = judge(&Ok(Records { read: 3, corrupt: vec![], newer, more: false }), false);
        assert_eq!(check.status, Status::Warning);
        assert!(check.advice.contains("upgrade") && !check.advice.contains("delete"), "{check:?}");
    }

    #[test]
    fn one_that_cannot_be_read_does_not_hide_one_of_a_newer_version() {
        let corrupt = vec![CorruptObject { key: "tasks/0/x.json".into(), message: "tasks/0/x.json is no JSON".into() }];
        let newer = vec!["tasks/0/y.json has format 9: upgrade buquet".to_owned()];
        let check = judge(&Ok(Records { read: 3, corrupt, newer, more: false }), true);
        assert!(check.what.contains("1 of 3 records") && check.what.contains("1 more are of a newer"), "{check:?}");
        assert_eq!(check.details.get("newer").and_then(|list| list.as_array()).map(Vec::len), Some(1));
    }

    #[test]
    fn a_sample_says_that_it_is_one() {
        let sound = |more| judge(&Ok(Records { read: 3, corrupt: vec![], newer: vec![], more }), false);
        assert!(sound(true).advice.contains("--deep"));
        assert_eq!(sound(false).what, "3 records read, all sound");
        assert_eq!(sound(true).status, Status::Ok);
    }
}
