//! Bland and Altman's picture: errors against the mean of both measurements. Unaware of models.

use pacer_stages::agreement::Agreement;
use pacer_stages::scale;

use crate::report::draw::{self, Anchor, Canvas, Frame};
use crate::report::figures::two;
use crate::report::{Figure, Grid};

/// Cells across and up: so many points are there that each alone would hide the others.
const CELLS: [usize; 2] = [80, 40];

/// Points by which the range of the picture is found.
const RANGED: usize = 20_000;

/// Shades of cells.
const SHADES: usize = 8;

/// The figure of one model; none without points.
pub fn bland_altman(name: &str, truth: &[f32], prediction: &[f32], agreement: &Agreement) -> Option<Figure> {
    let points = truth.iter().zip(prediction);
    let points: Vec<[f64; 2]> = points.map(|(t, p)| [f64::from(t + p) / 2.0, f64::from(*p) - f64::from(*t)]).collect();
    // For the range of the picture some are enough; those beyond it lie on its edge.
    let some = || points.iter().step_by(points.len().div_ceil(RANGED).max(1));
    let errors: Vec<f64> = some().map(|point| point[1]).collect();
    let means: Vec<f64> = some().map(|point| point[0]).collect();
    let up = draw::range(scale::bulk(&errors)?.into_iter().chain(agreement.limits))?;
    let frame = Frame {
        x: scale::bulk(&means)?,
        y: up,
        across: "mean of predicted and recorded heart rate (BPM)",
        up: "predicted − recorded (BPM)",
    };
    let mut canvas = Canvas::new(340.0);
    let axes = canvas.axes(&frame, 20.0);
    let [left, right, top, bottom] = axes.room;
    let mut counts = vec![0_u32; CELLS[0] * CELLS[1]];
    let cell = [(right - left) / CELLS[0] as f64, (bottom - top) / CELLS[1] as f64];
    for [mean, error] in &points {
        let column = (((axes.x.at(*mean) - left) / cell[0]) as usize).min(CELLS[0] - 1);
        let row = (((axes.y.at(*error) - top) / cell[1]) as usize).min(CELLS[1] - 1);
        counts[row * CELLS[0] + column] += 1;
    }
    let most = f64::from(counts.iter().copied().max().unwrap_or(1).max(1));
    let mut shades: [Vec<[f64; 2]>; SHADES] = Default::default();
    for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let place = [left + cell[0] * (at % CELLS[0]) as f64, top + cell[1] * (at / CELLS[0]) as f64];
        let shade = ((f64::from(*count) / most).sqrt() * SHADES as f64) as usize;
        shades[shade.min(SHADES - 1)].push(place);
    }
    for (shade, places) in shades.iter().enumerate() {
        canvas.cells(places, cell, "c0 solid", 0.1 + 0.9 * (shade as f64 + 0.5) / SHADES as f64);
    }
    canvas.line([left, axes.y.at(0.0)], [right, axes.y.at(0.0)], "axis");
    let lines = [("bias", agreement.bias), ("lower limit", agreement.limits[0]), ("upper limit", agreement.limits[1])];
    let mut table = Grid::new(["line", "BPM"]);
    for (place, (what, value)) in lines.into_iter().enumerate() {
        let y = axes.y.at(value);
        canvas.line([left, y], [right, y], if place == 0 { "c1 thick" } else { "c1 line d1" });
        canvas.text([right - 4.0, y - 5.0], "strong halo", Anchor::End, &format!("{what} {}", two(value)));
        table.push([what.into(), two(value)]);
    }
    let told = format!(
        "{} points of `{name}`: the darker a cell, the more points. Bias {} BPM; 95 % of the errors of any user are \
         expected between {} and {} BPM, as errors within and between users are spread.",
        points.len(),
        two(agreement.bias),
        two(agreement.limits[0]),
        two(agreement.limits[1])
    );
    let title = format!("Bland–Altman: {name}");
    let svg = canvas.finish(Figure::ID, &title, &told);
    Some(Figure { title, told, svg, table })
}
