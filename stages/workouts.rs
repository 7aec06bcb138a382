//! Workouts as the project knows them: SI units, one struct for each, and their Parquet file, read and written
//! in batches so that memory does not grow with their number. Unaware of the formats they came from.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use polars::prelude::{FileMetadataRef, ParallelStrategy, ParquetReader, Schema, SerReader};

use crate::parquet;

pub mod rows;
pub mod speed;

/// A recorded workout. Series that the source lacks are `None`; lengths may differ until a filter has looked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Workout {
    /// The source's number of the workout.
    pub id: i64,
    /// The source's number of the user.
    pub user: Option<i64>,
    /// The source's word for the sport, such as `run`.
    pub sport: String,
    /// `male`, `female`, `unknown`, or whatever the source says.
    pub gender: Option<String>,
    /// The format it was read from: `fitrec`, `apple`, `fit`, `tcx`, `gpx`, `csv`.
    pub source: String,
    /// What recorded it, in the source's words, such as `Apple Watch`.
    pub device: Option<String>,
    /// Where it took place, as the source says: a name such as `Europe/Paris`, or an offset such as `+01:00`.
    pub time_zone: Option<String>,
    /// Whether it took place indoors, where the source says.
    pub indoor: Option<bool>,
    /// Sample times in unix seconds, UTC.
    pub time: Option<Vec<f64>>,
    /// Heart rate in BPM; NaN where the source says so.
    pub heart_rate: Option<Vec<f32>>,
    /// Times of the heart rates in unix seconds, where they are not those in `time`: a watch measures both on their
    /// own. For an average over a span it is the span's middle.
    pub heart_rate_time: Option<Vec<f64>>,
    /// Seconds that each heart rate is an average over, 0 for an instant; none where all are instants.
    pub heart_rate_span: Option<Vec<f32>>,
    /// Speed in m/s.
    pub speed: Option<Vec<f32>>,
    /// Altitude in metres above sea level.
    pub altitude: Option<Vec<f32>>,
    /// Latitude in degrees.
    pub latitude: Option<Vec<f64>>,
    /// Longitude in degrees.
    pub longitude: Option<Vec<f64>>,
    /// Where the speed came from.
    pub speed_source: Origin,
    /// Where the altitude came from.
    pub altitude_source: Origin,
    /// Beginnings and ends of pauses in unix seconds, one after the other; no sample lies within.
    pub pauses: Vec<f64>,
    /// Fields that are there but hold something that is no number, comma separated.
    pub unconvertible: Option<String>,
    /// Whether a simulator made it.
    pub synthetic: bool,
}

/// Where a series of a workout came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// There is none.
    #[default]
    Missing,
    /// The device recorded it.
    Recorded,
    /// It belongs to positions: speed derived from them and their times (haversine), altitude that a satellite
    /// receiver gave with them.
    Positions,
    /// Derived from cumulated distance and times.
    Distance,
}

impl Workout {
    /// The times of the heart rates, in unix seconds.
    pub fn heart_rate_times(&self) -> Option<&[f64]> {
        self.heart_rate_time.as_deref().or(self.time.as_deref())
    }
}

impl Origin {
    /// Every source.
    pub const ALL: [Self; 4] = [Self::Missing, Self::Recorded, Self::Positions, Self::Distance];

    /// The word that stands in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Recorded => "recorded",
            Self::Positions => "positions",
            Self::Distance => "distance",
        }
    }
}

/// Workouts in a row group: some 9 MB of series at 500 points each.
const ROWS_PER_GROUP: usize = 512;

/// Writes a workouts file. Row groups are cut at a fixed number of workouts, so that the bytes do not depend on
/// how many are handed over at a time.
pub struct WorkoutWriter {
    path: PathBuf,
    file: parquet::FileWriter,
    pending: Vec<Workout>,
}

impl WorkoutWriter {
    /// Starts a file.
    pub fn create(path: &Path) -> Result<Self> {
        let schema = Schema::from_iter(rows::columns().map(|(name, kind)| (name.into(), kind)));
        let file = parquet::create(path, &schema)?;
        Ok(Self { path: path.to_owned(), file, pending: Vec::with_capacity(ROWS_PER_GROUP) })
    }

