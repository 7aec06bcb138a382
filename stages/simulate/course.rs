//! Where and how fast a workout goes: slope and speed at every second. Unaware of hearts and devices.

use rand_chacha::ChaCha8Rng;

use crate::physiology::cost_of_running;
use crate::simulate::noise::{Wander, bernoulli, clipped, log_normal, uniform};
use crate::simulate::runner::Runner;

/// A sport, and how fast it is for the effort of running.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sport {
    /// The word of the file.
    pub name: &'static str,
    /// Speed over that of running at the same effort.
    pub pace: f64,
    share: f64,
}

/// Running.
pub const RUN: Sport = Sport { name: "run", pace: 1.0, share: 0.0 };

/// Walking.
pub const WALKING: Sport = Sport { name: "walk", pace: 0.5, share: 0.08 };

/// Cycling.
pub const CYCLING: Sport = Sport { name: "bike", pace: 2.4, share: 0.62 };

/// What else people record, with shares among themselves.
const OTHER_SPORTS: [Sport; 6] = [
    CYCLING,
    Sport { name: "bike (transport)", pace: 2.0, share: 0.12 },
    Sport { name: "mountain bike", pace: 1.6, share: 0.1 },
    WALKING,
    Sport { name: "orienteering", pace: 0.8, share: 0.04 },
    Sport { name: "cross-country skiing", pace: 1.1, share: 0.04 },
];

/// Draws a sport that is not running.
pub fn other_sport(rng: &mut ChaCha8Rng) -> Sport {
    let mut left = uniform(rng, 0.0, 1.0);
    let chosen = OTHER_SPORTS.into_iter().find(|sport| {
        left -= sport.share;
        left < 0.0
    });
    chosen.unwrap_or(OTHER_SPORTS[0])
}

/// A workout's way, second by second.
pub struct Course {
    /// The sport.
    pub sport: Sport,
    /// Speed over ground, m/s.
    pub speed: Vec<f64>,
    /// Slope, rise over run.
    pub grade: Vec<f64>,
    /// Demand in m/s of running on the flat: power over its cost there.
    pub demand: Vec<f64>,
}

/// Steepest slope of a course.
const STEEPEST: f64 = 0.12;
/// How far a runner slows on a slope: 1 would keep the power even, 0 the speed.
const YIELD: f64 = 0.6;
/// Walking speed, m/s.
const WALK: f64 = 1.4;

/// How a workout is paced.
enum Plan {
    /// As even as can be.
    Steady,
    /// Faster from minute to minute.
    Progression,
    /// Fast and slow parts of these lengths in seconds, between a warm-up and an end.
    Intervals { fast: f64, slow: f64, boost: f64 },
    /// A walk of this length after each run of that length, both in seconds.
    Walks { run: f64, walk: f64 },
}

impl Plan {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        match uniform(rng, 0.0, 1.0) {
            draw if draw < 0.55 => Self::Steady,
            draw if draw < 0.7 => Self::Progression,
            draw if draw < 0.85 => Self::Intervals {
                fast: uniform(rng, 60.0, 300.0),
                slow: uniform(rng, 60.0, 150.0),
                boost: uniform(rng, 1.1, 1.25),
            },
            _ => Self::Walks { run: uniform(rng, 240.0, 900.0), walk: uniform(rng, 30.0, 150.0) },
        }
    }

    /// Multiple of the run's speed at a second of a workout of this length.
    fn pace(&self, second: f64, length: f64) -> f64 {
        match self {
            Self::Steady => 1.0,
            Self::Progression => 0.92 + 0.16 * second / length,
            Self::Intervals { .. } if second < 600.0 || second > length - 300.0 => 0.95,
            Self::Intervals { fast, slow, boost } => {
                if (second - 600.0) % (fast + slow) < *fast {
                    *boost
                } else {
                    0.75
                }
            }
            Self::Walks { run, walk } => {
                if second % (run + walk) < *run {
                    1.0
                } else {
                    0.0
                }
            }
        }
    }
}

impl Course {
    /// Draws a workout of this runner.
    pub fn draw(rng: &mut ChaCha8Rng, runner: &Runner, sport: Sport) -> Self {
        let length = log_normal(rng, 3660.0, 0.42).clamp(900.0, 14_400.0).round();
        let plan = Plan::draw(rng);
        let speed = runner.speed * clipped(rng, 1.0, 0.09, (0.7, 1.3)) * (length / 3660.0).powf(-0.06);
        let fade = uniform(rng, 0.0, 0.06);
        let hills = log_normal(rng, runner.hilliness, 0.4);
        // Noise of noise is smooth: hills have no kinks.
        let mut hill = Wander::new(rng, hills, 60.0);
        let (mut ease, mut flutter) = (Wander::new(rng, 0.05, 120.0), Wander::new(rng, 0.03, 12.0));
        let mut stop = 0.0;
        let mut course = Self { sport, speed: Vec::new(), grade: Vec::new(), demand: Vec::new() };
        let (mut grade, mut now) = (0.0, speed);
        for second in 0..length as usize {
            let second = second as f64;
            grade += (hill.next(rng) - grade) / 20.0;
            grade = grade.clamp(-STEEPEST, STEEPEST);
            let cost = cost_of_running(grade) / cost_of_running(0.0);
            let noise = 1.0 + ease.next(rng) + flutter.next(rng);
            let planned = plan.pace(second, length) * speed * (1.0 - fade * second / 3600.0);
            let wanted = (planned * cost.powf(-YIELD) * noise).max(WALK);
            if stop <= 0.0 && bernoulli(rng, runner.stops / 3600.0) {
                stop = log_normal(rng, 20.0, 0.8).min(240.0);
            }
            stop -= 1.0;
            let target = if stop > 0.0 { 0.0 } else { wanted };
            // Nobody starts or stops within a second.
            now += (target - now) / 2.5;
            course.speed.push(now * sport.pace);
            course.grade.push(grade);
            course.demand.push(now * cost);
        }
        course
    }
}
