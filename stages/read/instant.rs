//! Moments as texts write them, given as unix seconds in UTC. Unaware of files and of formats.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The moment that an ISO 8601 text names, in unix seconds; UTC where the text gives no offset.
///
/// A blank in place of the `T` is fine, and so is a date alone, which is its midnight.
pub fn iso(text: &str) -> Option<f64> {
    let text = text.trim();
    let stamp = text.parse::<Timestamp>();
    stamp.ok().or_else(|| in_utc(text.parse().ok()?)).map(seconds)
}

/// The moment that a date and time in UTC is.
fn in_utc(civil: DateTime) -> Option<Timestamp> {
    TimeZone::UTC.to_timestamp(civil).ok()
}

/// The start that a file's name holds, in unix seconds, its numbers taken as UTC: a date and a time of day as in
/// `run_2021-03-25-10-40-55.csv`, `2021-03-25T10:40:55Z`, `20210325_104055` or `2021-03-25 10.40`; none with a date
/// alone.
pub fn start_in_name(name: &str) -> Option<f64> {
    let bytes = name.as_bytes();
    let begins = |at: &usize| bytes[*at].is_ascii_digit() && (*at == 0 || !bytes[at - 1].is_ascii_digit());
    (0..bytes.len()).filter(begins).find_map(|at| in_utc(date_and_time(&bytes[at..])?)).map(seconds)
}

/// Reads year, month, day, hour, minute and second, the second being optional.
fn date_and_time(text: &[u8]) -> Option<DateTime> {
    let mut rest = text;
    let year = digits(&mut rest, 4)?;
    let month = part(&mut rest, b"-_.")?;
    let day = part(&mut rest, b"-_.")?;
    let hour = part(&mut rest, b"-_.Tt ")?;
    let minute = part(&mut rest, b"-_.:h")?;
    let second = part(&mut rest, b"-_.:m").unwrap_or(0);
    if rest.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let small = |number: u16| i8::try_from(number).ok();
    let year = i16::try_from(year).ok().filter(|year| (1970..2200).contains(year))?;
    DateTime::new(year, small(month)?, small(day)?, small(hour)?, small(minute)?, small(second)?, 0).ok()
}

/// Two digits, after one of these separators or none.
fn part(rest: &mut &[u8], separators: &[u8]) -> Option<u16> {
    let separated = rest.first().is_some_and(|byte| separators.contains(byte));
    let mut after = &rest[usize::from(separated)..];
    let number = digits(&mut after, 2)?;
    *rest = after;
    Some(number)
}

fn digits(rest: &mut &[u8], count: usize) -> Option<u16> {
    let (number, after) = rest.split_at_checked(count)?;
    let number =
        number.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| 10 * sum + u16::from(byte - b'0')))?;
    *rest = after;
    Some(number)
}

/// Unix seconds of a moment, with their fraction.
fn seconds(stamp: Timestamp) -> f64 {
    stamp.as_second() as f64 + f64::from(stamp.subsec_nanosecond()) / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_iso_text_is_a_moment_with_or_without_an_offset_and_a_fraction() {
        let noon = 1_617_019_200.0;
        for text in ["2021-03-29T12:00:00Z", " 2021-03-29T14:00:00+02:00\n", "2021-03-29 12:00:00", "2021-03-29T12:00"]
        {
            assert_eq!(iso(text), Some(noon), "{text}");
        }
        assert_eq!(iso("2021-03-29T12:00:00.250Z"), Some(noon + 0.25));
        assert_eq!(iso("2021-03-29"), Some(noon - 43_200.0));
        assert_eq!(iso("1969-12-31T23:59:59.5Z"), Some(-0.5));
        for text in
            ["", "noon", "2021-03-29T25:00:00Z", "2021-02-30T12:00:00Z", "12:00:00", "2021-03-29T12:00:00Z and on"]
        {
            assert_eq!(iso(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_holds_the_start_in_many_spellings() {
        let start = Some(1_616_668_855.0);
        for name in [
            "rikluost__2021-03-25-10-40-55.csv.gz",
            "2021-03-25T10:40:55Z.csv",
            "2021-03-25 10.40.55.csv",
            "run 7 20210325_104055.csv",
            "activity_20210325T104055",
            "20210325104055.csv",
            "2021_03_25_10h40m55.csv",
        ] {
            assert_eq!(start_in_name(name), start, "{name}");
        }
        assert_eq!(start_in_name("2021-03-25-10-40.csv"), Some(1_616_668_800.0));
        for name in ["2021-03-25.csv", "2021-13-25-10-40-55", "123456789012345", "1234-05", "", "0021-03-25-10-40-55"] {
            assert_eq!(start_in_name(name), None, "{name}");
        }
    }
}
