//! The kind `forecast`, declared: its parameters and its ports. Unaware of how it is run, which a worker process with
//! LibTorch does.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::{Arity, ArtifactType, InputPort, OutputPort};
use crate::recipe::{require_positive, require_some};
use crate::split::Part;
use crate::stage::{ParameterFault, Stage};

/// Continues a workout's heart rate from its own beginning, with Lag-Llama as published.
///
/// THIS IS ANOTHER TASK than the one of `evaluate`: the forecaster is given `warm_up` steps of the real heart rate of
/// the very run, and no speed, altitude or user. Its figures never stand beside those of models that are given none;
/// each of them says `task = "continues a warm-up of real heart rate"`.
///
/// Reads the published weights as safetensors under their published names (`scripts/convert_lag_llama.py` makes such a
/// file from the published checkpoint), feature sequences on a grid of time, and a split. The forecaster of Rasul et
/// al. (2023, arXiv 2310.08278): each step is told the heart rate at 84 steps back (0 to 1,092), the logarithms of
/// level and spread, and the time in UTC; the spread is that between the quartiles of the past; 100 futures are drawn
/// step by step from Student's t. A prediction is the median of the futures.
///
/// As the published program does with its cache: a step looks back at `context` steps, keeps the scale under which it
/// was first read, and draws count as past; what lies before the warm-up's start is 0 BPM and does not count towards
/// the scale. Unlike there, a missing heart rate within the warm-up is not 0: it holds the last real one, or the first
/// where none came before; it does not count towards the scale either.
///
/// Scored at the real samples of the `horizon` steps after the warm-up alone, beside the last value of the warm-up
/// (`persistence`) and the mean of the training part (`constant`). Workouts that end before, or hold no real sample on
/// either side, are left out and counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Forecast {
    /// The part to score on: choose on `validation`, report `test` once.
    pub part: Part,
    /// Steps of real heart rate that the forecaster is given, at least `context`.
    pub warm_up: usize,
    /// Steps that it continues, as far as a workout goes.
    pub horizon: usize,
    /// Steps that a step looks back at, its own among them: 32 in training.
    pub context: usize,
    /// What positions are divided by, where `context` is longer than in training (linear scaling).
    pub stretch: f64,
    /// Futures drawn of each workout.
    pub samples: usize,
    /// The share of futures that the interval between `low` and `high` holds, its middle at the median.
    pub interval: f64,
}

impl Default for Forecast {
    fn default() -> Self {
        Self { part: Part::Test, warm_up: 60, horizon: 60, context: 32, stretch: 1.0, samples: 100, interval: 0.9 }
    }
}

/// The longest horizon: each step of a workout has random numbers of its own, as far as there are so many.
const LONGEST: usize = 1 << 20;

/// The most futures: they are drawn side by side, each with its past in memory.
const MOST: usize = 10_000;

impl Forecast {
    /// The figures by forecast.
    pub const METRICS: OutputPort =
        OutputPort::fixed("metrics", ArtifactType::Metrics, "the figures of each forecast by its name");
    /// Every scored point.
    pub const PREDICTIONS: OutputPort = OutputPort::fixed(
        "predictions",
        ArtifactType::Predictions,
        "one row for each forecast and real sample after the warm-up: truth and prediction in BPM",
    );
    /// Errors by workout.
    pub const PER_WORKOUT: OutputPort = OutputPort::fixed(
        "per_workout",
        ArtifactType::Table,
        "one row for each forecast and workout: MAE, RMSE and bias in BPM",
    );
}

impl Stage for Forecast {
    const NAME: &'static str = "forecast";
    const SEEDED: bool = true;
    const PARALLEL: bool = true;
    const INPUTS: &'static [InputPort] = &[
        InputPort {
            name: "weights",
            accepts: &[ArtifactType::File],
            arity: Arity::One,
            doc: "the published weights as safetensors",
        },
        InputPort {
            name: "sequences",
            accepts: &[ArtifactType::Sequences],
            arity: Arity::One,
            doc: "heart rates on a grid of time; the features are not looked at",
        },
        InputPort {
            name: "split",
            accepts: &[ArtifactType::Split],
            arity: Arity::One,
            doc: "which workouts are held out, and which the constant is taken from",
        },
    ];
    const OUTPUTS: &'static [OutputPort] = &[Self::METRICS, Self::PREDICTIONS, Self::PER_WORKOUT];

    fn check(&self) -> Vec<ParameterFault> {
        let counts = [("horizon", self.horizon), ("context", self.context), ("samples", self.samples)];
        let mut faults: Vec<_> = counts.into_iter().filter_map(|(path, count)| require_some(path, count)).collect();
        if self.warm_up < self.context {
            let message = format!("{} steps are fewer than the {} of `context`", self.warm_up, self.context);
            faults.push(ParameterFault::new("warm_up", message));
        }
        for (path, count, most) in [("horizon", self.horizon, LONGEST), ("samples", self.samples, MOST)] {
            if count > most {
                faults.push(ParameterFault::new(path, format!("{count} are too many: at most {most}")));
            }
        }
        faults.extend(require_positive("stretch", self.stretch));
        if !(self.interval > 0.0 && self.interval < 1.0) {
            faults.push(ParameterFault::new("interval", format!("{} is not above 0 and below 1", self.interval)));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_faulty_value_is_named_at_once() {
        let faulty =
            Forecast { warm_up: 31, horizon: 0, samples: 0, stretch: 0.0, interval: 1.0, ..Forecast::default() };
        let paths: Vec<_> = faulty.check().into_iter().map(|fault| fault.path).collect();
        assert_eq!(paths, ["horizon", "samples", "warm_up", "stretch", "interval"]);
        assert_eq!(Forecast::default().check(), []);
        let many = Forecast { horizon: LONGEST + 1, samples: MOST + 1, ..Forecast::default() }.check();
        assert_eq!([&many[0].path, &many[1].path], ["horizon", "samples"]);
    }
}
