//! TLS: a server whose certificate is signed by an authority of one's own is trusted through `AWS_CA_BUNDLE`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::store::support::http::{Handler, response, serve};
use crate::store::support::{CREDENTIALS, in_environment};
use buquet_core::store::s3::{S3Options, S3Store};
use buquet_core::store::{Got, Store, StoreErrorKind};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// An authority, and a server's certificate signed by it, as PEM files in `folder`.
fn make_certificates(folder: &Path) {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    fs::write(folder.join("authority.pem"), authority.pem()).unwrap();
    fs::write(folder.join("server.pem"), server.pem()).unwrap();
    fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
}

fn acceptor(folder: &Path) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_file(folder.join("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn tls_store(folder: &Path) -> S3Store {
    let date = "Mon, 23 Nov 2026 22:32:55 GMT";
    let headers = [("date", date), ("etag", "\"abc\""), ("last-modified", date)];
    let found = response(200, &headers, "over TLS");
    let handler: Handler = Arc::new(move |_| {
        let found = found.clone();
        Box::pin(async move { found })
    });
    let port = serve(handler, Some(acceptor(folder))).await;
    let endpoint = Some(format!("https://127.0.0.1:{port}"));
    S3Store::new(S3Options { bucket: "my-bucket".into(), endpoint, ..S3Options::default() })
}

/// Runs the test with certificates in a folder of its own, named by `FOLDER`, and the given bundle in it.
fn with_certificates(test: &str, bundle: Option<&str>) -> bool {
    let folder = tempfile::tempdir().unwrap();
    make_certificates(folder.path());
    fs::write(folder.path().join("empty.pem"), "nothing here").unwrap();
    let bundle = bundle.map(|name| folder.path().join(name).to_string_lossy().into_owned());
    let place = folder.path().to_string_lossy().into_owned();
    let mut variables = CREDENTIALS.to_vec();
    variables.push(("FOLDER", &place));
    variables.extend(bundle.iter().map(|path| ("AWS_CA_BUNDLE", path.as_str())));
    in_environment(&format!("store::s3_tls::{test}"), &variables)
}

async fn store_inside() -> S3Store {
    tls_store(Path::new(&std::env::var("FOLDER").unwrap())).await
}

#[tokio::test]
async fn an_authority_in_the_bundle_is_trusted() {
    if with_certificates("an_authority_in_the_bundle_is_trusted", Some("authority.pem")) {
        let got = store_inside().await.get("x", None).await.unwrap().value;
        assert!(matches!(got, Got::Found(object) if object.body == "over TLS"));
    }
}

#[tokio::test]
async fn an_unknown_authority_is_refused_with_what_to_do() {
    if with_certificates("an_unknown_authority_is_refused_with_what_to_do", None) {
        let error = store_inside().await.get("x", None).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Invalid, "{error}");
        assert!(error.message.contains("AWS_CA_BUNDLE") && error.message.contains("certificate"), "{error}");
    }
}

#[tokio::test]
async fn a_bundle_without_certificates_is_refused() {
    if with_certificates("a_bundle_without_certificates_is_refused", Some("empty.pem")) {
        let error = store_inside().await.get("x", None).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Invalid, "{error}");
        assert!(error.message.contains("empty.pem: it holds no usable certificate"), "{error}");
    }
}

#[tokio::test]
async fn a_bundle_that_is_not_there_is_refused() {
    if with_certificates("a_bundle_that_is_not_there_is_refused", Some("missing.pem")) {
        let error = store_inside().await.get("x", None).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Invalid, "{error}");
        assert!(error.message.contains("missing.pem"), "{error}");
    }
}
