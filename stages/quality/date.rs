//! The day on which a workout began, where it took place. Unaware of what was recorded.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

/// A month of a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month {
    /// The year, such as 2025.
    pub year: i16,
    /// The month, 1 to 12.
    pub month: i8,
}

impl Month {
    /// The month of an instant (unix seconds) in a zone: a name such as `Europe/Paris` or an offset such as
    /// `+01:00`; UTC where there is no zone or it is not known. None for an instant beyond the calendar.
    pub fn of(unix: f64, zone: Option<&str>) -> Option<Self> {
        let zone = zone.and_then(known).unwrap_or(TimeZone::UTC);
        let date = zone.to_datetime(instant(unix)?);
        Some(Self { year: date.year(), month: date.month() })
    }
}

/// The instant in UTC for people and machines, such as `2025-11-23T09:37:25Z`; none beyond the calendar.
pub fn utc(unix: f64) -> Option<String> {
    Some(instant(unix)?.to_string())
}

/// The whole second of an instant.
fn instant(unix: f64) -> Option<Timestamp> {
    // What is no number or too large saturates, and then lies beyond the calendar.
    unix.is_finite().then(|| Timestamp::from_second(unix.floor() as i64).ok())?
}

/// Whether a zone is one that can be told the time in.
fn known(zone: &str) -> Option<TimeZone> {
    offset(zone).or_else(|| TimeZone::get(zone).ok())
}

/// The zone of `+01:00`, `+0100`, `-5` or `Z`.
fn offset(text: &str) -> Option<TimeZone> {
    if text == "Z" {
        return Some(TimeZone::UTC);
    }
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-" | "−", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits.split_once(':') {
        Some(parts) => parts,
        None if digits.len() == 4 => digits.split_at_checked(2)?,
        None => (digits, "0"),
    };
    let part = |part: &str| part.parse::<u8>().ok().filter(|_| part.len() <= 2).map(i32::from);
    let seconds = sign * (part(hours)? * 3600 + part(minutes)? * 60);
    Offset::from_seconds(seconds).ok().map(TimeZone::fixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-12-31T23:30:00Z.
    const LATE: f64 = 1_735_687_800.0;

    #[test]
    fn the_year_ends_where_the_runner_is() {
        let month = |zone| Month::of(LATE, zone).map(|month| (month.year, month.month));
        for utc in [None, Some("Z"), Some("UTC"), Some("nowhere"), Some("+xx:yy"), Some("+"), Some("")] {
            assert_eq!(month(utc), Some((2024, 12)), "{utc:?}");
        }
        for ahead in ["Europe/Paris", "+01:00", "+0100", "+1", "Asia/Kolkata"] {
            assert_eq!(month(Some(ahead)), Some((2025, 1)), "{ahead}");
        }
        let morning = |zone| Month::of(LATE + 7200.0, Some(zone)).unwrap();
        assert_eq!(morning("America/New_York"), Month { year: 2024, month: 12 });
        assert_eq!(morning("-05:00"), Month { year: 2024, month: 12 });
        assert_eq!(morning("+00:30"), Month { year: 2025, month: 1 });
    }

    #[test]
    fn instants_beyond_the_calendar_have_no_date() {
        for unix in [f64::NAN, f64::INFINITY, 1e300, -1e15] {
            assert_eq!((Month::of(unix, None), utc(unix)), (None, None));
        }
        assert_eq!(utc(LATE + 0.7).as_deref(), Some("2024-12-31T23:30:00Z"));
        assert_eq!(Month::of(-1.0, None), Some(Month { year: 1969, month: 12 }));
    }
}
