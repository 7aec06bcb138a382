//! How well predictions agree with real heart rate samples. Unaware of models; padding and filled steps never
//! count.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::sequences::Sequences;

/// Agreement over all scored points; errors are prediction − truth, in BPM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Mean absolute error over points, BPM.
    pub mae: f64,
    /// Root of the mean squared error over points, BPM.
    pub rmse: f64,
    /// Mean absolute error relative to the truth, per cent.
    pub mape: f64,
    /// Mean error, BPM; positive where the prediction is too high.
    pub bias: f64,
    /// Share of the variance of the scored truth that is explained, 1 − SSE / SST; NaN where it does not vary.
    pub r2: f64,
    /// 1 − MAE / MAE of the constant model.
    pub skill: f64,
    /// Mean over users of the user's MAE, BPM.
    pub mae_user_mean: f64,
    /// Mean over workouts of the workout's MAE, BPM.
    pub mae_workout_mean: f64,
    /// Real samples scored.
    pub n_points: usize,
    /// Workouts with a real sample.
    pub n_workouts: usize,
    /// Users with a real sample.
    pub n_users: usize,
}

/// Agreement over one workout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkoutScore {
    /// The source's number of the workout.
    pub workout: i64,
    /// The source's number of the user.
    pub user: i64,
    /// Start in unix seconds.
    pub start: i64,
    /// Real samples scored.
    pub n_points: usize,
    /// Mean absolute error, BPM.
    pub mae: f64,
    /// Root of the mean squared error, BPM.
    pub rmse: f64,
    /// Mean error, BPM.
    pub bias: f64,
    /// Mean of the real heart rate, BPM.
    pub truth_mean: f64,
}

/// Sums over points, added in the order of the points.
#[derive(Clone, Copy, Default)]
struct Sums {
    n: usize,
    error: f64,
    absolute: f64,
    squared: f64,
    relative: f64,
    truth: f64,
}

impl Sums {
    fn add(&mut self, prediction: f64, truth: f64) {
        let error = prediction - truth;
        self.n += 1;
        self.error += error;
        self.absolute += error.abs();
        self.squared += error * error;
        self.relative += error.abs() / truth;
        self.truth += truth;
    }

    fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.error += other.error;
        self.absolute += other.absolute;
        self.squared += other.squared;
        self.relative += other.relative;
        self.truth += other.truth;
    }

    fn mean(&self, sum: f64) -> f64 {
        sum / self.n as f64
    }
}

/// Scores a prediction for every step, shape `[S]`, at the real samples of the given workouts.
///
/// `constant_mae` is the MAE of the constant model on the same points ([`mae`]), which skill is measured by.
/// Gives a row for each workout that holds a real sample, in the order given. Fails on a prediction of the
/// wrong length or one that is no finite number, and where nothing can be scored.
pub fn score(
    prediction: &[f32],
    sequences: &Sequences,
    workouts: &[usize],
    constant_mae: f64,
) -> Result<(Scores, Vec<WorkoutScore>)> {
    let by_workout = sum_by_workout(prediction, sequences, workouts)?;
    let (mut all, mut by_user) = (Sums::default(), BTreeMap::<i64, Sums>::new());
    for (workout, sums) in &by_workout {
        all.merge(sums);
        by_user.entry(sequences.user[*workout]).or_default().merge(sums);
    }
    let mean = all.mean(all.truth);
    let scored = workouts.iter().flat_map(|&workout| sequences.steps(workout));
    let scored = scored.filter(|&step| sequences.real[step] == 1);
    let spread: f64 = scored.map(|step| (f64::from(sequences.target[step]) - mean).powi(2)).sum();
    let mae = all.mean(all.absolute);
    let average = |sums: &mut dyn Iterator<Item = &Sums>, n: usize| {
        sums.map(|sums| sums.mean(sums.absolute)).sum::<f64>() / n as f64
    };
    let scores = Scores {
        mae,
        rmse: all.mean(all.squared).sqrt(),
        mape: 100.0 * all.mean(all.relative),
        bias: all.mean(all.error),
        r2: if spread > 0.0 { 1.0 - all.squared / spread } else { f64::NAN },
        skill: 1.0 - mae / constant_mae,
        mae_user_mean: average(&mut by_user.values(), by_user.len()),
        mae_workout_mean: average(&mut by_workout.iter().map(|(_, sums)| sums), by_workout.len()),
        n_points: all.n,
        n_workouts: by_workout.len(),
        n_users: by_user.len(),
    };
    let rows = by_workout.iter().map(|(workout, sums)| row(sequences, *workout, sums)).collect();
    Ok((scores, rows))
}

