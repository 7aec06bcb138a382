//! What every training shares: ports, the loss and the course of the learning rate, as parameters and as pure
//! functions. Unaware of models, of data and of LibTorch.

use std::f64::consts::PI;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::{Arity, ArtifactType, InputPort, OutputPort};
use crate::stage::ParameterFault;

/// The slot for who trains and who validates.
pub const SPLIT: InputPort = InputPort {
    name: "split",
    accepts: &[ArtifactType::Split],
    arity: Arity::One,
    doc: "which workouts are for training and which for validation",
};

/// The course of a training.
pub const HISTORY: OutputPort = OutputPort::fixed(
    "history",
    ArtifactType::Table,
    "one row for each epoch: learning rate, training loss, validation MAE in BPM",
);

/// The loss at a step, over the standardised heart rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Loss {
    /// The absolute error, which is what MAE reports.
    #[default]
    L1,
    /// The squared error.
    Mse,
    /// Squared up to one standard deviation of the heart rate, absolute beyond.
    Huber,
}

/// How batches are put together and worked through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Batches {
    /// Batches whose workouts are drawn together and sorted by length, so that workouts of about one length are padded
    /// to each other; 1 leaves every batch as it was drawn.
    pub bucket: usize,
    /// Workouts whose gradient is worked out at once; a batch is the sum of such parts, and memory holds one part for
    /// each thread. Left out, it is 8 or half a batch on a processor, and the whole batch on a GPU.
    pub part: Option<usize>,
    /// `float32`, or `mixed`: matrix products in half precision where a GPU computes.
    pub precision: Precision,
}

/// The numbers that a training computes with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision throughout.
    #[default]
    Float32,
    /// Products in half precision on a GPU, weights and sums in single; a processor computes as with `float32`.
    Mixed,
}

impl Default for Batches {
    fn default() -> Self {
        Self { bucket: 1, part: None, precision: Precision::Float32 }
    }
}

impl Batches {
    /// What types do not show.
    pub fn check(&self, path: &str) -> Vec<ParameterFault> {
        let counts = [("bucket", self.bucket), ("part", self.part.unwrap_or(1))];
        counts.into_iter().filter_map(|(name, count)| require_some(&format!("{path}.{name}"), count)).collect()
    }
}

/// The course of the learning rate over a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// `constant`, `cosine` (falls along half a cosine to `end`) or `step` (multiplied by `factor` every `every` epochs).
    pub shape: Shape,
    /// Epochs, or a fraction of one, over which the rate first rises linearly from 0.
    pub warmup: f64,
    /// Where `cosine` ends, as a fraction of the learning rate.
    pub end: f64,
    /// Epochs between two drops of `step`.
    pub every: usize,
    /// What `step` multiplies the rate by at each drop.
    pub factor: f64,
}

/// The shape of the course after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// The same rate throughout.
    #[default]
    Constant,
    /// Half a cosine from the full rate to `end`.
    Cosine,
    /// A staircase.
    Step,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { shape: Shape::Constant, warmup: 0.0, end: 0.0, every: 10, factor: 0.5 }
    }
}

impl Schedule {
    /// The fraction of the learning rate that applies at `progress` epochs (1.5 is the middle of the second) of
    /// a training of `epochs`. The cosine spans what the warm-up leaves (Loshchilov and Hutter 2017, without
    /// restarts).
    pub fn factor(&self, progress: f64, epochs: usize) -> f64 {
        if progress < self.warmup {
            return progress / self.warmup;
        }
        match self.shape {
            Shape::Constant => 1.0,
            Shape::Cosine => {
                let span = (epochs as f64 - self.warmup).max(f64::MIN_POSITIVE);
                let done = ((progress - self.warmup) / span).clamp(0.0, 1.0);
                self.end + (1.0 - self.end) * 0.5 * (1.0 + (PI * done).cos())
            }
            Shape::Step => self.factor.powi((progress / self.every as f64) as i32),
        }
    }

