//! Compares configurations by what their models predicted at the same points, honestly: by user, over seeds, with a
//! verdict. Unaware of pipelines, of keys and of the terminal.
//!
//! The unit of evidence is the user ([`Unit::User`]): each counts once, with the mean absolute error over its points. The
//! interval of a difference comes from resampling users and speaks of other users; the flips of signs over seeds
//! speak of other trainings. A verdict needs both.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use serde::Serialize;

use crate::comparison::errors::{Errors, Family, Frame};
use crate::comparison::points::{Aligned, Differing, Scored};
use crate::comparison::verdict::{Evidence, Judgement, Seeds};
use crate::inference::{Bootstrap, DRAWS, FEWEST_UNITS, holm};

pub mod errors;
pub mod points;
pub mod verdict;

/// A configuration: trainings that are the same but for their seed.
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Its trainings.
    pub trainings: Vec<Training>,
    /// The place of the candidate that it is held against; none for a baseline.
    pub against: Option<usize>,
}

/// One trained model and what it predicted.
pub struct Training {
    /// Its name, for people.
    pub name: String,
    /// The seed of its random draws; none where nothing was drawn.
    pub seed: Option<u64>,
    /// Its predictions.
    pub scored: Scored,
}

/// How to compare.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What counts once.
    pub unit: Unit,
    /// What the verdict is about.
    pub judged: Judged,
    /// Differences up to this count as none, BPM.
    pub margin: f64,
    /// What to do where test sets differ.
    pub differing: Differing,
}

/// What counts once and is resampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Users: what is said holds for other users.
    User,
    /// Workouts: what is said holds for other workouts of these users alone.
    Workout,
}

/// What a verdict is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judged {
    /// The configurations, whatever the seed.
    Configurations,
    /// These very trainings.
    Trainings,
}

/// Configurations side by side. Errors are mean absolute errors in BPM.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// What counts once.
    pub unit: Unit,
    /// What the verdicts are about.
    pub judged: Judged,
    /// Differences up to this count as none, BPM.
    pub margin: f64,
    /// Candidates that were tested together, for Holm's correction.
    pub tests: usize,
    /// Users that all were scored on.
    pub users: usize,
    /// Their workouts.
    pub workouts: usize,
    /// Their real samples.
    pub points: usize,
    /// What was left out because not all were scored there.
    pub left_out: Option<String>,
    /// The configurations, in the order given.
    pub rows: Vec<Row>,
}

/// One configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Names of its trainings.
    pub trainings: Vec<String>,
    /// Their seeds, where any are drawn.
    pub seeds: Vec<u64>,
    /// The mean over units of each unit's error, mean over seeds.
    pub mae: f64,
    /// Standard deviation over seeds of that mean; none for fewer than two.
    pub sd: Option<f64>,
    /// The error over all points, mean over seeds, as `evaluate` gives it.
    pub mae_points: f64,
    /// The mean error over all points, prediction − truth.
    pub bias: f64,
    /// The mean error of the tenth of the units that fares worst.
    pub worst_tenth: f64,
    /// What sets it apart from its baseline; none for a baseline.
    pub difference: Option<Difference>,
}

/// A configuration beside its baseline; differences are candidate − baseline, so that negative ones are better.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The baseline's name.
    pub baseline: String,
    /// The mean difference over units, over the seeds that both have.
    pub mean: f64,
    /// Its interval of 95 %; none where units are too few.
    pub interval: Option<[f64; 2]>,
    /// The share of units whose error is smaller, 0 to 1.
    pub improved: f64,
    /// The difference for each shared seed; empty where no seed is drawn or none is shared.
    pub by_seed: Vec<f64>,
    /// The two-sided p over units, where there is an interval.
    pub p_units: Option<f64>,
    /// The two-sided p over seeds, where they are asked.
    pub p_seeds: Option<f64>,
    /// Holm's p of the larger of the two.
    pub p_holm: Option<f64>,
    /// What can be said.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// Where in the runs, and in whose, both err how much.
    pub parts: Vec<PartDifference>,
    /// The difference of each unit by its number.
    #[serde(skip)]
    pub by_unit: BTreeMap<i64, f64>,
}

