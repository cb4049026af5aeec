//! Lifecycle rules on S3 servers that nobody here wrote: ours are put in and replaced, those of others stay.

use std::sync::Arc;

use crate::store::support::{Server, servers};
use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter,
};
use buquet_core::entropy::Entropy;
use buquet_core::queue::{LifecycleChoice, Queue, Settings};
use buquet_core::store::StoreKind;

async fn queue(server: &Server, bucket: &str, prefix: &str) -> Queue {
    let store = Arc::new(server.store(bucket, prefix));
    Queue::open(store, Entropy::from_os(), Settings::for_store(StoreKind::S3)).await.unwrap()
}

async fn rules(server: &Server, bucket: &str) -> Vec<LifecycleRule> {
    let answer = server.client().get_bucket_lifecycle_configuration().bucket(bucket).send().await.unwrap();
    answer.rules.unwrap()
}

/// A rule that somebody else has put there.
fn foreign() -> LifecycleRule {
    LifecycleRule::builder()
        .id("logs")
        .filter(LifecycleRuleFilter::builder().prefix("logs/").build())
        .expiration(LifecycleExpiration::builder().days(7).build())
        .status(ExpirationStatus::Enabled)
        .build()
        .unwrap()
}

#[tokio::test]
async fn rules_are_put_in_and_replaced_and_those_of_others_stay() {
    for server in servers() {
        let bucket = server.new_bucket().await;
        let (one, two) = (queue(&server, &bucket, "one").await, queue(&server, &bucket, "two").await);
        let shown = one.lifecycle(&LifecycleChoice { keep_days: 30, apply: false }).await.unwrap();
        assert!(shown.applies && !shown.applied, "{}", server.name);
        let first = one.lifecycle(&LifecycleChoice { keep_days: 30, apply: true }).await.unwrap();
        assert_eq!((first.applied, first.others), (true, Some(0)), "{}", server.name);
        let own = rules(&server, &bucket).await.len();

        let all = BucketLifecycleConfiguration::builder().rules(foreign()).build().unwrap();
        let client = server.client();
        client.put_bucket_lifecycle_configuration().bucket(&bucket).lifecycle_configuration(all).send().await.unwrap();
        for (queue, keep_days, others) in [(&one, 30, 1), (&two, 60, 1 + own), (&one, 14, 1 + own)] {
            let applied = queue.lifecycle(&LifecycleChoice { keep_days, apply: true }).await.unwrap();
            assert_eq!(applied.others, Some(others), "{}", server.name);
        }
        let found = rules(&server, &bucket).await;
        assert_eq!(found.len(), 1 + 2 * own, "{}", server.name);
        let days = |id: &str| {
            let rule = found.iter().find(|rule| rule.id() == Some(id)).unwrap();
            rule.noncurrent_version_expiration().unwrap().noncurrent_days()
        };
        assert_eq!((days("buquet:one/:tasks"), days("buquet:two/:tasks")), (Some(14), Some(60)), "{}", server.name);
        let kept = found.iter().find(|rule| rule.id() == Some("logs")).unwrap();
        assert_eq!(kept.expiration().unwrap().days(), Some(7), "{}", server.name);
    }
}
