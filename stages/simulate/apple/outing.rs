//! One workout as it took place, second by second, and what a watch measures of it. Unaware of files.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;

use crate::simulate::apple::plan::{Activity, Planned};
use crate::simulate::course::{self, Course};
use crate::simulate::heart::{self, Heart, Offset};
use crate::simulate::noise::{Wander, bernoulli, clipped, log_normal, normal, uniform};
use crate::simulate::recording::Track;
use crate::simulate::runner::Runner;

/// A workout; every series has one value for each second.
pub struct Outing {
    /// The sport and what is special.
    pub planned: Planned,
    /// First unix second.
    pub start: i64,
    /// Seconds since the start in which the watch was paused and the runner stood.
    pub pauses: Vec<Range<usize>>,
    /// True speed in m/s.
    pub speed: Vec<f64>,
    /// True slope.
    pub grade: Vec<f64>,
    /// What the receiver says.
    pub track: Track,
    /// Heart rate without noise, BPM.
    pub clean: Vec<f64>,
    /// The same on a day like any other, BPM.
    pub usual: Vec<f64>,
    /// What the sensor says, BPM.
    pub sensor: Vec<f64>,
}

/// BPM above those at rest when a workout begins, beside what the heart's model adds.
const FRESH: f64 = 8.0;
/// Seconds in which a workout gets up to speed.
const WARM_UP: usize = 180;

/// Draws the runner: one whose body is near the middle, at home in the zone of the clock.
pub fn runner(rng: &mut ChaCha8Rng) -> Runner {
    let drawn = Runner::draw(rng, 0);
    let (speed, gain) = (clipped(rng, 2.9, 0.15, (2.6, 3.3)), clipped(rng, 20.0, 1.5, (17.0, 23.0)));
    Runner {
        gender: if bernoulli(rng, 0.5) { "female" } else { "male" },
        rest: clipped(rng, 55.0, 4.0, (46.0, 64.0)),
        max: clipped(rng, 187.0, 4.0, (178.0, 196.0)),
        base: clipped(rng, 146.0, 2.0, (142.0, 150.0)) - gain * speed,
        gain,
        rise: clipped(rng, 50.0, 6.0, (38.0, 65.0)),
        fall: clipped(rng, 60.0, 6.0, (45.0, 75.0)),
        drift: clipped(rng, 5.0, 1.5, (2.0, 9.0)),
        offset_sd: 4.5,
        trend: -4.0,
        speed,
        hilliness: 0.038,
        stops: 1.5,
        home: (48.85 + normal(rng, 0.0, 0.03), 2.35 + normal(rng, 0.0, 0.05)),
        altitude: uniform(rng, 40.0, 120.0),
        ..drawn
    }
}

impl Outing {
    /// Simulates a planned workout that starts at this unix second.
    pub fn draw(rng: &mut ChaCha8Rng, runner: &Runner, planned: Planned, start: i64) -> Self {
        // Fitter from year to year, with a heart that works harder in summer. Nobody starts a watch in bed.
        let speed = runner.speed * (0.97 + 0.06 * planned.progress);
        let fitter = Runner { speed, rest: runner.rest + FRESH, ..runner.clone() };
        let warm = -2.0 * (start as f64 / (365.25 * 86_400.0) * std::f64::consts::TAU).cos();
        let known = runner.trend * (planned.progress - 0.5) + warm;
        let offset = Offset { day: normal(rng, 0.0, runner.offset_sd), known };
        let (sport, effort) = match planned.activity {
            Activity::Running => (course::RUN, 1.0),
            Activity::Walking => (course::WALKING, 0.35),
            Activity::Cycling => (course::CYCLING, 0.8),
        };
        let mut course = Course::draw(rng, &fitter, sport);
        course.demand.iter_mut().for_each(|demand| *demand *= effort);
        warm_up(&mut course);
        let pauses = if planned.traits.paused { pause(rng, &mut course) } else { Vec::new() };
        let Heart { clean, usual, noisy } = heart::answer(rng, &fitter, &course, offset);
        let sensor = sensor(rng, noisy, planned);
        let mut track = Track::draw(rng, &fitter, &course);
        // A barometer knows height better than a receiver.
        smooth(&mut track.altitude, 6.0);
        Self { planned, start, pauses, speed: course.speed, grade: course.grade, track, clean, usual, sensor }
    }

