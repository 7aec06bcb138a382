//! Dates as Apple Health writes them, `2025-11-23 10:37:25 +0100`, as unix seconds. Unaware of elements.

use jiff::civil::Date;

/// Reads dates and remembers the last day, since neighbours in a file mostly share it.
#[derive(Default)]
pub struct Clock {
    day: [u8; 10],
    offset: [u8; 5],
    midnight: i64,
}

impl Clock {
    /// Unix seconds of a date, by the offset that is written with it.
    #[inline]
    pub fn seconds(&mut self, text: &[u8]) -> Option<i64> {
        let Some((day, [b' ', h0, h1, b':', m0, m1, b':', s0, s1, b' '], offset)) = parts(text) else {
            return unusual(text);
        };
        let (hours, minutes, seconds) = (pair(*h0, *h1)?, pair(*m0, *m1)?, pair(*s0, *s1)?);
        if *day != self.day || *offset != self.offset {
            self.midnight = midnight(day)? - offset_seconds(offset)?;
            (self.day, self.offset) = (*day, *offset);
        }
        Some(self.midnight + clock(hours, minutes, seconds)?)
    }
}

/// Day, time of day and offset of a date of the usual length.
#[inline]
fn parts(text: &[u8]) -> Option<(&[u8; 10], &[u8; 10], &[u8; 5])> {
    let text: &[u8; 25] = text.try_into().ok()?;
    let (day, rest) = text.split_first_chunk()?;
    let (time, rest) = rest.split_first_chunk()?;
    Some((day, time, rest.first_chunk()?))
}

/// Seconds since midnight; a leap second counts as the next minute's first.
#[inline]
fn clock(hours: i64, minutes: i64, seconds: i64) -> Option<i64> {
    (hours < 24 && minutes < 60 && seconds <= 60).then_some(hours * 3600 + minutes * 60 + seconds)
}

#[inline]
fn pair(tens: u8, ones: u8) -> Option<i64> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

/// Unix seconds of the beginning of a day, `2025-11-23`, in UTC.
fn midnight(day: &[u8; 10]) -> Option<i64> {
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = *day else { return None };
    let year = pair(y0, y1)? * 100 + pair(y2, y3)?;
    let date = Date::new(year.try_into().ok()?, pair(m0, m1)?.try_into().ok()?, pair(d0, d1)?.try_into().ok()?).ok()?;
    let days = date.since(Date::constant(1970, 1, 1)).ok()?.get_days();
    Some(i64::from(days) * 86_400)
}

/// Seconds of an offset such as `+0100`.
fn offset_seconds(offset: &[u8; 5]) -> Option<i64> {
    let [sign @ (b'+' | b'-'), h0, h1, m0, m1] = *offset else { return None };
    let size = pair(h0, h1)? * 3600 + pair(m0, m1)? * 60;
    Some(if sign == b'-' { -size } else { size })
}

/// Reads what phones with a twelve-hour clock and other programs write: `2017-02-10 1:04:46 pm +0800`, `…T…Z`,
/// `+01:00`, fractions of a second (left out).
fn unusual(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let day = midnight(text.as_bytes().first_chunk()?)?;
    let rest = text[10..].trim_start_matches(['T', ' ', '\u{a0}', '\u{202f}']);
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != ':' && c != '.')?;
    let mut numbers = rest[..end].split(':');
    let mut hours: i64 = numbers.next()?.parse().ok()?;
    let minutes: i64 = numbers.next()?.parse().ok()?;
    let seconds: i64 = numbers.next()?.split('.').next()?.parse().ok()?;
    let tail: String = rest[end..].chars().filter(|c| c.is_ascii_alphanumeric() || ['+', '-'].contains(c)).collect();
    let tail = tail.to_ascii_lowercase();
    let zone = tail.trim_start_matches("am").trim_start_matches("pm");
    if zone.len() < tail.len() {
        hours = hours % 12 + if tail.starts_with('p') { 12 } else { 0 };
    }
    let offset = if zone == "z" { 0 } else { offset_seconds(zone.as_bytes().try_into().ok()?)? };
    Some(day - offset + clock(hours, minutes, seconds)?)
}

#[cfg(test)]
mod tests {
    use super::Clock;

    fn seconds(text: &str) -> Option<i64> {
        Clock::default().seconds(text.as_bytes())
    }

    #[test]
    fn the_offset_that_is_written_is_taken_out() {
        let utc = seconds("2025-11-23 09:37:25 +0000");
        assert_eq!(utc, Some(1_763_890_645));
        for same in ["2025-11-23 10:37:25 +0100", "2025-11-23 04:07:25 -0530", "2025-11-24 00:37:25 +1500"] {
            assert_eq!(seconds(same), utc, "{same}");
        }
        assert_eq!(seconds("1969-12-31 23:59:59 +0000"), Some(-1));
        assert_eq!(seconds("2024-02-29 00:00:00 +0000"), Some(1_709_164_800));
    }

    #[test]
    fn a_remembered_day_does_not_spill_into_another() {
        let mut clock = Clock::default();
        let mut next = |text: &str| clock.seconds(text.as_bytes()).unwrap();
        let first = next("2025-03-30 01:59:59 +0100");
        assert_eq!(next("2025-03-30 03:00:00 +0200"), first + 1);
        assert_eq!(next("2025-03-31 01:59:59 +0200"), first + 86_400 - 3600);
        assert_eq!(clock.seconds(b"2025-02-31 01:59:59 +0200"), None);
        assert_eq!(clock.seconds(b"2025-03-30 01:59:59 +0100"), Some(first));
    }

    #[test]
    fn other_ways_of_writing_the_same_instant_are_read_too() {
        let utc = seconds("2025-11-23 21:37:25 +0000");
        for same in [
            "2025-11-23 10:37:25 pm +0100",
            "2025-11-23 10:37:25\u{202f}PM +0100",
            "2025-11-23 9:37:25 p.m. +0000",
            "2025-11-23T21:37:25Z",
            "2025-11-23T22:37:25.999+01:00",
        ] {
            assert_eq!(seconds(same), utc, "{same}");
        }
        assert_eq!(seconds("2025-11-23 12:00:00 am +0000"), seconds("2025-11-23 00:00:00 +0000"));
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "yesterday",
            "2025-11-23",
            "2025-13-23 10:37:25 +0100",
            "2025-11-23 24:00:00 +0100",
            "2025-11-23 10:37:25 0100 ",
            "2025-11-23 10:37:25",
            "2025-11-23 1x:37:25 +0100",
            "2025-11-23 éé:37:25 +0100",
            "éééééééééé 10:37:25 +0100",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
