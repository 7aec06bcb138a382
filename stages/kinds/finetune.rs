//! The kind `finetune`, declared: its parameters, its ports and their checks. Unaware of how it is run, which a
//! worker process with LibTorch does.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::{Arity, ArtifactType, InputPort, OutputPort};
use crate::recipe::{self, Batches, Loss, Schedule, require_positive, require_some};
use crate::stage::{Course, ParameterFault, Stage};

/// Trains an existing network further on other workouts, in one phase or two.
///
/// Reads a model of `pretrain` or `finetune`, feature sequences and a split. The model keeps its features, its
/// scaler and its sizes. Each phase starts from the best weights so far with a fresh Adam and changes only the
/// layers that it unfreezes; all others stay as they are, bit for bit. Since the weights as read are a candidate
/// too (epoch 0), the result is never worse on the validation part than the model it began with.
///
/// Writes the model and the history of its epochs, counted through all phases.
///
/// More epochs go on from fewer: where a training that differs in `patience` and in the epochs of the last phase
/// alone was run before, this one begins where that one ended, as far as it would have come there itself, and ends
/// with the bytes of a training from the start. Not so with a cosine schedule, which spans all epochs of a phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finetune {
    /// One phase or two, run in order: often the head alone first, then everything at a lower rate.
    #[serde(default = "one_phase")]
    pub phases: Vec<Phase>,
    /// The loss, over the heart rate standardised by the model's own scaler.
    #[serde(default)]
    pub loss: Loss,
    /// Workouts in each step of the optimizer.
    #[serde(default = "batch_size")]
    pub batch_size: usize,
    /// How batches are put together and worked through.
    #[serde(default)]
    pub batches: Batches,
    /// The course of the learning rate within each phase.
    #[serde(default)]
    pub schedule: Schedule,
    /// Largest norm of the gradient of all unfrozen weights; a longer one is shortened to it. 0 switches this off.
    #[serde(default = "clip_norm")]
    pub clip_norm: f64,
    /// Epochs without a better validation error after which a phase ends; never when left out.
    #[serde(default)]
    pub patience: Option<usize>,
    /// Fraction of each unfrozen weight that a unit learning rate would take away at each step (as in AdamW).
    #[serde(default)]
    pub weight_decay: f64,
}

/// A stretch of training with its own learning rate and its own choice of layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Passes over the training part.
    pub epochs: usize,
    /// Adam's learning rate, before the schedule.
    pub learning_rate: f64,
    /// `"all"`, or patterns of weights such as `["head", "rnn.*_l1"]`: `*` stands for anything, and `head` for
    /// all below it.
    #[serde(default)]
    pub unfreeze: Unfreeze,
}

/// The weights that a phase may change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Unfreeze {
    /// One pattern, or `all`.
    One(String),
    /// Several patterns; a weight that any of them matches is free.
    Many(Vec<String>),
}

impl Default for Unfreeze {
    fn default() -> Self {
        Self::One("all".into())
    }
}

impl Unfreeze {
    /// The patterns, where `all` is `*`.
    pub fn patterns(&self) -> Vec<&str> {
        match self {
            Self::One(pattern) if pattern == "all" => vec!["*"],
            Self::One(pattern) => vec![pattern],
            Self::Many(patterns) => patterns.iter().map(String::as_str).collect(),
        }
    }
}

fn one_phase() -> Vec<Phase> {
    vec![Phase { epochs: 10, learning_rate: 0.0003, unfreeze: Unfreeze::default() }]
}

fn batch_size() -> usize {
    16
}

fn clip_norm() -> f64 {
    1.0
}

impl Default for Finetune {
    fn default() -> Self {
        Self {
            phases: one_phase(),
            loss: Loss::L1,
            batch_size: batch_size(),
            batches: Batches::default(),
            schedule: Schedule::default(),
            clip_norm: clip_norm(),
            patience: None,
            weight_decay: 0.0,
        }
    }
}

impl Finetune {
    /// The weights after the last phase.
    pub const MODEL: OutputPort =
        OutputPort::fixed("model", ArtifactType::Model, "the weights of the best epoch, with the scaler as it was");
    /// The course of the training.
    pub const HISTORY: OutputPort = recipe::HISTORY;
}

