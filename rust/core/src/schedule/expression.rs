//! Cron expressions as people write them: five fields, names, ranges, steps, and `@daily` and its kin.
//!
//! The `cron` crate walks the calendar. Its own notation differs from the usual one (seconds first, Sunday is 1, day
//! of month and day of week both have to fit), so the fields are read here and handed to it as plain numbers.

use std::collections::BTreeSet;
use std::str::FromStr;

use chrono::NaiveDateTime;
use cron::Schedule;

use crate::error::{Error, Result};

/// The most characters of an expression.
const CHARS: usize = 256;

/// The shorthands and what they stand for.
const SHORTHANDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// One of the five fields.
struct Field {
    what: &'static str,
    min: u8,
    max: u8,
    /// Names of values, the first for `min`.
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const DAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

const MINUTE: Field = Field { what: "minute", min: 0, max: 59, names: &[] };
const HOUR: Field = Field { what: "hour", min: 0, max: 23, names: &[] };
const DAY_OF_MONTH: Field = Field { what: "day of the month", min: 1, max: 31, names: &[] };
const MONTH: Field = Field { what: "month", min: 1, max: 12, names: &MONTHS };
/// Sunday is 0 and also 7.
const DAY_OF_WEEK: Field = Field { what: "day of the week", min: 0, max: 7, names: &DAYS };

/// A field as it was read.
struct Values {
    /// Written with a leading `*` or `?`: it sets no limit of its own.
    open: bool,
    numbers: BTreeSet<u8>,
}

/// A cron expression, ready to be asked for its times.
#[derive(Clone, Debug)]
pub struct Expression {
    /// A time fits if it fits one of them.
    calendars: Vec<Schedule>,
    every_hour: bool,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the field, what is wrong with it, and what may be written.
    pub fn parse(text: &str) -> Result<Self> {
        let shown: String = text.chars().take(64).collect();
        let refuse = |why: &str| {
            Error::Invalid(format!(
                "{shown:?} is no cron expression: {why}. Write five fields: minute, hour, day of the month, month, day \
                 of the week, such as \"0 9 * * mon-fri\", or @hourly, @daily, @weekly, @monthly, @yearly"
            ))
        };
        if text.len() > CHARS {
            return Err(refuse(&format!("it has more than {CHARS} characters")));
        }
        let lower = text.trim().to_ascii_lowercase();
        let long = SHORTHANDS.iter().find(|(short, _)| *short == lower).map_or(lower.as_str(), |(_, long)| *long);
        let fields: Vec<&str> = long.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(refuse(&format!("it has {} fields", fields.len())));
        };
        let read = |field: &Field, text: &str| field.read(text).map_err(|why| refuse(&why));
        let (minute, hour, month) = (read(&MINUTE, minute)?, read(&HOUR, hour)?, read(&MONTH, month)?);
        let (day, weekday) = (read(&DAY_OF_MONTH, day)?, read(&DAY_OF_WEEK, weekday)?);
        // 7 is Sunday as well; the crate counts from Sunday as 1.
        let weekdays = weekday.numbers.iter().map(|day| day % 7 + 1).collect();
        let (any_day, weekdays) = (write(&DAY_OF_MONTH, &day.numbers), write_numbers(&weekdays, 7));
        // Where both are limited a day fits if either does: so has cron always read it.
        let days = if day.open || weekday.open {
            vec![(any_day.as_str(), weekdays.as_str())]
        } else {
            vec![(any_day.as_str(), "*"), ("*", weekdays.as_str())]
        };
        let front = format!("0 {} {}", write(&MINUTE, &minute.numbers), write(&HOUR, &hour.numbers));
        let month = write(&MONTH, &month.numbers);
        let calendars = days
            .into_iter()
            .map(|(day, weekday)| Schedule::from_str(&format!("{front} {day} {month} {weekday}")))
            .collect::<std::result::Result<_, _>>()
            .map_err(|error| refuse(&error.to_string()))?;
        Ok(Self { calendars, every_hour: hour.numbers.len() == 24 })
    }

    /// The first time after `local` on a clock that is never set.
    #[must_use]
    pub fn next_after(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        let local = local.and_utc();
        self.calendars.iter().filter_map(|calendar| calendar.after(&local).next()).min().map(|next| next.naive_utc())
    }

