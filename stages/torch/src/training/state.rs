//! Everything that a training loop changes: what a checkpoint must hold for the rest to come out the same.
//! Unaware of data, of files and of the network's shape.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::models::recurrent::to_device;
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
        let first = Epoch { epoch: 0, phase: 0, learning_rate: None, train_loss: None, validation_mae: mae };
        Ok(Self {
            theta: to_device(start, device)?.f_set_requires_grad(true)?,
            adam: Adam::new(start.len() as i64, device)?,
            best: to_device(start, device)?,
            at: Position { best_mae: mae, history: vec![first], ..Position::default() },
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
        self.at.phase += 1;
        (self.at.epoch, self.at.since_best) = (0, 0);
        Ok(())
    }
}

impl Position {
    /// Epochs that are over in all phases.
    pub fn epochs_run(&self) -> usize {
        self.history.len() - 1
    }

    /// Whether this phase has gone on for long enough without a better epoch.
    pub fn out_of_patience(&self, patience: Option<usize>) -> bool {
        patience.is_some_and(|patience| self.since_best >= patience)
    }

    /// Counts a step that was taken, with a finite loss.
    pub fn count(&mut self, loss: f64, real: usize, rate: f64) {
        self.batch += 1;
        self.step += 1;
        self.rate = rate;
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

    fn position(maes: &[Option<f64>]) -> (Position, Vec<bool>) {
        let start = Epoch { epoch: 0, phase: 0, learning_rate: None, train_loss: None, validation_mae: maes[0] };
        let mut at = Position { best_mae: maes[0], history: vec![start], ..Position::default() };
        let better = maes[1..].iter().map(|mae| at.end_epoch(*mae)).collect();
        (at, better)
    }

    #[test]
    fn the_best_epoch_is_kept_and_patience_counts_from_it() {
        let (at, better) = position(&[Some(9.0), Some(8.0), Some(7.0), Some(7.0), Some(7.5)]);
        assert_eq!(better, [true, true, false, false]);
        assert_eq!((at.best_epoch, at.best_mae), (2, Some(7.0)));
        assert!(at.out_of_patience(Some(2)) && !at.out_of_patience(Some(3)) && !at.out_of_patience(None));
    }

    #[test]
    fn without_a_validation_part_the_last_epoch_stands() {
        let (at, better) = position(&[None, None, None]);
        assert_eq!(better, [true, true]);
        assert_eq!((at.best_epoch, at.best_mae), (2, None));
    }
}
