//! A small HTTP server in the test's process, plain or with TLS: scripted, or a proxy to a real one.

use std::fmt::Write;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Makes the raw answer to a request; an empty one breaks the connection.
pub type Handler = Arc<dyn Fn(Request) -> BoxFuture<'static, Vec<u8>> + Send + Sync>;

/// Serves every connection with `handler`, one request each, until the test ends; answers the port.
pub async fn serve(handler: Handler, tls: Option<TlsAcceptor>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (handler, tls) = (Arc::clone(&handler), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => answer(stream, handler).await,
                    // A client that does not trust us breaks off here.
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => answer(stream, handler).await,
                        Err(_) => Ok(()),
                    },
                }
            });
        }
    });
    port
}

/// A server that gives every request the same answer; and what it was asked.
pub async fn scripted(response: Vec<u8>) -> (String, Arc<Mutex<Vec<Request>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let handler: Handler = Arc::new(move |request| {
        seen.lock().unwrap().push(request);
        let response = response.clone();
        Box::pin(async move { response })
    });
    (format!("http://127.0.0.1:{}", serve(handler, None).await), asked)
}

/// A raw answer with the given headers.
pub fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
    if status != 304 {
        write!(head, "content-length: {}\r\n", body.len()).unwrap();
    }
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    format!("{head}\r\n{body}").into_bytes()
}

/// Sends `request` to the server at `address` as it is, and gives its raw answer.
pub async fn forward(address: &str, request: Request) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut head = format!("{}\r\nconnection: close\r\n", request.line);
    for (name, value) in request.headers.iter().filter(|(name, _)| name != "connection") {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    stream.write_all(&request.body).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    response
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, handler: Handler) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let mut request = Request { line, headers, body: bytes.split_off(head_end + 4) };
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while request.body.len() < length {
        if stream.read_buf(&mut request.body).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(&handler(request).await).await?;
    stream.shutdown().await
}
