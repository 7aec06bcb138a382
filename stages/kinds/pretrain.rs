//! The kind `pretrain`, declared: its parameters, its ports and their checks. Unaware of how it is run, which a
//! worker process with LibTorch does.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::about::About;
use crate::artifact::{Arity, ArtifactType, InputPort, OutputPort};
use crate::features::{Feature, parse_all};
use crate::head::Head;
use crate::recipe::{self, Batches, Loss, Schedule, require_positive, require_some};
use crate::stage::{Course, ParameterFault, Stage};

/// Trains a network that reads a run step by step and says the heart rate at each step.
///
/// `model` chooses it: a recurrent network (`lstm`, `gru`); `hybrid`, a differential equation of demand and heart rate
/// whose intensity is learnt; or `decoder`, a transformer that looks back at the features. Each may be told about the
/// user (`about`) and may say an interval (`head`). With a ridge as `backbone`, a recurrent network learns what the
/// ridge leaves over, and starts from its error. With lines of users (`mixed`) as `backbone`, any network is told what
/// the user's line says at each step, and its weights as they were known before the run; a recurrent one learns what it
/// leaves over.
///
/// Reads feature sequences and a split; fits the scaler and the weights on the training part alone and chooses
/// the epoch by the mean absolute error on the validation part (without one, the last epoch stands). Only real
/// samples of the heart rate weigh in the loss and in the error; padding is never read. The optimizer is Adam.
///
/// Writes the model (weights named as in a PyTorch state dict, with the scaler) and the history of its epochs;
/// epoch 0 is the state before training. On the CPU the same input gives the same bytes, also when the training
/// was interrupted and resumed.
///
/// More epochs go on from fewer: where a training that differs in `epochs` and `patience` alone was run before,
/// this one begins where that one ended, as far as it would have come there itself, and ends with the bytes of a
/// training from the start. Not so with a cosine schedule, which spans all epochs: there `epochs` must be equal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pretrain {
    /// The sort of network.
    pub model: Network,
    /// Stacked layers, or blocks of a decoder.
    pub layers: usize,
    /// Units of each layer and direction; of a hybrid's intensity.
    pub hidden: usize,
    /// Fraction of units dropped between layers while training, from 0 to below 1.
    pub dropout: f64,
    /// Whether the run is also read from its end, so that later speed helps with earlier heart rate.
    pub bidirectional: bool,
    /// Whether a recurrent network begins in a state that follows from the first step and the user, rather than in zero.
    pub start: bool,
    /// The attention of a decoder.
    pub attention: Attention,
    /// What the network is told about the user: `{ embedding = 8 }`, `{ history = 12 }`.
    pub about: About,
    /// What it says at each step: `"point"`, `"student_t"` or `{ quantiles = [0.05, 0.5, 0.95] }`.
    pub head: Head,
    /// Names of the features to use, in order; all that the sequences hold when left out.
    pub features: Option<Vec<String>>,
    /// The loss, over the standardised heart rate; the heads that say an interval have one of their own.
    pub loss: Loss,
    /// Workouts in each step of the optimizer.
    pub batch_size: usize,
    /// How batches are put together and worked through.
    pub batches: Batches,
    /// Passes over the training part.
    pub epochs: usize,
    /// Adam's learning rate, before the schedule.
    pub learning_rate: f64,
    /// The course of the learning rate: `{ shape = "cosine", warmup = 1 }`.
    pub schedule: Schedule,
    /// Largest norm of the gradient of all weights; a longer one is shortened to it. 0 switches this off.
    pub clip_norm: f64,
    /// Epochs without a better validation error after which training stops; never when left out.
    pub patience: Option<usize>,
    /// Fraction of each weight that a unit learning rate would take away at each step (decoupled, as in AdamW).
    pub weight_decay: f64,
}

/// A sort of network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Long short-term memory.
    #[default]
    Lstm,
    /// Gated recurrent unit: three quarters of the weights of an LSTM.
    Gru,
    /// Demand and heart rate as a differential equation with learnt intensity (Nazaret et al. 2023).
    Hybrid,
    /// A decoder-only transformer with the blocks of Lag-Llama (Rasul et al. 2023), over features alone.
    Decoder,
}

