//! The rules of the kind `filter`, their names, and what they look at. Unaware of limits and counts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::track::Track;
use crate::workouts::Workout;

/// One rule; a workout is removed by the first that it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The sport is one of those asked for.
    Sport,
    /// Required fields are there.
    Fields,
    /// Required fields hold numbers.
    Numbers,
    /// There are enough samples.
    Points,
    /// Series have one length.
    Lengths,
    /// No value is NaN or infinite.
    Finite,
    /// Every heart rate is plausible.
    HeartRate,
    /// The duration is within limits.
    Duration,
    /// The distance is within limits.
    Distance,
    /// No speed is above the limit.
    Speed,
    /// Altitude does not jump.
    Climb,
    /// Heart rate does not stand still for too long.
    Flat,
    /// Heart rate is recorded often enough.
    Density,
}

/// A field of a workout that can be required.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// Speed, recorded or derived.
    Speed,
    /// Altitude.
    Altitude,
    /// Heart rate.
    HeartRate,
    /// Sample times.
    Time,
    /// Latitude.
    Latitude,
    /// Longitude.
    Longitude,
    /// The user's gender, whatever the word.
    Gender,
    /// The user's number.
    User,
}

impl Field {
    /// The name used in pipelines and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Speed => "speed",
            Self::Altitude => "altitude",
            Self::HeartRate => "heart_rate",
            Self::Time => "time",
            Self::Latitude => "latitude",
            Self::Longitude => "longitude",
            Self::Gender => "gender",
            Self::User => "user",
        }
    }

    /// Whether the field is there.
    pub fn is_in(self, workout: &Workout) -> bool {
        match self {
            Self::Speed => workout.speed.is_some(),
            Self::Altitude => workout.altitude.is_some(),
            Self::HeartRate => workout.heart_rate.is_some(),
            Self::Time => workout.time.is_some(),
            Self::Latitude => workout.latitude.is_some(),
            Self::Longitude => workout.longitude.is_some(),
            Self::Gender => workout.gender.is_some(),
            Self::User => workout.user.is_some(),
        }
    }

    /// Whether the source holds something that is no number in the field, and nothing better was derived.
    pub fn is_unconvertible(self, workout: &Workout) -> bool {
        let fields = workout.unconvertible.as_deref().unwrap_or_default();
        !self.is_in(workout) && fields.split(',').any(|field| field.trim() == self.name())
    }
}

impl Rule {
    /// Every rule, in order.
    pub const ALL: [Self; 13] = [
        Self::Sport,
        Self::Fields,
        Self::Numbers,
        Self::Points,
        Self::Lengths,
        Self::Finite,
        Self::HeartRate,
        Self::Duration,
        Self::Distance,
        Self::Speed,
        Self::Climb,
        Self::Flat,
        Self::Density,
    ];

    /// The name used in pipelines and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sport => "sport",
            Self::Fields => "fields",
            Self::Numbers => "numbers",
            Self::Points => "points",
            Self::Lengths => "lengths",
            Self::Finite => "finite",
            Self::HeartRate => "heart_rate",
            Self::Duration => "duration",
            Self::Distance => "distance",
            Self::Speed => "speed",
            Self::Climb => "climb",
            Self::Flat => "flat",
            Self::Density => "density",
        }
    }

    /// The parameter that sets the rule, for an error to point at.
    pub const fn parameter(self) -> &'static str {
        match self {
            Self::Sport => "sports",
            Self::Fields | Self::Numbers => "require",
            Self::Points => "min_points",
            Self::Lengths | Self::Finite => "off",
            Self::HeartRate => "heart_rate_bpm",
            Self::Duration => "duration_minutes",
            Self::Distance => "distance_m",
            Self::Speed => "max_speed_m_s",
            Self::Climb => "max_climb_m_s",
            Self::Flat => "max_flat_share",
            Self::Density => "min_per_minute",
        }
    }
}

/// Samples of the series that computing needs and that are there.
pub fn lengths(workout: &Workout) -> impl Iterator<Item = usize> {
    let [heart, way] = groups(workout);
    heart.into_iter().chain(way).flatten()
}

/// Whether series that share their times have one length.
pub fn even(workout: &Workout) -> bool {
    let even = |lengths: &[Option<usize>; 3]| {
        let mut lengths = lengths.iter().flatten();
        lengths.next().is_none_or(|first| lengths.all(|length| length == first))
    };
    let [heart, way] = groups(workout);
    // Where heart rate has no times of its own, its samples are those of the way.
    even(&heart)
        && even(&way)
        && (workout.heart_rate_time.is_some() || lengths(workout).min() == lengths(workout).max())
}

/// Lengths of heart rate and of the way, each with its times.
fn groups(workout: &Workout) -> [[Option<usize>; 3]; 2] {
    let single = |series: &Option<Vec<f32>>| series.as_ref().map(Vec::len);
    let double = |series: &Option<Vec<f64>>| series.as_ref().map(Vec::len);
    [
        [single(&workout.heart_rate), double(&workout.heart_rate_time), single(&workout.heart_rate_span)],
        [double(&workout.time), single(&workout.speed), single(&workout.altitude)],
    ]
}

/// Whether no value of those series is NaN or infinite.
pub fn all_finite(workout: &Workout) -> bool {
    let series = [&workout.heart_rate, &workout.speed, &workout.altitude];
    let mut values = series.into_iter().flatten().flatten();
    let mut times = workout.time.iter().chain(&workout.heart_rate_time).flatten();
    values.all(|value| value.is_finite()) && times.all(|time| time.is_finite())
}

/// The fastest change of altitude between neighbouring samples, m/s.
pub fn steepest_climb(track: &Track) -> Option<f64> {
    let altitude = track.altitude.as_deref()?;
    let rate = |i: usize| (altitude[i] - altitude[i - 1]).abs() / (track.elapsed[i] - track.elapsed[i - 1]);
    Some((1..altitude.len()).map(rate).fold(0.0, f64::max))
}

/// The share of the samples in the longest run of one value.
pub fn flat_share(values: &[f64]) -> f64 {
    let longest = values.chunk_by(|a, b| a == b).map(<[f64]>::len).max().unwrap_or_default();
    longest as f64 / values.len().max(1) as f64
}

/// Heart rates for each minute of a track, pauses left out.
pub fn per_minute(track: &Track, workout: &Workout) -> f64 {
    let paused: f64 = workout.pauses.as_chunks::<2>().0.iter().map(|[from, to]| to - from).sum();
    track.heart_rate.len() as f64 / ((track.duration() - paused).max(1.0) / 60.0)
}
