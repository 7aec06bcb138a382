//! The kind `evaluate`, declared: its parameters and its ports. Unaware of how it is run, which a worker process
//! with LibTorch does, since recurrent models predict there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::{Arity, ArtifactType, InputPort, OutputPort};
use crate::split::Part;
use crate::stage::Stage;

/// Scores any number of models on the same held-out workouts, at real samples only.
///
/// Reads models by name, feature sequences and a split. The constant of the training part always stands beside
/// the models: where none of them is one, it is computed from the split and called `constant`; `skill` is
/// measured against it.
///
/// Writes the metrics (an object for each model by its name: MAE, RMSE, bias in BPM, MAPE in percent, R², skill
/// = 1 − MAE / MAE of the constant, the mean over users of the user's MAE, counts, and what the figures rest
/// on), every prediction, and the errors of each workout.
///
/// With the `oracle` of simulated workouts there are two rows that no model is: `oracle_day`, scored like the models
/// at the same samples, is the simulator itself that knows user, course and day; `oracle_user` knows user and course,
/// but not what the day adds, which nothing but the heart rate betrays. `over_floor` is MAE / MAE of `oracle_user`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evaluate {
    /// The part to score on: choose on `validation`, report `test` once.
    #[serde(default = "test")]
    pub part: Part,
}

fn test() -> Part {
    Part::Test
}

impl Evaluate {
    /// The figures by model.
    pub const METRICS: OutputPort =
        OutputPort::fixed("metrics", ArtifactType::Metrics, "the figures of each model by its name");
    /// Every scored point.
    pub const PREDICTIONS: OutputPort = OutputPort::fixed(
        "predictions",
        ArtifactType::Predictions,
        "one row for each model and real sample: truth and prediction in BPM",
    );
    /// Errors by workout.
    pub const PER_WORKOUT: OutputPort = OutputPort::fixed(
        "per_workout",
        ArtifactType::Table,
        "one row for each model and workout: MAE, RMSE and bias in BPM",
    );
}

impl Stage for Evaluate {
    const NAME: &'static str = "evaluate";
    const PARALLEL: bool = true;
    const INPUTS: &'static [InputPort] = &[
        InputPort {
            name: "models",
            accepts: &[ArtifactType::Model],
            arity: Arity::Named,
            doc: "the models to score, each under the name that the figures shall bear",
        },
        InputPort {
            name: "sequences",
            accepts: &[ArtifactType::Sequences],
            arity: Arity::One,
            doc: "feature sequences that hold at least every model's features",
        },
        InputPort {
            name: "split",
            accepts: &[ArtifactType::Split],
            arity: Arity::One,
            doc: "which workouts are held out, and which the constant is taken from",
        },
        InputPort {
            name: "oracle",
            accepts: &[ArtifactType::Table],
            arity: Arity::Optional,
            doc: "the table `oracle` of the `synthesize` that these workouts are of",
        },
    ];
    const OUTPUTS: &'static [OutputPort] = &[Self::METRICS, Self::PREDICTIONS, Self::PER_WORKOUT];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_part_is_scored_when_nothing_is_said() {
        let stage: Evaluate = serde_json::from_str("{}").unwrap();
        assert_eq!(stage.part, Part::Test);
        let chosen: Evaluate = serde_json::from_str(r#"{"part":"validation"}"#).unwrap();
        assert_eq!(chosen.part, Part::Validation);
    }
}
