//! Standardisation of features and heart rate. Unaware of models.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::sequences::Sequences;

/// Standardisation of features and target: `(x - mean) / sd`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scaler {
    /// Mean of each feature over unpadded training steps.
    pub mean: Vec<f64>,
    /// Standard deviation of each feature; 1 where it is constant.
    pub sd: Vec<f64>,
    /// Mean of the heart rate over real training samples, BPM.
    pub target_mean: f64,
    /// Standard deviation of the heart rate over real training samples, BPM.
    pub target_sd: f64,
}

impl Scaler {
    /// Fits means and (population) standard deviations on the given workouts alone: features over their valid
    /// steps, the target over their real samples. Sums run in f64 in the order of `workouts`.
    pub fn fit(sequences: &Sequences, columns: &[usize], workouts: &[usize]) -> Result<Self> {
        let steps = |mask: &[u8]| -> Vec<usize> {
            let all = workouts.iter().flat_map(|&workout| sequences.steps(workout));
            all.filter(|&step| mask[step] == 1).collect()
        };
        let (valid, real) = (steps(&sequences.valid), steps(&sequences.real));
        ensure!(!real.is_empty(), "{} training workouts hold no real heart rate sample", workouts.len());
        let feature = |&column: &usize| moments(valid.iter().map(|&step| f64::from(sequences.row(step)[column])));
        let (mean, sd) = columns.iter().map(feature).unzip();
        let (target_mean, target_sd) = moments(real.iter().map(|&step| f64::from(sequences.target[step])));
        Ok(Self { mean, sd, target_mean, target_sd })
    }
}

/// Mean and population standard deviation, in two passes; a deviation that is only rounding counts as 1.
fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    let sd = (values.map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
    (mean, if sd > 1e-9 * mean.abs().max(1e-9) { sd } else { 1.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequences::{DataSource, Grid, Header};

    /// Workout 0 trains and ends in one padded step; workout 1 is held out.
    fn sequences() -> Sequences {
        let header = Header {
            features: vec!["speed".into(), "gender_male".into()],
            grid: Grid::Index { length: 3 },
            data: DataSource::Recorded,
        };
        Sequences {
            offsets: vec![0, 3, 5],
            features: vec![2.0, 1.0, 4.0, 1.0, 1000.0, 1.0, 3.0, 0.0, 5.0, 0.0].into(),
            target: vec![120.0, 140.0, 0.0, 99.0, 98.0].into(),
            real: vec![1, 1, 0, 1, 1].into(),
            valid: vec![1, 1, 0, 1, 1].into(),
            workout: vec![10, 20],
            ..Sequences::empty(header)
        }
    }

    #[test]
    fn the_scaler_sees_neither_padding_nor_held_out_workouts() {
        let scaler = Scaler::fit(&sequences(), &[0, 1], &[0]).unwrap();
        assert_eq!(scaler.mean, [3.0, 1.0]);
        assert_eq!(scaler.sd, [1.0, 1.0], "sd of 2 and 4 is 1; a constant feature counts as 1");
        assert_eq!((scaler.target_mean, scaler.target_sd), (130.0, 10.0));
        let mut other = sequences();
        other.target[3..].fill(180.0);
        other.features[4] = -7.0;
        other.features[6] = 1e6;
        assert_eq!(Scaler::fit(&other, &[0, 1], &[0]).unwrap(), scaler);
        assert!(Scaler::fit(&other, &[0, 1], &[]).is_err());
    }
}
