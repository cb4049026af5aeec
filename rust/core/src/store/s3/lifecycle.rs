//! The bucket's lifecycle rules: ours are put in, those of others stay.

use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule,
    LifecycleRuleFilter, NoncurrentVersionExpiration, TransitionDefaultMinimumObjectSize,
};

use super::answer::{ContentMd5, Head};
use super::{Expires, Expiry, S3Store, StoreError, StoreErrorKind, StoreResult};

/// The rules in the bucket, and what goes with them.
type Present = (Vec<LifecycleRule>, Option<TransitionDefaultMinimumObjectSize>);

impl S3Store {
    /// Replaces the rules that are named like one of ours; tells how many others there are.
    ///
    /// The whole configuration is written at once, and S3 has no condition for it: what somebody else changes in the
    /// same moment may be lost.
    pub(super) async fn replace_lifecycle(&self, rules: &[Expiry]) -> StoreResult<usize> {
        let what = "setting the bucket's lifecycle rules";
        let (present, smallest) = self.lifecycle().await?;
        let ours = |rule: &LifecycleRule| rules.iter().any(|own| rule.id() == Some(own.id.as_str()));
        let mut all: Vec<LifecycleRule> = present.into_iter().filter(|rule| !ours(rule)).collect();
        let others = all.len();
        for rule in rules {
            all.push(build(rule).map_err(|problem| self.senseless(what, &problem))?);
        }
        let configuration = BucketLifecycleConfiguration::builder().set_rules(Some(all)).build();
        let configuration = configuration.map_err(|error| self.senseless(what, &error.to_string()))?;
        let head = Head::default();
        let request = self.client().await?.put_bucket_lifecycle_configuration().bucket(&self.options.bucket);
        let request = request.lifecycle_configuration(configuration);
        let request = request.set_transition_default_minimum_object_size(smallest);
        let request = request.customize().interceptor(head.clone()).interceptor(ContentMd5);
        self.ask(what, async { request.send().await }).await.map_err(|refusal| self.explain(refusal.error))?;
        self.timed(what, &head, others)
    }

    async fn lifecycle(&self) -> Result<Present, StoreError> {
        let what = "reading the bucket's lifecycle rules";
        let request = self.client().await?.get_bucket_lifecycle_configuration().bucket(&self.options.bucket);
        match self.ask(what, async { request.send().await }).await {
            Ok(output) => {
                let smallest = output.transition_default_minimum_object_size().cloned();
                Ok((output.rules.unwrap_or_default(), smallest))
            }
            Err(refusal) if refusal.code == "NoSuchLifecycleConfiguration" => Ok((Vec::new(), None)),
            Err(refusal) if refusal.error.kind == StoreErrorKind::Unsupported => {
                let problem = "this server has no lifecycle rules; the queue works without them";
                Err(self.address.error(StoreErrorKind::Unsupported, what, problem))
            }
            Err(refusal) => Err(self.explain(refusal.error)),
        }
    }

    /// The permissions that a queue needs are not enough here.
    fn explain(&self, error: StoreError) -> StoreError {
        if error.kind != StoreErrorKind::Denied {
            return error;
        }
        let advice = format!(
            "; lifecycle rules also need s3:GetLifecycleConfiguration and s3:PutLifecycleConfiguration on {}",
            self.options.bucket
        );
        StoreError { message: error.message + &advice, ..error }
    }
}

fn build(rule: &Expiry) -> Result<LifecycleRule, String> {
    let days = |days: u32| i32::try_from(days).unwrap_or(i32::MAX);
    let filter = LifecycleRuleFilter::builder().prefix(&rule.prefix).build();
    let builder = LifecycleRule::builder().id(&rule.id).filter(filter).status(ExpirationStatus::Enabled);
    let builder = match rule.expires {
        Expires::OldVersions { days: old } => {
            let markers = LifecycleExpiration::builder().expired_object_delete_marker(true).build();
            let versions = NoncurrentVersionExpiration::builder().noncurrent_days(days(old)).build();
            builder.noncurrent_version_expiration(versions).expiration(markers)
        }
        Expires::Uploads { days: old } => {
            let uploads = AbortIncompleteMultipartUpload::builder().days_after_initiation(days(old)).build();
            builder.abort_incomplete_multipart_upload(uploads)
        }
    };
    builder.build().map_err(|error| error.to_string())
}
