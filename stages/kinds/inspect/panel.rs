//! What a panel of a chart holds: series, shaded stretches, notes, and for which width it is drawn. Unaware of SVG
//! and of workouts.

use crate::scale::Point;

/// One plot with its own vertical axis.
#[derive(Clone, Debug, Default)]
pub struct Panel {
    /// What is shown, such as `Heart rate`.
    pub name: String,
    /// Its unit.
    pub unit: &'static str,
    /// What a person sees, in words, for those who cannot.
    pub description: String,
    /// What is drawn, from back to front; across in minutes.
    pub layers: Vec<Layer>,
    /// Stretches that are shaded.
    pub bands: Vec<Band>,
    /// Values written at the right edge, some with a line across.
    pub notes: Vec<Note>,
    /// Height of the plot in pixels.
    pub height: f64,
}

/// One series of a panel.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Which colour.
    pub tone: Tone,
    /// How it is drawn.
    pub mark: Mark,
    /// Unbroken stretches: minutes and values.
    pub lines: Vec<Vec<Point>>,
    /// Its entry in the legend; empty for none.
    pub legend: String,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// An unbroken line.
    Line,
    /// A dashed line.
    Dashes,
    /// A line with the area down to 0, or to the bottom where 0 is not shown.
    Area,
    /// A dot for each sample.
    Dots,
    /// A stroke from the first to the second point of each stretch.
    Strokes,
}

impl Mark {
    /// The classes in the style sheet.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Line | Self::Area => "line",
            Self::Dashes => "line dashes",
            Self::Dots => "dots",
            Self::Strokes => "strokes",
        }
    }
}

/// The colour of a series, by what it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Heart rate.
    Heart,
    /// Speed from positions.
    Positions,
    /// Speed as the device recorded it.
    Device,
    /// Altitude.
    Altitude,
    /// Grade.
    Grade,
}

impl Tone {
    /// The class in the style sheet.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Heart => "heart",
            Self::Positions => "positions",
            Self::Device => "device",
            Self::Altitude => "altitude",
            Self::Grade => "grade",
        }
    }
}

/// A shaded stretch.
#[derive(Clone, Debug, PartialEq)]
pub struct Band {
    /// Its first and last minute.
    pub minutes: [f64; 2],
    /// What it marks.
    pub shade: Shade,
    /// What stands over it in full, such as `2 flat`; empty for nothing.
    pub label: String,
    /// What stands there where the full label has no room.
    pub short: String,
}

/// What a shaded stretch marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shade {
    /// Something that may be wrong.
    Finding,
    /// The recording was paused.
    Pause,
    /// There is no heart rate.
    Gap,
    /// There is no position.
    PositionGap,
}

impl Shade {
    /// Whether samples are missing there, which every chart shows.
    pub const fn is_gap(self) -> bool {
        matches!(self, Self::Gap | Self::PositionGap)
    }

    /// The class in the style sheet.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Finding => "finding",
            Self::Pause => "pause",
            Self::Gap => "gap",
            Self::PositionGap => "gap lost",
        }
    }
}

/// A value written at the right edge.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// A dotted line across with its name, such as `mean 148`.
    Level(f64, String),
    /// At each tick the pace of that speed.
    Pace,
}

/// For which width a chart is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A page or a screen.
    Wide,
    /// A phone.
    Narrow,
}

impl Layout {
    /// Width in pixels.
    pub const fn width(self) -> f64 {
        match self {
            Self::Wide => 900.0,
            Self::Narrow => 380.0,
        }
    }

    /// The class in the style sheet.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Wide => "wide",
            Self::Narrow => "narrow",
        }
    }

    /// Where plots begin and end, across.
    pub const fn plot(self) -> [f64; 2] {
        match self {
            Self::Wide => [44.0, 830.0],
            Self::Narrow => [42.0, 314.0],
        }
    }

    /// Ticks of minutes, about.
    pub const fn minute_ticks(self) -> usize {
        match self {
            Self::Wide => 12,
            Self::Narrow => 6,
        }
    }

    /// The most points of all lines of a series: enough for each column of pixels.
    pub const fn vertices(self) -> usize {
        match self {
            Self::Wide => 1200,
            Self::Narrow => 500,
        }
    }
}
