//! Stories of trainings that were stopped, went on, were made longer or shorter, and must end as if nothing had
//! happened.

use pacer_stages::job::Checkpoints;
use pacer_stages::stage::Interrupted;
use rand_chacha::rand_core::Rng as _;
use serde_json::{Value, json};

use crate::random::{Purpose, stream};
use crate::training::tests::{decoder, quick};
use crate::training::toy::World;

/// Steps in an epoch: 24 training workouts in batches of 8.
const PER_EPOCH: usize = 3;

/// Parameters that let every part of the state matter: two layers, dropout, a warm-up and a staircase.
fn rich(changes: Value) -> Value {
    let schedule = json!({ "shape": "step", "warmup": 1.5, "every": 2, "factor": 0.5 });
    let mut params = quick(json!({ "layers": 2, "dropout": 0.3, "weight_decay": 0.01, "schedule": schedule }));
    params.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    params
}

/// Two phases over a model `first`: the head, at a rate so high that patience ends it early, then everything.
fn two_phases(first: usize, second: usize, patience: Option<usize>) -> Value {
    let head = json!({ "epochs": first, "learning_rate": 0.5, "unfreeze": "head" });
    let all = json!({ "epochs": second, "learning_rate": 0.01 });
    let schedule = json!({ "shape": "step", "warmup": 0.5, "every": 2 });
    json!({ "phases": [head, all], "batch_size": 8, "patience": patience, "schedule": schedule })
}

/// Parameters of a training that patience ends early, since its rate is far too high.
fn hasty(epochs: usize, patience: Option<usize>) -> Value {
    rich(json!({ "epochs": epochs, "patience": patience, "learning_rate": 0.5, "schedule": {} }))
}

/// A world with a model to train further.
fn with_model() -> World {
    let world = World::usual();
    world.run("pretrain", "first", rich(json!({ "epochs": 1 }))).unwrap();
    world.steps();
    world
}

/// Runs a training and gives its figures, its files, and the steps that it took.
fn outcome(world: &World, kind: &str, name: &str, params: &Value) -> (Value, [Vec<u8>; 2], usize) {
    world.steps();
    let metrics = world.run(kind, name, params.clone()).unwrap();
    let files = ["model.safetensors", "history.parquet"].map(|file| world.bytes(&format!("{name}/{file}")));
    (metrics.into(), files, world.steps())
}

/// Fails unless a training in the folder `name` ends as one from the start; the steps that each took.
fn assert_same(world: &World, kind: &str, name: &str, params: &Value) -> (usize, usize) {
    let (metrics, files, whole) = outcome(world, kind, &format!("{name}-direct"), params);
    let (found, others, steps) = outcome(world, kind, name, params);
    assert_eq!(found, metrics, "{params}");
    assert!(files == others, "the files of `{name}` are not those of a training from the start: {params}");
    let _ = std::fs::remove_dir_all(world.path(&format!("{name}-direct")));
    (steps, whole)
}

/// Fails where anything was said of checkpoints.
fn assert_no_warnings(world: &World) {
    let warnings = world.warnings.lock().unwrap();
    assert!(!warnings.iter().any(|warning| warning.contains("checkpoint")), "{warnings:?}");
}

#[test]
fn a_training_stopped_at_random_steps_ends_as_one_never_stopped() {
    let mut generator = stream(3, Purpose::Order, 0);
    for (kind, params) in [
        ("pretrain", rich(json!({ "model": "lstm", "epochs": 7 }))),
        ("pretrain", rich(json!({ "model": "gru", "epochs": 7 }))),
        (
            "pretrain",
            rich(json!({ "about": { "embedding": 2, "hide": 0.3, "history": 2 }, "batches": { "bucket": 2 } })),
        ),
        ("pretrain", rich(json!({ "epochs": 7, "bidirectional": true, "schedule": { "shape": "cosine" } }))),
        ("pretrain", decoder(json!({ "epochs": 5, "dropout": 0.3, "about": { "embedding": 2, "history": 2 } }))),
        ("pretrain", hasty(30, Some(3))),
        ("finetune", two_phases(3, 4, None)),
        ("finetune", two_phases(9, 9, Some(1))),
    ] {
        let world = with_model();
        let mut stops = 0;
        // Stretches of one step to two epochs; the last one comes to the end.
        while let Err(error) = world.run_steps(kind, "parts", params.clone(), 1 + generator.next_u32() as usize % 6) {
            assert!(error.is::<Interrupted>(), "{error:#}");
            stops += 1;
        }
        let in_parts = world.steps();
        let (again, whole) = assert_same(&world, kind, "parts", &params);
        assert!(stops >= 2, "{stops} stops: {params}");
        assert_eq!((in_parts, again), (whole, 0), "{params}");
        assert_no_warnings(&world);
    }
}

