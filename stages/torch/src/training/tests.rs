//! Stories of whole trainings, through the kinds and their files.

use pacer_stages::model::Model;
use pacer_stages::sequences::Sequences;
use pacer_stages::stage::{Blame, Interrupted};
use pacer_stages::table::Table;
use serde_json::{Value, json};

use crate::training::NotFinite;
use crate::training::toy::{World, padded, same_bytes, sequences};

/// Parameters of a training that takes well under a second, some of them changed.
pub fn quick(changes: Value) -> Value {
    let mut params = json!({
        "layers": 1, "hidden": 8, "epochs": 4, "batch_size": 8, "learning_rate": 0.02, "clip_norm": 1.0,
    });
    params.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    params
}

/// Parameters that make it a small decoder, some of them changed.
pub fn decoder(changes: Value) -> Value {
    let attention = json!({ "heads": 2, "width": 4, "lags": [0, 1, 2, 4, 6, 9] });
    let mut params = quick(json!({ "model": "decoder", "attention": attention }));
    params.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    params
}

fn mae(metrics: &serde_json::Map<String, Value>, model: &str) -> f64 {
    metrics[model]["mae"].as_f64().unwrap()
}

#[test]
fn both_cells_learn_a_late_answer_that_a_constant_cannot() {
    for cell in ["lstm", "gru"] {
        let world = World::usual();
        let schedule = json!({ "shape": "cosine", "warmup": 1 });
        let params = json!({ "model": cell, "epochs": 40, "hidden": 16, "schedule": schedule });
        let trained = world.run("pretrain", "first", quick(params)).unwrap();
        let scored = world.run("evaluate", "scored", json!({})).unwrap();
        let (network, constant) = (mae(&scored, "lstm"), mae(&scored, "constant"));
        assert!(constant > 9.0, "the toy is too easy: {constant}");
        assert!(network < 1.5, "{cell}: {network} where a constant has {constant}");
        let validation = trained["validation_mae"].as_f64().unwrap();
        assert!((validation - network).abs() < 1.0, "{validation} and {network}");
        let skill = scored["lstm"]["skill"].as_f64().unwrap();
        assert!((skill - (1.0 - network / constant)).abs() < 1e-9);
    }
}

#[test]
fn a_decoder_learns_a_late_answer_and_is_trained_further_block_by_block() {
    let world = World::usual();
    let schedule = json!({ "shape": "cosine", "warmup": 1 });
    let params = json!({ "epochs": 40, "layers": 2, "learning_rate": 0.01, "head": "student_t", "schedule": schedule });
    world.run("pretrain", "first", decoder(params)).unwrap();
    let scored = world.run("evaluate", "scored", json!({})).unwrap();
    let (network, constant) = (mae(&scored, "lstm"), mae(&scored, "constant"));
    assert!(network < 1.5 && constant > 9.0, "{network} where a constant has {constant}");
    let held = scored["lstm"]["coverage"].as_f64().unwrap();
    assert!((0.6..=1.0).contains(&held), "{held}");
    let phases = json!([{ "epochs": 1, "learning_rate": 1e-5, "unfreeze": ["head", "model.transformer.h.1.mlp"] }]);
    world.run("finetune", "second", json!({ "phases": phases, "batch_size": 8 })).unwrap();
    let [first, second] =
        ["first", "second"].map(|name| Model::read(&world.path(name).join("model.safetensors")).unwrap().tensors);
    let changed: Vec<_> = first.keys().filter(|name| first[*name] != second[*name]).collect();
    let mlp = ["c_fc1", "c_fc2", "c_proj"].map(|name| format!("model.transformer.h.1.mlp.{name}.weight"));
    // It is kept only where it was better on validation.
    assert!(changed.is_empty() || changed.iter().all(|name| name.starts_with("head") || mlp.contains(name)));
}

#[test]
fn a_differential_equation_learns_the_late_answer_too_and_is_told_about_the_user() {
    let world = World::usual();
    let about = json!({ "embedding": 2, "history": 3, "width": 4 });
    let params =
        json!({ "model": "hybrid", "epochs": 60, "hidden": 8, "about": about, "schedule": { "shape": "cosine" } });
    world.run("pretrain", "first", quick(params)).unwrap();
    let scored = world.run("evaluate", "scored", json!({})).unwrap();
    let network = mae(&scored, "lstm");
    assert!(network < 2.0, "{network} where a constant has {}", mae(&scored, "constant"));
    assert_eq!(scored["lstm"]["told"], "user, 3 earlier workouts");
}

