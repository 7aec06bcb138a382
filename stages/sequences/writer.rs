//! Sequences written as they come: each large array grows in a file of its own beside the output, and at the end
//! they are put together. Unaware of how workouts are laid on steps.

use std::fs::File;
use std::io::{BufWriter, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::sequences::{DataSource, Header, check_steps};
use crate::tensors::column::{Number, bytes};
use crate::tensors::{self, Announced};

/// Bytes of an array that are gathered before they go to its file.
const GATHERED: usize = 1 << 18;

/// Writes sequences workout by workout; the file is the one that [`crate::sequences::Sequences::write`] gives.
///
/// Memory holds 32 bytes for each workout; the disk takes the largest array, the features, twice for the time that
/// they are copied.
pub struct Writer {
    path: PathBuf,
    header: Header,
    features: Spool,
    target: Spool,
    time: Spool,
    real: Spool,
    valid: Spool,
    offsets: Vec<i64>,
    workout: Vec<i64>,
    user: Vec<i64>,
    start: Vec<i64>,
}

/// One workout on its steps; what the fields mean is said at [`crate::sequences::Sequences`].
#[derive(Clone, Copy, Debug)]
pub struct Laid<'a> {
    /// The source's number of the workout.
    pub workout: i64,
    /// The source's number of the user.
    pub user: i64,
    /// Its start in unix seconds.
    pub start: i64,
    /// Features, step by step.
    pub features: &'a [f32],
    /// Heart rate of each step in BPM.
    pub target: &'a [f32],
    /// Seconds since the start of each step.
    pub time: &'a [f32],
    /// 1 where the target is a real sample.
    pub real: &'a [u8],
    /// 1 where the features rest on the recording.
    pub valid: &'a [u8],
}

impl Writer {
    /// Starts a file. It appears at the end; until then arrays grow in nameless files of its folder.
    pub fn create(path: &Path, header: Header) -> Result<Self> {
        let spool = || Spool::create(path).with_context(|| format!("`{}` cannot be written", path.display()));
        Ok(Self {
            path: path.to_owned(),
            header,
            features: spool()?,
            target: spool()?,
            time: spool()?,
            real: spool()?,
            valid: spool()?,
            offsets: vec![0],
            workout: Vec::new(),
            user: Vec::new(),
            start: Vec::new(),
        })
    }

    /// Appends a workout; fails when its arrays do not go together or the disk is full.
    pub fn add(&mut self, laid: Laid<'_>) -> Result<()> {
        let (first, steps) = (self.steps(), laid.target.len());
        let context = || format!("`{}`: workout {} cannot be written", self.path.display(), laid.workout);
        let lengths = [laid.time.len(), laid.real.len(), laid.valid.len()];
        ensure!(lengths == [steps; 3], "{}: {lengths:?} steps where {steps} belong", context());
        let values = steps * self.header.features.len();
        ensure!(laid.features.len() == values, "{}: its features are not one row for each step", context());
        check_steps(first, laid.features, laid.target, laid.real, laid.valid).with_context(context)?;
        let path = self.path.display();
        let unwritable = || format!("`{path}` cannot be written");
        self.features.append(laid.features).with_context(unwritable)?;
        self.target.append(laid.target).with_context(unwritable)?;
        self.time.append(laid.time).with_context(unwritable)?;
        self.real.append(laid.real).with_context(unwritable)?;
        self.valid.append(laid.valid).with_context(unwritable)?;
        self.offsets.push((first + steps) as i64);
        self.workout.push(laid.workout);
        self.user.push(laid.user);
        self.start.push(laid.start);
        Ok(())
    }

    /// Number of workouts so far.
    pub fn len(&self) -> usize {
        self.workout.len()
    }

    /// Whether there is no workout yet.
    pub fn is_empty(&self) -> bool {
        self.workout.is_empty()
    }

    /// Number of steps so far.
    pub fn steps(&self) -> usize {
        *self.offsets.last().expect("it begins with 0") as usize
    }

    /// Puts the file together; `data` says where all workouts came from.
    pub fn finish(mut self, data: DataSource) -> Result<()> {
        self.header.data = data;
        let context = format!("`{}` cannot be written", self.path.display());
        self.assemble().context(context)
    }

    fn assemble(self) -> Result<()> {
        let (steps, width, workouts) = (self.steps(), self.header.features.len(), self.workout.len());
        let wide =
            [("offsets", &self.offsets), ("start", &self.start), ("user", &self.user), ("workout", &self.workout)];
        let single = [("features", vec![steps, width]), ("target", vec![steps]), ("time", vec![steps])];
        let narrow = [("real", vec![steps]), ("valid", vec![steps])];
        debug_assert!(wide[1..].iter().all(|(_, values)| values.len() == workouts));
        let mut arrays: Vec<Announced<'_>> =
            wide.iter().map(|(name, values)| announced::<i64>(name, vec![values.len()])).collect();
        arrays.extend(single.map(|(name, shape)| announced::<f32>(name, shape)));
        arrays.extend(narrow.map(|(name, shape)| announced::<u8>(name, shape)));
        let mut file = File::create(&self.path)?;
        file.write_all(&tensors::head(&self.header, &arrays)?)?;
        for (_, values) in wide {
            file.write_all(&bytes(values))?;
        }
        for spool in [self.features, self.target, self.time, self.real, self.valid] {
            spool.pour(&mut file)?;
        }
        Ok(())
    }
}

