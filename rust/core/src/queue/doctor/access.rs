//! Whether the store answers, what these credentials may do, and whether it keeps its promises.

use std::time::Duration;

use tokio::time::Instant;

use super::visit::Visit;
use super::{Check, Status, policy};
use crate::error::Error;
use crate::keys;
use crate::store::probe;
use crate::store::{Got, StoreError, StoreErrorKind, StoreKind, StoreResult, Timed};
use crate::time::Timestamp;

/// An answer that takes longer makes everything slow.
const SLOW: Duration = Duration::from_millis(500);

/// The first request and its answer.
pub(super) struct Reached {
    pub url: String,
    pub answer: Result<Timed<Got>, StoreError>,
    pub took: Duration,
    /// This machine's clock in the middle of it.
    pub local: Timestamp,
    pub resolution_ms: i64,
}

pub(super) async fn reach(visit: &Visit, local_time: fn() -> Timestamp) -> Reached {
    // The first request finds the way: names, connections, credentials, and whether signatures need another time than
    // this machine's clock says. The second tells how long one takes.
    let warm = visit.get(keys::MARKER).await;
    let is_final = warm.as_ref().is_err_and(|error| error.kind != StoreErrorKind::Denied);
    let (began, before) = (Instant::now(), local_time());
    let answer = if is_final { warm } else { visit.get(keys::MARKER).await };
    let local = Timestamp(before.0.midpoint(local_time().0));
    let resolution_ms = visit.store().clock_resolution_ms();
    Reached { url: visit.url(), answer, took: began.elapsed(), local, resolution_ms }
}

pub(super) fn is_denied(reached: &Reached) -> bool {
    reached.answer.as_ref().is_err_and(|error| error.kind == StoreErrorKind::Denied)
}

pub(super) fn judge_reach(reached: &Reached) -> Check {
    let (url, millis) = (&reached.url, u64::try_from(reached.took.as_millis()).unwrap_or(u64::MAX));
    let error = match &reached.answer {
        Ok(_) if reached.took > SLOW => {
            let advice = "run workers and submitters near the store, in the same region; check the network between";
            return Check::new("store", Status::Warning, format!("{url} takes {millis} ms to answer"), advice)
                .with("latency_ms", millis);
        }
        Ok(_) => return Check::ok("store", format!("{url} answers in {millis} ms")).with("latency_ms", millis),
        Err(error) => error,
    };
    let advice = match error.kind {
        _ if url.starts_with("sqlite:") => {
            "check the path, that its folder can be written to by this user, and that the file is a queue of buquet"
        }
        StoreErrorKind::Unavailable => {
            "check the endpoint, the network, and the server's own state; buquet config shows which endpoint counts"
        }
        StoreErrorKind::Throttled | StoreErrorKind::Conflict | StoreErrorKind::Withheld => {
            "the server is overloaded; try again later"
        }
        StoreErrorKind::Denied => {
            "check which credentials count (buquet config), whether they are valid, and what they may do (see permissions)"
        }
        StoreErrorKind::NoBucket => {
            "create the bucket, or mend its name, region or endpoint (buquet config shows them)"
        }
        StoreErrorKind::Unsupported | StoreErrorKind::Invalid => {
            "the server does not speak S3 as buquet knows it; check the endpoint"
        }
    };
    Check::new("store", Status::Failed, error.message.clone(), advice).with("kind", kind_name(error.kind))
}

const fn kind_name(kind: StoreErrorKind) -> &'static str {
    match kind {
        StoreErrorKind::Unavailable
        | StoreErrorKind::Throttled
        | StoreErrorKind::Conflict
        | StoreErrorKind::Withheld => "unavailable",
        StoreErrorKind::Denied | StoreErrorKind::NoBucket => "denied",
        StoreErrorKind::Unsupported => "unsupported",
        StoreErrorKind::Invalid => "invalid",
    }
}

/// An attempt at something: `None` where it was allowed.
pub(super) type Refusal = Option<StoreError>;

/// What these credentials were allowed, on a scratch key.
pub(super) struct Tried {
    pub put: Refusal,
    pub get: Refusal,
    pub list: Refusal,
    pub delete: Refusal,
    pub list_versions: Refusal,
    pub get_version: Refusal,
    pub versioning: Result<bool, StoreError>,
}

fn refusal<T>(answer: &StoreResult<T>) -> Refusal {
    answer.as_ref().err().cloned()
}

