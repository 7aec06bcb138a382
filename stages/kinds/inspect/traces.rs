//! The series of one workout made ready to be drawn: in order of time, in minutes since the start, as recorded
//! and not repaired. Unaware of charts.
//!
//! Nothing is filled in: what is no finite number is left out and breaks the line, and so does a gap.

use crate::physiology;
use crate::scale::Point;
use crate::statistics;
use crate::workouts::speed::from_positions;
use crate::workouts::{Origin, Workout};

/// Time in seconds over which speed from positions is averaged.
pub const SPEED_WINDOW: f64 = 15.0;

/// Time in seconds over which the altitude's slope is read.
pub const GRADE_WINDOW: f64 = 30.0;

/// A time further than this from the middle one, in seconds, is an error of the clock.
const A_DAY: f64 = 86_400.0;

/// The series of a workout, each as minutes since the start and values.
#[derive(Clone, Debug, Default)]
pub struct Traces {
    /// The first time in unix seconds.
    pub start: f64,
    /// Minutes from the first time to the last.
    pub end: f64,
    /// Heart rate in BPM.
    pub heart: Vec<Point>,
    /// Heart rates that hold for an instant.
    pub instants: Vec<Point>,
    /// Heart rates that are averages over a time: its beginning and its end.
    pub spans: Vec<[Point; 2]>,
    /// Speed in m/s from positions.
    pub positions: Vec<Point>,
    /// Speed in m/s as the workout holds it, where that is not from positions.
    pub device: Vec<Point>,
    /// How the two speeds agree.
    pub agreement: Option<Agreement>,
    /// Altitude in metres.
    pub altitude: Vec<Point>,
    /// Slope in per cent.
    pub grade: Vec<Point>,
    /// Recorded pauses, in minutes.
    pub pauses: Vec<[f64; 2]>,
    /// Samples left out because their time is a day or more away from the others.
    pub strays: usize,
}

/// How the device's speed goes with that from positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Pearson's correlation; none where one of them does not vary.
    pub r: Option<f64>,
    /// The median of the device's speed less that from positions, m/s.
    pub difference: f64,
}

impl Traces {
    /// Reads the series of a workout; none where no sample has a time.
    pub fn of(workout: &Workout) -> Option<Self> {
        let (all, clock, strays) = times(workout)?;
        let mut traces = Self { start: clock.start, strays, ..Self::default() };
        traces.heart(workout, clock);
        traces.speeds(workout, clock);
        traces.slope(workout, clock);
        let last = traces.spans.iter().map(|span| span[1][0]).fold(clock.minutes(all[all.len() - 1]), f64::max);
        traces.end = last;
        traces.pauses = pauses(workout, clock);
        Some(traces)
    }

    fn heart(&mut self, workout: &Workout, clock: Clock) {
        let (Some(times), Some(rates)) = (workout.heart_rate_times(), workout.heart_rate.as_deref()) else { return };
        self.heart = clock.points(times, rates);
        let spans = workout.heart_rate_span.as_deref().unwrap_or_default();
        for (i, (time, rate)) in times.iter().zip(rates).enumerate() {
            let (half, value) = (spans.get(i).map_or(0.0, |span| f64::from(*span) / 2.0), f64::from(*rate));
            match clock.admits(*time) && value.is_finite() {
                true if half > 0.0 && half < A_DAY => {
                    let ends = [time - half, time + half];
                    self.spans.push(ends.map(|time| [clock.minutes(time).max(0.0), value]));
                }
                true => self.instants.push([clock.minutes(*time), value]),
                false => {}
            }
        }
        self.instants.sort_by(|a, b| a[0].total_cmp(&b[0]));
        self.spans.sort_by(|a, b| a[0][0].total_cmp(&b[0][0]));
    }

    fn speeds(&mut self, workout: &Workout, clock: Clock) {
        let Some(time) = workout.time.as_deref() else { return };
        let way = workout.latitude.as_deref().zip(workout.longitude.as_deref());
        let positions = way.and_then(|(lat, lon)| from_positions(time, lat, lon, SPEED_WINDOW));
        let own = workout.speed.as_deref();
        // A speed that the import took from the positions says nothing beside them.
        let device = own.filter(|_| workout.speed_source != Origin::Positions || positions.is_none());
        self.positions = positions.as_deref().map(|speed| clock.points(time, speed)).unwrap_or_default();
        self.device = device.map(|speed| clock.points(time, speed)).unwrap_or_default();
        self.agreement = positions.zip(device).and_then(|(positions, device)| agreement(&positions, device));
    }

