//! From values to places on a chart: ranges, scales, ticks at round numbers, and lines thinned without losing a
//! spike. Unaware of what is drawn.

use crate::statistics;

/// A place or a value: across, then up or down.
pub type Point = [f64; 2];

/// A straight map from values to places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    from: [f64; 2],
    to: [f64; 2],
}

impl Scale {
    /// Maps `from[0]` to `to[0]` and `from[1]` to `to[1]`; a range without width is widened by one.
    pub fn new(from: [f64; 2], to: [f64; 2]) -> Self {
        let width = from[1] - from[0];
        let from = if width > 0.0 { from } else { [from[0] - 0.5, from[0] + 0.5] };
        Self { from, to }
    }

    /// The place of a value; values beyond the range lie on its edge.
    pub fn at(&self, value: f64) -> f64 {
        let share = ((value - self.from[0]) / (self.from[1] - self.from[0])).clamp(0.0, 1.0);
        self.to[0] + share * (self.to[1] - self.to[0])
    }

    /// The values that are shown.
    pub const fn range(&self) -> [f64; 2] {
        self.from
    }
}

/// The range to show: all values where they lie together, else the bulk of them, so that one wild value does not
/// flatten the rest. What lies beyond is drawn on the edge and said in words.
///
/// The bulk is from the 0.5 % to the 99.5 % quantile, and as much again on either side.
pub fn bulk(values: &[f64]) -> Option<[f64; 2]> {
    let (low, high) = (statistics::quantile(values, 0.005)?, statistics::quantile(values, 0.995)?);
    let reach = (high - low).max(1e-9 + 0.05 * high.abs());
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Some([least.max(low - reach), most.min(high + reach)])
}

/// The ticks of an axis that holds a range, about so many, at 1, 2, 2.5 or 5 times a power of ten; the axis runs from
/// the first to the last.
pub fn axis([low, high]: [f64; 2], about: usize) -> Vec<f64> {
    let step = step((high - low).max(0.02 * high.abs()) / about.max(1) as f64);
    let first = (low / step + 1e-9).floor();
    let last = (high / step - 1e-9).ceil().max(first + 1.0);
    (0..=(last - first) as i64).map(|place| (first + place as f64) * step).collect()
}

/// Ticks of minutes: at steps that divide hours.
pub fn minute_ticks(end: f64, about: usize) -> Vec<f64> {
    const STEPS: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0];
    let least = end / about.max(1) as f64;
    let step = STEPS.into_iter().find(|step| *step >= least).unwrap_or_else(|| step(least));
    (0..=(end / step + 1e-9) as i64).map(|place| place as f64 * step).collect()
}

/// Decimals that a tick of this spacing needs.
pub fn decimals(ticks: &[f64]) -> usize {
    let is_whole = |scale: f64| ticks.iter().all(|tick| (tick * scale - (tick * scale).round()).abs() < 1e-6);
    [1.0, 10.0, 100.0].into_iter().position(is_whole).unwrap_or(3)
}

fn step(least: f64) -> f64 {
    let least = if least.is_finite() && least > 0.0 { least } else { 1.0 };
    let power = 10_f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0].into_iter().find(|factor| factor * power >= least * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

/// A line thinned to about `most` points: of each stretch its lowest and its highest, in their order, and both ends.
///
/// `points` run from left to right.
pub fn thinned(points: &[Point], most: usize) -> Vec<Point> {
    let most = most.max(4);
    if points.len() <= most {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil((most - 2) / 2);
    let mut thin = vec![points[0]];
    for chunk in points.chunks(stretch) {
        let place = |better: fn(f64, f64) -> bool| {
            let mut best = 0;
            (1..chunk.len()).for_each(|i| best = if better(chunk[i][1], chunk[best][1]) { i } else { best });
            best
        };
        let (low, high) = (place(|a, b| a < b), place(|a, b| a > b));
        thin.push(chunk[low.min(high)]);
        if low != high {
            thin.push(chunk[low.max(high)]);
        }
    }
    thin.push(points[points.len() - 1]);
    thin.dedup();
    thin
}

/// Lines thinned to about `most` points together, each in proportion to its own.
pub fn thinned_all(lines: &[Vec<Point>], most: usize) -> Vec<Vec<Point>> {
    let all: usize = lines.iter().map(Vec::len).sum();
    lines.iter().map(|line| thinned(line, most * line.len() / all.max(1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_maps_ends_to_ends_and_holds_what_lies_beyond_at_the_edge() {
        let scale = Scale::new([100.0, 200.0], [300.0, 50.0]);
        assert_eq!([scale.at(100.0), scale.at(150.0), scale.at(200.0)], [300.0, 175.0, 50.0]);
        assert_eq!([scale.at(-5.0), scale.at(1e9)], [300.0, 50.0]);
        assert_eq!(Scale::new([7.0, 7.0], [0.0, 10.0]).at(7.0), 5.0);
    }

    #[test]
    fn ticks_stand_at_round_numbers_around_the_range() {
        assert_eq!(axis([92.0, 176.0], 5), [80.0, 100.0, 120.0, 140.0, 160.0, 180.0]);
        assert_eq!(axis([-8.0, 11.0], 2), [-10.0, 0.0, 10.0, 20.0]);
        assert_eq!(axis([0.0, 1.0], 4), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(axis([100.0, 100.0], 2), [100.0, 101.0]);
        assert_eq!(axis([0.0, 0.0], 2), [0.0, 1.0]);
        assert_eq!(minute_ticks(47.5, 10), [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 45.0]);
        assert_eq!(minute_ticks(61.0, 5), [0.0, 15.0, 30.0, 45.0, 60.0]);
        assert_eq!(minute_ticks(0.0, 5), [0.0]);
        assert_eq!([decimals(&[0.0, 20.0]), decimals(&[2.5, 5.0]), decimals(&[0.25])], [0, 1, 2]);
    }

    #[test]
    fn one_wild_value_does_not_flatten_the_rest_and_a_spread_is_shown_whole() {
        let mut values: Vec<f64> = (0..1000).map(|i| 2.5 + f64::from(i % 10) / 10.0).collect();
        assert_eq!(bulk(&values), Some([2.5, 3.4]));
        values[500] = 64.0;
        let [low, high] = bulk(&values).unwrap();
        assert!(low == 2.5 && (4.0..5.0).contains(&high), "{low} {high}");
        assert_eq!(bulk(&[]), None);
    }

    #[test]
    fn thinning_keeps_every_spike_the_ends_and_the_order() {
        let mut points: Vec<Point> = (0..20_000).map(|i| [f64::from(i), f64::from(i % 7)]).collect();
        for (place, value) in [(3, 90.0), (777, -40.0), (10_001, 120.0), (19_998, -80.0)] {
            points[place][1] = value;
        }
        let thin = thinned(&points, 1200);
        assert!((600..=1200).contains(&thin.len()), "{}", thin.len());
        for spike in [90.0, -40.0, 120.0, -80.0] {
            assert!(thin.iter().any(|point| point[1] == spike), "{spike}");
        }
        assert!(thin.is_sorted_by(|a, b| a[0] < b[0]));
        assert_eq!((thin[0], thin[thin.len() - 1]), (points[0], points[19_999]));
        assert_eq!(thinned(&points[..1200], 1200), points[..1200]);
        let lines = thinned_all(&[points[..15_000].to_vec(), points[15_000..].to_vec()], 1200);
        assert!(lines.iter().map(Vec::len).sum::<usize>() <= 1200);
    }
}
