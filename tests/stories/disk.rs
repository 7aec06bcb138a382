//! Disks that are full, broken or read-only, at every call: the program ends in order and says what to do, and the
//! next run on the same store ends with the same bytes.

use std::fs;

use serde_json::Value;

use crate::harness::{Digests, Project, Said, chain, not_checked, tell, thorough};
use crate::tracer::calls::Calls;
use crate::tracer::{Act, Fault, Traced, Whose, trace};

/// How many calls lie between two that fail, where not all are tried.
const STRIDE: usize = 5;

const PLAIN: [&str; 1] = ["pipeline.toml"];

/// Two trials, one quick and one slow, and who gathers them.
const GATHERED: &str = r#"
[stages.toy]
kind = "command"
outputs = { text = "file" }

[stages.toy.sweep]
run = [["sh", "-c", "echo quick > {outputs.text}"], ["sh", "-c", "sleep 1; echo slow > {outputs.text}"]]

[stages.both]
kind = "trivial"
inputs.files = { toy = "toy" }
"#;

/// A sort of broken disk.
struct Broken {
    name: &'static str,
    calls: Calls,
    act: Act,
    /// What a person is told when the run fails for it; one of these is enough.
    remedies: &'static [&'static str],
}

const FULL: Broken = Broken {
    name: "a full disk",
    calls: Calls::NeedSpace,
    act: Act::FailFromThenOn(libc::ENOSPC),
    remedies: &["free some space"],
};

const FULL_FOR_A_MOMENT: Broken = Broken { name: "a disk full for a moment", act: Act::Fail(libc::ENOSPC), ..FULL };

const OVER_QUOTA: Broken = Broken { name: "a quota", act: Act::FailFromThenOn(libc::EDQUOT), ..FULL };

const BAD_WRITES: Broken = Broken {
    name: "a disk that fails to write",
    calls: Calls::Changes,
    act: Act::Fail(libc::EIO),
    remedies: &["whether the disk is in order"],
};

const BAD_FROM_THEN_ON: Broken =
    Broken { name: "a disk that breaks", act: Act::FailFromThenOn(libc::EIO), ..BAD_WRITES };

const BAD_READS: Broken = Broken {
    name: "a disk that fails to read",
    calls: Calls::Reads,
    act: Act::Fail(libc::EIO),
    remedies: &["cannot be read", "whether the disk is in order", "cannot be locked"],
};

const READ_ONLY: Broken = Broken {
    name: "a disk that becomes read-only",
    calls: Calls::Changes,
    act: Act::FailFromThenOn(libc::EROFS),
    remedies: &["name another with --store"],
};

fn undisturbed() -> Digests {
    let project = chain();
    assert_eq!(project.run(&[])["ran"], 3);
    project.digests(&PLAIN)
}

fn run_on(project: &Project, broken: &Broken, at: usize) -> Option<Traced> {
    let command = project.command(&["run", "pipeline.toml", "--jobs", "1"]);
    let fault = Fault { calls: broken.calls, whose: Whose::Program, at, act: broken.act };
    trace(command, &project.path("store"), fault)
}

/// Nothing, or what was not told.
fn untold(said: &Said, broken: &Broken, what: &str) -> Option<String> {
    said.assert_orderly(what);
    let is_told = broken.remedies.iter().any(|remedy| said.err.contains(remedy));
    (said.code != 0 && !is_told).then(|| format!("{what}: no remedy is told\n{}", said.err))
}

/// Runs the chain with a disk that breaks at one call after the other.
fn every_call(broken: &Broken, prepare: fn() -> Project) {
    let expected = undisturbed();
    let stride = if thorough() { 1 } else { STRIDE };
    let (mut tried, mut untold_ones) = (0, Vec::new());
    for at in (1..).step_by(stride) {
        let project = prepare();
        let Some(traced) = run_on(&project, broken, at) else { return };
        if !traced.reached {
            break;
        }
        let what = format!("{} at call {at}, {}", broken.name, traced.calls[at - 1]);
        untold_ones.extend(untold(&traced.said, broken, &what));
        project.assert_heals(&PLAIN, &expected, &what);
        tried += 1;
    }
    assert!(untold_ones.is_empty(), "{}", untold_ones.join("\n\n"));
    assert!(tried > 5, "{} was tried {tried} times only", broken.name);
    tell(&format!("{}: {tried} faults", broken.name));
}

#[test]
fn a_disk_full_at_any_call_ends_the_run_in_order_and_the_next_goes_on() {
    every_call(&FULL, chain);
    every_call(&FULL_FOR_A_MOMENT, chain);
    every_call(&OVER_QUOTA, chain);
}

#[test]
fn a_write_that_fails_at_any_call_ends_the_run_in_order_and_the_next_goes_on() {
    every_call(&BAD_WRITES, chain);
    every_call(&BAD_FROM_THEN_ON, chain);
    every_call(&READ_ONLY, chain);
}

/// A project whose first two stages are done.
fn half_done() -> Project {
    let project = chain();
    assert_eq!(project.run(&["second"])["ran"], 2);
    project
}

#[test]
fn a_read_that_fails_at_any_call_ends_the_run_in_order_and_the_next_goes_on() {
    every_call(&BAD_READS, half_done);
}

