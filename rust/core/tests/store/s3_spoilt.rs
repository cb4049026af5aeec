//! Answers of an S3 server that came damaged, came late, or showed nothing yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use buquet_core::bucket::{Bucket, Committed};
use buquet_core::entropy::Entropy;
use buquet_core::id::CommitId;
use buquet_core::store::s3::{S3Options, S3Store};
use buquet_core::store::{Condition, Store, StoreErrorKind};
use bytes::Bytes;

use crate::store::support::http::{Handler, Request, response, serve};
use crate::store::support::{CREDENTIALS, in_environment};

const DATE: &str = "Mon, 23 Nov 2026 22:32:55 GMT";
const WHOLE: [(&str, &str); 3] = [("date", DATE), ("etag", "\"abc\""), ("last-modified", DATE)];

/// A bucket on a server that answers the `n`-th request, from 0, so; it has answered one before.
async fn bucket(answer: impl Fn(usize, Request) -> Vec<u8> + Send + Sync + 'static) -> Bucket {
    let asked = AtomicUsize::new(0);
    let handler: Handler = Arc::new(move |request| {
        let n = asked.fetch_add(1, Ordering::Relaxed);
        let answer = if n == 0 { response(200, &WHOLE, "") } else { answer(n - 1, request) };
        Box::pin(async move { answer })
    });
    let bucket = Bucket::new(store(handler).await, Entropy::seeded(1));
    bucket.get("x", None).await.unwrap();
    bucket
}

async fn store(handler: Handler) -> Arc<dyn Store> {
    Arc::new(S3Store::new(S3Options {
        bucket: "my-bucket".into(),
        prefix: "team".into(),
        region: Some("eu-central-1".into()),
        endpoint: Some(format!("http://127.0.0.1:{}", serve(handler, None).await)),
    }))
}

fn listing(keys: &[&str], token: Option<&str>) -> Vec<u8> {
    let modified = "<LastModified>2026-11-23T22:00:00.000Z</LastModified>";
    let contents: Vec<String> =
        keys.iter().map(|key| format!("<Contents><Key>team/{key}</Key>{modified}<Size>2</Size></Contents>")).collect();
    let contents = contents.concat();
    let next = token.map(|token| format!("<NextContinuationToken>{token}</NextContinuationToken>")).unwrap_or_default();
    let head = format!("<IsTruncated>{}</IsTruncated>{next}", token.is_some());
    response(200, &WHOLE[..1], &format!("<ListBucketResult>{head}{contents}</ListBucketResult>"))
}

#[tokio::test]
async fn a_listing_goes_on_behind_empty_pages_that_are_not_the_last() {
    if !in_environment("store::s3_spoilt::a_listing_goes_on_behind_empty_pages_that_are_not_the_last", &CREDENTIALS) {
        return;
    }
    let bucket = bucket(|_, request| match request.line.as_str() {
        line if line.contains("continuation-token=second") => listing(&["ready/a"], None),
        line if line.contains("continuation-token=first") => listing(&[], Some("second")),
        _ => listing(&[], Some("first")),
    })
    .await;
    let page = bucket.list("ready/", Some("ready/0"), 10).await.unwrap().value;
    assert_eq!(page.entries.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["ready/a"]);
    assert!(!page.more && page.token.is_none());
    assert_eq!(bucket.usage().requests.list, 3, "each page is paid for");
}

#[tokio::test]
async fn a_page_that_says_more_follows_and_not_where_is_no_end_of_the_list() {
    if !in_environment(
        "store::s3_spoilt::a_page_that_says_more_follows_and_not_where_is_no_end_of_the_list",
        &CREDENTIALS,
    ) {
        return;
    }
    let truncated = "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>";
    let page = response(200, &WHOLE[..1], truncated);
    let bucket = bucket(move |n, _| if n == 0 { page.clone() } else { listing(&["ready/a"], None) }).await;
    assert_eq!(bucket.list("ready/", None, 10).await.unwrap().value.entries.len(), 1, "asked again");
}

#[tokio::test]
async fn versions_go_on_behind_an_empty_page_too() {
    if !in_environment("store::s3_spoilt::versions_go_on_behind_an_empty_page_too", &CREDENTIALS) {
        return;
    }
    let bucket = bucket(|_, request| {
        let body = if request.line.contains("version-id-marker=older") {
            "<IsTruncated>false</IsTruncated><Version><Key>team/k</Key><VersionId>v1</VersionId><IsLatest>true</IsLatest>\
             <LastModified>2026-11-23T22:00:00.000Z</LastModified></Version>"
        } else {
            "<IsTruncated>true</IsTruncated><NextKeyMarker>team/k</NextKeyMarker>\
             <NextVersionIdMarker>older</NextVersionIdMarker>"
        };
        response(200, &WHOLE[..1], &format!("<ListVersionsResult>{body}</ListVersionsResult>"))
    })
    .await;
    assert_eq!(bucket.versions("k", None, 10).await.unwrap().value.versions.len(), 1);
}

