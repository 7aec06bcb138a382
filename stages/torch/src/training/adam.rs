//! Adam (Kingma and Ba 2015) over one flat buffer, with decoupled weight decay (Loshchilov and Hutter 2019),
//! clipping by the global norm, and a mask of what may change. Unaware of losses and models.
//!
//! It is our own because LibTorch's optimizer cannot be read or written through `tch`, and a training that is to
//! end bit for bit as if it had never been interrupted needs its moments.

use anyhow::Result;
use tch::{Device, Kind, Tensor};

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// The moments of every parameter and the number of steps taken.
pub struct Adam {
    /// Decayed mean of the gradient.
    pub first: Tensor,
    /// Decayed mean of the squared gradient.
    pub second: Tensor,
    /// Steps taken.
    pub steps: u64,
}

/// How a step is taken.
pub struct Step<'a> {
    /// The learning rate.
    pub rate: f64,
    /// Largest norm of the gradient; a longer one is shortened to it.
    pub clip_norm: Option<f64>,
    /// Fraction of a weight that a unit learning rate takes away.
    pub weight_decay: f64,
    /// 1 for the parameters that may change, 0 for the others; all may when left out.
    pub mask: Option<&'a Tensor>,
}

impl Adam {
    /// No step taken yet.
    pub fn new(parameters: i64, device: Device) -> Result<Self> {
        let zeros = || Tensor::f_zeros([parameters], (Kind::Float, device));
        Ok(Self { first: zeros()?, second: zeros()?, steps: 0 })
    }

    /// Moves `theta` one step against `gradient`, both `[parameters]`. A masked parameter keeps its bits: its
    /// gradient counts as 0, hence its moments and its update are 0.
    pub fn step(&mut self, theta: &mut Tensor, gradient: &Tensor, step: &Step<'_>) -> Result<()> {
        let _guard = tch::no_grad_guard();
        let mut gradient = match step.mask {
            Some(mask) => gradient.f_mul(mask)?,
            None => gradient.shallow_clone(),
        };
        if let Some(limit) = step.clip_norm {
            let norm = gradient.f_square()?.f_sum(Kind::Float)?.f_sqrt()?;
            let scale = norm.f_add_scalar(1e-6)?.f_reciprocal()?.f_mul_scalar(limit)?.f_clamp_max(1.0)?;
            gradient = gradient.f_mul(&scale)?;
        }
        self.steps += 1;
        let (first_bias, second_bias) = (1.0 - power(BETA1, self.steps), 1.0 - power(BETA2, self.steps));
        let square = gradient.f_square()?;
        let _ = self.first.f_mul_scalar_(BETA1)?.f_add_(&gradient.f_mul_scalar(1.0 - BETA1)?)?;
        let _ = self.second.f_mul_scalar_(BETA2)?.f_add_(&square.f_mul_scalar(1.0 - BETA2)?)?;
        let spread = self.second.f_div_scalar(second_bias)?.f_sqrt()?.f_add_scalar(EPSILON)?;
        let mut update = self.first.f_div(&spread)?.f_mul_scalar(step.rate / first_bias)?;
        if step.weight_decay > 0.0 {
            let decay = theta.f_mul_scalar(step.rate * step.weight_decay)?;
            update = update.f_add(&match step.mask {
                Some(mask) => decay.f_mul(mask)?,
                None => decay,
            })?;
        }
        let _ = theta.f_sub_(&update)?;
        Ok(())
    }
}

/// A power by a count of steps, which may pass the range of `powi`.
fn power(base: f64, steps: u64) -> f64 {
    base.powf(steps as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::weights::to_host;

    const PLAIN: Step<'static> = Step { rate: 0.1, clip_norm: None, weight_decay: 0.0, mask: None };

    fn run(start: &[f32], gradients: &[&[f32]], step: &Step<'_>) -> Vec<f32> {
        let mut theta = Tensor::from_slice(start);
        let mut adam = Adam::new(start.len() as i64, Device::Cpu).unwrap();
        for gradient in gradients {
            adam.step(&mut theta, &Tensor::from_slice(gradient), step).unwrap();
        }
        to_host(&theta).unwrap()
    }

    fn assert_close(found: &[f32], expected: &[f64]) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} instead of {expected}");
        }
    }

    /// By hand: after gradients 2 and −1 the moments are m = 0.9·0.2 − 0.1 = 0.08 and
    /// v = 0.999·0.004 + 0.001 = 0.004996; without bias 0.08/0.19 and 0.004996/0.001999.
    #[test]
    fn two_steps_are_what_they_are_by_hand() {
        assert_close(&run(&[1.0], &[&[2.0]], &PLAIN), &[0.9]);
        let second = 0.1 * (0.08 / 0.19) / (0.004_996f64 / 0.001_999).sqrt();
        assert_close(&run(&[1.0], &[&[2.0], &[-1.0]], &PLAIN), &[0.9 - second]);
    }

    #[test]
    fn a_long_gradient_is_shortened_to_the_limit_and_a_short_one_is_left_alone() {
        let mut adam = Adam::new(2, Device::Cpu).unwrap();
        let step = Step { clip_norm: Some(1.0), ..PLAIN };
        adam.step(&mut Tensor::from_slice(&[0f32, 0.0]), &Tensor::from_slice(&[3f32, 4.0]), &step).unwrap();
        assert_close(&to_host(&adam.first).unwrap(), &[0.06, 0.08]);
        let mut adam = Adam::new(2, Device::Cpu).unwrap();
        adam.step(&mut Tensor::from_slice(&[0f32, 0.0]), &Tensor::from_slice(&[0.3f32, 0.4]), &step).unwrap();
        assert_close(&to_host(&adam.first).unwrap(), &[0.03, 0.04]);
    }

    #[test]
    fn decay_takes_its_fraction_beside_the_gradients_step() {
        let step = Step { weight_decay: 0.5, ..PLAIN };
        assert_close(&run(&[2.0], &[&[1.0]], &step), &[2.0 - 0.1 - 0.1 * 0.5 * 2.0]);
    }

    #[test]
    fn a_masked_parameter_keeps_its_bits_and_takes_no_part_in_the_norm() {
        let mask = Tensor::from_slice(&[0f32, 1.0]);
        let start = [0.123_456_79f32, 1.0];
        let step = Step { clip_norm: Some(1.0), weight_decay: 0.3, mask: Some(&mask), ..PLAIN };
        let end = run(&start, &[&[1e6, 0.5], &[-3.0, 0.2]], &step);
        assert_eq!(end[0].to_bits(), start[0].to_bits());
        let alone = run(&start[1..], &[&[0.5], &[0.2]], &Step { mask: None, ..step });
        assert_eq!(end[1].to_bits(), alone[0].to_bits());
    }
}