#[test]
fn the_same_job_writes_the_same_bytes_and_another_cell_others() {
    let world = World::usual();
    let params = |cell| quick(json!({ "model": cell, "layers": 2, "dropout": 0.3, "bidirectional": true }));
    world.run("pretrain", "a", params("lstm")).unwrap();
    world.run("pretrain", "b", params("lstm")).unwrap();
    world.run("pretrain", "c", params("gru")).unwrap();
    world.run("pretrain", "d", decoder(json!({ "dropout": 0.3 }))).unwrap();
    world.run("pretrain", "e", decoder(json!({ "dropout": 0.3 }))).unwrap();
    for file in ["model.safetensors", "history.parquet"] {
        assert!(same_bytes(&world.path("a").join(file), &world.path("b").join(file)), "{file}");
        assert!(!same_bytes(&world.path("a").join(file), &world.path("c").join(file)), "{file}");
        assert!(same_bytes(&world.path("d").join(file), &world.path("e").join(file)), "{file}");
    }
}

#[test]
fn a_training_stopped_at_every_single_step_ends_with_the_bytes_of_one_never_stopped() {
    let about = json!({ "embedding": 2, "history": 3 });
    for (cell, dropout) in [("lstm", 0.3), ("gru", 0.3), ("hybrid", 0.0)] {
        let world = World::usual();
        let params = quick(json!({ "model": cell, "layers": 2, "dropout": dropout, "patience": 3, "about": about }));
        world.run("pretrain", "whole", params.clone()).unwrap();
        // 24 training workouts in batches of 8 make 3 steps in each of 4 epochs.
        let mut steps = 0;
        while let Err(error) = world.run_one_step("pretrain", "parts", params.clone()) {
            assert!(error.is::<Interrupted>(), "{error:#}");
            steps += 1;
        }
        assert_eq!(steps, 12);
        for file in ["model.safetensors", "history.parquet"] {
            assert!(same_bytes(&world.path("whole").join(file), &world.path("parts").join(file)), "{cell} {file}");
        }
    }
}

#[test]
fn a_training_stopped_after_an_epoch_goes_on_from_there() {
    let world = World::usual();
    world.run("pretrain", "whole", quick(json!({}))).unwrap();
    let stopped = world.run_until("pretrain", "parts", quick(json!({})), |news| news.starts_with("epoch 2 of 4: loss"));
    assert!(stopped.unwrap_err().is::<Interrupted>());
    world.news.lock().unwrap().clear();
    world.run("pretrain", "parts", quick(json!({}))).unwrap();
    let epochs: Vec<String> = world.news.lock().unwrap().iter().map(|news| news[..7].to_owned()).collect();
    assert_eq!(epochs, ["goes on", "epoch 3", "epoch 4"]);
    assert!(same_bytes(&world.path("whole/model.safetensors"), &world.path("parts/model.safetensors")));
}

#[test]
fn a_loss_that_is_no_number_stops_and_points_at_the_learning_rate() {
    let world = World::usual();
    let params = quick(json!({ "learning_rate": 1e30, "clip_norm": 0.0, "loss": "mse" }));
    let error = world.run("pretrain", "first", params).unwrap_err();
    assert!(error.is::<NotFinite>());
    let blame = error.downcast_ref::<Blame>().unwrap();
    assert_eq!(blame.parameter, "learning_rate");
    for words in ["at step 2 (epoch 1)", "the last finite loss was", "lower `learning_rate`"] {
        assert!(blame.message.contains(words), "{}", blame.message);
    }
    assert!(!world.path("first/model.safetensors").exists());
}

#[test]
fn a_batch_larger_than_the_training_part_is_refused_with_both_numbers() {
    let error = World::usual().run("pretrain", "first", quick(json!({ "batch_size": 25 }))).unwrap_err();
    let blame = error.downcast_ref::<Blame>().unwrap();
    assert_eq!(blame.parameter, "batch_size");
    assert_eq!(blame.message, "a batch of 25 is larger than the training part of 24 workouts");
}

#[test]
fn a_feature_that_the_sequences_lack_is_refused_with_the_parameter_and_what_is_there() {
    let params = quick(json!({ "features": ["grade", "altitude"] }));
    let error = World::usual().run("pretrain", "first", params).unwrap_err();
    let blame = error.downcast_ref::<Blame>().unwrap();
    assert_eq!(blame.parameter, "features");
    assert!(
        blame.message.contains("`altitude` is no feature of these sequences, which hold `speed`"),
        "{}",
        blame.message
    );
}

#[test]
fn patience_ends_a_training_that_gets_no_better_and_keeps_its_best_epoch() {
    let world = World::usual();
    // A rate that is far too high gets better at most by chance.
    let params = quick(json!({ "epochs": 60, "patience": 2, "learning_rate": 0.5 }));
    let metrics = world.run("pretrain", "first", params).unwrap();
    let (best, run) = (metrics["best_epoch"].as_u64().unwrap(), metrics["epochs"].as_u64().unwrap());
    assert!(run < 60 && run == best + 2, "{metrics:?}");
    let history = Table::read(&world.path("first/history.parquet")).unwrap();
    assert_eq!(history.rows() as u64, run + 1);
    let scored = world.run("evaluate", "scored", json!({ "part": "validation" })).unwrap();
    let told = metrics["validation_mae"].as_f64().unwrap();
    assert!((mae(&scored, "lstm") - told).abs() < 1e-3, "the model is of another epoch than its figures");
}

