//! Searches: trials come round by round from the figures of those before, whatever happens between the rounds.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::Project;
use crate::sweeps::{names, sweep, training};

/// The names of the trials.
fn trials(project: &Project) -> Vec<String> {
    names(project).into_iter().filter(|name| name.starts_with("lstm")).collect()
}

/// The last events of the runs that a search is made of.
fn rounds(project: &Project) -> Vec<(u64, u64)> {
    let count = |event: &Value, key: &str| event[key].as_u64().unwrap();
    let done = project.events(&["--jobs", "2"]).into_iter().filter(|event| event["event"] == "done");
    done.map(|event| (count(&event, "ran"), count(&event, "failed"))).collect()
}

#[test]
fn halving_lets_the_best_of_each_rung_train_on_and_comes_to_the_same_trials_again() {
    let sweep = "learning_rate = [0.0001, 0.003, 0.01]\nseed = [1, 2, 3]\nsearch = { by = \"halving\", min_epochs = 1, eta = 3 }";
    let project = training(9, sweep);
    // Five stages of data and nine trials; three go on to three epochs, one of them to nine, which is evaluated.
    assert_eq!(rounds(&project), [(14, 0), (3, 0), (1, 0), (1, 0)]);
    let names = trials(&project);
    let epochs = |epochs: u32| names.iter().filter(|name| name.ends_with(&format!("epochs={epochs}]"))).count();
    assert_eq!((epochs(1), epochs(3), epochs(9)), (9, 3, 1), "{names:?}");
    let models: Vec<_> = project.show("validate")["metrics"].as_object().unwrap().keys().cloned().collect();
    assert!(models.len() == 2 && models[1].contains("epochs=9"), "{models:?}");
    assert_eq!(rounds(&project), [(0, 0)], "what was decided is known");
    // Without what was written down, the same is decided from the same figures.
    std::fs::remove_dir_all(project.path("store/searches")).unwrap();
    assert!(rounds(&project).iter().all(|round| *round == (0, 0)));
    assert_eq!(trials(&project), names);
    let refused = training(9, "seed = [1, 2]\nsearch = { by = \"asha\" }").pacer(&["plan", "pipeline.toml"]);
    assert!(refused.code == 2 && refused.err.contains("there is no search by `asha`"), "{}", refused.err);
}

#[test]
fn parzen_estimators_propose_trials_in_rounds() {
    let sweep = "learning_rate = { log_uniform = [1e-4, 1e-1] }\nseed = [1, 2]\ntrials = 6\nsearch = { by = \"tpe\", startup = 3, round = 2 }";
    let project = training(1, sweep);
    // Each draw is tried with both seeds: three blindly, then two, then the one that is left.
    assert_eq!(rounds(&project), [(11, 0), (4, 0), (2, 0), (1, 0)]);
    assert_eq!(trials(&project).len(), 12);
    let table = sweep_rows(&project);
    assert_eq!(table, 6);
}

fn sweep_rows(project: &Project) -> usize {
    sweep(project, &["table", "pipeline.toml"])["sweeps"][0]["configurations"].as_array().unwrap().len()
}

/// Nine seeds of one epoch, of which three go on to three and one to nine: chance chooses, so that other data or another
/// network has another winner.
const SEEDS: &str = "seed = [1, 2, 3, 4, 5, 6, 7, 8, 9]\nsearch = { by = \"halving\", min_epochs = 1, eta = 3 }";

/// Writes the raw workouts of a seed to a file.
fn synthesize(project: &Project, seed: u32, to: &Path) {
    let text = format!("[stages.raw]\nkind = \"synthesize\"\nusers = 8\nruns_per_user = 6.0\nseed = {seed}\n");
    project.write("raw.toml", &text);
    assert_eq!(project.pacer(&["run", "raw.toml"]).code, 0);
    let said = project.pacer(&["show", "raw.toml", "raw.raw", "--export", &to.display().to_string()]);
    assert_eq!(said.code, 0, "{}", said.err);
}

