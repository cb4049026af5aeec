//! What only the S3 store promises: one request, its headers, the server's time, and errors that say what to do.

use crate::store::support::http::{response, scripted};
use crate::store::support::{CREDENTIALS, in_environment, servers};
use buquet_core::store::s3::{S3Options, S3Store};
use buquet_core::store::{Condition, ETag, Got, Put, Store, StoreError, StoreErrorKind};
use buquet_core::time::Timestamp;
use bytes::Bytes;
use tokio::net::TcpSocket;

const DATE: &str = "Mon, 23 Nov 2026 22:32:55 GMT";
const AT: Timestamp = Timestamp(1_795_473_175_000);

fn store(endpoint: &str) -> S3Store {
    S3Store::new(S3Options {
        bucket: "my-bucket".into(),
        prefix: "team".into(),
        region: Some("eu-central-1".into()),
        endpoint: Some(endpoint.into()),
    })
}

fn error_body(code: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>the words of {code}</Message></Error>")
}

async fn put_failure(status: u16, headers: &[(&str, &str)], body: &str) -> StoreError {
    let (endpoint, asked) = scripted(response(status, headers, body)).await;
    let error = store(&endpoint).put("x", Bytes::from_static(b"1"), &Condition::Always).await.unwrap_err();
    assert_eq!(asked.lock().unwrap().len(), 1, "{status}: sent again by the SDK");
    error
}

#[tokio::test]
async fn every_error_answer_has_its_kind_and_its_advice_and_is_not_retried() {
    if !in_environment("store::s3::every_error_answer_has_its_kind_and_its_advice_and_is_not_retried", &CREDENTIALS) {
        return;
    }
    for (status, code, kind, advice) in [
        (404, "NoSuchBucket", StoreErrorKind::NoBucket, "create the bucket \"my-bucket\""),
        (403, "AccessDenied", StoreErrorKind::Denied, "s3:PutObject"),
        (403, "InvalidAccessKeyId", StoreErrorKind::Denied, "AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", StoreErrorKind::Denied, "the secret key is wrong"),
        (403, "RequestTimeTooSkewed", StoreErrorKind::Denied, "clock"),
        (400, "ExpiredToken", StoreErrorKind::Denied, "sign in again"),
        (401, "Whatever", StoreErrorKind::Denied, "allow these credentials"),
        (503, "SlowDown", StoreErrorKind::Throttled, "503 SlowDown"),
        (429, "TooManyRequests", StoreErrorKind::Throttled, "429"),
        (500, "InternalError", StoreErrorKind::Unavailable, "500 InternalError"),
        (503, "ServiceUnavailable", StoreErrorKind::Unavailable, "503"),
        (400, "RequestTimeout", StoreErrorKind::Unavailable, "400"),
        (409, "ConditionalRequestConflict", StoreErrorKind::Conflict, "409"),
        (501, "NotImplemented", StoreErrorKind::Unsupported, "use another"),
        (405, "MethodNotAllowed", StoreErrorKind::Unsupported, "use another"),
        (301, "PermanentRedirect", StoreErrorKind::Invalid, "region is wrong"),
        (400, "AuthorizationHeaderMalformed", StoreErrorKind::Invalid, "region is wrong"),
        (400, "InvalidArgument", StoreErrorKind::Invalid, "the words of InvalidArgument"),
        (412, "PreconditionFailed", StoreErrorKind::Invalid, "412"),
    ] {
        let error = put_failure(status, &[("date", DATE)], &error_body(code)).await;
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(advice), "{error}");
        assert!(error.message.starts_with("writing \"x\" in s3://my-bucket/team at http://127.0.0.1:"), "{error}");
        let quoted = error.message.contains("the words of");
        assert!(!(quoted && kind == StoreErrorKind::Denied), "the words of a refusal may hold a key: {error}");
    }
}

#[tokio::test]
async fn a_bucket_elsewhere_says_where() {
    if !in_environment("store::s3::a_bucket_elsewhere_says_where", &CREDENTIALS) {
        return;
    }
    let headers = [("date", DATE), ("x-amz-bucket-region", "eu-west-3")];
    let error = put_failure(301, &headers, &error_body("PermanentRedirect")).await;
    assert_eq!(error.kind, StoreErrorKind::Invalid);
    assert!(error.message.contains("set S3_REGION=eu-west-3"), "{error}");
}

