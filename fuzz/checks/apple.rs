//! Arbitrary bytes as an Apple Health export, plain, gzipped, in a folder with a route, and as an archive: whatever is
//! given is in order, and how the text is wrapped changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use pacer_stages::read::apple::{Export, is_export, read};
use pacer_stages::read::record::{Found, Record};

/// The first bytes of every gzip file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The folder of the files that are read; set TMPDIR to a file system in memory.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("pacer-fuzz-apple-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder can be made");
    folder
});

/// Checks one input; what stands in it from `<gpx` on is the route too.
pub fn check(bytes: &[u8]) {
    let plain = whole(&Export::Xml(file("plain", bytes)));
    let packed = whole(&Export::Xml(file("packed", &gzip(bytes))));
    if !bytes.starts_with(&GZIP) {
        assert_eq!(plain, packed, "compression changes what is read");
    }
    let start = bytes.windows(4).position(|tag| tag == b"<gpx").unwrap_or(bytes.len());
    let files = BTreeMap::from([
        ("a/export.xml".to_owned(), file("export", bytes)),
        ("a/r.gpx".to_owned(), file("route", &bytes[start..])),
    ]);
    let with_route = whole(&Export::Folder(files));
    assert!(with_route.is_none() || is_export(bytes));
    if let (Some(plain), Some(with_route)) = (plain, with_route) {
        assert!(plain.records.len() <= with_route.records.len(), "a route costs a workout");
    }
    whole(&Export::Zip(file("zip", bytes)));
}

/// Everything that an export gives; `None` when it is refused.
fn whole(export: &Export) -> Option<Found> {
    let mut all = Found::default();
    let mut give = |found: Found| {
        all.records.extend(found.records);
        all.set_aside.extend(found.set_aside);
        all.warnings.extend(found.warnings);
        Ok(())
    };
    read(export, 1, &mut |_| Ok(()), &mut give).ok()?;
    all.records.iter().for_each(sound);
    assert!(all.records.is_sorted_by(|one, next| one.workout.id < next.workout.id), "out of order");
    Some(all)
}

/// Checks that the series of a workout fit together.
fn sound(record: &Record) {
    let workout = &record.workout;
    let points = workout.time.as_ref().map(Vec::len);
    let as_long = |length: Option<usize>| assert!(length.is_none() || length == points, "a series is too short");
    as_long(workout.latitude.as_ref().map(Vec::len));
    as_long(workout.longitude.as_ref().map(Vec::len));
    as_long(workout.speed.as_ref().map(Vec::len));
    as_long(workout.altitude.as_ref().map(Vec::len));
    as_long(record.distance.as_ref().map(Vec::len));
    assert_eq!(workout.heart_rate.as_ref().map(Vec::len), workout.heart_rate_time.as_ref().map(Vec::len));
    let spans = workout.heart_rate_span.as_ref().map(Vec::len);
    assert!(spans.is_none() || spans == workout.heart_rate.as_ref().map(Vec::len));
    for times in
        [workout.time.as_deref(), workout.heart_rate_time.as_deref(), Some(&workout.pauses)].into_iter().flatten()
    {
        assert!(times.is_sorted() && times.iter().all(|time| time.is_finite()), "times out of order");
        let lies_within = |at: &f64| workout.pauses.chunks(2).any(|pause| pause[0] < *at && *at < pause[1]);
        assert!(!times.iter().any(lies_within), "a sample lies within a pause");
    }
    let rates = workout.heart_rate.iter().chain(&workout.speed).chain(&workout.altitude).flatten();
    assert!(rates.into_iter().all(|value| value.is_finite()));
}

/// A file of these bytes.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = FOLDER.join(name);
    fs::write(&path, bytes).expect("a temporary file can be written");
    path
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}
