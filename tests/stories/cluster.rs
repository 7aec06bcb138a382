//! Stages on a real Slurm cluster of two nodes on loopback. Where Slurm is not installed, each story says that it was
//! not checked.

mod rig;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::cluster::rig::{Rig, wait_for};
use crate::harness::{self, Project, Said, TRAINING, said, signal};

/// One after the other: each brings up a cluster of its own, and the figures of one would disturb the next.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

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

const PROFILE: &str = "[executor.lab]\ntype = \"slurm\"\nmax_jobs = 4\npilot_idle = 1.0\n";

/// A project with a cluster; none where there is no Slurm.
fn on_a_cluster(pipeline: &str) -> Option<(Rig, Project)> {
    let rig = Rig::up()?;
    let project = Project::new(pipeline);
    if pipeline.contains("STARTS") {
        project.edit("STARTS", &project.path("starts").display().to_string());
    }
    project.write("pacer.toml", PROFILE);
    Some((rig, project))
}

fn command(rig: &Rig, project: &Project, arguments: &[&str]) -> Command {
    let mut command = project.command(&[&["run", "pipeline.toml", "--executor", "lab"], arguments].concat());
    command.env("SLURM_CONF", rig.conf());
    command
}

fn run(rig: &Rig, project: &Project, arguments: &[&str]) -> Said {
    said(&command(rig, project, arguments).output().unwrap())
}

fn start(rig: &Rig, project: &Project) -> Child {
    let child = command(rig, project, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert!(wait_for(Duration::from_secs(20), || starts(project) == 1), "the stage never began");
    child
}

fn starts(project: &Project) -> usize {
    std::fs::read_to_string(project.path("starts")).unwrap_or_default().lines().count()
}

/// Sends a signal to the pilots of a project, as Slurm does; how many there are.
fn tell_pilots(project: &Project, number: i32) -> usize {
    let pilots = Command::new("pgrep").args(["-f", "pacer --store .* node --shape"]).output().unwrap();
    let own = project.path("store").display().to_string();
    let is_own = |pilot: &&str| {
        let line = std::fs::read_to_string(format!("/proc/{pilot}/cmdline")).unwrap_or_default();
        // A program that is being started bears the name of the shell that starts it.
        line.contains(&own) && !line.starts_with("/bin/sh")
    };
    let pilots = String::from_utf8_lossy(&pilots.stdout).into_owned();
    let own: Vec<&str> = pilots.lines().filter(is_own).collect();
    own.iter().for_each(|pilot| signal(pilot.parse().unwrap(), number));
    own.len()
}

#[test]
fn a_training_whose_time_is_nearly_over_goes_on_in_the_next_job_to_the_same_bytes() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some((rig, project)) = on_a_cluster(TRAINING) else { return };
    // Long enough to be met in its midst.
    let longer = ["--set", "epochs=600"];
    let mut runner = command(&rig, &project, &["--format", "json", longer[0], longer[1]]);
    let mut runner = runner.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    harness::wait_for(&mut runner, &["progress", "epoch"]);
    // What `sbatch --signal` sends so many seconds before the end.
    assert!(tell_pilots(&project, libc::SIGUSR1) > 0);
    let output = runner.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("is offered to the cluster again: its time on n"), "{said}");
    let here = Project::new(TRAINING);
    here.run(&longer);
    let all = ["pipeline.toml", longer[0], longer[1]];
    assert_eq!(project.digests(&all), here.digests(&all));
}

#[test]
fn a_diamond_comes_to_the_same_digests_as_here_and_leaves_nothing_behind() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some((rig, project)) = on_a_cluster(DIAMOND) else { return };
    let said = run(&rig, &project, &[]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("4 ran"), "{}", said.err);
    let here = Project::new(DIAMOND);
    here.run(&[]);
    assert_eq!(project.digests(&["pipeline.toml"]), here.digests(&["pipeline.toml"]));
    let said = run(&rig, &project, &[]);
    assert!(said.err.contains("4 reused"), "{}", said.err);
    assert!(rig.is_empty_within(15), "pilots end when they are idle");
}

#[test]
fn a_stage_that_fails_fails_once_with_its_own_words() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some((rig, project)) = on_a_cluster(&SLOW.replace("sleep 3", "exit 3")) else { return };
    let said = run(&rig, &project, &[]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("exit status: 3"), "{}", said.err);
    assert_eq!(starts(&project), 1);
}

#[test]
fn a_run_whose_runner_was_killed_is_taken_up_by_the_next() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some((rig, project)) = on_a_cluster(SLOW) else { return };
    let mut runner = start(&rig, &project);
    runner.kill().unwrap();
    runner.wait().unwrap();
    let said = run(&rig, &project, &[]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(starts(&project), 1, "the stage went on on its node, and was not begun again");
}

#[test]
fn an_interrupted_run_leaves_nothing_running_not_even_what_hid_in_a_session_of_its_own() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let hidden = SLOW.replace("sleep 3", "setsid sleep 86399 & sleep 86398");
    let Some((rig, project)) = on_a_cluster(&hidden) else { return };
    let mut runner = start(&rig, &project);
    let sleeping = || {
        let found = Command::new("pgrep").args(["-f", "sleep 8639[89]"]).output().unwrap();
        !found.stdout.is_empty()
    };
    assert!(sleeping());
    signal(runner.id() as i32, libc::SIGINT);
    assert_eq!(runner.wait().unwrap().code(), Some(130));
    assert!(rig.is_empty_within(10), "{}", rig.ask("squeue", &[]));
    assert!(wait_for(Duration::from_secs(5), || !sleeping()), "a program went on");
}

#[test]
fn a_node_that_is_lost_and_a_controller_that_is_down_cost_time_and_nothing_else() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some((mut rig, project)) = on_a_cluster(SLOW) else { return };
    let mut runner = start(&rig, &project);
    // The pilot is at its job, whose end needs nobody.
    rig.kill("slurmctld");
    assert_eq!(runner.wait().unwrap().code(), Some(0));
    assert_eq!(starts(&project), 1);
    rig.start_controller();
    assert!(rig.is_empty_within(30), "{}", rig.ask("squeue", &[]));
    // A pilot that is killed with its job: the run finds out and offers the job again.
    std::fs::remove_file(project.path("starts")).unwrap();
    project.edit("echo done", "echo again");
    let mut runner = start(&rig, &project);
    assert!(tell_pilots(&project, libc::SIGKILL) > 0);
    assert_eq!(runner.wait().unwrap().code(), Some(0));
    assert_eq!(starts(&project), 2, "it was begun again");
}
