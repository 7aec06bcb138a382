//! Feature sequences: workouts on a grid with their target and mask, all in one safetensors file.
//! Unaware of how features are computed and of models.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::suggest::did_you_mean;
use crate::tensors::column::Column;
use crate::tensors::{self, Array, Arrays};

pub mod writer;

/// Values that are checked before a fault is looked for.
const CHECKED_AT_ONCE: usize = 1 << 14;

/// Sequences of `N` workouts, stored end to end: `S` steps in all, `F` features. What was read from a file is seen
/// there, but for the few numbers that each workout has.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequences {
    /// Names of features and the grid.
    pub header: Header,
    /// First step of each workout and the end of the last; shape `[N + 1]`.
    pub offsets: Vec<i64>,
    /// Features, shape `[S, F]`, row-major, in the units of their names.
    pub features: Column<f32>,
    /// Heart rate in BPM, shape `[S]`; 0 where `real` is 0.
    pub target: Column<f32>,
    /// 1 where the target is a real sample, 0 for filled and padded steps; shape `[S]`.
    pub real: Column<u8>,
    /// 1 where the features rest on the recording, 0 for padding and inside gaps longer than the grid's limit;
    /// shape `[S]`. Every real step is valid.
    pub valid: Column<u8>,
    /// Seconds since the workout's start, shape `[S]`.
    pub time: Column<f32>,
    /// The source's number of each workout, shape `[N]`.
    pub workout: Vec<i64>,
    /// The source's number of each user, shape `[N]`.
    pub user: Vec<i64>,
    /// Start of each workout in unix seconds, shape `[N]`.
    pub start: Vec<i64>,
}

/// What the tensors do not say of themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Names of the features in their order.
    pub features: Vec<String>,
    /// How workouts were laid on steps.
    pub grid: Grid,
    /// Where the workouts came from.
    pub data: DataSource,
}

/// How workouts are laid on steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "by")]
pub enum Grid {
    /// One step for each recorded point, padded or cut to a fixed number.
    Index {
        /// Steps of each workout.
        length: usize,
    },
    /// One step for each interval of time.
    Time {
        /// Seconds between steps.
        step_s: f64,
    },
}

/// Whether figures rest on recordings or on a simulator; every report shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataSource {
    /// People ran.
    Recorded,
    /// A simulator made it.
    Synthetic,
    /// Some of each.
    Mixed,
}

impl DataSource {
    /// The source of data put together from two.
    pub fn and(self, other: Self) -> Self {
        if self == other { self } else { Self::Mixed }
    }

    /// The word used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Synthetic => "synthetic",
            Self::Mixed => "mixed",
        }
    }
}

impl Sequences {
    /// Sequences of no workout, to be appended to.
    pub fn empty(header: Header) -> Self {
        Self {
            header,
            offsets: vec![0],
            features: Column::default(),
            target: Column::default(),
            real: Column::default(),
            valid: Column::default(),
            time: Column::default(),
            workout: Vec::new(),
            user: Vec::new(),
            start: Vec::new(),
        }
    }

    /// Number of workouts.
    pub fn len(&self) -> usize {
        self.workout.len()
    }

    /// Whether there is no workout.
    pub fn is_empty(&self) -> bool {
        self.workout.is_empty()
    }

    /// Number of features of a step.
    pub fn width(&self) -> usize {
        self.header.features.len()
    }

    /// The steps of a workout.
    pub fn steps(&self, workout: usize) -> std::ops::Range<usize> {
        self.offsets[workout] as usize..self.offsets[workout + 1] as usize
    }

    /// The features of a step, in the units of their names.
    pub fn row(&self, step: usize) -> &[f32] {
        &self.features[step * self.width()..(step + 1) * self.width()]
    }

