//! The model artifact: what a model is, its scaler, what it was trained on, and its weights, in one safetensors
//! file. Unaware of how models are trained; linear ones predict here, recurrent ones need LibTorch.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::about::About;
use crate::head::Head;
use crate::mixed::Mixed;
pub use crate::scaler::Scaler;
use crate::sequences::{DataSource, Sequences};
use crate::split::SplitBy;
use crate::tensors::{self, Array, Arrays};

/// A model as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// What the weights mean.
    pub config: ModelConfig,
    /// Weights by name.
    pub tensors: BTreeMap<String, Weights>,
}

/// A named array of numbers, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Vec<f32>,
}

/// All of a model but its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// The sort of model.
    pub architecture: Architecture,
    /// The features that it takes, in order.
    pub features: Vec<String>,
    /// Fitted on training rows only; shared by all that is trained from this model.
    pub scaler: Scaler,
    /// What the model has seen.
    pub training: Training,
    /// What it says at each step.
    #[serde(default)]
    pub head: Head,
}

/// The sort of model and its sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "name")]
pub enum Architecture {
    /// The mean heart rate of the training rows (tensor `value` `[1]`).
    Constant,
    /// The user's mean heart rate in training, the constant for unknown users (tensor `value` `[1]`).
    UserMean {
        /// Mean heart rate in BPM by user.
        #[serde(serialize_with = "write_pairs", deserialize_with = "read_pairs")]
        means: BTreeMap<i64, f64>,
    },
    /// A linear model of standardised features (tensors `weight` `[F]`, `bias` `[1]`, in BPM).
    Ridge {
        /// The penalty that validation chose.
        alpha: f64,
    },
    /// A linear model whose weights differ between users (tensors `weight` `[F]`, `bias` `[1]`, in BPM: those of a
    /// stranger).
    Mixed {
        /// The lines.
        line: Mixed,
    },
    /// A recurrent network over the steps with a linear head.
    Recurrent {
        /// `lstm` or `gru`.
        cell: String,
        /// Stacked layers.
        layers: usize,
        /// Units of a layer and direction.
        hidden: usize,
        /// Dropout between layers, in training only.
        dropout: f64,
        /// Whether the sequence is read in both directions.
        bidirectional: bool,
        /// Whether the state before the first step is a function of that step and of the user, rather than zero.
        #[serde(default)]
        start: bool,
        /// Whether a linear model of the features stands beside the network, which learns what it leaves over.
        #[serde(default)]
        backbone: bool,
        /// What it is told about the user.
        #[serde(flatten)]
        user: UserInput,
    },
    /// An ordinary differential equation of demand and heart rate whose intensity a small network tells.
    Hybrid {
        /// Units of the network of the intensity.
        hidden: usize,
        /// What it is told about the user.
        #[serde(flatten)]
        user: UserInput,
    },
    /// A decoder-only transformer over the steps, which looks back at the features alone.
    Decoder {
        /// Blocks.
        layers: usize,
        /// Heads of attention.
        heads: usize,
        /// Numbers of a head.
        width: usize,
        /// Steps back whose features each step is given, 0 for its own.
        lags: Vec<usize>,
        /// Dropout within blocks, in training only.
        dropout: f64,
        /// What it is told about the user.
        #[serde(flatten)]
        user: UserInput,
    },
}

/// What a network is told about the user of a workout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UserInput {
    /// How much it is told.
    #[serde(default)]
    pub about: About,
    /// The users that it has numbers of its own for, rising.
    #[serde(default)]
    pub users: Vec<i64>,
    /// A line for each user that stands beside it.
    #[serde(default)]
    pub line: Option<Mixed>,
}

/// What a model has seen, for the reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Recordings or simulation.
    pub data: DataSource,
    /// What kept its parts apart.
    pub split: SplitBy,
    /// Users in training.
    pub users: usize,
    /// Workouts in training.
    pub workouts: usize,
    /// Seed of its random draws; none for a closed form.
    pub seed: Option<u64>,
}