#[tokio::test]
async fn the_servers_time_is_read_from_answers_of_every_kind() {
    if !in_environment("store::s3::the_servers_time_is_read_from_answers_of_every_kind", &CREDENTIALS) {
        return;
    }
    let found = [("date", DATE), ("etag", "\"abc\""), ("last-modified", "Mon, 23 Nov 2026 22:00:00 GMT")];
    for (status, headers, body) in [
        (200, &found[..], "body".to_owned()),
        (304, &found[..1], String::new()),
        (404, &found[..1], error_body("NoSuchKey")),
    ] {
        let (endpoint, _) = scripted(response(status, headers, &body)).await;
        let got = store(&endpoint).get("x", Some(&ETag("\"old\"".into()))).await.unwrap();
        assert_eq!(got.at, AT, "{status}");
        match (status, got.value) {
            (200, Got::Found(object)) => {
                assert_eq!((&object.body[..], object.etag), (&b"body"[..], ETag("\"abc\"".into())));
                assert_eq!(object.last_modified, Timestamp(AT.0 - 32 * 60_000 - 55_000));
            }
            (304, Got::NotModified) | (404, Got::Missing) => {}
            (_, other) => panic!("{status} gave {other:?}"),
        }
    }
    for (status, code) in [(412, "PreconditionFailed"), (404, "NoSuchKey")] {
        let (endpoint, _) = scripted(response(status, &[("date", DATE)], &error_body(code))).await;
        let condition = Condition::IfMatch(ETag("\"old\"".into()));
        let put = store(&endpoint).put("x", Bytes::new(), &condition).await.unwrap();
        assert_eq!((put.value, put.at), (Put::Refused, AT), "{status}");
    }
}

#[tokio::test]
async fn an_answer_that_no_s3_server_gives_is_an_error() {
    if !in_environment("store::s3::an_answer_that_no_s3_server_gives_is_an_error", &CREDENTIALS) {
        return;
    }
    let stray = "<html>Not Found</html>";
    for (status, headers, body) in [
        (404, vec![("date", DATE)], stray),
        (200, vec![("date", DATE)], stray),
        (200, vec![("etag", "\"abc\"")], stray),
        (200, vec![("date", DATE), ("etag", "\"abc\"")], stray),
    ] {
        let (endpoint, _) = scripted(response(status, &headers, body)).await;
        let error = store(&endpoint).get("x", None).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Invalid, "{error}");
    }
}

#[tokio::test]
async fn a_broken_or_refused_connection_is_unavailable_and_is_not_retried() {
    if !in_environment("store::s3::a_broken_or_refused_connection_is_unavailable_and_is_not_retried", &CREDENTIALS) {
        return;
    }
    let cut = response(200, &[("date", DATE), ("etag", "\"abc\""), ("last-modified", DATE)], "body");
    for broken in [Vec::new(), b"HTTP/1.1 200".to_vec(), cut[..cut.len() - 2].to_vec()] {
        let (endpoint, asked) = scripted(broken).await;
        let error = store(&endpoint).get("x", None).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
        assert_eq!(asked.lock().unwrap().len(), 1);
    }
    let kept = TcpSocket::new_v4().unwrap(); // a port that nobody listens on, and nobody else can take
    kept.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let refusing = format!("http://{}", kept.local_addr().unwrap());
    let error = store(&refusing).get("x", None).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
    assert!(error.message.contains("is the endpoint right"), "{error}");
}

#[tokio::test]
async fn requests_are_signed_for_the_region_and_address_the_bucket_in_the_path() {
    if !in_environment("store::s3::requests_are_signed_for_the_region_and_address_the_bucket_in_the_path", &CREDENTIALS)
    {
        return;
    }
    let (endpoint, asked) = scripted(response(200, &[("date", DATE), ("etag", "\"abc\"")], "<DeleteResult/>")).await;
    let store = store(&endpoint);
    let tag = ETag("\"abc\"".into());
    store.put("a b", Bytes::from_static(b"{}"), &Condition::IfAbsent).await.unwrap();
    store.put("x", Bytes::from_static(b"{}"), &Condition::IfMatch(tag)).await.unwrap();
    store.delete_many(&["x".into(), "y".into()]).await.unwrap();
    let asked = asked.lock().unwrap().clone();
    let [create, change, delete] = asked.as_slice() else { panic!("{} requests", asked.len()) };

    assert!(create.line.starts_with("PUT /my-bucket/team/a%20b"), "{}", create.line);
    assert_eq!((create.header("if-none-match"), create.header("if-match")), (Some("*"), None));
    assert_eq!((change.header("if-none-match"), change.header("if-match")), (None, Some("\"abc\"")));
    assert_eq!(create.body, b"{}", "sent as it is, without checksums around it");
    let signed = create.header("authorization").unwrap();
    assert!(signed.contains("AKIDTEST/") && signed.contains("/eu-central-1/s3/"), "{signed}");
    assert!(signed.contains("if-none-match"), "the condition is signed: {signed}");

    assert!(delete.line.starts_with("POST /my-bucket?delete") || delete.line.starts_with("POST /my-bucket/?delete"));
    assert!(delete.header("content-md5").is_some(), "{:?}", delete.headers);
    let body = String::from_utf8_lossy(&delete.body);
    assert!(body.contains("<Key>team/x</Key>") && body.contains("<Key>team/y</Key>"), "{body}");
}

#[tokio::test]
async fn a_key_that_could_not_be_deleted_is_an_error() {
    if !in_environment("store::s3::a_key_that_could_not_be_deleted_is_an_error", &CREDENTIALS) {
        return;
    }
    let body =
        "<DeleteResult><Error><Key>team/y</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>";
    let (endpoint, _) = scripted(response(200, &[("date", DATE)], body)).await;
    let error = store(&endpoint).delete_many(&["x".into(), "y".into()]).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied);
    assert!(error.message.contains("deleting \"y\"") && error.message.contains("s3:DeleteObject"), "{error}");
}