#[test]
fn more_epochs_go_on_from_fewer_and_equal_them_from_the_start() {
    for cell in ["lstm", "gru"] {
        let world = World::usual();
        let epochs = |epochs: usize| rich(json!({ "model": cell, "epochs": epochs }));
        world.run("pretrain", "grown", epochs(3)).unwrap();
        assert_eq!(assert_same(&world, "pretrain", "grown", &epochs(6)), (3 * PER_EPOCH, 6 * PER_EPOCH));
        assert_eq!(assert_same(&world, "pretrain", "grown", &epochs(8)), (2 * PER_EPOCH, 8 * PER_EPOCH));
        assert_eq!(world.kept("grown"), [9, 18, 24].map(|step| format!("end-{step:012}.safetensors")));
        assert_no_warnings(&world);
        let told = "goes on from epoch 6 (step 18)".to_owned();
        assert!(world.log.lock().unwrap().contains(&told) && world.news.lock().unwrap().contains(&told));
    }
}

#[test]
fn a_last_phase_of_more_epochs_goes_on_from_one_of_fewer() {
    let world = with_model();
    world.run("finetune", "grown", two_phases(2, 2, None)).unwrap();
    let whole = (2 + 5) * PER_EPOCH;
    assert_eq!(assert_same(&world, "finetune", "grown", &two_phases(2, 5, None)), (3 * PER_EPOCH, whole));
    assert_no_warnings(&world);
}

#[test]
fn the_same_training_again_takes_no_step_and_writes_everything() {
    let world = World::usual();
    let params = rich(json!({ "epochs": 2 }));
    world.run("pretrain", "again", params.clone()).unwrap();
    let kept = world.kept("again");
    std::fs::remove_file(world.path("again/model.safetensors")).unwrap();
    assert_eq!(assert_same(&world, "pretrain", "again", &params), (0, 2 * PER_EPOCH));
    assert_eq!(world.kept("again"), kept);
}

#[test]
fn fewer_epochs_after_more_use_nothing_beyond_their_own_end() {
    let world = World::usual();
    let epochs = |epochs: usize| rich(json!({ "epochs": epochs }));
    world.run_steps("pretrain", "shrunk", epochs(6), 5 * PER_EPOCH - 1).unwrap_err();
    assert_eq!(world.kept("shrunk"), ["000000000014.safetensors"]);
    assert_eq!(assert_same(&world, "pretrain", "shrunk", &epochs(3)), (3 * PER_EPOCH, 3 * PER_EPOCH));
    // What the longer one had kept is still there for it.
    assert_eq!(assert_same(&world, "pretrain", "shrunk", &epochs(6)), (4, 6 * PER_EPOCH));
    assert_eq!(assert_same(&world, "pretrain", "shrunk", &epochs(3)), (0, 3 * PER_EPOCH));
    assert_eq!(assert_same(&world, "pretrain", "shrunk", &epochs(4)), (PER_EPOCH, 4 * PER_EPOCH));
    assert_no_warnings(&world);
}

