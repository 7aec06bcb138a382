//! One pass through a network: whether it learns, what it draws at random, and the pieces whose gradient is worked
//! out by hand. Unaware of networks and of losses.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng as _;
use tch::{Device, Kind, Tensor};

/// Gives the gradients of a piece's inputs from the gradient of its output.
type Back = Box<dyn FnOnce(&Tensor) -> Result<Vec<Tensor>>>;

/// One pass, forward and, where the network learns, back.
pub struct Pass {
    random: Option<ChaCha8Rng>,
    cuts: Vec<Cut>,
}

/// A piece of the computation that LibTorch does not see: its inputs end one stretch of LibTorch's graph and its
/// output begins the next.
struct Cut {
    inputs: Vec<Tensor>,
    output: Tensor,
    back: Back,
}

impl Pass {
    /// A pass that predicts: nothing is random and nothing is kept.
    pub fn predict() -> Self {
        Self { random: None, cuts: Vec::new() }
    }

    /// A pass that learns and takes its random numbers from here.
    pub fn learn(random: ChaCha8Rng) -> Self {
        Self { random: Some(random), cuts: Vec::new() }
    }

    /// Whether the gradient is asked for.
    pub fn learns(&self) -> bool {
        self.random.is_some()
    }

    /// Drops a share of numbers and scales up the rest while the network learns.
    ///
    /// On a processor the draws are the pass's own, so that passes side by side do not disturb each other; on a GPU
    /// they come from LibTorch's generator there.
    pub fn dropout(&mut self, x: &Tensor, share: f64) -> Result<Tensor> {
        let Some(random) = self.random.as_mut().filter(|_| share > 0.0) else { return Ok(x.shallow_clone()) };
        if x.device() != Device::Cpu {
            return Ok(x.f_dropout(share, true)?);
        }
        let limit = (share * 2f64.powi(32)) as u32;
        let scale = (1.0 / (1.0 - share)) as f32;
        let kept = |_| if random.next_u32() >= limit { scale } else { 0.0 };
        let mask: Vec<f32> = (0..x.numel()).map(kept).collect();
        Ok(x.f_mul(&Tensor::f_from_slice(&mask)?.f_view(&x.size()[..])?)?)
    }

    /// Sets a share of places to 0 while the network learns; `places` are whole numbers.
    pub fn hide(&mut self, places: &Tensor, share: f64) -> Result<Tensor> {
        let Some(random) = self.random.as_mut().filter(|_| share > 0.0) else { return Ok(places.shallow_clone()) };
        let limit = (share * 2f64.powi(32)) as u32;
        let kept: Vec<i64> = (0..places.numel()).map(|_| i64::from(random.next_u32() >= limit)).collect();
        Ok(places.f_mul(&Tensor::f_from_slice(&kept)?.f_to(places.device())?)?)
    }

    /// Joins a piece that was computed from `inputs` without LibTorch's knowledge; `back` is called once, where the
    /// pass learns, with the gradient of the output, and gives one gradient for each input.
    pub fn cut(
        &mut self,
        inputs: Vec<Tensor>,
        output: Tensor,
        back: impl FnOnce(&Tensor) -> Result<Vec<Tensor>> + 'static,
    ) -> Result<Tensor> {
        if !self.learns() {
            return Ok(output);
        }
        let output = output.f_detach()?.f_set_requires_grad(true)?;
        self.cuts.push(Cut { inputs, output: output.shallow_clone(), back: Box::new(back) });
        Ok(output)
    }

