//! The `predictions` artifact: one row for each model and real heart rate sample, written model by model.
//! Unaware of how predictions and scores are made.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use polars::prelude::{Column, DataFrame, DataType, Field, NamedFrom, Schema, Series};

use crate::parquet::{self, FileWriter};
use crate::sequences::Sequences;
use crate::stage::Metrics;

/// Workouts of a row group: some ten thousand rows.
const WORKOUTS_PER_GROUP: usize = 256;

/// A scored point.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The model's name.
    pub model: String,
    /// The source's number of the workout.
    pub workout: i64,
    /// The source's number of the user.
    pub user: i64,
    /// Seconds since the workout's start.
    pub time_s: f32,
    /// The recorded heart rate, BPM.
    pub truth: f32,
    /// The predicted heart rate, BPM.
    pub prediction: f32,
}

/// What a model says at every step of some sequences, BPM, shape `[S]` each.
#[derive(Clone, Debug, PartialEq)]
pub struct Predicted {
    /// The heart rate.
    pub rate: Vec<f32>,
    /// Where the model says one, the interval.
    pub interval: Option<Interval>,
}

/// An interval at every step.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    /// The share of samples that it promises to hold.
    pub share: f64,
    /// Its lower ends.
    pub low: Vec<f32>,
    /// Its upper ends.
    pub high: Vec<f32>,
}

/// How an interval kept its promise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coverage {
    /// The share of samples that it promises to hold.
    pub promised: f64,
    /// The share that it holds.
    pub held: f64,
    /// Its mean width, BPM.
    pub width: f64,
}

impl Predicted {
    /// How the interval kept its promise at the real samples of the workouts at `places`; none without an interval.
    pub fn coverage(&self, sequences: &Sequences, places: &[usize]) -> Option<Coverage> {
        let Interval { share, low, high } = self.interval.as_ref()?;
        let steps = places.iter().flat_map(|&place| sequences.steps(place)).filter(|step| sequences.real[*step] == 1);
        let (mut n, mut held, mut width) = (0usize, 0usize, 0.0);
        for step in steps {
            n += 1;
            held += usize::from((low[step]..=high[step]).contains(&sequences.target[step]));
            width += f64::from(high[step]) - f64::from(low[step]);
        }
        (n > 0).then(|| Coverage { promised: *share, held: held as f64 / n as f64, width: width / n as f64 })
    }
}

impl Coverage {
    /// As figures beside the others of a model.
    pub fn figures(self) -> Metrics {
        let figures = [("interval", self.promised), ("coverage", self.held), ("interval_bpm", self.width)];
        figures.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
    }
}

/// Reads all predictions, model by model, in the order of the sequences; errors name the file.
pub fn read(path: &Path) -> Result<Vec<Prediction>> {
    let frame = parquet::read(path)?;
    from_frame(&frame).with_context(|| format!("`{}` does not hold predictions", path.display()))
}

fn from_frame(frame: &DataFrame) -> Result<Vec<Prediction>> {
    let (models, workouts, users) =
        (frame.column("model")?.str()?, frame.column("workout")?.i64()?, frame.column("user")?.i64()?);
    let floats = |name: &str| -> Result<_> { Ok(frame.column(name)?.f32()?) };
    let (times, truths, predictions) = (floats("time_s")?, floats("truth")?, floats("prediction")?);
    let row = |row: usize| {
        Some(Prediction {
            model: models.get(row)?.to_owned(),
            workout: workouts.get(row)?,
            user: users.get(row)?,
            time_s: times.get(row)?,
            truth: truths.get(row)?,
            prediction: predictions.get(row)?,
        })
    };
    let rows = (0..frame.height()).map(|at| row(at).with_context(|| format!("row {at} lacks a value")));
    rows.collect()
}

/// A file of predictions that is being written.
pub struct Writer {
    path: PathBuf,
    file: FileWriter,
}

impl Writer {
    /// Starts a file with the columns `model`, `workout`, `user`, `time_s`, `truth`, `prediction`, and for models that
    /// say an interval `low` and `high` (BPM).
    pub fn create(path: &Path) -> Result<Self> {
        let columns = [
            ("model", DataType::String),
            ("workout", DataType::Int64),
            ("user", DataType::Int64),
            ("time_s", DataType::Float32),
            ("truth", DataType::Float32),
            ("prediction", DataType::Float32),
            ("low", DataType::Float32),
            ("high", DataType::Float32),
        ];
        let schema: Schema = columns.into_iter().map(|(name, dtype)| Field::new(name.into(), dtype)).collect();
        Ok(Self { path: path.to_path_buf(), file: parquet::create(path, &schema)? })
    }