    /// Appends workouts.
    pub fn write(&mut self, workouts: impl IntoIterator<Item = Workout>) -> Result<()> {
        for workout in workouts {
            self.pending.push(workout);
            if self.pending.len() == ROWS_PER_GROUP {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Ends the file; without this call it is no Parquet file.
    pub fn finish(mut self) -> Result<()> {
        if !self.pending.is_empty() {
            self.flush()?;
        }
        self.file.finish().with_context(|| format!("`{}` cannot be written", self.path.display()))?;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let frame = rows::frame(&self.pending);
        self.pending.clear();
        self.file.write_batch(&frame).with_context(|| format!("`{}` cannot be written", self.path.display()))
    }
}

/// Reads a workouts file, one row group at a time, so that memory does not grow with the file.
pub struct WorkoutReader {
    path: PathBuf,
    metadata: FileMetadataRef,
    group: usize,
    first_row: usize,
}

impl WorkoutReader {
    /// Opens a file; fails when it is no Parquet file or lacks a column.
    pub fn open(path: &Path) -> Result<Self> {
        let mut reader = parquet::open(path, &rows::columns())?;
        let metadata = reader.get_metadata().with_context(|| parquet::unreadable(path))?.clone();
        Ok(Self { path: path.to_owned(), metadata, group: 0, first_row: 0 })
    }

    /// Workouts in the file.
    pub fn total(&self) -> usize {
        self.metadata.num_rows
    }

    fn read_group(&self, rows: usize) -> Result<Vec<Workout>> {
        let context = || parquet::unreadable(&self.path);
        let file = File::open(&self.path).with_context(context)?;
        let mut reader = ParquetReader::new(file)
            .read_parallel(ParallelStrategy::RowGroups)
            .with_slice(Some((self.first_row, rows)));
        reader.set_metadata(self.metadata.clone());
        let frame = reader.finish().with_context(context)?;
        rows::workouts(&frame).with_context(context)
    }
}

impl Iterator for WorkoutReader {
    type Item = Result<Vec<Workout>>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = self.metadata.row_groups.get(self.group)?.num_rows();
        let batch = self.read_group(rows);
        self.group += 1;
        self.first_row += rows;
        Some(batch)
    }
}

/// Reads every workout of a file at once.
pub fn read_all(path: &Path) -> Result<Vec<Workout>> {
    let mut workouts = Vec::new();
    for batch in WorkoutReader::open(path)? {
        workouts.extend(batch?);
    }
    Ok(workouts)
}

#[cfg(test)]
mod tests {
    use super::{Origin, Workout, WorkoutReader, WorkoutWriter, read_all};
    use crate::parquet;
    use polars::prelude::{Column, NamedFrom, Series};

    fn workouts(count: i64) -> Vec<Workout> {
        let run = |id| Workout {
            id,
            user: (id % 3 != 0).then_some(id / 7),
            sport: "run".into(),
            gender: (id % 2 == 0).then(|| "female".into()),
            time: Some((0..id % 5).map(|step| 1.4e9 + step as f64).collect()),
            heart_rate: Some(vec![140.0; (id % 4) as usize]),
            speed: (id % 2 == 0).then(|| vec![3.25, -0.0, f32::MIN_POSITIVE]),
            altitude: Some(vec![]),
            latitude: None,
            longitude: Some(vec![2.35, -179.999_999_9]),
            source: "apple".into(),
            device: (id % 2 == 1).then(|| "Apple Watch".into()),
            time_zone: (id % 3 == 1).then(|| "Europe/Paris".into()),
            indoor: (id % 3 != 0).then_some(id % 2 == 0),
            heart_rate_time: (id % 2 == 1).then(|| vec![1.4e9 + 0.5; (id % 4) as usize]),
            heart_rate_span: (id % 2 == 1).then(|| vec![75.0; (id % 4) as usize]),
            pauses: vec![1.4e9; (id % 3) as usize * 2],
            speed_source: Origin::ALL[(id % 4) as usize],
            altitude_source: Origin::ALL[(id / 4 % 4) as usize],
            unconvertible: (id % 5 == 0).then(|| "altitude,speed".into()),
            synthetic: id % 2 == 1,
        };
        (0..count).map(run).collect()
    }

    fn write(path: &std::path::Path, workouts: &[Workout], at_a_time: usize) {
        let mut writer = WorkoutWriter::create(path).unwrap();
        for batch in workouts.chunks(at_a_time) {
            writer.write(batch.to_vec()).unwrap();
        }
        writer.finish().unwrap();
    }

    #[test]
    fn workouts_come_back_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.parquet");
        let written = workouts(1300);
        write(&path, &written, 100);
        assert_eq!(read_all(&path).unwrap(), written);
        let batches: Vec<usize> = WorkoutReader::open(&path).unwrap().map(|b| b.unwrap().len()).collect();
        assert_eq!(batches, [512, 512, 276]);
        assert_eq!(WorkoutReader::open(&path).unwrap().total(), 1300);
    }

    #[test]
    fn bytes_do_not_depend_on_how_workouts_are_handed_over() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        write(&one, &workouts(700), 700);
        write(&two, &workouts(700), 33);
        assert_eq!(std::fs::read(one).unwrap(), std::fs::read(two).unwrap());
    }

    #[test]
    fn nan_survives_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.parquet");
        let workout = Workout { heart_rate: Some(vec![f32::NAN, 120.0]), ..Workout::default() };
        write(&path, &[workout], 1);
        let series = read_all(&path).unwrap().remove(0).heart_rate.unwrap();
        assert!(series[0].is_nan() && series[1] == 120.0);
    }

    #[test]
    fn no_workout_at_all_is_a_file_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.parquet");
        write(&path, &[], 1);
        assert_eq!(read_all(&path).unwrap(), []);
    }

    #[test]
    fn a_file_without_a_column_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.parquet");
        let column = |name: &str| Column::from(Series::new(name.into(), [1_i64, 2]));
        parquet::write(&path, vec![column("id")]).unwrap();
        let error = format!("{:#}", read_all(&path).unwrap_err());
        assert!(error.contains("w.parquet` has no column `user`"), "{error}");
        parquet::write(&path, vec![column("id"), column("user"), column("sport")]).unwrap();
        let error = format!("{:#}", read_all(&path).unwrap_err());
        assert!(error.contains("column `sport` holds i64, not str"), "{error}");
    }

    #[test]
    fn a_cut_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.parquet");
        write(&path, &workouts(20), 20);
        let bytes = std::fs::read(&path).unwrap();
        for cut in [0, 3, 11, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let error = format!("{:#}", read_all(&path).unwrap_err());
            assert!(error.contains("w.parquet` cannot be read as Parquet"), "{cut}: {error}");
        }
    }
}
