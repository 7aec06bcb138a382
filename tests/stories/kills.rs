//! Kills at every step of a commit: what was finished stays, the next run ends with the same bytes.

use crate::harness::{Digests, Project, chain, copy_folder, tell, thorough};
use crate::tracer::calls::Calls;
use crate::tracer::{Act, Fault, Whose, trace};

/// How many steps lie between two that are tried, where not all are.
const STRIDE: usize = 3;

const PLAIN: [&str; 1] = ["pipeline.toml"];
const OLD: [&str; 3] = ["pipeline.toml", "--set", "suffix=old"];

/// Runs the chain, killed before its `at`-th change of the store; the last change it was about to make, or `None`
/// when it came to its end first.
fn killed_at(project: &Project, at: usize) -> Option<String> {
    let command = project.command(&["run", "pipeline.toml", "--jobs", "1"]);
    let fault = Fault { calls: Calls::Changes, whose: Whose::Program, at, act: Act::Kill };
    let mut traced = trace(command, &project.path("store"), fault)?;
    let last = traced.reached.then(|| traced.calls.pop()).flatten();
    assert_eq!(traced.said.code, if last.is_some() { -1 } else { 0 }, "{}", traced.said.err);
    last.map(|call| format!("killed before change {at}, {call}"))
}

fn stride() -> usize {
    if thorough() { 1 } else { STRIDE }
}

fn undisturbed(arguments: &[&str]) -> Digests {
    let project = chain();
    assert_eq!(project.pacer(&[&["run"], arguments].concat()).code, 0);
    project.digests(arguments)
}

/// Nothing temporary stays behind, and what the last run reached stays.
fn assert_tidies_up(project: &Project, what: &str) {
    let said = project.pacer(&["gc", "--keep-runs", "1"]);
    assert_eq!(said.code, 0, "{what}: {}", said.err);
    let left: Vec<_> = std::fs::read_dir(project.path("store/tmp")).unwrap().flatten().collect();
    assert!(left.is_empty(), "{what}: {left:?}");
    assert_eq!(project.run(&[])["reused"], 3, "{what}: the collection took too much");
}

#[test]
fn killed_at_any_step_of_a_fresh_store_the_next_run_ends_with_the_same_bytes() {
    let expected = undisturbed(&PLAIN);
    let mut tried = 0;
    for at in (1..).step_by(stride()) {
        let project = chain();
        let Some(what) = killed_at(&project, at) else { break };
        project.assert_heals(&PLAIN, &expected, &what);
        assert_tidies_up(&project, &what);
        tried += 1;
    }
    tell(&format!("a fresh store: {tried} kills"));
}

#[test]
fn killed_at_any_step_beside_older_results_those_are_still_there() {
    let (expected, old) = (undisturbed(&PLAIN), undisturbed(&OLD));
    let grown = chain();
    assert_eq!(grown.pacer(&[&["run"], &OLD[..]].concat()).code, 0);
    let mut tried = 0;
    for at in (3..).step_by(stride()) {
        let project = chain();
        copy_folder(&grown.path("store"), &project.path("store"));
        let Some(what) = killed_at(&project, at) else { break };
        assert_eq!(project.digests(&OLD), old, "{what}: an older result is gone");
        project.assert_heals(&PLAIN, &expected, &what);
        assert_tidies_up(&project, &what);
        tried += 1;
    }
    tell(&format!("beside older results: {tried} kills"));
}
