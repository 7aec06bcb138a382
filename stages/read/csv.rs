//! The reader of CSV files: one workout a file, a header line, one sample a row. Unaware of what columns are called:
//! that is [`columns`].

use crate::read::csv::columns::{Columns, Field, Places, SpeedUnit};
use crate::read::csv::rows::{Row, Rows, Separator};
use crate::read::instant;
use crate::read::record::{Found, Reason, SetAside};
use crate::read::samples::{Recording, Sample};
use crate::read::utf8;
use crate::workouts::{Origin, Workout};

pub use crate::read::instant::start_in_name;

pub mod columns;
pub mod rows;

/// Below this a number is seconds since the start, from here on it is unix seconds (from 1973).
const UNIX_S: f64 = 1e8;

/// From here on a number is unix milliseconds.
const UNIX_MS: f64 = 1e11;

/// Rows that could not be read: how many, and the first.
#[derive(Default)]
struct Bad {
    count: usize,
    first: Option<(usize, String)>,
}

/// Reads a CSV text into a workout.
///
/// `start`, in unix seconds, counts where times are relative and the columns name no start of their own.
pub fn read(text: &[u8], columns: &Columns, start: Option<f64>) -> Found {
    let mut found = Found::default();
    if let Err(note) = table(text, columns, start, &mut found) {
        found.set_aside.push(note);
    }
    found
}

fn table(bytes: &[u8], columns: &Columns, start: Option<f64>, found: &mut Found) -> Result<(), SetAside> {
    let text = utf8::text(bytes).map_err(|why| utf8::refusal(bytes, why))?;
    let mut rows = Rows::new(text);
    let header = rows.next().ok_or_else(|| SetAside::new("", Reason::NoSamples, "the file is empty"))?;
    let places = columns.places(&header.cells).map_err(|why| SetAside::new("", Reason::Malformed, why))?;
    if !places.has(Field::HeartRate) {
        found.warnings.push(format!("no heart rate: {}", columns.advice(Field::HeartRate, &header.cells)));
    }
    let cells = Cells { separator: rows.separator(), unit: places.unit, start: columns.start_seconds().or(start) };
    let (mut samples, mut bad) = (Vec::new(), Bad::default());
    for row in &mut rows {
        match cells.sample(&row, &places) {
            Ok(sample) => samples.push(sample),
            Err(Fault::NoStart) => return Err(SetAside::new("", Reason::NoSamples, NO_START)),
            Err(Fault::Cell(why)) => bad.add(row.line, why),
        }
    }
    bad.note(found);
    if let Some(line) = rows.open_quote() {
        let place = format!("line {line}");
        found.set_aside.push(SetAside::new(place, Reason::BrokenOff, "a quote that opens here never closes"));
    }
    let about = Workout { source: "csv".into(), altitude_source: Origin::Recorded, ..Workout::default() };
    Recording { about, samples, pauses: Vec::new() }.put_into(found, "");
    Ok(())
}

/// What to do where times are relative to nothing.
const NO_START: &str = "times count from the start, and the start is not known: put it into the file's name, as in \
                        `run-2021-03-25-10-40-55.csv`, or into `start` of the columns";

/// How cells are read.
struct Cells {
    separator: Separator,
    unit: SpeedUnit,
    start: Option<f64>,
}

/// Why a row gives no sample.
enum Fault {
    NoStart,
    Cell(String),
}

impl Cells {
    fn sample(&self, row: &Row<'_>, places: &Places) -> Result<Sample, Fault> {
        let cell = |field: Field| places.of(field).and_then(|at| row.cells.get(at)).map_or("", |cell| cell.trim());
        let number = |field: Field| {
            let cell = cell(field);
            let odd = || Fault::Cell(format!("`{}` is no {}", cell.chars().take(40).collect::<String>(), field.name()));
            if is_none(cell) { Ok(f64::NAN) } else { self.number(cell).ok_or_else(odd) }
        };
        let time = cell(Field::Time);
        let odd = || Fault::Cell(format!("`{}` is no time", time.chars().take(40).collect::<String>()));
        Ok(Sample {
            time: match self.time(time).ok_or_else(odd)? {
                Time::Absolute(seconds) => seconds,
                Time::Since(seconds) => self.start.ok_or(Fault::NoStart)? + seconds,
            },
            heart_rate: number(Field::HeartRate)?,
            speed: match (self.unit, clock(cell(Field::Speed))) {
                (SpeedUnit::MinutesPerKilometre, Some(seconds)) => 1000.0 / seconds,
                (unit, _) => unit.to_si(number(Field::Speed)?),
            },
            altitude: number(Field::Altitude)?,
            latitude: number(Field::Latitude)?,
            longitude: number(Field::Longitude)?,
            distance: number(Field::Distance)?,
        })
    }