    /// Why a training cannot be made longer without changing its beginning, where [`Self::factor`] depends on the
    /// number of epochs.
    pub fn fixed_end(&self) -> Option<String> {
        match self.shape {
            Shape::Cosine => Some("`schedule.shape = \"cosine\"` spans all epochs".into()),
            Shape::Constant | Shape::Step => None,
        }
    }

    /// All that is wrong with it, with paths below `path`.
    pub fn check(&self, path: &str, epochs: usize) -> Vec<ParameterFault> {
        let mut faults = Vec::new();
        let mut require = |holds: bool, field: &str, message: String| {
            if !holds {
                faults.push(ParameterFault::new(format!("{path}.{field}"), message));
            }
        };
        let warmup = self.warmup;
        require(
            warmup.is_finite() && warmup >= 0.0 && warmup < (epochs as f64).max(1.0),
            "warmup",
            format!("{warmup} epochs of warm-up do not fit {epochs} epochs of training"),
        );
        require((0.0..=1.0).contains(&self.end), "end", format!("{} is not between 0 and 1", self.end));
        require(self.every > 0, "every", "0 epochs between drops: at least 1".into());
        require(
            self.factor > 0.0 && self.factor <= 1.0,
            "factor",
            format!("{} is not above 0 and at most 1", self.factor),
        );
        faults
    }
}

/// The fault of a number that must be above 0 and finite.
pub fn require_positive(path: &str, value: f64) -> Option<ParameterFault> {
    let holds = value.is_finite() && value > 0.0;
    (!holds).then(|| ParameterFault::new(path, format!("{value} is not above 0")))
}

/// The fault of a count that must be at least 1.
pub fn require_some(path: &str, value: usize) -> Option<ParameterFault> {
    (value == 0).then(|| ParameterFault::new(path, "0 is too few: at least 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn a_cosine_starts_full_passes_half_and_ends_where_it_was_told() {
        let schedule = Schedule { shape: Shape::Cosine, end: 0.1, ..Schedule::default() };
        assert!(close(schedule.factor(0.0, 10), 1.0));
        assert!(close(schedule.factor(5.0, 10), 0.55));
        assert!(close(schedule.factor(10.0, 10), 0.1));
    }

    #[test]
    fn a_warm_up_rises_linearly_and_shortens_the_cosine() {
        let schedule = Schedule { shape: Shape::Cosine, warmup: 2.0, ..Schedule::default() };
        assert!(close(schedule.factor(0.5, 10), 0.25));
        assert!(close(schedule.factor(2.0, 10), 1.0));
        assert!(close(schedule.factor(6.0, 10), 0.5));
    }

    #[test]
    fn a_staircase_drops_at_whole_multiples_of_its_epochs() {
        let schedule = Schedule { shape: Shape::Step, every: 3, factor: 0.1, ..Schedule::default() };
        let factors = [0.0, 2.9, 3.0, 5.9, 6.0].map(|progress| schedule.factor(progress, 9));
        for (factor, expected) in factors.into_iter().zip([1.0, 1.0, 0.1, 0.1, 0.01]) {
            assert!(close(factor, expected), "{factor} instead of {expected}");
        }
    }

    #[test]
    fn only_a_schedule_with_a_fixed_end_depends_on_the_number_of_epochs() {
        for shape in [Shape::Constant, Shape::Step, Shape::Cosine] {
            let schedule = Schedule { shape, warmup: 1.5, every: 2, ..Schedule::default() };
            let course = |epochs| -> Vec<f64> {
                (1..=40).map(|quarter| schedule.factor(f64::from(quarter) / 4.0, epochs)).collect()
            };
            assert_eq!(course(10) == course(30), schedule.fixed_end().is_none(), "{shape:?}");
        }
    }

    #[test]
    fn every_fault_of_a_schedule_is_named_at_once() {
        let schedule = Schedule { shape: Shape::Step, warmup: 9.0, end: 2.0, every: 0, factor: 0.0 };
        let paths: Vec<_> = schedule.check("schedule", 5).into_iter().map(|fault| fault.path).collect();
        assert_eq!(paths, ["schedule.warmup", "schedule.end", "schedule.every", "schedule.factor"]);
    }
}
