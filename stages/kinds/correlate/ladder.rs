//! The ladder of the kind `correlate`: what each step from raw speed to the heart's kinetics gives. Unaware of files.

use anyhow::Result;
use serde_json::{Value, json};

use crate::features::{Feature, Signal};
use crate::kinds::correlate::set::{Set, Stand};
use crate::kinds::correlate::tally::{Predictor, Tally};
use crate::sequences::DataSource;
use crate::statistics::rounded;
use crate::table::{Column, Table};

/// The steps of one source.
pub struct Ladder {
    /// The source.
    pub source: String,
    /// Recordings or simulation.
    pub data: DataSource,
    steps: Vec<Step>,
}

/// One step: heart rate against one predictor.
struct Step {
    name: &'static str,
    predictor: String,
    says: &'static str,
    workouts: u64,
    samples: u64,
    /// Pearson's r over all samples.
    pooled: Option<f64>,
    /// Mean over workouts of Pearson's r within the workout.
    within: Option<f64>,
    negative: Option<f64>,
}

/// The ladders of all sources, in the order of their names.
pub fn climb(sets: &[Set], predictors: &[Predictor]) -> Vec<Ladder> {
    let processed = sets.iter().filter(|set| set.stand == Stand::Processed);
    processed
        .map(|set| {
            let raw = sets.iter().find(|other| other.stand == Stand::Raw && other.source == set.source);
            let ladder = Climb { predictors };
            let steps = [
                raw.and_then(|raw| ladder.at_once(raw, Signal::Speed, "raw", "speed as imported, at the same moment")),
                ladder.at_once(set, Signal::Speed, "cleaned", "what the filters give"),
                ladder.at_once(set, Signal::Power, "slope", "what the cost of the slope gives"),
                ladder.lagged(set),
                ladder.smoothed(set),
            ];
            Ladder { source: set.source.clone(), data: set.data, steps: steps.into_iter().flatten().collect() }
        })
        .collect()
}

struct Climb<'a> {
    predictors: &'a [Predictor],
}

impl Climb<'_> {
    fn at_once(&self, set: &Set, signal: Signal, name: &'static str, says: &'static str) -> Option<Step> {
        let place = self.place(|it| it.lag == 0.0 && it.feature == Feature::Signal(signal))?;
        Some(step(set.tallies.of(place), name, signal.name().to_owned(), says))
    }

    fn lagged(&self, set: &Set) -> Option<Step> {
        let (lag, _) = set.best_lag(Signal::Power, self.predictors)?;
        let place = self.place(|it| it.lag == lag && !it.ranked && it.feature == Feature::Signal(Signal::Power))?;
        let predictor = format!("power {lag} s before");
        Some(step(set.tallies.of(place), "lag", predictor, "what the heart's delay gives"))
    }

    fn smoothed(&self, set: &Set) -> Option<Step> {
        let averages = self.predictors.iter().enumerate();
        let averages = averages.filter(|(_, it)| it.lag == 0.0 && matches!(it.feature, Feature::Ema(Signal::Power, _)));
        let figures = averages.filter_map(|(place, it)| Some((place, it, set.tallies.of(place).mean_pearson()?)));
        let best = figures.reduce(|best, next| if next.2 > best.2 { next } else { best })?;
        let predictor = best.1.feature.to_string();
        Some(step(
            set.tallies.of(best.0),
            "kinetics",
            predictor,
            "what the heart's slow answer gives, in place of the lag",
        ))
    }

    fn place(&self, fits: impl Fn(&Predictor) -> bool) -> Option<usize> {
        self.predictors.iter().position(fits)
    }
}

fn step(tally: &Tally, name: &'static str, predictor: String, says: &'static str) -> Step {
    Step {
        name,
        predictor,
        says,
        workouts: tally.workouts(),
        samples: tally.points(),
        pooled: tally.pooled_pearson(),
        within: tally.mean_pearson(),
        negative: tally.negative_share(),
    }
}

impl Ladder {
    /// The steps' figures, for the result.
    pub fn metrics(&self) -> Value {
        let steps = self.steps.iter().map(|step| {
            let r = json!({ "r": step.pooled.map(rounded), "r_within": step.within.map(rounded) });
            (step.name.to_owned(), r)
        });
        Value::Object(steps.collect())
    }
}

/// A row for each step of each source.
pub fn table(ladders: &[Ladder]) -> Result<Table> {
    let rows: Vec<(&Ladder, usize, &Step)> = ladders
        .iter()
        .flat_map(|ladder| ladder.steps.iter().enumerate().map(move |(at, step)| (ladder, at, step)))
        .collect();
    let gain = |(ladder, at, step): &(&Ladder, usize, &Step)| {
        let before = at.checked_sub(1).and_then(|before| ladder.steps[before].within);
        step.within.zip(before).map(|(now, before)| rounded(now - before))
    };
    Table::new(vec![
        Column::text("source", rows.iter().map(|row| row.0.source.as_str())),
        Column::text("data", rows.iter().map(|row| row.0.data.name())),
        Column::text("step", rows.iter().map(|row| row.2.name)),
        Column::text("heart rate against", rows.iter().map(|row| row.2.predictor.as_str())),
        Column::float("r within workouts", rows.iter().map(|row| row.2.within.map(rounded))),
        Column::float("gain", rows.iter().map(gain)),
        Column::float("r over all samples", rows.iter().map(|row| row.2.pooled.map(rounded))),
        Column::float("negative workouts", rows.iter().map(|row| row.2.negative.map(rounded))),
        Column::int("workouts", rows.iter().map(|row| row.2.workouts as i64)),
        Column::int("samples", rows.iter().map(|row| row.2.samples as i64)),
        Column::text("says", rows.iter().map(|row| row.2.says)),
    ])
}

/// The ladders as data of a figure: steps along x, a line for each source.
pub fn figure(ladders: &[Ladder], data: Option<DataSource>) -> Value {
    let series = ladders.iter().map(|ladder| {
        let x: Vec<&str> = ladder.steps.iter().map(|step| step.name).collect();
        let y: Vec<Option<f64>> = ladder.steps.iter().map(|step| step.within.map(rounded)).collect();
        json!({ "name": ladder.source, "x": x, "y": y, "data": ladder.data })
    });
    json!({
        "title": "Heart rate against speed: what each step gives",
        "x": "step",
        "y": "mean over workouts of Pearson's r",
        "series": series.collect::<Vec<_>>(),
        "data": data,
    })
}
