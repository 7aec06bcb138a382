//! How fast questions about results are answered: `compare` of 20 trials of 1,000 users, `ls` over 1,000 runs, `report`
//! of a run with 20 trials and 1,000 test workouts, and when a browser paints that page first. Makes its own store;
//! measures whole processes.

// Of the browser only its watch is needed here.
#[path = "../tests/stories/browser.rs"]
#[allow(dead_code)]
mod browser;

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
use pacer_stages::split::{Part, Split, SplitBy};
use pacer_stages::table::{Column, Table};
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
    let run = reported(&cache, folder.path());
    let page = folder.path().join("page.html");
    let page_text = page.display().to_string();
    let what = format!("report of {TRIALS} trials and {TESTED} test workouts of {STEPS} samples");
    measure(folder.path(), &what, &["report", &run, "--out", &page_text, "--quiet"]);
    tell(&format!(
        "{:6} kB                          that page",
        fs::metadata(&page).map_or(0, |file| file.len()) / 1_000
    ));
    first_paint(&page);
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
    tell(&format!("{:6.0} ms, {processor:6.0} ms of a processor  {what}", times[CALLS / 2]));
}

fn tell(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Tells when a browser that runs already paints a page first, counted from the beginning of its navigation: the entry
/// `first-contentful-paint` of its own performance timeline, the median of some openings.
fn first_paint(page: &Path) {
    const OPENINGS: usize = 7;
    const PAINT: &str = "new Promise(done => { const look = () => { const [paint] = \
        performance.getEntriesByName('first-contentful-paint'); paint ? done(paint.startTime) : setTimeout(look, 5) }; look() })";
    let Some(mut browser) = browser::Browser::start() else { return };
    browser.look(1_200, "light", "screen");
    let mut times: Vec<f64> = (0..OPENINGS)
        .map(|_| {
            browser.open_address("about:blank");
            browser.open(page);
            browser.evaluate(PAINT).as_f64().unwrap_or(f64::NAN)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    tell(&format!("{:6.0} ms                          first paint of that page in Chromium", times[OPENINGS / 2]));
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
    result(cache, record, &[(name, artifact, file)], metrics).0
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

/// Test workouts of the run that is reported, and samples of each: 90 minutes by 10 s.
const TESTED: i64 = 1_000;
const STEPS: i64 = 540;

/// Users of the whole population of that run, each with so many workouts.
const POPULATION: i64 = 3_000;
const PER_USER: i64 = 2;

/// Writes a run of a sweep down: sequences, a split by user, trials with their histories, an evaluation of the test part.
fn reported(cache: &Cache, folder: &Path) -> String {
    let all = population();
    let file = folder.join("file");
    all.write(&file).expect("sequences can be written");
    let sequences = result(
        cache,
        json!({"kind": "resample", "params": {"features": ["speed"]}, "inputs": {}}),
        &[("sequences", ArtifactType::Sequences, &file)],
        Map::new(),
    );
    let parts = all.workout.iter().zip(&all.user).map(|(workout, user)| (*workout, (part(*user), *user))).collect();
    Split { by: SplitBy::User, parts }.write(&file).expect("a split can be written");
    let inputs = json!({"sequences": sequences.1[0]});
    let split = result(
        cache,
        json!({"kind": "split", "params": {"by": "user"}, "seed": 1, "inputs": inputs}),
        &[("split", ArtifactType::Split, &file)],
        Map::new(),
    );
    let mut stages = vec![("resample".to_owned(), sequences.0), ("split".to_owned(), split.0)];
    let (mut models, mut trials) = (Map::new(), Map::new());
    let inputs = json!({"sequences": sequences.1[0], "split": split.1[0]});
    for trial in 0..TRIALS {
        let (name, coordinates) = (trial_name(trial), coordinates(trial));
        let model = folder.join("model");
        fs::write(&model, &name).expect("a file can be written");
        history(trial).write(&file).expect("a table can be written");
        let record = json!({"kind": "pretrain", "params": {"batch_size": 8 << (trial / 5)}, "seed": trial % 5, "inputs": inputs});
        let metrics = json!({"validation_mae": 11.0 + trial as f64 / 20.0}).as_object().cloned().unwrap_or_default();
        let artifacts =
            [("model", ArtifactType::Model, model.as_path()), ("history", ArtifactType::Table, file.as_path())];
        let made = result(cache, record, &artifacts, metrics);
        models.insert(name.clone(), made.1[0].clone().into());
        trials.insert(name.clone(), json!({"group": "lstm", "coordinates": coordinates}));
        stages.push((name, made.0));
    }
    let evaluate = evaluated(cache, folder, &all, &inputs, models);
    stages.push(("evaluate".to_owned(), evaluate));
    write_run(cache, &stages, &trials)
}

/// Writes the journal of a run in which all of these stages ran.
fn write_run(cache: &Cache, stages: &[(String, Digest)], trials: &Map<String, Value>) -> String {
    let id = "20261127-120000.000-1".to_owned();
    let folder = cache.store.path("runs").join(&id);
    fs::create_dir_all(&folder).expect("a folder can be made");
    let summary = json!({
        "run": id, "pipeline": "sweep", "path": "/sweep.toml", "state": "done", "ran": stages.len(), "reused": 0, "failed": 0,
        "skipped": 0, "seconds": 100.0,
    });
    fs::write(folder.join("summary.json"), summary.to_string()).expect("a file can be written");
    let names: Vec<&String> = stages.iter().map(|(name, _)| name).collect();
    let mut lines =
        vec![json!({"v": 1, "event": "started", "run": id, "pipeline": "sweep", "stages": names, "trials": trials})];
    for (at, (name, key)) in stages.iter().enumerate() {
        let at = at as f64;
        lines.push(json!({"v": 1, "event": "running", "stage": name, "kind": "k", "key": key, "reason": "", "device": "cpu", "at": at}));
        lines.push(json!({"v": 1, "event": "finished", "stage": name, "key": key, "seconds": 1.0, "metrics": {}, "at": at + 1.0}));
    }
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(folder.join("journal.jsonl"), text).expect("a file can be written");
    id
}

fn trial_name(trial: usize) -> String {
    format!("lstm[batch_size={},seed={}]", 8 << (trial / 5), trial % 5)
}

fn coordinates(trial: usize) -> Value {
    json!([["batch_size", 8 << (trial / 5)], ["seed", trial % 5]])
}

fn part(user: i64) -> Part {
    match user {
        user if user < TESTED / PER_USER => Part::Test,
        user if user < TESTED => Part::Validation,
        _ => Part::Train,
    }
}

/// The workouts of all users, those of the test part first.
fn population() -> Sequences {
    let header =
        Header { features: vec!["speed".into()], grid: Grid::Time { step_s: 10.0 }, data: DataSource::Recorded };
    let workouts: Vec<i64> = (0..POPULATION * PER_USER).collect();
    let steps = workouts.len() as i64 * STEPS;
    let rate = |step: i64| (145.0 + 20.0 * ((step % STEPS) as f64 / 40.0 + (step / STEPS) as f64).sin()) as f32;
    Sequences {
        offsets: (0..=workouts.len() as i64).map(|at| at * STEPS).collect(),
        features: (0..steps).map(|step| (step * 31 % 47) as f32).collect::<Vec<_>>().into(),
        real: vec![1; steps as usize].into(),
        valid: vec![1; steps as usize].into(),
        time: (0..steps).map(|step| (step % STEPS * 10) as f32).collect::<Vec<_>>().into(),
        user: workouts.iter().map(|workout| workout / PER_USER).collect(),
        start: workouts.iter().map(|workout| workout * 86_400).collect(),
        workout: workouts,
        target: (0..steps).map(rate).collect::<Vec<_>>().into(),
        ..Sequences::empty(header)
    }
}

fn history(trial: usize) -> Table {
    let error = |epoch: i64| Some(11.0 + trial as f64 / 20.0 + 5.0 / (1 + epoch) as f64);
    Table::new(vec![
        Column::int("epoch", 0..30_i64),
        Column::float("validation_mae_bpm", (0..30).map(error).collect::<Vec<_>>()),
    ])
    .expect("columns of one length are a table")
}

/// Keeps what the trials predict of the test part.
fn evaluated(cache: &Cache, folder: &Path, all: &Sequences, inputs: &Value, models: Map<String, Value>) -> Digest {
    let file = folder.join("predictions");
    let places: Vec<usize> = (0..all.len()).filter(|place| part(all.user[*place]) == Part::Test).collect();
    let mut writer = Writer::create(&file).expect("a file can be made");
    let mut metrics = Map::new();
    for trial in 0..TRIALS {
        let error = |step: usize| ((step * 31 + trial * 17) % 37) as f32 - 18.0 + trial as f32 / 10.0;
        let rate = all.target.iter().enumerate().map(|(step, truth)| truth + error(step)).collect();
        let name = trial_name(trial);
        writer.add(&name, all, &places, &Predicted { rate, interval: None }).expect("predictions can be written");
        let figures = json!({
            "data": "recorded", "split": "user", "part": "test", "mae": 9.5, "seed": trial % 5, "architecture": "lstm",
        });
        metrics.insert(name, figures);
    }
    writer.finish().expect("predictions can be written");
    let mut inputs = inputs.clone();
    inputs["models"] = models.into();
    let record = json!({"kind": "evaluate", "params": {"part": "test"}, "inputs": inputs});
    result(cache, record, &[("predictions", ArtifactType::Predictions, &file)], metrics).0
}

/// Keeps a result with its artifacts, and returns its key and their digests.
fn result(
    cache: &Cache,
    record: Value,
    files: &[(&str, ArtifactType, &Path)],
    metrics: Map<String, Value>,
) -> (Digest, Vec<String>) {
    let key = Digest::of(record.to_string().as_bytes());
    let artifact = |(name, artifact, file): &(&str, ArtifactType, &Path)| {
        let (digest, bytes) = cache.store.adopt(file).expect("a file can be taken in");
        Artifact { name: (*name).into(), artifact: *artifact, digest, bytes }
    };
    let artifacts: Vec<Artifact> = files.iter().map(artifact).collect();
    let digests = artifacts.iter().map(|artifact| artifact.digest.hex()).collect();
    let result = StageResult {
        v: RESULT_VERSION,
        key,
        record,
        artifacts,
        metrics,
        warnings: Vec::new(),
        seconds: 1.0,
        peak_bytes: Some(200_000_000),
        finished: 0,
        sum: None,
    };
    cache.store.write_json(&cache.store.result_path(&key), &result.summed()).expect("a result can be written");
    (key, digests)
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
