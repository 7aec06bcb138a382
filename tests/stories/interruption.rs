//! Failures, signals and kills: what is finished stays, and the next run goes on.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Project, said, within_a_moment};

const FAILING: &str = r#"
[stages.good]
kind = "command"
run = ["sh", "-c", "echo x > {outputs.text}"]
outputs = { text = "file" }

[stages.bad]
kind = "command"
run = ["sh", "-c", "echo oh no >&2; exit 3"]
outputs = { text = "file" }

[stages.after]
kind = "command"
inputs.files.text = "bad"
run = ["true"]
outputs = { text = "file" }
"#;

#[test]
fn a_failed_stage_says_why_and_where_its_log_is() {
    let project = Project::new(FAILING);
    let said = project.pacer(&["run", "pipeline.toml", "--jobs", "1", "--keep-going"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("`sh` ended with exit status: 3"), "{}", said.err);
    assert!(said.err.contains("logs/bad.log"), "{}", said.err);
    let log = project.pacer(&["log", "pipeline.toml", "bad"]);
    assert!(log.out.starts_with("oh no\n"), "{}", log.out);
}

#[test]
fn keep_going_runs_what_does_not_depend_on_the_failure() {
    let project = Project::new(FAILING);
    let done = project.run(&["--keep-going"]);
    let counts = ["ran", "failed", "skipped"].map(|name| done[name].as_u64().unwrap());
    assert_eq!(counts, [1, 1, 1]);
}

#[test]
fn a_program_that_writes_no_output_has_failed() {
    let project = Project::new(FAILING);
    project.edit("echo oh no >&2; exit 3", "true");
    let events = project.events(&["--keep-going"]);
    let failed = events.iter().find(|event| event["event"] == "failed").unwrap();
    assert!(failed["message"].as_str().unwrap().contains("wrote no output `text`"), "{failed}");
}

const SLOW: &str = r#"
[stages.quick]
kind = "command"
run = ["sh", "-c", "echo x > {outputs.text}"]
outputs = { text = "file" }

[stages.slow]
kind = "command"
inputs.files.text = "quick"
run = ["sh", "-c", "touch PLACE/begun; test -e PLACE/go || sleep 30; echo y > {outputs.text}"]
outputs = { text = "file" }
"#;

/// Starts a run and waits until `quick` has finished and `slow` runs, then sends a signal and returns how it ended.
fn interrupt(project: &Project, signal: &str) -> (Value, i32) {
    let mut command = project.command(&["run", "pipeline.toml", "--format", "json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    // `slow` starts as soon as the output of `quick` can be read; that is finished once it is on the disk.
    let is = |line: &str, event: &str, stage: &str| line.contains(event) && line.contains(stage);
    let awaited = |line: &String| is(line, "\"running\"", "\"slow\"") || is(line, "\"finished\"", "\"quick\"");
    let met = lines.by_ref().map_while(Result::ok).filter(awaited).take(2).count();
    assert_eq!(met, 2, "`slow` never ran");
    let began = Instant::now();
    let status = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    let last = lines.map_while(Result::ok).last();
    let code = child.wait().unwrap().code().unwrap_or(-1);
    assert!(began.elapsed() < Duration::from_secs(20), "it waited for the sleeper");
    (last.map_or(Value::Null, |line| serde_json::from_str(&line).unwrap()), code)
}

fn slow() -> Project {
    let project = Project::new(SLOW);
    let place = project.path("").display().to_string();
    project.edit("PLACE", place.trim_end_matches('/'));
    project
}

#[test]
fn an_interrupt_keeps_what_is_finished_and_the_next_run_goes_on() {
    let project = slow();
    let (done, code) = interrupt(&project, "-INT");
    assert_eq!(code, 130);
    assert_eq!(done["interrupted"], true);
    project.write("go", "");
    assert_eq!(project.ran(&[]), ["slow"]);
}

#[test]
fn a_killed_runner_leaves_a_store_that_goes_on() {
    let project = slow();
    let (_, code) = interrupt(&project, "-KILL");
    assert_eq!(code, -1);
    assert_eq!(project.pacer(&["verify"]).code, 0);
    project.write("go", "");
    assert_eq!(project.ran(&[]), ["slow"]);
}

#[test]
fn what_a_killed_run_finished_is_known_to_explanations() {
    let project = slow();
    interrupt(&project, "-KILL");
    project.edit("echo x", "echo z");
    let said = project.pacer(&["explain", "pipeline.toml", "quick"]);
    assert!(said.out.contains("params.run.2: \"echo x"), "{}", said.out);
}

#[test]
fn leftovers_of_a_commit_that_was_killed_mean_nothing() {
    let project = slow();
    project.write("go", "");
    project.run(&[]);
    let digest = project.show("slow")["artifacts"][0]["digest"].clone();
    // As a kill just before the last rename leaves it: blobs in place, scratch files, no result.
    let key = project.show("slow")["key"].as_str().unwrap().to_owned();
    let result = project.path(&format!("store/results/{}/{key}.json", &key[..2]));
    std::fs::copy(&result, project.path("store/tmp/.half")).unwrap();
    std::fs::remove_file(&result).unwrap();
    assert_eq!(project.ran(&[]), ["slow"]);
    assert_eq!(project.show("slow")["artifacts"][0]["digest"], digest);
}

#[test]
fn a_program_that_heeds_no_signal_is_killed() {
    let project = slow();
    project.edit("test -e", "trap '' TERM; test -e");
    let (done, code) = interrupt(&project, "-INT");
    assert_eq!((code, &done["interrupted"]), (130, &true.into()));
}

#[test]
fn a_program_left_in_the_background_does_not_hold_the_run() {
    let project = Project::new(
        r#"
        [stages.leaves]
        kind = "command"
        run = ["sh", "-c", "sleep 30 & echo x > {outputs.text}"]
        outputs = { text = "file" }
        "#,
    );
    let began = Instant::now();
    assert_eq!(project.ran(&[]), ["leaves"]);
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_runner_that_waits_for_another_can_be_interrupted() {
    let project = slow();
    let mut first = project.command(&["run", "pipeline.toml", "--format", "json"]);
    let mut first = first.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    wait_for_line(&mut first, "\"running\"");
    // It says that it runs before it has the lock.
    within_a_moment("the program never starts", || project.path("begun").exists());
    let mut second = project.command(&["run", "pipeline.toml", "--format", "json"]);
    let mut second = second.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    wait_for_line(&mut second, "\"waiting\"");
    for child in [&second, &first] {
        let status = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
    let began = Instant::now();
    assert_eq!(second.wait().unwrap().code(), Some(130));
    assert_eq!(first.wait().unwrap().code(), Some(130));
    assert!(began.elapsed() < Duration::from_secs(20), "it waited for the sleeper");
}

/// Reads a run's events until one of `slow` holds a word, and goes on reading in the background.
fn wait_for_line(child: &mut std::process::Child, word: &str) {
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let found = lines.by_ref().map_while(Result::ok).any(|line| line.contains(word) && line.contains("\"slow\""));
    assert!(found, "no event {word}");
    std::thread::spawn(move || lines.count());
}

#[test]
fn pacer_says_its_version_and_helps() {
    let project = slow();
    assert!(said(&project.command(&["--version"]).output().unwrap()).out.starts_with("pacer "));
    assert_eq!(project.pacer(&["run"]).code, 2);
}

#[test]
fn a_worker_that_somebody_else_stops_is_a_failure_and_nothing_is_locked() {
    let project = Project::new(crate::harness::TRAINING);
    project.edit("epochs = 100", "epochs = 5000");
    let mut command = project.command(&["run", "pipeline.toml", "lstm", "--lock"]);
    let mut runner = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let is_worker = |pid: &i32| {
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        command.contains("pacer-worker") && !command.contains("--probe") && parent == Some(runner.id())
    };
    let mut worker = None;
    crate::harness::within_a_moment("the worker never starts", || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        worker = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_worker);
        worker.is_some()
    });
    // It heeds the signal once it has read its job.
    crate::harness::within_a_moment("the training never ends", || {
        crate::harness::signal(worker.unwrap(), 15);
        std::thread::sleep(Duration::from_millis(200));
        runner.try_wait().unwrap().is_some()
    });
    assert_eq!(runner.wait().unwrap().code(), Some(1));
    assert!(!project.path("pipeline.lock").exists());
}
