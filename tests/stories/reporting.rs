//! Reports: what they hold, from stored results alone; how they look is in `looking.rs`.

use std::sync::OnceLock;

use serde_json::Value;

use crate::harness::{Project, chain};

/// Simulated runners from raw files to a sweep of which some trials fail, scored on both parts.
pub const EXPERIMENT: &str = r#"
[pipeline]
name = "experiment"
seed = 3

[params]
users = 48
epochs = 3

[stages.synthesize]
kind = "synthesize"
users = "${users}"
runs_per_user = 4.0

[stages.import]
kind = "import"
inputs.source = "synthesize.raw"

[stages.filter]
kind = "filter"
inputs.workouts = "import"

[stages.watch]
kind = "synthesize"
view = "apple"
apple = { runs = 40 }
seed = 1001

[stages.watch_import]
kind = "import"
inputs.source = "watch.raw"

[stages.density]
kind = "density"
inputs.workouts = "watch_import"

[stages.correlate]
kind = "correlate"
inputs.raw = { runs = "import" }
inputs.processed = { runs = "filter" }

[stages.resample]
kind = "resample"
inputs.workouts = "filter"
grid = { by = "time", step_s = 30.0, gap_limit_s = 60.0, max_minutes = 60.0 }
features = ["speed", "ema(power, 60)", "elapsed", "decay(60)"]

[stages.split]
kind = "split"
inputs.sequences = "resample"
by = "user"
train = 0.5
validation = 0.25
test = 0.25

[stages.ridge]
kind = "baseline"
inputs = { sequences = "resample", split = "split" }
model = "ridge"
features = ["ema(power, 60)", "elapsed", "decay(60)"]

# The sequences hold no altitude, which only the stage itself can find out.
[stages.lstm]
kind = "pretrain"
inputs = { sequences = "resample", split = "split" }
model = "lstm"
layers = 1
hidden = 4
epochs = "${epochs}"
learning_rate = 0.01

[stages.lstm.sweep]
features = [["speed", "elapsed"], ["altitude"]]
batch_size = [8, 32]
seed = [1, 2]

[stages.validate]
kind = "evaluate"
inputs = { sequences = "resample", split = "split", models = { ridge = "ridge", lstm = "lstm" } }
part = "validation"

[stages.test]
kind = "evaluate"
inputs = { sequences = "resample", split = "split", models = { ridge = "ridge", lstm = "lstm" } }
"#;

/// A project in which [`EXPERIMENT`] was run; made once for all stories, which only read it.
pub fn experiment() -> &'static Project {
    static PROJECT: OnceLock<Project> = OnceLock::new();
    PROJECT.get_or_init(|| {
        let project = Project::new(EXPERIMENT);
        let said = project.pacer(&["run", "pipeline.toml", "--keep-going", "--set", "users=52", "--lock"]);
        assert_eq!(said.code, 0, "{}", said.err);
        project
    })
}

fn report(project: &Project, arguments: &[&str]) -> Value {
    let said = project.pacer(&[&["report", "--format", "json"], arguments].concat());
    assert_eq!(said.code, 0, "{}", said.err);
    serde_json::from_str(&said.out).unwrap()
}

/// All texts of a section, one below the other.
fn texts(report: &Value, id: &str) -> String {
    fn gather(value: &Value, all: &mut String) {
        match value {
            Value::String(text) => *all += &format!("{text}\n"),
            Value::Array(values) => values.iter().for_each(|value| gather(value, all)),
            Value::Object(entries) => entries.values().for_each(|value| gather(value, all)),
            _ => {}
        }
    }
    let sections = report["sections"].as_array().unwrap();
    let section = sections.iter().find(|section| section["id"] == id).unwrap_or_else(|| panic!("no section `{id}`"));
    let mut all = String::new();
    gather(section, &mut all);
    all
}

fn figures(report: &Value, id: &str) -> Vec<String> {
    let sections = report["sections"].as_array().unwrap();
    let section = sections.iter().find(|section| section["id"] == id).unwrap_or_else(|| panic!("no section `{id}`"));
    let blocks = section["blocks"].as_array().unwrap().iter();
    blocks.filter(|block| block["block"] == "figure").map(|block| block["title"].as_str().unwrap().to_owned()).collect()
}

