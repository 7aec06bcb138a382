//! Nodes that do not see the store: jobs, inputs, states and results go through the remote.

use std::time::Duration;

use crate::buckets;
use crate::cluster::conf::{Memory, Options, Preemption};
use crate::cluster::executors::LARGE;
use crate::cluster::lab::Lab;
use crate::cluster::rig::wait_for;
use crate::cluster::{DIAMOND, SLOW};
use crate::harness::{TRAINING, signal};

/// A cluster whose nodes have a store of their own, beside a remote in a folder.
fn away(pipeline: &str) -> Option<Lab> {
    away_on(&Options::default(), pipeline, "")
}

/// One of some kind, with further lines of the profile.
fn away_on(options: &Options, pipeline: &str, lines: &str) -> Option<Lab> {
    let lab = Lab::with(options, pipeline, "")?;
    let [remote, own] = ["remote", "node"].map(|name| lab.project.path(name).display().to_string());
    let lab_lines = "[executor.lab]\ntype = \"slurm\"\nmax_jobs = 2\npilot_idle = 4.0\nshared = false\n";
    let remote = format!("[remote]\nurl = \"{remote}\"\n");
    lab.project.write("pacer.toml", &format!("{lab_lines}{lines}node_store = \"{own}\"\n{remote}"));
    Some(lab)
}

#[test]
fn nodes_that_do_not_see_the_store_come_to_the_same_digests_by_way_of_the_remote() {
    let with_a_file = DIAMOND.replace("inputs.files = { l = ", "inputs.files = { n = { path = \"notes.txt\" }, l = ");
    let Some(lab) = away(&with_a_file.replace("cat {inputs.l}", "cat {inputs.n} {inputs.l}")) else { return };
    lab.project.write("notes.txt", "a file that no stage made\n");
    let said = lab.run(&[]);
    assert_eq!(said.code, 0, "{}", said.err);
    let text = std::fs::read_to_string(lab.project.blob("bottom")).unwrap();
    assert_eq!(text, "a file that no stage made\ntop\nleft\ntop\nright\n");
    assert!(lab.project.path("node/objects").exists(), "it was made in another store");
    let again = lab.run(&[]);
    assert!(again.err.contains("4 reused"), "{}", again.err);
    let verified = lab.project.pacer(&["verify"]);
    assert_eq!(verified.code, 0, "{}", verified.err);
    lab.assert_nothing_left();
}

#[test]
fn a_distant_job_whose_runner_was_killed_is_taken_up_and_begun_once() {
    let Some(lab) = away(SLOW) else { return };
    lab.start_until(1).kill();
    let said = lab.run(&[]);
    assert_eq!((said.code, lab.starts()), (0, 1), "{}", said.err);
    lab.assert_as_here(&["--no-remote"]);
}

#[test]
fn a_distant_job_that_ended_while_no_runner_looked_is_taken_over() {
    let Some(lab) = away(SLOW) else { return };
    lab.start_until(1).kill();
    // Its pilot ends with its idle time, long after the job.
    assert!(lab.rig.is_empty_within(30));
    let said = lab.run(&[]);
    assert_eq!((said.code, lab.starts()), (0, 1), "{}", said.err);
}

#[test]
fn a_distant_training_whose_time_is_nearly_over_goes_on_elsewhere_from_its_state_to_the_same_bytes() {
    let Some(lab) = away(TRAINING) else { return };
    let longer = ["--set", "epochs=600"];
    let run = lab.start(&["--format", "json", longer[0], longer[1]]);
    let is_training = || run.out().lines().any(|line| line.contains("progress") && line.contains("epoch"));
    assert!(wait_for(Duration::from_secs(60), is_training), "{}", run.err());
    lab.pilots().iter().for_each(|pilot| signal(*pilot, libc::SIGUSR1));
    let said = run.end();
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("is offered to the cluster again: its time on n"), "{}", said.err);
    let begun = |stage: &str| {
        let told = format!("\"stage\":\"{stage}\"");
        // At its end; a slow epoch is told of on its way too.
        said.out.lines().filter(|line| line.contains(&told) && line.contains("epoch 1 of 600: loss")).count()
    };
    assert!(begun("lstm") <= 1 && begun("gru") <= 1, "one began anew");
    lab.assert_as_here(&longer);
}

/// Starts jobs of others that take the place of all of the partition `low`.
fn give_way(lab: &Lab) {
    for node in ["n1", "n2"] {
        let node = format!("--nodelist={node}");
        lab.rig.ask("sbatch", &["--partition=high", "--exclusive", &node, "--output=/dev/null", "--wrap=sleep 3"]);
    }
}

