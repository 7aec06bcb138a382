//! The kind as a whole, on workouts of known density. Unaware of how it computes.

use super::*;
use crate::job::{Checkpoints, Device, JOB_VERSION, Job, Slot};
use crate::stage::Notice;
use crate::table::{Table, Values};
use crate::workouts::WorkoutWriter;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

/// 2019-06-01T12:00:00Z and 2025-06-01T12:00:00Z.
const EARLY: f64 = 1_559_390_400.0;
const RECENT: f64 = 1_748_779_200.0;
/// 2024-12-31T23:30:00Z.
const NEW_YEAR: f64 = 1_735_687_800.0;

/// Ten minutes at 3 m/s with so many heart rates.
fn workout(id: i64, start: f64, samples: u32) -> Workout {
    let at = |i: u32| start + 600.0 * f64::from(i) / f64::from(samples.max(2) - 1);
    Workout {
        id,
        user: Some(1),
        sport: "run".into(),
        time: Some((0..=60).map(|i| start + 10.0 * f64::from(i)).collect()),
        heart_rate: Some((0..samples).map(|i| 140.0 + (i % 3) as f32).collect()),
        heart_rate_time: Some((0..samples).map(at).collect()),
        speed: Some(vec![3.0; 61]),
        altitude: Some(vec![0.0; 61]),
        ..Workout::default()
    }
}

fn run(folder: &Path, params: Value, workouts: Vec<Workout>) -> (Result<Metrics>, Vec<String>) {
    let input = folder.join("in.parquet");
    let mut writer = WorkoutWriter::create(&input).unwrap();
    writer.write(workouts).unwrap();
    writer.finish().unwrap();
    let job = Job {
        v: JOB_VERSION,
        kind: "density".into(),
        code: String::new(),
        params: Value::Null,
        inputs: [("workouts".to_owned(), Slot::One(input))].into(),
        out: folder.to_path_buf(),
        partial: folder.to_path_buf(),
        checkpoints: Checkpoints::default(),
        seed: 0,
        device: Device::Cpu,
        threads: 2,
    };
    let told = Mutex::new(Vec::new());
    let sink = |notice| {
        if let Notice::Warning { message } = notice {
            told.lock().unwrap().push(message);
        }
    };
    let stage: Density = serde_json::from_value(params).unwrap();
    assert_eq!(stage.check(), []);
    let result = stage.run(&Context { job: &job, sink: &sink, cancelled: &AtomicBool::new(false) });
    (result, told.into_inner().unwrap())
}

fn cells(folder: &Path, output: &str, columns: usize) -> Vec<String> {
    let table = Table::read(&folder.join(output).with_extension("parquet")).unwrap();
    (0..table.rows()).map(|row| table.cells(row)[..columns].join("|")).collect()
}

#[test]
fn from_seven_to_a_hundred_and_nineteen_in_ten_minutes_is_seventeen_times_as_dense() {
    let folder = tempfile::tempdir().unwrap();
    let synthetic = Workout { synthetic: true, source: "fitrec".into(), ..workout(2, RECENT, 119) };
    let (metrics, told) = run(folder.path(), json!({}), vec![workout(1, EARLY, 7), synthetic]);
    let metrics = metrics.unwrap();
    assert_eq!(told, ["`workouts`: 1 of FitRec have 500 points each: their density says how long they took"]);
    assert!((metrics["ratio_last_first"].as_f64().unwrap() - 17.0).abs() < 1e-12, "{metrics:?}");
    assert_eq!((&metrics["years"], &metrics["workouts"], &metrics["data"]), (&json!(2), &json!(2), &json!("mixed")));
    assert_eq!(
        cells(folder.path(), "by_year", 10),
        ["2019|1|10|7|0.7|1|0|0|1|333.333", "2025|1|10|119|11.9|17|1|0|0|333.333"]
    );
    assert_eq!(cells(folder.path(), "by_month", 7), ["2019|6|1|10|7|0.7|recorded", "2025|6|1|10|119|11.9|synthetic"]);
    assert_eq!(cells(folder.path(), "by_tier", 5), ["good|1|10|119|11.9", "medium|0|0|0|", "sparse|1|10|7|0.7"]);
    let shift = Table::read(&folder.path().join("shift.parquet")).unwrap();
    let Values::Text(units) = shift.column("resampled").unwrap() else { panic!() };
    assert_eq!(units[1].as_deref(), Some("none: fewer than 5 workouts in a year"));
    let figure: Value = serde_json::from_slice(&std::fs::read(folder.path().join("figure.json")).unwrap()).unwrap();
    assert_eq!(figure["series"][1], json!({ "name": "by year", "x": [2019.5, 2025.5], "y": [0.7, 11.9] }));
    assert_eq!(figure["series"][0]["x"][0], json!(2019.458333));
    assert_eq!(figure["data"], "mixed");
}

