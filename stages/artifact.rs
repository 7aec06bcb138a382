//! The types of artifact and the ports that stages read and write them through. Unaware of any kind.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a file between two stages holds; a port accepts some of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ArtifactType {
    /// Workouts in SI units, one row each, series as lists (Parquet).
    Workouts,
    /// Feature sequences on a grid with their target and mask (safetensors).
    Sequences,
    /// Which workout belongs to which part (Parquet).
    Split,
    /// Weights with their configuration and scaler (safetensors).
    Model,
    /// One row for each scored point (Parquet).
    Predictions,
    /// Named figures (JSON).
    Metrics,
    /// Rows and columns for people (Parquet).
    Table,
    /// The data of a figure (JSON).
    Figure,
    /// A self-contained page for people (HTML).
    Page,
    /// A drawing (SVG).
    Picture,
    /// Any other file, for instance raw input.
    File,
}

impl ArtifactType {
    /// Every type, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::Workouts,
        Self::Sequences,
        Self::Split,
        Self::Model,
        Self::Predictions,
        Self::Metrics,
        Self::Table,
        Self::Figure,
        Self::Page,
        Self::Picture,
        Self::File,
    ];

    /// The name used in pipelines and results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Workouts => "workouts",
            Self::Sequences => "sequences",
            Self::Split => "split",
            Self::Model => "model",
            Self::Predictions => "predictions",
            Self::Metrics => "metrics",
            Self::Table => "table",
            Self::Figure => "figure",
            Self::Page => "page",
            Self::Picture => "picture",
            Self::File => "file",
        }
    }

    /// The extension of a file of this type, without the dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Workouts | Self::Split | Self::Predictions | Self::Table => "parquet",
            Self::Sequences | Self::Model => "safetensors",
            Self::Metrics | Self::Figure => "json",
            Self::Page => "html",
            Self::Picture => "svg",
            Self::File => "bin",
        }
    }
}

impl fmt::Display for ArtifactType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ArtifactType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| format!("`{text}` is no type of artifact"))
    }
}

/// How many artifacts an input port takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Exactly one.
    One,
    /// One or none.
    Optional,
    /// A table of names, each with one artifact; at least one.
    Named,
    /// A table of names as above, or none at all.
    NamedOptional,
    /// One artifact or file, or the files of a folder or of a glob, each under its path.
    Files,
}

/// A slot that a stage reads from.
#[derive(Clone, Copy, Debug)]
pub struct InputPort {
    /// The slot's name in the pipeline file.
    pub name: &'static str,
    /// The types that fit.
    pub accepts: &'static [ArtifactType],
    /// How many.
    pub arity: Arity,
    /// What it is for, in one sentence.
    pub doc: &'static str,
}

/// A file that a stage writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputPort {
    /// The artifact's name; the file is called `name.extension`.
    pub name: std::borrow::Cow<'static, str>,
    /// Its type.
    pub artifact: ArtifactType,
    /// What it holds, in one sentence.
    pub doc: std::borrow::Cow<'static, str>,
}

impl OutputPort {
    /// Builds a port known at compile time.
    pub const fn fixed(name: &'static str, artifact: ArtifactType, doc: &'static str) -> Self {
        use std::borrow::Cow::Borrowed;
        Self { name: Borrowed(name), artifact, doc: Borrowed(doc) }
    }

    /// The name of the file that the stage must write.
    pub fn file_name(&self) -> String {
        format!("{}.{}", self.name, self.artifact.extension())
    }
}
