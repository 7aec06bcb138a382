//! Whether the parts of a split keep apart what must be kept apart, from the files themselves. Unaware of pipelines and
//! of what is done about a leak.

use std::collections::{BTreeMap, BTreeSet};

use crate::sequences::Sequences;
use crate::split::{Part, Split, SplitBy};
use crate::statistics::pearson;

/// Steps whose features are held against the target; more would tell no more.
const STEPS: usize = 200_000;

/// A feature that goes with the target as closely as this is the target.
const IDENTICAL: f64 = 0.9999;

/// What a look at the data came to: nothing wrong, with what was looked at, or what is wrong, with an example.
pub type Finding = Result<String, String>;

/// What was seen of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Saw {
    /// The parts on which a model is fitted and its training watched.
    Training,
    /// A part by whose figures models were chosen.
    Choice(Part),
}

/// A workout of some part, as far as it can be told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    user: i64,
    start: i64,
    end: i64,
    workout: i64,
    part: Part,
}

/// Whether a user stands on both sides of a split that shall keep users apart; a split by time does not.
pub fn users(split: &Split) -> Finding {
    let mut parts: BTreeMap<i64, BTreeSet<Part>> = BTreeMap::new();
    for (part, user) in split.parts.values() {
        parts.entry(*user).or_default().insert(*part);
    }
    let torn: Vec<&i64> = parts.iter().filter(|(_, parts)| parts.len() > 1).map(|(user, _)| user).collect();
    match (split.by, torn.first()) {
        (SplitBy::Time, _) => Ok(format!("the split is by time, {} users are known on purpose", torn.len())),
        (_, None) => Ok(format!("each of {} users is in one part", parts.len())),
        (_, Some(first)) => {
            Err(format!("{} of {} users are in several parts, such as user {first}", torn.len(), parts.len()))
        }
    }
}

/// Whether, in a split by time, each user's workouts train before they validate and test.
pub fn time_order(split: &Split, sequences: &Sequences) -> Finding {
    if split.by != SplitBy::Time {
        return Ok("the split is not by time".to_owned());
    }
    let mut last: BTreeMap<i64, Span> = BTreeMap::new();
    let (mut wrong, mut first_wrong) = (0, None);
    for span in spans(split, sequences) {
        let before = last.get(&span.user).filter(|before| before.part > span.part && before.start < span.start);
        if let Some(before) = before {
            wrong += 1;
            first_wrong.get_or_insert((*before, span));
        }
        let is_later = last.get(&span.user).is_none_or(|before| span.part >= before.part);
        if is_later {
            last.insert(span.user, span);
        }
    }
    match first_wrong {
        None => Ok(format!("in time order for each of {} users", last.len())),
        Some((before, after)) => Err(format!(
            "{wrong} workouts are earlier in use than in time, such as {} of user {} ({}), which is later than {} ({})",
            after.workout,
            after.user,
            after.part.name(),
            before.workout,
            before.part.name()
        )),
    }
}

/// Whether two workouts of a user that overlap in time are in different parts: mostly the same run, recorded twice.
pub fn duplicates(split: &Split, sequences: &Sequences) -> Finding {
    let spans = spans(split, sequences);
    let mut longest: BTreeMap<(i64, Part), Span> = BTreeMap::new();
    let (mut found, mut first) = (0, None);
    for span in &spans {
        let others = Part::ALL.into_iter().filter(|part| *part != span.part);
        let overlapping =
            others.filter_map(|part| longest.get(&(span.user, part))).find(|other| span.start < other.end);
        if let Some(other) = overlapping {
            found += 1;
            first.get_or_insert((*other, *span));
        }
        let known = longest.entry((span.user, span.part)).or_insert(*span);
        if span.end > known.end {
            *known = *span;
        }
    }
    match first {
        None => Ok(format!("no two of {} workouts in different parts overlap in time", spans.len())),
        Some((one, other)) => Err(format!(
            "{found} workouts overlap one of the same user in another part, such as {} ({}) and {} ({}) of user {}",
            one.workout,
            one.part.name(),
            other.workout,
            other.part.name(),
            one.user
        )),
    }
}

