//! Numbers, times and places in time as one reads them. Unaware of charts and of markup.

use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

/// A number with so many decimals; a dash where there is none, and never a zero with a minus before it.
pub fn decimal(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let text = format!("{value:.decimals$}");
    let is_zero = text.chars().all(|character| matches!(character, '-' | '0' | '.'));
    let digits = text.trim_start_matches('-');
    let sign = if text.starts_with('-') && !is_zero { "−" } else { "" };
    let (whole, rest) = digits.split_once('.').map_or((digits, ""), |(whole, rest)| (whole, rest));
    let point = if rest.is_empty() { "" } else { "." };
    format!("{sign}{}{point}{rest}", grouped(whole))
}

/// A count with commas between thousands.
pub fn count(value: usize) -> String {
    grouped(&value.to_string())
}

/// `1 gap`, `3 gaps`.
pub fn plural(value: usize, one: &str, many: &str) -> String {
    format!("{} {}", count(value), if value == 1 { one } else { many })
}

/// The text with its first letter as a capital.
pub fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn grouped(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Seconds as `12:05`, from an hour on as `1:02:05`.
pub fn clock(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "–".to_owned();
    }
    let sign = if seconds <= -0.5 { "−" } else { "" };
    let whole = seconds.abs().round() as u64;
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    match hours {
        0 => format!("{sign}{minutes}:{seconds:02}"),
        _ => format!("{sign}{}:{minutes:02}:{seconds:02}", grouped(&hours.to_string())),
    }
}

/// Speed in m/s as minutes and seconds for a kilometre; none where that would be above 20 minutes.
pub fn pace(speed: f64) -> Option<String> {
    (speed >= 1000.0 / 1200.0).then(|| clock(1000.0 / speed))
}

/// An instant in the zone that a workout names; in UTC, and said so, where it names none that is known.
pub fn moment(unix: f64, zone: Option<&str>) -> Option<ZonedDateTime> {
    let milliseconds = (unix * 1000.0).round();
    let instant = milliseconds.is_finite().then(|| Timestamp::from_millisecond(milliseconds as i64).ok()).flatten()?;
    Some(instant.to_zoned_datetime(zone.and_then(place).unwrap_or(TimeZone::UTC)))
}

/// The zone of a name such as `Europe/Paris` or an offset such as `+01:00`.
pub fn place(zone: &str) -> Option<TimeZone> {
    let zone = zone.trim();
    TimeZone::get(zone).ok().or_else(|| DateTimeParser::new().parse_time_zone(zone).ok())
}

/// `23 November 2025, 10:37`.
pub fn date_and_time(moment: &ZonedDateTime) -> String {
    moment.strftime("%-d %B %Y, %H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(decimal(1234567.25, 1), "1,234,567.2");
        assert_eq!([decimal(-0.04, 1), decimal(-3.25, 2)], ["0.0", "−3.25"]);
        assert_eq!([decimal(f64::NAN, 1), decimal(-1234.0, 0)], ["–", "−1,234"]);
        assert_eq!([count(999), count(1000)], ["999", "1,000"]);
        assert_eq!([plural(1, "gap", "gaps"), plural(0, "gap", "gaps")], ["1 gap", "0 gaps"]);
    }

    #[test]
    fn times_and_paces_read_like_a_watch() {
        assert_eq!([clock(59.6), clock(3725.0), clock(-75.0)], ["1:00", "1:02:05", "−1:15"]);
        assert_eq!(pace(3.0).as_deref(), Some("5:33"));
        assert_eq!([pace(0.5), pace(f64::NAN)], [None, None]);
    }

    #[test]
    fn a_moment_is_local_where_the_zone_is_known_and_utc_elsewhere() {
        let at = |zone| moment(1_763_890_645.0, zone).map(|moment| date_and_time(&moment));
        assert_eq!(at(Some("Europe/Paris")).as_deref(), Some("23 November 2025, 10:37"));
        assert_eq!(at(Some("-05:00")).as_deref(), Some("23 November 2025, 04:37"));
        assert_eq!(at(Some("Atlantis/Port")).as_deref(), Some("23 November 2025, 09:37"));
        assert_eq!(at(None), at(Some("UTC")));
        assert!(moment(f64::NAN, None).is_none() && moment(1e300, None).is_none());
    }
}
