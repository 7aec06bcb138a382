//! Pipelines that leak: told by `plan`, stopped by `run`, unless they say why. Splits and sequences are made by hand and
//! handed on by stages that copy them.

use std::collections::BTreeMap;

use pacer_stages::sequences::{DataSource, Grid, Header, Sequences};
use pacer_stages::split::{Part, Split, SplitBy};

use crate::harness::{Project, Said};

use Part::{Test, Train, Validation};

/// Sequences and a split by hand, and a model trained under it.
const COPIES: &str = r#"
[pipeline]
ALLOW

[stages.sequences]
kind = "command"
inputs.files.it = { path = "sequences" }
run = ["cp", "{inputs.it}", "{outputs.it}"]
outputs = { it = "sequences" }

[stages.split]
kind = "command"
inputs.files = { it = { path = "split" }, of = "sequences" }
run = ["cp", "{inputs.it}", "{outputs.it}"]
outputs = { it = "split" }

[stages.mean]
kind = "baseline"
inputs = { sequences = "sequences", split = "split" }
model = "constant"
"#;

/// A workout: its number, its user, its start, its part.
type Row = (i64, i64, i64, Part);

/// Four users, each in one part, none of whose workouts overlap.
const TIGHT: [Row; 6] = [
    (1, 7, 0, Train),
    (2, 7, 500, Train),
    (3, 8, 0, Train),
    (4, 8, 500, Train),
    (5, 9, 0, Validation),
    (6, 10, 0, Test),
];

/// Writes sequences of workouts of 200 s.
fn sequences(project: &Project, rows: &[Row], feature: impl Fn(f32) -> f32) {
    let header =
        Header { features: vec!["speed".into()], grid: Grid::Time { step_s: 100.0 }, data: DataSource::Recorded };
    let target: Vec<f32> = (0..rows.len() * 3).map(|step| (110 + step * 37 % 60) as f32).collect();
    let sequences = Sequences {
        offsets: (0..=rows.len() as i64).map(|at| at * 3).collect(),
        features: target.iter().map(|target| feature(*target)).collect::<Vec<_>>().into(),
        real: vec![1; target.len()].into(),
        valid: vec![1; target.len()].into(),
        time: (0..target.len()).map(|step| (step % 3 * 100) as f32).collect::<Vec<_>>().into(),
        workout: rows.iter().map(|row| row.0).collect(),
        user: rows.iter().map(|row| row.1).collect(),
        start: rows.iter().map(|row| row.2).collect(),
        target: target.into(),
        ..Sequences::empty(header)
    };
    sequences.write(&project.path("sequences")).unwrap();
}

fn split(project: &Project, name: &str, by: SplitBy, rows: &[Row]) {
    let parts: BTreeMap<i64, (Part, i64)> = rows.iter().map(|row| (row.0, (row.3, row.1))).collect();
    Split { by, parts }.write(&project.path(name)).unwrap();
}

/// A project with this data.
fn project(by: SplitBy, rows: &[Row], allow: &str) -> Project {
    let project = Project::new(&COPIES.replace("ALLOW", allow));
    sequences(&project, rows, |target| (target * 7.0) % 5.0);
    split(&project, "split", by, rows);
    project
}

fn run(project: &Project) -> Said {
    project.pacer(&["run", "pipeline.toml"])
}

/// Runs a pipeline that leaks, which stops also when all that it made is reused.
fn stopped(project: &Project) -> Said {
    let said = run(project);
    assert_eq!(said.code, 1, "{}", said.err);
    let again = run(project);
    assert_eq!((again.code, leaks(&again)), (1, leaks(&said)), "{}", again.err);
    said
}

/// What a report on the last run says of leaks.
fn reported(project: &Project) -> String {
    let said = project.pacer(&["report", "--format", "json"]);
    assert_eq!(said.code, 0, "{}", said.err);
    said.out
}

/// The lines of stderr that tell of leaks.
fn leaks(said: &Said) -> Vec<&str> {
    said.err.lines().filter(|line| line.contains("leak (")).collect()
}

