//! Durations in requests: a number of seconds, or text such as `"5m"`.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};

use crate::limits;

/// A duration from 0 to 366 days, as a caller wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Span {
    /// In milliseconds; what is shorter than one and not zero counts as one.
    #[must_use]
    pub fn millis(self) -> u64 {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if millis == 0 && !self.0.is_zero() { 1 } else { millis }
    }
}

struct SpanVisitor;

impl Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration: a number of seconds, or text such as \"5m\", \"1h30m\" or \"250ms\"")
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Span, E> {
        within(Some(Duration::from_secs(seconds)), &seconds)
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Span, E> {
        within(u64::try_from(seconds).ok().map(Duration::from_secs), &seconds)
    }

    fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Span, E> {
        within(Duration::try_from_secs_f64(seconds).ok(), &seconds)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
        let duration =
            Some(text).filter(|text| has_known_units(text)).and_then(|text| humantime::parse_duration(text).ok());
        let duration = duration.ok_or_else(|| {
            E::custom(format!(
                "{text:?} is not a duration: write \"250ms\", \"30s\", \"5m\", \"1h30m\" or \"2d\", or a number of seconds"
            ))
        })?;
        within(Some(duration), &text)
    }
}

/// Numbers, each with a unit of `ms s m h d`: others would surprise somebody, as `M` for months does.
fn has_known_units(text: &str) -> bool {
    let mut units = text.split(|c: char| c.is_ascii_digit()).filter(|unit| !unit.is_empty());
    units.all(|unit| ["ms", "s", "m", "h", "d"].contains(&unit))
}

fn within<E: de::Error>(duration: Option<Duration>, given: &dyn fmt::Display) -> Result<Span, E> {
    duration
        .filter(|duration| *duration <= limits::LONGEST)
        .map(Span)
        .ok_or_else(|| E::custom(format!("{given} is not a duration from 0 to 366 days")))
}

impl<'de> de::Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpanVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_text_are_understood() {
        for (text, millis) in [("5", 5_000), ("0.25", 250), ("\"5m\"", 300_000), ("\"1h30m\"", 5_400_000), ("0", 0)] {
            assert_eq!(serde_json::from_str::<Span>(text).unwrap().millis(), millis, "{text}");
        }
        assert_eq!(serde_json::from_str::<Span>("1e-9").unwrap().millis(), 1);
    }

    #[test]
    fn what_is_negative_endless_or_no_duration_is_refused_with_its_value() {
        for text in [
            "-1",
            "-0.5",
            "1e300",
            "\"soon\"",
            "\"-5m\"",
            "\"5M\"",
            "\"1 month\"",
            "\"5min\"",
            "\"5\"",
            "\"\"",
            "40000000",
            "\"2000000000 years\"",
            "null",
            "[]",
        ] {
            assert!(serde_json::from_str::<Span>(text).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Span>("-1").unwrap_err().to_string().contains("-1"));
    }
}
