//! Adaptive searches over the trials of a sweep: which come next, from the figures of those that are done. Pure
//! functions of these figures, so that a search that is killed and run again comes to the same trials. Unaware of
//! graphs, of stores and of running.

pub mod decisions;
mod parzen;

use std::ops::Range;

use pacer_stages::ranking::Better;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The parameter that says how long a trial trains.
pub const EPOCHS: &str = "epochs";

/// A search that a stage's sweep asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// The swept stage.
    pub stage: String,
    /// The parameters whose values a decision gives, as they are written in the sweep.
    pub keys: Vec<String>,
    /// How it goes on.
    pub how: How,
    /// The figure of a trial that decides.
    pub metric: String,
    /// Which figure is better.
    pub better: Better,
    /// Where that figure is named in the pipeline file, or else the search; none where that is on the command line.
    pub place: Option<Range<usize>>,
    /// The sweep as it is written, and what its stage stands on: decisions belong to these.
    pub written: String,
    /// What it has decided, as far as the trials of the graph know it.
    pub points: Vec<Point>,
}

/// How a search goes on.
#[derive(Clone, Debug, PartialEq)]
pub enum How {
    /// Successive halving (Jamieson and Talwalkar 2016): all trials train for few epochs, and the best of each rung
    /// go on to the next. Rungs are decided when all their trials have ended, not as in its asynchronous form (ASHA),
    /// so that decisions do not depend on who ended first.
    Halving {
        /// Epochs of the first rung.
        min_epochs: u64,
        /// One of so many is promoted, to so many times the epochs.
        eta: u64,
        /// Epochs of the last rung.
        epochs: u64,
    },
    /// A tree-structured Parzen estimator (Bergstra et al. 2011) over the draws, in rounds.
    Parzen {
        /// What is drawn, in the order of the keys.
        space: Vec<Dimension>,
        /// Trials in all.
        trials: usize,
        /// Trials that are proposed at once.
        round: usize,
        /// Seed of the proposals.
        draw_seed: u64,
    },
}

/// What a parameter is drawn from.
#[derive(Clone, Debug, PartialEq)]
pub enum Dimension {
    /// Evenly between two numbers.
    Uniform(f64, f64),
    /// Evenly in the logarithm.
    LogUniform(f64, f64),
    /// A whole number between two, both included.
    IntUniform(i64, i64),
    /// One of some values.
    Choice(Vec<Value>),
}

/// A trial by its values, in the order of the search's keys.
pub type Point = Vec<Value>;

/// A trial that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Its values.
    pub point: Point,
    /// Its figure; none where it failed.
    pub figure: Option<f64>,
}

impl Search {
    /// The trials that come next when all so far have ended; none when the search is over.
    pub fn next(&self, seen: &[Observation]) -> Vec<Point> {
        match &self.how {
            How::Halving { min_epochs: _, eta, epochs } => self.promoted(seen, *eta, *epochs),
            How::Parzen { space, trials, round, draw_seed } => {
                let left = trials.saturating_sub(seen.len()).min(*round);
                let costs: Vec<_> = seen.iter().map(|it| (&it.point, self.cost(it))).collect();
                (0..left).map(|at| parzen::propose(space, &costs, *draw_seed, (seen.len() + at) as u64)).collect()
            }
        }
    }

    fn cost(&self, observation: &Observation) -> f64 {
        observation.figure.map_or(f64::INFINITY, |figure| self.better.cost(figure))
    }

    /// The best of the highest rung, with the epochs of the next.
    fn promoted(&self, seen: &[Observation], eta: u64, most: u64) -> Vec<Point> {
        let epochs = |it: &Observation| it.point.last().and_then(Value::as_u64).unwrap_or(0);
        let Some(rung) = seen.iter().map(epochs).max().filter(|rung| *rung < most) else { return Vec::new() };
        let mut on_rung: Vec<_> = seen.iter().filter(|it| epochs(it) == rung).collect();
        let count = (on_rung.len() / usize::try_from(eta).unwrap_or(usize::MAX)).max(1);
        on_rung.retain(|it| it.figure.is_some());
        // Stable: of equal figures the first that was written goes on.
        on_rung.sort_by(|a, b| self.cost(a).total_cmp(&self.cost(b)));
        let next = rung.saturating_mul(eta).min(most);
        let promote = |it: &Observation| {
            let mut point = it.point.clone();
            point.pop();
            point.push(Value::from(next));
            point
        };
        on_rung.into_iter().take(count).map(promote).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn halving() -> Search {
        Search {
            stage: "lstm".into(),
            keys: vec!["rate".into(), "epochs".into()],
            how: How::Halving { min_epochs: 2, eta: 3, epochs: 10 },
            metric: "mae".into(),
            better: Better::Lowest,
            place: None,
            written: String::new(),
            points: Vec::new(),
        }
    }

    #[test]
    fn of_each_rung_one_in_eta_goes_on_until_the_last() {
        let search = halving();
        let mut seen: Vec<_> = (0..9)
            .map(|at| Observation { point: vec![json!(at), json!(2)], figure: Some(f64::from(9 - at)) })
            .collect();
        seen[8].figure = None;
        assert_eq!(search.next(&seen), [[7, 6], [6, 6], [5, 6]].map(|point| point.map(Value::from).to_vec()));
        seen.extend([7, 6, 5].map(|at| Observation { point: vec![json!(at), json!(6)], figure: Some(f64::from(at)) }));
        assert_eq!(search.next(&seen), [vec![json!(5), json!(10)]]);
        seen.push(Observation { point: vec![json!(5), json!(10)], figure: Some(1.0) });
        assert_eq!(search.next(&seen), Vec::<Point>::new());
    }

    #[test]
    fn proposals_gather_where_figures_are_good_and_are_the_same_each_time() {
        let space = vec![Dimension::LogUniform(1e-4, 1.0), Dimension::Choice(vec![json!("a"), json!("b")])];
        let how = How::Parzen { space, trials: 40, round: 4, draw_seed: 3 };
        let search = Search { how, keys: vec!["rate".into(), "cell".into()], ..halving() };
        let cost = |point: &Point| {
            let rate: f64 = point[0].as_f64().unwrap();
            (rate.log10() + 2.0).abs() + if point[1] == "b" { 0.0 } else { 1.0 }
        };
        let mut seen: Vec<Observation> = Vec::new();
        loop {
            let next = search.next(&seen);
            assert_eq!(next, search.next(&seen));
            if next.is_empty() {
                break;
            }
            seen.extend(next.into_iter().map(|point| Observation { figure: Some(cost(&point)), point }));
        }
        assert_eq!(seen.len(), 40);
        let late = &seen[20..];
        let mean = |of: &[Observation]| of.iter().filter_map(|it| it.figure).sum::<f64>() / of.len() as f64;
        assert!(mean(late) < 0.6 * mean(&seen[..8]), "{} and {}", mean(late), mean(&seen[..8]));
    }
}
