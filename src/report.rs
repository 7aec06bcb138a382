//! Reports of runs, made of what the store holds and of nothing else: no pipeline text is read, so that a report shows
//! what was done and not what is written now. Unaware of the command line.
//!
//! [`gather`] and [`leaks`] read the store; [`sections`] makes blocks of words, tables and [`figures`] of it; [`page`] and
//! [`markdown`] write these down, and JSON is the blocks themselves. All bytes follow from the store's content.
//!
//! Figures are SVG drawn here ([`draw`]) and not by a library of charts in the browser: the page needs no script, so
//! that its policy can forbid all; it prints, and shows the same to everybody; each figure keeps its table.

pub mod draw;
pub mod figures;
pub mod gather;
pub mod leaks;
pub mod markdown;
pub mod page;
pub mod pair;
pub mod sections;
pub mod style;

use serde::Serialize;

/// Version of the JSON form.
pub const VERSION: u32 = 1;

/// A report, whatever its form.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Version of this form.
    pub v: u32,
    /// What it is about.
    pub title: String,
    /// Whether any of its data was made by a simulator.
    pub synthetic: bool,
    /// The sections, the answer first.
    pub sections: Vec<Section>,
}

/// A section.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Section {
    /// Its name in addresses.
    pub id: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What it holds.
    pub blocks: Vec<Block>,
}

/// A piece of a section.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "block", rename_all = "snake_case")]
pub enum Block {
    /// A smaller title.
    Heading {
        /// Its words.
        words: String,
    },
    /// A sentence or more.
    Words {
        /// They.
        words: String,
    },
    /// A verdict on a candidate.
    Verdict {
        /// Its verdict, in a few words.
        verdict: String,
        /// Its sign.
        mark: Mark,
        /// A sentence.
        words: String,
    },
    /// What was checked.
    Check {
        /// What it came to.
        mark: Mark,
        /// In words.
        words: String,
    },
    /// Rows.
    Table(Grid),
    /// A drawing with its data.
    Figure(Figure),
    /// A drawing that a stage made, as it is.
    Drawing {
        /// What it is.
        title: String,
        /// It, as SVG.
        #[serde(skip)]
        svg: String,
    },
    /// Text to copy.
    Code {
        /// It.
        text: String,
    },
    /// What most readers pass over; paper shows it.
    Fold {
        /// What it holds.
        title: String,
        /// That.
        blocks: Vec<Block>,
    },
}

/// A sign that does not rest on colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// In order, or better.
    Good,
    /// Not in order, or worse.
    Bad,
    /// Not known, or the same.
    Open,
}

impl Mark {
    /// The sign.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Bad => "✗",
            Self::Open => "?",
        }
    }
}

/// Rows with a header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Grid {
    /// Names of the columns.
    pub header: Vec<String>,
    /// Cells.
    pub rows: Vec<Vec<String>>,
}

/// A drawing with what stands in it as a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// What it shows.
    pub title: String,
    /// What a person sees in it, and how to read it.
    pub told: String,
    /// The drawing; its ids begin with [`Figure::ID`], which a page replaces.
    #[serde(skip)]
    pub svg: String,
    /// Its data.
    pub table: Grid,
}

impl Figure {
    /// What ids of a drawing begin with before it stands on a page.
    pub const ID: &'static str = "figure-id";
}

impl Grid {
    /// Begins a table.
    pub fn new<const N: usize>(header: [&str; N]) -> Self {
        Self { header: header.map(str::to_owned).to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn push<const N: usize>(&mut self, row: [String; N]) {
        self.rows.push(row.to_vec());
    }

    /// Whether a column holds numbers alone, and at least one.
    pub fn is_numeric(&self, column: usize) -> bool {
        let mut cells = self.rows.iter().filter_map(|row| row.get(column)).filter(|cell| !cell.is_empty()).peekable();
        cells.peek().is_some() && cells.all(|cell| cell.replace(',', "").replace('−', "-").parse::<f64>().is_ok())
    }
}

impl Block {
    /// A check.
    pub fn check(mark: Mark, words: impl Into<String>) -> Self {
        Self::Check { mark, words: words.into() }
    }

    /// Words.
    pub fn words(words: impl Into<String>) -> Self {
        Self::Words { words: words.into() }
    }
}
