//! Predictions by columns, and the points that several models were all scored at. Unaware of errors and verdicts.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use polars::prelude::DataFrame;

use crate::parquet;

/// The real samples that a model was scored at, workout by workout.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Points {
    /// The workouts in the order of the file; their places are those of the columns.
    pub workouts: Vec<Block>,
    /// Seconds since the workout's start.
    pub time: Vec<f32>,
    /// The recorded heart rate, BPM.
    pub truth: Vec<f32>,
}

/// The points of one workout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The source's number of the workout.
    pub workout: i64,
    /// The source's number of the user.
    pub user: i64,
    /// Where its points stand.
    pub places: Range<usize>,
}

/// What a model predicted at some points.
#[derive(Clone, Debug)]
pub struct Scored {
    /// The model's name in its file.
    pub model: String,
    /// Where it was scored; models of one file mostly share them.
    pub points: Arc<Points>,
    /// The predicted heart rate at each of them, BPM.
    pub prediction: Vec<f32>,
}

/// What to do where models were scored at different points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Differing {
    /// Refuse, and say how they differ.
    Refuse,
    /// Compare at the points that all have.
    Common,
}

/// Predictions of several models at the same points.
#[derive(Debug)]
pub struct Aligned {
    /// The points.
    pub points: Arc<Points>,
    /// The predictions of each model there.
    pub predictions: Vec<Vec<f32>>,
    /// What was left out because not all models were scored there.
    pub left_out: Option<String>,
}

impl Points {
    /// Points by columns of one length; a workout's points must stand together.
    pub fn new(workout: &[i64], user: &[i64], time: Vec<f32>, truth: Vec<f32>) -> Result<Self> {
        let mut points = Self { workouts: Vec::new(), time, truth };
        let mut seen = BTreeSet::new();
        let mut start = 0;
        for block in workout.chunk_by(|a, b| a == b) {
            let (number, places) = (block[0], start..start + block.len());
            start = places.end;
            ensure!(seen.insert(number), "the points of workout {number} do not stand together");
            let users = &user[places.clone()];
            ensure!(users.iter().all(|user| *user == users[0]), "workout {number} has points of several users");
            points.workouts.push(Block { workout: number, user: users[0], places });
        }
        Ok(points)
    }

    fn by_workout(&self) -> BTreeMap<i64, &Block> {
        self.workouts.iter().map(|block| (block.workout, block)).collect()
    }

    /// How many different users ran these workouts.
    pub fn users(&self) -> usize {
        self.workouts.iter().map(|block| block.user).collect::<BTreeSet<_>>().len()
    }

    fn samples(&self, block: &Block) -> (&[f32], &[f32]) {
        (&self.time[block.places.clone()], &self.truth[block.places.clone()])
    }
}

/// Reads the predictions of every model of a file; errors name the file.
pub fn read(path: &Path) -> Result<Vec<Scored>> {
    let frame = parquet::read(path)?;
    from_frame(&frame).with_context(|| format!("`{}` does not hold predictions", path.display()))
}

fn from_frame(frame: &DataFrame) -> Result<Vec<Scored>> {
    let models = frame.column("model")?.str()?;
    let whole = |name: &str| frame.column(name)?.i64()?.cont_slice().context("a row lacks a value");
    let float = |name: &str| frame.column(name)?.f32()?.cont_slice().context("a row lacks a value");
    let (workout, user) = (whole("workout")?, whole("user")?);
    let (time, truth, prediction) = (float("time_s")?, float("truth")?, float("prediction")?);
    let mut found: Vec<Scored> = Vec::new();
    let mut first: Option<(Range<usize>, Arc<Points>)> = None;
    for (model, rows) in runs(models.iter())? {
        let is_first = |range: &Range<usize>| {
            workout[range.clone()] == workout[rows.clone()]
                && user[range.clone()] == user[rows.clone()]
                && time[range.clone()] == time[rows.clone()]
                && truth[range.clone()] == truth[rows.clone()]
        };
        let shared = first.as_ref().filter(|(range, _)| is_first(range)).map(|(_, points)| Arc::clone(points));
        let points = match shared {
            Some(points) => points,
            None => {
                let own = |values: &[f32]| values[rows.clone()].to_vec();
                let points = Points::new(&workout[rows.clone()], &user[rows.clone()], own(time), own(truth));
                Arc::new(points.with_context(|| format!("model `{model}`"))?)
            }
        };
        first.get_or_insert_with(|| (rows.clone(), Arc::clone(&points)));
        ensure!(found.iter().all(|other| other.model != model), "the rows of model `{model}` do not stand together");
        found.push(Scored { model, points, prediction: prediction[rows].to_vec() });
    }
    Ok(found)
}

