//! The pipelines that ship, run whole on a small scale; and the guards against leaks, seen from outside.

use std::fs;
use std::path::PathBuf;

use pacer_stages::tensors::{self, Array};
use serde_json::Value;

use crate::harness::{Project, said};

/// A shipped pipeline.
fn shipped(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("pipelines").join(name).display().to_string()
}

/// Runs a shipped pipeline in the store of a project; all its stages must end well.
fn run(project: &Project, name: &str, set: &[&str]) -> Value {
    let mut command = project.command(&["run", &shipped(name), "--format", "json"]);
    set.iter().for_each(|set| {
        command.args(["--set", set]);
    });
    let said = said(&command.output().unwrap());
    let done: Value = serde_json::from_str(said.out.lines().last().unwrap_or_else(|| panic!("{}", said.err))).unwrap();
    assert_eq!((&done["failed"], &done["skipped"]), (&0.into(), &0.into()), "{}", said.out);
    done
}

/// What `pacer show` says of a stage of a shipped pipeline.
fn show(project: &Project, name: &str, stage: &str, set: &[&str]) -> Value {
    let mut command = project.command(&["show", &shipped(name), stage, "--format", "json"]);
    set.iter().for_each(|set| {
        command.args(["--set", set]);
    });
    let said = said(&command.output().unwrap());
    serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err))
}

/// An Apple Health export of one simulated runner, as a file of the project.
fn export(project: &Project, runs: usize) -> PathBuf {
    project.write(
        "apple.toml",
        &format!("[stages.synthesize]\nkind = \"synthesize\"\nview = \"apple\"\napple.runs = {runs}\nseed = 5\n"),
    );
    assert_eq!(project.pacer(&["run", "apple.toml"]).code, 0);
    let path = project.path("export.zip");
    let arguments = ["show", "apple.toml", "synthesize.raw", "--export", &path.display().to_string()];
    assert_eq!(project.pacer(&arguments).code, 0);
    path
}

/// Raw workouts of a few simulated runners, as a file of the project.
fn raw_runs(project: &Project, users: usize, runs: usize) -> PathBuf {
    project.write(
        "raw.toml",
        &format!(
            "[stages.synthesize]\nkind = \"synthesize\"\nusers = {users}\nruns_per_user = {runs}.0\npoints = 120\n\
             share_other_sports = 0.2\nseed = 3\n"
        ),
    );
    assert_eq!(project.pacer(&["run", "raw.toml"]).code, 0);
    let path = project.path("raw.jsonl");
    let arguments = ["show", "raw.toml", "synthesize.raw", "--export", &path.display().to_string()];
    assert_eq!(project.pacer(&arguments).code, 0);
    path
}

fn figures_of_every_model(shown: &Value, models: &[&str]) {
    for model in models {
        for figure in ["mae", "rmse", "bias", "r2", "n_workouts", "n_users"] {
            assert!(shown["metrics"][model][figure].is_number(), "{model} {figure}: {shown}");
        }
    }
}

#[test]
fn quickstart_runs_to_a_table_of_errors_and_then_reuses_all_of_it() {
    let project = Project::new("");
    let small = ["population.users=24", "watch.runs=24", "train.epochs=1", "train.hidden=6"];
    run(&project, "quickstart.toml", &small);
    let shown = show(&project, "quickstart.toml", "evaluate", &small);
    figures_of_every_model(&shown, &["constant", "ridge_raw", "ridge_physiology", "lstm", "gru"]);
    for (name, figures) in shown["metrics"].as_object().unwrap() {
        assert_eq!((&figures["data"], &figures["split"]), (&"synthetic".into(), &"user".into()), "{name}");
    }
    for stage in ["evaluate", "watch_evaluate"] {
        let shown = show(&project, "quickstart.toml", stage, &small);
        figures_of_every_model(&shown, &["oracle_day", "oracle_user"]);
        let mae = |name: &str| shown["metrics"][name]["mae"].as_f64().unwrap();
        assert!(mae("oracle_day") < 5.5 && mae("oracle_day") < mae("oracle_user"), "{stage}: {shown}");
        assert!(mae("oracle_user") < mae("ridge_physiology"), "{stage}: {shown}");
        let over = shown["metrics"]["constant"]["over_floor"].as_f64().unwrap();
        assert!((over - mae("constant") / mae("oracle_user")).abs() < 1e-9, "{stage}: {shown}");
    }
    let done = run(&project, "quickstart.toml", &small);
    assert_eq!(done["ran"], 0);
}