#[test]
fn what_patience_ended_goes_on_with_more_of_it_and_less_stops_where_it_would_have() {
    let world = World::usual();
    let (stopped, _, early) = outcome(&world, "pretrain", "patient", &hasty(14, Some(2)));
    assert!(early < 14 * PER_EPOCH, "nothing ended early: {stopped}");
    let without = assert_same(&world, "pretrain", "patient", &hasty(14, None));
    assert_eq!(without, (14 * PER_EPOCH - early, 14 * PER_EPOCH));
    assert_eq!(assert_same(&world, "pretrain", "patient", &hasty(14, Some(2))), (0, early));
    let (steps, less) = assert_same(&world, "pretrain", "patient", &hasty(14, Some(1)));
    assert!(less < early && steps == less, "{steps} of {less} steps, where patience 2 takes {early}");
    // The other way round: nothing but what lies beyond is there.
    world.run("pretrain", "hurried", hasty(14, None)).unwrap();
    assert_eq!(assert_same(&world, "pretrain", "hurried", &hasty(14, Some(2))), (early, early));
    assert_no_warnings(&world);
}

#[test]
fn a_second_phase_that_impatience_began_too_early_is_not_gone_on_from() {
    let world = with_model();
    let (_, _, hurried) = outcome(&world, "finetune", "phases", &two_phases(40, 2, Some(1)));
    assert!(hurried < 42 * PER_EPOCH, "nothing ended early");
    // The end of the first phase, as far as it came, serves; the second phase does not.
    let first: usize = world.kept("phases")[0][4..16].parse().unwrap();
    let (steps, whole) = assert_same(&world, "finetune", "phases", &two_phases(40, 2, None));
    assert_eq!((steps, whole), (42 * PER_EPOCH - first, 42 * PER_EPOCH));
    let again = assert_same(&world, "finetune", "phases", &two_phases(40, 2, Some(1)));
    assert_eq!(again, (0, hurried));
}

#[test]
fn a_cosine_over_other_epochs_goes_on_from_nothing() {
    let world = World::usual();
    let cosine = |epochs: usize, patience: Option<usize>| {
        rich(json!({ "epochs": epochs, "patience": patience, "schedule": { "shape": "cosine", "warmup": 1.0 } }))
    };
    world.run("pretrain", "wave", cosine(3, None)).unwrap();
    assert_eq!(assert_same(&world, "pretrain", "wave", &cosine(6, None)), (6 * PER_EPOCH, 6 * PER_EPOCH));
    // Each has a course of its own, and so a folder; this one was lent to both, and it was told so.
    let warnings = std::mem::take(&mut *world.warnings.lock().unwrap());
    assert!(warnings.len() == 1 && warnings[0].contains("another training"), "{warnings:?}");
    assert_eq!(assert_same(&world, "pretrain", "wave", &cosine(6, Some(9))).0, 0);
}

#[test]
fn the_latest_few_are_kept_and_the_ends_beside_them() {
    let mut world = World::usual();
    for (keep, kept) in [(1, vec![4]), (3, vec![2, 3, 4]), (0, vec![4])] {
        world.checkpoints = Checkpoints { keep, ..Checkpoints::default() };
        let name = format!("keep-{keep}");
        world.run("pretrain", &name, rich(json!({ "epochs": 1 }))).unwrap();
        std::fs::remove_file(world.path(&name).join("partial/end-000000000003.safetensors")).unwrap();
        for _ in 0..4 {
            world.run_one_step("pretrain", &name, rich(json!({}))).unwrap_err();
        }
        assert_eq!(world.kept(&name), kept.iter().map(|step| format!("{step:012}.safetensors")).collect::<Vec<_>>());
        world.run("pretrain", &name, rich(json!({ "epochs": 2 }))).unwrap();
        assert!(world.kept(&name).contains(&"end-000000000006.safetensors".to_owned()));
    }
}

#[test]
fn checkpoints_come_by_steps_too_and_change_nothing() {
    let mut world = World::usual();
    let steps = Checkpoints { steps: Some(1), ..Checkpoints::default() };
    world.checkpoints = Checkpoints { seconds: 1e9, ..steps };
    let epochs = |epochs: usize| rich(json!({ "epochs": epochs }));
    // It goes on until a checkpoint is there that nobody had to ask for.
    let folder = world.path("often/partial");
    world.run_until("pretrain", "often", epochs(100_000), |_| folder.exists()).unwrap_err();
    let kept = world.kept("often");
    let step: usize = kept[0][..12].parse().unwrap();
    assert!(step > 1 && kept.len() == 2, "the one by its rhythm and the one of the interruption: {kept:?}");
    let shorter = epochs(step.div_ceil(PER_EPOCH) + 1);
    world.run("pretrain", "often", shorter.clone()).unwrap();
    world.checkpoints = Checkpoints { seconds: 1e9, ..Checkpoints::default() };
    let (again, whole) = assert_same(&world, "pretrain", "often", &shorter);
    assert!(again == 0 && whole > step);
    assert!(world.log.lock().unwrap().iter().any(|line| line.starts_with("1 checkpoints took 0.")));
}

