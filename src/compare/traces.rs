//! Two files of predictions over each other: what each model of both says at the samples that both scored, and the
//! workouts where they are furthest apart. Unaware of verdicts, which [`crate::compare`] gives, and of drawing.

use std::collections::{BTreeMap, BTreeSet};

use pacer_stages::predictions::Prediction;
use serde::Serialize;

/// Workouts of a model that are told with their samples.
const TOLD_WORKOUTS: usize = 3;

/// A model of both files.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Traced {
    /// What the model is called in each.
    pub models: [String; 2],
    /// Workouts that both scored.
    pub workouts: usize,
    /// Samples that both scored: the same workout, the same second.
    pub samples: usize,
    /// Mean absolute error of each at these samples, BPM.
    pub mae: [f64; 2],
    /// Mean absolute difference between the two at these samples, BPM.
    pub apart: f64,
    /// The workouts where the two are furthest apart on average, the furthest first.
    pub furthest: Vec<Trace>,
}

/// A workout as two models tell it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trace {
    /// The source's number of the workout.
    pub workout: i64,
    /// The source's number of the user.
    pub user: i64,
    /// Mean absolute difference between the two, BPM.
    pub apart: f64,
    /// Seconds since its start.
    pub time_s: Vec<f32>,
    /// The recorded heart rate, BPM.
    pub truth: Vec<f32>,
    /// What each predicted, BPM.
    pub predicted: [Vec<f32>; 2],
}

/// What two files of predictions hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Traces {
    /// The models of both.
    pub both: Vec<Traced>,
    /// Models that only one has.
    pub only: [Vec<String>; 2],
}

type Workouts<'a> = BTreeMap<i64, Vec<&'a Prediction>>;

/// Lays two files over each other: models of one name, or the only model of each whatever its name.
pub fn traces(old: &[Prediction], new: &[Prediction]) -> Traces {
    let [olds, news] = [by_model(old), by_model(new)];
    let pairs: Vec<[&str; 2]> = match (olds.len(), news.len()) {
        (1, 1) => olds.keys().copied().zip(news.keys().copied()).map(|(one, other)| [one, other]).collect(),
        _ => olds.keys().copied().filter(|name| news.contains_key(name)).map(|name| [name, name]).collect(),
    };
    let paired: BTreeSet<&str> = pairs.iter().flatten().copied().collect();
    let only = |models: &BTreeMap<&str, Workouts<'_>>| {
        models.keys().filter(|name| !paired.contains(*name)).map(|name| (*name).to_owned()).collect()
    };
    let only = [only(&olds), only(&news)];
    Traces { both: pairs.into_iter().filter_map(|pair| traced(pair, &olds[pair[0]], &news[pair[1]])).collect(), only }
}

fn by_model(rows: &[Prediction]) -> BTreeMap<&str, Workouts<'_>> {
    let mut models: BTreeMap<&str, Workouts<'_>> = BTreeMap::new();
    for row in rows {
        models.entry(&row.model).or_default().entry(row.workout).or_default().push(row);
    }
    models
}

/// A model of both; none where they scored nothing in common.
fn traced(models: [&str; 2], old: &Workouts<'_>, new: &Workouts<'_>) -> Option<Traced> {
    let trace = |(workout, rows): (&i64, &Vec<&Prediction>)| overlaid(rows, new.get(workout)?);
    let mut furthest: Vec<Trace> = old.iter().filter_map(trace).collect();
    let workouts = furthest.len();
    let samples: usize = furthest.iter().map(|trace| trace.truth.len()).sum();
    if samples == 0 {
        return None;
    }
    let mean = |gap: &dyn Fn(&Trace) -> f64| furthest.iter().map(gap).sum::<f64>() / samples as f64;
    let mae = [0, 1].map(|side| mean(&|trace| total_gap(&trace.truth, &trace.predicted[side])));
    let apart = mean(&|trace| total_gap(&trace.predicted[0], &trace.predicted[1]));
    furthest.sort_by(|a, b| b.apart.total_cmp(&a.apart).then(a.workout.cmp(&b.workout)));
    furthest.truncate(TOLD_WORKOUTS);
    furthest.retain(|trace| trace.apart > 0.0);
    Some(Traced { models: models.map(str::to_owned), workouts, samples, mae, apart, furthest })
}

/// A workout at the seconds that both scored; none where there are none.
fn overlaid(old: &[&Prediction], new: &[&Prediction]) -> Option<Trace> {
    let at: BTreeMap<u32, f32> = new.iter().map(|row| (row.time_s.to_bits(), row.prediction)).collect();
    let both: Vec<(&Prediction, f32)> =
        old.iter().filter_map(|row| Some((*row, *at.get(&row.time_s.to_bits())?))).collect();
    let first = both.first()?.0;
    let predicted: [Vec<f32>; 2] =
        [both.iter().map(|(row, _)| row.prediction).collect(), both.iter().map(|(_, new)| *new).collect()];
    let apart = total_gap(&predicted[0], &predicted[1]) / both.len() as f64;
    Some(Trace {
        workout: first.workout,
        user: first.user,
        apart,
        time_s: both.iter().map(|(row, _)| row.time_s).collect(),
        truth: both.iter().map(|(row, _)| row.truth).collect(),
        predicted,
    })
}

fn total_gap(one: &[f32], other: &[f32]) -> f64 {
    one.iter().zip(other).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(model: &str, workout: i64, predictions: &[f32]) -> Vec<Prediction> {
        let row = |(at, prediction): (usize, &f32)| Prediction {
            model: model.into(),
            workout,
            user: workout / 10,
            time_s: at as f32 * 10.0,
            truth: 150.0,
            prediction: *prediction,
        };
        predictions.iter().enumerate().map(row).collect()
    }

    #[test]
    fn models_of_one_name_are_laid_over_each_other_where_both_scored() {
        let old = [rows("lstm", 10, &[150.0, 152.0]), rows("lstm", 11, &[150.0]), rows("gru", 10, &[1.0])].concat();
        let new = [rows("lstm", 10, &[150.0, 158.0, 9.0]), rows("ridge", 10, &[1.0])].concat();
        let found = traces(&old, &new);
        assert_eq!(found.only, [vec!["gru".to_owned()], vec!["ridge".to_owned()]]);
        let [both] = found.both.as_slice() else { panic!("{found:?}") };
        assert_eq!((both.workouts, both.samples, both.mae, both.apart), (1, 2, [1.0, 4.0], 3.0));
        assert_eq!(both.furthest[0].predicted, [vec![150.0, 152.0], vec![150.0, 158.0]]);
    }

    #[test]
    fn the_only_model_of_each_is_paired_whatever_its_name_and_the_furthest_workouts_come_first() {
        let workouts = |model: &str, gap: f32| {
            (1..=5).flat_map(|at| rows(model, at, &[150.0 + gap * at as f32])).collect::<Vec<_>>()
        };
        let found = traces(&workouts("a", 0.0), &workouts("b", 2.0));
        let [both] = found.both.as_slice() else { panic!("{found:?}") };
        assert_eq!(both.models, ["a", "b"]);
        let told: Vec<_> = both.furthest.iter().map(|trace| (trace.workout, trace.apart)).collect();
        assert_eq!(told, [(5, 10.0), (4, 8.0), (3, 6.0)]);
        assert_eq!(traces(&rows("a", 1, &[1.0]), &rows("a", 2, &[1.0])).both, []);
    }
}
