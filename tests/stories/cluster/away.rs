//! Nodes that do not see the store: jobs, inputs, states and results go through the remote.

use std::time::Duration;

use crate::buckets;
use crate::cluster::conf::Options;
use crate::cluster::lab::Lab;
use crate::cluster::rig::wait_for;
use crate::cluster::{DIAMOND, SLOW};
use crate::harness::{TRAINING, signal};

/// A cluster whose nodes have a store of their own, beside a remote in a folder.
fn away(pipeline: &str) -> Option<Lab> {
    let lab = Lab::with(&Options::default(), pipeline, "")?;
    let [remote, own] = ["remote", "node"].map(|name| lab.project.path(name).display().to_string());
    let lab_lines = "[executor.lab]\ntype = \"slurm\"\nmax_jobs = 2\npilot_idle = 4.0\nshared = false\n";
    lab.project.write("pacer.toml", &format!("{lab_lines}node_store = \"{own}\"\n[remote]\nurl = \"{remote}\"\n"));
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
        said.out.lines().filter(|line| line.contains(&told) && line.contains("epoch 1 of 600")).count()
    };
    assert!(begun("lstm") <= 1 && begun("gru") <= 1, "one began anew");
    lab.assert_as_here(&longer);
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
