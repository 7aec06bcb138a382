//! Faults of pipelines: all at once, each with its place, before anything runs.

use crate::harness::{Project, chain};

/// The faults of a pipeline as drawn, without the colours.
fn faults(pipeline: &str, arguments: &[&str]) -> String {
    let project = Project::new(pipeline);
    let said = project.pacer(&[&["run", "pipeline.toml"], arguments].concat());
    assert_eq!(said.code, 2, "{}", said.err);
    assert!(project.stored("results").is_empty());
    said.err
}

#[test]
fn a_mistyped_key_gets_a_caret_and_a_suggestion() {
    let drawn = faults("[stages.a]\nkind = \"command\"\nrum = [\"true\"]\noutputs = { x = \"file\" }\n", &[]);
    insta::assert_snapshot!(drawn, @r#"
    error: kind `command` has no key `rum`
     --> pipeline.toml:3:1
      |
    3 | rum = ["true"]
      | ^^^ unknown key
      |
      = help: did you mean `run`?

    1 fault in pipeline.toml; nothing was run
    "#);
}

#[test]
fn all_faults_are_found_at_once() {
    let drawn = faults(
        r#"
        [pipelin]
        [stages.a]
        kind = "comand"
        [stages.b]
        kind = "command"
        run = "true"
        outputs = { x = "tabel" }
        inputs.files.y = "c"
        [stages.d]
        outputs = 3
        "#,
        &["--set", "nothing=1", "--set", "without"],
    );
    for part in [
        "the pipeline file has no key `pipelin`",
        "there is no kind `comand`",
        "did you mean `command`?",
        "expected a list",
        "did you mean `table`?",
        "there is no stage `c`",
        "stage `d` has no `kind`",
        "no parameter is called `nothing`",
        "`--set` wants `name=value`",
        "8 faults in pipeline.toml; nothing was run",
    ] {
        assert!(drawn.contains(part), "{part} is not in\n{drawn}");
    }
}

#[test]
fn a_model_does_not_fit_a_slot_for_workouts() {
    let drawn = faults(
        r#"
        [stages.make]
        kind = "command"
        run = ["true"]
        outputs = { net = "model" }
        [stages.clean]
        kind = "filter"
        inputs.workouts = "make"
        "#,
        &[],
    );
    assert!(drawn.contains("`make` does not fit the slot `workouts` of `clean`"), "{drawn}");
    assert!(drawn.contains("`make` writes net (model)"), "{drawn}");
}

#[test]
fn a_cycle_is_shown_whole() {
    let stage = |name: &str, reads: &str| {
        format!("[stages.{name}]\nkind = \"command\"\nrun = [\"true\"]\noutputs = {{ x = \"file\" }}\ninputs.files.y = \"{reads}\"\n")
    };
    let drawn = faults(&[stage("a", "c"), stage("b", "a"), stage("c", "b")].concat(), &[]);
    assert!(drawn.contains("stages form a cycle: a → b → c → a"), "{drawn}");
}

#[test]
fn a_missing_file_and_a_folder_in_its_place_are_faults() {
    let project = chain();
    std::fs::remove_file(project.path("input.txt")).unwrap();
    let said = project.pacer(&["run", "pipeline.toml"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("input.txt` cannot be read") && said.err.contains("pipeline.toml:7:"), "{}", said.err);
    std::fs::create_dir(project.path("input.txt")).unwrap();
    let said = project.pacer(&["run", "pipeline.toml"]);
    assert!(said.err.contains("a folder stands where a file should be"), "{}", said.err);
}

#[test]
fn a_parameter_without_a_value_says_how_to_give_it() {
    let drawn = faults(
        "[stages.a]\nkind = \"import\"\ninputs.source = { path = \"${data.fitrec}\" }\n",
        &[],
    );
    assert!(drawn.contains("the parameter `data.fitrec` has no value"), "{drawn}");
    assert!(drawn.contains("`--set data.fitrec=…`"), "{drawn}");
}

#[test]
fn a_value_of_the_wrong_sort_on_the_command_line_points_into_it() {
    let drawn = faults("[params]\nn = 3\n[stages.a]\nkind = \"command\"\nrun = [\"true\"]\noutputs = { x = \"file\" }\n", &[
        "--set", "n=three",
    ]);
    assert!(drawn.contains("command line:1:9") && drawn.contains("must be a whole number"), "{drawn}");
}

#[test]
fn text_that_is_no_toml_says_where() {
    let drawn = faults("[stages.a\nkind = \n", &[]);
    assert!(drawn.contains("pipeline.toml:1:10"), "{drawn}");
}

#[test]
fn heart_rate_cannot_be_declared_an_input() {
    let drawn = faults(
        r#"
        [stages.make]
        kind = "command"
        run = ["true"]
        outputs = { runs = "workouts" }
        [stages.grid]
        kind = "resample"
        inputs.workouts = "make"
        features = ["speed", "ema(heart_rate, 60)"]
        "#,
        &[],
    );
    assert!(drawn.contains("heart rate is the target"), "{drawn}");
}

#[test]
fn an_unknown_target_suggests_the_nearest_stage() {
    let project = chain();
    let said = project.pacer(&["run", "pipeline.toml", "secnd"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("did you mean `second`?"), "{}", said.err);
}
