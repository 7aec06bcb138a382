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

/// Pearson's correlation of pairs; none for fewer than three or where one side does not vary.
pub fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    let mut moments = PairMoments::default();
    x.iter().zip(y).for_each(|(x, y)| moments.add(*x, *y));
    moments.r()
}

/// Spearman's correlation: Pearson's of the ranks, equal values sharing their average rank.
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    pearson(&ranks(x), &ranks(y))
}

/// Ranks from 1, equal values sharing their average rank.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0.0;
    for ties in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let n = ties.len() as f64;
        ties.iter().for_each(|&place| ranks[place] = before + (n + 1.0) / 2.0);
        before += n;
    }
    ranks
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
