//! `pacer ls` and `pacer show RUN`: which runs there were, and what one did.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::harness::{Project, chain};

/// The runs as JSON.
fn list(project: &Project, arguments: &[&str]) -> Value {
    let said = project.pacer(&[&["ls", "--format", "json"], arguments].concat());
    assert_eq!(said.code, 0, "{}", said.err);
    serde_json::from_str(&said.out).unwrap()
}

/// How the listed runs stand, newest first.
fn states(project: &Project, arguments: &[&str]) -> Vec<String> {
    let listed = list(project, arguments);
    listed["runs"].as_array().unwrap().iter().map(|run| run["stands"].as_str().unwrap().to_owned()).collect()
}

/// A project with three runs: one did all, one nothing, one failed.
fn three_runs() -> Project {
    let project = chain();
    project.run(&[]);
    project.run(&[]);
    project.edit("wc -l", "false");
    project.run(&[]);
    project
}

#[test]
fn runs_are_listed_newest_first_with_what_they_did() {
    let project = three_runs();
    let listed = list(&project, &[]);
    let runs = listed["runs"].as_array().unwrap();
    let told = |run: &Value| [&run["ran"], &run["reused"], &run["failed"]].map(|n| n.as_u64().unwrap());
    assert_eq!(runs.iter().map(told).collect::<Vec<_>>(), [[0, 2, 1], [0, 3, 0], [3, 0, 0]]);
    assert_eq!((&listed["v"], &listed["more"], &runs[0]["best"]), (&json!(1), &json!(0), &Value::Null));
    let csv = project.pacer(&["ls", "--format", "csv"]).out;
    // Without the id, the date and the time that it took.
    let rows = csv.lines().map(|line| {
        let cells: Vec<&str> = line.split(',').collect();
        [&cells[2..4], &cells[5..]].concat().join(",") + "\n"
    });
    assert_snapshot!(rows.collect::<String>(), @r"
    pipeline,state,reused,ran,failed,best mae,data,split,of
    pipeline,failed,2,0,1,,,,
    pipeline,done,3,0,0,,,,
    pipeline,done,0,3,0,,,,
    ");
}

#[test]
fn runs_are_filtered() {
    let project = three_runs();
    assert_eq!(states(&project, &["--state", "failed"]), ["failed"]);
    assert_eq!(states(&project, &["--pipeline", "pipe"]).len(), 3);
    assert_eq!(states(&project, &["--pipeline", "other"]).len(), 0);
    assert_eq!(states(&project, &["--since", "1h"]).len(), 3);
    assert_eq!(states(&project, &["--since", "2199-01-01"]).len(), 0);
    let listed = list(&project, &["--limit", "1"]);
    assert_eq!((listed["runs"].as_array().unwrap().len(), &listed["more"]), (1, &json!(2)));
    let said = project.pacer(&["ls", "--limit", "1"]);
    assert!(said.out.ends_with("… and 2 more: --limit 0 lists all\n"), "{}", said.out);
    assert_eq!(project.pacer(&["ls", "--since", "yesterday"]).code, 2);
}

#[test]
fn a_run_shows_what_it_did_stage_by_stage() {
    let project = three_runs();
    let id = |at: usize| list(&project, &[])["runs"][at]["run"].as_str().unwrap().to_owned();
    let said = project.pacer(&["show", &id(0), "--format", "csv"]);
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(lines[0], "stage,state,took,what");
    assert!(lines[1].starts_with("first,✓ reused,,key ") && lines[3].starts_with("third,✗ failed,,"), "{lines:?}");
    let said = project.pacer(&["show", &id(2)]);
    assert!(said.out.starts_with(&format!("{} of pipeline (", id(2))), "{}", said.out);
    assert!(said.out.contains(": 3 ran, 0 reused, 0 failed\n\nstage   state  took"), "{}", said.out);
    let told: Value = serde_json::from_str(&project.pacer(&["show", &id(1), "--format", "json"]).out).unwrap();
    assert_eq!((&told["v"], &told["stands"], told["stages"].as_array().unwrap().len()), (&json!(1), &json!("done"), 3));
}

#[test]
fn what_is_no_run_is_told() {
    let project = chain();
    let said = project.pacer(&["show", "pipeline.toml"]);
    let expected = "error: there is no run `pipeline.toml`: `pacer ls` lists them; of a pipeline, name a stage too: \
                    `pacer show pipeline.toml STAGE`\n";
    assert_eq!((said.code, said.err.as_str()), (2, expected));
    let said = project.pacer(&["ls"]);
    assert_eq!((said.code, said.err.as_str()), (0, "no such run\n"));
}

#[test]
fn a_run_that_was_cut_off_in_its_journal_is_listed_all_the_same() {
    let project = three_runs();
    let journal = project.stored("runs").into_iter().find(|path| path.ends_with("journal.jsonl")).unwrap();
    std::fs::write(&journal, b"{\"v\":1,\"event\":\"finished\",\"stage\":\"th\xff").unwrap();
    assert_eq!(states(&project, &[]).len(), 3);
}
