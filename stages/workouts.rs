//! Workouts as the project knows them: SI units, one struct for each, and their Parquet file, read and written
//! in batches so that memory does not grow with their number. Unaware of the formats they came from.

use std::path::Path;

use anyhow::{Context as _, Result};
use polars::prelude::Schema;

use crate::parquet;

pub mod ahead;
pub mod behind;
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

/// A series of a workout, for readers that do not need them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesName {
    /// Sample times.
    Time,
    /// Heart rate.
    HeartRate,
    /// Times of the heart rates.
    HeartRateTime,
    /// Spans of the heart rates.
    HeartRateSpan,
    /// Speed.
    Speed,
    /// Altitude.
    Altitude,
    /// Latitude.
    Latitude,
    /// Longitude.
    Longitude,
    /// Pauses.
    Pauses,
}

impl SeriesName {
    /// Every series.
    pub const ALL: &'static [Self] = &[
        Self::Time,
        Self::HeartRate,
        Self::HeartRateTime,
        Self::HeartRateSpan,
        Self::Speed,
        Self::Altitude,
        Self::Latitude,
        Self::Longitude,
        Self::Pauses,
    ];

    /// Those that a [`crate::track::Track`] is made of.
    pub const OF_TRACKS: &'static [Self] =
        &[Self::Time, Self::HeartRate, Self::HeartRateTime, Self::Speed, Self::Altitude];

    /// The name of its column.
    pub const fn column(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::HeartRate => "heart_rate",
            Self::HeartRateTime => "heart_rate_time",
            Self::HeartRateSpan => "heart_rate_span",
            Self::Speed => "speed",
            Self::Altitude => "altitude",
            Self::Latitude => "latitude",
            Self::Longitude => "longitude",
            Self::Pauses => "pauses",
        }
    }
}

/// Workouts in a row group: some 9 MB of series at 500 points each.
const ROWS_PER_GROUP: usize = 512;

/// Writes a workouts file. Row groups are cut at a fixed number of workouts, so that the bytes do not depend on
/// how many are handed over at a time; each is compressed on a thread of the writer's own while the next fills.
pub struct WorkoutWriter {
    pending: Vec<Workout>,
    groups: behind::Groups,
}

impl WorkoutWriter {
    /// Starts a file.
    pub fn create(path: &Path) -> Result<Self> {
        let schema = Schema::from_iter(rows::columns().map(|(name, kind)| (name.into(), kind)));
        let file = parquet::create(path, &schema)?;
        Ok(Self { pending: Vec::new(), groups: behind::Groups::start(path, file)? })
    }

    /// Appends workouts.
    pub fn write(&mut self, workouts: impl IntoIterator<Item = Workout>) -> Result<()> {
        for workout in workouts {
            self.pending.push(workout);
            if self.pending.len() == ROWS_PER_GROUP {
                self.groups.write(std::mem::take(&mut self.pending))?;
            }
        }
        Ok(())
    }

    /// Ends the file; without this call it is no Parquet file.
    pub fn finish(mut self) -> Result<()> {
        if !self.pending.is_empty() {
            self.groups.write(self.pending)?;
        }
        let (path, file) = self.groups.end()?;
        file.finish().with_context(|| format!("`{}` cannot be written", path.display()))?;
        Ok(())
    }
}

/// Reads a workouts file, one row group at a time, so that memory does not grow with the file. The next group is
/// decoded on a thread of the reader's own while one is looked at.
pub struct WorkoutReader {
    groups: ahead::Groups,
    total: usize,
}

impl WorkoutReader {
    /// Opens a file; fails when it is no Parquet file or lacks a column.
    pub fn open(path: &Path) -> Result<Self> {
        Self::with_series(path, SeriesName::ALL)
    }

    /// As [`WorkoutReader::open`], for some series; the others of every workout are none, whatever the file holds.
    pub fn with_series(path: &Path, series: &[SeriesName]) -> Result<Self> {
        let mut reader = parquet::open(path, &rows::columns())?;
        let metadata = reader.get_metadata().with_context(|| parquet::unreadable(path))?.clone();
        let left_out = SeriesName::ALL.iter().filter(|name| !series.contains(name));
        let left_out: Vec<&str> = left_out.map(|name| name.column()).collect();
        let names = rows::columns().map(|(name, _)| name).into_iter();
        let columns = names.filter(|name| !left_out.contains(name)).map(str::to_owned).collect();
        let total = metadata.num_rows;
        Ok(Self { groups: ahead::Groups::new(ahead::Source { path: path.to_owned(), metadata, columns }), total })
    }

    /// Workouts in the file.
    pub fn total(&self) -> usize {
        self.total
    }
}

impl Iterator for WorkoutReader {
    type Item = Result<Vec<Workout>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.groups.next()
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
    use super::{Origin, SeriesName, Workout, WorkoutReader, WorkoutWriter, read_all, rows};
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
    fn series_that_are_not_asked_for_are_none_and_the_rest_is_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.parquet");
        let written = workouts(600);
        write(&path, &written, 600);
        let read = WorkoutReader::with_series(&path, &[SeriesName::Time, SeriesName::Speed]).unwrap();
        let read: Vec<Workout> = read.flat_map(Result::unwrap).collect();
        let bare = |workout: &Workout| Workout {
            heart_rate: None,
            heart_rate_time: None,
            heart_rate_span: None,
            altitude: None,
            latitude: None,
            longitude: None,
            pauses: Vec::new(),
            ..workout.clone()
        };
        assert_eq!(read, written.iter().map(bare).collect::<Vec<_>>());
        let names: Vec<&str> = SeriesName::ALL.iter().map(|name| name.column()).collect();
        let lists = rows::columns().into_iter().filter(|(_, kind)| kind.is_list()).map(|(name, _)| name);
        assert_eq!(names, lists.collect::<Vec<_>>());
    }

    #[test]
    fn a_reader_and_a_writer_that_are_dropped_early_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.parquet");
        write(&path, &workouts(1600), 1600);
        let mut reader = WorkoutReader::open(&path).unwrap();
        assert_eq!(reader.next().unwrap().unwrap().len(), 512);
        drop(reader);
        let unfinished = folder.path().join("u.parquet");
        let mut writer = WorkoutWriter::create(&unfinished).unwrap();
        writer.write(workouts(1100)).unwrap();
        drop(writer);
        assert!(read_all(&unfinished).is_err(), "a file that was not finished is no Parquet file");
    }

    #[test]
    fn a_full_disk_is_an_error_that_names_the_file() {
        let full = std::path::Path::new("/dev/full");
        if !full.exists() {
            return;
        }
        let mut writer = WorkoutWriter::create(full).unwrap();
        let written = (0..8).try_for_each(|_| writer.write(workouts(1024)));
        let error = format!("{:#}", written.and_then(|()| writer.finish()).unwrap_err());
        assert!(error.contains("`/dev/full` cannot be written"), "{error}");
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
