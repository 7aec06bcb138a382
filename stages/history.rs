//! The earlier workouts of each workout's user, as numbers. Unaware of networks and of splits.
//!
//! A workout's history is what was over before it began, whatever part of a split it lies in: on the day of a run
//! the runs before it are known. Nothing of the run itself is in it.

use std::collections::BTreeMap;

use crate::model::Scaler;
use crate::sequences::Sequences;

/// Seconds at the start of a workout in which the heart is still on its way.
const FIRST_S: f32 = 180.0;

/// The earlier workouts of every workout, each as a row of numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    width: usize,
    rows: Vec<f32>,
    earlier: Vec<Vec<Earlier>>,
}

/// An earlier workout as one workout sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Earlier {
    /// Its place among the sequences.
    pub place: usize,
    /// Days from its start to the start of the workout that looks back.
    pub days: f32,
}

impl History {
    /// Numbers of an earlier workout that has so many features, the days between included.
    pub const fn width(features: usize) -> usize {
        5 + 3 * features
    }

    /// The latest `most` workouts before each one that hold a real sample.
    ///
    /// A workout in numbers, over its real samples and standardised by `scaler`: mean and standard deviation of the
    /// heart rate, the logarithm of the number of samples, how far the heart rate of the first minutes lies from the
    /// mean, and for each feature its mean, its variance and its covariance with the heart rate. Sums of these over
    /// workouts say what a line through the samples of all of them would.
    pub fn new(sequences: &Sequences, columns: &[usize], scaler: &Scaler, most: usize) -> Self {
        let rows: Vec<Vec<f32>> = (0..sequences.len()).map(|place| row(sequences, place, columns, scaler)).collect();
        let mut by_user: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for place in (0..sequences.len()).filter(|place| !rows[*place].is_empty()) {
            by_user.entry(sequences.user[place]).or_default().push(place);
        }
        let end = |place: usize| {
            let last = sequences.steps(place).rfind(|step| sequences.valid[*step] == 1);
            sequences.start[place] as f64 + last.map_or(0.0, |step| f64::from(sequences.time[step]))
        };
        by_user.values_mut().for_each(|places| places.sort_by_key(|place| (sequences.start[*place], *place)));
        let earlier = |place: usize| {
            let start = sequences.start[place];
            let own = by_user.get(&sequences.user[place]).map_or(&[][..], Vec::as_slice);
            let before = own.iter().rev().filter(|other| **other != place && end(**other) <= start as f64);
            let days = |other: &usize| ((start - sequences.start[*other]) as f64 / 86_400.0) as f32;
            before.take(most).map(|other| Earlier { place: *other, days: days(other) }).collect()
        };
        let earlier = (0..sequences.len()).map(earlier).collect();
        let width = Self::width(columns.len());
        // A workout without samples is nobody's history; its row of zeros is never looked at.
        let rows = rows.into_iter().flat_map(|mut row| {
            row.resize(width - 1, 0.0);
            row
        });
        Self { width, rows: rows.collect(), earlier }
    }

    /// The earlier workouts of the one at `place`, the latest first, each as [`History::width`] numbers.
    pub fn of(&self, place: usize) -> impl ExactSizeIterator<Item = Vec<f32>> + '_ {
        self.earlier[place].iter().map(|earlier| {
            let width = self.width - 1;
            let mut row = self.rows[earlier.place * width..(earlier.place + 1) * width].to_vec();
            row.push(earlier.days.max(0.0).ln_1p() / 5.0);
            row
        })
    }
}