    /// Whether it names no hours: then it is about an interval and not about a time of day.
    #[must_use]
    pub const fn is_every_hour(&self) -> bool {
        self.every_hour
    }
}

fn write(field: &Field, numbers: &BTreeSet<u8>) -> String {
    write_numbers(numbers, usize::from(field.max - field.min) + 1)
}

fn write_numbers(numbers: &BTreeSet<u8>, all: usize) -> String {
    if numbers.len() == all {
        return "*".to_owned();
    }
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

impl Field {
    fn read(&self, text: &str) -> std::result::Result<Values, String> {
        let mut numbers = BTreeSet::new();
        for part in text.split(',') {
            numbers.extend(self.read_part(part)?);
        }
        Ok(Values { open: text.starts_with(['*', '?']), numbers })
    }

    /// `*`, `5`, `mon-fri`, and each with a step, such as `*/15`.
    fn read_part(&self, part: &str) -> std::result::Result<impl Iterator<Item = u8> + use<>, String> {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let every = match step {
            None => 1,
            Some(step) => match step.parse::<u8>() {
                Ok(step) if step > 0 && step <= self.max => step,
                _ => {
                    return Err(format!(
                        "the step {step:?} of the {} is not a number from 1 to {}",
                        self.what, self.max
                    ));
                }
            },
        };
        let (first, last) = match range {
            // Sunday once, or a step would count it twice.
            "*" | "?" => (self.min, if self.max == 7 { 6 } else { self.max }),
            range => match range.split_once('-') {
                Some((first, last)) => {
                    let (first, mut last) = (self.value(first)?, self.value(last)?);
                    if self.max == 7 && last == 0 && first > 0 {
                        last = 7;
                    }
                    (first, last)
                }
                None if step.is_some() => (self.value(range)?, self.max),
                None => (self.value(range)?, self.value(range)?),
            },
        };
        if first > last {
            return Err(format!("the range {range:?} of the {} goes backwards", self.what));
        }
        Ok((first..=last).step_by(usize::from(every)))
    }

    fn value(&self, text: &str) -> std::result::Result<u8, String> {
        let named = (text.len() >= 3)
            .then(|| (self.min..).zip(self.names).find(|(_, name)| **name == text || name.get(..3) == Some(text)))
            .flatten();
        if let Some((value, _)) = named {
            return Ok(value);
        }
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let value = text.parse::<u8>().ok().filter(|value| plain && (self.min..=self.max).contains(value));
        value.ok_or_else(|| {
            let known = self.names.iter().filter_map(|name| name.get(..3)).collect::<Vec<_>>().join(" ");
            let known = if known.is_empty() { known } else { format!(" or one of {known}") };
            format!("{text:?} is no {}: give a number from {} to {}{known}", self.what, self.min, self.max)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(text: &str) -> NaiveDateTime {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap()
    }

    /// The first times after one, as text.
    fn times(expression: &str, after: &str, count: usize) -> Vec<String> {
        let expression = Expression::parse(expression).unwrap();
        let mut now = time(after);
        (0..count)
            .map(|_| {
                now = expression.next_after(now).unwrap();
                now.format("%a %d %b %H:%M").to_string()
            })
            .collect()
    }

    #[test]
    fn weekdays_are_numbered_as_cron_numbers_them() {
        // 2026-11-25 is a Wednesday.
        for (expression, day) in [("0 9 * * 0", "Sun 29"), ("0 9 * * 7", "Sun 29"), ("0 9 * * 1", "Mon 30")] {
            assert_eq!(times(expression, "2026-11-25 10:00", 1), [format!("{day} Nov 09:00")], "{expression}");
        }
        assert_eq!(times("0 9 * * SAT", "2026-11-25 10:00", 1), ["Sat 28 Nov 09:00"]);
        assert_eq!(times("0 9 * * sunday", "2026-11-25 10:00", 1), ["Sun 29 Nov 09:00"]);
    }

    #[test]
    fn ranges_of_names_go_through_the_week() {
        let days = |expression: &str| {
            let times = times(expression, "2026-11-22 12:00", 7);
            times.iter().map(|time| time[..3].to_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(days("0 9 * * mon-fri"), "Mon Tue Wed Thu Fri Mon Tue");
        assert_eq!(days("0 9 * * sat-sun"), "Sat Sun Sat Sun Sat Sun Sat");
        assert_eq!(days("0 9 * * fri-7"), "Fri Sat Sun Fri Sat Sun Fri");
        assert_eq!(days("0 9 * * */2"), "Tue Thu Sat Sun Tue Thu Sat");
    }

    #[test]
    fn lists_ranges_and_steps_mix() {
        let found = times("5,10-20/5,50/5 8 * jan,nov *", "2026-11-25 08:00", 6);
        assert_eq!(
            found.iter().map(|time| &time[11..]).collect::<Vec<_>>(),
            ["08:05", "08:10", "08:15", "08:20", "08:50", "08:55"]
        );
        assert_eq!(times("0 0 29 2 *", "2026-11-25 08:00", 1), ["Tue 29 Feb 00:00"]);
    }

    #[test]
    fn a_day_fits_if_either_of_two_limited_day_fields_does() {
        assert_eq!(
            times("0 0 13 * fri", "2026-11-25 08:00", 3),
            ["Fri 27 Nov 00:00", "Fri 04 Dec 00:00", "Fri 11 Dec 00:00"]
        );
        assert_eq!(times("0 0 13 * fri", "2026-12-11 08:00", 2), ["Sun 13 Dec 00:00", "Fri 18 Dec 00:00"]);
        assert_eq!(
            times("0 0 */2 * fri", "2026-11-25 08:00", 2),
            ["Fri 27 Nov 00:00", "Fri 11 Dec 00:00"],
            "a star sets no limit"
        );
    }

    #[test]
    fn shorthands_stand_for_what_they_always_have() {
        for (shorthand, next) in [
            ("@hourly", "Wed 25 Nov 09:00"),
            ("@daily", "Thu 26 Nov 00:00"),
            ("@midnight", "Thu 26 Nov 00:00"),
            ("@weekly", "Sun 29 Nov 00:00"),
            ("@Monthly", "Tue 01 Dec 00:00"),
            ("@yearly", "Fri 01 Jan 00:00"),
            ("@annually", "Fri 01 Jan 00:00"),
        ] {
            assert_eq!(times(shorthand, "2026-11-25 08:30", 1), [next], "{shorthand}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (bad, words) in [
            ("", "it has 0 fields"),
            ("* * * *", "it has 4 fields"),
            ("0 0 9 * * mon", "it has 6 fields"),
            ("60 * * * *", "\"60\" is no minute: give a number from 0 to 59"),
            ("* 24 * * *", "is no hour"),
            ("* * 0 * *", "is no day of the month"),
            ("* * * 13 *", "is no month: give a number from 1 to 12 or one of jan feb"),
            ("* * * * 8", "is no day of the week"),
            ("* * * * mo", "is no day of the week"),
            ("*/0 * * * *", "the step \"0\""),
            ("*/x * * * *", "the step \"x\""),
            ("9-5 * * * *", "goes backwards"),
            ("* * L * *", "is no day of the month"),
            ("* * * * fri#2", "is no day of the week"),
            ("+5 * * * *", "is no minute"),
            ("5, * * * *", "\"\" is no minute"),
            ("@reboot", "it has 1 fields"),
            (&"*".repeat(300), "more than 256"),
        ] {
            let message = Expression::parse(bad).unwrap_err().to_string();
            assert!(message.contains(words) && message.contains("mon-fri"), "{bad}: {message}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_fail_in_any_other_way(text in "[0-9a-z*/,?@ -]{0,30}|\\PC{0,30}") {
            if let Ok(expression) = Expression::parse(&text) {
                let from = time("2026-11-25 08:30");
                if let Some(next) = expression.next_after(from) {
                    prop_assert!(next > from);
                }
            }
        }

        #[test]
        fn the_next_time_fits_its_fields(minute in 0_u32..60, hour in 0_u32..24, weekday in 0_u32..7, start in 0_i64..2_000_000_000) {
            use chrono::{DateTime, Datelike, Timelike};
            let expression = Expression::parse(&format!("{minute} {hour} * * {weekday}")).unwrap();
            let from = DateTime::from_timestamp(start, 0).unwrap().naive_utc();
            let next = expression.next_after(from).unwrap();
            prop_assert_eq!((next.minute(), next.hour(), next.weekday().num_days_from_sunday()), (minute, hour, weekday));
            prop_assert!(next > from && (next - from).num_days() <= 7);
        }
    }
}