#[test]
fn a_damaged_state_gives_way_to_the_one_before_and_half_a_file_means_nothing() {
    let world = World::usual();
    let params = rich(json!({}));
    let damage = |name: &str, at: usize| {
        let path = world.path("parts/partial").join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = (bytes.len() - 1) * at / 100;
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
    };
    for _ in 0..2 {
        world.run_one_step("pretrain", "parts", params.clone()).unwrap_err();
    }
    assert_eq!(world.kept("parts"), ["000000000001.safetensors", "000000000002.safetensors"]);
    std::fs::write(world.path("parts/partial/unfinished"), "half of a state").unwrap();
    damage("000000000002.safetensors", 100);
    world.run_one_step("pretrain", "parts", params.clone()).unwrap_err();
    assert_eq!(world.steps(), 3, "it went on from the first step");
    let warnings = std::mem::take(&mut *world.warnings.lock().unwrap());
    assert!(warnings.len() == 1 && warnings[0].contains("000000000002"), "{warnings:?}");
    assert!(warnings[0].contains("its checksum is wrong"), "{warnings:?}");
    // All of them damaged: it begins anew.
    damage("000000000001.safetensors", 50);
    std::fs::write(world.path("parts/partial/000000000002.safetensors"), "").unwrap();
    assert_eq!(assert_same(&world, "pretrain", "parts", &params), (4 * PER_EPOCH, 4 * PER_EPOCH));
    assert_eq!(world.warnings.lock().unwrap().len(), 2);
}

#[test]
fn no_flipped_bit_of_a_state_changes_what_a_training_goes_on_with() {
    let world = World::usual();
    let params = quick(json!({ "hidden": 2, "epochs": 2 }));
    world.run_steps("pretrain", "parts", params.clone(), PER_EPOCH + 1).unwrap_err();
    let [state, next, anew] = [4, 5, 1].map(|step| format!("parts/partial/{step:012}.safetensors"));
    let sound = world.bytes(&state);
    world.run_one_step("pretrain", "parts", params.clone()).unwrap_err();
    let expected = world.bytes(&next);
    let mut generator = stream(5, Purpose::Order, 0);
    let mut left_aside = 0;
    for _ in 0..60 {
        for path in [&next, &anew] {
            let _ = std::fs::remove_file(world.path(path));
        }
        let mut bytes = sound.clone();
        let bit = generator.next_u32() as usize % (8 * bytes.len());
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(world.path(&state), &bytes).unwrap();
        world.run_one_step("pretrain", "parts", params.clone()).unwrap_err();
        if world.path(&anew).exists() {
            left_aside += 1;
        } else {
            // The bit meant nothing, such as the case of the `e` in a number.
            assert!(world.bytes(&next) == expected, "bit {bit}");
        }
    }
    assert!(left_aside > 50, "{left_aside} of 60");
    assert_eq!(world.warnings.lock().unwrap().len(), left_aside);
}

#[test]
fn a_state_of_another_training_and_a_folder_that_takes_none_only_warn() {
    let world = World::usual();
    let params = quick(json!({}));
    world.run_one_step("pretrain", "others", quick(json!({ "learning_rate": 0.03 }))).unwrap_err();
    assert_eq!(assert_same(&world, "pretrain", "others", &params).0, 4 * PER_EPOCH);
    std::fs::create_dir_all(world.path("blocked")).unwrap();
    std::fs::write(world.path("blocked/partial"), "a file where the folder belongs").unwrap();
    assert_eq!(assert_same(&world, "pretrain", "blocked", &params).0, 4 * PER_EPOCH);
    let warnings = world.warnings.lock().unwrap();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("is of another training"), "{warnings:?}");
    assert!(warnings[1].contains("end-000000000012.safetensors` is not written"), "{warnings:?}");
}
