//! The kind `split`: which workouts train, validate and test. Unaware of features and models.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::artifact::{Arity, ArtifactType, InputPort, OutputPort};
use crate::sequences::Sequences;
use crate::split::{Part, Split, SplitBy};
use crate::stage::{Blame, Context, Metrics, ParameterFault, Run, Stage};
use crate::table::{Column, Table};

/// Divides workouts into train, validation and test.
///
/// Reads `sequences`; writes `split` and `parts`, a table of who is where. `by = "user"` keeps every user in one
/// part, so figures speak of unseen users. `by = "time"` cuts each user's workouts in the order of their starts:
/// the first train, the next validate, the last test, so figures speak of known users; a user with n workouts
/// gives round(n · fraction) to test and to validation, none where that is 0. `by = "workout"` shuffles workouts:
/// runs of one user stand on both sides, so figures are labelled unsafe.
///
/// Fractions that are not given are 0; where none is given they are 0.7, 0.15 and 0.15. A part with an explicit
/// list takes that list alone, and the others share the rest in proportion to their fractions. The seed orders
/// users and workouts; `by = "time"` draws nothing.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitStage {
    /// `user`, `time` or `workout`.
    pub by: SplitBy,
    /// Fraction that models are fitted on, 0 to 1.
    #[serde(default)]
    pub train: Option<f64>,
    /// Fraction that choices are made on, 0 to 1.
    #[serde(default)]
    pub validation: Option<f64>,
    /// Fraction that is reported on once, 0 to 1.
    #[serde(default)]
    pub test: Option<f64>,
    /// Users (`by = "user"`) or workouts (`by = "workout"`) of a part, by their numbers.
    #[serde(default)]
    pub explicit: Lists,
    /// With `by = "time"`: only these users' later workouts are held out; all workouts of the others train.
    /// Empty: those of all users.
    #[serde(default)]
    pub test_users: Vec<i64>,
}

/// Numbers of users or workouts that are put into a part by hand.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lists {
    /// Those that train.
    #[serde(default)]
    pub train: Vec<i64>,
    /// Those that validate.
    #[serde(default)]
    pub validation: Vec<i64>,
    /// Those that test.
    #[serde(default)]
    pub test: Vec<i64>,
}

impl Lists {
    fn of(&self, part: Part) -> &[i64] {
        match part {
            Part::Train => &self.train,
            Part::Validation => &self.validation,
            Part::Test => &self.test,
        }
    }

    fn is_empty(&self) -> bool {
        Part::ALL.iter().all(|part| self.of(*part).is_empty())
    }
}

const SPLIT: OutputPort = OutputPort::fixed("split", ArtifactType::Split, "the part of each workout");
const PARTS: OutputPort = OutputPort::fixed("parts", ArtifactType::Table, "users, workouts and days of each part");

/// The stream of the generator that orders users and workouts.
const SHUFFLE: u64 = 1;

impl Stage for SplitStage {
    const NAME: &'static str = "split";
    const INPUTS: &'static [InputPort] = &[InputPort {
        name: "sequences",
        accepts: &[ArtifactType::Sequences],
        arity: Arity::One,
        doc: "the workouts to divide",
    }];
    const OUTPUTS: &'static [OutputPort] = &[SPLIT, PARTS];
    const SEEDED: bool = true;

    fn check(&self) -> Vec<ParameterFault> {
        let mut faults = Vec::new();
        for part in Part::ALL {
            let given = self.given(part);
            if given.is_some_and(|fraction| !(0.0..=1.0).contains(&fraction)) {
                faults.push(ParameterFault::new(part.name(), "must lie between 0 and 1"));
            }
            if given.is_some() && !self.explicit.of(part).is_empty() {
                faults.push(ParameterFault::new(part.name(), "has an explicit list and takes no fraction"));
            }
        }
        let given: Vec<f64> = Part::ALL.iter().filter_map(|part| self.given(*part)).collect();
        let sum: f64 = given.iter().sum();
        if faults.is_empty() && !given.is_empty() && (sum - 1.0).abs() > 1e-9 {
            faults.push(ParameterFault::new("", format!("train, validation and test sum to {sum}, not to 1")));
        }
        faults.extend(self.list_faults());
        faults
    }
}