    /// Adds what a model says at the real samples of the workouts at `places`.
    pub fn add(&mut self, model: &str, sequences: &Sequences, places: &[usize], said: &Predicted) -> Result<()> {
        for places in places.chunks(WORKOUTS_PER_GROUP) {
            let steps = places.iter().flat_map(|&place| sequences.steps(place).map(move |step| (place, step)));
            let rows: Vec<(usize, usize)> = steps.filter(|(_, step)| sequences.real[*step] == 1).collect();
            let by_place = |values: &[i64]| rows.iter().map(|(place, _)| values[*place]).collect::<Vec<_>>();
            let by_step = |values: &[f32]| rows.iter().map(|(_, step)| values[*step]).collect::<Vec<_>>();
            let ends = |end: fn(&Interval) -> &[f32]| -> Vec<Option<f32>> {
                match &said.interval {
                    Some(interval) => by_step(end(interval)).into_iter().map(Some).collect(),
                    None => vec![None; rows.len()],
                }
            };
            let columns: Vec<Column> = vec![
                Series::new("model".into(), vec![model; rows.len()]).into(),
                Series::new("workout".into(), by_place(&sequences.workout)).into(),
                Series::new("user".into(), by_place(&sequences.user)).into(),
                Series::new("time_s".into(), by_step(&sequences.time)).into(),
                Series::new("truth".into(), by_step(&sequences.target)).into(),
                Series::new("prediction".into(), by_step(&said.rate)).into(),
                Series::new("low".into(), ends(|interval| &interval.low)).into(),
                Series::new("high".into(), ends(|interval| &interval.high)).into(),
            ];
            let frame = DataFrame::new(rows.len(), columns)?;
            self.file.write_batch(&frame).with_context(|| self.unwritable())?;
        }
        Ok(())
    }

    /// Completes the file.
    pub fn finish(self) -> Result<()> {
        let unwritable = self.unwritable();
        self.file.finish().with_context(|| unwritable)?;
        Ok(())
    }

    fn unwritable(&self) -> String {
        format!("`{}` cannot be written", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequences::{DataSource, Grid, Header};

    fn said(rate: &[f32]) -> Predicted {
        Predicted { rate: rate.to_vec(), interval: None }
    }

    #[test]
    fn only_real_samples_of_the_given_workouts_are_written_and_the_bytes_repeat() {
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
        let paths = ["a", "b"].map(|name| folder.path().join(name));
        for path in &paths {
            let mut writer = Writer::create(path).unwrap();
            writer.add("ridge", &sequences, &[0, 1], &said(&[101.0, 1.0, 121.0, 131.0])).unwrap();
            writer.add("lstm", &sequences, &[1], &said(&[0.0, 0.0, 122.0, 132.0])).unwrap();
            writer.finish().unwrap();
        }
        let [a, b] = &paths;
        assert_eq!(std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
        let rows = read(a).unwrap();
        let told: Vec<_> = rows.iter().map(|row| (row.model.as_str(), row.truth, row.prediction)).collect();
        let expected = [
            ("ridge", 100.0, 101.0),
            ("ridge", 120.0, 121.0),
            ("ridge", 130.0, 131.0),
            ("lstm", 120.0, 122.0),
            ("lstm", 130.0, 132.0),
        ];
        assert_eq!(told, expected);
        assert_eq!((rows[2].workout, rows[2].user, rows[2].time_s), (20, 2, 5.0));
    }

    #[test]
    fn coverage_counts_real_samples_within_the_interval_alone() {
        let header = Header { features: Vec::new(), grid: Grid::Time { step_s: 5.0 }, data: DataSource::Synthetic };
        let sequences = Sequences {
            offsets: vec![0, 4],
            target: vec![100.0, 0.0, 120.0, 130.0].into(),
            real: vec![1, 0, 1, 1].into(),
            ..Sequences::empty(header)
        };
        let interval =
            Interval { share: 0.9, low: vec![100.0, 0.0, 121.0, 120.0], high: vec![102.0, 9.0, 125.0, 130.0] };
        let predicted = Predicted { rate: vec![0.0; 4], interval: Some(interval) };
        let coverage = predicted.coverage(&sequences, &[0]).unwrap();
        assert_eq!(coverage, Coverage { promised: 0.9, held: 2.0 / 3.0, width: 16.0 / 3.0 });
        assert_eq!(said(&[0.0; 4]).coverage(&sequences, &[0]), None);
    }
}