    /// A finite number, with a decimal comma where semicolons separate.
    fn number(&self, cell: &str) -> Option<f64> {
        let comma = self.separator == Separator::Semicolon && !cell.contains('.');
        let number = if comma { cell.replacen(',', ".", 1).parse() } else { cell.parse() };
        number.ok().filter(|number: &f64| number.is_finite())
    }

    fn time(&self, cell: &str) -> Option<Time> {
        match self.number(cell) {
            Some(number) if number.abs() < UNIX_S => Some(Time::Since(number)),
            Some(number) if number.abs() < UNIX_MS => Some(Time::Absolute(number)),
            Some(number) => Some(Time::Absolute(number / 1000.0)),
            None => clock(cell).map(Time::Since).or_else(|| instant::iso(cell).map(Time::Absolute)),
        }
    }
}

/// A time as it stands in a cell.
enum Time {
    /// Unix seconds.
    Absolute(f64),
    /// Seconds since the start.
    Since(f64),
}

/// Whether a cell says that there is no value.
fn is_none(cell: &str) -> bool {
    ["", "-", "--", "nan", "null", "none", "na", "n/a"].iter().any(|word| cell.eq_ignore_ascii_case(word))
}

/// The seconds of a text such as `5:30` or `1:05:30.5`.
fn clock(text: &str) -> Option<f64> {
    let (before, last) = text.rsplit_once(':')?;
    let (hours, minutes) = before.split_once(':').unwrap_or(("0", before));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u32>().ok())?;
    let seconds: f64 = last.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.').then(|| last.parse().ok())??;
    let right = seconds < 60.0;
    right.then_some(f64::from(digits(hours)?) * 3600.0 + f64::from(digits(minutes)?) * 60.0 + seconds)
}

impl Bad {
    fn add(&mut self, line: usize, why: String) {
        self.count += 1;
        self.first.get_or_insert((line, why));
    }

