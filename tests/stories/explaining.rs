//! What is said about what would run: the nearest earlier result, what a stage that waits has changed of its own, what
//! a change would rerun, and the lock file.

use std::fs;

use serde_json::Value;

use crate::harness::{Project, chain};

fn explain(project: &Project, arguments: &[&str]) -> Value {
    let said = project.pacer(&[&["explain", "pipeline.toml", "--format", "json"], arguments].concat());
    serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err))
}

#[test]
fn an_explanation_compares_with_the_nearest_earlier_result() {
    let project = chain();
    project.run(&[]);
    // The newest result differs in the suffix and in a variable, the one before in the suffix alone.
    let (plain, with_variable) =
        ("inputs.files.line = \"first\"", "environment = [\"X\"]\ninputs.files.line = \"first\"");
    project.edit(plain, with_variable);
    project.run(&["--set", "suffix=two"]);
    project.edit(with_variable, plain);
    let explained = explain(&project, &["second", "--set", "suffix=three"]);
    let changes = explained["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{explained}");
    assert!(changes[0]["old"].as_str().unwrap().contains("echo one"), "{explained}");
}

#[test]
fn a_stage_that_waits_for_another_tells_what_of_its_own_has_changed() {
    let project = chain();
    project.run(&[]);
    project.edit("wc -l <", "wc -c <");
    let said = project.pacer(&["explain", "pipeline.toml", "third", "--set", "suffix=two"]);
    let own = "`third` reads from `second`, which runs first; of its own, these changed:\n  params.run.2: \"wc -l";
    assert!(said.out.contains(own), "{}", said.out);
    assert!(said.out.contains("`second` runs (key"), "the chain is told too: {}", said.out);
    let plan = project.pacer(&["plan", "pipeline.toml", "--set", "suffix=two"]);
    assert!(plan.out.contains("; and reads from `second`"), "{}", plan.out);
}

#[test]
fn a_look_ahead_names_what_a_change_reruns_and_how_long_it_took() {
    let project = chain();
    let stages = |name: &str| -> Vec<String> {
        let ahead = explain(&project, &["--changing", name]);
        let names = ahead["stages"].as_array().unwrap().iter();
        names.map(|row| row["stage"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(explain(&project, &["--changing", "first"])["unknown"], 3);
    project.run(&[]);
    assert_eq!(stages("first.run"), ["first", "second", "third"]);
    assert_eq!(stages("suffix"), ["second", "third"]);
    let ahead = explain(&project, &["--changing", "third"]);
    assert_eq!(ahead["unknown"], 0);
    assert_eq!(ahead["seconds"], project.show("third")["seconds"]);
    let wrong = project.pacer(&["explain", "pipeline.toml", "--changing", "fourth"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("`fourth` is no stage"), "{}", wrong.err);
}

#[test]
fn locked_results_are_held_and_drift_is_told_before_anything_runs() {
    let project = chain();
    let missing = project.pacer(&["run", "pipeline.toml", "--locked"]);
    assert!(missing.code == 2 && missing.err.contains("pacer run --lock"), "{}", missing.err);
    assert_eq!(project.pacer(&["run", "pipeline.toml", "--lock"]).code, 0);
    let text = fs::read_to_string(project.path("pipeline.lock")).unwrap();
    assert_eq!(text.matches("\nkey = ").count(), 3, "{text}");
    assert_eq!(project.pacer(&["run", "pipeline.toml", "--locked"]).code, 0);
    let results = project.stored("results").len();
    let drifted = project.pacer(&["run", "pipeline.toml", "--locked", "--set", "suffix=two"]);
    assert_eq!(drifted.code, 1);
    assert!(drifted.err.contains("✗ drift `second` has another key than the locked one: run.2"), "{}", drifted.err);
    assert_eq!(project.stored("results").len(), results, "nothing was run");
    // Written again it is the same text, so that version control shows no change where there is none.
    assert_eq!(project.pacer(&["run", "pipeline.toml", "--lock"]).code, 0);
    assert_eq!(fs::read_to_string(project.path("pipeline.lock")).unwrap(), text);
}

#[test]
fn a_locked_run_in_a_fresh_store_makes_the_locked_bytes_or_fails() {
    let project = chain();
    project.run(&["--lock"]);
    fs::remove_dir_all(project.path("store")).unwrap();
    assert_eq!(project.pacer(&["run", "pipeline.toml", "--locked"]).code, 0);
    let dice = Project::new(
        "[stages.dice]\nkind = \"command\"\nrun = [\"sh\", \"-c\", \"od -An -N8 -tx8 /dev/urandom > {outputs.n}\"]\n\
         outputs = { n = \"file\" }\n",
    );
    dice.run(&["--lock"]);
    fs::remove_dir_all(dice.path("store")).unwrap();
    let said = dice.pacer(&["run", "pipeline.toml", "--locked"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("`dice` has its locked key, but another `n`"), "{}", said.err);
}

#[test]
fn a_stage_that_is_run_again_is_compared_bit_for_bit() {
    let project = Project::new(
        r#"
        [stages.same]
        kind = "command"
        run = ["sh", "-c", "echo x > {outputs.text}"]
        outputs = { text = "file" }
        [stages.dice]
        kind = "command"
        inputs.files.text = "same"
        run = ["sh", "-c", "echo \"{\\\"loss\\\": $(od -An -N2 -tu2 /dev/urandom)}\" > {outputs.figures}"]
        outputs = { figures = "metrics" }
        "#,
    );
    let rerun = |stage: &str| project.pacer(&["verify", "pipeline.toml", "--rerun", stage]);
    let early = rerun("same");
    assert!(early.code == 2 && early.err.contains("`same` has no result to compare with"), "{}", early.err);
    project.run(&[]);
    let (same, dice) = (rerun("same"), rerun("dice"));
    assert_eq!((same.code, same.out.as_str()), (0, "✓ same bits same.text\n"), "{}", same.err);
    assert_eq!(dice.code, 1, "{}", dice.err);
    assert!(dice.out.contains("✗ differs dice.figures: ") && dice.out.contains("loss"), "{}", dice.out);
    assert!(project.stored("tmp").is_empty(), "the second run leaves nothing behind");
    assert_eq!(project.run(&[])["ran"], 0, "the first result stays");
}
