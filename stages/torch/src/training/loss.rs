//! Losses over the standardised heart rate, where only real samples weigh. Unaware of models.

use anyhow::Result;
use pacer_stages::recipe::Loss;
use tch::{Kind, Reduction, Tensor};

use crate::training::data::Batch;

/// The mean loss over the real samples of a batch, a scalar; predictions `[longest, workouts]`, standardised.
///
/// The sum is divided by the number of real samples and not of steps, so that a workout with few samples weighs
/// little and filled steps nothing.
pub fn loss(kind: Loss, predictions: &Tensor, batch: &Batch) -> Result<Tensor> {
    let each = match kind {
        Loss::L1 => predictions.f_sub(&batch.target)?.f_abs()?,
        Loss::Mse => predictions.f_sub(&batch.target)?.f_square()?,
        Loss::Huber => predictions.f_huber_loss(&batch.target, Reduction::None, 1.0)?,
    };
    let sum = each.f_mul(&batch.weight)?.f_sum(Kind::Float)?;
    Ok(sum.f_div_scalar(batch.real as f64)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::recurrent::{Mode, Padded, Recurrent, to_host};
    use crate::training::data::Set;
    use crate::training::toy;
    use pacer_stages::model::Scaler;
    use tch::Device;

    fn batch(target: &[f32], weight: &[f32]) -> Batch {
        Batch {
            padded: Padded { steps: Tensor::new(), lengths: vec![target.len()] },
            target: Tensor::from_slice(target),
            weight: Tensor::from_slice(weight),
            real: weight.iter().filter(|weight| **weight > 0.0).count(),
            index: Vec::new(),
        }
    }

    #[test]
    fn each_loss_is_the_mean_over_real_samples_alone() {
        let batch = batch(&[0.0, 0.0, 9.0], &[1.0, 1.0, 0.0]);
        let predictions = Tensor::from_slice(&[0.5f32, -3.0, 100.0]);
        for (kind, expected) in [(Loss::L1, 1.75), (Loss::Mse, 4.625), (Loss::Huber, (0.125 + 2.5) / 2.0)] {
            let found = loss(kind, &predictions, &batch).unwrap().double_value(&[]);
            assert!((found - expected).abs() < 1e-6, "{kind:?}: {found} instead of {expected}");
        }
    }

    /// The loss of a network on some workouts, and its gradient.
    fn gradient(network: &Recurrent, set: &Set, members: &[usize]) -> (f64, Vec<f32>, usize) {
        let batch = set.batch(members).unwrap();
        let theta = Tensor::from_slice(&network.initial(3)).set_requires_grad(true);
        let predictions = network.forward(&theta, &batch.padded, Mode::Train).unwrap();
        let loss = loss(Loss::Mse, &predictions, &batch).unwrap();
        let gradient = Tensor::run_backward(&[&loss], &[&theta], false, false);
        (loss.double_value(&[]), to_host(&gradient[0]).unwrap(), batch.real)
    }

    fn networks() -> [(Recurrent, Scaler); 2] {
        [("lstm", false), ("gru", true)].map(|(cell, bidirectional)| {
            let config = toy::config(cell, bidirectional);
            (Recurrent::new(&config.architecture, 2).unwrap(), config.scaler)
        })
    }

    #[test]
    fn padded_steps_and_targets_of_filled_ones_change_neither_loss_nor_gradient() {
        let plain = toy::sequences(3, 20);
        let mut padded = toy::padded(&plain, 7);
        for (target, real) in padded.target.iter_mut().zip(padded.real.iter()) {
            *target = if *real == 1 { *target } else { 1e6 };
        }
        for (network, scaler) in networks() {
            let of = |sequences| {
                let set = Set::new(sequences, &[0, 1, 2], &[0, 1], &scaler, Device::Cpu).unwrap();
                gradient(&network, &set, &[0, 1, 2])
            };
            let (plain, padded) = (of(&plain), of(&padded));
            assert!(plain.1.iter().any(|g| g.abs() > 1e-3), "a gradient of nothing proves nothing");
            assert_eq!(plain, padded);
        }
    }

    /// Workouts of different lengths, so that the shorter ones are padded within the batch.
    #[test]
    fn the_gradient_of_a_batch_is_that_of_its_workouts_one_by_one() {
        for (network, scaler) in networks() {
            let sequences = toy::sequences(3, 20);
            let set = Set::new(&sequences, &[0, 1, 2], &[0, 1], &scaler, Device::Cpu).unwrap();
            let (_, together, real) = gradient(&network, &set, &[0, 1, 2]);
            let mut sum = vec![0.0; together.len()];
            for member in 0..3 {
                let (_, alone, own) = gradient(&network, &set, &[member]);
                for (sum, alone) in sum.iter_mut().zip(alone) {
                    *sum += alone * own as f32 / real as f32;
                }
            }
            for (sum, together) in sum.iter().zip(together) {
                assert!((sum - together).abs() < 1e-5, "{sum} and {together}");
            }
        }
    }
}
