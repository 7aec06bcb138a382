//! Stories of trainings that are told more than the features (the user, the history, a backbone) and that say more
//! than one value.

use pacer_stages::model::Model;
use pacer_stages::sequences::{DataSource, Sequences};
use pacer_stages::stage::Blame;
use pacer_stages::table::Table;
use serde_json::{Value, json};

use crate::training::tests::quick;
use crate::training::toy::{World, same_bytes, sequences};

/// Heart rates that lie 20 BPM apart from user to user.
fn apart() -> Sequences {
    let mut all = sequences(40, 30);
    for place in 0..all.len() {
        let level = 20.0 * (all.user[place] - 2) as f32;
        for step in all.steps(place).filter(|step| all.real[*step] == 1).collect::<Vec<_>>() {
            all.target[step] += level;
        }
    }
    all
}

fn test_mae(world: &World, params: Value) -> f64 {
    world.run("pretrain", "first", quick(params)).unwrap();
    world.run("evaluate", "scored", json!({})).unwrap()["lstm"]["mae"].as_f64().unwrap()
}

#[test]
fn who_runs_and_what_the_earlier_runs_were_like_tell_the_level() {
    let world = World::of(&apart());
    let usual = json!({ "epochs": 30, "hidden": 12 });
    let with = |changes: Value| {
        let mut params = usual.clone();
        params.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        params
    };
    let alone = test_mae(&world, usual.clone());
    let embedded = test_mae(&world, with(json!({ "about": { "embedding": 3 } })));
    let scored = world.run("evaluate", "scored", json!({})).unwrap();
    assert_eq!(scored["lstm"]["told"], "user");
    let history = test_mae(&world, with(json!({ "about": { "history": 4 } })));
    let start = test_mae(&world, with(json!({ "start": true, "about": { "history": 4, "width": 4 } })));
    assert!(alone > 8.0, "the level cannot be told from speed: {alone}");
    for (name, told) in [("embedding", embedded), ("history", history), ("start", start)] {
        assert!(told < 0.5 * alone, "{name}: {told} where {alone} is reached without");
    }
}

#[test]
fn a_heart_rate_changes_what_is_said_of_later_runs_alone() {
    let all = apart();
    let world = World::of(&all);
    world.run("pretrain", "first", quick(json!({ "about": { "history": 3 } }))).unwrap();
    let model = Model::read(&world.path("first/model.safetensors")).unwrap();
    let places: Vec<usize> = (0..all.len()).collect();
    let predict = |all: &Sequences| crate::evaluate::predict_steps(&model, all, &places, tch::Device::Cpu, 2).unwrap();
    let mut changed = all.clone();
    let own = 20;
    for step in all.steps(own).filter(|step| all.real[*step] == 1) {
        changed.target[step] += 30.0;
    }
    let (before, after) = (predict(&all).rate, predict(&changed).rate);
    let differs = |place: usize| all.steps(place).any(|step| before[step] != after[step]);
    let found: Vec<usize> = places.iter().copied().filter(|place| differs(*place)).collect();
    assert_eq!(found, [23, 26, 29], "the three later runs of the same user");
}

