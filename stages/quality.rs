//! What is known of one workout's recording: how dense it is, where it has gaps, and which of its values nobody's
//! heart or legs made. Unaware of other workouts, of files and of kinds.

use crate::quality::clock::Clock;
use crate::quality::heart::Heart;
use crate::workouts::{Origin, Workout};

pub mod clock;
pub mod date;
pub mod finding;
pub mod heart;
pub mod lock;
pub mod way;

pub use crate::quality::clock::Gaps;
pub use crate::quality::finding::{Finding, FindingKind};

/// What is known of a recording. What cannot be told for want of a series is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quality {
    /// The first instant of any series, unix seconds; findings count from here.
    pub start: Option<f64>,
    /// Seconds from the first instant to the last, pauses included.
    pub duration_s: Option<f64>,
    /// Seconds of pauses.
    pub paused_s: Option<f64>,
    /// Seconds without pauses.
    pub recorded_s: Option<f64>,
    /// Seconds in motion (0.5 m/s or faster), pauses left out.
    pub moving_s: Option<f64>,
    /// Metres covered in motion, pauses left out.
    pub distance_m: Option<f64>,
    /// Heart rates within 30 to 230 BPM, one an instant.
    pub samples: Option<u64>,
    /// Heart rates that are no finite number or have no time.
    pub unusable: Option<u64>,
    /// Heart rates outside 30 to 230 BPM; all figures below leave them out.
    pub out_of_range: Option<u64>,
    /// The mean of the heart rates, BPM.
    pub mean_bpm: Option<f64>,
    /// Heart rates a minute of recorded time without pauses.
    pub density: Option<f64>,
    /// How dense that is, by [`GOOD`] and [`MEDIUM`].
    pub tier: Option<Tier>,
    /// Share of heart rates that are averages over a span.
    pub average_share: Option<f64>,
    /// The longest such span in seconds, 0 where all are instants.
    pub longest_span_s: Option<f64>,
    /// Stretches without a heart rate: over 30 s and over 5 usual steps.
    pub gaps: Option<Gaps>,
    /// The longest time of one value in seconds; none where samples are too far apart to tell.
    pub flat_s: Option<f64>,
    /// Seconds of all flat lines: one value for 120 s or more.
    pub flat_total_s: Option<f64>,
    /// Changes faster than a heart can: more than 20 BPM, and faster than 8 BPM/s.
    pub spikes: Option<u64>,
    /// Seconds in which the sensor may have counted steps; none where samples are too far apart to tell.
    pub lock_s: Option<f64>,
    /// Stretches without a position, by the rule of `gaps`.
    pub position_gaps: Option<Gaps>,
    /// Changes of place faster than 12 m/s; none for sports that are not on foot.
    pub position_jumps: Option<u64>,
    /// Where the speed came from.
    pub speed_source: Origin,
    /// Where the altitude came from.
    pub altitude_source: Origin,
    /// Whether it took place indoors, where the source says.
    pub indoor: Option<bool>,
    /// What a person should look at, by time.
    pub findings: Vec<Finding>,
}

/// How dense the heart rates of a recording are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// The answer of the heart can be seen.
    Good,
    /// Its slow part can be seen.
    Medium,
    /// Hardly more than a mean.
    Sparse,
}

/// Heart rates a minute of a good recording: with 12 s between two, an answer with a time constant of 60 s is seen.
pub const GOOD: f64 = 5.0;

/// Heart rates a minute of a medium recording.
pub const MEDIUM: f64 = 1.0;

impl Tier {
    /// Every tier, the densest first.
    pub const ALL: [Self; 3] = [Self::Good, Self::Medium, Self::Sparse];

    /// The tier of a density, samples a minute, by the least of a good and of a medium one.
    pub fn of(density: f64, good: f64, medium: f64) -> Self {
        match density {
            density if density >= good => Self::Good,
            density if density >= medium => Self::Medium,
            _ => Self::Sparse,
        }
    }

    /// The word that stands in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Medium => "medium",
            Self::Sparse => "sparse",
        }
    }
}