impl Run for SplitStage {
    fn run(&self, context: &Context<'_>) -> Result<Metrics> {
        let sequences = Sequences::read(context.job.input("sequences")?)?;
        let mut random = ChaCha8Rng::seed_from_u64(context.job.seed);
        random.set_stream(SHUFFLE);
        let split = self.divide(&sequences, &mut random)?;
        self.expect_filled(&split)?;
        if self.by == SplitBy::Workout {
            context.warn("unsafe split: runs of one user stand in several parts, so errors look too small");
        }
        split.write(&context.output(&SPLIT))?;
        let counts: Vec<Count> = Part::ALL.iter().map(|part| Count::of(*part, &split, &sequences)).collect();
        table(&counts)?.write(&context.output(&PARTS))?;
        Ok(self.metrics(&counts))
    }
}

impl SplitStage {
    fn given(&self, part: Part) -> Option<f64> {
        match part {
            Part::Train => self.train,
            Part::Validation => self.validation,
            Part::Test => self.test,
        }
    }

    fn list_faults(&self) -> Vec<ParameterFault> {
        let mut faults = Vec::new();
        if self.by == SplitBy::Time && !self.explicit.is_empty() {
            faults.push(ParameterFault::new("explicit", "does not go with `by = \"time\"`, where time decides"));
        }
        if self.by != SplitBy::Time && !self.test_users.is_empty() {
            let remedy = "goes with `by = \"time\"` only; with `by = \"user\"` write `explicit = { test = [...] }`";
            faults.push(ParameterFault::new("test_users", remedy));
        }
        let mut listed = BTreeSet::new();
        for part in Part::ALL {
            for (i, number) in self.explicit.of(part).iter().enumerate() {
                if !listed.insert(*number) {
                    let path = format!("explicit.{}[{i}]", part.name());
                    faults.push(ParameterFault::new(path, format!("{number} is listed already")));
                }
            }
        }
        faults
    }

    /// The fraction of what no list has taken.
    fn fraction(&self, part: Part) -> f64 {
        let default = |part: Part| match part {
            Part::Train => 0.7,
            Part::Validation | Part::Test => 0.15,
        };
        let none_given = Part::ALL.iter().all(|part| self.given(*part).is_none());
        let raw = |part: Part| match self.given(part) {
            _ if !self.explicit.of(part).is_empty() => 0.0,
            None if none_given => default(part),
            given => given.unwrap_or_default(),
        };
        let sum: f64 = Part::ALL.iter().map(|part| raw(*part)).sum();
        if sum > 0.0 { raw(part) / sum } else { 0.0 }
    }

    /// The part of each of `n` things in a row: first those that train, then validation, then test.
    fn parts_of(&self, n: usize) -> impl Iterator<Item = Part> {
        let share = |part: Part| (n as f64 * self.fraction(part)).round() as usize;
        let test = share(Part::Test).min(n);
        let validation = share(Part::Validation).min(n - test);
        let train = n - test - validation;
        (0..n).map(move |place| match place {
            _ if place < train => Part::Train,
            _ if place < train + validation => Part::Validation,
            _ => Part::Test,
        })
    }

    fn divide(&self, sequences: &Sequences, random: &mut ChaCha8Rng) -> Result<Split> {
        let workouts = || sequences.workout.iter().zip(&sequences.user).map(|(workout, user)| (*workout, *user));
        let part_of: BTreeMap<i64, Part> = match self.by {
            SplitBy::User => self.shuffle(workouts().map(|(_, user)| user).collect(), random)?,
            SplitBy::Workout => self.shuffle(workouts().map(|(workout, _)| workout).collect(), random)?,
            SplitBy::Time => self.by_time(sequences)?,
        };
        let number = |(workout, user)| if self.by == SplitBy::User { user } else { workout };
        let entry = |pair: (i64, i64)| (pair.0, (part_of[&number(pair)], pair.1));
        Ok(Split { by: self.by, parts: workouts().map(entry).collect() })
    }

    /// Puts listed numbers where they are listed, and the rest, shuffled, by fractions.
    fn shuffle(&self, numbers: BTreeSet<i64>, random: &mut ChaCha8Rng) -> Result<BTreeMap<i64, Part>> {
        let mut parts = BTreeMap::new();
        for part in Part::ALL {
            for (i, number) in self.explicit.of(part).iter().enumerate() {
                let parameter = format!("explicit.{}[{i}]", part.name());
                expect_known(&numbers, *number, self.by.name(), parameter)?;
                parts.insert(*number, part);
            }
        }
        let mut rest: Vec<i64> = numbers.into_iter().filter(|number| !parts.contains_key(number)).collect();
        rest.shuffle(random);
        let chosen = self.parts_of(rest.len());
        parts.extend(rest.into_iter().zip(chosen));
        Ok(parts)
    }

