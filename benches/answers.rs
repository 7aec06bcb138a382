//! How fast questions about results are answered: `compare` of 20 trials of 1,000 users, `ls` over 1,000 runs. Makes
//! its own store; measures whole processes.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use pacer::cache::{Artifact, Cache, RESULT_VERSION, StageResult};
use pacer::digest::Digest;
use pacer::store::Store;
use pacer_stages::artifact::ArtifactType;
use pacer_stages::predictions::{Predicted, Writer};
use pacer_stages::sequences::{DataSource, Grid, Header, Sequences};
use serde_json::{Map, Value, json};

const TRIALS: usize = 20;
const USERS: i64 = 1_000;
/// Workouts of a user, and samples of a workout.
const WORKOUTS: i64 = 2;
const SAMPLES: i64 = 100;
const RUNS: usize = 1_000;
/// Stages of a run.
const STAGES: usize = 24;

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let cache = Cache::of(Store::open(folder.path()).expect("a store can be made"));
    let (one, several) = (one_scoring(&cache, folder.path()), several_scorings(&cache, folder.path()));
    let words: Vec<&str> = several.iter().map(String::as_str).collect();
    let samples = TRIALS as i64 * USERS * WORKOUTS * SAMPLES;
    let what = format!("compare {TRIALS} trials of {USERS} users, {samples} predictions");
    measure(folder.path(), &format!("{what}, one evaluate"), &["compare", &one]);
    measure(
        folder.path(),
        &format!("{what}, {TRIALS} of them"),
        &[&["compare", "--baseline", "trial_0"], words.as_slice()].concat(),
    );
    runs(&cache);
    measure(folder.path(), &format!("ls of {RUNS} runs of {STAGES} stages"), &["ls", "--limit", "0"]);
    measure(folder.path(), "ls of the newest 20 of them", &["ls"]);
}

/// Tells the median of some calls, and the processor's time of one, which a busy machine does not lengthen.
fn measure(store: &Path, what: &str, arguments: &[&str]) {
    const CALLS: usize = 7;
    let once = || {
        let began = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pacer"));
        let status = command.args(arguments).env("PACER_STORE", store).stdout(Stdio::null()).status();
        assert!(status.expect("pacer can be started").success(), "{arguments:?}");
        began.elapsed().as_secs_f64() * 1e3
    };
    let before = processor_ms();
    let mut times: Vec<f64> = (0..CALLS).map(|_| once()).collect();
    times.sort_by(f64::total_cmp);
    let processor = (processor_ms() - before) / CALLS as f64;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{:6.0} ms, {processor:6.0} ms of a processor  {what}", times[CALLS / 2]);
}

/// The processor's time of all processes that have ended, in milliseconds.
fn processor_ms() -> f64 {
    // SAFETY: a plain system call that fills the structure given to it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage);
        usage
    };
    let ms = |time: libc::timeval| time.tv_sec as f64 * 1e3 + time.tv_usec as f64 / 1e3;
    ms(usage.ru_utime) + ms(usage.ru_stime)
}

fn keep(
    cache: &Cache,
    name: &str,
    artifact: ArtifactType,
    file: &Path,
    record: Value,
    metrics: Map<String, Value>,
) -> Digest {
    let key = Digest::of(record.to_string().as_bytes());
    let (digest, bytes) = cache.store.adopt(file).expect("a file can be taken in");
    let result = StageResult {
        v: RESULT_VERSION,
        key,
        record,
        artifacts: vec![Artifact { name: name.into(), artifact, digest, bytes }],
        metrics,
        warnings: Vec::new(),
        seconds: 1.0,
        peak_bytes: None,
        finished: 0,
        sum: None,
    };
    cache.store.write_json(&cache.store.result_path(&key), &result.summed()).expect("a result can be written");
    key
}

/// The digest of a trained model.
fn model(cache: &Cache, folder: &Path, trial: usize) -> Digest {
    let record = json!({"kind": "pretrain", "params": {"hidden": trial / 5}, "seed": trial % 5, "inputs": {}});
    let file = folder.join("model");
    fs::write(&file, record.to_string()).expect("a file can be written");
    keep(cache, "model", ArtifactType::Model, &file, record.clone(), Map::new());
    Digest::of(record.to_string().as_bytes())
}

