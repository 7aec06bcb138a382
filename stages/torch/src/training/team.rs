//! Computes over many workouts at once: the gradient of a batch, the error on a set, predictions. Unaware of what
//! the results are used for.
//!
//! On a processor a batch is cut into parts of so many workouts, each of which goes forward and back on one thread.
//! How it is cut depends on the workouts alone and the parts are added up in one order, so no number of threads
//! changes a bit. LibTorch's own threads would divide each small product instead, which at these sizes costs more
//! than it brings. A GPU takes the batch whole.

use anyhow::{Context as _, Result};
use pacer_stages::recipe::{Batches, Precision};
use rand_chacha::rand_core::Rng as _;
use rayon::ThreadPool;
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use tch::{Device, Kind, Tensor};

use crate::device;
use crate::models::Network;
use crate::models::pass::Pass;
use crate::models::weights::to_host;
use crate::random::{Purpose, stream};
use crate::training::data::Set;
use crate::training::loss::Objective;

/// Workouts of a part on a processor: with eight, a weight that was fetched serves eight products.
const PART: usize = 8;

/// Workouts that are predicted at once.
const PREDICTED: usize = 16;

/// Parts of one step have streams of random numbers of their own, as far as there are so many.
const PARTS_OF_A_STEP: u64 = 1 << 16;

/// A network with the threads that compute it.
pub struct Team<'a> {
    network: &'a dyn Network,
    objective: Objective,
    part: Option<usize>,
    precision: Precision,
    pool: ThreadPool,
}

/// The loss of a batch and its gradient.
pub struct Slope {
    /// A scalar.
    pub loss: Tensor,
    /// Shape `[len]`.
    pub gradient: Tensor,
}

impl<'a> Team<'a> {
    /// So many threads for a network that makes `objective` small.
    pub fn new(network: &'a dyn Network, objective: Objective, batches: &Batches, threads: usize) -> Result<Self> {
        let pool = device::pool(threads)?;
        Ok(Self { network, objective, part: batches.part, precision: batches.precision, pool })
    }

    /// The network.
    pub fn network(&self) -> &dyn Network {
        self.network
    }

    /// The mean loss over the real samples of the workouts `members` of a set, and its gradient at `theta`; random
    /// numbers are those of (`seed`, `step`).
    pub fn slope(&self, theta: &Tensor, set: &Set, members: &[usize], seed: u64, step: u64) -> Result<Slope> {
        let real = members.iter().map(|member| set.spans()[*member].real).sum();
        let parts = self.parts(set, members);
        if set.device() != Device::Cpu {
            tch::manual_seed(stream(seed, Purpose::Dropout, step * PARTS_OF_A_STEP).next_u64() as i64);
        }
        let theta = theta.f_detach()?;
        let jobs: Vec<_> = parts.into_iter().zip(0..).map(|(part, at)| (part, at, theta.shallow_clone())).collect();
        let one = |(part, at, theta): (Vec<usize>, u64, Tensor)| -> Result<Slope> {
            let random = stream(seed, Purpose::Dropout, step * PARTS_OF_A_STEP + at);
            self.part_slope(&theta.f_set_requires_grad(true)?, set, &part, real, Pass::learn(random))
        };
        let slopes = self.each(set, jobs, one)?;
        let mut slopes = slopes.into_iter();
        let mut sum = slopes.next().context("a batch without workouts")?;
        for slope in slopes {
            sum.loss = sum.loss.f_add(&slope.loss)?;
            sum.gradient = sum.gradient.f_add(&slope.gradient)?;
        }
        Ok(sum)
    }

    fn part_slope(&self, theta: &Tensor, set: &Set, part: &[usize], real: usize, mut pass: Pass) -> Result<Slope> {
        let batch = set.batch(part)?;
        let mixed = self.precision == Precision::Mixed && set.device() != Device::Cpu;
        let outputs = tch::autocast(mixed, || self.network.forward(theta, &batch.input, &mut pass))?;
        let loss = self.objective.loss(&outputs.f_to_kind(Kind::Float)?, &batch, real)?;
        let gradient = pass.gradient(&loss, theta)?;
        Ok(Slope { loss: loss.f_detach()?, gradient })
    }

    /// The sum over real samples of a set of the distance of predictions to the truth, standardised.
    pub fn absolute_error(&self, theta: &Tensor, set: &Set) -> Result<f64> {
        let error = |(part, theta): (Vec<usize>, Tensor)| {
            let _guard = tch::no_grad_guard();
            let batch = set.batch(&part)?;
            let outputs = self.network.forward(&theta, &batch.input, &mut Pass::predict())?;
            self.objective.absolute_error(&outputs, &batch)
        };
        let errors = self.each(set, jobs(set, theta)?, error)?;
        if errors.is_empty() {
            return Ok(0.0);
        }
        // One look at the device for all of them.
        Ok(Tensor::f_stack(&errors, 0)?.f_sum(Kind::Double)?.f_double_value(&[])?)
    }

