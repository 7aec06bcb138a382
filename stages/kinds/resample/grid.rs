//! The two grids of the kind `resample`: where the steps of a track lie, and which of them are real.
//! Unaware of features and files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::sequences::Grid;
use crate::stage::ParameterFault;
use crate::track::Track;

/// A track that seems longer has a broken clock, and would fill the memory with steps.
const LONGEST_S: f64 = 24.0 * 3600.0;

/// Every workout is padded to the length of the grid, so that a longer one would fill the memory with padding.
const LONGEST_STEPS: usize = 1_000_000;

/// How workouts are laid on steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", tag = "by", deny_unknown_fields)]
pub enum GridChoice {
    /// One step for each recorded heart rate.
    Index {
        /// Steps of each workout: longer ones are cut, shorter ones padded.
        #[serde(default = "five_hundred")]
        length: usize,
    },
    /// One step for each interval of time.
    Time {
        /// Seconds between steps.
        #[serde(default = "ten_seconds")]
        step_s: f64,
        /// Seconds without a sample from which the steps between count as not recorded.
        #[serde(default = "one_minute")]
        gap_limit_s: f64,
        /// Minutes after which a workout is cut; the whole is kept where this is not given.
        #[serde(default)]
        max_minutes: Option<f64>,
    },
}

const fn five_hundred() -> usize {
    500
}

const fn ten_seconds() -> f64 {
    10.0
}

const fn one_minute() -> f64 {
    60.0
}

impl Default for GridChoice {
    fn default() -> Self {
        Self::Time { step_s: ten_seconds(), gap_limit_s: one_minute(), max_minutes: None }
    }
}

/// The steps of one workout.
pub struct Steps {
    /// Seconds since the first sample.
    pub time: Vec<f64>,
    /// Heart rate in BPM where real, else 0.
    pub target: Vec<f32>,
    /// 1 where the heart rate was recorded.
    pub real: Vec<u8>,
    /// 1 where the features rest on the recording.
    pub valid: Vec<u8>,
}

impl GridChoice {
    /// Faults of values, with their paths.
    pub fn check(&self) -> Vec<ParameterFault> {
        let fault = |path: &str, message: &str| ParameterFault::new(format!("grid.{path}"), message);
        match self {
            Self::Index { length } if (1..=LONGEST_STEPS).contains(length) => Vec::new(),
            Self::Index { .. } => vec![fault("length", "must lie between 1 and 1000000")],
            Self::Time { step_s, gap_limit_s, max_minutes } => {
                let mut faults = Vec::new();
                if !(step_s.is_finite() && *step_s >= 0.1) {
                    faults.push(fault("step_s", "must be at least 0.1 seconds"));
                }
                if gap_limit_s.is_nan() || *gap_limit_s < 0.0 {
                    faults.push(fault("gap_limit_s", "must be 0 seconds or more"));
                }
                if max_minutes.is_some_and(|minutes| minutes.is_nan() || minutes <= 0.0) {
                    faults.push(fault("max_minutes", "must be above 0"));
                }
                faults
            }
        }
    }

    /// The grid as the sequences describe it.
    pub fn header(&self) -> Grid {
        match self {
            Self::Index { length } => Grid::Index { length: *length },
            Self::Time { step_s, .. } => Grid::Time { step_s: *step_s },
        }
    }

    /// Lays a track on steps; the error is the reason it cannot be, to follow a workout's number.
    pub fn lay(&self, track: &Track) -> Result<Steps, String> {
        if track.duration() > LONGEST_S {
            return Err("seems to last more than a day".into());
        }
        Ok(match self {
            Self::Index { length } => by_index(track, *length),
            Self::Time { step_s, gap_limit_s, max_minutes } => {
                let end = track.duration().min(max_minutes.map_or(f64::INFINITY, |minutes| 60.0 * minutes));
                by_time(track, *step_s, *gap_limit_s, end)
            }
        })
    }
}

/// A sample that can be scored: a heart rate of 0 is a sensor that lost contact.
fn is_real(heart_rate: f64) -> bool {
    heart_rate > 0.0
}

fn by_index(track: &Track, length: usize) -> Steps {
    let n = track.heart_time.len().min(length);
    let recorded = |place: usize| place < n && is_real(track.heart_rate[place]);
    Steps {
        time: (0..length).map(|place| track.heart_time[place.min(n - 1)]).collect(),
        target: (0..length).map(|i| if recorded(i) { track.heart_rate[i] as f32 } else { 0.0 }).collect(),
        real: (0..length).map(|place| u8::from(recorded(place))).collect(),
        valid: (0..length).map(|place| u8::from(place < n)).collect(),
    }
}

/// Steps from 0 to `end`; a step takes the nearest sample of the half-open interval half a step around it, so
/// that no sample stands for two steps.
fn by_time(track: &Track, step: f64, gap_limit: f64, end: f64) -> Steps {
    let count = (end / step + 1e-9).floor() as usize + 1;
    let mut steps = Steps {
        time: (0..count).map(|k| k as f64 * step).collect(),
        target: vec![0.0; count],
        real: vec![0; count],
        valid: vec![0; count],
    };
    let (mut way, mut heart) = (Neighbours::of(&track.elapsed), Neighbours::of(&track.heart_time));
    for k in 0..count {
        let now = steps.time[k];
        let near = |time: &f64| (now - 0.5 * step..now + 0.5 * step).contains(time);
        let between = way.around(now);
        let gap = match between {
            [Some(before), Some(after)] => track.elapsed[after] - track.elapsed[before],
            _ => 0.0,
        };
        let touched = between.into_iter().flatten().any(|sample| near(&track.elapsed[sample]));
        let distance = |sample: &usize| (track.heart_time[*sample] - now).abs();
        let nearest = heart.around(now).into_iter().flatten().filter(|sample| near(&track.heart_time[*sample]));
        let nearest = nearest.min_by(|a, b| distance(a).total_cmp(&distance(b)));
        steps.valid[k] = u8::from(touched || gap <= gap_limit);
        let heart_rate = nearest.map(|sample| track.heart_rate[sample]).filter(|rate| is_real(*rate));
        if let Some(heart_rate) = heart_rate.filter(|_| steps.valid[k] == 1) {
            steps.real[k] = 1;
            steps.target[k] = heart_rate as f32;
        }
    }
    steps
}

/// The samples before and after moments that never fall.
struct Neighbours<'a> {
    time: &'a [f64],
    after: usize,
}

impl<'a> Neighbours<'a> {
    fn of(time: &'a [f64]) -> Self {
        Self { time, after: 0 }
    }

    /// The last sample before `now` and the first one at it or after it.
    fn around(&mut self, now: f64) -> [Option<usize>; 2] {
        while self.after < self.time.len() && self.time[self.after] < now {
            self.after += 1;
        }
        [self.after.checked_sub(1), (self.after < self.time.len()).then_some(self.after)]
    }
}