/// The mean absolute error in BPM at the real samples of the given workouts; fails as [`score`] does.
pub fn mae(prediction: &[f32], sequences: &Sequences, workouts: &[usize]) -> Result<f64> {
    let mut all = Sums::default();
    for (_, sums) in sum_by_workout(prediction, sequences, workouts)? {
        all.merge(&sums);
    }
    Ok(all.mean(all.absolute))
}

fn sum_by_workout(prediction: &[f32], sequences: &Sequences, workouts: &[usize]) -> Result<Vec<(usize, Sums)>> {
    let steps = sequences.target.len();
    ensure!(prediction.len() == steps, "a prediction of {} steps cannot score {steps}", prediction.len());
    let mut rows = Vec::with_capacity(workouts.len());
    for &workout in workouts {
        let mut sums = Sums::default();
        for step in sequences.steps(workout).filter(|&step| sequences.real[step] == 1) {
            if !prediction[step].is_finite() {
                let (number, place) = (sequences.workout[workout], step - sequences.steps(workout).start);
                bail!("workout {number}: the prediction at step {place} is {}", prediction[step]);
            }
            sums.add(f64::from(prediction[step]), f64::from(sequences.target[step]));
        }
        if sums.n > 0 {
            rows.push((workout, sums));
        }
    }
    ensure!(!rows.is_empty(), "{} workouts hold no real heart rate sample to score", workouts.len());
    Ok(rows)
}

fn row(sequences: &Sequences, workout: usize, sums: &Sums) -> WorkoutScore {
    WorkoutScore {
        workout: sequences.workout[workout],
        user: sequences.user[workout],
        start: sequences.start[workout],
        n_points: sums.n,
        mae: sums.mean(sums.absolute),
        rmse: sums.mean(sums.squared).sqrt(),
        bias: sums.mean(sums.error),
        truth_mean: sums.mean(sums.truth),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequences::{DataSource, Grid, Header};

    /// User 1 has workouts 10 (two real samples, one padded step) and 11 (one); user 2 has workout 20.
    fn sequences() -> Sequences {
        Sequences {
            header: Header { features: Vec::new(), grid: Grid::Index { length: 3 }, data: DataSource::Recorded },
            offsets: vec![0, 3, 4, 5],
            features: Vec::new().into(),
            target: vec![100.0, 120.0, 0.0, 150.0, 150.0].into(),
            real: vec![1, 1, 0, 1, 1].into(),
            valid: vec![1, 1, 0, 1, 1].into(),
            time: vec![0.0; 5].into(),
            workout: vec![10, 11, 20],
            user: vec![1, 1, 2],
            start: vec![0, 1, 2],
        }
    }

    #[test]
    fn the_figures_are_those_worked_out_by_hand() {
        let prediction = [110.0, 116.0, f32::NAN, 150.0, 144.0];
        let (scores, rows) = score(&prediction, &sequences(), &[0, 1, 2], 20.0).unwrap();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} is not {b}");
        close(scores.mae, 5.0);
        close(scores.rmse, 38f64.sqrt());
        close(scores.mape, (10.0 + 4.0 / 1.2 + 0.0 + 4.0) / 4.0);
        close(scores.bias, 0.0);
        close(scores.r2, 1.0 - 152.0 / 1800.0);
        close(scores.skill, 0.75);
        close(scores.mae_user_mean, (14.0 / 3.0 + 6.0) / 2.0);
        close(scores.mae_workout_mean, 13.0 / 3.0);
        assert_eq!((scores.n_points, scores.n_workouts, scores.n_users), (4, 3, 2));
        let first = WorkoutScore {
            workout: 10,
            user: 1,
            start: 0,
            n_points: 2,
            mae: 7.0,
            rmse: 58f64.sqrt(),
            bias: 3.0,
            truth_mean: 110.0,
        };
        assert_eq!(rows[0], first);
        close(mae(&prediction, &sequences(), &[0]).unwrap(), 7.0);
    }

    #[test]
    fn padding_has_no_weight_in_a_score() {
        let quiet = [110.0, 116.0, 0.0, 150.0, 144.0];
        let loud = [110.0, 116.0, 1e9, 150.0, 144.0];
        let scores = |prediction: &[f32]| score(prediction, &sequences(), &[0, 1, 2], 20.0).unwrap();
        assert_eq!(scores(&quiet), scores(&loud));
    }

    #[test]
    fn a_prediction_that_is_no_number_is_a_fault_that_names_its_place() {
        let error = score(&[0.0, f32::NAN, 0.0, 0.0, 0.0], &sequences(), &[0], 1.0).unwrap_err();
        assert_eq!(error.to_string(), "workout 10: the prediction at step 1 is NaN");
        assert!(score(&[0.0; 4], &sequences(), &[0], 1.0).is_err());
        assert!(score(&[0.0; 5], &sequences(), &[], 1.0).is_err());
    }
}
