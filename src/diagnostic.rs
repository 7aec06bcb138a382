//! Faults of a pipeline as data: what is wrong, where, and what would be right. A leaf: unaware of TOML and of
//! how faults are drawn.

use std::ops::Range;

/// So many faults get a suggestion, which takes a comparison with every known word.
pub const SUGGESTED: usize = 50;

/// A range of bytes in a source text.
pub type Span = Range<usize>;

/// One fault, found before anything runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, lower case, no full stop.
    pub message: String,
    /// Where.
    pub place: Place,
    /// A few words beside the caret.
    pub label: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Where a fault lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the pipeline file.
    File(Span),
    /// In an argument of the command line, such as `--set a.b=c`.
    Argument {
        /// The option with its value, as typed.
        text: String,
        /// The faulty part of it.
        span: Span,
    },
    /// In the file as a whole.
    Whole,
}

impl Diagnostic {
    /// A fault of the file as a whole, until it is given a place.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: Place::Whole, label: String::new(), help: None }
    }

    /// A fault at a place in the pipeline file.
    pub fn at(span: Span, message: impl Into<String>) -> Self {
        Self::new(message).place(&Place::File(span))
    }

    /// Moves the fault to another place.
    #[must_use]
    pub fn place(self, place: &Place) -> Self {
        Self { place: place.clone(), ..self }
    }

    /// Orders faults: the command line first, then the file from its top.
    pub fn sort_key(&self) -> (u8, usize) {
        match &self.place {
            Place::Argument { span, .. } => (0, span.start),
            Place::File(span) => (1, span.start),
            Place::Whole => (2, 0),
        }
    }

    /// Adds words beside the caret.
    #[must_use]
    pub fn label(self, label: impl Into<String>) -> Self {
        Self { label: label.into(), ..self }
    }

    /// Adds a remedy.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// Adds `did you mean …` when one of the known words is near.
    #[must_use]
    pub fn did_you_mean<'a>(self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(word, known) {
            Some(near) => self.help(format!("did you mean `{near}`?")),
            None => self,
        }
    }
}

/// The known word that a mistyped one most likely stands for.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |other: &str| strsim::damerau_levenshtein(word, other);
    let near = |other: &&str| distance(other) <= 1 + word.chars().count() / 3;
    known.into_iter().filter(near).min_by_key(|other| distance(other))
}

/// Where the lines of a text begin.
pub struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    /// Finds the lines of a text.
    pub fn of(text: &str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self { starts: newlines.map(|(at, _)| at + 1).collect() }
    }

    /// The one-based line of a byte.
    pub fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newline_belongs_to_the_line_that_it_ends() {
        let lines = Lines::of("a\n\nbc");
        assert_eq!([0, 1, 2, 3, 4].map(|at| lines.line(at)), [1, 1, 2, 3, 3]);
    }
}