    fn slope(&mut self, workout: &Workout, clock: Clock) {
        let (Some(time), Some(altitude)) = (workout.time.as_deref(), workout.altitude.as_deref()) else { return };
        self.altitude = clock.points(time, altitude);
        let speed = if self.device.is_empty() { &self.positions } else { &self.device };
        let mut rows: Vec<[f64; 3]> = Vec::with_capacity(speed.len());
        let mut next = 0;
        for [minute, speed] in speed {
            while self.altitude.get(next).is_some_and(|point| point[0] < *minute) {
                next += 1;
            }
            let new = rows.last().is_none_or(|row| row[0] < 60.0 * minute);
            if let Some(point) = self.altitude.get(next).filter(|point| new && point[0] == *minute) {
                rows.push([60.0 * minute, *speed, point[1]]);
            }
        }
        let column = |place: usize| rows.iter().map(|row| row[place]).collect::<Vec<f64>>();
        if rows.len() > 2 {
            let grade = physiology::grade(&column(0), &column(1), &column(2), GRADE_WINDOW);
            self.grade = rows.iter().zip(grade).map(|(row, grade)| [row[0] / 60.0, 100.0 * grade]).collect();
        }
    }

    /// A series in unbroken stretches: broken where samples are missing and at pauses.
    pub fn unbroken(&self, points: &[Point]) -> Vec<Vec<Point>> {
        let limit = longest_step(points);
        let apart = |a: &Point, b: &Point| {
            let is_paused = |pause: &[f64; 2]| pause[0] >= a[0] && pause[1] <= b[0] && pause[1] > pause[0];
            b[0] - a[0] > limit || self.pauses.iter().any(is_paused)
        };
        points.chunk_by(|a, b| !apart(a, b)).map(<[Point]>::to_vec).collect()
    }
}

/// Which times count, and from when.
#[derive(Clone, Copy)]
struct Clock {
    start: f64,
    middle: f64,
}

impl Clock {
    fn admits(self, time: f64) -> bool {
        (time - self.middle).abs() < A_DAY
    }

    fn minutes(self, time: f64) -> f64 {
        (time - self.start) / 60.0
    }

    /// Samples in order of time, as far as both series go.
    fn points(self, time: &[f64], values: &[f32]) -> Vec<Point> {
        let samples = time.iter().zip(values).filter(|(time, value)| self.admits(**time) && value.is_finite());
        let mut points: Vec<Point> = samples.map(|(time, value)| [self.minutes(*time), f64::from(*value)]).collect();
        points.sort_by(|a, b| a[0].total_cmp(&b[0]));
        points
    }
}

/// The first time of a workout in unix seconds, clocks gone wrong aside.
pub fn start(workout: &Workout) -> Option<f64> {
    times(workout).map(|(_, clock, _)| clock.start)
}

/// Every time of a workout in order, and how many were too far from the rest.
fn times(workout: &Workout) -> Option<(Vec<f64>, Clock, usize)> {
    let series = [workout.time.as_deref(), workout.heart_rate_time.as_deref()];
    let mut all: Vec<f64> = series.into_iter().flatten().flatten().copied().filter(|time| time.is_finite()).collect();
    let middle = statistics::median(&all)?;
    let n = all.len();
    all.retain(|time| (time - middle).abs() < A_DAY);
    all.sort_by(f64::total_cmp);
    let clock = Clock { start: *all.first()?, middle };
    let strays = n - all.len();
    Some((all, clock, strays))
}

/// The longest step that is no gap, in minutes: five usual steps and at least half a minute.
fn longest_step(points: &[Point]) -> f64 {
    let steps: Vec<f64> = points.windows(2).map(|pair| pair[1][0] - pair[0][0]).filter(|step| *step > 0.0).collect();
    (5.0 * statistics::median(&steps).unwrap_or(0.0)).max(0.5)
}