fn announced<T: Number>(name: &str, shape: Vec<usize>) -> Announced<'_> {
    Announced { name, dtype: T::DTYPE, shape }
}

/// An array that grows in a file without a name: however the program ends, nothing of it stays behind.
struct Spool {
    file: BufWriter<File>,
    bytes: u64,
}

impl Spool {
    fn create(beside: &Path) -> std::io::Result<Self> {
        let path = beside.with_extension("part");
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Self { file: BufWriter::with_capacity(GATHERED, file), bytes: 0 })
    }

    fn append<T: Number>(&mut self, values: &[T]) -> std::io::Result<()> {
        self.bytes += size_of_val(values) as u64;
        self.file.write_all(&bytes(values))
    }

    /// Copies the array to the end of a file, within the kernel where that can, and gives its room back.
    fn pour(self, to: &mut File) -> Result<()> {
        let mut file = self.file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.rewind()?;
        let copied = std::io::copy(&mut file, to)?;
        ensure!(copied == self.bytes, "{copied} bytes of an array came back of {}", self.bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequences::{Grid, Sequences};
    use crate::tensors::Arrays;

    fn sequences(workouts: usize, features: usize) -> Sequences {
        let header = Header {
            features: (0..features).map(|i| format!("decay({})", i + 1)).collect(),
            grid: Grid::Time { step_s: 5.0 },
            data: DataSource::Mixed,
        };
        let mut all = Sequences::empty(header);
        for workout in 0..workouts {
            for step in 0..3 + workout % 5 {
                let real = step % 3 == 0;
                all.features.extend((0..features).map(|i| (step * 7 + i + workout) as f32 / 3.0));
                all.target.push(if real { 100.0 + step as f32 } else { 0.0 });
                all.time.push(5.0 * step as f32);
                all.real.push(u8::from(real));
                all.valid.push(1);
            }
            all.offsets.push(all.target.len() as i64);
            all.workout.push(10 + workout as i64);
            all.user.push(-(workout as i64));
            all.start.push(1_600_000_000);
        }
        all
    }

    fn laid(all: &Sequences, place: usize) -> Laid<'_> {
        let steps = all.steps(place);
        Laid {
            workout: all.workout[place],
            user: all.user[place],
            start: all.start[place],
            features: &all.features[steps.start * all.width()..steps.end * all.width()],
            target: &all.target[steps.clone()],
            time: &all.time[steps.clone()],
            real: &all.real[steps.clone()],
            valid: &all.valid[steps],
        }
    }

    /// Names of the files in a folder.
    fn files(folder: &Path) -> Vec<String> {
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_comes_workout_by_workout_is_the_same_file_as_what_is_written_at_once() {
        for (workouts, features) in [(1, 1), (7, 2), (40, 3), (3, 0)] {
            let folder = tempfile::tempdir().unwrap();
            let (one, two) = (folder.path().join("one.safetensors"), folder.path().join("two.safetensors"));
            let all = sequences(workouts, features);
            all.write(&one).unwrap();
            let header = Header { data: DataSource::Recorded, ..all.header.clone() };
            let mut writer = Writer::create(&two, header).unwrap();
            (0..workouts).for_each(|place| writer.add(laid(&all, place)).unwrap());
            assert_eq!(files(folder.path()), ["one.safetensors"], "arrays grow in files without a name");
            writer.finish(DataSource::Mixed).unwrap();
            assert!(std::fs::read(&one).unwrap() == std::fs::read(&two).unwrap(), "{workouts}, {features}");
            assert_eq!(files(folder.path()).len(), 2);
        }
    }

    #[test]
    fn every_array_lies_where_its_numbers_can_be_read_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        for workouts in 1..9 {
            let all = sequences(workouts, workouts % 3);
            all.write(&path).unwrap();
            let file = Arrays::open(&path).unwrap();
            for name in ["offsets", "start", "user", "workout"] {
                assert!(file.vector::<i64>(name).unwrap().is_mapped(), "{name}");
            }
            for name in ["features", "target", "time"] {
                assert!(file.column::<f32>(name).unwrap().1.is_mapped(), "{name}");
            }
            let read = Sequences::read(&path).unwrap();
            assert!(read.features.is_mapped() && read.real.is_mapped());
            assert_eq!(read, all);
        }
    }

    #[test]
    fn a_workout_whose_arrays_do_not_go_together_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let all = sequences(2, 2);
        let mut writer = Writer::create(&path, all.header.clone()).unwrap();
        let good = laid(&all, 1);
        assert!(writer.add(Laid { real: &good.real[1..], ..good }).is_err());
        assert!(writer.add(Laid { features: &good.features[1..], ..good }).is_err());
        let nan = vec![f32::NAN; good.features.len()];
        let error = format!("{:#}", writer.add(Laid { features: &nan, ..good }).unwrap_err());
        assert!(error.contains("a.safetensors`: workout 11 cannot be written: `features` holds NaN"), "{error}");
        drop(writer);
        assert!(files(folder.path()).is_empty(), "what is not finished leaves nothing behind");
    }
}