/// Whether a model was trained or chosen on workouts of the part that it is scored on; both sides with their sequences.
pub fn seen(before: (&Split, &Sequences), saw: Saw, scored: (&Split, &Sequences), part: Part) -> Finding {
    let of = |(split, sequences): (&Split, &Sequences), wanted: &dyn Fn(Part) -> bool| {
        let spans = spans(split, sequences).into_iter().filter(|span| wanted(span.part));
        spans.map(|span| (span.workout, span.user, span.start)).collect::<BTreeSet<_>>()
    };
    let (was_seen, how): (&dyn Fn(Part) -> bool, _) = match &saw {
        Saw::Training => (&|other| other != Part::Test, "trained on"),
        Saw::Choice(chosen) => (&|other| other == *chosen, "chosen by"),
    };
    let (before, now) = (of(before, was_seen), of(scored, &|other| other == part));
    let mut seen = before.intersection(&now);
    match seen.next() {
        None => Ok(format!("none of the {} workouts scored is among those that it was {how}", now.len())),
        Some((workout, user, _)) => Err(format!(
            "{} of the {} workouts scored are among those that it was {how}, such as {workout} of user {user}",
            1 + seen.count(),
            now.len()
        )),
    }
}

/// Whether a feature is the heart rate itself, under whatever name.
pub fn target(sequences: &Sequences) -> Finding {
    let real: Vec<usize> = (0..sequences.target.len()).filter(|step| sequences.real[*step] == 1).take(STEPS).collect();
    let truth: Vec<f64> = real.iter().map(|step| f64::from(sequences.target[*step])).collect();
    for (column, name) in sequences.header.features.iter().enumerate() {
        let feature: Vec<f64> = real.iter().map(|step| f64::from(sequences.row(*step)[column])).collect();
        if pearson(&feature, &truth).is_some_and(|r| r.abs() > IDENTICAL) {
            return Err(format!("the feature `{name}` is the heart rate (r = 1.000)"));
        }
    }
    Ok(format!("none of {} features is the heart rate", sequences.header.features.len()))
}

