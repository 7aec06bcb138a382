//! Samples of a recording, in whatever order they came, put in order and made into a workout.
//! Unaware of any one format.

use crate::read::record::{Found, Reason, Record, SetAside};
use crate::workouts::{Origin, Workout};

/// Seconds without a value that a series of speed or altitude is bridged over by a straight line.
const BRIDGED_S: f64 = 10.0;

/// Seconds between two samples that no recording holds: a clock was wrong on one side.
const APART_S: f64 = 86_400.0;

/// What is wrong with a recording that gives no workout.
const NOTHING: &str = "there is no sample with a time, or none outside of pauses";

/// The values of one instant, NaN where there is none.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Unix seconds.
    pub time: f64,
    /// BPM.
    pub heart_rate: f64,
    /// m/s.
    pub speed: f64,
    /// Metres above sea level.
    pub altitude: f64,
    /// Degrees.
    pub latitude: f64,
    /// Degrees.
    pub longitude: f64,
    /// Metres since the start.
    pub distance: f64,
}

/// What a file tells of one workout, before it is put in order.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// What is known besides samples: source, sport, device, gender, time zone, indoor, source of the altitude.
    pub about: Workout,
    /// Samples in the order of the file.
    pub samples: Vec<Sample>,
    /// Beginning and end of each pause in unix seconds, in any order.
    pub pauses: Vec<[f64; 2]>,
}

impl Sample {
    /// An instant without any value.
    pub const fn at(time: f64) -> Self {
        let none = f64::NAN;
        Self { time, heart_rate: none, speed: none, altitude: none, latitude: none, longitude: none, distance: none }
    }

    /// Drops what is no value: 0 and 255 BPM, which devices write for none, a speed below zero, a position outside
    /// the globe or at zero degrees twice (no fix), and whatever is too large to compute with.
    fn clean(self) -> Self {
        let only = |value: f64, right: bool| if right { value } else { f64::NAN };
        let Self { time, heart_rate, speed, altitude, latitude, longitude, distance } = self;
        let on_globe = latitude.abs() <= 90.0 && longitude.abs() <= 180.0 && (latitude != 0.0 || longitude != 0.0);
        Self {
            time,
            heart_rate: only(heart_rate, (1.0..=254.0).contains(&heart_rate)),
            speed: only(speed, (0.0..1e6).contains(&speed)),
            altitude: only(altitude, altitude.abs() < 1e6),
            latitude: only(latitude, on_globe),
            longitude: only(longitude, on_globe),
            distance: only(distance, (0.0..1e9).contains(&distance)),
        }
    }

    /// Takes over what only the other sample of the instant has.
    fn fill(&mut self, other: &Self) {
        let fill = |own: &mut f64, other: f64| *own = if own.is_finite() { *own } else { other };
        fill(&mut self.heart_rate, other.heart_rate);
        fill(&mut self.speed, other.speed);
        fill(&mut self.altitude, other.altitude);
        fill(&mut self.distance, other.distance);
        if !self.latitude.is_finite() {
            (self.latitude, self.longitude) = (other.latitude, other.longitude);
        }
    }
}

impl Recording {
    /// Adds the workout to what was found, or the note that it has no samples; `place` names it within the file.
    pub fn put_into(self, found: &mut Found, place: &str) {
        match self.record(place, &mut found.warnings) {
            Some(record) => found.records.push(record),
            None => found.set_aside.push(SetAside::new(place, Reason::NoSamples, NOTHING)),
        }
    }

    fn record(self, place: &str, warnings: &mut Vec<String>) -> Option<Record> {
        let Self { about, mut samples, pauses } = self;
        samples.retain(|sample| sample.time.is_finite());
        samples.iter_mut().for_each(|sample| *sample = sample.clean());
        let moved = into_order(&mut samples, |sample| sample.time);
        let place = if place.is_empty() { "the workout" } else { place };
        if moved > 0 {
            warnings.push(self::moved(place, moved));
        }
        let strays = keep_main_part(&mut samples);
        if strays > 0 {
            warnings
                .push(format!("`{place}`: {strays} samples lie more than a day from the others; they are left out"));
        }
        samples.dedup_by(|later, kept| {
            let same = later.time == kept.time;
            if same {
                kept.fill(later);
            }
            same
        });
        let pauses = in_order(pauses, samples.first()?.time, samples.last()?.time);
        samples.retain(|sample| !is_within(&pauses, sample.time));
        (!samples.is_empty()).then(|| finish(about, &samples, &pauses))
    }
}

/// Sorts by time, points of one time staying as they were; gives how many were older than the one before.
pub fn into_order<T>(items: &mut [T], time: impl Fn(&T) -> f64) -> usize {
    let moved = items.windows(2).filter(|pair| time(&pair[1]) < time(&pair[0])).count();
    if moved > 0 {
        items.sort_by(|one, other| time(one).total_cmp(&time(other)));
    }
    moved
}

