//! Simulated workouts as lines of a FitRec file: Python dict literals, as published. Unaware of how they arose.

use std::fmt::{self, Display, Write as _};

use crate::simulate::recording::{Flaw, Recording};

/// Points that a series lacks at its end when lengths shall differ.
const LOST_POINTS: usize = 7;

/// Appends a workout as one line; its `url` says that it is synthetic, so that no reader takes it for a person's.
pub fn push_line(text: &mut String, recording: &Recording) {
    let Recording { id, user, gender, sport, .. } = recording;
    let mut line = Line { text, flaw: recording.flaw, first: true };
    line.text.push('{');
    line.list("longitude", recording.longitude.iter().map(|&value| Cell::Number(value, 7)));
    let nan = (recording.flaw == Some(Flaw::NotFinite)).then_some("nan");
    line.list("altitude", with_word(recording.altitude.iter().map(|&value| Cell::Number(value, 1)), nan));
    line.list("latitude", recording.latitude.iter().map(|&value| Cell::Number(value, 7)));
    line.field("sport", format_args!("'{sport}'"));
    line.field("id", id);
    let none = (recording.flaw == Some(Flaw::Unconvertible)).then_some("None");
    let lost = if recording.flaw == Some(Flaw::Unequal) { LOST_POINTS } else { 0 };
    let kept = &recording.heart_rate[..recording.heart_rate.len().saturating_sub(lost)];
    line.list("heart_rate", with_word(kept.iter().map(|&value| Cell::Whole(value)), none));
    line.field("gender", format_args!("'{gender}'"));
    line.list("timestamp", recording.time.iter().map(|&value| Cell::Whole(value)));
    line.field("url", format_args!("'synthetic:{id}'"));
    line.field("userId", user);
    if let Some(speed) = &recording.speed {
        line.list("speed", speed.iter().map(|&value| Cell::Number(value, 4)));
    }
    line.text.push_str("}\n");
}

/// An element of a list.
enum Cell {
    Whole(i64),
    /// A number with so many decimals.
    Number(f64, usize),
    Word(&'static str),
}

impl Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(value) => write!(f, "{value}"),
            Self::Number(value, decimals) => write!(f, "{value:.decimals$}"),
            Self::Word(word) => f.write_str(word),
        }
    }
}

/// A series whose middle element is a word instead, where there is one.
fn with_word(cells: impl ExactSizeIterator<Item = Cell>, word: Option<&'static str>) -> impl Iterator<Item = Cell> {
    let middle = cells.len() / 2;
    cells.enumerate().map(move |(index, cell)| word.filter(|_| index == middle).map_or(cell, Cell::Word))
}

struct Line<'a> {
    text: &'a mut String,
    flaw: Option<Flaw>,
    first: bool,
}

impl Line<'_> {
    /// Begins a field unless it shall be missing.
    fn begin(&mut self, name: &str) -> bool {
        if matches!(self.flaw, Some(Flaw::Missing(missing)) if missing == name) {
            return false;
        }
        let comma = if self.first { "" } else { ", " };
        self.first = false;
        self.push(format_args!("{comma}'{name}': "));
        true
    }

    fn field(&mut self, name: &str, value: impl Display) {
        if self.begin(name) {
            self.push(value);
        }
    }

    fn list(&mut self, name: &str, cells: impl Iterator<Item = Cell>) {
        if !self.begin(name) {
            return;
        }
        let mut comma = "[";
        for cell in cells {
            self.text.push_str(comma);
            self.push(cell);
            comma = ", ";
        }
        self.text.push(']');
    }

    fn push(&mut self, value: impl Display) {
        write!(self.text, "{value}").expect("writing to a string cannot fail");
    }
}
