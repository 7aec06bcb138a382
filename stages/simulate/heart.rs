//! How the heart answers demand: first order, with drift, each second. Unaware of courses' origin and of devices.

use rand_chacha::ChaCha8Rng;

use crate::simulate::course::Course;
use crate::simulate::noise::{Wander, clipped};
use crate::simulate::runner::Runner;

/// Heart rate in BPM at every second.
pub struct Heart {
    /// What follows from user, course and day: the oracle of the day.
    pub clean: Vec<f64>,
    /// What follows from user and course alone, on a day like any other: the oracle of the user.
    pub usual: Vec<f64>,
    /// What the heart really does.
    pub noisy: Vec<f64>,
}

/// How far a day's heart rate lies above the runner's line of heart rate over power, BPM.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offset {
    /// What follows from the runner and the date, such as a trend over the years.
    pub known: f64,
    /// What the day adds: a short night, warm air. Nothing but the heart rate itself tells it.
    pub day: f64,
}

/// Standard deviation of what no model can know, BPM, and its time constant, s (autocorrelation 0.94 at 5 s).
const NOISE: (f64, f64) = (5.0, 81.0);

/// BPM above those at rest when a workout begins, and their standard deviation from day to day.
const START: (f64, f64) = (35.0, 15.0);

/// The answer to a course on a day with this offset.
///
/// dHR/dt = (D − HR)/τ with D = base + offset + gain · P/3.6 + drift · t, where P/3.6 is the power over the cost
/// of a metre on the flat, τ differs between rise and fall, and neither passes the highest heart rate.
pub fn answer(rng: &mut ChaCha8Rng, runner: &Runner, course: &Course, offset: Offset) -> Heart {
    let usual = runner.rest + START.0;
    let start = clipped(rng, usual, START.1, (runner.rest + 5.0, runner.max - 20.0));
    let mut noise = Wander::new(rng, NOISE.0, NOISE.1);
    let clean = follow(runner, course, offset.known + offset.day, start);
    let noisy = clean.iter().map(|rate| (rate + noise.next(rng)).min(runner.max)).collect();
    Heart { usual: follow(runner, course, offset.known, usual), clean, noisy }
}

/// The heart rate that begins at `start` (BPM) and follows a course without noise.
fn follow(runner: &Runner, course: &Course, offset: f64, start: f64) -> Vec<f64> {
    let mut rate = start;
    let each = course.demand.iter().enumerate().map(|(second, demand)| {
        let drift = runner.drift * second as f64 / 3600.0;
        let wanted = (runner.base + offset + runner.gain * demand + drift).min(runner.max);
        let tau = if wanted > rate { runner.rise } else { runner.fall };
        rate -= (-1.0 / tau).exp_m1() * (wanted - rate);
        rate
    });
    each.collect()
}