#[test]
fn models_are_all_compared_in_one_table_with_what_nobody_could_say_better() {
    let project = Project::new("");
    let small = ["population.users=16", "population.runs=5.0", "train.epochs=2", "train.hidden=4"];
    run(&project, "models.toml", &small);
    let shown = show(&project, "models.toml", "evaluate", &small);
    let networks = ["lstm", "gru", "ridge_lstm", "decoder", "lstm_history", "hybrid_history", "mixed_gru"];
    let baselines = ["constant", "user_mean", "ridge_raw", "ridge_physiology", "mixed", "oracle_user", "oracle_day"];
    figures_of_every_model(&shown, &[&networks[..], &baselines[..]].concat());
    let of = |model: &str, figure: &str| shown["metrics"][model][figure].clone();
    assert_eq!(of("user_mean", "mae"), of("constant", "mae"), "nobody in the test was seen");
    assert!(of("mixed_gru", "coverage").is_number() && of("gru", "coverage").is_null(), "{shown}");
    for (model, told) in [("lstm", ""), ("lstm_history", "32 earlier workouts")] {
        assert_eq!(of(model, "told"), told);
    }
    assert_eq!(of("mixed", "told"), "a line through 32 earlier workouts");
    assert_eq!(of("mixed_gru", "told"), "32 earlier workouts, a line through 32 earlier workouts");
}

#[test]
fn endomondo_runs_on_a_file_that_the_user_gives() {
    let project = Project::new("");
    let raw = format!("data.fitrec={}", raw_runs(&project, 20, 6).display());
    let small = [raw.as_str(), "train.epochs=1", "train.hidden=4", "train.layers=1", "grid.step_s=30.0"];
    run(&project, "endomondo.toml", &small);
    let shown = show(&project, "endomondo.toml", "evaluate", &small);
    figures_of_every_model(&shown, &["constant", "ridge_raw", "ridge_physiology", "lstm", "gru"]);
    let shown = show(&project, "endomondo.toml", "batch_sizes", &small);
    figures_of_every_model(&shown, &["batch_8", "batch_16", "batch_32", "batch_64"]);
}