impl Network {
    /// The name that pipelines and the model artifact carry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lstm => "lstm",
            Self::Gru => "gru",
            Self::Hybrid => "hybrid",
            Self::Decoder => "decoder",
        }
    }

    const fn is_recurrent(self) -> bool {
        matches!(self, Self::Lstm | Self::Gru)
    }
}

/// The attention of a decoder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Attention {
    /// Heads.
    pub heads: usize,
    /// Numbers of a head, even.
    pub width: usize,
    /// Steps back whose features each step is given, 0 for its own.
    pub lags: Vec<usize>,
}

impl Default for Attention {
    fn default() -> Self {
        Self { heads: 4, width: 16, lags: vec![0, 1, 2, 3, 4, 5, 6, 9, 12, 18, 24, 36] }
    }
}

impl Default for Pretrain {
    fn default() -> Self {
        Self {
            model: Network::Lstm,
            layers: 2,
            hidden: 64,
            dropout: 0.0,
            bidirectional: false,
            start: false,
            attention: Attention::default(),
            about: About::default(),
            head: Head::default(),
            features: None,
            loss: Loss::L1,
            batch_size: 16,
            batches: Batches::default(),
            epochs: 30,
            learning_rate: 0.001,
            schedule: Schedule::default(),
            clip_norm: 1.0,
            patience: None,
            weight_decay: 0.0,
        }
    }
}

impl Pretrain {
    /// The names of the features to use as sequences hold them, or none for all; the heart rate is no feature.
    pub fn features(&self) -> Result<Option<Vec<String>>, Vec<ParameterFault>> {
        let parsed = self.features.as_ref().map(|texts| parse_all("features", texts)).transpose()?;
        Ok(parsed.map(|features| features.iter().map(Feature::to_string).collect()))
    }

    /// What does not go with the sort of network.
    fn check_network(&self) -> Vec<ParameterFault> {
        let mut faults = Vec::new();
        let name = self.model.name();
        for (path, given) in [("bidirectional", self.bidirectional), ("start", self.start)] {
            if given && !self.model.is_recurrent() {
                faults.push(ParameterFault::new(path, format!("`{name}` is no recurrent network: leave it out")));
            }
        }
        if self.model == Network::Hybrid && self.dropout > 0.0 {
            faults.push(ParameterFault::new("dropout", "`hybrid` has nothing to drop: leave it out"));
        }
        let Attention { heads, width, lags } = &self.attention;
        if *heads == 0 || *width == 0 || width % 2 == 1 {
            faults.push(ParameterFault::new("attention", "`heads` must be 1 or more, `width` even and 2 or more"));
        }
        if lags.is_empty() || !lags.windows(2).all(|pair| pair[0] < pair[1]) {
            faults.push(ParameterFault::new("attention.lags", "steps back must rise, such as [0, 1, 2, 6]"));
        }
        faults
    }

    /// The trained weights.
    pub const MODEL: OutputPort =
        OutputPort::fixed("model", ArtifactType::Model, "the weights of the best epoch, with their scaler");
    /// The course of the training.
    pub const HISTORY: OutputPort = recipe::HISTORY;
}

