//! Which stages a run does best to start first: those with the longest way to go, in time where it is known how long
//! stages took, as the upward rank of HEFT (Topcuoglu et al. 2002). Unaware of slots and of what has run.

use std::cell::LazyCell;
use std::collections::HashMap;

use crate::graph::{Graph, Stage, Trial};

/// Ways that differ by less than this factor are alike, so that measured times that jitter change no order.
const ALIKE: f64 = 1.25;

/// How urgent a stage is; the most urgent one is the greatest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Urgency {
    /// How long the longest way that begins with it takes, in steps of [`ALIKE`].
    time: u32,
    /// How many stages are on the longest way that begins with it.
    stages: usize,
}

/// How urgent each stage is, where it is known of some of them how many seconds they took.
pub fn of_all(graph: &Graph, seconds: &[Option<f64>]) -> Vec<Urgency> {
    let expected = expected(graph, seconds);
    let mut ways = vec![(0.0_f64, 0_usize); expected.len()];
    for &id in graph.order.iter().rev() {
        let below = graph.consumers(id).map(|consumer| ways[consumer.index()]);
        let (time, stages) = below.fold((0.0, 0), |longest, way| (way.0.max(longest.0), way.1.max(longest.1)));
        ways[id.index()] = (time + expected[id.index()], stages + 1);
    }
    // Below a millisecond there is nothing to be won.
    let steps = |seconds: f64| ((1.0 + 1e3 * seconds).ln() / ALIKE.ln()).floor() as u32;
    ways.into_iter().map(|(time, stages)| Urgency { time: steps(time), stages }).collect()
}

/// Seconds that each stage is expected to take: as long as it did; else, in the median, as those trials that differ in
/// their seed alone, as all trials of its sweep, as any stage.
fn expected(graph: &Graph, seconds: &[Option<f64>]) -> Vec<f64> {
    // Mostly all have run before, or none has, and nobody asks for the medians.
    let medians = LazyCell::new(|| medians(graph, seconds));
    let nothing = seconds.iter().all(Option::is_none);
    let like_others = |stage: &Stage| match nothing {
        true => None,
        false => relatives(stage).iter().find_map(|name| medians.get(name).copied()),
    };
    let of = |(stage, took): (&Stage, &Option<f64>)| took.or_else(|| like_others(stage)).unwrap_or(0.0);
    graph.stages.node_weights().zip(seconds).map(of).collect()
}

/// The names of the families that a stage belongs to, the closest first.
fn relatives(stage: &Stage) -> [String; 3] {
    [but_for_the_seed(stage), stage.written_name().to_owned(), String::new()]
}

/// How long the members of each family took in the median.
fn medians(graph: &Graph, seconds: &[Option<f64>]) -> HashMap<String, f64> {
    let mut known: HashMap<String, Vec<f64>> = HashMap::new();
    for (stage, took) in graph.stages.node_weights().zip(seconds) {
        let Some(took) = took else { continue };
        relatives(stage).into_iter().for_each(|name| known.entry(name).or_default().push(*took));
    }
    known.into_iter().filter_map(|(name, took)| Some((name, median(took)?))).collect()
}

/// What the trials of a stage have in common that differ in their seed alone.
fn but_for_the_seed(stage: &Stage) -> String {
    let coordinates = stage.trial.iter().flat_map(|trial| &trial.coordinates);
    let chosen = coordinates.filter(|(parameter, _)| !Trial::is_seed(parameter));
    chosen
        .fold(format!("{}\n", stage.written_name()), |name, (parameter, value)| format!("{name}{parameter}={value}\n"))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::sample::graph;
    use crate::graph::StageId;

    /// The places of stages, the most urgent first and else in the order of the file.
    fn order(graph: &Graph, seconds: &[Option<f64>]) -> Vec<usize> {
        let urgency = of_all(graph, seconds);
        let mut places: Vec<_> = (0..urgency.len()).collect();
        places.sort_by_key(|at| std::cmp::Reverse(urgency[*at]));
        places
    }

    #[test]
    fn where_nothing_is_known_the_most_stages_come_first_and_then_the_file() {
        assert_eq!(order(&graph(5, &[(3, 4)], &[]), &[None; 5]), [3, 0, 1, 2, 4]);
    }

    #[test]
    fn the_longest_time_to_go_comes_before_the_most_stages() {
        let seconds = [5.0, 1.0, 1.0, 1.0].map(Some);
        assert_eq!(order(&graph(4, &[(1, 2), (2, 3)], &[]), &seconds), [0, 1, 2, 3]);
        let seconds = [2.0, 1.0, 1.0, 4.0].map(Some);
        assert_eq!(order(&graph(4, &[(1, 2), (2, 3)], &[]), &seconds), [1, 2, 3, 0]);
    }

    #[test]
    fn times_that_jitter_leave_the_order_of_the_file() {
        let seconds = [10.0, 10.1, 9.9, 20.0].map(Some);
        assert_eq!(order(&graph(4, &[], &[]), &seconds), [3, 0, 1, 2]);
    }

    #[test]
    fn a_trial_that_never_ran_is_taken_to_be_like_its_nearest_relatives() {
        let mut graph = graph(6, &[], &[]);
        let trials = [("wide", 1), ("wide", 2), ("slim", 1), ("slim", 2), ("flat", 1)];
        for (at, (width, seed)) in trials.into_iter().enumerate() {
            let coordinates = vec![("width".to_owned(), json!(width)), ("fit.seed".to_owned(), json!(seed))];
            graph.stages[StageId::new(at)].trial = Some(Trial { group: "fit".into(), coordinates });
        }
        let seconds = [Some(90.0), None, Some(3.0), None, None, None];
        assert_eq!(expected(&graph, &seconds), [90.0, 90.0, 3.0, 3.0, 90.0, 90.0]);
        let seconds = [None, None, None, None, None, Some(7.0)];
        assert_eq!(expected(&graph, &seconds), [7.0; 6]);
    }
}
