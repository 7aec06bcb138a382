//! Differences to a baseline with their intervals, and a dot for each user. Unaware of how they were found.

use pacer_stages::comparison::{Comparison, Difference, Row};
use pacer_stages::scale::{self, Scale};

use crate::report::draw::{self, Anchor, Canvas, WIDTH};
use crate::report::figures::two;
use crate::report::{Figure, Grid};

/// Height of a row: a line of words above dots, so that long names have room.
const ROW: f64 = 62.0;

/// Room at the left.
const LEFT: f64 = 20.0;

/// Dots of a row are drawn on so many levels.
const LEVELS: usize = 5;

/// The figure; none where nothing is compared.
pub fn forest(comparison: &Comparison) -> Option<Figure> {
    let rows: Vec<(&Row, &Difference)> =
        comparison.rows.iter().filter_map(|row| Some((row, row.difference.as_ref()?))).collect();
    let values = rows.iter().flat_map(|(_, it)| it.by_unit.values().copied().chain(it.interval.into_iter().flatten()));
    let values: Vec<f64> = values.chain([0.0, comparison.margin, -comparison.margin]).collect();
    rows.first()?;
    let [low, high] = draw::range(scale::bulk(&values)?.into_iter().chain([0.0]))?;
    let bottom = 30.0 + ROW * rows.len() as f64;
    let mut canvas = Canvas::new(bottom + 46.0);
    let marks = scale::axis([low, high], 8);
    let x = Scale::new([marks[0], marks[marks.len() - 1]], [LEFT, WIDTH - 20.0]);
    let [from, to] = [-comparison.margin, comparison.margin].map(|at| x.at(at));
    canvas.rect([from, 20.0], [to - from, bottom - 20.0], "band", 0.16);
    let digits = scale::decimals(&marks);
    for mark in &marks {
        canvas.line([x.at(*mark), 20.0], [x.at(*mark), bottom], "grid");
        canvas.text([x.at(*mark), bottom + 17.0], "tick", Anchor::Middle, &format!("{mark:.digits$}"));
    }
    canvas.line([x.at(0.0), 20.0], [x.at(0.0), bottom], "zero");
    canvas.text([x.at(0.0) - 6.0, 13.0], "tick", Anchor::End, "← better");
    canvas.text([x.at(0.0) + 6.0, 13.0], "tick", Anchor::Start, "worse →");
    canvas.text([WIDTH / 2.0, bottom + 37.0], "label", Anchor::Middle, "difference of MAE, candidate − baseline (BPM)");
    let mut table =
        Grid::new(["candidate", "against", "difference (BPM)", "low", "high", "users that improve (%)", "verdict"]);
    for (at, (row, it)) in rows.iter().enumerate() {
        draw_row(&mut canvas, x, 30.0 + ROW * (at as f64 + 0.5), row, it);
        let [low, high] = it.interval.map_or([String::new(), String::new()], |ends| ends.map(two));
        let improved = format!("{:.0}", 100.0 * it.improved);
        let verdict = it.judgement.verdict.name().to_owned();
        table.push([row.name.clone(), it.baseline.clone(), two(it.mean), low, high, improved, verdict]);
    }
    let told = "Diamonds are mean differences over users, with 95 % intervals from resampling users where there are \
                enough of them; each dot is one user. Within the shaded margin a difference counts as none; dots far \
                out lie at the edge.";
    let title = "Differences to the baseline, user by user".to_owned();
    let svg = canvas.finish(Figure::ID, &title, told);
    Some(Figure { title, told: told.into(), svg, table })
}

fn draw_row(canvas: &mut Canvas, x: Scale, y: f64, row: &Row, it: &Difference) {
    let words = format!("{}: {}, {}", shortened(&row.name, 70), it.judgement.verdict.name(), two(it.mean));
    canvas.text([LEFT + 4.0, y - 14.0], "strong halo", Anchor::Start, &words);
    for (place, value) in it.by_unit.values().enumerate() {
        canvas.mark([x.at(*value), y + 10.0 + 2.4 * (place % LEVELS) as f64], 5, 2.0);
    }
    if let Some(ends) = it.interval {
        let [low, high] = ends.map(|end| x.at(end));
        canvas.line([low, y], [high, y], "c0 thick");
    }
    canvas.mark([x.at(it.mean), y], 3, 6.0);
}

/// A name that fits so many letters.
pub fn shortened(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    name.chars().take(most - 1).chain(['…']).collect()
}
