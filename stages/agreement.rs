//! How two measurements of heart rate agree, as sports scientists report it: bias with limits, concordance, zones, lag.
//! Unaware of models, of files and of pictures.

use std::collections::BTreeMap;

/// Bounds of the heart-rate zones in BPM, the same for everybody, as no highest heart rate is known.
pub const ZONE_BOUNDS: [f32; 4] = [120.0, 140.0, 160.0, 180.0];

/// Zones in all.
pub const ZONES: usize = ZONE_BOUNDS.len() + 1;

/// Half the width of limits of agreement in standard deviations: 95 % of a normal distribution.
const LIMIT_SDS: f64 = 1.96;

/// Agreement over points; errors are prediction − truth, BPM.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreement {
    /// Points.
    pub points: usize,
    /// Mean absolute error, BPM.
    pub mae: f64,
    /// Root of the mean squared error, BPM.
    pub rmse: f64,
    /// Mean absolute error relative to the truth, per cent.
    pub mape: f64,
    /// Mean error, BPM.
    pub bias: f64,
    /// Limits of agreement, BPM: bias ± 1.96 standard deviations.
    ///
    /// Points of one user are alike, so that the variance is the sum of that within and that between users, by a
    /// one-way analysis of variance (Bland and Altman, J. Biopharm. Stat. 17, 2007).
    pub limits: [f64; 2],
    /// Lin's concordance correlation coefficient (Biometrics 45, 1989); none where nothing varies.
    pub ccc: Option<f64>,
}

impl Agreement {
    /// Agreement of predictions with the truth, BPM, shape `[n]` each; `user` tells whose each point is. None without
    /// points.
    pub fn of(truth: &[f32], prediction: &[f32], user: &[i64]) -> Option<Self> {
        let n = truth.len();
        if n == 0 {
            return None;
        }
        let (mut absolute, mut squared, mut relative, mut sums) = (0.0, 0.0, 0.0, [0.0; 2]);
        let mut groups: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
        // The points of a user mostly stand together, and a group is looked up once for each such stretch.
        let mut stretch = (user[0], (0.0, 0.0));
        let mut close = |(user, (count, sum)): (i64, (f64, f64))| {
            let group = groups.entry(user).or_default();
            *group = (group.0 + count, group.1 + sum);
        };
        for ((truth, prediction), user) in pairs(truth, prediction).zip(user) {
            let error = prediction - truth;
            absolute += error.abs();
            squared += error * error;
            relative += error.abs() / truth;
            sums[0] += truth;
            sums[1] += prediction;
            if *user != stretch.0 {
                close(std::mem::replace(&mut stretch, (*user, (0.0, 0.0))));
            }
            stretch.1.0 += 1.0;
            stretch.1.1 += error;
        }
        close(stretch);
        let count = n as f64;
        let (mean_truth, mean_prediction) = (sums[0] / count, sums[1] / count);
        let bias = mean_prediction - mean_truth;
        let moments = pairs(truth, prediction).fold([0.0; 3], |[t, p, both], (truth, prediction)| {
            let (t0, p0) = (truth - mean_truth, prediction - mean_prediction);
            [t + t0 * t0, p + p0 * p0, both + t0 * p0]
        });
        let spread = moments[0] + moments[1] + count * bias * bias;
        let half = LIMIT_SDS * variance(&groups, squared, bias, count).sqrt();
        Some(Self {
            points: n,
            mae: absolute / count,
            rmse: (squared / count).sqrt(),
            mape: 100.0 * relative / count,
            bias,
            limits: [bias - half, bias + half],
            ccc: (spread > 0.0).then(|| 2.0 * moments[2] / spread),
        })
    }
}

/// The variance of one error of any user: within users and between them.
fn variance(groups: &BTreeMap<i64, (f64, f64)>, squared: f64, bias: f64, count: f64) -> f64 {
    let users = groups.len() as f64;
    if groups.len() < 2 || count <= users {
        return (squared - count * bias * bias).max(0.0) / (count - 1.0).max(1.0);
    }
    let between: f64 = groups.values().map(|(n, sum)| n * (sum / n - bias).powi(2)).sum();
    let means: f64 = groups.values().map(|(n, sum)| sum * sum / n).sum();
    let within = (squared - means).max(0.0) / (count - users);
    let size = (count * count - groups.values().map(|(n, _)| n * n).sum::<f64>()) / ((users - 1.0) * count);
    within + ((between / (users - 1.0) - within) / size).max(0.0)
}

fn pairs<'a>(truth: &'a [f32], prediction: &'a [f32]) -> impl Iterator<Item = (f64, f64)> + 'a {
    truth.iter().zip(prediction).map(|(truth, prediction)| (f64::from(*truth), f64::from(*prediction)))
}

/// The place of the zone that a heart rate in BPM lies in.
pub fn zone(rate: f32) -> usize {
    ZONE_BOUNDS.iter().filter(|bound| rate >= **bound).count()
}

