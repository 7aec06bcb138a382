//! Collections: by age, by size, beside runs; pinned runs.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Project, chain};

fn gc(project: &Project, arguments: &[&str]) -> Value {
    let said = project.pacer(&[&["gc", "--format", "json"], arguments].concat());
    serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err))
}

fn keys(freed: &Value) -> Vec<&str> {
    freed["results"].as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap()).collect()
}

/// Two stages of which one writes much in no time and the other little in long.
const UNEQUAL: &str = r#"
[stages.large]
kind = "command"
run = ["sh", "-c", "head -c 100000 /dev/zero > {outputs.zeros}"]
outputs = { zeros = "file" }
[stages.dear]
kind = "command"
run = ["sh", "-c", "sleep 0.2; echo x > {outputs.text}"]
outputs = { text = "file" }
"#;

#[test]
fn what_is_young_stays_where_an_age_is_asked_for() {
    let project = chain();
    project.run(&[]);
    assert_eq!(gc(&project, &["--keep-runs", "0", "--older-than", "1h"])["kept"], 3);
    let freed = gc(&project, &["--keep-runs", "0"]);
    assert_eq!((keys(&freed).len(), &freed["kept"]), (3, &0.into()));
    assert!(project.stored("objects").is_empty());
}

#[test]
fn what_was_noted_of_failed_trials_and_searches_goes_when_it_is_old() {
    let project = chain();
    project.run(&[]);
    let notes = ["failures/ab/cd.json", "searches/ef.json"].map(|path| project.path(&format!("store/{path}")));
    let month = std::time::Duration::from_secs(31 * 24 * 3600);
    for note in &notes {
        std::fs::create_dir_all(note.parent().unwrap()).unwrap();
        std::fs::write(note, "{}").unwrap();
    }
    gc(&project, &[]);
    assert!(notes.iter().all(|note| note.exists()), "what is young stays");
    for note in &notes {
        let file = std::fs::File::options().write(true).open(note).unwrap();
        file.set_modified(std::time::SystemTime::now() - month).unwrap();
    }
    gc(&project, &["--dry-run"]);
    assert!(notes.iter().all(|note| note.exists()), "a dry run takes nothing");
    gc(&project, &[]);
    assert!(notes.iter().all(|note| !note.exists()));
}

#[test]
fn what_a_cluster_left_goes_when_nobody_was_at_it_for_a_day() {
    let project = chain();
    project.run(&[]);
    let path = |name: &str| project.path(&format!("store/cluster/{name}"));
    let written = ["jobs/ab/1/job.json", "jobs/cd/1/job.json", "runners/gone", "runners/alive", "logs/7_0.log"];
    let (gone, stay) = (["jobs/ab/1", "runners/gone", "logs/7_0.log"], ["jobs/cd/1", "runners/alive"]);
    for (name, runner) in written.iter().zip(["gone", "alive", "", "", ""]) {
        std::fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        std::fs::write(path(name), format!("{{\"runner\":\"{runner}\"}}")).unwrap();
    }
    assert_eq!(gc(&project, &[])["leftovers"], 0, "what is young stays");
    let then = std::time::SystemTime::now() - Duration::from_secs(2 * 24 * 3600);
    for name in written.iter().chain(&["jobs/ab/1", "jobs/cd/1"]).filter(|name| **name != "runners/alive") {
        std::fs::File::open(path(name)).unwrap().set_modified(then).unwrap();
    }
    assert_eq!(gc(&project, &["--dry-run"])["leftovers"], 3);
    assert!(gone.iter().chain(&stay).all(|name| path(name).exists()), "a dry run takes nothing");
    let freed = gc(&project, &[]);
    assert_eq!((freed["leftovers"].as_u64(), freed["kept"].as_u64()), (Some(3), Some(3)));
    assert!(gone.iter().all(|name| !path(name).exists()) && stay.iter().all(|name| path(name).exists()));
}

#[test]
fn under_a_size_what_is_cheap_to_make_again_goes_first() {
    let project = Project::new(UNEQUAL);
    project.run(&[]);
    let dry = gc(&project, &["--keep-runs", "0", "--max-size", "50kB", "--dry-run"]);
    assert_eq!(keys(&dry), [project.show("large")["key"].as_str().unwrap()]);
    assert_eq!(gc(&project, &["--keep-runs", "0", "--max-size", "50kB"])["kept"], 1);
    assert_eq!(project.plan(&[]), ["large run", "dear reused"]);
    assert_eq!(keys(&gc(&project, &["--keep-runs", "0", "--max-size", "50kB"])), [""; 0], "small enough already");
}

#[test]
fn a_pinned_run_keeps_what_it_reached_until_it_is_let_go() {
    let project = chain();
    let run = project.run(&["--set", "suffix=old"])["run"].as_str().unwrap().to_owned();
    project.run(&[]);
    assert_eq!(project.pacer(&["pin", &run]).code, 0);
    let freed = gc(&project, &["--keep-runs", "1"]);
    assert_eq!((keys(&freed).len(), &freed["kept"]), (0, &5.into()));
    assert_eq!(project.pacer(&["pin", &run, "--remove"]).code, 0);
    assert_eq!(gc(&project, &["--keep-runs", "1"])["kept"], 3);
    let wrong = project.pacer(&["pin", "../../etc"]);
    assert!(wrong.code == 2 && wrong.err.contains("there is no run"), "{}", wrong.err);
}

#[test]
fn collections_beside_runs_take_nothing_that_is_needed() {
    let stage = |name: &str, reads: &str| {
        format!(
            "[stages.{name}]\nkind = \"command\"\n{reads}\nrun = [\"sh\", \"-c\", \"sleep 0.3; echo {name} > {{outputs.x}}\"]\n\
             outputs = {{ x = \"file\" }}\n"
        )
    };
    let mut pipeline = stage("s0", "");
    (1..8).for_each(|at| pipeline.push_str(&stage(&format!("s{at}"), &format!("inputs.files.x = \"s{}\"", at - 1))));
    let project = Project::new(&pipeline);
    // What an earlier run made is older than every run that is kept, and is reused while collections go on.
    project.run(&[]);
    for forced in ["s7", "s3"] {
        let mut command =
            project.command(&["run", "pipeline.toml", "--format", "json", "--force", forced, "--force", "s0"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut collections = 0;
        while child.try_wait().unwrap().is_none() {
            assert_eq!(project.pacer(&["gc", "--keep-runs", "0"]).code, 0);
            collections += 1;
        }
        let out = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        let done: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
        assert_eq!((&done["failed"], &done["skipped"]), (&0.into(), &0.into()), "{out}");
        assert!(collections > 1, "a collection went on beside the run");
        assert_eq!(project.pacer(&["verify"]).code, 0);
    }
    assert_eq!(project.pacer(&["gc", "--keep-runs", "0"]).code, 0);
    assert!(project.stored("tmp").is_empty() && project.stored("objects").is_empty());
}

#[test]
fn a_collection_does_not_wait_for_a_long_stage() {
    let project = Project::new(
        "[stages.slow]\nkind = \"command\"\nrun = [\"sh\", \"-c\", \"sleep 30; echo x > {outputs.x}\"]\n\
         outputs = { x = \"file\" }\n",
    );
    let mut child = project.command(&["run", "pipeline.toml", "--format", "json"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    assert!(lines.map_while(Result::ok).any(|line| line.contains("\"running\"")));
    let began = Instant::now();
    assert_eq!(project.pacer(&["gc", "--keep-runs", "0"]).code, 0);
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(project.stored("runs").iter().filter(|path| path.ends_with("journal.jsonl")).count(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
}
