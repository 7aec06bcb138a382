//! Sweeps: what is written becomes trials, what they share runs once, what fails is passed over and remembered.

use serde_json::Value;

use crate::harness::{Project, TRAINING};

/// A trial that writes its value, and fails where its value is 3; what it reads is shared, and what gathers it counts.
const TOY: &str = r#"
[stages.data]
kind = "trivial"
salt = "data"

[stages.toy]
kind = "command"
inputs.files.data = "data"
run = ["sh", "-c", "echo $0 $1 >> PLACE/ran; test $0 -ne 3 && echo \"{\\\"mae\\\": $0.$1}\" > {outputs.figures}"]
outputs = { figures = "metrics" }

[stages.count]
kind = "trivial"
inputs.files = { toy = "toy" }
"#;

/// The toy pipeline with a sweep of its arguments: trials are chosen by the whole list of them.
fn toy(values: &[u32]) -> Project {
    let lists: Vec<_> = values.iter().map(|value| format!("[{value}, 0]")).collect();
    let project = Project::new("");
    let place = project.path("").display().to_string();
    let mut text = TOY.replace("PLACE", place.trim_end_matches('/'));
    let run = text.split("run = ").nth(1).unwrap().lines().next().unwrap().to_owned();
    let runs = values.iter().map(|value| run.replace("\"]", &format!("\", \"{value}\", \"0\"]")));
    let runs: Vec<_> = runs.collect();
    assert_eq!(lists.len(), runs.len());
    text = text.replace(&format!("run = {run}\n"), "");
    text += &format!("\n[stages.toy.sweep]\nrun = [\n  {}\n]\n", runs.join(",\n  "));
    project.write("pipeline.toml", &text);
    project
}

/// A pipeline of trivial stages, each reading from the one before, with these lines at the last.
fn trivial(lines: &str) -> Project {
    let head = "[stages.a]\nkind = \"trivial\"\n[stages.b]\nkind = \"trivial\"\ninputs.files.a = { each = \"a\" }\n\
                [stages.other]\nkind = \"trivial\"\nsalt = \"other\"\n[stages.c]\nkind = \"trivial\"\n\
                inputs.files = { b = { each = \"b\" }, other = \"other\" }\n";
    Project::new(&format!("{head}{lines}"))
}

