//! Absolute errors summed by unit and by where in a run they stand. Unaware of what is compared with what.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use serde::Serialize;

use crate::comparison::Unit;
use crate::comparison::points::Points;

/// The bounds of the heart-rate zones in BPM. They are the same for everybody, because neither the age nor the
/// highest heart rate of a user is known.
pub const ZONE_BOUNDS: [f32; 4] = [120.0, 140.0, 160.0, 180.0];

/// The first and the last phase of a run last so long, in seconds.
pub const EDGE_SECONDS: f32 = 300.0;

/// Fewer users are not divided into groups.
const FEWEST_GROUPED: usize = 6;

/// Sums are kept for all points, for each zone and for each phase.
const ZONES: usize = ZONE_BOUNDS.len() + 1;
const PHASES: usize = 3;
const SLOTS: usize = 1 + ZONES + PHASES;

/// What points or users are divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// The recorded heart rate.
    Zone,
    /// The time since the start, or before the last scored sample.
    Phase,
    /// The number of the user's workouts among those scored: thirds of the users.
    Workouts,
    /// The mean of the user's recorded heart rate: thirds of the users.
    Level,
}

/// A part of the points: some columns of the sums, of some units.
#[derive(Clone, Debug)]
pub struct Part {
    /// What it is divided by.
    pub family: Family,
    /// Its name with its bounds.
    pub name: String,
    slot: usize,
    /// The places of its units.
    pub units: Vec<usize>,
}

/// How points fall into units and parts.
pub struct Frame {
    /// The number of each user or workout, in order.
    pub units: Vec<i64>,
    /// The unit of each workout, by its place.
    unit_of: Vec<usize>,
    /// The slots of each point: its zone and its phase.
    slots: Vec<[u8; 2]>,
    /// Points by unit and slot.
    counts: Vec<[u32; SLOTS]>,
    /// The parts that hold points.
    pub parts: Vec<Part>,
}

/// The errors of one training by unit and slot.
pub struct Errors {
    /// Sums of absolute errors, BPM.
    absolute: Vec<[f64; SLOTS]>,
    /// The sum of all errors, prediction − truth, BPM.
    signed: f64,
}

impl Frame {
    /// Divides points into units and parts.
    pub fn of(points: &Points, unit: Unit) -> Self {
        let id = |user: i64, workout: i64| if unit == Unit::User { user } else { workout };
        let ids: Vec<i64> = points.workouts.iter().map(|block| id(block.user, block.workout)).collect();
        let mut units = ids.clone();
        units.sort_unstable();
        units.dedup();
        let unit_of: Vec<usize> = ids.iter().map(|id| units.partition_point(|unit| unit < id)).collect();
        let mut slots = vec![[0; 2]; points.truth.len()];
        let mut counts = vec![[0; SLOTS]; units.len()];
        for (block, unit) in points.workouts.iter().zip(&unit_of) {
            let last = points.time[block.places.clone()].iter().copied().fold(0.0, f32::max);
            for place in block.places.clone() {
                let of_point = [zone(points.truth[place]), phase(points.time[place], last)];
                slots[place] = of_point;
                counts[*unit][0] += 1;
                of_point.iter().for_each(|slot| counts[*unit][usize::from(*slot)] += 1);
            }
        }
        let mut frame = Self { units, unit_of, slots, counts, parts: Vec::new() };
        frame.parts = frame.parts(points);
        frame
    }

    /// Points in all.
    pub fn points(&self) -> u64 {
        self.counts.iter().map(|counts| u64::from(counts[0])).sum()
    }

    /// Sums the errors of a prediction; fails where one is no finite number.
    pub fn errors(&self, points: &Points, prediction: &[f32]) -> Result<Errors> {
        let mut errors = Errors { absolute: vec![[0.0; SLOTS]; self.units.len()], signed: 0.0 };
        for (block, unit) in points.workouts.iter().zip(&self.unit_of) {
            let (sums, mut signed, mut all) = (&mut errors.absolute[*unit], 0.0, 0.0);
            let values = prediction[block.places.clone()].iter().zip(&points.truth[block.places.clone()]);
            for ((prediction, truth), [zone, phase]) in values.zip(&self.slots[block.places.clone()]) {
                let error = f64::from(*prediction) - f64::from(*truth);
                signed += error;
                all += error.abs();
                sums[usize::from(*zone)] += error.abs();
                sums[usize::from(*phase)] += error.abs();
            }
            if !all.is_finite() {
                bail!("a prediction for workout {} is no finite number", block.workout);
            }
            sums[0] += all;
            errors.signed += signed;
        }
        Ok(errors)
    }

