//! What nobody could say better about simulated workouts: the simulator's own heart rates without noise, laid on the
//! steps of sequences. Unaware of how they were simulated and of models.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use crate::sequences::Sequences;
use crate::table::{Table, Values};

/// The name of the one who knows user, course and day.
pub const ORACLE_DAY: &str = "oracle_day";
/// The name of the one who knows user and course.
pub const ORACLE_USER: &str = "oracle_user";

/// Two heart rates without noise at every step of some sequences, BPM, shape `[S]` each; NaN in workouts that were not
/// asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Floor {
    /// Of one who knows user, course and day.
    pub day: Vec<f32>,
    /// Of one who knows user and course.
    pub user: Vec<f32>,
}

/// A point of a simulated run: unix seconds, and both heart rates.
type Point = (f64, [f64; 2]);

impl Floor {
    /// Both with their names and what they know.
    pub fn oracles(&self) -> [(&'static str, &[f32], &'static str); 2] {
        [(ORACLE_DAY, &self.day, "user, course and day"), (ORACLE_USER, &self.user, "user and course")]
    }

    /// Reads the table `oracle` of the kind `synthesize` and lays it on the steps of the workouts at `places`, which
    /// are found by their number; between points it is interpolated, beyond them the nearest holds.
    pub fn read(path: &Path, sequences: &Sequences, places: &[usize]) -> Result<Self> {
        let table = Table::read(path)?;
        let points = points(&table).with_context(|| format!("`{}` holds no oracle", path.display()))?;
        let nowhere = || vec![f32::NAN; sequences.target.len()];
        let mut floor = Self { day: nowhere(), user: nowhere() };
        for &place in places {
            let number = sequences.workout[place];
            let Some(points) = points.get(&number) else {
                bail!(
                    "the oracle does not know workout {number}: wire the one of the stage that simulated these workouts"
                );
            };
            for step in sequences.steps(place) {
                let now = sequences.start[place] as f64 + f64::from(sequences.time[step]);
                let [day, user] = at(points, now);
                (floor.day[step], floor.user[step]) = (day as f32, user as f32);
            }
        }
        Ok(floor)
    }
}

/// The points of each run by its number, in the order of time.
fn points(table: &Table) -> Result<BTreeMap<i64, Vec<Point>>> {
    let whole = |name: &str| match table.column(name)? {
        Values::Int(values) => Ok(values),
        _ => bail!("the column `{name}` is not of whole numbers"),
    };
    let numbers = |name: &str| match table.column(name)? {
        Values::Float(values) => Ok(values),
        _ => bail!("the column `{name}` is not of numbers"),
    };
    let (workout, start) = (whole("workout")?, whole("start")?);
    let (time, day, user) = (numbers("time_s")?, numbers("heart_rate")?, numbers("heart_rate_usual")?);
    let mut points = BTreeMap::<i64, Vec<Point>>::new();
    for row in 0..table.rows() {
        let point = || Some((start[row]? as f64 + time[row]?, [day[row]?, user[row]?]));
        let (number, point) = workout[row].zip(point()).with_context(|| format!("row {row} lacks a value"))?;
        ensure!(point.0.is_finite(), "row {row} has no time");
        points.entry(number).or_default().push(point);
    }
    points.values_mut().for_each(|points| points.sort_by(|a, b| a.0.total_cmp(&b.0)));
    Ok(points)
}

/// Both heart rates at a moment, from at least one point.
fn at(points: &[Point], now: f64) -> [f64; 2] {
    let after = points.partition_point(|point| point.0 < now);
    let (before, after) = (points[after.saturating_sub(1)], points[after.min(points.len() - 1)]);
    let span = after.0 - before.0;
    let share = if span > 0.0 { ((now - before.0) / span).clamp(0.0, 1.0) } else { 0.0 };
    [0, 1].map(|which| before.1[which] + share * (after.1[which] - before.1[which]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequences::{DataSource, Grid, Header};
    use crate::table::Column;

    fn sequences() -> Sequences {
        let header = Header { features: Vec::new(), grid: Grid::Time { step_s: 5.0 }, data: DataSource::Synthetic };
        Sequences {
            offsets: vec![0, 2, 5],
            target: vec![100.0; 5].into(),
            time: vec![0.0, 5.0, 0.0, 5.0, 90.0].into(),
            workout: vec![10, 20],
            start: vec![0, 1003],
            ..Sequences::empty(header)
        }
    }

    /// Workout 20 began three seconds before its sequence.
    fn write(path: &Path, workouts: [i64; 3]) {
        let table = Table::new(vec![
            Column::int("workout", workouts),
            Column::int("start", [1000, 1000, 1000]),
            Column::float("time_s", [13.0, 3.0, 4.0]),
            Column::float("heart_rate", [120.0, 100.0, 102.0]),
            Column::float("heart_rate_usual", [140.0, 120.0, 122.0]),
        ]);
        table.unwrap().write(path).unwrap();
    }

    #[test]
    fn the_floor_is_interpolated_at_the_steps_of_the_workouts_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("oracle.parquet");
        write(&path, [20; 3]);
        let floor = Floor::read(&path, &sequences(), &[1]).unwrap();
        assert!(floor.day[..2].iter().all(|rate| rate.is_nan()));
        // At 1003, 1008 and 1093; the points lie at 1003, 1004 and 1013.
        assert_eq!(floor.day[2..], [100.0, 110.0, 120.0]);
        assert_eq!(floor.user[2..], [120.0, 130.0, 140.0]);
    }

    #[test]
    fn a_workout_that_was_not_simulated_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("oracle.parquet");
        write(&path, [21; 3]);
        let error = Floor::read(&path, &sequences(), &[1]).unwrap_err().to_string();
        assert!(error.starts_with("the oracle does not know workout 20"), "{error}");
    }
}
