//! How far the workouts of one year are from those of the first: differences of means and population stability
//! indices, with intervals. Unaware of files.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use rayon::prelude::{IntoParallelIterator as _, ParallelIterator as _};

use crate::kinds::density::summary::Summary;
use crate::statistics::{Moments, quantile};

/// What shifts: its name with its unit, and where it is found.
type Measure = (&'static str, fn(&Summary) -> Option<f64>);

const MEASURES: [Measure; 3] = [
    ("pace (s/km)", |summary| summary.pace),
    ("heart rate (BPM)", |summary| Some(summary.heart_rate)),
    ("drift (BPM/h)", |summary| summary.drift),
];

/// Fewer workouts in a year have no interval and no index.
const FEWEST_WORKOUTS: usize = 5;

/// Fewer users are no sample of users.
const FEWEST_USERS: usize = 10;

/// The most bins of a distribution: deciles.
const MOST_BINS: usize = 10;

/// Workouts of the reference year in a bin, at least on average; with fewer than 50 there are fewer bins.
const WORKOUTS_A_BIN: usize = 5;

/// The generator of the resampling is fixed: what is drawn is part of the method, not a choice.
const BOOTSTRAP_SEED: u64 = 0x00d1_5717;

/// 95 % quantiles of the chi-squared distribution with 1 to 9 degrees of freedom.
const CHI_SQUARED_95: [f64; 9] = [3.841, 5.991, 7.815, 9.488, 11.070, 12.592, 14.067, 15.507, 16.919];

/// A year's workouts beside those of the first year.
#[derive(Clone, Debug, PartialEq)]
pub struct Shift {
    /// What is measured.
    pub measure: &'static str,
    /// The year.
    pub year: i16,
    /// The year that it is compared with.
    pub reference: i16,
    /// Workouts of the year that have the figure.
    pub workouts: usize,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation.
    pub sd: f64,
    /// Mean minus the reference's mean; none for the reference itself.
    pub difference: Option<f64>,
    /// 95 % interval of the difference.
    pub difference_interval: Option<[f64; 2]>,
    /// What was resampled for the intervals, or why there are none.
    pub unit: &'static str,
    /// Population stability index.
    pub psi: Option<Psi>,
}

/// A population stability index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Psi {
    /// The index.
    pub value: f64,
    /// Its 95 % interval; resampling adds its own noise, so that it lies rather high.
    pub interval: Option<[f64; 2]>,
    /// Bins of equal share in the reference year.
    pub bins: usize,
    /// What 95 of 100 indices of two equal populations of this many workouts stay below.
    pub by_chance: f64,
}

impl Psi {
    /// The usual reading; where equal populations give as much, that is said.
    pub fn reading(&self) -> String {
        let usual = match self.value {
            value if value < 0.1 => "stable",
            value if value <= 0.25 => "moderate",
            _ => "large",
        };
        let chance = if self.value >= 0.1 && self.value <= self.by_chance { ", within chance" } else { "" };
        format!("{usual}{chance}")
    }
}

/// A figure of a workout, with whose it is.
#[derive(Clone, Copy)]
struct Value {
    user: Option<i64>,
    value: f64,
}

/// Every measure in every year that has it, in that order.
pub fn shifts(summaries: &[Summary], draws: usize) -> Vec<Shift> {
    let mut tasks = Vec::new();
    for (measure, of) in MEASURES {
        let mut years: BTreeMap<i16, Vec<Value>> = BTreeMap::new();
        for summary in summaries {
            if let Some(value) = of(summary) {
                years.entry(summary.month.year).or_default().push(Value { user: summary.user, value });
            }
        }
        let Some((reference, first)) = years.first_key_value().map(|(year, values)| (*year, values.clone())) else {
            continue;
        };
        tasks.extend(years.into_iter().map(|(year, values)| (measure, reference, first.clone(), year, values)));
    }
    let shift = |(place, (measure, reference, first, year, values)): (usize, (_, _, Vec<Value>, _, Vec<Value>))| {
        let moments: Moments = values.iter().map(|value| value.value).collect();
        let before: Moments = first.iter().map(|value| value.value).collect();
        let compared = (year != reference).then(|| Comparison::new(&first, &values, draws, place as u64));
        Shift {
            measure,
            year,
            reference,
            workouts: values.len(),
            mean: moments.mean,
            sd: moments.sd(),
            difference: compared.as_ref().map(|_| moments.mean - before.mean),
            difference_interval: compared.as_ref().and_then(|compared| compared.difference),
            unit: compared.as_ref().map_or("none: the reference", |compared| compared.unit),
            psi: compared.and_then(|compared| compared.psi),
        }
    };
    tasks.into_iter().enumerate().collect::<Vec<_>>().into_par_iter().map(shift).collect()
}

/// What resampling tells of two years.
struct Comparison {
    unit: &'static str,
    difference: Option<[f64; 2]>,
    psi: Option<Psi>,
}

