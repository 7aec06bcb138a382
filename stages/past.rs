//! A heart rate as a forecaster reads its past: filled, scaled, and told the time. Unaware of networks.

use std::f64::consts::TAU;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The first steps of a workout on an even grid, oldest first, in BPM, with no gap.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    /// The heart rate at every step.
    pub values: Vec<f64>,
    /// Which of them are real samples.
    pub real: Vec<bool>,
}

impl Past {
    /// Fills a heart rate, `target` where `real` is 1; none where no step is real.
    ///
    /// A missing step holds the last real value before it, and one before the first real value that one: nothing of
    /// what comes after the past is asked.
    pub fn new(target: &[f32], real: &[u8]) -> Option<Self> {
        let first = real.iter().position(|real| *real == 1)?;
        let mut last = target[first];
        let fill = |(value, real): (&f32, &u8)| {
            if *real == 1 {
                last = *value;
            }
            f64::from(last)
        };
        Some(Self {
            values: target.iter().zip(real).map(fill).collect(),
            real: real.iter().map(|real| *real == 1).collect(),
        })
    }

    /// The last real value, BPM.
    pub fn last(&self) -> f64 {
        *self.values.last().expect("a past has a step")
    }
}

/// What a heart rate is standardised by: `(x - middle) / spread`, both in BPM.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// The median; the lower one of two.
    pub middle: f64,
    /// The distance between the quartiles.
    pub spread: f64,
}

/// A spread below this counts as this.
pub const LEAST_SPREAD: f64 = 1e-10;

/// Values in order, from which the scale follows while they become more.
#[derive(Clone, Debug, PartialEq)]
pub struct Ordered(Vec<f64>);

impl Ordered {
    /// The real values of a past.
    pub fn new(past: &Past) -> Self {
        let real = past.values.iter().zip(&past.real).filter(|(_, real)| **real);
        let mut values: Vec<f64> = real.map(|(value, _)| *value).collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// Adds a value.
    pub fn add(&mut self, value: f64) {
        self.0.insert(self.0.partition_point(|other| *other < value), value);
    }

    /// The median and the distance between the quartiles, as Lag-Llama's robust scaler takes them.
    pub fn scale(&self) -> Scale {
        let middle = self.0[(self.0.len() - 1) / 2];
        Scale { middle, spread: (quantile(&self.0, 0.75) - quantile(&self.0, 0.25)).max(LEAST_SPREAD) }
    }
}

/// The quantile of values in order, along straight lines between them.
pub fn quantile(ordered: &[f64], level: f64) -> f64 {
    let place = level * (ordered.len() - 1) as f64;
    let below = place as usize;
    let above = (below + 1).min(ordered.len() - 1);
    ordered[below] + (ordered[above] - ordered[below]) * (place - below as f64)
}

/// The time of an instant (unix seconds, UTC) in six numbers from -0.5 to 0.5: second, minute, hour, day of the week
/// from Monday, day of the month, day of the year, as GluonTS gives them for a frequency of seconds. All are 0 beyond
/// the calendar.
pub fn clock(unix: f64) -> [f64; 6] {
    let Ok(instant) = Timestamp::from_second(unix.floor() as i64) else { return [0.0; 6] };
    let time = TimeZone::UTC.to_datetime(instant);
    let parts = [
        (f64::from(time.second()), 59.0),
        (f64::from(time.minute()), 59.0),
        (f64::from(time.hour()), 23.0),
        (f64::from(time.weekday().to_monday_zero_offset()), 6.0),
        (f64::from(time.day() - 1), 30.0),
        (f64::from(time.day_of_year() - 1), 365.0),
    ];
    parts.map(|(part, most)| part / most - 0.5)
}

/// A draw from Student's t with so many degrees of freedom, from two even ones: `above` in (0, 1], `around` in [0, 1)
/// (Bailey 1994).
pub fn student(freedom: f64, above: f64, around: f64) -> f64 {
    let radius = (freedom * (above.powf(-2.0 / freedom) - 1.0)).sqrt();
    radius * (TAU * around).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_holds_the_last_real_value_and_the_scale_sees_real_ones_alone() {
        let past = Past::new(&[0.0, 100.0, 0.0, 0.0, 110.0, 0.0], &[0, 1, 0, 0, 1, 0]).unwrap();
        assert_eq!(past.values, [100.0, 100.0, 100.0, 100.0, 110.0, 110.0]);
        assert_eq!(past.last(), 110.0);
        assert_eq!(Ordered::new(&past).scale(), Scale { middle: 100.0, spread: 5.0 });
        assert_eq!(Past::new(&[0.0, 0.0], &[0, 0]), None);
    }

    #[test]
    fn a_scale_that_grows_is_that_of_all_values_at_once() {
        let past = |values: &[f32]| Past::new(values, &vec![1; values.len()]).unwrap();
        let mut grown = Ordered::new(&past(&[120.0]));
        assert_eq!(grown.scale(), Scale { middle: 120.0, spread: LEAST_SPREAD });
        for value in [100.0, 140.0, 90.0, 120.0, 95.0, 130.0] {
            grown.add(value);
        }
        let all = Ordered::new(&past(&[120.0, 100.0, 140.0, 90.0, 120.0, 95.0, 130.0]));
        assert_eq!(grown, all);
        // 90 95 100 120 120 130 140: quartiles at places 1.5 and 4.5.
        assert_eq!(all.scale(), Scale { middle: 120.0, spread: 125.0 - 97.5 });
        grown.add(99.0);
        assert_eq!(grown.scale().middle, 100.0, "the lower one of 100 and 120");
    }

    #[test]
    fn the_clock_runs_from_the_first_second_to_the_last() {
        // Monday 1 January 2024, 00:00:00, and Sunday 31 December 2023, 23:59:59.5.
        let [first, last] = [1_704_067_200.0, 1_704_067_199.5].map(clock);
        assert_eq!(first, [-0.5; 6]);
        assert_eq!(last[..5], [0.5; 5]);
        assert!((last[5] - (364.0 / 365.0 - 0.5)).abs() < 1e-12);
        assert_eq!(clock(f64::NAN), clock(0.0));
        assert_eq!(clock(1e300), [0.0; 6]);
    }

    #[test]
    fn draws_of_student_have_the_quantiles_of_the_table() {
        let n = 400;
        let even = |at: usize| (at as f64 + 0.5) / n as f64;
        for (freedom, expected) in [(2.0, 2.919_986), (5.0, 2.015_048), (30.0, 1.697_261)] {
            let draws = (0..n * n).map(|at| student(freedom, even(at / n), even(at % n)));
            let mut draws: Vec<f64> = draws.collect();
            draws.sort_by(f64::total_cmp);
            for (level, expected) in [(0.95, expected), (0.5, 0.0), (0.05, -expected)] {
                let found = quantile(&draws, level);
                assert!((found - expected).abs() < 0.02, "{freedom} {level}: {found} instead of {expected}");
            }
        }
    }
}
