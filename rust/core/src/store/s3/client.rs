//! Building the SDK's client: TLS, credentials, region, endpoint, timeouts.

use std::env;
use std::fs;
use std::path::Path;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_types::base64;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::super::{StoreError, StoreErrorKind};
use super::S3Options;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The region where the server is not AWS's and nobody named one: most take any.
const ANY_REGION: &str = "us-east-1";

/// A client for `options`. Reads the AWS configuration; asks nothing of the bucket.
pub(super) async fn connect(options: &S3Options) -> Result<Client, StoreError> {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(https_client()?)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(region) = &options.region {
        loader = loader.region(Region::new(region.clone()));
    } else if options.endpoint.is_some() {
        // Not the whole chain: it would ask EC2's metadata service, which is slow where there is none.
        let chain = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new());
        let chain = chain.or_else(ProfileFileRegionProvider::new()).or_else(Region::new(ANY_REGION));
        loader = loader.region(chain);
    }
    let shared = loader.load().await;
    if shared.region().is_none() {
        let bucket = &options.bucket;
        let message = format!(
            "no region is known for bucket {bucket:?}; set AWS_REGION (or BUQUET_REGION), or add ?region=... to the URL"
        );
        return Err(StoreError::new(StoreErrorKind::Invalid, message));
    }
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build();
    // Servers other than AWS's seldom have a host name for each bucket.
    let path_style = options.endpoint.is_some() || shared.endpoint_url().is_some();
    let mut config = aws_sdk_s3::config::Builder::from(&shared)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .force_path_style(path_style);
    if let Some(endpoint) = &options.endpoint {
        config = config.endpoint_url(endpoint);
    }
    Ok(Client::from_conf(config.build()))
}

/// An HTTP and HTTPS client that trusts the system's certificates (or those in `SSL_CERT_FILE` and `SSL_CERT_DIR`
/// instead) and those in `AWS_CA_BUNDLE` as well.
fn https_client() -> Result<SharedHttpClient, StoreError> {
    let mut trusted = TrustStore::default();
    if let Some(path) = env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()) {
        trusted.add_pem_certificate(read_bundle(Path::new(&path))?);
    }
    let context = TlsContext::builder().with_trust_store(trusted).build();
    let context = context.map_err(|error| StoreError::new(StoreErrorKind::Invalid, format!("TLS: {error}")))?;
    Ok(Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(context).build_https())
}

/// The usable certificates in a PEM file, as PEM again: the client panics on any that is not usable.
fn read_bundle(path: &Path) -> Result<Vec<u8>, StoreError> {
    let refused = |problem: &str| {
        let message = format!("AWS_CA_BUNDLE={}: {problem}; name a PEM file of certificates", path.display());
        StoreError::new(StoreErrorKind::Invalid, message)
    };
    let text = fs::read(path).map_err(|error| refused(&error.to_string()))?;
    let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| refused(&error.to_string()))?;
    let usable = |certificate: &&CertificateDer<'_>| RootCertStore::empty().add((*certificate).clone()).is_ok();
    let pem: String = certificates.iter().filter(usable).map(to_pem).collect();
    if pem.is_empty() { Err(refused("it holds no usable certificate")) } else { Ok(pem.into_bytes()) }
}

fn to_pem(certificate: &CertificateDer<'_>) -> String {
    let body = base64::encode(certificate);
    let lines = (0..body.len()).step_by(64).filter_map(|start| body.get(start..body.len().min(start + 64)));
    let lines: Vec<&str> = lines.collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
