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
        for text in ["", "noon", "2021-02-30T12:00:00Z", "12:00:00", "2021-03-29T12:00:00Z and on"] {
            assert_eq!(iso(text), None, "{text}");
        }
    }
}
