//! The reader of FitRec (Endomondo) files: one workout a line, a Python dict literal or a JSON object.
//! Bad lines are set aside with their reason, nothing else stops it. Unaware of filters and of Parquet.
//!
//! Fields read: `id`, `userId`, `sport`, `gender`, `timestamp` (unix seconds), `heart_rate` (BPM), `speed`
//! (km/h, given as m/s), `altitude` (m), `latitude` and `longitude` (degrees), `distance` (metres since the
//! start; published files lack it), `url`. Every other field is passed over.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use crate::read::dict::{Fault, FaultKind, Numbers, Scalar, Scanner};
use crate::read::lines::{Batches, Limits, Line, State};
use crate::read::record::{Reason, Record, SetAside};
use crate::workouts::Origin;

/// Characters of a line that a note of it shows.
const EXCERPT: usize = 60;

/// What was read at a time, in the order of the file.
#[derive(Debug, Default)]
pub struct Batch {
    /// Workouts.
    pub records: Vec<Record>,
    /// Lines set aside.
    pub set_aside: Vec<SetAside>,
    /// Lines in all, blank ones left out.
    pub lines: u64,
    /// Something to tell a person, such as a file that breaks off.
    pub warning: Option<String>,
    /// Bytes of the file that were read so far.
    pub file_bytes: u64,
}

/// Reads a file in batches; holds no more than a few of them.
pub struct Reader {
    path: PathBuf,
    batches: Batches,
    seen: HashSet<i64>,
    line_bytes: usize,
}

impl Reader {
    /// Opens a plain or gzipped file.
    pub fn open(path: &Path, limits: Limits) -> Result<Self> {
        let batches = Batches::open(path, limits)?;
        if batches.file_size == 0 {
            bail!("`{}` holds no workout: it is empty; give a FitRec file with one dict a line", path.display());
        }
        Ok(Self { path: path.to_owned(), batches, seen: HashSet::new(), line_bytes: limits.line_bytes })
    }

    /// Size of the file in bytes.
    pub fn file_size(&self) -> u64 {
        self.batches.file_size
    }

    /// Keeps the first workout of each number.
    fn gather(&mut self, outcomes: Vec<Outcome>) -> Batch {
        let mut batch = Batch::default();
        for outcome in outcomes {
            batch.lines += u64::from(!matches!(outcome, Outcome::Blank));
            match outcome {
                Outcome::Blank => {}
                Outcome::Read { record, line: _, excerpt: _ } if self.seen.insert(record.workout.id) => {
                    batch.records.push(*record);
                }
                Outcome::Read { record, line, excerpt } => {
                    let detail = format!("workout {} stands in an earlier line", record.workout.id);
                    batch.set_aside.push(note(line, Reason::Duplicate, detail, excerpt));
                }
                Outcome::SetAside(note) => batch.set_aside.push(note),
            }
        }
        batch
    }
}

impl Iterator for Reader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let lines = match self.batches.next()? {
            Ok(lines) => lines,
            Err(error) => return Some(Err(error)),
        };
        let limit = self.line_bytes;
        let outcomes = lines.lines().into_par_iter().map(|(line, text)| outcome(line, text, limit)).collect();
        let mut batch = self.gather(outcomes);
        batch.file_bytes = lines.file_bytes;
        batch.warning = lines.damage.map(|damage| {
            format!(
                "`{}`: {damage}; the workouts before it are kept, fetch the file again for the rest",
                self.path.display()
            )
        });
        Some(Ok(batch))
    }
}

/// What became of a line.
enum Outcome {
    Blank,
    Read { record: Box<Record>, line: u64, excerpt: String },
    SetAside(SetAside),
}

fn outcome(line: &Line, text: &[u8], limit: usize) -> Outcome {
    let text = match line.number {
        1 => text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text),
        _ => text,
    };
    let (reason, detail) = match line.state {
        State::TooLong => (Reason::TooLong, format!("it exceeds {limit} bytes")),
        State::BrokenOff => (Reason::BrokenOff, "the compressed file ends or is damaged in this line".to_owned()),
        State::Whole if text.trim_ascii().is_empty() => return Outcome::Blank,
        State::Whole => match parse(text) {
            Ok(record) => {
                return Outcome::Read { record: Box::new(record), line: line.number, excerpt: excerpt(text) };
            }
            Err(refusal) => refusal,
        },
    };
    Outcome::SetAside(note(line.number, reason, detail, excerpt(text)))
}