#[test]
fn a_network_with_a_backbone_begins_with_the_error_of_the_ridge_and_leaves_it_as_it_is() {
    let world = World::usual();
    let ridge = json!({ "model": "ridge", "features": ["speed", "grade"], "alphas": [0.1, 10.0] });
    let fitted = world.run("baseline", "ridge", ridge).unwrap();
    let params = |epochs: usize| quick(json!({ "epochs": epochs, "weight_decay": 0.1 }));
    world.run("pretrain over ridge", "first", params(6)).unwrap();
    let history = Table::read(&world.path("first/history.parquet")).unwrap();
    let errors: Vec<f64> = (0..history.rows()).map(|row| history.cells(row)[4].parse().unwrap()).collect();
    let before = fitted["validation_mae"].as_f64().unwrap();
    assert!((errors[0] - before).abs() < 1e-3, "{} instead of {before}", errors[0]);
    assert!(errors.last().unwrap() < &(0.8 * before), "{errors:?}");
    world.run("pretrain over ridge", "other", params(2)).unwrap();
    let backbone = |name: &str| {
        let model = Model::read(&world.path(name)).unwrap();
        model.tensors["backbone.weight"].values.iter().map(|value| value.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(backbone("first/model.safetensors"), backbone("other/model.safetensors"));
}

#[test]
fn a_backbone_of_simulated_runs_makes_the_data_of_a_network_mixed() {
    let world = World::usual();
    let ridge = json!({ "model": "ridge", "features": ["speed", "grade"] });
    assert_eq!(world.run("baseline", "ridge", ridge).unwrap()["data"], "synthetic");
    let mut recorded = sequences(40, 30);
    recorded.header.data = DataSource::Recorded;
    recorded.write(&world.path("sequences.safetensors")).unwrap();
    for (kind, data) in [("pretrain", DataSource::Recorded), ("pretrain over ridge", DataSource::Mixed)] {
        world.run(kind, "first", quick(json!({}))).unwrap();
        let model = Model::read(&world.path("first/model.safetensors")).unwrap();
        assert_eq!(model.config.training.data, data);
        assert_eq!(world.run("evaluate", "scored", json!({})).unwrap()["lstm"]["data"], data.name());
    }
}

#[test]
fn a_backbone_whose_features_the_network_lacks_is_refused_by_name() {
    let world = World::usual();
    world.run("baseline", "ridge", json!({ "model": "ridge", "features": ["speed", "grade"] })).unwrap();
    let error = world.run("pretrain over ridge", "first", quick(json!({ "features": ["speed"] }))).unwrap_err();
    let blame = error.downcast_ref::<Blame>().unwrap();
    assert_eq!(blame.parameter, "features");
    assert!(blame.message.contains("`grade`"), "{}", blame.message);
}

/// The toy's heart rate follows the speed exactly, so noise is added for the intervals to hold.
#[test]
fn intervals_hold_about_the_share_that_they_promise() {
    let mut all = sequences(200, 30);
    let mut generator = crate::random::stream(11, crate::random::Purpose::Order, 0);
    for step in 0..all.target.len() {
        if all.real[step] == 1 {
            let noise: f32 = (0..4).map(|_| crate::random::uniform(1.0, &mut generator)).sum();
            all.target[step] += 6.0 * noise;
        }
    }
    for head in [json!("student_t"), json!({ "quantiles": [0.05, 0.5, 0.95] })] {
        let world = World::of(&all);
        world.run("pretrain", "first", quick(json!({ "head": head, "epochs": 30, "hidden": 12 }))).unwrap();
        let scored = world.run("evaluate", "scored", json!({})).unwrap();
        let figure = |name: &str| scored["lstm"][name].as_f64().unwrap();
        assert!((figure("interval") - 0.9).abs() < 1e-9);
        assert!((figure("coverage") - 0.9).abs() < 0.05, "{head}: {}", figure("coverage"));
        assert!((15.0..30.0).contains(&figure("interval_bpm")), "{head}: {}", figure("interval_bpm"));
        assert!(scored["constant"].get("coverage").is_none());
    }
}

#[test]
fn buckets_change_the_batches_and_parts_change_no_more_than_the_rounding() {
    let world = World::usual();
    let run = |name: &str, batches: Value| {
        let trained = world.run("pretrain", name, quick(json!({ "batches": batches }))).unwrap();
        trained["validation_mae"].as_f64().unwrap()
    };
    let usual = run("a", json!({}));
    run("b", json!({ "bucket": 2 }));
    assert!(!same_bytes(&world.path("a/model.safetensors"), &world.path("b/model.safetensors")));
    let parts = run("c", json!({ "part": 3 }));
    assert!((parts - usual).abs() < 1e-2, "{parts} and {usual}");
}
