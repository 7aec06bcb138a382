//! Whole exports, read as a stage reads them: each trap that real ones hold.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::{Export, read};
use crate::read::record::{Found, Reason, Record};
use crate::workouts::{Origin, Workout};

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE HealthData [\n<!ELEMENT HealthData (Record|Workout)*>\n\
    <!ATTLIST Record\n  type CDATA #REQUIRED\n<!ENTITY lol \"lol\"><!ENTITY lol2 \"&lol;&lol;\">\n]>\n<HealthData locale=\"en_FR\">\n \
    <ExportDate value=\"2025-12-01 10:00:00 +0100\"/>\n <Me HKCharacteristicTypeIdentifierBiologicalSex=\"HKBiologicalSexFemale\"/>\n";
const TAIL: &str = "</HealthData>\n";
/// 10:00 in UTC on the day of every test.
const TEN: f64 = 1_763_892_000.0;

/// An instant of the day of every test, `10:00:30`, in UTC.
fn date(time: &str) -> String {
    format!("2025-11-23 {time} +0000")
}

fn heart_rate(source: &str, start: &str, end: &str, value: &str) -> String {
    format!(
        " <Record type=\"HKQuantityTypeIdentifierHeartRate\" sourceName=\"{source}\" unit=\"count/min\" creationDate=\"{}\" \
         startDate=\"{}\" endDate=\"{}\" value=\"{value}\"/>\n",
        date(end),
        date(start),
        date(end)
    )
}

fn run(source: &str, start: &str, end: &str, content: &str) -> String {
    format!(
        " <Workout workoutActivityType=\"HKWorkoutActivityTypeRunning\" duration=\"10\" durationUnit=\"min\" \
         sourceName=\"{source}\" startDate=\"{}\" endDate=\"{}\">\n{content} </Workout>\n",
        date(start),
        date(end)
    )
}

fn route(path: &str) -> String {
    format!("  <WorkoutRoute sourceName=\"x\"><FileReference path=\"{path}\"/></WorkoutRoute>\n")
}

fn gpx(times: &[&str]) -> String {
    let mut text = String::from(
        "<?xml version=\"1.0\"?>\n<gpx version=\"1.1\" creator=\"Apple Health Export\" xmlns=\"http://www.topografix.com/GPX/1/1\"><trk><trkseg>",
    );
    for time in times {
        write!(
            text,
            "<trkpt lon=\"2.35\" lat=\"48.85\"><ele>35.5</ele><time>2025-11-23T{time}Z</time><extensions><speed>3.1</speed>\
             <course>1</course><hAcc>1</hAcc><vAcc>1</vAcc></extensions></trkpt>"
        )
        .unwrap();
    }
    text + "</trkseg></trk></gpx>"
}

fn export(content: &str) -> String {
    format!("{HEAD}{content}{TAIL}")
}

/// Everything that reading an export gives, batches joined.
fn found(export: &Export) -> anyhow::Result<Found> {
    let mut all = Found::default();
    let mut give = |found: Found| {
        all.records.extend(found.records);
        all.set_aside.extend(found.set_aside);
        all.warnings.extend(found.warnings);
        Ok(())
    };
    read(export, 7, &mut |_| Ok(()), &mut give)?;
    Ok(all)
}

fn of_bytes(bytes: &[u8]) -> anyhow::Result<Found> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("export.xml");
    fs::write(&path, bytes)?;
    found(&Export::Xml(path))
}

fn of_text(content: &str) -> Found {
    of_bytes(export(content).as_bytes()).unwrap()
}

fn workouts(found: Found) -> Vec<Workout> {
    found.records.into_iter().map(|record| record.workout).collect()
}

