//! Lifecycle rules for the bucket: how long old versions of the queue's objects are kept, and what that costs.

use futures::stream;
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;

use super::{Queue, READS_IN_FLIGHT};
use crate::error::{Error, Result};
use crate::keys;
use crate::limits;
use crate::store::{Expires, Expiry, Listed, StoreKind, Version, in_time, time_limit};
use crate::time::Timestamp;

/// Dollars for a gigabyte kept a month, S3 Standard in us-east-1 (<https://aws.amazon.com/s3/pricing/>).
const DOLLARS_PER_GB_MONTH: f64 = 0.023;
const GIGABYTE: f64 = 1_000_000_000.0;
/// Pages of records listed for the estimate, where they do not fit into one.
const PAGES: usize = 5;
/// Records whose versions are counted for it.
const SAMPLED: usize = 20;
/// The longest time old versions may be kept, in days.
const LONGEST_DAYS: u32 = 3_650;
const DAY: std::time::Duration = std::time::Duration::from_hours(24);

/// What shall be done about old versions.
#[derive(Clone, Copy, Debug)]
pub struct LifecycleChoice {
    /// How many days an old version of a record is kept.
    pub keep_days: u32,
    /// Give the rules to the bucket.
    pub apply: bool,
}

/// The rules, what became of them, and what they cost and save.
#[derive(Debug, Serialize)]
pub struct Lifecycle {
    /// Whether the store is a bucket, which has such rules.
    pub applies: bool,
    /// Whether the bucket has them now.
    pub applied: bool,
    /// How many rules of others the bucket has; known once they are applied.
    pub others: Option<usize>,
    /// The rules in the form of `aws s3api put-bucket-lifecycle-configuration`.
    pub rules: Configuration,
    /// What is stored, from a sample.
    pub estimate: Estimate,
    /// The same in sentences.
    pub notes: Vec<String>,
}