/// The search over seeds, on workouts that lie in a file.
fn search_of_a_file(seed: u32) -> Project {
    let project = training(9, SEEDS);
    let text = fs::read_to_string(project.path("pipeline.toml")).unwrap();
    let (head, rest) = text.split_once("[stages.synthesize]").unwrap();
    let (_, rest) = rest.split_once("[stages.import]").unwrap();
    project.write("pipeline.toml", &format!("{head}[stages.import]{rest}"));
    project.edit("inputs.source = \"synthesize.raw\"", "inputs.source = { path = \"raw.jsonl\" }");
    synthesize(&project, seed, &project.path("raw.jsonl"));
    project
}

#[test]
fn other_data_is_searched_as_if_nothing_had_been_decided() {
    let (project, fresh) = (search_of_a_file(1), search_of_a_file(2));
    let first = rounds(&project);
    let before = trials(&project);
    fs::copy(fresh.path("raw.jsonl"), project.path("raw.jsonl")).unwrap();
    let said = project.pacer(&["plan", "pipeline.toml"]);
    assert!(said.out.contains("search of `lstm`: its round 1 may be decided anew"), "{}", said.out);
    // What was promoted on the old data trains on the new only where that promotes it again.
    assert_eq!(rounds(&project), first);
    rounds(&fresh);
    let chosen = trials(&fresh);
    assert_ne!(chosen, before, "the data must decide for the story to tell anything");
    assert_eq!(trials(&project), chosen);
    let models = |project: &Project| project.show("validate")["metrics"].clone();
    assert_eq!(models(&project), models(&fresh));
    assert_eq!(rounds(&project), [(0, 0)]);
}

#[test]
fn another_network_is_searched_anew_and_the_first_is_found_again() {
    let (project, fresh) = (training(9, SEEDS), training(9, SEEDS));
    rounds(&project);
    let before = trials(&project);
    for project in [&project, &fresh] {
        project.edit("hidden = 3", "hidden = 4");
    }
    let said = project.pacer(&["plan", "pipeline.toml"]);
    assert!(!said.out.contains("epochs=9"), "nothing is decided yet: {}", said.out);
    rounds(&project);
    rounds(&fresh);
    assert_eq!(trials(&project), trials(&fresh));
    assert_ne!(trials(&project), before, "the network must decide for the story to tell anything");
    project.edit("hidden = 4", "hidden = 3");
    assert_eq!(trials(&project), before);
    assert_eq!(rounds(&project), [(0, 0)]);
}

#[test]
fn some_of_the_trials_decide_nothing_and_who_reads_the_search_gets_its_end() {
    let (project, fresh) = (training(9, SEEDS), training(9, SEEDS));
    rounds(&fresh);
    let said = project.pacer(&["run", "pipeline.toml", "lstm[seed=1]"]);
    assert!(said.code == 0 && said.err.contains("nothing is decided from 1 of its 9 trials"), "{}", said.err);
    assert_eq!(trials(&project).len(), 9);
    assert_eq!(project.pacer(&["run", "pipeline.toml", "validate"]).code, 0);
    assert_eq!(trials(&project), trials(&fresh));
    rounds(&project);
    assert_eq!(trials(&project), trials(&fresh));
}

