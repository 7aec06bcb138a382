//! The chain from raw recordings to baselines on real runs, which lie beside the checkout or not at all.
//! Knows the kinds, not the engine.

// Its figures are printed for people to read.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use pacer_stages::job::{Checkpoints, Device, JOB_VERSION, Job, Slot};
use pacer_stages::kinds::baseline::Baseline;
use pacer_stages::kinds::correlate::Correlate;
use pacer_stages::kinds::filter::Filter;
use pacer_stages::kinds::import::Import;
use pacer_stages::kinds::resample::Resample;
use pacer_stages::kinds::split::SplitStage;
use pacer_stages::model::Model;
use pacer_stages::read::csv::columns::Columns;
use pacer_stages::read::format::{self, Format};
use pacer_stages::read::record::{Found, Record};
use pacer_stages::read::{csv, fit, gpx, tcx};
use pacer_stages::score;
use pacer_stages::sequences::Sequences;
use pacer_stages::split::{Part, Split};
use pacer_stages::stage::{Context, Metrics, Run};
use pacer_stages::table::Table;
use serde_json::{Value, json};

/// The runner with 58 runs.
const RUNNER: i64 = 90_000_012;

const PHYSIOLOGY: [&str; 8] = [
    "ema(power, 20)",
    "ema(power, 60)",
    "ema(power, 180)",
    "ema(speed, 60)",
    "elapsed",
    "elapsed^2",
    "decay(60)",
    "decay(180)",
];

/// Runs a stage in its own folder and gives its metrics.
fn stage<S: Run>(out: &Path, params: Value, inputs: &[(&str, PathBuf)]) -> Metrics {
    std::fs::create_dir_all(out).unwrap();
    let stage: S = serde_json::from_value(params.clone()).unwrap();
    assert_eq!(stage.check(), []);
    let slot = |(name, path): &(&str, PathBuf)| ((*name).to_owned(), Slot::One(path.clone()));
    let job = Job {
        v: JOB_VERSION,
        kind: S::NAME.into(),
        code: String::new(),
        params,
        inputs: inputs.iter().map(slot).collect::<BTreeMap<_, _>>(),
        out: out.to_path_buf(),
        partial: out.to_path_buf(),
        checkpoints: Checkpoints::default(),
        seed: 1,
        device: Device::Cpu,
        threads: 2,
    };
    stage.run(&Context { job: &job, sink: &|_| {}, cancelled: &AtomicBool::new(false) }).unwrap()
}

/// Test MAE of a baseline, in BPM: over points and as the mean over runs.
fn test_mae(out: &Path, params: Value, sequences: &Path, split: &Path) -> [f64; 2] {
    stage::<Baseline>(out, params, &[("sequences", sequences.into()), ("split", split.into())]);
    let model = Model::read(&out.join("model.safetensors")).unwrap();
    let sequences = Sequences::read(sequences).unwrap();
    let test = Split::read(split).unwrap().workouts(&sequences, Part::Test).unwrap();
    let prediction = model.predict_linear(&sequences).unwrap();
    let (scores, rows) = score::score(&prediction, &sequences, &test, 1.0).unwrap();
    assert_eq!(rows.len(), 17, "the last 30 % of 58 runs");
    [scores.mae, scores.mae_workout_mean]
}

/// Lays the runs on a grid, holds out the runner's later ones and gives the test MAE of each baseline.
fn baselines(folder: &Path, workouts: &Path, step_s: f64) -> BTreeMap<&'static str, [f64; 2]> {
    let mut features = PHYSIOLOGY.to_vec();
    features.extend(["speed", "altitude"]);
    let grid = json!({ "grid": { "by": "time", "step_s": step_s }, "features": features });
    let laid = stage::<Resample>(&folder.join("resample"), grid, &[("workouts", workouts.into())]);
    println!("  {}", json!(laid));
    let sequences = folder.join("resample/sequences.safetensors");
    let params = json!({ "by": "time", "train": 0.7, "test": 0.3, "test_users": [RUNNER] });
    stage::<SplitStage>(&folder.join("split"), params, &[("sequences", sequences.clone())]);
    let split = folder.join("split/split.parquet");
    let mae = |name: &str, params: Value| test_mae(&folder.join(name), params, &sequences, &split);
    BTreeMap::from([
        ("constant", mae("constant", json!({ "model": "constant" }))),
        ("user mean", mae("user_mean", json!({ "model": "user_mean" }))),
        ("ridge raw", mae("raw", json!({ "model": "ridge", "features": ["speed", "altitude"] }))),
        ("ridge physiology", mae("physiology", json!({ "model": "ridge", "features": PHYSIOLOGY }))),
    ])
}

