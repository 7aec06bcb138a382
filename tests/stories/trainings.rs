//! Kills in the midst of trainings: of the runner at random moments, and of a worker alone. The next run ends with
//! the same bytes.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{
    Dice, Digests, Project, TRAINING, copy_folder, signal, tell, thorough, undisturbed_training, wait_for,
    within_a_moment,
};
use crate::tracer::calls::Calls;
use crate::tracer::{Act, Fault, Traced, Whose, trace};

/// Kills of a whole pipeline in an ordinary test run.
const KILLS: usize = 10;

/// The environment variable that asks for another number of them.
const KILLS_VARIABLE: &str = "PACER_TEST_KILLS";

/// The quickstart on so small a scale that its training takes a moment.
fn quickstart() -> Vec<String> {
    let pipeline = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/quickstart.toml");
    let small = ["population.users=8", "watch.runs=16", "train.epochs=2", "train.hidden=4"];
    let set = small.iter().flat_map(|set| ["--set", set]);
    std::iter::once(pipeline).chain(set).map(str::to_owned).collect()
}

/// What a pipeline comes to when nothing disturbs it, and how long that takes.
fn undisturbed(arguments: &[&str]) -> (Digests, Duration) {
    let project = Project::new(TRAINING);
    let began = Instant::now();
    let said = project.pacer(&[&["run"], arguments].concat());
    assert_eq!(said.code, 0, "{}", said.err);
    (project.digests(arguments), began.elapsed())
}

#[test]
fn killed_at_random_moments_a_real_pipeline_ends_with_the_same_bytes() {
    let arguments = quickstart();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let (expected, mut took) = undisturbed(&arguments);
    assert!(expected.keys().any(|name| name == "finetune.model"), "{expected:?}");
    let wanted = std::env::var(KILLS_VARIABLE).ok().map(|text| text.parse().expect("it is a number"));
    let wanted = wanted.unwrap_or(if thorough() { 200 } else { KILLS });
    let mut dice = Dice(20_261_123);
    let (mut killed, mut stores) = (0, 0);
    while killed < wanted {
        stores += 1;
        assert!(stores <= 3 * wanted, "only {killed} kills in {stores} stores came before the end");
        let project = Project::new(TRAINING);
        // Two kills of one store each time: what the second meets was left by the first.
        for _ in 0..2 {
            let delay = Duration::from_micros(dice.below(took.as_micros() as u64));
            let mut runner = project.start(&arguments);
            let began = Instant::now();
            std::thread::sleep(delay);
            runner.kill().unwrap();
            match runner.wait().unwrap().code() {
                None => killed += 1,
                // The machine is faster than it was, or little was left to do.
                Some(_) => took = took.min(began.elapsed()),
            }
            project.assert_workers_die(&format!("store {stores}, after {delay:?}"));
        }
        project.assert_heals(&arguments, &expected, &format!("store {stores}, {killed} kills"));
    }
    tell(&format!("random moments of a pipeline of {took:?}: {killed} kills, {stores} stores healed"));
}

#[test]
fn a_killed_worker_takes_one_stage_down_and_the_next_run_ends_with_the_same_bytes() {
    let expected = undisturbed_training();
    let project = Project::new(TRAINING);
    let mut runner = project.start(&["pipeline.toml", "--keep-going", "--jobs", "1"]);
    wait_for(&mut runner, &["progress", "epoch 3 of"]);
    let workers = project.processes("pacer-worker");
    assert_eq!(workers.len(), 1, "one job at a time");
    signal(workers[0], libc::SIGKILL);
    assert_eq!(runner.wait().unwrap().code(), Some(1));
    let states = project.plan(&[]);
    let left: Vec<_> = states.iter().filter(|state| !state.ends_with("reused")).collect();
    assert_eq!(left.len(), 1, "{states:?}");
    let stage = left[0].split(' ').next().unwrap();
    let journal =
        std::fs::read_to_string(project.stored("runs").iter().find(|path| path.ends_with("journal.jsonl")).unwrap())
            .unwrap();
    let failed = journal.lines().find(|line| line.contains("\"failed\"")).unwrap();
    for words in [stage, "killed by signal 9", "memory ran out", "--jobs"] {
        assert!(failed.contains(words), "{words} is not in {failed}");
    }
    project.assert_heals(&["pipeline.toml"], expected, "a killed worker");
}

#[test]
fn a_worker_whose_runner_dies_while_it_starts_dies_too() {
    let project = Project::new(TRAINING);
    assert_eq!(project.pacer(&["run", "pipeline.toml", "split"]).code, 0);
    let mut runner = project.start(&["pipeline.toml"]);
    within_a_moment("no worker starts", || !project.processes("pacer-worker").is_empty());
    runner.kill().unwrap();
    runner.wait().unwrap();
    project.assert_workers_die("a runner killed early");
}

/// Runs the LSTM's training under a fault of its worker. `None` where nothing can be traced.
fn disturbed_worker(project: &Project, calls: Calls, at: usize, act: Act) -> Option<Traced> {
    let command = project.command(&["run", "pipeline.toml", "lstm", "--jobs", "1"]);
    trace(command, &project.path("store"), Fault { calls, whose: Whose::Children, at, act })
}

#[test]
fn a_worker_killed_or_refused_at_any_change_it_makes_leaves_a_store_that_goes_on() {
    let text = TRAINING.replace("epochs = 100", "epochs = 2");
    let origin = Project::new(&text);
    assert_eq!(origin.pacer(&["run", "pipeline.toml", "split"]).code, 0);
    let prepared = || {
        let project = Project::new(&text);
        copy_folder(&origin.path("store"), &project.path("store"));
        project
    };
    let expected = prepared();
    assert_eq!(expected.run(&["lstm"])["ran"], 1);
    let expected = expected.show("lstm")["artifacts"].clone();
    let acts = [
        (Calls::Changes, Act::Kill),
        (Calls::NeedSpace, Act::FailFromThenOn(libc::ENOSPC)),
        (Calls::Changes, Act::Fail(libc::EIO)),
    ];
    for (calls, act) in acts {
        let mut tried = 0;
        for at in (1..).step_by(if thorough() { 1 } else { 4 }) {
            let project = prepared();
            let Some(traced) = disturbed_worker(&project, calls, at, act) else { return };
            if !traced.reached {
                break;
            }
            let what = format!("{act:?} at {at}, {}", traced.calls[at - 1]);
            traced.said.assert_orderly(&what);
            let said = project.pacer(&["run", "pipeline.toml", "lstm"]);
            assert_eq!(said.code, 0, "{what}: {}", said.err);
            // Where the files lie differs, and nothing else.
            let digests = |artifacts: &Value| {
                let artifacts = artifacts.as_array().unwrap().iter();
                artifacts.map(|artifact| artifact["digest"].clone()).collect::<Vec<_>>()
            };
            assert_eq!(digests(&project.show("lstm")["artifacts"]), digests(&expected), "{what}");
            assert_eq!(project.pacer(&["verify"]).code, 0, "{what}");
            tried += 1;
        }
        assert!(tried > 0, "{act:?}: the worker changes nothing");
        tell(&format!("{act:?} in a worker: {tried} times"));
    }
}
