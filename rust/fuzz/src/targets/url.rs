//! Input: the text of a URL.

use std::path::Path;

use buquet_core::config::{EngineConfig, Target};

use super::resolved;

const SECRET: &str = "hunter2hunter2";

/// A URL names a store or is refused; what names one is spelt so that it names it again; credentials are not repeated.
pub fn run(input: &[u8]) {
    let url = &*String::from_utf8_lossy(input);
    if let Ok(Target::S3 { bucket, prefix, region, endpoint }) = target(url) {
        let plain = EngineConfig {
            url: Some(format!("s3://{bucket}/{}", encoded(&prefix))),
            region: region.clone(),
            endpoint: endpoint.clone(),
            ..EngineConfig::default()
        };
        let again = named(&plain).unwrap_or_else(|message| panic!("{url:?}: {message}"));
        assert_eq!(again, Target::S3 { bucket, prefix, region, endpoint }, "{url:?}");
    }
    let _ =
        named(&EngineConfig { url: Some("s3://bucket".into()), endpoint: Some(url.into()), ..EngineConfig::default() });
    let _ =
        named(&EngineConfig { url: Some("s3://bucket".into()), region: Some(url.into()), ..EngineConfig::default() });

    // What holds a slash is a path, and what names a parameter is a parameter, whatever was meant.
    let user: String = url.chars().filter(|letter| !"/\\=".contains(*letter)).take(20).collect();
    for scheme in ["s3", "https", "S3"] {
        let leaky = format!("{scheme}://{user}{SECRET}@{url}");
        if let Err(message) = target(&leaky) {
            assert!(!message.contains(SECRET), "{leaky:?} is repeated: {message}");
        }
        let with_endpoint =
            EngineConfig { url: Some("s3://bucket".into()), endpoint: Some(leaky.clone()), ..EngineConfig::default() };
        if let Err(message) = named(&with_endpoint) {
            assert!(!message.contains(SECRET), "{leaky:?} is repeated: {message}");
        }
    }
}

fn target(url: &str) -> Result<Target, String> {
    named(&EngineConfig { url: Some(url.to_owned()), ..EngineConfig::default() })
}

fn named(config: &EngineConfig) -> Result<Target, String> {
    resolved(config, &|name| (name == "HOME").then(|| "/home/somebody".to_owned()), Path::new("/srv"))
        .map(|resolved| resolved.target)
}

/// A prefix as it is written in a URL.
fn encoded(prefix: &str) -> String {
    let encode = |byte: u8| match byte {
        b'/' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    prefix.bytes().map(encode).collect()
}
