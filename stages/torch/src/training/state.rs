//! Everything that a training loop changes: what a checkpoint must hold for the rest to come out the same.
//! Unaware of data, of files and of the network's shape.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::models::weights::to_device;
use crate::training::Recipe;
use crate::training::adam::Adam;

/// A training between two steps.
pub struct State {
    /// The weights, the leaf that gradients are taken of.
    pub theta: Tensor,
    /// The moments; fresh in each phase.
    pub adam: Adam,
    /// The weights of the best epoch so far.
    pub best: Tensor,
    /// Where the training stands.
    pub at: Position,
}

/// Where a training stands and how it has gone: all of its state but the tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Phases that are over.
    pub phase: usize,
    /// Epochs of this phase that are over.
    pub epoch: usize,
    /// Batches of this epoch that are over.
    pub batch: usize,
    /// Steps taken in all phases.
    pub step: u64,
    /// The epoch that the best weights are of.
    pub best_epoch: usize,
    /// Its validation error in BPM, where there is a validation part.
    pub best_mae: Option<f64>,
    /// Epochs of this phase since its best one, or since its start.
    pub since_best: usize,
    /// Sum over this epoch's real samples of the loss.
    pub loss_sum: f64,
    /// Real samples of this epoch so far.
    pub loss_weight: f64,
    /// The latest loss; only a finite one is ever stored.
    pub last_loss: Option<f64>,
    /// The learning rate of the latest step.
    pub rate: f64,
    /// Every epoch that is over, the start included.
    pub history: Vec<Epoch>,
}

/// What an epoch came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Its number through all phases; 0 is the state before training.
    pub epoch: usize,
    /// The number of its phase from 1; 0 before training.
    pub phase: usize,
    /// The learning rate of its last step.
    pub learning_rate: Option<f64>,
    /// The mean loss over its real samples, each batch before its step.
    pub train_loss: Option<f64>,
    /// The error on the validation part after it, BPM.
    pub validation_mae: Option<f64>,
}

impl State {
    /// Before the first step, with the validation error of the weights as they are.
    pub fn new(start: &[f32], mae: Option<f64>, device: Device) -> Result<Self> {
        Ok(Self {
            theta: to_device(start, device)?.f_set_requires_grad(true)?,
            adam: Adam::new(start.len() as i64, device)?,
            best: to_device(start, device)?,
            at: Position::at_start(mae),
        })
    }

    /// Keeps the weights of the epoch that ended where they are the best; without a validation part the latest are.
    pub fn end_epoch(&mut self, mae: Option<f64>) -> Result<()> {
        if self.at.end_epoch(mae) {
            self.best = copied(&self.theta)?;
        }
        Ok(())
    }

    /// Begins the next phase from the best weights, with fresh moments.
    pub fn end_phase(&mut self) -> Result<()> {
        self.theta = copied(&self.best)?.f_set_requires_grad(true)?;
        self.adam = Adam::new(self.theta.numel() as i64, self.theta.device())?;
        self.at.end_phase();
        Ok(())
    }
}

impl Position {
    /// Before the first step, with the validation error of the weights as they are.
    pub fn at_start(mae: Option<f64>) -> Self {
        let first = Epoch { epoch: 0, phase: 0, learning_rate: None, train_loss: None, validation_mae: mae };
        Self { best_mae: mae, history: vec![first], ..Self::default() }
    }

    /// Epochs that are over in all phases.
    pub fn epochs_run(&self) -> usize {
        self.history.len() - 1
    }

    /// Whether its phase is over: all epochs of it are, or enough of them since the best one.
    pub fn is_phase_over(&self, recipe: &Recipe) -> bool {
        let epochs = recipe.phases.get(self.phase).map_or(0, |phase| phase.epochs);
        self.epoch >= epochs || recipe.patience.is_some_and(|patience| self.since_best >= patience)
    }

    /// Whether a training by this recipe comes by here itself: it goes through the history again and stops where
    /// the recipe would.
    ///
    /// What was trained with more epochs or more patience may lie past the recipe's end; with less patience, in a
    /// phase that the recipe would not have come to yet.
    pub fn lies_on(&self, recipe: &Recipe) -> bool {
        let Some((start, epochs)) = self.history.split_first() else { return false };
        let mut own = Self::at_start(start.validation_mae);
        for epoch in epochs {
            own.go_to_phase(epoch.phase.saturating_sub(1), recipe);
            if own.phase + 1 != epoch.phase || own.is_phase_over(recipe) {
                return false;
            }
            own.end_epoch(epoch.validation_mae);
        }
        own.go_to_phase(self.phase, recipe);
        (own.phase, own.epoch, own.best_epoch) == (self.phase, self.epoch, self.best_epoch)
            && self.phase < recipe.phases.len()
            && (self.batch == 0 || !own.is_phase_over(recipe))
    }

    /// Ends phases until the given one, as far as they are over.
    fn go_to_phase(&mut self, phase: usize, recipe: &Recipe) {
        while self.phase < phase.min(recipe.phases.len()) && self.is_phase_over(recipe) {
            self.end_phase();
        }
    }

