//! From times of day to moments, in zones whose clocks are set forward and back.
//!
//! - A time that does not exist, because the clock is set forward over it, is taken at the moment the clock is set:
//!   02:30 fires at 03:00. Several such times, and one that falls on that moment anyway, are one slot. An expression
//!   that names no hours is about an interval: there such times are left out.
//! - A time that exists twice, because the clock is set back, is taken the first time. Where no hours are named, such
//!   as in `*/15 * * * *`, both count, so that no hour is left out.

use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use super::expression::Expression;
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// The most characters of a zone's name.
const CHARS: usize = 64;
/// No clock is as far from UTC, or set by as much.
const FARTHEST: TimeDelta = TimeDelta::hours(25);

/// Reads the name of a zone of the IANA database.
///
/// # Errors
/// [`Error::Invalid`] with the name and an example.
pub fn parse_zone(name: &str) -> Result<Tz> {
    let known = Some(name).filter(|name| name.len() <= CHARS).and_then(|name| name.parse().ok());
    known.ok_or_else(|| {
        let shown: String = name.chars().take(CHARS).collect();
        Error::Invalid(format!(
            "there is no time zone {shown:?}: give a name of the IANA database, such as \"Europe/Berlin\" or \"UTC\""
        ))
    })
}

/// The first slot after a moment.
pub fn next_slot(expression: &Expression, zone: Tz, after: Timestamp) -> Option<Timestamp> {
    let after = DateTime::<Utc>::from_timestamp_millis(after.0)?;
    let local = after.with_timezone(&zone).naive_local();
    let ahead = next_ahead(expression, zone, after, local);
    let repeated = expression.is_every_hour().then(|| next_repeated(expression, zone, after, local)).flatten();
    let next = [ahead, repeated].into_iter().flatten().min()?;
    Some(Timestamp(next.timestamp_millis())).filter(|next| *next <= Timestamp::LAST)
}

/// The first slot that the clock shows after `local`, if it goes on without being set back.
fn next_ahead(
    expression: &Expression,
    zone: Tz,
    after: DateTime<Utc>,
    mut local: NaiveDateTime,
) -> Option<DateTime<Utc>> {
    loop {
        local = expression.next_after(local)?;
        let moment = match zone.from_local_datetime(&local) {
            LocalResult::Single(moment) => moment.to_utc(),
            LocalResult::Ambiguous(first, second) => {
                if first > after || !expression.is_every_hour() {
                    first.to_utc()
                } else {
                    second.to_utc()
                }
            }
            LocalResult::None if expression.is_every_hour() => continue,
            LocalResult::None => end_of_gap(zone, local)?,
        };
        if moment > after {
            return Some(moment);
        }
    }
}

/// The first slot of the second pass, if `after` lies in the first pass of an hour that the clock shows twice.
fn next_repeated(
    expression: &Expression,
    zone: Tz,
    after: DateTime<Utc>,
    local: NaiveDateTime,
) -> Option<DateTime<Utc>> {
    let LocalResult::Ambiguous(first, second) = zone.from_local_datetime(&local) else { return None };
    if first.to_utc() != after {
        return None;
    }
    let mut repeated = local - (second - first);
    while repeated <= local {
        repeated = expression.next_after(repeated)?;
        if let LocalResult::Ambiguous(_, second) = zone.from_local_datetime(&repeated) {
            return Some(second.to_utc());
        }
    }
    None
}