#[tokio::test]
async fn what_was_spoilt_on_its_way_is_asked_for_again() {
    if !in_environment("store::s3_spoilt::what_was_spoilt_on_its_way_is_asked_for_again", &CREDENTIALS) {
        return;
    }
    let cut = listing(&["ready/a"], None);
    let lists = [
        ("cut off", cut[..cut.len() - 10].to_vec()),
        ("another page", response(200, &WHOLE[..1], "<html>Please sign in</html>")),
        ("no Date", response(200, &[], "<ListBucketResult/>")),
    ];
    for (what, spoilt) in lists {
        let bucket = bucket(move |n, _| if n == 0 { spoilt.clone() } else { listing(&["ready/a"], None) }).await;
        assert_eq!(bucket.list("ready/", None, 10).await.unwrap().value.entries.len(), 1, "{what}");
    }
    let missing = "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>";
    let cut = response(404, &WHOLE[..1], missing);
    let objects = [
        ("no ETag", response(200, &WHOLE[..1], "body")),
        ("no Last-Modified", response(200, &WHOLE[..2], "body")),
        ("a web server's 404", response(404, &WHOLE[..1], "<html>Not Found</html>")),
        ("a 404 cut off", cut[..cut.len() - 10].to_vec()),
    ];
    for (what, spoilt) in objects {
        let bucket = bucket(move |n, _| if n == 0 { spoilt.clone() } else { response(200, &WHOLE, "body") }).await;
        let got = bucket.get("x", None).await.unwrap().value;
        assert!(matches!(&got, buquet_core::store::Got::Found(object) if object.body == "body"), "{what}: {got:?}");
    }
}

#[tokio::test]
async fn a_write_whose_success_came_without_its_headers_is_read_back() {
    if !in_environment("store::s3_spoilt::a_write_whose_success_came_without_its_headers_is_read_back", &CREDENTIALS) {
        return;
    }
    for headers in [&WHOLE[..1], &WHOLE[1..2], &[]] {
        let commit = CommitId::random(&Entropy::seeded(3));
        let body = format!("{{\"commit\":\"{commit}\"}}");
        let stored = body.clone();
        let put = response(200, headers, "");
        let bucket = bucket(move |_, request| match request.line.split(' ').next() {
            Some("PUT") => put.clone(),
            _ => response(200, &WHOLE, &stored),
        })
        .await;
        let committed = bucket.commit("x", Bytes::from(body), &Condition::IfAbsent, commit).await.unwrap();
        assert!(matches!(committed, Committed::Landed(Some(_))), "{committed:?}");
        let requests = bucket.usage().requests;
        assert_eq!((requests.put, requests.get), (1, 2), "{headers:?}: sent once, read back once");
    }
}

/// A store whose answer comes so long after the whole request did, without anybody having to wait.
async fn slow_store(time: Duration) -> Arc<dyn Store> {
    let handler: Handler = Arc::new(move |_| {
        Box::pin(async move {
            tokio::time::pause();
            tokio::time::advance(time).await;
            tokio::time::resume();
            response(200, &WHOLE, "")
        })
    });
    store(handler).await
}

#[tokio::test]
async fn four_mebibytes_may_take_as_long_as_they_do_on_a_slow_link() {
    if !in_environment("store::s3_spoilt::four_mebibytes_may_take_as_long_as_they_do_on_a_slow_link", &CREDENTIALS) {
        return;
    }
    let bucket = Bucket::new(slow_store(Duration::from_secs(17)).await, Entropy::seeded(1));
    bucket.put_once("payloads/x", Bytes::from(vec![b'x'; 4 << 20])).await.unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_answer_a_short_request_is_given_up_soon() {
    if !in_environment("store::s3_spoilt::a_server_that_does_not_answer_a_short_request_is_given_up_soon", &CREDENTIALS)
    {
        return;
    }
    let bucket = Bucket::new(slow_store(Duration::from_secs(11)).await, Entropy::seeded(1));
    let error = bucket.put_once("x", Bytes::from_static(b"{}")).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
    assert!(error.message.contains("did not answer within 10 s"), "{error}");
}
