//! Tells how far a training is and writes its checkpoints, both by the clock. Neither can change a result.

use std::time::{Duration, Instant};

use pacer_stages::stage::Context;

use crate::training::Recipe;
use crate::training::checkpoint::Checkpoint;
use crate::training::state::State;

const BETWEEN_NOTICES: Duration = Duration::from_millis(500);
const BETWEEN_CHECKPOINTS: Duration = Duration::from_secs(5);

/// The observer of one training.
pub struct Watch<'a> {
    context: &'a Context<'a>,
    checkpoint: &'a Checkpoint,
    /// Epochs of each phase.
    epochs: Vec<usize>,
    per_epoch: usize,
    noticed: Instant,
    saved: Instant,
    epoch_began: Instant,
    sequences: usize,
}

impl<'a> Watch<'a> {
    /// Begins to watch a training of `per_epoch` steps in each epoch.
    pub fn new(context: &'a Context<'a>, checkpoint: &'a Checkpoint, recipe: &Recipe, per_epoch: usize) -> Self {
        let epochs = recipe.phases.iter().map(|phase| phase.epochs).collect();
        let now = Instant::now();
        Self { context, checkpoint, epochs, per_epoch, noticed: now, saved: now, epoch_began: now, sequences: 0 }
    }

    /// After a step over a number of sequences.
    pub fn step(&mut self, state: &State, sequences: usize) {
        self.sequences += sequences;
        if self.saved.elapsed() > BETWEEN_CHECKPOINTS {
            self.checkpoint.save(state, self.context);
            self.saved = Instant::now();
        }
        if self.noticed.elapsed() > BETWEEN_NOTICES && state.at.batch < self.per_epoch {
            let message = format!(
                "batch {} of {}, loss {:.3}",
                state.at.batch,
                self.per_epoch,
                state.at.loss_sum / state.at.loss_weight
            );
            self.tell(state, state.at.epochs_run() + 1, message);
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
        self.tell(state, state.at.epochs_run(), message);
        (self.epoch_began, self.sequences) = (Instant::now(), 0);
    }

    fn tell(&mut self, state: &State, epoch: usize, message: String) {
        let over: usize = self.epochs[..state.at.phase].iter().sum();
        let done = (over + state.at.epoch) * self.per_epoch + state.at.batch;
        let all: usize = self.epochs.iter().sum();
        let total = (all * self.per_epoch) as u64;
        self.context.progress(done as u64, Some(total), "steps", format!("epoch {epoch} of {all}: {message}"));
        self.noticed = Instant::now();
    }
}