/// The moment at which the clock is set forward over `local`.
fn end_of_gap(zone: Tz, local: NaiveDateTime) -> Option<DateTime<Utc>> {
    let offset = |moment: DateTime<Utc>| zone.offset_from_utc_datetime(&moment.naive_utc()).fix().local_minus_utc();
    let mut before = local.and_utc().checked_sub_signed(FARTHEST)?;
    let mut set = local.and_utc().checked_add_signed(FARTHEST)?;
    let is_past = |moment: DateTime<Utc>| moment.naive_utc() + TimeDelta::seconds(offset(moment).into()) > local;
    while set - before > TimeDelta::milliseconds(1) {
        let middle = before + (set - before) / 2;
        if is_past(middle) { set = middle } else { before = middle }
    }
    // A clock is set at a whole second.
    let seconds = (set.timestamp_millis() + 500).div_euclid(1_000);
    DateTime::from_timestamp(seconds, 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The slots of an expression after a moment, in the zone's own time.
    fn slots(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let (expression, zone) = (Expression::parse(expression).unwrap(), parse_zone(zone).unwrap());
        let mut now = Timestamp(DateTime::parse_from_rfc3339(after).unwrap().timestamp_millis());
        (0..count)
            .map(|_| {
                now = next_slot(&expression, zone, now).unwrap();
                let moment = DateTime::from_timestamp_millis(now.0).unwrap().with_timezone(&zone);
                moment.format("%d %H:%M%:z").to_string()
            })
            .collect()
    }

    #[test]
    fn the_time_of_day_stays_when_the_clock_is_set() {
        // Central European summer time ends on 25 October 2026 and begins on 28 March 2027.
        let found = slots("0 9 * * *", "Europe/Berlin", "2026-10-24T00:00:00Z", 3);
        assert_eq!(found, ["24 09:00+02:00", "25 09:00+01:00", "26 09:00+01:00"]);
    }

    #[test]
    fn a_time_that_does_not_exist_is_taken_when_the_clock_is_set() {
        let found = slots("30 2 * * *", "Europe/Berlin", "2027-03-26T12:00:00Z", 3);
        assert_eq!(found, ["27 02:30+01:00", "28 03:00+02:00", "29 02:30+02:00"]);
    }

    #[test]
    fn times_that_do_not_exist_and_the_one_after_them_are_one_slot() {
        let found = slots("*/20 * * * *", "Europe/Berlin", "2027-03-28T00:30:00Z", 4);
        assert_eq!(found, ["28 01:40+01:00", "28 03:00+02:00", "28 03:20+02:00", "28 03:40+02:00"]);
        let found = slots("30 * * * *", "Europe/Berlin", "2027-03-28T00:00:00Z", 2);
        assert_eq!(found, ["28 01:30+01:00", "28 03:30+02:00"], "an hour apart");
        let found = slots("10,40 2,3 * * *", "America/New_York", "2027-03-14T06:00:00Z", 3);
        assert_eq!(found, ["14 03:00-04:00", "14 03:10-04:00", "14 03:40-04:00"]);
    }

    #[test]
    fn a_time_that_exists_twice_is_taken_the_first_time() {
        let found = slots("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert_eq!(found, ["25 02:30+02:00", "26 02:30+01:00"]);
        let found = slots("0,30 1,2 * * sun", "America/New_York", "2026-11-01T04:00:00Z", 4);
        assert_eq!(found, ["01 01:00-04:00", "01 01:30-04:00", "01 02:00-05:00", "01 02:30-05:00"]);
    }

    #[test]
    fn an_interval_goes_on_through_an_hour_that_comes_twice() {
        let found = slots("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:45:00Z", 6);
        assert_eq!(
            found,
            [
                "25 02:00+02:00",
                "25 02:30+02:00",
                "25 02:00+01:00",
                "25 02:30+01:00",
                "25 03:00+01:00",
                "25 03:30+01:00"
            ]
        );
        let found = slots("45 * * * *", "Europe/Berlin", "2026-10-25T00:50:00Z", 2);
        assert_eq!(found, ["25 02:45+01:00", "25 03:45+01:00"], "from the first pass into the second");
    }

    #[test]
    fn zones_with_odd_rules_are_known() {
        // Lord Howe's clocks are set by half an hour.
        let found = slots("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", 2);
        assert_eq!(found, ["04 02:30+11:00", "05 02:15+11:00"]);
        // Samoa left out 30 December 2011.
        let found = slots("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", 3);
        assert_eq!(found, ["29 12:00-10:00", "31 00:00+14:00", "31 12:00+14:00"]);
    }

    #[test]
    fn a_zone_that_there_is_not_is_named() {
        for bad in ["Berlin", "", "CEST+1", "../etc", &"x".repeat(100)] {
            let message = parse_zone(bad).unwrap_err().to_string();
            assert!(message.contains("Europe/Berlin"), "{message}");
        }
        assert!(parse_zone("UTC").is_ok() && parse_zone("Asia/Kolkata").is_ok());
    }

    #[test]
    fn an_expression_without_times_has_no_slots() {
        let expression = Expression::parse("0 0 31 2 *").unwrap();
        assert_eq!(next_slot(&expression, parse_zone("Europe/Berlin").unwrap(), Timestamp(0)), None);
    }

    proptest! {
        /// Every slot is a time of the expression by the zone's clock, or the end of a gap; none is left out.
        #[test]
        fn slots_are_the_minutes_whose_local_time_fits(
            start in 946_684_800_i64..2_500_000_000,
            zone in prop::sample::select(vec![
                "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Africa/Casablanca", "UTC",
                "Asia/Tehran", "America/St_Johns", "Pacific/Apia",
            ]),
            minutes in prop::sample::select(vec!["*/15", "7", "0,30", "59"]),
        ) {
            use chrono::Timelike;
            let tz = parse_zone(zone).unwrap();
            let expression = Expression::parse(&format!("{minutes} * * * *")).unwrap();
            let field = Expression::parse(&format!("{minutes} 0 * * *")).unwrap();
            let fits = |moment: DateTime<Tz>| {
                let local = moment.naive_local();
                let at = |minute| local.date().and_hms_opt(0, minute, 0).unwrap();
                let before = at(local.minute()) - TimeDelta::minutes(1);
                local.second() == 0 && field.next_after(before) == Some(at(local.minute()))
            };
            let (mut slot, end) = (Timestamp(start / 60 * 60_000), start / 60 * 60_000 + 2 * 86_400_000);
            let mut found = Vec::new();
            while let Some(next) = next_slot(&expression, tz, slot) {
                prop_assert!(next > slot, "{next} after {slot}");
                slot = next;
                if slot.0 > end { break }
                found.push(slot.0);
            }
            let moment = |ms: i64| DateTime::from_timestamp_millis(ms).unwrap().with_timezone(&tz);
            let fitting: Vec<i64> = (start / 60 * 60_000 + 60_000..=end).step_by(60_000).filter(|ms| fits(moment(*ms))).collect();
            for ms in &fitting {
                prop_assert!(found.contains(ms), "{} is left out in {zone}", moment(*ms));
            }
            for ms in found.iter().filter(|ms| !fitting.contains(ms)) {
                let jumped = moment(*ms).offset().fix() != moment(*ms - 1_000).offset().fix();
                prop_assert!(jumped, "{} does not fit in {zone}", moment(*ms));
            }
        }
    }
}