impl Comparison {
    fn new(first: &[Value], values: &[Value], draws: usize, stream: u64) -> Self {
        if first.len().min(values.len()) < FEWEST_WORKOUTS {
            return Self { unit: "none: fewer than 5 workouts in a year", difference: None, psi: None };
        }
        let edges = edges(&first.iter().map(|value| value.value).collect::<Vec<f64>>());
        let users: BTreeSet<Option<i64>> = first.iter().chain(values).map(|value| value.user).collect();
        let (unit, strata) = match users.len() {
            1 => ("workouts", by_workout([first, values], &edges)),
            n if n >= FEWEST_USERS => ("users", by_user([first, values], &edges)),
            _ => ("none: fewer than 10 users", Vec::new()),
        };
        let (difference, psi_interval) = bootstrap(&strata, edges.len() + 1, draws, stream);
        let whole = whole([first, values], &edges);
        let bins = edges.len() + 1;
        let noise = 1.0 / first.len() as f64 + 1.0 / values.len() as f64;
        let by_chance = CHI_SQUARED_95[bins - 2] * noise;
        let psi = Psi { value: whole.psi(bins), interval: psi_interval, bins, by_chance };
        Self { unit, difference, psi: Some(psi) }
    }
}

/// The inner edges of bins of equal share; at least one, each once.
fn edges(reference: &[f64]) -> Vec<f64> {
    let bins = (reference.len() / WORKOUTS_A_BIN).clamp(2, MOST_BINS);
    let mut edges: Vec<f64> = (1..bins).filter_map(|edge| quantile(reference, edge as f64 / bins as f64)).collect();
    edges.dedup();
    edges
}

/// Sums of one unit of resampling, in the reference year and in the year compared.
#[derive(Clone, Copy, Default)]
struct Cell([Side; 2]);

#[derive(Clone, Copy, Default)]
struct Side {
    n: u64,
    sum: f64,
    bins: [u64; MOST_BINS],
}

impl Cell {
    fn add_value(&mut self, side: usize, value: f64, edges: &[f64]) {
        let side = &mut self.0[side];
        side.n += 1;
        side.sum += value;
        side.bins[edges.partition_point(|edge| *edge < value)] += 1;
    }

    fn add(&mut self, other: &Self) {
        for (side, other) in self.0.iter_mut().zip(&other.0) {
            side.n += other.n;
            side.sum += other.sum;
            side.bins.iter_mut().zip(other.bins).for_each(|(bin, other)| *bin += other);
        }
    }

    fn difference(&self) -> f64 {
        let [first, year] = self.0.map(|side| side.sum / side.n as f64);
        year - first
    }

    /// Sum over bins of (q − p) ln(q / p). Half a workout is added to each bin, as an empty one has no logarithm.
    fn psi(&self, bins: usize) -> f64 {
        let share = |side: &Side, bin: usize| (side.bins[bin] as f64 + 0.5) / (side.n as f64 + 0.5 * bins as f64);
        let term = |bin| {
            let (p, q) = (share(&self.0[0], bin), share(&self.0[1], bin));
            (q - p) * (q / p).ln()
        };
        (0..bins).map(term).sum()
    }
}

/// All workouts of two years together.
fn whole(years: [&[Value]; 2], edges: &[f64]) -> Cell {
    let mut cell = Cell::default();
    for (side, values) in years.into_iter().enumerate() {
        values.iter().for_each(|value| cell.add_value(side, value.value, edges));
    }
    cell
}

/// Each workout a unit, each year resampled for itself.
fn by_workout(years: [&[Value]; 2], edges: &[f64]) -> Vec<Vec<Cell>> {
    let unit = |side: usize, value: &Value| {
        let mut cell = Cell::default();
        cell.add_value(side, value.value, edges);
        cell
    };
    years.into_iter().enumerate().map(|(side, values)| values.iter().map(|value| unit(side, value)).collect()).collect()
}

/// Each user a unit, with the workouts of both years.
fn by_user(years: [&[Value]; 2], edges: &[f64]) -> Vec<Vec<Cell>> {
    let mut users: BTreeMap<Option<i64>, Cell> = BTreeMap::new();
    for (side, values) in years.into_iter().enumerate() {
        values.iter().for_each(|value| users.entry(value.user).or_default().add_value(side, value.value, edges));
    }
    vec![users.into_values().collect()]
}