fn pauses(workout: &Workout, clock: Clock) -> Vec<[f64; 2]> {
    let pairs = workout.pauses.chunks_exact(2).map(|pause| [clock.minutes(pause[0]), clock.minutes(pause[1])]);
    pairs.filter(|[from, to]| from.is_finite() && to.is_finite() && from < to).collect()
}

fn agreement(positions: &[f32], device: &[f32]) -> Option<Agreement> {
    let both = positions.iter().zip(device).filter(|(a, b)| a.is_finite() && b.is_finite());
    let (positions, device): (Vec<f64>, Vec<f64>) = both.map(|(a, b)| (f64::from(*a), f64::from(*b))).unzip();
    let differences: Vec<f64> = positions.iter().zip(&device).map(|(positions, device)| device - positions).collect();
    let difference = statistics::median(&differences)?;
    Some(Agreement { r: statistics::pearson(&positions, &device), difference })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An even run up a slope of 5 %, a sample a second, its heart rate at times of its own.
    fn workout() -> Workout {
        let time: Vec<f64> = (0..600).map(|i| 1.6e9 + f64::from(i)).collect();
        let metres = |i: usize| 3.0 * i as f64;
        Workout {
            latitude: Some((0..600).map(|i| 48.0 + metres(i) / 111_195.08).collect()),
            longitude: Some(vec![2.0; 600]),
            speed: Some(vec![3.2; 600]),
            altitude: Some((0..600).map(|i| 100.0 + 0.05 * 3.2 * i as f32).collect()),
            heart_rate: Some(vec![120.0, f32::NAN, 140.0]),
            heart_rate_time: Some(vec![1.6e9 + 30.0, 1.6e9 + 90.0, 1.6e9 + 570.0]),
            heart_rate_span: Some(vec![60.0; 3]),
            speed_source: Origin::Recorded,
            time: Some(time),
            ..Workout::default()
        }
    }

    #[test]
    fn series_are_in_minutes_and_spans_cover_their_time() {
        let traces = Traces::of(&workout()).unwrap();
        assert_eq!((traces.start, traces.end, traces.strays), (1.6e9, 10.0, 0));
        assert_eq!(traces.heart, [[0.5, 120.0], [9.5, 140.0]]);
        assert_eq!(traces.spans[1], [[9.0, 140.0], [10.0, 140.0]]);
        let agreement = traces.agreement.unwrap();
        assert!((agreement.difference - 0.2).abs() < 1e-3 && agreement.r.is_none(), "{agreement:?}");
        assert!(traces.grade.iter().all(|point| (point[1] - 5.0).abs() < 0.01), "{:?}", traces.grade[5]);
    }

    #[test]
    fn speed_that_came_from_the_positions_is_not_shown_as_the_devices() {
        let traces = Traces::of(&Workout { speed_source: Origin::Positions, ..workout() }).unwrap();
        assert_eq!((traces.device.len(), traces.positions.len(), traces.agreement), (0, 600, None));
        assert_eq!(traces.grade.len(), 600);
    }

    #[test]
    fn gaps_and_pauses_break_lines() {
        let time: Vec<f64> =
            (0..600).filter(|i| !(100..200).contains(i) && !(300..400).contains(i)).map(f64::from).collect();
        let n = time.len();
        let run = Workout {
            time: Some(time),
            heart_rate: Some(vec![130.0; n]),
            pauses: vec![305.0, 398.0],
            ..Workout::default()
        };
        let traces = Traces::of(&run).unwrap();
        assert_eq!(traces.pauses, [[305.0 / 60.0, 398.0 / 60.0]]);
        let lengths: Vec<usize> = traces.unbroken(&traces.heart).iter().map(Vec::len).collect();
        assert_eq!(lengths, [100, 100, 200]);
    }

    #[test]
    fn a_clock_that_once_went_wrong_does_not_squeeze_the_rest() {
        let mut time: Vec<f64> = (0..100).map(|i| 1.6e9 + f64::from(i)).collect();
        (time[0], time[40]) = (0.0, f64::NAN);
        let run = Workout { time: Some(time), heart_rate: Some(vec![130.0; 100]), ..Workout::default() };
        let traces = Traces::of(&run).unwrap();
        assert_eq!((traces.start, traces.strays, traces.heart.len()), (1.6e9 + 1.0, 1, 98));
        assert!(Traces::of(&Workout::default()).is_none());
    }
}
