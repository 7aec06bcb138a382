//! Proposals by a tree-structured Parzen estimator, as the crate `tpe` computes it, from numbers that depend on the
//! seed, the trial and the parameter alone. Unaware of searches and of what is proposed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use serde_json::Value;
use tpe::{TpeOptimizerBuilder, categorical_range, histogram_estimator, parzen_estimator, range};

use crate::search::{Dimension, Point};

/// The share of trials that count as good.
const GOOD: f64 = 0.2;

/// Digits that a proposed number keeps.
const DIGITS: usize = 4;

/// A trial near those with low costs; an infinite cost stands for one that failed.
pub fn propose(space: &[Dimension], seen: &[(&Point, f64)], draw_seed: u64, trial: u64) -> Point {
    let value = |(at, dimension): (usize, &Dimension)| {
        let told = seen.iter().filter_map(|(point, cost)| Some((dimension.place(point.get(at)?)?, *cost)));
        let (width, categories) = match dimension {
            Dimension::Choice(items) => (items.len() as f64, Some(items.len())),
            _ => (1.0, None),
        };
        let mut numbers = numbers(draw_seed, trial, at);
        let estimator = if categories.is_some() { histogram_estimator() } else { parzen_estimator() };
        let bounds = categories.map_or_else(|| range(0.0, width), categorical_range);
        let bounds = bounds.expect("a dimension has room");
        let optimizer = TpeOptimizerBuilder::new().gamma(GOOD).build(estimator, bounds);
        let mut optimizer = optimizer.expect("the settings are right");
        for (place, cost) in told {
            optimizer.tell(place.clamp(0.0, width - 1e-9), cost).expect("a cost is a number, and a place is in range");
        }
        let place = optimizer.ask(&mut numbers).expect("the estimators take every finite place");
        dimension.at(place)
    };
    space.iter().enumerate().map(value).collect()
}

impl Dimension {
    /// Where a value lies, from 0 to below 1; of a choice, its number.
    fn place(&self, value: &Value) -> Option<f64> {
        match self {
            Self::Uniform(from, to) => Some((value.as_f64()? - from) / (to - from)),
            Self::LogUniform(from, to) => Some((value.as_f64()?.ln() - from.ln()) / (to.ln() - from.ln())),
            Self::IntUniform(from, to) => {
                Some((value.as_f64()? - *from as f64 + 0.5) / (to.abs_diff(*from) as f64 + 1.0))
            }
            Self::Choice(items) => items.iter().position(|item| item == value).map(|at| at as f64 + 0.5),
        }
    }

    /// The value at a place.
    fn at(&self, place: f64) -> Value {
        let short = |number: f64| format!("{number:.*e}", DIGITS - 1).parse().unwrap_or(number);
        match self {
            Self::Uniform(from, to) => Value::from(f64::clamp(short(from + place * (to - from)), *from, *to)),
            Self::LogUniform(from, to) => {
                let log = from.ln() + place * (to.ln() - from.ln());
                Value::from(f64::clamp(short(log.exp()), *from, *to))
            }
            Self::IntUniform(from, to) => {
                let count = to.abs_diff(*from) as f64 + 1.0;
                Value::from(from.saturating_add((place * count) as i64).min(*to))
            }
            Self::Choice(items) => items[(place.max(0.0) as usize).min(items.len() - 1)].clone(),
        }
    }
}

/// Numbers that look random, from nothing but these three.
fn numbers(draw_seed: u64, trial: u64, dimension: usize) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"parzen").update(&draw_seed.to_le_bytes()).update(&trial.to_le_bytes());
    hasher.update(&(dimension as u64).to_le_bytes());
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}
