//! A median in bounded memory. Unaware of what is measured.

use std::collections::BTreeMap;

/// Places within a factor of e: a bin is 1 % wide.
const BINS: f64 = 100.0;

/// The median of numbers from 0 on, kept as a histogram with bins of 1 % each: between the smallest and the largest
/// density that occur there are some 1,500. A bin keeps the mean of its values, so that few different values give
/// their exact median.
#[derive(Clone, Debug, Default)]
pub struct Median {
    bins: BTreeMap<i32, Bin>,
    n: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    n: u64,
    sum: f64,
}

impl Median {
    /// Takes one more number.
    pub fn add(&mut self, value: f64) {
        // Zero and what is nearly zero share the lowest bin.
        let bin = self.bins.entry((value.max(1e-9).ln() * BINS).round() as i32).or_default();
        bin.n += 1;
        bin.sum += value;
        self.n += 1;
    }

    /// The median, within 1 %; none of no numbers.
    pub fn get(&self) -> Option<f64> {
        let last = self.n.checked_sub(1)?;
        Some(0.5 * (self.at(last / 2)? + self.at(self.n / 2)?))
    }

    /// The value at a place in order, from 0.
    fn at(&self, place: u64) -> Option<f64> {
        let mut before = 0;
        let holds = |bin: &&Bin| {
            before += bin.n;
            before > place
        };
        self.bins.values().find(holds).map(|bin| bin.sum / bin.n as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::Median;

    fn median(values: &[f64]) -> Option<f64> {
        let mut median = Median::default();
        values.iter().for_each(|value| median.add(*value));
        median.get()
    }

    #[test]
    fn few_values_have_their_exact_median_and_many_one_within_a_hundredth() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[12.0, 0.0, 0.7]), Some(0.7));
        assert_eq!(median(&[12.0, 0.5, 1.0, 60.0]), Some(6.5));
        let many: Vec<f64> = (0..=10_000).map(|i| f64::from(i) / 100.0).collect();
        assert!((median(&many).unwrap() / 50.0 - 1.0).abs() < 0.01);
    }
}
