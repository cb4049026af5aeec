//! The operations that start and stop servers.

use std::net::SocketAddr;
use std::time::Duration;

use buquet_core::Error;
use buquet_core::ops::{Engine, Extension};
use buquet_dev::DevServers;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

async fn start(servers: &DevServers, request: Value) -> Result<Value, Error> {
    let answer = servers.call("dev_server.start", request.to_string().as_bytes()).await?;
    Ok(serde_json::from_str(&answer).unwrap())
}

fn address(started: &Value) -> SocketAddr {
    started["endpoint"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_server_listens_until_it_is_stopped() {
    let servers = DevServers::default();
    let started = start(&servers, json!({"store": "memory:"})).await.unwrap();
    let idle = TcpStream::connect(address(&started)).await.unwrap();
    let stop = json!({"server": started["server"]}).to_string();
    // An idle connection does not hold it up.
    timeout(Duration::from_secs(30), servers.call("dev_server.stop", stop.as_bytes())).await.unwrap().unwrap();
    drop(idle);
    assert!(TcpStream::connect(address(&started)).await.is_err());
    let again = servers.call("dev_server.stop", stop.as_bytes()).await;
    assert!(matches!(again, Err(Error::NotFound(_))), "{again:?}");
}

#[tokio::test]
async fn closing_the_engine_stops_its_servers() {
    let engine = Engine::new(br#"{"url": "memory:"}"#).unwrap().with(DevServers::default());
    let started = engine.call("dev_server.start", br#"{"store": "memory:"}"#).await.unwrap();
    let started: Value = serde_json::from_str(&started).unwrap();
    drop(TcpStream::connect(address(&started)).await.unwrap());
    engine.shutdown().await;
    assert!(TcpStream::connect(address(&started)).await.is_err());
    let closed = engine.call("dev_server.start", br#"{"store": "memory:"}"#).await;
    assert!(matches!(closed, Err(Error::Closed(_))), "{closed:?}");
}

#[tokio::test]
async fn what_cannot_be_served_is_refused() {
    let servers = DevServers::default();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    for (request, said) in [
        (json!({"store": "memory:", "host": "0.0.0.0"}), "allow_remote"),
        (json!({"store": "memory:", "host": "::"}), "allow_remote"),
        (json!({"store": "memory:", "host": "here"}), "127.0.0.1"),
        (json!({"store": "memory:", "port": port}), "another port"),
        (json!({"store": "memory:", "bucket": "B"}), "small letters"),
        (json!({"store": "memory:", "access_key": ""}), "access_key"),
        (json!({"store": "memory:", "secret_key": "a b"}), "secret_key"),
        (json!({"store": "memory:", "faults": {"error_503": 2}}), "error_503"),
        (json!({"store": "memory:", "sneed": 1}), "sneed"),
    ] {
        let error = start(&servers, request.clone()).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)) && error.to_string().contains(said), "{request}: {error}");
    }
    let error = start(&servers, json!({"store": "s3://bucket"})).await.unwrap_err();
    assert!(matches!(error, Error::Config(_)), "{error}");
    assert!(matches!(servers.call("dev_server.pause", b"{}").await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn a_secret_that_was_made_is_kept_with_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let request = || json!({"store": format!("sqlite:{}/dev.db", folder.path().display())});
    let servers = DevServers::default();
    let first = start(&servers, request()).await.unwrap();
    servers.shutdown().await;
    let second = start(&servers, request()).await.unwrap();
    servers.shutdown().await;
    assert_eq!(first["secret_key"], second["secret_key"]);
    let other = start(&servers, json!({"store": "memory:"})).await.unwrap();
    assert!(other["secret_key"] != first["secret_key"]);
    servers.shutdown().await;
}
