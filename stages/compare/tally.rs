//! Counts values that differ and keeps the first of them. Unaware of files.

use crate::compare::{Distance, Place, Values};

/// Characters of a text that are shown.
const SHOWN: usize = 60;

/// A single value of a file.
#[derive(Clone, Copy, Debug)]
pub enum Scalar<'a> {
    /// A 32-bit float.
    F32(f32),
    /// A 64-bit float.
    F64(f64),
    /// A whole number of any width.
    Int(i128),
    /// Yes or no.
    Flag(bool),
    /// Words.
    Text(&'a str),
    /// Bits of a type that is not decoded.
    Bits(&'a [u8]),
    /// An empty cell.
    Null,
    /// A list or table where the other file has something else, in words.
    Composite(&'a str),
    /// Nothing, where the other file has a value.
    Absent,
}

/// What was counted so far in one part of a file.
pub struct Tally {
    first: Option<(Place, String, String)>,
    differing: u64,
    of: u64,
    largest: Distance,
}

impl Tally {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self { first: None, differing: 0, of: 0, largest: Distance::NoNumbers }
    }

    /// All bytes of two files; what only one of them has differs.
    pub fn of_bytes(old: &[u8], new: &[u8]) -> Self {
        let mut tally = Self::new();
        let shared = old.len().min(new.len());
        if let Some(at) = crate::compare::first_difference(old, new) {
            let byte = |bytes: &[u8]| bytes.get(at as usize).map_or("the end".into(), |byte| format!("0x{byte:02x}"));
            tally.first = Some((Place::Byte(at), byte(old), byte(new)));
        }
        tally.of = old.len().max(new.len()) as u64;
        let differing = old.iter().zip(new).filter(|(old, new)| old != new).count();
        tally.differing = differing as u64 + tally.of - shared as u64;
        tally
    }

    /// Counts values that are known to be alike.
    pub fn same(&mut self, count: usize) {
        self.of += count as u64;
    }

    /// Counts a pair of values.
    pub fn count(&mut self, place: impl FnOnce() -> Place, old: Scalar<'_>, new: Scalar<'_>) {
        self.of += 1;
        if old.same(&new) {
            return;
        }
        self.differing += 1;
        if self.first.is_none() {
            let (old, new) = shown(&old.text(), &new.text());
            self.first = Some((place(), old, new));
        }
        self.largest = match (self.largest, distance(&old, &new)) {
            (Distance::NotFinite, _) | (_, Distance::NotFinite) => Distance::NotFinite,
            (Distance::NoNumbers, other) | (other, Distance::NoNumbers) => other,
            (Distance::Finite(one), Distance::Finite(other)) => Distance::Finite(one.max(other)),
        };
    }

    /// What differs, if anything does.
    pub fn values(self) -> Option<Values> {
        let (first, old, new) = self.first?;
        Some(Values { first, old, new, differing: self.differing, of: self.of, largest: self.largest })
    }
}

impl Scalar<'_> {
    /// Whether two values are the same bits.
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::F32(one), Self::F32(other)) => one.to_bits() == other.to_bits(),
            (Self::F64(one), Self::F64(other)) => one.to_bits() == other.to_bits(),
            (Self::Int(one), Self::Int(other)) => one == other,
            (Self::Flag(one), Self::Flag(other)) => one == other,
            (Self::Text(one), Self::Text(other)) | (Self::Composite(one), Self::Composite(other)) => one == other,
            (Self::Bits(one), Self::Bits(other)) => one == other,
            (Self::Null, Self::Null) | (Self::Absent, Self::Absent) => true,
            _ => false,
        }
    }

    fn number(&self) -> Option<f64> {
        match *self {
            Self::F32(value) => Some(value.into()),
            Self::F64(value) => Some(value),
            Self::Int(value) => Some(value as f64),
            _ => None,
        }
    }

    /// The value so that two that differ look different: floats with every digit, a NaN with its bits.
    fn text(&self) -> String {
        match self {
            Self::F32(value) if value.is_nan() => format!("NaN ({:#010x})", value.to_bits()),
            Self::F64(value) if value.is_nan() => format!("NaN ({:#018x})", value.to_bits()),
            Self::F32(value) => format!("{value:?}"),
            Self::F64(value) => format!("{value:?}"),
            Self::Int(value) => value.to_string(),
            Self::Flag(value) => value.to_string(),
            Self::Text(text) => format!("{text:?}"),
            Self::Bits(bytes) => {
                let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("bytes {digits}")
            }
            Self::Null => "empty".into(),
            Self::Composite(words) => (*words).to_owned(),
            Self::Absent => "absent".into(),
        }
    }
}

fn distance(old: &Scalar<'_>, new: &Scalar<'_>) -> Distance {
    if let (Scalar::Int(old), Scalar::Int(new)) = (old, new) {
        return Distance::Finite((old - new).unsigned_abs() as f64);
    }
    match (old.number(), new.number()) {
        (Some(old), Some(new)) if old.is_finite() && new.is_finite() => match (old - new).abs() {
            // Two numbers near the largest, of other signs.
            difference if difference.is_infinite() => Distance::Finite(f64::MAX),
            difference => Distance::Finite(difference),
        },
        (Some(_), Some(_)) => Distance::NotFinite,
        _ => Distance::NoNumbers,
    }
}

/// Two texts short enough to be shown, cut so that their first difference is seen.
fn shown(old: &str, new: &str) -> (String, String) {
    let alike = old.chars().zip(new.chars()).take_while(|(old, new)| old == new).count();
    let from = if old.chars().count().max(new.chars().count()) > SHOWN { alike.saturating_sub(SHOWN / 3) } else { 0 };
    let cut = |text: &str| {
        let mut rest = text.chars().skip(from);
        let mut cut: String = if from > 0 { "…".into() } else { String::new() };
        cut.extend(rest.by_ref().take(SHOWN));
        if rest.next().is_some() {
            cut.push('…');
        }
        cut
    };
    (cut(old), cut(new))
}