/// Both sides in a part of the points.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PartDifference {
    /// What the points are divided by.
    pub family: Family,
    /// The part, with its bounds.
    pub name: String,
    /// Units with points in it.
    pub units: usize,
    /// Points in it.
    pub points: u64,
    /// The candidate's error.
    pub mae: f64,
    /// The baseline's error.
    pub baseline: f64,
}

impl Unit {
    /// A number of units in words.
    pub fn count(self, n: usize) -> String {
        let (one, many) = match self {
            Self::User => ("user", "users"),
            Self::Workout => ("workout", "workouts"),
        };
        format!("{n} {}", if n == 1 { one } else { many })
    }
}

impl PartDifference {
    /// Candidate − baseline, BPM.
    pub fn difference(&self) -> f64 {
        self.mae - self.baseline
    }
}

/// The errors of the trainings of a candidate, with their seeds.
type Trained<'a> = Vec<(Option<u64>, &'a Errors)>;

/// What a pair of candidates gives before it is known how many are tested together.
struct Pair {
    row: usize,
    against: usize,
    by_unit: Vec<f64>,
    seeds: Seeds,
    parts: Vec<PartDifference>,
}

/// Compares candidates with their baselines.
///
/// Fails where they were scored at different points, unless `settings` ask for the common ones.
pub fn compare(candidates: &[Candidate], settings: Settings) -> Result<Comparison> {
    let trainings: Vec<&Training> = candidates.iter().flat_map(|candidate| &candidate.trainings).collect();
    let names: Vec<String> = trainings.iter().map(|training| training.name.clone()).collect();
    let scored: Vec<&Scored> = trainings.iter().map(|training| &training.scored).collect();
    let Aligned { points, predictions, left_out } = points::align(&scored, &names, settings.differing)?;
    let frame = Frame::of(&points, settings.unit);
    let errors = Errors::of_all(&frame, &points, &predictions).into_iter().zip(&names);
    let errors = errors.map(|(errors, name)| errors.with_context(|| format!("`{name}` cannot be compared")));
    let errors: Vec<Errors> = errors.collect::<Result<_>>()?;
    let mut rest = errors.iter();
    let trained: Vec<Trained<'_>> = candidates
        .iter()
        .map(|candidate| candidate.trainings.iter().map(|training| training.seed).zip(rest.by_ref()).collect())
        .collect();
    let pairs = candidates.iter().enumerate().filter_map(|(row, candidate)| Some((row, candidate.against?)));
    let pairs: Vec<(usize, usize)> = pairs.collect();
    let pairs: Vec<Pair> =
        pairs.into_par_iter().map(|(row, against)| Pair::of(&frame, &trained, row, against)).collect();
    let mut rows: Vec<Row> =
        candidates.iter().zip(&trained).map(|(candidate, trained)| Row::of(&frame, candidate, trained)).collect();
    let differences = differences(&frame, candidates, pairs, settings);
    let tests = differences.len();
    for (row, difference) in differences {
        rows[row].difference = Some(difference);
    }
    Ok(Comparison {
        unit: settings.unit,
        judged: settings.judged,
        margin: settings.margin,
        tests,
        users: points.users(),
        workouts: points.workouts.len(),
        points: points.truth.len(),
        left_out,
        rows,
    })
}

impl Row {
    fn of(frame: &Frame, candidate: &Candidate, trained: &Trained<'_>) -> Self {
        let errors: Vec<&Errors> = trained.iter().map(|(_, errors)| *errors).collect();
        let by_unit = frame.by_unit(&errors);
        let by_seed: Vec<f64> = errors.iter().map(|errors| mean(&frame.by_unit(&[errors]))).collect();
        let mut worst = by_unit.clone();
        worst.sort_by(|a, b| b.total_cmp(a));
        worst.truncate(by_unit.len().div_ceil(10));
        Self {
            name: candidate.name.clone(),
            trainings: candidate.trainings.iter().map(|training| training.name.clone()).collect(),
            seeds: candidate.trainings.iter().filter_map(|training| training.seed).collect(),
            mae: mean(&by_unit),
            sd: sample_sd(&by_seed),
            mae_points: frame.over_points(&errors),
            bias: frame.bias(&errors),
            worst_tenth: mean(&worst),
            difference: None,
        }
    }
}

