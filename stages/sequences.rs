//! Feature sequences: workouts on a grid with their target and mask, all in one safetensors file.
//! Unaware of how features are computed and of models.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// Sequences of `N` workouts, stored end to end: `S` steps in all, `F` features.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequences {
    /// Names of features and the grid.
    pub header: Header,
    /// First step of each workout and the end of the last; shape `[N + 1]`.
    pub offsets: Vec<i64>,
    /// Features, shape `[S, F]`, row-major, in the units of their names.
    pub features: Vec<f32>,
    /// Heart rate in BPM, shape `[S]`; 0 where `real` is 0.
    pub target: Vec<f32>,
    /// 1 where the target is a real sample, 0 for filled and padded steps; shape `[S]`.
    pub real: Vec<u8>,
    /// Seconds since the workout's start, shape `[S]`.
    pub time: Vec<f32>,
    /// The source's number of each workout, shape `[N]`.
    pub workout: Vec<i64>,
    /// The source's number of each user, shape `[N]`.
    pub user: Vec<i64>,
    /// Start of each workout in unix seconds, shape `[N]`.
    pub start: Vec<i64>,
}

/// What the tensors do not say of themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Names of the features in their order.
    pub features: Vec<String>,
    /// How workouts were laid on steps.
    pub grid: Grid,
    /// Where the workouts came from.
    pub data: DataSource,
}

/// How workouts are laid on steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "by")]
pub enum Grid {
    /// One step for each recorded point, padded or cut to a fixed number.
    Index {
        /// Steps of each workout.
        length: usize,
    },
    /// One step for each interval of time.
    Time {
        /// Seconds between steps.
        step_s: f64,
    },
}

/// Whether figures rest on recordings or on a simulator; every report shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataSource {
    /// People ran.
    Recorded,
    /// A simulator made it.
    Synthetic,
    /// Some of each.
    Mixed,
}

impl Sequences {
    /// Number of workouts.
    pub fn len(&self) -> usize {
        self.workout.len()
    }

    /// Whether there is no workout.
    pub fn is_empty(&self) -> bool {
        self.workout.is_empty()
    }

    /// The steps of a workout.
    pub fn steps(&self, workout: usize) -> std::ops::Range<usize> {
        self.offsets[workout] as usize..self.offsets[workout + 1] as usize
    }
}
