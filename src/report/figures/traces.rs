//! A predicted heart rate beside the recorded one through a workout, and errors by shift in time. Unaware of stores.

use pacer_stages::scale;

use crate::report::draw::{self, Canvas, Frame};
use crate::report::figures::two;
use crate::report::{Figure, Grid};

/// Points of a line; more could not be seen.
const POINTS: usize = 400;

/// Rows of a table of a trace.
const ROWS: usize = 30;

/// One workout: seconds, recorded and predicted BPM.
pub struct Trace<'a> {
    /// What it is, such as `median workout`.
    pub title: String,
    /// Seconds since the start.
    pub time: &'a [f32],
    /// The recorded heart rate.
    pub truth: &'a [f32],
    /// Models with what they predicted.
    pub predictions: Vec<(&'a str, &'a [f32])>,
}

/// The figure of one workout; none without points.
pub fn trace(trace: &Trace<'_>) -> Option<Figure> {
    let points = |values: &[f32]| -> Vec<[f64; 2]> {
        trace.time.iter().zip(values).map(|(time, value)| [f64::from(*time) / 60.0, f64::from(*value)]).collect()
    };
    let names: Vec<String> = trace.predictions.iter().map(|(model, _)| (*model).to_owned()).collect();
    let lines: Vec<_> =
        std::iter::once(trace.truth).chain(trace.predictions.iter().map(|(_, values)| *values)).map(points).collect();
    let last = f64::from(*trace.time.last()?) / 60.0;
    let mut canvas = Canvas::new(250.0);
    let top = canvas.legend(&[&["recorded".to_owned()], names.as_slice()].concat());
    let values: Vec<f64> = lines.iter().flatten().map(|point| point[1]).collect();
    let frame =
        Frame { x: [0.0, last], y: scale::bulk(&values)?, across: "minutes since the start", up: "heart rate (BPM)" };
    let axes = canvas.axes(&frame, top);
    for (place, line) in lines.iter().enumerate() {
        let line = scale::thinned(line, POINTS).into_iter().map(|[x, y]| [axes.x.at(x), axes.y.at(y)]);
        canvas.path(line, &format!("{} line d{place}", draw::tone(place)));
    }
    let header = ["minute".to_owned(), "recorded (BPM)".to_owned()];
    let header = header.into_iter().chain(names.iter().map(|name| format!("{name} (BPM)"))).collect();
    let mut table = Grid { header, rows: Vec::new() };
    for at in (0..trace.time.len()).step_by(trace.time.len().div_ceil(ROWS)) {
        let values = std::iter::once(&trace.truth[at]).chain(trace.predictions.iter().map(|(_, values)| &values[at]));
        let minute = format!("{:.1}", trace.time[at] / 60.0);
        table.rows.push(std::iter::once(minute).chain(values.map(|value| format!("{value:.0}"))).collect());
    }
    let told = format!(
        "The recorded heart rate and that of {}, each sample; the table holds some of them.",
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ")
    );
    let svg = canvas.finish(Figure::ID, &trace.title, &told);
    Some(Figure { title: trace.title.clone(), told, svg, table })
}

/// Errors by shift, a line for each model; none without points.
pub fn lags(curves: &[(String, Vec<[f64; 2]>)]) -> Option<Figure> {
    let all = || curves.iter().flat_map(|(_, curve)| curve);
    let x = draw::range(all().map(|point| point[0]))?;
    let y = draw::range(all().map(|point| point[1]))?;
    let mut canvas = Canvas::new(300.0);
    let names: Vec<String> = curves.iter().map(|(name, _)| name.clone()).collect();
    let top = canvas.legend(&names);
    let axes =
        canvas.axes(&Frame { x, y, across: "the prediction is read so many seconds later", up: "MAE (BPM)" }, top);
    canvas.line([axes.x.at(0.0), top], [axes.x.at(0.0), axes.room[3]], "dash");
    let mut table = Grid::new(["model", "MAE at zero (BPM)", "best shift (s)", "MAE there (BPM)"]);
    for (place, (name, curve)) in curves.iter().enumerate() {
        let points = || curve.iter().map(|[x, y]| [axes.x.at(*x), axes.y.at(*y)]);
        canvas.path(points(), &format!("{} line d{}", draw::tone(place), place % draw::TONES));
        points().for_each(|point| canvas.mark(point, place, 2.6));
        let best = curve.iter().min_by(|a, b| a[1].total_cmp(&b[1]))?;
        let zero = curve.iter().min_by(|a, b| a[0].abs().total_cmp(&b[0].abs()))?;
        table.push([name.clone(), two(zero[1]), format!("{:.0}", best[0]).replace('-', "−"), two(best[1])]);
    }
    let told = "The error when each prediction is held against the truth of another moment. A model that follows the \
                heart too late is best right of zero; then its error holds a part that is delay alone. All shifts are \
                scored at the same samples, those near neither end of a workout.";
    let title = "Error by shift in time".to_owned();
    let svg = canvas.finish(Figure::ID, &title, told);
    Some(Figure { title, told: told.into(), svg, table })
}