/// Where each model's rows stand.
fn runs<'a>(models: impl Iterator<Item = Option<&'a str>>) -> Result<Vec<(String, Range<usize>)>> {
    let mut runs: Vec<(&str, Range<usize>)> = Vec::new();
    for (row, model) in models.enumerate() {
        let Some(model) = model else { bail!("row {row} names no model") };
        match runs.last_mut() {
            Some((last, rows)) if *last == model => rows.end = row + 1,
            _ => runs.push((model, row..row + 1)),
        }
    }
    Ok(runs.into_iter().map(|(model, rows)| (model.to_owned(), rows)).collect())
}

/// Brings the predictions of several models to the same points, in the order of the first. `names` are for people.
///
/// Fails where models were scored at different points, unless those that all have are asked for, and where there are
/// none of these.
pub fn align(scored: &[&Scored], names: &[String], differing: Differing) -> Result<Aligned> {
    let Some(first) = scored.first() else { bail!("there is nothing to compare") };
    let same = |points: &Arc<Points>| Arc::ptr_eq(points, &first.points) || **points == *first.points;
    if scored.iter().all(|one| same(&one.points)) {
        let predictions = scored.iter().map(|one| one.prediction.clone()).collect();
        return Ok(Aligned { points: Arc::clone(&first.points), predictions, left_out: None });
    }
    let mut distinct: Vec<(usize, &Arc<Points>)> = Vec::new();
    for (at, one) in scored.iter().enumerate() {
        if !distinct.iter().any(|(_, points)| Arc::ptr_eq(points, &one.points) || **points == one.points) {
            distinct.push((at, &one.points));
        }
    }
    let mut told = Vec::new();
    for (at, points) in &distinct[1..] {
        told.extend(mismatch(&first.points, points, &names[0], &names[*at]));
    }
    if differing == Differing::Refuse && !told.is_empty() {
        bail!("{}; --common compares on what all of them have", told.join("; "));
    }
    let common = common(&first.points, &distinct.iter().map(|(_, points)| &***points).collect::<Vec<_>>());
    ensure!(!common.truth.is_empty(), "{}; they have no point in common", told.join("; "));
    let predictions = scored.iter().map(|one| at_points(one, &common)).collect();
    let left_out = (!told.is_empty()).then(|| told.join("; "));
    Ok(Aligned { points: Arc::new(common), predictions, left_out })
}

/// How the points of a model differ from those of another; `None` where only their order does.
fn mismatch(one: &Points, other: &Points, name: &str, other_name: &str) -> Option<String> {
    let (ones, others) = (one.by_workout(), other.by_workout());
    let only = |these: &BTreeMap<i64, &Block>, those: &BTreeMap<i64, &Block>, name: &str| {
        let only: Vec<&&Block> =
            these.iter().filter(|(id, _)| !those.contains_key(id)).map(|(_, block)| block).collect();
        let first = only.first()?;
        Some(format!("{} only in `{name}` (such as {} of user {})", only.len(), first.workout, first.user))
    };
    let both: Vec<(&&Block, &&Block)> = ones.iter().filter_map(|(id, block)| Some((block, others.get(id)?))).collect();
    let other_points: Vec<_> =
        both.iter().filter(|(a, b)| a.user != b.user || one.samples(a) != other.samples(b)).collect();
    let mut parts: Vec<String> =
        [only(&ones, &others, name), only(&others, &ones, other_name)].into_iter().flatten().collect();
    if let Some((a, b)) = other_points.first() {
        let (samples, of) = (a.places.len(), b.places.len());
        let such = format!("such as workout {}: {samples} against {of} samples", a.workout);
        parts.push(format!("{} of those in both are scored at other samples ({such})", other_points.len()));
    }
    let of = |points: &Points| format!("{} workouts of {} users", points.workouts.len(), points.users());
    (!parts.is_empty()).then(|| {
        format!(
            "`{other_name}` was scored on {}, `{name}` on {}: {} in both, {}",
            of(other),
            of(one),
            both.len(),
            parts.join(", ")
        )
    })
}

