//! The training loop: one for every kind that trains. Unaware of pipelines' parameters, of model files and of
//! what the features mean.

pub mod adam;
pub mod checkpoint;
pub mod data;
pub mod loss;
pub mod outcome;
pub mod parts;
#[cfg(test)]
mod resuming;
pub mod state;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub mod toy;
pub mod watch;

use std::fmt;

use anyhow::Result;
use pacer_stages::recipe::{Loss, Schedule};
use pacer_stages::stage::{Blame, Context, Interrupted};
use rand_chacha::rand_core::Rng as _;
use tch::Tensor;

use crate::models::recurrent::{Mode, Recurrent, to_device, to_host};
use crate::random::{Purpose, shuffled, stream};
use crate::training::adam::Step;
use crate::training::checkpoint::Keeper;
use crate::training::data::Set;
use crate::training::loss::loss;
use crate::training::parts::Parts;
use crate::training::state::{Epoch, Position, State};
use crate::training::watch::Watch;

/// Sequences that are predicted at once where nothing is learnt.
const PREDICTION_BATCH: usize = 64;

/// All that decides how a network is trained, apart from its data.
pub struct Recipe {
    /// The loss.
    pub loss: Loss,
    /// Workouts in each step.
    pub batch_size: usize,
    /// The course of the learning rate within each phase.
    pub schedule: Schedule,
    /// Largest norm of the gradient.
    pub clip_norm: Option<f64>,
    /// Epochs without a better validation error after which a phase ends.
    pub patience: Option<usize>,
    /// Fraction of a weight that a unit learning rate takes away.
    pub weight_decay: f64,
    /// Stretches of training, one after the other.
    pub phases: Vec<Phase>,
}

/// A stretch of training with its own learning rate and its own free weights.
pub struct Phase {
    /// Passes over the training part.
    pub epochs: usize,
    /// The learning rate before the schedule.
    pub rate: f64,
    /// 1 for weights that may change, 0 for the others; all may when left out.
    pub mask: Option<Vec<f32>>,
    /// The path of the learning rate among the stage's parameters, for errors that point at it.
    pub rate_parameter: String,
}

/// A trained network.
pub struct Trained {
    /// The weights of the best epoch.
    pub theta: Vec<f32>,
    /// Every epoch, the start included.
    pub history: Vec<Epoch>,
    /// The epoch that the weights are of.
    pub best_epoch: usize,
}

/// Marks the error of a loss or a weight that became NaN or infinite.
#[derive(Clone, Copy, Debug)]
pub struct NotFinite;

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the training diverged")
    }
}