/// The workouts that the split knows, by user and start.
fn spans(split: &Split, sequences: &Sequences) -> Vec<Span> {
    let span = |place: usize| {
        let workout = sequences.workout[place];
        let (part, user) = *split.parts.get(&workout)?;
        let steps = sequences.steps(place);
        let seconds = steps.rev().find(|step| sequences.valid[*step] == 1).map_or(0.0, |step| sequences.time[step]);
        let start = sequences.start[place];
        Some(Span { user, start, end: start + f64::from(seconds) as i64, workout, part })
    };
    let mut spans: Vec<Span> = (0..sequences.len()).filter_map(span).collect();
    spans.sort_unstable();
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequences::{DataSource, Grid, Header};

    /// Workouts given as (number, user, start, part), each of 100 s; one feature, and a target that varies.
    fn data(by: SplitBy, rows: &[(i64, i64, i64, Part)]) -> (Split, Sequences) {
        let header =
            Header { features: vec!["speed".into()], grid: Grid::Time { step_s: 100.0 }, data: DataSource::Recorded };
        let mut sequences = Sequences::empty(header);
        let mut split = Split { by, parts: BTreeMap::new() };
        let (mut features, mut target, mut time) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (workout, user, start, part)) in rows.iter().enumerate() {
            split.parts.insert(*workout, (*part, *user));
            sequences.workout.push(*workout);
            sequences.user.push(*user);
            sequences.start.push(*start);
            sequences.offsets.push(2 * (at as i64 + 1));
            features.extend([1.0, (at % 3) as f32]);
            target.extend([120.0, 130.0 + (at * at) as f32]);
            time.extend([0.0, 100.0]);
        }
        let (real, valid) = (vec![1; target.len()].into(), vec![1; target.len()].into());
        let tensors =
            Sequences { features: features.into(), target: target.into(), time: time.into(), real, valid, ..sequences };
        (split, tensors)
    }

    use Part::{Test, Train, Validation};

    #[test]
    fn users_are_kept_apart_by_user_and_known_by_time() {
        let rows = [(1, 7, 0, Train), (2, 7, 500, Test), (3, 8, 0, Test)];
        assert_eq!(users(&data(SplitBy::User, &rows[1..]).0), Ok("each of 2 users is in one part".into()));
        let torn = "1 of 2 users are in several parts, such as user 7";
        assert_eq!(users(&data(SplitBy::User, &rows).0), Err(torn.into()));
        assert_eq!(users(&data(SplitBy::Workout, &rows).0), Err(torn.into()));
        assert!(users(&data(SplitBy::Time, &rows).0).is_ok());
    }

    #[test]
    fn a_workout_that_trains_after_a_test_is_a_leak() {
        let order = |rows: &[(i64, i64, i64, Part)]| {
            let (split, sequences) = data(SplitBy::Time, rows);
            time_order(&split, &sequences)
        };
        let right = [(3, 7, 900, Test), (1, 7, 0, Train), (2, 7, 500, Validation), (4, 8, 5, Train)];
        assert_eq!(order(&right), Ok("in time order for each of 2 users".into()));
        let wrong = [(1, 7, 0, Test), (2, 7, 500, Train), (3, 8, 0, Train)];
        let told =
            "1 workouts are earlier in use than in time, such as 2 of user 7 (train), which is later than 1 (test)";
        assert_eq!(order(&wrong), Err(told.into()));
    }

    #[test]
    fn the_same_run_twice_in_two_parts_is_a_leak() {
        let found = |rows: &[(i64, i64, i64, Part)]| {
            let (split, sequences) = data(SplitBy::Workout, rows);
            duplicates(&split, &sequences)
        };
        let apart = [(1, 7, 0, Train), (2, 7, 100, Test), (3, 8, 50, Test), (4, 7, 20, Train)];
        assert_eq!(found(&apart[..3]), Ok("no two of 3 workouts in different parts overlap in time".into()));
        let told = "1 workouts overlap one of the same user in another part, such as 4 (train) and 2 (test) of user 7";
        assert_eq!(found(&apart), Err(told.into()));
    }

    #[test]
    fn a_model_must_not_have_seen_what_it_is_scored_on() {
        let (split, sequences) = data(SplitBy::User, &[(1, 7, 0, Train), (2, 8, 0, Validation), (3, 9, 0, Test)]);
        let (other, others) = data(SplitBy::User, &[(2, 8, 0, Test), (3, 9, 0, Test), (1, 70, 0, Test)]);
        assert!(seen((&split, &sequences), Saw::Training, (&split, &sequences), Test).is_ok());
        let told = "1 of the 3 workouts scored are among those that it was trained on, such as 2 of user 8";
        assert_eq!(seen((&split, &sequences), Saw::Training, (&other, &others), Test), Err(told.into()));
        assert!(seen((&split, &sequences), Saw::Choice(Train), (&other, &others), Test).is_ok());
        let told = "1 of the 3 workouts scored are among those that it was chosen by, such as 2 of user 8";
        assert_eq!(seen((&split, &sequences), Saw::Choice(Validation), (&other, &others), Test), Err(told.into()));
    }

    #[test]
    fn a_feature_that_is_the_target_is_found_under_any_name() {
        let rows: Vec<_> = (1..9).map(|at| (at, at, 0, Train)).collect();
        let (_, sequences) = data(SplitBy::User, &rows);
        assert_eq!(target(&sequences), Ok("none of 1 features is the heart rate".into()));
        let same = sequences.target.iter().map(|target| target / 100.0).collect::<Vec<f32>>();
        let told = "the feature `speed` is the heart rate (r = 1.000)";
        assert_eq!(target(&Sequences { features: same.into(), ..sequences }), Err(told.into()));
    }
}