/// The points, in the order of the first, that all have with the same truth.
fn common(first: &Points, all: &[&Points]) -> Points {
    let maps: Vec<_> = all.iter().map(|points| (*points, points.by_workout())).collect();
    let mut common = Points::default();
    for block in &first.workouts {
        let others: Option<Vec<_>> =
            maps.iter().map(|(points, map)| map.get(&block.workout).map(|block| (*points, *block))).collect();
        let Some(others) = others.filter(|others| others.iter().all(|(_, other)| other.user == block.user)) else {
            continue;
        };
        let tables: Vec<BTreeMap<u32, u32>> = others.iter().map(|(points, block)| by_time(points, block)).collect();
        let start = common.truth.len();
        for place in block.places.clone() {
            let (time, truth) = (first.time[place], first.truth[place]);
            if tables.iter().all(|table| table.get(&time.to_bits()) == Some(&truth.to_bits())) {
                common.time.push(time);
                common.truth.push(truth);
            }
        }
        if common.truth.len() > start {
            common.workouts.push(Block { places: start..common.truth.len(), ..*block });
        }
    }
    common
}

/// The truth at each time of a workout, both by their bits.
fn by_time(points: &Points, block: &Block) -> BTreeMap<u32, u32> {
    let (times, truths) = points.samples(block);
    times.iter().zip(truths).map(|(time, truth)| (time.to_bits(), truth.to_bits())).collect()
}