/// The name of a zone with its bounds.
pub fn zone_name(zone: usize) -> String {
    match zone {
        0 => format!("below {}", ZONE_BOUNDS[0]),
        zone if zone < ZONE_BOUNDS.len() => format!("{} to {}", ZONE_BOUNDS[zone - 1], ZONE_BOUNDS[zone]),
        _ => format!("{} and above", ZONE_BOUNDS[ZONE_BOUNDS.len() - 1]),
    }
}

/// How many points of each true zone (row) are predicted in each zone (column).
pub fn confusion(truth: &[f32], prediction: &[f32]) -> [[u64; ZONES]; ZONES] {
    let mut counts = [[0; ZONES]; ZONES];
    truth.iter().zip(prediction).for_each(|(truth, prediction)| counts[zone(*truth)][zone(*prediction)] += 1);
    counts
}

/// Absolute errors at several shifts in time, summed over workouts.
///
/// At shift k the truth is held against the prediction k samples later: a prediction that comes too late is best at a
/// shift above zero. All shifts use the same truths, so that they can be compared.
#[derive(Clone, Debug, Default)]
pub struct Lags {
    sums: BTreeMap<i64, f64>,
    count: u64,
    seconds: f64,
    steps: u64,
}

impl Lags {
    /// Adds one workout: times in s, truth and prediction in BPM, shape `[n]` each; shifts reach `most` samples.
    pub fn add(&mut self, time: &[f32], truth: &[f32], prediction: &[f32], most: usize) {
        let n = truth.len();
        if n <= 2 * most {
            return;
        }
        for shift in -(most as i64)..=most as i64 {
            let error = |at: usize| (prediction[(at as i64 + shift) as usize] - truth[at]).abs();
            *self.sums.entry(shift).or_default() += (most..n - most).map(|at| f64::from(error(at))).sum::<f64>();
        }
        self.count += (n - 2 * most) as u64;
        self.seconds += f64::from(time[n - 1] - time[0]);
        self.steps += n as u64 - 1;
    }

    /// Seconds of shift (mean distance of samples times the shift) and the error there, BPM, from early to late.
    pub fn curve(&self) -> Vec<[f64; 2]> {
        let step = self.seconds / self.steps.max(1) as f64;
        self.sums.iter().map(|(shift, sum)| [*shift as f64 * step, sum / self.count.max(1) as f64]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_of_a_worked_example() {
        // Errors 2, 0, -1, 3 of one user: bias 1, squares 14, variance (14 - 4) / 3.
        let told = Agreement::of(&[100.0, 120.0, 140.0, 150.0], &[102.0, 120.0, 139.0, 153.0], &[1; 4]).unwrap();
        assert_eq!((told.mae, told.bias, told.points), (1.5, 1.0, 4));
        assert!((told.rmse - 3.5_f64.sqrt()).abs() < 1e-12);
        let half = 1.96 * (10.0_f64 / 3.0).sqrt();
        assert!((told.limits[0] - (1.0 - half)).abs() < 1e-9 && (told.limits[1] - (1.0 + half)).abs() < 1e-9);
        assert!((told.mape - 100.0 * (0.02 + 1.0 / 140.0 + 0.02) / 4.0).abs() < 1e-5);
        // Sums of squares about the means 127.5 and 128.5, and of products, by hand.
        let (t, p, both) = (1475.0, 1485.0, 1475.0);
        assert!((told.ccc.unwrap() - 2.0 * both / (t + p + 4.0)).abs() < 1e-9, "{told:?}");
    }

    #[test]
    fn users_that_differ_widen_the_limits() {
        // Users err by 0 and 10, each ± 1: within 2, between (4 · 25 / 1 − 2) / 2.
        let truth = [100.0; 4];
        let told = Agreement::of(&truth, &[99.0, 101.0, 109.0, 111.0], &[1, 1, 2, 2]).unwrap();
        let half = 1.96 * (2.0_f64 + (100.0 - 2.0) / 2.0).sqrt();
        assert!((told.limits[1] - (5.0 + half)).abs() < 1e-9, "{told:?}");
        assert_eq!(Agreement::of(&[], &[], &[]), None);
    }

    #[test]
    fn zones_hold_their_lower_bound() {
        assert_eq!([119.9, 120.0, 179.9, 180.0].map(zone), [0, 1, 3, 4]);
        assert_eq!([0, 1, 4].map(zone_name), ["below 120", "120 to 140", "180 and above"]);
        assert_eq!(confusion(&[100.0, 150.0], &[125.0, 150.0])[0][1], 1);
    }

    #[test]
    fn a_prediction_that_comes_late_is_best_at_its_delay() {
        let truth: Vec<f32> = (0..100).map(|at| 140.0 + 20.0 * (at as f32 / 9.0).sin()).collect();
        let late: Vec<f32> = (0..100_usize).map(|at| truth[at.saturating_sub(3)]).collect();
        let time: Vec<f32> = (0..100).map(|at| 10.0 * at as f32).collect();
        let mut lags = Lags::default();
        lags.add(&time, &truth, &late, 6);
        let best = lags.curve().into_iter().min_by(|a, b| a[1].total_cmp(&b[1])).unwrap();
        assert_eq!(best, [30.0, 0.0]);
    }
}