#[test]
fn what_is_tight_runs_and_the_plan_says_so() {
    let project = project(SplitBy::User, &TIGHT, "");
    let planned = project.pacer(&["plan", "pipeline.toml"]);
    assert!(planned.out.ends_with("leakage: 0 tight, 0 leak, 4 when the data is there\n"), "{}", planned.out);
    let said = run(&project);
    assert_eq!((said.code, leaks(&said).len()), (0, 0), "{}", said.err);
    let planned = project.pacer(&["plan", "pipeline.toml"]);
    assert!(planned.out.ends_with("leakage: 4 tight, 0 leak\n"), "{}", planned.out);
    let planned = project.pacer(&["plan", "pipeline.toml", "--format", "json"]);
    let planned: serde_json::Value = serde_json::from_str(&planned.out).unwrap();
    let verdicts: Vec<_> = planned["checks"].as_array().unwrap().iter().map(|check| &check["verdict"]).collect();
    assert_eq!(verdicts, ["tight"; 4]);
}

#[test]
fn a_user_in_two_parts_stops_the_run_unless_the_pipeline_says_why() {
    let rows = [TIGHT.as_slice(), &[(7, 7, 9_000, Test)]].concat();
    let said = stopped(&project(SplitBy::User, &rows, ""));
    assert_eq!(leaks(&said), ["✗ leak (users) in `split`: 1 of 4 users are in several parts, such as user 7"]);
    assert!(
        said.err.contains("where that is meant, say why: [pipeline] allow_leak = { users = \"…\" }"),
        "{}",
        said.err
    );
    let allowed = project(SplitBy::User, &rows, "allow_leak = { users = \"a trial of the guard\" }");
    let said = run(&allowed);
    assert_eq!(said.code, 0, "{}", said.err);
    let told =
        "! leak (users) in `split`: 1 of 4 users are in several parts, such as user 7; allowed: a trial of the guard";
    assert_eq!(leaks(&said), [told]);
    assert!(allowed.pacer(&["plan", "pipeline.toml"]).out.contains(told));
    // All that leaks is there by now, and its reason is gone.
    allowed.edit("allow_leak = { users = \"a trial of the guard\" }", "");
    let said = stopped(&allowed);
    assert!(said.err.contains("0 ran"), "{}", said.err);
}

#[test]
fn a_split_by_time_that_trains_on_the_future_stops_the_run() {
    let rows = [(1, 7, 0, Test), (2, 7, 500, Train), (3, 7, 1_000, Validation)];
    let said = stopped(&project(SplitBy::Time, &rows, ""));
    assert!(
        leaks(&said)[0].starts_with("✗ leak (time_order) in `split`: 2 workouts are earlier in use"),
        "{}",
        said.err
    );
}

#[test]
fn the_same_run_twice_on_two_sides_stops_the_run() {
    let rows = [(1, 7, 0, Train), (2, 7, 500, Validation), (3, 7, 1_000, Validation), (4, 7, 1_050, Test)];
    let said = stopped(&project(SplitBy::Time, &rows, ""));
    assert!(leaks(&said)[0].starts_with("✗ leak (duplicates) in `split`: 1 workouts overlap one of"), "{}", said.err);
}

#[test]
fn the_heart_rate_under_another_name_stops_the_run() {
    let project = project(SplitBy::User, &TIGHT, "");
    sequences(&project, &TIGHT, |target| target / 60.0);
    let said = stopped(&project);
    assert_eq!(leaks(&said), ["✗ leak (target) in `split`: the feature `speed` is the heart rate (r = 1.000)"]);
}

#[test]
fn a_split_by_workout_wants_a_reason() {
    let text = "[pipeline]\nseed = 1\n[stages.split]\nkind = \"split\"\ninputs.sequences = { path = \"sequences\" }\n\
                by = \"workout\"\n";
    let project = Project::new(text);
    sequences(&project, &TIGHT, |target| (target * 7.0) % 5.0);
    let said = run(&project);
    let told = "✗ leak (users) in `split`: split by workout: runs of one user stand in several parts";
    assert_eq!((said.code, leaks(&said)), (2, vec![told]), "{}", said.err);
    assert!(said.err.ends_with("nothing was run\n") && project.stored("results").is_empty(), "{}", said.err);
    project.edit("seed = 1", "allow_leak.users = \"one runner, who is all there is\"");
    assert_eq!(run(&project).code, 0);
}

