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