#[test]
fn a_frozen_network_keeps_its_bits_while_the_head_learns() {
    let world = World::usual();
    world.run("pretrain", "first", quick(json!({ "layers": 2, "epochs": 1 }))).unwrap();
    let phase = |unfreeze: Value| json!({ "epochs": 3, "learning_rate": 0.01, "unfreeze": unfreeze });
    let params = json!({ "phases": [phase(json!(["head"]))], "batch_size": 8, "weight_decay": 0.1 });
    world.run("finetune", "head", params).unwrap();
    let params = json!({ "phases": [phase(json!(["head"])), phase(json!("rnn.*_l1"))], "batch_size": 8 });
    world.run("finetune", "both", params).unwrap();
    let read = |name: &str| Model::read(&world.path(name).join("model.safetensors")).unwrap();
    let (first, head, both) = (read("first"), read("head"), read("both"));
    assert_eq!(first.config.scaler, head.config.scaler);
    let changed = |model: &Model| -> Vec<String> {
        let names = first.tensors.keys().filter(|name| first.tensors[*name] != model.tensors[*name]);
        names.cloned().collect()
    };
    assert_eq!(changed(&head), ["head.bias", "head.weight"]);
    let second = ["bias_hh_l1", "bias_ih_l1", "weight_hh_l1", "weight_ih_l1"].map(|name| format!("rnn.{name}"));
    assert_eq!(changed(&both), [vec!["head.bias".into(), "head.weight".into()], second.to_vec()].concat());
}

#[test]
fn finetuning_never_ends_worse_on_validation_than_it_began() {
    let world = World::usual();
    let first = world.run("pretrain", "first", quick(json!({ "epochs": 10 }))).unwrap();
    let phases = json!([{ "epochs": 2, "learning_rate": 5.0 }]);
    let second = world.run("finetune", "second", json!({ "phases": phases, "batch_size": 8 })).unwrap();
    assert_eq!(second["best_epoch"], 0);
    assert_eq!(first["validation_mae"], second["validation_mae"]);
    let read = |name: &str| Model::read(&world.path(name).join("model.safetensors")).unwrap().tensors;
    assert_eq!(read("first"), read("second"));
}

#[test]
fn the_heart_rate_of_the_test_part_changes_no_bit_of_a_prediction() {
    let honest = sequences(40, 30);
    let mut perturbed = honest.clone();
    for place in (4..40).step_by(5) {
        for step in honest.steps(place).filter(|step| honest.real[*step] == 1) {
            perturbed.target[step] = 60.0 + (step % 50) as f32;
        }
    }
    assert_ne!(honest, perturbed);
    let predictions = |sequences: &Sequences| {
        let world = World::of(sequences);
        world.run("pretrain", "first", quick(json!({ "bidirectional": true }))).unwrap();
        world.run("evaluate", "scored", json!({})).unwrap();
        let table = Table::read(&world.path("scored/per_workout.parquet")).unwrap();
        (world.bytes("first/model.safetensors"), prediction_column(&world), table.rows())
    };
    let (honest, perturbed) = (predictions(&honest), predictions(&perturbed));
    assert_eq!(honest, perturbed);
    assert_eq!(honest.2, 2 * 8, "two models on eight workouts");
}

/// The bits of the column `prediction`, as `pacer-stages` reads predictions back.
fn prediction_column(world: &World) -> Vec<u32> {
    let read = pacer_stages::predictions::read(&world.path("scored/predictions.parquet")).unwrap();
    read.into_iter().map(|row| row.prediction.to_bits()).collect()
}

#[test]
fn padding_changes_neither_the_model_nor_the_figures() {
    let plain = sequences(40, 30);
    let outcome = |sequences: &Sequences| {
        let world = World::of(sequences);
        world.run("pretrain", "first", quick(json!({}))).unwrap();
        let figures = world.run("evaluate", "scored", json!({ "part": "validation" })).unwrap();
        (world.bytes("first/model.safetensors"), figures)
    };
    assert_eq!(outcome(&plain), outcome(&padded(&plain, 9)));
}

#[test]
fn a_prediction_hardly_depends_on_what_else_is_predicted() {
    let world = World::usual();
    world.run("pretrain", "first", quick(json!({ "bidirectional": true, "layers": 2 }))).unwrap();
    let model = Model::read(&world.path("first/model.safetensors")).unwrap();
    let all = sequences(40, 30);
    let predict =
        |places: &[usize]| crate::evaluate::predict_steps(&model, &all, places, tch::Device::Cpu, 2).unwrap().rate;
    let together = predict(&(0..40).collect::<Vec<_>>());
    for place in [0, 3, 17] {
        let alone = predict(&[place]);
        for step in all.steps(place) {
            assert!((alone[step] - together[step]).abs() < 1e-3, "{} and {}", alone[step], together[step]);
        }
    }
}
