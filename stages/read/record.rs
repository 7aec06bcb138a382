//! What every reader gives: workouts as they were recorded, and what it could not use, each with its reason.
//! Unaware of any one format.

use crate::workouts::Workout;

/// A workout that was read, before anything is derived from it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// The workout.
    pub workout: Workout,
    /// Metres since the start at each of the workout's times, where the source has them.
    pub distance: Option<Vec<f64>>,
}

/// Something in a file that gave no workout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// The file, relative to what is imported; empty where that is a single file.
    pub file: String,
    /// Where in the file: `line 12`, `track 2`, `workout of 2021-03-25T10:40:55Z`; empty for the whole file.
    pub place: String,
    /// The class of what is wrong.
    pub reason: Reason,
    /// What exactly is wrong, lower case, no full stop.
    pub detail: String,
    /// The first characters of what is there, where that helps.
    pub excerpt: String,
}

impl SetAside {
    /// A note of something in a single file.
    pub fn new(place: impl Into<String>, reason: Reason, detail: impl Into<String>) -> Self {
        Self { file: String::new(), place: place.into(), reason, detail: detail.into(), excerpt: String::new() }
    }
}

/// Why something is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A FitRec line does not begin with a brace.
    NoDict,
    /// It begins well and breaks off or goes wrong.
    Malformed,
    /// Something follows the dict of a FitRec line.
    Trailing,
    /// It nests too deeply.
    TooDeep,
    /// A FitRec workout has no number.
    NoId,
    /// The workout's number was seen before.
    Duplicate,
    /// The same stretch of time was recorded twice; the other recording is kept.
    RecordedTwice,
    /// A line or a file is longer than the limit.
    TooLong,
    /// The file ends or is damaged there.
    BrokenOff,
    /// The file is of no format that is known.
    UnknownFormat,
    /// There are no samples with a time.
    NoSamples,
    /// A part of an archive is not safe to read.
    Unsafe,
    /// The text is not UTF-8.
    Encoding,
}

impl Reason {
    /// The words that stand in tables.
    pub const fn words(self) -> &'static str {
        match self {
            Self::NoDict => "no dict",
            Self::Malformed => "malformed",
            Self::Trailing => "text after the dict",
            Self::TooDeep => "nested too deeply",
            Self::NoId => "no id",
            Self::Duplicate => "duplicate id",
            Self::RecordedTwice => "recorded twice",
            Self::TooLong => "too long",
            Self::BrokenOff => "file breaks off",
            Self::UnknownFormat => "no known format",
            Self::NoSamples => "no samples",
            Self::Unsafe => "unsafe",
            Self::Encoding => "not UTF-8",
        }
    }
}

/// What one file, or a part of a large one, gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Workouts, in the order of the file.
    pub records: Vec<Record>,
    /// What gave none.
    pub set_aside: Vec<SetAside>,
    /// Something to tell a person, such as a file that breaks off.
    pub warnings: Vec<String>,
}