#[test]
fn a_distant_training_that_gives_way_to_others_is_told_so_and_goes_on() {
    let options = Options { preemption: Preemption::Cancel, ..Options::default() };
    let Some(lab) = away_on(&options, TRAINING, "partition = \"low\"\n") else { return };
    let longer = ["--set", "epochs=600"];
    let run = lab.start(&["--format", "json", longer[0], longer[1]]);
    let is_training = || run.out().lines().any(|line| line.contains("progress") && line.contains("epoch"));
    assert!(wait_for(Duration::from_secs(60), is_training), "{}", run.err());
    give_way(&lab);
    let said = run.end();
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("gave way to another") && !said.err.contains("was cancelled"), "{}", said.err);
    lab.assert_as_here(&longer);
}

#[test]
fn a_distant_stage_that_its_node_killed_twice_without_a_word_is_given_more_memory() {
    let options = Options { memory: Memory::Sampled, ..Options::default() };
    let Some(lab) = away_on(&options, LARGE, "memory = \"480MB\"\nmost_memory = \"960MB\"\n") else { return };
    // Each time half a minute goes by before its pilot is given up.
    let said = lab.start(&[]).end_within(Duration::from_secs(240));
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("offered to the cluster again: its pilot on n"), "{}", said.err);
    assert!(said.err.contains("was killed again, perhaps for its memory"), "{}", said.err);
    assert!(said.err.contains("offered to the cluster again, with 960 MB"), "{}", said.err);
    assert_eq!(std::fs::read_to_string(lab.project.blob("large")).unwrap(), "200000000\n");
    lab.assert_nothing_left();
}

#[test]
fn a_job_that_was_given_to_a_pilot_that_is_gone_goes_to_the_next_as_if_nothing_had_been() {
    let Some(lab) = away(&SLOW.replace("sleep 3", "sleep 0.1")) else { return };
    assert_eq!(lab.run(&[]).code, 0);
    // It has just said that it is idle.
    let pilots = lab.pilots();
    assert!(!pilots.is_empty());
    pilots.iter().for_each(|pilot| signal(*pilot, libc::SIGKILL));
    let said = lab.run(&["--force", "slow"]);
    assert_eq!((said.code, lab.starts()), (0, 2), "{}", said.err);
    assert!(!said.err.contains("offered to the cluster again"), "{}", said.err);
    lab.assert_nothing_left();
}

#[test]
fn a_distant_job_is_found_again_by_the_next_run_although_another_was_there_first() {
    let other = SLOW.replace("stages.slow", "stages.other").replace("done", "other").replace("sleep 3", "sleep 4");
    let Some(lab) = away(&(SLOW.replace("sleep 3", "sleep 8") + &other)) else { return };
    let first = lab.start(&["other"]);
    assert!(wait_for(Duration::from_secs(30), || lab.starts() == 1), "{}", first.err());
    let second = lab.start(&["slow"]);
    assert!(wait_for(Duration::from_secs(30), || lab.starts() == 2), "{}", second.err());
    second.kill();
    let said = first.end();
    assert_eq!(said.code, 0, "{}", said.err);
    let said = lab.run(&["slow"]);
    assert_eq!((said.code, lab.starts()), (0, 2), "{}", said.err);
}

#[test]
fn a_bucket_of_s3_carries_jobs_inputs_and_results() {
    let Some(server) = buckets::server("distant nodes reach their run through a bucket") else { return };
    let Some(lab) = away(DIAMOND) else { return };
    let profile = std::fs::read_to_string(lab.project.path("pacer.toml")).unwrap();
    let (executor, _) = profile.split_once("[remote]").unwrap();
    let remote = format!("[remote]\nurl = \"s3://lab/x\"\nendpoint = \"http://127.0.0.1:{}\"\n", server.port);
    lab.project.write("pacer.toml", &format!("{executor}{remote}"));
    let mut command = lab.command(&[]);
    command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret").env("AWS_REGION", "us-east-1");
    let said = lab.start_command(command).end();
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(std::fs::read_to_string(lab.project.blob("bottom")).unwrap(), "top\nleft\ntop\nright\n");
    assert!(lab.project.path("node/objects").exists(), "it was made in another store");
    lab.assert_nothing_left();
}

#[test]
fn an_interrupted_run_ends_its_distant_jobs() {
    let Some(lab) = away(&SLOW.replace("sleep 3", "sleep 86397")) else { return };
    let run = lab.start_until(1);
    signal(run.process(), libc::SIGINT);
    assert_eq!(run.end().code, 130);
    lab.assert_nothing_left();
}

#[test]
fn without_a_remote_such_an_executor_says_what_it_needs() {
    let Some(lab) = away(SLOW) else { return };
    let said = lab.run(&["--no-remote"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("do not see the store (shared = false)"), "{}", said.err);
    assert!(said.err.contains("[remote]"), "{}", said.err);
}