impl Stage for Finetune {
    const NAME: &'static str = "finetune";
    const SEEDED: bool = true;
    const PARALLEL: bool = true;
    const INPUTS: &'static [InputPort] = &[
        InputPort {
            name: "model",
            accepts: &[ArtifactType::Model],
            arity: Arity::One,
            doc: "the network to begin with",
        },
        InputPort {
            name: "sequences",
            accepts: &[ArtifactType::Sequences],
            arity: Arity::One,
            doc: "feature sequences that hold at least the model's features",
        },
        recipe::SPLIT,
    ];
    const OUTPUTS: &'static [OutputPort] = &[Self::MODEL, Self::HISTORY];

    fn check(&self) -> Vec<ParameterFault> {
        let mut faults = Vec::new();
        if !(1..=2).contains(&self.phases.len()) {
            let message = format!("{} phases: one or two are possible", self.phases.len());
            faults.push(ParameterFault::new("phases", message));
        }
        for (place, phase) in self.phases.iter().enumerate() {
            faults.extend(phase.check(&format!("phases[{place}]")));
        }
        faults.extend(require_some("batch_size", self.batch_size));
        faults.extend(self.batches.check("batches"));
        faults.extend(require_some("patience", self.patience.unwrap_or(1)));
        for (path, value) in [("clip_norm", self.clip_norm), ("weight_decay", self.weight_decay)] {
            if !(value.is_finite() && value >= 0.0) {
                faults.push(ParameterFault::new(path, format!("{value} is not a number of at least 0")));
            }
        }
        let shortest = self.phases.iter().map(|phase| phase.epochs).min().unwrap_or(1);
        faults.extend(self.schedule.check("schedule", shortest));
        faults
    }

    fn course(&self) -> Option<Course> {
        let fixed_end = self.schedule.fixed_end();
        let mut params = serde_json::to_value(self).expect("parameters are plain data");
        params.as_object_mut().expect("a struct is an object").remove("patience");
        let last = params["phases"].as_array_mut().and_then(|phases| phases.last_mut());
        if let (Some(phase), None) = (last, &fixed_end) {
            phase.as_object_mut().expect("a struct is an object").remove("epochs");
        }
        let epochs = self.phases.iter().map(|phase| phase.epochs as u64).sum();
        Some(Course { params, epochs, fixed_end })
    }
}

impl Phase {
    fn check(&self, path: &str) -> Vec<ParameterFault> {
        let mut faults: Vec<_> = require_some(&format!("{path}.epochs"), self.epochs).into_iter().collect();
        faults.extend(require_positive(&format!("{path}.learning_rate"), self.learning_rate));
        if self.unfreeze.patterns().is_empty() {
            let message = "names no weight, so that nothing would be trained: write \"all\" or a pattern";
            faults.push(ParameterFault::new(format!("{path}.unfreeze"), message));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Shape;

    #[test]
    fn a_phase_is_written_in_one_line_and_all_is_the_default() {
        let params = serde_json::json!({ "phases": [
            { "epochs": 2, "learning_rate": 0.001, "unfreeze": ["head", "rnn.*_l1"] },
            { "epochs": 3, "learning_rate": 0.0001 },
        ]});
        let stage: Finetune = serde_json::from_value(params).unwrap();
        assert_eq!(stage.phases[0].unfreeze.patterns(), ["head", "rnn.*_l1"]);
        assert_eq!(stage.phases[1].unfreeze.patterns(), ["*"]);
        assert_eq!(stage.check(), []);
    }

    #[test]
    fn only_the_epochs_of_the_last_phase_and_patience_stand_outside_the_course() {
        let phase = |epochs| Phase { epochs, ..one_phase()[0].clone() };
        let stage = |first, last| Finetune { phases: vec![phase(first), phase(last)], ..Finetune::default() };
        let course = |stage: &Finetune| stage.course().unwrap();
        let longer = Finetune { patience: Some(2), ..stage(2, 9) };
        assert_eq!(course(&stage(2, 3)).params, course(&longer).params);
        assert_eq!((course(&stage(2, 3)).epochs, course(&longer).epochs), (5, 11));
        assert_ne!(course(&stage(2, 3)).params, course(&stage(3, 3)).params);
        let schedule = Schedule { shape: Shape::Cosine, ..Schedule::default() };
        let cosine = |last| Finetune { schedule: schedule.clone(), ..stage(2, last) };
        assert_ne!(course(&cosine(3)).params, course(&cosine(4)).params);
        assert!(course(&cosine(3)).fixed_end.is_some() && course(&stage(2, 3)).fixed_end.is_none());
        assert_eq!(Finetune { phases: Vec::new(), ..Finetune::default() }.course().unwrap().epochs, 0);
    }

    #[test]
    fn three_phases_and_a_phase_without_epochs_are_both_named() {
        let idle = Phase { epochs: 0, ..one_phase()[0].clone() };
        let stage = Finetune { phases: vec![idle.clone(), one_phase()[0].clone(), idle], ..Finetune::default() };
        let paths: Vec<_> = stage.check().into_iter().map(|fault| fault.path).collect();
        assert_eq!(paths, ["phases", "phases[0].epochs", "phases[2].epochs"]);
    }
}