#[test]
fn a_run_at_the_years_end_belongs_to_the_year_of_its_own_clock() {
    let zoned = |id, zone: &str| Workout { time_zone: Some(zone.into()), ..workout(id, NEW_YEAR, 61) };
    let runs = vec![workout(1, NEW_YEAR, 61), zoned(2, "Europe/Paris"), zoned(3, "+01:00"), zoned(4, "Mars/Base")];
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), json!({}), runs.clone()).0.unwrap();
    assert_eq!(cells(folder.path(), "by_month", 3), ["2024|12|2", "2025|1|2"]);
    run(folder.path(), json!({ "time_zone": "utc" }), runs).0.unwrap();
    assert_eq!(cells(folder.path(), "by_month", 3), ["2024|12|4"]);
}

#[test]
fn workouts_without_heart_rate_or_time_are_counted_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let heartless = Workout { heart_rate: None, heart_rate_time: None, ..workout(7, EARLY, 9) };
    let timeless = Workout { time: None, heart_rate_time: None, ..workout(8, EARLY, 9) };
    let bike = Workout { sport: "bike".into(), ..workout(9, EARLY, 9) };
    let all =
        vec![workout(1, EARLY, 9), heartless.clone(), timeless.clone(), Workout { id: 10, ..heartless.clone() }, bike];
    let (metrics, told) = run(folder.path(), json!({}), all);
    let metrics = metrics.unwrap();
    assert_eq!(
        told,
        [
            "`workouts`: 2 without heart rate, such as 7, have no density",
            "`workouts`: 1 without times, such as 8, have no density",
        ]
    );
    assert_eq!((&metrics["without_heart_rate"], &metrics["without_times"]), (&json!(2), &json!(1)));
    assert_eq!((&metrics["other_sports"], &metrics["workouts"]), (&json!(1), &json!(1)));
    let error = |workouts| run(folder.path(), json!({}), workouts).0.unwrap_err().to_string();
    assert_eq!(error(vec![]), "`workouts`: holds no workout");
    assert_eq!(
        error(vec![heartless, timeless]),
        "`workouts`: none of 2 has a density: 1 are without heart rate, 1 are without times"
    );
}

#[test]
fn the_same_workouts_give_the_same_bytes() {
    let runs: Vec<Workout> =
        (0..24).map(|i| workout(i, if i % 2 == 0 { EARLY } else { RECENT }, 20 + i as u32)).collect();
    let bytes = || {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), json!({ "draws": 200 }), runs.clone()).0.unwrap();
        [BY_MONTH, BY_YEAR, BY_TIER, SHIFT, FIGURE]
            .map(|port| std::fs::read(folder.path().join(port.file_name())).unwrap())
    };
    assert_eq!(bytes(), bytes());
}

#[test]
fn tiers_and_draws_that_make_no_sense_are_all_found() {
    let paths = |params: Value| -> Vec<String> {
        let stage: Density = serde_json::from_value(params).unwrap();
        stage.check().into_iter().map(|fault| fault.path).collect()
    };
    assert_eq!(paths(json!({ "tiers": { "good": 0.5 }, "draws": 9 })), ["tiers.good", "draws"]);
    assert_eq!(paths(json!({ "tiers": { "medium": -1.0 } })), ["tiers.medium"]);
    assert_eq!(paths(json!({})), Vec::<String>::new());
}
