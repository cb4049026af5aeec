//! Counting requests and what they cost.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::store::{Got, Page, Put, StoreError, StoreErrorKind, VersionPage};

/// Dollars for a PUT or LIST, S3 Standard in us-east-1 (<https://aws.amazon.com/s3/pricing/>).
const DOLLARS_PER_WRITE: f64 = 5.0 / 1_000_000.0;
/// Dollars for a GET.
const DOLLARS_PER_READ: f64 = 0.4 / 1_000_000.0;

/// A kind of request, as S3 bills it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// GET of an object, also one answered 304.
    Get,
    /// PUT of an object, also one refused by its condition.
    Put,
    /// LIST of keys or versions.
    List,
    /// DELETE of one or many objects: free.
    Delete,
}

/// What an answer tells beyond its request.
pub trait Measured {
    /// Bytes of body received.
    fn bytes(&self) -> usize {
        0
    }
    /// Whether it is "not modified".
    fn not_modified(&self) -> bool {
        false
    }
    /// Whether it is a refused condition.
    fn refused(&self) -> bool {
        false
    }
}

impl Measured for Got {
    fn bytes(&self) -> usize {
        if let Self::Found(object) = self { object.body.len() } else { 0 }
    }
    fn not_modified(&self) -> bool {
        matches!(self, Self::NotModified)
    }
}
impl Measured for Put {
    fn refused(&self) -> bool {
        matches!(self, Self::Refused)
    }
}
impl Measured for Page {}
impl Measured for VersionPage {}
impl Measured for () {}
impl Measured for bool {}

#[derive(Debug, Default)]
pub struct Counters {
    put: AtomicU64,
    get: AtomicU64,
    not_modified: AtomicU64,
    list: AtomicU64,
    delete: AtomicU64,
    retries: AtomicU64,
    conflicts: AtomicU64,
    errors: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

fn add(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(u64::try_from(amount).unwrap_or(u64::MAX), Ordering::Relaxed);
}

impl Counters {
    pub fn count<T: Measured>(&self, request: Request, answer: Result<&T, &StoreError>) {
        let counter = match request {
            Request::Get => &self.get,
            Request::Put => &self.put,
            Request::List => &self.list,
            Request::Delete => &self.delete,
        };
        add(counter, 1);
        match answer {
            Ok(answer) => {
                add(&self.received, answer.bytes());
                add(&self.not_modified, usize::from(answer.not_modified()));
                add(&self.conflicts, usize::from(answer.refused()));
            }
            Err(error) if error.kind == StoreErrorKind::Conflict => add(&self.conflicts, 1),
            Err(_) => add(&self.errors, 1),
        }
    }

    pub fn count_sent(&self, bytes: usize) {
        add(&self.sent, bytes);
    }

    pub fn count_retry(&self) {
        add(&self.retries, 1);
    }

    pub fn snapshot(&self) -> Usage {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let requests = Requests {
            put: read(&self.put),
            get: read(&self.get),
            not_modified: read(&self.not_modified),
            list: read(&self.list),
            delete: read(&self.delete),
        };
        Usage {
            requests,
            retries: read(&self.retries),
            conflicts: read(&self.conflicts),
            errors: read(&self.errors),
            bytes_sent: read(&self.sent),
            bytes_received: read(&self.received),
            units: requests.units(),
            dollars: requests.dollars(),
        }
    }
}

/// Requests by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Requests {
    /// PUTs, refused ones included.
    pub put: u64,
    /// GETs, those answered "not modified" included.
    pub get: u64,
    /// GETs answered "not modified".
    pub not_modified: u64,
    /// LISTs of keys or versions.
    pub list: u64,
    /// DELETEs of one or many objects.
    pub delete: u64,
}

impl Requests {
    /// The price on S3 Standard, in dollars.
    #[must_use]
    pub fn dollars(&self) -> f64 {
        as_float(self.put + self.list).mul_add(DOLLARS_PER_WRITE, as_float(self.get) * DOLLARS_PER_READ)
    }

    /// The price in units of one PUT.
    #[must_use]
    pub fn units(&self) -> f64 {
        self.dollars() / DOLLARS_PER_WRITE
    }
}

#[expect(clippy::cast_precision_loss, reason = "a price needs no more than 52 bits of a count")]
const fn as_float(count: u64) -> f64 {
    count as f64
}

/// What has been asked of the store since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Requests by kind; retries count as requests.
    pub requests: Requests,
    /// Requests sent again after a transient error.
    pub retries: u64,
    /// Conditional writes refused, 412 and 409.
    pub conflicts: u64,
    /// Requests that failed: no answer, 5xx, denied.
    pub errors: u64,
    /// Bytes of bodies sent.
    pub bytes_sent: u64,
    /// Bytes of bodies received.
    pub bytes_received: u64,
    /// The price in units of one PUT.
    pub units: f64,
    /// The price on S3 Standard, in dollars.
    pub dollars: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_puts_cost_five_dollars_and_a_million_gets_forty_cents() {
        let dollars = |put, get| Requests { put, get, ..Requests::default() }.dollars();
        assert!((dollars(1_000_000, 0) - 5.0).abs() < 1e-9);
        assert!((dollars(0, 1_000_000) - 0.4).abs() < 1e-9);
    }

    #[test]
    fn answers_are_counted_by_what_they_were() {
        let counters = Counters::default();
        counters.count(Request::Get, Ok(&Got::NotModified));
        counters.count(Request::Put, Ok(&Put::Refused));
        let conflict = StoreError::new(StoreErrorKind::Conflict, "409");
        counters.count(Request::Put, Err::<&Put, _>(&conflict));
        let lost = StoreError::new(StoreErrorKind::Unavailable, "broken");
        counters.count(Request::Delete, Err::<&(), _>(&lost));
        let usage = counters.snapshot();
        assert_eq!(usage.requests, Requests { put: 2, get: 1, not_modified: 1, list: 0, delete: 1 });
        assert_eq!((usage.conflicts, usage.errors), (2, 1));
    }
}