    fn end_phase(&mut self) {
        self.phase += 1;
        (self.epoch, self.since_best) = (0, 0);
    }

    /// Counts a step that was taken.
    pub fn step_taken(&mut self, rate: f64) {
        self.batch += 1;
        self.step += 1;
        self.rate = rate;
    }

    /// Counts the finite loss of a step.
    pub fn count(&mut self, loss: f64, real: usize) {
        self.last_loss = Some(loss);
        self.loss_sum += loss * real as f64;
        self.loss_weight += real as f64;
    }

    /// Records an epoch; whether it is the best so far.
    fn end_epoch(&mut self, mae: Option<f64>) -> bool {
        self.history.push(Epoch {
            epoch: self.history.len(),
            phase: self.phase + 1,
            learning_rate: Some(self.rate),
            train_loss: Some(self.loss_sum / self.loss_weight),
            validation_mae: mae,
        });
        self.epoch += 1;
        self.batch = 0;
        self.since_best += 1;
        (self.loss_sum, self.loss_weight) = (0.0, 0.0);
        let better = match (mae, self.best_mae) {
            (Some(mae), Some(best)) => mae < best,
            (None, _) | (_, None) => true,
        };
        if better {
            self.best_mae = mae;
            self.best_epoch = self.epochs_run();
            self.since_best = 0;
        }
        better
    }
}

/// The same bits in memory of their own.
fn copied(tensor: &Tensor) -> Result<Tensor> {
    let source = tensor.f_detach()?;
    let mut copy = source.f_empty_like()?;
    copy.f_copy_(&source)?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::Phase;
    use crate::training::loss::Objective;
    use pacer_stages::head::Head;
    use pacer_stages::recipe::{Batches, Loss, Schedule};

    fn position(maes: &[Option<f64>]) -> (Position, Vec<bool>) {
        let mut at = Position::at_start(maes[0]);
        let better = maes[1..].iter().map(|mae| at.end_epoch(*mae)).collect();
        (at, better)
    }

    #[test]
    fn the_best_epoch_is_kept_and_patience_counts_from_it() {
        let (at, better) = position(&[Some(9.0), Some(8.0), Some(7.0), Some(7.0), Some(7.5)]);
        assert_eq!(better, [true, true, false, false]);
        assert_eq!((at.best_epoch, at.best_mae), (2, Some(7.0)));
        let is_over = |patience| at.is_phase_over(&recipe(&[9], patience));
        assert!(is_over(Some(2)) && !is_over(Some(3)) && !is_over(None));
    }

    fn recipe(epochs: &[usize], patience: Option<usize>) -> Recipe {
        let phase =
            |epochs: &usize| Phase { epochs: *epochs, rate: 0.1, mask: None, rate_parameter: "learning_rate".into() };
        Recipe {
            objective: Objective { head: Head::Point, loss: Loss::L1 },
            batch_size: 8,
            batches: Batches::default(),
            schedule: Schedule::default(),
            clip_norm: None,
            patience,
            weight_decay: 0.0,
            phases: epochs.iter().map(phase).collect(),
        }
    }

    #[test]
    fn a_training_comes_by_what_lies_before_its_own_end_alone() {
        let (at, _) = position(&[Some(9.0), Some(8.0), Some(8.5), Some(8.6), Some(7.0)]);
        for (epochs, patience, comes_by) in [
            (5, None, true),
            (4, None, true),
            (3, None, false),
            (9, Some(3), true),
            // It would have stopped after the third epoch, the second without a better one.
            (9, Some(2), false),
        ] {
            assert_eq!(at.lies_on(&recipe(&[epochs], patience)), comes_by, "{epochs} epochs, patience {patience:?}");
        }
        let within = Position { batch: 1, ..at.clone() };
        assert!(within.lies_on(&recipe(&[5], None)) && !within.lies_on(&recipe(&[4], None)));
        let (stopped, _) = position(&[Some(9.0), Some(8.0), Some(8.5), Some(8.6)]);
        assert!(stopped.lies_on(&recipe(&[9], Some(2))));
        assert!(!Position { batch: 1, ..stopped }.lies_on(&recipe(&[9], Some(2))));
    }

    #[test]
    fn a_training_comes_to_the_second_phase_when_its_own_first_one_is_over() {
        let (mut at, _) = position(&[Some(9.0), Some(8.0), Some(8.5), Some(8.6)]);
        at.end_phase();
        at.end_epoch(Some(7.0));
        assert!(at.lies_on(&recipe(&[3, 5], None)) && at.lies_on(&recipe(&[9, 5], Some(2))));
        for (epochs, patience) in [(&[4, 5][..], None), (&[9, 5], Some(3)), (&[9, 5], Some(1)), (&[3], None)] {
            assert!(!at.lies_on(&recipe(epochs, patience)), "{epochs:?}, patience {patience:?}");
        }
        assert!(!Position::default().lies_on(&recipe(&[3], None)), "a state without history is none");
    }

    #[test]
    fn without_a_validation_part_the_last_epoch_stands() {
        let (at, better) = position(&[None, None, None]);
        assert_eq!(better, [true, true]);
        assert_eq!((at.best_epoch, at.best_mae), (2, None));
    }
}
