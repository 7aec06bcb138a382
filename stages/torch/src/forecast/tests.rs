//! Stories of whole forecasts, through the kind and its files.

use std::sync::atomic::AtomicBool;

use pacer_stages::predictions;
use pacer_stages::sequences::Grid;
use pacer_stages::tensors::{self, Array};

use super::*;
use crate::models::weights::{initial, unpack};
use crate::training::toy::{World, padded, sequences};

/// A world with random weights of one block and one head, and one weight too many.
fn world(sequences: &Sequences) -> World {
    let world = World::of(sequences);
    write_weights(&world.path("weights.safetensors"));
    world
}

fn write_weights(path: &Path) {
    let shape = |shape: &[usize]| Weights { shape: shape.to_vec(), values: Vec::new() };
    let sizes = [("wte.weight", shape(&[16, 92])), ("h.0.rms_1.scale", shape(&[16]))];
    let sizes = sizes.map(|(name, weights)| (format!("model.transformer.{name}"), weights));
    let forecaster = Forecaster::published(&BTreeMap::from(sizes), 1.0).unwrap();
    let weights = unpack(forecaster.parameters(), &initial(forecaster.parameters(), 5));
    let odd = ("model.transformer.h.9.rms_1.scale".to_owned(), Weights { shape: vec![1], values: vec![1.0] });
    let weights: BTreeMap<_, _> = weights.into_iter().chain([odd]).collect();
    let arrays = weights.iter().map(|(name, weights)| (name.as_str(), Array::f32(&weights.shape, &weights.values)));
    tensors::write(path, &"random", arrays).unwrap();
}

/// Warm-ups of 12 steps of some thirty.
fn quick() -> Value {
    json!({ "warm_up": 12, "horizon": 10, "context": 8, "samples": 6 })
}

#[test]
fn a_forecast_is_scored_after_its_warm_up_alone_and_says_what_its_task_is() {
    let all = sequences(40, 30);
    let world = world(&all);
    let metrics = world.run("forecast", "told", quick()).unwrap();
    assert_eq!(metrics.keys().collect::<Vec<_>>(), ["constant", "forecaster", "persistence"]);
    for figures in metrics.values() {
        assert_eq!(figures["task"], "continues a warm-up of real heart rate");
        assert_eq!([&figures["warm_up_s"], &figures["horizon_s"]], [60.0, 50.0]);
        // Eight workouts of the test part, in ten steps of each eight real samples.
        assert_eq!([&figures["n_workouts"], &figures["n_points"], &figures["left_out"]], [8, 64, 0]);
    }
    assert_eq!(metrics["forecaster"]["interval"], 0.9);
    assert!(metrics["forecaster"]["coverage"].is_number() && metrics["persistence"]["coverage"].is_null());
    let rows = predictions::read(&world.path("told/predictions.parquet")).unwrap();
    assert!(rows.iter().all(|row| (60.0..110.0).contains(&row.time_s)), "{rows:?}");
    let last = |row: &predictions::Prediction| {
        let place = all.workout.iter().position(|workout| *workout == row.workout).unwrap();
        let mut warm_up = all.steps(place).take(12).filter(|step| all.real[*step] == 1);
        all.target[warm_up.next_back().unwrap()]
    };
    let persistent: Vec<_> = rows.iter().filter(|row| row.model == "persistence").collect();
    assert_eq!(persistent.len(), 64);
    assert!(persistent.iter().all(|row| row.prediction == last(row)));
}

#[test]
fn the_same_job_draws_the_same_bytes_on_any_number_of_threads_and_other_seeds_draw_others() {
    let world = world(&sequences(40, 30));
    let run = |threads: usize, seed: u64| {
        let name = format!("{threads}-{seed}");
        let mut job = world.job("forecast", &name, quick());
        (job.threads, job.seed) = (threads, seed);
        fs::create_dir_all(&job.out).unwrap();
        let context = Context { job: &job, sink: &|_| {}, cancelled: &AtomicBool::new(false) };
        super::run(&job.params, &context).unwrap();
        ["predictions.parquet", "per_workout.parquet"].map(|file| world.bytes(&format!("{name}/{file}")))
    };
    let one = run(1, 7);
    assert!(one == run(1, 7) && one == run(2, 7) && one == run(3, 7));
    assert!(one != run(1, 8));
}

