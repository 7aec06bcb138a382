//! Tells how far a training is, by the clock. Unaware of what is kept of it.

use std::time::{Duration, Instant};

use pacer_stages::stage::Context;

use crate::training::Recipe;
use crate::training::state::State;

/// Tests hear of every step, so that they can stop a training at the one they choose.
const BETWEEN_NOTICES: Duration = Duration::from_millis(if cfg!(test) { 0 } else { 500 });

/// The observer of one training.
pub struct Watch<'a> {
    context: &'a Context<'a>,
    /// Epochs of each phase.
    epochs: Vec<usize>,
    per_epoch: usize,
    noticed: Instant,
    epoch_began: Instant,
    sequences: usize,
}

impl<'a> Watch<'a> {
    /// Begins to watch a training of `per_epoch` steps in each epoch.
    pub fn new(context: &'a Context<'a>, recipe: &Recipe, per_epoch: usize) -> Self {
        let epochs = recipe.phases.iter().map(|phase| phase.epochs).collect();
        let now = Instant::now();
        Self { context, epochs, per_epoch, noticed: now, epoch_began: now, sequences: 0 }
    }

    /// Before the first step, where the training goes on from a state that was kept.
    pub fn goes_on(&mut self, state: &State) {
        let message = format!("goes on from epoch {} (step {})", state.at.epochs_run(), state.at.step);
        self.context.log(&message);
        self.tell(state, message);
    }

    /// So many sequences were gone through.
    pub fn sequences(&mut self, count: usize) {
        self.sequences += count;
    }

    /// After steps whose losses are known.
    pub fn step(&mut self, state: &State) {
        if self.noticed.elapsed() >= BETWEEN_NOTICES && state.at.batch < self.per_epoch {
            let loss = state.at.loss_sum / state.at.loss_weight;
            let message = format!("batch {} of {}, loss {loss:.3}", state.at.batch, self.per_epoch);
            self.tell(state, self.of_epoch(state.at.epochs_run() + 1, &message));
        }
    }

    /// After an epoch.
    pub fn epoch(&mut self, state: &State) {
        let seconds = self.epoch_began.elapsed().as_secs_f64().max(1e-9);
        let mut message = String::new();
        if let Some(epoch) = state.at.history.last() {
            message += &format!("loss {:.3}, ", epoch.train_loss.unwrap_or(f64::NAN));
            if let Some(mae) = epoch.validation_mae {
                message += &format!("validation MAE {mae:.2} BPM, ");
            }
        }
        message += &format!("{:.0} sequences/s", self.sequences as f64 / seconds);
        self.tell(state, self.of_epoch(state.at.epochs_run(), &message));
        (self.epoch_began, self.sequences) = (Instant::now(), 0);
    }

    fn of_epoch(&self, epoch: usize, message: &str) -> String {
        format!("epoch {epoch} of {}: {message}", self.epochs.iter().sum::<usize>())
    }

    fn tell(&mut self, state: &State, message: String) {
        let over: usize = self.epochs[..state.at.phase].iter().sum();
        let done = (over + state.at.epoch) * self.per_epoch + state.at.batch;
        let all: usize = self.epochs.iter().sum();
        let total = (all * self.per_epoch) as u64;
        self.context.progress(done as u64, Some(total), "steps", message);
        self.noticed = Instant::now();
    }
}