#[tokio::test]
async fn missing_credentials_are_refused_with_what_to_do() {
    let nothing = [("AWS_EC2_METADATA_DISABLED", "true")];
    if !in_environment("store::s3::missing_credentials_are_refused_with_what_to_do", &nothing) {
        return;
    }
    let (endpoint, asked) = scripted(response(200, &[("date", DATE), ("etag", "\"abc\"")], "")).await;
    let error = store(&endpoint).get("x", None).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
    assert!(error.message.contains("set AWS_ACCESS_KEY_ID"), "{error}");
    assert!(asked.lock().unwrap().is_empty(), "sent without a signature");
}

fn profile(name: &str) -> [(&str, &str); 3] {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/store/aws_config");
    [("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_CONFIG_FILE", config), ("AWS_PROFILE", name)]
}

#[cfg(not(feature = "sso"))]
#[tokio::test]
async fn a_profile_of_identity_center_says_how_to_get_a_build_that_knows_it() {
    if !in_environment(
        "store::s3::a_profile_of_identity_center_says_how_to_get_a_build_that_knows_it",
        &profile("center"),
    ) {
        return;
    }
    let error = store("http://127.0.0.1:1").get("x", None).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
    assert!(error.message.contains("BUQUET_FEATURES=sso"), "{error}");
}

#[tokio::test]
async fn a_profile_of_a_kind_that_no_build_knows_says_what_helps() {
    if !in_environment("store::s3::a_profile_of_a_kind_that_no_build_knows_says_what_helps", &profile("console")) {
        return;
    }
    let error = store("http://127.0.0.1:1").get("x", None).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
    assert!(error.message.contains("credentials-login"), "{error}");
    assert!(error.message.contains("credential_process"), "{error}");
}

#[tokio::test]
async fn an_unknown_region_is_refused_with_what_to_do() {
    let variables = [CREDENTIALS[0], CREDENTIALS[1], ("AWS_EC2_METADATA_DISABLED", "true")];
    if !in_environment("store::s3::an_unknown_region_is_refused_with_what_to_do", &variables) {
        return;
    }
    let options = S3Options { bucket: "my-bucket".into(), ..S3Options::default() };
    let error = S3Store::new(options).get("x", None).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Invalid);
    assert!(error.message.contains("set AWS_REGION (or BUQUET_REGION)"), "{error}");
}

#[tokio::test]
async fn no_secret_shows_in_the_debug_form() {
    if !in_environment("store::s3::no_secret_shows_in_the_debug_form", &CREDENTIALS) {
        return;
    }
    let (endpoint, _) = scripted(response(403, &[("date", DATE)], &error_body("SignatureDoesNotMatch"))).await;
    let store = store(&endpoint);
    let error = store.get("x", None).await.unwrap_err();
    for text in [format!("{store:?}"), format!("{store:#?}"), format!("{error:?}")] {
        assert!(!text.contains("hunter2") && !text.contains("AKIDTEST"), "{text}");
        assert!(text.contains("my-bucket"));
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_named_by_every_operation() {
    for server in servers() {
        let store = server.store("buquet-there-is-no-such-bucket", "");
        let keys = ["x".to_owned()];
        for error in [
            store.get("x", None).await.unwrap_err(),
            store.put("x", Bytes::new(), &Condition::Always).await.unwrap_err(),
            store.put("x", Bytes::new(), &Condition::IfAbsent).await.unwrap_err(),
            store.put("x", Bytes::new(), &Condition::IfMatch(ETag("\"a\"".into()))).await.unwrap_err(),
            store.delete_many(&keys).await.unwrap_err(),
            store.list("", None, 1).await.unwrap_err(),
            store.versions("x", None, 1).await.unwrap_err(),
            store.keeps_versions().await.unwrap_err(),
        ] {
            assert_eq!(error.kind, StoreErrorKind::NoBucket, "{}: {error}", server.name);
            assert!(error.message.contains("create the bucket \"buquet-there-is-no-such-bucket\""), "{error}");
        }
    }
}

#[tokio::test]
async fn a_bucket_without_versioning_says_so() {
    for server in servers() {
        let store = server.store(&server.new_plain_bucket().await, "");
        assert!(!store.keeps_versions().await.unwrap().value, "{}", server.name);
        for body in ["1", "2"] {
            store.put("tasks/x", Bytes::from(body), &Condition::Always).await.unwrap();
        }
        let page = store.versions("tasks/x", None, 10).await.unwrap().value;
        assert_eq!((page.versions.len(), page.more), (1, false), "{}: {page:?}", server.name);
        let got = store.get_version("tasks/x", &page.versions[0].id).await.unwrap().value;
        assert!(matches!(got, Got::Found(object) if object.body == "2"), "{}", server.name);
    }
}