fn note(line: u64, reason: Reason, detail: String, excerpt: String) -> SetAside {
    SetAside { excerpt, ..SetAside::new(format!("line {line}"), reason, detail) }
}

fn excerpt(text: &[u8]) -> String {
    let start = &text[..text.len().min(4 * EXCERPT)];
    String::from_utf8_lossy(start).chars().take(EXCERPT).collect()
}

/// Reads one line.
///
/// Fails with the class and the words of what is wrong when it is no dict or has no `id`.
pub fn parse(line: &[u8]) -> Result<Record, (Reason, String)> {
    let mut fields = Fields::default();
    Scanner::new(line).dict(|scanner, key| fields.read(scanner, key)).map_err(refusal)?;
    fields.record()
}

fn refusal(fault: Fault) -> (Reason, String) {
    let reason = match fault.kind {
        FaultKind::NoDict => Reason::NoDict,
        FaultKind::Malformed => Reason::Malformed,
        FaultKind::Trailing => Reason::Trailing,
        FaultKind::TooDeep => Reason::TooDeep,
    };
    (reason, format!("{} expected at byte {}", fault.expected, fault.at + 1))
}

/// Points of a published workout; room for a series is made for so many at once.
const USUAL_POINTS: usize = 500;

/// The fields of a line as they come.
#[derive(Default)]
struct Fields {
    id: Option<i64>,
    record: Record,
    unconvertible: Vec<&'static str>,
}

impl Fields {
    fn read(&mut self, scanner: &mut Scanner<'_>, key: &str) -> Result<(), Fault> {
        let (workout, odd) = (&mut self.record.workout, &mut self.unconvertible);
        match key {
            "timestamp" => workout.time = series(odd, scanner, "timestamp", |value| value)?,
            "heart_rate" => workout.heart_rate = series(odd, scanner, "heart_rate", |value| value as f32)?,
            "speed" => workout.speed = series(odd, scanner, "speed", |value| (value / 3.6) as f32)?,
            "altitude" => workout.altitude = series(odd, scanner, "altitude", |value| value as f32)?,
            "latitude" => workout.latitude = series(odd, scanner, "latitude", |value| value)?,
            "longitude" => workout.longitude = series(odd, scanner, "longitude", |value| value)?,
            "distance" => self.record.distance = series(odd, scanner, "distance", |value| value)?,
            "id" => self.id = whole(scanner.value()?),
            "userId" => workout.user = whole(scanner.value()?),
            "sport" => workout.sport = text(scanner.value()?).unwrap_or_default(),
            "gender" => workout.gender = text(scanner.value()?),
            "url" => workout.synthetic = text(scanner.value()?).is_some_and(|url| url.starts_with("synthetic:")),
            _ => scanner.pass()?,
        }
        Ok(())
    }

    fn record(mut self) -> Result<Record, (Reason, String)> {
        let missing = || (Reason::NoId, "it has no field `id` that is a whole number".to_owned());
        self.record.workout.id = self.id.ok_or_else(missing)?;
        let workout = &mut self.record.workout;
        let recorded = |there: bool| if there { Origin::Recorded } else { Origin::Missing };
        workout.speed_source = recorded(workout.speed.is_some());
        workout.altitude_source = recorded(workout.altitude.is_some());
        workout.source = "fitrec".to_owned();
        self.unconvertible.sort_unstable();
        self.record.workout.unconvertible = (!self.unconvertible.is_empty()).then(|| self.unconvertible.join(","));
        Ok(self.record)
    }
}

/// Reads a list of numbers and notes the field's name when something in it is none.
fn series<T>(
    unconvertible: &mut Vec<&'static str>,
    scanner: &mut Scanner<'_>,
    name: &'static str,
    convert: impl Fn(f64) -> T,
) -> Result<Option<Vec<T>>, Fault> {
    let mut values = Vec::with_capacity(USUAL_POINTS);
    let outcome = scanner.numbers(|value| values.push(convert(value)))?;
    unconvertible.retain(|&earlier| earlier != name);
    if outcome == Numbers::Unconvertible {
        unconvertible.push(name);
    }
    Ok((outcome != Numbers::Absent).then_some(values))
}

/// A whole number, also when it was written as a string or with a point.
fn whole(scalar: Scalar<'_>) -> Option<i64> {
    match scalar {
        Scalar::Int(value) => Some(value),
        Scalar::Float(value) if value.fract() == 0.0 && value.abs() < 1e15 => Some(value as i64),
        Scalar::Text(text) => text.trim().parse().ok(),
        Scalar::Float(_) | Scalar::Absent | Scalar::Flag(_) | Scalar::Nested => None,
    }
}