/// A lifecycle configuration as S3 spells it.
#[derive(Debug, Serialize)]
pub struct Configuration {
    #[serde(rename = "Rules")]
    rules: Vec<Rule>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Rule {
    #[serde(rename = "ID")]
    id: String,
    status: &'static str,
    filter: Filter,
    #[serde(skip_serializing_if = "Option::is_none")]
    noncurrent_version_expiration: Option<NoncurrentDays>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<DeleteMarkers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    abort_incomplete_multipart_upload: Option<Uploads>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    prefix: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct NoncurrentDays {
    noncurrent_days: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteMarkers {
    expired_object_delete_marker: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Uploads {
    days_after_initiation: u32,
}

/// What the queue stores, estimated from a sample of its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// Records whose versions were counted.
    pub sampled: usize,
    /// Records there are.
    pub records: f64,
    /// Whether there are more records than were listed: all these figures are then lower bounds.
    pub at_least: bool,
    /// Old versions of records.
    pub old_versions: f64,
    /// Their bytes, each counted with the size of its record now.
    pub old_bytes: f64,
    /// The bytes of those among them that the rules remove.
    pub removable_bytes: f64,
    /// What old versions cost a month, in dollars.
    pub dollars_a_month: f64,
    /// What the rules save of it at once, in dollars a month.
    pub saved_a_month: f64,
}

/// The rules for a queue whose keys begin with `prefix`, which ends with a slash or is empty.
fn expiries(prefix: &str, keep_days: u32) -> Vec<Expiry> {
    let old = Expires::OldVersions { days: keep_days };
    let index = Expires::OldVersions { days: 1 };
    let uploads = Expires::Uploads { days: 1 };
    let places = [
        ("tasks", keys::TASKS, old),
        ("payloads", "payloads/", old),
        ("schedules", "schedules/", old),
        ("workflow", "workflow/", old),
        ("ready", keys::READY, index),
        ("parked", keys::PARKED, index),
        ("leases", keys::LEASES, index),
        ("failed", keys::FAILED, index),
        ("workers", keys::WORKERS, index),
        ("bell", keys::BELL, index),
        ("cancels", keys::CANCELS, index),
        ("probe", "probe/", index),
        ("schemas", keys::SCHEMAS, old),
        ("uploads", "payloads/", uploads),
    ];
    places.map(|(name, place, expires)| rule(prefix, name, place, expires)).into()
}

fn rule(prefix: &str, name: &str, place: &str, expires: Expires) -> Expiry {
    // A rule's name has 255 characters at most, and a prefix may have more.
    let spelt = format!("buquet:{prefix}:{name}");
    let id = if spelt.len() <= 255 { spelt } else { format!("buquet:{:08x}:{name}", keys::type_hash(prefix)) };
    Expiry { id, prefix: format!("{prefix}{place}"), expires }
}

/// What the keys of the queue at `url` begin with.
fn prefix_of(url: &str) -> String {
    let path = url.strip_prefix("s3://").and_then(|rest| rest.split_once('/')).map_or("", |(_, path)| path);
    if path.is_empty() { String::new() } else { format!("{path}/") }
}

impl From<&Expiry> for Rule {
    fn from(rule: &Expiry) -> Self {
        let Expiry { id, prefix, expires } = rule;
        let (old, uploads) = match *expires {
            Expires::OldVersions { days } => (Some(days), None),
            Expires::Uploads { days } => (None, Some(days)),
        };
        Self {
            id: id.clone(),
            status: "Enabled",
            filter: Filter { prefix: prefix.clone() },
            noncurrent_version_expiration: old.map(|noncurrent_days| NoncurrentDays { noncurrent_days }),
            expiration: old.map(|_| DeleteMarkers { expired_object_delete_marker: true }),
            abort_incomplete_multipart_upload: uploads.map(|days_after_initiation| Uploads { days_after_initiation }),
        }
    }
}

impl Queue {
    /// The lifecycle rules that bound the queue's history, with what they cost and save; given to the bucket if that is
    /// chosen. Rules of others in the bucket stay as they are.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a time out of range, [`Error::Unsupported`] for rules that are to be applied to a store
    /// that has none, and the store's.
    pub async fn lifecycle(&self, choice: &LifecycleChoice) -> Result<Lifecycle> {
        let LifecycleChoice { keep_days, apply } = *choice;
        if !(1..=LONGEST_DAYS).contains(&keep_days) {
            return Err(Error::Invalid(format!("keep_days is {keep_days}; give 1 to {LONGEST_DAYS}")));
        }
        let store = self.bucket().store();
        let applies = store.kind() == StoreKind::S3;
        let rules = expiries(&prefix_of(&store.url()), keep_days);
        let estimate = self.estimate(keep_days).await?;
        // Who may not ask is told of the usual case.
        let keeps = !applies || self.bucket().keeps_versions().await.map_or(true, |answer| answer.value);
        let put = async || in_time(store, time_limit(0), store.put_lifecycle(&rules)).await;
        let others = if apply { Some(put().await?.value) } else { None };
        Ok(Lifecycle {
            applies,
            applied: apply,
            others,
            rules: Configuration { rules: rules.iter().map(Into::into).collect() },
            notes: notes(applies, keeps, keep_days, &estimate),
            estimate,
        })
    }

    /// Counts the versions of a few records: of all there are, or of one shard where they are many. Ids are random, so
    /// that one shard stands for all.
    async fn estimate(&self, keep_days: u32) -> Result<Estimate> {
        let bucket = self.bucket();
        let few = bucket.list(keys::TASKS, None, limits::PAGE).await?.value;
        let (listed, shards, more) = if few.more {
            let (listed, more) = self.list_shard().await?;
            (listed, keys::SHARDS.len(), more)
        } else {
            (few.entries, 1, false)
        };
        let apart = listed.len().div_ceil(SAMPLED).max(1);
        let sample: Vec<&Listed> = listed.iter().step_by(apart).collect();
        let counts = stream::iter(sample).map(|record| async move {
            let versions = bucket.versions(&record.key, None, limits::PAGE).await?.value.versions;
            Ok::<_, Error>((versions, record.size))
        });
        let counted: Vec<(Vec<Version>, u64)> = counts.buffered(READS_IN_FLIGHT).boxed().try_collect().await?;
        let latest = bucket.now().before(DAY.saturating_mul(keep_days));
        Ok(Estimate::of(&counted, listed.len() * shards, more, latest))
    }

    /// The records of one shard, as far as a few pages go, and whether there are more.
    async fn list_shard(&self) -> Result<(Vec<Listed>, bool)> {
        let prefix = keys::shard_prefix(keys::TASKS, keys::SHARDS.chars().next().unwrap_or('0'));
        let mut listed: Vec<Listed> = Vec::new();
        for _ in 0..PAGES {
            let after = listed.last().map(|last| last.key.clone());
            let page = self.bucket().list(&prefix, after.as_deref(), limits::PAGE).await?.value;
            listed.extend(page.entries);
            if !page.more {
                return Ok((listed, false));
            }
        }
        Ok((listed, true))
    }
}

impl Estimate {
    /// From the versions of some records, newest first, and the size of each record; `latest` is the moment before
    /// which a version has to be replaced to be removed.
    fn of(counted: &[(Vec<Version>, u64)], records: usize, at_least: bool, latest: Timestamp) -> Self {
        let (mut old, mut bytes, mut removable) = (0.0, 0.0, 0.0);
        for (versions, size) in counted {
            let size = as_float(*size);
            for pair in versions.windows(2) {
                let [newer, version] = pair else { continue };
                if version.deleted {
                    continue;
                }
                old += 1.0;
                bytes += size;
                removable += if newer.last_modified <= latest { size } else { 0.0 };
            }
        }
        let sampled = counted.len();
        let records = as_float(records as u64);
        let scale = records / as_float(sampled.max(1) as u64);
        let dollars = |bytes: f64| bytes * scale / GIGABYTE * DOLLARS_PER_GB_MONTH;
        Self {
            sampled,
            records,
            at_least,
            old_versions: old * scale,
            old_bytes: bytes * scale,
            removable_bytes: removable * scale,
            dollars_a_month: dollars(bytes),
            saved_a_month: dollars(removable),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate needs no more than 52 bits of a count")]
const fn as_float(count: u64) -> f64 {
    count as f64
}

fn notes(applies: bool, keeps: bool, keep_days: u32, estimate: &Estimate) -> Vec<String> {
    let Estimate { records, old_versions, old_bytes, removable_bytes, dollars_a_month, saved_a_month, .. } = estimate;
    let about = if estimate.at_least { "at least" } else { "about" };
    let megabytes = |bytes: &f64| format!("{:.1} MB", bytes / 1_000_000.0);
    let place = if applies {
        "The rules are for this queue's keys only; other rules of the bucket stay as they are."
    } else {
        "This store is no bucket: it has no lifecycle rules, keeps old versions of records, and deletes those of \
         everything else at once. The rules are those of a queue in a bucket."
    };
    let free =
        "The rules cost nothing: S3 charges neither for them nor for what they delete. It applies them once a day.";
    if !keeps && *old_versions <= 0.0 {
        let nothing = "The bucket keeps no versions: there is no history to bound, and the rules have nothing to delete until \
                       versioning is switched on. Have them in place before that.";
        return vec![place.to_owned(), nothing.to_owned(), free.to_owned()];
    }
    vec![
        place.to_owned(),
        format!(
            "There are {about} {records:.0} records with {old_versions:.0} old versions: {}, ${dollars_a_month:.4} a \
             month at ${DOLLARS_PER_GB_MONTH} a GB (S3 Standard).",
            megabytes(old_bytes)
        ),
        format!(
            "Of these, {} have been old for {keep_days} days: removing them saves ${saved_a_month:.4} a month at once. \
             What comes later is kept for {keep_days} days instead of for ever.",
            megabytes(removable_bytes)
        ),
        free.to_owned(),
        format!(
            "buquet history then shows what happened in the last {keep_days} days, and purged tasks are gone for good \
             after as many."
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::VersionId;

    fn version(at: i64) -> Version {
        Version { id: VersionId(at.to_string()), last_modified: Timestamp(at), deleted: false }
    }

    #[test]
    fn rules_are_for_the_queue_alone_and_named_after_it() {
        for (url, prefix) in [("s3://bucket", ""), ("s3://bucket/a/b", "a/b/"), ("memory:", "")] {
            assert_eq!(prefix_of(url), prefix);
            let rules = expiries(prefix, 30);
            assert!(rules.iter().all(|rule| rule.prefix.starts_with(prefix) && rule.id.len() <= 255));
            let mut ids: Vec<_> = rules.iter().map(|rule| &rule.id).collect();
            ids.dedup();
            assert_eq!(ids.len(), rules.len());
        }
        assert!(expiries(&"x".repeat(1_000), 30).iter().all(|rule| rule.id.len() <= 255));
    }

    #[test]
    fn what_was_replaced_before_the_time_is_removable() {
        // Replaced at 30 and at 20; the newest is not old.
        let estimate = Estimate::of(&[(vec![version(30), version(20), version(10)], 1_000)], 16, false, Timestamp(25));
        assert_eq!((estimate.old_versions, estimate.old_bytes, estimate.removable_bytes), (32.0, 32_000.0, 16_000.0));
        assert!((estimate.dollars_a_month - 0.000_000_736).abs() < 1e-12);
    }

    #[test]
    fn an_empty_queue_costs_nothing() {
        assert_eq!(Estimate::of(&[], 0, false, Timestamp(0)), Estimate::default());
    }
}
