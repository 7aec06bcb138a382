//! What can be concluded from paired differences: bootstrap over units, sign flips, Holm's correction. Unaware of
//! what the numbers measure and of what the units are.
//!
//! Random draws are a function of a counter, so that the same differences give the same figures on any number of
//! threads.

use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

/// The level of tests and, as 1 − 0.05, of intervals.
pub const LEVEL: f64 = 0.05;

/// Draws of a bootstrap.
pub const DRAWS: usize = 10_000;

/// Fewer units than this give no interval: the bootstrap of so few is far too narrow.
pub const FEWEST_UNITS: usize = 10;

/// Up to this many differences all flips of their signs are gone through, beyond it as many are drawn.
const EXACT_FLIPS: usize = 18;

/// Where the counters of the bootstrap and of the flips begin.
const BOOTSTRAP: u64 = 0x5eed_0000_0000_0001;
const FLIPS: u64 = 0x5eed_0000_0000_0002;

/// The means of a series of differences over resampled units, sorted.
#[derive(Clone, Debug, PartialEq)]
pub struct Bootstrap {
    means: Vec<f64>,
}

impl Bootstrap {
    /// Resamples the units of all series together, `draws` times; every series has a value for each unit.
    pub fn of(series: &[Vec<f64>], draws: usize) -> Vec<Self> {
        let units = series.first().map_or(0, Vec::len);
        assert!(series.iter().all(|values| values.len() == units), "every series has a value for each unit");
        let means: Vec<Vec<f64>> = (0..draws).into_par_iter().map(|draw| means(series, units, draw)).collect();
        let sorted = |at: usize| {
            let mut means: Vec<f64> = means.iter().map(|draw| draw[at]).collect();
            means.sort_unstable_by(f64::total_cmp);
            Self { means }
        };
        (0..series.len()).into_par_iter().map(sorted).collect()
    }

    /// The interval between the quantiles [`LEVEL`] / 2 and 1 − [`LEVEL`] / 2.
    pub fn interval(&self) -> [f64; 2] {
        let at = |fraction: f64| {
            let place = fraction * (self.means.len() - 1) as f64;
            let (low, high) = (self.means[place.floor() as usize], self.means[place.ceil() as usize]);
            low + (high - low) * place.fract()
        };
        [at(LEVEL / 2.0), at(1.0 - LEVEL / 2.0)]
    }

    /// The two-sided p that the mean is 0: twice the smaller share of draws on the other side of it.
    pub fn p(&self) -> f64 {
        let below = self.means.iter().filter(|mean| **mean <= 0.0).count();
        let above = self.means.iter().filter(|mean| **mean >= 0.0).count();
        (2.0 * (below.min(above) + 1) as f64 / (self.means.len() + 1) as f64).min(1.0)
    }
}

/// The mean of each series over one resample of the units.
fn means(series: &[Vec<f64>], units: usize, draw: usize) -> Vec<f64> {
    let mut weights = vec![0.0; units];
    for at in 0..units {
        let random = mixed(BOOTSTRAP, (draw * units + at) as u64);
        // The high half of the product of a 32-bit number and the bound is a number below the bound.
        weights[(((random >> 32) * units as u64) >> 32) as usize] += 1.0;
    }
    series.iter().map(|values| dot(values, &weights) / units as f64).collect()
}

/// The sum of products, in lanes that compilers compute side by side.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    for (lane, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        sums[lane] += a * b;
    }
    sums.iter().sum()
}

