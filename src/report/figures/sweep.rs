//! The trials of a sweep: each a line through its parameters to its error, and errors against time. Unaware of stores.

use std::collections::BTreeSet;

use pacer_stages::scale::Scale;

use crate::report::draw::{self, Anchor, Canvas, Frame, WIDTH};
use crate::report::figures::forest::shortened;
use crate::report::figures::two;
use crate::report::{Figure, Grid};

/// A trial.
pub struct Trial {
    /// Its parameters, in the order of the sweep.
    pub coordinates: Vec<(String, serde_json::Value)>,
    /// Its error on the validation part, BPM.
    pub mae: f64,
    /// Seconds that it took.
    pub seconds: f64,
}

/// The figures of one sweep; none for fewer than two trials.
pub fn sweep(group: &str, trials: &[Trial]) -> Vec<Figure> {
    if trials.len() < 2 {
        return Vec::new();
    }
    let mut figures: Vec<Figure> = parallel(group, trials).into_iter().collect();
    figures.extend(against_time(group, trials));
    figures.extend(
        names(trials).iter().filter(|name| name.contains("batch_size")).filter_map(|name| one(group, name, trials)),
    );
    figures
}

fn names(trials: &[Trial]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (name, _) in trials.iter().flat_map(|trial| &trial.coordinates) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn value<'a>(trial: &'a Trial, name: &str) -> Option<&'a serde_json::Value> {
    trial.coordinates.iter().find(|(own, _)| own == name).map(|(_, value)| value)
}

fn told(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The values of a parameter in order, numbers as numbers.
fn levels(trials: &[Trial], name: &str) -> Vec<String> {
    let values: BTreeSet<String> = trials.iter().filter_map(|trial| value(trial, name)).map(told).collect();
    let mut values: Vec<String> = values.into_iter().collect();
    let number = |text: &String| text.parse::<f64>().unwrap_or(f64::INFINITY);
    values.sort_by(|a, b| number(a).total_cmp(&number(b)).then_with(|| a.cmp(b)));
    values
}

fn parallel(group: &str, trials: &[Trial]) -> Option<Figure> {
    let names = names(trials);
    let [low, high] = draw::range(trials.iter().map(|trial| trial.mae))?;
    let mut canvas = Canvas::new(330.0);
    let (top, bottom) = (44.0, 300.0);
    let across = Scale::new([0.0, names.len() as f64], [80.0, WIDTH - 70.0]);
    let axes: Vec<Vec<String>> = names.iter().map(|name| levels(trials, name)).collect();
    let up =
        |axis: usize, level: usize| Scale::new([-0.5, axes[axis].len() as f64 - 0.5], [bottom, top]).at(level as f64);
    let error = Scale::new([low, high], [bottom, top]);
    for (at, name) in names.iter().enumerate() {
        let x = across.at(at as f64);
        canvas.line([x, top - 4.0], [x, bottom], "axis");
        canvas.text([x, 20.0], "strong", Anchor::Middle, &shortened(name, 18));
        let step = axes[at].len().div_ceil(9);
        for (level, words) in axes[at].iter().enumerate().step_by(step) {
            canvas.text([x - 6.0, up(at, level) + 4.0], "tick", Anchor::End, &shortened(words, 10));
        }
    }
    let x = across.at(names.len() as f64);
    canvas.line([x, top - 4.0], [x, bottom], "axis");
    canvas.text([x, 20.0], "strong", Anchor::Middle, "MAE (BPM)");
    [low, high].iter().for_each(|end| canvas.text([x + 6.0, error.at(*end) + 4.0], "tick", Anchor::Start, &two(*end)));
    let mut table = Grid { header: names.clone(), rows: Vec::new() };
    table.header.extend(["validation MAE (BPM)".to_owned(), "seconds".to_owned()]);
    let mut sorted: Vec<&Trial> = trials.iter().collect();
    sorted.sort_by(|a, b| a.mae.total_cmp(&b.mae));
    for (rank, trial) in sorted.iter().enumerate() {
        let place = |(at, name): (usize, &String)| {
            let words = told(value(trial, name)?);
            let level = axes[at].iter().position(|level| *level == words)?;
            Some([across.at(at as f64), up(at, level)])
        };
        let points = names.iter().enumerate().filter_map(place).chain([[x, error.at(trial.mae)]]);
        canvas.path(points, if rank == 0 { "c1 thick" } else { "c0 thin" });
        let cells = names.iter().map(|name| value(trial, name).map(told).unwrap_or_default());
        table.rows.push(cells.chain([two(trial.mae), format!("{:.1}", trial.seconds)]).collect());
    }
    let told = "Each line is a trial, from its parameters to its error on the validation part; the thick one is the \
                best. Values of a parameter stand in their order, not to scale.";
    let title = format!("Trials of {group}");
    let svg = canvas.finish(Figure::ID, &title, told);
    Some(Figure { title, told: told.into(), svg, table })
}

fn against_time(group: &str, trials: &[Trial]) -> Option<Figure> {
    let points = trials.iter().map(|trial| [trial.seconds, trial.mae]).collect::<Vec<_>>();
    dots(
        format!("Error against time: {group}"),
        &points,
        "seconds of training",
        "One dot a trial: what a better figure costs.",
    )
}

/// The error against one parameter in powers of two, a dot for each trial.
fn one(group: &str, name: &str, trials: &[Trial]) -> Option<Figure> {
    let point = |trial: &Trial| Some([value(trial, name)?.as_f64().filter(|value| *value > 0.0)?.log2(), trial.mae]);
    let points: Vec<[f64; 2]> = trials.iter().filter_map(point).collect();
    let told = "One dot a trial; what other parameters and seeds do shows as spread at one place.";
    dots(format!("Error by {name}: {group}"), &points, &format!("log₂ of {name}"), told)
}

fn dots(title: String, points: &[[f64; 2]], across: &str, told: &str) -> Option<Figure> {
    let x = draw::range(points.iter().map(|point| point[0]))?;
    let y = draw::range(points.iter().map(|point| point[1]))?;
    let mut canvas = Canvas::new(290.0);
    let axes = canvas.axes(&Frame { x, y, across, up: "validation MAE (BPM)" }, 16.0);
    let mut table = Grid::new([across, "validation MAE (BPM)"]);
    for [x, y] in points {
        canvas.mark([axes.x.at(*x), axes.y.at(*y)], 0, 4.0);
        table.push([format!("{x:.2}"), two(*y)]);
    }
    let svg = canvas.finish(Figure::ID, &title, told);
    Some(Figure { title, told: told.into(), svg, table })
}
