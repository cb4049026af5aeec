//! What a refusal or a missing answer means, and what to do about it.

use std::error::Error;
use std::io;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::super::{StoreError, StoreErrorKind};
use super::S3Options;

/// The longest piece of a server's own words that is passed on, in characters.
const MAX_QUOTE: usize = 300;

/// The bucket's address, for messages.
#[derive(Clone, Debug)]
pub(super) struct Address {
    /// `s3://bucket/prefix`.
    pub(super) url: String,
    place: String,
    bucket: String,
}

/// A request that did not succeed.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The HTTP status, 0 if no answer came.
    pub(super) status: u16,
    /// S3's name for the error, empty if it gave none.
    pub(super) code: String,
    /// The same for the caller.
    pub(super) error: StoreError,
}

impl Refusal {
    /// Whether the answer says that the object, not the bucket, is missing. A 404 without S3's own words does not:
    /// it may come from any web server.
    pub(super) fn is_missing(&self) -> bool {
        self.status == 404 && !matches!(self.code.as_str(), "" | "NoSuchBucket")
    }

    /// Whether this is no S3 server's way to refuse: a success that makes no sense, or a web server's "not found".
    pub(super) fn is_odd(&self) -> bool {
        let strange = matches!(self.status, 200..300) || (self.status == 404 && self.code.is_empty());
        strange && self.error.kind == StoreErrorKind::Invalid
    }

    pub(super) fn is_delete_marker(&self) -> bool {
        self.status == 405 && self.code == "MethodNotAllowed"
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self { status: 0, code: String::new(), error }
    }
}

impl Address {
    pub(super) fn new(options: &S3Options) -> Self {
        let url = match options.prefix.as_str() {
            "" => format!("s3://{}", options.bucket),
            prefix => format!("s3://{}/{prefix}", options.bucket),
        };
        let at = options.endpoint.as_ref().map(|endpoint| format!(" at {endpoint}")).unwrap_or_default();
        Self { place: format!("{url}{at}"), url, bucket: options.bucket.clone() }
    }

    pub(super) fn error(&self, kind: StoreErrorKind, what: &str, problem: &str) -> StoreError {
        StoreError::new(kind, format!("{what} in {}: {problem}", self.place))
    }

    /// No answer: the request may or may not have taken effect.
    pub(super) fn no_answer(&self, what: &str, problem: &str) -> StoreError {
        self.error(StoreErrorKind::Unavailable, what, problem)
    }

    pub(super) fn refusal<E>(&self, what: &str, error: &SdkError<E, HttpResponse>) -> Refusal
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let Some(response) = error.raw_response() else { return self.failed_to_send(what, error).into() };
        if let SdkError::ResponseError(_) = error {
            return self.no_answer(what, &format!("the answer broke off{}", quoted(&root(error)))).into();
        }
        let status = response.status().as_u16();
        let (code, message) = error.as_service_error().map_or((None, None), |error| (error.code(), error.message()));
        let region = response.headers().get("x-amz-bucket-region").filter(|_| matches!(status, 301 | 307 | 400));
        let elsewhere = |region| {
            let problem = format!("the bucket is in region {region}; set S3_REGION={region} or ?region={region}");
            self.error(StoreErrorKind::Invalid, what, &problem)
        };
        let error = region.map_or_else(|| self.answered(what, status, code, message), elsewhere);
        Refusal { status, code: code.unwrap_or_default().to_owned(), error }
    }

    /// What an error answer means.
    pub(super) fn answered(&self, what: &str, status: u16, code: Option<&str>, message: Option<&str>) -> StoreError {
        let code = code.unwrap_or_default();
        let kind = kind(status, code);
        // The words that come with a refusal of credentials may quote them.
        let quote = message.filter(|_| kind != StoreErrorKind::Denied).map(quoted).unwrap_or_default();
        let advice = self.advice(kind, code);
        let answer = format!("{status} {code}");
        let separator = if advice.is_empty() { "" } else { "; " };
        self.error(kind, what, &format!("{}{quote}{separator}{advice}", answer.trim_end()))
    }

    fn advice(&self, kind: StoreErrorKind, code: &str) -> String {
        let bucket = &self.bucket;
        match (kind, code) {
            (StoreErrorKind::NoBucket, _) => format!(
                "create the bucket {bucket:?} (for example: aws s3 mb s3://{bucket}) or check its name, region and \
                 endpoint"
            ),
            (_, "RequestTimeTooSkewed") => "set this machine's clock".to_owned(),
            (_, "InvalidAccessKeyId" | "NotSignedUp") => {
                "the access key is unknown there; check AWS_ACCESS_KEY_ID or AWS_PROFILE, \
                                          and that the endpoint is the right one"
                    .to_owned()
            }
            (_, "SignatureDoesNotMatch") => "the secret key is wrong; check AWS_SECRET_ACCESS_KEY".to_owned(),
            (_, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => {
                "the session has ended; sign in again (for example: aws sso login)".to_owned()
            }
            (StoreErrorKind::Denied, _) => format!(
                "allow these credentials s3:GetObject, s3:GetObjectVersion, s3:PutObject and s3:DeleteObject on \
                 {bucket}/*, and s3:ListBucket, s3:ListBucketVersions and s3:GetBucketVersioning on {bucket}"
            ),
            (_, "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" | "PermanentRedirect") => {
                "the region is wrong; set S3_REGION or ?region=... to the bucket's".to_owned()
            }
            (StoreErrorKind::Unsupported, _) => "this server cannot do what buquet needs; use another".to_owned(),
            (StoreErrorKind::Invalid, "") => "this does not look like an S3 server; check the endpoint".to_owned(),
            _ => String::new(),
        }
    }

    fn failed_to_send<E>(&self, what: &str, error: &SdkError<E, HttpResponse>) -> StoreError
    where
        E: Error + Send + Sync + 'static,
    {
        let mut reasons = Vec::new();
        let mut next: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(reason) = next {
            if let Some(error) = reason.downcast_ref::<CredentialsError>() {
                return self.no_credentials(what, error);
            }
            if let Some(problem) = certificate_problem(reason) {
                let advice = "if the server's certificate is your own, name its authority in AWS_CA_BUNDLE";
                return self.error(StoreErrorKind::Invalid, what, &format!("TLS: {problem}; {advice}"));
            }
            reasons.push(reason.to_string());
            next = reason.source();
        }
        let problem = match error {
            SdkError::TimeoutError(_) => "no answer in time".to_owned(),
            _ => quoted(&reasons.join(": ")),
        };
        self.no_answer(what, &format!("{} (is the endpoint right, and reachable?)", problem.trim_start_matches(": ")))
    }

    fn no_credentials(&self, what: &str, error: &CredentialsError) -> StoreError {
        let advice = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give this machine a role";
        if let Some(feature) = left_out(error) {
            return self.error(StoreErrorKind::Denied, what, &without(&feature));
        }
        match error {
            CredentialsError::ProviderTimedOut(_) => self.no_answer(what, &format!("{error}; {advice}")),
            CredentialsError::CredentialsNotLoaded(_) => {
                self.error(StoreErrorKind::Denied, what, &format!("no credentials found; {advice}"))
            }
            // Not its sources: they may quote what a credential process printed.
            _ => {
                self.error(StoreErrorKind::Denied, what, &format!("no credentials could be loaded: {error}; {advice}"))
            }
        }
    }
}