/// Trains a network from the weights `start`.
///
/// Six parts: 1 begin, afresh or from a state that was kept; 2 the order of an epoch; 3 forward; 4 backward and step;
/// 5 watch; 6 the end of an epoch. All that a later step depends on is in `state`, and every random number is
/// a function of seed and count, so an interrupted training goes on as if nothing had happened. What is known of
/// the training's end, epochs and patience, only decides when to stop (and a schedule that looks at it says so):
/// hence a longer training goes on from a shorter one's end.
pub fn train(
    network: &Recurrent,
    start: &[f32],
    parts: &Parts,
    recipe: &Recipe,
    keeper: &mut Keeper<'_>,
    context: &Context<'_>,
) -> Result<Trained> {
    // 1. Begin.
    let seed = context.job.seed;
    let per_epoch = parts.train.len().div_ceil(recipe.batch_size);
    let found = keeper.find(recipe, parts.train.device());
    let goes_on = found.is_some();
    let mut state = found.map_or_else(|| begin(network, start, parts), Ok)?;
    let mut watch = Watch::new(context, recipe, per_epoch);
    if goes_on {
        watch.goes_on(&state);
    }
    while let Some(phase) = recipe.phases.get(state.at.phase) {
        let mask = phase.mask.as_deref().map(|mask| to_device(mask, parts.train.device())).transpose()?;
        while !state.at.is_phase_over(recipe) {
            // 2. The order of the epoch.
            let order = shuffled(parts.train.len(), &mut stream(seed, Purpose::Order, state.at.epochs_run() as u64));
            for members in order.chunks(recipe.batch_size).skip(state.at.batch) {
                // 3. Forward.
                tch::manual_seed(stream(seed, Purpose::Dropout, state.at.step).next_u64() as i64);
                let batch = parts.train.batch(members)?;
                let predictions = network.forward(&state.theta, &batch.padded, Mode::Train)?;
                let loss = loss(recipe.loss, &predictions, &batch)?;
                // 4. Backward and step.
                let gradient = Tensor::f_run_backward(&[&loss], &[&state.theta], false, false)?;
                let progress = state.at.epoch as f64 + (state.at.batch + 1) as f64 / per_epoch as f64;
                let rate = phase.rate * recipe.schedule.factor(progress, phase.epochs);
                let step =
                    Step { rate, clip_norm: recipe.clip_norm, weight_decay: recipe.weight_decay, mask: mask.as_ref() };
                state.adam.step(&mut state.theta, &gradient[0], &step)?;
                // 5. Watch.
                let loss = loss.f_double_value(&[])?;
                if !loss.is_finite() {
                    return Err(diverged(&format!("the loss became {loss}"), state.at.step + 1, &state.at, phase));
                }
                state.at.count(loss, batch.real, rate);
                watch.step(&state, members.len());
                keeper.after_step(&state);
                if context.check_cancelled().is_err() {
                    keeper.save(&state);
                    return Err(Interrupted.into());
                }
            }
            // 6. The end of an epoch.
            if !all_finite(&state.theta)? {
                return Err(diverged("a weight became NaN or infinite", state.at.step, &state.at, phase));
            }
            let mae = validation_mae(network, &state.theta, parts)?;
            state.end_epoch(mae)?;
            watch.epoch(&state);
        }
        // Kept as it is, with the moments and the latest weights, which a longer phase would go on with.
        keeper.end(&state);
        state.end_phase()?;
    }
    keeper.tell_cost();
    Ok(Trained { theta: to_host(&state.best)?, history: state.at.history, best_epoch: state.at.best_epoch })
}

/// The state before the first step; the weights as they are count as epoch 0.
fn begin(network: &Recurrent, start: &[f32], parts: &Parts) -> Result<State> {
    let device = parts.train.device();
    let mae = validation_mae(network, &to_device(start, device)?, parts)?;
    State::new(start, mae, device)
}

/// The mean absolute error over the real samples of the validation part, BPM; none where there is no sample.
fn validation_mae(network: &Recurrent, theta: &Tensor, parts: &Parts) -> Result<Option<f64>> {
    let _guard = tch::no_grad_guard();
    let mut error = 0.0;
    for members in parts.validation.by_length(PREDICTION_BATCH) {
        let batch = parts.validation.batch(&members)?;
        error += batch.absolute_error(&network.forward(theta, &batch.padded, Mode::Predict)?)?;
    }
    let real = parts.validation.real();
    Ok((real > 0).then(|| error / real as f64 * parts.unit_bpm))
}

/// The standardised heart rate at every step of a set, in the set's order.
pub fn predict(network: &Recurrent, theta: &Tensor, set: &Set) -> Result<Vec<f32>> {
    let _guard = tch::no_grad_guard();
    let mut all = vec![0.0; set.steps()];
    for members in set.by_length(PREDICTION_BATCH) {
        let batch = set.batch(&members)?;
        let predictions = to_host(&network.forward(theta, &batch.padded, Mode::Predict)?)?;
        for (step, prediction) in batch.index.iter().zip(predictions) {
            if let Some(place) = all.get_mut(*step as usize) {
                *place = prediction;
            }
        }
    }
    Ok(all)
}

fn all_finite(theta: &Tensor) -> Result<bool> {
    Ok(theta.f_isfinite()?.f_all()?.f_int64_value(&[])? == 1)
}

/// The error of a training that diverged; it points at the learning rate.
fn diverged(what: &str, step: u64, at: &Position, phase: &Phase) -> anyhow::Error {
    let last = at.last_loss.map_or("no loss was finite".into(), |loss| format!("the last finite loss was {loss:.4}"));
    let epoch = at.epochs_run() + 1;
    let message = format!("{what} at step {step} (epoch {epoch}); {last}; lower `learning_rate` or set `clip_norm`");
    anyhow::Error::from(Blame { parameter: phase.rate_parameter.clone(), message }).context(NotFinite)
}
