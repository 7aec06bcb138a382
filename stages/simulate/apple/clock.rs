//! Times as the files of an export write them: one offset for all dates in XML, UTC in routes, local time in the
//! names of routes. Unaware of what happened then.

use std::fmt::{self, Display};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

/// Where the runner lives, as time zones are called.
pub const ZONE: &str = "Europe/Paris";

/// Knows the offset at export and the local time of the runner.
pub struct Clock {
    export: Offset,
    zone: TimeZone,
}

impl Clock {
    /// A clock that writes dates with an offset such as `+0100`.
    pub fn new(offset_at_export: &str) -> Result<Self> {
        let export = offset(offset_at_export).with_context(|| format!("`{offset_at_export}` is no offset"))?;
        Ok(Self { export, zone: TimeZone::get(ZONE)? })
    }

    /// `2025-11-23 10:37:25 +0100`, whatever the season.
    pub fn date(&self, second: i64) -> impl Display {
        Date(self.export.to_datetime(timestamp(second)), self.export)
    }

    /// The name of a route that ends at this second, by local time: `2025-11-23_10.37am`.
    pub fn route(&self, end: i64) -> String {
        let at = self.zone.to_datetime(timestamp(end));
        let (hour, half) = half_day(at);
        format!("{:04}-{:02}-{:02}_{hour}.{:02}{half}", at.year(), at.month(), at.day(), at.minute())
    }

    /// The same for people: `2025-11-23 10:37am`.
    pub fn title(&self, end: i64) -> String {
        let at = self.zone.to_datetime(timestamp(end));
        let (hour, half) = half_day(at);
        format!("{:04}-{:02}-{:02} {hour}:{:02}{half}", at.year(), at.month(), at.day(), at.minute())
    }

    /// The unix second of a time of day, in seconds, on a local day, counted from 1970. Right from two hours after
    /// midnight on, when the clocks have changed.
    pub fn local(&self, day: i64, second: i64) -> i64 {
        let as_utc = day * DAY + second;
        as_utc - i64::from(self.zone.to_offset(timestamp(as_utc)).seconds())
    }
}

/// Seconds of a day.
pub const DAY: i64 = 86_400;

/// `2025-11-23T09:37:25Z`.
pub fn utc(second: i64) -> impl Display {
    Utc(Offset::UTC.to_datetime(timestamp(second)))
}

/// The calendar year of a day counted from 1970.
pub fn year(day: i64) -> i16 {
    year_of(day * DAY)
}

/// The calendar year of a unix second, by UTC.
pub fn year_of(second: i64) -> i16 {
    Offset::UTC.to_datetime(timestamp(second)).year()
}

/// The first of January of a year, in days from 1970.
pub fn new_year(year: i16) -> i64 {
    let date = DateTime::constant(year, 1, 1, 0, 0, 0, 0);
    let second = Offset::UTC.to_timestamp(date).expect("years of the view are within what can be told").as_second();
    second.div_euclid(DAY)
}

/// Reads `+0100`.
pub fn offset(text: &str) -> Option<Offset> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = text.get(1..).filter(|digits| digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()))?;
    let (hours, minutes) = (digits[..2].parse::<i32>().ok()?, digits[2..].parse::<i32>().ok()?);
    let seconds = hours * 3600 + minutes * 60;
    (minutes < 60 && seconds <= 14 * 3600).then(|| Offset::from_seconds(sign * seconds).ok()).flatten()
}

fn half_day(at: DateTime) -> (i8, &'static str) {
    ((at.hour() + 11) % 12 + 1, if at.hour() < 12 { "am" } else { "pm" })
}

fn timestamp(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("years of the view are within what can be told")
}

struct Date(DateTime, Offset);

impl Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(at, offset) = self;
        let minutes = offset.seconds() / 60;
        let sign = if minutes < 0 { '-' } else { '+' };
        let (hours, minutes) = (minutes.abs() / 60, minutes.abs() % 60);
        write!(f, "{:04}-{:02}-{:02} ", at.year(), at.month(), at.day())?;
        write!(f, "{:02}:{:02}:{:02} {sign}{hours:02}{minutes:02}", at.hour(), at.minute(), at.second())
    }
}

struct Utc(DateTime);

impl Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.0;
        write!(f, "{:04}-{:02}-{:02}T", at.year(), at.month(), at.day())?;
        write!(f, "{:02}:{:02}:{:02}Z", at.hour(), at.minute(), at.second())
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, new_year, offset, utc, year};

    #[test]
    fn one_moment_is_written_in_three_ways() {
        let clock = Clock::new("+0100").unwrap();
        let winter = 1_763_890_645;
        assert_eq!(clock.date(winter).to_string(), "2025-11-23 10:37:25 +0100");
        assert_eq!(utc(winter).to_string(), "2025-11-23T09:37:25Z");
        assert_eq!(clock.route(winter), "2025-11-23_10.37am");
        let summer = 1_749_983_405;
        assert_eq!(clock.date(summer).to_string(), "2025-06-15 11:30:05 +0100", "the offset at export");
        assert_eq!(clock.route(summer), "2025-06-15_12.30pm", "the clocks of the place");
        assert_eq!(Clock::new("-0330").unwrap().date(winter).to_string(), "2025-11-23 06:07:25 -0330");
    }

    #[test]
    fn local_times_become_seconds_across_the_change_of_clocks() {
        let clock = Clock::new("+0100").unwrap();
        let day = new_year(2025) + 88;
        assert_eq!(utc(clock.local(day - 1, 7 * 3600)).to_string(), "2025-03-29T06:00:00Z");
        assert_eq!(utc(clock.local(day, 7 * 3600)).to_string(), "2025-03-30T05:00:00Z");
        assert_eq!((year(new_year(2024)), year(new_year(2024) - 1)), (2024, 2023));
    }

    #[test]
    fn only_offsets_are_read_as_offsets() {
        assert_eq!(offset("+0530").map(|offset| offset.seconds()), Some(19_800));
        for text in ["", "0100", "+01:00", "+1500", "+0160", "+01a0", "é0100", "+é00"] {
            assert!(offset(text).is_none(), "{text}");
        }
    }
}
