//! What became of the data: the funnel of filters, and bars and lines of tables. Unaware of stores.

use pacer_stages::scale::Scale;

use crate::report::draw::{self, Anchor, Canvas, WIDTH};
use crate::report::figures::forest::shortened;
use crate::report::{Figure, Grid};

const ROW: f64 = 24.0;
const NAMES: f64 = 190.0;

/// A named bar, drawn from zero.
pub struct Bar {
    /// Its name.
    pub name: String,
    /// Its length.
    pub value: f64,
    /// The ends of its interval, where it has one.
    pub interval: Option<[f64; 2]>,
    /// What stands beside it.
    pub words: String,
}

/// Bars one below the other with their table; none without bars.
pub fn bars(title: &str, told: &str, bars: &[Bar], table: Grid) -> Option<Figure> {
    let ends = bars.iter().flat_map(|bar| bar.interval.into_iter().flatten());
    let [low, high] = draw::range(bars.iter().map(|bar| bar.value).chain(ends).chain([0.0]))?;
    bars.first()?;
    let mut canvas = Canvas::new(ROW * bars.len() as f64 + 10.0);
    let x = Scale::new([low, high], [NAMES + if low < 0.0 { 60.0 } else { 0.0 }, WIDTH - 215.0]);
    for (at, bar) in bars.iter().enumerate() {
        let y = 4.0 + ROW * at as f64;
        let (from, to) = (x.at(bar.value.min(0.0)), x.at(bar.value.max(0.0)));
        canvas.text([NAMES - 8.0, y + 15.0], "", Anchor::End, &shortened(&bar.name, 26));
        canvas.rect([from, y + 3.0], [to - from, ROW - 7.0], "c0 solid", 0.85);
        let to = bar.interval.map_or(to, |ends| {
            let [least, most] = ends.map(|end| x.at(end));
            canvas.line([least, y + 11.5], [most, y + 11.5], "zero");
            to.max(most)
        });
        canvas.text([to + 8.0, y + 15.0], "tick", Anchor::Start, &shortened(&bar.words, 32));
    }
    canvas.line([x.at(0.0), 0.0], [x.at(0.0), ROW * bars.len() as f64 + 6.0], "axis");
    let svg = canvas.finish(Figure::ID, title, told);
    Some(Figure { title: title.into(), told: told.into(), svg, table })
}
