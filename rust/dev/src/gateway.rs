//! What every request passes: faults on its way in, the server's time on its way out.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use buquet_core::store::hosted::Hosted;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, DATE, HeaderValue};
use hyper::service::Service;
use hyper::{Request, Response, StatusCode};
use s3s::service::S3Service;
use s3s::{Body, StdError};
use tokio::time::sleep;

use crate::faults::{Fate, Faults};

const SLOW_DOWN: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>SlowDown</Code>\
    <Message>Please reduce your request rate: this server was asked to answer so now and then.</Message></Error>";

/// The way to the service.
#[derive(Clone)]
pub struct Gateway(Arc<Way>);

struct Way {
    service: S3Service,
    store: Arc<dyn Hosted>,
    faults: Faults,
}

/// The request gets no answer: its connection breaks.
#[derive(Clone, Copy, Debug)]
pub struct NoAnswer;

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection breaks without an answer")
    }
}

impl std::error::Error for NoAnswer {}

impl Gateway {
    /// A way to `service`, whose clock is that of `store`.
    pub fn new(service: S3Service, store: Arc<dyn Hosted>, faults: Faults) -> Self {
        Self(Arc::new(Way { service, store, faults }))
    }
}

impl Way {
    async fn serve(&self, request: Request<Incoming>) -> Result<Response<Body>, NoAnswer> {
        if !self.faults.latency.is_zero() {
            sleep(self.faults.latency).await;
        }
        let fate = self.faults.draw();
        let mut response = if fate == Fate::Throttled {
            slow_down(request).await?
        } else {
            self.service.call(request.map(Body::from)).await.map_err(|error| {
                tracing::warn!(error = %StdError::from(error), "a request could not be answered");
                NoAnswer
            })?
        };
        if fate == Fate::Lost {
            return Err(NoAnswer);
        }
        if response.status() == StatusCode::NOT_MODIFIED {
            *response.body_mut() = Body::empty();
        }
        // The store's clock, not the machine's: clients compare it with the times of objects.
        if let Some(date) = self.date() {
            response.headers_mut().insert(DATE, date);
        }
        Ok(response)
    }

    fn date(&self) -> Option<HeaderValue> {
        let since_epoch = Duration::from_millis(u64::try_from(self.store.now().0).ok()?);
        HeaderValue::try_from(httpdate::fmt_http_date(UNIX_EPOCH + since_epoch)).ok()
    }
}

/// Takes the whole request, so that the connection stays of use, and refuses it.
async fn slow_down(request: Request<Incoming>) -> Result<Response<Body>, NoAnswer> {
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        frame.map_err(|_| NoAnswer)?;
    }
    let mut response = Response::new(Body::from(SLOW_DOWN.to_owned()));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    Ok(response)
}

impl Service<Request<Incoming>> for Gateway {
    type Response = Response<Body>;
    type Error = NoAnswer;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let way = Arc::clone(&self.0);
        Box::pin(async move { way.serve(request).await })
    }
}
