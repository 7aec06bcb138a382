//! The model artifact: what a model is, its scaler, what it was trained on, and its weights, in one safetensors
//! file. Unaware of how models are trained; linear ones predict here, recurrent ones need LibTorch.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::sequences::{DataSource, Sequences};
use crate::split::SplitBy;

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
        means: BTreeMap<i64, f64>,
    },
    /// A linear model of standardised features (tensors `weight` `[F]`, `bias` `[1]`, in BPM).
    Ridge {
        /// The penalty that validation chose.
        alpha: f64,
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
    },
}

/// Standardisation of features and target: `(x - mean) / sd`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scaler {
    /// Mean of each feature over unpadded training steps.
    pub mean: Vec<f64>,
    /// Standard deviation of each feature; 1 where it is constant.
    pub sd: Vec<f64>,
    /// Mean of the heart rate over real training samples, BPM.
    pub target_mean: f64,
    /// Standard deviation of the heart rate over real training samples, BPM.
    pub target_sd: f64,
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
