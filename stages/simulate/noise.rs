//! Random draws and noise with memory. Unaware of runners.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

/// A draw from the normal distribution.
pub fn normal(rng: &mut ChaCha8Rng, mean: f64, sd: f64) -> f64 {
    let unit: f64 = StandardNormal.sample(rng);
    mean + sd * unit
}

/// A normal draw, kept within bounds.
pub fn clipped(rng: &mut ChaCha8Rng, mean: f64, sd: f64, (low, high): (f64, f64)) -> f64 {
    normal(rng, mean, sd).clamp(low, high)
}

/// A draw whose logarithm is normal, around a median.
pub fn log_normal(rng: &mut ChaCha8Rng, median: f64, sigma: f64) -> f64 {
    median * normal(rng, 0.0, sigma).exp()
}

/// A draw between two bounds.
pub fn uniform(rng: &mut ChaCha8Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * rng.random::<f64>()
}

/// Whether something of this probability happens.
pub fn bernoulli(rng: &mut ChaCha8Rng, probability: f64) -> bool {
    rng.random::<f64>() < probability
}

/// Noise with memory (AR(1), sampled each second) of a given standard deviation and time constant.
pub struct Wander {
    value: f64,
    memory: f64,
    kick: f64,
}

impl Wander {
    /// Starts anywhere within its spread; `tau` in seconds.
    pub fn new(rng: &mut ChaCha8Rng, sd: f64, tau: f64) -> Self {
        let memory = (-1.0 / tau).exp();
        Self { value: normal(rng, 0.0, sd), memory, kick: sd * (1.0 - memory * memory).sqrt() }
    }

    /// The value one second later.
    pub fn next(&mut self, rng: &mut ChaCha8Rng) -> f64 {
        self.value = self.memory * self.value + normal(rng, 0.0, self.kick);
        self.value
    }
}
