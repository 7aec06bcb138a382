//! A runner's body, habits and home. Unaware of any one run.

use rand_chacha::ChaCha8Rng;

use crate::simulate::noise::{bernoulli, clipped, log_normal, normal, uniform};

/// All that stays the same between the workouts of a user.
#[derive(Clone, Debug)]
pub struct Runner {
    /// The number that the file gives.
    pub user: i64,
    /// `male`, `female` or `unknown`.
    pub gender: &'static str,
    /// Heart rate at rest, BPM.
    pub rest: f64,
    /// Highest heart rate, BPM: 208 − 0.7 · age, give or take (Tanaka et al. 2001).
    pub max: f64,
    /// Heart rate that demand adds to, BPM: the line of heart rate over running power, drawn on to standstill.
    /// It lies above rest, as the line holds for running only.
    pub base: f64,
    /// BPM for each m/s on the flat.
    pub gain: f64,
    /// Time constant of the heart when demand rises, s.
    pub rise: f64,
    /// Time constant when demand falls, s.
    pub fall: f64,
    /// Rise of heart rate at unchanged demand, BPM/h.
    pub drift: f64,
    /// Standard deviation between days at unchanged demand, BPM.
    pub offset_sd: f64,
    /// Change over the user's history at unchanged demand, BPM.
    pub trend: f64,
    /// Usual speed on the flat, m/s.
    pub speed: f64,
    /// Usual standard deviation of slopes.
    pub hilliness: f64,
    /// Stops for each hour.
    pub stops: f64,
    /// Whether the device pauses when the runner stands.
    pub auto_pause: bool,
    /// Latitude and longitude of the home, degrees.
    pub home: (f64, f64),
    /// Altitude of the home, m.
    pub altitude: f64,
}

impl Runner {
    /// Draws the user of this number.
    pub fn draw(rng: &mut ChaCha8Rng, user: u64) -> Self {
        let age = clipped(rng, 39.0, 9.0, (18.0, 70.0));
        let rest = clipped(rng, 60.0, 8.0, (42.0, 80.0));
        let max = clipped(rng, 208.0 - 0.7 * age, 8.0, (160.0, 212.0));
        let speed = clipped(rng, 3.3, 0.43, (2.1, 5.0));
        // Who runs fast tends to run hard.
        let effort = clipped(rng, 0.735 + 0.04 * (speed - 3.3), 0.06, (0.55, 0.9));
        let usual = rest + effort * (max - rest);
        let gain = clipped(rng, 19.0, 5.0, (9.0, 32.0)).min((usual - rest - 5.0) / speed);
        Self {
            user: 1_000_000 + user as i64 * 7919,
            gender: match uniform(rng, 0.0, 1.0) {
                draw if draw < 0.8 => "male",
                draw if draw < 0.96 => "female",
                _ => "unknown",
            },
            rest,
            max,
            base: usual - gain * speed,
            gain,
            rise: log_normal(rng, 60.0, 0.4),
            fall: log_normal(rng, 75.0, 0.4),
            drift: clipped(rng, 8.0, 5.0, (-2.0, 22.0)),
            offset_sd: uniform(rng, 4.0, 10.0),
            trend: normal(rng, -2.0, 3.0),
            speed,
            hilliness: log_normal(rng, 0.018, 0.6).min(0.05),
            stops: log_normal(rng, 3.0, 0.8).min(15.0),
            auto_pause: bernoulli(rng, 0.5),
            home: (uniform(rng, 38.0, 60.0), uniform(rng, -8.0, 25.0)),
            altitude: log_normal(rng, 60.0, 1.3).min(2500.0),
        }
    }
}
