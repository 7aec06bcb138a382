//! Losses over the standardised heart rate, where only real samples weigh. Unaware of models.

use anyhow::Result;
use pacer_stages::head::Head;
use pacer_stages::recipe::Loss;
use tch::{Kind, Reduction, Tensor};

use crate::training::data::Batch;

/// What a training makes small: the loss that goes with a head.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// What the network says.
    pub head: Head,
    /// The loss of a head that says one value.
    pub loss: Loss,
}

impl Objective {
    /// The sum over the real samples of a batch of the loss, divided by `real`, a scalar; `outputs`
    /// `[longest, workouts, outputs]`, standardised.
    ///
    /// The sum is divided by a number of real samples and not of steps, so that a workout with few samples weighs
    /// little and filled steps nothing.
    pub fn loss(&self, outputs: &Tensor, batch: &Batch, real: usize) -> Result<Tensor> {
        let each = match &self.head {
            Head::Point => point(self.loss, &outputs.f_squeeze_dim(2)?, &batch.target)?,
            Head::Quantiles(levels) => pinball(levels, outputs, &batch.target)?,
            Head::StudentT => student(outputs, &batch.target)?,
        };
        Ok(each.f_mul(&batch.weight)?.f_sum(Kind::Float)?.f_div_scalar(real as f64)?)
    }

    /// The prediction `[longest, workouts]` among the outputs.
    pub fn point(&self, outputs: &Tensor) -> Result<Tensor> {
        Ok(outputs.f_select(2, self.head.point() as i64)?)
    }

    /// The sum over real samples of the distance of the prediction to the truth, both standardised: a scalar that
    /// stays where the batch lies.
    pub fn absolute_error(&self, outputs: &Tensor, batch: &Batch) -> Result<Tensor> {
        let error = self.point(outputs)?.f_sub(&batch.target)?.f_abs()?.f_mul(&batch.weight)?;
        Ok(error.f_sum(Kind::Double)?)
    }
}

fn point(kind: Loss, predictions: &Tensor, target: &Tensor) -> Result<Tensor> {
    Ok(match kind {
        Loss::L1 => predictions.f_sub(target)?.f_abs()?,
        Loss::Mse => predictions.f_sub(target)?.f_square()?,
        Loss::Huber => predictions.f_huber_loss(target, Reduction::None, 1.0)?,
    })
}

/// The mean over levels l of max(l · e, (l − 1) · e) with e = truth − quantile (Koenker and Bassett 1978).
fn pinball(levels: &[f64], quantiles: &Tensor, target: &Tensor) -> Result<Tensor> {
    let levels: Vec<f32> = levels.iter().map(|level| *level as f32).collect();
    let levels = Tensor::f_from_slice(&levels)?.f_to(quantiles.device())?;
    let error = target.f_unsqueeze(2)?.f_sub(quantiles)?;
    let each = error.f_mul(&levels)?.f_maximum(&error.f_mul(&levels.f_sub_scalar(1.0)?)?)?;
    Ok(each.f_mean_dim(&[2][..], false, Kind::Float)?)
}

