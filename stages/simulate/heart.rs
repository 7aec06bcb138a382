//! How the heart answers demand: first order, with drift, each second. Unaware of courses' origin and of devices.

use rand_chacha::ChaCha8Rng;

use crate::simulate::course::Course;
use crate::simulate::noise::{Wander, clipped};
use crate::simulate::runner::Runner;

/// Heart rate in BPM at every second.
pub struct Heart {
    /// What follows from user, day and course alone: the oracle.
    pub clean: Vec<f64>,
    /// What the heart really does.
    pub noisy: Vec<f64>,
}

/// Standard deviation of what no model can know, BPM, and its time constant, s (autocorrelation 0.94 at 5 s).
const NOISE: (f64, f64) = (5.0, 81.0);

/// The answer to a course on a day with this offset (BPM).
///
/// dHR/dt = (D − HR)/τ with D = base + offset + gain · P/3.6 + drift · t, where P/3.6 is the power over the cost
/// of a metre on the flat, τ differs between rise and fall, and neither passes the highest heart rate.
pub fn answer(rng: &mut ChaCha8Rng, runner: &Runner, course: &Course, offset: f64) -> Heart {
    let start = clipped(rng, runner.rest + 35.0, 15.0, (runner.rest + 5.0, runner.max - 20.0));
    let mut noise = Wander::new(rng, NOISE.0, NOISE.1);
    let mut rate = start;
    let mut heart = Heart { clean: Vec::new(), noisy: Vec::new() };
    for (second, demand) in course.demand.iter().enumerate() {
        let drift = runner.drift * second as f64 / 3600.0;
        let wanted = (runner.base + offset + runner.gain * demand + drift).min(runner.max);
        let tau = if wanted > rate { runner.rise } else { runner.fall };
        rate -= (-1.0 / tau).exp_m1() * (wanted - rate);
        heart.clean.push(rate);
        heart.noisy.push((rate + noise.next(rng)).min(runner.max));
    }
    heart
}