/// A project whose model is scored under another split, of which the test holds what it was trained on.
fn seen() -> Project {
    let project = project(SplitBy::User, &TIGHT, "");
    let rows: Vec<Row> = TIGHT.iter().map(|row| (row.0, row.1, row.2, if row.0 < 4 { Test } else { Train })).collect();
    split(&project, "other", SplitBy::Time, &rows);
    let text = COPIES.replace("ALLOW", "")
        + "[stages.other]\nkind = \"command\"\ninputs.files = { it = { path = \"other\" }, of = \"sequences\" }\n\
           run = [\"cp\", \"{inputs.it}\", \"{outputs.it}\"]\noutputs = { it = \"split\" }\n\
           [stages.evaluate]\nkind = \"evaluate\"\n\
           inputs = { sequences = \"sequences\", split = \"other\", models = { mean = \"mean\" } }\n";
    project.write("pipeline.toml", &text);
    project
}

/// What is told of [`seen`].
const SEEN: &str = "✗ leak (seen) in `evaluate:mean`: 3 of the 3 workouts scored are among those that it was trained on, \
                    such as 1 of user 7";

#[test]
fn a_model_that_has_seen_the_test_is_found() {
    let project = seen();
    let said = project.pacer(&["run", "pipeline.toml", "mean", "other"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let planned = project.pacer(&["plan", "pipeline.toml"]).out;
    assert!(planned.contains(SEEN), "{planned}");
    assert!(leaks(&stopped(&project)).contains(&SEEN));
}

#[test]
fn splits_from_files_are_held_against_each_other_as_those_of_stages_are() {
    let (trained, scored) = ("split = \"split\" }", "split = \"other\", models");
    let (trained_file, scored_file) = ("split = { path = \"split\" } }", "split = { path = \"other\" }, models");
    for edits in
        [&[(trained, trained_file)][..], &[(scored, scored_file)], &[(trained, trained_file), (scored, scored_file)]]
    {
        let project = seen();
        edits.iter().for_each(|(from, to)| project.edit(from, to));
        let said = project.pacer(&["run", "pipeline.toml", "mean"]);
        assert_eq!(said.code, 0, "{}", said.err);
        let said = stopped(&project);
        assert!(leaks(&said).contains(&SEEN), "{}", said.err);
        let planned = project.pacer(&["plan", "pipeline.toml"]).out;
        assert!(planned.contains(SEEN), "{planned}");
        let told = reported(&project);
        assert!(told.contains("Leak, model or scaler fitted on what is scored (evaluate:mean)"), "{told}");
        assert!(!told.contains("No leak, model or scaler"), "{told}");
    }
}

#[test]
fn a_split_from_a_file_is_checked_as_one_of_a_stage_is() {
    let rows = [TIGHT.as_slice(), &[(7, 7, 9_000, Test)]].concat();
    let torn = project(SplitBy::User, &rows, "");
    torn.edit("split = \"split\" }", "split = { path = \"split\" } }");
    let told = "✗ leak (users) in `mean.split`: 1 of 4 users are in several parts, such as user 7";
    assert_eq!(leaks(&stopped(&torn)), [told]);
    let tight = seen();
    tight.edit("split = \"split\" }", "split = { path = \"split\" } }");
    tight.edit("split = \"other\", models", "split = { path = \"split\" }, models");
    let said = tight.pacer(&["run", "pipeline.toml", "evaluate"]);
    assert_eq!((said.code, leaks(&said).len()), (0, 0), "{}", said.err);
    let planned = tight.pacer(&["plan", "pipeline.toml", "evaluate"]).out;
    assert!(planned.ends_with("leakage: 6 tight, 0 leak\n"), "{planned}");
}

#[test]
fn of_a_model_that_nobody_trained_under_a_split_nobody_says_that_it_is_tight() {
    let of_mean = COPIES.split("[stages.mean]").nth(1).unwrap();
    let copied = "\nkind = \"command\"\ninputs.files.it = { path = \"model\" }\n\
                  run = [\"cp\", \"{inputs.it}\", \"{outputs.it}\"]\noutputs = { it = \"model\" }\n";
    let from_file = ("models = { mean = \"mean\" }", "models = { mean = { path = \"model\" } }");
    let cases = [
        ((of_mean, copied), "`mean` makes a model and reads no split: nobody knows what it was trained on"),
        (from_file, "nobody knows what a model from a file was trained on"),
    ];
    for ((from, to), words) in cases {
        let project = seen();
        assert_eq!(project.pacer(&["run", "pipeline.toml", "mean"]).code, 0);
        std::fs::copy(project.blob("mean"), project.path("model")).unwrap();
        project.edit("split = \"other\", models", "split = \"split\", models");
        project.edit(from, to);
        // Also where all is reused, and where a copy has the very bytes of what it was made of.
        for _ in 0..2 {
            let said = project.pacer(&["run", "pipeline.toml", "evaluate"]);
            let told = format!("1 check for leaks could not be made: {words} (seen in `evaluate:mean`)\n");
            assert!(said.code == 0 && said.err.ends_with(&told), "{}", said.err);
            let told = reported(&project);
            assert!(
                told.contains(&format!(
                    "Not checked, model or scaler fitted on what is scored (evaluate:mean): {words}"
                )),
                "{told}"
            );
            assert!(!told.contains("No leak, model or scaler"), "{told}");
        }
        let planned = project.pacer(&["plan", "pipeline.toml", "evaluate"]).out;
        let told = format!(
            "? not checked (seen) in `evaluate:mean`: {words}\nleakage: 5 tight, 0 leak, 1 that nobody can tell\n"
        );
        assert!(planned.ends_with(&told), "{planned}");
        let quiet = project.pacer(&["run", "pipeline.toml", "evaluate", "--quiet"]);
        assert_eq!((quiet.code, quiet.err.as_str()), (0, ""));
    }
}

#[test]
fn the_heart_rate_among_what_a_training_reads_beside_its_split_stops_the_run() {
    let project = seen();
    sequences(&project, &TIGHT, |target| target / 60.0);
    std::fs::rename(project.path("sequences"), project.path("more")).unwrap();
    sequences(&project, &TIGHT, |target| (target * 7.0) % 5.0);
    let plus = "[stages.plus]\nkind = \"command\"\ninputs.files = { it = { path = \"more\" }, of = \"sequences\" }\n\
                run = [\"cp\", \"{inputs.it}\", \"{outputs.it}\"]\noutputs = { it = \"sequences\" }\n";
    let text =
        COPIES.replace("ALLOW", "").replace("{ sequences = \"sequences\", split", "{ sequences = \"plus\", split");
    project.write("pipeline.toml", &(text + plus));
    let told = "✗ leak (target) in `mean.sequences`: the feature `speed` is the heart rate (r = 1.000)";
    assert_eq!(leaks(&stopped(&project)), [told]);
}

#[test]
fn what_was_chosen_by_figures_of_another_split_has_seen_its_part() {
    let project = seen();
    let rows: Vec<Row> =
        TIGHT.iter().map(|row| (row.0, row.1, row.2, if row.0 == 6 { Validation } else { Train })).collect();
    split(&project, "other", SplitBy::User, &rows);
    project.edit(
        "inputs = { sequences = \"sequences\", split = \"other\"",
        "part = \"validation\"\ninputs = { sequences = \"sequences\", split = \"other\"",
    );
    let text = std::fs::read_to_string(project.path("pipeline.toml")).unwrap()
        + "[stages.pick]\nkind = \"command\"\ninputs.files = { figures = \"evaluate.metrics\", model = \"mean\" }\n\
           run = [\"cp\", \"{inputs.model}\", \"{outputs.it}\"]\noutputs = { it = \"model\" }\n\
           [stages.test]\nkind = \"evaluate\"\n\
           inputs = { sequences = \"sequences\", split = \"split\", models = { it = \"pick\" } }\n";
    project.write("pipeline.toml", &text);
    let told = "✗ leak (seen) in `test:it`: 1 of the 1 workouts scored are among those that it was chosen by, such as 6 of user 10";
    assert_eq!(leaks(&stopped(&project)), [told]);
}

#[test]
fn what_chooses_must_not_read_the_test() {
    let text = COPIES.replace("ALLOW", "")
        + "[stages.evaluate]\nkind = \"evaluate\"\npart = \"test\"\n\
           inputs = { sequences = \"sequences\", split = \"split\", models = { mean = \"mean\" } }\n\
           [stages.pick]\nkind = \"command\"\ninputs.files = { figures = \"evaluate.metrics\", model = \"mean\" }\n\
           run = [\"cp\", \"{inputs.model}\", \"{outputs.it}\"]\noutputs = { it = \"model\" }\n";
    let project = project(SplitBy::User, &TIGHT, "");
    project.write("pipeline.toml", &text);
    let said = run(&project);
    let told = "✗ leak (test_chooses) in `evaluate`: `pick` makes a model or a split of what was found on the test part: let \
                it read the validation part";
    assert_eq!((said.code, leaks(&said)), (2, vec![told]), "{}", said.err);
    project.edit("part = \"test\"", "part = \"validation\"");
    assert_eq!(run(&project).code, 0);
}

#[test]
fn a_search_must_not_decide_by_the_test() {
    let project = seen();
    let text = std::fs::read_to_string(project.path("pipeline.toml"))
        .unwrap()
        .replace("split = \"other\", models", "split = \"split\", models")
        + "[stages.score]\nkind = \"trivial\"\ninputs.files.figures = \"evaluate.metrics\"\n\
           [stages.score.sweep]\nsalt = { choice = [\"p\", \"q\"] }\ntrials = 3\nsearch = { by = \"tpe\", startup = 2, round = 1 }\n";
    project.write("pipeline.toml", &text);
    let said = run(&project);
    let told = "✗ leak (test_chooses) in `evaluate`: the search of `score` makes further trials of what was found on the test \
                part: let it read the validation part";
    assert_eq!((said.code, leaks(&said)), (2, vec![told]), "{}", said.err);
    assert!(said.err.ends_with("nothing was run\n") && project.stored("results").is_empty(), "{}", said.err);
}

#[test]
fn a_leak_that_the_graph_shows_stops_a_search_before_it_begins() {
    let text = "[pipeline]\n[stages.split]\nkind = \"split\"\ninputs.sequences = { path = \"sequences\" }\nby = \"workout\"\n\
                [stages.score]\nkind = \"trivial\"\ninputs.files.split = \"split.split\"\n\
                [stages.score.sweep]\nsalt = { choice = [\"p\", \"q\"] }\ntrials = 3\nsearch = { by = \"tpe\", startup = 2, round = 1 }\n";
    let project = Project::new(text);
    sequences(&project, &TIGHT, |target| (target * 7.0) % 5.0);
    let said = run(&project);
    let told = "✗ leak (users) in `split`: split by workout: runs of one user stand in several parts";
    assert_eq!((said.code, leaks(&said)), (2, vec![told]), "{}", said.err);
    assert!(said.err.ends_with("nothing was run\n") && project.stored("results").is_empty(), "{}", said.err);
}

#[test]
fn a_leak_in_a_round_of_a_search_fails_the_run() {
    let rows = [TIGHT.as_slice(), &[(7, 7, 9_000, Test)]].concat();
    let project = project(SplitBy::User, &rows, "");
    let text = COPIES.replace("ALLOW", "")
        + r#"
[stages.score]
kind = "command"
inputs.files.mean = "mean"
outputs = { figures = "metrics" }
[stages.score.sweep]
run = { choice = [["sh", "-c", "echo '{\"mae\": 1}' > {outputs.figures}"], ["sh", "-c", "echo '{\"mae\": 2}' > {outputs.figures}"]] }
trials = 3
search = { by = "tpe", startup = 2, round = 1, metric = "mae" }
"#;
    project.write("pipeline.toml", &text);
    let told = "✗ leak (users) in `split`: 1 of 4 users are in several parts, such as user 7";
    assert_eq!(leaks(&stopped(&project)), [told]);
}

#[test]
fn what_only_the_remote_has_is_not_checked_before_it_is_here() {
    let rows = [TIGHT.as_slice(), &[(7, 7, 9_000, Test)]].concat();
    let remote = tempfile::tempdir().unwrap();
    let sharing = |allow: &str| {
        let project = project(SplitBy::User, &rows, allow);
        project.write("pacer.toml", &format!("[remote]\nurl = \"{}\"\n", remote.path().display()));
        project
    };
    let first = sharing("allow_leak = { users = \"a trial of the guard\" }");
    let said = first.pacer(&["run", "pipeline.toml", "--push"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let second = sharing("");
    let said = run(&second);
    let told = "4 checks for leaks could not be made: only the remote has the sequences that it divides (target in \
                `split`); only the remote has the split (users in `split` and 2 more)\n";
    assert!(said.code == 0 && said.err.ends_with(told), "{}", said.err);
    assert_eq!(second.pacer(&["pull", "pipeline.toml"]).code, 0);
    let told = "✗ leak (users) in `split`: 1 of 4 users are in several parts, such as user 7";
    assert_eq!(leaks(&stopped(&second)), [told]);
}

#[test]
fn an_allowance_names_a_check_and_gives_a_reason() {
    let project = project(SplitBy::User, &TIGHT, "allow_leak = { user = \"x\", seen = \"\" }");
    let said = run(&project);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("`allow_leak` has no key `user`") && said.err.contains("`users`"), "{}", said.err);
    assert!(said.err.contains("`seen` of `allow_leak` gives no reason"), "{}", said.err);
}
