//! Pieces of SVG text. Unaware of what they show.

use std::fmt::Write as _;

/// Appends an element on a line of its own.
pub fn push(body: &mut String, element: std::fmt::Arguments<'_>) {
    body.write_fmt(element).expect("a string takes it");
    body.push('\n');
}

/// Pixels with a decimal where there is one.
pub fn px(value: f64) -> String {
    let tenths = (value * 10.0).round() as i64;
    match tenths % 10 {
        0 => (tenths / 10).to_string(),
        tenth => {
            let sign = if tenths < 0 { "-" } else { "" };
            format!("{sign}{}.{}", (tenths / 10).abs(), tenth.abs())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::px;

    #[test]
    fn pixels_have_a_decimal_where_there_is_one() {
        assert_eq!([1.0, 2.25, -0.5, -3.04, 0.04].map(px), ["1", "2.3", "-0.5", "-3", "0"]);
    }
}