/// The predictions of a model at points that it has.
fn at_points(scored: &Scored, points: &Points) -> Vec<f32> {
    let own = scored.points.by_workout();
    let mut predictions = Vec::with_capacity(points.truth.len());
    for block in &points.workouts {
        let places = own[&block.workout].places.clone();
        let times = scored.points.time[places.clone()].iter().map(|time| time.to_bits());
        let by_time: BTreeMap<u32, f32> = times.zip(scored.prediction[places].iter().copied()).collect();
        predictions.extend(points.time[block.places.clone()].iter().map(|time| by_time[&time.to_bits()]));
    }
    predictions
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points given as (workout, user, time, truth).
    fn points(rows: &[(i64, i64, f32, f32)]) -> Arc<Points> {
        let column = |of: fn(&(i64, i64, f32, f32)) -> i64| rows.iter().map(of).collect::<Vec<_>>();
        let floats = |of: fn(&(i64, i64, f32, f32)) -> f32| rows.iter().map(of).collect::<Vec<_>>();
        let made = Points::new(&column(|row| row.0), &column(|row| row.1), floats(|row| row.2), floats(|row| row.3));
        Arc::new(made.unwrap())
    }

    fn scored(points: &Arc<Points>, prediction: &[f32]) -> Scored {
        Scored { model: "m".into(), points: Arc::clone(points), prediction: prediction.to_vec() }
    }

    fn names() -> [String; 2] {
        ["a".to_owned(), "b".to_owned()]
    }

    #[test]
    fn the_same_points_in_another_order_are_the_same() {
        let one = points(&[(1, 7, 0.0, 100.0), (1, 7, 5.0, 110.0), (2, 8, 0.0, 90.0)]);
        let other = points(&[(2, 8, 0.0, 90.0), (1, 7, 0.0, 100.0), (1, 7, 5.0, 110.0)]);
        let (a, b) = (scored(&one, &[1.0, 2.0, 3.0]), scored(&other, &[30.0, 10.0, 20.0]));
        let aligned = align(&[&a, &b], &names(), Differing::Refuse).unwrap();
        assert_eq!(aligned.predictions, [[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]);
        assert_eq!(aligned.left_out, None);
    }

    #[test]
    fn other_test_sets_are_refused_with_how_they_differ_or_cut_to_what_all_have() {
        let one = points(&[(1, 7, 0.0, 100.0), (1, 7, 5.0, 110.0), (2, 8, 0.0, 90.0)]);
        let other = points(&[(1, 7, 5.0, 110.0), (3, 9, 0.0, 80.0), (4, 9, 0.0, 80.0)]);
        let (a, b) = (scored(&one, &[1.0, 2.0, 3.0]), scored(&other, &[20.0, 40.0, 50.0]));
        let told = align(&[&a, &b], &names(), Differing::Refuse).unwrap_err().to_string();
        assert_eq!(
            told,
            "`b` was scored on 3 workouts of 2 users, `a` on 2 workouts of 2 users: 1 in both, 1 only in `a` (such as 2 \
             of user 8), 2 only in `b` (such as 3 of user 9), 1 of those in both are scored at other samples (such as \
             workout 1: 2 against 1 samples); --common compares on what all of them have"
        );
        let aligned = align(&[&a, &b], &names(), Differing::Common).unwrap();
        assert_eq!(aligned.points, points(&[(1, 7, 5.0, 110.0)]));
        assert_eq!(aligned.predictions, [[2.0], [20.0]]);
        assert!(aligned.left_out.unwrap().starts_with("`b` was scored on 3 workouts"));
        let apart = scored(&points(&[(5, 5, 0.0, 80.0)]), &[1.0]);
        let told = align(&[&a, &apart], &names(), Differing::Common).unwrap_err().to_string();
        assert!(told.ends_with("they have no point in common"), "{told}");
    }

    #[test]
    fn a_workout_in_two_pieces_or_of_two_users_is_refused() {
        let told = |workout: &[i64], user: &[i64]| {
            let zeros = vec![0.0; workout.len()];
            Points::new(workout, user, zeros.clone(), zeros).unwrap_err().to_string()
        };
        assert_eq!(told(&[1, 2, 1], &[7, 8, 7]), "the points of workout 1 do not stand together");
        assert_eq!(told(&[1, 1], &[7, 8]), "workout 1 has points of several users");
    }

    #[test]
    fn models_of_one_file_share_their_points() {
        use crate::predictions::{Predicted, Writer};
        use crate::sequences::{DataSource, Grid, Header, Sequences};
        let header = Header { features: Vec::new(), grid: Grid::Time { step_s: 5.0 }, data: DataSource::Synthetic };
        let sequences = Sequences {
            offsets: vec![0, 2, 4],
            target: vec![100.0, 0.0, 120.0, 130.0].into(),
            real: vec![1, 0, 1, 1].into(),
            valid: vec![1; 4].into(),
            time: vec![0.0, 5.0, 0.0, 5.0].into(),
            workout: vec![10, 20],
            user: vec![1, 2],
            start: vec![0, 0],
            ..Sequences::empty(header)
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        let mut writer = Writer::create(&path).unwrap();
        let said = Predicted { rate: vec![1.0, 2.0, 3.0, 4.0], interval: None };
        for (model, places) in [("a", [0, 1].as_slice()), ("b", &[0, 1]), ("c", &[1])] {
            writer.add(model, &sequences, places, &said).unwrap();
        }
        writer.finish().unwrap();
        let read = read(&path).unwrap();
        assert!(Arc::ptr_eq(&read[0].points, &read[1].points) && !Arc::ptr_eq(&read[0].points, &read[2].points));
        assert_eq!(read[0].points, points(&[(10, 1, 0.0, 100.0), (20, 2, 0.0, 120.0), (20, 2, 5.0, 130.0)]));
        assert_eq!(read.iter().map(|one| one.prediction.len()).collect::<Vec<_>>(), [3, 3, 2]);
    }
}
