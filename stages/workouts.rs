//! Workouts as the project knows them: SI units, one struct for each, and their Parquet file, read and written
//! in batches so that memory does not grow with their number. Unaware of the formats they came from.

use std::path::Path;

use anyhow::Result;

/// A recorded workout. Series that the source lacks are `None`; lengths may differ until a filter has looked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Workout {
    /// The source's number of the workout.
    pub id: i64,
    /// The source's number of the user.
    pub user: Option<i64>,
    /// The source's word for the sport, such as `run`.
    pub sport: String,
    /// `male`, `female`, `unknown`, or whatever the source says.
    pub gender: Option<String>,
    /// Sample times in unix seconds, UTC.
    pub time: Option<Vec<f64>>,
    /// Heart rate in BPM; NaN where the source says so.
    pub heart_rate: Option<Vec<f32>>,
    /// Speed in m/s.
    pub speed: Option<Vec<f32>>,
    /// Altitude in metres above sea level.
    pub altitude: Option<Vec<f32>>,
    /// Latitude in degrees.
    pub latitude: Option<Vec<f64>>,
    /// Longitude in degrees.
    pub longitude: Option<Vec<f64>>,
    /// Where the speed came from.
    pub speed_source: SpeedSource,
    /// Fields that are there but hold something that is no number, comma separated.
    pub unconvertible: Option<String>,
    /// Whether a simulator made it.
    pub synthetic: bool,
}

/// Where the speed of a workout came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpeedSource {
    /// There is no speed.
    #[default]
    Missing,
    /// The device recorded it.
    Recorded,
    /// Derived from positions and times (haversine).
    Positions,
    /// Derived from cumulated distance and times.
    Distance,
}
