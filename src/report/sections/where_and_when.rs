//! How models agree with the truth, where they err, and when. Unaware of HTML.

use pacer_stages::agreement::{Lags, ZONES, zone};
use pacer_stages::comparison::errors::Family;

use crate::report::figures::agreement::bland_altman;
use crate::report::figures::traces::{Trace, lags, trace};
use crate::report::figures::two;
use crate::report::figures::zones;
use crate::report::gather::{Model, Scoring};
use crate::report::sections::answer::parts;
use crate::report::sections::{Stored, figure, headed};
use crate::report::{Block, Grid};

/// Models that have figures of their own.
const DRAWN: usize = 2;

/// Models whose errors are shifted in time.
const SHIFTED: usize = 5;

/// Samples of shift on either side.
const SHIFT: usize = 9;

/// A sample counts as long as until the next, at most so many seconds.
const LONGEST: f32 = 60.0;

/// The models that tell something, best first.
fn shown(scoring: &Scoring) -> impl Iterator<Item = &Model> {
    scoring.models.iter().filter(|model| !model.is_constant())
}

/// Figures of agreement, and Bland and Altman's picture of the best.
pub fn agreement(stored: &Stored<'_>) -> Vec<Block> {
    headed(stored, |scoring| {
        let mut grid = Grid::new([
            "model",
            "seed",
            "MAE (BPM)",
            "RMSE (BPM)",
            "MAPE (%)",
            "bias (BPM)",
            "lower limit",
            "upper limit",
            "CCC",
            "R²",
            "skill",
        ]);
        for model in &scoring.models {
            let it = &model.agreement;
            let figure = |name: &str| model.figures[name].as_f64().map(two).unwrap_or_default();
            let seed = model.seed.map(|seed| seed.to_string()).unwrap_or_default();
            let ccc = it.ccc.map(two).unwrap_or_default();
            let [low, high] = it.limits.map(two);
            grid.push([
                model.name.clone(),
                seed,
                two(it.mae),
                two(it.rmse),
                two(it.mape),
                two(it.bias),
                low,
                high,
                ccc,
                figure("r2"),
                figure("skill"),
            ]);
        }
        if grid.rows.is_empty() {
            return Vec::new();
        }
        let mut blocks = vec![
            Block::words(
                "Errors are predicted − recorded, over all samples. CCC is Lin’s concordance; skill is 1 − MAE / MAE of the constant.",
            ),
            Block::Table(grid),
        ];
        for model in shown(scoring).take(DRAWN) {
            let (truth, prediction) = (&model.scored.points.truth, &model.scored.prediction);
            blocks.extend(figure(bland_altman(&model.name, truth, prediction, &model.agreement)));
        }
        blocks
    })
}

/// Zones, phases and groups.
pub fn places(stored: &Stored<'_>) -> Vec<Block> {
    headed(stored, |scoring| {
        let mut blocks = Vec::new();
        if let Some(model) = shown(scoring).next() {
            blocks.push(Block::Figure(zones::confusion(&model.name, &minutes(model))));
        }
        let families = [
            ("MAE by recorded zone (BPM):", vec![Family::Zone]),
            ("MAE by phase of the run:", vec![Family::Phase]),
            ("MAE by group of users:", vec![Family::Workouts, Family::Level]),
        ];
        for (words, families) in families {
            let grid = scoring.answer.as_ref().ok().and_then(|answer| parts(answer, &families));
            if let Some(grid) = grid.filter(|grid| !grid.rows.is_empty()) {
                blocks.extend([Block::words(words), Block::Table(grid)]);
            }
        }
        blocks
    })
}

/// Minutes of each recorded zone in each predicted one.
fn minutes(model: &Model) -> [[f64; ZONES]; ZONES] {
    let points = &model.scored.points;
    let mut minutes = [[0.0; ZONES]; ZONES];
    for block in &points.workouts {
        for at in block.places.clone() {
            let next = if at + 1 < block.places.end { points.time[at + 1] } else { points.time[at] };
            let seconds = (next - points.time[at]).clamp(0.0, LONGEST);
            minutes[zone(points.truth[at])][zone(model.scored.prediction[at])] += f64::from(seconds) / 60.0;
        }
    }
    minutes
}

/// Errors by shift, and the best, the median and the worst workout of the best model.
pub fn time(stored: &Stored<'_>) -> Vec<Block> {
    headed(stored, |scoring| {
        let curve = |model: &Model| {
            let points = &model.scored.points;
            let mut lags = Lags::default();
            for block in &points.workouts {
                let places = block.places.clone();
                let prediction = &model.scored.prediction[places.clone()];
                lags.add(&points.time[places.clone()], &points.truth[places], prediction, SHIFT);
            }
            (model.name.clone(), lags.curve())
        };
        let curves: Vec<_> = shown(scoring).take(SHIFTED).map(curve).filter(|(_, curve)| !curve.is_empty()).collect();
        let mut blocks = figure(lags(&curves));
        if let Some(model) = shown(scoring).next() {
            blocks.extend(traces(model));
        }
        blocks
    })
}

fn traces(model: &Model) -> Vec<Block> {
    let points = &model.scored.points;
    let error = |at: usize| f64::from((model.scored.prediction[at] - points.truth[at]).abs());
    let workouts = points.workouts.iter().filter(|block| block.places.len() >= 2);
    let mut ranked: Vec<(f64, usize)> = workouts
        .enumerate()
        .map(|(at, block)| (block.places.clone().map(error).sum::<f64>() / block.places.len() as f64, at))
        .collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let kept: Vec<_> = points.workouts.iter().filter(|block| block.places.len() >= 2).collect();
    let chosen = match ranked.len() {
        0 => Vec::new(),
        1 | 2 => vec![("Only", 0)],
        n => vec![("Best", 0), ("Median", n / 2), ("Worst", n - 1)],
    };
    let one = |(word, rank): (&str, usize)| {
        let (mae, at) = ranked[rank];
        let places = kept[at].places.clone();
        let title = format!(
            "{word} workout of {}: № {} of user {}, MAE {} BPM",
            model.name,
            kept[at].workout,
            kept[at].user,
            two(mae)
        );
        figure(trace(&Trace {
            title,
            time: &points.time[places.clone()],
            truth: &points.truth[places.clone()],
            predictions: vec![(&model.name, &model.scored.prediction[places])],
        }))
    };
    chosen.into_iter().flat_map(one).collect()
}
