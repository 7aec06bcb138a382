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
pub mod team;
#[cfg(test)]
mod telling;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub mod toy;
pub mod watch;

use std::fmt;

use anyhow::Result;
use pacer_stages::recipe::{Batches, Schedule};
use pacer_stages::stage::{Blame, Context, Interrupted};
use tch::{Device, Tensor};

use crate::models::Network;
use crate::models::weights::{to_device, to_host};
use crate::random::{Purpose, shuffled, stream};
use crate::training::adam::Step;
use crate::training::checkpoint::Keeper;
use crate::training::loss::Objective;
use crate::training::parts::Parts;
use crate::training::state::{Epoch, Position, State};
use crate::training::team::Team;
use crate::training::watch::Watch;

/// Losses of steps on a GPU that are looked at together: to look at one makes the GPU wait for the host.
const LOOKED_AT_TOGETHER: usize = 32;

/// All that decides how a network is trained, apart from its data.
pub struct Recipe {
    /// What is made small.
    pub objective: Objective,
    /// Workouts in each step.
    pub batch_size: usize,
    /// How batches are put together and worked through.
    pub batches: Batches,
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
/// Six parts: 1 begin, afresh or from a state that was kept; 2 the order of an epoch; 3 forward and back; 4 step;
/// 5 watch; 6 the end of an epoch. All that a later step depends on is in `state`, and every random number is
/// a function of seed and count, so an interrupted training goes on as if nothing had happened. What is known of
/// the training's end, epochs and patience, only decides when to stop (and a schedule that looks at it says so):
/// hence a longer training goes on from a shorter one's end.
pub fn train(
    network: &dyn Network,
    start: &[f32],
    parts: &Parts,
    recipe: &Recipe,
    keeper: &mut Keeper<'_>,
    context: &Context<'_>,
) -> Result<Trained> {
    // 1. Begin.
    let (seed, device) = (context.job.seed, parts.train.device());
    let team = Team::new(network, recipe.objective.clone(), &recipe.batches, context.job.threads)?;
    let per_epoch = parts.train.len().div_ceil(recipe.batch_size);
    let found = keeper.find(recipe, device);
    let goes_on = found.is_some();
    let mut state = found.map_or_else(|| begin(&team, start, parts), Ok)?;
    let mut losses = Losses::new(device);
    let mut watch = Watch::new(context, recipe, per_epoch);
    if goes_on {
        watch.goes_on(&state);
    }
    while let Some(phase) = recipe.phases.get(state.at.phase) {
        let mask = phase.mask.as_deref().map(|mask| to_device(mask, device)).transpose()?;
        while !state.at.is_phase_over(recipe) {
            // 2. The order of the epoch.
            let order = order(parts, recipe, seed, state.at.epochs_run() as u64);
            for members in order.iter().skip(state.at.batch) {
                // 3. Forward and back.
                let slope = team.slope(&state.theta, &parts.train, members, seed, state.at.step)?;
                // 4. Step.
                let progress = state.at.epoch as f64 + (state.at.batch + 1) as f64 / per_epoch as f64;
                let rate = phase.rate * recipe.schedule.factor(progress, phase.epochs);
                let step =
                    Step { rate, clip_norm: recipe.clip_norm, weight_decay: recipe.weight_decay, mask: mask.as_ref() };
                state.adam.step(&mut state.theta, &slope.gradient, &step)?;
                // 5. Watch.
                state.at.step_taken(rate);
                watch.sequences(members.len());
                losses.add(slope.loss, members.iter().map(|member| parts.train.spans()[*member].real).sum());
                if losses.are_due() || state.at.batch == order.len() {
                    losses.count(&mut state.at, phase)?;
                    watch.step(&state);
                    keeper.after_step(&state);
                }
                if context.check_cancelled().is_err() {
                    losses.count(&mut state.at, phase)?;
                    keeper.save(&state);
                    return Err(Interrupted.into());
                }
            }
            // 6. The end of an epoch.
            if !all_finite(&state.theta)? {
                return Err(diverged("a weight became NaN or infinite", state.at.step, &state.at, phase));
            }
            let mae = validation_mae(&team, &state.theta, parts)?;
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
fn begin(team: &Team<'_>, start: &[f32], parts: &Parts) -> Result<State> {
    let device = parts.train.device();
    let mae = validation_mae(team, &to_device(start, device)?, parts)?;
    State::new(start, mae, device)
}

/// The batches of an epoch: workouts at random, or in buckets of some batches by their length, the batches at random.
fn order(parts: &Parts, recipe: &Recipe, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
    let mut generator = stream(seed, Purpose::Order, epoch);
    let mut order = shuffled(parts.train.len(), &mut generator);
    let bucket = recipe.batches.bucket;
    if bucket > 1 {
        for bucket in order.chunks_mut(recipe.batch_size * bucket) {
            bucket.sort_by_key(|member| parts.train.spans()[*member].length);
        }
    }
    let batches: Vec<_> = order.chunks(recipe.batch_size).map(<[usize]>::to_vec).collect();
    if bucket == 1 {
        return batches;
    }
    shuffled(batches.len(), &mut generator).into_iter().map(|place| batches[place].clone()).collect()
}

/// Losses of steps that nobody has looked at yet.
struct Losses {
    waiting: Vec<(Tensor, usize)>,
    most: usize,
}

impl Losses {
    fn new(device: Device) -> Self {
        let most = if device == Device::Cpu { 1 } else { LOOKED_AT_TOGETHER };
        Self { waiting: Vec::new(), most }
    }

    /// A loss over so many real samples.
    fn add(&mut self, loss: Tensor, real: usize) {
        self.waiting.push((loss, real));
    }

    fn are_due(&self) -> bool {
        self.waiting.len() >= self.most
    }

    /// Brings the losses to the host and counts them; one that is not finite ends the training.
    fn count(&mut self, at: &mut Position, phase: &Phase) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let (losses, real): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting).into_iter().unzip();
        let values = to_host(&Tensor::f_stack(&losses, 0)?)?;
        let first = at.step + 1 - values.len() as u64;
        for (step, (loss, real)) in (first..).zip(values.into_iter().zip(real)) {
            if !loss.is_finite() {
                return Err(diverged(&format!("the loss became {loss}"), step, at, phase));
            }
            at.count(f64::from(loss), real);
        }
        Ok(())
    }
}

/// The mean absolute error over the real samples of the validation part, BPM; none where there is no sample.
fn validation_mae(team: &Team<'_>, theta: &Tensor, parts: &Parts) -> Result<Option<f64>> {
    let real = parts.validation.real();
    let error = team.absolute_error(theta, &parts.validation)?;
    Ok((real > 0).then(|| error / real as f64 * parts.unit_bpm))
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
