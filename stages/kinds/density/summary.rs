//! What is kept of one workout. Unaware of other workouts.

use crate::features::{Feature, Signal, Signals};
use crate::quality::date::Month;
use crate::quality::{Quality, Tier};
use crate::statistics::pearson;
use crate::track::Track;
use crate::workouts::Workout;

/// The figures of a workout: some 150 bytes, so that a quarter of a million workouts take 40 MB.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// When it began.
    pub month: Month,
    /// Who ran, where that is known.
    pub user: Option<i64>,
    /// Whether a simulator made it.
    pub synthetic: bool,
    /// Recorded time without pauses.
    pub minutes: f64,
    /// Heart rates.
    pub samples: u64,
    /// How dense they are.
    pub tier: Tier,
    /// Mean heart rate in BPM.
    pub heart_rate: f64,
    /// Seconds in motion for each kilometre.
    pub pace: Option<f64>,
    /// How fast heart rate rises with time at one speed, BPM/h.
    pub drift: Option<f64>,
    /// Pearson's r of each of [`PREDICTORS`] with heart rate.
    pub r: [Option<f64>; 4],
}

/// Why a workout has no density.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aside {
    /// It has no heart rate, or none that a heart can have.
    NoHeartRate,
    /// It has no times.
    NoTime,
    /// All of it is one instant.
    NoDuration,
    /// It began beyond the calendar.
    NoDate,
}

impl Aside {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::NoHeartRate, Self::NoTime, Self::NoDuration, Self::NoDate];

    /// The reason in words, to follow `without`.
    pub const fn words(self) -> &'static str {
        match self {
            Self::NoHeartRate => "heart rate",
            Self::NoTime => "times",
            Self::NoDuration => "duration",
            Self::NoDate => "a date",
        }
    }
}

/// What heart rate is compared with: the names of the columns.
pub const PREDICTORS: [&str; 4] = [
    "r(speed, heart rate)",
    "r(power, heart rate)",
    "r(power 60 s before, heart rate)",
    "r(ema(power, 60), heart rate)",
];

/// Each of [`PREDICTORS`] with its lag in seconds.
const COMPARED: [(Feature, f64); 4] = [
    (Feature::Signal(Signal::Speed), 0.0),
    (Feature::Signal(Signal::Power), 0.0),
    (Feature::Signal(Signal::Power), 60.0),
    (Feature::Ema(Signal::Power, 60.0), 0.0),
];

/// Time in seconds over which altitude is smoothed before its slope is taken.
const SMOOTH_ALTITUDE: f64 = 30.0;

/// Fewer samples have no correlation and no drift.
const FEWEST: usize = 10;

/// A pace is taken from this way on, m.
const SHORTEST_WAY: f64 = 100.0;

/// Drift is looked for after the heart has found its level ...
const SETTLED: f64 = 600.0;

/// ... over at least as long again, s.
const SHORTEST_DRIFT: f64 = 600.0;

impl Summary {
    /// Summarizes a workout; `zone` tells the time where it took place, `tier` how dense a density is.
    pub fn of(workout: &Workout, zone: Option<&str>, tier: impl Fn(f64) -> Tier) -> Result<Self, Aside> {
        let quality = Quality::of(workout);
        if workout.heart_rate.is_none() {
            return Err(Aside::NoHeartRate);
        }
        let start = quality.start.ok_or(Aside::NoTime)?;
        let samples = quality.samples.ok_or(Aside::NoTime)?;
        let heart_rate = quality.mean_bpm.ok_or(Aside::NoHeartRate)?;
        let (density, seconds) = quality.density.zip(quality.recorded_s).ok_or(Aside::NoDuration)?;
        let track = Track::new(workout).ok().map(|(track, _)| track);
        let signals = track.as_ref().map(|track| (track, Signals::new(track, SMOOTH_ALTITUDE)));
        let r =
            |(feature, lag)| signals.as_ref().and_then(|(track, signals)| correlation(track, signals, feature, lag));
        let far = |metres: &f64| *metres >= SHORTEST_WAY;
        let pace = quality.moving_s.zip(quality.distance_m.filter(far)).map(|(time, way)| 1000.0 * time / way);
        Ok(Self {
            month: Month::of(start, zone).ok_or(Aside::NoDate)?,
            user: workout.user,
            synthetic: workout.synthetic,
            minutes: seconds / 60.0,
            samples,
            tier: tier(density),
            heart_rate,
            pace,
            drift: signals.as_ref().and_then(|(track, signals)| drift(track, signals)),
            r: COMPARED.map(r),
        })
    }
}

/// Pearson's r of a feature with the heart rate of so many seconds later, over the samples.
fn correlation(track: &Track, signals: &Signals<'_>, feature: Feature, lag: f64) -> Option<f64> {
    let first = track.heart_time.partition_point(|t| *t < lag);
    let at: Vec<f64> = track.heart_time[first..].iter().map(|t| t - lag).collect();
    let x = signals.sample(&feature, &at).ok()?;
    if x.len() < FEWEST { None } else { pearson(&x, &track.heart_rate[first..]) }
}

