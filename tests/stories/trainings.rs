//! Kills in the midst of trainings: of the runner at random moments, and of a worker alone. The next run ends with
//! the same bytes.

use std::time::{Duration, Instant};

use crate::harness::{Dice, Digests, Project, TRAINING, signal, thorough, wait_for, within_a_moment};

/// Kills of a whole pipeline in an ordinary test run.
const KILLS: u64 = 8;

/// The environment variable that asks for another number of them.
const KILLS_VARIABLE: &str = "PACER_TEST_KILLS";

/// The quickstart on so small a scale that its training takes a moment.
fn quickstart() -> Vec<String> {
    let pipeline = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/quickstart.toml");
    let small = ["population.users=8", "runner.runs=10.0", "train.epochs=2", "train.hidden=4"];
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
    let (expected, took) = undisturbed(&arguments);
    assert!(expected.keys().any(|name| name == "finetune.model"), "{expected:?}");
    let wanted = std::env::var(KILLS_VARIABLE).ok().map(|text| text.parse().expect("it is a number"));
    let kills = wanted.unwrap_or(if thorough() { 200 } else { KILLS });
    let mut dice = Dice(20_261_123);
    let mut killed = 0;
    for number in 1..=kills {
        let project = Project::new(TRAINING);
        // Two kills of one store each time: what the second meets was left by the first.
        for _ in 0..2 {
            let delay = Duration::from_micros(dice.below(took.as_micros() as u64));
            let mut runner = project.start(&arguments);
            std::thread::sleep(delay);
            runner.kill().unwrap();
            killed += u64::from(runner.wait().unwrap().code().is_none());
            project.assert_workers_die(&format!("kill {number} after {delay:?}"));
        }
        project.assert_heals(&arguments, &expected, &format!("kill {number}"));
    }
    assert!(killed > kills, "only {killed} of {} kills came before the end", 2 * kills);
    eprintln!("random moments of a pipeline of {took:?}: {killed} kills, {kills} stores healed");
}

#[test]
fn a_killed_worker_takes_one_stage_down_and_the_next_run_ends_with_the_same_bytes() {
    let (expected, _) = undisturbed(&["pipeline.toml"]);
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
    let journal = std::fs::read_to_string(&project.stored("runs").into_iter().find(is_journal).unwrap()).unwrap();
    let failed = journal.lines().find(|line| line.contains("\"failed\"")).unwrap();
    for words in [stage, "killed by signal 9", "memory ran out", "--jobs"] {
        assert!(failed.contains(words), "{words} is not in {failed}");
    }
    project.assert_heals(&["pipeline.toml"], &expected, "a killed worker");
}

fn is_journal(path: &std::path::PathBuf) -> bool {
    path.ends_with("journal.jsonl")
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
