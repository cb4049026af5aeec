//! The engine's operations on servers: `dev_server.start` and `dev_server.stop`.

use std::collections::BTreeMap;
use std::env;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use buquet_core::config::{EngineConfig, resolve};
use buquet_core::entropy::Entropy;
use buquet_core::ops::{Extension, answer, parse, unknown};
use buquet_core::store::hosted::Hosted;
use buquet_core::store::open::open_hosted;
use buquet_core::store::{Condition, Got};
use buquet_core::{Error, Result};
use bytes::Bytes;
use rand::TryRngCore;
use rand::rngs::OsRng;
use s3s::auth::SimpleAuth;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::S3ServiceBuilder;
use serde::{Deserialize, Serialize};

use crate::buckets::Buckets;
use crate::faults::{Faults, Plan};
use crate::gateway::Gateway;
use crate::names;
use crate::objects::hex;
use crate::server::{Server, listen};
use crate::service::Service;

const DEFAULT_STORE: &str = "sqlite:.buquet/dev.db";
const DEFAULT_ACCESS_KEY: &str = "buquet-dev";

/// What clients are to call the region; the server takes any.
const REGION: &str = "us-east-1";

/// The servers that run in one engine.
#[derive(Debug)]
pub struct DevServers {
    entropy: Entropy,
    running: Mutex<BTreeMap<String, Server>>,
}

impl Default for DevServers {
    fn default() -> Self {
        Self { entropy: Entropy::from_os(), running: Mutex::default() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Start {
    store: String,
    host: String,
    port: u16,
    allow_remote: bool,
    bucket: String,
    access_key: String,
    secret_key: Option<String>,
    faults: Plan,
}

impl Default for Start {
    fn default() -> Self {
        Self {
            store: DEFAULT_STORE.to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 0,
            allow_remote: false,
            bucket: "dev".to_owned(),
            access_key: DEFAULT_ACCESS_KEY.to_owned(),
            secret_key: None,
            faults: Plan::default(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Started {
    server: String,
    endpoint: String,
    store: String,
    region: &'static str,
    bucket: String,
    access_key: String,
    secret_key: String,
    url: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stop {
    server: String,
}

#[derive(Debug, Serialize)]
struct Stopped {}

#[async_trait]
impl Extension for DevServers {
    fn prefix(&self) -> &'static str {
        "dev_server."
    }

    async fn call(&self, op: &str, request: &[u8]) -> Result<String> {
        match op {
            "dev_server.start" => answer(&self.start(parse(op, request)?).await?),
            "dev_server.stop" => answer(&self.stop(parse(op, request)?).await?),
            other => Err(unknown(other)),
        }
    }

    async fn shutdown(&self) {
        let running = std::mem::take(&mut *self.running());
        futures::future::join_all(running.into_values().map(Server::stop)).await;
    }
}

impl DevServers {
    async fn start(&self, request: Start) -> Result<Started> {
        let faults = Faults::new(&request.faults)?;
        for (name, value) in [("access_key", Some(&request.access_key)), ("secret_key", request.secret_key.as_ref())] {
            check_key(name, value.map_or("-", String::as_str))?;
        }
        let store = open(&request.store)?;
        // Before the store is touched: a second server on the same port must not have made a file.
        let (listener, address) = listen(&request.host, request.port, request.allow_remote).await?;
        store.prepare().await?;
        let secret_key = match request.secret_key {
            Some(secret) => secret,
            None => kept_secret(&*store).await?,
        };
        let buckets = Buckets::new(Arc::clone(&store));
        buckets.ensure(&request.bucket).await?;
        let mut service = S3ServiceBuilder::new(Service::new(buckets, self.entropy.clone()));
        let mut config = S3Config::default();
        config.post_object_max_file_size = 0; // forms are not served, and would be read before they are refused
        service.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        service.set_auth(SimpleAuth::from_single(request.access_key.clone(), secret_key.clone()));
        let gateway = Gateway::new(service.build(), Arc::clone(&store), faults);
        let server = format!("{:016x}", self.entropy.bits());
        self.running().insert(server.clone(), Server::start(listener, gateway));
        Ok(Started {
            server,
            endpoint: endpoint(address),
            store: store.url(),
            region: REGION,
            url: format!("s3://{}/queue?region={REGION}&endpoint={}", request.bucket, endpoint(address)),
            bucket: request.bucket,
            access_key: request.access_key,
            secret_key,
        })
    }

    async fn stop(&self, request: Stop) -> Result<Stopped> {
        let server = self.running().remove(&request.server);
        let Some(server) = server else {
            let shown: String = request.server.chars().take(64).collect();
            return Err(Error::NotFound(format!(
                "this engine runs no server {shown:?}: it was stopped, or never started"
            )));
        };
        server.stop().await;
        Ok(Stopped {})
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Server>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(url: &str) -> Result<Arc<dyn Hosted>> {
    let config = EngineConfig { url: Some(url.to_owned()), ..EngineConfig::default() };
    let folder = env::current_dir().unwrap_or_else(|_| Path::new(".").to_owned());
    open_hosted(&resolve(&config, &|name| env::var(name).ok(), &folder)?.target)
}

/// Where clients find the server; for one that listens everywhere, from this machine.
fn endpoint(address: SocketAddr) -> String {
    let mut shown = address;
    if address.ip().is_unspecified() {
        shown.set_ip(if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    format!("http://{shown}")
}

fn check_key(name: &str, value: &str) -> Result<()> {
    if !value.is_empty() && value.len() <= 128 && value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "{name} cannot be used: give 1 to 128 printable ASCII characters, no space and no slash"
    )))
}

/// The secret that this store's server had before, or a new one.
async fn kept_secret(store: &dyn Hosted) -> Result<String> {
    let mut random = [0_u8; 20];
    OsRng.try_fill_bytes(&mut random).map_err(|error| {
        Error::Unavailable(format!("the system gives no random numbers: {error}; name a secret_key"))
    })?;
    let fresh = hex(&random);
    // Of two servers that start at once on one store, both take what the first one wrote.
    store.put(names::SECRET, Bytes::from(fresh), &Condition::IfAbsent).await?;
    match store.get(names::SECRET, None).await?.value {
        Got::Found(object) => Ok(String::from_utf8_lossy(&object.body).into_owned()),
        Got::Missing | Got::NotModified => Err(Error::Internal("a secret just written cannot be read".to_owned())),
    }
}