/// A number that looks random, from a stream and a counter (Steele, Lea and Flood 2014, SplitMix64).
fn mixed(stream: u64, counter: u64) -> u64 {
    let mut z = stream.wrapping_add(counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Which sums count as far from 0 as the one that was seen, or farther.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Those as far on either side.
    Both,
    /// Those as high.
    Upper,
}

/// The p that differences are symmetric about 0: the share of flips of their signs whose sum lies in the tail.
/// 1 where there is no difference at all.
pub fn sign_flip(differences: &[f64], tail: Tail) -> f64 {
    let n = differences.len();
    let seen: f64 = differences.iter().sum();
    // Sums of the same numbers in another order may differ in their last bits.
    let slack = 1e-9 * differences.iter().map(|difference| difference.abs()).sum::<f64>();
    let is_far = |sum: f64| match tail {
        Tail::Both => sum.abs() >= seen.abs() - slack,
        Tail::Upper => sum >= seen - slack,
    };
    let sum_of = |sign: &dyn Fn(usize) -> bool| -> f64 {
        let flipped = differences.iter().enumerate();
        flipped.map(|(at, difference)| if sign(at) { -difference } else { *difference }).sum()
    };
    let all = 1_usize << n.min(EXACT_FLIPS);
    if n <= EXACT_FLIPS {
        let far = (0..all).filter(|flips| is_far(sum_of(&|at| flips >> at & 1 == 1))).count();
        return far as f64 / all as f64;
    }
    let words = n.div_ceil(64);
    let is_flipped = |flip: usize, at: usize| mixed(FLIPS, (flip * words + at / 64) as u64) >> (at % 64) & 1 == 1;
    let far = (0..all).into_par_iter().filter(|flip| is_far(sum_of(&|at| is_flipped(*flip, at)))).count();
    (far + 1) as f64 / (all + 1) as f64
}

/// The smallest number of differences whose signs can decide a two-sided test at a level: 6 at 0.05.
pub fn differences_needed(level: f64) -> usize {
    (1..64).find(|n| 2f64.powi(1 - n) <= level).map_or(64, |n| n as usize)
}

/// Holm's p of each of several tests (1979): those below a level may be believed together.
pub fn holm(ps: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..ps.len()).collect();
    order.sort_by(|a, b| ps[*a].total_cmp(&ps[*b]));
    let mut adjusted = vec![1.0; ps.len()];
    let mut largest = 0.0_f64;
    for (rank, place) in order.into_iter().enumerate() {
        largest = largest.max(ps[place] * (ps.len() - rank) as f64);
        adjusted[place] = largest.min(1.0);
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::StandardNormal;

    use super::*;

    #[test]
    fn a_bootstrap_is_the_same_on_any_number_of_threads() {
        let series: Vec<Vec<f64>> =
            (0..3).map(|s| (0..37).map(|u| f64::from((u * 7 + s) % 11) - 4.0).collect()).collect();
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Bootstrap::of(&series, 500))
        };
        assert_eq!(on(1), on(3));
        let alone = Bootstrap::of(&series[1..2], 500);
        assert_eq!(alone[0], on(1)[1], "a series is resampled alike beside others and alone");
    }

    #[test]
    fn the_interval_is_that_of_the_normal_law_where_that_holds() {
        // 0, 1, …, 399: mean 199.5, standard error 115.47 / 20 = 5.77.
        let series = vec![(0..400).map(f64::from).collect()];
        let [low, high] = Bootstrap::of(&series, DRAWS)[0].interval();
        assert!((low - (199.5 - 11.32)).abs() < 0.4 && (high - (199.5 + 11.32)).abs() < 0.4, "{low} {high}");
    }

    #[test]
    fn no_difference_has_no_width_and_decides_nothing() {
        let bootstrap = &Bootstrap::of(&[vec![0.0; 12]], 100)[0];
        assert_eq!((bootstrap.interval(), bootstrap.p()), ([0.0, 0.0], 1.0));
        let clear = &Bootstrap::of(&[vec![-1.0; 12]], 99)[0];
        assert_eq!((clear.interval(), clear.p()), ([-1.0, -1.0], 0.02));
    }

    /// Of many experiments, the share whose intervals hold the true difference, 0: by user, and by row.
    fn coverage(users: usize, rows: usize, experiments: u64) -> [f64; 2] {
        let mut held = [0.0; 2];
        for experiment in 0..experiments {
            let mut random = ChaCha8Rng::seed_from_u64(experiment);
            let (mut by_user, mut all) = (Vec::new(), Vec::new());
            for _ in 0..users {
                let user: f64 = random.sample::<f64, _>(StandardNormal) * 2.0;
                let own: Vec<f64> = (0..rows).map(|_| user + random.sample::<f64, _>(StandardNormal)).collect();
                by_user.push(own.iter().sum::<f64>() / rows as f64);
                all.extend(own);
            }
            for (which, values) in [by_user, all].into_iter().enumerate() {
                let [low, high] = Bootstrap::of(&[values], 250)[0].interval();
                held[which] += f64::from(u8::from(low <= 0.0 && 0.0 <= high)) / experiments as f64;
            }
        }
        held
    }

    #[test]
    fn an_interval_by_user_holds_the_truth_and_one_by_row_almost_never() {
        let [by_user, by_row] = coverage(60, 150, 150);
        assert!((0.88..=0.98).contains(&by_user), "by user {by_user}");
        assert!(by_row < 0.25, "by row {by_row}");
    }

    #[test]
    fn three_seeds_decide_nothing_and_six_can() {
        let p = |n: usize| sign_flip(&vec![-1.5; n], Tail::Both);
        assert_eq!([3, 5, 6].map(p), [0.25, 0.0625, 0.03125]);
        assert_eq!([LEVEL, LEVEL / 4.0, 0.25].map(differences_needed), [6, 8, 3]);
    }

    #[test]
    fn flips_are_counted_as_by_hand() {
        // Sums of 1, 2, 3 with all signs: ±6, ±4, ±2, 0, 0; seen: 1 + 3 - 2 = 2.
        assert_eq!(sign_flip(&[1.0, -2.0, 3.0], Tail::Both), 6.0 / 8.0);
        assert_eq!(sign_flip(&[1.0, -2.0, 3.0], Tail::Upper), 3.0 / 8.0);
        assert_eq!(sign_flip(&[0.0; 4], Tail::Both), 1.0);
    }

    #[test]
    fn many_differences_are_flipped_at_random_and_close_to_the_normal_law() {
        // 40 differences of +1 or -1, 26 of them up: the sum is 12, z = 12 / sqrt(40) = 1.90; P(|Z| >= 11 / 6.32) = 0.082.
        let differences: Vec<f64> = (0..40).map(|at| if at < 26 { 1.0 } else { -1.0 }).collect();
        let p = sign_flip(&differences, Tail::Both);
        assert!((p - 0.0807).abs() < 0.003, "{p}");
    }

    #[test]
    fn holm_is_that_of_the_textbook() {
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        let expected = [0.03, 0.06, 0.06, 0.02];
        assert!(adjusted.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{adjusted:?}");
        assert_eq!(holm(&[0.7, 0.9]), [1.0, 1.0]);
        assert_eq!(holm(&[]), Vec::<f64>::new());
    }
}