/// Writes a map as pairs: a map with numbers for keys does not survive an enum that carries its tag inside.
fn write_pairs<S: Serializer>(means: &BTreeMap<i64, f64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(means)
}

fn read_pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<i64, f64>, D::Error> {
    Ok(Vec::<(i64, f64)>::deserialize(deserializer)?.into_iter().collect())
}

impl Architecture {
    /// The name used in files and reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::UserMean { .. } => "user_mean",
            Self::Ridge { .. } => "ridge",
            Self::Mixed { .. } => "mixed",
            Self::Recurrent { .. } => "recurrent",
            Self::Hybrid { .. } => "hybrid",
            Self::Decoder { .. } => "decoder",
        }
    }

    /// What it is told about the user; none where it is no network.
    pub const fn user(&self) -> Option<&UserInput> {
        match self {
            Self::Constant | Self::UserMean { .. } | Self::Ridge { .. } | Self::Mixed { .. } => None,
            Self::Recurrent { user, .. } | Self::Hybrid { user, .. } | Self::Decoder { user, .. } => Some(user),
        }
    }
}

impl Model {
    /// Writes the model; the same model gives the same bytes.
    pub fn write(&self, path: &Path) -> Result<()> {
        let arrays = self.tensors.iter().map(|(name, weights)| {
            let array = Array::f32(&weights.shape, &weights.values);
            (name.as_str(), array)
        });
        tensors::write(path, &self.config, arrays)
    }

    /// Reads a model; errors name the file.
    pub fn read(path: &Path) -> Result<Self> {
        let file = Arrays::open(path)?;
        let config: ModelConfig = file.header()?;
        let sizes = [config.scaler.mean.len(), config.scaler.sd.len()];
        ensure!(
            sizes == [config.features.len(); 2],
            "{}: its scaler knows {sizes:?} features, the model {}",
            file.broken(),
            config.features.len()
        );
        let mut tensors = BTreeMap::new();
        for name in file.names()? {
            let (shape, values) = file.f32(&name)?;
            tensors.insert(name, Weights { shape, values });
        }
        Ok(Self { config, tensors })
    }

    /// Predicts the heart rate in BPM at every step, shape `[S]`, with a constant, user means, a ridge or lines of users.
    ///
    /// Fails for architectures that compute with LibTorch and where a feature of the model is missing.
    pub fn predict_linear(&self, sequences: &Sequences) -> Result<Vec<f32>> {
        match &self.config.architecture {
            Architecture::Constant => Ok(vec![self.weights("value", 1)?[0]; sequences.target.len()]),
            Architecture::UserMean { means } => self.predict_user_mean(sequences, means),
            Architecture::Ridge { .. } => self.predict_ridge(sequences),
            Architecture::Mixed { line } => line.along(&line.lines(sequences)?, sequences),
            Architecture::Recurrent { .. } | Architecture::Hybrid { .. } | Architecture::Decoder { .. } => {
                bail!("`{}` is a network and needs LibTorch to predict", self.config.architecture.name())
            }
        }
    }

    fn predict_user_mean(&self, sequences: &Sequences, means: &BTreeMap<i64, f64>) -> Result<Vec<f32>> {
        let unknown = self.weights("value", 1)?[0];
        let mut prediction = Vec::with_capacity(sequences.target.len());
        for (workout, user) in sequences.user.iter().enumerate() {
            let value = means.get(user).map_or(unknown, |mean| *mean as f32);
            prediction.resize(prediction.len() + sequences.steps(workout).len(), value);
        }
        Ok(prediction)
    }