/// A zip archive with these entries.
fn zip(path: &Path, entries: &[(&str, &[u8])]) -> Export {
    let mut zip = ZipWriter::new(fs::File::create(path).unwrap());
    for (name, content) in entries {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap();
    Export::Zip(path.to_owned())
}

fn folder(top: &Path, files: &[(&str, &[u8])]) -> Export {
    let mut map = BTreeMap::new();
    for (name, content) in files {
        let path = top.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        map.insert((*name).to_owned(), path);
    }
    Export::Folder(map)
}

/// A run with a route, and what stands in its route's file.
fn routed() -> (String, String) {
    let metadata = "  <MetadataEntry key=\"HKTimeZone\" value=\"Europe/Paris\"/>\n  <MetadataEntry key=\"HKIndoorWorkout\" value=\"0\"/>\n";
    let content = format!("{metadata}{}", route("/workout-routes/route_2025-11-23_11.10am.gpx"));
    let text = heart_rate("Watch", "10:00:05", "10:00:05", "140") + &run("Watch", "10:00:00", "10:10:00", &content);
    (export(&text), gpx(&["10:00:01", "10:00:02", "10:00:02", "10:00:03"]))
}

const ROUTE: &str = "apple_health_export/workout-routes/route_2025-11-23_11.10am.gpx";

#[test]
fn an_archive_a_folder_and_a_gzip_of_the_same_export_agree() {
    let top = tempfile::tempdir().unwrap();
    let (text, gpx) = routed();
    let clinical: &[u8] = b"<ClinicalDocument>long enough to be looked at last</ClinicalDocument>";
    let files = [
        ("apple_health_export/export_cda.xml", clinical),
        ("apple_health_export/\u{5c0e}\u{51fa}.xml", text.as_bytes()),
        (ROUTE, gpx.as_bytes()),
    ];
    let one = found(&folder(&top.path().join("f"), &files)).unwrap();
    let other = found(&zip(&top.path().join("e.zip"), &files)).unwrap();
    assert_eq!(one, other);
    let bare: Vec<_> =
        files.iter().map(|(name, content)| (name.strip_prefix("apple_health_export/").unwrap(), *content)).collect();
    assert_eq!(found(&zip(&top.path().join("b.zip"), &bare)).unwrap(), one);
    let [workout] = &workouts(one)[..] else { panic!("one workout") };
    assert_eq!(workout.time.as_deref(), Some(&[TEN + 1.0, TEN + 2.0, TEN + 3.0][..]));
    assert_eq!(workout.speed, Some(vec![3.1; 3]));
    assert_eq!(workout.altitude, Some(vec![35.5; 3]));
    assert_eq!((workout.speed_source, workout.altitude_source), (Origin::Recorded, Origin::Positions));
    assert_eq!(
        (workout.heart_rate.as_deref(), workout.heart_rate_time.as_deref()),
        (Some(&[140.0][..]), Some(&[TEN + 5.0][..]))
    );
    assert_eq!((workout.id, workout.user, workout.sport.as_str()), (TEN as i64, Some(7), "run"));
    assert_eq!((workout.gender.as_deref(), workout.source.as_str()), (Some("female"), "apple"));
    assert_eq!(
        (workout.time_zone.as_deref(), workout.indoor, workout.synthetic),
        (Some("Europe/Paris"), Some(false), false)
    );
    let gzip = top.path().join("export.xml.gz");
    let mut encoder = flate2::write::GzEncoder::new(fs::File::create(&gzip).unwrap(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap();
    let alone = found(&Export::Xml(gzip)).unwrap();
    assert_eq!(alone, of_bytes(text.as_bytes()).unwrap());
    assert_eq!(alone.records[0].workout.heart_rate, workout.heart_rate);
    assert!(alone.warnings[0].starts_with("1 routes are not there"), "{:?}", alone.warnings);
}

#[test]
fn dates_are_those_of_the_offset_that_the_export_wrote() {
    let winter = heart_rate("Watch", "10:00:05", "10:00:05", "140") + &run("Watch", "10:00:00", "10:10:00", "");
    let moved = winter.replace("2025-11-23 10:", "2025-11-23 19:").replace("+0000", "+0900");
    assert_eq!(of_text(&moved).records, of_text(&winter).records);
}

#[test]
fn pauses_are_kept_beside_the_series_and_nothing_lies_within() {
    let event = |kind: &str, time: &str| {
        format!("  <WorkoutEvent type=\"HKWorkoutEventType{kind}\" date=\"{}\"/>\n", date(time))
    };
    let events =
        [event("Pause", "10:01:00"), event("Resume", "10:02:00"), event("Lap", "10:03:00"), event("Pause", "10:09:00")]
            .concat();
    let rates = ["10:00:59", "10:01:30", "10:02:01", "10:09:30"].map(|at| heart_rate("Watch", at, at, "140")).concat();
    let [workout] = &workouts(of_text(&(rates + &run("Watch", "10:00:00", "10:10:00", &events))))[..] else { panic!() };
    assert_eq!(workout.pauses, [60.0, 120.0, 540.0, 600.0].map(|at| TEN + at));
    assert_eq!(workout.heart_rate_time.as_deref(), Some(&[TEN + 59.0, TEN + 121.0][..]));
    let untold =
        of_text(&(heart_rate("Watch", "10:00:01", "10:00:01", "99") + &run("Watch", "10:00:00", "10:20:00", "")));
    assert_eq!(
        untold.warnings,
        ["1 workouts are shorter than from start to end by pauses that the export does not tell"]
    );
}

#[test]
fn of_two_recordings_the_watch_is_kept_and_the_other_is_named() {
    let rates =
        heart_rate("Watch", "10:00:30", "10:00:30", "140") + &heart_rate("Strava", "10:00:31", "10:00:31", "141");
    let both = run("Strava", "10:00:00", "10:10:00", "") + &run("Watch", "10:00:10", "10:09:00", "");
    let found = of_text(&(rates + &both));
    assert_eq!(found.records.len(), 1);
    assert_eq!(found.records[0].workout.heart_rate.as_deref(), Some(&[140.0][..]));
    let [note] = &found.set_aside[..] else { panic!("one note") };
    assert_eq!((note.place.as_str(), note.reason), ("workout of 2025-11-23T10:00:00Z", Reason::RecordedTwice));
    assert_eq!(
        note.detail,
        "`Strava` recorded it too; the workout of 2025-11-23T10:00:10Z of `Watch` with 1 heart rates is kept"
    );
}

#[test]
fn workouts_that_begin_together_have_numbers_of_their_own() {
    let rates = heart_rate("Watch", "10:00:00", "10:00:00", "140");
    let three = [("10:00:00", "10:00:00"), ("10:00:00", "10:05:00"), ("10:00:01", "10:00:01")];
    let three = three.map(|(start, end)| run("Watch", start, end, "")).concat();
    let ids: Vec<i64> = workouts(of_text(&(rates + &heart_rate("Watch", "10:00:01", "10:00:01", "1") + &three)))
        .iter()
        .map(|w| w.id)
        .collect();
    assert_eq!(ids, [0, 1, 2].map(|more| TEN as i64 + more));
}

#[test]
fn a_record_that_a_correlation_repeats_counts_once() {
    let rate = heart_rate("Watch", "10:00:30", "10:01:30", "140");
    let text = format!("{rate} <Correlation>{rate}</Correlation>{}", run("Watch", "10:00:00", "10:10:00", ""));
    let [workout] = &workouts(of_text(&text))[..] else { panic!() };
    assert_eq!(
        (workout.heart_rate.as_deref(), workout.heart_rate_span.as_deref()),
        (Some(&[140.0][..]), Some(&[60.0][..]))
    );
    assert_eq!(workout.heart_rate_time.as_deref(), Some(&[TEN + 60.0][..]));
}

#[test]
fn indoors_the_distance_records_take_the_place_of_positions() {
    let metres = |start: &str, end: &str| {
        heart_rate("Watch", start, end, "0.01")
            .replace("HeartRate", "DistanceWalkingRunning")
            .replace("count/min", "mi")
    };
    let text =
        metres("10:00:00", "10:00:05") + &metres("10:00:05", "10:00:09") + &run("Watch", "10:00:00", "10:10:00", "");
    let [Record { workout, distance: Some(distance) }] = &of_text(&text).records[..] else { panic!("distances") };
    assert_eq!(workout.time.as_deref(), Some(&[TEN, TEN + 5.0, TEN + 9.0][..]));
    assert!((distance[2] - 32.186_88).abs() < 1e-4 && distance[0] == 0.0);
    assert_eq!((&workout.latitude, &workout.speed, &workout.heart_rate), (&None, &None, &None));
}

#[test]
fn what_a_simulator_wrote_says_so() {
    let source = "synthetic: Apple Watch";
    let text = heart_rate(source, "10:00:30", "10:00:30", "140") + &run(source, "10:00:00", "10:10:00", "");
    let [workout] = &workouts(of_text(&text))[..] else { panic!() };
    assert_eq!((workout.synthetic, workout.device.as_deref()), (true, Some("Apple Watch")));
}

#[test]
fn broken_bytes_entities_and_document_types_are_tolerated() {
    let mut bytes = export(
        &(heart_rate("a&lol2;&#8217;b", "10:00:30", "10:00:30", "140")
            + &run("a&lol2;&#8217;b", "10:00:00", "10:10:00", "")),
    )
    .into_bytes();
    let plain = of_bytes(&bytes).unwrap();
    assert_eq!(plain.records[0].workout.device.as_deref(), Some("a&lol2;’b"));
    let at = memchr::memmem::find(&bytes, b" <Record").unwrap();
    bytes.splice(at..at, *b"\x0b\xff<!-- <a> -->\0");
    assert_eq!(of_bytes(&bytes).unwrap(), plain);
}

#[test]
fn another_encoding_and_another_file_are_errors_that_name_the_file() {
    let (text, _) = routed();
    let wide: Vec<u8> = std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let error = |bytes: &[u8]| format!("{:#}", of_bytes(bytes).unwrap_err());
    assert!(error(&wide).contains("export.xml` cannot be read: it is not UTF-8"), "{}", error(&wide));
    let latin = text.replacen("UTF-8", "ISO-8859-1", 1);
    let told = error(latin.as_bytes());
    assert!(told.contains("it is not UTF-8 but `iso-8859-1`; convert it"), "{told}");
    assert!(error(b"<gpx/>").contains("no export of Apple Health"));
    assert!(error(b"").contains("no export of Apple Health"));
    let missing = found(&Export::Xml(PathBuf::from("/nowhere/export.xml"))).unwrap_err();
    assert!(missing.to_string().contains("`/nowhere/export.xml` cannot be opened"));
    assert!(of_bytes(format!("\u{feff}{text}").as_bytes()).is_ok());
}

#[test]
fn an_export_that_breaks_off_keeps_what_was_read() {
    let text = export(
        &(heart_rate("Watch", "10:00:30", "10:00:30", "140")
            + &run("Watch", "10:00:00", "10:10:00", "")
            + &run("Watch", "10:20:00", "10:30:00", "")),
    );
    let cut = text.len() - TAIL.len() - 30;
    let found = of_bytes(&text.as_bytes()[..cut]).unwrap();
    assert_eq!(found.records.len(), 1);
    assert_eq!(
        found.warnings,
        [format!("the export breaks off at byte {cut} of its text; what stands before is read")]
    );
    assert_eq!(
        (found.set_aside[0].place.as_str(), found.set_aside[0].reason),
        ("workout of 2025-11-23T10:20:00Z", Reason::BrokenOff)
    );
}

#[test]
fn a_damaged_gzip_keeps_what_was_read() {
    let content =
        (0..5000).map(|i| heart_rate("Watch", "10:00:30", "10:00:30", &(i % 97).to_string())).collect::<String>();
    let text = export(&(run("Watch", "10:00:00", "10:10:00", "") + &content));
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    let found = of_bytes(&packed[..packed.len() - 1000]).unwrap();
    assert_eq!(found.records.len(), 1);
    assert!(found.warnings[0].starts_with("the export is damaged ("), "{:?}", found.warnings);
}

#[test]
fn an_export_without_workout_says_how_many_heart_rates_it_has() {
    let found = of_text(&heart_rate("Watch", "10:00:30", "10:00:30", "140"));
    assert_eq!(found.warnings, ["the export holds no workout; it has 1 heart rates, which belong to none"]);
    assert_eq!((found.records.len(), found.set_aside.len()), (0, 0));
    assert_eq!(of_bytes(b"<HealthData locale=\"x\"/>").unwrap().warnings.len(), 1);
}

#[test]
fn entries_that_are_not_safe_are_set_aside_and_never_followed() {
    let top = tempfile::tempdir().unwrap();
    let path = top.path().join("e.zip");
    let (text, gpx) = routed();
    let mut zip = ZipWriter::new(fs::File::create(&path).unwrap());
    let options = SimpleFileOptions::default();
    for (name, content) in
        [("a/export.xml", &text), ("../evil.xml", &text), ("a/b/../../c.gpx", &gpx), ("a\\b.gpx", &gpx)]
    {
        zip.start_file(name, options).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    zip.add_symlink("a/workout-routes/route_2025-11-23_11.10am.gpx", "/etc/passwd", options).unwrap();
    zip.finish().unwrap();
    let found = found(&Export::Zip(path)).unwrap();
    let mut names: Vec<_> = found.set_aside.iter().map(|note| (note.place.as_str(), note.detail.as_str())).collect();
    names.sort_unstable();
    assert!(found.set_aside.iter().all(|note| note.reason == Reason::Unsafe));
    assert_eq!(names.len(), 4, "{names:?}");
    assert_eq!(found.records[0].workout.latitude, None);
    assert_eq!(found.warnings.len(), 1);
}

#[test]
fn a_route_that_leads_out_of_the_export_is_refused() {
    let top = tempfile::tempdir().unwrap();
    let content = route("/../secret.gpx");
    let text =
        export(&(heart_rate("Watch", "10:00:05", "10:00:05", "140") + &run("Watch", "10:00:00", "10:10:00", &content)));
    let files = [("a/export.xml", text.as_bytes()), ("secret.gpx", gpx(&["10:00:01"]).leak().as_bytes())];
    let found = found(&folder(top.path(), &files)).unwrap();
    assert_eq!((found.set_aside[0].reason, found.set_aside[0].file.as_str()), (Reason::Unsafe, "a/export.xml"));
    assert_eq!(found.records[0].workout.latitude, None);
}

#[test]
fn an_archive_cut_short_is_an_error_with_a_remedy() {
    let top = tempfile::tempdir().unwrap();
    let path = top.path().join("e.zip");
    let (text, gpx) = routed();
    zip(&path, &[("a/export.xml", text.as_bytes()), (ROUTE, gpx.as_bytes())]);
    let bytes = fs::read(&path).unwrap();
    for cut in [0, 10, bytes.len() / 2, bytes.len() - 10] {
        fs::write(&path, &bytes[..cut]).unwrap();
        let error = found(&Export::Zip(path.clone())).unwrap_err().to_string();
        assert!(error.contains("e.zip` cannot be read as a zip archive") && error.contains("export again"), "{error}");
    }
    zip(&path, &[("a/photo.xml", b"<svg/>")]);
    let error = found(&Export::Zip(path)).unwrap_err().to_string();
    assert!(error.contains("holds no export of Apple Health"), "{error}");
}

#[test]
fn what_unpacks_to_far_too_much_is_refused() {
    let top = tempfile::tempdir().unwrap();
    let (text, mut gpx) = routed();
    gpx.push_str(&" ".repeat(65 << 20));
    let export =
        zip(&top.path().join("r.zip"), &[("apple_health_export/export.xml", text.as_bytes()), (ROUTE, gpx.as_bytes())]);
    let told = found(&export).unwrap();
    assert_eq!((told.records.len(), told.set_aside[0].reason), (1, Reason::TooLong));
    let bomb = text.replace(TAIL, &" ".repeat(66 << 20));
    let export = zip(&top.path().join("x.zip"), &[("export.xml", bomb.as_bytes())]);
    let error = format!("{:#}", found(&export).unwrap_err());
    assert!(error.contains("x.zip: export.xml` cannot be read: it unpacks to more"), "{error}");
}

#[test]
fn reading_ends_where_the_caller_wants_it_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("export.xml");
    fs::write(&path, export(&heart_rate("Watch", "10:00:30", "10:00:30", "140").repeat(20_000))).unwrap();
    let mut told = 0;
    let mut progress = |progress: super::Progress| {
        told += 1;
        assert!(progress.bytes <= progress.total && progress.total > 4 << 20);
        anyhow::bail!("enough")
    };
    let error = read(&Export::Xml(path), 7, &mut progress, &mut |_| Ok(())).unwrap_err();
    assert_eq!((format!("{:#}", error.root_cause()), told), ("enough".to_owned(), 1));
}

/// An export of some size: a record of every sort a minute over some days, and a run of an hour every day.
fn long_export(days: usize) -> String {
    let mut text = String::from(HEAD);
    let day = |day: usize, record: &str| {
        record.replace("2025-11-23", &format!("2025-{:02}-{:02}", 1 + day / 28, 1 + day % 28))
    };
    for at in 0..days {
        for minute in 0..24 * 60 {
            let time = format!("{:02}:{:02}:00", minute / 60, minute % 60);
            let rate = heart_rate("Watch", &time, &time, &(60 + minute % 60).to_string());
            text += &day(at, &rate);
            text += &day(at, &rate.replace("HeartRate", "StepCount"));
        }
    }
    for at in 0..days {
        text += &day(at, &run("Watch", "12:00:00", "12:59:59", ""));
    }
    text + TAIL
}

#[test]
fn every_heart_rate_of_a_long_export_is_found_and_threads_change_nothing() {
    let text = long_export(8);
    assert!(text.len() > 4 << 20, "several blocks");
    let read = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| of_bytes(text.as_bytes()).unwrap())
    };
    let one = read(1);
    assert_eq!(read(3), one);
    let counts: Vec<usize> =
        one.records.iter().map(|record| record.workout.heart_rate.as_ref().unwrap().len()).collect();
    assert_eq!(counts, [60; 8]);
    assert_eq!(one.records[7].workout.heart_rate.as_ref().unwrap()[59], 119.0);
}