    /// The mean absolute error of each unit, over several trainings, BPM.
    pub fn by_unit(&self, trainings: &[&Errors]) -> Vec<f64> {
        (0..self.units.len()).map(|unit| self.mean(trainings, unit, 0)).collect()
    }

    /// The mean absolute error over all points, BPM.
    pub fn over_points(&self, trainings: &[&Errors]) -> f64 {
        let sum = |errors: &&Errors| errors.absolute.iter().map(|sums| sums[0]).sum::<f64>();
        mean(trainings.iter().map(sum)) / self.points() as f64
    }

    /// The mean error over all points, prediction − truth, BPM.
    pub fn bias(&self, trainings: &[&Errors]) -> f64 {
        mean(trainings.iter().map(|errors| errors.signed)) / self.points() as f64
    }

    /// The mean over a part's units of their mean absolute error in it, BPM.
    pub fn in_part(&self, part: &Part, trainings: &[&Errors]) -> f64 {
        mean(part.units.iter().map(|unit| self.mean(trainings, *unit, part.slot)))
    }

    /// Points of a part.
    pub fn points_in(&self, part: &Part) -> u64 {
        part.units.iter().map(|unit| u64::from(self.counts[*unit][part.slot])).sum()
    }

    fn mean(&self, trainings: &[&Errors], unit: usize, slot: usize) -> f64 {
        let sums = trainings.iter().map(|errors| errors.absolute[unit][slot]);
        mean(sums) / f64::from(self.counts[unit][slot])
    }

    fn parts(&self, points: &Points) -> Vec<Part> {
        let names = zone_names().into_iter().map(|name| (Family::Zone, name));
        let phases = ["first 5 minutes", "between", "last 5 minutes"].map(|name| (Family::Phase, name.to_owned()));
        let of_points = names.chain(phases).enumerate().map(|(at, (family, name))| {
            let slot = at + 1;
            let units = (0..self.units.len()).filter(|unit| self.counts[*unit][slot] > 0).collect();
            Part { family, name, slot, units }
        });
        let mut parts: Vec<Part> = of_points.filter(|part| !part.units.is_empty()).collect();
        let users = Users::of(points);
        parts.extend(self.groups(points, Family::Workouts, &users.workouts, |least, most| match least == most {
            true if least == 1.0 => "1 workout".to_owned(),
            true => format!("{least:.0} workouts"),
            false => format!("{least:.0} to {most:.0} workouts"),
        }));
        let name = |least: f64, most: f64| format!("mean heart rate {least:.0} to {most:.0}");
        parts.extend(self.groups(points, Family::Level, &users.level, name));
        parts
    }

    /// Thirds of the users by a value of each; equal values fall into one group. None where there is but one group.
    fn groups(
        &self,
        points: &Points,
        family: Family,
        values: &BTreeMap<i64, f64>,
        name: impl Fn(f64, f64) -> String,
    ) -> Vec<Part> {
        let mut sorted: Vec<f64> = values.values().copied().collect();
        sorted.sort_by(f64::total_cmp);
        if sorted.len() < FEWEST_GROUPED {
            return Vec::new();
        }
        let cuts = [sorted[sorted.len() / 3 - 1], sorted[2 * sorted.len() / 3 - 1]];
        let group = |value: f64| cuts.iter().filter(|cut| value > **cut).count();
        let mut parts = Vec::new();
        for third in 0..3 {
            let own: BTreeMap<i64, f64> = values
                .iter()
                .filter(|(_, value)| group(**value) == third)
                .map(|(user, value)| (*user, *value))
                .collect();
            let bounds = own.values().fold([f64::MAX, f64::MIN], |[a, b], value| [a.min(*value), b.max(*value)]);
            let of_users = points.workouts.iter().zip(&self.unit_of).filter(|(block, _)| own.contains_key(&block.user));
            let mut units: Vec<usize> = of_users.map(|(_, unit)| *unit).collect();
            units.sort_unstable();
            units.dedup();
            if !units.is_empty() {
                parts.push(Part { family, name: name(bounds[0], bounds[1]), slot: 0, units });
            }
        }
        if parts.len() < 2 { Vec::new() } else { parts }
    }
}

impl Errors {
    /// The errors of several predictions at the same points.
    pub fn of_all(frame: &Frame, points: &Points, predictions: &[Vec<f32>]) -> Vec<Result<Self>> {
        predictions.par_iter().map(|prediction| frame.errors(points, prediction)).collect()
    }
}

/// What users are grouped by.
struct Users {
    workouts: BTreeMap<i64, f64>,
    level: BTreeMap<i64, f64>,
}

