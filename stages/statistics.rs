//! Correlations, running moments and quantiles. Unaware of what the numbers measure.

/// Running mean and spread of one series (Welford), exact enough for any number of values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    /// Values seen.
    pub n: u64,
    /// Their mean; 0 before the first.
    pub mean: f64,
    squares: f64,
}

impl Moments {
    /// Takes one more value.
    pub fn add(&mut self, value: f64) {
        self.n += 1;
        let delta = value - self.mean;
        self.mean += delta / self.n as f64;
        self.squares += delta * (value - self.mean);
    }

    /// Population standard deviation; NaN before the first value.
    pub fn sd(&self) -> f64 {
        (self.squares / self.n as f64).sqrt()
    }
}

impl FromIterator<f64> for Moments {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut moments = Self::default();
        values.into_iter().for_each(|value| moments.add(value));
        moments
    }
}

/// Running moments of pairs, for a Pearson correlation in bounded memory; two can be merged (Chan et al. 1979).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PairMoments {
    /// Pairs seen.
    pub n: u64,
    mean: [f64; 2],
    squares: [f64; 2],
    product: f64,
}

impl PairMoments {
    /// Takes one more pair.
    pub fn add(&mut self, x: f64, y: f64) {
        self.n += 1;
        let n = self.n as f64;
        let (dx, dy) = (x - self.mean[0], y - self.mean[1]);
        self.mean[0] += dx / n;
        self.mean[1] += dy / n;
        self.squares[0] += dx * (x - self.mean[0]);
        self.squares[1] += dy * (y - self.mean[1]);
        self.product += dx * (y - self.mean[1]);
    }

    /// The moments of pairs that are all there, in two passes: as exact as one by one, and many times faster,
    /// because the sums are kept in lanes that compilers compute side by side. Both series have one length.
    pub fn of(x: &[f64], y: &[f64]) -> Self {
        if x.is_empty() {
            return Self::default();
        }
        let n = x.len() as f64;
        let mean = [lanes::<1>(x, y, |x, _| [x])[0] / n, lanes::<1>(x, y, |_, y| [y])[0] / n];
        let [xx, yy, xy] = lanes(x, y, |x, y| {
            let (dx, dy) = (x - mean[0], y - mean[1]);
            [dx * dx, dy * dy, dx * dy]
        });
        Self { n: x.len() as u64, mean, squares: [xx, yy], product: xy }
    }

    /// Takes the pairs of another; the result depends on the order of merging only by rounding, so merge in a
    /// fixed order.
    pub fn merge(&mut self, other: &Self) {
        if other.n == 0 {
            return;
        }
        let (a, b) = (self.n as f64, other.n as f64);
        let n = a + b;
        let delta = [other.mean[0] - self.mean[0], other.mean[1] - self.mean[1]];
        for (i, delta) in delta.into_iter().enumerate() {
            self.mean[i] += delta * b / n;
            self.squares[i] += other.squares[i] + delta * delta * a * b / n;
        }
        self.product += other.product + delta[0] * delta[1] * a * b / n;
        self.n += other.n;
    }

    /// Pearson's r; none for fewer than three pairs or where one side does not vary.
    pub fn r(&self) -> Option<f64> {
        let varies = |i: usize| self.squares[i] > 1e-12 * self.mean[i].powi(2) * self.n as f64;
        let enough = self.n >= 3 && varies(0) && varies(1);
        enough.then(|| (self.product / (self.squares[0] * self.squares[1]).sqrt()).clamp(-1.0, 1.0))
    }
}

/// Sums of terms made of two series of one length, gathered in lanes and those added up in order.
#[inline]
fn lanes<const N: usize>(x: &[f64], y: &[f64], terms: impl Fn(f64, f64) -> [f64; N]) -> [f64; N] {
    const LANES: usize = 4;
    let mut sums = [[0.0; LANES]; N];
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (x, y) in x.iter().zip(y) {
        let mut new = [[0.0; LANES]; N];
        for lane in 0..LANES {
            let terms = terms(x[lane], y[lane]);
            for term in 0..N {
                new[term][lane] = terms[term];
            }
        }
        for term in 0..N {
            for lane in 0..LANES {
                sums[term][lane] += new[term][lane];
            }
        }
    }
    for (lane, (x, y)) in x_rest.iter().zip(y_rest).enumerate() {
        let terms = terms(*x, *y);
        (0..N).for_each(|term| sums[term][lane] += terms[term]);
    }
    sums.map(|lanes| lanes.iter().sum())
}

/// Pearson's correlation of pairs; none for fewer than three or where one side does not vary.
pub fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    PairMoments::of(x, y).r()
}

/// Spearman's correlation: Pearson's of the ranks, equal values sharing their average rank.
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    pearson(&ranks(x), &ranks(y))
}

/// Ranks from 1, equal values sharing their average rank.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let order = order(values);
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0.0;
    for ties in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let n = ties.len() as f64;
        ties.iter().for_each(|&place| ranks[place] = before + (n + 1.0) / 2.0);
        before += n;
    }
    ranks
}