/// The warning that samples of a place within the file were out of order.
pub fn moved(place: &str, count: usize) -> String {
    format!("`{place}`: {count} samples are older than the one before; they were sorted")
}

/// Keeps the part with the most samples between gaps that no recording has; gives how many others there were.
fn keep_main_part(samples: &mut Vec<Sample>) -> usize {
    let all = samples.len();
    let parts = samples.chunk_by(|one, next| next.time - one.time <= APART_S);
    // Of parts with equally many samples the first is kept.
    let main = parts.rev().max_by_key(|part| part.len()).map(<[Sample]>::to_vec);
    if main.as_ref().is_some_and(|main| main.len() < all) {
        *samples = main.unwrap_or_default();
    }
    all - samples.len()
}

/// Pauses in order, joined where they overlap, those that touch the workout's time alone.
fn in_order(mut pauses: Vec<[f64; 2]>, first: f64, last: f64) -> Vec<[f64; 2]> {
    pauses.retain(|[begin, end]| begin < end && *begin < last && *end > first);
    pauses.sort_by(|one, other| one[0].total_cmp(&other[0]));
    pauses.dedup_by(|later, kept| {
        let touch = later[0] <= kept[1];
        if touch {
            kept[1] = kept[1].max(later[1]);
        }
        touch
    });
    pauses
}

/// Whether a time lies within a pause; its beginning and its end do not.
fn is_within(pauses: &[[f64; 2]], time: f64) -> bool {
    let before = pauses.partition_point(|[begin, _]| *begin < time);
    before > 0 && time < pauses[before - 1][1]
}

fn finish(about: Workout, samples: &[Sample], pauses: &[[f64; 2]]) -> Record {
    let time: Vec<f64> = samples.iter().map(|sample| sample.time).collect();
    let with_heart = || samples.iter().filter(|sample| sample.heart_rate.is_finite());
    let beats: Vec<f32> = with_heart().map(|sample| sample.heart_rate as f32).collect();
    let own_times = (beats.len() < samples.len()).then(|| with_heart().map(|sample| sample.time).collect());
    let speed = bridged(samples, &time, |sample| sample.speed);
    let altitude = bridged(samples, &time, |sample| sample.altitude);
    let origin = |there: bool, origin: Origin| if there { origin } else { Origin::Missing };
    let workout = Workout {
        id: time.first().copied().unwrap_or_default() as i64,
        speed_source: origin(speed.is_some(), Origin::Recorded),
        altitude_source: origin(altitude.is_some(), about.altitude_source),
        latitude: series(samples, |sample| sample.latitude),
        longitude: series(samples, |sample| sample.longitude),
        heart_rate_time: own_times.filter(|_| !beats.is_empty()),
        heart_rate: Some(beats).filter(|beats| !beats.is_empty()),
        time: Some(time),
        speed,
        altitude,
        pauses: pauses.concat(),
        ..about
    };
    Record { workout, distance: series(samples, |sample| sample.distance) }
}