impl Stage for Pretrain {
    const NAME: &'static str = "pretrain";
    const SEEDED: bool = true;
    const PARALLEL: bool = true;
    const INPUTS: &'static [InputPort] = &[
        InputPort {
            name: "sequences",
            accepts: &[ArtifactType::Sequences],
            arity: Arity::One,
            doc: "the feature sequences of all parts",
        },
        recipe::SPLIT,
        InputPort {
            name: "backbone",
            accepts: &[ArtifactType::Model],
            arity: Arity::Optional,
            doc: "a `baseline` to stand beside the network: a ridge, whose features are among the network's, or `mixed`",
        },
    ];
    const OUTPUTS: &'static [OutputPort] = &[Self::MODEL, Self::HISTORY];

    fn check(&self) -> Vec<ParameterFault> {
        let counts = [
            ("layers", self.layers),
            ("hidden", self.hidden),
            ("batch_size", self.batch_size),
            ("epochs", self.epochs),
            ("patience", self.patience.unwrap_or(1)),
        ];
        let mut faults: Vec<_> = counts.into_iter().filter_map(|(path, count)| require_some(path, count)).collect();
        faults.extend(require_positive("learning_rate", self.learning_rate));
        for (path, value) in [("clip_norm", self.clip_norm), ("weight_decay", self.weight_decay)] {
            if !(value.is_finite() && value >= 0.0) {
                faults.push(ParameterFault::new(path, format!("{value} is not a number of at least 0")));
            }
        }
        if !(0.0..1.0).contains(&self.dropout) {
            faults.push(ParameterFault::new("dropout", format!("{} is not from 0 to below 1", self.dropout)));
        } else if self.dropout > 0.0 && self.layers == 1 && self.model.is_recurrent() {
            let message = "there is nothing to drop between layers where there is 1: leave it out or add a layer";
            faults.push(ParameterFault::new("dropout", message));
        }
        faults.extend(self.schedule.check("schedule", self.epochs));
        faults.extend(self.head.check("head"));
        faults.extend(self.about.check("about"));
        faults.extend(self.batches.check("batches"));
        faults.extend(self.check_network());
        faults.extend(self.features().err().unwrap_or_default());
        faults
    }

    fn course(&self) -> Option<Course> {
        let fixed_end = self.schedule.fixed_end();
        let mut params = serde_json::to_value(self).expect("parameters are plain data");
        let fields = params.as_object_mut().expect("a struct is an object");
        fields.remove("patience");
        if fixed_end.is_none() {
            fields.remove("epochs");
        }
        Some(Course { params, epochs: self.epochs as u64, fixed_end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Shape;

    #[test]
    fn the_heart_rate_cannot_be_an_input() {
        let stage = Pretrain { features: Some(vec!["speed".into(), "heart_rate".into()]), ..Pretrain::default() };
        let faults = stage.check();
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].path, "features[1]");
        assert!(faults[0].message.contains("never be an input"), "{}", faults[0].message);
    }

    #[test]
    fn trainings_that_differ_in_their_end_alone_share_a_course() {
        let usual = Pretrain::default();
        let course = |stage: &Pretrain| stage.course().unwrap().params;
        let longer = Pretrain { epochs: 60, patience: Some(3), ..usual.clone() };
        assert_eq!(course(&usual), course(&longer));
        assert_eq!((usual.course().unwrap().epochs, longer.course().unwrap().epochs), (30, 60));
        assert_eq!(longer.course().unwrap().fixed_end, None);
        // Every other parameter belongs to the course.
        let all = serde_json::to_value(&usual).unwrap();
        let left_out = all.as_object().unwrap().keys().filter(|name| course(&usual).get(name.as_str()).is_none());
        assert_eq!(left_out.collect::<Vec<_>>(), ["epochs", "patience"]);
        assert_ne!(course(&usual), course(&Pretrain { learning_rate: 0.1, ..usual.clone() }));
    }

    #[test]
    fn a_cosine_ties_the_course_to_the_number_of_epochs_and_says_so() {
        let schedule = Schedule { shape: Shape::Cosine, ..Schedule::default() };
        let usual = Pretrain { schedule, ..Pretrain::default() };
        let course = |stage: &Pretrain| stage.course().unwrap().params;
        assert_ne!(course(&usual), course(&Pretrain { epochs: 60, ..usual.clone() }));
        assert_eq!(course(&usual), course(&Pretrain { patience: Some(3), ..usual.clone() }));
        let why = usual.course().unwrap().fixed_end.unwrap();
        assert_eq!(why, "`schedule.shape = \"cosine\"` spans all epochs");
    }

    #[test]
    fn every_faulty_value_is_named_at_once() {
        let stage = Pretrain {
            layers: 0,
            dropout: 1.0,
            learning_rate: f64::NAN,
            clip_norm: -1.0,
            patience: Some(0),
            ..Pretrain::default()
        };
        let paths: Vec<_> = stage.check().into_iter().map(|fault| fault.path).collect();
        assert_eq!(paths, ["layers", "patience", "learning_rate", "clip_norm", "dropout"]);
        assert_eq!(Pretrain::default().check(), []);
    }
}
