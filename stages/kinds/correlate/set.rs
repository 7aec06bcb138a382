//! One set of workouts as the kind `correlate` sees it: its tallies, and their rows in the table. Unaware of files.

use anyhow::Result;
use serde_json::{Value, json};

use crate::features::{Feature, Signal};
use crate::kinds::correlate::tally::{Predictor, Tallies, Tally};
use crate::sequences::DataSource;
use crate::stage::Metrics;
use crate::statistics::rounded;
use crate::table::{Column, Table};

/// The signals that are looked at by lag.
pub const LAGGED: [Signal; 2] = [Signal::Speed, Signal::Power];

/// Whether workouts are as imported or passed the filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// As imported.
    Raw,
    /// They passed the filters.
    Processed,
}

impl Stand {
    /// Both, in their order.
    pub const ALL: [Self; 2] = [Self::Raw, Self::Processed];

    /// The word of the slot and of the tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Processed => "processed",
        }
    }
}

/// One set of workouts, tallied.
pub struct Set {
    /// Where the workouts come from, by the name in the slot.
    pub source: String,
    /// What was done to them.
    pub stand: Stand,
    /// Workouts that were compared.
    pub workouts: u64,
    /// Workouts that could not be.
    pub aside: u64,
    /// Recordings or simulation.
    pub data: DataSource,
    /// How heart rate goes with each predictor.
    pub tallies: Tallies,
}

impl Set {
    /// Mean over workouts of r, by lag.
    pub fn curve(&self, signal: Signal, predictors: &[Predictor]) -> impl Iterator<Item = (f64, f64)> {
        let lagged = predictors
            .iter()
            .enumerate()
            .filter(move |(_, predictor)| !predictor.ranked && predictor.feature == Feature::Signal(signal));
        lagged.filter_map(|(place, predictor)| Some((predictor.lag, self.tallies.of(place).mean_pearson()?)))
    }

    /// The lag with the best mean r, the shortest of equals.
    pub fn best_lag(&self, signal: Signal, predictors: &[Predictor]) -> Option<(f64, f64)> {
        self.curve(signal, predictors).reduce(|best, next| if next.1 > best.1 { next } else { best })
    }

    /// The rows of the table: every predictor at lag 0, then each signal at its best lag.
    fn rows<'a>(&'a self, predictors: &'a [Predictor]) -> impl Iterator<Item = Row<'a>> {
        let best = move |predictor: &Predictor| {
            let signal = LAGGED.into_iter().find(|signal| predictor.feature == Feature::Signal(*signal));
            signal.and_then(|signal| self.best_lag(signal, predictors)).is_some_and(|(lag, _)| lag == predictor.lag)
        };
        let shown = predictors.iter().enumerate().filter(move |(_, predictor)| predictor.ranked || best(predictor));
        shown.map(|(place, predictor)| Row { set: self, predictor, tally: self.tallies.of(place) })
    }

    /// The figures of the set for the result.
    pub fn metrics(&self, predictors: &[Predictor]) -> Value {
        let mut features = Metrics::new();
        for row in self.rows(predictors).filter(|row| row.predictor.ranked) {
            let figures = json!({
                "pearson": row.tally.pooled_pearson(),
                "pearson_within": row.tally.mean_pearson(),
                "negative_share": row.tally.negative_share(),
            });
            features.insert(row.predictor.feature.to_string(), figures);
        }
        for signal in LAGGED {
            let best = self.best_lag(signal, predictors);
            let best = best.map(|(lag, r)| json!({ "lag_s": lag, "pearson_within": r }));
            features.insert(format!("{} at its best lag", signal.name()), json!(best));
        }
        json!({ "data": self.data, "n_workouts": self.workouts, "set_aside": self.aside, "features": features })
    }
}

/// A row of the table.
struct Row<'a> {
    set: &'a Set,
    predictor: &'a Predictor,
    tally: &'a Tally,
}

/// A row for each predictor in each set.
pub fn table(sets: &[Set], predictors: &[Predictor]) -> Result<Table> {
    let rows: Vec<Row<'_>> = sets.iter().flat_map(|set| set.rows(predictors)).collect();
    let figure = |name: &str, of: fn(&Tally) -> Option<f64>| {
        Column::float(name, rows.iter().map(|row| of(row.tally).map(rounded)))
    };
    let ranks = |row: &Row<'_>| if row.predictor.ranked { row.tally.pooled_spearman().map(rounded) } else { None };
    Table::new(vec![
        Column::text("source", rows.iter().map(|row| row.set.source.as_str())),
        Column::text("set", rows.iter().map(|row| row.set.stand.name())),
        Column::text("data", rows.iter().map(|row| row.set.data.name())),
        Column::text("feature", rows.iter().map(|row| row.predictor.feature.to_string())),
        Column::float("lag (s)", rows.iter().map(|row| row.predictor.lag)),
        Column::int("samples", rows.iter().map(|row| row.tally.points() as i64)),
        Column::int("workouts", rows.iter().map(|row| row.tally.workouts() as i64)),
        figure("pearson", Tally::pooled_pearson),
        Column::float("spearman", rows.iter().map(ranks)),
        figure("pearson within workouts", Tally::mean_pearson),
        figure("spearman within workouts", Tally::mean_spearman),
        figure("negative workouts", Tally::negative_share),
    ])
}