/// The series where at least half of the samples have it.
fn series(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> Option<Vec<f64>> {
    let values: Vec<f64> = samples.iter().map(value).collect();
    let there = values.iter().filter(|value| value.is_finite()).count();
    (there > 0 && 2 * there >= values.len()).then_some(values)
}

/// As [`series`], with short holes filled: on a straight line between neighbours, at an end with the nearest value.
fn bridged(samples: &[Sample], time: &[f64], value: impl Fn(&Sample) -> f64) -> Option<Vec<f32>> {
    let values = series(samples, value)?;
    let known: Vec<usize> = (0..values.len()).filter(|&i| values[i].is_finite()).collect();
    let fill = |i: usize| -> f64 {
        let after = known.partition_point(|&one| one < i);
        let (before, after) = (after.checked_sub(1).map(|one| known[one]), known.get(after).copied());
        match (before, after) {
            (_, Some(after)) if after == i => values[i],
            (Some(before), Some(after)) if time[after] - time[before] <= BRIDGED_S => {
                let share = (time[i] - time[before]) / (time[after] - time[before]);
                values[before] + share * (values[after] - values[before])
            }
            (Some(only), None) | (None, Some(only)) if (time[only] - time[i]).abs() <= BRIDGED_S => values[only],
            _ => f64::NAN,
        }
    };
    Some((0..values.len()).map(|i| fill(i) as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(time: f64, heart_rate: f64, speed: f64) -> Sample {
        Sample { heart_rate, speed, ..Sample::at(time) }
    }

    fn record(samples: Vec<Sample>, pauses: &[[f64; 2]]) -> (Record, Vec<String>) {
        let mut found = Found::default();
        let recording = Recording { samples, pauses: pauses.to_vec(), ..Recording::default() };
        recording.put_into(&mut found, "track 1");
        (found.records.remove(0), found.warnings)
    }

    #[test]
    fn samples_are_sorted_and_an_instant_stands_once_with_all_its_values() {
        let none = f64::NAN;
        let samples = vec![sample(3.0, 90.0, 1.0), sample(1.0, 80.0, none), sample(1.0, 99.0, 2.0)];
        let (record, warnings) = record(samples, &[]);
        assert_eq!(record.workout.time, Some(vec![1.0, 3.0]));
        assert_eq!(record.workout.heart_rate, Some(vec![80.0, 90.0]));
        assert_eq!((record.workout.speed, record.workout.id), (Some(vec![2.0, 1.0]), 1));
        assert_eq!(warnings, ["`track 1`: 1 samples are older than the one before; they were sorted"]);
    }

    #[test]
    fn no_heart_rate_is_left_out_and_the_rest_has_times_of_its_own() {
        let beats = [0.0, 60.0, 255.0, 70.0, f64::NAN];
        let samples = beats.iter().enumerate().map(|(i, &beat)| sample(i as f64, beat, 1.0)).collect();
        let (record, _) = record(samples, &[]);
        assert_eq!(record.workout.heart_rate, Some(vec![60.0, 70.0]));
        assert_eq!(record.workout.heart_rate_time, Some(vec![1.0, 3.0]));
        assert_eq!(record.workout.time.unwrap().len(), 5);
    }

    #[test]
    fn short_holes_are_bridged_and_long_ones_stay() {
        let none = f64::NAN;
        let values = [(0.0, none), (1.0, 1.0), (2.0, none), (5.0, 3.0), (9.0, none), (20.0, 4.0), (31.0, none)];
        let (found, _) = record(values.iter().map(|&(t, v)| sample(t, 100.0, v)).collect(), &[]);
        assert!(found.workout.speed.is_none(), "fewer than half of the samples have it");
        let (found, _) = record(values[..6].iter().map(|&(t, v)| sample(t, 100.0, v)).collect(), &[]);
        let speed = found.workout.speed.unwrap();
        assert_eq!(speed[..4], [1.0, 1.0, 1.5, 3.0]);
        assert!(speed[4].is_nan() && speed[5] == 4.0);
        assert_eq!(found.workout.altitude_source, Origin::Missing);
    }

    #[test]
    fn samples_within_pauses_are_left_out_and_pauses_are_joined() {
        let samples = (0..10).map(|t| sample(f64::from(t), 100.0, 1.0)).collect();
        let pauses = [[6.0, 6.0], [2.0, 4.0], [3.0, 5.0], [-9.0, -1.0], [9.0, 99.0], [8.0, 7.0]];
        let (record, _) = record(samples, &pauses);
        assert_eq!(record.workout.pauses, [2.0, 5.0]);
        assert_eq!(record.workout.time.unwrap(), [0.0, 1.0, 2.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    }

    #[test]
    fn a_clock_that_was_wrong_at_first_costs_those_samples_alone() {
        let times = [0.0, 1e9, 1e9 + 1.0, 1e9 + 2.0, f64::INFINITY];
        let (record, warnings) = record(times.iter().map(|&t| sample(t, 100.0, 1.0)).collect(), &[]);
        assert_eq!(record.workout.time.unwrap(), times[1..4]);
        assert_eq!(warnings, ["`track 1`: 1 samples lie more than a day from the others; they are left out"]);
    }

    #[test]
    fn what_no_device_measures_is_no_value() {
        let odd = Sample { latitude: 0.0, longitude: 0.0, speed: -1.0, altitude: 1e300, ..sample(1.0, 1e9, -1.0) };
        let pole = Sample { latitude: 90.0, longitude: -180.0, distance: 5.0, ..Sample::at(2.0) };
        let (record, _) = record(vec![odd, pole], &[]);
        let workout = record.workout;
        assert_eq!((workout.speed, workout.altitude, workout.heart_rate), (None, None, None));
        assert!(workout.latitude.as_ref().unwrap()[0].is_nan());
        assert_eq!((workout.latitude.unwrap()[1], workout.longitude.unwrap()[1]), (90.0, -180.0));
        assert_eq!(record.distance.unwrap()[1], 5.0);
    }

    #[test]
    fn a_recording_without_times_is_set_aside() {
        let mut found = Found::default();
        Recording { samples: vec![Sample::at(f64::NAN)], ..Recording::default() }.put_into(&mut found, "lap 2");
        assert_eq!((found.set_aside[0].place.as_str(), found.set_aside[0].reason), ("lap 2", Reason::NoSamples));
        let samples = vec![Sample::at(5.0), Sample::at(6.0)];
        Recording { samples, pauses: vec![[1.0, 9.0]], ..Recording::default() }.put_into(&mut found, "lap 4");
        assert_eq!(found.set_aside[1].detail, NOTHING);
    }
}
