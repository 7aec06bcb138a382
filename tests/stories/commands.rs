//! The commands around a run: a pipeline is made for somebody, checked, and watched; what editors, shells and `man` are
//! given.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::harness::{Project, chain, signal};

/// Three recordings of one runner as CSV, in a folder of the project.
fn csv_folder(project: &Project) {
    fs::create_dir(project.path("my runs")).unwrap();
    for day in 1..4 {
        let mut text = String::from("time,heart_rate,speed,altitude\n");
        for second in 0..1200 {
            let beat = 120 + second / 20 + day;
            text.push_str(&format!("2025-03-0{day}T07:{:02}:{:02}Z,{beat},2.8,100\n", second / 60, second % 60));
        }
        project.write(&format!("my runs/{day}.csv"), &text);
    }
}

#[test]
fn a_pipeline_that_is_made_for_a_folder_passes_the_check_and_runs() {
    let project = Project::new("");
    csv_folder(&project);
    let made = project.pacer(&["init", "mine.toml", "--data", "my runs", "--goal", "look"]);
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(made.err.starts_with("found 3 files: 3 CSV in my runs\nwrote mine.toml"), "{}", made.err);
    let checked = project.pacer(&["check", "mine.toml"]);
    assert_eq!((checked.code, checked.out.as_str()), (0, "✓ right mine.toml: 7 stages\n"), "{}", checked.err);
    assert!(fs::read_to_string(project.path("mine.toml")).unwrap().starts_with("#:schema pacer.schema.json\n"));
    let schema = fs::read_to_string(project.path("pacer.schema.json")).unwrap();
    assert_eq!(schema, project.pacer(&["schema"]).out);
    let imported = project.pacer(&["run", "mine.toml", "import"]);
    assert_eq!(imported.code, 0, "{}", imported.err);
    let again = project.pacer(&["init", "mine.toml", "--data", "my runs", "--goal", "look"]);
    assert_eq!((again.code, again.err.contains("is there already")), (2, true), "{}", again.err);
}

#[test]
fn each_goal_makes_a_right_pipeline_for_each_sort_of_recordings() {
    let project = Project::new("");
    csv_folder(&project);
    project.write("lines.jsonl", "{'userId': 1, 'id': 2, 'sport': 'run'}\n");
    project.write("export.xml", "<?xml version=\"1.0\"?>\n<HealthData locale=\"en\"></HealthData>\n");
    let kinds = [("my runs", 2), ("lines.jsonl", 3), ("export.xml", 2)];
    for (data, fitting) in kinds {
        for goal in ["look", "later-runs", "strangers"].into_iter().take(fitting) {
            let name = format!("{goal} {data}.toml");
            let said = project.pacer(&["init", &name, "--data", data, "--goal", goal, "--test", "0.2"]);
            assert_eq!(said.code, 0, "{name}: {}", said.err);
            let checked = project.pacer(&["check", &name]);
            assert_eq!(checked.code, 0, "{name}: {}", checked.err);
            let text = fs::read_to_string(project.path(&name)).unwrap();
            assert_eq!(text.contains("test = 0.2\n"), goal != "look", "{name}: {text}");
        }
    }
    let refused = project.pacer(&["init", "x.toml", "--data", "my runs", "--goal", "strangers"]);
    assert_eq!((refused.code, refused.err.contains("later-runs")), (2, true), "{}", refused.err);
    let unasked = project.pacer(&["init", "x.toml"]);
    assert_eq!((unasked.code, unasked.err.contains("--data PATH")), (2, true), "{}", unasked.err);
    project.write("notes.txt", "nothing of the sort\n");
    let strange = project.pacer(&["init", "x.toml", "--data", "notes.txt", "--goal", "look"]);
    assert_eq!((strange.code, strange.err.contains("not a recording")), (2, true), "{}", strange.err);
    assert!(!project.path("x.toml").exists());
}

#[test]
fn a_check_tells_all_faults_and_touches_nothing() {
    let project = chain();
    project.edit("inputs.files.line = \"first\"", "inputs.files.line = \"frist\"");
    project.edit(
        "kind = \"command\"\ninputs.files.text = \"second\"",
        "kind = \"comand\"\ninputs.files.text = \"second\"",
    );
    let said = project.pacer(&["check", "pipeline.toml"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("did you mean `first`?") && said.err.contains("did you mean `command`?"), "{}", said.err);
    let told: Value =
        serde_json::from_str(&project.pacer(&["check", "pipeline.toml", "--format", "json"]).out).unwrap();
    let lines: Vec<_> = told["faults"].as_array().unwrap().iter().map(|fault| fault["start"]["line"].clone()).collect();
    assert_eq!(lines, [13, 18], "{told}");
    assert!(!project.path("store").exists());
}

#[test]
fn a_watched_pipeline_runs_again_when_it_or_its_input_changes() {
    let project = chain();
    let mut command = project.command(&["watch", "pipeline.toml", "--format", "json"]);
    let mut watching = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut ran = || {
        let done = lines.by_ref().find(|line| line.contains("\"done\"")).expect("a run ends");
        serde_json::from_str::<Value>(&done).unwrap()["ran"].as_u64()
    };
    assert_eq!(ran(), Some(3));
    project.write("input.txt", "another first line\n");
    assert_eq!(ran(), Some(3));
    project.edit("suffix = \"one\"", "suffix = \"two\"");
    assert_eq!(ran(), Some(2));
    signal(i32::try_from(watching.id()).unwrap(), libc::SIGINT);
    assert_eq!(watching.wait().unwrap().code(), Some(130));
}

#[test]
fn shells_and_man_are_told_of_every_command() {
    let project = Project::new("");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = project.pacer(&["completions", shell]);
        assert!(said.code == 0 && said.out.contains("explain") && said.out.contains("watch"), "{shell}");
    }
    assert_eq!(project.pacer(&["man", "man/man1"]).code, 0);
    let page = fs::read_to_string(project.path("man/man1/pacer-run.1")).unwrap();
    assert!(page.contains("pacer run pipelines/quickstart.toml"), "{page}");
    let told = project.pacer(&["tutorial"]).out;
    assert!(told.contains("pacer run") && project.pacer(&["help", "tutorial"]).out.contains("pacer run"), "{told}");
}
