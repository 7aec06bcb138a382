//! The trials of a sweep: each a line through its parameters to its error, errors against time, and the error by one
//! parameter with its spread over seeds. Unaware of stores.

use std::collections::{BTreeMap, BTreeSet};

use pacer_stages::scale::Scale;

use crate::graph;
use crate::report::draw::{self, Anchor, Axes, Canvas, Frame, WIDTH};
use crate::report::figures::forest::shortened;
use crate::report::figures::{plain, two};
use crate::report::{Figure, Grid};

/// Values of a parameter that can be told apart by marks.
const MARKED: usize = draw::TONES;

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
    let names = names(trials);
    let is_choice = |name: &&String| !graph::Trial::is_seed(name) && levels(trials, name).len() > 1;
    let choices: Vec<&String> = names.iter().filter(is_choice).collect();
    let main = choices.iter().find(|name| name.contains("batch_size")).or(choices.first()).copied();
    let mut figures: Vec<Figure> = parallel(group, trials, &names).into_iter().collect();
    figures.extend(main.and_then(|name| by_parameter(group, name, trials)));
    figures.extend(against_time(group, main, trials));
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

fn value(trial: &Trial, name: &str) -> Option<String> {
    let (_, value) = trial.coordinates.iter().find(|(own, _)| own == name)?;
    Some(plain(value))
}

/// The values of a parameter in order, numbers as numbers.
fn levels(trials: &[Trial], name: &str) -> Vec<String> {
    let values: BTreeSet<String> = trials.iter().filter_map(|trial| value(trial, name)).collect();
    let mut values: Vec<String> = values.into_iter().collect();
    let number = |text: &String| text.parse::<f64>().unwrap_or(f64::INFINITY);
    values.sort_by(|a, b| number(a).total_cmp(&number(b)).then_with(|| a.cmp(b)));
    values
}

fn parallel(group: &str, trials: &[Trial], all: &[String]) -> Option<Figure> {
    // What differs in its seed alone shows as spread at the error.
    let chosen = all.iter().filter(|name| !graph::Trial::is_seed(name)).cloned().collect::<Vec<_>>();
    let names = if chosen.is_empty() { all.to_vec() } else { chosen };
    let [low, high] = draw::range(trials.iter().map(|trial| trial.mae))?;
    let mut canvas = Canvas::new(330.0);
    let (top, bottom) = (44.0, 300.0);
    let across = Scale::new([0.0, names.len() as f64], [112.0, WIDTH - 70.0]);
    let axes: Vec<Vec<String>> = names.iter().map(|name| levels(trials, name)).collect();
    let up =
        |axis: usize, level: usize| Scale::new([-0.5, axes[axis].len() as f64 - 0.5], [bottom, top]).at(level as f64);
    let error = Scale::new([low, high], [bottom, top]);
    let x = across.at(names.len() as f64);
    let mut sorted: Vec<&Trial> = trials.iter().collect();
    sorted.sort_by(|a, b| a.mae.total_cmp(&b.mae));
    // The best is drawn last, over the others.
    for (rank, trial) in sorted.iter().enumerate().rev() {
        let place = |(at, name): (usize, &String)| {
            let words = value(trial, name)?;
            let level = axes[at].iter().position(|level| *level == words)?;
            Some([across.at(at as f64), up(at, level)])
        };
        let points = names.iter().enumerate().filter_map(place).chain([[x, error.at(trial.mae)]]);
        canvas.path(points, if rank == 0 { "c1 thick" } else { "c0 thin" });
    }
    for (at, name) in names.iter().enumerate() {
        let x = across.at(at as f64);
        canvas.line([x, top - 4.0], [x, bottom], "axis");
        canvas.text([x, 20.0], "strong", Anchor::Middle, &shortened(name, 22));
        let step = axes[at].len().div_ceil(9);
        for (level, words) in axes[at].iter().enumerate().step_by(step) {
            canvas.text([x - 6.0, up(at, level) + 4.0], "tick halo", Anchor::End, &shortened(words, 15));
        }
    }
    canvas.line([x, top - 4.0], [x, bottom], "axis");
    canvas.text([x, 20.0], "strong", Anchor::Middle, "MAE (BPM)");
    let ends = [low, high].into_iter();
    ends.for_each(|end| canvas.text([x + 6.0, error.at(end) + 4.0], "tick", Anchor::Start, &two(end)));
    let mut table = Grid { header: all.to_vec(), rows: Vec::new() };
    table.header.extend(["validation MAE (BPM)".to_owned(), "seconds".to_owned()]);
    for trial in sorted {
        let cells = all.iter().map(|name| value(trial, name).unwrap_or_default());
        table.rows.push(cells.chain([two(trial.mae), format!("{:.1}", trial.seconds)]).collect());
    }
    let told = "Each line is a trial, from its parameters to its error on the validation part; the thick one is the \
                best. Values of a parameter stand in their order, not to scale.";
    let title = format!("Trials of {group}");
    let svg = canvas.finish(Figure::ID, &title, told);
    Some(Figure { title, told: told.into(), svg, table })
}