fn assert_holds(text: &str, wanted: &[&str]) {
    for words in wanted {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
}

#[test]
fn the_answer_comes_first_with_a_verdict_for_each_candidate_and_the_test_before_the_validation() {
    let report = report(experiment(), &[]);
    assert_eq!((&report["sections"][0]["id"], &report["synthetic"]), (&"answer".into(), &true.into()));
    let blocks = report["sections"][0]["blocks"].as_array().unwrap();
    assert_eq!(blocks[0]["words"], "Scored by test");
    let verdicts = |blocks: &[Value]| blocks.iter().filter(|block| block["block"] == "verdict").count();
    assert_eq!(verdicts(blocks), 6, "ridge and two batch sizes, on both parts: {blocks:?}");
    let summary = blocks[1]["words"].as_str().unwrap();
    assert_holds(
        summary,
        &["has the least error", "12 users", "part test", "the least of 4 configurations", "Of 3 candidates"],
    );
}

#[test]
fn what_was_checked_stands_there_with_its_sign_and_a_word() {
    let trust = texts(&report(experiment(), &[]), "trust");
    let wanted = [
        "No leak, users in several parts (split): each of",
        "No leak, training on the future (split): the split is not by time",
        "No leak, the same run in two parts (split): no two of",
        "No leak, model or scaler fitted on what is scored (test:lstm, test:ridge, validate:lstm and 1 more)",
        "No leak, heart rate among the inputs",
        "No leak, a choice by the test part (test): nothing that trains or divides reads its figures",
        "Tried: 4 configurations",
        "SYNTHETIC: drawn by the simulator, seed 3",
        "Other people, devices and sports",
    ];
    assert_holds(&trust, &wanted);
}

#[test]
fn a_run_that_only_reused_is_checked_from_the_stored_files() {
    let project = Project::new(EXPERIMENT);
    let store = project.path("store");
    crate::harness::copy_folder(&experiment().path("store"), &store);
    let said = project.pacer(&["run", "pipeline.toml", "--keep-going", "--set", "users=52"]);
    assert!(said.err.contains("0 ran"), "{}", said.err);
    let trust = texts(&report(&project, &[]), "trust");
    assert_holds(
        &trust,
        &["No leak, users in several parts (split)", "No leak, the same run in two parts (split): no two of"],
    );
    assert!(!trust.contains("Not checked"), "{trust}");
}

#[test]
fn every_part_of_the_story_has_its_figures() {
    let report = report(experiment(), &[]);
    let told = |id: &str| figures(&report, id).join("\n");
    assert_holds(&told("differences"), &["Differences to the baseline, user by user"]);
    assert_holds(&told("agreement"), &["Bland–Altman: "]);
    assert_holds(&told("where"), &["Heart-rate zones: "]);
    assert_holds(
        &told("time"),
        &["Error by shift in time", "Best workout of", "Median workout of", "Worst workout of"],
    );
    assert_holds(&told("training"), &["Training"]);
    assert_holds(&told("sweep"), &["Trials of lstm", "Quality against time: lstm", "Error by batch_size: lstm"]);
    let data =
        ["The funnel of the filters: filter", "Density by year: density", "Shift between years, heart rate (BPM)"];
    assert_holds(&told("data"), &data);
    assert_holds(&told("data"), &["Correlation of heart rate, raw against processed: correlate"]);
    assert_holds(&told("run"), &["The graph", "Time and memory"]);
    assert_holds(&texts(&report, "agreement"), &["MAPE (%)", "CCC", "lower limit", "bias (BPM)"]);
    assert_holds(&texts(&report, "where"), &["MAE by recorded zone", "MAE by phase", "MAE by group of users"]);
    assert_holds(&texts(&report, "artifacts"), &["stage", "key", "digest", "predictions"]);
}

#[test]
fn trials_that_failed_are_told_with_their_class_and_the_graph_counts_them() {
    let report = report(experiment(), &[]);
    let wanted = ["4 trials of lstm failed", "a parameter does not fit", "`altitude` is no feature of these sequences"];
    assert_holds(&texts(&report, "sweep"), &wanted);
    assert_holds(&texts(&report, "run"), &["4 failed, 4 ran", "resample, split"]);
}

#[test]
fn how_to_make_it_again_holds_the_command_the_pipeline_the_lock_and_the_versions() {
    let project = experiment();
    let told = texts(&report(project, &[]), "reproduce");
    let wanted = [
        "pacer run pipeline.toml --keep-going --set users=52 --locked",
        EXPERIMENT.trim_end(),
        "[stages.test]\nkey = \"",
        "LibTorch",
        "2.11.0",
        "devices that computed",
        "polars",
        env!("CARGO_PKG_VERSION"),
    ];
    assert_holds(&told, &wanted);
    // The lock is that of the file that `--lock` writes.
    let lock = std::fs::read_to_string(project.path("pipeline.lock")).unwrap();
    assert!(told.contains(lock.trim_end()), "{lock}");
}

#[test]
fn nothing_of_the_environment_gets_into_a_report() {
    let text = "[stages.it]\nkind = \"command\"\nrun = [\"sh\", \"-c\", \"echo x > {outputs.it}\"]\n\
                outputs = { it = \"file\" }\nenvironment = [\"TOKEN\"]\n";
    let project = Project::new(text);
    let run = project.command(&["run", "pipeline.toml"]).env("TOKEN", "hunter2").output().unwrap();
    assert!(run.status.success());
    let page = project.pacer(&["report", "--format", "markdown"]).out;
    assert!(page.contains("environment") && !page.contains("hunter2"), "{page}");
    for file in project.stored("runs") {
        assert!(!std::fs::read_to_string(&file).unwrap().contains("hunter2"), "{}", file.display());
    }
}

#[test]
fn an_archive_gives_the_same_report_elsewhere() {
    let project = experiment();
    let run = report(project, &[])["title"].as_str().unwrap().rsplit(' ').next().unwrap().to_owned();
    let archive = project.path("run.zip").display().to_string();
    let said = project.pacer(&["export", "archive", &run, "--light", "--out", &archive]);
    assert_eq!(said.code, 0, "{}", said.err);
    let other = Project::new("");
    let store = other.path("store").display().to_string();
    let said = other.pacer(&["unpack", &archive, "--store", &store]);
    assert_eq!(said.code, 0, "{}", said.err);
    for form in ["markdown", "json"] {
        let of = |project: &Project| project.pacer(&["report", &run, "--format", form]).out;
        assert_eq!(of(&other), of(project), "{form}");
    }
}

#[test]
fn a_run_in_which_a_stage_failed_says_so_first() {
    let project = chain();
    project.edit("wc -l < {inputs.text} > {outputs.count}", "echo no such thing >&2; exit 3");
    assert_eq!(project.pacer(&["run", "pipeline.toml"]).code, 1);
    let report = report(&project, &[]);
    let answer = texts(&report, "answer");
    assert_holds(&answer, &["failed in third", "No model was scored"]);
    assert_holds(&texts(&report, "run"), &["1 stage failed:", "2 ran, 1 failed"]);
    assert_holds(&texts(&report, "trust"), &["Agreement: the run holds no data for it", "there is nothing to check"]);
}

#[test]
fn a_run_that_is_still_going_on_or_was_killed_says_so_first() {
    let project = chain();
    project.edit("wc -l < {inputs.text} > {outputs.count}", "while sleep 0.05; do :; done");
    let mut child = project.start(&["pipeline.toml"]);
    crate::harness::wait_for(&mut child, &["running", "third"]);
    assert_holds(&texts(&report(&project, &[]), "answer"), &["is still going on: ", "of 3 stages have ended"]);
    crate::harness::signal(i32::try_from(child.id()).unwrap(), libc::SIGKILL);
    child.wait().unwrap();
    assert_holds(&texts(&report(&project, &[]), "answer"), &["was killed: ", "of 3 stages had ended"]);
}

#[test]
fn several_runs_are_compared_in_one_report() {
    let project = Project::new(EXPERIMENT);
    crate::harness::copy_folder(&experiment().path("store"), &project.path("store"));
    let said = project.pacer(&["run", "pipeline.toml", "--keep-going", "--set", "users=52", "--set", "epochs=1"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let listed = project.pacer(&["ls", "--format", "json"]).out;
    let runs: Value = serde_json::from_str(&listed).unwrap();
    let run = |at: usize| runs["runs"][at]["run"].as_str().unwrap_or_else(|| panic!("{listed}")).to_owned();
    let report = report(&project, &[&run(1), &run(0)]);
    assert_holds(report["title"].as_str().unwrap(), &[&run(1), " and ", &run(0)]);
    assert_holds(&texts(&report, "answer"), &[&format!("run 2 is {}", run(0)), "run 2:test:lstm[features="]);
    assert_holds(&texts(&report, "differences"), &["epochs"]);
    assert_holds(&texts(&report, "training"), &["run 1:lstm[", "run 2:lstm["]);
    assert_holds(&texts(&report, "sweep"), &["Trials of run 1:lstm", "Trials of run 2:lstm"]);
    assert_holds(&texts(&report, "reproduce"), &[&format!("Run {}", run(0)), "--set epochs=1"]);
}

#[test]
fn markdown_holds_what_the_page_holds() {
    let project = experiment();
    let data = report(project, &[]);
    let markdown = project.pacer(&["report", "--format", "markdown"]).out;
    let page = project.path("page.html").display().to_string();
    assert_eq!(project.pacer(&["report", "--out", &page]).code, 0);
    let page = std::fs::read_to_string(page).unwrap();
    for section in data["sections"].as_array().unwrap() {
        let (id, title) = (section["id"].as_str().unwrap(), section["title"].as_str().unwrap());
        assert!(markdown.contains(&format!("## {title}")) && page.contains(&format!("id=\"{id}\"")), "{title}");
        for figure in figures(&data, id) {
            assert!(page.contains(&figure) && markdown.replace('\\', "").contains(&figure), "{figure}");
        }
    }
}
