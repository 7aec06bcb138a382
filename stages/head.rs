//! What a network says at each step: one value, quantiles, or a distribution; and the value and the interval that
//! follow from it. Unaware of networks and of losses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::ParameterFault;

/// What a network says at each step, over the standardised heart rate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// One value, trained by `loss`.
    #[default]
    Point,
    /// Quantiles at these rising levels, 0.5 among them, trained by the pinball loss; the outer two are the interval.
    Quantiles(Vec<f64>),
    /// Location, scale and degrees of freedom of Student's t, trained by its likelihood; its interval holds 90 %.
    StudentT,
}

/// Share of Student's t that its interval holds.
const STUDENT_SHARE: f64 = 0.9;

/// The quantile of the normal distribution at 0.95.
const NORMAL_95: f64 = 1.644_853_626_951_472_2;

impl Head {
    /// Numbers for each step. Student's t has three: degrees of freedom, location and scale, the first and the last
    /// before `softplus`, as Lag-Llama orders them.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Point => 1,
            Self::Quantiles(levels) => levels.len(),
            Self::StudentT => 3,
        }
    }

    /// The place of the number that is the prediction: the value, the median or the location.
    pub fn point(&self) -> usize {
        match self {
            Self::Point => 0,
            Self::Quantiles(levels) => levels.iter().position(|level| *level == 0.5).unwrap_or(0),
            Self::StudentT => 1,
        }
    }

    /// The share of samples that the interval promises to hold, where there is one.
    pub fn share(&self) -> Option<f64> {
        match self {
            Self::Point => None,
            Self::Quantiles(levels) => levels.first().zip(levels.last()).map(|(low, high)| high - low),
            Self::StudentT => Some(STUDENT_SHARE),
        }
    }

    /// The interval around the prediction, standardised; quantiles that cross are put in order.
    pub fn interval(&self, outputs: &[f32]) -> Option<[f32; 2]> {
        match self {
            Self::Point => None,
            Self::Quantiles(_) => {
                let low = outputs.iter().copied().fold(f32::INFINITY, f32::min);
                let high = outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                Some([low, high])
            }
            Self::StudentT => {
                let [freedom, location, scale] = [outputs[0], outputs[1], outputs[2]].map(f64::from);
                let reach = student_95(2.0 + softplus(freedom)) * softplus(scale);
                Some([(location - reach) as f32, (location + reach) as f32])
            }
        }
    }

    /// What types do not show.
    pub fn check(&self, path: &str) -> Vec<ParameterFault> {
        let Self::Quantiles(levels) = self else { return Vec::new() };
        let path = format!("{path}.quantiles");
        let inside = levels.iter().all(|level| *level > 0.0 && *level < 1.0);
        let rising = levels.windows(2).all(|pair| pair[0] < pair[1]);
        if !inside || !rising {
            return vec![ParameterFault::new(
                path,
                "levels must rise from above 0 to below 1, such as [0.05, 0.5, 0.95]",
            )];
        }
        if !levels.contains(&0.5) {
            return vec![ParameterFault::new(path, "the level 0.5 is missing, which is the prediction")];
        }
        Vec::new()
    }
}

/// ln(1 + eˣ), without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The quantile at 0.95 of Student's t with at least 2 degrees of freedom (Hill 1970, algorithm 396).
fn student_95(freedom: f64) -> f64 {
    let n = freedom.max(2.0);
    let a = 1.0 / (n - 0.5);
    let b = 48.0 / (a * a);
    let mut c = ((20_700.0 * a / b - 98.0) * a - 16.0) * a + 96.36;
    let d = ((94.5 / (b + c) - 3.0) / b + 1.0) * (a * std::f64::consts::FRAC_PI_2).sqrt() * n;
    let two_sided = 0.1;
    let mut y = (d * two_sided).powf(2.0 / n);
    if y > 0.05 + a {
        // Cornish-Fisher expansion about the normal quantile.
        let x = -NORMAL_95;
        y = x * x;
        if n < 5.0 {
            c += 0.3 * (n - 4.5) * (x + 0.6);
        }
        c += (((0.05 * d * x - 5.0) * x - 7.0) * x - 2.0) * x + b;
        y = (((((0.4 * y + 6.3) * y + 36.0) * y + 94.5) / c - y - 3.0) / b + 1.0) * x;
        y = (a * y * y).exp_m1();
    } else {
        y = ((1.0 / (((n + 6.0) / (n * y) - 0.089 * d - 0.822) * (n + 2.0) * 3.0) + 0.5 / (n + 4.0)) * y - 1.0)
            * (n + 1.0)
            / (n + 2.0)
            + 1.0 / y;
    }
    (n * y).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table at the end of every book on statistics.
    #[test]
    fn quantiles_of_student_are_those_of_the_table() {
        for (freedom, expected) in [
            (2.0, 2.919_986),
            (3.0, 2.353_363),
            (5.0, 2.015_048),
            (10.0, 1.812_461),
            (30.0, 1.697_261),
            (1e6, NORMAL_95),
        ] {
            let found = student_95(freedom);
            assert!((found - expected).abs() < 2e-3, "{freedom}: {found} instead of {expected}");
        }
    }

    #[test]
    fn an_interval_is_around_the_prediction_and_in_order() {
        let quantiles = Head::Quantiles(vec![0.05, 0.5, 0.95]);
        assert_eq!(quantiles.interval(&[0.5, 0.1, -0.2]), Some([-0.2, 0.5]));
        assert!((quantiles.share().unwrap() - 0.9).abs() < 1e-12);
        let [low, high] = Head::StudentT.interval(&[3.0, 1.0, 0.0]).unwrap();
        assert!((low + high - 2.0).abs() < 1e-6 && high - low > 2.0 * 0.69 * 1.9, "{low} {high}");
        assert_eq!(Head::Point.interval(&[1.0]), None);
        assert_eq!([Head::Point.point(), quantiles.point(), Head::StudentT.point()], [0, 1, 1]);
    }

    #[test]
    fn levels_that_make_no_interval_are_faults() {
        let faults = |levels: &[f64]| Head::Quantiles(levels.to_vec()).check("head");
        assert_eq!(faults(&[0.1, 0.5, 0.9]), []);
        for levels in [&[0.5, 0.1][..], &[0.0, 0.5], &[0.5, 1.0], &[0.1, 0.9], &[]] {
            let faults = faults(levels);
            assert_eq!(faults.len(), 1, "{levels:?}");
            assert_eq!(faults[0].path, "head.quantiles");
        }
    }

    #[test]
    fn a_head_is_written_as_one_word_or_as_its_levels() {
        let read = |text: &str| serde_json::from_str::<Head>(text).unwrap();
        assert_eq!(read("\"point\""), Head::Point);
        assert_eq!(read("\"student_t\""), Head::StudentT);
        assert_eq!(read("{\"quantiles\":[0.1,0.5,0.9]}"), Head::Quantiles(vec![0.1, 0.5, 0.9]));
    }
}
