//! The smallest IAM policy that a queue needs.

use serde_json::{Value, json};

/// The bucket in an address such as `s3://bucket/prefix`.
pub(super) fn bucket_of(url: &str) -> &str {
    url.strip_prefix("s3://").unwrap_or(url).split('/').next().unwrap_or_default()
}

/// The policy for the queue at `url`; `None` where there is no IAM.
#[must_use]
pub fn policy(url: &str) -> Option<Value> {
    let path = url.strip_prefix("s3://")?;
    let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
    let inside = if prefix.is_empty() { "*".to_owned() } else { format!("{prefix}/*") };
    let mut list = json!({
        "Effect": "Allow",
        "Action": ["s3:ListBucket", "s3:ListBucketVersions"],
        "Resource": format!("arn:aws:s3:::{bucket}"),
    });
    if !prefix.is_empty() {
        list["Condition"] = json!({"StringLike": {"s3:prefix": inside}});
    }
    Some(json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:DeleteObject"],
                "Resource": format!("arn:aws:s3:::{bucket}/{inside}"),
            },
            list,
            {
                "Effect": "Allow",
                "Action": ["s3:GetBucketVersioning"],
                "Resource": format!("arn:aws:s3:::{bucket}"),
            },
        ],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_for_this_prefix_and_no_other() {
        let text = policy("s3://my-bucket/jobs").unwrap().to_string();
        assert!(text.contains("arn:aws:s3:::my-bucket/jobs/*") && text.contains("\"jobs/*\""), "{text}");
        assert!(policy("s3://my-bucket").unwrap().to_string().contains("arn:aws:s3:::my-bucket/*"));
        assert_eq!(policy("sqlite:jobs.db"), None);
        assert_eq!(bucket_of("s3://my-bucket/jobs"), "my-bucket");
    }
}
