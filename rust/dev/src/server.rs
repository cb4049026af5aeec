//! The listening socket and the connections it accepts.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use buquet_core::{Error, Result};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::gateway::Gateway;

/// How long requests under way may go on once the server is told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// The pause after a connection could not be accepted, for want of descriptors for example.
const PAUSE: Duration = Duration::from_millis(50);

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Server {
    /// Serves connections from now on.
    pub fn start(listener: TcpListener, gateway: Gateway) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, serving: tokio::spawn(serve(listener, gateway, stopped)) }
    }

    /// Stops listening, answers the requests under way, and closes the connections.
    pub async fn stop(self) {
        // Nobody to tell means that it has ended, which is all that is wanted.
        let _ = self.stop.send(());
        let _ = self.serving.await;
    }
}

/// Listens, on loopback unless `allow_remote`.
pub async fn listen(host: &str, port: u16, allow_remote: bool) -> Result<(TcpListener, SocketAddr)> {
    let address: IpAddr = host.parse().map_err(|_| {
        Error::Invalid(format!("{host:?} is no IP address to listen on; 127.0.0.1 is this machine alone"))
    })?;
    if !address.is_loopback() && !allow_remote {
        return Err(Error::Invalid(format!(
            "{address} can be reached from other machines, and this server is for development only: listen on \
             127.0.0.1, or say allow_remote (--allow-remote) if they shall reach it"
        )));
    }
    let refused = |error: &io::Error| {
        let advice = "choose another port, or 0 for a free one";
        Error::Invalid(format!("cannot listen on {}: {error}; {advice}", SocketAddr::new(address, port)))
    };
    let listener = TcpListener::bind((address, port)).await.map_err(|error| refused(&error))?;
    let bound = listener.local_addr().map_err(|error| refused(&error))?;
    Ok((listener, bound))
}

async fn serve(listener: TcpListener, gateway: Gateway, mut stopped: oneshot::Receiver<()>) {
    let graceful = GracefulShutdown::new();
    // Dropped at the end, which breaks what is still open then.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = &mut stopped => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                // An answer is not to wait for more to send: without this, requests take 40 ms each.
                drop(stream.set_nodelay(true));
                connections.spawn(graceful.watch(connection(stream, gateway.clone())));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    if timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still under way when the server stopped");
    }
}

fn connection(stream: TcpStream, gateway: Gateway) -> http1::Connection<TokioIo<TcpStream>, Gateway> {
    // No limit on the time between requests: a client must not meet a connection that closes under it.
    http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(stream), gateway)
}