/// The slope of heart rate against time (BPM/h) after minute 10, at one speed: the coefficient of time in the
/// least-squares plane of heart rate over time and speed, smoothed by 60 s as the heart answers late.
///
/// None without speed, for fewer than 10 samples or 10 minutes there, or where speed and time cannot be told apart.
fn drift(track: &Track, signals: &Signals<'_>) -> Option<f64> {
    let first = track.heart_time.partition_point(|t| *t < SETTLED);
    let (time, rate) = (&track.heart_time[first..], &track.heart_rate[first..]);
    if time.len() < FEWEST || time[time.len() - 1] - time[0] < SHORTEST_DRIFT {
        return None;
    }
    let speed = signals.sample(&Feature::Ema(Signal::Speed, 60.0), time).ok()?;
    let n = time.len() as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / n;
    let (mean_time, mean_speed, mean_rate) = (mean(time), mean(&speed), mean(rate));
    let [mut tt, mut vv, mut tv, mut th, mut vh] = [0.0; 5];
    for ((t, v), h) in time.iter().zip(&speed).zip(rate) {
        let (t, v, h) = (t - mean_time, v - mean_speed, h - mean_rate);
        tt += t * t;
        vv += v * v;
        tv += t * v;
        th += t * h;
        vh += v * h;
    }
    let slope = match vv > 1e-9 * n {
        true if tv * tv > 0.999 * tt * vv => return None,
        true => (th * vv - vh * tv) / (tt * vv - tv * tv),
        false => th / tt,
    };
    Some(3600.0 * slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half an hour at 1 Hz on the flat: 3 m/s, with 4 m/s in every other block of 150 s; heart rate answers the
    /// smoothed speed with 10 BPM per m/s and drifts by 6 BPM/h.
    fn steady() -> Workout {
        let at: Vec<f64> = (0..=1800).map(f64::from).collect();
        let speed: Vec<f64> = at.iter().map(|t| if t % 300.0 < 150.0 { 3.0 } else { 4.0 }).collect();
        let smooth = crate::physiology::ema(&at, &speed, 60.0);
        Workout {
            heart_rate: Some(at.iter().zip(&smooth).map(|(t, v)| (110.0 + 10.0 * v + t / 600.0) as f32).collect()),
            speed: Some(speed.iter().map(|v| *v as f32).collect()),
            altitude: Some(vec![5.0; at.len()]),
            time: Some(at),
            ..Workout::default()
        }
    }

    fn of(workout: &Workout) -> Result<Summary, Aside> {
        Summary::of(workout, None, |density| Tier::of(density, 5.0, 1.0))
    }

    #[test]
    fn drift_is_what_speed_does_not_explain_and_the_late_answer_correlates_best() {
        let summary = of(&steady()).unwrap();
        assert!((summary.drift.unwrap() - 6.0).abs() < 0.01, "{summary:?}");
        let [speed, power, late, smooth] = summary.r.map(Option::unwrap);
        assert!((speed - power).abs() < 1e-6 && smooth > 0.95 && late > speed, "{:?}", summary.r);
        assert_eq!((summary.minutes, summary.samples, summary.tier), (30.0, 1801, Tier::Good));
        // 1800 s at 3.5 m/s on average.
        assert!((summary.pace.unwrap() - 1000.0 / 3.5).abs() < 1e-9, "{:?}", summary.pace);
    }

    #[test]
    fn drift_needs_time_speed_and_a_speed_that_is_not_the_clock() {
        let mut accelerates = steady();
        accelerates.speed = Some((0..=1800).map(|t| 2.0 + 0.001 * t as f32).collect());
        assert_eq!(of(&accelerates).unwrap().drift, None);
        let constant = Workout { speed: Some(vec![3.0; 1801]), ..steady() };
        assert!(of(&constant).unwrap().drift.is_some());
        let without = of(&Workout { speed: None, ..steady() }).unwrap();
        assert_eq!((without.drift, without.pace, without.r), (None, None, [None; 4]));
    }

    #[test]
    fn what_has_no_density_says_why() {
        let why = |workout: Workout| of(&workout).unwrap_err();
        assert_eq!(why(Workout { heart_rate: None, ..steady() }), Aside::NoHeartRate);
        assert_eq!(why(Workout { heart_rate: Some(vec![0.0; 1801]), ..steady() }), Aside::NoHeartRate);
        assert_eq!(why(Workout { time: None, ..steady() }), Aside::NoTime);
        assert_eq!(why(Workout { time: Some(vec![7.0; 1801]), ..steady() }), Aside::NoDuration);
        let beyond = steady().time.unwrap().iter().map(|t| t + 1e13).collect();
        assert_eq!(why(Workout { time: Some(beyond), ..steady() }), Aside::NoDate);
    }
}