fn sequences() -> Sequences {
    let header = Header { features: Vec::new(), grid: Grid::Time { step_s: 10.0 }, data: DataSource::Recorded };
    let workouts: Vec<i64> = (0..USERS * WORKOUTS).collect();
    let steps = workouts.len() as i64 * SAMPLES;
    let target: Vec<f32> = (0..steps).map(|step| (110 + step * 7_919 % 83) as f32).collect();
    Sequences {
        offsets: (0..=workouts.len() as i64).map(|at| at * SAMPLES).collect(),
        real: vec![1; target.len()].into(),
        valid: vec![1; target.len()].into(),
        time: (0..steps).map(|step| (step % SAMPLES * 10) as f32).collect::<Vec<_>>().into(),
        user: workouts.iter().map(|workout| workout / WORKOUTS).collect(),
        start: vec![0; workouts.len()],
        workout: workouts,
        target: target.into(),
        ..Sequences::empty(header)
    }
}

/// Keeps the predictions of some trials, and returns the key.
fn score(cache: &Cache, folder: &Path, trials: &[usize]) -> String {
    let (sequences, file) = (sequences(), folder.join("predictions"));
    let places: Vec<usize> = (0..sequences.len()).collect();
    let mut writer = Writer::create(&file).expect("a file can be made");
    let (mut models, mut metrics) = (Map::new(), Map::new());
    for trial in trials {
        let error = |step: usize| ((step * 31 + trial * 17) % 37) as f32 - 18.0 + *trial as f32 / 10.0;
        let truth = sequences.target.iter().enumerate();
        let prediction: Vec<f32> = truth.map(|(step, truth)| truth + error(step)).collect();
        let name = format!("trial_{trial}");
        writer
            .add(&name, &sequences, &places, &Predicted { rate: prediction, interval: None })
            .expect("predictions can be written");
        metrics.insert(name.clone(), json!({"data": "recorded", "split": "user", "part": "test", "mae": 9.5}));
        models.insert(name, model(cache, folder, *trial).hex().into());
    }
    writer.finish().expect("predictions can be written");
    let split = Digest::of(b"split").hex();
    let inputs = json!({"models": models, "split": split, "sequences": split});
    let record = json!({"kind": "evaluate", "params": {"part": "test"}, "inputs": inputs});
    keep(cache, "predictions", ArtifactType::Predictions, &file, record, metrics).hex()
}

fn one_scoring(cache: &Cache, folder: &Path) -> String {
    score(cache, folder, &(0..TRIALS).collect::<Vec<_>>())
}

fn several_scorings(cache: &Cache, folder: &Path) -> Vec<String> {
    (0..TRIALS).map(|trial| score(cache, folder, &[trial])).collect()
}

/// Writes down runs: one stage of each was made, the others were reused.
fn runs(cache: &Cache) {
    for run in 0..RUNS {
        let id = format!("20261126-{:02}{:02}{:02}.000-{run}", run / 3_600, run / 60 % 60, run % 60);
        let folder = cache.store.path("runs").join(&id);
        fs::create_dir_all(&folder).expect("a folder can be made");
        let summary = json!({
            "run": id, "pipeline": "p", "path": "/p.toml", "state": "done", "ran": 1, "reused": STAGES - 1, "failed": 0,
            "skipped": 0, "seconds": 1.0,
        });
        fs::write(folder.join("summary.json"), summary.to_string()).expect("a file can be written");
        let figures = json!({"mae": 9.5, "rmse": 12.1, "r2": 0.2, "part": "test", "split": "user", "data": "recorded"});
        let key = |what: String| Digest::of(what.as_bytes());
        let mut lines: Vec<String> = (1..STAGES)
            .map(|stage| {
                let key = key(format!("{stage}"));
                format!("{{\"v\":1,\"event\":\"reused\",\"stage\":\"stage_{stage}\",\"key\":\"{key}\"}}")
            })
            .collect();
        let metrics = json!({"a": figures, "b": figures, "c": figures});
        lines.push(format!(
            "{{\"v\":1,\"event\":\"finished\",\"stage\":\"evaluate\",\"key\":\"{}\",\"seconds\":1.0,\"metrics\":{metrics}}}",
            key(format!("evaluate {run}"))
        ));
        fs::write(folder.join("journal.jsonl"), lines.join("\n") + "\n").expect("a file can be written");
    }
}