    /// The place of a feature in a row.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.header.features.iter().position(|feature| feature == name)
    }

    /// The places of several features; the error lists what is there and suggests the nearest.
    pub fn select(&self, names: &[String]) -> Result<Vec<usize>> {
        let place = |name: &String| {
            self.column(name).with_context(|| {
                let there: Vec<&str> = self.header.features.iter().map(String::as_str).collect();
                let listed = there.join("`, `");
                let guess = did_you_mean(name, there);
                format!("`{name}` is no feature of these sequences, which hold `{listed}`{guess}")
            })
        };
        names.iter().map(place).collect()
    }

    /// Writes all tensors and the header; the same sequences give the same bytes.
    pub fn write(&self, path: &Path) -> Result<()> {
        self.check().with_context(|| format!("`{}` would be written damaged", path.display()))?;
        let shape = [self.target.len(), self.width()];
        let (one, time) = ([self.target.len()], &self.time);
        let arrays = [
            ("features", Array::f32(&shape, &self.features)),
            ("offsets", Array::i64(&self.offsets)),
            ("real", Array::u8(&self.real)),
            ("start", Array::i64(&self.start)),
            ("target", Array::f32(&one, &self.target)),
            ("time", Array::f32(&one, time)),
            ("user", Array::i64(&self.user)),
            ("valid", Array::u8(&self.valid)),
            ("workout", Array::i64(&self.workout)),
        ];
        tensors::write(path, &self.header, arrays)
    }

    /// Reads sequences; shapes, offsets and masks are checked, and errors name the file.
    pub fn read(path: &Path) -> Result<Self> {
        let file = Arrays::open(path)?;
        let header: Header = file.header()?;
        let (shape, features) = file.column("features")?;
        let (_, target) = file.column("target")?;
        file.expect_shape("features", &shape, &[target.len(), header.features.len()])?;
        let sequences = Self {
            header,
            offsets: file.i64("offsets")?,
            features,
            target,
            real: file.vector("real")?,
            valid: file.vector("valid")?,
            time: file.column("time")?.1,
            workout: file.i64("workout")?,
            user: file.i64("user")?,
            start: file.i64("start")?,
        };
        sequences.check().with_context(|| file.broken())?;
        Ok(sequences)
    }

    /// Checks what every reader relies on: lengths, offsets, masks, finite numbers.
    fn check(&self) -> Result<()> {
        let steps = self.target.len();
        ensure!(self.features.len() == steps * self.width(), "`features` has not one row for each step");
        let lengths = [self.real.len(), self.valid.len(), self.time.len()];
        ensure!(lengths == [steps; 3], "`real`, `valid`, `time`: {lengths:?} steps where {steps} belong");
        let lengths = [self.user.len(), self.start.len(), self.offsets.len().wrapping_sub(1)];
        ensure!(
            lengths == [self.len(); 3],
            "`user`, `start`, `offsets`: {lengths:?} workouts where {} belong",
            self.len()
        );
        let ends = (self.offsets.first(), self.offsets.last());
        ensure!(
            ends == (Some(&0), Some(&(steps as i64))) && self.offsets.is_sorted(),
            "`offsets` do not rise from 0 to {steps}"
        );
        check_steps(0, &self.features, &self.target, &self.real, &self.valid)
    }
}

/// Checks the values of steps, the first of which is step `first` of all: finite features, masks that go together.
fn check_steps(first: usize, features: &[f32], target: &[f32], real: &[u8], valid: &[u8]) -> Result<()> {
    // Without a way out of the loops within, compilers check many values at once.
    let finite = |values: &[f32]| values.iter().fold(true, |all, value| all & value.is_finite());
    ensure!(features.chunks(CHECKED_AT_ONCE).all(finite), "`features` holds NaN or infinity");
    let fits = |target: f32, real: u8, valid: u8| {
        (real <= valid) & (valid <= 1) & target.is_finite() & ((real == 0) | (target > 0.0))
    };
    let masks = real.chunks(CHECKED_AT_ONCE).zip(valid.chunks(CHECKED_AT_ONCE));
    for (chunk, (target, (real, valid))) in target.chunks(CHECKED_AT_ONCE).zip(masks).enumerate() {
        let steps = || target.iter().zip(real.iter().zip(valid));
        if steps().fold(true, |all, (target, (real, valid))| all & fits(*target, *real, *valid)) {
            continue;
        }
        let faulty = steps().enumerate().find(|(_, (target, (real, valid)))| !fits(**target, **real, **valid));
        let (step, (target, (real, valid))) = faulty.expect("one of them does not fit");
        let step = first + chunk * CHECKED_AT_ONCE + step;
        bail!("step {step}: real {real}, valid {valid}, target {target} do not go together");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_workouts() -> Sequences {
        Sequences {
            header: Header {
                features: vec!["speed".into(), "altitude".into()],
                grid: Grid::Time { step_s: 5.0 },
                data: DataSource::Synthetic,
            },
            offsets: vec![0, 2, 3],
            features: vec![3.0, 100.0, 3.5, 101.0, 2.0, 7.0].into(),
            target: vec![120.0, 0.0, 140.0].into(),
            real: vec![1, 0, 1].into(),
            valid: vec![1, 1, 1].into(),
            time: vec![0.0, 5.0, 0.0].into(),
            workout: vec![11, 12],
            user: vec![1, 2],
            start: vec![1_500_000_000, 1_500_100_000],
        }
    }

    #[test]
    fn sequences_come_back_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        two_workouts().write(&path).unwrap();
        let read = Sequences::read(&path).unwrap();
        assert_eq!(read, two_workouts());
        assert_eq!(read.steps(1), 2..3);
        assert_eq!(read.row(1), [3.5, 101.0]);
    }

    #[test]
    fn an_unknown_feature_is_answered_with_what_is_there() {
        let error = two_workouts().select(&["spede".into()]).unwrap_err().to_string();
        assert_eq!(
            error,
            "`spede` is no feature of these sequences, which hold `speed`, `altitude`; did you mean `speed`?"
        );
        assert_eq!(two_workouts().select(&["altitude".into()]).unwrap(), [1]);
    }

    #[test]
    fn sequences_that_do_not_fit_together_are_neither_written_nor_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let mut short = two_workouts();
        short.real = vec![1].into();
        assert!(short.write(&path).is_err());
        let mut padded_yet_real = two_workouts();
        padded_yet_real.valid[0] = 0;
        assert!(padded_yet_real.write(&path).is_err());
        let mut nan = two_workouts();
        nan.features[3] = f32::NAN;
        let error = format!("{:#}", nan.write(&path).unwrap_err());
        assert!(error.contains("NaN") && error.contains("a.safetensors"), "{error}");
    }
}