/// The places of values in the order of [`f64::total_cmp`], equal ones as they come.
///
/// Whole numbers are sorted, many times faster than floats by comparison: the upper bits of each value with its
/// place below. Where those are equal the values decide.
fn order(values: &[f64]) -> Vec<usize> {
    const PLACE: u64 = 0xffff;
    let key = |place: usize| {
        let bits = values[place].to_bits();
        if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
    };
    if values.len() > PLACE as usize {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by_key(|place| key(*place));
        return order;
    }
    let mut short: Vec<u64> = (0..values.len()).map(|place| key(place) & !PLACE | place as u64).collect();
    short.sort_unstable();
    let place = |short: u64| (short & PLACE) as usize;
    for alike in short.chunk_by_mut(|a, b| a & !PLACE == b & !PLACE) {
        if !alike.is_sorted_by_key(|short| key(place(*short))) {
            alike.sort_by_key(|short| key(place(*short)));
        }
    }
    short.into_iter().map(place).collect()
}

/// The quantile of finite values for a fraction in 0..=1, linear between neighbours (Hyndman and Fan's type 7,
/// as NumPy's default); none of no values.
pub fn quantile(values: &[f64], fraction: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = fraction * sorted.len().checked_sub(1)? as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(low + (high - low) * place.fract())
}

/// The median of finite values; none of no values.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// A figure for a file that people read: six digits after the point.
pub fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: Option<f64>, b: f64) {
        assert!(a.is_some_and(|a| (a - b).abs() < 1e-12), "{a:?} is not {b}");
    }

    #[test]
    fn moments_at_once_are_those_of_pairs_one_by_one() {
        for n in [0, 1, 2, 7, 8, 9, 500] {
            let x: Vec<f64> = (0..n).map(|i| 1e3 + (f64::from(i) * 0.7).sin()).collect();
            let y: Vec<f64> = (0..n).map(|i| 150.0 + (f64::from(i) * 0.7 - 1.0).sin() * 30.0).collect();
            let mut slow = PairMoments::default();
            x.iter().zip(&y).for_each(|(x, y)| slow.add(*x, *y));
            let fast = PairMoments::of(&x, &y);
            assert_eq!((fast.n, fast.r().is_some()), (slow.n, slow.r().is_some()));
            if let Some(r) = slow.r() {
                close(fast.r(), r);
                close(Some(fast.mean[0] / slow.mean[0]), 1.0);
                close(Some(fast.squares[1] / slow.squares[1]), 1.0);
            }
        }
    }

    #[test]
    fn zeros_of_both_signs_share_a_rank() {
        assert_eq!(ranks(&[0.0, -1.5, -0.0, f64::INFINITY, -2.0]), [3.5, 2.0, 3.5, 5.0, 1.0]);
    }

    #[test]
    fn places_are_in_the_order_of_a_plain_sort() {
        for (n, spread) in [(500, 1e3), (500, 1e-13), (500, 0.0), (70_000, 1.0), (1, 1.0), (0, 1.0)] {
            let values: Vec<f64> = (0..n).map(|i| 3.0 - f64::from(i * 7919 % 613) * spread).collect();
            let mut plain: Vec<usize> = (0..values.len()).collect();
            plain.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
            assert_eq!(order(&values), plain, "{n}, {spread}");
        }
    }

    #[test]
    fn pearson_is_the_textbook_figure() {
        // dx = -1.5, -0.5, 0.5, 1.5; dy = -1.5, 0.5, -0.5, 1.5: 4 / 5.
        close(pearson(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 2.0, 4.0]), 0.8);
        assert_eq!(pearson(&[1.0, 2.0], &[1.0, 2.0]), None);
        assert_eq!(pearson(&[5.0, 5.0, 5.0], &[1.0, 2.0, 3.0]), None);
        assert_eq!(pearson(&[0.1, 0.1, 0.1, 0.1], &[1.0, 2.0, 3.0, 9.0]), None);
    }

    #[test]
    fn equal_values_share_their_rank() {
        assert_eq!(ranks(&[10.0, 30.0, 10.0, 20.0, 10.0]), [2.0, 5.0, 2.0, 4.0, 2.0]);
        close(spearman(&[1.0, 2.0, 3.0, 4.0], &[1.0, 8.0, 27.0, 64.0]), 1.0);
        close(spearman(&[1.0, 2.0, 2.0, 3.0], &[1.0, 2.0, 3.0, 4.0]), 0.9486832980505138);
    }

    #[test]
    fn moments_of_parts_merge_to_the_moments_of_the_whole() {
        let pairs: Vec<(f64, f64)> = (0..50).map(|i| (f64::from(i), f64::from(i * i % 17))).collect();
        let of = |pairs: &[(f64, f64)]| {
            let mut moments = PairMoments::default();
            pairs.iter().for_each(|(x, y)| moments.add(*x, *y));
            moments
        };
        let mut merged = of(&pairs[..13]);
        merged.merge(&PairMoments::default());
        merged.merge(&of(&pairs[13..]));
        let mut from_nothing = PairMoments::default();
        from_nothing.merge(&of(&pairs));
        close(merged.r(), of(&pairs).r().unwrap());
        close(from_nothing.r(), of(&pairs).r().unwrap());
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0], 0.25), Some(1.75));
        assert_eq!(quantile(&[1.0, 2.0], 1.0), Some(2.0));
        assert_eq!(median(&[]), None);
        let moments: Moments = [2.0, 4.0].into_iter().collect();
        assert_eq!((moments.mean, moments.sd()), (3.0, 1.0));
    }
}