    fn by_time(&self, sequences: &Sequences) -> Result<BTreeMap<i64, Part>> {
        let users: BTreeSet<i64> = sequences.user.iter().copied().collect();
        for (i, user) in self.test_users.iter().enumerate() {
            expect_known(&users, *user, "user", format!("test_users[{i}]"))?;
        }
        let mut parts = BTreeMap::new();
        for user in users {
            let of_user = (0..sequences.len()).filter(|&place| sequences.user[place] == user);
            let mut runs: Vec<(i64, i64)> =
                of_user.map(|place| (sequences.start[place], sequences.workout[place])).collect();
            runs.sort_unstable();
            let held_out = self.test_users.is_empty() || self.test_users.contains(&user);
            let chosen = self.parts_of(runs.len()).map(|part| if held_out { part } else { Part::Train });
            parts.extend(runs.iter().map(|(_, workout)| *workout).zip(chosen));
        }
        Ok(parts)
    }

    /// Fails where a part that was asked for holds nobody.
    fn expect_filled(&self, split: &Split) -> Result<()> {
        for part in Part::ALL {
            let fraction = self.fraction(part);
            if fraction > 0.0 && !split.parts.values().any(|(its, _)| *its == part) {
                let users: BTreeSet<i64> = split.parts.values().map(|(_, user)| *user).collect();
                let message = format!(
                    "`{}`: {fraction} of {} users with {} workouts is nobody; take more data, another fraction or 0",
                    part.name(),
                    users.len(),
                    split.parts.len()
                );
                return Err(Blame { parameter: part.name().into(), message }.into());
            }
        }
        Ok(())
    }

    fn metrics(&self, counts: &[Count]) -> Metrics {
        let mut metrics = Metrics::from_iter([
            ("by".to_owned(), json!(self.by)),
            ("unsafe".to_owned(), json!(self.by == SplitBy::Workout)),
        ]);
        for count in counts {
            let figures = json!({ "n_users": count.users, "n_workouts": count.workouts });
            metrics.insert(count.part.name().into(), figures);
        }
        metrics
    }
}

fn expect_known(known: &BTreeSet<i64>, number: i64, what: &str, parameter: String) -> Result<()> {
    if known.contains(&number) {
        return Ok(());
    }
    let some: Vec<String> = known.iter().take(5).map(i64::to_string).collect();
    let message =
        format!("`{number}` is no {what} of these sequences; there are {}, such as {}", known.len(), some.join(", "));
    Err(Blame { parameter, message }.into())
}

/// Who is in a part.
struct Count {
    part: Part,
    users: usize,
    workouts: usize,
    days: Option<(i64, i64)>,
}

impl Count {
    fn of(part: Part, split: &Split, sequences: &Sequences) -> Self {
        let its = |place: &usize| split.parts[&sequences.workout[*place]].0 == part;
        let places: Vec<usize> = (0..sequences.len()).filter(its).collect();
        let users: BTreeSet<i64> = places.iter().map(|&place| sequences.user[place]).collect();
        let starts = || places.iter().map(|&place| sequences.start[place]);
        Self { part, users: users.len(), workouts: places.len(), days: starts().min().zip(starts().max()) }
    }
}

fn table(counts: &[Count]) -> Result<Table> {
    Table::new(vec![
        Column::text("part", counts.iter().map(|count| count.part.name())),
        Column::int("users", counts.iter().map(|count| count.users as i64)),
        Column::int("workouts", counts.iter().map(|count| count.workouts as i64)),
        Column::optional_text("first day", counts.iter().map(|count| count.days.map(|(first, _)| day(first)))),
        Column::optional_text("last day", counts.iter().map(|count| count.days.map(|(_, last)| day(last)))),
    ])
}