    /// Seconds from start to end, with pauses.
    pub fn seconds(&self) -> usize {
        self.speed.len()
    }

    /// The unix second after the last one.
    pub fn end(&self) -> i64 {
        self.start + self.seconds() as i64
    }

    /// Seconds without pauses.
    pub fn active_seconds(&self) -> usize {
        self.seconds() - self.pauses.iter().map(ExactSizeIterator::len).sum::<usize>()
    }

    /// Whether a second since the start lies within a pause; its first and last moments belong to what is around it.
    pub fn is_paused(&self, second: usize) -> bool {
        self.pauses.iter().any(|pause| pause.start < second && second < pause.end)
    }

    /// Metres covered within these seconds since the start.
    pub fn metres(&self, seconds: Range<usize>) -> f64 {
        self.speed[seconds].iter().sum()
    }

    /// Metres climbed.
    pub fn climb(&self) -> f64 {
        self.speed.iter().zip(&self.grade).map(|(speed, grade)| (speed * grade).max(0.0)).sum()
    }
}

/// Eases the first minutes, from a brisk walk on.
fn warm_up(course: &mut Course) {
    for (second, (speed, demand)) in course.speed.iter_mut().zip(&mut course.demand).take(WARM_UP).enumerate() {
        let ease = 0.6 + 0.4 * second as f64 / WARM_UP as f64;
        *speed *= ease;
        *demand *= ease;
    }
}

/// Puts one to three stands into a course, in which nothing is asked of the heart.
fn pause(rng: &mut ChaCha8Rng, course: &mut Course) -> Vec<Range<usize>> {
    let length = course.speed.len();
    let count = uniform(rng, 1.0, 4.0) as usize;
    let part = (length - 400) / count;
    let (mut pauses, mut added) = (Vec::new(), 0);
    for place in 0..count {
        let at = 200 + place * part + uniform(rng, 0.0, 0.8 * part as f64) as usize + added;
        let stand = log_normal(rng, 60.0, 0.8).clamp(10.0, 400.0) as usize;
        for series in [&mut course.speed, &mut course.grade, &mut course.demand] {
            series.splice(at..at, std::iter::repeat_n(0.0, stand));
        }
        pauses.push(at..at + stand);
        added += stand;
    }
    pauses
}

/// What an optical sensor makes of a heart: it may start badly, and take steps for beats for a while.
fn sensor(rng: &mut ChaCha8Rng, mut rate: Vec<f64>, planned: Planned) -> Vec<f64> {
    if bernoulli(rng, 0.1) {
        let (length, lost) = (uniform(rng, 60.0, 180.0), uniform(rng, 10.0, 25.0));
        for (second, rate) in rate.iter_mut().take(length as usize).enumerate() {
            *rate = (*rate - lost * (1.0 - second as f64 / length)).max(45.0);
        }
    }
    if planned.traits.locked {
        let mut steps = Wander::new(rng, 1.5, 20.0);
        let cadence = uniform(rng, 168.0, 182.0);
        let length = uniform(rng, 180.0, 480.0) as usize;
        let first = uniform(rng, 120.0, (rate.len() - length) as f64 - 60.0).max(0.0) as usize;
        for rate in rate.iter_mut().skip(first).take(length) {
            *rate = (cadence + steps.next(rng)).clamp(165.0, 185.0);
        }
    }
    rate
}

/// An exponential average forth and back, so that nothing comes late; `tau` in samples.
fn smooth(values: &mut [f64], tau: f64) {
    let share = 1.0 - (-1.0 / tau).exp();
    for _ in 0..2 {
        let mut now = values.first().copied().unwrap_or_default();
        for value in values.iter_mut() {
            now += share * (*value - now);
            *value = now;
        }
        values.reverse();
    }
}