impl Users {
    fn of(points: &Points) -> Self {
        let mut sums: BTreeMap<i64, (f64, f64, f64)> = BTreeMap::new();
        for block in &points.workouts {
            let (workouts, n, truth) = sums.entry(block.user).or_default();
            *workouts += 1.0;
            *n += block.places.len() as f64;
            *truth += points.truth[block.places.clone()].iter().map(|truth| f64::from(*truth)).sum::<f64>();
        }
        let workouts = sums.iter().map(|(user, (workouts, ..))| (*user, *workouts)).collect();
        let level = sums.iter().map(|(user, (_, n, truth))| (*user, truth / n)).collect();
        Self { workouts, level }
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

/// The slot of a heart rate.
fn zone(truth: f32) -> u8 {
    1 + ZONE_BOUNDS.iter().filter(|bound| truth >= **bound).count() as u8
}

/// The slot of a time in a run that was last scored at `last`; a short run has no middle, and its first phase wins.
fn phase(time: f32, last: f32) -> u8 {
    let phase = match () {
        () if time < EDGE_SECONDS => 0,
        () if time > last - EDGE_SECONDS => 2,
        () => 1,
    };
    (1 + ZONES + phase) as u8
}

fn zone_names() -> Vec<String> {
    let mut names = vec![format!("below {} BPM", ZONE_BOUNDS[0])];
    names.extend(ZONE_BOUNDS.windows(2).map(|bounds| format!("{} to {} BPM", bounds[0], bounds[1])));
    names.push(format!("{} BPM and above", ZONE_BOUNDS[ZONE_BOUNDS.len() - 1]));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// User 1: a workout of 700 s with three points and one of a point; user 2: one point.
    fn points() -> Points {
        let time = vec![0.0, 350.0, 700.0, 10.0, 10.0];
        let truth = vec![100.0, 150.0, 190.0, 120.0, 130.0];
        Points::new(&[10, 10, 10, 11, 20], &[1, 1, 1, 1, 2], time, truth).unwrap()
    }

    #[test]
    fn errors_are_summed_by_user_zone_and_phase() {
        let (points, frame) = (points(), Frame::of(&points(), Unit::User));
        let errors = frame.errors(&points, &[101.0, 148.0, 193.0, 124.0, 120.0]).unwrap();
        assert_eq!(frame.by_unit(&[&errors]), [2.5, 10.0]);
        assert_eq!(frame.over_points(&[&errors]), 4.0);
        assert_eq!(frame.bias(&[&errors]), -0.8);
        let told: Vec<_> = frame
            .parts
            .iter()
            .map(|part| (part.name.as_str(), frame.points_in(part), frame.in_part(part, &[&errors])))
            .collect();
        let expected = [
            ("below 120 BPM", 1, 1.0),
            ("120 to 140 BPM", 2, 7.0),
            ("140 to 160 BPM", 1, 2.0),
            ("180 BPM and above", 1, 3.0),
            ("first 5 minutes", 3, (2.5 + 10.0) / 2.0),
            ("between", 1, 2.0),
            ("last 5 minutes", 1, 3.0),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn by_workout_each_workout_counts_once() {
        let (points, frame) = (points(), Frame::of(&points(), Unit::Workout));
        let errors = frame.errors(&points, &[101.0, 148.0, 193.0, 124.0, 120.0]).unwrap();
        assert_eq!((frame.units.clone(), frame.by_unit(&[&errors])), (vec![10, 11, 20], vec![2.0, 4.0, 10.0]));
    }

    #[test]
    fn users_are_grouped_in_thirds_and_equal_ones_together() {
        let users: Vec<i64> = (0..9).flat_map(|user| vec![user; if user < 7 { 1 } else { 2 }]).collect();
        let workouts: Vec<i64> = (0..users.len() as i64).collect();
        let truth = users.iter().map(|user| 100.0 + *user as f32).collect();
        let points = Points::new(&workouts, &users, vec![0.0; users.len()], truth).unwrap();
        let frame = Frame::of(&points, Unit::User);
        let groups = frame.parts.iter().filter(|part| part.family > Family::Phase);
        let told: Vec<_> = groups.map(|part| (part.name.as_str(), part.units.len())).collect();
        let expected = [
            ("1 workout", 7),
            ("2 workouts", 2),
            ("mean heart rate 100 to 102", 3),
            ("mean heart rate 103 to 105", 3),
            ("mean heart rate 106 to 108", 3),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_prediction_that_is_no_number_is_named() {
        let points = points();
        let told = Frame::of(&points, Unit::User).errors(&points, &[0.0, 0.0, 0.0, f32::NAN, 0.0]).err().unwrap();
        assert_eq!(told.to_string(), "a prediction for workout 11 is no finite number");
    }
}