/// 95 % percentile intervals of the difference of means and of the index, from draws with replacement.
fn bootstrap(strata: &[Vec<Cell>], bins: usize, draws: usize, stream: u64) -> (Option<[f64; 2]>, Option<[f64; 2]>) {
    let mut random = ChaCha8Rng::seed_from_u64(BOOTSTRAP_SEED);
    random.set_stream(stream);
    let (mut differences, mut indices) = (Vec::new(), Vec::new());
    for _ in 0..if strata.is_empty() { 0 } else { draws } {
        let mut drawn = Cell::default();
        for stratum in strata {
            (0..stratum.len()).for_each(|_| drawn.add(&stratum[random.random_range(0..stratum.len())]));
        }
        // Users drawn may have no workout in one of the years; then nothing can be compared.
        if drawn.0.iter().all(|side| side.n > 0) {
            differences.push(drawn.difference());
            indices.push(drawn.psi(bins));
        }
    }
    let interval = |values: &[f64]| Some([quantile(values, 0.025)?, quantile(values, 0.975)?]);
    (interval(&differences), interval(&indices))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::Tier;
    use crate::quality::date::Month;

    fn summary(year: i16, user: i64, heart_rate: f64) -> Summary {
        Summary {
            month: Month { year, month: 5 },
            user: Some(user),
            synthetic: true,
            minutes: 60.0,
            samples: 60,
            tier: Tier::Medium,
            heart_rate,
            pace: None,
            drift: None,
            r: [None; 4],
        }
    }

    fn values(values: &[f64]) -> Vec<Value> {
        values.iter().map(|value| Value { user: Some(1), value: *value }).collect()
    }

    #[test]
    fn the_index_is_the_sum_by_hand() {
        // Ten workouts in two bins, five in each; later eight and two. With half a workout more in each bin:
        // p = 0.5, q = 8.5 / 11 and 2.5 / 11: 0.272727 (ln 1.545455 + ln 2.2).
        let first = values(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]);
        let later = values(&[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 9.0, 9.0]);
        let psi = Comparison::new(&first, &later, 100, 0).psi.unwrap();
        assert_eq!(psi.bins, 2);
        assert!((psi.value - 3.0 / 11.0 * (17.0f64 / 11.0 * 2.2).ln()).abs() < 1e-12, "{psi:?}");
        assert!((psi.by_chance - 3.841 * 0.2).abs() < 1e-12);
        assert_eq!(psi.reading(), "large, within chance");
        let same = Comparison::new(&first, &first, 100, 0).psi.unwrap();
        assert_eq!((same.value, same.reading().as_str()), (0.0, "stable"));
        let reading = |value| Psi { value, interval: None, bins: 10, by_chance: 0.05 }.reading();
        assert_eq!([0.09, 0.1, 0.25, 0.26].map(reading), ["stable", "moderate", "moderate", "large"]);
    }

    #[test]
    fn deciles_are_used_where_they_hold_five_workouts() {
        let count = |n: u32| edges(&(0..n).map(f64::from).collect::<Vec<f64>>()).len() + 1;
        assert_eq!([5, 10, 24, 50, 1000].map(count), [2, 2, 4, 10, 10]);
        assert_eq!(edges(&[7.0; 50]), [7.0]);
    }

    #[test]
    fn one_runners_interval_is_over_workouts_and_that_of_many_over_users() {
        let one = |year, rate| (0..20).map(move |i| summary(year, 1, rate + f64::from(i % 4)));
        let runs: Vec<Summary> = one(2020, 140.0).chain(one(2021, 150.0)).collect();
        let shifts = shifts(&runs, 400);
        assert_eq!(shifts.len(), 2, "there is no pace and no drift");
        assert_eq!((shifts[0].unit, shifts[0].difference, shifts[0].psi), ("none: the reference", None, None));
        let later = &shifts[1];
        let [low, high] = later.difference_interval.unwrap();
        assert_eq!((later.unit, later.difference, later.reference), ("workouts", Some(10.0), 2020));
        // The standard error is the root of 2 · 1.25 / 20: 0.354; 1.96 of it on each side.
        assert!((low - 9.31).abs() < 0.15 && (high - 10.69).abs() < 0.15, "{low} {high}");
        assert_eq!(later.psi.unwrap().reading(), "large");
        let many = |year, rate| (0..40).map(move |i| summary(year, i % 10, rate + (i % 10) as f64));
        let runs: Vec<Summary> = many(2020, 140.0).chain(many(2021, 150.0)).collect();
        let later = super::shifts(&runs, 400)[1].clone();
        let [low, high] = later.difference_interval.unwrap();
        assert_eq!(later.unit, "users");
        assert!((low - 10.0).abs() < 1e-9 && (high - 10.0).abs() < 1e-9, "every user's change is 10: {low} {high}");
    }

    #[test]
    fn too_few_workouts_or_users_have_no_interval_and_that_is_said() {
        let few: Vec<Summary> =
            (0..9).map(|i| summary(if i < 5 { 2020 } else { 2021 }, 1, 140.0 + f64::from(i))).collect();
        let later = shifts(&few, 100)[1].clone();
        assert_eq!(later.unit, "none: fewer than 5 workouts in a year");
        assert_eq!((later.difference, later.difference_interval, later.psi), (Some(4.5), None, None));
        let three: Vec<Summary> = (0..30).map(|i| summary(2020 + (i % 2) as i16, i / 10, 140.0 + i as f64)).collect();
        let later = shifts(&three, 100)[1].clone();
        assert_eq!(later.unit, "none: fewer than 10 users");
        assert!(later.psi.unwrap().interval.is_none() && later.difference_interval.is_none());
        assert_eq!(shifts(&[], 100), []);
    }
}