#[test]
fn decisions_of_some_of_the_trials_and_of_a_run_that_was_killed_give_way() {
    let project = training(9, SEEDS);
    rounds(&project);
    let decided = trials(&project);
    let file = project.stored("searches").pop().unwrap();
    let whole: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let write = |change: &dyn Fn(&mut Value)| {
        let mut decisions = whole.clone();
        change(&mut decisions);
        fs::write(&file, decisions.to_string()).unwrap();
    };
    // A run that was killed between two rounds.
    write(&|it| it["rounds"].as_array_mut().unwrap().truncate(1));
    assert_eq!(trials(&project).len(), 12);
    assert!(rounds(&project).iter().all(|round| *round == (0, 0)));
    assert_eq!(trials(&project), decided);
    // Seed 1 alone was seen, and went on to the top.
    write(&|it| {
        it["rounds"].as_array_mut().unwrap().truncate(1);
        it["rounds"][0]["seen"].as_array_mut().unwrap().truncate(1);
        it["rounds"][0]["next"] = serde_json::json!([[1, 9]]);
    });
    let said = project.pacer(&["plan", "pipeline.toml"]);
    assert!(said.out.contains("search of `lstm`: its round 1 is decided anew"), "{}", said.out);
    let said = project.pacer(&["run", "pipeline.toml"]);
    assert!(said.err.contains("round 1, decided anew"), "{}", said.err);
    assert_eq!(trials(&project), decided);
}

/// A search over commands that write their number, of which the upper ones fail while there is a file `broken`.
fn search_of_commands() -> Project {
    let project = Project::new("");
    let broken = project.path("broken");
    let script = format!(
        "if test -e {} && test $0 -gt 4; then exit 1; fi; echo '{{\\\"mae\\\": '$0'.5}}' > {{outputs.figures}}",
        broken.display()
    );
    let runs: Vec<_> = (1..=8).map(|at| format!("[\"sh\", \"-c\", \"{script}\", \"{at}\"]")).collect();
    let text = format!(
        "[stages.lstm]\nkind = \"command\"\noutputs = {{ figures = \"metrics\" }}\n[stages.lstm.sweep]\n\
         run = {{ choice = [\n{}\n] }}\ntrials = 10\n\
         search = {{ by = \"tpe\", startup = 8, round = 1, metric = \"mae\" }}\n",
        runs.join(",\n")
    );
    project.write("pipeline.toml", &text);
    project
}

#[test]
fn what_was_decided_while_trials_failed_is_decided_anew_when_they_are_tried_again() {
    let (project, fresh) = (search_of_commands(), search_of_commands());
    project.write("broken", "");
    let said = project.pacer(&["run", "pipeline.toml"]);
    assert!(said.code == 0 && said.err.contains("failed"), "{}", said.err);
    fs::remove_file(project.path("broken")).unwrap();
    let said = project.pacer(&["run", "pipeline.toml"]);
    assert!(said.code == 0 && !said.err.contains("decided anew"), "{}", said.err);
    let said = project.pacer(&["run", "pipeline.toml", "--retry-failed"]);
    assert!(said.code == 0 && said.err.contains("decided anew"), "{}", said.err);
    assert_eq!(fresh.pacer(&["run", "pipeline.toml"]).code, 0);
    let figures = |project: &Project| {
        let table = sweep(project, &["table", "pipeline.toml"]);
        let rows = table["sweeps"][0]["configurations"].as_array().unwrap();
        rows.iter().map(|row| row["mean"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(figures(&project), figures(&fresh));
}

#[test]
fn a_figure_that_no_trial_has_ends_a_search_with_those_that_they_have() {
    let project = training(9, &SEEDS.replace("min_epochs", "metric = \"mae\", min_epochs"));
    for _ in 0..2 {
        let said = project.pacer(&["run", "pipeline.toml"]);
        assert_eq!(said.code, 1, "{}", said.err);
        let told = "the search of `lstm` decides by `mae`, which is a figure of none of its trials";
        assert!(said.err.contains(told) && said.err.contains("validation_mae"), "{}", said.err);
        assert!(said.err.contains("metric = \"mae\""), "the line is drawn: {}", said.err);
    }
    assert!(!names(&project).is_empty() && project.plan(&[]).iter().any(|line| line == "validate run"));
    let drawn = "learning_rate = { log_uniform = [1e-4, 1e-1] }\ntrials = 4\n\
                 search = { by = \"tpe\", startup = 2, round = 1, metric = \"validation_mea\" }";
    let said = training(1, drawn).pacer(&["run", "pipeline.toml"]);
    assert!(said.code == 1 && said.err.contains("validation_mae"), "{}", said.err);
}