/// The stages of the pipeline, in the order of its plan.
pub fn names(project: &Project) -> Vec<String> {
    project.plan(&[]).into_iter().map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

/// The line of a fault and what stands under its caret.
fn fault(lines: &str) -> String {
    let said = trivial(lines).pacer(&["plan", "pipeline.toml"]);
    assert_eq!(said.code, 2, "{}", said.out);
    said.err
}

#[test]
fn lists_make_a_grid_and_what_does_not_depend_on_them_stays_one_stage() {
    let project = trivial("[stages.c.sweep]\nsalt = [\"x\", \"y\"]\nseed = [1, 2]\n");
    let c = ["salt=x,seed=1", "salt=x,seed=2", "salt=y,seed=1", "salt=y,seed=2"].map(|it| format!("c[{it}]"));
    assert_eq!(names(&project), [&["a", "other", "b"].map(String::from)[..], &c].concat());
}

#[test]
fn a_parameter_of_a_stage_above_makes_the_stages_between_once_for_each_value() {
    let project = trivial("[stages.c.sweep]\n\"a.salt\" = [\"x\", \"y\"]\nsalt = [\"p\", \"q\"]\n");
    let expected = [
        "a[salt=x]",
        "a[salt=y]",
        "other",
        "b[a.salt=x]",
        "b[a.salt=y]",
        "c[a.salt=x,salt=p]",
        "c[a.salt=x,salt=q]",
        "c[a.salt=y,salt=p]",
        "c[a.salt=y,salt=q]",
    ];
    assert_eq!(names(&project), expected);
    assert_eq!(project.run(&[])["ran"], 9);
    assert_eq!(project.run(&[])["reused"], 9);
}

#[test]
fn who_reads_trials_one_by_one_is_made_for_each_and_who_reads_them_by_name_gathers() {
    let project =
        trivial("[stages.a.sweep]\nsalt = [\"x\", \"y\"]\n[stages.all]\nkind = \"trivial\"\ninputs.files.c = \"c\"\n");
    let expected =
        ["a[salt=x]", "a[salt=y]", "other", "b[a.salt=x]", "b[a.salt=y]", "c[a.salt=x]", "c[a.salt=y]", "all"];
    assert_eq!(names(&project), expected);
    project.run(&[]);
    let record = &project.show("all")["record"];
    let read: Vec<_> = record["inputs"]["files"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(read, ["c[a.salt=x]", "c[a.salt=y]"]);
}

#[test]
fn zipped_lists_points_and_conditions_choose_trials() {
    let sweep = |lines: &str| {
        let project = trivial(&format!("[stages.c.sweep]\n{lines}"));
        names(&project).into_iter().filter(|name| name.starts_with('c')).collect::<Vec<_>>()
    };
    let zip = sweep("salt = [\"x\", \"y\"]\nseed = [1, 2]\nzip = [[\"salt\", \"seed\"]]\n");
    assert_eq!(zip, ["c[salt=x,seed=1]", "c[salt=y,seed=2]"]);
    let points =
        sweep("points = [{ salt = \"x\", first_line = true }, { first_line = false, salt = \"y\" }]\nseed = [1]\n");
    assert_eq!(points.len(), 2);
    assert!(points.iter().any(|name| name.contains("salt=x") && name.contains("first_line=true")), "{points:?}");
    let kept = sweep(
        "salt = [\"x\", \"y\"]\nseed = [1, 2, 3]\nwhere = [\"seed * 2 > 3 and not (salt == 'x' and seed == 3)\"]\n",
    );
    assert_eq!(kept, ["c[salt=x,seed=2]", "c[salt=y,seed=2]", "c[salt=y,seed=3]"]);
}

#[test]
fn more_draws_keep_the_first_and_each_is_crossed_with_the_lists() {
    let sweep = |trials: u32| {
        let project = trivial(&format!(
            "[stages.c.sweep]\nsalt = {{ choice = [\"p\", \"q\", \"r\"] }}\n\"a.seed\" = {{ int_uniform = [1, 900000] }}\nseed = [1, 2]\ntrials = {trials}\ndraw_seed = 4\n"
        ));
        names(&project).into_iter().filter(|name| name.starts_with('c')).collect::<Vec<_>>()
    };
    let (few, many) = (sweep(5), sweep(12));
    assert_eq!((few.len(), many.len()), (10, 24));
    assert!(few.iter().all(|name| many.contains(name)), "{few:?}\n{many:?}");
}

#[test]
fn every_fault_of_a_sweep_is_told_at_once_with_its_place() {
    let told = fault(
        "[stages.c.sweep]\nsalt = \"x\"\nseed = []\nfirst_line = { uniform = [2, 1] }\nzip = [[\"salt\", \"nothing\"]]\n\
         where = [\"sed < 2\", \"1 <\"]\n",
    );
    for words in [
        "`salt` of a sweep is a text",
        "`seed` has no value to try",
        "`uniform` cannot be drawn from this",
        "`nothing` is no list of this sweep",
    ] {
        assert!(told.contains(words), "{words}\n{told}");
    }
    let told = fault("[stages.c.sweep]\nseed = [1, 2]\nwhere = [\"sed < 2\", \"1 <\"]\n");
    assert!(told.contains("`sed` is not swept here") && told.contains("did you mean `seed`?"), "{told}");
    assert!(told.contains("the condition ends where a value should stand"), "{told}");
    let lengths = fault("[stages.c.sweep]\nsalt = [\"x\"]\nseed = [1, 2]\nzip = [[\"salt\", \"seed\"]]\n");
    assert!(lengths.contains("`salt` has 1 values and `seed` has 2"), "{lengths}");
    assert!(fault("[stages.a.sweep]\n\"c.salt\" = [\"x\"]\n").contains("`a` does not read from `c`"));
    assert!(fault("[stages.c.sweep]\nkind = [\"x\"]\n").contains("`kind` is no parameter that a sweep can vary"));
    assert!(fault("[stages.c.sweep]\nseed = [1, 1]\n").contains("`seed` has this value twice"));
    assert!(fault("[stages.c.sweep]\nseed = [1]\nwhere = \"seed > 1\"\n").contains("no trial is left"));
    assert!(fault("[stages.c.sweep]\nsalt = { choice = [\"x\"] }\n").contains("how often is not said"));
}

#[test]
fn a_value_that_the_kind_refuses_is_told_once_under_its_own_caret() {
    let told = fault("[stages.c.sweep]\nfirst_line = [true, 7]\nseed = [1, 2, 3]\n");
    assert_eq!(told.matches("wrong type").count(), 1, "{told}");
    assert!(told.contains("first_line = [true, 7]"), "{told}");
    let many: Vec<_> = (0..101).map(|at| at.to_string()).collect();
    let many = many.join(", ");
    let told = fault(&format!("[stages.c.sweep]\nseed = [{many}]\n\"a.seed\" = [{many}]\n"));
    assert!(told.contains("the sweep of `c` makes 10201 stages"), "{told}");
}

#[test]
fn a_failed_trial_stops_nobody_is_remembered_and_is_tried_again_only_when_asked() {
    let project = toy(&[1, 2, 3, 4]);
    let events = project.events(&["--jobs", "2"]);
    let last = events.last().unwrap();
    assert_eq!((&last["ran"], &last["failed"], &last["passed_over"]), (&5.into(), &0.into(), &1.into()), "{last}");
    let warned = events.iter().find(|event| event["notice"] == "warning").expect("the gathering stage warns");
    assert!(
        warned["stage"] == "count" && warned["message"].as_str().unwrap().contains("goes on without `toy["),
        "{warned}"
    );
    let said = project.pacer(&["run", "pipeline.toml"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("is not tried again"), "{}", said.err);
    let ran = || std::fs::read_to_string(project.path("ran")).unwrap().lines().count();
    assert_eq!(ran(), 4);
    let fails = |arguments: &[&str]| project.plan(arguments).iter().filter(|line| line.ends_with(" failed")).count();
    assert_eq!((fails(&[]), fails(&["--retry-failed"])), (1, 0));
    project.run(&["--retry-failed"]);
    assert_eq!(ran(), 5, "that one trial alone runs again");
}

#[test]
fn a_run_fails_where_no_trial_succeeds_or_the_failed_one_alone_was_asked_for() {
    let project = toy(&[3, 4]);
    let failed = names(&project).into_iter().filter(|name| name.starts_with("toy")).collect::<Vec<_>>();
    let codes = failed.iter().map(|name| project.pacer(&["run", "pipeline.toml", name]).code);
    assert_eq!(codes.collect::<Vec<_>>().iter().filter(|code| **code == 1).count(), 1);
    let project = toy(&[3]);
    let last = project.run(&[]);
    assert_eq!((&last["failed"], &last["skipped"]), (&1.into(), &1.into()));
}

#[test]
fn a_group_or_some_of_it_can_be_named_and_hundreds_of_trials_are_one_row() {
    let seeds: Vec<_> = (1..=300).map(|seed| seed.to_string()).collect();
    let project = trivial(&format!("[stages.c.sweep]\nsalt = [\"x\", \"y\"]\nseed = [{}]\n", seeds[..150].join(", ")));
    let said = project.pacer(&["plan", "pipeline.toml"]);
    assert!(said.out.contains("c[…] × 300") && said.out.lines().count() < 12, "{}", said.out);
    let last = project.run(&["c[seed=7]"]);
    assert_eq!(last["ran"], 5);
    let said = project.pacer(&["run", "pipeline.toml", "c"]);
    assert!(said.err.lines().count() < 20, "{}", said.err);
    let status = project.pacer(&["status", "pipeline.toml"]);
    assert!(status.out.contains("c[…] × 300"), "{}", status.out);
    let shown = project.pacer(&["show", "pipeline.toml", "c"]);
    assert!(shown.code == 2 && shown.err.contains("300 trials"), "{}", shown.err);
    assert_eq!(project.show("c[salt=x,seed=3]")["stage"], "c[salt=x,seed=3]");
}

#[test]
fn the_journal_says_of_each_trial_its_group_and_its_values() {
    let project = trivial("[stages.c.sweep]\nsalt = [\"x\"]\nseed = [1, 2]\n");
    let events = project.events(&[]);
    let trial: &Value = &events[0]["trials"]["c[salt=x,seed=2]"];
    assert_eq!(*trial, serde_json::json!({"group": "c", "coordinates": [["salt", "x"], ["seed", 2]]}));
}

#[test]
fn a_killed_sweep_does_the_missing_trials_alone() {
    let project = toy(&[1, 2, 4, 5, 6, 7]);
    let mut child = project.start(&["pipeline.toml", "--jobs", "1"]);
    // Two are on the disk: the data, which is handed on before, and a trial.
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let finished = lines.map_while(Result::ok).filter(|line| line.contains("\"finished\"")).take(2).count();
    assert_eq!(finished, 2);
    crate::harness::signal(i32::try_from(child.id()).unwrap(), 9);
    child.wait().unwrap();
    let last = project.run(&[]);
    assert_eq!(last["ran"].as_u64().unwrap() + last["reused"].as_u64().unwrap(), 8);
    assert!(last["reused"].as_u64().unwrap() >= 2, "{last}");
}

/// What `pacer sweep` says as JSON.
pub fn sweep(project: &Project, arguments: &[&str]) -> Value {
    let said = project.pacer(&[&["sweep"], arguments, &["--format", "json"]].concat());
    serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err))
}

#[test]
fn the_table_ranks_configurations_over_their_seeds_and_says_whether_that_is_noise() {
    let trial = |run: u32| format!("[\"sh\", \"-c\", \"echo '{{\\\"mae\\\": {run}.5}}' > {{outputs.figures}}\"]");
    let project = Project::new(&format!(
        "[stages.toy]\nkind = \"command\"\noutputs = {{ figures = \"metrics\" }}\n\
         [stages.toy.sweep]\nrun = [{}, {}, {}]\nseed = [1, 2]\n",
        trial(7),
        trial(5),
        trial(6)
    ));
    let missing = sweep(&project, &["status", "pipeline.toml"]);
    assert_eq!(missing["sweeps"][0]["trials"].as_array().unwrap().len(), 6);
    let said = project.pacer(&["sweep", "table", "pipeline.toml"]);
    assert!(said.code == 2 && said.err.contains("no trial has a figure to rank by yet"), "{}", said.err);
    project.run(&[]);
    let table = sweep(&project, &["table", "pipeline.toml", "toy"]);
    let rows = table["sweeps"][0]["configurations"].as_array().unwrap();
    let means: Vec<_> = rows.iter().map(|row| (row["mean"].as_f64().unwrap(), row["n"].as_u64().unwrap())).collect();
    assert_eq!(means, [(5.5, 2), (6.5, 2), (7.5, 2)]);
    assert_eq!(table["sweeps"][0]["noise"]["alike"], 1);
    let best = project.pacer(&["sweep", "best", "pipeline.toml", "--better", "highest"]);
    assert!(best.out.contains("7.500") && best.out.contains("flatters it"), "{}", best.out);
    for format in ["table", "markdown", "csv"] {
        let said = project.pacer(&["sweep", "table", "pipeline.toml", "--format", format]);
        assert!(said.code == 0 && said.out.contains("5.500"), "{format}: {}{}", said.out, said.err);
    }
    let said = project.pacer(&["sweep", "table", "pipeline.toml", "other"]);
    assert!(said.code == 2 && said.err.contains("`other` is no swept stage"), "{}", said.err);
}

#[test]
fn the_status_of_a_sweep_names_what_failed_and_how() {
    let project = toy(&[1, 3]);
    project.run(&[]);
    let said = project.pacer(&["sweep", "status", "pipeline.toml"]);
    assert!(said.out.contains("failed trial") && said.out.contains("ended with exit status: 1"), "{}", said.out);
    let status = sweep(&project, &["status", "pipeline.toml"]);
    let states: Vec<_> = status["sweeps"][0]["trials"].as_array().unwrap().iter().map(|it| &it["state"]).collect();
    assert!(states.contains(&&Value::from("done")) && states.contains(&&Value::from("failed")), "{status}");
}

/// A training of small networks with a sweep.
pub fn training(epochs: u32, sweep: &str) -> Project {
    let common = TRAINING.split("[stages.lstm]").next().unwrap();
    Project::new(&format!(
        "{common}[stages.lstm]\nkind = \"pretrain\"\ninputs = {{ sequences = \"resample\", split = \"split\" }}\n\
         layers = 1\nhidden = 3\nepochs = {epochs}\nresources.threads = 1\n\
         [stages.lstm.sweep]\n{sweep}\n\
         [stages.validate]\nkind = \"evaluate\"\ninputs = {{ sequences = \"resample\", split = \"split\", models = {{ lstm = \"lstm\" }} }}\n\
         part = \"validation\"\n"
    ))
}

#[test]
fn trials_whose_memory_together_is_too_much_run_one_after_the_other() {
    let project = training(30, "seed = [1, 2, 3, 4]");
    project.run(&["lstm[seed=1]", "--jobs", "2"]);
    let most_at_once = |arguments: &[&str]| {
        let events =
            project.events(&[&["lstm", "--jobs", "2", "--strict-sync", "--force", "lstm"], arguments].concat());
        let (mut now, mut most) = (0_i64, 0);
        for event in events.iter().filter(|event| event["stage"].as_str().is_some_and(|it| it.starts_with("lstm"))) {
            now += i64::from(event["event"] == "running") - i64::from(event["event"] == "finished");
            most = most.max(now);
        }
        most
    };
    assert_eq!(most_at_once(&["--memory", "100MB"]), 1, "each takes more than LibTorch alone");
    assert_eq!(most_at_once(&["--memory", "100GB"]), 2);
}

#[test]
fn the_test_part_ranks_nothing_unless_its_stage_is_named_and_then_that_is_said() {
    let project = training(1, "hidden = [3, 4]\nseed = [1, 2]");
    let evaluate = "[stages.evaluate]\nkind = \"evaluate\"\n\
                    inputs = { sequences = \"resample\", split = \"split\", models = { lstm = \"lstm\" } }\n";
    let text = std::fs::read_to_string(project.path("pipeline.toml")).unwrap();
    project.write("pipeline.toml", &format!("{text}{evaluate}"));
    project.run(&[]);
    let by = |more: &[&str]| project.pacer(&[&["sweep", "table", "pipeline.toml", "lstm"], more].concat());
    let said = by(&[]).out;
    let own = "lstm (validation_mae, each trial's own figure): part validation, split by user, data SYNTHETIC\n";
    assert!(said.starts_with(own), "{said}");
    let said = by(&["--metric", "mae"]).out;
    let validated = "lstm (mae, from `validate`): part validation, split by user, data SYNTHETIC\n";
    assert!(said.starts_with(validated) && !said.contains("CAUTION"), "{said}");
    let csv = by(&["--metric", "mae", "--format", "csv"]).out;
    assert!(csv.lines().next().unwrap().ends_with(",part,split,data"), "{csv}");
    assert!(csv.lines().skip(1).all(|line| line.ends_with(",validation,user,synthetic")), "{csv}");
    let tested =
        "lstm (mae, from `evaluate`): part test, split by user, data SYNTHETIC\nCAUTION: ranked by the TEST part";
    for question in ["table", "best"] {
        let said =
            project.pacer(&["sweep", question, "pipeline.toml", "lstm", "--metric", "mae", "--from", "evaluate"]);
        assert!(said.out.contains(tested), "{}", said.out);
    }
    let table = sweep(&project, &["table", "pipeline.toml", "lstm", "--metric", "mae", "--from", "evaluate"]);
    let table = &table["sweeps"][0];
    assert_eq!((&table["part"][0], &table["data"][0]), (&"test".into(), &"synthetic".into()));
    assert!(table["caution"].as_str().unwrap().contains("TEST"), "{table}");
    project.edit(text.split_once("[stages.validate]").unwrap().1, "\nkind = \"trivial\"\n");
    let said = by(&["--metric", "mae"]);
    let expected = "have no figure `mae` but of the test part, by which nothing may be chosen; they have best_epoch";
    assert!(said.code == 2 && said.err.contains(expected), "{}{}", said.out, said.err);
    assert!(said.err.contains("`--from evaluate`"), "{}", said.err);
}
