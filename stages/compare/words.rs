//! Differences in plain words, a line each. Unaware of how they were found.

use std::fmt;

use crate::compare::{Difference, Distance, Form, Place, Side, Values};

/// Parts that differ are told one by one up to here; more are counted.
const TOLD: usize = 5;

impl Difference {
    /// What a reader is to know first, where the file's own values are the same.
    fn verdict(&self) -> Option<String> {
        let is_about = |form: &Form| matches!(form, Form::Metadata { .. } | Form::Order);
        let in_header = |values: &Values| matches!(values.first, Place::Leaf { header: Some(_), .. });
        if !self.forms.iter().all(is_about) || !self.values.iter().all(in_header) {
            return None;
        }
        let [old, new] = self.lengths;
        Some(match (self.values.is_empty(), self.forms.is_empty()) {
            (true, true) => {
                format!("no value differs, only the encoding: first at byte {}; {old} → {new} bytes", self.first_byte)
            }
            (true, false) => "no value differs, only what is said about them".into(),
            (false, _) => "no tensor differs, only the header".into(),
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<String> = self.verdict().into_iter().collect();
        lines.extend(self.values.iter().take(TOLD).map(ToString::to_string));
        if self.values.len() > TOLD {
            lines.push(format!("{} more differ", self.values.len() - TOLD));
        }
        lines.extend(self.forms.iter().take(TOLD).map(ToString::to_string));
        if self.forms.len() > TOLD {
            lines.push(format!("{} more such differences", self.forms.len() - TOLD));
        }
        f.write_str(&lines.join("\n"))
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only { side: Side::Old, part } => write!(f, "{part} is gone"),
            Self::Only { side: Side::New, part } => write!(f, "{part} is new"),
            Self::Shape { part, old, new } => write!(f, "{part} has another shape: {old:?} → {new:?}"),
            Self::Type { part, old, new } => write!(f, "{part} is of another type: {old} → {new}"),
            Self::Rows { old, new } => write!(f, "{old} → {new} rows; those that both have were compared"),
            Self::Order => write!(f, "the columns stand in another order"),
            Self::Metadata { what, old, new } => write!(f, "{what}: {old} → {new}"),
            Self::Opaque { why } => write!(f, "compared as bytes, because {why}"),
        }
    }
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, old, new, differing, of, largest } = self;
        write!(f, "{first}: {old} → {new}; {differing} of {of} ")?;
        f.write_str(if matches!(first, Place::Byte(_)) { "bytes" } else { "values" })?;
        match largest {
            Distance::NoNumbers => Ok(()),
            Distance::Finite(largest) => write!(f, ", at most {}", two_digits(*largest)),
            Distance::NotFinite => write!(f, ", some of them not finite"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Element { tensor, index } => write!(f, "tensor `{tensor}` differs first at {index:?}"),
            Self::Cell { column, row, item: None } => write!(f, "column `{column}` differs first in row {row}"),
            Self::Cell { column, row, item: Some(item) } => {
                write!(f, "column `{column}` differs first in row {row}, item {item}")
            }
            Self::Leaf { header, path } => {
                header.iter().try_for_each(|key| write!(f, "header `{key}` "))?;
                let at = if path.is_empty() { String::new() } else { format!(" first at `{path}`") };
                write!(f, "differs{at}")
            }
            Self::Byte(offset) => write!(f, "differs first at byte {offset}"),
        }
    }
}

/// Two significant digits, rounded up, for they bound what was found.
fn two_digits(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    if value < 1e-300 {
        return format!("{value:.1e}");
    }
    let unit = 10f64.powf(value.log10().floor() - 1.0);
    // A division that misses a whole number by the last bit is not to raise it.
    let rounded = (value / unit - 1e-9).ceil() * unit;
    match rounded {
        0.01..10.0 => format!("{rounded:.3}").trim_end_matches('0').trim_end_matches('.').to_owned(),
        10.0..1e6 => format!("{rounded:.0}"),
        _ => format!("{rounded:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_difference_is_rounded_up_to_two_digits() {
        let cases =
            [(5.0, "5"), (0.000_301, "3.1e-4"), (0.125, "0.13"), (16_384.0, "17000"), (3.0, "3"), (1e9, "1.0e9")];
        for (value, text) in cases {
            assert_eq!(two_digits(value), text);
        }
        assert_eq!(two_digits(f64::from_bits(1)), "4.9e-324");
    }

    #[test]
    fn many_parts_are_counted() {
        let first = Place::Byte(0);
        let values =
            Values { first, old: "1".into(), new: "2".into(), differing: 1, of: 1, largest: Distance::NoNumbers };
        let artifact = "it".to_owned();
        let difference =
            Difference { artifact, forms: vec![], values: vec![values; 8], first_byte: 0, lengths: [9, 9] };
        let said = difference.to_string();
        assert_eq!((said.lines().count(), said.lines().last()), (6, Some("3 more differ")));
    }
}