#[test]
fn batch_size_chooses_on_validation_and_touches_the_test_part_once() {
    let project = Project::new("");
    let small = ["population.users=16", "train.epochs=2", "train.hidden=4", "grid.step_s=60.0"];
    let done = run(&project, "batch_size.toml", &small);
    assert_eq!((&done["ran"], &done["passed_over"]), (&28.into(), &0.into()));
    let chosen = show(&project, "batch_size.toml", "choose", &small)["metrics"].clone();
    assert_eq!((&chosen["configurations"], &chosen["n"]), (&4.into(), &5.into()), "{chosen}");
    let test = show(&project, "batch_size.toml", "test", &small);
    figures_of_every_model(&test, &["constant", "chosen"]);
    assert_eq!(test["metrics"]["chosen"]["part"], "test");
    let mut command = project.command(&["sweep", "table", &shipped("batch_size.toml"), "--format", "json"]);
    small.iter().for_each(|set| {
        command.args(["--set", set]);
    });
    let said = said(&command.output().unwrap());
    let table: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
    let rows = table["sweeps"][0]["configurations"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    assert!(
        rows.iter().all(|row| row["n"] == 5 && row["epochs"] == 2.0 && row["seconds_per_epoch"].is_number()),
        "{table}"
    );
    // What the trainings say of the validation part themselves is what `validate` finds.
    let best = table["sweeps"][0]["configurations"][0]["mean"].as_f64().unwrap();
    assert!((best - chosen["mean"].as_f64().unwrap()).abs() < 1e-3, "{best} {chosen}");
    let raw = format!("data.source={}", raw_runs(&project, 16, 4).display());
    let set = [raw.as_str(), "train.epochs=1", "train.hidden=4", "grid.step_s=60.0"];
    run(&project, "batch_size.toml", &set);
    figures_of_every_model(&show(&project, "batch_size.toml", "test", &set), &["constant", "chosen"]);
}

#[test]
fn heart_rate_goes_through_both_sources_from_pretraining_to_finetuning() {
    let project = Project::new("");
    let (raw, apple) = (raw_runs(&project, 20, 6), export(&project, 24));
    let (raw, apple) = (format!("data.fitrec={}", raw.display()), format!("data.apple={}", apple.display()));
    let small = ["train.epochs=1", "train.hidden=4", "train.layers=1", "grid.step_s=30.0", "finetune.epochs=1"];
    let small = [&[raw.as_str(), apple.as_str()], small.as_slice()].concat();
    run(&project, "heart_rate.toml", &small);
    let shown = show(&project, "heart_rate.toml", "watch_evaluate", &small);
    figures_of_every_model(&shown, &["constant", "ridge_physiology", "pretrained", "finetuned"]);
    let ladder = show(&project, "heart_rate.toml", "correlate", &small)["metrics"].clone();
    for source in ["endomondo", "watch"] {
        for step in ["raw", "cleaned", "slope", "lag", "kinetics"] {
            assert!(ladder[source]["ladder"][step]["r_within"].is_number(), "{source} {step}: {ladder}");
        }
    }
}

#[test]
fn apple_watch_tells_what_years_of_recordings_are_worth() {
    let project = Project::new("");
    let apple = format!("data.apple={}", export(&project, 40).display());
    let small = [apple.as_str(), "train.epochs=3", "train.hidden=4"];
    run(&project, "apple_watch.toml", &small);
    let shown = show(&project, "apple_watch.toml", "evaluate", &small);
    figures_of_every_model(&shown, &["constant", "ridge_raw", "ridge_physiology", "lstm"]);
    let ratio = show(&project, "apple_watch.toml", "density", &small)["metrics"]["ratio_last_first"].clone();
    assert!((8.0..30.0).contains(&ratio.as_f64().unwrap_or_default()), "{ratio}");
}

/// Made-up weights of one block of the forecaster, as a file of the project.
fn forecaster(project: &Project) -> PathBuf {
    let (own, size, hidden) = ("model.transformer", 16, 256);
    let linear = |name: &str, rows: usize, columns: usize| {
        [(format!("{name}.weight"), vec![rows, columns]), (format!("{name}.bias"), vec![rows])]
    };
    let mut shapes = Vec::from(linear(&format!("{own}.wte"), size, 92));
    (0..3).for_each(|said| shapes.extend(linear(&format!("model.param_proj.proj.{said}"), 1, size)));
    let attention = [("q_proj", [size, size]), ("kv_proj", [2 * size, size]), ("c_proj", [size, size])];
    let gated = [("c_fc1", [hidden, size]), ("c_fc2", [hidden, size]), ("c_proj", [size, hidden])];
    for (part, matrices) in [("attn", attention), ("mlp", gated)] {
        shapes.extend(matrices.map(|(name, shape)| (format!("{own}.h.0.{part}.{name}.weight"), shape.to_vec())));
    }
    shapes.extend(["h.0.rms_1", "h.0.rms_2", "ln_f"].map(|name| (format!("{own}.{name}.scale"), vec![size])));
    let value = |at: usize| 0.1 * (at as f32).sin();
    let values: Vec<Vec<f32>> =
        shapes.iter().map(|(_, shape)| (0..shape.iter().product()).map(value).collect()).collect();
    let arrays = shapes.iter().zip(&values).map(|((name, shape), values)| (name.as_str(), Array::f32(shape, values)));
    let path = project.path("made_up.safetensors");
    tensors::write(&path, &"made up", arrays).unwrap();
    path
}

#[test]
fn forecast_continues_heart_rates_with_weights_that_the_user_gives_and_names_its_task() {
    let project = Project::new("");
    let said = said(&project.command(&["run", &shipped("forecast.toml")]).output().unwrap());
    assert!(said.code == 2 && said.err.contains("the parameter `data.weights` has no value"), "{}", said.err);
    let weights = format!("data.weights={}", forecaster(&project).display());
    let small = [weights.as_str(), "population.users=6", "forecast.samples=5", "forecast.horizon=12"];
    run(&project, "forecast.toml", &small);
    let shown = show(&project, "forecast.toml", "forecast", &small);
    figures_of_every_model(&shown, &["constant", "forecaster", "persistence"]);
    for (name, figures) in shown["metrics"].as_object().unwrap() {
        assert_eq!(figures["task"], "continues a warm-up of real heart rate", "{name}");
        assert_eq!((&figures["data"], &figures["split"]), (&"synthetic".into(), &"user".into()), "{name}");
    }
    let mae = |name: &str| shown["metrics"][name]["mae"].as_f64().unwrap();
    assert!(mae("persistence") < mae("constant"), "a heart rate that was seen tells more than a mean: {shown}");
    assert_eq!(run(&project, "forecast.toml", &small)["ran"], 0);
}

#[test]
fn a_page_is_not_printed_but_exported_byte_by_byte() {
    let project = Project::new("");
    project.write(
        "look.toml",
        "[stages.synthesize]\nkind = \"synthesize\"\nusers = 2\nruns_per_user = 3.0\npoints = 120\nseed = 3\n\n\
         [stages.import]\nkind = \"import\"\ninputs.source = \"synthesize.raw\"\n\n\
         [stages.inspect]\nkind = \"inspect\"\ninputs.workouts = \"import.workouts\"\n",
    );
    assert_eq!(project.pacer(&["run", "look.toml"]).code, 0);
    let said = project.pacer(&["show", "look.toml", "inspect.page"]);
    assert!(said.out.contains("page (page, ") && said.out.contains("--export page.html"), "{}", said.out);
    assert!(!said.out.contains("<html"), "{}", said.out);
    let exported = project.path("page.html");
    let arguments = ["show", "look.toml", "inspect.page", "--export", &exported.display().to_string()];
    assert_eq!(project.pacer(&arguments).code, 0);
    let shown = project.pacer(&["show", "look.toml", "inspect.page", "--format", "json"]);
    let shown: Value = serde_json::from_str(&shown.out).unwrap();
    let exported = fs::read(exported).unwrap();
    assert_eq!(exported, fs::read(shown["path"].as_str().unwrap()).unwrap());
    assert!(exported.starts_with(b"<!DOCTYPE html>"));
}

#[test]
fn heart_rate_never_falls_back_to_other_data() {
    let project = Project::new("");
    let said = said(&project.command(&["run", &shipped("heart_rate.toml")]).output().unwrap());
    assert_eq!(said.code, 2);
    for parameter in ["data.fitrec", "data.apple"] {
        assert!(said.err.contains(&format!("the parameter `{parameter}` has no value")), "{}", said.err);
    }
}

#[test]
fn perturbed_heart_rates_of_the_test_runs_leave_every_model_bit_identical() {
    let project = Project::new("");
    let raw = raw_runs(&project, 2, 16);
    let set = format!("data.workouts={}", raw.display());
    let small = [set.as_str(), "train.epochs=3", "train.hidden=4"];
    let models = ["constant", "user_mean", "ridge_raw", "ridge_physiology", "lstm", "gru"];
    let digests = || {
        run(&project, "personal.toml", &small);
        models.map(|model| show(&project, "personal.toml", model, &small)["artifacts"][0]["digest"].clone())
    };
    let before = digests();
    let figures = show(&project, "personal.toml", "evaluate", &small)["metrics"].clone();
    let changed = raise_heart_rates(&raw, &test_workouts(&project, &small));
    assert!(changed > 2, "{changed} workouts are in the test part");
    assert_eq!(digests(), before);
    let after = show(&project, "personal.toml", "evaluate", &small)["metrics"].clone();
    for model in models {
        let bias = |figures: &Value| figures[model]["bias"].as_f64().unwrap();
        // The predictions are the same and the truth is three beats higher.
        let shift = bias(&after) - bias(&figures);
        assert!((shift + 3.0).abs() < 1e-3, "{model}: {shift}");
    }
}

/// Ids of the workouts in the test part.
fn test_workouts(project: &Project, set: &[&str]) -> Vec<String> {
    let mut command = project.command(&["show", &shipped("personal.toml"), "split.split", "--format", "csv"]);
    set.iter().for_each(|set| {
        command.args(["--set", set]);
    });
    let said = said(&command.output().unwrap());
    let header: Vec<_> = said.out.lines().next().unwrap().split(',').collect();
    let at = header.iter().position(|name| *name == "workout").unwrap();
    let test = said.out.lines().filter(|line| line.split(',').any(|cell| cell == "test"));
    test.map(|line| line.split(',').nth(at).unwrap().to_owned()).collect()
}

/// Raises every heart rate of some workouts by three beats; returns how many were found.
fn raise_heart_rates(raw: &PathBuf, ids: &[String]) -> usize {
    let text = fs::read_to_string(raw).unwrap();
    let mut found = 0;
    let lines = text.lines().map(|line| {
        if !ids.iter().any(|id| line.contains(&format!("'id': {id},"))) {
            return line.to_owned();
        }
        found += 1;
        let (before, rest) = line.split_once("'heart_rate': [").unwrap();
        let (series, after) = rest.split_once(']').unwrap();
        let raised = series.split(", ").map(|beat| (beat.parse::<f64>().unwrap() + 3.0).to_string());
        format!("{before}'heart_rate': [{}]{after}", raised.collect::<Vec<_>>().join(", "))
    });
    let lines: Vec<_> = lines.collect();
    fs::write(raw, lines.join("\n") + "\n").unwrap();
    found
}

#[test]
fn a_loss_that_explodes_names_the_step_and_the_line_of_the_learning_rate() {
    let project = Project::new("");
    let raw = raw_runs(&project, 2, 16);
    let text = fs::read_to_string(shipped("personal.toml")).unwrap();
    let text = text.replace("loss = \"huber\"", "loss = \"mse\"");
    let text = text.replace("model = \"gru\"", "model = \"gru\"\nclip_norm = 0.0");
    let line = 1 + text.lines().position(|line| line.starts_with("train.learning_rate")).unwrap();
    project.write("pipeline.toml", &text.replace("train.learning_rate = 0.01", "train.learning_rate = 1e30"));
    let events = project.events(&["gru", "--set", &format!("data.workouts={}", raw.display())]);
    let failed = events.iter().find(|event| event["event"] == "failed").unwrap();
    assert_eq!(failed["class"], "nan");
    assert!(failed["message"].as_str().unwrap().contains("step"), "{failed}");
    assert_eq!(failed["place"], format!("pipeline.toml:{line}"));
}

#[test]
fn a_filter_that_takes_everything_says_which_rule() {
    let project = Project::new("");
    let raw = raw_runs(&project, 1, 3);
    project.write(
        "pipeline.toml",
        &format!(
            "[stages.import]\nkind = \"import\"\ninputs.source = {{ path = {:?} }}\n\
             [stages.filter]\nkind = \"filter\"\ninputs.workouts = \"import\"\nmin_points = 100000\n",
            raw.display().to_string()
        ),
    );
    let events = project.events(&[]);
    let failed = events.iter().find(|event| event["event"] == "failed").unwrap();
    assert!(failed["message"].as_str().unwrap().contains("points"), "{failed}");
}