    fn predict_ridge(&self, sequences: &Sequences) -> Result<Vec<f32>> {
        let columns = sequences.select(&self.config.features)?;
        let weight = self.weights("weight", columns.len())?;
        let bias = f64::from(self.weights("bias", 1)?[0]);
        let Scaler { mean, sd, .. } = &self.config.scaler;
        let predict = |step: usize| {
            let row = sequences.row(step);
            let terms = columns
                .iter()
                .enumerate()
                .map(|(i, &column)| f64::from(weight[i]) * (f64::from(row[column]) - mean[i]) / sd[i]);
            (bias + terms.sum::<f64>()) as f32
        };
        Ok((0..sequences.target.len()).map(predict).collect())
    }

    fn weights(&self, name: &str, length: usize) -> Result<&[f32]> {
        let weights = self.tensors.get(name).with_context(|| format!("`{name}`: the model lacks this tensor"))?;
        ensure!(
            weights.values.len() == length,
            "`{name}`: the model's tensor holds {} values where {length} belong",
            weights.values.len()
        );
        Ok(&weights.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequences::{Grid, Header};

    /// Workout 0 (user 1) trains and ends in one padded step; workout 1 (user 2) is held out.
    fn sequences() -> Sequences {
        Sequences {
            header: Header {
                features: vec!["speed".into(), "gender_male".into()],
                grid: Grid::Index { length: 3 },
                data: DataSource::Recorded,
            },
            offsets: vec![0, 3, 5],
            features: vec![2.0, 1.0, 4.0, 1.0, 1000.0, 1.0, 3.0, 0.0, 5.0, 0.0].into(),
            target: vec![120.0, 140.0, 0.0, 99.0, 98.0].into(),
            real: vec![1, 1, 0, 1, 1].into(),
            valid: vec![1, 1, 0, 1, 1].into(),
            time: vec![0.0, 5.0, 5.0, 0.0, 5.0].into(),
            workout: vec![10, 20],
            user: vec![1, 2],
            start: vec![0, 1],
        }
    }

    fn model(architecture: Architecture, tensors: &[(&str, &[f32])]) -> Model {
        let scaler = Scaler::fit(&sequences(), &[0, 1], &[0]).unwrap();
        let weights = |values: &[f32]| Weights { shape: vec![values.len()], values: values.to_vec() };
        Model {
            config: ModelConfig {
                architecture,
                features: vec!["speed".into(), "gender_male".into()],
                scaler,
                training: Training {
                    data: DataSource::Recorded,
                    split: SplitBy::User,
                    users: 1,
                    workouts: 1,
                    seed: None,
                },
                head: Head::Point,
            },
            tensors: tensors.iter().map(|(name, values)| ((*name).into(), weights(values))).collect(),
        }
    }

    #[test]
    fn linear_models_predict_what_their_equations_say() {
        let constant = model(Architecture::Constant, &[("value", &[130.0])]);
        assert_eq!(constant.predict_linear(&sequences()).unwrap(), [130.0; 5]);
        let means = BTreeMap::from([(1, 125.0)]);
        let user = model(Architecture::UserMean { means }, &[("value", &[130.0])]);
        assert_eq!(user.predict_linear(&sequences()).unwrap(), [125.0, 125.0, 125.0, 130.0, 130.0]);
        let ridge = Architecture::Ridge { alpha: 1.0 };
        let ridge = model(ridge, &[("weight", &[10.0, 2.0]), ("bias", &[130.0])]);
        let prediction = ridge.predict_linear(&sequences()).unwrap();
        assert_eq!([prediction[0], prediction[3], prediction[4]], [120.0, 128.0, 148.0]);
        assert!(model(Architecture::Ridge { alpha: 1.0 }, &[]).predict_linear(&sequences()).is_err());
    }

    #[test]
    fn a_model_comes_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let means = BTreeMap::from([(-3, 120.25), (7, 0.1 + 0.2)]);
        let written = model(Architecture::UserMean { means }, &[("value", &[130.0])]);
        written.write(&path).unwrap();
        assert_eq!(Model::read(&path).unwrap(), written);
        let error = Model::read(&folder.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("none"), "{error}");
    }
}
