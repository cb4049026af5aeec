//! Points in time, in whole milliseconds, written as RFC 3339 in JSON.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// 0001-01-01T00:00:00Z: RFC 3339 can write a year 0, but not every language can read one.
    pub const FIRST: Self = Self(-62_135_596_800_000);
    /// 9999-12-31T23:59:59.999Z, the last moment RFC 3339 can write.
    pub const LAST: Self = Self(253_402_300_799_999);

    /// The moment `duration` later, at most [`Self::LAST`].
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration))).min(Self::LAST)
    }

    /// The moment `duration` earlier, at least [`Self::FIRST`].
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration))).max(Self::FIRST)
    }

    /// How long from `earlier` to here; zero if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The minute this moment lies in, counted from the epoch: the time bucket of index keys.
    #[must_use]
    pub const fn minute(self) -> i64 {
        self.0.div_euclid(60_000)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = self.clamp(&Self::FIRST, &Self::LAST).0;
        let date = DateTime::<Utc>::from_timestamp_millis(written).unwrap_or_default();
        f.write_str(&date.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let refuse = |why: &str| de::Error::custom(format!("{text:?} is not an RFC 3339 time: {why}"));
        let date = DateTime::parse_from_rfc3339(&text).map_err(|error| refuse(&error.to_string()))?;
        let time = Self(date.timestamp_millis());
        // An offset can lead out of the years that can be written.
        if (Self::FIRST..=Self::LAST).contains(&time) {
            Ok(time)
        } else {
            Err(refuse("in UTC it is not in the years 1 to 9999"))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> serde_json::Result<Timestamp> {
        serde_json::from_str(&format!("\"{text}\""))
    }

    proptest! {
        #[test]
        fn whatever_is_written_can_be_read(millis in any::<i64>()) {
            let time = Timestamp(millis);
            prop_assert_eq!(read(&time.to_string()).unwrap(), time.clamp(Timestamp::FIRST, Timestamp::LAST));
        }

        #[test]
        fn every_time_survives_its_text(millis in Timestamp::FIRST.0..=Timestamp::LAST.0) {
            prop_assert_eq!(read(&Timestamp(millis).to_string()).unwrap(), Timestamp(millis));
        }
    }

    #[test]
    fn no_sum_leaves_what_can_be_written() {
        let forever = Duration::from_secs(u64::MAX);
        assert_eq!(Timestamp(0).after(forever), Timestamp::LAST);
        assert_eq!(Timestamp(0).before(forever), Timestamp::FIRST);
    }

    #[test]
    fn an_offset_is_taken_into_account_and_may_not_lead_out_of_range() {
        assert_eq!(read("1970-01-01T01:00:00+01:00").unwrap(), Timestamp(0));
        for bad in [
            "9999-12-31T23:59:59-01:00",
            "0001-01-01T00:00:00+01:00",
            "0000-12-31T23:59:59Z",
            "+10000-01-01T00:00:00Z",
            "",
            "1",
        ] {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.contains("is not an RFC 3339 time"), "{bad}: {error}");
        }
    }
}