/// A workout in numbers; empty where it has no real sample.
fn row(sequences: &Sequences, place: usize, columns: &[usize], scaler: &Scaler) -> Vec<f32> {
    let steps: Vec<usize> = sequences.steps(place).filter(|step| sequences.real[*step] == 1).collect();
    if steps.is_empty() {
        return Vec::new();
    }
    let n = steps.len() as f64;
    let rate = |step: usize| (f64::from(sequences.target[step]) - scaler.target_mean) / scaler.target_sd;
    let mean = steps.iter().map(|step| rate(*step)).sum::<f64>() / n;
    let spread = (steps.iter().map(|step| (rate(*step) - mean).powi(2)).sum::<f64>() / n).sqrt();
    let first = sequences.time[sequences.steps(place).start] + FIRST_S;
    let early: Vec<f64> = steps.iter().filter(|step| sequences.time[**step] < first).map(|step| rate(*step)).collect();
    let rise = if early.is_empty() { 0.0 } else { early.iter().sum::<f64>() / early.len() as f64 - mean };
    let mut row = vec![mean as f32, spread as f32, (n.ln_1p() / 5.0) as f32, rise as f32];
    for (at, column) in columns.iter().enumerate() {
        let value = |step: usize| (f64::from(sequences.row(step)[*column]) - scaler.mean[at]) / scaler.sd[at];
        let own = steps.iter().map(|step| value(*step)).sum::<f64>() / n;
        let (mut square, mut product) = (0.0, 0.0);
        for &step in &steps {
            square += (value(step) - own).powi(2);
            product += (value(step) - own) * (rate(step) - mean);
        }
        row.extend([own as f32, (square / n) as f32, (product / n) as f32]);
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequences::{DataSource, Grid, Header};

    /// Workouts of two steps, 5 s apart, whose heart rate is 100 + 10 times their number, then 20 more.
    fn sequences(workouts: &[(i64, i64)]) -> Sequences {
        let header =
            Header { features: vec!["speed".into()], grid: Grid::Time { step_s: 5.0 }, data: DataSource::Synthetic };
        let mut all = Sequences::empty(header);
        for (number, (user, start)) in workouts.iter().enumerate() {
            for step in 0..2 {
                all.features.push(1.0 + step as f32);
                all.target.push(100.0 + 10.0 * number as f32 + 20.0 * step as f32);
                all.real.push(1);
                all.valid.push(1);
                all.time.push(5.0 * step as f32);
            }
            all.offsets.push(all.target.len() as i64);
            all.workout.push(number as i64);
            all.user.push(*user);
            all.start.push(*start);
        }
        all
    }

    fn scaler() -> Scaler {
        Scaler { mean: vec![1.0], sd: vec![2.0], target_mean: 100.0, target_sd: 10.0 }
    }

    fn means(history: &History, place: usize) -> Vec<f32> {
        history.of(place).map(|row| row[0]).collect()
    }

    #[test]
    fn only_what_was_over_before_the_start_is_history_and_the_latest_comes_first() {
        let day = 86_400;
        let all = sequences(&[(1, 0), (1, day), (2, day), (1, 2 * day), (1, 2 * day + 3)]);
        let history = History::new(&all, &[0], &scaler(), 2);
        assert!(means(&history, 0).is_empty());
        assert_eq!(means(&history, 1), [1.0]);
        assert!(means(&history, 2).is_empty(), "of nobody else");
        assert_eq!(means(&history, 3), [2.0, 1.0]);
        // The run before began 3 s earlier and lasted 5 s.
        assert_eq!(means(&history, 4), [2.0, 1.0]);
        let mut later = all.clone();
        later.target[6..].fill(190.0);
        assert_eq!(means(&History::new(&later, &[0], &scaler(), 2), 3), [2.0, 1.0], "its own heart rate is not in it");
    }

    #[test]
    fn a_workout_in_numbers_is_what_it_is_by_hand() {
        let history = History::new(&sequences(&[(1, 0), (1, 86_400)]), &[0], &scaler(), 9);
        let row = history.of(1).next().unwrap();
        // Heart rates 0 and 2, features 0 and 0.5, standardised.
        let expected = [1.0, 1.0, 3f32.ln() / 5.0, 0.0, 0.25, 0.0625, 0.25, 2f32.ln() / 5.0];
        assert_eq!(row.len(), History::width(1));
        for (found, expected) in row.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{row:?}");
        }
    }

    #[test]
    fn a_workout_without_samples_is_nobodys_history() {
        let mut all = sequences(&[(1, 0), (1, 100), (1, 200)]);
        all.real[2..4].fill(0);
        all.target[2..4].fill(0.0);
        assert_eq!(means(&History::new(&all, &[0], &scaler(), 9), 2), [1.0]);
    }
}