impl Pair {
    fn of(frame: &Frame, trained: &[Trained<'_>], row: usize, against: usize) -> Self {
        let (own, base, seeds) = paired(frame, &trained[row], &trained[against]);
        let (own_units, base_units) = (frame.by_unit(&own), frame.by_unit(&base));
        let parts = frame.parts.iter().map(|part| PartDifference {
            family: part.family,
            name: part.name.clone(),
            units: part.units.len(),
            points: frame.points_in(part),
            mae: frame.in_part(part, &own),
            baseline: frame.in_part(part, &base),
        });
        let by_unit = own_units.iter().zip(&base_units).map(|(own, base)| own - base).collect();
        Self { row, against, by_unit, seeds, parts: parts.collect() }
    }
}

/// The trainings of both sides that belong together, and what their seeds say.
fn paired<'a>(frame: &Frame, own: &Trained<'a>, base: &Trained<'a>) -> (Vec<&'a Errors>, Vec<&'a Errors>, Seeds) {
    let all = |trained: &Trained<'a>| trained.iter().map(|(_, errors)| *errors).collect::<Vec<_>>();
    let overall = |errors: &[&Errors]| mean(&frame.by_unit(errors));
    let drawn = |trained: &Trained<'_>| trained.iter().any(|(seed, _)| seed.is_some());
    match (drawn(own), drawn(base)) {
        (false, false) => (all(own), all(base), Seeds::NoneDrawn),
        (true, true) => {
            let of = |seed: &Option<u64>| base.iter().find(|(other, _)| other == seed).map(|(_, errors)| *errors);
            let pairs: Vec<_> = own.iter().filter_map(|(seed, errors)| Some((*errors, of(seed)?))).collect();
            if pairs.is_empty() {
                return (all(own), all(base), Seeds::NoneShared);
            }
            let differences = pairs.iter().map(|(own, base)| overall(&[own]) - overall(&[base])).collect();
            let (own, base) = pairs.into_iter().unzip();
            (own, base, Seeds::Differences(differences))
        }
        // One side is the same whatever the seed of the other.
        (true, false) => {
            let base = all(base);
            let differences = own.iter().map(|(_, errors)| overall(&[errors]) - overall(&base)).collect();
            (all(own), base, Seeds::Differences(differences))
        }
        (false, true) => {
            let own = all(own);
            let differences = base.iter().map(|(_, errors)| overall(&own) - overall(&[errors])).collect();
            (own, all(base), Seeds::Differences(differences))
        }
    }
}

