//! Arbitrary bytes as a FitRec file, plain, gzipped and as damaged gzip: every line is a workout or set aside.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use pacer_stages::read::fitrec::Reader;
use pacer_stages::read::lines::Limits;
use pacer_stages::read::record::SetAside;
use pacer_stages::workouts::speed::{from_distance, from_positions};

/// The longest line that is read.
const LINE_BYTES: usize = 1000;

/// The first bytes of every gzip file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The file that is read; set TMPDIR to a file system in memory.
static PATH: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("pacer-fuzz-{}.json", std::process::id())));

/// Checks one input.
pub fn check(bytes: &[u8]) {
    let packed = read(&gzip(bytes)).expect("the file is not empty");
    assert_eq!(packed.lines, expected_lines(bytes));
    assert!(!packed.warned);
    read(&damaged(bytes));
    let Some(plain) = read(bytes) else { return assert!(bytes.is_empty()) };
    assert!(bytes.starts_with(&GZIP) || plain == packed, "compression changes what is read");
}

/// What was read of a file.
#[derive(Default, PartialEq)]
struct Told {
    lines: u64,
    ids: Vec<i64>,
    set_aside: Vec<SetAside>,
    warned: bool,
}

/// Reads a file of these bytes; `None` when it is refused.
fn read(bytes: &[u8]) -> Option<Told> {
    fs::write(&*PATH, bytes).expect("a temporary file can be written");
    let reader = Reader::open(&PATH, Limits { line_bytes: LINE_BYTES, ..Limits::default() }).ok()?;
    let mut told = Told::default();
    for batch in reader {
        let batch = batch.expect("a file on a sound disk can be read");
        assert_eq!(batch.lines, (batch.records.len() + batch.set_aside.len()) as u64, "a line is lost");
        told.lines += batch.lines;
        told.warned |= batch.warning.is_some();
        told.set_aside.extend(batch.set_aside);
        for record in batch.records {
            let workout = &record.workout;
            told.ids.push(workout.id);
            if let (Some(time), Some(distance)) = (&workout.time, &record.distance) {
                let speed = from_distance(time, distance, 15.0);
                assert!(speed.is_none_or(|speed| speed.len() == time.len()));
            }
            if let (Some(time), Some(lat), Some(lon)) = (&workout.time, &workout.latitude, &workout.longitude) {
                let speed = from_positions(time, lat, lon, 15.0);
                assert!(speed.is_none_or(|speed| speed.len() == time.len()));
            }
        }
    }
    assert!(told.set_aside.is_sorted_by(|one, other| line(one) < line(other)));
    Some(told)
}

/// The number in `line 12`.
fn line(note: &SetAside) -> u64 {
    note.place.strip_prefix("line ").and_then(|number| number.parse().ok()).expect("a note of a line names it")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// A gzip file that was cut short or changed in one place; which place the bytes say.
fn damaged(bytes: &[u8]) -> Vec<u8> {
    let mut packed = gzip(bytes);
    let place = bytes.iter().map(|&byte| usize::from(byte)).sum::<usize>() % packed.len();
    match bytes.len() % 2 {
        0 => packed.truncate(place),
        _ => packed[place] ^= bytes[0] | 1,
    }
    packed
}

/// Lines that are not blank, counted in the plainest way.
fn expected_lines(bytes: &[u8]) -> u64 {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let is_line = |(at, line): &(usize, &[u8])| {
        let text = if *at == 0 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        line.len() > LINE_BYTES || !text.trim_ascii().is_empty()
    };
    bytes.split(|&byte| byte == b'\n').enumerate().filter(is_line).count() as u64
}