/// The feature of the SDK that the profile needs and this build does not have. Only the SDK's words tell.
fn left_out(error: &CredentialsError) -> Option<String> {
    let reason = error.source()?.to_string();
    let (_, feature) = reason.split_once("cargo feature(s) enabled: ")?;
    feature.split('.').next().map(str::to_owned)
}

fn without(feature: &str) -> String {
    let instead = "name a profile with credential_process = aws configure export-credentials --profile NAME --format \
                   process";
    if feature == "sso" {
        return format!(
            "the AWS profile signs in with IAM Identity Center, which this build of buquet leaves out; install a \
             released wheel, build with BUQUET_FEATURES=sso, or {instead}"
        );
    }
    format!("the AWS profile needs {feature}, which buquet does not have; {instead}")
}

fn kind(status: u16, code: &str) -> StoreErrorKind {
    match (status, code) {
        (_, "NoSuchBucket") => StoreErrorKind::NoBucket,
        (429, _)
        | (_, "SlowDown" | "Throttling" | "ThrottlingException" | "RequestLimitExceeded" | "TooManyRequests") => {
            StoreErrorKind::Throttled
        }
        (401 | 403, _)
        | (
            _,
            "AccessDenied"
            | "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "RequestTimeTooSkewed",
        ) => StoreErrorKind::Denied,
        (409, _) => StoreErrorKind::Conflict,
        (405 | 501, _) | (_, "NotImplemented") => StoreErrorKind::Unsupported,
        // Answers of a server that did not receive the whole request, and of one whose bucket is being set up.
        (_, "RequestTimeout" | "IncompleteBody" | "BadDigest" | "InternalError") | (307 | 408 | 500.., _) => {
            StoreErrorKind::Unavailable
        }
        _ => StoreErrorKind::Invalid,
    }
}

/// What an error came from in the first place.
fn root(error: &(dyn Error + 'static)) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}

/// A server's words, shortened, without control characters.
fn quoted(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_QUOTE).collect();
    format!(": {text}")
}

fn certificate_problem<'a>(reason: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let problem = reason.downcast_ref::<rustls::Error>().or_else(|| {
        // An I/O error hides what it wraps from `source`.
        let mut inner = reason.downcast_ref::<io::Error>()?.get_ref()?;
        while let Some(next) = inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            inner = next;
        }
        inner.downcast_ref::<rustls::Error>()
    })?;
    matches!(problem, rustls::Error::InvalidCertificate(_)).then_some(problem)
}