/// The UTC day of a time in unix seconds, `2021-03-14` (Hinnant's `civil_from_days`).
fn day(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequences::{DataSource, Grid, Header};

    /// Users 0..`users`, each with `runs` workouts; later numbers started earlier.
    fn sequences(users: i64, runs: i64) -> Sequences {
        let header = Header { features: Vec::new(), grid: Grid::Time { step_s: 10.0 }, data: DataSource::Recorded };
        let mut sequences = Sequences::empty(header);
        for user in 0..users {
            for run in 0..runs {
                sequences.workout.push(1000 * user + run);
                sequences.user.push(user);
                sequences.start.push(1_600_000_000 - 86_400 * run);
                sequences.offsets.push(0);
            }
        }
        sequences
    }

    fn stage(params: &str) -> SplitStage {
        serde_json::from_str(params).unwrap()
    }

    fn divide(stage: &SplitStage, sequences: &Sequences, seed: u64) -> Result<Split> {
        assert_eq!(stage.check(), []);
        let split = stage.divide(sequences, &mut ChaCha8Rng::seed_from_u64(seed))?;
        stage.expect_filled(&split)?;
        Ok(split)
    }

    fn numbers(split: &Split, part: Part) -> Vec<i64> {
        split.parts.iter().filter(|(_, (its, _))| *its == part).map(|(workout, _)| *workout).collect()
    }

    #[test]
    fn by_user_no_user_stands_in_two_parts_and_the_seed_decides_who() {
        let sequences = sequences(20, 3);
        let stage = stage(r#"{ "by": "user" }"#);
        let split = divide(&stage, &sequences, 1).unwrap();
        let counts = Part::ALL.map(|part| Count::of(part, &split, &sequences));
        assert_eq!(counts.each_ref().map(|count| count.users), [14, 3, 3]);
        assert_eq!(counts.each_ref().map(|count| count.workouts), [42, 9, 9], "users are kept whole");
        assert_eq!(split, divide(&stage, &sequences, 1).unwrap());
        assert_ne!(split, divide(&stage, &sequences, 2).unwrap());
    }

    #[test]
    fn by_time_no_later_run_comes_before_an_earlier_one() {
        let sequences = sequences(4, 10);
        let split = divide(&stage(r#"{ "by": "time", "train": 0.5, "validation": 0.2, "test": 0.3 }"#), &sequences, 1);
        let split = split.unwrap();
        for user in 0..4 {
            let mut runs: Vec<(i64, Part)> = (0..40)
                .filter(|&place| sequences.user[place] == user)
                .map(|place| (sequences.start[place], split.parts[&sequences.workout[place]].0))
                .collect();
            runs.sort_unstable();
            assert!(runs.is_sorted_by_key(|(_, part)| *part), "{runs:?}");
            assert_eq!(runs.iter().filter(|(_, part)| *part == Part::Test).count(), 3);
        }
    }

    #[test]
    fn by_time_only_the_users_named_are_held_out_and_one_run_trains() {
        let mut sequences = sequences(2, 10);
        sequences.user[19] = 5;
        let all = divide(&stage(r#"{ "by": "time", "train": 0.7, "test": 0.3 }"#), &sequences, 1).unwrap();
        assert_eq!(numbers(&all, Part::Test), [0, 1, 2, 1000, 1001, 1002]);
        assert_eq!(all.parts[&1009], (Part::Train, 5));
        let one = stage(r#"{ "by": "time", "train": 0.7, "test": 0.3, "test_users": [1] }"#);
        assert_eq!(numbers(&divide(&one, &sequences, 1).unwrap(), Part::Test), [1000, 1001, 1002]);
        let stranger = stage(r#"{ "by": "time", "train": 0.7, "test": 0.3, "test_users": [1, 99] }"#);
        let error = divide(&stranger, &sequences, 1).unwrap_err();
        assert_eq!(error.downcast_ref::<Blame>().unwrap().parameter, "test_users[1]");
    }

    #[test]
    fn listed_users_go_where_they_are_listed_and_the_rest_is_shared() {
        let sequences = sequences(11, 1);
        let stage = stage(r#"{ "by": "user", "train": 0.8, "validation": 0.2, "explicit": { "test": [3] } }"#);
        let split = divide(&stage, &sequences, 1).unwrap();
        assert_eq!(numbers(&split, Part::Test), [3000]);
        assert_eq!(numbers(&split, Part::Validation).len(), 2);
    }

    #[test]
    fn a_part_that_was_asked_for_and_stays_empty_is_a_fault() {
        let error = divide(&stage(r#"{ "by": "user" }"#), &sequences(3, 9), 1).unwrap_err();
        let blame = error.downcast_ref::<Blame>().unwrap();
        assert_eq!(blame.parameter, "validation");
        assert!(blame.message.contains("of 3 users with 27 workouts is nobody"), "{}", blame.message);
    }

    #[test]
    fn parameters_that_contradict_each_other_are_all_found() {
        let paths =
            |params: &str| -> Vec<String> { stage(params).check().into_iter().map(|fault| fault.path).collect() };
        assert_eq!(paths(r#"{ "by": "user", "train": 0.7, "test": 0.2 }"#), [""]);
        assert_eq!(
            paths(r#"{ "by": "user", "train": 1.5, "test": 0.1, "explicit": { "test": [1, 1] }, "test_users": [1] }"#),
            ["train", "test", "test_users", "explicit.test[1]"]
        );
        assert_eq!(paths(r#"{ "by": "time", "explicit": { "test": [1] } }"#), ["explicit"]);
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(
            [day(0), day(951_782_400), day(1_615_680_000), day(-1)],
            ["1970-01-01", "2000-02-29", "2021-03-14", "1969-12-31"]
        );
    }
}