/// Tests all pairs together and judges each.
fn differences(
    frame: &Frame,
    candidates: &[Candidate],
    pairs: Vec<Pair>,
    settings: Settings,
) -> Vec<(usize, Difference)> {
    let units = frame.units.len();
    let series: Vec<Vec<f64>> = pairs.iter().map(|pair| pair.by_unit.clone()).collect();
    let bootstraps = if units < FEWEST_UNITS { Vec::new() } else { Bootstrap::of(&series, DRAWS) };
    let of_seeds: Vec<_> = pairs.iter().map(|pair| verdict::seeds_p(&pair.seeds, settings.judged)).collect();
    let of_units: Vec<f64> = bootstraps.iter().map(Bootstrap::p).collect();
    let both: Vec<f64> = of_units.iter().zip(&of_seeds).map(|(units, seeds)| units.max(seeds.unwrap_or(0.0))).collect();
    let (corrected, tests) = (holm(&both), pairs.len());
    let difference = |(at, pair): (usize, Pair)| {
        let evidence = Evidence {
            units,
            unit: settings.unit,
            mean: mean(&pair.by_unit),
            interval: bootstraps.get(at).map(Bootstrap::interval),
            seeds: pair.seeds,
            p_holm: corrected.get(at).copied(),
            tests,
            judged: settings.judged,
            margin: settings.margin,
        };
        let improved = pair.by_unit.iter().filter(|difference| **difference < 0.0).count();
        let difference = Difference {
            baseline: candidates[pair.against].name.clone(),
            mean: evidence.mean,
            interval: evidence.interval,
            improved: improved as f64 / units as f64,
            judgement: evidence.judge(),
            p_units: of_units.get(at).copied(),
            p_seeds: of_seeds[at],
            p_holm: evidence.p_holm,
            by_seed: match evidence.seeds {
                Seeds::Differences(differences) => differences,
                Seeds::NoneDrawn | Seeds::NoneShared => Vec::new(),
            },
            parts: pair.parts,
            by_unit: frame.units.iter().copied().zip(pair.by_unit).collect(),
        };
        (pair.row, difference)
    };
    pairs.into_iter().enumerate().map(difference).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn sample_sd(values: &[f64]) -> Option<f64> {
    let (n, mean) = (values.len(), mean(values));
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (n >= 2).then(|| (squares / (n - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::comparison::points::Points;
    use crate::comparison::verdict::Verdict;

    const SETTINGS: Settings =
        Settings { unit: Unit::User, judged: Judged::Configurations, margin: 0.25, differing: Differing::Refuse };

    /// Users with two workouts of two samples each.
    fn points(users: i64) -> Arc<Points> {
        let workout: Vec<i64> = (0..users * 4).map(|at| at / 2).collect();
        let user: Vec<i64> = (0..users * 4).map(|at| at / 4).collect();
        let n = workout.len();
        let truth = (0..n).map(|at| 120.0 + (at % 50) as f32).collect();
        Arc::new(Points::new(&workout, &user, (0..n).map(|at| (at % 2) as f32 * 400.0).collect(), truth).unwrap())
    }

    /// A training that errs by so much on a user's points.
    fn training(name: &str, seed: Option<u64>, points: &Arc<Points>, error: impl Fn(i64) -> f64) -> Training {
        let mut prediction = points.truth.clone();
        for block in &points.workouts {
            prediction[block.places.clone()].iter_mut().for_each(|value| *value += error(block.user) as f32);
        }
        let scored = Scored { model: name.into(), points: Arc::clone(points), prediction };
        Training { name: name.into(), seed, scored }
    }

    fn candidate(name: &str, against: Option<usize>, trainings: Vec<Training>) -> Candidate {
        Candidate { name: name.into(), trainings, against }
    }

    #[test]
    fn figures_are_those_worked_out_by_hand() {
        let points = points(20);
        // Errors of 8 (15 users) and 11 (5 users) against 10; the tenth that fares worst are 2 users.
        let base = candidate("base", None, vec![training("base", None, &points, |_| 10.0)]);
        let own =
            candidate("own", Some(0), vec![training("own", None, &points, |user| if user < 15 { 8.0 } else { 11.0 })]);
        let comparison = compare(&[base, own], SETTINGS).unwrap();
        assert_eq!((comparison.users, comparison.workouts, comparison.points, comparison.tests), (20, 40, 80, 1));
        let row = &comparison.rows[1];
        assert_eq!((row.mae, row.mae_points, row.bias, row.worst_tenth, row.sd), (8.75, 8.75, 8.75, 11.0, None));
        let difference = row.difference.as_ref().unwrap();
        assert_eq!((difference.mean, difference.improved), (-1.25, 0.75));
        assert_eq!((difference.by_unit[&0], difference.by_unit[&19]), (-2.0, 1.0));
        let [low, high] = difference.interval.unwrap();
        // The standard error is 1.299 / sqrt(20) = 0.29.
        assert!((low + 1.25 + 0.57).abs() < 0.1 && (high + 1.25 - 0.57).abs() < 0.1, "{low} {high}");
        assert_eq!(difference.judgement.verdict, Verdict::Better);
        assert_eq!((difference.p_seeds, &difference.by_seed), (None, &vec![]));
        let phases: Vec<_> = difference.parts.iter().filter(|part| part.family == Family::Phase).collect();
        assert_eq!((phases.len(), phases[0].name.as_str(), phases[0].difference()), (2, "first 5 minutes", -1.25));
    }

    #[test]
    fn seeds_are_one_row_and_paired() {
        let points = points(12);
        let trained = |name: &str, seeds: &[u64], base: f64| -> Vec<Training> {
            // Seed by seed both go up and down together, so that pairing takes that out.
            let one = |seed: &u64| training(name, Some(*seed), &points, move |_| base + (*seed % 3) as f64);
            seeds.iter().map(one).collect()
        };
        let base = candidate("base", None, trained("base", &[1, 2, 3, 4, 5, 6], 10.0));
        let own = candidate("own", Some(0), trained("own", &[1, 2, 3, 4, 5, 6, 9], 9.0));
        let comparison = compare(&[base, own], SETTINGS).unwrap();
        let row = &comparison.rows[1];
        assert_eq!((row.seeds.len(), comparison.rows[0].mae), (7, 11.0));
        assert!((row.mae - (9.0 + 6.0 / 7.0)).abs() < 1e-12);
        assert!((comparison.rows[0].sd.unwrap() - 0.8f64.sqrt()).abs() < 1e-12);
        let difference = row.difference.as_ref().unwrap();
        assert_eq!((difference.mean, &difference.by_seed), (-1.0, &vec![-1.0; 6]));
        assert_eq!((difference.p_seeds, difference.judgement.verdict), (Some(0.03125), Verdict::Better));
    }

    #[test]
    fn several_candidates_are_corrected_together() {
        let points = points(12);
        let plain = |name: &str, against, error: fn(i64) -> f64| {
            candidate(name, against, vec![training(name, None, &points, error)])
        };
        let base = plain("base", None, |_| 10.0);
        let others = (0..4).map(|_| plain("other", Some(0), |user| if user % 6 == 0 { 11.5 } else { 9.4 }));
        let all: Vec<Candidate> = std::iter::once(base).chain(others).collect();
        let comparison = compare(&all, SETTINGS).unwrap();
        let difference = comparison.rows[1].difference.as_ref().unwrap();
        let (p, corrected) = (difference.p_units.unwrap(), difference.p_holm.unwrap());
        assert_eq!((comparison.tests, corrected), (4, (4.0 * p).min(1.0)));
    }

    #[test]
    fn few_users_give_no_interval_but_workouts_may_when_told() {
        let points = points(5);
        let make = || {
            let base = candidate("base", None, vec![training("base", None, &points, |_| 10.0)]);
            let own = candidate("own", Some(0), vec![training("own", None, &points, |user| 9.0 + user as f64 / 10.0)]);
            [base, own]
        };
        let by_user = compare(&make(), SETTINGS).unwrap();
        let difference = by_user.rows[1].difference.as_ref().unwrap();
        assert_eq!((difference.interval, difference.p_holm), (None, None));
        assert_eq!(difference.judgement.because, ["5 users, and an interval takes 10"]);
        let by_workout = compare(&make(), Settings { unit: Unit::Workout, ..SETTINGS }).unwrap();
        let difference = by_workout.rows[1].difference.as_ref().unwrap();
        assert_eq!((difference.judgement.verdict, difference.by_unit.len()), (Verdict::Better, 10));
    }

    #[test]
    fn a_prediction_that_is_no_number_names_its_model() {
        let points = points(2);
        let base = candidate("base", None, vec![training("base", None, &points, |_| f64::NAN)]);
        let told = format!("{:#}", compare(&[base], SETTINGS).unwrap_err());
        assert_eq!(told, "`base` cannot be compared: a prediction for workout 0 is no finite number");
    }
}
