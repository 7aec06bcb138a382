//! Units as Apple Health writes them in any locale, as SI. Unaware of elements.

use crate::read::number;

/// Reads a plain number that is finite.
#[inline]
pub fn number(text: &[u8]) -> Option<f64> {
    let (number, length) = number::scan(text).ok()?;
    (length == text.len() && number.value.is_finite()).then_some(number.value)
}

/// Metres in a unit of length.
pub fn metres(unit: &[u8]) -> Option<f64> {
    Some(match unit {
        b"km" => 1000.0,
        b"m" => 1.0,
        b"cm" => 0.01,
        b"mm" => 0.001,
        b"mi" => 1609.344,
        b"yd" => 0.9144,
        b"ft" => 0.3048,
        b"in" => 0.0254,
        _ => return None,
    })
}

/// Seconds in a unit of time.
pub fn seconds(unit: &[u8]) -> Option<f64> {
    Some(match unit {
        b"s" | b"sec" => 1.0,
        b"min" => 60.0,
        b"hr" | b"h" => 3600.0,
        b"d" => 86_400.0,
        b"ms" => 0.001,
        _ => return None,
    })
}

/// Beats a minute in a unit of frequency.
#[inline]
pub fn beats_a_minute(unit: &[u8]) -> Option<f64> {
    match unit {
        b"count/min" | b"bpm" => Some(1.0),
        b"count/s" | b"Hz" => Some(60.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{beats_a_minute, metres, number, seconds};

    #[test]
    fn every_unit_of_a_locale_becomes_the_same_quantity() {
        let length = |value: f64, unit: &str| (value * metres(unit.as_bytes()).unwrap() * 1000.0).round();
        for (value, unit) in
            [(1.609_344, "km"), (1609.344, "m"), (160_934.4, "cm"), (1.0, "mi"), (5280.0, "ft"), (1760.0, "yd")]
        {
            assert_eq!(length(value, unit), 1_609_344.0, "{unit}");
        }
        assert_eq!(["s", "min", "hr"].map(|unit| seconds(unit.as_bytes())), [Some(1.0), Some(60.0), Some(3600.0)]);
        assert_eq!(["count/min", "count/s"].map(|unit| beats_a_minute(unit.as_bytes())), [Some(1.0), Some(60.0)]);
        assert_eq!((metres(b"kcal"), seconds(b"km"), beats_a_minute(b"count")), (None, None, None));
    }

    #[test]
    fn a_number_with_anything_behind_it_or_without_end_is_none() {
        assert_eq!((number(b"142"), number(b"-1.5e2")), (Some(142.0), Some(-150.0)));
        for text in ["", "142 ", "1,5", "nan", "inf", "1e999", "x"] {
            assert_eq!(number(text.as_bytes()), None, "{text}");
        }
    }
}