fn against_time(group: &str, main: Option<&String>, trials: &[Trial]) -> Option<Figure> {
    let x = draw::range(trials.iter().map(|trial| trial.seconds))?;
    let y = draw::range(trials.iter().map(|trial| trial.mae))?;
    let levels = main.map(|name| levels(trials, name)).filter(|levels| levels.len() <= MARKED).unwrap_or_default();
    let mut canvas = Canvas::new(300.0);
    let label = |level: &String| main.map_or_else(String::new, |name| format!("{name}={level}"));
    let top = canvas.legend(&levels.iter().map(label).collect::<Vec<_>>());
    let axes = canvas.axes(&Frame { x, y, across: "seconds of training", up: "validation MAE (BPM)" }, top + 8.0);
    let mut table = Grid::new(["trial", "seconds of training", "validation MAE (BPM)"]);
    let mut sorted: Vec<&Trial> = trials.iter().collect();
    sorted.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    for trial in sorted {
        let own = main.and_then(|name| value(trial, name));
        let place = own.and_then(|own| levels.iter().position(|level| *level == own)).unwrap_or(0);
        canvas.mark([axes.x.at(trial.seconds), axes.y.at(trial.mae)], place, 4.5);
        table.push([told(trial), format!("{:.2}", trial.seconds), two(trial.mae)]);
    }
    let title = format!("Quality against time: {group}");
    let words = "One mark a trial: what a better figure costs. Down and to the left is better and cheaper.";
    let svg = canvas.finish(Figure::ID, &title, words);
    Some(Figure { title, told: words.into(), svg, table })
}

fn told(trial: &Trial) -> String {
    let pairs = trial.coordinates.iter().map(|(name, _)| format!("{name}={}", value(trial, name).unwrap_or_default()));
    pairs.collect::<Vec<_>>().join(", ")
}

/// Trials that differ in one parameter and in seeds alone.
struct Series {
    name: String,
    /// The errors at each level of the parameter.
    errors: Vec<Vec<f64>>,
}

/// The error by one parameter: a mark for each trial, and a line through the means over seeds.
fn by_parameter(group: &str, name: &str, trials: &[Trial]) -> Option<Figure> {
    let levels = levels(trials, name);
    let all = series(name, &levels, trials);
    let [low, high] = draw::range(trials.iter().map(|trial| trial.mae))?;
    let mut canvas = Canvas::new(320.0);
    let top = canvas.legend(&all.iter().map(|series| series.name.clone()).collect::<Vec<_>>());
    let frame = Frame { x: [0.0, 1.0], y: [low, high], across: name, up: "validation MAE (BPM)" };
    let Axes { y, room: [left, right, _, bottom], .. } = canvas.axes_of_levels(&frame, top + 8.0);
    let x = Scale::new([-0.5, levels.len() as f64 - 0.5], [left, right]);
    let step = levels.len().div_ceil(12);
    for (at, level) in levels.iter().enumerate().step_by(step) {
        canvas.text([x.at(at as f64), bottom + 17.0], "tick", Anchor::Middle, &shortened(level, 14));
    }
    let mut table = Grid::new(["series", "value", "trials", "mean MAE (BPM)", "sd", "least", "greatest"]);
    for (place, series) in all.iter().enumerate() {
        let aside = 9.0 * (place as f64 - (all.len() as f64 - 1.0) / 2.0);
        let mut means = Vec::new();
        for (at, errors) in series.errors.iter().enumerate().filter(|(_, errors)| !errors.is_empty()) {
            let at_x = x.at(at as f64) + aside;
            errors.iter().for_each(|error| canvas.mark([at_x, y.at(*error)], place, 3.5));
            let mean = errors.iter().sum::<f64>() / errors.len() as f64;
            let [least, most] = draw::range(errors.iter().copied())?;
            means.push([at_x, y.at(mean)]);
            let sd = spread(errors, mean).map(two).unwrap_or_default();
            let cells = [series.name.clone(), levels[at].clone(), errors.len().to_string(), two(mean), sd];
            table.rows.push(cells.into_iter().chain([two(least), two(most)]).collect());
        }
        canvas.path(means, &format!("{} line d{}", draw::tone(place), place % draw::TONES));
    }
    let words = "One mark a trial; lines join the means over seeds. Where marks of one value lie further apart than the \
                 means of two, the difference may be chance.";
    let title = format!("Error by {name}: {group}");
    let svg = canvas.finish(Figure::ID, &title, words);
    Some(Figure { title, told: words.into(), svg, table })
}

fn series(name: &str, levels: &[String], trials: &[Trial]) -> Vec<Series> {
    let mut found: BTreeMap<String, Vec<Vec<f64>>> = BTreeMap::new();
    for trial in trials {
        let others = trial.coordinates.iter().filter(|(own, _)| own != name && !graph::Trial::is_seed(own));
        let others = others.map(|(own, _)| format!("{own}={}", value(trial, own).unwrap_or_default()));
        let errors =
            found.entry(others.collect::<Vec<_>>().join(", ")).or_insert_with(|| vec![Vec::new(); levels.len()]);
        if let Some(level) = value(trial, name).and_then(|own| levels.iter().position(|level| *level == own)) {
            errors[level].push(trial.mae);
        }
    }
    // More than can be told apart are one.
    if found.len() > MARKED {
        let mut all = vec![Vec::new(); levels.len()];
        for errors in found.into_values() {
            errors.into_iter().enumerate().for_each(|(level, errors): (usize, Vec<f64>)| all[level].extend(errors));
        }
        return vec![Series { name: "all trials".into(), errors: all }];
    }
    let named = |name: String| if name.is_empty() { "trials, and their mean".to_owned() } else { name };
    found.into_iter().map(|(name, errors)| Series { name: named(name), errors }).collect()
}

fn spread(errors: &[f64], mean: f64) -> Option<f64> {
    let sum: f64 = errors.iter().map(|error| (error - mean).powi(2)).sum();
    (errors.len() > 1).then(|| (sum / (errors.len() - 1) as f64).sqrt())
}