#[test]
fn a_read_only_store_serves_what_it_has_and_says_what_it_cannot_keep() {
    let project = chain();
    project.run(&[]);
    let expected = project.digests(&PLAIN);
    let Some(traced) = run_on(&project, &READ_ONLY, 1) else { return };
    assert_eq!(traced.said.code, 0, "{}", traced.said.err);
    assert!(traced.said.err.contains("3 reused"), "{}", traced.said.err);
    assert!(traced.said.err.contains("this run is not written down"), "{}", traced.said.err);
    assert_eq!(project.digests(&PLAIN), expected);
}

#[test]
fn a_result_missing_from_a_read_only_store_fails_with_the_remedy() {
    let project = half_done();
    let traced = run_on(&project, &READ_ONLY, 1);
    let Some(Traced { said, .. }) = traced else { return };
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("the store is read-only for you: name another with --store"), "{}", said.err);
}

/// Runs the pipeline on a store that is a real small file system of its own, makes it larger, runs again, makes it
/// read-only, runs again; what each run said goes to `out.N`, its exit code to `code.N`. The mount is seen by these
/// processes alone and goes with them.
const SMALL_DISK: &str = r#"
mount -t tmpfs -o size=300k,mode=700 tmpfs store || exit 77
step() { "$PACER" run pipeline.toml > out.$1 2>&1; echo $? > code.$1; }
step full
mount -o remount,size=50m store; step larger
mount -o remount,ro store; step read-only
"$PACER" show pipeline.toml import --format json > shown.json
"$PACER" verify > /dev/null && echo whole > verified
"#;

const WORKOUTS: &str = r#"
[stages.small]
kind = "synthesize"
users = 1
runs_per_user = 1.0

[stages.synthesize]
kind = "synthesize"
users = 12
runs_per_user = 6.0

[stages.import]
kind = "import"
inputs.source = "synthesize.raw"
"#;

#[test]
fn a_small_file_system_that_is_full_then_larger_then_read_only() {
    let project = Project::new(WORKOUTS);
    std::fs::create_dir(project.path("store")).unwrap();
    let program = project.command(&[]);
    let mut command = std::process::Command::new("unshare");
    command.args(["-rm", "sh", "-c", SMALL_DISK]).current_dir(project.path(""));
    command.env("PACER", program.get_program()).env("NO_COLOR", "1").env("PACER_STORE", project.path("store"));
    let output = command.output();
    if !output.as_ref().is_ok_and(|output| output.status.code() != Some(77) && project.path("code.full").exists()) {
        not_checked(&format!("this user may mount no tmpfs: {output:?}"));
        return;
    }
    let read = |name: &str| std::fs::read_to_string(project.path(name)).unwrap_or_default();
    assert_eq!(read("code.full"), "1\n", "{}", read("out.full"));
    assert!(read("out.full").contains("free some space"), "{}", read("out.full"));
    assert!(!read("out.full").contains("panicked"), "{}", read("out.full"));
    assert_eq!(read("code.larger"), "0\n", "{}", read("out.larger"));
    assert_eq!(read("code.read-only"), "0\n", "{}", read("out.read-only"));
    assert!(read("out.read-only").contains("0 ran, 3 reused"), "{}", read("out.read-only"));
    assert_eq!(read("verified"), "whole\n");
    let shown: serde_json::Value = serde_json::from_str(&read("shown.json")).unwrap();
    // The store of the others is the folder that lay below the mount.
    project.run(&[]);
    assert_eq!(shown["artifacts"][0]["digest"], project.show("import")["artifacts"][0]["digest"]);
}

#[test]
fn a_trial_that_is_made_and_cannot_be_kept_is_gathered_with_the_others_and_fails_the_run() {
    let project = Project::new(GATHERED);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let planned = project.plan(&[]);
    let quick = planned[0].rsplit_once(' ').unwrap().0.to_owned();
    let explained = project.pacer(&["explain", "pipeline.toml", &quick, "--format", "json"]).out;
    let key = text(&serde_json::from_str::<Value>(&explained).unwrap()["key"]);
    // No file can be renamed to where a folder lies.
    let in_the_way = project.path("store/results").join(&key[..2]).join(format!("{key}.json"));
    fs::create_dir_all(&in_the_way).unwrap();
    let said = project.pacer(&["run", "pipeline.toml", "--format", "json", "--jobs", "2", "--lock"]);
    let events: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let event = |sort: &str, stage: &str| {
        let found = events.iter().find(|event| event["event"] == sort && event["stage"] == stage);
        found.unwrap_or_else(|| panic!("no {sort} of {stage}\n{}", said.out))
    };
    assert!(text(&event("failed", &quick)["message"]).contains("its result cannot be kept"), "{}", said.out);
    let both = text(&event("finished", "both")["key"]);
    let kept = fs::read(project.path("store/results").join(&both[..2]).join(format!("{both}.json"))).unwrap();
    let kept: Value = serde_json::from_slice(&kept).unwrap();
    let read = kept["record"]["inputs"]["files"].as_object().unwrap();
    assert!(read.len() == 2 && read.values().all(|digest| text(digest).len() == 64), "{read:?}");
    let last = events.last().unwrap();
    let told = ["ran", "failed", "passed_over", "skipped"].map(|of| last[of].as_u64().unwrap());
    assert_eq!((told, said.code), ([2, 1, 0, 0], 1), "{last}");
    assert!(!project.path("pipeline.lock").exists(), "what is not there cannot be locked");
    fs::remove_dir(in_the_way).unwrap();
    assert_eq!(project.ran(&["--lock"]), [quick.as_str()], "it is no failure to be remembered");
    assert!(fs::read_to_string(project.path("pipeline.lock")).unwrap().contains(&key));
}
