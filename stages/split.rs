//! Who is in which part: the `split` artifact. Unaware of how parts are chosen.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use polars::prelude::{Column, DataFrame};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parquet;
use crate::sequences::Sequences;

/// The part that a workout belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Models are fitted on it.
    Train,
    /// Choices are made on it.
    Validation,
    /// Reported on once.
    Test,
}

/// What keeps the parts apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SplitBy {
    /// No user is in two parts: figures speak of unseen users.
    User,
    /// Each user's later workouts are held out: figures speak of known users.
    Time,
    /// Workouts at random: neighbours leak, so figures are labelled unsafe.
    Workout,
}

/// A split of workouts.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// What keeps the parts apart.
    pub by: SplitBy,
    /// The part and the user of each workout, by the workout's number.
    pub parts: BTreeMap<i64, (Part, i64)>,
}

impl Part {
    /// Every part, in the order of use.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// The name used in files and pipelines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

impl SplitBy {
    const ALL: [Self; 3] = [Self::User, Self::Time, Self::Workout];

    /// The name used in files and pipelines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Time => "time",
            Self::Workout => "workout",
        }
    }

    /// The split as it stands beside every figure.
    pub fn label(self) -> String {
        match self {
            Self::User | Self::Time => self.name().to_owned(),
            Self::Workout => format!("{} (unsafe)", self.name()),
        }
    }
}

impl Split {
    /// Writes one row for each workout, ordered by its number: `workout`, `user`, `part`, `by`.
    pub fn write(&self, path: &Path) -> Result<()> {
        let workouts: Vec<i64> = self.parts.keys().copied().collect();
        let users: Vec<i64> = self.parts.values().map(|(_, user)| *user).collect();
        let parts: Vec<&str> = self.parts.values().map(|(part, _)| part.name()).collect();
        let columns = vec![
            Column::new("workout".into(), workouts),
            Column::new("user".into(), users),
            Column::new("part".into(), parts),
            Column::new("by".into(), vec![self.by.name(); self.parts.len()]),
        ];
        parquet::write(path, columns)
    }

    /// Reads a split; errors name the file.
    pub fn read(path: &Path) -> Result<Self> {
        let frame = parquet::read(path)?;
        Self::from_frame(&frame).with_context(|| format!("`{}` cannot be read as a split", path.display()))
    }

    fn from_frame(frame: &DataFrame) -> Result<Self> {
        let (workouts, users) = (frame.column("workout")?.i64()?, frame.column("user")?.i64()?);
        let (parts, by) = (frame.column("part")?.str()?, frame.column("by")?.str()?);
        let by = by.get(0).context("it holds no workout")?;
        let by = SplitBy::ALL.into_iter().find(|known| known.name() == by);
        let mut split = Self { by: by.context("`by` is neither user, time nor workout")?, parts: BTreeMap::new() };
        for row in 0..frame.height() {
            let (Some(workout), Some(user), Some(part)) = (workouts.get(row), users.get(row), parts.get(row)) else {
                bail!("row {row} lacks a value");
            };
            let part = Part::ALL.into_iter().find(|known| known.name() == part);
            let part = part.with_context(|| format!("row {row} names no part"))?;
            ensure!(split.parts.insert(workout, (part, user)).is_none(), "workout {workout} is there twice");
        }
        Ok(split)
    }

    /// Places in the sequences, in their order, of the workouts of a part.
    ///
    /// Fails when a workout of the sequences is not in the split, or belongs to another user there: the split
    /// was made from other sequences.
    pub fn workouts(&self, sequences: &Sequences, part: Part) -> Result<Vec<usize>> {
        let mut places = Vec::new();
        for (place, (workout, user)) in sequences.workout.iter().zip(&sequences.user).enumerate() {
            let Some((its_part, its_user)) = self.parts.get(workout) else {
                bail!("workout {workout} is not in the split; split the sequences that are used here");
            };
            ensure!(its_user == user, "workout {workout} is of user {user}, in the split of user {its_user}");
            if *its_part == part {
                places.push(place);
            }
        }
        Ok(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequences::{DataSource, Grid, Header};

    fn split() -> Split {
        let parts = [(7, (Part::Test, 1)), (-2, (Part::Train, 1)), (9, (Part::Validation, 2))];
        Split { by: SplitBy::Time, parts: parts.into() }
    }

    fn sequences(workouts: &[(i64, i64)]) -> Sequences {
        let header = Header { features: Vec::new(), grid: Grid::Time { step_s: 5.0 }, data: DataSource::Recorded };
        let mut sequences = Sequences::empty(header);
        for (workout, user) in workouts {
            sequences.workout.push(*workout);
            sequences.user.push(*user);
            sequences.start.push(0);
            sequences.offsets.push(0);
        }
        sequences
    }

    #[test]
    fn a_split_comes_back_as_it_was_written_and_the_bytes_repeat() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        split().write(&a).unwrap();
        split().write(&b).unwrap();
        assert_eq!(Split::read(&a).unwrap(), split());
        assert_eq!(std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
        assert!(format!("{:#}", Split::read(&folder.path().join("c")).unwrap_err()).contains("c` cannot"));
    }

    #[test]
    fn a_part_lists_its_workouts_in_the_order_of_the_sequences() {
        let sequences = sequences(&[(9, 2), (7, 1), (-2, 1)]);
        assert_eq!(split().workouts(&sequences, Part::Test).unwrap(), [1]);
        assert_eq!(split().workouts(&sequences, Part::Validation).unwrap(), [0]);
    }

    #[test]
    fn a_workout_that_the_split_does_not_know_is_a_fault() {
        let error = split().workouts(&sequences(&[(7, 1), (8, 1)]), Part::Train).unwrap_err().to_string();
        assert!(error.contains("workout 8 is not in the split"), "{error}");
        assert!(split().workouts(&sequences(&[(7, 2)]), Part::Train).is_err());
    }
}
