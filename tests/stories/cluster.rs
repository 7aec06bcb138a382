//! Stages on a real Slurm cluster of two nodes on loopback. Where Slurm is not installed, each story says that it was
//! not checked.

mod away;
mod conf;
mod executors;
mod lab;
mod rig;
mod traps;

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::cluster::lab::Lab;
use crate::cluster::rig::wait_for;
use crate::harness::{TRAINING, signal};

const DIAMOND: &str = r#"
[stages.top]
kind = "command"
run = ["sh", "-c", "echo top > {outputs.x}"]
outputs = { x = "file" }
[stages.left]
kind = "command"
inputs.files.x = "top.x"
run = ["sh", "-c", "cat {inputs.x} > {outputs.x}; echo left >> {outputs.x}"]
outputs = { x = "file" }
[stages.right]
kind = "command"
inputs.files.x = "top.x"
run = ["sh", "-c", "cat {inputs.x} > {outputs.x}; echo right >> {outputs.x}"]
outputs = { x = "file" }
[stages.bottom]
kind = "command"
inputs.files = { l = "left.x", r = "right.x" }
run = ["sh", "-c", "cat {inputs.l} {inputs.r} > {outputs.x}"]
outputs = { x = "file" }
"#;

/// A stage that counts its starts and takes some time.
const SLOW: &str = r#"
[stages.slow]
kind = "command"
run = ["sh", "-c", "echo start >> STARTS; sleep 3; echo done > {outputs.x}"]
outputs = { x = "file" }
"#;

/// Shell that waits until the story opens the gate.
const UNTIL_OPEN: &str = "for i in $(seq 600); do test -e GATE && break; sleep 0.1; done";

/// A stage that counts its starts and takes until then.
fn held() -> String {
    SLOW.replace("sleep 3", UNTIL_OPEN)
}

#[test]
fn a_training_whose_time_is_nearly_over_goes_on_in_the_next_job_to_the_same_bytes() {
    let Some(lab) = Lab::new(TRAINING) else { return };
    // Long enough to be met in its midst.
    let longer = ["--set", "epochs=600"];
    let run = lab.start(&["--format", "json", longer[0], longer[1]]);
    let is_training = || run.out().lines().any(|line| line.contains("progress") && line.contains("epoch"));
    assert!(wait_for(Duration::from_secs(60), is_training), "{}", run.err());
    // What `sbatch --signal` sends so many seconds before the end.
    let pilots = lab.pilots();
    assert!(!pilots.is_empty());
    pilots.iter().for_each(|pilot| signal(*pilot, libc::SIGUSR1));
    let said = run.end();
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("is offered to the cluster again: its time on n"), "{}", said.err);
    lab.assert_as_here(&longer);
}

#[test]
fn a_diamond_comes_to_the_same_digests_as_here_and_leaves_nothing_behind() {
    let Some(lab) = Lab::new(DIAMOND) else { return };
    let said = lab.run(&[]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("4 ran"), "{}", said.err);
    lab.assert_as_here(&[]);
    let said = lab.run(&[]);
    assert!(said.err.contains("4 reused"), "{}", said.err);
}

#[test]
fn a_stage_that_fails_fails_once_with_its_own_words() {
    let Some(lab) = Lab::new(&SLOW.replace("sleep 3", "exit 3")) else { return };
    let said = lab.run(&[]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("exit status: 3"), "{}", said.err);
    assert_eq!(lab.starts(), 1);
}

#[test]
fn a_run_whose_runner_was_killed_is_taken_up_by_the_next() {
    let Some(lab) = Lab::new(SLOW) else { return };
    lab.start_until(1).kill();
    let said = lab.run(&[]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(lab.starts(), 1, "the stage went on on its node, and was not begun again");
}

#[test]
fn a_job_whose_input_was_another_for_a_while_is_not_taken_up() {
    let reading = SLOW.replace("run =", "inputs.files.text = { path = \"input.txt\" }\nrun =");
    let Some(lab) = Lab::new(&reading.replace("echo done", "cat {inputs.text}")) else { return };
    lab.project.write("input.txt", "one\n");
    lab.start_until(1).kill();
    lab.project.write("input.txt", "another\n");
    let has_ended = || lab.project.stored("cluster/jobs").iter().any(|file| file.ends_with("outcome.json"));
    assert!(wait_for(Duration::from_secs(20), has_ended));
    lab.project.write("input.txt", "one\n");
    let said = lab.run(&[]);
    assert_eq!((said.code, lab.starts()), (0, 2), "{}", said.err);
    assert_eq!(fs::read_to_string(lab.project.blob("slow")).unwrap(), "one\n");
}

#[test]
fn a_run_beside_one_whose_jobs_take_long_has_jobs_of_its_own() {
    let Some(lab) = Lab::new(&SLOW.replace("sleep 3", "sleep 60")) else { return };
    let first = lab.start_until(1);
    lab.project.write("other.toml", &SLOW.replace("sleep 3; echo done", "echo other").replace("STARTS", "/dev/null"));
    let mut command = lab.project.command(&["run", "other.toml", "--executor", "lab"]);
    command.env("SLURM_CONF", lab.rig.conf());
    let other = lab.start_command(command).end_within(Duration::from_secs(30));
    assert_eq!(other.code, 0, "{}", other.err);
    signal(first.process(), libc::SIGINT);
    assert_eq!(first.end().code, 130);
    lab.assert_nothing_left();
}

#[test]
fn a_job_that_is_taken_up_needs_no_further_pilot_although_the_profile_is_another_now() {
    let Some(lab) = Lab::new(&SLOW.replace("sleep 3", "sleep 8")) else { return };
    lab.start_until(1).kill();
    lab.project.write("pacer.toml", "[executor.lab]\ntype = \"slurm\"\npilot_idle = 1.5\n");
    let said = lab.run(&[]);
    assert_eq!((said.code, lab.starts()), (0, 1), "{}", said.err);
    assert_eq!(lab.rig.jobs().len(), 1, "{:?}", lab.rig.jobs());
    lab.assert_as_here(&[]);
}

#[test]
fn an_interrupted_run_leaves_nothing_running_not_even_what_hid_in_a_session_of_its_own() {
    let hidden = SLOW.replace("sleep 3", "setsid sleep 86399 & sleep 86398");
    let Some(lab) = Lab::new(&hidden) else { return };
    let run = lab.start_until(1);
    let sleeping = || {
        let found = Command::new("pgrep").args(["-f", "sleep 8639[89]"]).output().unwrap();
        !found.stdout.is_empty()
    };
    assert!(sleeping());
    signal(run.process(), libc::SIGINT);
    assert_eq!(run.end().code, 130);
    assert!(wait_for(Duration::from_secs(10), || !sleeping()), "a program went on");
    lab.assert_nothing_left();
}

#[test]
fn a_pilot_that_is_killed_with_its_job_costs_time_and_nothing_else() {
    let Some(lab) = Lab::new(SLOW) else { return };
    let run = lab.start_until(1);
    let pilots = lab.pilots();
    assert!(!pilots.is_empty());
    pilots.iter().for_each(|pilot| signal(*pilot, libc::SIGKILL));
    let said = run.end();
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(lab.starts(), 2, "it was begun again");
    lab.assert_as_here(&[]);
}
