//! Arbitrary bytes as recordings that go through the kinds one after another, with filters off, so that every
//! kind meets what the filters would keep from it: errors are fine, panics are not.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;

use pacer_stages::job::{JOB_VERSION, Job};
use pacer_stages::kind::Place;
use pacer_stages::kinds;
use pacer_stages::stage::Context;
use serde_json::{Map, Value, json};

/// The folder of all stages; set TMPDIR to a file system in memory.
static FOLDER: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("pacer-fuzz-{}", std::process::id())));

/// Checks one input.
pub fn check(bytes: &[u8]) {
    let raw = FOLDER.join("raw.json");
    fs::create_dir_all(&*FOLDER).expect("a temporary folder can be made");
    fs::write(&raw, bytes).expect("a temporary file can be written");
    // The last byte chooses among ways, so that a text may begin as it likes.
    through(raw, bytes.last().copied().unwrap_or_default());
}

/// The bit of a byte.
fn bit(byte: u8, place: u8) -> bool {
    byte >> place & 1 == 1
}

/// Runs the kinds; `None` as soon as one refuses.
fn through(raw: PathBuf, way: u8) -> Option<()> {
    let speed = if bit(way, 0) { "always" } else { "missing" };
    let imported = run("import", json!({"derive_speed": speed}), &[("source", &raw)])?;
    let rules = ["sport", "fields", "numbers", "points", "lengths", "finite", "heart_rate"];
    let kept: Vec<_> = rules.into_iter().filter(|rule| bit(way, 1) && ["fields", "lengths"].contains(rule)).collect();
    let off: Vec<_> = rules.into_iter().filter(|rule| !kept.contains(rule)).collect();
    let filter = json!({"off": off, "duration_minutes": [0.0, 1e9], "distance_m": [0.0, 1e9], "max_flat_share": 1.0,
        "max_speed_m_s": 1e30, "max_climb_m_s": 1e30});
    let filtered = run("filter", filter, &[("workouts", &imported.join("workouts.parquet"))])?;
    let workouts = filtered.join("workouts.parquet");
    let grid = match bit(way, 2) {
        true => json!({"by": "time", "step_s": 5.0, "max_minutes": 30.0}),
        false => json!({"by": "index", "length": 20}),
    };
    let features = ["speed", "altitude_gain", "grade", "power", "ema(power, 60)", "elapsed^2", "decay(60)"];
    run("correlate", json!({"sports": [], "features": features, "rank_limit": 100}), &[("processed.made", &workouts)]);
    let resampled = run("resample", json!({"grid": grid, "features": features}), &[("workouts", &workouts)])?;
    let sequences = resampled.join("sequences.safetensors");
    let by = if bit(way, 3) { "time" } else { "workout" };
    let divided = run("split", json!({"by": by}), &[("sequences", &sequences)])?;
    let split = divided.join("split.parquet");
    for model in [json!({"model": "user_mean"}), json!({"model": "ridge", "features": ["speed", "elapsed^2"]})] {
        run("baseline", model, &[("sequences", &sequences), ("split", &split)]);
    }
    Some(())
}

/// Runs a kind; the folder of its outputs, or `None` when it refuses.
fn run(name: &str, params: Value, inputs: &[(&str, &PathBuf)]) -> Option<PathBuf> {
    let kind = kinds::find(name).expect("the kind is in the table");
    let decoded = (kind.decode)(&params).expect("the parameters fit");
    assert_eq!(decoded.faults, []);
    let Place::Here(run) = kind.place else { panic!("`{name}` runs in a worker") };
    let out = FOLDER.join(name);
    fs::create_dir_all(&out).expect("a temporary folder can be made");
    let slot = |(slot, path): &(&str, &PathBuf)| match slot.split_once('.') {
        Some((slot, name)) => (slot.to_owned(), json!({ name: path })),
        None => ((*slot).to_owned(), json!(path)),
    };
    let inputs: Map<String, Value> = inputs.iter().map(slot).collect();
    let job = json!({"v": JOB_VERSION, "kind": name, "code": "", "params": decoded.params, "inputs": inputs, "out": out,
        "partial": out, "seed": 0, "device": "cpu", "threads": 1});
    let job: Job = serde_json::from_value(job).expect("it is a job");
    let outcome = run(&decoded.params, &Context { job: &job, sink: &|_| (), cancelled: &AtomicBool::new(false) });
    outcome.ok().map(|_| out)
}
