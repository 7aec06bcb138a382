//! Networks: functions of one flat tensor of weights and of padded sequences. Unaware of losses, of optimizers and
//! of files.
//!
//! All weights of a network live in one flat tensor, so that the gradient, Adam's moments, a freezing mask and a
//! checkpoint are one array each.

pub mod decoder;
pub mod forecaster;
pub mod hybrid;
pub mod input;
pub mod layer;
pub mod llama;
pub mod pass;
pub mod recurrent;
pub mod user;
pub mod weights;

use anyhow::{Result, bail};
use pacer_stages::model::{Architecture, ModelConfig};
use tch::Tensor;

use crate::models::decoder::Decoder;
use crate::models::hybrid::Hybrid;
use crate::models::input::Input;
use crate::models::pass::Pass;
use crate::models::recurrent::Recurrent;
use crate::models::weights::Parameter;

/// A network without its weights.
pub trait Network: Sync {
    /// The weights in their order within the flat tensor.
    fn parameters(&self) -> &[Parameter];

    /// What the head says at every step, standardised, shape `[longest, workouts, outputs]`, from `theta` `[len]`.
    fn forward(&self, theta: &Tensor, input: &Input, pass: &mut Pass) -> Result<Tensor>;
}

/// The network that a model is.
pub fn network(config: &ModelConfig) -> Result<Box<dyn Network>> {
    match &config.architecture {
        Architecture::Recurrent { .. } => {
            Ok(Box::new(Recurrent::new(&config.architecture, config.features.len(), &config.head)?))
        }
        Architecture::Hybrid { .. } => {
            let features = config.features.len();
            Ok(Box::new(Hybrid::new(&config.architecture, features, &config.head, &config.scaler)?))
        }
        Architecture::Decoder { .. } => {
            Ok(Box::new(Decoder::new(&config.architecture, config.features.len(), &config.head)?))
        }
        other => bail!("`{}` is no network", other.name()),
    }
}