#[test]
fn on_real_runs_nine_numbers_of_physiology_halve_the_error_of_a_constant() {
    let runs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/fitrec/real_runs.jsonl");
    if !runs.exists() {
        println!("skipped: there is no `{}`", runs.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    stage::<Import>(&folder.join("import"), json!({}), &[("source", runs)]);
    let imported = folder.join("import/workouts.parquet");
    let filtered = stage::<Filter>(&folder.join("filter"), json!({}), &[("workouts", imported.clone())]);
    println!("filter {}", json!(filtered));
    let workouts = folder.join("filter/workouts.parquet");
    for step_s in [5.0, 10.0] {
        println!("grid of {step_s} s; test MAE in BPM over points, mean over runs");
        let maes = baselines(&folder.join(format!("grid_{step_s}")), &workouts, step_s);
        for (name, [points, runs]) in &maes {
            println!("  {name:<18}{points:>7.2}{runs:>7.2}");
        }
        assert!((9.5..12.0).contains(&maes["constant"][1]), "{maes:?}");
        assert!(maes["ridge physiology"][1] < 0.6 * maes["constant"][1], "{maes:?}");
        assert!(maes["ridge raw"][1] > 0.8 * maes["constant"][1], "zero-lag speed says little: {maes:?}");
    }
    let inputs = [("raw", imported), ("processed", workouts)];
    stage::<Correlate>(&folder.join("correlate"), json!({}), &inputs);
    let table = Table::read(&folder.join("correlate/table.parquet")).unwrap();
    println!("{}", table.csv());
}

/// The folder of real files of a format; says so where there is none.
fn real(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(name);
    if !folder.exists() {
        println!("skipped: there is no `{}`", folder.display());
    }
    folder.exists().then_some(folder)
}

/// Reads a file of one workout as its content says.
fn read(path: &Path) -> Found {
    let whole = format::whole(path, format::LIMIT_BYTES).unwrap();
    let start = csv::start_in_name(&path.file_name().unwrap().to_string_lossy());
    match format::tell(&whole.bytes) {
        Format::Gpx => gpx::read(&whole.bytes),
        Format::Tcx => tcx::read(&whole.bytes),
        Format::Fit => fit::read(&whole.bytes),
        Format::Csv => csv::read(&whole.bytes, &Columns::default(), start),
        other => panic!("{} is {other:?}", path.display()),
    }
}

/// Minutes from the first sample to the last, and the mean heart rate in BPM.
fn figures(record: &Record) -> [f64; 2] {
    let time = record.workout.time.as_deref().unwrap();
    let beats = record.workout.heart_rate.as_deref().unwrap_or_default();
    let mean = beats.iter().map(|&beat| f64::from(beat)).sum::<f64>() / beats.len() as f64;
    [(time[time.len() - 1] - time[0]) / 60.0, mean]
}

/// The records of a folder's files by name, in order; prints what each is.
fn records(folder: &Path) -> Vec<(String, Record)> {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| {
        let name = path.to_string_lossy();
        !name.contains("LICENSE") && !name.ends_with("index.csv")
    });
    paths.sort();
    let mut records = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let found = read(&path);
        println!("{name}: {} workouts, aside {:?}, warned {:?}", found.records.len(), found.set_aside, found.warnings);
        assert!(found.set_aside.is_empty() && found.warnings.is_empty());
        for record in found.records {
            let (workout, [minutes, mean]) = (&record.workout, figures(&record));
            println!(
                "  {:?}: {} samples, {minutes:.1} min, mean heart rate {mean:.1} BPM; device {:?}, zone {:?}, \
                 indoor {:?}, speed {}, altitude {}, positions {}, distance {}, pauses {}, id {}",
                workout.sport,
                workout.time.as_ref().unwrap().len(),
                workout.device,
                workout.time_zone,
                workout.indoor,
                workout.speed_source.name(),
                workout.altitude_source.name(),
                workout.latitude.is_some(),
                record.distance.is_some(),
                workout.pauses.len() / 2,
                workout.id,
            );
            records.push((name.clone(), record));
        }
    }
    records
}

#[test]
fn real_files_of_watches_are_read_as_their_description_says() {
    let (Some(gpx), Some(tcx), Some(fit)) = (real("gpx"), real("tcx"), real("fit")) else { return };
    let [(_, gpx)] = records(&gpx).try_into().unwrap();
    assert_eq!((gpx.workout.sport.as_str(), figures(&gpx)[0].round()), ("run", 80.0));
    let [(_, tcx)] = records(&tcx).try_into().unwrap();
    assert_eq!((tcx.workout.sport.as_str(), figures(&tcx)[0].round()), ("run", 65.0));
    assert!(tcx.workout.speed.is_none() && tcx.distance.is_some(), "its speed is to be derived");
    let fit = records(&fit);
    assert_eq!(fit.len(), 4);
    let beats = |record: &Record| record.workout.heart_rate.as_ref().map_or(0, Vec::len);
    let runs = fit.iter().filter(|(_, record)| record.workout.sport == "run" && beats(record) > 100);
    assert_eq!(runs.count(), 2);
}

#[test]
fn real_tables_are_read_as_their_index_says() {
    let Some(folder) = real("csv") else { return };
    let records = records(&folder);
    let index = std::fs::read_to_string(folder.join("index.csv")).unwrap();
    let rows: Vec<Vec<&str>> = index.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert_eq!((records.len(), rows.len()), (58, 58));
    for ((name, record), row) in records.iter().zip(rows) {
        let [_, mean] = figures(record);
        assert!(name.starts_with(row[0]));
        assert_eq!(record.workout.time.as_ref().unwrap().len().to_string(), row[2], "{name}");
        assert!((mean - row[5].parse::<f64>().unwrap()).abs() < 0.06, "{name}: {mean} is not {}", row[5]);
    }
}