#[test]
fn no_heart_rate_after_the_warm_up_reaches_a_forecast_and_padding_neither() {
    let honest = sequences(40, 30);
    let changed = |from: usize, to: usize| {
        let mut changed = honest.clone();
        // The training part stays, since the constant is its mean.
        for place in (4..40).step_by(5) {
            let own = changed.steps(place).skip(from).take(to - from);
            for step in own.filter(|step| honest.real[*step] == 1).collect::<Vec<_>>() {
                changed.target[step] += 30.0;
            }
        }
        changed
    };
    let said = |sequences: &Sequences| {
        let world = world(sequences);
        world.run("forecast", "told", quick()).unwrap();
        let rows = predictions::read(&world.path("told/predictions.parquet")).unwrap();
        rows.into_iter().map(|row| row.prediction).collect::<Vec<_>>()
    };
    let expected = said(&honest);
    assert_eq!(said(&changed(12, 40)), expected);
    assert_eq!(said(&padded(&honest, 7)), expected);
    assert_ne!(said(&changed(11, 12)), expected);
}

#[test]
fn workouts_that_cannot_be_continued_are_left_out_and_named() {
    let mut all = sequences(40, 30);
    let steps = all.steps(4);
    all.real[steps.start..steps.start + 12].fill(0);
    let steps = all.steps(9);
    all.real[steps.start + 12..steps.end].fill(0);
    let steps = all.steps(14);
    all.target[steps.start..steps.start + 12].fill(130.0);
    let world = world(&all);
    let metrics = world.run("forecast", "told", quick()).unwrap();
    assert_eq!([&metrics["forecaster"]["n_workouts"], &metrics["forecaster"]["left_out"]], [6, 2]);
    let warnings = std::mem::take(&mut *world.warnings.lock().unwrap());
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings[0].ends_with("has these weights: `model.transformer.h.9.rms_1.scale`"), "{warnings:?}");
    assert!(warnings[1].starts_with("2 of 8 workouts (104, 109): no real heart rate"), "{warnings:?}");
    assert!(warnings[2].starts_with("1 of 8 workouts (114): the middle half"), "{warnings:?}");
    let long = json!({ "warm_up": 40, "horizon": 10, "context": 8, "samples": 2 });
    let error = world.run("forecast", "long", long).unwrap_err();
    let blame = error.downcast_ref::<Blame>().unwrap();
    assert_eq!(blame.parameter, "warm_up");
    assert!(blame.message.starts_with("none of the 8 workouts of part `test`"), "{}", blame.message);
}

#[test]
fn times_that_are_not_even_are_refused() {
    let mut all = sequences(40, 30);
    let step = all.steps(3).start + 7;
    all.time[step] += 2.0;
    let error = world(&all).run("forecast", "told", quick()).unwrap_err().to_string();
    assert_eq!(error, "workout 103: step 7 is at 37 s where steps are 5 s apart");
    all.header.grid = Grid::Index { length: 30 };
    let error = world(&all).run("forecast", "told", quick()).unwrap_err().to_string();
    assert!(error.contains("grid = { by = \"time\" }"), "{error}");
}

#[test]
fn a_pickle_is_refused_and_the_way_to_a_safe_file_told() {
    let world = World::usual();
    fs::write(world.path("weights.safetensors"), b"\x80\x02}q\x00(X\x0a\x00\x00\x00state_dict").unwrap();
    let error = world.run("forecast", "told", quick()).unwrap_err().to_string();
    assert!(error.contains("is no safetensors file") && error.contains("convert_lag_llama.py"), "{error}");
}