fn text(scalar: Scalar<'_>) -> Option<String> {
    match scalar {
        Scalar::Text(text) => Some(text.into_owned()),
        Scalar::Int(_) | Scalar::Float(_) | Scalar::Absent | Scalar::Flag(_) | Scalar::Nested => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Batch, Limits, Reader, Reason, Record, parse};
    use crate::workouts::Origin;
    use std::path::{Path, PathBuf};

    /// Reads a file that holds these bytes.
    fn read(bytes: &[u8], limits: Limits) -> Batch {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs.json");
        std::fs::write(&path, bytes).unwrap();
        read_file(&path, limits)
    }

    fn read_file(path: &Path, limits: Limits) -> Batch {
        let mut all = Batch::default();
        for batch in Reader::open(path, limits).unwrap() {
            let batch = batch.unwrap();
            all.records.extend(batch.records);
            all.set_aside.extend(batch.set_aside);
            all.lines += batch.lines;
            all.warning = all.warning.or(batch.warning);
        }
        all
    }

    fn run(id: usize) -> String {
        format!(
            "{{'longitude': [24.6, 24.7], 'altitude': [41.6, 40], 'latitude': [60.1, 60.2], 'sport': 'run', 'id': {id}, \
             'heart_rate': [100, 111], 'gender': 'male', 'timestamp': [1408898746, 1408898754], \
             'url': 'https://example.org/{id}', 'userId': 10921915, 'speed': [6.8652, 18.0]}}\n"
        )
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn one(line: &str) -> Record {
        parse(line.as_bytes()).unwrap()
    }

    #[test]
    fn a_published_line_becomes_a_workout_in_si_units() {
        let workout = one(&run(396_826_535)).workout;
        assert_eq!((workout.id, workout.user, workout.sport.as_str()), (396_826_535, Some(10_921_915), "run"));
        assert_eq!(workout.speed.unwrap(), [1.907, 5.0]);
        assert_eq!(workout.time.unwrap(), [1_408_898_746.0, 1_408_898_754.0]);
        assert_eq!(workout.heart_rate.unwrap(), [100.0, 111.0]);
        assert_eq!(workout.altitude.unwrap(), [41.6, 40.0]);
        assert_eq!((workout.latitude.unwrap(), workout.longitude.unwrap()), (vec![60.1, 60.2], vec![24.6, 24.7]));
        assert_eq!((workout.gender.as_deref(), workout.unconvertible, workout.synthetic), (Some("male"), None, false));
        assert_eq!(workout.speed_source, Origin::Recorded);
    }

    #[test]
    fn a_json_line_in_another_order_is_the_same_workout() {
        let json = run(7).replace('\'', "\"");
        assert_eq!(one(&json), one(&run(7)));
        let moved = one("{\"speed\":[6.8652,18],\"id\":7,\"sport\":\"run\",\"gender\":null,\"userId\":null}").workout;
        assert_eq!(moved.speed, one(&run(7)).workout.speed);
        assert_eq!((moved.gender, moved.user, moved.heart_rate), (None, None, None));
    }

    #[test]
    fn nested_and_unknown_fields_are_passed_over() {
        let extra = "{'weather': {'wind': [1, {'a': ('x', None)}], 'b': \"]}'\"}, 'points': [[1, 2], [3]], ";
        assert_eq!(one(&run(7).replacen('{', extra, 1)), one(&run(7)));
    }

    #[test]
    fn none_and_strings_in_a_series_are_told_while_nan_stays() {
        let line = run(7).replace("[100, 111]", "[None, 111]").replace("[41.6, 40]", "['high', 40]");
        let workout = one(&line.replace("6.8652", "nan")).workout;
        assert_eq!(workout.unconvertible.as_deref(), Some("altitude,heart_rate"));
        assert!(workout.heart_rate.unwrap()[0].is_nan() && workout.speed.unwrap()[0].is_nan());
        let words = one("{'id': 1, 'speed': 'fast', 'altitude': None}").workout;
        assert_eq!((words.speed, words.altitude), (Some(vec![]), None));
        assert_eq!(words.unconvertible.as_deref(), Some("speed"));
    }

    #[test]
    fn series_of_unequal_length_are_kept_for_a_later_filter() {
        let workout = one(&run(7).replace("[100, 111]", "[100, 111, 112]")).workout;
        assert_eq!((workout.heart_rate.unwrap().len(), workout.speed.unwrap().len()), (3, 2));
    }

    #[test]
    fn bad_lines_are_set_aside_by_number_and_reason() {
        let no_id = run(3).replace("'id': 3", "'id': None");
        let text = [
            &run(1),
            "hello, this is no workout at all, and it is longer than the sixty characters shown\n",
            "\r\n",
            &run(2).replace('\n', " {}\n"),
            &no_id,
            &run(1),
            &run(4)[..100],
            "\n",
            &run(5),
        ]
        .concat();
        let read = read(text.as_bytes(), Limits::default());
        let ids: Vec<i64> = read.records.iter().map(|record| record.workout.id).collect();
        assert_eq!((ids, read.lines, read.warning), (vec![1, 5], 7, None));
        let reasons: Vec<(&str, Reason)> =
            read.set_aside.iter().map(|note| (note.place.as_str(), note.reason)).collect();
        let expected = [
            ("line 2", Reason::NoDict),
            ("line 4", Reason::Trailing),
            ("line 5", Reason::NoId),
            ("line 6", Reason::Duplicate),
            ("line 7", Reason::Malformed),
        ];
        assert_eq!(reasons, expected);
        assert_eq!(read.set_aside[0].excerpt, "hello, this is no workout at all, and it is longer than the ");
        assert_eq!(read.set_aside[3].detail, "workout 1 stands in an earlier line");
        assert_eq!(read.set_aside[4].detail, "a value expected at byte 101");
    }

    #[test]
    fn a_truncated_gzip_keeps_what_was_read() {
        let text: String = (1..=1000).map(run).collect();
        let bytes = gzip(text.as_bytes());
        let read = read(&bytes[..bytes.len() * 2 / 3], Limits::default());
        let count = read.records.len();
        assert!(count > 300 && count < 1000, "{count}");
        assert_eq!(read.records[count - 1].workout.id, count as i64);
        assert_eq!(read.set_aside.len(), 1);
        assert_eq!(
            (read.set_aside[0].place.clone(), read.set_aside[0].reason),
            (format!("line {}", count + 1), Reason::BrokenOff)
        );
        let warning = read.warning.unwrap();
        assert!(
            warning.contains(&format!("breaks off in line {}; the workouts before it are kept", count + 1)),
            "{warning}"
        );
    }

    #[test]
    fn a_very_long_line_is_set_aside_and_the_next_is_read() {
        let long = run(2).replace("[100, 111]", &format!("[{}]", "100, ".repeat(20_000)));
        let text = [run(1), long, run(3)].concat();
        let read = read(text.as_bytes(), Limits { line_bytes: 10_000, lines: None });
        assert_eq!(read.records.len(), 2);
        assert_eq!((read.set_aside[0].place.as_str(), read.set_aside[0].reason), ("line 2", Reason::TooLong));
        assert_eq!(read.set_aside[0].excerpt.chars().count(), 60);
    }

    #[test]
    fn an_empty_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none.json");
        std::fs::write(&path, "").unwrap();
        let error = Reader::open(&path, Limits::default()).err().unwrap().to_string();
        assert!(error.contains("none.json` holds no workout: it is empty"), "{error}");
    }

    #[test]
    fn order_and_content_do_not_depend_on_threads() {
        let text: String = (1..=700).map(run).collect();
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| read(text.as_bytes(), Limits::default()).records)
        };
        assert_eq!(with(1), with(3));
        assert_eq!(with(3).len(), 700);
    }

    #[test]
    fn real_runs_are_read_without_loss() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/fitrec/real_runs.jsonl");
        if !path.exists() {
            println!("skipped: `{}` is absent", path.display());
            return;
        }
        let read = read_file(&path, Limits::default());
        assert_eq!((read.records.len(), read.set_aside.len()), (62, 0));
        let users: std::collections::BTreeSet<_> = read.records.iter().map(|record| record.workout.user).collect();
        assert_eq!(users.len(), 5);
        for Record { workout, .. } in read.records {
            let speed = workout.speed.unwrap();
            let mean = f64::from(speed.iter().sum::<f32>()) / speed.len() as f64;
            assert!((1.0..6.0).contains(&mean), "{} runs at {mean} m/s", workout.id);
            assert_eq!(workout.heart_rate.unwrap().len(), workout.time.unwrap().len());
        }
    }
}