    /// What the head says at every step of a set, standardised, in the set's order: `outputs` numbers a step.
    pub fn outputs(&self, theta: &Tensor, set: &Set) -> Result<Vec<f32>> {
        let width = self.objective.head.outputs();
        let predict = |(part, theta): (Vec<usize>, Tensor)| {
            let _guard = tch::no_grad_guard();
            let batch = set.batch(&part)?;
            Ok((to_host(&self.network.forward(&theta, &batch.input, &mut Pass::predict())?)?, batch.index))
        };
        let mut all = vec![0.0; set.steps() * width];
        for (outputs, index) in self.each(set, jobs(set, theta)?, predict)? {
            for (step, outputs) in index.iter().zip(outputs.chunks(width)) {
                if let Some(place) = all.get_mut(*step as usize * width..(*step as usize + 1) * width) {
                    place.copy_from_slice(outputs);
                }
            }
        }
        Ok(all)
    }

    /// Does the jobs, side by side on a processor and one by one on a GPU; the results are in the order of the jobs.
    fn each<J: Send, R: Send>(
        &self,
        set: &Set,
        jobs: Vec<J>,
        one: impl Fn(J) -> Result<R> + Send + Sync,
    ) -> Result<Vec<R>> {
        match set.device() {
            Device::Cpu => self.pool.install(|| jobs.into_par_iter().with_max_len(1).map(&one).collect()),
            _ => jobs.into_iter().map(one).collect(),
        }
    }

    /// The parts of a batch: workouts of about one length together, the longest first.
    fn parts(&self, set: &Set, members: &[usize]) -> Vec<Vec<usize>> {
        let size = self.part.unwrap_or(match set.device() {
            Device::Cpu => members.len().div_ceil(2).clamp(1, PART),
            _ => members.len(),
        });
        let mut order = members.to_vec();
        if size < members.len() {
            order.sort_by_key(|member| std::cmp::Reverse(set.spans()[*member].length));
        }
        order.chunks(size).map(<[usize]>::to_vec).collect()
    }
}

/// All workouts of a set in portions of about one length, each with the weights.
fn jobs(set: &Set, theta: &Tensor) -> Result<Vec<(Vec<usize>, Tensor)>> {
    let theta = theta.f_detach()?;
    Ok(set.by_length(PREDICTED).into_iter().map(|part| (part, theta.shallow_clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::recurrent::Recurrent;
    use crate::models::weights::initial;
    use crate::training::toy;
    use pacer_stages::head::Head;
    use pacer_stages::recipe::Loss;

    fn objective() -> Objective {
        Objective { head: Head::Point, loss: Loss::Mse }
    }

    fn slope(threads: usize, batches: &Batches, dropout: f64) -> (f64, Vec<f32>) {
        let mut config = toy::config("lstm", false);
        if let pacer_stages::model::Architecture::Recurrent { dropout: own, .. } = &mut config.architecture {
            *own = dropout;
        }
        let network = Recurrent::new(&config.architecture, 2, &Head::Point).unwrap();
        let set = Set::new(&toy::sequences(20, 20), &(0..20).collect::<Vec<_>>(), &config, Device::Cpu).unwrap();
        let team = Team::new(&network, objective(), batches, threads).unwrap();
        let theta = Tensor::from_slice(&initial(network.parameters(), 3));
        let slope = team.slope(&theta, &set, &(0..19).collect::<Vec<_>>(), 5, 9).unwrap();
        (slope.loss.double_value(&[]), to_host(&slope.gradient).unwrap())
    }

    #[test]
    fn no_number_of_threads_changes_a_bit() {
        let one = slope(1, &Batches::default(), 0.3);
        assert!(one.1.iter().any(|g| g.abs() > 1e-3));
        for threads in [2, 3] {
            assert_eq!(slope(threads, &Batches::default(), 0.3), one);
        }
    }

    #[test]
    fn a_batch_in_parts_has_the_gradient_of_the_whole() {
        let of = |part| slope(2, &Batches { part: Some(part), ..Batches::default() }, 0.0);
        let whole = of(19);
        for part in [1, 4, 18] {
            let (loss, gradient) = of(part);
            assert!((loss - whole.0).abs() < 1e-5);
            for (found, expected) in gradient.iter().zip(&whole.1) {
                assert!((found - expected).abs() < 1e-5, "{found} instead of {expected}");
            }
        }
    }
}
