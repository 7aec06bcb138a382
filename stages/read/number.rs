//! Numbers as Python and JSON write them, read faster than the standard library does and to the same bits.
//! Unaware of the text around them.

/// A number, and its whole value where it was written as one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    /// The nearest double.
    pub value: f64,
    /// The exact value when there is no point and no exponent and it has 18 digits or fewer.
    pub whole: Option<i64>,
}

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Reads the number at the start of the text: the number and its length in bytes, or the length that could be read.
///
/// Digits gather in an integer; where it and the power of ten are exact doubles, one division or multiplication is
/// correctly rounded (Clinger 1990). The standard library reads the rest.
#[inline]
pub fn scan(text: &[u8]) -> Result<(Number, usize), usize> {
    let negative = text.first() == Some(&b'-');
    let mut at = usize::from(negative || text.first() == Some(&b'+'));
    let mut mantissa = 0;
    let mut digits = gather(text, &mut at, &mut mantissa);
    let mut exponent = 0_i64;
    let point = text.get(at) == Some(&b'.');
    if point {
        at += 1;
        let decimals = gather(text, &mut at, &mut mantissa);
        digits += decimals;
        exponent = -(decimals as i64);
    }
    if digits == 0 {
        return Err(at);
    }
    let scientific = matches!(text.get(at), Some(b'e' | b'E'));
    if scientific {
        exponent = exponent.saturating_add(power(text, &mut at)?);
    }
    let whole = !point && !scientific;
    // Python 2 marks long integers.
    let length = at + usize::from(whole && text.get(at) == Some(&b'L'));
    if whole && digits <= 18 {
        let size = mantissa as i64;
        let value = if negative { -size } else { size };
        return Ok((Number { value: value as f64, whole: Some(value) }, length));
    }
    let exact = usize::try_from(exponent.unsigned_abs()).ok().and_then(|power| POWERS.get(power));
    let value = match exact {
        Some(power) if digits <= 19 && mantissa <= 1 << 53 => {
            let size = if exponent < 0 { mantissa as f64 / power } else { mantissa as f64 * power };
            if negative { -size } else { size }
        }
        _ => std::str::from_utf8(&text[..at]).ok().and_then(|text| text.parse().ok()).ok_or(at)?,
    };
    Ok((Number { value, whole: None }, length))
}

/// Reads digits and returns how many; beyond 19 the mantissa is no longer right.
#[inline]
fn gather(text: &[u8], at: &mut usize, mantissa: &mut u64) -> usize {
    let start = *at;
    while let Some(byte @ b'0'..=b'9') = text.get(*at) {
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
        *at += 1;
    }
    *at - start
}

/// Reads an exponent from its letter on.
fn power(text: &[u8], at: &mut usize) -> Result<i64, usize> {
    *at += 1;
    let negative = text.get(*at) == Some(&b'-');
    *at += usize::from(negative || text.get(*at) == Some(&b'+'));
    let mut size = 0;
    match gather(text, at, &mut size) {
        0 => Err(*at),
        1..=9 => Ok(if negative { -(size as i64) } else { size as i64 }),
        // Beyond every double; half the range leaves room for the decimals.
        _ => Ok(if negative { i64::MIN / 2 } else { i64::MAX / 2 }),
    }
}

#[cfg(test)]
mod tests {
    use super::{Number, scan};

    #[test]
    fn every_number_is_read_as_the_standard_library_reads_it() {
        let mut texts: Vec<String> = [
            "0",
            "-0.0",
            "7",
            ".5",
            "5.",
            "+3",
            "1e5",
            "1E-7",
            "-2.5e+3",
            "1e400",
            "1e-400",
            "9007199254740993",
            "60.173348765820265",
            "123456789012345678901234567890",
            "0.1",
            "4.35",
            "2.2250738585072011e-308",
            "1e9999999999999",
            "179.99999999999997",
            "1e22",
            "1e23",
            "99999999999999999999.5",
            "1376503102",
        ]
        .map(String::from)
        .to_vec();
        let mut state = 1_u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            texts.push(f64::from_bits(state).to_string());
            texts.push((f64::from(state as i32) / 1e6).to_string());
        }
        for text in texts.iter().filter(|text| !text.contains("NaN") && !text.contains("inf")) {
            let (number, length) = scan(format!("{text},").as_bytes()).unwrap();
            assert_eq!(number.value.to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
            assert_eq!(length, text.len());
        }
    }

    #[test]
    fn whole_numbers_keep_every_digit_and_text_without_a_digit_is_none() {
        assert_eq!(scan(b"-999999999999999999]").unwrap().0.whole, Some(-999_999_999_999_999_999));
        assert_eq!(scan(b"12L").unwrap(), (Number { value: 12.0, whole: Some(12) }, 3));
        assert_eq!(scan(b"1.0").unwrap().0.whole, None);
        for (text, length) in [("-", 1), (".", 1), ("", 0), ("1e", 2), ("1e+", 3), ("x", 0)] {
            assert_eq!(scan(text.as_bytes()), Err(length), "{text}");
        }
    }
}
