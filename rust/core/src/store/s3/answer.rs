//! What the SDK does not hand out, or not send, by itself: taken from and added to the raw HTTP messages.

use std::sync::{Arc, OnceLock};

use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_types::DateTime;
use aws_smithy_types::base64;
use aws_smithy_types::date_time::Format;
use md5::{Digest, Md5};

use crate::time::Timestamp;

/// Notes the server's time from the head of one answer, be it a success or an error.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    at: Arc<OnceLock<Timestamp>>,
}

impl Head {
    /// The server's time, once an answer has come.
    pub(super) fn at(&self) -> Option<Timestamp> {
        self.at.get().copied()
    }
}

impl Intercept for Head {
    fn name(&self) -> &'static str {
        "Head"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response().headers();
        let time = |name| headers.get(name).and_then(parse_http_date);
        if let Some(at) = time("date").or_else(|| time("last-modified")) {
            // The first stays: there is one answer to a request.
            self.at.get_or_init(|| at);
        }
        Ok(())
    }
}

fn parse_http_date(text: &str) -> Option<Timestamp> {
    DateTime::from_str(text, Format::HttpDate).ok()?.to_millis().ok().map(Timestamp)
}

/// Adds the `Content-MD5` that older servers demand of a deletion of many keys; the SDK sends a newer checksum only.
#[derive(Debug)]
pub(super) struct ContentMd5;

impl Intercept for ContentMd5 {
    fn name(&self) -> &'static str {
        "ContentMd5"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        if let Some(digest) = request.body().bytes().map(Md5::digest) {
            request.headers_mut().insert("content-md5", base64::encode(digest));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_header_is_read_to_the_second() {
        assert_eq!(parse_http_date("Mon, 23 Nov 2026 22:32:55 GMT"), Some(Timestamp(1_795_473_175_000)));
        assert_eq!(parse_http_date("yesterday"), None);
    }
}