/// The negative log likelihood of Student's t with 2 + softplus degrees of freedom, a location and a softplus scale.
fn student(outputs: &Tensor, target: &Tensor) -> Result<Tensor> {
    let freedom = outputs.f_select(2, 0)?.f_softplus()?.f_add_scalar(2.0)?;
    let scale = outputs.f_select(2, 2)?.f_softplus()?.f_clamp_min(1e-4)?;
    let distance = target.f_sub(&outputs.f_select(2, 1)?)?.f_div(&scale)?;
    let half = freedom.f_mul_scalar(0.5)?;
    let more = half.f_add_scalar(0.5)?;
    let tail = distance.f_square()?.f_div(&freedom)?.f_log1p()?.f_mul(&more)?;
    let constant = half.f_lgamma()?.f_sub(&more.f_lgamma()?)?;
    let width = freedom.f_mul_scalar(std::f64::consts::PI)?.f_log()?.f_mul_scalar(0.5)?;
    Ok(constant.f_add(&width)?.f_add(&scale.f_log()?)?.f_add(&tail)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Network;
    use crate::models::input::Input;
    use crate::models::pass::Pass;
    use crate::models::recurrent::Recurrent;
    use crate::models::weights::{initial, to_host};
    use crate::random::{Purpose, stream};
    use crate::training::data::Set;
    use crate::training::toy;
    use pacer_stages::model::ModelConfig;
    use tch::Device;

    fn batch(target: &[f32], weight: &[f32]) -> Batch {
        let column = |values: &[f32]| Tensor::from_slice(values).view([-1, 1]);
        Batch {
            input: Input::plain(Tensor::zeros([3, 1, 1], (Kind::Float, Device::Cpu)), vec![target.len()]).unwrap(),
            target: column(target),
            weight: column(weight),
            real: weight.iter().filter(|weight| **weight > 0.0).count(),
            index: Vec::new(),
        }
    }

    fn objective(loss: Loss) -> Objective {
        Objective { head: Head::Point, loss }
    }

    #[test]
    fn each_loss_is_the_mean_over_real_samples_alone() {
        let batch = batch(&[0.0, 0.0, 9.0], &[1.0, 1.0, 0.0]);
        let outputs = Tensor::from_slice(&[0.5f32, -3.0, 100.0]).view([3, 1, 1]);
        for (kind, expected) in [(Loss::L1, 1.75), (Loss::Mse, 4.625), (Loss::Huber, (0.125 + 2.5) / 2.0)] {
            let found = objective(kind).loss(&outputs, &batch, 2).unwrap().double_value(&[]);
            assert!((found - expected).abs() < 1e-6, "{kind:?}: {found} instead of {expected}");
        }
        let error = objective(Loss::Mse).absolute_error(&outputs, &batch).unwrap().double_value(&[]);
        assert!((error - 3.5).abs() < 1e-6);
    }

    #[test]
    fn the_pinball_loss_weighs_either_side_by_its_level() {
        let batch = batch(&[1.0, 0.0, 0.0], &[1.0, 0.0, 0.0]);
        let head = Head::Quantiles(vec![0.1, 0.5]);
        let outputs = Tensor::from_slice(&[0.0f32, 3.0, 0.0, 0.0, 0.0, 0.0]).view([3, 1, 2]);
        let found = Objective { head, loss: Loss::L1 }.loss(&outputs, &batch, 1).unwrap().double_value(&[]);
        assert!((found - (0.1 * 1.0 + 0.5 * 2.0) / 2.0).abs() < 1e-6, "{found}");
    }

    /// With 3 degrees of freedom the density is 2 / (π √3 (1 + z²/3)²).
    #[test]
    fn the_likelihood_of_student_is_the_one_of_the_textbook() {
        let batch = batch(&[2.0, 0.0, 0.0], &[1.0, 0.0, 0.0]);
        let raw = |x: f64| (x.exp_m1()).ln() as f32;
        let outputs = Tensor::from_slice(&[raw(1.0), 1.0, raw(0.5), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]).view([3, 1, 3]);
        let found = Objective { head: Head::StudentT, loss: Loss::L1 }.loss(&outputs, &batch, 1).unwrap();
        let z: f64 = (2.0 - 1.0) / 0.5;
        let density = 2.0 / (std::f64::consts::PI * 3f64.sqrt() * (1.0 + z * z / 3.0).powi(2)) / 0.5;
        assert!((found.double_value(&[]) + density.ln()).abs() < 1e-5, "{found:?}");
    }

    /// The loss of a network on some workouts, and its gradient.
    fn gradient(network: &Recurrent, set: &Set, members: &[usize]) -> (f64, Vec<f32>, usize) {
        let batch = set.batch(members).unwrap();
        let theta = Tensor::from_slice(&initial(network.parameters(), 3)).set_requires_grad(true);
        let mut pass = Pass::learn(stream(3, Purpose::Dropout, 0));
        let outputs = network.forward(&theta, &batch.input, &mut pass).unwrap();
        let loss = objective(Loss::Mse).loss(&outputs, &batch, batch.real).unwrap();
        let gradient = pass.gradient(&loss, &theta).unwrap();
        (loss.double_value(&[]), to_host(&gradient).unwrap(), batch.real)
    }

    fn networks() -> [(Recurrent, ModelConfig); 2] {
        [("lstm", false), ("gru", true)].map(|(cell, bidirectional)| {
            let config = toy::config(cell, bidirectional);
            (Recurrent::new(&config.architecture, 2, &Head::Point).unwrap(), config)
        })
    }

    #[test]
    fn padded_steps_and_targets_of_filled_ones_change_neither_loss_nor_gradient() {
        let plain = toy::sequences(3, 20);
        let mut padded = toy::padded(&plain, 7);
        for (target, real) in padded.target.iter_mut().zip(padded.real.iter()) {
            *target = if *real == 1 { *target } else { 1e6 };
        }
        for (network, config) in networks() {
            let of = |sequences| {
                let set = Set::new(sequences, &[0, 1, 2], &config, Device::Cpu).unwrap();
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
        for (network, config) in networks() {
            let sequences = toy::sequences(3, 20);
            let set = Set::new(&sequences, &[0, 1, 2], &config, Device::Cpu).unwrap();
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