pub(super) async fn try_all(visit: &Visit) -> Tried {
    let key = format!("probe/{}/scratch", visit.nonce);
    let put = refusal(&visit.put(&key, &format!("{{\"probe\":\"{}\"}}", visit.nonce)).await);
    let get = refusal(&visit.get(&key).await);
    let list = refusal(&visit.list(&key, None, 1).await);
    let versions = visit.versions(&key).await;
    let version = versions.as_ref().ok().and_then(|page| page.value.versions.first().map(|version| version.id.clone()));
    let get_version = match &version {
        Some(version) => refusal(&visit.get_version(&key, version).await),
        None => None,
    };
    let versioning = visit.keeps_versions().await.map(|answer| answer.value);
    let delete = if put.is_some() { None } else { refusal(&visit.delete(&key).await) };
    Tried { put, get, list, delete, list_versions: refusal(&versions), get_version, versioning }
}

impl Tried {
    const fn actions(&self) -> [(&'static str, bool, &Refusal); 6] {
        [
            ("s3:PutObject", true, &self.put),
            ("s3:GetObject", true, &self.get),
            ("s3:ListBucket", true, &self.list),
            ("s3:DeleteObject", true, &self.delete),
            ("s3:ListBucketVersions", false, &self.list_versions),
            ("s3:GetObjectVersion", false, &self.get_version),
        ]
    }

    /// Whether everything works that the protocol needs.
    fn suffices(&self) -> bool {
        self.actions().iter().all(|(_, needed, refused)| !needed || refused.is_none())
    }
}

pub(super) fn judge_permissions(kind: StoreKind, tried: &Tried) -> Check {
    let name = "permissions";
    let is_denied = |refused: &Refusal| refused.as_ref().is_some_and(|error| error.kind == StoreErrorKind::Denied);
    let actions = tried.actions();
    let mut denied: Vec<&str> =
        actions.iter().filter(|(_, _, refused)| is_denied(refused)).map(|(action, ..)| *action).collect();
    if tried.versioning.as_ref().is_err_and(|error| error.kind == StoreErrorKind::Denied) {
        denied.push("s3:GetBucketVersioning");
    }
    let other = actions.iter().find_map(|(action, _, refused)| match refused {
        Some(error) if error.kind != StoreErrorKind::Denied => Some((action, error)),
        _ => None,
    });
    if actions.iter().all(|(action, _, refused)| is_denied(refused) || !DECISIVE.contains(action)) {
        let message = tried.get.as_ref().map(|error| error.message.clone()).unwrap_or_default();
        if kind != StoreKind::S3 {
            let advice = "check that this user may read and write the file and its folder";
            return Check::new(name, Status::Failed, format!("nothing is allowed: {message}"), advice)
                .with("denied", denied);
        }
        let advice = "either the credentials are not valid there, or they may do nothing with this bucket: see buquet config \
                      for where they come from, and buquet doctor --iam for the policy they need";
        return Check::new(name, Status::Failed, format!("nothing is allowed: {message}"), advice)
            .with("denied", denied);
    }
    if !denied.is_empty() {
        let needed = actions.iter().any(|(action, needed, _)| *needed && denied.contains(action));
        let (status, what) = if needed {
            (Status::Failed, "these credentials may not do what buquet needs")
        } else {
            (Status::Warning, "histories cannot be read")
        };
        let advice = format!("allow {}; buquet doctor --iam prints a policy", denied.join(", "));
        return Check::new(name, status, format!("{what}: {} denied", denied.join(", ")), advice)
            .with("denied", denied);
    }
    if let Some((action, error)) = other {
        let advice = "the store answered otherwise before: run the doctor again";
        return Check::new(name, Status::Warning, format!("{action} could not be tried: {}", error.message), advice);
    }
    let what = match kind {
        StoreKind::S3 => "reading, writing, listing, deleting and histories are allowed",
        StoreKind::Sqlite | StoreKind::Memory => "reading, writing, listing and deleting work",
    };
    Check::ok(name, what)
}

/// Those that are denied where credentials are worth nothing.
const DECISIVE: [&str; 3] = ["s3:PutObject", "s3:GetObject", "s3:ListBucket"];

pub(super) async fn conditional_writes(visit: &Visit, tried: &Tried) -> Check {
    if !tried.suffices() {
        return Check::skipped("conditional_writes", "not everything is allowed that this needs: see permissions");
    }
    judge_probe(probe::probe(visit.store(), &visit.nonce).await)
}

fn judge_probe(probed: Result<(), Error>) -> Check {
    let name = "conditional_writes";
    match probed {
        Ok(()) => Check::ok(name, "of racing conditional writes exactly one wins, and reads and lists show it at once"),
        Err(Error::Unsupported(message)) => {
            let advice = "stop the workers and move to another store: on this one tasks can be lost or run twice";
            Check::new(name, Status::Failed, message, advice)
        }
        Err(error) => {
            Check::new(name, Status::Warning, error.to_string(), "run the doctor again when the store is calm")
        }
    }
}

pub(super) fn judge_versioning(kind: StoreKind, url: &str, keeps: &Result<bool, StoreError>) -> Check {
    let name = "versioning";
    match keeps {
        Ok(true) => Check::ok(name, "every change of a task is kept: histories are whole").with("kept", true),
        Ok(false) if kind == StoreKind::S3 => {
            let bucket = policy::bucket_of(url);
            let advice = format!(
                "for histories run: aws s3api put-bucket-versioning --bucket {bucket} --versioning-configuration \
                 Status=Enabled, and bound what is kept with a lifecycle rule for noncurrent versions"
            );
            let what = "the bucket keeps no versions: buquet history shows only where a task stands now";
            Check::new(name, Status::Warning, what, advice).with("kept", false)
        }
        Ok(false) => Check::ok(name, "this store keeps no versions").with("kept", false),
        Err(error) => Check::skipped(name, error.message.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied() -> StoreError {
        StoreError::new(StoreErrorKind::Denied, "403 AccessDenied")
    }

    fn allowed() -> Tried {
        Tried {
            put: None,
            get: None,
            list: None,
            delete: None,
            list_versions: None,
            get_version: None,
            versioning: Ok(true),
        }
    }

    fn reached(answer: Result<Got, StoreErrorKind>, took_ms: u64) -> Reached {
        Reached {
            url: "s3://bucket".into(),
            answer: answer
                .map(|value| Timed { value, at: Timestamp(0) })
                .map_err(|kind| StoreError::new(kind, "what was said")),
            took: Duration::from_millis(took_ms),
            local: Timestamp(0),
            resolution_ms: 1_000,
        }
    }

    #[test]
    fn a_missing_permission_is_named_and_what_only_histories_need_is_a_warning() {
        assert_eq!(judge_permissions(StoreKind::S3, &allowed()).status, Status::Ok);
        let check = judge_permissions(StoreKind::S3, &Tried { delete: Some(denied()), ..allowed() });
        assert_eq!(check.status, Status::Failed);
        assert!(check.advice.contains("s3:DeleteObject"), "{check:?}");
        let check = judge_permissions(StoreKind::S3, &Tried { list_versions: Some(denied()), ..allowed() });
        assert_eq!(check.status, Status::Warning);
        assert!(check.what.contains("histories") && check.advice.contains("s3:ListBucketVersions"), "{check:?}");
        assert!(!Tried { put: Some(denied()), ..allowed() }.suffices());
    }

    #[test]
    fn where_nothing_is_allowed_the_credentials_are_in_doubt() {
        let none = Tried {
            put: Some(denied()),
            get: Some(denied()),
            list: Some(denied()),
            delete: None,
            list_versions: Some(denied()),
            get_version: None,
            versioning: Err(denied()),
        };
        let check = judge_permissions(StoreKind::S3, &none);
        assert!(check.status == Status::Failed && check.advice.contains("credentials"), "{check:?}");
    }

    #[test]
    fn a_store_that_does_not_answer_fails_with_advice_and_a_slow_one_warns() {
        assert_eq!(judge_reach(&reached(Ok(Got::Missing), 20)).status, Status::Ok);
        assert_eq!(judge_reach(&reached(Ok(Got::Missing), 900)).status, Status::Warning);
        for (kind, advice) in [
            (StoreErrorKind::Unavailable, "endpoint"),
            (StoreErrorKind::Denied, "credentials"),
            (StoreErrorKind::NoBucket, "create the bucket"),
            (StoreErrorKind::Invalid, "does not speak S3"),
        ] {
            let check = judge_reach(&reached(Err(kind), 20));
            assert!(check.status == Status::Failed && check.advice.contains(advice), "{check:?}");
        }
    }

    #[test]
    fn no_versions_are_a_warning_on_s3_and_conditions_that_do_not_hold_a_failure() {
        let check = judge_versioning(StoreKind::S3, "s3://bucket/jobs", &Ok(false));
        assert!(check.status == Status::Warning && check.advice.contains("--bucket bucket "), "{check:?}");
        assert_eq!(judge_versioning(StoreKind::Sqlite, "sqlite:x", &Ok(false)).status, Status::Ok);
        assert_eq!(judge_probe(Err(Error::Unsupported("both won".into()))).status, Status::Failed);
        assert_eq!(judge_probe(Err(Error::Unavailable("busy".into()))).status, Status::Warning);
    }
}