    fn note(self, found: &mut Found) {
        if let Some((line, why)) = self.first {
            let detail = format!("{} rows cannot be read; of the first, {why}", self.count);
            found.set_aside.push(SetAside::new(format!("line {line}"), Reason::Malformed, detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::record::Record;

    fn only(text: &str, columns: &Columns) -> Record {
        let mut found = read(text.as_bytes(), columns, Some(1000.0));
        assert_eq!((&found.set_aside, &found.warnings, found.records.len()), (&vec![], &vec![], 1));
        found.records.remove(0)
    }

    fn plain(text: &str) -> Record {
        only(text, &Columns::default())
    }

    fn map(json: &str) -> Columns {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn common_names_need_no_map_and_times_count_from_the_start() {
        let record = plain("t_s,speed_mps,dist_m,alt_m,hr_bpm,cadence\r\n0,2.5,0,9.5,120,57\r\n1,3,2.5,10,121,\r\n");
        let workout = record.workout;
        assert_eq!((workout.source.as_str(), workout.id), ("csv", 1000));
        assert_eq!((workout.time, workout.heart_rate), (Some(vec![1000.0, 1001.0]), Some(vec![120.0, 121.0])));
        assert_eq!((workout.speed, workout.altitude), (Some(vec![2.5, 3.0]), Some(vec![9.5, 10.0])));
        assert_eq!((workout.speed_source, record.distance), (Origin::Recorded, Some(vec![0.0, 2.5])));
    }

    #[test]
    fn times_are_seconds_milliseconds_clocks_or_iso_texts() {
        let times = |column: &str| {
            let rows: String = column.split(' ').map(|time| format!("{time},100\n")).collect();
            plain(&format!("Time,Heart Rate (bpm)\n{rows}")).workout.time.unwrap()
        };
        assert_eq!(times("1617019200 1617019201.5"), [1_617_019_200.0, 1_617_019_201.5]);
        assert_eq!(times("1617019200000 1617019201500"), [1_617_019_200.0, 1_617_019_201.5]);
        assert_eq!(times("2021-03-29T12:00:00Z 2021-03-29T14:00:01+02:00"), [1_617_019_200.0, 1_617_019_201.0]);
        assert_eq!(times("00:59 1:00:01.5"), [1059.0, 4601.5]);
    }

    #[test]
    fn semicolons_bring_decimal_commas_and_tabs_and_quotes_are_fine() {
        let record = plain("\u{feff}timestamp;hr;\"speed\";alt\n0;100;\"2,5\";-3,25\n\n1;101;2.75;\n");
        assert_eq!(record.workout.speed, Some(vec![2.5, 2.75]));
        assert_eq!(record.workout.altitude, Some(vec![-3.25, -3.25]), "a hole of a second takes its neighbour");
        let record = plain("\"time\"\t\"heart_rate\"\t\"note\"\n0\t100\t\"a \"\"b\"\"\nc\td\"\n1\t101\t\n");
        assert_eq!(record.workout.heart_rate, Some(vec![100.0, 101.0]));
    }

    #[test]
    fn speed_has_the_unit_of_the_map_or_of_its_columns_name() {
        let speed = |header: &str, cell: &str, columns: &str| {
            only(&format!("time,hr,{header}\n0,100,{cell}\n"), &map(columns)).workout.speed.unwrap()[0]
        };
        assert_eq!(speed("speed", "3", "{}"), 3.0);
        assert_eq!(speed("speed_kmh", "9", "{}"), 2.5);
        assert_eq!(speed("speed", "9", r#"{"speed_unit":"km/h"}"#), 2.5);
        assert_eq!(speed("v", "6:40", r#"{"speed":"v","speed_unit":"min/km"}"#), 2.5);
        assert_eq!(speed("pace", "5", "{}"), 1000.0 / 300.0);
        assert!(speed_missing("time,hr,pace\n0,100,0\n"), "a pace of nothing is no speed");
    }

    fn speed_missing(text: &str) -> bool {
        plain(text).workout.speed.is_none()
    }

    #[test]
    fn empty_cells_are_missing_and_bad_ones_are_counted() {
        let text = "time,hr,alt\n0,100,1\n1,,2\n2,abc,3\n3,NaN,4\nx,103,5\n5,104\n\n,,\n6,255,7\n";
        let found = read(text.as_bytes(), &Columns::default(), Some(0.0));
        let workout = &found.records[0].workout;
        assert_eq!(workout.time.as_deref().unwrap(), [0.0, 1.0, 3.0, 5.0, 6.0]);
        assert_eq!((&workout.heart_rate, &workout.heart_rate_time), (&Some(vec![100.0, 104.0]), &Some(vec![0.0, 5.0])));
        assert_eq!((found.set_aside.len(), found.set_aside[0].place.as_str()), (1, "line 4"));
        assert_eq!(found.set_aside[0].detail, "2 rows cannot be read; of the first, `abc` is no heart_rate");
    }

    #[test]
    fn a_missing_column_lists_those_there_and_says_what_to_write() {
        let note = |text: &str, columns: &str| read(text.as_bytes(), &map(columns), None).set_aside.remove(0).detail;
        assert_eq!(
            note("when,puls\n0,1\n", "{}"),
            "no column is known to hold the time; there are `when`, `puls`: name it in the map, as in `time = \"when\"`"
        );
        assert_eq!(
            note("time,puls\n0,1\n", r#"{"heart_rate":"pulse"}"#),
            "`pulse` is no column; there are `time`, `puls`: correct `heart_rate` in the map"
        );
        let found = read(b"time,puls\n0,1\n", &Columns::default(), Some(0.0));
        assert!(
            found.warnings[0].starts_with("no heart rate: no column is known to hold the heart_rate; there are `time`")
        );
    }

    #[test]
    fn relative_times_without_a_start_are_set_aside_with_the_remedy() {
        let text = b"time,hr\n0,100\n";
        let found = read(text, &Columns::default(), None);
        assert_eq!((found.set_aside[0].detail.as_str(), found.records.len()), (NO_START, 0));
        let started = read(text, &map(r#"{"start":"2021-03-29T12:00:00Z"}"#), Some(5.0));
        assert_eq!(started.records[0].workout.id, 1_617_019_200);
    }

    #[test]
    fn what_is_no_table_is_set_aside() {
        let reason = |text: &[u8]| read(text, &Columns::default(), Some(0.0)).set_aside.remove(0).reason;
        assert_eq!(reason(b""), Reason::NoSamples);
        assert_eq!(reason(b"time,hr\n"), Reason::NoSamples);
        assert_eq!(reason(b"time,hr\n0,\xff1\n"), Reason::Encoding);
        assert_eq!(reason(b"hello\nworld\n"), Reason::Malformed);
        assert_eq!(reason(b"time,hr\n0,100\n1,\"101\n"), Reason::BrokenOff);
        let found = read(b"time,hr,note\n0,100,\n1,101,\"and\n2,102,\n", &Columns::default(), Some(0.0));
        assert_eq!((found.set_aside[0].place.as_str(), found.set_aside[0].reason), ("line 3", Reason::BrokenOff));
    }
}