impl Quality {
    /// Looks at a workout; never fails.
    pub fn of(workout: &Workout) -> Self {
        let origin = |series: &Option<Vec<f32>>, origin| if series.is_some() { origin } else { Origin::Missing };
        let mut quality = Self {
            speed_source: origin(&workout.speed, workout.speed_source),
            altitude_source: origin(&workout.altitude, workout.altitude_source),
            indoor: workout.indoor,
            ..Self::default()
        };
        if let Some(clock) = Clock::of(workout) {
            quality.look(workout, &clock);
        }
        quality.findings.sort_by(|a, b| a.from.total_cmp(&b.from).then(a.kind.cmp(&b.kind)));
        quality
    }

    fn look(&mut self, workout: &Workout, clock: &Clock) {
        self.start = Some(clock.start);
        self.duration_s = Some(clock.duration);
        self.paused_s = Some(clock.paused());
        self.recorded_s = Some(clock.duration - clock.paused());
        (self.moving_s, self.distance_m) = way::moving(workout, clock).map(|[time, way]| (time, way)).unzip();
        if let Some(heart) = Heart::of(workout, clock, &mut self.findings) {
            self.listen(workout, clock, &heart);
        }
        if let Some((gaps, jumps)) = way::positions(workout, clock, &mut self.findings) {
            self.position_gaps = Some(gaps);
            self.position_jumps = jumps;
        }
    }

    fn listen(&mut self, workout: &Workout, clock: &Clock, heart: &Heart) {
        self.samples = Some(heart.beats.len() as u64);
        self.unusable = Some(heart.unusable);
        self.out_of_range = Some(heart.out_of_range);
        let recorded = self.recorded_s.filter(|seconds| *seconds > 0.0);
        self.density = recorded.map(|seconds| heart.beats.len() as f64 / (seconds / 60.0));
        self.tier = self.density.map(|density| Tier::of(density, GOOD, MEDIUM));
        if let Some([mean, share, longest]) = heart.averages() {
            (self.mean_bpm, self.average_share, self.longest_span_s) = (Some(mean), Some(share), Some(longest));
        }
        self.gaps = Some(heart.gaps(clock, &mut self.findings));
        let flat = heart.flat_lines(&mut self.findings);
        (self.flat_s, self.flat_total_s) = flat.map(|[longest, total]| (longest, total)).unzip();
        self.spikes = Some(heart.spikes(&mut self.findings));
        self.lock_s = lock::suspected(workout, clock, heart, &mut self.findings);
    }

    /// How far the recording can be trusted, from 0 to 1, to put the worst in front of a person.
    ///
    /// The product of what is left after each fault: density over [`GOOD`], at most 1; the share of the time without
    /// gaps in the heart rate; without flat lines and suspected cadence lock; the share of usable samples within
    /// 30 to 230 BPM; 10 / (10 + spikes an hour); the square root of the share of the time with a position, where
    /// there are positions; and 0.7 where there is no speed. It is 0 without a heart rate or a time. The weights are
    /// a convention: it orders recordings and measures nothing.
    pub fn score(&self) -> f64 {
        let (Some(samples), Some(density), Some(recorded)) = (self.samples, self.density, self.recorded_s) else {
            return 0.0;
        };
        let left = |seconds: Option<f64>| 1.0 - (seconds.unwrap_or_default() / recorded).clamp(0.0, 1.0);
        let made = self.flat_total_s.unwrap_or_default() + self.lock_s.unwrap_or_default();
        let faulty = self.unusable.unwrap_or_default() + self.out_of_range.unwrap_or_default();
        let usable = samples as f64 / (samples + faulty).max(1) as f64;
        let spikes = self.spikes.unwrap_or_default() as f64 / (recorded / 3600.0);
        let speed = if self.speed_source == Origin::Missing { 0.7 } else { 1.0 };
        let gaps = left(self.gaps.map(|gaps| gaps.total_s));
        let positions = left(self.position_gaps.map(|gaps| gaps.total_s)).sqrt();
        (density / GOOD).min(1.0) * gaps * left(Some(made)) * usable * 10.0 / (10.0 + spikes) * positions * speed
    }
}

#[cfg(test)]
mod tests;