    /// The gradient of a scalar with respect to the leaf `theta`.
    ///
    /// LibTorch goes back to the outputs of the cuts; each cut then gives the gradients of its inputs, and the inner
    /// product of these with the inputs is a scalar that LibTorch goes on from, for its gradient is just theirs.
    pub fn gradient(self, loss: &Tensor, theta: &Tensor) -> Result<Tensor> {
        let outputs: Vec<Tensor> = self.cuts.iter().map(|cut| cut.output.shallow_clone()).collect();
        let mut sums: Vec<Option<Tensor>> = outputs.iter().map(|_| None).collect();
        let mut total = None;
        let mut back = |scalar: &Tensor, outputs: &[Tensor], sums: &mut [Option<Tensor>]| -> Result<()> {
            let leaves: Vec<&Tensor> = std::iter::once(theta).chain(outputs).collect();
            let gradients = Tensor::f_run_backward(&[scalar], &leaves, true, false)?;
            for (sum, gradient) in std::iter::once(&mut total).chain(sums).zip(gradients) {
                if gradient.defined() {
                    *sum = Some(match sum.take() {
                        None => gradient,
                        Some(sum) => sum.f_add(&gradient)?,
                    });
                }
            }
            Ok(())
        };
        back(loss, &outputs, &mut sums)?;
        for (at, cut) in self.cuts.into_iter().enumerate().rev() {
            // What the loss does not depend on ends its stretch.
            let Some(gradient) = sums[at].take() else { continue };
            if let Some(product) = inner_product(&cut.inputs, &(cut.back)(&gradient)?)? {
                back(&product, &outputs[..at], &mut sums[..at])?;
            }
        }
        match total {
            Some(total) => Ok(total),
            None => Ok(Tensor::f_zeros(theta.size(), (Kind::Float, theta.device()))?),
        }
    }
}

/// The sum over inputs that LibTorch goes on from of input times gradient; none where there is no such input.
fn inner_product(inputs: &[Tensor], gradients: &[Tensor]) -> Result<Option<Tensor>> {
    let mut sum: Option<Tensor> = None;
    for (input, gradient) in inputs.iter().zip(gradients).filter(|(input, _)| input.requires_grad()) {
        let product = input.f_reshape([-1])?.f_dot(&gradient.f_reshape([-1])?)?;
        sum = Some(match sum {
            None => product,
            Some(sum) => sum.f_add(&product)?,
        });
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::weights::to_host;
    use crate::random::{Purpose, stream};

    fn learn() -> Pass {
        Pass::learn(stream(1, Purpose::Dropout, 0))
    }

    fn leaf(values: &[f32]) -> Tensor {
        Tensor::from_slice(values).set_requires_grad(true)
    }

    /// Squares its input by hand.
    fn squared(pass: &mut Pass, x: &Tensor) -> Tensor {
        let plain = x.detach();
        let output = plain.square();
        pass.cut(vec![x.shallow_clone()], output, move |gradient| Ok(vec![gradient * &plain * 2.0])).unwrap()
    }

    #[test]
    fn pieces_worked_out_by_hand_join_with_what_libtorch_works_out() {
        let theta = leaf(&[0.5, -1.5, 2.0]);
        let whole = |square: &mut dyn FnMut(&Tensor) -> Tensor| {
            let first = square(&theta.sin());
            let second = square(&(&first * &theta + 1.0));
            (second + first.exp() * &theta).sum(Kind::Float)
        };
        let plain = Tensor::run_backward(&[whole(&mut |x: &Tensor| x.square())], &[&theta], false, false);
        let mut pass = learn();
        let loss = whole(&mut |x: &Tensor| squared(&mut pass, x));
        let found = to_host(&pass.gradient(&loss, &theta).unwrap()).unwrap();
        for (found, expected) in found.iter().zip(to_host(&plain[0]).unwrap()) {
            assert!((found - expected).abs() < 1e-5, "{found} instead of {expected}");
        }
    }

    #[test]
    fn a_piece_that_the_loss_does_not_depend_on_changes_nothing() {
        let theta = leaf(&[3.0]);
        let mut pass = learn();
        let _ = squared(&mut pass, &theta);
        let loss = (&theta * 4.0).sum(Kind::Float);
        assert_eq!(to_host(&pass.gradient(&loss, &theta).unwrap()).unwrap(), [4.0]);
    }

    #[test]
    fn dropout_keeps_the_mean_while_learning_and_everything_while_predicting() {
        let x = Tensor::ones([10_000], (Kind::Float, Device::Cpu));
        assert_eq!(Pass::predict().dropout(&x, 0.5).unwrap().double_value(&[7]), 1.0);
        let dropped = to_host(&learn().dropout(&x, 0.2).unwrap()).unwrap();
        assert!(dropped.iter().all(|value| *value == 0.0 || *value == 1.25));
        let mean = dropped.iter().sum::<f32>() / 1e4;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        assert_eq!(dropped, to_host(&learn().dropout(&x, 0.2).unwrap()).unwrap());
    }
}
