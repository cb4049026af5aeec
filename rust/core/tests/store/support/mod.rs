//! S3 servers for the tests, named by `BUQUET_TEST_S3`; small servers in the test itself; a known environment.

pub mod http;

use std::env;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use buquet_core::store::s3::{S3Options, S3Store};

const HOW: &str = "BUQUET_TEST_S3 says which S3 servers to test: a list such as ministack=http://127.0.0.1:4566, or \
    none. To start MiniStack and LocalStack and test on them:\n\
    python -m tests.support.servers -- cargo nextest run --release -p buquet-core";

/// Says that this process has the environment which the test asked for.
const INNER: &str = "BUQUET_TEST_INNER";

/// What the AWS SDK needs to sign requests, and nothing else.
pub const CREDENTIALS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIDTEST"), ("AWS_SECRET_ACCESS_KEY", "hunter2")];

/// Runs the test named `test` again in a process with exactly these variables, since a process cannot safely change
/// its own. True inside; false outside, once the inner one has passed.
pub fn in_environment(test: &str, variables: &[(&str, &str)]) -> bool {
    if env::var_os(INNER).is_some() {
        return true;
    }
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]).env_clear().env(INNER, "1").envs(variables.iter().copied());
    let output = command.output().unwrap();
    let words = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success() && words[0].contains("1 passed"), "{}", words.join("\n"));
    false
}

/// A server to test on.
#[derive(Clone, Debug)]
pub struct Server {
    pub name: String,
    pub endpoint: String,
}

/// The servers to test on; empty if it was said that there are none.
pub fn servers() -> Vec<Server> {
    let text = env::var("BUQUET_TEST_S3").unwrap_or_else(|_| panic!("{HOW}"));
    if text == "none" {
        println!("not run: BUQUET_TEST_S3=none");
        return Vec::new();
    }
    let key = env::var("AWS_ACCESS_KEY_ID").is_ok_and(|key| !key.is_empty());
    assert!(key, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set: `test` and `test` will do");
    let server = |entry: &str| {
        let (name, endpoint) = entry.split_once('=').unwrap_or_else(|| panic!("{entry:?} has no name. {HOW}"));
        Server { name: name.to_owned(), endpoint: endpoint.to_owned() }
    };
    let servers: Vec<Server> = text.split(',').filter(|entry| !entry.is_empty()).map(server).collect();
    assert!(!servers.is_empty(), "BUQUET_TEST_S3 is empty. {HOW}");
    servers
}

impl Server {
    /// A bucket of the caller's own that keeps versions.
    pub async fn new_bucket(&self) -> String {
        let (client, bucket) = (self.client(), fresh_name());
        client.create_bucket().bucket(&bucket).send().await.unwrap();
        let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        for tries_left in (0..5).rev() {
            let ask = client.put_bucket_versioning().bucket(&bucket).versioning_configuration(enabled.clone());
            match ask.send().await {
                Ok(_) => break,
                // LocalStack now and then reads an empty body while many requests come in together.
                Err(error) => assert!(tries_left > 0, "{error:?}"),
            }
        }
        bucket
    }

    /// A bucket of the caller's own that keeps no versions.
    pub async fn new_plain_bucket(&self) -> String {
        let bucket = fresh_name();
        self.client().create_bucket().bucket(&bucket).send().await.unwrap();
        bucket
    }

    /// The store in `bucket`, with every key under `prefix`.
    pub fn store(&self, bucket: &str, prefix: &str) -> S3Store {
        S3Store::new(self.options(bucket, prefix))
    }

    pub fn options(&self, bucket: &str, prefix: &str) -> S3Options {
        S3Options {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            region: Some("us-east-1".to_owned()),
            endpoint: Some(self.endpoint.clone()),
        }
    }

    /// The SDK's client, for what a store cannot do.
    pub fn client(&self) -> Client {
        let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
            .region(Region::new("us-east-1"))
            .endpoint_url(&self.endpoint)
            .force_path_style(true);
        Client::from_conf(config.build())
    }
}

/// The name of a bucket that no other test uses, in this run or another.
fn fresh_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    #[expect(clippy::disallowed_methods, reason = "only to make the name unlike those of other runs")]
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    format!("buquet-{}-{nanos}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
