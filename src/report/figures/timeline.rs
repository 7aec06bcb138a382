//! When each stage of a run ran, and how much memory it held. Unaware of stores.

use pacer_stages::scale::{self, Scale};

use crate::report::draw::{Anchor, Canvas, WIDTH};
use crate::report::figures::forest::shortened;
use crate::report::{Figure, Grid};

/// A stage that ran.
pub struct Span {
    /// Its name.
    pub name: String,
    /// A name for narrow places.
    pub short: String,
    /// When it began, seconds since the run did.
    pub began: f64,
    /// Seconds that it took.
    pub seconds: f64,
    /// Most memory held by its worker, bytes.
    pub peak: Option<u64>,
}

const ROW: f64 = 20.0;
const NAMES: f64 = 190.0;

/// The longest that are drawn; the table holds all.
const DRAWN: usize = 40;

/// The figure; none where nothing ran.
pub fn timeline(spans: &[Span]) -> Option<Figure> {
    spans.first()?;
    let mut longest: Vec<f64> = spans.iter().map(|span| span.seconds).collect();
    longest.sort_by(|a, b| b.total_cmp(a));
    let least = longest.get(DRAWN).copied().unwrap_or(f64::NEG_INFINITY);
    let mut drawn: Vec<&Span> = spans.iter().filter(|span| span.seconds > least).collect();
    drawn.sort_by(|a, b| a.began.total_cmp(&b.began).then_with(|| a.name.cmp(&b.name)));
    let end = spans.iter().map(|span| span.began + span.seconds).fold(0.0, f64::max);
    let marks = scale::axis([0.0, end], 8);
    let x = Scale::new([marks[0], marks[marks.len() - 1]], [NAMES, WIDTH - 120.0]);
    let bottom = 8.0 + ROW * drawn.len() as f64;
    let mut canvas = Canvas::new(bottom + 44.0);
    let digits = scale::decimals(&marks);
    for mark in &marks {
        canvas.line([x.at(*mark), 4.0], [x.at(*mark), bottom], "grid");
        canvas.text([x.at(*mark), bottom + 16.0], "tick", Anchor::Middle, &format!("{mark:.digits$}"));
    }
    canvas.text([f64::midpoint(NAMES, WIDTH), bottom + 36.0], "label", Anchor::Middle, "seconds since the run began");
    let mut table = Grid::new(["stage", "began (s)", "took (s)", "most memory (MB)"]);
    for (at, span) in drawn.iter().enumerate() {
        let y = 6.0 + ROW * at as f64;
        let (from, to) = (x.at(span.began), x.at(span.began + span.seconds));
        canvas.text([NAMES - 8.0, y + 13.0], "", Anchor::End, &shortened(&span.short, 27));
        canvas.rect([from, y + 2.0], [(to - from).max(2.0), ROW - 6.0], "ran", 0.85);
        let memory = span.peak.map_or_else(String::new, |peak| format!(", {:.0} MB", peak as f64 / 1e6));
        canvas.text([to + 6.0, y + 13.0], "tick", Anchor::Start, &format!("{:.1} s{memory}", span.seconds));
    }
    for span in spans {
        let memory = span.peak.map_or_else(String::new, |peak| format!("{:.0}", peak as f64 / 1e6));
        table.push([span.name.clone(), format!("{:.2}", span.began), format!("{:.2}", span.seconds), memory]);
    }
    let told = "When each stage ran, and the most memory that its worker process held where it had one. Where there are \
                many, the longest are drawn; trials are named by their values.";
    let title = "Time and memory".to_owned();
    let svg = canvas.finish(Figure::ID, &title, told);
    Some(Figure { title, told: told.into(), svg, table })
}
